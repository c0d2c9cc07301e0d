//! Who may read what, over every way that shows something of a document.

use engine::EngineConfig;
use knowledge::{Go, Reader};
use serde_json::json;
use server::Caller;

use crate::common::{House, Request, Response};

const CLERK: &str = "the token of the clerk";
const GUEST: &str = "the token of a guest";
/// Words that stand in the restricted document alone.
const SECRET: [&str; 4] = ["zanzibar", "급여대장", "payroll", "SECRET-PAGE"];

/// A house with one document for the group `hr`, a clerk who is in it and a guest who is not.
fn house() -> House {
    House::with(None, |config| {
        let store = config.assistant.store();
        let folder = store.dir().parent().unwrap().join("hr");
        stdx::fs::create_dir_all(&folder).unwrap();
        stdx::fs::write(folder.join(".hanok-access"), "hr\n").unwrap();
        let text =
            "# SECRET-PAGE\n\nThe payroll vault code is zanzibar. 급여대장 금고의 암호는 잔지바르이다.\n";
        stdx::fs::write(folder.join("payroll.md"), text).unwrap();
        store.ingest(&[folder], &mut |_| Go::On).unwrap();
        config.callers = vec![
            caller("clerk", CLERK, Reader::of(["hr"])),
            caller("guest", GUEST, Reader::anyone()),
        ];
    })
}

fn caller(name: &str, token: &str, rights: Reader) -> Caller {
    Caller {
        name: name.into(),
        token_sha256: stdx::hash::sha256_hex(token.as_bytes()),
        rights,
    }
}

fn send(house: &House, token: &str, method: &str, path: &str, body: Option<serde_json::Value>) -> Response {
    let mut request = Request::new(method, path).header("authorization", &format!("Bearer {token}"));
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_string());
    }
    house.client().send(&request)
}

/// A house with a tiny model and two callers.
fn two_callers(engine: EngineConfig) -> House {
    House::with_tiny_model_and(engine, |config| {
        config.callers = [("clerk", CLERK), ("guest", GUEST)]
            .map(|(name, token)| caller(name, token, Reader::anyone()))
            .into();
    })
}

fn complete(house: &House, token: &str, extra: &serde_json::Value) -> Response {
    let question = "What do the others ask? ".repeat(8);
    let mut body =
        json!({"model": "tiny", "messages": [{"role": "user", "content": question}], "max_tokens": 2});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    send(house, token, "POST", "/v1/chat/completions", Some(body))
}

#[test]
fn a_caller_does_not_find_what_another_one_asked_whatever_user_it_names() {
    let house = two_callers(EngineConfig::default());
    let cached = |token: &str, extra: &serde_json::Value| {
        let answer = complete(&house, token, extra).json();
        let details = &answer["usage"]["prompt_tokens_details"];
        assert!(
            answer["usage"]["prompt_tokens"].as_u64().unwrap() > 192,
            "{answer}"
        );
        details["cached_tokens"].as_u64().unwrap_or(0)
    };
    let alice = json!({"user": "alice"});
    assert_eq!(cached(CLERK, &alice), 0);
    assert_eq!(cached(GUEST, &alice), 0, "what another caller calls alice");
    assert_eq!(cached(CLERK, &json!({})), 0);
    assert_eq!(cached(CLERK, &json!({"user": "bob"})), 0);
    assert!(cached(CLERK, &alice) >= 192);
    // Choices of one request find what the first of them computes, but that was not in memory before it.
    assert_eq!(cached(CLERK, &json!({"user": "carol", "n": 3})), 0);
    assert!(cached(CLERK, &json!({"user": "carol", "n": 3})) >= 192);
}

#[test]
fn a_caller_that_floods_the_queue_keeps_no_other_out() {
    let house = two_callers(EngineConfig {
        n_sequences_max: 1,
        n_queued_max: 8,
        ..EngineConfig::default()
    });
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for user in 0..12 {
            let (house, tell) = (&house, tell.clone());
            scope.spawn(move || {
                let long =
                    json!({"n": 2, "max_tokens": 250, "user": user.to_string(), "logit_bias": {"511": -100}});
                tell.send(complete(house, CLERK, &long)).unwrap();
            });
        }
        drop(tell);
        let refused = told.iter().find(|response| response.status != 200).unwrap();
        assert_eq!(
            (refused.status, &refused.error()["code"]),
            (429, &json!("queue_full"))
        );
        assert!(refused.header("retry-after").is_some());
        assert_eq!(complete(&house, GUEST, &json!({})).status, 200);
        assert!(told.iter().any(|response| response.status == 200));
    });
}

