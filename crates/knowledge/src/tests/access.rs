//! What one may not read leaves no trace: two stores, one with and one without the documents that a reader may not
//! see, answer alike to the byte.

use std::collections::BTreeSet;

use proptest::prelude::*;
use stdx::fs;

use super::House;
use super::dense::settle;
use crate::access::FOLDER_FILE;
use crate::quality::{Named, QualityOptions, QualityReport, RefusedQuestion};
use crate::{Embed, EmbedKind, EmbedderId, Go, Reader, SearchMode, Store};

const GROUPS: [&str; 3] = ["hr", "sales", "board"];
pub(super) const WORDS: [&str; 14] = [
    "계약",
    "해지",
    "위약금",
    "휴가",
    "급여",
    "보안",
    "서버",
    "contract",
    "leave",
    "salary",
    "server",
    "secret",
    "제3조",
    "2024-01-02",
];

/// Vectors from the words of a text: near texts are near.
pub(super) struct Bag;

impl Embed for Bag {
    fn id(&self) -> EmbedderId {
        EmbedderId {
            name: "bag".to_owned(),
            sha256: "b".repeat(64),
            dim: WORDS.len(),
        }
    }

    fn embed(&self, _: EmbedKind, texts: &[&str]) -> Vec<Vec<f32>> {
        let vector = |text: &&str| {
            let counts: Vec<f32> = WORDS
                .iter()
                .map(|word| text.matches(word).count() as f32 + 0.01)
                .collect();
            let length = counts.iter().map(|x| x * x).sum::<f32>().sqrt();
            counts.iter().map(|x| x / length).collect()
        };
        texts.iter().map(vector).collect()
    }
}

/// A document: who may read it (a bit for each group; none for everyone), and its words.
pub(super) type Document = (u8, Vec<usize>);

pub(super) fn document() -> impl Strategy<Value = Document> {
    (0_u8..8, prop::collection::vec(0..WORDS.len(), 1..40))
}

pub(super) fn reader(bits: u8) -> Reader {
    let groups = GROUPS.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
    Reader::of(groups.map(|(_, group)| *group))
}

pub(super) fn may_read(reader: u8, document: &Document) -> bool {
    document.0 == 0 || document.0 & reader != 0
}

/// Writes documents into folders that state their groups, so that paths and ids are the same in both houses.
fn fill(mut store: Store, house: &House, documents: &[Document], keep: impl Fn(&Document) -> bool) -> Store {
    // Vectors of nearly every audience go through a graph.
    store.files_mut().graphs.min = 3;
    fill_into(store, house, documents, keep)
}

/// The same into a store that is opened by now.
pub(super) fn fill_into(
    store: Store,
    house: &House,
    documents: &[Document],
    keep: impl Fn(&Document) -> bool,
) -> Store {
    for (i, document) in documents
        .iter()
        .enumerate()
        .filter(|(_, document)| keep(document))
    {
        let folder = format!("for{}", document.0);
        let words: Vec<&str> = document.1.iter().map(|word| WORDS[*word]).collect();
        // A heading too, so that suggestions have something to tell. Some state figures, some an owner, some are damaged.
        let heading = words.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        let sum: usize = document.1.iter().sum();
        let (owner, figure) = (["", "Owner: office\n\n"][sum % 2], sum % 3);
        let text = format!(
            "# {heading}\n\n{owner}{}.\n\nThe {} in the contract ends after {figure} days of leave.",
            words.join(" "),
            words[0]
        );
        let text = if sum % 5 == 4 {
            "%PDF-1.7 damaged".to_owned()
        } else {
            text
        };
        house.write(&format!("{folder}/{i}.md"), &text);
        let groups: Vec<&str> = GROUPS
            .iter()
            .enumerate()
            .filter(|(bit, _)| document.0 >> bit & 1 == 1)
            .map(|(_, group)| *group)
            .collect();
        let stated = if document.0 == 0 {
            "*".to_owned()
        } else {
            groups.join("\n")
        };
        house.write(&format!("{folder}/{FOLDER_FILE}"), &stated);
    }
    // In every folder a file that cannot be read.
    for document in documents.iter().filter(|document| keep(document)) {
        let folder = house.documents.join(format!("for{}", document.0));
        fs::write(folder.join("noise.bin"), [0, 159, 146, 150, 255, 0, 7]).unwrap();
    }
    house.ingest(&store);
    store.embed_pending(&Bag, usize::MAX).unwrap();
    settle(&store, &Bag);
    // Every kind of reader has asked for something in vain.
    for bits in (0..8).filter(|bits| keep(&(*bits, Vec::new()))) {
        let id = store
            .view(&reader(bits))
            .unwrap()
            .documents()
            .unwrap()
            .pop()
            .map(|d| d.document_id);
        let refused = RefusedQuestion {
            reader: &reader(bits),
            question: "",
            missing: &[format!("word{}", bits % 3)],
            nearest: &id.iter().map(String::as_str).collect::<Vec<_>>(),
        };
        store.note_refusal(&refused).unwrap();
    }
    store
}

