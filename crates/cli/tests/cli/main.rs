//! The real binary, run as a user runs it: exit codes, stdout, stderr, JSON shapes.

mod basics;
mod documents;
mod home;
mod hub;
mod models;
mod packages;
mod serving;
