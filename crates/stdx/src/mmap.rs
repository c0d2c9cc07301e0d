//! Read-only maps of files that Hanok wrote itself.
//!
//! A foreign file is never mapped: if somebody truncates it, touching the map kills the process (SIGBUS).
//! Hanok's own files are written once under another name, made read-only, renamed into place and never changed, so their
//! length holds; one that is removed or replaced stays whole for those who have mapped it. Who has the right to cut one
//! short in place can still do so. [`Mmap::is_whole`] tells, so that a user who asks before each piece of work has an error
//! instead; only a file that is cut short during such a piece of work still ends the process.
#![expect(unsafe_code, reason = "mapping a file is a system call on raw memory")]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;

use crate::fs::{self, FsError};

/// A whole file mapped read-only. Dereferences to its bytes.
#[derive(Debug)]
pub struct Mmap {
    start: NonNull<u8>,
    len: usize,
    file: File,
}

// SAFETY: the mapping is read-only and owned by this value, so sharing it between threads is sharing `&[u8]`.
unsafe impl Send for Mmap {}
// SAFETY: as above; no method writes through `start`.
unsafe impl Sync for Mmap {}

impl Mmap {
    /// Maps `path`, which must be a file written by Hanok (written once, then renamed into place).
    pub fn open_own_file(path: impl AsRef<Path>) -> Result<Self, FsError> {
        let path = path.as_ref();
        let file = fs::open(path)?;
        Self::map(file).map_err(|source| FsError::new("map", path, source))
    }

    /// Whether the file still has the length that was mapped. If not, its last bytes must not be touched.
    pub fn is_whole(&self) -> bool {
        let found = self.file.metadata();
        found.is_ok_and(|found| found.len() >= self.len as u64)
    }

    /// Asks the kernel to read the file in huge pages and to map them as such, where its file system can. Only a
    /// hint: nothing but speed depends on it.
    pub fn advise_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        if self.len > 0 {
            // SAFETY: the range is exactly this mapping; the advice changes no content.
            unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) };
        }
    }

    fn map(file: File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if len == 0 {
            return Ok(Self {
                start: NonNull::dangling(),
                len,
                file,
            });
        }
        // SAFETY: a fresh private read-only mapping of an open descriptor; the kernel chooses the address
        // and the result is checked against MAP_FAILED before use.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, len, file })
    }
}

impl Deref for Mmap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is valid for `len` bytes until `drop`, is never written through, and is
        // dangling only when `len` is 0.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Mmap {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Mmap {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: `start` and `len` are what `mmap` returned, and nothing borrows from a dropped value.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_full_and_empty_files() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], &[7u8; 10_000]] {
            let path = dir.path().join("file");
            fs::write(&path, bytes).unwrap();
            assert_eq!(&*Mmap::open_own_file(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn a_file_that_is_cut_short_is_noticed_and_one_that_is_replaced_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, [7u8; 10_000]).unwrap();
        let map = Mmap::open_own_file(&path).unwrap();
        fs::write_atomic(&path, b"new").unwrap();
        fs::remove_file(&path).unwrap();
        assert!(map.is_whole() && *map == [7u8; 10_000]);
        fs::write(&path, [7u8; 10_000]).unwrap();
        let map = Mmap::open_own_file(&path).unwrap();
        fs::write(&path, [7u8; 9_999]).unwrap();
        assert!(!map.is_whole());
    }
}
