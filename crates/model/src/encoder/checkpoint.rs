//! The weights of an encoder as the hub names them, from safetensors or from an exported ONNX graph.
//!
//! Exports keep the names of embeddings, norms and biases. A matrix is found through the product that uses it, whose
//! name is that of its module; it lies there with one row for each input. Quantised ones are brought back to numbers.

use std::collections::BTreeMap;
use std::path::Path;

use compute::quant;
use weights::Source as _;
use weights::onnx::{Node, Onnx, OnnxTensor, OnnxType};
use weights::safetensors::SafeTensors;

use crate::decoder::dtype_of;
use crate::error::LoadError;
use crate::finite;

/// What stands behind the name of a quantised tensor.
const QUANTISED: &str = "_quantized";

/// Named weights.
pub(super) enum Checkpoint {
    /// As the hub has them.
    SafeTensors(SafeTensors),
    /// As an export has them.
    Onnx(Export),
}

/// An exported graph.
pub(super) struct Export {
    onnx: Onnx,
    /// The matrix of each module.
    products: BTreeMap<String, Factor>,
}

/// The constant factor of a product.
struct Factor {
    /// Its name, without what is behind that of a quantised one.
    name: String,
    /// Whether it has one row for each input, and not for each output.
    is_transposed: bool,
}

impl Checkpoint {
    /// Opens `path`, a `.onnx` file or safetensors.
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        if path.extension().is_some_and(|extension| extension == "onnx") {
            let onnx = Onnx::open(path)?;
            let products = onnx
                .nodes()
                .iter()
                .filter_map(|node| product(&onnx, node))
                .collect();
            return Ok(Self::Onnx(Export { onnx, products }));
        }
        Ok(Self::SafeTensors(SafeTensors::open(path)?))
    }

    /// Extents of a weight, rows first.
    pub(super) fn shape(&self, name: &str) -> Option<Vec<u64>> {
        match self {
            Self::SafeTensors(file) => Some(weights::Source::tensor(file, name)?.shape),
            Self::Onnx(export) => {
                let (_, tensor, is_transposed) = export.find(name)?;
                let mut shape = tensor.shape.clone();
                if is_transposed {
                    shape.reverse();
                }
                Some(shape)
            }
        }
    }

    /// The numbers of a weight of this shape, row by row.
    pub(super) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let found = self.shape(name).ok_or_else(|| LoadError::MissingTensor {
            name: name.to_owned(),
        })?;
        let expected: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
        if found != expected {
            return Err(LoadError::Shape {
                name: name.to_owned(),
                expected,
                found,
            });
        }
        let values = match self {
            Self::SafeTensors(file) => from_safetensors(file, name, shape.iter().product())?,
            Self::Onnx(export) => export.values(name)?,
        };
        finite::check(name, shape, &values)?;
        Ok(values)
    }

    /// The number of attention heads, where the graph says it: states of this width are brought into the shape
    /// (…, heads, size of a head), whose last extents are constants.
    pub(super) fn n_heads(&self, prefix: &str, d_model: usize) -> Option<usize> {
        let Self::Onnx(export) = self else {
            return None;
        };
        let inside = format!("/{prefix}/encoder/layer.0/attention/self/");
        let shapes = export
            .onnx
            .nodes()
            .iter()
            .filter(|node| node.operator == "Concat" && node.name.starts_with(&inside));
        shapes
            .filter_map(|node| export.last_extents(node))
            .find_map(|(n_heads, head_dim)| {
                (n_heads.checked_mul(head_dim) == Some(d_model)).then_some(n_heads)
            })
    }
}

impl Export {
    /// The last two extents of a shape that is put together here.
    fn last_extents(&self, node: &Node) -> Option<(usize, usize)> {
        let [.., rows, cols] = &node.inputs[..] else {
            return None;
        };
        let extent = |name: &String| {
            let tensor = self
                .onnx
                .tensor(name)
                .filter(|tensor| tensor.ty == OnnxType::I64)?;
            let bytes: [u8; 8] = tensor.bytes.as_slice().try_into().ok()?;
            usize::try_from(i64::from_le_bytes(bytes)).ok()
        };
        Some((extent(rows)?, extent(cols)?))
    }

