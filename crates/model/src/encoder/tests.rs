//! The real encoders, where their files are present.

use std::sync::Arc;

use compute::ops;

use super::*;
use crate::error::LoadError;

fn encoder() -> Option<Arc<TextEncoder>> {
    let path = testkit::need_model(testkit::E5_FILE)?;
    Some(TextEncoder::load(&path, 2).unwrap())
}

#[test]
fn questions_lie_nearer_to_their_passages_in_both_languages() {
    let Some(encoder) = encoder() else {
        return;
    };
    let passages = [
        "passage: 연차휴가는 1년간 80퍼센트 이상 출근한 근로자에게 15일을 준다.",
        "passage: The warranty of the pump expires two years after delivery.",
        "passage: 펌프의 보증 기간은 인도 후 2년이다.",
        "passage: Annual leave: employees who were present for eighty percent of the year get fifteen days.",
        "passage: The cafeteria opens at half past eleven.",
    ];
    let questions = [
        ("query: 연차는 며칠인가요?", [0, 3]),
        ("query: How long is the warranty of the pump?", [1, 2]),
        ("query: When does the cafeteria open?", [4, 4]),
    ];
    let vectors = encoder.encode(&passages);
    for (question, right) in questions {
        let query = &encoder.encode(&[question])[0];
        let score = |i: usize| ops::dot_f32(query, &vectors[i]);
        let mut order: Vec<usize> = (0..passages.len()).collect();
        order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
        assert!(right.contains(&order[0]), "{question}: {order:?}");
    }
}

#[test]
fn agrees_with_an_independent_implementation() {
    let Some(encoder) = encoder() else {
        return;
    };
    // Token counts and first components from the C program that the file format comes from.
    let known = [
        (
            "query: 연차는 며칠인가요?",
            14,
            [0.073955, -0.053575, -0.033765, -0.039046],
        ),
        (
            "query: How long is the warranty of the pump?",
            15,
            [0.026069, -0.009945, -0.041272, -0.065945],
        ),
        (
            "query: When can I have lunch?",
            11,
            [0.024419, -0.004009, -0.069572, -0.049442],
        ),
    ];
    for (text, n_tokens, components) in known {
        assert_eq!(encoder.tokenize(text).len(), n_tokens);
        let vector = &encoder.encode(&[text])[0];
        for (found, expected) in vector.iter().zip(components) {
            // Both round activations to 8 bits, in different places.
            assert!(
                (found - expected).abs() < 6e-3,
                "{text}: {:?} but {components:?}",
                &vector[..4]
            );
        }
    }
}

#[test]
fn vectors_have_unit_length_and_do_not_depend_on_the_batch() {
    let Some(encoder) = encoder() else {
        return;
    };
    let long = "passage: ".to_owned() + &"약관 terms ".repeat(400);
    let texts = ["query: 보증", long.as_str(), "", "query: 보증"];
    let together = encoder.encode(&texts);
    assert_eq!(together.len(), 4);
    assert_eq!(together[0], together[3]);
    for (text, vector) in texts.iter().zip(&together) {
        assert_eq!(vector.len(), encoder.dim());
        assert!((ops::dot_f32(vector, vector) - 1.0).abs() < 1e-4);
        assert_eq!(&encoder.encode(&[text])[0], vector);
    }
}

#[test]
fn a_question_does_not_wait_for_the_threads_and_gets_the_same_vector() {
    let Some(encoder) = encoder() else {
        return;
    };
    let text = "query: 보증 기간은 얼마인가요?";
    let free = encoder.encode(&[text]);
    let _turn = encoder.bert.turn.lock().unwrap();
    assert_eq!(encoder.encode(&[text]), free);
}

#[test]
fn texts_are_cut_at_the_last_position_and_decomposed_hangul_is_composed() {
    let Some(encoder) = encoder() else {
        return;
    };
    let ids = encoder.tokenize(&"휴가 ".repeat(2000));
    assert_eq!(ids.len(), TOKENS_MAX);
    assert_eq!((ids[0], ids[TOKENS_MAX - 1]), (0, 2));
    let decomposed = "\u{1112}\u{1172}\u{1100}\u{1161}";
    assert_eq!(encoder.tokenize(decomposed), encoder.tokenize("휴가"));
    assert_eq!(encoder.tokenize("  a   b\t"), encoder.tokenize("a b"));
}

