//! `/api/ask`, `/api/search`, health and metrics.

use serde_json::json;
use server::wire::AskJson;

use crate::common::House;

#[test]
fn an_answer_has_citations_whose_quotes_stand_in_the_document() {
    let house = House::start();
    let response = house.client().post(
        "/api/ask",
        &json!({"question": "When is the garden gate locked?"}),
    );
    assert_eq!(response.status, 200, "{}", response.text());
    let answer: AskJson = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(answer.schema, 1);
    assert_eq!(answer.outcome.as_str(), "answer");
    assert!(answer.text().contains("nine o'clock"), "{answer:?}");
    for sentence in &answer.sentences {
        assert!(!sentence.citations.is_empty());
    }
    for citation in &answer.citations {
        let path = format!(
            "/api/documents/{}?version={}&start={}&end={}",
            citation.document_id, citation.version, citation.start, citation.end
        );
        assert_eq!(house.client().get(&path).json()["text"], citation.quote);
    }
}

#[test]
fn a_korean_question_is_answered_in_korean_and_an_unanswerable_one_is_refused() {
    let house = House::start();
    let answer = house
        .client()
        .post("/api/ask", &json!({"question": "정원 대문은 언제 잠급니까?"}))
        .json();
    assert_eq!(
        (&answer["language"], &answer["outcome"]),
        (&json!("ko"), &json!("answer")),
        "{answer}"
    );
    let question = json!({"question": "Quarterly zirconium exports of Peru?"});
    let refused = house.client().post("/api/ask", &question).json();
    assert_eq!(refused["outcome"], "refuse", "{refused}");
    assert!(
        refused["refusal"]["reason"].is_string() && refused["sentences"] == json!([]),
        "{refused}"
    );
}

#[test]
fn a_streamed_answer_says_the_same_in_events() {
    let house = House::start();
    let body = json!({"question": "Which badge do visitors receive?", "stream": true});
    let response = house.client().post("/api/ask", &body);
    let events = response.events();
    let names: Vec<&str> = events
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|n| *n != "writing")
        .collect();
    assert_eq!(names.first(), Some(&"retrieved"));
    assert_eq!(names.last(), Some(&"done"));
    let done: AskJson = serde_json::from_str(&events.last().unwrap().1).unwrap();
    let sentences: Vec<serde_json::Value> = events
        .iter()
        .filter(|(name, _)| name == "sentence")
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(sentences.len(), done.sentences.len());
    let n_cited: usize = sentences
        .iter()
        .map(|s| s["citations"].as_array().unwrap().len())
        .sum();
    assert_eq!(n_cited, done.citations.len());
    assert_eq!(sentences[0]["sentence"]["text"], done.sentences[0].text.as_str());
}

#[test]
fn a_question_that_cannot_be_taken_is_refused_with_its_field() {
    let house = House::start();
    let cases = [
        (json!({}), "question"),
        (json!({"question": "  "}), "question"),
        (json!({"question": 7}), "question"),
        (json!({"question": "x", "history": [1]}), "history"),
        (json!({"question": "x", "history": {}}), "history"),
        (
            json!({"question": "x", "history": vec![json!({"question": "q"}); 65]}),
            "history",
        ),
        (json!({"question": "x", "extractive": "yes"}), "extractive"),
        (json!({"question": "x".repeat(1 << 20)}), "question"),
    ];
    for (body, param) in cases {
        let response = house.client().post("/api/ask", &body);
        assert_eq!(response.status, 400, "{param}");
        assert_eq!(response.error()["param"], param);
    }
}

#[test]
fn search_finds_passages_and_checks_its_values() {
    let house = House::start();
    let found = house.client().get("/api/search?q=badge&k=3&mode=lexical").json();
    let hit = &found["hits"][0];
    assert!(hit["text"].as_str().unwrap().contains("blue badge"), "{found}");
    assert!(hit["end"].as_u64() > hit["start"].as_u64() && hit["score"].is_number());
    for bad in [
        "",
        "?q=",
        "?q=x&k=0",
        "?q=x&k=-1",
        "?q=x&k=1e9",
        "?q=x&mode=magic",
        "?q=%FF%FE",
    ] {
        let response = house.client().get(&format!("/api/search{bad}"));
        assert!(matches!(response.status, 200 | 400), "{bad}: {}", response.status);
        if response.status == 400 {
            response.error();
        }
    }
}

#[test]
fn health_without_a_model_is_ok_and_says_none() {
    let house = House::start();
    for path in ["/health", "/healthz", "/readyz"] {
        let response = house.client().get(path);
        assert_eq!(response.status, 200);
        assert_eq!(response.json(), json!({"status": "ok", "generation": "none"}));
    }
    let status = house.client().get("/api/status").json();
    assert_eq!(
        (&status["generation"], &status["documents"]),
        (&json!("none"), &json!(2)),
        "{status}"
    );
}

#[test]
fn metrics_count_by_route_pattern_and_outcome() {
    let house = House::start();
    let client = house.client();
    client.get("/api/documents/nothing-of-this-name");
    client.get("/no/such/place");
    client.post(
        "/api/ask",
        &json!({"question": "When is the garden gate locked?"}),
    );
    client.post(
        "/api/ask",
        &json!({"question": "Quarterly zirconium exports of Peru?"}),
    );
    let response = client.get("/metrics");
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = response.text();
    for line in [
        "hanok_http_requests_total{route=\"/api/documents/{id}\",method=\"GET\",status=\"404\"} 1",
        "hanok_http_requests_total{route=\"none\",method=\"GET\",status=\"404\"} 1",
        "hanok_http_requests_total{route=\"/api/ask\",method=\"POST\",status=\"200\"} 2",
        "hanok_refusals_total 1",
        "hanok_documents 2",
        "hanok_answer_seconds_count 2",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("nothing-of-this-name"));
}
