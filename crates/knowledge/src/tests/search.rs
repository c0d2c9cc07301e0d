//! What is found, and that hits are exactly what is stored.

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::*;

#[test]
fn a_particle_does_not_hide_a_noun() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "을은 계약서를 검토한 뒤 서명한다.");
    house.write("b.txt", "날씨가 맑고 바람이 분다.");
    house.ingest(&store);
    assert_eq!(names(&find(&store, "계약서")), ["a.txt"]);
    assert_eq!(names(&find(&store, "계약서는 누가 검토하나요?"))[0], "a.txt");
}

#[test]
fn decomposed_text_is_found_by_composed_questions_and_the_other_way_round() {
    let house = House::new();
    let store = house.open();
    let decomposed: String = "한국어 문서".nfd().collect();
    house.write("a.txt", &decomposed);
    house.ingest(&store);
    assert_eq!(find(&store, "한국어").len(), 1);
    assert_eq!(find(&store, &decomposed).len(), 1);
}

#[test]
fn a_reader_sees_what_is_committed_after_it_opened() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "first");
    house.ingest(&store);
    let reader = Store::open(&house.data, Access::Read).unwrap();
    assert_eq!(find(&reader, "second").len(), 0);
    house.write("b.txt", "second");
    house.ingest(&store);
    assert_eq!(names(&find(&reader, "second")), ["b.txt"]);
}

#[test]
fn equal_passages_are_listed_once() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "똑같은 문장");
    house.write("b.txt", "똑같은 문장");
    house.ingest(&store);
    assert_eq!(find(&store, "똑같은").len(), 1);
}

#[test]
fn hostile_questions_are_only_words() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "ordinary text");
    house.ingest(&store);
    let long = "긴 질문 ".repeat(20_000);
    let questions = [
        "",
        "   ",
        "\"",
        "AND OR NOT (",
        "title:x*^~",
        "\0\u{FFFF}\u{202E}",
        "'; DROP TABLE documents;",
        &long,
    ];
    for question in questions {
        find(&store, question);
    }
    assert_eq!(find(&store, "ordinary").len(), 1);
}

#[test]
fn frequencies_count_passages() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "alpha beta");
    house.write("b.txt", "alpha");
    house.ingest(&store);
    let frequency = |text: &str| {
        seen(&store)
            .passage_frequency(&seen(&store).terms(text)[0])
            .unwrap()
    };
    assert_eq!(
        (frequency("alpha"), frequency("beta"), frequency("gamma")),
        (2, 1, 0)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_hit_is_exactly_the_stored_characters(
        texts in proptest::collection::vec("[가-힣a-zA-Zé\u{1100}-\u{1112}\u{1161}-\u{1175}😀 .\n#]{1,400}", 1..4),
        question in "[가-힣a-z]{2,8}",
    ) {
        let house = House::new();
        let store = house.open();
        for (i, text) in texts.iter().enumerate() {
            house.write(&format!("{i}.txt"), text);
        }
        house.ingest(&store);
        let words: String = texts.iter().flat_map(|t| t.chars().take(40)).collect();
        for question in [&question, &words] {
            for hit in find(&store, question) {
                let document = seen(&store).document(&hit.document_id, Some(&hit.version)).unwrap().unwrap();
                let exact: String =
                    document.text.chars().skip(hit.start).take(hit.end - hit.start).collect();
                prop_assert_eq!(&hit.text, &exact);
            }
        }
    }
}