fn secret_id(house: &House) -> String {
    let list = send(house, CLERK, "GET", "/api/documents", None).json();
    let of_secret = list["documents"].as_array().unwrap().iter();
    let mut of_secret = of_secret.filter(|d| d["path"].as_str().unwrap().ends_with("payroll.md"));
    of_secret.next().unwrap()["document_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn nothing_shows_a_guest_what_it_may_not_read() {
    let house = house();
    let id = secret_id(&house);
    let question = json!({"question": "What is the payroll vault code?", "extractive": true});
    let chat = json!({"model": "hanok", "messages": [{"role": "user", "content": "What is the payroll vault code?"}]});
    let ways: [(&str, String, Option<serde_json::Value>); 18] = [
        // Before the questions: what a guest asks for in vain it sees there itself.
        ("GET", "/api/quality".into(), None),
        ("GET", "/quality".into(), None),
        ("GET", "/api/search?q=payroll+vault+zanzibar".into(), None),
        ("GET", "/api/suggest?q=payroll".into(), None),
        ("GET", "/api/documents".into(), None),
        ("GET", format!("/api/documents/{id}"), None),
        ("GET", format!("/api/documents/{id}?start=0&end=9"), None),
        ("GET", format!("/api/documents/{id}/marks?start=0&end=9"), None),
        ("GET", format!("/api/documents/{id}/pages/1/picture"), None),
        ("POST", "/api/ask".into(), Some(question.clone())),
        (
            "POST",
            "/api/ask".into(),
            Some(json!({"question": "급여대장 금고의 암호는?", "stream": true})),
        ),
        ("POST", "/v1/chat/completions".into(), Some(chat)),
        ("GET", "/documents".into(), None),
        ("GET", format!("/document/{id}"), None),
        ("GET", "/api/jobs".into(), None),
        ("GET", "/api/status".into(), None),
        (
            "GET",
            "/api/search?q=payroll+vault&include_expired=1".into(),
            None,
        ),
        ("GET", "/metrics".into(), None),
    ];
    for (method, path, body) in &ways {
        let text = send(&house, GUEST, method, path, body.clone()).text();
        let asked = body.as_ref().map(ToString::to_string).unwrap_or_default();
        for word in SECRET.iter().filter(|word| !asked.contains(*word)) {
            assert!(!text.contains(word), "{method} {path} tells `{word}`: {text}");
        }
    }
}

#[test]
fn what_is_hidden_is_like_what_is_not_there() {
    let house = house();
    let id = secret_id(&house);
    let absent_id = "d0000000000000000";
    for path in [
        "/api/documents/ID",
        "/document/ID",
        "/api/documents/ID/marks?start=0&end=9",
        "/api/documents/ID/pages/1/picture",
    ] {
        let (hidden, absent) = (
            send(&house, GUEST, "GET", &path.replace("ID", &id), None),
            send(&house, GUEST, "GET", &path.replace("ID", absent_id), None),
        );
        assert_eq!((hidden.status, absent.status), (404, 404), "{path}");
        // Two answers have two numbers, and a page repeats the name that it was asked for.
        let told = |text: String| {
            let before = text.split("\"request_id\"").next().unwrap_or_default();
            before.replace(&id, absent_id)
        };
        assert_eq!(
            told(hidden.text()),
            told(absent.text()),
            "{path} tells them apart"
        );
    }
    let counts = |token| send(&house, token, "GET", "/api/status", None).json()["documents"].as_u64();
    assert_eq!((counts(GUEST), counts(CLERK)), (Some(2), Some(3)));
    // And it cannot be removed by whom it is hidden from.
    assert_eq!(
        send(&house, GUEST, "DELETE", &format!("/api/documents/{id}"), None).status,
        404
    );
    assert_eq!(counts(CLERK), Some(3));
}

#[test]
fn whoever_is_in_the_group_reads_it() {
    let house = house();
    let question = json!({"question": "What is the payroll vault code?", "extractive": true});
    let answer = send(&house, CLERK, "POST", "/api/ask", Some(question)).json();
    assert_eq!(answer["outcome"], "answer", "{answer}");
    assert!(
        answer["citations"][0]["path"]
            .as_str()
            .unwrap()
            .ends_with("payroll.md")
    );
    let found = send(&house, CLERK, "GET", "/api/search?q=zanzibar", None).json();
    assert_eq!(found["hits"].as_array().unwrap().len(), 1);
}

#[test]
fn a_session_has_the_rights_of_its_token() {
    let house = house();
    let sign_in = |token: &str| {
        let body = format!("token={}&next=/documents", token.replace(' ', "+"));
        let request =
            Request::new("POST", "/login").header("content-type", "application/x-www-form-urlencoded");
        let response = house.client().send(&request.body(body));
        response
            .header("set-cookie")
            .map(|cookie| cookie.split(';').next().unwrap().to_owned())
    };
    let page = |cookie: &str| {
        let request = Request::new("GET", "/documents").header("cookie", cookie);
        house.client().send(&request).text()
    };
    let (clerk, guest) = (sign_in(CLERK).unwrap(), sign_in(GUEST).unwrap());
    assert_ne!(clerk, guest);
    assert!(page(&clerk).contains("payroll.md") && !page(&guest).contains("payroll.md"));
    assert_eq!(sign_in("some other token!"), None);
    assert_eq!(house.client().get("/api/documents").status, 401);
}
