//! Attention of new queries over cached keys and values, causal or full, with grouped heads.
//!
//! Keys are taken a few tiles at a time with the running maximum and sum of the online softmax (Milakov
//! & Gimelshein 2018; Dao et al. 2022), so no row of scores is ever held whole. Query heads that share a
//! key head are multiplied together. One fork-join covers all sequences of a batch. Sums run over
//! positions in one fixed order, whatever the number of threads.

#![expect(
    unsafe_code,
    reason = "threads write disjoint heads of one output, kernels under a proof token"
)]

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kv::{KvDType, KvLayer, Store};
use crate::lanes::{self, LANES, fma, per_isa};
use crate::pool::Pool;

/// Positions whose scores are held at a time.
const CHUNK: usize = 128;
/// Query rows that are multiplied together.
const ROWS_MAX: usize = 8;
/// Tokens of one unit of work.
const TOKENS_PER_UNIT: usize = 16;

/// The new queries of one sequence.
#[derive(Debug)]
pub struct AttentionJob<'a> {
    /// Queries `[n][n_heads][head_dim]`, rotated already.
    pub q: &'a [f32],
    /// New tokens.
    pub n: usize,
    /// Query heads, a multiple of the cache's heads.
    pub n_heads: usize,
    /// Keys and values, those of the new tokens included.
    pub kv: &'a KvLayer,
    /// Position of the first new token; query `i` sees positions `0..=start + i`.
    pub start: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Results `[n][n_heads][head_dim]`.
    pub out: &'a mut [f32],
}

/// Causal attention for several sequences in one fork-join.
///
/// # Panics
/// If lengths do not fit the shapes, or a query's own position is not in the cache.
pub fn attention(pool: &Pool, jobs: &mut [AttentionJob<'_>]) {
    let tasks: Vec<Task<'_>> = jobs.iter_mut().map(|job| Task::new(job, true)).collect();
    run(pool, &tasks);
}

/// A batch of sequences whose tokens all see each other, as in an encoder.
#[derive(Debug, Clone, Copy)]
pub struct FullAttention<'a> {
    /// Queries `[tokens of all sequences][n_heads][head_dim]`.
    pub q: &'a [f32],
    /// Keys, shaped alike.
    pub k: &'a [f32],
    /// Values, shaped alike.
    pub v: &'a [f32],
    /// Tokens of each sequence; they follow one another.
    pub lengths: &'a [usize],
    /// Heads.
    pub n_heads: usize,
    /// Components of a head.
    pub head_dim: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
}

/// Attention without a mask within each sequence; `out` is shaped like the queries.
///
/// # Panics
/// If lengths do not fit the shapes.
pub fn attention_full(pool: &Pool, input: &FullAttention<'_>, out: &mut [f32]) {
    let FullAttention {
        q,
        k,
        v,
        lengths,
        n_heads,
        head_dim,
        scale,
    } = *input;
    let width = n_heads * head_dim;
    let total = lengths.iter().sum::<usize>() * width;
    assert!(
        [q.len(), k.len(), v.len(), out.len()] == [total; 4],
        "{total} values each"
    );
    let mut layers = Vec::with_capacity(lengths.len());
    let mut at = 0;
    for &n in lengths {
        let own = at..at + n * width;
        let mut kv = KvLayer::new(KvDType::F32, n_heads, head_dim, n);
        kv.push(&k[own.clone()], &v[own.clone()]);
        layers.push((kv, own.clone()));
        at = own.end;
    }
    let mut rest = out;
    let mut jobs: Vec<AttentionJob<'_>> = Vec::with_capacity(layers.len());
    for (kv, own) in &layers {
        let (out, later) = rest.split_at_mut(own.len());
        rest = later;
        jobs.push(AttentionJob {
            q: &q[own.clone()],
            n: kv.len(),
            n_heads,
            kv,
            start: 0,
            scale,
            out,
        });
    }
    let tasks: Vec<Task<'_>> = jobs.iter_mut().map(|job| Task::new(job, false)).collect();
    run(pool, &tasks);
}

/// A checked job whose output may be written from several threads.
struct Task<'a> {
    q: &'a [f32],
    n: usize,
    n_heads: usize,
    kv: &'a KvLayer,
    start: usize,
    scale: f32,
    causal: bool,
    out: *mut f32,
}

// SAFETY: `out` is written only through `write_head`, each head of each token by one thread.
unsafe impl Sync for Task<'_> {}

