//! What does not hold is as if it were not there, until somebody asks for it.

use super::*;
use crate::validity::RULES_FILE;
use crate::{AsOf, Date};

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn found(store: &Store, as_of: AsOf) -> Vec<String> {
    let view = store.view_as_of(&Reader::keeper(), as_of).unwrap();
    let mut names = names(
        &view
            .search("출장 일비 allowance", 10, SearchMode::Lexical, None)
            .unwrap(),
    );
    names.sort();
    names
}

fn on(text: &str) -> AsOf {
    AsOf {
        day: Some(day(text)),
        include_expired: false,
    }
}

fn travel(house: &House) {
    house.write(
        "old.md",
        "---\nvalid_from: 2020-01-01\nexpires: 2022-12-31\n---\n# 출장규정\n\n출장 일비는 2만원이다.",
    );
    house.write(
        "new.txt",
        "출장규정\n시행일: 2023년 1월 1일\n\n출장 일비는 3만원이다.",
    );
    house.write("plain.txt", "The daily allowance is 30 euros.");
}

#[test]
fn what_does_not_hold_is_found_only_when_asked_for_and_then_said_so() {
    let house = House::new();
    travel(&house);
    let store = house.open();
    store.today().hold(Some(day("2022-06-01")));
    house.ingest(&store);
    assert_eq!(found(&store, AsOf::default()), ["old.md", "plain.txt"]);
    // The day passes while the store is open.
    store.today().hold(Some(day("2022-12-31")));
    assert_eq!(found(&store, AsOf::default()), ["old.md", "plain.txt"]);
    store.today().hold(Some(day("2023-01-01")));
    assert_eq!(found(&store, AsOf::default()), ["new.txt", "plain.txt"]);
    assert_eq!(found(&store, on("2021-01-01")), ["old.md", "plain.txt"]);
    assert_eq!(found(&store, on("2019-01-01")), ["plain.txt"]);
    assert_eq!(found(&store, AsOf::ANY), ["new.txt", "old.md", "plain.txt"]);
    let view = store.view_as_of(&Reader::keeper(), AsOf::ANY).unwrap();
    let hits = view.search("일비", 10, SearchMode::Lexical, None).unwrap();
    let old = hits.iter().find(|hit| hit.path.ends_with("old.md")).unwrap();
    assert_eq!((old.holds, old.validity.until), (false, Some(day("2022-12-31"))));
    assert!(
        hits.iter()
            .any(|hit| hit.holds && hit.validity.from == Some(day("2023-01-01")))
    );
    // It is listed and can be read all the same.
    assert_eq!(seen(&store).documents().unwrap().len(), 3);
    assert!(view.document(&old.document_id, None).unwrap().is_some());
}

#[test]
fn scores_and_counts_are_those_of_a_store_without_what_does_not_hold() {
    let (with, without) = (House::new(), House::new());
    for (house, all) in [(&with, true), (&without, false)] {
        travel(house);
        if !all {
            fs::remove_file(house.documents.join("old.md")).unwrap();
        }
    }
    let answers = |house: &House| {
        let store = house.open();
        store.today().hold(Some(day("2024-01-01")));
        house.ingest(&store);
        let view = store.view(&Reader::anyone()).unwrap();
        let hits = view
            .search("출장 일비 3만원", 10, SearchMode::Lexical, None)
            .unwrap();
        let scores: Vec<(String, u64)> = hits
            .iter()
            .map(|hit| (hit.text.clone(), hit.score.to_bits()))
            .collect();
        let status = view.status().unwrap();
        let n = view.passage_frequency(&view.terms("출장")[0]).unwrap();
        (scores, status.documents, status.passages, n)
    };
    assert_eq!(answers(&with), answers(&without));
}

