//! Commands about model files: inspect, convert, importance, and a model that does not fit.

use serde_json::Value;

use crate::home::{Home, text};

/// A tiny model with random weights.
fn synthetic(home: &Home, shape: &str) -> String {
    let path = home.path("tiny.gguf");
    let made = home.run(&["synth", shape, "--type", "f32", text(&path)]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    path.display().to_string()
}

#[test]
fn a_model_is_converted_and_inspected() {
    let home = Home::new();
    let model = synthetic(&home, "tiny-olmoe");
    let out = home.path("out.gguf");
    let arguments = [
        "convert",
        &model,
        text(&out),
        "--type",
        "q4_0",
        "--recipe",
        "ffn_down_exps=q8_0",
        "--json",
    ];
    let converted = home.run(&arguments);
    assert_eq!(converted.code, 0, "{}", converted.stderr);
    let json = converted.json();
    assert_eq!(json["type"], "q4_0");
    assert_eq!(json["bytes"], stdx::fs::metadata(&out).unwrap().len());
    assert!(json["tensors"]["q8_0"].as_u64().unwrap() >= 3, "{json}");
    let inspected = home.run(&["inspect", text(&out), "--hash", "--json"]).json();
    assert_eq!(inspected["architecture"], "olmoe");
    assert_eq!(inspected["experts"], 16);
    assert_eq!(
        inspected["files"][0]["sha256"],
        Value::from(stdx::hash::sha256_file(&out).unwrap())
    );
    let types = json["tensors"].as_object().unwrap();
    for (name, n) in types {
        assert_eq!(&inspected["types"][name]["tensors"], n, "{name}");
    }
    assert!(inspected["speed"]["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(inspected["chat_template"]["branches_on_words"], false);
    let words = home.run(&["inspect", text(&out)]);
    assert!(words.stdout.contains("4 of 16 experts"), "{}", words.stdout);
    assert!(words.stdout.contains("an estimate"), "{}", words.stdout);
}

#[test]
fn importance_is_found_on_a_text_and_used() {
    let home = Home::new();
    let model = synthetic(&home, "tiny-qwen3moe");
    let reading = home.put("text.txt", "Every word counts, 한국어도. ".repeat(20));
    let (sums, out) = (home.path("imatrix.gguf"), home.path("out.gguf"));
    let found = home.run(&[
        "importance",
        &model,
        text(&reading),
        "-o",
        text(&sums),
        "--chunk",
        "64",
        "--chunks",
        "3",
        "--json",
    ]);
    assert_eq!(found.code, 0, "{}", found.stderr);
    assert_eq!(found.json()["tokens"], 192);
    let converted = home.run(&[
        "convert",
        &model,
        text(&out),
        "--importance",
        text(&sums),
        "--json",
    ]);
    assert_eq!(converted.code, 0, "{}", converted.stderr);
    let short = home.put("short.txt", "x");
    let refused = home.run(&["importance", &model, text(&short), "-o", text(&sums)]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}

#[test]
fn conversions_that_cannot_be_say_why_and_leave_nothing() {
    let home = Home::new();
    let model = synthetic(&home, "tiny-llama");
    let model = model.as_str();
    let out = home.path("out.gguf");
    let empty = home.path("empty");
    stdx::fs::create_dir_all(&empty).unwrap();
    let cases: [(&[&str], i32, &str); 6] = [
        (&[model, text(&out), "--type", "q9_9"], 2, "q9_9"),
        (&[model, text(&out), "--recipe", "ffn_down"], 2, "PATTERN=TYPE"),
        (&[model, text(&out), "--recipe", "no_such=f16"], 2, "no_such"),
        (&[model, model], 2, "another name"),
        (&[text(&empty), text(&out)], 3, "config.json"),
        (&[model, text(&out), "--importance", model], 3, "importance"),
    ];
    for (arguments, code, says) in cases {
        let ended = home.run(&[&["convert"][..], arguments].concat());
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{arguments:?}: {}", ended.stderr);
    }
    assert!(stdx::fs::metadata(&out).is_err());
}

#[test]
fn a_memory_budget_that_cannot_be_kept_says_what_would_help() {
    let home = Home::new();
    let model = synthetic(&home, "tiny-olmoe");
    let generate = ["generate", "--model", &model, "--ids", "1,2", "--max-tokens", "2"];
    let with = |flags: &[&str]| home.run(&[&generate[..], flags].concat());
    assert_eq!(with(&["--memory-budget", "1GiB"]).code, 0, "all of it fits");
    let small = with(&["--memory-budget", "1MB"]);
    assert_eq!(small.code, 3, "{}", small.stderr);
    assert!(small.stderr.contains("memory budget"), "{}", small.stderr);
    assert!(
        small.stderr.contains("raise `--memory-budget`"),
        "{}",
        small.stderr
    );
    let nonsense = with(&["--memory-budget", "lots"]);
    assert_eq!(nonsense.code, 2, "{}", nonsense.stderr);
    assert!(nonsense.stderr.contains("2GiB"), "{}", nonsense.stderr);
    assert_eq!(with(&["--kv-cache", "q8_0"]).code, 0);
}
