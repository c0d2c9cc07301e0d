//! What is asked for in vain: refused questions, remembered as far as the house wants them to be.
//!
//! Kept are the words that the documents lacked, the day and the groups of whoever asked, never who it was; the question
//! itself only where that is turned on. Seen are only questions of those who may read no more than the reader of the
//! report: what an answer depended on is then nothing that the reader may not know.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Findings, Gap, Named, named};
use crate::access::Reader;
use crate::catalog::RefusalRow;
use crate::error::StoreError;
use crate::store::{Store, held};
use crate::validity::Date;
use crate::view::View;

/// Refused questions that are remembered; the oldest go.
const KEPT_MAX: usize = 10_000;
/// Words of a question, and characters of a word, that are kept.
const WORDS_MAX: usize = 6;
const WORD_CHARS_MAX: usize = 40;
/// Characters of a question that are kept.
const QUESTION_CHARS_MAX: usize = 400;
/// Near documents that are kept and shown.
const NEAREST_MAX: usize = 3;
/// Wordings that are shown of one gap.
const QUESTIONS_MAX: usize = 5;
/// Questions that share this much of their words are about the same.
const SAME_MIN: f64 = 0.5;
/// Groups that a question is compared with for each of its words.
const CANDIDATES_MAX: usize = 32;

/// What is remembered of refused questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refusals {
    /// Nothing.
    Off,
    /// The words that the documents lacked.
    #[default]
    Words,
    /// The question too.
    Questions,
}

/// A refused question.
#[derive(Debug, Clone, Copy)]
pub struct RefusedQuestion<'a> {
    /// Who asked.
    pub reader: &'a Reader,
    /// The question.
    pub question: &'a str,
    /// The words that the documents lack.
    pub missing: &'a [String],
    /// Ids of documents that came near, the nearest first.
    pub nearest: &'a [&'a str],
}

impl Store {
    /// Says what is remembered of refused questions from now on, and forgets what is more than that.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remember_refusals(&self, refusals: Refusals) -> Result<(), StoreError> {
        *held(&self.refusals) = refusals;
        let known = self.shelf().refusals()?;
        let too_much = match refusals {
            Refusals::Off => !known.is_empty(),
            Refusals::Words => known.iter().any(|refusal| refusal.question.is_some()),
            Refusals::Questions => false,
        };
        if !too_much {
            return Ok(());
        }
        self.shelf().forget_refusals(refusals == Refusals::Off)
    }

    /// Remembers a refused question as far as is wanted. Does nothing for a question without words.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_refusal(&self, refused: &RefusedQuestion<'_>) -> Result<(), StoreError> {
        let wanted = *held(&self.refusals);
        if wanted == Refusals::Off || refused.missing.is_empty() {
            return Ok(());
        }
        let cut = |text: &str, max: usize| text.chars().take(max).collect::<String>();
        let words: BTreeSet<String> = refused
            .missing
            .iter()
            .take(WORDS_MAX)
            .map(|word| cut(&word.to_lowercase(), WORD_CHARS_MAX))
            .collect();
        let row = RefusalRow {
            day: Some(self.today().get()),
            groups: refused.reader.to_stated(),
            words: words.into_iter().collect(),
            question: (wanted == Refusals::Questions)
                .then(|| cut(refused.question.trim(), QUESTION_CHARS_MAX)),
            nearest: refused
                .nearest
                .iter()
                .take(NEAREST_MAX)
                .map(|id| (*id).to_owned())
                .collect(),
        };
        self.shelf().put_refusal(&row, KEPT_MAX)
    }
}

/// A gap in the making.
struct Group {
    words: BTreeSet<String>,
    n: usize,
    last: Option<Date>,
    questions: Vec<String>,
    nearest: BTreeMap<String, usize>,
}

impl Group {
    fn of(row: RefusalRow) -> Self {
        Self {
            words: row.words.into_iter().collect(),
            n: 1,
            last: row.day,
            questions: row.question.into_iter().collect(),
            nearest: row.nearest.into_iter().map(|id| (id, 1)).collect(),
        }
    }

    fn add(&mut self, other: Self) {
        self.n += other.n;
        self.last = self.last.max(other.last);
        for question in other.questions {
            if !self.questions.contains(&question) && self.questions.len() < QUESTIONS_MAX {
                self.questions.push(question);
            }
        }
        for (id, n) in other.nearest {
            *self.nearest.entry(id).or_default() += n;
        }
    }

    fn is_about(&self, words: &BTreeSet<String>) -> bool {
        let shared = self.words.intersection(words).count() as f64;
        let all = self.words.union(words).count() as f64;
        all > 0.0 && shared / all >= SAME_MIN
    }
}

impl View<'_> {
    /// Gaps, the ones most asked for first.
    pub(super) fn gaps(&self) -> Result<Findings<Gap>, StoreError> {
        let rows = self.store.shelf().refusals()?;
        let seen = rows
            .into_iter()
            .filter(|row| self.reader.sees_all_of(&row.groups));
        let mut exact: BTreeMap<Vec<String>, Group> = BTreeMap::new();
        for row in seen {
            match exact.get_mut(&row.words) {
                Some(group) => group.add(Group::of(row)),
                None => {
                    exact.insert(row.words.clone(), Group::of(row));
                }
            }
        }
        let known: HashMap<String, Named> = if exact.is_empty() {
            HashMap::new()
        } else {
            let documents = self.documents()?;
            documents
                .iter()
                .map(|document| (document.document_id.clone(), named(document)))
                .collect()
        };
        let gap = |group: Group| {
            let nearest = group
                .nearest
                .iter()
                .filter_map(|(id, n)| Some((*n, known.get(id)?.clone())));
            let mut nearest: Vec<(usize, Named)> = nearest.collect();
            nearest.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.path.cmp(&b.1.path)));
            Gap {
                nearest: nearest
                    .into_iter()
                    .map(|(_, named)| named)
                    .take(NEAREST_MAX)
                    .collect(),
                words: group.words.into_iter().collect(),
                n: group.n,
                last: group.last,
                questions: group.questions,
            }
        };
        Ok(merged(exact.into_values().collect())
            .into_iter()
            .map(gap)
            .collect())
    }
}

/// Groups about the same made one, the larger ones first.
fn merged(mut groups: Vec<Group>) -> Vec<Group> {
    groups.sort_by(|a, b| b.n.cmp(&a.n).then_with(|| a.words.cmp(&b.words)));
    let mut out: Vec<Group> = Vec::new();
    let mut by_word: HashMap<String, Vec<usize>> = HashMap::new();
    for group in groups {
        let near = group.words.iter().filter_map(|word| by_word.get(word));
        let same = near.flatten().copied().find(|&i| out[i].is_about(&group.words));
        if let Some(i) = same {
            out[i].add(group);
            continue;
        }
        for word in &group.words {
            let candidates = by_word.entry(word.clone()).or_default();
            if candidates.len() < CANDIDATES_MAX {
                candidates.push(out.len());
            }
        }
        out.push(group);
    }
    out.sort_by(|a, b| b.n.cmp(&a.n).then_with(|| a.words.cmp(&b.words)));
    out
}
