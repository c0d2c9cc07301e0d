//! Documents, passages and the store's state on the wire.

use knowledge::ocr::DOUBTFUL_BELOW;
use knowledge::read::Recognised;
use knowledge::{
    DocumentInfo, DocumentText, Hit, PageMarks, PageSpan, Place, Rect, SearchMode, SetAsideFile, StoreStatus,
    Suggestion, Unread,
};
use serde::{Deserialize, Serialize};

use super::{DateJson, ReindexProgressJson, SCHEMA, ValidityJson};

/// Which index answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchModeJson {
    /// Words only.
    Lexical,
    /// Vectors only.
    Dense,
    /// Both.
    #[default]
    Hybrid,
}

impl From<SearchModeJson> for SearchMode {
    fn from(mode: SearchModeJson) -> Self {
        match mode {
            SearchModeJson::Lexical => Self::Lexical,
            SearchModeJson::Dense => Self::Dense,
            SearchModeJson::Hybrid => Self::Hybrid,
        }
    }
}

/// A found passage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HitJson {
    /// The document.
    pub document_id: String,
    /// Its version.
    pub version: String,
    /// Its path.
    pub path: String,
    /// Its title.
    pub title: String,
    /// 1-based page, or null.
    pub page: Option<u32>,
    /// Start in Unicode scalar values.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
    /// Headings above the passage, outermost first.
    pub heading_path: Vec<String>,
    /// Exactly the stored characters `start..end`.
    pub text: String,
    /// Higher is better; comparable within one result only.
    pub score: f64,
    /// When the document holds.
    #[serde(flatten)]
    pub validity: ValidityJson,
    /// BM25 score, or null.
    pub lexical_score: Option<f64>,
    /// Product of the question's vector with the passage's, or null.
    pub dense_score: Option<f64>,
    /// How many found passages say nearly the same and are not listed by themselves.
    #[serde(default)]
    pub alike: usize,
    /// Where they stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alike_places: Vec<PlaceJson>,
}

/// Where a passage stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceJson {
    /// The document.
    pub document_id: String,
    /// Its version.
    pub version: String,
    /// Its path.
    pub path: String,
    /// Its title.
    pub title: String,
    /// 1-based page, or null.
    pub page: Option<u32>,
    /// Start in Unicode scalar values.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
}

impl From<&Place> for PlaceJson {
    fn from(place: &Place) -> Self {
        Self {
            document_id: place.document_id.clone(),
            version: place.version.clone(),
            path: place.path.clone(),
            title: place.title.clone(),
            page: place.page,
            start: place.start,
            end: place.end,
        }
    }
}

/// Titles and headings that a question that is being typed may become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestionsJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// Best first.
    pub suggestions: Vec<SuggestionJson>,
}

/// A title or heading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestionJson {
    /// As it is written.
    pub text: String,
    /// Passages under it, among those looked at.
    pub passages: usize,
}

impl From<Vec<Suggestion>> for SuggestionsJson {
    fn from(suggestions: Vec<Suggestion>) -> Self {
        let json = |suggestion: Suggestion| SuggestionJson {
            text: suggestion.text,
            passages: suggestion.passages,
        };
        Self {
            schema: SCHEMA,
            suggestions: suggestions.into_iter().map(json).collect(),
        }
    }
}

impl From<&Hit> for HitJson {
    fn from(hit: &Hit) -> Self {
        Self {
            document_id: hit.document_id.clone(),
            version: hit.version.clone(),
            path: hit.path.clone(),
            title: hit.title.clone(),
            page: hit.page,
            start: hit.start,
            end: hit.end,
            heading_path: hit.heading_path.clone(),
            text: hit.text.clone(),
            score: hit.score,
            validity: ValidityJson::of(hit.validity, hit.holds),
            lexical_score: hit.lexical_score,
            dense_score: hit.dense_score,
            alike: hit.alike.len(),
            alike_places: hit.alike.iter().map(PlaceJson::from).collect(),
        }
    }
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// Best first.
    pub hits: Vec<HitJson>,
}

