//! The writer: keys and tensor table first, then the tensors' bytes in order, piece by piece.
//!
//! A file larger than memory is no problem: [`Writer`] declares, [`Body`] takes bytes and inserts the
//! padding. What the reader would refuse, the writer refuses too. [`NewFile`](super::NewFile) is the output for
//! a file that must be whole or absent.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;

use super::read::alignment;
use super::{Array, GgmlType, GgufError, MAX_DIMS, MAX_TENSOR_NAME_BYTES, Metadata, TensorInfo, Value};

/// The version written.
const VERSION: u32 = 3;

/// Declares a file's keys and tensors.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    names: BTreeSet<String>,
}

impl Writer {
    /// Nothing declared yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key; a key set before is replaced. Set `general.alignment` (u32) to change the alignment.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.metadata.set(key, value);
        self
    }

    /// Declares the next tensor; extents fastest first.
    pub fn tensor(&mut self, name: &str, dims: &[u64], ty: GgmlType) -> Result<&mut Self, GgufError> {
        let n_bytes = ty.n_bytes(dims).filter(|_| dims.len() <= MAX_DIMS as usize);
        let Some(n_bytes) = n_bytes else {
            return Err(GgufError::Dims {
                tensor: name.to_owned(),
                dims: dims.to_vec(),
                ty,
            });
        };
        if name.len() as u64 > MAX_TENSOR_NAME_BYTES {
            return Err(GgufError::Limit {
                what: "the length of a tensor's name".to_owned(),
                offset: 0,
                found: name.len() as u64,
                limit: MAX_TENSOR_NAME_BYTES,
            });
        }
        if !self.names.insert(name.to_owned()) {
            return Err(GgufError::DuplicateTensor {
                tensor: name.to_owned(),
            });
        }
        self.tensors.push(TensorInfo {
            name: name.to_owned(),
            dims: dims.to_vec(),
            ty,
            offset: 0,
            n_bytes,
            part: 0,
        });
        Ok(self)
    }

    /// The tensors declared, in order. Their offsets are set by [`Self::begin`].
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Writes keys and table to `out`; the tensors' bytes follow through the [`Body`].
    pub fn begin<W: Write>(mut self, mut out: W) -> Result<Body<W>, GgufError> {
        let alignment = alignment(&self.metadata)?;
        let mut offset = 0u64;
        for info in &mut self.tensors {
            info.offset = offset;
            let next = offset
                .checked_add(info.n_bytes)
                .and_then(|end| end.checked_next_multiple_of(alignment));
            let Some(next) = next else {
                return Err(GgufError::Dims {
                    tensor: info.name.clone(),
                    dims: info.dims.clone(),
                    ty: info.ty,
                });
            };
            offset = next;
        }
        let mut header = self.header();
        let padded = (header.len() as u64).next_multiple_of(alignment);
        header.resize(padded as usize, 0);
        for info in &mut self.tensors {
            info.offset += padded;
        }
        out.write_all(&header)
            .map_err(|source| failed("writing the header", 0, source))?;
        let written = header.len() as u64;
        Ok(Body {
            out,
            pending: self.tensors.into(),
            in_tensor: 0,
            written,
            alignment,
        })
    }

    fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(b"GGUF");
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        out.extend_from_slice(&(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in self.metadata.iter() {
            put_text(&mut out, key);
            put_value(&mut out, value);
        }
        for info in &self.tensors {
            put_text(&mut out, &info.name);
            out.extend_from_slice(&(info.dims.len() as u32).to_le_bytes());
            for dim in &info.dims {
                out.extend_from_slice(&dim.to_le_bytes());
            }
            out.extend_from_slice(&info.ty.id().to_le_bytes());
            out.extend_from_slice(&info.offset.to_le_bytes());
        }
        out
    }
}

/// Takes the tensors' bytes in the order of their declaration.
#[derive(Debug)]
pub struct Body<W> {
    out: W,
    pending: VecDeque<TensorInfo>,
    in_tensor: u64,
    written: u64,
    alignment: u64,
}

