//! What can be wrong with a GGUF file: what, where, and what to do.

use std::path::PathBuf;

use thiserror::Error;

use crate::bytes::CursorError;

/// Why a GGUF file was refused or could not be written.
#[derive(Debug, Error)]
pub enum GgufError {
    /// The operating system refused.
    #[error(transparent)]
    Fs(#[from] stdx::fs::FsError),
    /// The path names a folder, a pipe or a device.
    #[error("`{path}` is not a regular file; name the GGUF file itself")]
    NotAFile {
        /// The path.
        path: String,
    },
    /// A file of a split model without the name that says which one it is.
    #[error(
        "`{}` says that it is one of {count} parts of a model, but is not called NAME-00001-of-{count:05}.gguf or so; give the parts their names back", path.display()
    )]
    PartName {
        /// The file.
        path: PathBuf,
        /// Parts of the set.
        count: u64,
    },
    /// A file of a split model is not there.
    #[error(
        "part {number} of {count} of the split model is missing: `{}`; put all parts into one folder", path.display()
    )]
    MissingPart {
        /// Where it should be.
        path: PathBuf,
        /// Its number, from 1.
        number: u64,
        /// Parts of the set.
        count: u64,
    },
    /// A file of a split model cannot be read.
    #[error("the part `{}` of the split model cannot be read; fetch it again", path.display())]
    Part {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<GgufError>,
    },
    /// A file of a split model contradicts its name or the other files.
    #[error("`{}` says that {what} is {found} where {expected} is due; it belongs to another model or has another part's name", path.display())]
    PartMismatch {
        /// The file.
        path: PathBuf,
        /// The number in question.
        what: &'static str,
        /// What the file says.
        found: u64,
        /// What its name or the first part says.
        expected: u64,
    },
    /// The parts of a split model hold more or fewer tensors than they say.
    #[error(
        "the {count} parts of the split model hold {found} tensors, but should hold {expected}; a part is of another version, fetch all again"
    )]
    PartTensors {
        /// Parts of the set.
        count: u64,
        /// Tensors found.
        found: u64,
        /// What the first part says.
        expected: u64,
    },
    /// Reading or writing failed half way.
    #[error("{what} failed at byte {offset}; is the disk healthy and the file still there?")]
    Io {
        /// What was being read or written.
        what: String,
        /// Byte offset.
        offset: u64,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it begins with bytes {found:02x?} instead of `GGUF`; check the download")]
    Magic {
        /// What stands there.
        found: [u8; 4],
    },
    /// Big-endian file.
    #[error("a big-endian GGUF file (byte 4); convert it to little-endian with gguf-py's convert_endian")]
    BigEndian,
    /// Version 1, or one of the future.
    #[error("GGUF version {found} (byte 4) is not supported; convert the file to version 3")]
    Version {
        /// The version.
        found: u32,
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
    /// A count or length beyond its limit.
    #[error(
        "{what} at byte {offset} is {found}, more than the limit of {limit}; the file is corrupt or hostile"
    )]
    Limit {
        /// What is too many or too long.
        what: String,
        /// Byte offset.
        offset: u64,
        /// What the file says.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Text that is not UTF-8.
    #[error("{what} at byte {offset} is not UTF-8; the file is corrupt")]
    Text {
        /// What was being read.
        what: String,
        /// Byte offset.
        offset: u64,
    },
    /// A value's type number is unknown.
    #[error(
        "key `{key}` has the unknown value type {found} at byte {offset}; the file is corrupt or newer than this program"
    )]
    ValueType {
        /// The key.
        key: String,
        /// Byte offset.
        offset: u64,
        /// The number.
        found: u32,
    },
    /// A truth value other than 0 and 1.
    #[error("key `{key}` holds the truth value {found} at byte {offset}; only 0 and 1 are allowed")]
    Bool {
        /// The key.
        key: String,
        /// Byte offset.
        offset: u64,
        /// The byte.
        found: u8,
    },
    /// The same key twice.
    #[error("key `{key}` stands twice; the file is corrupt or hostile")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// The same tensor name twice.
    #[error("tensor `{tensor}` stands twice; the file is corrupt or hostile")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// `general.alignment` is no usable alignment.
    #[error("general.alignment is {found}; it must be a power of two from 8 to 65536")]
    Alignment {
        /// What the file says.
        found: u64,
    },
    /// A tensor's type number is unknown.
    #[error("tensor `{tensor}` has the unknown type {found}; the file is corrupt or newer than this program")]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The number.
        found: u32,
    },
    /// Extents that are zero, overflow, or are not whole blocks.
    #[error(
        "tensor `{tensor}` has the impossible extents {dims:?} for type {ty} (zero, too large, or not whole blocks)"
    )]
    Dims {
        /// The tensor.
        tensor: String,
        /// Its extents, fastest first.
        dims: Vec<u64>,
        /// Its type.
        ty: super::GgmlType,
    },
    /// A tensor does not begin at a multiple of the alignment.
    #[error(
        "tensor `{tensor}` begins at data offset {offset}, which is no multiple of the alignment {alignment}"
    )]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Its offset in the data part.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor reaches beyond the end of the file.
    #[error(
        "tensor `{tensor}` ({n_bytes} bytes at data offset {offset}) reaches beyond the end of the file ({data_bytes} bytes of data); the file is cut off, fetch it again"
    )]
    OutOfFile {
        /// The tensor.
        tensor: String,
        /// Its offset in the data part.
        offset: u64,
        /// Its length.
        n_bytes: u64,
        /// What the file holds.
        data_bytes: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors `{first}` and `{second}` overlap; the file is corrupt or hostile")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The one that begins inside it.
        second: String,
    },
    /// A key that is needed is absent.
    #[error("key `{key}` is missing ({expected} expected); the file is incomplete, convert the model again")]
    MissingKey {
        /// The key.
        key: String,
        /// The type expected.
        expected: &'static str,
    },
    /// A key has another type than needed.
    #[error("key `{key}` holds {found} where {expected} is expected; convert the model again")]
    WrongType {
        /// The key.
        key: String,
        /// The type expected.
        expected: &'static str,
        /// The type found.
        found: &'static str,
    },
    /// The caller's buffer, or the data handed to the writer, has the wrong length.
    #[error("tensor `{tensor}` has {expected} bytes left, but {found} were asked for or given")]
    BufferSize {
        /// The tensor.
        tensor: String,
        /// Bytes of the tensor.
        expected: u64,
        /// Bytes of the buffer.
        found: u64,
    },
    /// The writer was finished before every declared tensor was written, or given more than declared.
    #[error("{missing} declared tensor(s) were not written, the first is `{tensor}`")]
    Unfinished {
        /// How many.
        missing: usize,
        /// The first of them.
        tensor: String,
    },
}

impl GgufError {
    /// Says what was being read when a cursor failed.
    pub(crate) fn cursor(what: impl Into<String>, error: CursorError) -> Self {
        let what = what.into();
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
            CursorError::Io { offset, source } => Self::Io {
                what: format!("reading {what}"),
                offset,
                source,
            },
        }
    }
}
