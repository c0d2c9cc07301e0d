//! Defects that are there are found, and none where none are.

use std::collections::BTreeSet;

use stdx::fs;

use super::*;
use crate::access::FOLDER_FILE;
use crate::tests::House;
use crate::{Date, Go, Reader, Store};

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

/// A page of prose that is different for each subject.
fn prose(subject: &str) -> String {
    (0..60)
        .map(|n| format!("{subject}{n} stands beside {subject}{} in row{n}. ", n * 7 + 1))
        .collect()
}

fn filled(documents: &[(&str, String)]) -> (House, Store) {
    let house = House::new();
    for (name, text) in documents {
        house.write(name, text);
    }
    let store = house.open();
    house.ingest(&store);
    (house, store)
}

fn report(store: &Store, reader: &Reader) -> QualityReport {
    store
        .view(reader)
        .unwrap()
        .quality(&QualityOptions::default())
        .unwrap()
}

fn names(documents: &[Named]) -> Vec<&str> {
    documents
        .iter()
        .map(|named| named.path.rsplit('/').next().unwrap())
        .collect()
}

fn defects() -> Vec<(&'static str, String)> {
    let pond = prose("pond");
    vec![
        (
            "past.md",
            format!(
                "---\nexpires: 2020-12-31\nowner: Office\n---\n# Parking\n\n{}",
                prose("park")
            ),
        ),
        (
            "since.md",
            format!(
                "---\neffective: 2015-01-01\nowner: Office\n---\n# Keys\n\n{}",
                prose("key")
            ),
        ),
        (
            "leave v1.md",
            format!("# Leave v1\n\nOwner: HR\n\n{}", prose("leave")),
        ),
        (
            "leave v2.md",
            format!("# Leave v2\n\nOwner: HR\n\n{}", prose("holiday")),
        ),
        ("pond.txt", format!("Owner: Garden\n\n{pond}")),
        ("copy/pond.txt", format!("Owner: Garden\n\n{pond}")),
        (
            "pond near.txt",
            format!("Owner: Garden\n\n{pond}And one more fish lives here."),
        ),
        (
            "refund.md",
            "# Refund policy\n\nOwner: Sales\n\nA refund takes 5 business days. Write to us.".into(),
        ),
        (
            "faq.md",
            "# FAQ\n\nOwner: Sales\n\nWe answer mails.\n\nRefunds take 7 business days.".into(),
        ),
        (
            "환불.txt",
            "환불 규정\n담당부서: 영업팀\n\n환불은 5일 이내에 처리됩니다.".into(),
        ),
        (
            "안내.txt",
            "고객 안내\n담당부서: 영업팀\n\n환불은 7일 이내 처리한다.".into(),
        ),
        (
            "출장.txt",
            "출장 규정\n담당부서: 총무팀\n\n국내 출장의 숙박비 한도는 1박에 80,000원으로 한다.".into(),
        ),
        (
            "편람.txt",
            "직원 편람\n담당부서: 총무팀\n\n국내 출장의 숙박비 한도는 1박에 70,000원으로 한다.".into(),
        ),
        ("nobody.txt", format!("Lost and found. {}", prose("lost"))),
        ("broken.pdf", "%PDF-1.7\nnothing that can be read".into()),
    ]
}

