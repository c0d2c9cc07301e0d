//! HTTP, server-sent events, wire types, metrics, the local socket and the page.
//!
//! Knows nothing of kernels or file formats. Domain types are converted by hand in [`wire`]; blocking work never
//! runs on the reactor; every queue has a limit; what fails inside is logged and not sent.

mod ask;
mod assets;
mod chat;
mod documents;
mod embeddings;
mod error;
mod fields;
mod guard;
mod http;
mod intake;
mod jobs;
pub mod local;
mod metrics;
mod models;
mod page;
mod pictures;
mod principal;
mod quality;
mod reindex;
mod selftest;
mod serve;
mod state;
mod upload;
pub mod wire;

pub use intake::Intake;
pub use serve::{Bound, ServeConfig, ServeError, bind, serve};
pub use state::{App, AppConfig, AppError, Caller};
