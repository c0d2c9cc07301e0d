//! What a raw completion can be asked for, over a socket, with a tiny model of random weights.

use engine::EngineConfig;
use serde_json::{Value, json};

use crate::common::{House, Response};

fn post(house: &House, extra: &Value) -> Response {
    let mut body = json!({
        "model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 12, "seed": 5,
    });
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    house.client().post("/v1/chat/completions", &body)
}

fn content(answer: &Value, index: usize) -> String {
    answer["choices"][index]["message"]["content"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

fn chunks(response: &Response) -> Vec<Value> {
    let events = response.events();
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done.1, "[DONE]");
    chunks
        .iter()
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect()
}

/// The text of one choice of a stream.
fn streamed(chunks: &[Value], index: u64) -> String {
    let of_choice = chunks.iter().map(|chunk| &chunk["choices"][0]);
    of_choice
        .filter(|choice| choice["index"] == index)
        .filter_map(|choice| choice["delta"]["content"].as_str())
        .collect()
}

#[test]
fn several_choices_are_several_generations() {
    let house = House::with_tiny_model(EngineConfig::default());
    let never_end = json!({"511": -100});
    let answer = post(&house, &json!({"n": 3, "logit_bias": never_end})).json();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 3);
    for (i, choice) in answer["choices"].as_array().unwrap().iter().enumerate() {
        assert_eq!(choice["index"], i);
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(choice["logprobs"], Value::Null);
    }
    assert_eq!(answer["usage"]["completion_tokens"], 36);
    assert_ne!(content(&answer, 0), content(&answer, 1));
    let one = post(&house, &json!({"logit_bias": never_end})).json();
    assert_eq!(
        content(&one, 0),
        content(&answer, 0),
        "the first choice has the request's own seed"
    );
    let wanted =
        json!({"n": 3, "logit_bias": never_end, "stream": true, "stream_options": {"include_usage": true}});
    let chunks = chunks(&post(&house, &wanted));
    let (usage, rest) = chunks.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 36);
    for index in 0..3 {
        assert_eq!(streamed(rest, index), content(&answer, index as usize));
        let of_choice: Vec<&Value> = rest
            .iter()
            .map(|chunk| &chunk["choices"][0])
            .filter(|choice| choice["index"] == index)
            .collect();
        assert_eq!(of_choice[0]["delta"]["role"], "assistant");
        assert_eq!(of_choice.last().unwrap()["finish_reason"], "length");
    }
}

#[test]
fn logprobs_list_every_token_with_its_bytes() {
    let house = House::with_tiny_model(EngineConfig::default());
    let asked = json!({"logprobs": true, "top_logprobs": 4, "temperature": 0});
    let answer = post(&house, &asked).json();
    let tokens = answer["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(tokens.len(), 12, "{answer}");
    let mut bytes = Vec::new();
    for token in &tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 4);
        // Greedy: the chosen one is the most likely.
        assert_eq!(
            (&top[0]["token"], &top[0]["logprob"]),
            (&token["token"], &token["logprob"])
        );
        let likely: Vec<f64> = top.iter().map(|t| t["logprob"].as_f64().unwrap()).collect();
        assert!(likely.is_sorted_by(|a, b| a >= b) && likely[0] <= 0.0);
        let own = token["bytes"].as_array().unwrap();
        bytes.extend(
            own.iter()
                .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()),
        );
    }
    assert!(String::from_utf8_lossy(&bytes).starts_with(content(&answer, 0).trim_end_matches('\u{FFFD}')));
    let mut asked = asked;
    asked["stream"] = json!(true);
    let listed: Vec<Value> = chunks(&post(&house, &asked))
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(listed, tokens);
}

#[test]
fn a_seed_says_the_same_whatever_else_is_asked() {
    let house = House::with_tiny_model(EngineConfig::default());
    let asked = json!({"temperature": 1.3, "top_p": 0.9, "frequency_penalty": 0.5, "max_tokens": 60});
    let alone = content(&post(&house, &asked).json(), 0);
    let mut other = asked.clone();
    other["seed"] = json!(6);
    assert_ne!(content(&post(&house, &other).json(), 0), alone);
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..5)
            .map(|i| {
                let house = &house;
                scope.spawn(move || post(house, &json!({"seed": i, "max_tokens": 80, "n": 2})).status)
            })
            .collect();
        for _ in 0..3 {
            assert_eq!(content(&post(&house, &asked).json(), 0), alone);
        }
        busy.into_iter()
            .for_each(|thread| assert_eq!(thread.join().unwrap(), 200));
    });
}