#[test]
fn every_planted_defect_is_found() {
    let (_house, store) = filled(&defects());
    store.today().hold(Some(day("2026-11-26")));
    let report = report(&store, &Reader::keeper());
    let stale: BTreeSet<(&str, &str)> = report
        .stale
        .listed
        .iter()
        .map(|stale| {
            let why = match &stale.why {
                Staleness::Past(_) => "past",
                Staleness::Unchanged(_) => "unchanged",
                Staleness::Replaced(by) => names(std::slice::from_ref(by))[0],
            };
            (names(std::slice::from_ref(&stale.document))[0], why)
        })
        .collect();
    let expected = [
        ("leave v1.md", "leave v2.md"),
        ("past.md", "past"),
        ("since.md", "unchanged"),
    ];
    assert_eq!(stale, BTreeSet::from(expected));
    let doubled: Vec<(Vec<&str>, bool)> = report
        .doubled
        .listed
        .iter()
        .map(|doubled| (names(&doubled.documents), doubled.similarity >= 1.0))
        .collect();
    assert_eq!(doubled.len(), 2, "{doubled:?}");
    assert!(
        doubled.contains(&(vec!["pond.txt", "pond.txt"], true)),
        "{doubled:?}"
    );
    assert!(
        doubled.contains(&(vec!["pond.txt", "pond near.txt"], false)),
        "{doubled:?}"
    );
    let contradictory: BTreeSet<(&str, &str)> = report
        .contradictory
        .listed
        .iter()
        .map(|pair| (pair.first.text.as_str(), pair.second.text.as_str()))
        .collect();
    let expected = [
        ("Refunds take 7 business days.", "A refund takes 5 business days."),
        (
            "국내 출장의 숙박비 한도는 1박에 80,000원으로 한다.",
            "국내 출장의 숙박비 한도는 1박에 70,000원으로 한다.",
        ),
        ("환불은 7일 이내 처리한다.", "환불은 5일 이내에 처리됩니다."),
    ];
    assert_eq!(contradictory, BTreeSet::from(expected));
    assert_eq!(report.unreadable.n, 1);
    assert!(report.unreadable.listed[0].path.ends_with("broken.pdf"));
    assert!(report.owners_named);
    assert_eq!(names(&report.without_owner.listed), ["nobody.txt"]);
    // A quote is exactly the stored characters.
    let view = store.view(&Reader::keeper()).unwrap();
    for pair in &report.contradictory.listed {
        for quote in [&pair.first, &pair.second] {
            let stored = view.span(
                &quote.document.document_id,
                Some(&quote.document.version),
                quote.start..quote.end,
            );
            assert_eq!(stored.unwrap().as_ref(), Some(&quote.text));
        }
    }
}

#[test]
fn a_clean_house_has_no_findings() {
    let (_house, store) = filled(&[
        // The old edition has ended, the new one has begun.
        ("travel 2023.md", "---\nvalid_from: 2023-01-01\nvalid_until: 2023-12-31\n---\n# Travel\n\nThe daily allowance for travel inside the country is 40 euros.".into()),
        ("travel 2026.md", "---\nvalid_from: 2026-01-01\n---\n# Travel\n\nThe daily allowance for travel inside the country is 45 euros.".into()),
        // Each year its own figures.
        ("report 2024.md", "# Annual report 2024\n\nThe number of employees at the end of the year was 120.".into()),
        ("report 2025.md", "# Annual report 2025\n\nThe number of employees at the end of the year was 150.".into()),
        ("minutes a.txt", "In 2024 the budget of the garden was 5 million won.\nThe meeting begins at 10:00.".into()),
        ("minutes b.txt", "In 2025 the budget of the garden was 6 million won.\nThe meeting begins at 11:00.".into()),
        // A reference is no figure.
        ("rules.txt", "Section 5 of the house rules describes the use of kitchens in detail.".into()),
        ("guide.txt", "Section 7 of the house rules describes the use of kitchens in detail.".into()),
        ("가.txt", "연차 사용은 취업규칙 제5조에서 정하는 절차에 따른다.".into()),
        ("나.txt", "연차 사용은 취업규칙 제7조에서 정하는 절차에 따른다.".into()),
        // Short statements about different things.
        ("parking.txt", "Parking\n\nThe monthly fee is 20 euros."  .into()),
        ("library.txt", "Library\n\nThe monthly fee is 5 euros.".into()),
        // The same figure, written differently.
        ("limit.txt", "한도 안내\n\n법인카드의 월 사용 한도는 1,000,000원으로 한다.".into()),
        ("card.txt", "카드 안내\n\n법인카드의 월 사용 한도는 1000000원으로 한다.".into()),
        ("prices.csv", "item,price\nThe price of a chair in the catalogue is 10 euros.,1\n".into()),
    ]);
    store.today().hold(Some(day("2026-11-26")));
    let report = report(&store, &Reader::keeper());
    let past: Vec<&str> = report
        .stale
        .listed
        .iter()
        .map(|stale| names(std::slice::from_ref(&stale.document))[0])
        .collect();
    assert_eq!(past, ["travel 2023.md"], "what has ended is said once");
    assert!(
        report.contradictory.listed.is_empty(),
        "{:?}",
        report.contradictory
    );
    assert!(report.unreadable.listed.is_empty(), "{:?}", report.unreadable);
    assert!(report.doubled.listed.is_empty(), "{:?}", report.doubled);
    assert!(!report.owners_named && report.without_owner.n == 0);
    assert!(report.gaps.listed.is_empty());
}

