//! Weights in the layout the kernels read, written once and mapped by every process that runs the model.
//!
//! A model file holds rows of blocks; kernels read sixteen rows interleaved. Doing that at each start costs reading
//! and rewriting all weights, and every process then has a copy of its own. So the result is kept in a file of
//! Hanok's own, which loads in milliseconds and lies in memory once, however many processes use it.
//!
//! Not the source of truth: it is named after the model file's identity, checked when it is opened, and made anew
//! when it does not fit. Vectors (norms, biases) stay in the model file. Weights that are not finite are refused before
//! they are written ([`crate::finite`]), so that nobody has to look for them again.
//!
//! The file is mapped, so it must never become shorter: it is written by one process under a name that no other takes,
//! made read-only, and renamed into place. A file that is not whole is not used ([`Packed::open`]), and whoever cuts one
//! short while it is in use gets an error of the next step; what remains is told in [`stdx::mmap`].
//!
//! Layout: 64 bytes of preamble (magic, then offset and length of the header, then the header's SHA-256), matrices
//! from 2 MiB on (on boundaries of disk blocks, so that parts of them can be read past the file cache), the header as
//! JSON at the end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compute::{DType, Matrix};
use serde::{Deserialize, Serialize};
use stdx::direct::DIRECT_ALIGN;
use stdx::fs::{self, FsError};
use stdx::mmap::Mmap;

use crate::residency::Piece;

const MAGIC: [u8; 8] = *b"HANOKPK1";
/// Changes whenever the interleaving of any type or the order of the file does, or what is checked of weights before they
/// are written; files of another layout are made anew. From 3 on all weights are finite.
const LAYOUT: u32 = 3;
const PREAMBLE: usize = 64;
/// Where matrices begin: at the first boundary of a huge page.
const FIRST: u64 = 2 << 20;
/// Where small matrices, and larger ones, start.
const ALIGN: u64 = 64;
const ALIGN_LARGE: u64 = DIRECT_ALIGN as u64;
/// Bytes written at a time: whole huge pages, so that the page cache can hold them as such.
const WRITE_BYTES: usize = 4 << 20;
/// Room that must stay free on the disk.
const RESERVE_BYTES: u64 = 1 << 30;
/// Models smaller than this load fast enough from their own file.
const PACK_FROM_BYTES: u64 = 256 << 20;

/// Where a decoder's weights lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsIn {
    /// In this process's own memory, for this reason.
    Memory(String),
    /// In a packed file, mapped and shared with other processes.
    PackedFile(PathBuf),
}

/// Where packed files are kept, and whom to tell before one is written.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// The folder; `None` keeps weights in memory.
    pub folder: Option<PathBuf>,
    /// Called with the number of bytes before a file is written, which takes some seconds.
    pub notice: Option<fn(u64)>,
    /// Pack whatever the model's size (tests).
    pub even_small: bool,
}

#[derive(Serialize, Deserialize)]
struct Header {
    layout: u32,
    /// Of the model; see `Opened::identity`.
    identity: String,
    /// For people who look at the folder.
    source: PathBuf,
    matrices: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    dtype: String,
    rows: usize,
    cols: usize,
    offset: u64,
    length: u64,
}

/// An opened packed file.
pub(crate) struct Packed {
    path: PathBuf,
    map: Arc<Mmap>,
    matrices: BTreeMap<String, Entry>,
}

