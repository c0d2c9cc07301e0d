//! Questions over a small real store: what is answered, quoted, hedged, refused, and with which proof.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::path::PathBuf;
use std::sync::Arc;

use assistant::{Answer, Ask, AskError, AskEvent, Assistant, Language, Mode, Outcome, Turn, Wanted};
use knowledge::{Access, AsOf, Go, Reader, Store};
use tempfile::TempDir;

const REFUNDS: &str = "# Card refunds\n\n\
    A refund after settlement takes 3 to 5 business days to reach the card holder. \
    A cancellation on the day of payment is shown at once.\n\n\
    ## Fees\n\nNo fee is charged for a refund. Partial refunds are possible three times for each payment.\n";
const LEAVE: &str = "# 휴가 규정\n\n## 연차 휴가\n\n\
    연차 휴가는 1년 근속한 직원에게 15일이 주어집니다. 남은 연차는 다음 해 3월까지 쓸 수 있습니다.\n\n\
    ## 병가\n\n병가는 연 30일까지이며 진단서를 제출해야 합니다.\n";

struct House {
    _dir: TempDir,
    assistant: Assistant,
}

fn house(files: &[(&str, &str)]) -> House {
    let dir = tempfile::tempdir().unwrap();
    let documents = dir.path().join("documents");
    stdx::fs::create_dir_all(&documents).unwrap();
    for (name, text) in files {
        stdx::fs::write(documents.join(name), text).unwrap();
    }
    let store = Store::open(&dir.path().join("data"), Access::Write).unwrap();
    let paths: Vec<PathBuf> = vec![documents];
    let report = store.ingest(&paths, &mut |_| Go::On).unwrap();
    assert_eq!(report.added, files.len(), "{report:?}");
    House {
        _dir: dir,
        assistant: Assistant::new(Arc::new(store), None, None),
    }
}

impl House {
    fn ask(&self, question: &str) -> Answer {
        self.ask_after(question, &[])
    }

    fn ask_after(&self, question: &str, history: &[Turn]) -> Answer {
        let ask = Ask {
            question: question.into(),
            history: history.to_vec(),
            extractive: true,
            ..Ask::default()
        };
        let answer = self.assistant.ask(&ask, &mut |_| Wanted::Yes).unwrap();
        self.check_citations(&answer);
        answer
    }

    /// Every citation is exactly what the store holds, and every sentence has one.
    fn check_citations(&self, answer: &Answer) {
        for sentence in &answer.sentences {
            assert!(!sentence.citations.is_empty(), "{sentence:?}");
            assert!(sentence.citations.iter().all(|&i| i < answer.citations.len()));
        }
        for c in &answer.citations {
            let document = self
                .assistant
                .store()
                .view(&Reader::keeper())
                .unwrap()
                .document(&c.document_id, Some(&c.version))
                .unwrap()
                .unwrap();
            let stored: String = document
                .text
                .chars()
                .skip(c.start)
                .take(c.end - c.start)
                .collect();
            assert_eq!(stored, c.quote);
        }
        assert_eq!(answer.refusal.is_some(), answer.outcome == Outcome::Refuse);
        assert_eq!(answer.sentences.is_empty(), answer.outcome == Outcome::Refuse);
    }
}