/// What one thread needs while it works.
#[derive(Default)]
struct Buffers {
    /// Query rows, transposed: `[head_dim][rows]`.
    q: Vec<f32>,
    /// Keys of a chunk: `[tile][head_dim][LANES]`.
    keys: Vec<f32>,
    /// Values of a chunk: `[position][stride]`.
    values: Vec<f32>,
    /// Results of the rows: `[row][stride]`.
    acc: Vec<f32>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

fn run(pool: &Pool, tasks: &[Task<'_>]) {
    let units: Vec<usize> = tasks.iter().map(Task::n_units).collect();
    let total: usize = units.iter().sum();
    let next = AtomicUsize::new(0);
    let work = |_: usize, _: usize| {
        BUFFERS.with_borrow_mut(|buffers| {
            loop {
                let mut unit = next.fetch_add(1, Ordering::Relaxed);
                if unit >= total {
                    return;
                }
                let mut task = 0;
                while unit >= units[task] {
                    unit -= units[task];
                    task += 1;
                }
                tasks[task].unit(unit, buffers);
            }
        });
    };
    if total <= 1 { work(0, 1) } else { pool.run(&work) }
}

impl<'a> Task<'a> {
    fn new(job: &'a mut AttentionJob<'_>, causal: bool) -> Self {
        let AttentionJob {
            q,
            n,
            n_heads,
            kv,
            start,
            scale,
            ref mut out,
        } = *job;
        let width = n_heads * kv.head_dim();
        assert!(
            q.len() == n * width && out.len() == n * width,
            "{n} tokens of {width} values"
        );
        assert!(
            n_heads.is_multiple_of(kv.n_kv_heads().max(1)),
            "{n_heads} heads share {}",
            kv.n_kv_heads()
        );
        assert!(
            start + n <= kv.len(),
            "queries up to {} but keys up to {}",
            start + n,
            kv.len()
        );
        Self {
            q,
            n,
            n_heads,
            kv,
            start,
            scale,
            causal,
            out: out.as_mut_ptr(),
        }
    }

    fn n_units(&self) -> usize {
        self.n.div_ceil(TOKENS_PER_UNIT) * self.kv.n_kv_heads()
    }

    /// One key head and some tokens. The last tokens, which see most, come first.
    fn unit(&self, unit: usize, buffers: &mut Buffers) {
        let (block, kv_head) = (unit / self.kv.n_kv_heads(), unit % self.kv.n_kv_heads());
        let block = self.n.div_ceil(TOKENS_PER_UNIT) - 1 - block;
        let tokens = block * TOKENS_PER_UNIT..((block + 1) * TOKENS_PER_UNIT).min(self.n);
        let per_kv = self.n_heads / self.kv.n_kv_heads();
        // A row is one token's head; rows of neighbouring tokens see almost the same positions.
        let rows: Range<usize> = tokens.start * per_kv..tokens.end * per_kv;
        let mut at = rows.start;
        while at < rows.end {
            let n = (rows.end - at).min(ROWS_MAX);
            let block = RowBlock {
                task: self,
                kv_head,
                per_kv,
                rows: at..at + n,
            };
            match n {
                1 => block.attend::<1>(buffers),
                2..=4 => block.attend::<4>(buffers),
                _ => block.attend::<ROWS_MAX>(buffers),
            }
            at += n;
        }
    }
}

/// Up to [`ROWS_MAX`] query rows that share a key head. Row `i` is head `i % per_kv` of token
/// `i / per_kv`.
struct RowBlock<'a> {
    task: &'a Task<'a>,
    kv_head: usize,
    per_kv: usize,
    rows: Range<usize>,
}

impl RowBlock<'_> {
    fn attend<const R: usize>(&self, buffers: &mut Buffers) {
        let (kv, stride) = (self.task.kv, self.task.kv.value_stride());
        self.gather_queries::<R>(&mut buffers.q);
        buffers.acc.clear();
        buffers.acc.resize(R * stride, 0.0);
        let (mut max, mut total) = ([f32::NEG_INFINITY; R], [0.0f32; R]);
        let mut scores = [[0.0f32; CHUNK]; R];
        let seen = self.seen(self.rows.end - 1);
        for chunk in (0..seen).step_by(CHUNK) {
            let chunk = chunk..(chunk + CHUNK).min(seen);
            self.load_chunk(chunk.clone(), buffers);
            let Buffers { q, keys, values, acc } = &mut *buffers;
            score_tiles::<R>(q, keys, kv.head_dim(), &mut scores);
            for (i, scores) in scores.iter_mut().enumerate() {
                // Rows beyond the last repeat it, so that their arithmetic stays finite.
                let row = (self.rows.start + i).min(self.rows.end - 1);
                let visible = self.seen(row).saturating_sub(chunk.start).min(chunk.len());
                let acc = &mut acc[i * stride..(i + 1) * stride];
                soften(
                    &mut scores[..chunk.len()],
                    visible,
                    &mut max[i],
                    &mut total[i],
                    acc,
                );
            }
            add_values::<R>(&scores, values, stride, chunk.len(), acc);
        }
        for (i, row) in self.rows.clone().enumerate() {
            let acc = &mut buffers.acc[i * stride..][..kv.head_dim()];
            let scale = 1.0 / total[i];
            acc.iter_mut().for_each(|v| *v *= scale);
            self.write_head(row, acc);
        }
    }

    /// Positions that a row may look at.
    fn seen(&self, row: usize) -> usize {
        if self.task.causal {
            self.task.start + row / self.per_kv + 1
        } else {
            self.task.kv.len()
        }
    }

    /// Where a row's head starts in queries and results.
    fn head_at(&self, row: usize) -> usize {
        let head = self.kv_head * self.per_kv + row % self.per_kv;
        (row / self.per_kv * self.task.n_heads + head) * self.task.kv.head_dim()
    }

