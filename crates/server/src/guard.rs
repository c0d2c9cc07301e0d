//! Who may ask: the token, the page's session cookie, the host's name and the origin of a change.
//!
//! On loopback without a token the danger is a foreign web page in the same browser: it may reach this address
//! through its own name (DNS rebinding) or send forms here (CSRF). The first is stopped by the host's name, the
//! second by the origin.

use axum::Form;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use knowledge::Reader;

use crate::error::ApiError;
use crate::principal::Principal;
use crate::state::App;

/// The page's session.
const COOKIE: &str = "hanok_session";
/// How long a wrong token takes to be refused.
const WRONG_TOKEN_DELAY: std::time::Duration = std::time::Duration::from_millis(500);
/// Addresses that need no token: liveness for supervisors, and what the sign-in form is made of.
const PUBLIC: [&str; 4] = ["/health", "/healthz", "/readyz", "/login"];

/// The layer in front of every route.
pub(crate) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match admit(&app, &request) {
        Ok((reader, principal)) => {
            request.extensions_mut().insert(reader);
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(Refused::Error(error)) => error.into_response(),
        Err(Refused::SignIn(next)) => Redirect::to(&format!("/login?next={next}")).into_response(),
    }
}

enum Refused {
    Error(ApiError),
    SignIn(String),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

/// What the caller may read and who it is, if it is let in.
fn admit(app: &App, request: &Request) -> Result<(Reader, Principal), Refused> {
    let headers = request.headers();
    let host = host_of(request)?;
    if !app.needs_token() {
        check_host(app, &host)?;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        check_origin(headers, &host)?;
    }
    let path = request.uri().path();
    let public = PUBLIC.contains(&path) || path.starts_with("/assets/");
    if let Some(known) = known(app, headers) {
        return Ok(known);
    }
    if public {
        return Ok((Reader::anyone(), Principal::Anyone));
    }
    let person = *request.method() == Method::GET && accepts_html(headers) && !path.starts_with("/v1/");
    if person {
        return Err(Refused::SignIn(percent_encode(path)));
    }
    let message = "this server needs its token: send `Authorization: Bearer TOKEN` or `x-api-key: TOKEN`";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, Some("invalid_api_key"), message).into())
}

/// The host's name as asked for, lower case, with its port.
fn host_of(request: &Request) -> Result<Authority, ApiError> {
    let missing = || ApiError::bad_request("the request names no valid host");
    // HTTP/2 and absolute-form requests carry it in the address, HTTP/1.1 in the header.
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.clone());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().ok_or_else(missing)?;
    if hosts.next().is_some() {
        return Err(missing());
    }
    host.to_str()
        .ok()
        .and_then(|host| host.to_ascii_lowercase().parse().ok())
        .ok_or_else(missing)
}

fn check_host(app: &App, host: &Authority) -> Result<(), ApiError> {
    let name = host.host().to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = match bare.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    };
    if loopback
        || app
            .allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(&name))
    {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        Some("host_not_allowed"),
        format!(
            "this server does not answer to the host name `{name}`; use localhost or add it to the allowed hosts"
        ),
    ))
}

fn check_origin(headers: &HeaderMap, host: &Authority) -> Result<(), ApiError> {
    let foreign = || {
        ApiError::new(
            StatusCode::FORBIDDEN,
            Some("foreign_origin"),
            "a page of another origin may not change anything here",
        )
    };
    if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return Err(foreign());
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    match authority {
        Some(authority) if authority.eq_ignore_ascii_case(host.as_str()) => Ok(()),
        _ => Err(foreign()),
    }
}

/// The rights of whoever presents a token or a session, and who that is; of anybody, where no token is needed.
fn known(app: &App, headers: &HeaderMap) -> Option<(Reader, Principal)> {
    if !app.needs_token() {
        return Some((app.rights.clone(), Principal::Anyone));
    }
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let key = headers.get("x-api-key").and_then(|value| value.to_str().ok());
    if let Some(presented) = bearer.or(key)
        && let Some(holder) = holder(app, presented)
    {
        return Some((holder.rights.clone(), holder.principal));
    }
    let presented = cookie(headers, COOKIE)?;
    let mut holders = holders(app).into_iter();
    let holder = holders.find(|holder| same(presented, &holder.session(app)))?;
    Some((holder.rights.clone(), holder.principal))
}

