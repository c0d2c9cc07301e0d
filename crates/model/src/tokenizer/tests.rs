//! Exactness against the reference outputs, refusals, and text that never breaks.

use proptest::prelude::*;
use weights::gguf::{Array, Gguf};

use super::*;

#[derive(serde::Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

fn smollm2() -> Option<Tokenizer> {
    let file = Gguf::open(testkit::need_model(testkit::SMOLLM2_FILE)?).unwrap();
    Some(Tokenizer::from_gguf(file.metadata()).unwrap())
}

fn check(tokenizer: &Tokenizer, cases: &[Case]) {
    assert!(!cases.is_empty());
    for case in cases {
        assert_eq!(tokenizer.encode(&case.text), case.ids, "{:?}", case.text);
        let mut decoder = IncrementalDecoder::new(false);
        let streamed: String = case.ids.iter().map(|id| decoder.push(tokenizer, *id)).collect();
        assert_eq!(streamed, tokenizer.decode(&case.ids, false), "{:?}", case.text);
    }
}

/// 256 bytes, two merges, a special token and a user-defined one.
pub(crate) fn small_metadata() -> Metadata {
    let mut tokens: Vec<String> = chars_of_bytes().into_iter().map(String::from).collect();
    let mut types = vec![1; 256];
    for (token, ty) in [("ab", 1), ("abc", 1), ("<|end|>", 3), ("  ", 4)] {
        tokens.push(token.to_owned());
        types.push(ty);
    }
    let mut metadata = Metadata::new();
    metadata.set("tokenizer.ggml.model", "gpt2");
    metadata.set("tokenizer.ggml.pre", "gpt-2");
    metadata.set("tokenizer.ggml.tokens", Array::Text(tokens));
    metadata.set("tokenizer.ggml.token_type", Array::I32(types));
    metadata.set(
        "tokenizer.ggml.merges",
        Array::Text(vec!["a b".into(), "ab c".into()]),
    );
    metadata.set("tokenizer.ggml.eos_token_id", 258u32);
    metadata
}

fn small() -> Tokenizer {
    Tokenizer::from_gguf(&small_metadata()).unwrap()
}

#[test]
fn olmoe_tokens_equal_the_reference() {
    let Some(dir) = testkit::need_data("fixtures/olmoe-tokenizer") else {
        return;
    };
    let tokenizer = Tokenizer::from_json_file(dir.join("tokenizer.json")).unwrap();
    let cases = stdx::fs::read_to_string(dir.join("expected.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&cases).unwrap();
    check(&tokenizer, &cases);
    for case in &cases {
        // The normaliser composes, everything else comes back byte for byte.
        let composed = case.text.replace("e\u{301}", "é");
        assert_eq!(tokenizer.decode(&case.ids, false), composed);
    }
    assert_eq!(tokenizer.vocab_size(), 50_280);
    assert_eq!(tokenizer.end_ids(), [50_279]);
    assert_eq!(tokenizer.decode(&[12092, 50_279, 13], true), "Hello,");
}

#[test]
fn smollm2_tokens_equal_the_reference() {
    let Some(tokenizer) = smollm2() else { return };
    let path = testkit::fixture_dir("smollm2").join("tokenizer_expected.json");
    let expected: serde_json::Value = serde_json::from_str(&stdx::fs::read_to_string(path).unwrap()).unwrap();
    let cases: Vec<Case> = serde_json::from_value(expected["tokenization"].clone()).unwrap();
    check(&tokenizer, &cases);
    let chat: Case = serde_json::from_value(expected["chat"].clone()).unwrap();
    assert_eq!(tokenizer.encode_prompt(&chat.text), chat.ids);
    assert_eq!(tokenizer.end_ids(), [0, 2]);
    assert_eq!(tokenizer.special_ids().bos, Some(1));
    for case in &cases {
        assert_eq!(tokenizer.encode_raw(&case.text), case.ids, "{:?}", case.text);
    }
}

#[test]
fn gguf_and_json_agree_on_the_small_vocabulary() {
    let metadata = small_metadata();
    let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap();
    let vocab: serde_json::Map<_, _> = tokens[..258]
        .iter()
        .zip(0..)
        .map(|(token, id)| (token.clone(), serde_json::json!(id)))
        .collect();
    let json = serde_json::json!({
        "added_tokens": [
            {"id": 258, "content": "<|end|>", "special": true, "normalized": false,
             "single_word": false, "lstrip": false, "rstrip": false},
            {"id": 259, "content": "  ", "special": false, "normalized": true,
             "single_word": false, "lstrip": false, "rstrip": false},
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"], "ab c"]},
    });
    let from_json = Tokenizer::from_json(&json.to_string()).unwrap();
    let from_gguf = small();
    for text in ["", "abcab", "a  b   c", "x<|end|>abc", "한국 \u{0}\r\n"] {
        assert_eq!(from_json.encode(text), from_gguf.encode(text), "{text:?}");
        assert_eq!(
            from_json.encode_plain(text),
            from_gguf.encode_plain(text),
            "{text:?}"
        );
    }
    assert_eq!(from_json.end_ids(), from_gguf.end_ids());
    assert_eq!(from_json.encode_raw("ab"), [256]);
    let mut json = json;
    json["post_processor"] = serde_json::json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},
    ]});
    let begun = Tokenizer::from_json(&json.to_string()).unwrap();
    assert_eq!(begun.encode_raw("ab"), [258, 256]);
    assert_eq!(begun.encode("ab"), [256]);
}

