//! Asking a source over HTTP: limits, a few tries with growing pauses, words for what goes wrong.
//!
//! Redirects are not followed here: another address is one that the configuration does not name.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use stdx::fs;
use ureq::http::{HeaderMap, Request, Response, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::spec::Spec;

/// Tries of one request.
const TRIES_MAX: usize = 4;
/// The pause after the first failed try; each further one is four times as long.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 300 });
/// The longest pause that a server may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Between two looks at whether to stop.
const STOP_TICK: Duration = Duration::from_millis(50);
const CONNECT_MAX: Duration = Duration::from_secs(15);
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longer answers that are lists or errors are not read.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Why a source was not brought up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What happened and where.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// What the server answered, if it did.
    pub(super) status: Option<u16>,
}

impl Trouble {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            status: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// One sentence.
    pub(crate) fn sentence(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message.clone(),
        }
    }

    fn stopped() -> Self {
        Self::new("stopped; what was fetched is kept")
    }
}

/// Why one try failed.
pub(super) enum Fault {
    /// It may go better soon, after the pause that the server asked for.
    Passing(Trouble, Option<Duration>),
    /// It will fail again.
    Lasting(Trouble),
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Self::Lasting(trouble)
    }
}

/// What came of fetching an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// It lies in the file that was named, with what tells this version from others.
    Written {
        bytes: u64,
        etag: Option<String>,
        modified: Option<String>,
    },
    /// It is as it was.
    NotModified,
    /// It is gone for good.
    Gone,
}

/// Asks the servers of one source.
pub(super) struct Client<'a> {
    agent: Agent,
    stop: &'a dyn Fn() -> bool,
}

impl<'a> Client<'a> {
    /// A client that gives up when `stop` says so.
    pub(super) fn new(spec: &Spec, stop: &'a dyn Fn() -> bool) -> Result<Self, Trouble> {
        let mut config = Agent::config_builder()
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_recv_response(Some(SILENCE_MAX))
            .timeout_per_read(Some(SILENCE_MAX))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            // What is stored is what is wanted, and its length is checked.
            .accept_encoding("identity")
            .user_agent(concat!("hanok/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &spec.ca {
            let roots = RootCerts::new_with_certs(&certificates(path)?);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Self {
            agent: config.build().into(),
            stop,
        })
    }

    /// Makes an attempt until it succeeds, fails for good, or has been made often enough.
    pub(super) fn retrying<T>(&self, attempt: &mut dyn FnMut() -> Result<T, Fault>) -> Result<T, Trouble> {
        let mut pause = PAUSE;
        for n in 1.. {
            if (self.stop)() {
                return Err(Trouble::stopped());
            }
            match attempt() {
                Ok(value) => return Ok(value),
                Err(Fault::Lasting(trouble)) => return Err(trouble),
                Err(Fault::Passing(trouble, _)) if n >= TRIES_MAX => return Err(trouble),
                Err(Fault::Passing(_, asked)) => {
                    self.pause(asked.unwrap_or(pause).min(PAUSE_MAX));
                    pause *= 4;
                }
            }
        }
        Err(Trouble::stopped())
    }

    fn pause(&self, duration: Duration) {
        let mut left = duration;
        while !left.is_zero() && !(self.stop)() {
            let tick = left.min(STOP_TICK);
            std::thread::sleep(tick);
            left -= tick;
        }
    }

    /// Sends a request once. A server that is overloaded or broken is a passing fault.
    pub(super) fn send(&self, request: Request<()>) -> Result<Response<Body>, Fault> {
        let shown = shown(&request);
        let response = self
            .agent
            .run(request)
            .map_err(|error| Fault::Passing(unreachable(&shown, &error), None))?;
        let status = response.status().as_u16();
        if matches!(status, 429 | 500 | 502 | 503 | 504) {
            let asked = retry_after(response.headers());
            return Err(Fault::Passing(refused(&shown, response), asked));
        }
        Ok(response)
    }

    /// Asks for a text of moderate length: a list.
    pub(super) fn text(&self, request: Request<()>) -> Result<String, Fault> {
        let shown = shown(&request);
        let response = self.send(request)?;
        if !response.status().is_success() {
            return Err(Fault::Lasting(refused(&shown, response)));
        }
        let stated = content_length(response.headers());
        let text = response
            .into_body()
            .into_with_config()
            .limit(TEXT_BYTES_MAX)
            .read_to_string()
            .map_err(|error| Fault::Passing(broken_off(&shown, &error.to_string()), None))?;
        match stated {
            Some(stated) if stated != text.len() as u64 => Err(Fault::Passing(
                broken_off(&shown, "the connection ended early"),
                None,
            )),
            _ => Ok(text),
        }
    }

    /// Fetches an object of at most `max` bytes, and of exactly `expected` where that is known, into the file `to`.
    pub(super) fn fetch(
        &self,
        request: &dyn Fn() -> Result<Request<()>, Trouble>,
        to: &Path,
        max: u64,
        expected: Option<u64>,
    ) -> Result<Fetched, Trouble> {
        self.retrying(&mut || {
            let request = request()?;
            let shown = shown(&request);
            let response = self.send(request)?;
            match response.status().as_u16() {
                200 => {}
                304 => return Ok(Fetched::NotModified),
                410 => return Ok(Fetched::Gone),
                _ => return Err(Fault::Lasting(refused(&shown, response))),
            }
            let stated = content_length(response.headers());
            let too_large = |bytes: u64| {
                Fault::Lasting(
                    Trouble::new(format!(
                        "it has {bytes} bytes, more than the {max} that are fetched"
                    ))
                    .hint("`max_bytes` of the source sets the limit"),
                )
            };
            if let Some(bytes) = stated.filter(|bytes| *bytes > max) {
                return Err(too_large(bytes));
            }
            let text = |name: header::HeaderName| {
                let value = response.headers().get(name)?;
                value.to_str().ok().map(str::to_owned)
            };
            let (etag, modified) = (text(header::ETAG), text(header::LAST_MODIFIED));
            let bytes = self.save(response, to, max, &shown)?;
            if bytes > max {
                return Err(too_large(bytes));
            }
            if stated.or(expected).is_some_and(|stated| stated != bytes) {
                return Err(Fault::Passing(
                    broken_off(&shown, "the connection ended early"),
                    None,
                ));
            }
            Ok(Fetched::Written {
                bytes,
                etag,
                modified,
            })
        })
    }

    /// Writes a body to a file; returns its length, or more than `max` when it is longer.
    fn save(&self, response: Response<Body>, to: &Path, max: u64, shown: &str) -> Result<u64, Fault> {
        let not_written = |error: std::io::Error| {
            Fault::Lasting(Trouble::new(fs::FsError::new("write", to, error).to_string()))
        };
        let mut file: File = fs::create(to).map_err(|error| Trouble::new(error.to_string()))?;
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 16];
        let mut done: u64 = 0;
        while done <= max {
            if (self.stop)() {
                return Err(Fault::Lasting(Trouble::stopped()));
            }
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    file.write_all(&buffer[..n]).map_err(not_written)?;
                    done += n as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Passing(broken_off(shown, &error.to_string()), None)),
            }
        }
        file.sync_all().map_err(not_written)?;
        Ok(done)
    }
}

