//! `/v1`: the wire that other programs speak.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::common::{House, Request};

fn grounded(house: &House, extra: &Value) -> crate::common::Response {
    let mut body = json!({"model": "hanok", "messages": [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "When is the garden gate locked?"}
    ]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    house.client().post("/v1/chat/completions", &body)
}

#[test]
fn the_house_is_a_model_that_carries_citations() {
    let house = House::start();
    let models = house.client().get("/v1/models").json();
    assert_eq!(models["object"], "list");
    assert_eq!(models["data"][0]["id"], "hanok");
    assert_eq!(models["data"][0]["grounded"], true);
    assert_eq!(
        models["data"].as_array().unwrap().len(),
        1,
        "no weight, no second model"
    );
    assert_eq!(house.client().get("/v1/models/hanok").json()["object"], "model");
    let answer = grounded(&house, &json!({})).json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["grounded"], true);
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert!(
        choice["message"]["content"]
            .as_str()
            .unwrap()
            .contains("nine o'clock"),
        "{answer}"
    );
    assert_eq!(choice["message"]["hanok"]["outcome"], "answer");
    assert!(
        !choice["message"]["hanok"]["citations"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let usage = &answer["usage"];
    let sum = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
}

#[test]
fn a_refusal_is_the_content() {
    let house = House::start();
    let messages = json!([{"role": "user", "content": "Quarterly zirconium exports of Peru?"}]);
    let answer = grounded(&house, &json!({"messages": messages})).json();
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["hanok"]["outcome"], "refuse", "{answer}");
    assert_eq!(message["content"], message["hanok"]["refusal"]["reason"]);
}

#[test]
fn a_stream_is_role_text_end_usage_done() {
    let house = House::start();
    let response = grounded(
        &house,
        &json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    check_stream(&response.events(), true);
    let plain = grounded(&house, &json!({"stream": true})).events();
    let last: Value = serde_json::from_str(&plain[plain.len() - 2].1).unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["hanok"]["outcome"], "answer");
    assert!(last.get("usage").is_none(), "{last}");
}

/// The rules of a stream with usage, whatever model it came from.
fn check_stream(events: &[(String, String)], grounded: bool) {
    assert!(events.iter().all(|(name, _)| name == "message"));
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done.1, "[DONE]");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect();
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["grounded"], grounded);
        assert_eq!(
            (&chunk["id"], &chunk["created"]),
            (&chunks[0]["id"], &chunks[0]["created"])
        );
    }
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let (usage, rest) = chunks.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]), "an empty list, not null");
    assert!(usage["usage"]["total_tokens"].is_u64());
    assert!(rest.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    let (end, texts) = rest.split_last().unwrap();
    assert!(end["choices"][0]["finish_reason"].is_string());
    assert!(
        texts
            .iter()
            .all(|chunk| chunk["choices"][0]["finish_reason"].is_null())
    );
    assert!(
        texts[1..]
            .iter()
            .all(|chunk| chunk["choices"][0]["delta"]["content"].is_string())
    );
}

#[test]
fn wrong_requests_get_error_objects() {
    let house = House::start();
    let unknown = grounded(&house, &json!({"model": "gpt-9"}));
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.error()["code"], "model_not_found");
    assert_eq!(
        house.client().get("/v1/models/org/name").error()["code"],
        "model_not_found"
    );
    for extra in [
        json!({"temperature": -1}),
        json!({"n": 2}),
        json!({"messages": []}),
        json!({"max_tokens": -5}),
    ] {
        let response = grounded(&house, &extra);
        assert_eq!(response.status, 400, "{extra}");
        assert_eq!(response.error()["type"], "invalid_request_error");
    }
    let bodies: [Vec<u8>; 8] = [
        b"".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"{\"model\": \"hanok\", \"temperature\": NaN}".to_vec(),
        b"{\"model\": \"hanok\", \"temperature\": 1e999}".to_vec(),
        b"{\"model\": \"\\ud800\"}".to_vec(),
        b"{\"model\": \"\xff\xfe\"}".to_vec(),
        [b"[".repeat(1_000_000), b"]".repeat(1_000_000)].concat(),
    ];
    for body in bodies {
        let response = house
            .client()
            .send(&Request::new("POST", "/v1/chat/completions").body(body));
        assert_eq!(response.status, 400);
        response.error();
    }
    let huge = vec![b' '; 5 << 20];
    let response = house
        .client()
        .send(&Request::new("POST", "/v1/chat/completions").body(huge));
    assert_eq!(response.status, 413);
    response.error();
    let wrong_method = house.client().get("/v1/chat/completions");
    assert_eq!(
        (wrong_method.status, wrong_method.header("allow")),
        (405, Some("POST"))
    );
    wrong_method.error();
}

