//! A reader that knows how many bytes are left, shared by the parsers of this crate.
//!
//! Not a buffer of the whole file: model files are larger than memory. Every request is compared with the
//! bytes that remain before anything is allocated for it.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// What the parsers need of an input.
pub(crate) trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// Why a read failed.
#[derive(Debug)]
pub(crate) enum CursorError {
    /// More bytes were asked for than remain.
    Truncated {
        offset: u64,
        needed: u64,
        remaining: u64,
    },
    /// The operating system failed.
    Io { offset: u64, source: io::Error },
}

/// A position in an input of known length.
pub(crate) struct Cursor<'a> {
    reader: BufReader<&'a mut dyn ReadSeek>,
    offset: u64,
    len: u64,
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning of `reader`, which holds `len` bytes.
    pub(crate) fn new(reader: &'a mut dyn ReadSeek, len: u64) -> Result<Self, CursorError> {
        reader
            .seek(SeekFrom::Start(0))
            .map_err(|source| CursorError::Io { offset: 0, source })?;
        Ok(Self {
            reader: BufReader::with_capacity(1 << 16, reader),
            offset: 0,
            len,
        })
    }

    /// Bytes from the beginning.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes to the end.
    pub(crate) fn remaining(&self) -> u64 {
        self.len - self.offset
    }

    /// Refuses unless `needed` more bytes are there.
    pub(crate) fn require(&self, needed: u64) -> Result<(), CursorError> {
        let remaining = self.remaining();
        if needed > remaining {
            return Err(CursorError::Truncated {
                offset: self.offset,
                needed,
                remaining,
            });
        }
        Ok(())
    }

    /// Refuses unless `count` items of at least `item_bytes` each are there.
    pub(crate) fn require_items(&self, count: u64, item_bytes: u64) -> Result<(), CursorError> {
        self.require(count.saturating_mul(item_bytes))
    }

    /// Fills `buffer`.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), CursorError> {
        self.require(buffer.len() as u64)?;
        let offset = self.offset;
        self.reader
            .read_exact(buffer)
            .map_err(|source| CursorError::Io { offset, source })?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    /// The next `n` bytes, allocated only when they are there.
    pub(crate) fn bytes(&mut self, n: u64) -> Result<Vec<u8>, CursorError> {
        self.require(n)?;
        let length = usize::try_from(n).map_err(|_| CursorError::Truncated {
            offset: self.offset,
            needed: n,
            remaining: usize::MAX as u64,
        })?;
        let mut buffer = vec![0; length];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CursorError> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    /// `count` little-endian numbers of `N` bytes each.
    pub(crate) fn numbers<T, const N: usize>(
        &mut self,
        count: u64,
        from: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, CursorError> {
        self.require_items(count, N as u64)?;
        // The product fits: it was just compared with the bytes that remain.
        let bytes = self.bytes(count * N as u64)?;
        let (chunks, _) = bytes.as_chunks::<N>();
        Ok(chunks.iter().map(|chunk| from(*chunk)).collect())
    }

    /// A little-endian `u32`.
    pub(crate) fn u32(&mut self) -> Result<u32, CursorError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A little-endian `u64`.
    pub(crate) fn u64(&mut self) -> Result<u64, CursorError> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}

/// Reads exactly `buffer.len()` bytes at `offset`.
pub(crate) fn read_at(reader: &mut dyn ReadSeek, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    reader.seek(SeekFrom::Start(offset))?;
    reader.read_exact(buffer)
}
