//! The one decoder: embeddings, layers, norm, head, for every family.
//!
//! The forward pass is written in the order of the papers and differences between families are data: a norm that
//! is absent is `None`, experts are a variant of the feed-forward layer. Which sequences share a step decides the
//! caller; results don't depend on it. Not here: loading ([`load`]), tokens, sampling.

mod attention;
mod experts;
mod load;
mod names;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use compute::{
    DType, KvDType, Matrix, MatrixRef, Pool, Precision, Rope, RopeStyle, matmul, matmul_many, ops,
};

use stdx::mmap::Mmap;

use crate::cache::KvCache;
use crate::config::{self, Config};
use crate::error::{ForwardError, LoadError};
use crate::packed::WeightsIn;
use crate::residency::{ExpertCache, Pieces, ResidencyStats};

pub use experts::RouterStatistics;
pub(crate) use load::{Loader, dtype_of};
pub(crate) use names::{Global, Naming, Part};

/// Rows from which element-wise work is shared among threads.
const PARALLEL_FROM_ROWS: usize = 16;
/// Parts for each thread, so that a slow core gets fewer.
const PARTS_PER_THREAD: usize = 2;

/// A matrix with an optional bias.
struct Linear {
    matrix: Matrix,
    bias: Option<Vec<f32>>,
}

/// One layer; a norm that the family doesn't have is `None`.
struct Layer {
    attention_norm: Option<Vec<f32>>,      // (D)
    query: Linear,                         // (H·S, D)
    key: Linear,                           // (G·S, D)
    value: Linear,                         // (G·S, D)
    query_norm: Option<Vec<f32>>,          // (H·S) over the whole projection, or (S) per head
    key_norm: Option<Vec<f32>>,            // (G·S) or (S)
    output: Linear,                        // (D, H·S)
    attention_post_norm: Option<Vec<f32>>, // (D)
    feed_forward_norm: Option<Vec<f32>>,   // (D)
    feed_forward: FeedForward,
    feed_forward_post_norm: Option<Vec<f32>>, // (D)
}

impl Layer {
    /// Where its experts are, if they are read on demand.
    fn pieces(&self) -> Option<Pieces> {
        match &self.feed_forward {
            FeedForward::Experts(Experts {
                weights: ExpertWeights::OnDemand(pieces),
                ..
            }) => Some(*pieces),
            _ => None,
        }
    }
}

/// SwiGLU, one or many.
enum FeedForward {
    Dense {
        gate: Matrix, // (F, D)
        up: Matrix,   // (F, D)
        down: Matrix, // (D, F)
    },
    Experts(Experts),
}

/// All experts of a layer.
struct Experts {
    router: Matrix, // (E, D)
    weights: ExpertWeights,
}

/// Where the experts' matrices are.
enum ExpertWeights {
    /// Below each other.
    InMemory {
        gate: Matrix, // (E·F, D)
        up: Matrix,   // (E·F, D)
        down: Matrix, // (E·D, F)
    },
    /// In the packed file; the decoder's cache has some of them.
    OnDemand(Pieces),
}

impl ExpertWeights {
    fn size_bytes(&self, n_experts: usize) -> usize {
        match self {
            Self::InMemory { gate, up, down } => gate.size_bytes() + up.size_bytes() + down.size_bytes(),
            Self::OnDemand(pieces) => n_experts * pieces.iter().map(|piece| piece.length).sum::<usize>(),
        }
    }
}

/// Which logits a sequence wants from a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedLogits {
    /// None: more of the prompt follows.
    None,
    /// Those after the last token.
    Last,
    /// Those after each token.
    All,
}

/// What one sequence adds in a step: tokens that follow those in its cache.
#[derive(Debug)]
pub struct Input<'a> {
    /// Token ids, at least one.
    pub tokens: &'a [u32],
    /// The sequence's past; the step appends to it.
    pub cache: &'a mut KvCache,
    /// Which logits to compute.
    pub logits: WantedLogits,
}