impl<W: Write> Body<W> {
    /// The tensor whose bytes are due now; `None` when all are written.
    pub fn current(&self) -> Option<&TensorInfo> {
        self.pending.front()
    }

    /// Writes the next bytes of the current tensor; a piece never reaches into the next tensor.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), GgufError> {
        let n = bytes.len() as u64;
        let Some(info) = self.pending.front() else {
            return Err(GgufError::BufferSize {
                tensor: "(none left)".to_owned(),
                expected: 0,
                found: n,
            });
        };
        let left = info.n_bytes - self.in_tensor;
        if n > left {
            return Err(GgufError::BufferSize {
                tensor: info.name.clone(),
                expected: left,
                found: n,
            });
        }
        let what = || format!("writing tensor `{}`", info.name);
        self.out
            .write_all(bytes)
            .map_err(|source| failed(what(), self.written, source))?;
        self.written += n;
        self.in_tensor += n;
        if self.in_tensor == info.n_bytes {
            let padding = self.written.next_multiple_of(self.alignment) - self.written;
            // Alignment is at most 64 KiB.
            let zeros = vec![0; padding as usize];
            self.out
                .write_all(&zeros)
                .map_err(|source| failed(what(), self.written, source))?;
            self.written += padding;
            self.in_tensor = 0;
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Flushes and gives the output back; refuses when a declared tensor has not been written.
    pub fn finish(mut self) -> Result<W, GgufError> {
        if let Some(info) = self.pending.front() {
            return Err(GgufError::Unfinished {
                missing: self.pending.len(),
                tensor: info.name.clone(),
            });
        }
        self.out
            .flush()
            .map_err(|source| failed("flushing the file", self.written, source))?;
        Ok(self.out)
    }
}

fn failed(what: impl Into<String>, offset: u64, source: std::io::Error) -> GgufError {
    GgufError::Io {
        what: what.into(),
        offset,
        source,
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    macro_rules! number {
        ($id:literal, $value:expr) => {{
            out.extend_from_slice(&u32::to_le_bytes($id));
            out.extend_from_slice(&$value.to_le_bytes());
        }};
    }
    match value {
        Value::U8(v) => number!(0, v),
        Value::I8(v) => number!(1, v),
        Value::U16(v) => number!(2, v),
        Value::I16(v) => number!(3, v),
        Value::U32(v) => number!(4, v),
        Value::I32(v) => number!(5, v),
        Value::F32(v) => number!(6, v),
        Value::Bool(v) => number!(7, u8::from(*v)),
        Value::Text(v) => {
            out.extend_from_slice(&8u32.to_le_bytes());
            put_text(out, v);
        }
        Value::Array(v) => {
            out.extend_from_slice(&9u32.to_le_bytes());
            put_array(out, v);
        }
        Value::U64(v) => number!(10, v),
        Value::I64(v) => number!(11, v),
        Value::F64(v) => number!(12, v),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    macro_rules! numbers {
        ($id:literal, $values:expr) => {{
            put_list_head(out, $id, $values.len());
            $values
                .iter()
                .for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        }};
    }
    match array {
        Array::U8(v) => numbers!(0, v),
        Array::I8(v) => numbers!(1, v),
        Array::U16(v) => numbers!(2, v),
        Array::I16(v) => numbers!(3, v),
        Array::U32(v) => numbers!(4, v),
        Array::I32(v) => numbers!(5, v),
        Array::F32(v) => numbers!(6, v),
        Array::Bool(v) => {
            put_list_head(out, 7, v.len());
            out.extend(v.iter().map(|value| u8::from(*value)));
        }
        Array::Text(v) => {
            put_list_head(out, 8, v.len());
            v.iter().for_each(|text| put_text(out, text));
        }
        Array::Array(v) => {
            put_list_head(out, 9, v.len());
            v.iter().for_each(|inner| put_array(out, inner));
        }
        Array::U64(v) => numbers!(10, v),
        Array::I64(v) => numbers!(11, v),
        Array::F64(v) => numbers!(12, v),
    }
}

fn put_list_head(out: &mut Vec<u8>, id: u32, n: usize) {
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&(n as u64).to_le_bytes());
}