/// Somebody whose token is known here.
struct Holder<'a> {
    principal: Principal,
    token_sha256: String,
    rights: &'a Reader,
}

impl Holder<'_> {
    /// The page's session of whoever signed in with this token; it ends with this process.
    fn session(&self, app: &App) -> String {
        let name = match &self.principal {
            Principal::Named(name) => name,
            _ => "",
        };
        stdx::hash::sha256_hex(format!("{} {name}", app.session).as_bytes())
    }
}

fn holders(app: &App) -> Vec<Holder<'_>> {
    let of_all = app.token.as_deref().map(|token| Holder {
        principal: Principal::Common,
        token_sha256: stdx::hash::sha256_hex(token.as_bytes()),
        rights: &app.rights,
    });
    let own = app.callers.iter().map(|caller| Holder {
        principal: Principal::Named(caller.name.clone()),
        token_sha256: caller.token_sha256.clone(),
        rights: &caller.rights,
    });
    of_all.into_iter().chain(own).collect()
}

/// Whose token this is. All are compared, so that the time does not tell which one came near.
fn holder<'a>(app: &'a App, presented: &str) -> Option<Holder<'a>> {
    let hash = stdx::hash::sha256_hex(presented.as_bytes());
    let mut found = None;
    for holder in holders(app) {
        if same(&hash, &holder.token_sha256) {
            found = Some(holder);
        }
    }
    found
}

/// Compares in a time that depends on neither text: both are hashed first.
fn same(left: &str, right: &str) -> bool {
    let left = stdx::hash::sha256_hex(left.as_bytes());
    let right = stdx::hash::sha256_hex(right.as_bytes());
    let difference = left
        .bytes()
        .zip(right.bytes())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// A cookie's value.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// A path as a query value.
pub(crate) fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}

/// What the sign-in form sends.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    token: String,
    #[serde(default)]
    next: String,
}

/// `POST /login`.
pub(crate) async fn sign_in(
    State(app): State<App>,
    headers: HeaderMap,
    Form(form): Form<SignIn>,
) -> Result<Response, ApiError> {
    let session = match app.needs_token() {
        true => holder(&app, form.token.trim()).map(|holder| holder.session(&app)),
        false => Some(String::new()),
    };
    let next = local_path(&form.next);
    let Some(session) = session else {
        tokio::time::sleep(WRONG_TOKEN_DELAY).await;
        let language = crate::page::language(&headers, None);
        return Ok(crate::page::sign_in_page(&app, language, next, true));
    };
    let cookie = format!("{COOKIE}={session}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000");
    let mut response = Redirect::to(next).into_response();
    let cookie = HeaderValue::from_str(&cookie).map_err(ApiError::internal)?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// `POST /logout`.
pub(crate) async fn sign_out() -> Response {
    let mut response = Redirect::to("/login").into_response();
    let cookie = HeaderValue::from_static("hanok_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

/// Only a path of this server: `//host` and backslashes lead elsewhere.
pub(crate) fn local_path(next: &str) -> &str {
    let inside = next.starts_with('/') && !next.starts_with("//");
    let plain = next.chars().all(|c| c != '\\' && !c.is_control());
    if inside && plain { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_after_sign_in_stays_here() {
        assert_eq!(local_path("/documents"), "/documents");
        for elsewhere in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "",
            "/a\nb",
        ] {
            assert_eq!(local_path(elsewhere), "/", "{elsewhere:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::COOKIE,
            HeaderValue::from_static("a=b; hanok_session=xyz;c=d"),
        );
        assert_eq!(cookie(&headers, COOKIE), Some("xyz"));
        assert_eq!(cookie(&headers, "hanok"), None);
    }
}
