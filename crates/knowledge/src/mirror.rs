//! Copies of what lies elsewhere: where they are kept, what is known of each, and the address that people see.
//!
//! A source's copies lie in `sources/NAME/` of the data directory, its manifest beside them in `sources/NAME.json`.
//! Nothing is fetched here: whoever fetches writes the files and the manifest, then has the folder taken in.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use stdx::fs;

use crate::access::SOURCES;
use crate::error::StoreError;

/// The version of the manifest.
const SCHEMA: u32 = 1;
/// A longer manifest is damage.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// What is known of a source's copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    schema: u32,
    /// By the copy's path below the source's folder, with slashes.
    pub objects: BTreeMap<String, Object>,
}

/// One object of a source, as it was when it was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What the source calls it.
    pub key: String,
    /// Where people find it.
    pub address: String,
    /// What the source says to tell versions apart.
    pub etag: Option<String>,
    /// When the source says that it was changed, in the source's own writing.
    pub modified: Option<String>,
    /// Length of the copy.
    pub bytes: u64,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            objects: BTreeMap::new(),
        }
    }
}

/// The folder of a source's copies.
pub fn folder(dir: &Path, source: &str) -> PathBuf {
    dir.join(SOURCES).join(source)
}

impl Manifest {
    /// The file of a source's manifest.
    pub fn path(dir: &Path, source: &str) -> PathBuf {
        dir.join(SOURCES).join(format!("{source}.json"))
    }

    /// Reads a source's manifest; an empty one if there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a file that is no manifest of this version.
    pub fn load(dir: &Path, source: &str) -> Result<Self, StoreError> {
        let path = Self::path(dir, source);
        let damaged = |what: String| StoreError::Damaged {
            path: path.clone(),
            what: format!("{what}; remove it and everything of this source is fetched again"),
        };
        match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(metadata) if metadata.len() > MANIFEST_BYTES_MAX => {
                return Err(damaged(format!("it has {} bytes", metadata.len())));
            }
            _ => {}
        }
        let text = fs::read(&path).map_err(StoreError::file)?;
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if manifest.schema != SCHEMA {
            return Err(damaged(format!("its version {} is not known", manifest.schema)));
        }
        // Copies are deleted by these paths.
        let is_inside = |path: &str| {
            let mut steps = Path::new(path).components();
            steps.all(|step| matches!(step, Component::Normal(_)))
        };
        match manifest.objects.keys().find(|path| !is_inside(path)) {
            Some(path) => Err(damaged(format!("it names `{path}`, which lies elsewhere"))),
            None => Ok(manifest),
        }
    }

    /// Writes it so that after a crash the old or the new one is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, dir: &Path, source: &str) -> Result<(), StoreError> {
        let path = Self::path(dir, source);
        let text = serde_json::to_vec(self).map_err(|error| StoreError::Damaged {
            path: path.clone(),
            what: error.to_string(),
        })?;
        fs::write_atomic(path, text).map_err(StoreError::file)
    }
}

/// The addresses of copies, looked up during one ingest.
pub(crate) struct Addresses {
    sources: PathBuf,
    manifests: BTreeMap<String, Manifest>,
}

impl Addresses {
    pub(crate) fn of(dir: &Path) -> Self {
        Self {
            sources: dir.join(SOURCES),
            manifests: BTreeMap::new(),
        }
    }

    /// What people see for a copy: its own address, or its place where none is known.
    pub(crate) fn of_file(&mut self, path: &Path) -> String {
        self.address(path).unwrap_or_else(|| path.display().to_string())
    }

    fn address(&mut self, path: &Path) -> Option<String> {
        let inside = path.strip_prefix(&self.sources).ok()?.to_str()?;
        let (source, file) = inside.split_once('/')?;
        if !self.manifests.contains_key(source) {
            // A manifest that cannot be read is reported by whoever fetches; here only addresses are lost.
            let manifest = self
                .sources
                .parent()
                .and_then(|dir| Manifest::load(dir, source).ok());
            self.manifests
                .insert(source.to_owned(), manifest.unwrap_or_default());
        }
        let object = self.manifests.get(source)?.objects.get(file)?;
        Some(object.address.clone())
    }
}
