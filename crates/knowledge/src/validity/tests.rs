//! What is read as a statement of validity, in both languages, and what is not.

use proptest::prelude::*;
use stdx::fs;

use super::*;
use crate::StoreError;

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn written(text: &str) -> Option<String> {
    date_at(&text.chars().collect::<Vec<_>>()).map(|(date, _)| date.to_string())
}

#[test]
fn dates_are_read_as_people_write_them() {
    for text in [
        "2024-03-01",
        "2024/3/1",
        "2024.03.01.",
        "2024. 3. 1.",
        "2024년 3월 1일",
        "2024년3월1일",
        "1 March 2024",
        "1st of March, 2024",
        "1-Mar-2024",
        "1. März 2024",
        "March 1, 2024",
        "Mar. 1st 2024",
        "MARCH 01 2024",
    ] {
        let expected = if text.contains('ä') {
            None
        } else {
            Some("2024-03-01".to_owned())
        };
        assert_eq!(written(text), expected, "{text}");
    }
    assert_eq!(written("Sept. 3, 2024").as_deref(), Some("2024-09-03"));
    for text in [
        "03/04/2024",
        "3.4.2024",
        "2024-02-30",
        "2024-03",
        "2024.3.1.5",
        "2024년 3월",
        "Mayor 1 2024",
        "24. 3. 1.",
    ] {
        assert_eq!(written(text), None, "{text}");
    }
}

/// From, until.
fn read(text: &str) -> (Option<String>, Option<String>) {
    let stated = of_text(text);
    (
        stated.from.map(|d| d.to_string()),
        stated.until.map(|d| d.to_string()),
    )
}

#[test]
fn statements_near_the_beginning_are_read() {
    for (text, from, until) in [
        ("Effective date: 1 March 2024", "2024-03-01", ""),
        ("Travel Policy\n\nEffective 2024-03-01", "2024-03-01", ""),
        ("Version 2.0, effective 1 March 2024.", "2024-03-01", ""),
        (
            "Version 2.0 | Effective: March 1, 2024 | Owner: Finance",
            "2024-03-01",
            "",
        ),
        ("Valid until 31 December 2025", "", "2025-12-31"),
        ("Expires: 2025-12-31; owner: HR", "", "2025-12-31"),
        (
            "Valid from 1 January 2024 to 31 December 2024.",
            "2024-01-01",
            "2024-12-31",
        ),
        ("Validity: 2024-01-01 – 2024-12-31", "2024-01-01", "2024-12-31"),
        (
            "This policy is effective from 1 March 2024 and binds everybody.",
            "2024-03-01",
            "",
        ),
        (
            "We travel little. This policy expires on 31 December 2025.",
            "",
            "2025-12-31",
        ),
        (
            "[시행 2024. 1. 1.] [규정 제12호, 2023. 12. 1., 일부개정]",
            "2024-01-01",
            "",
        ),
        ("취업규칙 (시행 2024. 3. 1.)", "2024-03-01", ""),
        ("시행일: 2024년 3월 1일", "2024-03-01", ""),
        ("시 행 일 : 2024.3.1.(금)", "2024-03-01", ""),
        ("시행일은 2024년 3월 1일부터", "2024-03-01", ""),
        ("시행일자 | 2024. 3. 1. | 담당부서 | 인사팀", "2024-03-01", ""),
        ("유효기간: 2024. 3. 1. ~ 2025. 2. 28.", "2024-03-01", "2025-02-28"),
        ("유효기간: 2025년 12월 31일까지", "", "2025-12-31"),
        ("만료일 2025-12-31", "", "2025-12-31"),
        (
            "제1조(목적) …\n이 규정은 2024년 3월 1일부터 시행한다.",
            "2024-03-01",
            "",
        ),
        ("이 지침은 2025년 12월 31일까지 효력을 가진다.", "", "2025-12-31"),
    ] {
        let expected = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        assert_eq!(read(text), (expected(from), expected(until)), "{text}");
    }
}