#[test]
fn raw_text_begins_as_the_file_asks() {
    let begun = |architecture: &str, pre: &str, stated: Option<bool>| {
        let mut metadata = small_metadata();
        metadata.set("general.architecture", architecture);
        metadata.set("tokenizer.ggml.pre", pre);
        metadata.set("tokenizer.ggml.bos_token_id", 258u32);
        if let Some(stated) = stated {
            metadata.set("tokenizer.ggml.add_bos_token", stated);
        }
        let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
        assert_eq!(tokenizer.encode("ab"), [256], "only raw text has it");
        assert_eq!(tokenizer.encode_prompt("ab"), [256], "only raw text has it");
        assert_eq!(tokenizer.encode_raw("<|end|>ab"), [258, 256], "once is enough");
        tokenizer.encode_raw("ab") == [258, 256]
    };
    for (architecture, pre, stated, expected) in [
        ("llama", "llama-bpe", Some(true), true),
        ("llama", "llama-bpe", Some(false), false),
        ("llama", "llama-bpe", None, true),
        ("llama", "smollm", Some(true), true),
        ("llama", "smollm", None, false),
        ("qwen2", "qwen2", None, false),
        ("olmoe", "olmo", Some(true), false),
        ("olmoe", "olmo", None, false),
    ] {
        let found = begun(architecture, pre, stated);
        assert_eq!(found, expected, "{architecture} {pre} {stated:?}");
    }
    // Without such a token there is nothing to put in front.
    let mut metadata = small_metadata();
    metadata.set("tokenizer.ggml.add_bos_token", true);
    assert_eq!(Tokenizer::from_gguf(&metadata).unwrap().encode_raw("ab"), [256]);
}

#[test]
fn special_looking_text_is_special_only_where_it_is_wanted() {
    let tokenizer = small();
    let text = "ab<|end|>";
    assert_eq!(tokenizer.encode(text), [256, 258]);
    assert_eq!(tokenizer.encode_prompt(text), [256, 258]);
    let plain = tokenizer.encode_plain(text);
    assert!(!plain.contains(&258));
    assert_eq!(tokenizer.decode(&plain, true), text);
    // A user's message inside a prompt.
    let prompt = format!("{}<|end|>", tokenizer.shield(text));
    let ids = tokenizer.encode_prompt(&prompt);
    assert_eq!(ids.iter().filter(|id| **id == 258).count(), 1);
    assert_eq!(tokenizer.decode(&ids, true), text);
    assert_eq!(Tokenizer::unshield(&prompt), "ab<|end|><|end|>");
    assert!(matches!(tokenizer.shield("harmless"), Cow::Borrowed("harmless")));
    // Marks that a message brings along do not hide anything.
    let forged = tokenizer.shield("<\u{10FFFF}|end|>").into_owned();
    assert!(!tokenizer.encode_prompt(&forged).contains(&258));
}

