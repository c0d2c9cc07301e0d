//! The quality of the documents: what is stale, doubled, contradictory, unreadable, without an owner, and what is asked
//! for in vain.
//!
//! One walk over the texts, one text at a time in memory; of each only a sketch and its statements with figures stay.
//! Precision comes before completeness: a report that cries wolf is not read. What a reader may not see is in no part
//! of its report.

mod contradictions;
mod doubles;
mod gaps;
mod sketch;
mod statements;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::catalog::StreamedDocument;
use crate::edition::{Edition, Name, Newer, stem};
use crate::error::StoreError;
use crate::types::{DocumentInfo, PageSpan};
use crate::unread::empty_pages;
use crate::validity::{Date, Validity};
use crate::view::View;
use contradictions::Statements;
use sketch::Sketch;

pub use gaps::{Refusals, RefusedQuestion};

/// Findings of one kind that are listed; more are counted.
const LISTED_MAX: usize = 1_000;
/// Months without a change after which a document is stale, unless another number is asked for.
pub const STALE_MONTHS: u32 = 24;
const NS_A_DAY: i64 = 86_400_000_000_000;
const MS_A_DAY: i64 = 86_400_000;

/// What to report on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QualityOptions {
    /// Months without a change after which a document is stale.
    pub stale_months: u32,
}

impl Default for QualityOptions {
    fn default() -> Self {
        Self {
            stale_months: STALE_MONTHS,
        }
    }
}

/// Findings of one kind: the first ones, and how many there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings<T> {
    /// The first of them.
    pub listed: Vec<T>,
    /// All of them.
    pub n: usize,
}

impl<T> Default for Findings<T> {
    fn default() -> Self {
        Self {
            listed: Vec::new(),
            n: 0,
        }
    }
}

impl<T> FromIterator<T> for Findings<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut findings = Self::default();
        for one in all {
            findings.push(one);
        }
        findings
    }
}

impl<T> Findings<T> {
    fn push(&mut self, finding: T) {
        self.n += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(finding);
        }
    }
}

/// A document that a finding names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub document_id: String,
    /// Its version.
    pub version: String,
    /// Its title.
    pub title: String,
    /// Its path, or the upload's name.
    pub path: String,
}

/// Why a document is stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Staleness {
    /// It held until this day.
    Past(Date),
    /// It has not been changed since this day: the first on which it holds, or else its file's.
    Unchanged(Date),
    /// A newer edition is in force beside it.
    Replaced(Named),
}

/// A document that is stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// It.
    pub document: Named,
    /// Why.
    pub why: Staleness,
}

/// Documents with the same text, or nearly the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubled {
    /// They, by path.
    pub documents: Vec<Named>,
    /// 1 for the same text; else about how much of it the least similar neighbours share.
    pub similarity: f64,
}

/// A sentence of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The document.
    pub document: Named,
    /// 1-based page on which it begins; `None` where the format has no pages.
    pub page: Option<u32>,
    /// Start in the document's stored text, in Unicode scalar values.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
    /// Exactly these characters.
    pub text: String,
}

/// Two sentences that say the same of the same with different figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// One.
    pub first: Quote,
    /// The other.
    pub second: Quote,
}

/// A file that could not be read, or pages of a document without text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its path, or the upload's name.
    pub path: String,
    /// One sentence: what is wrong and what to do; empty where only pages lack text.
    pub reason: String,
    /// Pages without text, which need OCR; 1-based.
    pub pages: Vec<u32>,
}

/// Questions that the documents did not answer, and that are about the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// What the documents say nothing of.
    pub words: Vec<String>,
    /// How often it was asked for.
    pub n: usize,
    /// When it was last asked for.
    pub last: Option<Date>,
    /// How it was asked, where that is kept.
    pub questions: Vec<String>,
    /// Documents that came near.
    pub nearest: Vec<Named>,
}

