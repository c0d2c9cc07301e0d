//! One file a command: arguments in, the public interfaces of the rooms, words or JSON out.

pub(crate) mod config;
pub(crate) mod pull;
