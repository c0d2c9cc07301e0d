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
fn what_is_named_exactly_is_found_in_any_spelling() {
    let house = House::new();
    let store = house.open();
    let texts = [
        ("date.txt", "이 규정은 2024년 3월 1일부터 시행한다."),
        ("other-date.txt", "이 규정은 2024년 1월 3일부터 시행한다."),
        ("amount.txt", "위약금은 150만 원으로 한다."),
        ("other-amount.txt", "위약금은 1,050,000원으로 한다."),
        ("rate.txt", "Interest of 12.5 percent is due."),
        ("other-rate.txt", "Interest of 5 percent is due on day 12."),
        ("part.txt", "Order the valve AB-1234/5 from the store."),
        ("other-part.txt", "Order the valve AB-5/1234 from the store."),
        (
            "contract.md",
            "# 제11조\n\n③ 통지하지 않는다.\n\n# 제12조(해지)\n\n① 서면으로 한다.\n\n③ 통지한다.\n",
        ),
        ("other-contract.md", "# 제13조(기한)\n\n③ 알린다.\n"),
    ];
    for (name, text) in texts {
        house.write(name, text);
    }
    house.ingest(&store);
    let first = |question: &str| {
        names(&find(&store, question))
            .first()
            .cloned()
            .unwrap_or_default()
    };
    for question in [
        "2024-03-01",
        "2024. 3. 1. 시행",
        "1 March 2024",
        "March 1, 2024 규정",
    ] {
        assert_eq!(first(question), "date.txt", "{question}");
    }
    for question in [
        "1,500,000원",
        "1500000 KRW",
        "1.5 million won",
        "일백오십만원 위약금",
    ] {
        assert_eq!(first(question), "amount.txt", "{question}");
    }
    assert_eq!(first("interest 12.5%"), "rate.txt");
    assert_eq!(first("valve AB1234/5"), "part.txt");
    for question in ["제12조 제3항", "제12조제3항은?", "Article 12(3)"] {
        let hit = &find(&store, question)[0];
        assert!(
            hit.path.ends_with("/contract.md") && hit.text.contains("통지한다"),
            "{question}: {}",
            hit.text
        );
    }
}

#[test]
fn a_phrase_in_quotation_marks_and_words_that_stand_together_come_first() {
    let house = House::new();
    let store = house.open();
    house.write(
        "apart.txt",
        "The termination of a lease is early in the year, and notice of it is a fee of trust.",
    );
    house.write(
        "phrase.txt",
        "A fee is due for early termination, whatever notice there was of the lease in a year.",
    );
    house.write(
        "away.txt",
        "해지는 서면으로 한다. 그 밖의 일은 따로 정하며 위약금이 있다. 계약은 문서로 한다.",
    );
    house.write(
        "near.txt",
        "위약금이 있다. 그 밖의 일은 따로 정하며 문서로 한다. 계약 해지는 서면으로 한다.",
    );
    house.ingest(&store);
    assert_eq!(names(&find(&store, "\"early termination\""))[0], "phrase.txt");
    assert_eq!(names(&find(&store, "계약 해지"))[0], "near.txt");
    assert_eq!(names(&find(&store, "「계약 해지」"))[0], "near.txt");
}

#[test]
fn what_is_nearly_the_same_is_listed_once_with_its_places() {
    let house = House::new();
    let store = house.open();
    let clause = "임차인은 계약이 끝나면 목적물을 원래대로 돌려놓고 열쇠와 설비를 모두 임대인에게 넘겨주어야 하며 \
        그 비용은 임차인이 낸다. 임대인은 확인한 뒤 보증금을 30일 안에 돌려준다. 다툼은 서로 협의하여 푼다.";
    house.write("a.txt", clause);
    house.write("b.txt", &clause.replace(". ", ".  \n"));
    house.write("c.txt", &clause.replace("30일", "60일"));
    house.ingest(&store);
    let hits = find(&store, "보증금을 돌려주는 날");
    assert_eq!(hits.len(), 2);
    let of_30: Vec<&Hit> = hits.iter().filter(|hit| hit.text.contains("30일")).collect();
    assert_eq!(of_30.len(), 1);
    assert_eq!(of_30[0].alike.len(), 1);
    let place = &of_30[0].alike[0];
    let text = seen(&store).span(&place.document_id, Some(&place.version), place.start..place.end);
    assert!(text.unwrap().unwrap().contains("30일"));
}

