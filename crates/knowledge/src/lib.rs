//! The documents of the house: readers, passages, lexical and dense index, fusion, durable ingest.
//!
//! Knows nothing of models: vectors come through [`Embed`] and second looks through [`Rerank`], and lexical search works
//! with neither.

pub mod access;
mod alike;
mod analyser;
mod analysis;
mod attempt;
mod boxes;
mod catalog;
mod checksum;
mod dense;
pub mod dictionary;
pub mod edition;
mod embedded;
mod embedding;
mod error;
mod exact;
mod failpoint;
mod fusion;
mod ingest;
mod intake;
mod keep;
mod lexical;
pub mod mirror;
mod moved;
pub mod ocr;
pub mod passage;
mod pg;
mod picture;
mod prepare;
pub mod quality;
mod question;
pub mod read;
mod reindex;
mod rerank;
mod rules;
mod schema;
pub mod sentence;
pub mod shard;
mod shelf;
mod standing;
mod store;
mod suggest;
mod sync;
#[cfg(test)]
mod tests;
pub mod text;
pub mod trial;
mod types;
mod unread;
pub mod validity;
mod varint;
mod verify;
mod view;
mod walk;
pub mod watch;
mod writer;

pub use access::{Audience, Reader};
pub use analysis::Analysis;
pub use boxes::{PageMarks, PageWords, Rect};
pub use error::StoreError;
pub use intake::Accepted;
pub use keep::{Backup, BackupFile};
pub use pg::PostgresAddress;
pub use picture::PagePicture;
pub use prepare::ReadOptions;
pub use store::Store;
pub use suggest::Suggestion;
pub use sync::Followed;
pub use types::{
    Access, DocumentInfo, DocumentText, Embed, EmbedKind, EmbedderId, FailedFile, FileDetails, FileOutcome,
    Go, Hit, IngestEvent, IngestReport, PageSpan, Place, ReindexNeed, ReindexProgress, ReindexReport,
    ReindexStage, Rerank, SearchMode, SetAsideFile, Stage, StoreStatus,
};
pub use unread::Unread;
pub use validity::{AsOf, Date, Validity};
pub use verify::VerifyReport;
pub use view::{Neighbours, View};