/// The report.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityReport {
    /// The day that counts as today.
    pub day: Date,
    /// Months without a change after which a document is stale.
    pub stale_months: u32,
    /// Documents looked at.
    pub documents: usize,
    /// Documents that were not compared sentence by sentence, because there are too many.
    pub not_compared: usize,
    /// Stale documents.
    pub stale: Findings<Stale>,
    /// Doubled documents.
    pub doubled: Findings<Doubled>,
    /// Contradictions.
    pub contradictory: Findings<Contradiction>,
    /// What could not be read.
    pub unreadable: Findings<Unreadable>,
    /// Whether any document names an owner. If none does, none is listed as being without.
    pub owners_named: bool,
    /// Documents without an owner.
    pub without_owner: Findings<Named>,
    /// What is asked for in vain.
    pub gaps: Findings<Gap>,
}

impl QualityReport {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        let n = self.stale.n
            + self.doubled.n
            + self.contradictory.n
            + self.unreadable.n
            + self.without_owner.n
            + self.gaps.n;
        n == 0
    }
}

/// What stays of a document after it was walked over.
struct Walked {
    named: Named,
    validity: Validity,
    holds: bool,
    owner: bool,
    unchanged_since: Option<Date>,
    /// Of its whole text.
    hash: String,
    sketch: Option<Sketch>,
}

impl View<'_> {
    /// Looks at all documents that the reader may see. What does not hold today is looked at only for being stale.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn quality(&self, options: &QualityOptions) -> Result<QualityReport, StoreError> {
        let today = self.today();
        let mut walked: Vec<Walked> = Vec::new();
        let mut statements = Statements::default();
        let mut unreadable: Vec<Unreadable> = Vec::new();
        self.store
            .shelf()
            .each_document(&self.readable, &mut |document| {
                let holds = document.validity.holds_on(today);
                if holds {
                    unreadable.extend(scanned_pages(&document));
                    statements.take(walked.len(), &document);
                }
                walked.push(walk(document, holds));
            })?;
        let failed = self.store.shelf().failures(&self.readable)?;
        let failed = failed.into_iter().map(|failure| Unreadable {
            path: failure.path,
            reason: failure.reason,
            pages: Vec::new(),
        });
        let owners_named = walked.iter().any(|document| document.owner);
        let without_owner = walked
            .iter()
            .filter(|document| owners_named && document.holds && !document.owner);
        let not_compared = statements.n_left_out;
        let pairs = statements.pairs(&walked);
        Ok(QualityReport {
            day: today,
            stale_months: options.stale_months,
            documents: walked.len(),
            not_compared,
            stale: self.stale(&walked, today.months_before(options.stale_months))?,
            doubled: doubles::find(&walked),
            contradictory: self.quoted(&walked, pairs)?,
            unreadable: failed.chain(unreadable).collect(),
            owners_named,
            without_owner: without_owner.map(|document| document.named.clone()).collect(),
            gaps: self.gaps()?,
        })
    }

    fn stale(&self, walked: &[Walked], before: Date) -> Result<Findings<Stale>, StoreError> {
        let replaced = self.replaced()?;
        let why = |document: &Walked| -> Option<Staleness> {
            if let Some(until) = document.validity.until.filter(|until| *until < self.today()) {
                return Some(Staleness::Past(until));
            }
            if let Some(by) = replaced.get(document.named.document_id.as_str()) {
                return Some(Staleness::Replaced(by.clone()));
            }
            // Whoever says until when it holds has looked at it.
            let since = document
                .unchanged_since
                .filter(|_| document.holds && document.validity.until.is_none());
            since.filter(|since| *since < before).map(Staleness::Unchanged)
        };
        Ok(walked
            .iter()
            .filter_map(|document| {
                Some(Stale {
                    why: why(document)?,
                    document: document.named.clone(),
                })
            })
            .collect())
    }

    /// Documents in force of which a newer edition is in force too, by id.
    fn replaced(&self) -> Result<HashMap<String, Named>, StoreError> {
        let today = self.today();
        let mut documents = self.documents()?;
        documents.retain(|document| document.validity.holds_on(today));
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, document) in documents.iter().enumerate() {
            for name in [document.title.as_str(), stem(&document.path)] {
                by_name.entry(Name::of(name).key).or_default().push(i);
            }
        }
        by_name.remove("");
        let mut replaced = HashMap::new();
        for (i, document) in documents.iter().enumerate() {
            let names = document.replaces.iter().map(|name| Name::of(stem(name)).key);
            let names = names.chain([Name::of(&document.title).key, Name::of(stem(&document.path)).key]);
            let near = names.filter_map(|name| by_name.get(&name)).flatten();
            // A name that hundreds of documents share tells nothing.
            for &other in near.filter(|other| **other != i).take(EDITIONS_MAX) {
                let (new, old) = (Edition::from(document), Edition::from(&documents[other]));
                let is_newer = match new.newer_than(&old) {
                    Some(Newer::Replaces | Newer::From(_)) => true,
                    // The report of each year stands beside that of the year before.
                    Some(Newer::Named) => {
                        !Name::of(&document.title).is_dated() && !Name::of(stem(&document.path)).is_dated()
                    }
                    None => false,
                };
                if is_newer {
                    replaced.insert(documents[other].document_id.clone(), named(document));
                }
            }
        }
        Ok(replaced)
    }

    /// The sentences of pairs, from the stored text.
    fn quoted(
        &self,
        walked: &[Walked],
        pairs: Vec<[contradictions::Place; 2]>,
    ) -> Result<Findings<Contradiction>, StoreError> {
        let mut findings = Findings {
            n: pairs.len(),
            listed: Vec::new(),
        };
        for [a, b] in pairs.into_iter().take(LISTED_MAX) {
            let quotes = (self.quote(walked, &a)?, self.quote(walked, &b)?);
            match quotes {
                (Some(first), Some(second)) => findings.listed.push(Contradiction { first, second }),
                // Removed meanwhile.
                _ => findings.n -= 1,
            }
        }
        Ok(findings)
    }

    fn quote(&self, walked: &[Walked], place: &contradictions::Place) -> Result<Option<Quote>, StoreError> {
        let named = &walked[place.document].named;
        let document = self.document(&named.document_id, Some(&named.version))?;
        Ok(document.map(|document| Quote {
            document: named.clone(),
            page: page_at(&document.pages, place.start),
            start: place.start,
            end: place.end,
            text: document
                .text
                .chars()
                .skip(place.start)
                .take(place.end - place.start)
                .collect(),
        }))
    }
}