/// Sees intermediate results, for comparison with reference outputs.
pub trait Probe {
    /// The hidden states before the first layer (`index` 0), after each layer and, instead of the last layer's,
    /// after the final norm: `T` × `D` values.
    fn hidden(&mut self, index: usize, states: &[f32]);
    /// A layer's router logits: `T` × `E` values.
    fn router(&mut self, layer: usize, logits: &[f32]);
    /// What matrices of a layer were multiplied by: `n_rows` rows of equal length.
    fn input(&mut self, _layer: usize, _of: LinearInput, _rows: &[f32], _n_rows: usize) {}
}

/// Whose input it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinearInput {
    /// The projections to query, key and value: rows of `D`.
    Attention,
    /// The output projection of attention: rows of `H·S`.
    AttentionOutput,
    /// Gate and up of a dense layer: rows of `D`.
    FeedForward,
    /// Down of a dense layer: rows of `F`.
    FeedForwardOutput,
    /// The router: rows of `D`.
    Router,
    /// Gate and up of this expert, for the tokens routed to it.
    Expert(usize),
    /// Down of this expert.
    ExpertOutput(usize),
}

/// Buffers of a step, kept between steps; row counts vary with the step.
#[derive(Debug, Default)]
pub struct Scratch {
    x: Vec<f32>,         // (T, D) residual stream
    normed: Vec<f32>,    // (T, D)
    query: Vec<f32>,     // (T, H·S)
    key: Vec<f32>,       // (T, G·S)
    value: Vec<f32>,     // (T, G·S)
    attended: Vec<f32>,  // (T, H·S)
    projected: Vec<f32>, // (T, D)
    gate: Vec<f32>,      // (T, F), or (T·K, F)
    up: Vec<f32>,        // (T, F), or (T·K, F)
    wanted: Vec<f32>,    // (rows wanted, D)
    logits: Vec<f32>,    // (rows wanted, V)
    vocab_size: usize,
    positions: Vec<usize>, // (T)
    experts: experts::Buffers,
    compute: compute::Scratch,
}

impl Scratch {
    /// The `row`-th row of logits that the last step was asked for, in the order of its inputs.
    ///
    /// # Panics
    /// When the step was asked for fewer.
    pub fn logits(&self, row: usize) -> &[f32] {
        &self.logits[row * self.vocab_size..(row + 1) * self.vocab_size]
    }

    /// Rows of logits.
    pub fn n_logits(&self) -> usize {
        self.logits.len().checked_div(self.vocab_size).unwrap_or(0)
    }
}

/// A decoder ready to run; shared by all sequences.
pub struct Decoder {
    config: Config,
    embedding: Matrix, // (V, D)
    layers: Vec<Layer>,
    norm: Vec<f32>,       // (D)
    head: Option<Matrix>, // (V, D); None: the embedding serves as one
    rope: Rope,
    rope_style: RopeStyle,
    context: usize,
    precision: Precision,
    kv: KvDType,
    pool: Arc<Pool>,
    statistics: RouterStatistics,
    weights_in: WeightsIn,
    /// The packed file that weights lie in.
    mapped: Option<Arc<Mmap>>,
    /// Where experts are read when they are needed.
    expert_cache: Option<ExpertCache>,
}

/// How a decoder computes.
pub(crate) struct Arithmetic {
    /// Context in tokens; the model's own is the limit.
    pub(crate) context: usize,
    pub(crate) precision: Precision,
    pub(crate) kv: KvDType,
    pub(crate) pool: Arc<Pool>,
    pub(crate) weights_in: WeightsIn,
    pub(crate) mapped: Option<Arc<Mmap>>,
    /// The packed file and how many experts of it to keep in memory; `None` keeps all.
    pub(crate) on_demand: Option<(PathBuf, usize)>,
}