#[test]
fn text_that_spells_a_control_piece_is_only_text() {
    let Some(encoder) = encoder() else {
        return;
    };
    let ids = encoder.tokenize("a <pad> </s> b");
    assert_eq!(ids.iter().filter(|&&id| id == 2).count(), 1);
    assert!(!ids.contains(&1));
}

fn cross_encoder() -> Option<Arc<CrossEncoder>> {
    let path = testkit::need_model(testkit::RERANKER_FILE)?;
    Some(CrossEncoder::load(&path, 2).unwrap())
}

#[test]
fn pairs_are_scored_as_the_file_says() {
    let Some(encoder) = cross_encoder() else {
        return;
    };
    let berlin = "How many people live in Berlin?";
    let pump = "How long is the warranty of the pump?";
    // The weights of this file in double precision, computed by another program. The model before it was brought to eight
    // bits gives 9.2189 and -4.0780 for the first two (its card), ONNX Runtime 1.32 with this file 8.614 for the third.
    let known = [
        (
            berlin,
            "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
            9.08509,
        ),
        (berlin, "Berlin is well known for its museums.", -3.934312),
        (
            pump,
            "The warranty of the pump expires two years after delivery.",
            8.899426,
        ),
        (pump, "The cafeteria opens at half past eleven.", -10.934473),
        (
            "Who approves travel expenses?",
            "Travel expenses above 500 euros are approved by the head of the department; below that amount no approval is \
             needed.",
            7.156898,
        ),
    ];
    for (question, passage, known) in known {
        let found = encoder.score(question, &[passage])[0].unwrap();
        // Ours rounds weights and activations to eight bits in blocks of 32.
        assert!((found - known).abs() < 0.1, "{passage}: {found}, not {known}");
    }
    assert!(!encoder.knows_hangul());
}

#[test]
fn a_score_does_not_depend_on_the_others_and_long_passages_are_cut() {
    let Some(encoder) = cross_encoder() else {
        return;
    };
    let long = "The pump stands in the cellar. ".repeat(400);
    let passages = ["The pump stops by itself.", long.as_str(), "", "[SEP] [CLS] pump"];
    let together = encoder.score("When does the pump stop?", &passages);
    for (passage, together) in passages.iter().zip(&together) {
        assert!(together.is_some());
        assert_eq!(
            encoder.score("When does the pump stop?", &[passage])[0],
            *together
        );
    }
    let (long_question, none) = ("pump ".repeat(5_000), encoder.score("pump", &[]));
    assert!(encoder.score(&long_question, &["The pump."])[0].is_some() && none.is_empty());
}

#[test]
fn a_folder_of_the_roberta_family_is_scored_as_by_another_program() {
    // Random weights of 16 columns; the scores are those of a few lines of NumPy in double precision.
    let folder = testkit::encoder_dir("xlm-roberta");
    let encoder = CrossEncoder::load(&folder, 1).unwrap();
    let known = [
        ("when does the pump stop", "the pump stop by itself", -8.003),
        ("언제 펌프 교체", "물 펌프 멈춘다", -7.42622),
        ("key", "under the stone", -2.07507),
    ];
    for (question, passage, known) in known {
        let found = encoder.score(question, &[passage])[0].unwrap();
        assert!((found - known).abs() < 0.05, "{passage}: {found}, not {known}");
    }
    let long = "pump ".repeat(100);
    assert!(encoder.score(&long, &[&long])[0].is_some());
}

/// An E5S1 file of one layer with this width, so many heads and one tensor.
fn e5_file(d_model: i32, n_heads: i32, (name, values): (&str, &[f32])) -> Vec<u8> {
    let mut out = b"E5S1\x01\0\0\0".to_vec();
    let words = |out: &mut Vec<u8>, all: &[i32]| all.iter().for_each(|word| out.extend(word.to_le_bytes()));
    words(&mut out, &[d_model, 1, n_heads, 128, 8, 16, 2]);
    out.extend(1e-12f32.to_le_bytes());
    // Blocks of 32; five pieces without bytes, of which the first four are special; no rules.
    words(&mut out, &[32, 5, 0, 1, 2, 3]);
    out.extend([0; 8 + 6 * 4 + 5 * 4 + 2 * 4]);
    words(&mut out, &[1]);
    let start = (out.len() + 2 + name.len() + 1 + 4 + 8 + 8).next_multiple_of(64);
    out.extend((name.len() as u16).to_le_bytes());
    out.extend(name.bytes());
    out.push(0);
    words(&mut out, &[values.len() as i32]);
    out.extend((start as u64).to_le_bytes());
    out.extend((4 * values.len() as u64).to_le_bytes());
    out.resize(start, 0);
    values.iter().for_each(|value| out.extend(value.to_le_bytes()));
    out
}