#[test]
fn rules_change_how_documents_stand_with_the_next_ingest() {
    let house = House::new();
    travel(&house);
    let store = house.open();
    store.today().hold(Some(day("2024-01-01")));
    house.ingest(&store);
    let plain = fs::canonicalize(house.documents.join("plain.txt")).unwrap();
    let rules = format!(
        "[[rule]]\npath = {:?}\nuntil = \"2023-06-30\"\nowner = \"Finance\"\n\
         [[rule]]\npath = {:?}\nuntil = \"none\"\n[[rule]]\npath = \"/nowhere\"\nowner = \"x\"\n",
        plain,
        plain.with_file_name("old.md")
    );
    fs::write(store.dir().join(RULES_FILE), rules).unwrap();
    fs::write(
        store.dir().join("access.toml"),
        "[[rule]]\npath = \"uploads/none.txt\"\ngroups = [\"a\"]\n",
    )
    .unwrap();
    let report = store.resume(&mut |_| Go::On).unwrap();
    assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    assert!(report.warnings[0].contains("access.toml") && report.warnings[1].contains("/nowhere"));
    assert_eq!(store.rules_of_nothing().unwrap(), report.warnings);
    // A watch says it once, when the rules have changed.

    let follow = || {
        store
            .follow(&[], std::time::Duration::ZERO, &mut |_| Go::On)
            .unwrap()
    };
    assert_eq!(follow().report.warnings, report.warnings);
    assert!(follow().report.warnings.is_empty());
    assert_eq!(found(&store, AsOf::default()), ["new.txt", "old.md"]);
    let documents = seen(&store).documents().unwrap();
    let plain = documents.iter().find(|d| d.path.ends_with("plain.txt")).unwrap();
    assert_eq!(plain.owner.as_deref(), Some("Finance"));
    fs::remove_file(store.dir().join(RULES_FILE)).unwrap();
    store.resume(&mut |_| Go::On).unwrap();
    assert_eq!(found(&store, AsOf::default()), ["new.txt", "plain.txt"]);
    assert!(store.verify(false).unwrap().is_sound());
    fs::write(store.dir().join(RULES_FILE), "[[rule]]\npath = 3\n").unwrap();
    assert!(store.resume(&mut |_| Go::On).is_err());
}

#[test]
fn vectors_follow_the_days_too() {
    let house = House::new();
    travel(&house);
    let store = house.open();
    house.ingest(&store);
    store.embed_pending(&access::Bag, usize::MAX).unwrap();
    let found = |today: &str| {
        store.today().hold(Some(day(today)));
        let view = store.view(&Reader::anyone()).unwrap();
        let hits = view
            .search("server", 10, SearchMode::Dense, Some(&access::Bag))
            .unwrap();
        (
            names(&hits).contains(&"old.md".to_owned()),
            view.status().unwrap().vectors,
        )
    };
    assert_eq!(found("2022-01-01"), (true, 2));
    assert_eq!(found("2024-01-01"), (false, 2));
}

#[test]
fn documents_that_were_there_before_are_asked_with_the_next_ingest() {
    let house = House::new();
    house.write(
        "a.txt",
        "Effective date: 1 March 2020\nValid until 31 December 2020\n\nThe gate is locked at nine.",
    );
    let store = house.open();
    house.ingest(&store);
    drop(store);
    let connection = rusqlite::Connection::open(house.data.join("hanok.sqlite")).unwrap();
    connection
        .execute("UPDATE documents SET stated = NULL, audience_id = 1", [])
        .unwrap();
    crate::checksum::register(&connection).unwrap();
    connection
        .execute(&crate::checksum::Summed::Documents.seal("true"), [])
        .unwrap();
    drop(connection);
    let store = house.open();
    assert_eq!(
        seen(&store).documents().unwrap()[0].validity,
        crate::Validity::default()
    );
    store.resume(&mut |_| Go::On).unwrap();
    assert_eq!(
        seen(&store).documents().unwrap()[0].validity.until,
        Some(day("2020-12-31"))
    );
    assert!(store.verify(false).unwrap().is_sound());
}