/// Everything that a reader can ask, as text; what differs between any two houses by nature (folder names, ids of
/// them, times) is left out.
pub(super) fn all_answers(house: &House, store: &Store, reader: &Reader, questions: &[String]) -> String {
    let view = store.view(reader).unwrap();
    let root = fs::canonicalize(&house.documents).unwrap();
    let root = root.display().to_string();
    let mut out = String::new();
    for question in questions {
        for mode in [SearchMode::Lexical, SearchMode::Dense, SearchMode::Hybrid] {
            for hit in view.search(question, 20, mode, Some(&Bag)).unwrap() {
                let alike: Vec<String> = hit
                    .alike
                    .iter()
                    .map(|place| format!("{} {}..{}", place.path.replace(&root, ""), place.start, place.end))
                    .collect();
                let beside = view.neighbours(hit.passage_id).unwrap();
                out += &format!(
                    "{mode:?} {} {} {}..{} {:?} {:x} {:x?} {:x?} {} {alike:?} {:?} {:?}\n",
                    hit.path.replace(&root, ""),
                    hit.title,
                    hit.start,
                    hit.end,
                    hit.page,
                    hit.score.to_bits(),
                    hit.lexical_score.map(f64::to_bits),
                    hit.dense_score.map(f64::to_bits),
                    hit.text,
                    beside.before.map(|hit| hit.text),
                    beside.after.map(|hit| hit.text),
                );
            }
        }
        for n in 1..=question.chars().count().min(8) {
            let typed: String = question.chars().take(n).collect();
            out += &format!("{typed} {:?}\n", view.suggest(&typed, 20).unwrap());
        }
        for term in view.terms(question) {
            out += &format!("{term} {}\n", view.passage_frequency(&term).unwrap());
        }
    }
    for document in view.documents().unwrap() {
        let text = view.document(&document.document_id, None).unwrap();
        out += &format!(
            "{} {:?}\n",
            document.path.replace(&root, ""),
            text.map(|text| text.text)
        );
    }
    for unread in view.unread().unwrap() {
        out += &format!(
            "{} {} {:?}\n",
            unread.path.replace(&root, ""),
            unread.reason,
            unread.pages
        );
    }
    let status = view.status().unwrap();
    out += &format!(
        "{} {} {} {} {:?} {:?}\n",
        status.documents, status.passages, status.vectors, status.queued, status.set_aside, status.reindex
    );
    out + &quality(&view.quality(&QualityOptions::default()).unwrap(), &root)
}

