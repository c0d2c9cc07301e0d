//! Pairs of statements of different documents that differ in one figure.
//!
//! Left out, because both may be right: what a form says of each thing it is filled in for, what is written down anew
//! each year, and short statements in documents about different subjects.

use std::collections::{BTreeMap, BTreeSet};

use super::Walked;
use super::doubles::SIMILARITY_MIN;
use super::sketch::mix;
use super::statements::{Statement, Stems, of_text, subjects};
use crate::catalog::StreamedDocument;
use crate::edition::{Name, stem};

/// Statements kept in memory; documents beyond are not compared.
const ENTRIES_MAX: usize = 2_000_000;
/// A statement of so many words says itself what it is about.
const SELF_CONTAINED: usize = 5;
/// What more documents say, or with more figures, is a form's line.
const DOCUMENTS_MAX: usize = 8;
const VALUES_MAX: usize = 3;
/// Documents of other names that differ in more statements are two fillings of one form.
const PAIRS_OF_FORM: usize = 4;

/// A sentence by its document and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) document: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A statement with one of its figures left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Of its words, its other figures, and which is left open.
    key: u64,
    document: u32,
    start: u32,
    length: u16,
    n_content: u8,
    /// Whether it names what the title of its document is about.
    on_subject: bool,
    /// The figure.
    value: u64,
}

/// The statements of all documents.
#[derive(Default)]
pub(super) struct Statements {
    entries: Vec<Entry>,
    stems: Stems,
    /// Documents for which there was no room.
    pub(super) n_left_out: usize,
}

impl Statements {
    /// Takes in the statements of a document.
    pub(super) fn take(&mut self, index: usize, document: &StreamedDocument) {
        // What a program, a table or a letter says, it says of something else each time.
        if ["code", "csv", "xlsx", "ods", "email"].contains(&document.format.as_str()) {
            return;
        }
        if self.entries.len() >= ENTRIES_MAX {
            self.n_left_out += 1;
            return;
        }
        let subject = subjects_of(&document.title, &document.path);
        for statement in of_text(&document.text, &mut self.stems) {
            self.add(index, &statement, &subject);
        }
    }

    fn add(&mut self, index: usize, statement: &Statement, subject: &BTreeSet<u64>) {
        let on_subject = statement.content.iter().any(|word| subject.contains(word));
        let (Ok(document), Ok(start), Ok(length)) = (
            u32::try_from(index),
            u32::try_from(statement.start),
            u16::try_from(statement.end - statement.start),
        ) else {
            return;
        };
        for (open, value) in statement.figures.iter().enumerate() {
            let others = statement.figures.iter().enumerate().filter(|(i, _)| *i != open);
            let key = others.fold(mix(statement.skeleton ^ open as u64), |key, (_, other)| {
                mix(key.rotate_left(9) ^ other)
            });
            self.entries.push(Entry {
                key,
                document,
                start,
                length,
                n_content: u8::try_from(statement.content.len()).unwrap_or(u8::MAX),
                on_subject,
                value: *value,
            });
        }
    }

    /// Pairs that contradict each other, by document and place.
    pub(super) fn pairs(mut self, walked: &[Walked]) -> Vec<[Place; 2]> {
        self.entries.sort_unstable();
        let mut pairs: BTreeMap<(usize, usize), Vec<[Place; 2]>> = BTreeMap::new();
        for group in self.entries.chunk_by(|a, b| a.key == b.key) {
            for [a, b] in of_group(group) {
                if may_contradict(walked, a, b) {
                    let documents = (a.document as usize, b.document as usize);
                    pairs.entry(documents).or_default().push([a.place(), b.place()]);
                }
            }
        }
        let mut found: Vec<[Place; 2]> = pairs
            .into_iter()
            .filter(|((a, b), pairs)| pairs.len() <= PAIRS_OF_FORM || same_name(&walked[*a], &walked[*b]))
            .flat_map(|(_, pairs)| pairs)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Entry {
    fn place(&self) -> Place {
        Place {
            document: self.document as usize,
            start: self.start as usize,
            end: self.start as usize + usize::from(self.length),
        }
    }
}

/// Of statements alike but for one figure, those pairs whose figures differ.
fn of_group(group: &[Entry]) -> Vec<[&Entry; 2]> {
    // Sorted by document: one that says two things itself does not contradict others.
    let firsts: Vec<&Entry> = group
        .chunk_by(|a, b| a.document == b.document)
        .filter(|same| same.iter().all(|entry| entry.value == same[0].value))
        .map(|same| &same[0])
        .collect();
    let documents = group.chunk_by(|a, b| a.document == b.document).count();
    let values: BTreeSet<u64> = group.iter().map(|entry| entry.value).collect();
    if documents > DOCUMENTS_MAX || !(2..=VALUES_MAX).contains(&values.len()) {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    for (i, a) in firsts.iter().enumerate() {
        pairs.extend(
            firsts[i + 1..]
                .iter()
                .filter(|b| a.value != b.value)
                .map(|b| [*a, *b]),
        );
    }
    pairs
}

fn may_contradict(walked: &[Walked], a: &Entry, b: &Entry) -> bool {
    let (first, second) = (&walked[a.document as usize], &walked[b.document as usize]);
    let (title_a, title_b) = (&first.named, &second.named);
    let dated = [
        (title_a.title.as_str(), title_b.title.as_str()),
        (stem(&title_a.path), stem(&title_b.path)),
    ];
    if dated
        .into_iter()
        .any(|(a, b)| Name::of(a).is_of_another_day(&Name::of(b)))
    {
        return false;
    }
    if same_name(first, second) {
        return true;
    }
    // Two contracts made from one form are nearly the same and about different things.
    let is_form = first
        .sketch
        .as_ref()
        .zip(second.sketch.as_ref())
        .is_some_and(|(a, b)| a.similarity(b) >= SIMILARITY_MIN);
    if is_form {
        return false;
    }
    if usize::from(a.n_content) >= SELF_CONTAINED || a.on_subject || b.on_subject {
        return true;
    }
    let subjects = |named: &super::Named| subjects_of(&named.title, &named.path);
    !subjects(title_a).is_disjoint(&subjects(title_b))
}

/// Whether two documents have the same title or file name but for marks of version.
fn same_name(a: &Walked, b: &Walked) -> bool {
    let (a, b) = (&a.named, &b.named);
    [
        (a.title.as_str(), b.title.as_str()),
        (stem(&a.path), stem(&b.path)),
    ]
    .into_iter()
    .any(|(a, b)| {
        let key = Name::of(a).key;
        !key.is_empty() && key == Name::of(b).key
    })
}

fn subjects_of(title: &str, path: &str) -> BTreeSet<u64> {
    subjects(title).into_iter().chain(subjects(stem(path))).collect()
}

// Memory is bounded by their number, so by their size too.
const _: () = assert!(size_of::<Entry>() <= 32);
