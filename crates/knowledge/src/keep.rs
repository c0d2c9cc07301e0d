//! Backups: a whole copy of what cannot be made again, with a list of hashes, taken while the store is in use.
//!
//! The word index is left out: it is made again from the catalog. A backup appears under its name only when it is
//! whole, and so does a restored store.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stdx::fs;
use stdx::hash::sha256_file;

use crate::access;
use crate::error::StoreError;
use crate::failpoint::{FailPoint, pass};
use crate::lexical::remove_if_there;
use crate::schema::SCHEMA_VERSION;
use crate::store::Store;
use crate::validity;

/// The list of a backup's files.
const MANIFEST: &str = "backup.json";
/// The version of that list.
const MANIFEST_SCHEMA: u32 = 1;
const DATABASE: &str = "hanok.sqlite";
const UPLOADS: &str = "uploads";
/// What the keeper states by path.
const RULES: [&str; 2] = [access::RULES_FILE, validity::RULES_FILE];
/// More files than this are damage of the list.
const FILES_MAX: usize = 10_000_000;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Version of this list.
    pub schema: u32,
    /// Layout of the database.
    pub database_schema: i64,
    /// When it was made, Unix milliseconds.
    pub made_ms: i64,
    /// Its files.
    pub files: Vec<BackupFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its path in the backup, with slashes.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

impl Backup {
    /// Length of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl Store {
    /// Copies the store to the new folder `to`, as it is at one moment; ingests and questions go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::BackupExists`]; when anything cannot be read or written: then `to` does not exist.
    pub fn backup(&self, to: &Path) -> Result<Backup, StoreError> {
        if fs::symlink_metadata(to).is_ok() {
            return Err(StoreError::BackupExists { path: to.to_owned() });
        }
        let partial = beside(to, "partial")?;
        remove_if_there(&partial)?;
        fs::create_dir_all(&partial).map_err(outside)?;
        let made = self.write_backup(&partial);
        if made.is_err() {
            // What is left of a failed backup is worth nothing; the failure is what matters.
            let _ = fs::remove_dir_all(&partial);
        }
        let backup = made?;
        pass(FailPoint::BackupListed);
        fs::rename(&partial, to).map_err(outside)?;
        fs::sync_parent(to).map_err(outside)?;
        pass(FailPoint::BackupRenamed);
        Ok(backup)
    }

    fn write_backup(&self, folder: &Path) -> Result<Backup, StoreError> {
        fs::make_private(folder).map_err(outside)?;
        // A document is in the catalog only after its upload is in place: so the catalog is copied first.
        self.copy_database(&folder.join(DATABASE))?;
        let mut files = vec![DATABASE.to_owned()];
        for rules in RULES {
            if fs::metadata(self.dir.join(rules)).is_ok() {
                copy(&self.dir.join(rules), &folder.join(rules))?;
                files.push(rules.to_owned());
            }
        }
        if fs::metadata(self.uploads()).is_ok() {
            fs::create_dir_all(folder.join(UPLOADS)).map_err(outside)?;
            for upload in fs::read_dir(self.uploads()).map_err(outside)? {
                let name = upload
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let is_file = fs::symlink_metadata(&upload).is_ok_and(|metadata| metadata.is_file());
                // Half uploaded files wait in a hidden folder; names are made by this program, so they are text.
                if is_file && !name.starts_with('.') {
                    copy(&upload, &folder.join(UPLOADS).join(&name))?;
                    files.push(format!("{UPLOADS}/{name}"));
                }
            }
        }
        pass(FailPoint::BackupCopied);
        let listed = |path: String| -> Result<BackupFile, StoreError> {
            let whole = folder.join(&path);
            Ok(BackupFile {
                bytes: fs::metadata(&whole).map_err(outside)?.len(),
                sha256: sha256_file(&whole).map_err(outside)?,
                path,
            })
        };
        let backup = Backup {
            schema: MANIFEST_SCHEMA,
            database_schema: SCHEMA_VERSION,
            made_ms: stdx::clock::unix_ms(),
            files: files.into_iter().map(listed).collect::<Result<_, _>>()?,
        };
        let text = serde_json::to_vec_pretty(&backup).map_err(|error| StoreError::BadBackup {
            path: folder.to_owned(),
            what: error.to_string(),
        })?;
        fs::write_atomic(folder.join(MANIFEST), text).map_err(outside)?;
        Ok(backup)
    }

    /// The database as of one transaction, without the log.
    fn copy_database(&self, to: &Path) -> Result<(), StoreError> {
        self.embedded(
            "back up",
            "use the tools of the database (`pg_dump`), which have it all",
        )?
        .catalog
        .copy_to(to)?;
        let file = fs::open(to).map_err(outside)?;
        file.sync_all()
            .map_err(|error| outside(fs::FsError::new("sync", to, error)))
    }

