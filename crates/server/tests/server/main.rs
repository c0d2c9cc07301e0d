//! The server as its clients see it: a real store, a real assistant, a real socket. One binary, to link once.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod answers;
mod chat;
mod completion;
mod documents;
mod local;
mod page;
mod pages;
mod quality;
mod safety;
