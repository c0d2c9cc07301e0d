//! Weights out of a file, checked against the configuration: every tensor present, of the right shape and type,
//! every weight a finite number.
//!
//! Knows which weights a layer has; what is done with them is the forward pass's business.

use compute::{AlignedBytes, DType, Matrix, quant};
use weights::gguf::GgmlType;
use weights::{Source, Tensor};

use super::names::{Global, Naming, Part};
use super::{ExpertWeights, Experts, FeedForward, Layer, Linear};
use crate::config::{Config, NormPlacement, QkNorm};
use crate::error::LoadError;
use crate::finite;
use crate::packed::{PackWriter, Packed};
use crate::residency::{Piece, Pieces};

/// Reads weights from one file or folder.
pub(crate) struct Loader<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) naming: Naming,
    /// Re-encode every matrix but routers in this type (parity of the quantised kernels).
    pub(crate) recast: Option<DType>,
    /// Where matrices are taken from instead, if they are there.
    pub(crate) packed: Option<&'a Packed>,
    /// Leave experts in the packed file.
    pub(crate) on_demand: bool,
    /// Gets every matrix that is read.
    pub(crate) sink: Option<&'a PackWriter>,
}

impl Loader<'_> {
    pub(super) fn embedding(&self, config: &Config) -> Result<Matrix, LoadError> {
        let name = self.naming.global(Global::Embedding);
        self.matrix(name, config.vocab_size, config.d_model)
    }

    pub(super) fn norm(&self, config: &Config) -> Result<Vec<f32>, LoadError> {
        self.vector(self.naming.global(Global::Norm), config.d_model)
    }

    /// The output matrix; `None` where the embedding serves as one.
    pub(super) fn head(&self, config: &Config) -> Result<Option<Matrix>, LoadError> {
        let name = self.naming.global(Global::Head);
        if config.tied_head || (self.naming == Naming::Gguf && self.source.tensor(name).is_none()) {
            return Ok(None);
        }
        self.matrix(name, config.vocab_size, config.d_model).map(Some)
    }

    pub(super) fn layer(&self, config: &Config, layer: usize) -> Result<Layer, LoadError> {
        let (d, d_query, d_key) = (config.d_model, config.q_width(), config.kv_width());
        let bias = config.attention_bias;
        let linear = |part, rows, bias: bool| self.linear(layer, part, (rows, d), bias);
        let norm = |part, len: usize, present: bool| -> Result<Option<Vec<f32>>, LoadError> {
            let name = format!("{}.weight", self.naming.stem(layer, part));
            present.then(|| self.vector(&name, len)).transpose()
        };
        let is_pre = config.norm_placement == NormPlacement::Pre;
        let (n_query_norm, n_key_norm) = match config.qk_norm {
            QkNorm::None => (0, 0),
            QkNorm::WholeProjection => (d_query, d_key),
            QkNorm::PerHead => (config.head_dim, config.head_dim),
        };
        Ok(Layer {
            attention_norm: norm(Part::AttentionNorm, d, is_pre)?,
            query: linear(Part::Query, d_query, bias)?,
            key: linear(Part::Key, d_key, bias)?,
            value: linear(Part::Value, d_key, bias)?,
            query_norm: norm(Part::QueryNorm, n_query_norm, n_query_norm > 0)?,
            key_norm: norm(Part::KeyNorm, n_key_norm, n_key_norm > 0)?,
            output: self.linear(layer, Part::Output, (d, d_query), false)?,
            attention_post_norm: norm(Part::AttentionPostNorm, d, !is_pre)?,
            feed_forward_norm: norm(Part::FeedForwardNorm, d, is_pre)?,
            feed_forward: self.feed_forward(config, layer)?,
            feed_forward_post_norm: norm(Part::FeedForwardPostNorm, d, !is_pre)?,
        })
    }

    fn feed_forward(&self, config: &Config, layer: usize) -> Result<FeedForward, LoadError> {
        let d = config.d_model;
        if !config.is_sparse_layer(layer) {
            let f = config.d_ff;
            return Ok(FeedForward::Dense {
                gate: self.linear(layer, Part::Gate, (f, d), false)?.matrix,
                up: self.linear(layer, Part::Up, (f, d), false)?.matrix,
                down: self.linear(layer, Part::Down, (d, f), false)?.matrix,
            });
        }
        let (e, f) = (config.n_experts, config.d_ff_expert);
        let router_name = format!("{}.weight", self.naming.stem(layer, Part::Router));
        let exact = Loader {
            recast: None,
            ..*self
        };
        Ok(FeedForward::Experts(Experts {
            router: exact.matrix(&router_name, e, d)?,
            weights: if self.on_demand {
                ExpertWeights::OnDemand(self.pieces(config, layer)?)
            } else {
                ExpertWeights::InMemory {
                    gate: self.stack(layer, Part::ExpertGate, [e, f, d])?,
                    up: self.stack(layer, Part::ExpertUp, [e, f, d])?,
                    down: self.stack(layer, Part::ExpertDown, [e, d, f])?,
                }
            },
        }))
    }

    /// Where the packed file has the experts of a sparse layer.
    pub(crate) fn pieces(&self, config: &Config, layer: usize) -> Result<Pieces, LoadError> {
        let (e, f, d) = (config.n_experts, config.d_ff_expert, config.d_model);
        Ok([
            self.piece(layer, Part::ExpertGate, [e, f, d])?,
            self.piece(layer, Part::ExpertUp, [e, f, d])?,
            self.piece(layer, Part::ExpertDown, [e, d, f])?,
        ])
    }

    /// Where the packed file has all experts' matrices: `shape` is experts, rows of one, columns.
    fn piece(&self, layer: usize, part: Part, shape: [usize; 3]) -> Result<Piece, LoadError> {
        let [n_experts, rows, cols] = shape;
        let whole = format!("{}.weight", self.naming.stem(layer, part));
        let (_, dtype) = match self.naming.expert(layer, part, 0) {
            None => self.tensor(&whole, &shape)?,
            Some(first) => self.tensor(&first, &[rows, cols])?,
        };
        let piece = self
            .packed
            .and_then(|packed| packed.piece(&whole, dtype, n_experts, (rows, cols)));
        piece.ok_or(LoadError::NotApart { name: whole })
    }

    fn linear(
        &self,
        layer: usize,
        part: Part,
        shape: (usize, usize),
        bias: bool,
    ) -> Result<Linear, LoadError> {
        let stem = self.naming.stem(layer, part);
        let (rows, cols) = shape;
        Ok(Linear {
            matrix: self.matrix(&format!("{stem}.weight"), rows, cols)?,
            bias: bias
                .then(|| self.vector(&format!("{stem}.bias"), rows))
                .transpose()?,
        })
    }

    /// A matrix of `rows` outputs and `cols` inputs.
    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix, LoadError> {
        let (tensor, dtype) = self.tensor(name, &[rows, cols])?;
        if let Some(matrix) = self.packed_matrix(name, dtype, rows, cols) {
            return Ok(matrix);
        }
        let mut bytes = AlignedBytes::zeroed(length(&tensor)?);
        finite::read(self.source, name, dtype, &[rows, cols], &mut bytes)?;
        self.finish(name, dtype, (rows, cols), bytes)
    }

    /// All experts' matrices below each other: `shape` is experts, rows of one, columns.
    fn stack(&self, layer: usize, part: Part, shape: [usize; 3]) -> Result<Matrix, LoadError> {
        let [n_experts, rows, cols] = shape;
        let whole = format!("{}.weight", self.naming.stem(layer, part));
        if self.naming.expert(layer, part, 0).is_none() {
            let (tensor, dtype) = self.tensor(&whole, &shape)?;
            if let Some(matrix) = self.packed_matrix(&whole, dtype, n_experts * rows, cols) {
                return Ok(matrix);
            }
            let mut bytes = AlignedBytes::zeroed(length(&tensor)?);
            finite::read(self.source, &whole, dtype, &shape, &mut bytes)?;
            return self.finish(&whole, dtype, (n_experts * rows, cols), bytes);
        }
        let names: Vec<String> = (0..n_experts)
            .filter_map(|e| self.naming.expert(layer, part, e))
            .collect();
        let (first, dtype) = self.tensor(&names[0], &[rows, cols])?;
        if let Some(matrix) = self.packed_matrix(&whole, dtype, n_experts * rows, cols) {
            return Ok(matrix);
        }
        let n_bytes = length(&first)?;
        let mut bytes = AlignedBytes::zeroed(n_bytes * n_experts);
        for (name, bytes) in names.iter().zip(bytes.chunks_exact_mut(n_bytes)) {
            let (_, found) = self.tensor(name, &[rows, cols])?;
            if found != dtype {
                return Err(LoadError::MixedExperts {
                    name: name.clone(),
                    found,
                    expected: dtype,
                });
            }
            finite::read(self.source, name, dtype, &[rows, cols], bytes)?;
        }
        self.finish(&whole, dtype, (n_experts * rows, cols), bytes)
    }

    fn finish(
        &self,
        name: &str,
        dtype: DType,
        (rows, cols): (usize, usize),
        bytes: AlignedBytes,
    ) -> Result<Matrix, LoadError> {
        let (dtype, bytes) = match self.recast {
            Some(wanted) if wanted != dtype && cols.is_multiple_of(wanted.block_len()) => {
                let mut values = vec![0.0; rows * cols];
                quant::dequantise(dtype, &bytes, &mut values)?;
                (wanted, AlignedBytes::copy_of(&quant::quantise(wanted, &values)?))
            }
            _ => (dtype, bytes),
        };
        let matrix = Matrix::new(dtype, rows, cols, bytes).map_err(|source| LoadError::Matrix {
            name: name.to_owned(),
            source,
        })?;
        if let Some(sink) = self.sink {
            sink.add(name, &matrix);
        }
        Ok(matrix)
    }

    fn packed_matrix(&self, name: &str, dtype: DType, rows: usize, cols: usize) -> Option<Matrix> {
        self.packed?.matrix(name, dtype, rows, cols)
    }

    /// A vector of `len` values in any type, as f32.
    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let (tensor, dtype) = self.tensor(name, &[len])?;
        let mut bytes = vec![0; length(&tensor)?];
        finite::read(self.source, name, dtype, &[len], &mut bytes)?;
        let mut values = vec![0.0; len];
        quant::dequantise(dtype, &bytes, &mut values)?;
        Ok(values)
    }

    /// Finds a tensor and checks shape and type.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<(Tensor, DType), LoadError> {
        let missing = || LoadError::MissingTensor {
            name: name.to_owned(),
        };
        let tensor = self.source.tensor(name).ok_or_else(missing)?;
        let expected: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
        // GGUF leaves leading extents of one away.
        let significant = |shape: &[u64]| shape.iter().copied().skip_while(|&e| e == 1).collect::<Vec<_>>();
        if significant(&tensor.shape) != significant(&expected) {
            return Err(LoadError::Shape {
                name: name.to_owned(),
                expected,
                found: tensor.shape,
            });
        }
        let dtype = dtype_of(tensor.ty).ok_or_else(|| LoadError::UnsupportedType {
            name: name.to_owned(),
            ty: tensor.ty.name(),
        })?;
        Ok((tensor, dtype))
    }
}

/// The type that the kernels know it by; `None` for types they don't compute with.
pub(crate) fn dtype_of(ty: GgmlType) -> Option<DType> {
    match ty {
        GgmlType::F32 => Some(DType::F32),
        GgmlType::F16 => Some(DType::F16),
        GgmlType::BF16 => Some(DType::BF16),
        GgmlType::Q4_0 => Some(DType::Q4_0),
        GgmlType::Q4_1 => Some(DType::Q4_1),
        GgmlType::Q5_0 => Some(DType::Q5_0),
        GgmlType::Q5_1 => Some(DType::Q5_1),
        GgmlType::Q8_0 => Some(DType::Q8_0),
        GgmlType::Q2_K => Some(DType::Q2_K),
        GgmlType::Q3_K => Some(DType::Q3_K),
        GgmlType::Q4_K => Some(DType::Q4_K),
        GgmlType::Q5_K => Some(DType::Q5_K),
        GgmlType::Q6_K => Some(DType::Q6_K),
        _ => None,
    }
}

fn length(tensor: &Tensor) -> Result<usize, LoadError> {
    usize::try_from(tensor.n_bytes).map_err(|_| LoadError::TooLarge {
        name: tensor.name.clone(),
        n_bytes: tensor.n_bytes,
    })
}