#[test]
fn neighbours_are_of_the_same_section() {
    let house = House::new();
    let store = house.open();
    let body = |word: &str| format!("{word} 항목을 설명하는 문장이 이어진다. ").repeat(40);
    house.write(
        "a.md",
        &format!("# 하나\n\n{}\n\n# 둘\n\n{}\n", body("첫째"), body("둘째")),
    );
    house.ingest(&store);
    let view = seen(&store);
    let hits = view
        .search("설명하는 문장", 50, SearchMode::Lexical, None)
        .unwrap();
    let mut n = 0;
    for hit in &hits {
        let beside = view.neighbours(hit.passage_id).unwrap();
        for neighbour in [&beside.before, &beside.after].into_iter().flatten() {
            assert_eq!(neighbour.heading_path, hit.heading_path);
            n += 1;
        }
        assert!(beside.before.is_none_or(|before| before.end <= hit.start));
        assert!(beside.after.is_none_or(|after| after.start >= hit.end));
    }
    assert!(n > 0);
    assert_eq!(
        view.neighbours(u64::MAX >> 1).unwrap(),
        crate::Neighbours::default()
    );
}

#[test]
fn what_is_typed_becomes_a_title_or_heading() {
    let house = House::new();
    let store = house.open();
    let korean = "이 절에서는 무엇을 언제까지 누구에게 내야 하는지와 그 뒤에 일어나는 일을 차례로 설명한다. "
        .repeat(3);
    let english =
        "This section says what has to be handed in, to whom and when, and what happens then. ".repeat(3);
    house.write(
        "a.md",
        &format!("# 계약 해지 절차\n\n{korean}\n\n# 계약서 보관\n\n{korean}\n"),
    );
    house.write(
        "b.md",
        &format!("# Annual leave policy\n\n{english}\n\n# Sick leave\n\n{english}\n"),
    );
    house.ingest(&store);
    let suggest = |typed: &str| -> Vec<String> {
        let found = seen(&store).suggest(typed, 10).unwrap().into_iter();
        found.map(|suggestion| suggestion.text).collect()
    };
    assert_eq!(suggest("계야"), ["계약 해지 절차", "계약서 보관"]);
    assert_eq!(suggest("계약 해"), ["계약 해지 절차"]);
    assert_eq!(suggest("해지"), ["계약 해지 절차"]);
    assert_eq!(suggest("annual lea"), ["Annual leave policy"]);
    assert_eq!(suggest("policing"), Vec::<String>::new());
    assert_eq!(suggest("LEAVE").len(), 2);
    for nothing in ["", " ", "ㄱ", "\0", "없는 말"] {
        assert_eq!(suggest(nothing), Vec::<String>::new(), "{nothing}");
    }
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

#[test]
fn the_clause_that_a_question_names_comes_before_its_pieces_in_another_order() {
    let house = House::new();
    let store = house.open();
    let right = "# 제12조\n\n제12조 제3항 회사는 근로자에게 다음 각 호의 사항을 서면으로 알리고, 그 내용을 인사 기록에 남기며, \
                 근로자가 요구하면 사본을 내주고, 분기마다 한 번씩 그 이행을 점검하여 대표자에게 보고하여야 한다.";
    house.write("right.md", right);
    house.write("wrong.md", "# 제3조\n\n이 조의 제12항을 따른다.");
    house.write("other.md", "# 제7조\n\n휴가는 제12조와 별도로 준다.");
    house.ingest(&store);
    for question in [
        "제12조제3항은?",
        "제12조 제3항은?",
        "제12조 제3항",
        "12조 3항의 내용",
    ] {
        let hits = seen(&store)
            .search(question, 3, SearchMode::Lexical, None)
            .unwrap();
        assert_eq!(names(&hits)[0], "right.md", "{question}");
    }
}
