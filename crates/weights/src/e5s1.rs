//! E5S1: the file of a small multilingual-e5 text encoder, its SentencePiece pieces and normaliser included.
//!
//! Little-endian: header, pieces, per-code-point normaliser, tensor table, data aligned to 64 bytes. The
//! program that writes the format trusts every offset; this reader checks each. Not here: the encoder's
//! mathematics and the search for the best segmentation.

mod parse;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

use crate::bytes::{CursorError, ReadSeek, read_at};
use crate::gguf::GgmlType;

/// Largest width, layer count and so on: a sanity limit on every extent of the header.
pub const MAX_EXTENT: u64 = 1 << 20;
/// Most SentencePiece pieces.
pub const MAX_PIECES: u64 = 1 << 22;
/// Most bytes of all pieces together.
pub const MAX_PIECE_BYTES: u64 = 256 << 20;
/// Most tensors.
pub const MAX_TENSORS: u64 = 1 << 16;

/// The encoder's extents and the ids of its special tokens, as the file states them.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Width of a hidden state.
    pub d_model: u64,
    /// Layers.
    pub n_layers: u64,
    /// Attention heads; divides `d_model`.
    pub n_heads: u64,
    /// Width of the feed-forward layer.
    pub d_ff: u64,
    /// Rows of the word embedding.
    pub vocab_size: u64,
    /// Rows of the position embedding.
    pub n_positions: u64,
    /// Rows of the token type embedding.
    pub n_types: u64,
    /// Epsilon of the layer norms.
    pub norm_eps: f32,
    /// Weights of a quantised block.
    pub block_len: u64,
    /// Begin-of-sequence token.
    pub bos: u32,
    /// End-of-sequence token.
    pub eos: u32,
    /// Padding token.
    pub pad: u32,
    /// Unknown token.
    pub unk: u32,
}

/// One row of the tensor table, checked against the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Unique name.
    pub name: String,
    /// `F32` or `Q4_0`.
    pub ty: GgmlType,
    /// Elements.
    pub n_elements: u64,
    /// First byte, from the beginning of the file.
    pub offset: u64,
    /// Length in bytes.
    pub n_bytes: u64,
}

/// Why an E5S1 file was refused.
#[derive(Debug, Error)]
pub enum E5s1Error {
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
    /// The file does not begin with `E5S1` and version 1.
    #[error("not an E5S1 file of version 1: it begins with {found:02x?}; check the download")]
    Magic {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// The file ends too early, or a length in it is a lie.
    #[error(
        "{what} at byte {offset} needs {needed} bytes, but only {remaining} remain; the file is cut off or corrupt, fetch it again"
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
    /// A number that cannot be right.
    #[error("{what} is {found}, which is impossible; the file is corrupt or hostile, fetch it again")]
    Value {
        /// Which number.
        what: String,
        /// What the file says.
        found: i64,
    },
    /// A tensor's entry contradicts itself or the file.
    #[error("tensor `{tensor}`: {reason}; the file is corrupt or hostile, fetch it again")]
    Tensor {
        /// The tensor.
        tensor: String,
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

impl E5s1Error {
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

/// The SentencePiece unigram pieces: id to bytes and score.
#[derive(Debug, Clone, PartialEq)]
pub struct Pieces {
    offsets: Vec<u32>,
    scores: Vec<f32>,
    blob: Vec<u8>,
}

impl Pieces {
    /// Number of pieces; ids are below.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether there is no piece.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// The bytes of a piece (UTF-8, with U+2581 for a space).
    pub fn bytes(&self, id: usize) -> Option<&[u8]> {
        let (start, end) = (self.offsets.get(id)?, self.offsets.get(id + 1)?);
        self.blob.get(*start as usize..*end as usize)
    }

    /// The log-probability of a piece.
    pub fn score(&self, id: usize) -> Option<f32> {
        self.scores.get(id).copied()
    }
}

/// A parsed file, ready to give its tensors' bytes.
pub struct E5s1 {
    header: Header,
    pieces: Pieces,
    normaliser: BTreeMap<char, String>,
    tensors: Vec<TensorInfo>,
    index: BTreeMap<String, usize>,
    reader: Mutex<Box<dyn ReadSeek>>,
}

impl E5s1 {
    /// Opens and parses a file; tensor bytes are read later, on demand.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, E5s1Error> {
        let path = path.as_ref();
        let file = stdx::fs::open(path)?;
        let len = file
            .metadata()
            .map_err(|e| stdx::fs::FsError::new("look at", path, e))?
            .len();
        Self::parse(file, len)
    }

    /// Parses from a reader that holds `len` bytes.
    pub fn parse(reader: impl Read + Seek + Send + 'static, len: u64) -> Result<Self, E5s1Error> {
        parse::parse(Box::new(reader), len)
    }

    /// Extents and special tokens.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The tokenizer's pieces.
    pub fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// What a character becomes before segmentation; characters not listed stay. Apply NFC first.
    pub fn normaliser(&self) -> &BTreeMap<char, String> {
        &self.normaliser
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
    pub fn read_tensor(&self, info: &TensorInfo, buffer: &mut [u8]) -> Result<(), E5s1Error> {
        if buffer.len() as u64 != info.n_bytes {
            return Err(E5s1Error::BufferSize {
                tensor: info.name.clone(),
                expected: info.n_bytes,
                found: buffer.len() as u64,
            });
        }
        self.read_part(info, 0, buffer)
    }

    /// Reads `buffer.len()` bytes of a tensor, starting `from` bytes into it.
    pub fn read_part(&self, info: &TensorInfo, from: u64, buffer: &mut [u8]) -> Result<(), E5s1Error> {
        let end = from.checked_add(buffer.len() as u64);
        let start = info.offset.checked_add(from);
        let (Some(start), true) = (start, end.is_some_and(|end| end <= info.n_bytes)) else {
            return Err(E5s1Error::BufferSize {
                tensor: info.name.clone(),
                expected: info.n_bytes.saturating_sub(from),
                found: buffer.len() as u64,
            });
        };
        // A panic elsewhere cannot leave a reader in a state that matters: each read seeks first.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        read_at(reader.as_mut(), start, buffer).map_err(|source| E5s1Error::Io {
            what: format!("tensor `{}`", info.name),
            offset: start,
            source,
        })
    }
}

impl std::fmt::Debug for E5s1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("E5s1")
            .field("header", &self.header)
            .field("n_pieces", &self.pieces.len())
            .field("n_tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}
