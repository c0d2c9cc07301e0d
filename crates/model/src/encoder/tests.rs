//! The real encoder, where its file is present.

use super::*;

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
