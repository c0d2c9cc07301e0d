//! The JSON that leaves and enters the house: one set of types for HTTP, the local socket and `--json`.
//!
//! Domain types know nothing of serde; they are converted by hand here, so that a change inside a room
//! cannot change the wire unnoticed. Every type reads back what it writes.

mod answer;
mod documents;
mod error;
mod ingest;
mod quality;
mod reindex;
mod router;
mod validity;

pub use answer::{
    AskJson, AskStreamEvent, CitationJson, LanguageJson, ModeJson, MsJson, NearJson, OutcomeJson,
    RefusalJson, SentenceJson, TurnJson, UsageJson,
};
pub use documents::{
    DocumentJson, DocumentTextJson, DocumentsJson, HitJson, MarksJson, PageJson, PageMarksJson, PlaceJson,
    RecognisedJson, RectJson, SearchJson, SearchModeJson, SetAsideJson, StatusJson, SuggestionJson,
    SuggestionsJson, UnreadJson,
};
pub use error::{ErrorBody, ErrorJson};
pub use ingest::{
    FailedJson, FileJson, FileOutcomeJson, IngestEventJson, IngestJson, JobJson, JobState, JobsJson,
    StageJson,
};
pub use quality::{
    ContradictionJson, DoubledJson, FindingsJson, GapJson, NamedJson, QualityJson, QuoteJson, StaleJson,
    StalenessJson, UnreadableJson,
};
pub use reindex::{ReindexEventJson, ReindexJson, ReindexProgressJson, ReindexStageJson};
pub use router::{LayerRoutingJson, RouterJson};
pub use validity::{AsOfJson, DateJson, ValidityJson};

/// The version of every shape here.
pub const SCHEMA: u32 = 1;

#[cfg(test)]
mod tests;
