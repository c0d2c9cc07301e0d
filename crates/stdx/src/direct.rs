//! Reading past the kernel's file cache: what a program keeps itself should not lie in memory twice.
//!
//! Only a wish: where the file system refuses it, reads go through the cache like any others.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fs::{self, FsError};

/// What offsets, lengths and addresses must be multiples of: the largest block that disks in use ask for.
pub const DIRECT_ALIGN: usize = 4096;

/// A file for reading large pieces at known places.
#[derive(Debug)]
pub struct DirectFile {
    /// Through the file cache.
    cached: File,
    /// Past it; none where it cannot be opened so.
    direct: Option<File>,
    /// Whether a read past the cache was refused, so that nobody tries again.
    refused: AtomicBool,
}

impl DirectFile {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FsError> {
        let path = path.as_ref();
        Ok(Self {
            cached: fs::open(path)?,
            direct: open_direct(path),
            refused: AtomicBool::new(false),
        })
    }

    /// The smallest range of whole blocks around `range`: what [`Self::read_at`] wants to be asked for.
    pub fn whole_blocks(range: Range<u64>) -> Range<u64> {
        let block = DIRECT_ALIGN as u64;
        range.start / block * block..range.end.next_multiple_of(block)
    }

    /// Fills `buffer` from `offset` on; returns how many bytes there were before the file's end. Past the cache only if
    /// offset, length and address of the buffer are multiples of [`DIRECT_ALIGN`].
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let fits = |n: usize| n.is_multiple_of(DIRECT_ALIGN);
        let is_aligned =
            offset.is_multiple_of(DIRECT_ALIGN as u64) && fits(buffer.len()) && fits(buffer.as_ptr().addr());
        if let Some(direct) = &self.direct
            && is_aligned
            && !self.refused.load(Ordering::Relaxed)
        {
            match read_all(direct, buffer, offset, DIRECT_ALIGN) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.refused.store(true, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        read_all(&self.cached, buffer, offset, 1)
    }
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECT).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> Option<File> {
    None
}

/// Reads until the buffer is full or the file ends; `block` is what every read but the last is a multiple of.
fn read_all(file: &File, buffer: &mut [u8], offset: u64, block: usize) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // Only a file's end leaves a part of a block, and nothing lies behind it.
        if !filled.is_multiple_of(block) {
            break;
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there_and_says_where_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..3 * DIRECT_ALIGN + 100).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let file = DirectFile::open(&path).unwrap();
        let mut room = vec![0u8; 6 * DIRECT_ALIGN];
        let start = room.as_ptr().align_offset(DIRECT_ALIGN);
        for (offset, len) in [
            (0, 4096),
            (4096, 8192),
            (8192, 8192),
            (4096, 16384),
            (16384, 4096),
        ] {
            let buffer = &mut room[start..start + len];
            buffer.fill(0xEE);
            let n = file.read_at(buffer, offset as u64).unwrap();
            assert_eq!(n, bytes.len().saturating_sub(offset).min(len), "{offset} {len}");
            assert_eq!(buffer[..n], bytes[offset.min(bytes.len())..][..n]);
        }
        // Askew, through the cache.
        let n = file.read_at(&mut room[1..1001], 5).unwrap();
        assert_eq!((n, &room[1..1001]), (1000, &bytes[5..1005]));
        assert_eq!(DirectFile::whole_blocks(1..4096), 0..4096);
        assert_eq!(DirectFile::whole_blocks(4096..4097), 4096..8192);
        assert!(DirectFile::open(dir.path().join("none")).is_err());
    }
}