#[test]
fn supplementary_provisions_are_read_wherever_they_stand() {
    let body = "제1조 이 규정의 목적은 다음과 같다.\n".repeat(300);
    let one = format!("{body}\n부 칙\n\n이 규정은 2024년 3월 1일부터 시행한다.");
    assert_eq!(read(&one).0.as_deref(), Some("2024-03-01"));
    let two = format!(
        "{body}\n부칙 <2020. 1. 1.>\n제1조(시행일) 이 규칙은 2020년 1월 1일부터 시행한다.\n\
         부칙 <2024. 2. 1.>\n제1조(시행일) 2024년 3월 1일부터 시행한다."
    );
    assert_eq!(read(&two).0.as_deref(), Some("2024-03-01"));
    // The last one names no day: which one it is cannot be known.
    let open = format!("{one}\n부칙\n이 규정은 공포한 날부터 시행한다.");
    assert_eq!(read(&open).0, None);
    // What stands on top counts more.
    assert_eq!(
        read(&format!("[시행 2024. 7. 1.]\n{one}")).0.as_deref(),
        Some("2024-07-01")
    );
}

#[test]
fn what_is_not_said_of_the_document_or_in_two_ways_is_not_read() {
    for text in [
        "The new rule is effective 1 March 2024 for all sites.",
        "Effective 1 March 2024, the fee for parking rises.",
        "Effective communication since 1 March 2024",
        "The offer is valid until 31 December 2025.",
        "Effective date: 03/04/2024",
        "Effective date: the day after signature",
        "Effective date: 1 March 2024\nEffective date: 1 April 2024",
        "Effective 2024-03-01 | Expires 2023-03-01",
        "시행일정: 2024. 3. 1.",
        "제정 2019. 1. 1. 개정 2024. 3. 1.",
        "시행일 2019. 1. 1.\n시행일 2024. 3. 1.",
        "유효기간: 발급일로부터 1년",
        "여비규정은 2024년 3월 1일부터 시행한다.",
        "이 행사는 2024년 3월 1일부터 시행한다.",
        "이 규정은 2024년 3월 1일부터 인사팀에서 관리하며 매년 살펴본다.",
        "시행 2024년",
    ] {
        assert_eq!(read(text), (None, None), "{text}");
    }
    let late = format!("{}\nEffective date: 1 March 2024", "word ".repeat(900));
    assert_eq!(read(&late), (None, None));
}

#[test]
fn owners_and_what_is_replaced_are_read_after_their_labels() {
    let stated = of_text("Travel Policy\nOwner: Finance team\nSupersedes Travel Policy 2023.\n");
    assert_eq!(stated.owner.as_deref(), Some("Finance team"));
    assert_eq!(stated.replaces, ["Travel Policy 2023"]);
    assert_eq!(
        of_text("담당부서: 인사팀 | 시행일: 2024. 3. 1.").owner.as_deref(),
        Some("인사팀")
    );
    assert_eq!(of_text("Owner: A\nOwner: B").owner, None);
    assert_eq!(of_text("The owner of the house pays.\nOwner pays").owner, None);
}

#[test]
fn properties_state_by_names_that_mean_nothing_else() {
    let of = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        of_properties(&pairs)
    };
    let stated = of(&[
        ("Effective-Date", "\"2024-03-01\""),
        ("expires", "2025-12-31T00:00:00Z"),
        ("owner", "People & Culture"),
        ("author", "somebody"),
        ("replaces", "[leave-2022.md, 'leave-2023.md']"),
    ]);
    assert_eq!(
        stated.validity(),
        Validity {
            from: Some(day("2024-03-01")),
            until: Some(day("2025-12-31"))
        }
    );
    assert_eq!(stated.owner.as_deref(), Some("People & Culture"));
    assert_eq!(stated.replaces, ["leave-2022.md", "leave-2023.md"]);
    assert_eq!(of(&[("effective", "soon"), ("author", "x")]), Stated::default());
    assert_eq!(of(&[("시행일", "2024. 3. 1.")]).from, Some(day("2024-03-01")));
}

