//! Synthetic models: random weights of true shape, for measuring speed and for tests without a download.
//!
//! The file is written tensor by tensor, so that a model of 4 GB needs little memory, and is the same for the same
//! seed on every machine. The numbers keep activations at unit scale and give the logits a spread, so that greedy
//! choices have margins; the text that comes out is noise. Not here: training, or real weights.

mod noise;
mod spec;
mod types;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::io::Write;

use compute::DType;
use stdx::rng::Rng;
use thiserror::Error;
use weights::gguf::{Body, GgmlType, GgufError, Writer};

use crate::config::{Config, NormPlacement, QkNorm};

pub use spec::Spec;
pub use types::{WeightType, dtype_by_name};

/// Elements that are made in one piece; each piece has its own seed, so threads change nothing.
const PIECE_ELEMENTS: u64 = 1 << 20;
/// Threads that make pieces.
const THREADS: usize = 2;
/// Spread of the output head's logits: greedy decoding needs a clear winner.
const HEAD_GAIN: f32 = 2.0;

/// What to make besides the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Type or mix of types of the matrices; norms, biases and routers are f32 always.
    pub dtype: WeightType,
    /// The same seed gives the same file.
    pub seed: u64,
}

/// Bytes of tensor data written so far, and of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Written.
    pub done_bytes: u64,
    /// In the end.
    pub total_bytes: u64,
}

/// Why a synthetic model could not be made.
#[derive(Debug, Error)]
pub enum SynthError {
    /// No shape of that name.
    #[error("there is no shape `{found}`; known are {known}")]
    Spec {
        /// The name asked for.
        found: String,
        /// All names.
        known: String,
    },
    /// No type of that name.
    #[error("there is no weight type `{found}`; known are {known}")]
    Type {
        /// The name asked for.
        found: String,
        /// All names.
        known: String,
    },
    /// A shape whose rows are not whole blocks of the type.
    #[error(transparent)]
    Quant(#[from] compute::QuantError),
    /// The file could not be written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// Writes a model of shape `spec` to `out` and gives `out` back, flushed; `progress` is called after each piece.
///
/// # Errors
/// When the shape does not fit the type, or `out` cannot be written.
pub fn synth<W: Write>(
    spec: &Spec,
    options: &Options,
    out: W,
    progress: &mut dyn FnMut(Progress),
) -> Result<W, SynthError> {
    let mut writer = Writer::new();
    spec::describe(&mut writer, spec, options.dtype);
    vocabulary::describe(&mut writer, &spec.config);
    let tensors = tensors(&spec.config);
    let dtypes: Vec<DType> = tensors
        .iter()
        .map(|tensor| options.dtype.of(tensor, &spec.config))
        .collect();
    for (tensor, dtype) in tensors.iter().zip(&dtypes) {
        let ty = GgmlType::from_name(dtype.name()).unwrap_or(GgmlType::F32);
        writer.tensor(&tensor.name, &tensor.dims, ty)?;
    }
    let total_bytes = writer.tensors().iter().map(|info| info.n_bytes).sum();
    let mut sink = Sink {
        body: writer.begin(out)?,
        progress,
        state: Progress {
            done_bytes: 0,
            total_bytes,
        },
    };
    for ((index, tensor), dtype) in (0u64..).zip(&tensors).zip(dtypes) {
        // Far apart for every tensor: a tensor has fewer pieces than the shift leaves room for.
        let seed = options.seed ^ ((index + 1) << 32);
        fill(&Job { tensor, dtype, seed }, &mut sink)?;
    }
    Ok(sink.body.finish()?)
}

/// How a tensor's numbers are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fill {
    /// Normal with this deviation, in the type asked for.
    Matrix(f32),
    /// Normal with this deviation, in f32: biases and routers.
    Small(f32),
    /// Around 1: weights of norms.
    Norm,
}

impl Fill {
    fn is_matrix(self) -> bool {
        matches!(self, Self::Matrix(_))
    }

    /// One piece of numbers.
    fn draw(self, rng: &mut Rng, n: usize) -> Vec<f32> {
        let (mean, deviation) = match self {
            Self::Matrix(deviation) | Self::Small(deviation) => (0.0, deviation),
            Self::Norm => (1.0, 0.05),
        };
        let scale = deviation / BYTE_SUM_DEVIATION;
        let shift = mean - BYTE_SUM_MEAN * scale;
        let mut values = Vec::with_capacity(n + 1);
        while values.len() < n {
            let bits = rng.next_u64();
            for half in [bits as u32, (bits >> 32) as u32] {
                let sum: u32 = half.to_le_bytes().into_iter().map(u32::from).sum();
                values.push((sum as f32).mul_add(scale, shift));
            }
        }
        values.truncate(n);
        values
    }
}

/// Mean of the sum of four random bytes.
const BYTE_SUM_MEAN: f32 = 510.0;
/// Its deviation, `sqrt(4 (256^2 - 1) / 12)`. The sum of four uniform numbers is close enough to a normal one
/// (Irwin and Hall) and ten times cheaper, which counts for seven billion weights.
const BYTE_SUM_DEVIATION: f32 = 147.800_54;

struct SynthTensor {
    name: String,
    dims: Vec<u64>,
    fill: Fill,
}

/// All tensors of a model, named as GGUF converters name them.
fn tensors(config: &Config) -> Vec<SynthTensor> {
    let (d, v) = (config.d_model as u64, config.vocab_size as u64);
    let head = Fill::Matrix(HEAD_GAIN / (config.d_model as f32).sqrt());
    let mut list = List(Vec::new());
    list.add(
        "token_embd.weight".to_owned(),
        &[d, v],
        if config.tied_head { head } else { Fill::Matrix(1.0) },
    );
    list.add("output_norm.weight".to_owned(), &[d], Fill::Norm);
    if !config.tied_head {
        list.add("output.weight".to_owned(), &[d, v], head);
    }
    for layer in 0..config.n_layers {
        attention(&mut list, config, layer);
        feed_forward(&mut list, config, layer);
    }
    list.0
}

struct List(Vec<SynthTensor>);

impl List {
    fn add(&mut self, name: String, dims: &[u64], fill: Fill) {
        self.0.push(SynthTensor {
            name,
            dims: dims.to_vec(),
            fill,
        });
    }

