//! A document's words as the tables take them: for each term and field, which passages have it, how often and where.
//!
//! Terms, fields and lengths are those of the embedded index. What stands around a passage is not written: it is the
//! texts of the passages beside it, and is put together when a question asks (see [`super::words`]).

use std::collections::BTreeMap;

use tantivy::fieldnorm::FieldNormReader;

use crate::analyser::Analyser;
use crate::exact::Article;
use crate::lexical::around;
use crate::lexical::rank::{AROUND, EXACT, FIELDS, HEADINGS, TEXT, TITLE};

/// A passage whose words are written.
pub(super) struct Written<'a> {
    pub(super) page: Option<u32>,
    pub(super) headings: &'a [String],
    pub(super) text: &'a str,
}

/// A term's row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) term: String,
    pub(super) field: usize,
    pub(super) n_passages: usize,
    pub(super) counts: Vec<u8>,
    /// Where it stands in texts, for each passage in the order of `counts`.
    pub(super) places: Option<Vec<u8>>,
}

/// All that is found by a document's words.
pub(super) struct Inverted {
    pub(super) outline: Outline,
    pub(super) postings: Vec<Posting>,
}

/// How a segment's passages stand on pages and how long their fields are, as rounded as the embedded index keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Outline {
    pub(super) pages: Vec<Option<u32>>,
    /// By field and passage; codes of lengths.
    lengths: [Vec<u8>; FIELDS],
}

#[derive(Default)]
struct Row {
    /// Passage, count.
    counts: Vec<(u32, u32)>,
    places: Vec<Vec<u32>>,
}

impl Inverted {
    /// The words of a document's passages, which come in order.
    pub(super) fn of(title: &str, passages: &[Written<'_>]) -> Self {
        let mut rows: BTreeMap<(String, usize), Row> = BTreeMap::new();
        let mut outline = Outline {
            pages: passages.iter().map(|passage| passage.page).collect(),
            lengths: Default::default(),
        };
        let title = Analyser::terms(title);
        let mut article = Article::default();
        let mut n_text = Vec::with_capacity(passages.len());
        for (at, passage) in passages.iter().enumerate() {
            let text = Analyser::terms(passage.text);
            for term in &text {
                let row = rows.entry((term.text.clone(), TEXT)).or_default();
                if row.count(at as u32) {
                    row.places.push(Vec::new());
                }
                if let Some(places) = row.places.last_mut() {
                    places.push(term.position as u32);
                }
            }
            let headings = Analyser::terms(&passage.headings.join("\n"));
            let lines: Vec<&str> = passage.headings.iter().flat_map(|h| h.lines()).collect();
            let exact = article.terms_of_passage(&lines, passage.text);
            outline.push(TITLE, title.len());
            outline.push(HEADINGS, headings.len());
            outline.push(EXACT, exact.len());
            n_text.push(text.len());
            let named = headings.into_iter().map(|term| (term.text, HEADINGS));
            for key in named.chain(exact.into_iter().map(|term| (term, EXACT))) {
                rows.entry(key).or_default().count(at as u32);
            }
        }
        for term in title.into_iter().filter(|_| !passages.is_empty()) {
            rows.entry((term.text, TITLE)).or_default().count(0);
        }
        for (at, n) in n_text.iter().enumerate() {
            outline.push(TEXT, *n);
            let near = around(at, passages.len(), |i| passages[i].page);
            outline.push(AROUND, near.map(|i| n_text[i]).sum());
        }
        let postings = rows
            .into_iter()
            .map(|((term, field), row)| row.posting(term, field));
        Self {
            outline,
            postings: postings.collect(),
        }
    }
}

impl Row {
    /// Counts one occurrence in a passage; whether it is the first there.
    fn count(&mut self, passage: u32) -> bool {
        match self.counts.last_mut() {
            Some((last, count)) if *last == passage => {
                *count += 1;
                false
            }
            _ => {
                self.counts.push((passage, 1));
                true
            }
        }
    }

    fn posting(self, term: String, field: usize) -> Posting {
        let mut counts = Vec::with_capacity(self.counts.len() * 2);
        let mut before = 0;
        for &(passage, count) in &self.counts {
            put(&mut counts, passage - before);
            put(&mut counts, count);
            before = passage;
        }
        let places = (field == TEXT).then(|| {
            let mut bytes = Vec::new();
            for mut places in self.places {
                places.sort_unstable();
                let mut before = 0;
                for place in places {
                    put(&mut bytes, place - before);
                    before = place;
                }
            }
            bytes
        });
        Posting {
            term,
            field,
            n_passages: self.counts.len(),
            counts,
            places,
        }
    }
}

impl Outline {
    fn push(&mut self, field: usize, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.lengths[field].push(FieldNormReader::fieldnorm_to_id(length));
    }

