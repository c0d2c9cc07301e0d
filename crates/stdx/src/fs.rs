//! File system calls whose errors say what was attempted and on which path.
//!
//! Not a virtual file system: every function is the standard library's call plus context.
#![expect(
    clippy::disallowed_methods,
    reason = "this module is the place that wraps std::fs"
)]

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// A failed file system call: the verb, the path and the operating system's reason.
#[derive(Debug)]
pub struct FsError {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FsError {
    /// Wraps an I/O error with the verb ("read", "open", …) and the path it happened on.
    pub fn new(verb: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self {
            verb,
            path: path.into(),
            source,
        }
    }

    /// The path the call was made on.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The operating system's error kind.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Whether the disk (or the user's quota, or the file size limit) is full.
    pub fn is_no_space(&self) -> bool {
        is_no_space(&self.source)
    }

    /// Whether the device failed, or could not say that what was written is safe. What the disk holds is then not known,
    /// and asking again may be answered with a "yes" that means nothing.
    pub fn is_device_failure(&self) -> bool {
        self.verb == SYNC || is_device_failure(&self.source)
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        is_transient(&self.source)
    }
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot {} `{}`: {}",
            self.verb,
            self.path.display(),
            self.source
        )
    }
}

impl std::error::Error for FsError {}

/// Whether an I/O error means that there is no room left to write.
pub fn is_no_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Whether an I/O error means that the device failed.
pub fn is_device_failure(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// Whether an I/O error may pass by itself: somebody holds the file, a cable or a server is away, a number of open files
/// or processes is used up.
pub fn is_transient(error: &io::Error) -> bool {
    const PASSING: [i32; 10] = [
        libc::EAGAIN,
        libc::EBUSY,
        libc::EINTR,
        libc::EIO,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ESTALE,
        libc::ETIMEDOUT,
        libc::ETXTBSY,
    ];
    error.raw_os_error().is_some_and(|code| PASSING.contains(&code))
}

/// Whether a small file can no longer be written in `folder`, or files may not grow beyond some size: for libraries that
/// say only that a write failed.
pub fn lacks_room(folder: impl AsRef<Path>) -> bool {
    if crate::process::file_size_is_limited() {
        return true;
    }
    let probe = folder.as_ref().join(format!(".room.{}.tmp", std::process::id()));
    let written = File::create(&probe).and_then(|file| {
        file.write_all_at(&[0; 1 << 16], 0)?;
        file.set_len(1 << 17)
    });
    let _ = std::fs::remove_file(&probe);
    written.is_err_and(|error| is_no_space(&error))
}

/// The verb of calls that make what was written durable.
const SYNC: &str = "sync";

/// Result of a file system call.
pub type Result<T> = std::result::Result<T, FsError>;

fn wrap<T>(verb: &'static str, path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|source| FsError::new(verb, path, source))
}

/// Reads a whole file.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    wrap("read", path.as_ref(), std::fs::read(path.as_ref()))
}

/// Reads a whole file as UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> Result<String> {
    wrap("read", path.as_ref(), std::fs::read_to_string(path.as_ref()))
}

/// Writes a whole file, not atomically; see [`write_atomic`] for anything that must survive a crash.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
    wrap("write", path.as_ref(), std::fs::write(path.as_ref(), bytes))
}

/// Replaces a file so that after a crash it holds either the old bytes or the new ones:
/// temporary file beside it, sync, rename, sync of the folder.
pub fn write_atomic(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
    let path = path.as_ref();
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut verb = "write";
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes.as_ref())?;
        verb = SYNC;
        file.sync_all()
    })();
    if let Err(source) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(FsError::new(verb, temporary, source));
    }
    rename(&temporary, path)?;
    sync_parent(path)
}

/// Lets nobody but this user into a folder.
pub fn make_private(folder: impl AsRef<Path>) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let only_owner = std::fs::Permissions::from_mode(0o700);
    wrap(
        "protect",
        folder.as_ref(),
        std::fs::set_permissions(folder.as_ref(), only_owner),
    )
}