#[test]
fn rules_of_the_keeper_count_more_and_files_more_than_folders() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join(RULES_FILE),
        "[[rule]]\npath = \"/docs\"\nowner = \"Office\"\nuntil = 2030-01-01\n\
         [[rule]]\npath = \"/docs/a.txt\"\nfrom = \"2024-03-01\"\nuntil = \"none\"\nreplaces = \"b.txt\"\n",
    )
    .unwrap();
    let rules = Rules::load(dir.path()).unwrap();
    let own = Stated {
        from: Some(day("2020-01-01")),
        until: Some(day("2021-01-01")),
        owner: Some("somebody".to_owned()),
        replaces: Vec::new(),
    };
    let a = rules.of_file(std::path::Path::new("/docs/a.txt")).over(&own);
    assert_eq!(
        a.validity(),
        Validity {
            from: Some(day("2024-03-01")),
            until: None
        }
    );
    assert_eq!(
        (a.owner.as_deref(), a.replaces.as_slice()),
        (Some("Office"), &["b.txt".to_owned()][..])
    );
    let other = rules.of_file(std::path::Path::new("/docs/sub/c.txt")).over(&own);
    assert_eq!(other.until, Some(day("2030-01-01")));
    assert_eq!(rules.of_file(std::path::Path::new("/else/c.txt")).over(&own), own);
    // A keeper's end before the document's own beginning leaves the end.
    let ended = rules.of_file(std::path::Path::new("/docs/d.txt")).over(&Stated {
        from: Some(day("2031-01-01")),
        ..own
    });
    assert_eq!((ended.from, ended.until), (None, Some(day("2030-01-01"))));
    for text in [
        "[[rule]]\npath = \"/a\"\nfrom = \"1 March 2024\"",
        "[[rule]]\npath = \"/a\"\nfrom = 2024",
        "[[rule]]\npath = \"/a\"\nfrom = \"2024-03-01\"\nuntil = \"2024-02-01\"",
        "[[rule]]\npath = \"a\"\nowner = \"x\"",
        "[[rule]]\npath = \"/a\"\nowned = \"x\"",
        "[[rule]]\npath = \"/a\"\n[[rule]]\npath = \"/a\"",
    ] {
        fs::write(dir.path().join(RULES_FILE), text).unwrap();
        assert!(
            matches!(Rules::load(dir.path()), Err(StoreError::ValidityRules { .. })),
            "{text}"
        );
    }
}

#[test]
fn what_is_stored_comes_back() {
    let stated = of_text("시행일: 2024년 3월 1일\n담당부서: 인사팀");
    let json = serde_json::to_string(&stated).unwrap();
    assert_eq!(json, r#"{"from":"2024-03-01","owner":"인사팀"}"#);
    assert_eq!(serde_json::from_str::<Stated>(&json).unwrap(), stated);
    assert_eq!(serde_json::from_str::<Stated>("{}").unwrap(), Stated::default());
}

proptest! {
    #[test]
    fn any_text_is_read_without_harm(text in "[시행일까지부터이규정은다. 0-9년월/A-Za-z:|()\\[\\]<>~\n]{0,200}") {
        let stated = of_text(&text);
        prop_assert!(stated.from.zip(stated.until).is_none_or(|(from, until)| from <= until));
    }

    #[test]
    fn a_written_date_is_the_date(days in 0_i64..60_000) {
        let date = Date::from_unix_days(days).unwrap();
        let (y, m, d) = date.ymd();
        for text in [format!("{y}-{m:02}-{d:02}"), format!("{y}. {m}. {d}."), format!("{y}년 {m}월 {d}일")] {
            prop_assert_eq!(written(&text), Some(date.to_string()));
        }
    }
}
