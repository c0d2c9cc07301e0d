//! The real binary, run as a user runs it: exit codes, stdout, stderr, JSON shapes.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

mod basics;
mod demo;
mod dictionary;
mod documents;
mod home;
mod hub;
mod models;
mod packages;
mod quality;
mod reranker;
mod serving;
mod sync;
mod weights;