/// The length that a body has on the way, unless it is packed there.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Trouble> {
    let text = fs::read(path).map_err(|error| Trouble::new(error.to_string()))?;
    let found: Vec<Certificate<'static>> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(Trouble::new(format!(
            "`{}` holds no certificate in PEM",
            path.display()
        )));
    }
    Ok(found)
}

/// The request's address without its query, which says nothing to people.
fn shown(request: &Request<()>) -> String {
    let uri = request.uri();
    let (scheme, host) = (
        uri.scheme_str().unwrap_or_default(),
        uri.authority().map_or("", |a| a.as_str()),
    );
    super::names::readable(&format!("{scheme}://{host}{}", uri.path()))
}

fn unreachable(shown: &str, error: &ureq::Error) -> Trouble {
    Trouble::new(format!("{shown} cannot be reached: {error}"))
        .hint("is the server up, the address right, and reachable from this machine?")
}

fn broken_off(shown: &str, why: &str) -> Trouble {
    Trouble::new(format!("the answer of {shown} broke off: {why}")).hint("it is tried again the next time")
}

/// What a refusal means.
fn refused(shown: &str, response: Response<Body>) -> Trouble {
    let status = response.status().as_u16();
    let moved_to = response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let said = response
        .into_body()
        .into_with_config()
        .limit(64 << 10)
        .read_to_string()
        .unwrap_or_default();
    let code = error_code(&said);
    let message = match &code {
        Some(code) => format!("{shown} answers {status} ({code})"),
        None => format!("{shown} answers {status}"),
    };
    let trouble = Trouble {
        status: Some(status),
        ..Trouble::new(message)
    };
    match (status, code.as_deref(), moved_to) {
        (_, Some("RequestTimeTooSkewed"), _) => trouble.hint("set this machine's clock"),
        (300..=399, _, Some(to)) => {
            trouble.hint(format!("it sends on to {to}: name that address if it is meant"))
        }
        (401 | 403, _, _) => trouble.hint("check the source's credentials, and what they may read"),
        (404, _, _) => trouble.hint("check the address"),
        (429 | 500.., _, _) => trouble.hint("it is tried again the next time"),
        _ => trouble,
    }
}

/// The code of an S3 error; such texts come from outside and are shown, so they are plain words or nothing.
fn error_code(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_word = !code.is_empty() && code.len() < 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    is_word.then(|| code.to_owned())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