/// Makes a rename or a new file in `path`'s folder durable.
pub fn sync_parent(path: impl AsRef<Path>) -> Result<()> {
    let parent = match path.as_ref().parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    wrap(
        SYNC,
        parent,
        File::open(parent).and_then(|folder| folder.sync_all()),
    )
}

/// Bytes that this user may still write to the file system of an existing `path`.
#[cfg(unix)]
#[expect(unsafe_code, reason = "the free space of a file system is a system call")]
pub fn free_bytes(path: impl AsRef<Path>) -> Result<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = path.as_ref();
    let c_path = wrap(
        "measure",
        path,
        std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other),
    )?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `c_path` is a terminated string and `found` has room for the answer.
    if unsafe { libc::statvfs(c_path.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(FsError::new("measure", path, io::Error::last_os_error()));
    }
    // SAFETY: the call succeeded, so it has filled the structure.
    let found = unsafe { found.assume_init() };
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the fields' types differ between systems"
    )]
    let (blocks, size) = (u64::from(found.f_bavail), found.f_frsize as u64);
    Ok(blocks.saturating_mul(size))
}

/// Opens a file for reading.
pub fn open(path: impl AsRef<Path>) -> Result<File> {
    wrap("open", path.as_ref(), File::open(path.as_ref()))
}

/// Creates (or truncates) a file for writing.
pub fn create(path: impl AsRef<Path>) -> Result<File> {
    wrap("create", path.as_ref(), File::create(path.as_ref()))
}

/// Creates a folder and all its parents.
pub fn create_dir_all(path: impl AsRef<Path>) -> Result<()> {
    wrap(
        "create folder",
        path.as_ref(),
        std::fs::create_dir_all(path.as_ref()),
    )
}

/// Renames a file or folder; the error names the target.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    wrap(
        "rename a file to",
        to.as_ref(),
        std::fs::rename(from.as_ref(), to.as_ref()),
    )
}

/// Removes a file.
pub fn remove_file(path: impl AsRef<Path>) -> Result<()> {
    wrap("remove", path.as_ref(), std::fs::remove_file(path.as_ref()))
}

/// Removes a folder and everything in it.
pub fn remove_dir_all(path: impl AsRef<Path>) -> Result<()> {
    wrap(
        "remove folder",
        path.as_ref(),
        std::fs::remove_dir_all(path.as_ref()),
    )
}

/// Metadata of what a path points to (links followed).
pub fn metadata(path: impl AsRef<Path>) -> Result<std::fs::Metadata> {
    wrap("look at", path.as_ref(), std::fs::metadata(path.as_ref()))
}

/// Metadata of the path itself (links not followed).
pub fn symlink_metadata(path: impl AsRef<Path>) -> Result<std::fs::Metadata> {
    wrap("look at", path.as_ref(), std::fs::symlink_metadata(path.as_ref()))
}

/// The absolute path with every link resolved.
pub fn canonicalize(path: impl AsRef<Path>) -> Result<PathBuf> {
    wrap("find", path.as_ref(), std::fs::canonicalize(path.as_ref()))
}

/// The entries of a folder, sorted by path so that every walk is deterministic.
pub fn read_dir(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let path = path.as_ref();
    let entries: io::Result<Vec<PathBuf>> =
        std::fs::read_dir(path).and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect());
    let mut entries = wrap("list", path, entries)?;
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_verb_and_the_path() {
        let error = read("/no/such/file").unwrap_err();
        assert!(
            error.to_string().starts_with("cannot read `/no/such/file`:"),
            "{error}"
        );
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn write_atomic_replaces_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(read(&path).unwrap(), b"new");
        assert_eq!(read_dir(dir.path()).unwrap(), [path]);
    }

    #[test]
    fn read_dir_is_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "가", "a"] {
            write(dir.path().join(name), b"").unwrap();
        }
        let names: Vec<_> = read_dir(dir.path())
            .unwrap()
            .iter()
            .map(|p| p.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a", "b", "가"]);
    }
}
