//! Attention of new queries over cached keys and values, causal or full, with grouped heads.
//!
//! Keys are taken a few tiles at a time with the running maximum and sum of the online softmax (Milakov
//! & Gimelshein 2018; Dao et al. 2022), so no row of scores is ever held whole. Query heads that share a
//! key head are multiplied together. One fork-join covers all sequences of a batch. Sums run over
//! positions in one fixed order, whatever the number of threads.

#![expect(unsafe_code, reason = "threads write disjoint heads of one output")]

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::isa::Isa;
use crate::kernels::{self, Columns, SPAN, TILE_MAX};
use crate::kv::{KvDType, KvLayer};
use crate::lanes;
use crate::matrix::LANES;
use crate::pool::Pool;

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
    isa: Isa,
    out: *mut f32,
}

// SAFETY: `out` is written only through `write_head`, each head of each token by one thread.
unsafe impl Sync for Task<'_> {}

/// What one thread needs while it works.
#[derive(Default)]
struct Buffers {
    /// Results of the rows: `[row][value stride]`.
    acc: Vec<f32>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

fn run(pool: &Pool, tasks: &[Task<'_>]) {
    let units: Vec<usize> = tasks.iter().map(Task::n_units).collect();
    let total: usize = units.iter().sum();
    let next = AtomicUsize::new(0);
    let work = || {
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
    if total <= 1 { work() } else { pool.join_in(&work) }
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
            isa: Isa::active(),
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
            let n = (rows.end - at).min(TILE_MAX);
            let block = RowBlock {
                task: self,
                kv_head,
                per_kv,
                rows: at..at + n,
            };
            match n {
                1 => block.attend::<1>(buffers),
                2..=4 => block.attend::<4>(buffers),
                _ => block.attend::<TILE_MAX>(buffers),
            }
            at += n;
        }
    }
}

/// Up to [`TILE_MAX`] query rows that share a key head. Row `i` is head `i % per_kv` of token
/// `i / per_kv`.
struct RowBlock<'a> {
    task: &'a Task<'a>,
    kv_head: usize,
    per_kv: usize,
    rows: Range<usize>,
}

impl RowBlock<'_> {
    fn attend<const R: usize>(&self, buffers: &mut Buffers) {
        let (head_dim, stride) = (self.task.kv.head_dim(), self.task.kv.value_stride());
        let acc = &mut buffers.acc;
        let q = self.gather_queries::<R>();
        acc.clear();
        acc.resize(R * stride, 0.0);
        let (mut max, mut total) = ([f32::NEG_INFINITY; R], [0.0f32; R]);
        let mut scores = [[0.0f32; SPAN]; R];
        let seen = self.seen(self.rows.end - 1);
        for span in (0..seen).step_by(SPAN) {
            let span = span..(span + SPAN).min(seen);
            self.score(&q, span.clone(), &mut scores);
            for (i, scores) in scores.iter_mut().enumerate() {
                // Rows beyond the last repeat it, so that their arithmetic stays finite.
                let row = (self.rows.start + i).min(self.rows.end - 1);
                let visible = self.seen(row).saturating_sub(span.start).min(span.len());
                let acc = &mut acc[i * stride..(i + 1) * stride];
                soften(
                    &mut scores[..span.len()],
                    visible,
                    &mut max[i],
                    &mut total[i],
                    acc,
                );
            }
            self.add_values(&scores, &span, acc);
        }
        for (i, row) in self.rows.clone().enumerate() {
            let acc = &mut acc[i * stride..][..head_dim];
            let scale = 1.0 / total[i];
            acc.iter_mut().for_each(|v| *v *= scale);
            self.write_head(row, acc);
        }
    }

    /// `scores[r][p] = q[r] · key[span.start + p]`: the columns are the components of sixteen positions.
    fn score<const R: usize>(&self, q: &[[f32; SPAN]; R], span: Range<usize>, scores: &mut [[f32; SPAN]; R]) {
        let first = span.start / LANES;
        let n_tiles = span.end.div_ceil(LANES) - first;
        let mut tile = 0;
        while tile < n_tiles {
            // As many sums at a time as fit in registers.
            tile += match (n_tiles - tile, R) {
                (4.., ..=4) => self.score_tiles::<R, 4>(q, first, tile, scores),
                (2.., _) => self.score_tiles::<R, 2>(q, first, tile, scores),
                _ => self.score_tiles::<R, 1>(q, first, tile, scores),
            };
        }
    }

    fn score_tiles<const R: usize, const G: usize>(
        &self,
        q: &[[f32; SPAN]; R],
        first: usize,
        tile: usize,
        scores: &mut [[f32; SPAN]; R],
    ) -> usize {
        let kv = self.task.kv;
        let groups = std::array::from_fn(|g| kv.keys_from(first + tile + g, self.kv_head));
        let columns = Columns::<G> {
            groups,
            stride: LANES * kv.dtype().size(),
            len: kv.head_dim(),
        };
        let sums = kernels::weigh_columns(self.task.isa, kv.dtype().dtype(), columns, q);
        for (g, sums) in sums.iter().enumerate() {
            let at = (tile + g) * LANES;
            for (scores, sums) in scores.iter_mut().zip(sums) {
                scores[at..at + LANES].copy_from_slice(sums);
            }
        }
        G
    }

    /// `acc[r] += Σ_p weights[r][p] · value[span.start + p]`: the columns are positions.
    fn add_values<const R: usize>(&self, weights: &[[f32; SPAN]; R], span: &Range<usize>, acc: &mut [f32]) {
        let n_parts = self.task.kv.value_stride() / LANES;
        let mut part = 0;
        while part < n_parts {
            part += match (n_parts - part, R) {
                (4.., ..=4) => self.add_parts::<R, 4>(weights, span, part, acc),
                (2.., _) => self.add_parts::<R, 2>(weights, span, part, acc),
                _ => self.add_parts::<R, 1>(weights, span, part, acc),
            };
        }
    }

    fn add_parts<const R: usize, const G: usize>(
        &self,
        weights: &[[f32; SPAN]; R],
        span: &Range<usize>,
        part: usize,
        acc: &mut [f32],
    ) -> usize {
        let kv = self.task.kv;
        let groups = std::array::from_fn(|g| kv.values_from(span.start, self.kv_head, (part + g) * LANES));
        let columns = Columns::<G> {
            groups,
            stride: kv.position_bytes(),
            len: span.len(),
        };
        let sums = kernels::weigh_columns(self.task.isa, kv.dtype().dtype(), columns, weights);
        for (g, sums) in sums.iter().enumerate() {
            for (acc, sums) in acc.chunks_exact_mut(kv.value_stride()).zip(sums) {
                let acc = &mut acc[(part + g) * LANES..][..LANES];
                acc.iter_mut().zip(sums).for_each(|(acc, sum)| *acc += sum);
            }
        }
        G
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

    /// The rows' queries, scaled.
    fn gather_queries<const R: usize>(&self) -> [[f32; SPAN]; R] {
        let mut q = [[0.0; SPAN]; R];
        for (q, row) in q.iter_mut().zip(self.rows.clone()) {
            let head = &self.task.q[self.head_at(row)..][..self.task.kv.head_dim()];
            q.iter_mut().zip(head).for_each(|(q, v)| *q = v * self.task.scale);
        }
        q
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

#[cfg(test)]
mod tests;