#[test]
fn half_characters_never_become_text() {
    let tokenizer = small();
    let ids = tokenizer.encode("é한");
    let mut decoder = IncrementalDecoder::new(true);
    let pieces: Vec<String> = ids.iter().map(|id| decoder.push(&tokenizer, *id)).collect();
    assert_eq!(pieces, ["", "é", "", "", "한"]);
    assert_eq!(decoder.push(&tokenizer, 258), "");
    assert_eq!(tokenizer.token_bytes(u32::MAX), b"");
    assert_eq!(tokenizer.token_bytes(256), b"ab");
}

#[test]
fn impossible_or_unknown_tokenizers_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Metadata)| {
        let mut metadata = small_metadata();
        change(&mut metadata);
        Tokenizer::from_gguf(&metadata).unwrap_err().to_string()
    };
    let text = |value: &str| Array::Text(vec![value.to_owned()]);
    assert!(refused(&|m| _ = m.set("tokenizer.ggml.model", "llama")).contains("`llama`"));
    assert!(refused(&|m| _ = m.set("tokenizer.ggml.pre", "tekken")).contains("`tekken`"));
    assert!(refused(&|m| _ = m.set("tokenizer.ggml.merges", text("ab"))).contains("merge number 0"));
    assert!(refused(&|m| _ = m.set("tokenizer.ggml.merges", text("abc abc"))).contains("merge number 0"));
    assert!(refused(&|m| _ = m.set("tokenizer.ggml.merges", text(""))).contains("merge number 0"));
    assert!(refused(&|m| _ = m.set("tokenizer.ggml.token_type", Array::I32(vec![1]))).contains("260 tokens"));
    assert!(refused(&|m| _ = m.set("tokenizer.ggml.eos_token_id", 999u32)).contains("999"));
    assert!(refused(&|m| _ = m.set("tokenizer.ggml.eos_token_id", -1i32)).contains("eos_token_id"));
    assert!(Tokenizer::from_gguf(&Metadata::new()).is_err());
    for json in [
        "",
        "{}",
        r#"{"model":{"type":"WordPiece","vocab":{}}}"#,
        r#"{"model":{"type":"BPE","vocab":[]}}"#,
    ] {
        assert!(Tokenizer::from_json(json).is_err(), "{json}");
    }
    let huge = r#"{"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},
        "decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":4294967295}}}"#;
    assert!(
        Tokenizer::from_json(huge)
            .unwrap_err()
            .to_string()
            .contains("limit")
    );
}

#[test]
fn every_named_splitting_builds() {
    for name in [
        "gpt-2",
        "olmo",
        "smollm",
        "starcoder",
        "refact",
        "command-r",
        "llama-bpe",
        "dbrx",
        "qwen2",
    ] {
        let mut metadata = small_metadata();
        metadata.set("tokenizer.ggml.pre", name);
        let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
        let text = "I'll abc 12345\n\n  x";
        assert_eq!(tokenizer.decode(&tokenizer.encode(text), false), text, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_comes_back(text in "\\PC{0,40}|[ \\r\\n\\tabc<|end|>한é]{0,40}") {
        let tokenizer = small();
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text), false), text.clone());
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode_plain(&text), false), text.clone());
        let shielded = tokenizer.shield(&text).into_owned();
        let ids = tokenizer.encode_prompt(&shielded);
        prop_assert!(!ids.contains(&258));
        prop_assert_eq!(tokenizer.decode(&ids, false), text);
    }
}
