//! safetensors: one file, or a folder of shards with `model.safetensors.index.json`. Reading only.
//!
//! The layout is that of the format's README: a `u64` header length, a JSON object of at most 100 MB, then
//! the tensors' bytes without holes or overlaps. Not here: what the tensors mean.

mod header;
mod shards;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

use crate::bytes::{Cursor, CursorError, ReadSeek, read_at};
use crate::gguf::GgmlType;

/// Longest header in bytes, as the reference implementation has it.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Most dimensions of a tensor.
pub const MAX_DIMS: usize = 16;
/// Most shards of a folder.
pub const MAX_SHARDS: usize = 4096;
/// The index file of a sharded folder.
pub const INDEX_NAME: &str = "model.safetensors.index.json";
/// The only file of a folder that is not sharded.
pub const SINGLE_NAME: &str = "model.safetensors";

/// Type of a tensor's elements; a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// Truth values of one byte.
    Bool,
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 8 bits.
    I8,
    /// Floating, 8 bits, 5 of exponent.
    F8E5m2,
    /// Floating, 8 bits, 4 of exponent.
    F8E4m3,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 16 bits.
    U16,
    /// Floating, 16 bits (IEEE).
    F16,
    /// Floating, 16 bits (the upper half of f32).
    BF16,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 32 bits.
    U32,
    /// Floating, 32 bits.
    F32,
    /// Floating, 64 bits.
    F64,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 64 bits.
    U64,
}

impl Dtype {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "BOOL" => Self::Bool,
            "U8" => Self::U8,
            "I8" => Self::I8,
            "F8_E5M2" => Self::F8E5m2,
            "F8_E4M3" => Self::F8E4m3,
            "I16" => Self::I16,
            "U16" => Self::U16,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            "I32" => Self::I32,
            "U32" => Self::U32,
            "F32" => Self::F32,
            "F64" => Self::F64,
            "I64" => Self::I64,
            "U64" => Self::U64,
            _ => return None,
        })
    }

    /// Bytes of an element.
    pub fn n_bytes(self) -> u64 {
        match self {
            Self::Bool | Self::U8 | Self::I8 | Self::F8E5m2 | Self::F8E4m3 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// The same type among ggml's, where there is one.
    pub fn ggml(self) -> Option<GgmlType> {
        Some(match self {
            Self::I8 => GgmlType::I8,
            Self::I16 => GgmlType::I16,
            Self::F16 => GgmlType::F16,
            Self::BF16 => GgmlType::BF16,
            Self::I32 => GgmlType::I32,
            Self::F32 => GgmlType::F32,
            Self::F64 => GgmlType::F64,
            Self::I64 => GgmlType::I64,
            Self::Bool | Self::U8 | Self::F8E5m2 | Self::F8E4m3 | Self::U16 | Self::U32 | Self::U64 => {
                return None;
            }
        })
    }
}

/// One tensor of the table; its numbers have been checked against each other and the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Unique name.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Extents in row-major order: the slowest-varying first.
    pub shape: Vec<u64>,
    /// Which shard holds it; 0 for a single file.
    pub shard: usize,
    /// First byte, from the beginning of its shard.
    pub offset: u64,
    /// Length in bytes.
    pub n_bytes: u64,
}

/// Why safetensors were refused.
#[derive(Debug, Error)]
pub enum SafeTensorsError {
    /// The operating system refused.
    #[error(transparent)]
    Fs(#[from] stdx::fs::FsError),
    /// Reading failed half way.
    #[error("reading {what} failed at byte {offset}; is the disk healthy and the file still there?")]
    Io {
        /// What was being read.
        what: String,
        /// Byte offset.
        offset: u64,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The file ends too early.
    #[error(
        "{what} needs {needed} bytes at byte {offset}, but only {remaining} remain; the file is cut off, fetch it again"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Byte offset.
        offset: u64,
        /// Bytes that the file asks for.
        needed: u64,
        /// Bytes that are there.
        remaining: u64,
    },
    /// A count or length beyond its limit.
    #[error("{what} is {found}, more than the limit of {limit}; the file is corrupt or hostile")]
    Limit {
        /// What is too many or too long.
        what: String,
        /// What the file says.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The header (or index) is not the JSON it should be.
    #[error("{what} is not valid: {reason}; the file is corrupt, fetch it again")]
    Json {
        /// Header or index.
        what: String,
        /// The parser's words.
        reason: String,
    },
    /// A tensor's entry contradicts itself.
    #[error("tensor `{tensor}`: {reason}; the file is corrupt or hostile")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// Two tensors share bytes, or bytes belong to none.
    #[error(
        "the data of `{tensor}` begins at {found} where {expected} is due (a hole or an overlap); the file is corrupt or hostile"
    )]
    Layout {
        /// The tensor, or a description of the end.
        tensor: String,
        /// Where it begins.
        found: u64,
        /// Where it should.
        expected: u64,
    },
    /// The index of a sharded folder is wrong.
    #[error("the index names `{name}`: {reason}; fetch the folder again")]
    Index {
        /// Tensor or file.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The caller's buffer has the wrong length.
    #[error("tensor `{tensor}` has {expected} bytes, but the buffer holds {found}")]
    BufferSize {
        /// The tensor.
        tensor: String,
        /// Bytes of the tensor.
        expected: u64,
        /// Bytes of the buffer.
        found: u64,
    },
}

impl SafeTensorsError {
    fn cursor(what: &str, error: CursorError) -> Self {
        let what = what.to_owned();
        match error {
            CursorError::Truncated {
                offset,
                needed,
                remaining,
            } => Self::Truncated {
                what,
                offset,
                needed,
                remaining,
            },
            CursorError::Io { offset, source } => Self::Io { what, offset, source },
        }
    }
}

/// A parsed file or folder, ready to give its tensors' bytes.
pub struct SafeTensors {
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
    readers: Vec<Mutex<Box<dyn ReadSeek>>>,
}

impl SafeTensors {
    /// Opens a file; or, given a folder, its index with all shards, else its `model.safetensors`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SafeTensorsError> {
        let path = path.as_ref();
        if !stdx::fs::metadata(path)?.is_dir() {
            return Self::open_file(path);
        }
        let index = path.join(INDEX_NAME);
        if stdx::fs::metadata(&index).is_ok() {
            return shards::open(path, &index);
        }
        Self::open_file(&path.join(SINGLE_NAME))
    }

