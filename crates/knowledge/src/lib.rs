//! The documents of the house: readers, passages, lexical and dense index, fusion, durable ingest.
//!
//! Knows nothing of models: vectors come through [`Embed`], and lexical search works without it.

pub mod access;
mod analyser;
mod catalog;
mod dense;
pub mod edition;
mod embedding;
mod error;
mod fusion;
mod ingest;
mod keep;
mod lexical;
pub mod passage;
mod prepare;
pub mod quality;
mod question;
pub mod read;
mod schema;
pub mod sentence;
mod standing;
mod store;
#[cfg(test)]
mod tests;
pub mod text;
pub mod trial;
mod types;
pub mod validity;
mod verify;
mod view;
mod walk;
mod writer;

pub use access::{Audience, Reader};
pub use error::StoreError;
pub use keep::{Backup, BackupFile};
pub use prepare::ReadOptions;
pub use store::Store;
pub use types::{
    Access, DocumentInfo, DocumentText, Embed, EmbedKind, EmbedderId, FailedFile, Go, Hit, IngestEvent,
    IngestReport, PageSpan, SearchMode, StoreStatus,
};
pub use validity::{AsOf, Date, Validity};
pub use verify::VerifyReport;
pub use view::View;
