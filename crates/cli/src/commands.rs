//! One file a command: arguments in, the public interfaces of the rooms, words or JSON out.

pub(crate) mod ask;
pub(crate) mod chat;
pub(crate) mod config;
pub(crate) mod convert;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod documents;
pub(crate) mod generate;
pub(crate) mod importance;
pub(crate) mod ingest;
pub(crate) mod inspect;
pub(crate) mod keep;
pub(crate) mod pull;
pub(crate) mod quality;
pub(crate) mod read;
pub(crate) mod reindex;
pub(crate) mod search;
pub(crate) mod serve;
mod shards;
pub(crate) mod sync;
pub(crate) mod synth;
pub(crate) mod trial;