#[test]
fn biases_are_obeyed_or_refused() {
    let house = House::with_tiny_model(EngineConfig::default());
    // Byte tokens: 65 is the letter A.
    let answer = post(&house, &json!({"logit_bias": {"65": 100}, "temperature": 0})).json();
    assert_eq!(content(&answer, 0), "A".repeat(12));
    let unknown = post(&house, &json!({"logit_bias": {"512": 1}}));
    assert_eq!(
        (unknown.status, &unknown.error()["param"]),
        (400, &json!("logit_bias"))
    );
}

#[test]
fn an_output_has_the_form_that_was_asked_for() {
    let house = House::with_tiny_model(EngineConfig::default());
    let schema = json!({
        "type": "object", "required": ["colour", "n"], "additionalProperties": false,
        "properties": {"colour": {"enum": ["red", "green"]}, "n": {"type": "integer", "minimum": 1, "maximum": 20}},
        "x-guidance": {"whitespace_flexible": false},
    });
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "thing", "strict": true, "schema": schema}});
    for seed in 0..3 {
        let asked = json!({"response_format": format, "max_tokens": 200, "seed": seed});
        let answer = post(&house, &asked).json();
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
        let thing: Value = serde_json::from_str(&content(&answer, 0)).unwrap();
        assert!(["red", "green"].contains(&thing["colour"].as_str().unwrap()));
        assert!((1..=20).contains(&thing["n"].as_i64().unwrap()));
        let word = post(&house, &json!({"guided_regex": "(yes|no)", "seed": seed})).json();
        assert!(["yes", "no"].contains(&content(&word, 0).as_str()), "{word}");
        let sum = post(
            &house,
            &json!({"guided_grammar": "start: \"1\" (\"+1\")~2", "seed": seed}),
        )
        .json();
        assert_eq!(content(&sum, 0), "1+1+1");
    }
    // Random weights need not come to an end, but they begin an object.
    let object = post(&house, &json!({"response_format": {"type": "json_object"}})).json();
    assert!(content(&object, 0).trim_start().starts_with('{'), "{object}");
}

#[test]
fn a_form_that_cannot_be_used_is_a_400_with_the_compilers_words() {
    let house = House::with_tiny_model(EngineConfig::default());
    let cases = [
        (json!({"guided_regex": "a(b"}), "guided_regex"),
        (json!({"guided_grammar": "begin: \"a\""}), "guided_grammar"),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "strange"}}}}),
            "response_format",
        ),
        (json!({"response_format": {"type": "xml"}}), "response_format"),
    ];
    for (extra, param) in cases {
        let response = post(&house, &extra);
        assert_eq!(response.status, 400, "{extra}");
        let error = response.error();
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().len() > 20, "{error}");
    }
    let grounded = post(
        &house,
        &json!({"model": "hanok", "response_format": {"type": "json_object"}}),
    );
    assert_eq!(
        (grounded.status, &grounded.error()["code"]),
        (400, &json!("unsupported_parameter"))
    );
}

#[test]
fn a_full_queue_is_a_429_that_says_when_to_come_again() {
    let house = House::with_tiny_model(EngineConfig {
        n_sequences_max: 1,
        n_queued_max: 1,
        ..EngineConfig::default()
    });
    // Sixteen generations where one runs and one may wait.
    let refused = post(&house, &json!({"n": 16, "max_tokens": 400}));
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.error()["code"], "queue_full");
    assert_eq!(refused.error()["type"], "rate_limit_error");
    // Those that were queued before the refusal are gone with it.
    for _ in 0..200 {
        if post(&house, &json!({})).status == 200 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the queue never emptied");
}

#[test]
fn the_routers_choices_can_be_read() {
    let house = House::with_tiny_model(EngineConfig::default());
    post(&house, &json!({})).json();
    let router = house.client().get("/api/router").json();
    assert_eq!(
        (&router["n_experts"], &router["n_experts_used"]),
        (&json!(16), &json!(4))
    );
    let layers = router["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    for layer in layers {
        let counts: Vec<u64> = layer["counts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap())
            .collect();
        assert_eq!(counts.len(), 16);
        assert!(counts.iter().sum::<u64>() >= 12 * 4);
        assert!(layer["entropy_bits"].as_f64().unwrap() <= 4.0);
    }
    let metrics = house.client().get("/metrics").text();
    for name in ["hanok_router_used_share", "hanok_router_entropy_bits"] {
        let n = metrics
            .lines()
            .filter(|line| line.starts_with(&format!("{name}{{layer=")))
            .count();
        assert_eq!(n, 3, "{metrics}");
    }
    assert!(metrics.contains("\nhanok_guessed_tokens_total "), "{metrics}");
    let without = House::start().client().get("/api/router").json();
    assert_eq!(without["layers"], json!([]));
}
