//! ONNX: the weights of an exported encoder, and which product each of them belongs to. Reading only.
//!
//! No runtime: the graph is not executed. What is read of it is the initialisers (weights, scales, zero points), the
//! constants, and the names and inputs of the nodes: exporters name a node after the module it comes from, and a
//! quantised matrix has no other name. The layout is that of the format's `onnx.proto`; fields that are not needed are
//! skipped.

mod proto;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use prost::Message as _;
use thiserror::Error;

use proto::{AttributeProto, ModelProto, TensorProto};

/// Longest file: what a protocol buffer can hold.
pub const MAX_BYTES: u64 = i32::MAX as u64;
/// Most dimensions of a tensor.
pub const MAX_DIMS: usize = 16;

/// Type of a tensor's elements, as far as encoders use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnnxType {
    /// Floating, 32 bits.
    F32,
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 8 bits.
    I8,
    /// Signed, 64 bits: extents.
    I64,
}

impl OnnxType {
    fn of(code: i32) -> Option<Self> {
        match code {
            1 => Some(Self::F32),
            2 => Some(Self::U8),
            3 => Some(Self::I8),
            7 => Some(Self::I64),
            _ => None,
        }
    }

    /// Bytes of one element.
    pub fn n_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::U8 | Self::I8 => 1,
            Self::I64 => 8,
        }
    }
}

/// A tensor with its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxTensor {
    /// Extents, the slowest-varying first; none for a single number.
    pub shape: Vec<u64>,
    /// Type of the elements.
    pub ty: OnnxType,
    /// The elements, little-endian.
    pub bytes: Vec<u8>,
}

/// A step of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name: for exports of PyTorch the module, with `/` between its parts, and the operator.
    pub name: String,
    /// Operator, as the standard names it.
    pub operator: String,
    /// Names of what it takes.
    pub inputs: Vec<String>,
    /// Whether its second factor is taken transposed (`Gemm`).
    pub transposes_b: bool,
}

/// Why an ONNX file was refused.
#[derive(Debug, Error)]
pub enum OnnxError {
    /// The operating system refused.
    #[error(transparent)]
    Fs(#[from] stdx::fs::FsError),
    /// More than a protocol buffer can hold.
    #[error(
        "the file has {found} bytes, and an ONNX file holds at most {MAX_BYTES}; is it another kind of file?"
    )]
    TooLong {
        /// Bytes.
        found: u64,
    },
    /// Not a protocol buffer of this kind.
    #[error("not an ONNX file, or a damaged one ({reason}); fetch it again")]
    Encoding {
        /// What the decoder says.
        reason: String,
    },
    /// There is nothing to compute with.
    #[error("the ONNX file has no graph; fetch it again")]
    NoGraph,
    /// A tensor contradicts itself.
    #[error("tensor `{tensor}`: {reason}; the file is corrupt or hostile, fetch it again")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
}

/// A file's tensors and nodes.
#[derive(Debug)]
pub struct Onnx {
    tensors: BTreeMap<String, OnnxTensor>,
    nodes: Vec<Node>,
}

impl Onnx {
    /// Reads a file whole.
    ///
    /// # Errors
    /// When it cannot be read, is no ONNX file, or keeps its tensors elsewhere.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OnnxError> {
        let path = path.as_ref();
        let file = stdx::fs::open(path)?;
        let failed = |e| stdx::fs::FsError::new("read", path, e);
        let found = file.metadata().map_err(failed)?.len();
        if found > MAX_BYTES {
            return Err(OnnxError::TooLong { found });
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(&bytes)
    }

    /// Parses a file's bytes.
    ///
    /// # Errors
    /// Those of [`Onnx::open`].
    pub fn parse(bytes: &[u8]) -> Result<Self, OnnxError> {
        let model = ModelProto::decode(bytes).map_err(|e| OnnxError::Encoding {
            reason: e.to_string(),
        })?;
        let graph = model.graph.ok_or(OnnxError::NoGraph)?;
        let mut tensors = BTreeMap::new();
        for initialiser in graph.initializer {
            insert(&mut tensors, initialiser)?;
        }
        let mut nodes = Vec::with_capacity(graph.node.len());
        for mut node in graph.node {
            if node.op_type == "Constant" {
                // A constant is a tensor by the name of what it gives out.
                let value = node.attribute.into_iter().find_map(|attribute| attribute.t);
                if let (Some(mut value), Some(output)) = (value, node.output.pop()) {
                    value.name = output;
                    insert(&mut tensors, value)?;
                }
                continue;
            }
            nodes.push(Node {
                transposes_b: node.attribute.iter().any(AttributeProto::transposes_b),
                name: node.name,
                operator: node.op_type,
                inputs: node.input,
            });
        }
        Ok(Self { tensors, nodes })
    }

    /// The tensor of that name; `None` if there is none, or one of another type.
    pub fn tensor(&self, name: &str) -> Option<&OnnxTensor> {
        self.tensors.get(name)
    }

    /// The nodes in the file's order, constants left out.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

/// Takes a tensor up, if its type is one of those that are used.
fn insert(tensors: &mut BTreeMap<String, OnnxTensor>, tensor: TensorProto) -> Result<(), OnnxError> {
    let Some(ty) = OnnxType::of(tensor.data_type) else {
        return Ok(());
    };
    let refuse = |reason: String| {
        Err(OnnxError::Tensor {
            tensor: tensor.name.clone(),
            reason,
        })
    };
    if tensor.data_location != 0 {
        return refuse("its bytes lie in another file, which is not supported".to_owned());
    }
    if tensor.dims.len() > MAX_DIMS {
        return refuse(format!("it has {} dimensions", tensor.dims.len()));
    }
    let mut shape = Vec::with_capacity(tensor.dims.len());
    let mut n_elements = 1u64;
    for &extent in &tensor.dims {
        let Some(product) = u64::try_from(extent).ok().and_then(|n| n_elements.checked_mul(n)) else {
            return refuse(format!("{:?} is no shape", tensor.dims));
        };
        n_elements = product;
        shape.push(extent.unsigned_abs());
    }
    let bytes = match ty {
        _ if !tensor.raw_data.is_empty() => tensor.raw_data.clone(),
        OnnxType::F32 => tensor.float_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        // Small integers stand one in a word each, of which the lowest byte is theirs.
        OnnxType::U8 | OnnxType::I8 => tensor.int32_data.iter().map(|x| x.to_le_bytes()[0]).collect(),
        OnnxType::I64 => tensor.int64_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
    };
    if n_elements.checked_mul(ty.n_bytes()) != Some(bytes.len() as u64) {
        return refuse(format!("{} bytes do not fill {:?}", bytes.len(), tensor.dims));
    }
    tensors.insert(tensor.name, OnnxTensor { shape, ty, bytes });
    Ok(())
}