#[test]
fn an_encoder_with_a_weight_that_is_no_number_or_heads_too_large_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.e5s1");
    let refusal = |bytes: Vec<u8>| {
        stdx::fs::write(&path, bytes).unwrap();
        TextEncoder::load(&path, 1).err().unwrap()
    };
    let mut values = vec![0.5; 8 * 64];
    values[64 * 2 + 3] = f32::INFINITY;
    let error = refusal(e5_file(64, 2, ("emb.word", &values)));
    assert!(
        matches!(&error, LoadError::NotFinite { name, place } if name == "emb.word" && *place == [2, 3]),
        "{error}"
    );
    let error = refusal(e5_file(1024, 2, ("emb.word", &[0.5])));
    assert!(error.to_string().contains("more than 256 elements"), "{error}");
}

#[test]
fn a_pair_scorer_with_heads_too_large_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let header = r#"{"bert.embeddings.word_embeddings.weight":{"dtype":"F16","shape":[1,512],"data_offsets":[0,1024]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend([0; 1024]);
    stdx::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    stdx::fs::write(folder.path().join("config.json"), r#"{"num_attention_heads":1}"#).unwrap();
    let error = CrossEncoder::load(folder.path(), 1).err().unwrap().to_string();
    assert!(error.contains("heads have 512 elements"), "{error}");
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let good = testkit::encoder_dir("xlm-roberta");
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        stdx::fs::write(folder.path().join(file), stdx::fs::read(good.join(file)).unwrap()).unwrap();
    }
    let path = folder.path().join("model.safetensors");
    let name = "roberta.encoder.layer.0.output.dense.weight";
    let tensors = weights::safetensors::SafeTensors::open(&path).unwrap();
    let (tensor, mut bytes) = (tensors.tensor(name).unwrap(), stdx::fs::read(&path).unwrap());
    let at = tensor.offset as usize + 2;
    bytes[at..at + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    stdx::fs::write(&path, bytes).unwrap();
    let error = CrossEncoder::load(folder.path(), 1).err().unwrap();
    assert!(
        matches!(&error, LoadError::NotFinite { name: found, place } if found == name && *place == [0, 1]),
        "{error}"
    );
}

#[test]
fn what_cannot_score_pairs_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let good = testkit::encoder_dir("xlm-roberta");
    let (config, tokenizer) = ("config.json", "tokenizer.json");
    let text = |name: &str| stdx::fs::read_to_string(good.join(name)).unwrap();
    let refused = |config_is: &str, tokenizer_is: &str, what: &str| {
        std::fs::copy(
            good.join("model.safetensors"),
            folder.path().join("model.safetensors"),
        )
        .unwrap();
        stdx::fs::write(folder.path().join(config), config_is).unwrap();
        stdx::fs::write(folder.path().join(tokenizer), tokenizer_is).unwrap();
        let error = CrossEncoder::load(folder.path(), 1).err().unwrap().to_string();
        assert!(error.contains(what), "{error}");
    };
    let (c, t) = (text(config), text(tokenizer));
    refused(&c.replace("\"gelu\"", "\"relu\""), &t, "`relu`");
    refused(&c.replace("absolute", "relative_key"), &t, "`relative_key`");
    refused(
        &c.replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 5"),
        &t,
        "heads",
    );
    refused("{}", &t, "config.json");
    refused("{", &t, "config.json");
    refused(&c, "{", "tokenizer.json");
    refused(
        &c,
        &t.replace("\"stone\":18", "\"stone\":180"),
        "without a word vector",
    );
    let other = CrossEncoder::load(&testkit::fixture_dir("llama"), 1)
        .err()
        .unwrap()
        .to_string();
    assert!(other.contains("neither a BERT nor"), "{other}");
    let empty = tempfile::tempdir().unwrap();
    let error = CrossEncoder::load(empty.path(), 1).err().unwrap().to_string();
    assert!(error.contains("no model.safetensors"), "{error}");
}