impl Decoder {
    /// Reads all weights.
    pub(crate) fn load(
        config: Config,
        loader: &Loader<'_>,
        arithmetic: Arithmetic,
    ) -> Result<Self, LoadError> {
        let layers: Result<Vec<Layer>, LoadError> = (0..config.n_layers)
            .map(|layer| loader.layer(&config, layer))
            .collect();
        let layers = layers?;
        let context = arithmetic.context.min(config.context);
        let expert_cache = match arithmetic.on_demand {
            None => None,
            Some((path, n_slots)) => {
                let pieces = layers.iter().map(Layer::pieces).collect();
                let (n, n_used) = (config.n_experts, config.n_experts_used);
                Some(ExpertCache::new(path, pieces, n, n_used, n_slots)?)
            }
        };
        Ok(Self {
            embedding: loader.embedding(&config)?,
            layers,
            expert_cache,
            norm: loader.norm(&config)?,
            head: loader.head(&config)?,
            rope: Rope::new(config.head_dim, config.rope_theta, context),
            rope_style: match config.rope_style {
                config::RopeStyle::Interleaved => RopeStyle::Interleaved,
                config::RopeStyle::HalfRotate => RopeStyle::HalfRotate,
            },
            context,
            statistics: RouterStatistics::new(config.n_layers, config.n_experts),
            precision: arithmetic.precision,
            kv: arithmetic.kv,
            pool: arithmetic.pool,
            weights_in: arithmetic.weights_in,
            mapped: arithmetic.mapped,
            config,
        })
    }

    /// Reads every matrix once, a layer at a time, and hands it to the loader's sink.
    pub(crate) fn pack(config: &Config, loader: &Loader<'_>) -> Result<(), LoadError> {
        loader.embedding(config)?;
        loader.head(config)?;
        (0..config.n_layers).try_for_each(|layer| loader.layer(config, layer).map(drop))
    }