impl From<&[Hit]> for SearchJson {
    fn from(hits: &[Hit]) -> Self {
        Self {
            schema: SCHEMA,
            hits: hits.iter().map(HitJson::from).collect(),
        }
    }
}

/// A document as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentJson {
    /// Its id.
    pub document_id: String,
    /// Its version.
    pub version: String,
    /// Its path.
    pub path: String,
    /// Its title.
    pub title: String,
    /// Format name.
    pub format: String,
    /// Pages, or null.
    pub pages: Option<u32>,
    /// Characters of stored text.
    pub chars: usize,
    /// Passages.
    pub passages: usize,
    /// When it was last ingested, Unix milliseconds.
    pub ingested_ms: i64,
    /// The first day on which it holds, or null.
    #[serde(default)]
    pub valid_from: Option<DateJson>,
    /// The last one, or null.
    #[serde(default)]
    pub valid_until: Option<DateJson>,
    /// Whose it is, or null.
    #[serde(default)]
    pub owner: Option<String>,
    /// Pages on which there is no text: they need text recognition (OCR).
    #[serde(default)]
    pub pages_without_text: Vec<u32>,
    /// Pages whose text was recognised in a picture.
    #[serde(default)]
    pub recognised: Vec<RecognisedJson>,
}

/// A page whose text was recognised in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecognisedJson {
    /// 1-based.
    pub page: u32,
    /// How sure the program was, from 0 to 100.
    pub confidence: u8,
    /// Whether that is little.
    pub doubtful: bool,
}

impl From<&Recognised> for RecognisedJson {
    fn from(of: &Recognised) -> Self {
        Self {
            page: of.page,
            confidence: of.confidence,
            doubtful: of.confidence < DOUBTFUL_BELOW,
        }
    }
}

impl From<&DocumentInfo> for DocumentJson {
    fn from(info: &DocumentInfo) -> Self {
        Self {
            document_id: info.document_id.clone(),
            version: info.version.clone(),
            path: info.path.clone(),
            title: info.title.clone(),
            format: info.format.clone(),
            pages: info.n_pages,
            chars: info.n_chars,
            passages: info.n_passages,
            ingested_ms: info.ingested_ms,
            valid_from: info.validity.from.map(DateJson),
            valid_until: info.validity.until.map(DateJson),
            owner: info.owner.clone(),
            pages_without_text: info.without_text.clone(),
            recognised: info.recognised.iter().map(RecognisedJson::from).collect(),
        }
    }
}

/// All documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentsJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// By path.
    pub documents: Vec<DocumentJson>,
}

impl From<&[DocumentInfo]> for DocumentsJson {
    fn from(documents: &[DocumentInfo]) -> Self {
        Self {
            schema: SCHEMA,
            documents: documents.iter().map(DocumentJson::from).collect(),
        }
    }
}

/// A page as a half-open range of the stored text, in Unicode scalar values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageJson {
    /// 1-based number.
    pub page: u32,
    /// Start.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
}

impl From<&PageSpan> for PageJson {
    fn from(span: &PageSpan) -> Self {
        Self {
            page: span.page,
            start: span.start,
            end: span.end,
        }
    }
}

/// A document's text, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentTextJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// The document.
    pub document: DocumentJson,
    /// Where `text` starts in the stored text, in Unicode scalar values.
    pub start: usize,
    /// Where it ends (exclusive).
    pub end: usize,
    /// The text `start..end`.
    pub text: String,
    /// Pages that overlap it.
    pub pages: Vec<PageJson>,
}

impl DocumentTextJson {
    /// The characters `from..to` of a document, clipped to what it has.
    pub fn part(document: &DocumentText, from: usize, to: usize) -> Self {
        let text: String = document
            .text
            .chars()
            .skip(from)
            .take(to.saturating_sub(from))
            .collect();
        let start = if text.is_empty() {
            from.min(document.info.n_chars)
        } else {
            from
        };
        let end = start + text.chars().count();
        let pages = document.pages.iter().filter(|p| p.start < end && p.end > start);
        Self {
            schema: SCHEMA,
            document: (&document.info).into(),
            start,
            end,
            pages: pages.map(PageJson::from).collect(),
            text,
        }
    }