    /// How many passages there are.
    pub(super) fn n(&self) -> usize {
        self.pages.len()
    }

    pub(super) fn length(&self, field: usize, passage: u32) -> u32 {
        let code = self.lengths[field].get(passage as usize).copied().unwrap_or(0);
        FieldNormReader::id_to_fieldnorm(code)
    }

    /// The sums of the lengths of each field.
    pub(super) fn totals(&self) -> Vec<i64> {
        let sum = |codes: &Vec<u8>| -> i64 {
            codes
                .iter()
                .map(|&code| i64::from(FieldNormReader::id_to_fieldnorm(code)))
                .sum()
        };
        self.lengths.iter().map(sum).collect()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.n() * (FIELDS + 2));
        put(&mut bytes, self.n() as u32);
        for page in &self.pages {
            put(&mut bytes, page.map_or(0, |page| page.saturating_add(1)));
        }
        for codes in &self.lengths {
            bytes.extend_from_slice(codes);
        }
        bytes
    }

    /// `None` for what was never written so.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let n = take(&mut rest)? as usize;
        if n > rest.len() {
            return None;
        }
        let mut outline = Self::default();
        for _ in 0..n {
            outline.pages.push(take(&mut rest)?.checked_sub(1));
        }
        for codes in &mut outline.lengths {
            let (of_field, behind) = rest.split_at_checked(n)?;
            codes.extend_from_slice(of_field);
            rest = behind;
        }
        rest.is_empty().then_some(outline)
    }
}

/// Passages and counts of a row; `None` for what was never written so.
pub(super) fn counts(mut bytes: &[u8]) -> Option<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    let mut passage = 0u32;
    while !bytes.is_empty() {
        passage = passage.checked_add(take(&mut bytes)?)?;
        found.push((passage, take(&mut bytes)?));
    }
    Some(found)
}

/// Where the term stands in each of the passages of `counts`.
pub(super) fn places(counts: &[(u32, u32)], mut bytes: &[u8]) -> Option<Vec<Vec<u32>>> {
    let mut found = Vec::with_capacity(counts.len());
    for (_, count) in counts {
        let mut at = 0u32;
        let mut places = Vec::new();
        for _ in 0..*count {
            at = at.checked_add(take(&mut bytes)?)?;
            places.push(at);
        }
        found.push(places);
    }
    bytes.is_empty().then_some(found)
}

/// A number in groups of seven bits, the lowest first.
fn put(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0u32;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let group = u32::from(byte & 0x7F);
        if shift == 28 && group > 0xF {
            return None;
        }
        number |= group << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_term_says_in_which_passages_it_stands_how_often_and_where() {
        let headings = ["제1장 총칙".to_owned()];
        let passage = |page, text| Written {
            page: Some(page),
            headings: &headings,
            text,
        };
        let passages = [
            passage(1, "lease lease ends"),
            passage(1, "nothing"),
            passage(2, "the lease"),
        ];
        let inverted = Inverted::of("Lease", &passages);
        let row = |term: &str, field| {
            let mut all = inverted.postings.iter();
            all.find(|posting| posting.term == term && posting.field == field)
                .unwrap()
        };
        let text = row("leas", TEXT);
        let found = counts(&text.counts).unwrap();
        assert_eq!(found, [(0, 2), (2, 1)]);
        assert_eq!(
            places(&found, text.places.as_ref().unwrap()).unwrap(),
            [vec![0, 1], vec![1]]
        );
        assert_eq!(counts(&row("leas", TITLE).counts).unwrap(), [(0, 1)]);
        assert_eq!(
            counts(&row("총칙", HEADINGS).counts).unwrap(),
            [(0, 1), (1, 1), (2, 1)]
        );
        let outline = &inverted.outline;
        assert_eq!(outline.totals()[TEXT], 3 + 1 + 2);
        // Beside the first stands the second; the third is alone on its page.
        assert_eq!([0, 1, 2].map(|i| outline.length(AROUND, i)), [4, 4, 2]);
        assert_eq!(Outline::from_bytes(&outline.to_bytes()).as_ref(), Some(outline));
    }

    proptest! {
        #[test]
        fn no_bytes_are_misread(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(outline) = Outline::from_bytes(&bytes) {
                prop_assert_eq!(Outline::from_bytes(&outline.to_bytes()), Some(outline));
            }
            if let Some(found) = counts(&bytes) {
                let _ = places(&found[..found.len().min(4)].iter().map(|(p, n)| (*p, n % 100)).collect::<Vec<_>>(), &bytes);
            }
        }

        #[test]
        fn numbers_come_back(number in any::<u32>()) {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take(&mut rest), Some(number));
            prop_assert!(rest.is_empty());
        }
    }
}