#[test]
fn embeddings_without_an_embedder_say_so() {
    let house = House::start();
    let response = house
        .client()
        .post("/v1/embeddings", &json!({"model": "hanok", "input": "x"}));
    assert_eq!(
        (response.status, &response.error()["code"]),
        (404, &json!("no_embedder"))
    );
}

/// Waits until the model has passed its self-test.
fn wait_until_ready(house: &House) {
    for _ in 0..600 {
        let health = house.client().get("/health");
        if health.status == 200 {
            assert_eq!(health.json(), json!({"status": "ok", "generation": "ready"}));
            return;
        }
        assert_eq!(health.status, 503);
        assert_eq!(health.json()["status"], "starting");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the model never became ready");
}

#[test]
fn a_weights_own_name_completes_without_documents() {
    let Some(path) = testkit::need_model(testkit::SMOLLM2_FILE) else {
        return;
    };
    let house = House::with_model(&path);
    wait_until_ready(&house);
    let models = house.client().get("/v1/models").json();
    let raw = &models["data"][1];
    assert_eq!(raw["grounded"], false, "{models}");
    let id = raw["id"].as_str().unwrap();
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": "Count to three."}]}]);
    let ask = |extra: Value| {
        let mut body = json!({"model": id, "messages": messages, "temperature": 0, "max_tokens": 12});
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        house.client().post("/v1/chat/completions", &body)
    };
    let whole = ask(json!({})).json();
    let text = whole["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(whole["grounded"], false);
    assert!(
        !text.is_empty() && whole["usage"]["prompt_tokens"].as_u64() > Some(3),
        "{whole}"
    );
    assert!(whole["usage"]["completion_tokens"].as_u64() <= Some(12));
    let streamed = ask(json!({"stream": true, "stream_options": {"include_usage": true}})).events();
    check_stream(&streamed, false);
    let pieces: String = streamed
        .iter()
        .filter_map(|(_, data)| serde_json::from_str::<Value>(data).ok())
        .filter_map(|chunk| {
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(pieces, text, "greedy is greedy, streamed or not");
    let cut = ask(json!({"max_tokens": 1})).json();
    assert_eq!(cut["choices"][0]["finish_reason"], "length", "{cut}");
    let long = json!([{"role": "user", "content": "word ".repeat(50_000)}]);
    let too_long = ask(json!({"messages": long}));
    assert_eq!(too_long.status, 400);
    assert_eq!(too_long.error()["code"], "context_length_exceeded");
    a_client_that_hangs_up_cancels(&house, id);
}

fn a_client_that_hangs_up_cancels(house: &House, id: &str) {
    let before = metric(house, "hanok_generations_cancelled_total");
    let messages = json!([{"role": "user", "content": "Write a very long story about the sea."}]);
    let body =
        json!({"model": id, "messages": messages, "stream": true, "max_tokens": 1500, "temperature": 1.5});
    let request = Request::new("POST", "/v1/chat/completions").body(body.to_string());
    let mut stream = house.client().open(&request);
    stream.write_all(&request.body).unwrap();
    let mut first = [0; 64];
    std::io::Read::read_exact(&mut stream, &mut first).unwrap();
    drop(stream);
    for _ in 0..300 {
        if metric(house, "hanok_generations_cancelled_total") > before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the generation went on without a listener");
}

fn metric(house: &House, name: &str) -> u64 {
    let text = house.client().get("/metrics").text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name}"))
}