fn text(answer: &Answer) -> String {
    answer
        .sentences
        .iter()
        .map(|s| s.text.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn answers_an_english_question_with_the_sentence_that_tells() {
    let answer = house(&[("refunds.md", REFUNDS), ("leave.md", LEAVE)])
        .ask("How long does a card refund take after settlement?");
    assert_eq!(answer.outcome, Outcome::Answer);
    assert_eq!(answer.mode, Mode::Extractive);
    assert!(
        text(&answer).contains("3 to 5 business days"),
        "{}",
        text(&answer)
    );
}

#[test]
fn of_a_table_the_row_is_quoted_that_was_asked_for_and_no_other() {
    const PRICES: &str =
        "Item,Price,Stock\nchair,40 euros,12\ntable,120 euros,3\nlamp,15 euros,30\nshelf,75 euros,8\n";
    const ROOMS: &str = "회의실,층,정원\n매화실,2층,8명\n난초실,3층,12명\n국화실,4층,20명\n";
    let house = house(&[
        ("prices.csv", PRICES),
        ("회의실.csv", ROOMS),
        ("refunds.md", REFUNDS),
    ]);
    for (question, row) in [
        ("What is the price of a table?", "table | 120 euros | 3"),
        ("How much is the lamp?", "lamp | 15 euros | 30"),
        ("난초실의 정원은 몇 명인가요?", "난초실 | 3층 | 12명"),
    ] {
        let answer = house.ask(question);
        assert_eq!(answer.outcome, Outcome::Answer, "{question}");
        assert_eq!(text(&answer), row, "{question}");
    }
}

#[test]
fn answers_a_korean_question_whatever_its_particles() {
    let house = house(&[("refunds.md", REFUNDS), ("leave.md", LEAVE)]);
    for question in [
        "연차 휴가는 며칠인가요?",
        "1년 근속하면 연차휴가가 얼마나 주어지나요?",
    ] {
        let answer = house.ask(question);
        assert_eq!(answer.language, Language::Korean);
        assert_ne!(
            answer.outcome,
            Outcome::Refuse,
            "{question}: {:?}",
            answer.refusal
        );
        assert!(text(&answer).contains("15일"), "{question}: {}", text(&answer));
    }
}

#[test]
fn a_short_sentence_that_tells_all_is_quoted_alone() {
    let house = house(&[
        (
            "constitution.md",
            "# 국회\n\n제42조 국회의원의 임기는 4년으로 한다. 제43조 국회의원은 법률이 정하는 직을 겸할 수 없다.\n",
        ),
        (
            "water.md",
            "# 정수기\n\n정수기 물은 매일 아침 교체합니다. 필터는 석 달마다 청소합니다.\n",
        ),
        (
            "pump.md",
            "# Pump\n\nThe pump stops. It does so within three seconds.\n",
        ),
        (
            "stick.txt",
            "5.1.1 Booting from a USB memory stick\n\nPlug it in, restart, and press F12.\n",
        ),
    ]);
    for (question, told, other) in [
        ("국회의원의 임기는?", "4년", "제43조"),
        ("정수기 물은 언제 교체하나요?", "매일", "필터"),
    ] {
        let answer = text(&house.ask(question));
        assert!(answer.contains(told) && !answer.contains(other), "{answer}");
    }
    // These say nothing that the question does not, or nothing at all.
    for (question, told) in [
        ("When does the pump stop?", "three seconds"),
        ("How do I boot from a USB memory stick?", "F12"),
    ] {
        let answer = text(&house.ask(question));
        assert!(answer.contains(told), "{answer}");
    }
}

#[test]
fn refuses_what_the_documents_do_not_tell_in_the_language_of_the_question() {
    let house = house(&[("refunds.md", REFUNDS), ("leave.md", LEAVE)]);
    for question in [
        "Who won the 1998 football World Cup?",
        "What is the salary of the chief executive?",
        "대표이사의 연봉은 얼마인가요?",
        "에베레스트산의 높이는 몇 미터인가요?",
    ] {
        let answer = house.ask(question);
        assert_eq!(answer.outcome, Outcome::Refuse, "{question}: {}", text(&answer));
        let reason = answer.refusal.unwrap().reason;
        let korean = Language::of(question) == Language::Korean;
        assert_eq!(
            reason.contains("문서에서 답을 찾을 수 없습니다"),
            korean,
            "{reason}"
        );
    }
}

#[test]
fn an_empty_house_refuses_and_says_why() {
    let answer = house(&[]).ask("How long does a refund take?");
    assert_eq!(answer.outcome, Outcome::Refuse);
    assert!(answer.refusal.unwrap().reason.contains("no documents yet"));
}

#[test]
fn a_follow_up_is_understood_from_the_question_before_and_grounded_again() {
    let house = house(&[("refunds.md", REFUNDS), ("leave.md", LEAVE)]);
    let before = [Turn {
        question: "연차 휴가는 며칠인가요?".into(),
        answer: "15일".into(),
    }];
    let answer = house.ask_after("그럼 병가는요?", &before);
    assert!(text(&answer).contains("30일"), "{}", text(&answer));
    let answer = house.ask_after("Who painted Las Meninas?", &before);
    assert_eq!(answer.outcome, Outcome::Refuse);
}

#[test]
fn sources_with_different_figures_are_both_quoted() {
    let answer = house(&[
        ("old.md", "# Refunds\n\nA card refund takes 5 business days.\n"),
        ("new.md", "# Refunds\n\nA card refund takes 7 business days.\n"),
    ])
    .ask("How many business days does a card refund take?");
    assert_eq!(answer.outcome, Outcome::Conflict);
    assert_eq!(answer.citations.len(), 2);
    let both = text(&answer);
    assert!(
        both.contains("5 business") && both.contains("7 business"),
        "{both}"
    );
}

#[test]
fn hostile_questions_are_values_not_panics() {
    let house = house(&[("refunds.md", REFUNDS)]);
    let ask = |question: &str| {
        let ask = Ask {
            question: question.into(),
            ..Ask::default()
        };
        house.assistant.ask(&ask, &mut |_| Wanted::Yes)
    };
    assert!(matches!(ask("  \n "), Err(AskError::EmptyQuestion)));
    assert!(matches!(
        ask(&"word ".repeat(2000)),
        Err(AskError::QuestionTooLong { .. })
    ));
    for question in [
        "\"",
        "AND OR NOT",
        "field:value^9 +(",
        "\u{0}\u{202E}refund",
        "refund ".repeat(500).as_str(),
    ] {
        house.check_citations(&ask(question).unwrap());
    }
}

#[test]
fn nobody_listening_stops_the_answer() {
    let house = house(&[("refunds.md", REFUNDS)]);
    let ask = Ask {
        question: "How long does a refund take?".into(),
        ..Ask::default()
    };
    assert!(matches!(
        house.assistant.ask(&ask, &mut |_| Wanted::No),
        Err(AskError::Cancelled)
    ));
}

#[test]
fn events_carry_the_same_sentences_and_citations_as_the_answer() {
    let house = house(&[("refunds.md", REFUNDS), ("leave.md", LEAVE)]);
    let ask = Ask {
        question: "Is there a fee for a refund?".into(),
        ..Ask::default()
    };
    let (mut sentences, mut citations) = (Vec::new(), Vec::new());
    let answer = house
        .assistant
        .ask(&ask, &mut |event| {
            if let AskEvent::Sentence {
                sentence,
                new_citations,
            } = event
            {
                sentences.push(sentence);
                citations.extend(new_citations);
            }
            Wanted::Yes
        })
        .unwrap();
    assert!(!sentences.is_empty());
    assert_eq!((sentences, citations), (answer.sentences, answer.citations));
}

/// A house in which a day is held still.
fn house_on(day: &str, files: &[(&str, &str)]) -> House {
    let house = house(files);
    house.assistant.store().today().hold(day.parse().ok());
    house
}

impl House {
    fn ask_as_of(&self, question: &str, as_of: AsOf) -> Answer {
        let ask = Ask {
            question: question.into(),
            extractive: true,
            as_of,
            ..Ask::default()
        };
        let answer = self.assistant.ask(&ask, &mut |_| Wanted::Yes).unwrap();
        self.check_citations(&answer);
        answer
    }
}

const TRAVEL_2023: &str = "---\ntitle: Travel policy\nvalid_from: 2023-01-01\n---\n# Travel policy\n\n\
    The daily allowance for travel inside the country is 40 euros.\n";
const TRAVEL_2024: &str = "---\ntitle: Travel policy\nvalid_from: 2024-03-01\n---\n# Travel policy\n\n\
    The daily allowance for travel inside the country is 45 euros.\n";

#[test]
fn of_two_editions_the_newer_in_force_is_followed_and_that_is_said() {
    let files = [("travel-a.md", TRAVEL_2023), ("travel-b.md", TRAVEL_2024)];
    let question = "How much is the daily allowance for travel inside the country?";
    let house = house_on("2024-06-01", &files);
    let answer = house.ask(question);
    assert_eq!(answer.outcome, Outcome::Answer);
    assert!(
        text(&answer).contains("45 euros") && !text(&answer).contains("40 euros"),
        "{}",
        text(&answer)
    );
    assert_eq!(answer.notes.len(), 1, "{:?}", answer.notes);
    for said in ["in force since 2024-03-01", "travel-b.md", "40 euros"] {
        assert!(answer.notes[0].contains(said), "{:?}", answer.notes);
    }
    // Before the newer one began there is one answer, and nothing to say.
    house.assistant.store().today().hold("2024-02-29".parse().ok());
    let answer = house.ask(question);
    assert!(
        text(&answer).contains("40 euros") && answer.notes.is_empty(),
        "{answer:?}"
    );
}

#[test]
fn editions_are_settled_in_korean_too_unless_the_question_names_one() {
    let old = "# 출장규정 2023년판\n\n국내 출장의 일비는 하루 2만원으로 한다.\n";
    let new = "# 출장규정 2024년판\n\n국내 출장의 일비는 하루 3만원으로 한다.\n";
    let house = house(&[("old.md", old), ("new.md", new)]);
    let answer = house.ask("국내 출장의 일비는 얼마인가요?");
    assert!(
        text(&answer).contains("3만원") && !text(&answer).contains("2만원"),
        "{}",
        text(&answer)
    );
    assert!(
        answer
            .notes
            .iter()
            .any(|note| note.contains("두 판") && note.contains("2만원")),
        "{:?}",
        answer.notes
    );
    let answer = house.ask("출장규정 2023년판에서 국내 출장의 일비는 얼마인가요?");
    assert!(
        text(&answer).contains("2만원") && !text(&answer).contains("3만원"),
        "{}",
        text(&answer)
    );
    assert!(
        !answer.notes.iter().any(|note| note.contains("두 판")),
        "{:?}",
        answer.notes
    );
}

#[test]
fn what_replaces_another_leads_and_documents_that_only_differ_still_conflict() {
    let old = "# Parking\n\nThe monthly fee for a parking place is 20 euros.\n";
    let new = "# Car park\n\nSupersedes: parking.md\n\nThe monthly fee for a parking place is 25 euros.\n";
    let question = "How much is the monthly fee for a parking place?";
    let answer = house(&[("parking.md", old), ("car.md", new)]).ask(question);
    assert_eq!(answer.outcome, Outcome::Answer);
    assert!(answer.notes[0].contains("which replaces"), "{:?}", answer.notes);
    let other = "# Car park\n\nThe monthly fee for a parking place is 25 euros.\n";
    let answer = house(&[("parking.md", old), ("car.md", other)]).ask(question);
    assert_eq!(answer.outcome, Outcome::Conflict);
}

#[test]
fn what_does_not_hold_answers_only_when_asked_for_and_says_so() {
    let ended =
        "---\nvalid_until: 2022-12-31\n---\n# Sauna\n\nThe sauna in the garden opens at five o'clock.\n";
    let house = house_on("2024-06-01", &[("sauna.md", ended), ("leave.md", LEAVE)]);
    let question = "When does the sauna in the garden open?";
    let refused = house.ask(question);
    assert_eq!(refused.outcome, Outcome::Refuse);
    let refusal = refused.refusal.unwrap();
    assert!(
        refusal.missing.contains(&"sauna".to_owned()) && refusal.nearest.is_empty(),
        "{refusal:?}"
    );
    let day = AsOf {
        day: "2022-06-01".parse().ok(),
        include_expired: false,
    };
    for as_of in [AsOf::ANY, day] {
        let answer = house.ask_as_of(question, as_of);
        assert_eq!(answer.outcome, Outcome::Answer);
        assert!(!answer.citations[0].holds);
        assert_eq!(
            answer.notes,
            ["“Sauna” is no longer in force: it held until 2022-12-31."]
        );
    }
}

#[test]
fn a_house_whose_documents_have_all_ended_has_documents() {
    let ended = "---\nvalid_until: 2022-12-31\n---\n# Sauna\n\nThe sauna opens at five o'clock.\n";
    let house = house_on("2024-06-01", &[("sauna.md", ended)]);
    let reason = house.ask("When does the sauna open?").refusal.unwrap().reason;
    assert!(reason.contains("don't tell"), "{reason}");
}
