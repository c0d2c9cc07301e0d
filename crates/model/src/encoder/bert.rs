//! The encoder that all of them are: a BERT with norms after each sum (Devlin et al. 2019).
//!
//! Where there are at least as many sequences as threads, each thread takes whole ones: nobody waits for the others, and
//! what a sequence needs stays in its core's cache. Fewer are computed by all threads together, one after another in a
//! batch without padding. A result depends neither on that nor on the sequences beside it.
//!
//! Not here: which file the weights are in, what is encoded, and what becomes of the last layer's states.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use compute::{
    FullAttention, FullScratch, Matrix, MatrixRef, Pool, Precision, attention_full, matmul, matmul_many, ops,
};

use crate::decoder::{add_bias, for_each_row, resize};

/// Tokens computed together: enough to read each weight rarely, little enough to stay in the cache.
const BATCH_TOKENS: usize = 1024;
/// Sequences for each thread whose states are kept until all of them are done.
const KEPT_PER_THREAD: usize = 16;
/// Tokens up to which a call does not wait for the threads while another has them, as a question should not wait for
/// the passages of a document: its own thread computes it.
const SHORT_TOKENS: usize = 1024;

/// A matrix with its bias.
pub(super) struct Linear {
    pub(super) matrix: Matrix,
    pub(super) bias: Vec<f32>,
}

/// Weight and bias of a norm.
pub(super) struct LayerNorm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

pub(super) struct Layer {
    pub(super) query: Linear,  // (D, D)
    pub(super) key: Linear,    // (D, D)
    pub(super) value: Linear,  // (D, D)
    pub(super) output: Linear, // (D, D)
    pub(super) attention_norm: LayerNorm,
    pub(super) up: Linear,   // (F, D)
    pub(super) down: Linear, // (D, F)
    pub(super) output_norm: LayerNorm,
}

/// A token: its word and, where two texts are encoded as one, which of them it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) id: u32,
    pub(super) kind: u32,
}

/// The weights, and the threads that compute with them.
pub(super) struct Bert {
    pub(super) words: Matrix, // (V, D)
    /// For each kind of token its (positions, D), the kind's own vector added.
    pub(super) positions: Vec<Vec<f32>>,
    pub(super) embedding_norm: LayerNorm,
    pub(super) layers: Vec<Layer>,
    pub(super) d_model: usize,
    pub(super) n_heads: usize,
    pub(super) norm_eps: f32,
    pub(super) pool: Pool,
    /// Held by the call that has the threads.
    pub(super) turn: Mutex<()>,
}

/// Buffers of a batch.
#[derive(Default)]
struct Buffers {
    x: Vec<f32>,         // (T, D)
    query: Vec<f32>,     // (T, D)
    key: Vec<f32>,       // (T, D)
    value: Vec<f32>,     // (T, D)
    attended: Vec<f32>,  // (T, D)
    projected: Vec<f32>, // (T, D)
    inner: Vec<f32>,     // (T, F)
    attention: FullScratch,
    compute: compute::Scratch,
}

