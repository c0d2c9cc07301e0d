//! GGUF, versions 2 and 3, little-endian: metadata, tensor table, tensor bytes; and a streaming writer.
//!
//! A model may be split over several files, `NAME-00001-of-00005.gguf` and so on: [`Gguf::open`] opens all parts
//! of the set when it is given any of them.
//!
//! The layout is that of the GGUF specification in the ggml repository (`docs/gguf.md`): magic, version,
//! two counts, typed key-value pairs, tensor infos, padding, tensor data. Not here: what the keys mean
//! (that is the model's configuration) and what the blocks hold (that is compute).

mod error;
mod file;
mod metadata;
mod read;
mod split;
mod types;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use error::GgufError;
pub use file::NewFile;
pub use metadata::{Array, Metadata, Value};
pub use types::GgmlType;
pub use write::{Body, Writer};

use crate::bytes::{ReadSeek, read_at};

/// Most key-value pairs; real files have about thirty.
pub const MAX_KV: u64 = 1 << 16;
/// Most tensors; the largest published models have a few thousand.
pub const MAX_TENSORS: u64 = 1 << 18;
/// Longest head (keys and tensor table) in bytes; real ones have up to some 20 MB. Bounds the memory that a
/// hostile file can ask for, however long it is.
pub const MAX_HEAD_BYTES: u64 = 256 << 20;
/// Longest string value in bytes.
pub const MAX_STRING_BYTES: u64 = 64 << 20;
/// Longest key in bytes (the specification's limit).
pub const MAX_KEY_BYTES: u64 = (1 << 16) - 1;
/// Longest tensor name in bytes.
pub const MAX_TENSOR_NAME_BYTES: u64 = 1024;
/// Most dimensions of a tensor.
pub const MAX_DIMS: u32 = 4;
/// Most files of a split model; each stays open.
pub const MAX_PARTS: u64 = 512;
/// Deepest nesting of arrays: an array of arrays of numbers.
pub const MAX_NESTING: u32 = 2;
/// Alignment of tensor data when the file names none.
pub const DEFAULT_ALIGNMENT: u64 = 32;
/// Smallest alignment (the specification asks for a multiple of 8).
pub const MIN_ALIGNMENT: u64 = 8;
/// Largest alignment.
pub const MAX_ALIGNMENT: u64 = 64 << 10;

/// One row of the tensor table. Its numbers have been checked against each other and the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Unique name.
    pub name: String,
    /// Extents in ggml order: the fastest-varying first, so a matrix of `r` rows and `c` columns is `[c, r]`.
    pub dims: Vec<u64>,
    /// Type of the elements.
    pub ty: GgmlType,
    /// First byte, from the beginning of its file.
    pub offset: u64,
    /// Length in bytes.
    pub n_bytes: u64,
    /// Which file of a split model holds it, from 0; 0 in a file on its own.
    pub part: usize,
}

impl TensorInfo {
    /// Number of elements.
    pub fn n_elements(&self) -> u64 {
        // Cannot overflow: the product was checked when the file was parsed; saturation keeps a
        // hand-made info from panicking.
        self.dims
            .iter()
            .fold(1, |product, dim| product.saturating_mul(*dim))
    }

    /// Extents in row-major order: the slowest-varying first, as safetensors write them.
    pub fn shape(&self) -> Vec<u64> {
        self.dims.iter().rev().copied().collect()
    }
}

/// A parsed file, ready to give its tensors' bytes.
pub struct Gguf {
    pub(crate) version: u32,
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) index: BTreeMap<String, usize>,
    pub(crate) readers: Vec<Mutex<Box<dyn ReadSeek>>>,
    pub(crate) paths: Vec<PathBuf>,
}

impl Gguf {
    /// Opens and parses a file; tensor bytes are read later, on demand. Given any part of a split model, opens
    /// all parts of the set, which lie in the same folder.
    ///
    /// # Errors
    /// When a file cannot be read or is not well-formed, or the parts are not a complete set.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        let path = path.as_ref();
        let file = Self::open_one(path)?;
        if split::count(&file.metadata)? > 1 {
            return split::open(path);
        }
        Ok(file)
    }

    /// Opens one file, whatever it says about others.
    fn open_one(path: &Path) -> Result<Self, GgufError> {
        let file = stdx::fs::open(path)?;
        let metadata = file
            .metadata()
            .map_err(|e| stdx::fs::FsError::new("look at", path, e))?;
        if !metadata.is_file() {
            return Err(GgufError::NotAFile {
                path: path.display().to_string(),
            });
        }
        let mut file = Self::parse(file, metadata.len())?;
        file.paths.push(path.to_owned());
        Ok(file)
    }

    /// Parses from a reader that holds `len` bytes. A part of a split model is taken for what it is: a part.
    pub fn parse(reader: impl Read + Seek + Send + 'static, len: u64) -> Result<Self, GgufError> {
        read::parse(Box::new(reader), len)
    }

    /// 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The key-value pairs.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The files that were opened, in the order of their numbers; none if it was parsed from a reader.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The tensor table, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).and_then(|i| self.tensors.get(*i))
    }

    /// Reads a tensor's bytes as stored; `buffer` must have exactly `info.n_bytes` bytes.
    pub fn read_tensor(&self, info: &TensorInfo, buffer: &mut [u8]) -> Result<(), GgufError> {
        if buffer.len() as u64 != info.n_bytes {
            return Err(GgufError::BufferSize {
                tensor: info.name.clone(),
                expected: info.n_bytes,
                found: buffer.len() as u64,
            });
        }
        self.read_part(info, 0, buffer)
    }

    /// Reads `buffer.len()` bytes of a tensor, starting `from` bytes into it: one expert of many, one row.
    pub fn read_part(&self, info: &TensorInfo, from: u64, buffer: &mut [u8]) -> Result<(), GgufError> {
        let end = from.checked_add(buffer.len() as u64);
        let start = info.offset.checked_add(from);
        let reader = self
            .readers
            .get(info.part)
            .filter(|_| end.is_some_and(|end| end <= info.n_bytes));
        let (Some(start), Some(reader)) = (start, reader) else {
            return Err(GgufError::BufferSize {
                tensor: info.name.clone(),
                expected: info.n_bytes.saturating_sub(from),
                found: buffer.len() as u64,
            });
        };
        // A panic elsewhere cannot leave a reader in a state that matters: each read seeks first.
        let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        read_at(reader.as_mut(), start, buffer).map_err(|source| GgufError::Io {
            what: format!("tensor `{}`", info.name),
            offset: start,
            source,
        })
    }
}

impl std::fmt::Debug for Gguf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gguf")
            .field("version", &self.version)
            .field("n_keys", &self.metadata.len())
            .field("n_tensors", &self.tensors.len())
            .field("n_parts", &self.readers.len())
            .finish_non_exhaustive()
    }
}
