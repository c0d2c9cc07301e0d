//! The report on quality on the wire.

use knowledge::quality::{
    Contradiction, Doubled, Findings, Gap, Named, QualityReport, Quote, Stale, Staleness, Unreadable,
};
use serde::{Deserialize, Serialize};

use super::{DateJson, SCHEMA};

/// Findings of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingsJson<T> {
    /// All of them.
    pub n: usize,
    /// The first of them.
    pub listed: Vec<T>,
}

impl<T> FindingsJson<T> {
    fn of<D>(findings: &Findings<D>) -> Self
    where
        T: for<'d> From<&'d D>,
    {
        Self {
            n: findings.n,
            listed: findings.listed.iter().map(T::from).collect(),
        }
    }
}

/// A document that a finding names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedJson {
    /// Its id.
    pub document_id: String,
    /// Its version.
    pub version: String,
    /// Its title.
    pub title: String,
    /// Its path.
    pub path: String,
}

impl From<&Named> for NamedJson {
    fn from(named: &Named) -> Self {
        Self {
            document_id: named.document_id.clone(),
            version: named.version.clone(),
            title: named.title.clone(),
            path: named.path.clone(),
        }
    }
}

/// Why a document is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StalenessJson {
    /// It held until a day.
    Past,
    /// It has not been changed since a day.
    Unchanged,
    /// A newer edition is in force beside it.
    Replaced,
}

/// A stale document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleJson {
    /// It.
    #[serde(flatten)]
    pub document: NamedJson,
    /// Why.
    pub why: StalenessJson,
    /// Until when it held, or since when it is unchanged; or null.
    pub day: Option<DateJson>,
    /// The newer edition, or null.
    pub by: Option<NamedJson>,
}

impl From<&Stale> for StaleJson {
    fn from(stale: &Stale) -> Self {
        let (why, day, by) = match &stale.why {
            Staleness::Past(day) => (StalenessJson::Past, Some(*day), None),
            Staleness::Unchanged(day) => (StalenessJson::Unchanged, Some(*day), None),
            Staleness::Replaced(by) => (StalenessJson::Replaced, None, Some(by.into())),
        };
        Self {
            document: (&stale.document).into(),
            why,
            day: day.map(DateJson),
            by,
        }
    }
}

/// Documents with the same text, or nearly the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DoubledJson {
    /// They.
    pub documents: Vec<NamedJson>,
    /// 1 for the same text, else about how much of it they share.
    pub similarity: f64,
}

impl From<&Doubled> for DoubledJson {
    fn from(doubled: &Doubled) -> Self {
        Self {
            documents: doubled.documents.iter().map(NamedJson::from).collect(),
            similarity: doubled.similarity,
        }
    }
}

/// A sentence of a document; positions count Unicode scalar values of the stored text, half-open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteJson {
    /// The document.
    #[serde(flatten)]
    pub document: NamedJson,
    /// 1-based page, or null.
    pub page: Option<u32>,
    /// Start.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
    /// Exactly the stored characters `start..end`.
    pub quote: String,
}

impl From<&Quote> for QuoteJson {
    fn from(quote: &Quote) -> Self {
        Self {
            document: (&quote.document).into(),
            page: quote.page,
            start: quote.start,
            end: quote.end,
            quote: quote.text.clone(),
        }
    }
}

/// Two sentences with different figures on the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContradictionJson {
    /// One.
    pub first: QuoteJson,
    /// The other.
    pub second: QuoteJson,
}

impl From<&Contradiction> for ContradictionJson {
    fn from(pair: &Contradiction) -> Self {
        Self {
            first: (&pair.first).into(),
            second: (&pair.second).into(),
        }
    }
}

/// A file that could not be read, or pages without text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableJson {
    /// Its path.
    pub path: String,
    /// What is wrong and what to do.
    pub reason: String,
    /// Pages without text; empty where none of it could be read.
    pub pages: Vec<u32>,
}

impl From<&Unreadable> for UnreadableJson {
    fn from(unreadable: &Unreadable) -> Self {
        let reason = if unreadable.reason.is_empty() {
            "no text: needs OCR".to_owned()
        } else {
            unreadable.reason.clone()
        };
        Self {
            path: unreadable.path.clone(),
            reason,
            pages: unreadable.pages.clone(),
        }
    }
}

/// What is asked for in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapJson {
    /// What the documents say nothing of.
    pub words: Vec<String>,
    /// How often it was asked for.
    pub n: usize,
    /// When it was last asked for, or null.
    pub last: Option<DateJson>,
    /// How it was asked, where that is kept.
    pub questions: Vec<String>,
    /// Documents that came near.
    pub nearest: Vec<NamedJson>,
}

impl From<&Gap> for GapJson {
    fn from(gap: &Gap) -> Self {
        Self {
            words: gap.words.clone(),
            n: gap.n,
            last: gap.last.map(DateJson),
            questions: gap.questions.clone(),
            nearest: gap.nearest.iter().map(NamedJson::from).collect(),
        }
    }
}

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// Whether nothing was found.
    pub clean: bool,
    /// The day that counts as today.
    pub day: DateJson,
    /// Months without a change after which a document is stale.
    pub stale_months: u32,
    /// Documents looked at.
    pub documents: usize,
    /// Documents that were not compared sentence by sentence, because there are too many.
    pub not_compared: usize,
    /// Stale documents.
    pub stale: FindingsJson<StaleJson>,
    /// Doubled documents.
    pub doubled: FindingsJson<DoubledJson>,
    /// Contradictions.
    pub contradictory: FindingsJson<ContradictionJson>,
    /// What could not be read.
    pub unreadable: FindingsJson<UnreadableJson>,
    /// Whether any document names an owner; if none does, none is listed as being without.
    pub owners_named: bool,
    /// Documents without an owner.
    pub without_owner: FindingsJson<NamedJson>,
    /// What is asked for in vain.
    pub gaps: FindingsJson<GapJson>,
}

impl From<&QualityReport> for QualityJson {
    fn from(report: &QualityReport) -> Self {
        Self {
            schema: SCHEMA,
            clean: report.is_clean(),
            day: DateJson(report.day),
            stale_months: report.stale_months,
            documents: report.documents,
            not_compared: report.not_compared,
            stale: FindingsJson::of(&report.stale),
            doubled: FindingsJson::of(&report.doubled),
            contradictory: FindingsJson::of(&report.contradictory),
            unreadable: FindingsJson::of(&report.unreadable),
            owners_named: report.owners_named,
            without_owner: FindingsJson::of(&report.without_owner),
            gaps: FindingsJson::of(&report.gaps),
        }
    }
}