impl Bert {
    /// Calls `take` with the last layer's states, (T, D), of each sequence in turn. Tokens must be words, kinds and
    /// positions that there are.
    pub(super) fn for_each(&self, sequences: &[Vec<Token>], mut take: impl FnMut(&[f32])) {
        let n_tokens: usize = sequences.iter().map(Vec::len).sum();
        let turn = match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::WouldBlock) if n_tokens <= SHORT_TOKENS => None,
            Err(_) => Some(lock(&self.turn)),
        };
        let mut run = || {
            for some in sequences.chunks(self.pool.threads() * KEPT_PER_THREAD) {
                if some.len() < self.pool.threads() {
                    self.together(some, &mut take);
                } else {
                    self.apart(some, &mut take);
                }
            }
        };
        if turn.is_some() { run() } else { Pool::alone(run) }
    }

    /// All threads compute batches of sequences.
    fn together(&self, sequences: &[Vec<Token>], take: &mut impl FnMut(&[f32])) {
        let mut buffers = Buffers::default();
        let mut start = 0;
        while start < sequences.len() {
            let mut end = start + 1;
            let mut n_tokens = sequences[start].len();
            while end < sequences.len() && n_tokens + sequences[end].len() <= BATCH_TOKENS {
                n_tokens += sequences[end].len();
                end += 1;
            }
            let batch = &sequences[start..end];
            self.encode(batch, &mut buffers);
            let mut rest = &buffers.x[..];
            for sequence in batch {
                let (states, later) = rest.split_at(sequence.len() * self.d_model);
                rest = later;
                take(states);
            }
            start = end;
        }
    }

    /// Each thread computes whole sequences, the long ones first.
    fn apart(&self, sequences: &[Vec<Token>], take: &mut impl FnMut(&[f32])) {
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(sequences[i].len()));
        let states: Vec<Mutex<Vec<f32>>> = sequences.iter().map(|_| Mutex::default()).collect();
        let spare = Mutex::new(Vec::<Buffers>::new());
        self.pool.for_each(order.len(), |at| {
            let i = order[at];
            let mut buffers = lock(&spare).pop().unwrap_or_default();
            self.encode(&sequences[i..=i], &mut buffers);
            *lock(&states[i]) = std::mem::take(&mut buffers.x);
            lock(&spare).push(buffers);
        });
        states.iter().for_each(|states| take(&lock(states)));
    }

    fn encode(&self, batch: &[Vec<Token>], buffers: &mut Buffers) {
        let lengths: Vec<usize> = batch.iter().map(Vec::len).collect();
        self.embed(batch, buffers);
        for layer in &self.layers {
            self.attend(layer, &lengths, buffers);
            self.feed_forward(layer, buffers);
        }
    }

    /// x = norm(word + position + kind).
    fn embed(&self, batch: &[Vec<Token>], buffers: &mut Buffers) {
        let d = self.d_model;
        let tokens: Vec<(usize, Token)> = batch
            .iter()
            .flat_map(|sequence| sequence.iter().copied().enumerate())
            .collect();
        let Buffers { x, projected, .. } = buffers;
        resize(x, tokens.len() * d);
        resize(projected, tokens.len() * d);
        for_each_row(&self.pool, projected, d, |i, sum| {
            let (position, token) = tokens[i];
            self.words.row_f32(token.id as usize, sum);
            let positions = &self.positions[token.kind as usize];
            ops::add(&positions[position * d..(position + 1) * d], sum);
        });
        self.normalise(&self.embedding_norm, projected, x);
    }

    /// x = norm(x + output(attention(x))).
    fn attend(&self, layer: &Layer, lengths: &[usize], buffers: &mut Buffers) {
        let Buffers {
            x,
            query,
            key,
            value,
            attended,
            projected,
            attention,
            compute,
            ..
        } = buffers;
        let (d, n) = (self.d_model, x.len() / self.d_model);
        for buffer in [
            &mut *query,
            &mut *key,
            &mut *value,
            &mut *attended,
            &mut *projected,
        ] {
            resize(buffer, n * d);
        }
        let mut products: [(MatrixRef<'_>, &mut [f32]); 3] = [
            (layer.query.matrix.as_ref(), &mut *query),
            (layer.key.matrix.as_ref(), &mut *key),
            (layer.value.matrix.as_ref(), &mut *value),
        ];
        matmul_many(&self.pool, &mut products, x, n, Precision::Native, compute);
        add_bias(Some(&layer.query.bias), query);
        add_bias(Some(&layer.key.bias), key);
        add_bias(Some(&layer.value.bias), value);
        let head_dim = d / self.n_heads;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let input = FullAttention {
            q: query,
            k: key,
            v: value,
            lengths,
            n_heads: self.n_heads,
            head_dim,
            scale,
        };
        attention_full(&self.pool, &input, attention, attended);
        matmul(
            &self.pool,
            layer.output.matrix.as_ref(),
            attended,
            n,
            projected,
            Precision::Native,
            compute,
        );
        self.add_and_normalise(projected, &layer.output.bias, &layer.attention_norm, x);
    }

    /// x = norm(x + down(gelu(up(x)))).
    fn feed_forward(&self, layer: &Layer, buffers: &mut Buffers) {
        let Buffers {
            x,
            projected,
            inner,
            compute,
            ..
        } = buffers;
        let (n, f) = (x.len() / self.d_model, layer.up.matrix.rows());
        resize(inner, n * f);
        matmul(
            &self.pool,
            layer.up.matrix.as_ref(),
            x,
            n,
            inner,
            Precision::Native,
            compute,
        );
        for_each_row(&self.pool, inner, f, |_, row| {
            ops::add(&layer.up.bias, row);
            ops::gelu_erf(row);
        });
        matmul(
            &self.pool,
            layer.down.matrix.as_ref(),
            inner,
            n,
            projected,
            Precision::Native,
            compute,
        );
        self.add_and_normalise(projected, &layer.down.bias, &layer.output_norm, x);
    }

    /// x = norm(x + projected + bias).
    fn add_and_normalise(&self, projected: &mut [f32], bias: &[f32], norm: &LayerNorm, x: &mut [f32]) {
        let d = self.d_model;
        for_each_row(&self.pool, projected, d, |i, sum| {
            ops::add(&x[i * d..(i + 1) * d], sum);
            ops::add(bias, sum);
        });
        self.normalise(norm, projected, x);
    }

    /// x = norm(sum).
    fn normalise(&self, norm: &LayerNorm, sum: &[f32], x: &mut [f32]) {
        let d = self.d_model;
        for_each_row(&self.pool, x, d, |i, x| {
            ops::layer_norm(
                &sum[i * d..(i + 1) * d],
                &norm.weight,
                &norm.bias,
                self.norm_eps,
                x,
            );
        });
    }
}

/// A panic of another thread leaves nothing half done that is looked at again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
