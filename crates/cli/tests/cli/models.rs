//! Commands with a real model: generate, tokenize, ask.

use serde_json::Value;

use crate::home::{Home, handbook, text};

fn model() -> Option<String> {
    testkit::need_model(testkit::SMOLLM2_FILE).map(|path| path.display().to_string())
}

#[test]
fn the_small_model_knows_the_capital_of_france() {
    let Some(model) = model() else { return };
    let home = Home::new();
    let arguments = [
        "generate",
        "--model",
        &model,
        "--prompt",
        "The capital of France is",
        "--greedy",
        "--max-tokens",
        "5",
    ];
    let words = home.run(&arguments);
    assert_eq!(words.code, 0, "{}", words.stderr);
    assert!(words.stdout.contains("Paris"), "{}", words.stdout);
    let mut with_json = arguments.to_vec();
    with_json.push("--json");
    let json = home.run(&with_json).json();
    assert_eq!(
        (&json["prompt_tokens"], &json["stop"]),
        (&5.into(), &"length".into()),
        "{json}"
    );
    assert_eq!(json["ids"].as_array().unwrap().len(), 5);
    assert!(json["ms"]["load"].as_f64().unwrap() > 0.0);
    let ids = home.run(&[
        "generate",
        "--model",
        &model,
        "--ids",
        "504,3575,282,4649,314",
        "--greedy",
        "--max-tokens",
        "5",
        "--json",
    ]);
    assert_eq!(ids.json()["ids"], json["ids"]);
}

#[test]
fn what_cannot_be_generated_says_why() {
    let Some(model) = model() else { return };
    let home = Home::new();
    let empty = home.run(&["generate", "--model", &model, "--prompt", "", "--greedy"]);
    assert_eq!(empty.code, 2, "{}", empty.stderr);
    let long = vec!["504"; 300].join(",");
    let too_long = home.run(&["generate", "--model", &model, "--ids", &long, "--context", "256"]);
    assert_eq!(too_long.code, 2, "{}", too_long.stderr);
    assert!(too_long.stderr.contains("256"), "{}", too_long.stderr);
    let missing = home.run(&["generate", "--model", "/no/such.gguf", "--prompt", "x", "--json"]);
    assert_eq!(missing.code, 3);
    assert_eq!(missing.json()["error"]["code"], 3);
}

#[test]
fn tokenize_agrees_with_the_reference() {
    let Some(model) = model() else { return };
    let home = Home::new();
    let fixture = testkit::fixture_dir("smollm2").join("tokenizer_expected.json");
    let expected: Value = serde_json::from_str(&stdx::fs::read_to_string(fixture).unwrap()).unwrap();
    for case in expected["tokenization"].as_array().unwrap() {
        let ended = home.run(&[
            "tokenize",
            "--model",
            &model,
            "--json",
            "--",
            case["text"].as_str().unwrap(),
        ]);
        assert_eq!(ended.json()["ids"], case["ids"], "{}", case["text"]);
    }
    let Some(folder) = testkit::need_data("fixtures/olmoe-tokenizer") else {
        return;
    };
    let expected: Value =
        serde_json::from_str(&stdx::fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
    for case in expected.as_array().unwrap() {
        let ended = home.run_with_input(
            &["tokenize", "--model", folder.to_str().unwrap(), "--json", "-"],
            case["text"].as_str().unwrap(),
        );
        assert_eq!(ended.json()["ids"], case["ids"], "{}", case["text"]);
    }
}

#[test]
fn doctor_hears_the_model_answer() {
    let Some(model) = model() else { return };
    let json = Home::new()
        .run(&["doctor", "--model", &model, "--port", "0", "--json"])
        .json();
    let all = json["checks"].as_array().unwrap();
    let check = all.iter().find(|check| check["name"] == "model").unwrap();
    assert_eq!(check["status"], "ok", "{check}");
    assert!(
        check["detail"].as_str().unwrap().contains("Apache-2.0"),
        "{check}"
    );
}

#[test]
fn an_answer_with_a_model_is_cited_or_refused_never_bare() {
    let Some(model) = model() else { return };
    let home = Home::new();
    home.run(&["ingest", text(&handbook(&home)), "--no-vectors"]);
    let asked = home.run(&[
        "ask",
        "Who keeps the key to the archive room?",
        "--model",
        &model,
        "--json",
    ]);
    assert!(asked.code == 0 || asked.code == 1, "{}", asked.stderr);
    for sentence in asked.json()["sentences"].as_array().unwrap() {
        assert!(
            !sentence["citations"].as_array().unwrap().is_empty(),
            "{sentence}"
        );
    }
}

#[test]
fn an_output_has_the_form_that_was_asked_for() {
    let home = Home::new();
    let model = home.path("tiny.gguf").display().to_string();
    let made = home.run(&["synth", "tiny-olmoe", &model, "--type", "q8_0"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let schema = r#"{"type": "array", "items": {"enum": [1, 2]}, "minItems": 1, "maxItems": 3}"#;
    let schema = home.put("schema.json", schema).display().to_string();
    let grammar = home
        .put("sum.lark", "start: \"1\" (\"+1\")~2")
        .display()
        .to_string();
    let generate = |form: &[&str]| {
        let mut arguments = vec!["generate", "--model", &model, "--prompt", "x", "--json"];
        arguments.extend(form);
        home.run(&arguments)
    };
    let list = generate(&["--schema", &schema]).json();
    let items: Vec<u8> = serde_json::from_str(list["text"].as_str().unwrap()).unwrap();
    assert!((1..=3).contains(&items.len()), "{list}");
    assert_eq!(list["stop"], "end_of_sequence");
    let word = generate(&["--regex", "yes|no", "--no-lookup"]).json();
    assert!(["yes", "no"].contains(&word["text"].as_str().unwrap()), "{word}");
    assert_eq!(generate(&["--grammar", &grammar]).json()["text"], "1+1+1");
    let wrong = generate(&["--regex", "a(b"]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("unclosed group"), "{}", wrong.stderr);
    assert_eq!(generate(&["--schema", &grammar]).code, 2, "no JSON");
    assert_eq!(
        generate(&["--regex", "a", "--grammar", &grammar]).code,
        2,
        "two forms"
    );
}
