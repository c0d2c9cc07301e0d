//! Sources beyond folders: buckets, WebDAV folders and pages that the configuration names.
//!
//! Each is copied into the data directory (see [`knowledge::mirror`]) and taken in from there by the ordinary ingest.
//! Only what changed is fetched. A source that cannot be reached, or whose list is cut short, deletes nothing.

mod client;
mod credentials;
mod mirror;
mod names;
mod pages;
mod s3;
mod sigv4;
mod spec;
#[cfg(test)]
mod tests;
mod webdav;
mod xml;

use std::path::Path;

use knowledge::mirror::folder;

pub(crate) use client::Trouble;
pub(crate) use mirror::Mirrored;
pub(crate) use spec::{Spec, parse};

use crate::settings::Environment;
use client::Client;
use credentials::Credentials;
use spec::Kind;

/// An object that a source lists.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    /// What the source calls it, with slashes between folders.
    key: String,
    /// Where people find it.
    address: String,
    /// What tells versions apart.
    etag: Option<String>,
    /// When it was changed, as the source writes it.
    modified: Option<String>,
    /// Its length, where the source says it.
    bytes: Option<u64>,
}

/// All that a source lists.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listing {
    objects: Vec<Listed>,
    /// Beginnings of keys below which nothing could be listed, and why: what was there stays.
    closed: Vec<(String, String)>,
}

/// Objects beyond this many are no list that anybody meant.
const OBJECTS_MAX: usize = 1_000_000;

/// Brings the copies of one source up to date.
///
/// # Errors
/// When the source as a whole cannot be read; then nothing was deleted.
pub(crate) fn mirror(
    spec: &Spec,
    dir: &Path,
    environment: &Environment,
    stop: &dyn Fn() -> bool,
) -> Result<Mirrored, Trouble> {
    let credentials = Credentials::of(spec, environment)?;
    let client = Client::new(spec, stop)?;
    match &spec.kind {
        Kind::S3(at) => mirror::run(&s3::Bucket::new(at, &client, credentials), spec, dir, stop),
        Kind::WebDav(at) => mirror::run(&webdav::Share::new(at, &client, credentials), spec, dir, stop),
        Kind::Pages(urls) => mirror::run(&pages::Pages::new(urls, &client, credentials), spec, dir, stop),
    }
}

/// The folder that holds a source's copies.
pub(crate) fn folder_of(spec: &Spec, dir: &Path) -> std::path::PathBuf {
    folder(dir, &spec.name)
}