    /// The same decoder, its experts in another file.
    #[cfg(test)]
    pub(crate) fn with_experts_in(mut self, path: PathBuf) -> Self {
        let pieces = self.layers.iter().map(Layer::pieces).collect();
        let (n, n_used) = (self.config.n_experts, self.config.n_experts_used);
        let cache = ExpertCache::new(path, pieces, n, n_used, crate::residency::EXPERTS_MIN);
        self.expert_cache = cache.ok();
        self
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Type of the first layer's matrices; files may mix types.
    pub fn dtype(&self) -> DType {
        self.layers
            .first()
            .map_or(self.embedding.dtype(), |layer| layer.query.matrix.dtype())
    }

    /// Arithmetic of the matrix products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Context in tokens.
    pub fn context(&self) -> usize {
        self.context
    }

    /// An empty cache for a new sequence; it takes memory as it fills.
    pub fn new_cache(&self) -> KvCache {
        KvCache::new(&self.config, self.precision, self.kv)
    }

    /// How often each expert was chosen since loading.
    pub fn router_statistics(&self) -> &RouterStatistics {
        &self.statistics
    }

    /// Where the weights lie.
    pub fn weights_in(&self) -> &WeightsIn {
        &self.weights_in
    }

    /// How the experts that are read on demand fare; `None` where all weights are in memory.
    pub fn residency(&self) -> Option<ResidencyStats> {
        self.expert_cache.as_ref().map(ExpertCache::stats)
    }

    /// Bytes of all weights, in memory or not.
    pub fn weight_bytes(&self) -> usize {
        let feed_forward = |layer: &Layer| match &layer.feed_forward {
            FeedForward::Dense { gate, up, down } => gate.size_bytes() + up.size_bytes() + down.size_bytes(),
            FeedForward::Experts(e) => e.router.size_bytes() + e.weights.size_bytes(self.config.n_experts),
        };
        let layer = |layer: &Layer| {
            let attention = [&layer.query, &layer.key, &layer.value, &layer.output];
            attention
                .iter()
                .map(|linear| linear.matrix.size_bytes())
                .sum::<usize>()
                + feed_forward(layer)
        };
        let head = self.head.as_ref().map_or(0, Matrix::size_bytes);
        self.layers.iter().map(layer).sum::<usize>() + self.embedding.size_bytes() + head
    }

    /// One step: appends each input's tokens to its cache and computes the logits wanted.
    ///
    /// # Errors
    /// When tokens are unknown or don't fit the context, or weights cannot be read; then nothing has changed.
    pub fn forward(
        &self,
        inputs: &mut [Input<'_>],
        scratch: &mut Scratch,
        mut probe: Option<&mut dyn Probe>,
    ) -> Result<(), ForwardError> {
        self.check(inputs)?;
        self.check_map()?;
        for input in inputs.iter_mut() {
            input.cache.drop_unfinished();
        }
        self.embed(inputs, scratch);
        for (index, layer) in self.layers.iter().enumerate() {
            if let Some(probe) = &mut probe {
                probe.hidden(index, &scratch.x);
            }
            // x += [norm](attention([norm](x)))
            self.normalise(layer.attention_norm.as_deref(), scratch);
            self.attend(index, layer, inputs, scratch);
            let n = scratch.normed.len() / self.config.d_model;
            if let Some(probe) = &mut probe {
                probe.input(index, LinearInput::Attention, &scratch.normed, n);
                probe.input(index, LinearInput::AttentionOutput, &scratch.attended, n);
            }
            self.add(layer.attention_post_norm.as_deref(), scratch);
            // x += [norm](feed_forward([norm](x)))
            self.normalise(layer.feed_forward_norm.as_deref(), scratch);
            match &layer.feed_forward {
                FeedForward::Dense { gate, up, down } => {
                    self.feed_forward(gate, up, down, scratch);
                    if let Some(probe) = &mut probe {
                        probe.input(index, LinearInput::FeedForward, &scratch.normed, n);
                        probe.input(index, LinearInput::FeedForwardOutput, &scratch.gate, n);
                    }
                }
                FeedForward::Experts(experts) => {
                    self.route(index, experts, scratch);
                    if let Some(probe) = &mut probe {
                        probe.router(index, scratch.experts.router_logits());
                    }
                    self.run_experts(index, experts, scratch)?;
                    if let Some(probe) = &mut probe {
                        probe.input(index, LinearInput::Router, &scratch.normed, n);
                        self.show_experts(index, scratch, &mut **probe);
                    }
                }
            }
            self.add(layer.feed_forward_post_norm.as_deref(), scratch);
        }
        if let Some(probe) = probe {
            self.normalise(Some(&self.norm), scratch);
            probe.hidden(self.layers.len(), &scratch.normed);
        }
        for input in inputs.iter_mut() {
            input.cache.advance(input.tokens.len());
        }
        self.classify(inputs, scratch);
        Ok(())
    }

    /// Weights that somebody has cut off must not be touched.
    fn check_map(&self) -> Result<(), ForwardError> {
        match (&self.mapped, &self.weights_in) {
            (Some(map), WeightsIn::PackedFile(path)) if !map.is_whole() => Err(ForwardError::Weights {
                reason: format!(
                    "the packed file `{}` was cut short while it was in use; start again, it is made anew then",
                    path.display()
                ),
            }),
            _ => Ok(()),
        }
    }

    fn check(&self, inputs: &[Input<'_>]) -> Result<(), ForwardError> {
        let (vocab_size, context) = (self.config.vocab_size, self.context);
        for input in inputs {
            let (n_past, n_tokens) = (input.cache.len(), input.tokens.len());
            if n_tokens == 0 {
                return Err(ForwardError::NoTokens);
            }
            if n_tokens > context.saturating_sub(n_past) {
                return Err(ForwardError::ContextFull {
                    n_past,
                    n_tokens,
                    context,
                });
            }
            if let Some(&id) = input.tokens.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(ForwardError::UnknownToken { id, vocab_size });
            }
        }
        Ok(())
    }

    /// x = rows of the embedding.
    fn embed(&self, inputs: &[Input<'_>], scratch: &mut Scratch) {
        let d = self.config.d_model;
        let tokens = inputs.iter().flat_map(|input| input.tokens);
        resize(
            &mut scratch.x,
            inputs.iter().map(|input| input.tokens.len()).sum::<usize>() * d,
        );
        for (&id, x) in tokens.zip(scratch.x.chunks_exact_mut(d)) {
            self.embedding.row_f32(id as usize, x);
        }
    }

    /// normed = norm(x), or x where the family has no norm here.
    fn normalise(&self, weight: Option<&[f32]>, scratch: &mut Scratch) {
        let Scratch { x, normed, .. } = scratch;
        resize(normed, x.len());
        match weight {
            None => normed.copy_from_slice(x),
            Some(weight) => {
                let d = weight.len();
                for_each_row(&self.pool, normed, d, |i, out| {
                    ops::rms_norm(&x[i * d..(i + 1) * d], weight, self.config.rms_eps, out);
                });
            }
        }
    }

    /// x += norm(projected), or x += projected where the family has no norm here.
    fn add(&self, weight: Option<&[f32]>, scratch: &mut Scratch) {
        let Scratch { x, projected, .. } = scratch;
        let d = self.config.d_model;
        if let Some(weight) = weight {
            for_each_row(&self.pool, projected, d, |_, row| {
                ops::rms_norm_rows(row, weight, self.config.rms_eps)
            });
        }
        for_each_row(&self.pool, x, d, |i, x| {
            ops::add(&projected[i * d..(i + 1) * d], x)
        });
    }

    /// projected = down(silu(gate(normed)) * up(normed)).
    fn feed_forward(&self, gate: &Matrix, up: &Matrix, down: &Matrix, scratch: &mut Scratch) {
        let Scratch {
            normed,
            gate: g,
            up: u,
            projected,
            compute,
            ..
        } = scratch;
        let n = normed.len() / self.config.d_model;
        resize(g, n * gate.rows()); // (T, F)
        resize(u, n * up.rows()); // (T, F)
        resize(projected, n * down.rows()); // (T, D)
        let mut products: [(MatrixRef<'_>, &mut [f32]); 2] = [(gate.as_ref(), g), (up.as_ref(), u)];
        matmul_many(&self.pool, &mut products, normed, n, self.precision, compute);
        self.silu_mul(g, u, gate.rows());
        matmul(
            &self.pool,
            down.as_ref(),
            g,
            n,
            projected,
            self.precision,
            compute,
        );
    }

    /// gate = silu(gate) * up, in rows of `width`.
    fn silu_mul(&self, gate: &mut [f32], up: &[f32], width: usize) {
        for_each_row(&self.pool, gate, width, |i, gate| {
            ops::silu_mul(gate, &up[i * width..(i + 1) * width])
        });
    }

    /// logits = head(norm(x)) for the rows wanted.
    fn classify(&self, inputs: &[Input<'_>], scratch: &mut Scratch) {
        let Scratch {
            x,
            wanted,
            logits,
            compute,
            vocab_size,
            ..
        } = scratch;
        let d = self.config.d_model;
        wanted.clear();
        let mut first = 0;
        for input in inputs {
            let end = first + input.tokens.len();
            let rows = match input.logits {
                WantedLogits::None => end..end,
                WantedLogits::Last => end - 1..end,
                WantedLogits::All => first..end,
            };
            wanted.extend_from_slice(&x[rows.start * d..rows.end * d]);
            first = end;
        }
        ops::rms_norm_rows(wanted, &self.norm, self.config.rms_eps);
        let n = wanted.len() / d;
        *vocab_size = self.config.vocab_size;
        resize(logits, n * *vocab_size);
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        matmul(
            &self.pool,
            head.as_ref(),
            wanted,
            n,
            logits,
            self.precision,
            compute,
        );
    }
}

/// Gives a buffer its length; what it holds is overwritten by the caller.
pub(crate) fn resize(buffer: &mut Vec<f32>, len: usize) {
    buffer.resize(len, 0.0);
}

/// Adds a bias to each row.
pub(crate) fn add_bias(bias: Option<&[f32]>, rows: &mut [f32]) {
    if let Some(bias) = bias {
        rows.chunks_exact_mut(bias.len())
            .for_each(|row| ops::add(bias, row));
    }
}

/// Calls `f` with the number and the values of each row of `width` values; many rows are shared among threads.
pub(crate) fn for_each_row(
    pool: &Pool,
    rows: &mut [f32],
    width: usize,
    f: impl Fn(usize, &mut [f32]) + Sync,
) {
    let n_rows = rows.len().checked_div(width).unwrap_or(0);
    if n_rows < PARALLEL_FROM_ROWS || pool.threads() == 1 {
        return rows
            .chunks_exact_mut(width.max(1))
            .enumerate()
            .for_each(|(i, row)| f(i, row));
    }
    let n_in_part = n_rows.div_ceil(pool.threads() * PARTS_PER_THREAD);
    let parts: Vec<Mutex<&mut [f32]>> = rows.chunks_mut(n_in_part * width).map(Mutex::new).collect();
    pool.for_each_chunk(parts.len(), 1, |range| {
        for part in range {
            let mut part_rows = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
            for (i, row) in part_rows.chunks_exact_mut(width).enumerate() {
                f(part * n_in_part + i, row);
            }
        }
    });
}

#[cfg(test)]
mod tests;
