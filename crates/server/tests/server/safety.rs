//! Who may ask, from where, and what a stranger sees.

use crate::common::{House, Request};
use server::{App, AppConfig, ServeConfig, ServeError};

const TOKEN: &str = "correct horse battery staple";

fn guarded() -> House {
    House::with(None, |config| config.token = Some(TOKEN.into()))
}

#[test]
fn without_the_token_only_health_and_the_sign_in_answer() {
    let house = guarded();
    let client = house.client();
    for path in [
        "/api/documents",
        "/api/ask",
        "/v1/models",
        "/metrics",
        "/api/jobs/events",
        "/document/x",
        "/no",
    ] {
        let response = client.get(path);
        assert_eq!(response.status, 401, "{path}");
        assert_eq!(response.error()["code"], "invalid_api_key");
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    }
    for path in ["/health", "/login", "/assets/page.css"] {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    let page = client.send(&Request::new("GET", "/documents").header("accept", "text/html"));
    assert_eq!(
        (page.status, page.header("location")),
        (303, Some("/login?next=/documents"))
    );
}

#[test]
fn the_token_is_taken_in_both_headers_and_only_when_right() {
    let house = guarded();
    let status = |name: &str, value: &str| {
        house
            .client()
            .send(&Request::new("GET", "/api/documents").header(name, value))
            .status
    };
    assert_eq!(status("authorization", &format!("Bearer {TOKEN}")), 200);
    assert_eq!(status("authorization", &format!("bearer  {TOKEN}")), 200);
    assert_eq!(status("x-api-key", TOKEN), 200);
    for wrong in ["", "Bearer", "Bearer ", "Bearer wrong", "Basic eDp5", &TOKEN[..5]] {
        assert_eq!(status("authorization", wrong), 401, "{wrong:?}");
        assert_eq!(status("x-api-key", wrong), 401, "{wrong:?}");
    }
    assert_eq!(status("cookie", "hanok_session="), 401);
}

#[test]
fn signing_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use() {
    let house = guarded();
    let form = |token: &str, next: &str| {
        let body = format!("token={}&next={next}", token.replace(' ', "+"));
        let request =
            Request::new("POST", "/login").header("content-type", "application/x-www-form-urlencoded");
        house.client().send(&request.body(body))
    };
    let wrong = form("guess", "/");
    assert_eq!((wrong.status, wrong.header("set-cookie")), (200, None));
    let right = form(TOKEN, "/documents");
    assert_eq!(
        (right.status, right.header("location")),
        (303, Some("/documents"))
    );
    let cookie = right.header("set-cookie").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    assert!(!cookie.contains(TOKEN));
    let pair = cookie.split(';').next().unwrap();
    let page = house
        .client()
        .send(&Request::new("GET", "/documents").header("cookie", pair));
    assert_eq!(page.status, 200);
    let elsewhere = form(TOKEN, "https://evil.example/");
    assert_eq!(elsewhere.header("location"), Some("/"));
}

#[test]
fn a_foreign_host_name_is_refused_on_loopback() {
    let house = House::with(None, |config| config.allowed_hosts = vec!["docs.intra".into()]);
    let status = |host: &str| {
        house
            .client()
            .send(&Request::new("GET", "/api/documents").header("host", host))
            .status
    };
    for good in [
        "localhost",
        "localhost:9",
        "127.0.0.1",
        "127.0.0.1:9",
        "[::1]:9",
        "app.localhost",
        "docs.intra:1",
    ] {
        assert_eq!(status(good), 200, "{good}");
    }
    for bad in [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
    ] {
        assert_eq!(status(bad), 403, "{bad}");
    }
    assert_eq!(status(""), 400);
}

#[test]
fn a_page_of_another_origin_cannot_change_anything() {
    let house = House::start();
    let own = format!("http://{}", house.address);
    let status = |name: &str, value: &str| {
        let request = Request::new("POST", "/api/ask")
            .header(name, value)
            .body("{\"question\": \"When is the gate locked?\"}");
        house.client().send(&request).status
    };
    assert_eq!(status("origin", &own), 200);
    assert_eq!(status("sec-fetch-site", "same-origin"), 200);
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(status(name, value), 403, "{name}: {value}");
    }
    let id = house.document("handbook.md");
    let form =
        Request::new("POST", &format!("/documents/{id}/delete")).header("origin", "https://evil.example");
    assert_eq!(house.client().send(&form).status, 403);
    house.document("handbook.md");
}

#[test]
fn no_answer_allows_another_origin_to_read_it() {
    let house = House::start();
    let request = Request::new("OPTIONS", "/api/ask")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST");
    // The client itself fails on any header that is not on its list, `access-control-*` among them.
    assert_eq!(house.client().send(&request).status, 405);
}

#[test]
fn what_is_not_there_is_an_error_for_programs_and_a_page_for_people() {
    let house = House::start();
    let program = house.client().get("/no/such/place");
    assert_eq!(
        (program.status, program.error()["code"].as_str()),
        (404, Some("not_found"))
    );
    let person = house
        .client()
        .send(&Request::new("GET", "/no").header("accept", "text/html,*/*"));
    assert_eq!(person.header("content-type"), Some("text/html; charset=utf-8"));
    let id = person.header("x-request-id").unwrap().to_owned();
    assert!(person.text().contains(&id), "{}", person.text());
}

#[tokio::test]
async fn a_public_address_without_a_token_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = knowledge::Store::open(dir.path(), knowledge::Access::Write).unwrap();
    let assistant = assistant::Assistant::new(std::sync::Arc::new(store), None, None);
    let app = App::new(AppConfig::new(
        std::sync::Arc::new(assistant),
        dir.path().join("uploads"),
    ))
    .unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let config = ServeConfig {
            address: address.parse().unwrap(),
            data_dir: None,
        };
        let Err(refused) = server::bind(app.clone(), config).await else {
            panic!("{address} was listened on");
        };
        assert!(matches!(refused, ServeError::TokenNeeded(_)), "{refused}");
    }
}
