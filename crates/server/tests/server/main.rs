//! The server as its clients see it: a real store, a real assistant, a real socket. One binary, to link once.

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod chat;
mod documents;
mod local;
mod page;
mod safety;