/// Documents of one name that are compared with each.
const EDITIONS_MAX: usize = 64;

fn named(document: &DocumentInfo) -> Named {
    Named {
        document_id: document.document_id.clone(),
        version: document.version.clone(),
        title: document.title.clone(),
        path: document.path.clone(),
    }
}

fn page_at(pages: &[PageSpan], at: usize) -> Option<u32> {
    pages
        .iter()
        .find(|page| (page.start..page.end).contains(&at))
        .map(|page| page.page)
}

/// What stays of a document.
fn walk(document: StreamedDocument, holds: bool) -> Walked {
    let changed = Date::from_unix_days(document.mtime_ns.div_euclid(NS_A_DAY));
    let taken_in = Date::from_unix_days(document.ingested_ms.div_euclid(MS_A_DAY));
    // A file that was written while it was read has no trusted time, and a page of a trial has none at all.
    let changed = changed.filter(|_| document.mtime_ns > 0).or(taken_in);
    Walked {
        unchanged_since: document.validity.from.or(changed),
        hash: stdx::hash::sha256_hex(document.text.as_bytes()),
        sketch: holds.then(|| Sketch::of(&document.text)).flatten(),
        owner: document.owner.is_some(),
        validity: document.validity,
        holds,
        named: Named {
            document_id: document.document_id,
            version: document.version,
            title: document.title,
            path: document.path,
        },
    }
}

/// Pages without text of a document that has text elsewhere.
fn scanned_pages(document: &StreamedDocument) -> Option<Unreadable> {
    let pages = empty_pages(&document.format, document.n_pages, &document.pages);
    (!pages.is_empty()).then(|| Unreadable {
        path: document.path.clone(),
        reason: String::new(),
        pages,
    })
}
