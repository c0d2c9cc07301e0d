//! The lock that makes one process the writer of a data directory.
//!
//! The kernel drops the lock when its holder dies, so a crash never leaves a directory locked.
//! The holder writes a line about itself into the file, so that others can say whom they wait for.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::fs::FsError;

/// Why a lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process holds it; `holder` is what it wrote about itself.
    #[error("`{}` is in use by another process ({holder})", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote with [`FileLock::describe`]; empty if nothing yet.
        holder: String,
    },
    /// The lock file cannot be opened or locked.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// An exclusive lock, held until dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock on `path` (created if missing) or says who holds it; never waits.
    pub fn try_acquire(path: impl AsRef<Path>) -> Result<Self, LockError> {
        let path = path.as_ref();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| FsError::new("open", path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                file,
                path: path.to_owned(),
            }),
            Err(TryLockError::WouldBlock) => {
                let holder = read_holder(path).unwrap_or_default();
                Err(LockError::Held {
                    path: path.to_owned(),
                    holder,
                })
            }
            Err(TryLockError::Error(e)) => Err(FsError::new("lock", path, e).into()),
        }
    }

    /// Writes a line that others see in [`LockError::Held`] and [`holder`].
    pub fn describe(&mut self, line: &str) -> Result<(), FsError> {
        let written = (|| {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(line.as_bytes())?;
            self.file.flush()
        })();
        written.map_err(|e| FsError::new("write", &self.path, e))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing the file releases the lock; a stale description must not outlive it.
        let _ = self.file.set_len(0);
    }
}

/// What the present holder of the lock on `path` wrote about itself; `None` if nobody holds it.
pub fn holder(path: impl AsRef<Path>) -> Option<String> {
    let path = path.as_ref();
    let file = OpenOptions::new().read(true).open(path).ok()?;
    match file.try_lock_shared() {
        Ok(()) => None,
        Err(_) => read_holder(path).ok(),
    }
}

fn read_holder(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    OpenOptions::new()
        .read(true)
        .open(path)?
        .take(4096)
        .read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(holder(&path), None);
        let mut first = FileLock::try_acquire(&path).unwrap();
        first.describe("serve, process 42").unwrap();
        let error = FileLock::try_acquire(&path).unwrap_err();
        assert!(error.to_string().contains("serve, process 42"), "{error}");
        assert_eq!(holder(&path).as_deref(), Some("serve, process 42"));
        drop(first);
        assert_eq!(holder(&path), None);
        FileLock::try_acquire(&path).unwrap();
    }
}