/// A report, without the ids.
fn quality(report: &QualityReport, root: &str) -> String {
    let name = |named: &Named| format!("{} {}", named.path.replace(root, ""), named.title);
    let mut out = format!("{} {}\n", report.documents, report.owners_named);
    for doubled in &report.doubled.listed {
        let names: Vec<String> = doubled.documents.iter().map(name).collect();
        out += &format!("doubled {} {names:?}\n", doubled.similarity);
    }
    for pair in &report.contradictory.listed {
        let names = (name(&pair.first.document), name(&pair.second.document));
        out += &format!("{names:?} {} / {}\n", pair.first.text, pair.second.text);
    }
    for failed in &report.unreadable.listed {
        out += &format!("{} {}\n", failed.path.replace(root, ""), failed.reason);
    }
    for owner in &report.without_owner.listed {
        out += &format!("no owner {}\n", name(owner));
    }
    for gap in &report.gaps.listed {
        let near: Vec<String> = gap.nearest.iter().map(name).collect();
        out += &format!("{:?} {} {near:?}\n", gap.words, gap.n);
    }
    let kinds = [
        report.stale.n,
        report.doubled.n,
        report.contradictory.n,
        report.unreadable.n,
        report.gaps.n,
    ];
    out + &format!("{kinds:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_one_may_not_read_changes_nothing(
        documents in prop::collection::vec(document(), 1..12),
        reader_bits in 0_u8..8,
        with_dictionary in any::<bool>(),
        asked in prop::collection::vec(prop::collection::vec(0..WORDS.len(), 1..5), 1..4),
    ) {
        let questions: Vec<String> = asked
            .iter()
            .map(|words| words.iter().map(|word| WORDS[*word]).collect::<Vec<_>>().join(" "))
            .flat_map(|words| [format!("\"{words}\""), words])
            .collect();
        let (whole, part) = (House::new(), House::new());
        let open = if with_dictionary { House::open_with_dictionary } else { House::open };
        let of_whole = fill(open(&whole), &whole, &documents, |_| true);
        let of_part = fill(open(&part), &part, &documents, |document| may_read(reader_bits, document));
        let reader = reader(reader_bits);
        prop_assert_eq!(
            all_answers(&whole, &of_whole, &reader, &questions),
            all_answers(&part, &of_part, &reader, &questions)
        );
        // An id that one may not read is like one that never was.
        let seen: BTreeSet<String> =
            of_whole.view(&reader).unwrap().documents().unwrap().into_iter().map(|d| d.document_id).collect();
        for document in of_whole.view(&Reader::keeper()).unwrap().documents().unwrap() {
            let view = of_whole.view(&reader).unwrap();
            let is_seen = seen.contains(&document.document_id);
            prop_assert_eq!(view.document(&document.document_id, None).unwrap().is_some(), is_seen);
            prop_assert_eq!(view.span(&document.document_id, None, 0..1).unwrap().is_some(), is_seen);
            prop_assert!(is_seen || view.span(&document.document_id, None, 9_000..9_001).unwrap().is_none());
        }
    }
}

#[test]
fn a_right_that_is_taken_away_is_gone_with_the_next_ingest() {
    let house = House::new();
    house.write("hr/pay.txt", "급여 대장은 비밀이다.");
    let store = house.open();
    house.ingest(&store);
    let seen = |store: &Store, reader: &Reader| {
        let view = store.view(reader).unwrap();
        let hits = view.search("급여", 5, SearchMode::Lexical, None).unwrap().len();
        (hits, view.documents().unwrap().len())
    };
    assert_eq!(seen(&store, &Reader::anyone()), (1, 1));
    house.write(&format!("hr/{FOLDER_FILE}"), "hr\n");
    // Any ingest will do, also one of nothing.
    store.resume(&mut |_| Go::On).unwrap();
    assert_eq!(seen(&store, &Reader::anyone()), (0, 0));
    assert_eq!(seen(&store, &Reader::of(["hr"])), (1, 1));
    drop(store);
    let store = house.open();
    assert_eq!(seen(&store, &Reader::anyone()), (0, 0));
}

#[test]
fn a_folder_that_cannot_be_seen_keeps_its_readers() {
    let house = House::new();
    house.write("hr/pay.txt", "급여 대장은 비밀이다.");
    house.write(&format!("hr/{FOLDER_FILE}"), "hr\n");
    let store = house.open();
    house.ingest(&store);
    fs::rename(house.documents.join("hr"), house.documents.join("away")).unwrap();
    store.resume(&mut |_| Go::On).unwrap();
    assert!(
        store
            .view(&Reader::anyone())
            .unwrap()
            .documents()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_fault_in_a_folders_file_is_reported_and_admits_nobody() {
    let house = House::new();
    house.write("hr/pay.txt", "급여 대장은 비밀이다.");
    house.write(&format!("hr/{FOLDER_FILE}"), "hr, board\n");
    let store = house.open();
    let report = house.ingest(&store);
    assert_eq!(report.added, 1);
    assert!(
        report.failed[0].path.ends_with(FOLDER_FILE),
        "{:?}",
        report.failed
    );
    assert!(
        store
            .view(&Reader::of(["hr", "board"]))
            .unwrap()
            .documents()
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store.view(&Reader::keeper()).unwrap().documents().unwrap().len(),
        1
    );
}