impl Packed {
    /// Maps the file, if it is whole and made from the model with this identity.
    pub(crate) fn open(path: &Path, identity: &str) -> Result<Self, String> {
        let map = Mmap::open_own_file(path).map_err(|error| error.to_string())?;
        let broken = || format!("`{}` is damaged or of another version", path.display());
        let header = header(&map).ok_or_else(broken)?;
        if header.layout != LAYOUT || header.identity != identity {
            return Err(broken());
        }
        if !map.is_whole() {
            return Err(broken());
        }
        map.advise_huge_pages();
        Ok(Self {
            path: path.to_owned(),
            map: Arc::new(map),
            matrices: header.matrices,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The map that the matrices lie in.
    pub(crate) fn map(&self) -> Arc<Mmap> {
        Arc::clone(&self.map)
    }

    /// The matrix, if it is there in this type and shape.
    pub(crate) fn matrix(&self, name: &str, dtype: DType, rows: usize, cols: usize) -> Option<Matrix> {
        let entry = self.matrices.get(name)?;
        if (entry.dtype.as_str(), entry.rows, entry.cols) != (dtype.name(), rows, cols) {
            return None;
        }
        let start = usize::try_from(entry.offset).ok()?;
        let end = start.checked_add(usize::try_from(entry.length).ok()?)?;
        let owner: Arc<Mmap> = Arc::clone(&self.map);
        Matrix::from_interleaved(dtype, rows, cols, owner, start..end).ok()
    }
}

impl Packed {
    /// Where the matrices of `n_experts` experts are, if each can be read on its own: groups of rows must not hold rows of
    /// two of them.
    pub(crate) fn piece(
        &self,
        name: &str,
        dtype: DType,
        n_experts: usize,
        (rows, cols): (usize, usize),
    ) -> Option<Piece> {
        let entry = self.matrices.get(name)?;
        let is_it = (entry.dtype.as_str(), entry.rows, entry.cols) == (dtype.name(), n_experts * rows, cols);
        let length = dtype.row_bytes(cols)?.checked_mul(rows)?;
        let is_whole =
            rows.is_multiple_of(Matrix::ROWS_TOGETHER) && entry.length == (length * n_experts) as u64;
        (is_it && is_whole).then_some(Piece {
            dtype,
            rows,
            cols,
            offset: entry.offset,
            length,
        })
    }
}

/// Reads and checks the header; `None` if anything does not fit.
fn header(map: &[u8]) -> Option<Header> {
    let preamble = map.first_chunk::<PREAMBLE>()?;
    if preamble[..8] != MAGIC {
        return None;
    }
    let number = |at: usize| -> Option<usize> {
        let bytes = preamble[at..].first_chunk::<8>()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    };
    let (offset, length) = (number(8)?, number(16)?);
    if offset.checked_add(length)? != map.len() {
        return None;
    }
    let json = &map[offset..];
    if stdx::hash::sha256(json) != preamble[24..56] {
        return None;
    }
    let header: Header = serde_json::from_slice(json).ok()?;
    let fits = |entry: &Entry| {
        let end = entry.offset.checked_add(entry.length);
        entry.offset.is_multiple_of(ALIGN) && end.is_some_and(|end| end <= offset as u64)
    };
    header.matrices.values().all(fits).then_some(header)
}

/// A packed file being written under another name.
pub(crate) struct PackWriter {
    state: RefCell<WriterState>,
}

struct WriterState {
    file: File,
    temporary: PathBuf,
    at: u64,
    /// End of what is written, a boundary of huge pages until the last write.
    written: u64,
    /// What lies between `written` and `at`.
    waiting: Vec<u8>,
    matrices: BTreeMap<String, Entry>,
    /// The first failure; nothing is written after it.
    failed: Option<FsError>,
}

impl PackWriter {
    pub(crate) fn create(path: &Path) -> Result<Self, FsError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        // By chance, because processes in two containers may have the same number.
        name.push(format!(".{}.partial", stdx::rng::secret_hex(8)?));
        let temporary = path.with_file_name(name);
        let file = fs::create(&temporary)?;
        // Says that its writer lives. Where there are no locks, nobody takes it for a leftover either.
        let _ = file.try_lock();
        Ok(Self {
            state: RefCell::new(WriterState {
                file,
                temporary,
                at: FIRST,
                written: FIRST,
                waiting: Vec::with_capacity(WRITE_BYTES),
                matrices: BTreeMap::new(),
                failed: None,
            }),
        })
    }

    /// Appends a matrix. A failure is kept for [`PackWriter::finish`].
    pub(crate) fn add(&self, name: &str, matrix: &Matrix) {
        let mut state = self.state.borrow_mut();
        if state.failed.is_none()
            && let Err(source) = state.append(name, matrix)
        {
            state.failed = Some(FsError::new("write", state.temporary.clone(), source));
        }
    }

    /// Takes away what was written.
    fn abandon(self) {
        let _ = fs::remove_file(self.state.into_inner().temporary);
    }

    /// Writes the header, makes everything durable and gives the file its name.
    pub(crate) fn finish(self, path: &Path, identity: &str, source: &Path) -> Result<(), FsError> {
        let mut state = self.state.into_inner();
        let temporary = state.temporary.clone();
        let written = match state.failed.take() {
            Some(error) => Err(error),
            None => state
                .seal(identity, source)
                .map_err(|source| FsError::new("write", temporary.clone(), source)),
        };
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        fs::rename(&temporary, path)?;
        fs::sync_parent(path)
    }
}

impl WriterState {
    fn append(&mut self, name: &str, matrix: &Matrix) -> std::io::Result<()> {
        let bytes = matrix.interleaved();
        let align = if bytes.len() as u64 >= ALIGN_LARGE {
            ALIGN_LARGE
        } else {
            ALIGN
        };
        let offset = self.at.next_multiple_of(align);
        let gap = (offset - self.at) as usize;
        self.put(&[0; DIRECT_ALIGN][..gap])?;
        self.put(bytes)?;
        let entry = Entry {
            dtype: matrix.dtype().name().to_owned(),
            rows: matrix.rows(),
            cols: matrix.cols(),
            offset,
            length: bytes.len() as u64,
        };
        self.matrices.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Appends bytes; they are written in whole huge pages, wherever matrices begin.
    fn put(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        self.at += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = WRITE_BYTES - self.waiting.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.waiting.extend_from_slice(now);
            bytes = later;
            if self.waiting.len() == WRITE_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(self.written))?;
        self.file.write_all(&self.waiting)?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    fn seal(&mut self, identity: &str, source: &Path) -> std::io::Result<()> {
        let header = Header {
            layout: LAYOUT,
            identity: identity.to_owned(),
            source: source.to_owned(),
            matrices: std::mem::take(&mut self.matrices),
        };
        self.flush()?;
        let json = serde_json::to_vec(&header).map_err(std::io::Error::other)?;
        let offset = self.at.next_multiple_of(ALIGN);
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(&json)?;
        let mut preamble = [0u8; PREAMBLE];
        preamble[..8].copy_from_slice(&MAGIC);
        preamble[8..16].copy_from_slice(&offset.to_le_bytes());
        preamble[16..24].copy_from_slice(&(json.len() as u64).to_le_bytes());
        preamble[24..56].copy_from_slice(&stdx::hash::sha256(&json));
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&preamble)?;
        let mut permissions = self.file.metadata()?.permissions();
        permissions.set_readonly(true);
        // A protection that some file systems don't have.
        let _ = self.file.set_permissions(permissions);
        self.file.sync_all()
    }
}

/// The packed file of a model: opened, or made by `write` first where there is room. The error says why weights stay in
/// memory.
pub(crate) fn open_or_make(
    options: &PackOptions,
    identity: &str,
    source: &Path,
    n_bytes: u64,
    write: impl FnOnce(&PackWriter) -> Result<(), String>,
) -> Result<Packed, String> {
    let folder = options
        .folder
        .as_deref()
        .ok_or("no folder for packed files is set")?;
    if n_bytes < PACK_FROM_BYTES && !options.even_small {
        return Err("a small model gains nothing by a packed file".into());
    }
    let path = folder.join(format!("{}.packed", &identity[..identity.len().min(32)]));
    if let Ok(packed) = Packed::open(&path, identity) {
        return Ok(packed);
    }
    let text = |error: FsError| error.to_string();
    fs::create_dir_all(folder).map_err(text)?;
    remove_leftovers(folder, source);
    let free = fs::free_bytes(folder).map_err(text)?;
    let needed = n_bytes.saturating_add(RESERVE_BYTES);
    if free < needed {
        return Err(format!(
            "a packed file needs {needed} bytes in `{}`, {free} are free",
            folder.display()
        ));
    }
    if let Some(notice) = options.notice {
        notice(n_bytes);
    }
    let writer = PackWriter::create(&path).map_err(text)?;
    if let Err(reason) = write(&writer) {
        writer.abandon();
        return Err(reason);
    }
    writer.finish(&path, identity, source).map_err(text)?;
    Packed::open(&path, identity)
}

/// Takes away what older versions of the same model file and killed writers have left.
fn remove_leftovers(folder: &Path, source: &Path) {
    for path in fs::read_dir(folder).unwrap_or_default() {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_stale = if name.ends_with(".partial") {
            // Its writer has it locked as long as it lives.
            fs::open(&path).is_ok_and(|file| file.try_lock_shared().is_ok())
        } else if name.ends_with(".packed") {
            Mmap::open_own_file(&path).is_ok_and(|map| match header(&map) {
                Some(header) => header.source == source,
                None => true,
            })
        } else {
            false
        };
        if is_stale {
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use compute::AlignedBytes;

    use super::*;

    fn matrix(seed: u8, rows: usize) -> Matrix {
        let n_bytes = DType::Q4_0.row_bytes(64).unwrap() * rows;
        let bytes: Vec<u8> = (0..n_bytes).map(|i| (i as u8).wrapping_mul(seed)).collect();
        Matrix::new(DType::Q4_0, rows, 64, AlignedBytes::copy_of(&bytes)).unwrap()
    }

    fn pack(folder: &Path, identity: &str, source: &str) -> Result<Packed, String> {
        let options = PackOptions {
            folder: Some(folder.to_owned()),
            notice: None,
            even_small: true,
        };
        open_or_make(&options, identity, Path::new(source), 4096, |writer| {
            writer.add("a", &matrix(3, 40));
            writer.add("b", &matrix(7, 16));
            Ok(())
        })
    }

    #[test]
    fn matrices_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let packed = pack(folder.path(), "one", "model").unwrap();
        for (name, seed, rows) in [("a", 3, 40), ("b", 7, 16)] {
            let back = packed.matrix(name, DType::Q4_0, rows, 64).unwrap();
            assert_eq!(back.interleaved(), matrix(seed, rows).interleaved());
        }
        assert!(packed.matrix("a", DType::Q4_1, 40, 64).is_none());
        assert!(packed.matrix("a", DType::Q4_0, 41, 64).is_none());
        assert!(packed.matrix("c", DType::Q4_0, 40, 64).is_none());
    }

    #[test]
    fn any_changed_or_missing_byte_of_the_header_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = pack(folder.path(), "one", "model").unwrap().path().to_owned();
        assert!(Packed::open(&path, "another").is_err());
        let whole = fs::read(&path).unwrap();
        // It is read-only.
        fs::remove_file(&path).unwrap();
        let start = usize::try_from(u64::from_le_bytes(*whole[8..].first_chunk().unwrap())).unwrap();
        let places = (0..56).chain((start..whole.len()).step_by(7));
        for at in places {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(Packed::open(&path, "one").is_err(), "byte {at}");
        }
        for len in [0, 7, 63, start, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(Packed::open(&path, "one").is_err(), "cut to {len}");
        }
        // What does not fit is made anew.
        assert!(pack(folder.path(), "one", "model").is_ok());
    }

    #[test]
    fn another_version_of_a_model_takes_the_place_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = pack(folder.path(), "one", "model").unwrap().path().to_owned();
        fs::write(folder.path().join("x.packed.4194999.partial"), b"torn").unwrap();
        let other = pack(folder.path(), "two", "other model")
            .unwrap()
            .path()
            .to_owned();
        let second = pack(folder.path(), "three", "model").unwrap().path().to_owned();
        let mut left = fs::read_dir(folder.path()).unwrap();
        left.sort();
        let mut want = vec![other, second];
        want.sort();
        assert_eq!(left, want);
        assert!(!first.exists());
    }

    #[test]
    fn two_writers_and_those_who_tidy_up_leave_each_other_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.packed");
        let begun = || {
            let writer = PackWriter::create(&path).unwrap();
            writer.add("a", &matrix(3, 40));
            writer
        };
        let (first, second) = (begun(), begun());
        remove_leftovers(folder.path(), Path::new("model"));
        let mut opened = Vec::new();
        for writer in [first, second] {
            writer.finish(&path, "one", Path::new("model")).unwrap();
            assert!(fs::metadata(&path).unwrap().permissions().readonly());
            opened.push(Packed::open(&path, "one").unwrap());
        }
        for packed in opened {
            let back = packed.matrix("a", DType::Q4_0, 40, 64).unwrap();
            assert_eq!(back.interleaved(), matrix(3, 40).interleaved());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap(), [path]);
    }

    #[test]
    fn a_failed_write_leaves_nothing_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let options = PackOptions {
            folder: Some(folder.path().to_owned()),
            notice: None,
            even_small: true,
        };
        let result = open_or_make(&options, "one", Path::new("model"), u64::MAX / 2, |_| Ok(()));
        assert!(result.err().unwrap().contains("are free"));
        assert!(fs::read_dir(folder.path()).unwrap().is_empty());
    }
}