    fn gather_queries<const R: usize>(&self, q: &mut Vec<f32>) {
        let head_dim = self.task.kv.head_dim();
        q.clear();
        q.resize(head_dim * R, 0.0);
        for (i, row) in self.rows.clone().enumerate() {
            let head = &self.task.q[self.head_at(row)..][..head_dim];
            for (d, v) in head.iter().enumerate() {
                q[d * R + i] = v * self.task.scale;
            }
        }
    }

    /// Brings keys and values of some positions into f32, contiguous.
    fn load_chunk(&self, positions: Range<usize>, buffers: &mut Buffers) {
        let kv = self.task.kv;
        let (tile_len, stride) = (kv.head_dim() * LANES, kv.value_stride());
        let tiles = positions.start / LANES..positions.end.div_ceil(LANES);
        buffers.keys.resize(tiles.len() * tile_len, 0.0);
        for (tile, to) in tiles.zip(buffers.keys.chunks_exact_mut(tile_len.max(1))) {
            copy(kv.keys(), kv.key_tile(tile, self.kv_head), to);
        }
        buffers.values.resize(positions.len() * stride, 0.0);
        for (position, to) in positions.zip(buffers.values.chunks_exact_mut(stride.max(1))) {
            copy(
                kv.values(),
                (position * kv.n_kv_heads() + self.kv_head) * stride,
                to,
            );
        }
    }

    fn write_head(&self, row: usize, values: &[f32]) {
        let at = self.head_at(row);
        // SAFETY: `head_at` of a row below `n * per_kv` and `head_dim` values lie inside the output,
        // whose length `Task::new` checked.
        let to = unsafe { self.task.out.add(at) };
        // SAFETY: in bounds as above; this unit alone owns its rows, and `values` is a thread's buffer.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, values.len()) };
    }
}

fn copy(from: &Store, at: usize, to: &mut [f32]) {
    match from {
        Store::F32(v) => to.copy_from_slice(&v[at..at + to.len()]),
        Store::F16(v) => lanes::widen(&v[at..at + to.len()], to),
    }
}

/// Turns scores into weights `e^(score - max)`, those not visible into 0, and scales what was summed
/// under a smaller maximum.
fn soften(scores: &mut [f32], visible: usize, max: &mut f32, total: &mut f32, acc: &mut [f32]) {
    let (seen, hidden) = scores.split_at_mut(visible);
    hidden.fill(0.0);
    let new_max = lanes::max(seen).max(*max);
    if new_max > *max {
        let fade = if *max == f32::NEG_INFINITY {
            0.0
        } else {
            (*max - new_max).exp()
        };
        *total *= fade;
        acc.iter_mut().for_each(|v| *v *= fade);
        *max = new_max;
    }
    *total += lanes::exp_minus(seen, *max);
}

per_isa! {
    /// `scores[r][p] = Σ_d q[d][r] · keys[p / 16][d][p % 16]`.
    fn score_tiles<const R: usize>(q: &[f32], keys: &[f32], head_dim: usize, scores: &mut [[f32; CHUNK]; R]) = score_body;
}

#[inline(always)]
fn score_body<const FMA: bool, const R: usize>(
    q: &[f32],
    keys: &[f32],
    head_dim: usize,
    scores: &mut [[f32; CHUNK]; R],
) {
    let q = q.as_chunks::<R>().0;
    for (tile_idx, tile) in keys.chunks_exact(head_dim * LANES).enumerate() {
        let mut sums = [[0.0f32; LANES]; R];
        for (k, q) in tile.as_chunks::<LANES>().0.iter().zip(q) {
            for r in 0..R {
                for lane in 0..LANES {
                    sums[r][lane] = fma::<FMA>(q[r], k[lane], sums[r][lane]);
                }
            }
        }
        for r in 0..R {
            scores[r][tile_idx * LANES..(tile_idx + 1) * LANES].copy_from_slice(&sums[r]);
        }
    }
}

per_isa! {
    /// `acc[r] += Σ_p weights[r][p] · values[p]`.
    fn add_values<const R: usize>(weights: &[[f32; CHUNK]; R], values: &[f32], stride: usize, n: usize, acc: &mut [f32]) = add_values_body;
}

#[inline(always)]
fn add_values_body<const FMA: bool, const R: usize>(
    weights: &[[f32; CHUNK]; R],
    values: &[f32],
    stride: usize,
    n: usize,
    acc: &mut [f32],
) {
    for at in (0..stride).step_by(LANES) {
        let mut sums = [[0.0f32; LANES]; R];
        for (p, value) in values.chunks_exact(stride).take(n.min(CHUNK)).enumerate() {
            let Some(v) = value[at..].first_chunk::<LANES>() else {
                return;
            };
            for r in 0..R {
                for lane in 0..LANES {
                    sums[r][lane] = fma::<FMA>(weights[r][p], v[lane], sums[r][lane]);
                }
            }
        }
        for r in 0..R {
            for (acc, sum) in acc[r * stride + at..].iter_mut().zip(&sums[r]) {
                *acc += sum;
            }
        }
    }
}

#[cfg(test)]
mod tests;
