//! The known models: `models.toml`, read once.

use std::sync::LazyLock;

use serde::Deserialize;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Use {
    /// Writes answers.
    Language,
    /// Makes vectors.
    Embedding,
    /// Reads question and passage together.
    Reranking,
}

/// One known model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Name on the command line.
    pub(crate) name: String,
    /// What it is for.
    #[serde(rename = "use")]
    pub(crate) used_for: Use,
    /// Whether `pull` without a name fetches it.
    pub(crate) default: bool,
    /// Name for people.
    pub(crate) title: String,
    /// Name of the file in the models folder.
    pub(crate) file: String,
    /// SPDX expression.
    pub(crate) licence: String,
    /// Who made it.
    pub(crate) attribution: String,
    /// Where it comes from originally.
    pub(crate) upstream: String,
    /// Size of the file, where it is known beforehand.
    pub(crate) bytes: Option<u64>,
    /// SHA-256 of the file, where it is known beforehand.
    pub(crate) sha256: Option<String>,
    /// The Python package that ships it.
    pub(crate) package: Option<Package>,
    /// The hub that has it.
    pub(crate) hub: Option<Hub>,
}

/// A pinned Python package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Size of the wheel.
    pub(crate) bytes: u64,
    /// SHA-256 of the wheel.
    pub(crate) sha256: String,
    /// Path of the file in the wheel.
    pub(crate) inside: String,
    /// More arguments for the package client.
    pub(crate) platform: Vec<String>,
    /// Files of the wheel that the model needs beside it.
    #[serde(default)]
    pub(crate) companions: Vec<Companion>,
}

/// A file that is taken with a model's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Companion {
    /// Path in the wheel.
    pub(crate) inside: String,
    /// Name in the models folder.
    pub(crate) file: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its SHA-256.
    pub(crate) sha256: String,
}

/// A file on a hub.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hub {
    /// ORG/NAME.
    pub(crate) repository: String,
    /// The file's name ends so (compared without case).
    pub(crate) ends_with: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    model: Vec<Entry>,
}

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let table: Table = toml::from_str(include_str!("../../models.toml"))
        .expect("models.toml is part of the program, and a test reads it");
    table.model
});

/// All known models.
pub(crate) fn table() -> &'static [Entry] {
    &TABLE
}

/// Their names.
pub(crate) fn names() -> Vec<&'static str> {
    table().iter().map(|entry| entry.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_model_has_one_source_and_packages_are_pinned_by_hash() {
        for entry in table() {
            assert!(entry.package.is_some() != entry.hub.is_some(), "{}", entry.name);
            if let Some(package) = &entry.package {
                assert_eq!(package.sha256.len(), 64);
                assert!(package.companions.iter().all(|c| c.sha256.len() == 64));
                assert_eq!(entry.sha256.as_ref().unwrap().len(), 64);
                assert!(entry.bytes.is_some());
            }
        }
        assert_eq!(names(), ["smollm2", "e5", "reranker-en", "olmoe"]);
    }
}