    /// A matrix whose outputs have the scale of its inputs.
    fn matrix(&mut self, layer: usize, name: &str, dims: &[u64]) {
        let fan_in = dims.first().copied().unwrap_or(1) as f32;
        self.add(
            format!("blk.{layer}.{name}.weight"),
            dims,
            Fill::Matrix(1.0 / fan_in.sqrt()),
        );
    }

    fn norm(&mut self, layer: usize, name: &str, n: usize) {
        self.add(format!("blk.{layer}.{name}.weight"), &[n as u64], Fill::Norm);
    }
}

fn attention(list: &mut List, config: &Config, layer: usize) {
    let (d, q, kv) = (
        config.d_model as u64,
        config.q_width() as u64,
        config.kv_width() as u64,
    );
    list.norm(
        layer,
        match config.norm_placement {
            NormPlacement::Pre => "attn_norm",
            NormPlacement::Post => "post_attention_norm",
        },
        config.d_model,
    );
    list.matrix(layer, "attn_q", &[d, q]);
    list.matrix(layer, "attn_k", &[d, kv]);
    list.matrix(layer, "attn_v", &[d, kv]);
    list.matrix(layer, "attn_output", &[q, d]);
    if config.attention_bias {
        for (name, n) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
            list.add(format!("blk.{layer}.{name}.bias"), &[n], Fill::Small(0.1));
        }
    }
    let (q_norm, k_norm) = match config.qk_norm {
        QkNorm::None => return,
        QkNorm::WholeProjection => (config.q_width(), config.kv_width()),
        QkNorm::PerHead => (config.head_dim, config.head_dim),
    };
    list.norm(layer, "attn_q_norm", q_norm);
    list.norm(layer, "attn_k_norm", k_norm);
}

fn feed_forward(list: &mut List, config: &Config, layer: usize) {
    let d = config.d_model as u64;
    list.norm(
        layer,
        match config.norm_placement {
            NormPlacement::Pre => "ffn_norm",
            NormPlacement::Post => "post_ffw_norm",
        },
        config.d_model,
    );
    if !config.is_sparse_layer(layer) {
        let f = config.d_ff as u64;
        list.matrix(layer, "ffn_gate", &[d, f]);
        list.matrix(layer, "ffn_up", &[d, f]);
        list.matrix(layer, "ffn_down", &[f, d]);
        return;
    }
    let (f, e) = (config.d_ff_expert as u64, config.n_experts as u64);
    let router = Fill::Small(1.0 / (config.d_model as f32).sqrt());
    list.add(format!("blk.{layer}.ffn_gate_inp.weight"), &[d, e], router);
    list.matrix(layer, "ffn_gate_exps", &[d, f, e]);
    list.matrix(layer, "ffn_up_exps", &[d, f, e]);
    list.matrix(layer, "ffn_down_exps", &[f, d, e]);
}

/// Where the bytes go.
struct Sink<'a, W> {
    body: Body<W>,
    progress: &'a mut dyn FnMut(Progress),
    state: Progress,
}

impl<W: Write> Sink<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), SynthError> {
        self.body.write(bytes)?;
        self.state.done_bytes += bytes.len() as u64;
        (self.progress)(self.state);
        Ok(())
    }
}

/// One tensor to fill.
struct Job<'a> {
    tensor: &'a SynthTensor,
    dtype: DType,
    seed: u64,
}

impl Job<'_> {
    /// The bytes of piece `index`, which has `n` elements.
    fn piece(&self, index: u64, n: u64) -> Result<Vec<u8>, SynthError> {
        let mut rng = Rng::new(self.seed.wrapping_add(index));
        if let Fill::Matrix(deviation) = self.tensor.fill
            && let Some(bytes) = noise::blocks(self.dtype, deviation, &mut rng, n as usize)
        {
            return Ok(bytes);
        }
        let values = self.tensor.fill.draw(&mut rng, n as usize);
        Ok(compute::quant::quantise(self.dtype, &values)?)
    }
}

/// Makes a tensor's pieces, several at a time, and writes them in order.
fn fill<W: Write>(job: &Job<'_>, sink: &mut Sink<'_, W>) -> Result<(), SynthError> {
    let n_elements: u64 = job.tensor.dims.iter().product();
    let n_pieces = n_elements.div_ceil(PIECE_ELEMENTS);
    let piece = |index: u64| job.piece(index, PIECE_ELEMENTS.min(n_elements - index * PIECE_ELEMENTS));
    let mut next = 0;
    while next < n_pieces {
        let batch: Vec<u64> = (next..n_pieces).take(THREADS).collect();
        next += batch.len() as u64;
        let made: Vec<Result<Vec<u8>, SynthError>> = if let [index] = batch.as_slice() {
            vec![piece(*index)]
        } else {
            std::thread::scope(|scope| {
                let workers: Vec<_> = batch.iter().map(|index| scope.spawn(|| piece(*index))).collect();
                workers
                    .into_iter()
                    .map(|worker| worker.join().expect("making numbers does not panic"))
                    .collect()
            })
        };
        for bytes in made {
            sink.put(&bytes?)?;
        }
    }
    Ok(())
}