#[test]
fn two_fillings_of_one_form_and_the_lines_of_many_do_not_contradict_each_other() {
    let contract = |party: &str, months: u32| {
        format!(
            "Contract with {party}\n\n{}The contract with the customer runs for {months} months.",
            prose("clause")
        )
    };
    let line = |n: u32| format!("The parking permit in this letter is valid for car number plate {n} only.");
    let mut documents = vec![("a.txt", contract("Anna", 12)), ("b.txt", contract("Berta", 24))];
    let letters = ["c.txt", "d.txt", "e.txt", "f.txt"];
    documents.extend(letters.iter().zip(100..).map(|(name, n)| (*name, line(n))));
    let (_house, store) = filled(&documents);
    let report = report(&store, &Reader::keeper());
    assert!(
        report.contradictory.listed.is_empty(),
        "{:?}",
        report.contradictory
    );
    // They are nearly the same, and that is said.
    assert_eq!(names(&report.doubled.listed[0].documents), ["a.txt", "b.txt"]);
}

#[test]
fn a_file_that_can_be_read_again_or_is_gone_is_no_failure_any_more() {
    let (house, store) = filled(&[("a.pdf", "%PDF-1.7 x".into()), ("b.pdf", "%PDF-1.7 y".into())]);
    assert_eq!(report(&store, &Reader::keeper()).unreadable.n, 2);
    house.write("a.pdf", "It is a text after all, whatever its name says.");
    fs::remove_file(house.documents.join("b.pdf")).unwrap();
    house.ingest(&store);
    assert_eq!(report(&store, &Reader::keeper()).unreadable.n, 0);
}

#[test]
fn a_failure_is_known_to_those_who_may_read_the_file() {
    let house = House::new();
    house.write(&format!("hr/{FOLDER_FILE}"), "hr\n");
    house.write("hr/pay.pdf", "%PDF-1.7 x");
    let store = house.open();
    house.ingest(&store);
    assert_eq!(report(&store, &Reader::anyone()).unreadable.n, 0);
    assert_eq!(report(&store, &Reader::of(["hr"])).unreadable.n, 1);
    house.write(&format!("hr/{FOLDER_FILE}"), "board\n");
    store.resume(&mut |_| Go::On).unwrap();
    assert_eq!(report(&store, &Reader::of(["hr"])).unreadable.n, 0);
}

fn refuse(store: &Store, reader: &Reader, words: &[&str]) {
    let missing: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let id = store.view(&Reader::keeper()).unwrap().documents().unwrap()[0]
        .document_id
        .clone();
    let question = format!("What of {}?", words.join(" and "));
    let nearest = [id.as_str(), "gone"];
    let refused = RefusedQuestion {
        reader,
        question: &question,
        missing: &missing,
        nearest: &nearest,
    };
    store.note_refusal(&refused).unwrap();
}

