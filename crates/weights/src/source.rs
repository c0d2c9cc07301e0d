//! The small view that all formats share: name to shape, type and bytes.
//!
//! Not a conversion: names and bytes stay as the file has them.

use thiserror::Error;

use crate::e5s1::{E5s1, E5s1Error};
use crate::gguf::{GgmlType, Gguf, GgufError};
use crate::safetensors::{SafeTensors, SafeTensorsError};

/// A tensor as every format describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Name in the file.
    pub name: String,
    /// Extents in row-major order: the slowest-varying first, so a matrix is `[rows, columns]`.
    pub shape: Vec<u64>,
    /// Type of the elements.
    pub ty: GgmlType,
    /// Length in bytes.
    pub n_bytes: u64,
}

/// Why a tensor could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// From a GGUF file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// From a safetensors file.
    #[error(transparent)]
    SafeTensors(#[from] SafeTensorsError),
    /// From an E5S1 file.
    #[error(transparent)]
    E5s1(#[from] E5s1Error),
    /// No tensor of that name (or of no type that computing knows).
    #[error("there is no tensor `{name}` in the file; it belongs to another family or is incomplete")]
    Missing {
        /// The name asked for.
        name: String,
    },
}

/// A file, or a folder of shards, with named tensors.
pub trait Source: Send + Sync {
    /// The tensor of that name; `None` if absent or of a type without a [`GgmlType`].
    fn tensor(&self, name: &str) -> Option<Tensor>;

    /// All names, in the file's order.
    fn names(&self) -> Vec<&str>;

    /// Reads the tensor's bytes as stored; `buffer` must have exactly [`Tensor::n_bytes`] bytes.
    fn read(&self, name: &str, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// Reads `buffer.len()` bytes of the tensor, starting `from` bytes into it.
    fn read_part(&self, name: &str, from: u64, buffer: &mut [u8]) -> Result<(), ReadError>;
}

impl Source for Gguf {
    fn tensor(&self, name: &str) -> Option<Tensor> {
        Gguf::tensor(self, name).map(|info| Tensor {
            name: info.name.clone(),
            shape: info.shape(),
            ty: info.ty,
            n_bytes: info.n_bytes,
        })
    }

    fn names(&self) -> Vec<&str> {
        self.tensors().iter().map(|info| info.name.as_str()).collect()
    }

    fn read(&self, name: &str, buffer: &mut [u8]) -> Result<(), ReadError> {
        let info = Gguf::tensor(self, name).ok_or_else(|| missing(name))?;
        Ok(self.read_tensor(info, buffer)?)
    }

    fn read_part(&self, name: &str, from: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let info = Gguf::tensor(self, name).ok_or_else(|| missing(name))?;
        Ok(self.read_part(info, from, buffer)?)
    }
}

impl Source for SafeTensors {
    fn tensor(&self, name: &str) -> Option<Tensor> {
        let info = SafeTensors::tensor(self, name)?;
        Some(Tensor {
            name: info.name.clone(),
            shape: info.shape.clone(),
            ty: info.dtype.ggml()?,
            n_bytes: info.n_bytes,
        })
    }

    fn names(&self) -> Vec<&str> {
        self.tensors().map(|info| info.name.as_str()).collect()
    }

    fn read(&self, name: &str, buffer: &mut [u8]) -> Result<(), ReadError> {
        let info = SafeTensors::tensor(self, name).ok_or_else(|| missing(name))?;
        Ok(self.read_tensor(info, buffer)?)
    }

    fn read_part(&self, name: &str, from: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let info = SafeTensors::tensor(self, name).ok_or_else(|| missing(name))?;
        Ok(self.read_part(info, from, buffer)?)
    }
}

impl Source for E5s1 {
    fn tensor(&self, name: &str) -> Option<Tensor> {
        E5s1::tensor(self, name).map(|info| Tensor {
            name: info.name.clone(),
            // The file keeps element counts only; the encoder knows its matrices' extents.
            shape: vec![info.n_elements],
            ty: info.ty,
            n_bytes: info.n_bytes,
        })
    }

    fn names(&self) -> Vec<&str> {
        self.tensors().iter().map(|info| info.name.as_str()).collect()
    }

    fn read(&self, name: &str, buffer: &mut [u8]) -> Result<(), ReadError> {
        let info = E5s1::tensor(self, name).ok_or_else(|| missing(name))?;
        Ok(self.read_tensor(info, buffer)?)
    }

    fn read_part(&self, name: &str, from: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let info = E5s1::tensor(self, name).ok_or_else(|| missing(name))?;
        Ok(self.read_part(info, from, buffer)?)
    }
}

fn missing(name: &str) -> ReadError {
    ReadError::Missing {
        name: name.to_owned(),
    }
}
