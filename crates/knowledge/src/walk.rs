//! Finding the files under the named paths, and the documents whose file is gone.
//!
//! Reads no file. Links inside folders are not followed, so no loop can arise and nothing outside a named folder
//! is taken in by accident.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use stdx::fs;

use crate::catalog::{Stat, StoredDocument};
use crate::types::FailedFile;

/// Deeper folders are reported, not read.
const FOLDER_DEPTH_MAX: usize = 64;
/// More files than this in one ingest are refused: name smaller folders.
const FILES_MAX: usize = 1_000_000;

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Files by path, each once.
    pub(crate) files: BTreeMap<PathBuf, Stat>,
    /// The named folders.
    pub(crate) folders: Vec<PathBuf>,
    /// Folders that were not or could not be listed: what was below them stays.
    pub(crate) unreadable: Vec<PathBuf>,
    pub(crate) failed: Vec<FailedFile>,
}

pub(crate) fn stat_of(metadata: &Metadata) -> Stat {
    let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
    Stat {
        bytes: metadata.len(),
        mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
        ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        device: metadata.dev(),
    }
}

impl Walk {
    /// Walks `paths`, leaving out `own` (the data directory).
    pub(crate) fn of(paths: &[PathBuf], own: &Path) -> Self {
        let mut walk = Self::default();
        for path in paths {
            let found = fs::canonicalize(path).and_then(|path| fs::metadata(&path).map(|m| (path, m)));
            match found {
                Ok((path, metadata)) if metadata.is_dir() => {
                    walk.folder(&path, own, 0);
                    walk.folders.push(path);
                }
                Ok((path, metadata)) if metadata.is_file() => walk.file(path, &metadata),
                Ok((path, _)) => walk.fail(&path, NOT_A_FILE),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    walk.fail(path, "there is no such file or folder; check the path");
                }
                Err(error) => walk.fail(path, &error.to_string()),
            }
        }
        walk
    }

    pub(crate) fn fail(&mut self, path: &Path, reason: &str) {
        let path = path.display().to_string();
        self.failed.push(FailedFile {
            path,
            reason: reason.to_owned(),
        });
    }

    pub(crate) fn file(&mut self, path: PathBuf, metadata: &Metadata) {
        if self.files.len() < FILES_MAX {
            self.files.insert(path, stat_of(metadata));
        } else if !self.files.contains_key(&path) {
            self.fail(&path, "too many files for one run; name smaller folders");
        }
    }

    pub(crate) fn folder(&mut self, folder: &Path, own: &Path, depth: usize) {
        if folder == own {
            // Uploads may be kept in it: they are not gone because they were not looked at.
            return self.unreadable.push(folder.to_owned());
        }
        if depth > FOLDER_DEPTH_MAX {
            self.unreadable.push(folder.to_owned());
            return self.fail(folder, "folders are nested too deep here; name this one itself");
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.unreadable.push(folder.to_owned());
                return self.fail(folder, &error.to_string());
            }
        };
        for entry in entries {
            let hidden = entry
                .file_name()
                .is_some_and(|name| name.as_bytes().starts_with(b"."));
            if !hidden {
                self.entry(entry, own, depth);
            }
        }
    }

    fn entry(&mut self, path: PathBuf, own: &Path, depth: usize) {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => self.folder(&path, own, depth + 1),
            Ok(metadata) if metadata.is_file() => self.file(path, &metadata),
            Ok(metadata) if metadata.is_symlink() => {
                self.unreadable.push(path.clone());
                self.fail(
                    &path,
                    "links inside a folder are not followed; name its target to take it in",
                );
            }
            Ok(_) => self.fail(&path, NOT_A_FILE),
            Err(error) => {
                self.unreadable.push(path.clone());
                self.fail(&path, &error.to_string());
            }
        }
    }

    /// Whether a path lies in a folder that was looked at and was not found there.
    pub(crate) fn is_gone(&self, path: &Path) -> bool {
        self.folders.iter().any(|folder| path.starts_with(folder))
            && !self.files.contains_key(path)
            && !self
                .unreadable
                .iter()
                .any(|unreadable| path.starts_with(unreadable))
    }

    /// Of the documents known below `folder`, those whose file is really gone. A file that cannot be seen because
    /// its folder cannot be listed, or because its disk is not mounted now, is not gone.
    pub(crate) fn gone(&mut self, folder: &Path, known: Vec<(PathBuf, StoredDocument)>) -> Vec<String> {
        let mut gone = Vec::new();
        let mut absent_disks: Vec<PathBuf> = Vec::new();
        for (path, document) in known {
            if self.files.contains_key(&path) || self.unreadable.iter().any(|u| path.starts_with(u)) {
                continue;
            }
            let Some((above, device)) = nearest_folder(&path, folder) else {
                continue;
            };
            if device == document.stat.device {
                gone.push(document.document_id);
            } else if !absent_disks.contains(&above) {
                absent_disks.push(above);
            }
        }
        for above in absent_disks {
            self.fail(
                &above,
                "documents from here are missing and the disk is another one than before: is it mounted? \
                 They were kept; remove them with `hanok remove` if they are really gone",
            );
        }
        gone
    }
}

const NOT_A_FILE: &str = "it is neither a file nor a folder";

/// The deepest folder above `path`, not above `root`, that exists, with its device.
fn nearest_folder(path: &Path, root: &Path) -> Option<(PathBuf, u64)> {
    path.ancestors()
        .skip(1)
        .take_while(|above| above.starts_with(root))
        .find_map(|above| fs::metadata(above).ok().map(|m| (above.to_owned(), m.dev())))
}