    fn open_file(path: &Path) -> Result<Self, SafeTensorsError> {
        let file = stdx::fs::open(path)?;
        let len = file
            .metadata()
            .map_err(|e| stdx::fs::FsError::new("look at", path, e))?
            .len();
        Self::parse(file, len)
    }

    /// Parses from a reader that holds `len` bytes.
    pub fn parse(reader: impl Read + Seek + Send + 'static, len: u64) -> Result<Self, SafeTensorsError> {
        let mut reader: Box<dyn ReadSeek> = Box::new(reader);
        let header = read_header(reader.as_mut(), len)?;
        let (infos, metadata) = header::parse(&header.json, header.data_start, len)?;
        let tensors = infos.into_iter().map(|info| (info.name.clone(), info)).collect();
        Ok(Self {
            tensors,
            metadata,
            readers: vec![Mutex::new(reader)],
        })
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// The header's `__metadata__` texts (of a sharded folder: none).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads a tensor's bytes as stored; `buffer` must have exactly `info.n_bytes` bytes.
    pub fn read_tensor(&self, info: &TensorInfo, buffer: &mut [u8]) -> Result<(), SafeTensorsError> {
        if buffer.len() as u64 != info.n_bytes {
            return Err(SafeTensorsError::BufferSize {
                tensor: info.name.clone(),
                expected: info.n_bytes,
                found: buffer.len() as u64,
            });
        }
        self.read_part(info, 0, buffer)
    }

    /// Reads `buffer.len()` bytes of a tensor, starting `from` bytes into it: some rows of a matrix.
    pub fn read_part(&self, info: &TensorInfo, from: u64, buffer: &mut [u8]) -> Result<(), SafeTensorsError> {
        let end = from.checked_add(buffer.len() as u64);
        let reader = self
            .readers
            .get(info.shard)
            .filter(|_| end.is_some_and(|end| end <= info.n_bytes));
        let (Some(start), Some(reader)) = (info.offset.checked_add(from), reader) else {
            return Err(SafeTensorsError::BufferSize {
                tensor: info.name.clone(),
                expected: info.n_bytes.saturating_sub(from),
                found: buffer.len() as u64,
            });
        };
        // A panic elsewhere cannot leave a reader in a state that matters: each read seeks first.
        let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        read_at(reader.as_mut(), start, buffer).map_err(|source| SafeTensorsError::Io {
            what: format!("tensor `{}`", info.name),
            offset: start,
            source,
        })
    }
}

impl std::fmt::Debug for SafeTensors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SafeTensors")
            .field("n_tensors", &self.tensors.len())
            .field("n_shards", &self.readers.len())
            .finish_non_exhaustive()
    }
}

struct RawHeader {
    json: Vec<u8>,
    data_start: u64,
}

fn read_header(reader: &mut dyn ReadSeek, len: u64) -> Result<RawHeader, SafeTensorsError> {
    let failed = |error| SafeTensorsError::cursor("the header", error);
    let mut cursor = Cursor::new(reader, len).map_err(failed)?;
    let n = cursor.u64().map_err(failed)?;
    if n > MAX_HEADER_BYTES {
        return Err(SafeTensorsError::Limit {
            what: "the header's length".to_owned(),
            found: n,
            limit: MAX_HEADER_BYTES,
        });
    }
    let json = cursor.bytes(n).map_err(failed)?;
    Ok(RawHeader {
        json,
        data_start: cursor.offset(),
    })
}