#[test]
fn gaps_gather_what_is_asked_in_vain_and_show_it_to_those_who_may_read_as_much() {
    let (_house, store) = filled(&[("a.txt", "The gate is locked at nine.".into())]);
    store.today().hold(Some(day("2026-11-26")));
    let (anyone, hr) = (Reader::anyone(), Reader::of(["hr"]));
    for words in [
        &["육아휴직", "급여"][..],
        &["육아휴직"],
        &["육아휴직"],
        &["sauna"],
    ] {
        refuse(&store, &anyone, words);
    }
    refuse(&store, &hr, &["salary"]);
    refuse(&store, &anyone, &[]);
    let seen = |reader: &Reader| -> Vec<(String, usize)> {
        let gaps = report(&store, reader).gaps;
        gaps.listed
            .iter()
            .map(|gap| (gap.words.join(" "), gap.n))
            .collect()
    };
    let shown = |list: &[(&str, usize)]| {
        list.iter()
            .map(|(word, n)| ((*word).to_owned(), *n))
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(&anyone), shown(&[("육아휴직", 3), ("sauna", 1)]));
    assert_eq!(seen(&hr), shown(&[("육아휴직", 3), ("salary", 1), ("sauna", 1)]));
    assert_eq!(seen(&Reader::keeper()), seen(&hr));
    let first = report(&store, &anyone).gaps.listed.remove(0);
    assert_eq!(
        (first.last, names(&first.nearest), first.questions.len()),
        (Some(day("2026-11-26")), vec!["a.txt"], 0)
    );
    // How it was asked is kept only where that is wanted, and forgotten when it is not any more.
    store.remember_refusals(Refusals::Questions).unwrap();
    refuse(&store, &anyone, &["sauna"]);
    let questions = |store: &Store| -> Vec<String> {
        report(store, &Reader::anyone())
            .gaps
            .listed
            .into_iter()
            .flat_map(|gap| gap.questions)
            .collect()
    };
    assert_eq!(questions(&store), ["What of sauna?"]);
    store.remember_refusals(Refusals::Words).unwrap();
    assert!(questions(&store).is_empty());
    store.remember_refusals(Refusals::Off).unwrap();
    refuse(&store, &anyone, &["sauna"]);
    assert!(report(&store, &Reader::keeper()).gaps.listed.is_empty());
}

#[test]
fn figures_and_references_are_told_apart() {
    let figures = |text: &str| {
        statements::of_text(text, &mut statements::Stems::default())
            .first()
            .map_or(0, |statement| statement.figures.len())
    };
    assert_eq!(figures("The fee for a parking place is 20 euros."), 1);
    assert_eq!(
        figures("As Article 5 says, the fee for a parking place is 20 euros."),
        1
    );
    assert_eq!(
        figures("3. The fee for a parking place is 1,000.50 euros until 1 March 2024."),
        2
    );
    assert_eq!(
        figures("제5조 제2항에 따라 주차 요금은 매월 20,000원으로 한다."),
        1
    );
    assert_eq!(
        figures("The printer A4 on the 2nd floor of building 7 has been there since 2019."),
        0
    );
    assert_eq!(figures("Is the fee for a parking place 20 euros?"), 0);
    // Numbers of entries that a reader of layout has put on one line.
    assert_eq!(
        figures("Name and seal of the merchant : 7. Address of the merchant : Seoul"),
        0
    );
    assert_eq!(
        figures("Name and seal of the merchant 7. Address of the merchant 8. Town"),
        0
    );
    assert_eq!(
        figures("가맹점의 상호와 대표자 : 7. 가맹점의 주소 : 8. 가맹점의 전화"),
        0
    );
    assert_eq!(figures("Refunds to a merchant or customer . . . . . . 7"), 0);
    assert_eq!(
        figures("The number of days for a refund is 7. Write to the office."),
        1
    );
    assert_eq!(figures("Days that a refund may take: 7. Write to the office."), 1);
    let skeleton = |text: &str| statements::of_text(text, &mut statements::Stems::default())[0].skeleton;
    assert_eq!(
        skeleton("A refund takes 5 business days."),
        skeleton("Refunds take 7 business days.")
    );
    assert_ne!(
        skeleton("A refund takes 5 business days."),
        skeleton("A refund takes 5 business hours.")
    );
}