    /// The tensor of a weight by the hub's name, as it is stored: its name there without what is behind that of a quantised
    /// one, itself, and whether it has one row for each input.
    fn find<'a>(&'a self, name: &'a str) -> Option<(&'a str, &'a OnnxTensor, bool)> {
        let factor = name
            .strip_suffix(".weight")
            .and_then(|module| self.products.get(module));
        let (name, is_transposed) = factor.map_or((name, false), |f| (f.name.as_str(), f.is_transposed));
        let quantised = || self.onnx.tensor(&format!("{name}{QUANTISED}"));
        let tensor = self.onnx.tensor(name).or_else(quantised)?;
        // Extents are no weights.
        (tensor.ty != OnnxType::I64).then_some((name, tensor, is_transposed))
    }

    fn values(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let missing = |name: String| LoadError::MissingTensor { name };
        let (stem, tensor, is_transposed) = self.find(name).ok_or_else(|| missing(name.to_owned()))?;
        let mut values = numbers(tensor);
        let columns = tensor.shape.last().map_or(1, |&n| n as usize).max(1);
        if tensor.ty != OnnxType::F32 {
            let beside = |what: &str| {
                let name = format!("{stem}{what}");
                let values = self
                    .onnx
                    .tensor(&name)
                    .map(numbers)
                    .ok_or_else(|| missing(name.clone()))?;
                // One for the whole matrix, or one for each column.
                if values.len() != 1 && values.len() != columns {
                    return Err(LoadError::Encoder {
                        reason: format!("`{name}` has {} numbers for {columns} columns", values.len()),
                    });
                }
                Ok(values)
            };
            let (scales, zeros) = (beside("_scale")?, beside("_zero_point")?);
            for (i, value) in values.iter_mut().enumerate() {
                let of = |all: &[f32]| all[if all.len() == 1 { 0 } else { i % columns }];
                *value = (*value - of(&zeros)) * of(&scales);
            }
        }
        Ok(if is_transposed {
            transposed(&values, columns)
        } else {
            values
        })
    }
}

/// The module and the constant factor of a product with one.
fn product(onnx: &Onnx, node: &Node) -> Option<(String, Factor)> {
    let is_transposed = match node.operator.as_str() {
        "MatMul" | "MatMulInteger" => true,
        "Gemm" => !node.transposes_b,
        _ => return None,
    };
    let input = node.inputs.get(1)?;
    onnx.tensor(input)?;
    let (module, _) = node.name.trim_start_matches('/').rsplit_once('/')?;
    let name = input.strip_suffix(QUANTISED).unwrap_or(input).to_owned();
    Some((module.replace('/', "."), Factor { name, is_transposed }))
}

fn numbers(tensor: &OnnxTensor) -> Vec<f32> {
    match tensor.ty {
        OnnxType::F32 => {
            let (words, _) = tensor.bytes.as_chunks::<4>();
            words.iter().map(|word| f32::from_le_bytes(*word)).collect()
        }
        OnnxType::U8 => tensor.bytes.iter().map(|&byte| f32::from(byte)).collect(),
        // Extents are no weights.
        OnnxType::I64 => Vec::new(),
        OnnxType::I8 => tensor
            .bytes
            .iter()
            .map(|&byte| f32::from(byte.cast_signed()))
            .collect(),
    }
}

/// Rows of what has these many columns become columns.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let column = |j: usize| values.iter().skip(j).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

fn from_safetensors(file: &SafeTensors, name: &str, n_elements: usize) -> Result<Vec<f32>, LoadError> {
    let missing = || LoadError::MissingTensor {
        name: name.to_owned(),
    };
    let info = weights::Source::tensor(file, name).ok_or_else(missing)?;
    let dtype = dtype_of(info.ty).ok_or_else(|| LoadError::UnsupportedType {
        name: name.to_owned(),
        ty: info.ty.name(),
    })?;
    let n_bytes = usize::try_from(info.n_bytes).map_err(|_| LoadError::TooLarge {
        name: name.to_owned(),
        n_bytes: info.n_bytes,
    })?;
    let mut bytes = vec![0; n_bytes];
    file.read(name, &mut bytes)?;
    let mut values = vec![0.0; n_elements];
    quant::dequantise(dtype, &bytes, &mut values)?;
    Ok(values)
}