    /// Makes the store of the new or empty data directory `dir` out of a backup, whose every byte is checked first.
    ///
    /// # Errors
    /// [`StoreError::BadBackup`] for a backup that is not whole, [`StoreError::NotEmpty`] for a directory with something
    /// in it; when anything cannot be read or written: then nothing is in `dir`.
    pub fn restore(backup: &Path, dir: &Path) -> Result<Backup, StoreError> {
        let manifest = read_manifest(backup)?;
        for file in &manifest.files {
            check_file(backup, file)?;
        }
        if fs::read_dir(dir).is_ok_and(|entries| !entries.is_empty()) {
            return Err(StoreError::NotEmpty { dir: dir.to_owned() });
        }
        let partial = beside(dir, "restoring")?;
        remove_if_there(&partial)?;
        fs::create_dir_all(&partial).map_err(outside)?;
        fs::make_private(&partial).map_err(outside)?;
        for file in &manifest.files {
            let to = partial.join(&file.path);
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(outside)?;
            }
            copy(&backup.join(&file.path), &to)?;
            // The copy counts, not what it was made of.
            check_file(&partial, file)?;
        }
        pass(FailPoint::RestoreCopied);
        if fs::metadata(dir).is_ok() {
            fs::remove_dir_all(dir).map_err(outside)?;
        }
        pass(FailPoint::RestoreCleared);
        fs::rename(&partial, dir).map_err(outside)?;
        fs::sync_parent(dir).map_err(outside)?;
        pass(FailPoint::RestoreRenamed);
        Ok(manifest)
    }
}

fn read_manifest(backup: &Path) -> Result<Backup, StoreError> {
    let bad = |what: String| StoreError::BadBackup {
        path: backup.to_owned(),
        what,
    };
    let path = backup.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| bad(error.to_string()))?;
    let manifest: Backup = serde_json::from_slice(&text)
        .map_err(|error| bad(format!("its list of files is damaged ({error})")))?;
    if manifest.schema != MANIFEST_SCHEMA || manifest.database_schema > SCHEMA_VERSION {
        return Err(bad("it was made by a newer version of this program".to_owned()));
    }
    if manifest.files.len() > FILES_MAX || !manifest.files.iter().any(|file| file.path == DATABASE) {
        return Err(bad("its list of files is damaged".to_owned()));
    }
    // Nothing outside the backup is read, nothing outside the data directory written.
    let is_inside = |path: &str| match path.split_once('/') {
        None => path == DATABASE || RULES.contains(&path),
        Some((folder, name)) => {
            folder == UPLOADS && !name.is_empty() && !name.contains('/') && !name.starts_with('.')
        }
    };
    match manifest.files.iter().find(|file| !is_inside(&file.path)) {
        Some(file) => Err(bad(format!(
            "it lists a file that belongs to no store: `{}`",
            file.path
        ))),
        None => Ok(manifest),
    }
}

fn check_file(folder: &Path, file: &BackupFile) -> Result<(), StoreError> {
    let path = folder.join(&file.path);
    let bad = |what: &str| StoreError::BadBackup {
        path: path.clone(),
        what: what.to_owned(),
    };
    let metadata = fs::symlink_metadata(&path).map_err(|_| bad("a file of the list is missing"))?;
    if !metadata.is_file() || metadata.len() != file.bytes {
        return Err(bad("a file has another length than was written"));
    }
    if sha256_file(&path).map_err(outside)? != file.sha256 {
        return Err(bad("a file's bytes are not those that were written"));
    }
    Ok(())
}

/// Copies a file and makes the copy durable.
fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut source = fs::open(from).map_err(outside)?;
    let mut target = fs::create(to).map_err(outside)?;
    io::copy(&mut source, &mut target)
        .and_then(|_| target.sync_all())
        .map_err(|error| outside(fs::FsError::new("write", to, error)))
}

/// A folder beside this one, on the same disk.
fn beside(path: &Path, mark: &str) -> Result<PathBuf, StoreError> {
    let absolute =
        std::path::absolute(path).map_err(|error| outside(fs::FsError::new("find", path, error)))?;
    let name = absolute
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(absolute.with_file_name(format!(".{name}.{mark}")))
}

/// An error of a backup's disk, which is not the store's: the store is written on.
fn outside(error: fs::FsError) -> StoreError {
    if error.is_no_space() {
        StoreError::file(error)
    } else {
        StoreError::Fs(error)
    }
}