    /// The whole document.
    pub fn whole(document: &DocumentText) -> Self {
        Self::part(document, 0, usize::MAX)
    }
}

/// A rectangle in points from the upper left corner of a page.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RectJson {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

impl From<&Rect> for RectJson {
    fn from(rect: &Rect) -> Self {
        // Hundredths of a point: what is finer is an artefact of arithmetic.
        let [x, y, width, height] =
            [rect.x, rect.y, rect.width, rect.height].map(|points| (points * 100.0).round() / 100.0);
        Self { x, y, width, height }
    }
}

/// What a span covers on one page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageMarksJson {
    /// 1-based number.
    pub page: u32,
    /// Width of the page in points.
    pub width: f32,
    /// Height of the page in points.
    pub height: f32,
    /// One rectangle for each stretch of a line.
    pub lines: Vec<RectJson>,
}

impl From<&PageMarks> for PageMarksJson {
    fn from(marks: &PageMarks) -> Self {
        Self {
            page: marks.page,
            width: marks.width,
            height: marks.height,
            lines: marks.lines.iter().map(RectJson::from).collect(),
        }
    }
}

/// Where on its pages a span of a document stands; no pages where that is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarksJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// In order.
    pub pages: Vec<PageMarksJson>,
}

impl From<&[PageMarks]> for MarksJson {
    fn from(pages: &[PageMarks]) -> Self {
        Self {
            schema: SCHEMA,
            pages: pages.iter().map(PageMarksJson::from).collect(),
        }
    }
}

/// A file that the reader died of too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAsideJson {
    /// Its path.
    pub path: String,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was last tried, Unix milliseconds.
    pub last_ms: i64,
}

impl From<&SetAsideFile> for SetAsideJson {
    fn from(file: &SetAsideFile) -> Self {
        Self {
            path: file.path.clone(),
            reason: file.reason.clone(),
            tries: file.tries,
            last_ms: file.last_ms,
        }
    }
}

/// A file that was not read, or not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadJson {
    /// Its path, or the upload's name.
    pub path: String,
    /// Its document, where only pages lack text; else null.
    pub document_id: Option<String>,
    /// What is wrong and what to do; empty where only pages lack text.
    pub reason: String,
    /// It is not tried again before it changes, or somebody says so.
    pub set_aside: bool,
    /// Pages without text, which need OCR; 1-based.
    pub pages: Vec<u32>,
}

impl From<&Unread> for UnreadJson {
    fn from(unread: &Unread) -> Self {
        Self {
            path: unread.path.clone(),
            document_id: unread.document_id.clone(),
            reason: unread.reason.clone(),
            set_aside: unread.set_aside,
            pages: unread.pages.clone(),
        }
    }
}

/// What runs and what it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// The program's version.
    pub version: String,
    /// "ready", "none", "starting" or "failed".
    pub generation: String,
    /// The model's name, or null.
    pub model: Option<String>,
    /// The embedder's name, or null.
    pub embedder: Option<String>,
    /// Documents.
    pub documents: usize,
    /// Passages.
    pub passages: usize,
    /// Passages that have a vector of the present embedder.
    pub vectors: usize,
    /// Files still queued.
    pub queued: usize,
    /// Files that the reader died of too often to be tried again before they change.
    #[serde(default)]
    pub set_aside: Vec<SetAsideJson>,
    /// Why nothing can be written now, or null.
    pub read_only: Option<String>,
    /// How far a new index is that is being made while the present one answers, or null.
    #[serde(default)]
    pub reindex: Option<ReindexProgressJson>,
}

impl StatusJson {
    /// The store's counts; who generates and embeds is filled in by the caller.
    pub fn of(status: &StoreStatus) -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: "none".to_owned(),
            model: None,
            embedder: None,
            documents: status.documents,
            passages: status.passages,
            vectors: status.vectors,
            queued: status.queued,
            set_aside: status.set_aside.iter().map(SetAsideJson::from).collect(),
            read_only: status.read_only.clone(),
            reindex: status.reindex.as_ref().map(ReindexProgressJson::from),
        }
    }
}
