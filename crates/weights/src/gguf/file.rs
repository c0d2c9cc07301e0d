//! A file that is there whole or not at all: written under a temporary name, synced, renamed.
//!
//! Not the format: that is [`Writer`](super::Writer), which writes into it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use stdx::fs::{self, FsError};

/// Bytes that are gathered before the operating system is called.
const BUFFER_BYTES: usize = 1 << 20;

/// An output that takes the place of `path` when it is [committed](Self::commit), and leaves nothing behind
/// when it is dropped before.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    /// `None` once committed.
    out: Option<BufWriter<File>>,
}

impl NewFile {
    /// Begins a file that will be called `path`; until then it lies beside it under a hidden name.
    ///
    /// # Errors
    /// When the folder does not exist or may not be written to.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, FsError> {
        let path = path.as_ref();
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = fs::create(&temporary)?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            out: Some(BufWriter::with_capacity(BUFFER_BYTES, file)),
        })
    }

    /// Makes the file durable and gives it its name; a file of that name is replaced.
    ///
    /// # Errors
    /// When the disk is full or fails; then the temporary file is removed.
    pub fn commit(mut self) -> Result<(), FsError> {
        let failed = |error| FsError::new("write", &self.path, error);
        if let Some(out) = &mut self.out {
            out.flush().map_err(failed)?;
            out.get_ref().sync_all().map_err(failed)?;
        }
        fs::rename(&self.temporary, &self.path)?;
        self.out = None;
        fs::sync_parent(&self.path)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().map_or(Ok(0), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.out.is_some() {
            // Nothing better can be done about a file that cannot be removed.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_committed_file_replaces_the_old_one_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        fs::write(&path, b"old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap(), [path]);
    }

    #[test]
    fn a_dropped_file_never_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = NewFile::create(dir.path().join("m.gguf")).unwrap();
        file.write_all(&[7; 100]).unwrap();
        drop(file);
        assert!(fs::read_dir(dir.path()).unwrap().is_empty());
        assert!(NewFile::create(dir.path().join("no/m.gguf")).is_err());
    }
}
