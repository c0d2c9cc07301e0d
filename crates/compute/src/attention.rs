//! Attention of new queries over cached keys and values, causal or full, with grouped heads.
//!
//! Positions are taken in spans of [`SPAN`]. Each span has a softmax of its own, and spans are merged in
//! their order with the running maximum and sum of the online softmax (Milakov & Gimelshein 2018; Dao et
//! al. 2022), so no row of scores is ever held whole. Query heads that share a key head are multiplied
//! together. One fork-join covers all sequences of a batch.
//!
//! Many tokens are shared among threads by heads and tokens; few tokens of a long sequence by heads and
//! spans, as in Flash-Decoding (Dao et al. 2023), and merged afterwards by the same steps in the same order.
//! What is computed depends on positions alone: not on threads, nor on how a text was cut into steps.

#![expect(unsafe_code, reason = "threads write disjoint parts of one output")]

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::isa::Isa;
use crate::kernels::attention::{Rows, SCALED, SPAN, weigh};
use crate::kv::{KvLayer, PagedKv, Piece};
use crate::lanes;
use crate::matrix::LANES;
use crate::pool::Pool;

/// Tokens of one unit of work, and the most whose spans are shared out.
const TOKENS_PER_UNIT: usize = 16;
/// Rows that are multiplied together at most.
const ROWS_MAX: usize = 8;
/// Values of spans waiting to be merged, at most: 16 MiB.
const PARTIALS_MAX: usize = 4 << 20;

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
    pub kv: KvLayer<'a>,
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
    let mut tasks: Vec<Task<'_>> = jobs.iter_mut().map(|job| Task::new(job, true)).collect();
    run(pool, &mut tasks);
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

/// Memory for keys and values that a caller keeps between calls of [`attention_full`].
#[derive(Debug, Default)]
pub struct FullScratch(Vec<PagedKv>);

/// Attention without a mask within each sequence; `out` is shaped like the queries.
///
/// # Panics
/// If lengths do not fit the shapes.
pub fn attention_full(pool: &Pool, input: &FullAttention<'_>, scratch: &mut FullScratch, out: &mut [f32]) {
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
    let FullScratch(caches) = scratch;
    let owns = lengths.iter().scan(0, |at, n| {
        let start = *at;
        *at += n * width;
        Some(start..*at)
    });
    for (i, own) in owns.clone().enumerate() {
        let n = lengths[i];
        match caches.get_mut(i) {
            Some(kv) => kv.restart_in_one_block(n_heads, head_dim, n),
            None => caches.push(PagedKv::in_one_block(n_heads, head_dim, n)),
        }
        caches[i].push(0, &k[own.clone()], &v[own]);
    }
    let mut rest = out;
    let mut jobs: Vec<AttentionJob<'_>> = Vec::with_capacity(lengths.len());
    for (kv, own) in caches.iter().zip(owns) {
        let (out, later) = rest.split_at_mut(own.len());
        rest = later;
        let kv = kv.layer(0);
        jobs.push(AttentionJob {
            q: &q[own],
            n: kv.len(),
            n_heads,
            kv,
            start: 0,
            scale,
            out,
        });
    }
    let mut tasks: Vec<Task<'_>> = jobs.iter_mut().map(|job| Task::new(job, false)).collect();
    run(pool, &mut tasks);
}

/// A checked job whose output may be written from several threads.
struct Task<'a> {
    q: &'a [f32],
    n: usize,
    n_heads: usize,
    kv: KvLayer<'a>,
    start: usize,
    scale: f32,
    causal: bool,
    isa: Isa,
    out: *mut f32,
    /// Where spans wait to be merged, [`Task::partial_len`] values for each row and span; null where a unit
    /// merges its spans itself.
    partials: *mut f32,
}

// SAFETY: `out` is written only through `write_head`, each head of each token by one thread, and `partials`
// only through `partial`, each row's span by one thread; nobody reads them before all threads are done.
unsafe impl Sync for Task<'_> {}

thread_local! {
    /// Spans that wait to be merged, kept from call to call.
    static PARTIALS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// What a thread computes in.
    static SPACE: RefCell<Box<Space>> = RefCell::new(Box::new(Space::default()));
}

/// Room for the rows that are multiplied together: most of it is wider than what a head or a last span needs, and is
/// neither cleared nor read there.
struct Space {
    queries: Rows<ROWS_MAX>,
    /// Scores of a span, then its weights.
    weights: Rows<ROWS_MAX>,
    /// Weights times the scales of values kept as integers.
    scaled: Rows<ROWS_MAX>,
    values: Rows<ROWS_MAX>,
    merged: [Merged; ROWS_MAX],
}

impl Default for Space {
    fn default() -> Self {
        let zero = [[0.0; SPAN]; ROWS_MAX];
        Self {
            queries: zero,
            weights: zero,
            scaled: zero,
            values: zero,
            merged: [Merged::default(); ROWS_MAX],
        }
    }
}

fn run(pool: &Pool, tasks: &mut [Task<'_>]) {
    PARTIALS.with_borrow_mut(|partials| {
        let lens: Vec<usize> = tasks.iter().map(Task::partials_len).collect();
        let total = lens.iter().sum();
        if partials.len() < total {
            partials.resize(total, 0.0);
        }
        let mut rest = &mut partials[..total];
        for (task, len) in tasks.iter_mut().zip(lens) {
            let (own, later) = rest.split_at_mut(len);
            rest = later;
            if len > 0 {
                task.partials = own.as_mut_ptr();
            }
        }
        run_units(pool, tasks);
        tasks.iter().filter(|task| task.is_split()).for_each(Task::merge);
    });
}

fn run_units(pool: &Pool, tasks: &[Task<'_>]) {
    let units: Vec<usize> = tasks.iter().map(Task::n_units).collect();
    let total: usize = units.iter().sum();
    let next = AtomicUsize::new(0);
    let work = || {
        SPACE.with_borrow_mut(|space| {
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
                tasks[task].unit(unit, space);
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
            partials: std::ptr::null_mut(),
        }
    }

    /// Query heads that share a key head.
    fn per_kv(&self) -> usize {
        self.n_heads / self.kv.n_kv_heads()
    }

    /// Positions that a row may look at.
    fn seen(&self, row: usize) -> usize {
        if self.causal {
            self.start + row / self.per_kv() + 1
        } else {
            self.kv.len()
        }
    }

    /// Spans that the last token sees.
    fn n_spans(&self) -> usize {
        let seen = if self.causal {
            self.start + self.n
        } else {
            self.kv.len()
        };
        seen.div_ceil(SPAN)
    }

    /// Values of a row's span until it is merged: maximum, sum, and the weighted values.
    fn partial_len(&self) -> usize {
        2 + self.kv.head_dim()
    }

    /// Values of all spans that are merged after the units; 0 where units merge them.
    fn partials_len(&self) -> usize {
        let len = self.n * self.n_heads * self.n_spans() * self.partial_len();
        let is_worthwhile = self.n <= TOKENS_PER_UNIT && self.n_spans() > 1 && len <= PARTIALS_MAX;
        if is_worthwhile { len } else { 0 }
    }

    fn is_split(&self) -> bool {
        !self.partials.is_null()
    }

    /// Spans, or blocks of tokens, that each head has units for.
    fn n_parts(&self) -> usize {
        if self.is_split() {
            self.n_spans()
        } else {
            self.n.div_ceil(TOKENS_PER_UNIT)
        }
    }

    fn n_units(&self) -> usize {
        self.kv.n_kv_heads() * self.n_parts()
    }

    /// One key head, and some tokens or one span: neighbouring units read the same keys. The last part,
    /// which sees or is most, comes first.
    fn unit(&self, unit: usize, space: &mut Space) {
        let (kv_head, part) = (unit / self.n_parts(), unit % self.n_parts());
        let part = self.n_parts() - 1 - part;
        let (tokens, spans) = if self.is_split() {
            (0..self.n, part..part + 1)
        } else {
            let tokens = part * TOKENS_PER_UNIT..((part + 1) * TOKENS_PER_UNIT).min(self.n);
            (tokens, 0..self.n_spans())
        };
        // A row is one token's head; rows of neighbouring tokens see almost the same positions.
        let rows: Range<usize> = tokens.start * self.per_kv()..tokens.end * self.per_kv();
        let mut at = rows.start;
        while at < rows.end {
            let n = (rows.end - at).min(ROWS_MAX);
            let block = RowBlock {
                task: self,
                kv_head,
                rows: at..at + n,
            };
            match n {
                1 => block.attend::<1>(spans.clone(), space),
                2 => block.attend::<2>(spans.clone(), space),
                3..=4 => block.attend::<4>(spans.clone(), space),
                _ => block.attend::<ROWS_MAX>(spans.clone(), space),
            }
            at += n;
        }
    }

    /// Where a row's head starts in queries and results.
    fn head_at(&self, kv_head: usize, row: usize) -> usize {
        let head = kv_head * self.per_kv() + row % self.per_kv();
        (row / self.per_kv() * self.n_heads + head) * self.kv.head_dim()
    }

    /// Where a row's span waits to be merged.
    fn partial(&self, kv_head: usize, row: usize, span: usize) -> *mut f32 {
        let head = self.head_at(kv_head, row) / self.kv.head_dim();
        let at = (head * self.n_spans() + span) * self.partial_len();
        // SAFETY: there is room for each head of each token in each span, as `partials_len` counted.
        unsafe { self.partials.add(at) }
    }

    /// Merges the spans of all rows, once all units are done.
    fn merge(&self) {
        let mut sum = Merged::default();
        for kv_head in 0..self.kv.n_kv_heads() {
            for row in 0..self.n * self.per_kv() {
                sum.restart(self.kv.head_dim());
                for span in 0..self.seen(row).div_ceil(SPAN) {
                    let at = self.partial(kv_head, row, span);
                    // SAFETY: `partial` points to as many values, which a unit has written and nobody writes
                    // any more.
                    let partial = unsafe { std::slice::from_raw_parts(at, self.partial_len()) };
                    sum.add(partial[0], partial[1], &partial[2..]);
                }
                self.write_head(kv_head, row, sum.finish(self.kv.head_dim()));
            }
        }
    }

    fn write_head(&self, kv_head: usize, row: usize, values: &[f32]) {
        let at = self.head_at(kv_head, row);
        // SAFETY: `head_at` of a row below `n * per_kv` and `head_dim` values lie inside the output,
        // whose length `Task::new` checked.
        let to = unsafe { self.out.add(at) };
        // SAFETY: in bounds as above; this unit alone owns its rows, and `values` lies elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, values.len()) };
    }
}

/// The spans of a row so far: what a softmax over all of them needs.
#[derive(Debug, Clone, Copy)]
struct Merged {
    max: f32,
    total: f32,
    values: [f32; SPAN],
}

impl Default for Merged {
    fn default() -> Self {
        Self {
            max: f32::NEG_INFINITY,
            total: 0.0,
            values: [0.0; SPAN],
        }
    }
}

impl Merged {
    /// Of no spans yet, for `n` components.
    fn restart(&mut self, n: usize) {
        self.max = f32::NEG_INFINITY;
        self.total = 0.0;
        self.values[..n].fill(0.0);
    }

    /// Adds a span: its maximum, its sum of weights and its weighted values.
    fn add(&mut self, max: f32, total: f32, values: &[f32]) {
        let new_max = self.max.max(max);
        let fade = |max: f32| {
            if max == f32::NEG_INFINITY {
                0.0
            } else {
                (max - new_max).exp()
            }
        };
        let (own, theirs) = (fade(self.max), fade(max));
        self.total = self.total * own + total * theirs;
        lanes::blend(own, &mut self.values[..values.len()], theirs, values);
        self.max = new_max;
    }

    /// The weighted mean of the first `n` components.
    fn finish(&mut self, n: usize) -> &[f32] {
        let scale = 1.0 / self.total;
        self.values[..n].iter_mut().for_each(|v| *v *= scale);
        &self.values[..n]
    }
}

/// Up to [`ROWS_MAX`] query rows that share a key head. Row `i` is head `i % per_kv` of token `i / per_kv`.
struct RowBlock<'a> {
    task: &'a Task<'a>,
    kv_head: usize,
    rows: Range<usize>,
}

impl RowBlock<'_> {
    fn attend<const R: usize>(&self, spans: Range<usize>, space: &mut Space) {
        let head_dim = self.task.kv.head_dim();
        let q = first_rows::<R>(&mut space.queries);
        let weights = first_rows::<R>(&mut space.weights);
        let scaled = first_rows::<R>(&mut space.scaled);
        let values = first_rows::<R>(&mut space.values);
        self.gather_queries(q);
        let merged = &mut space.merged[..self.rows.len()];
        merged.iter_mut().for_each(|merged| merged.restart(head_dim));
        let seen = self.task.seen(self.rows.end - 1);
        for span in spans {
            let positions = span * SPAN..((span + 1) * SPAN).min(seen);
            if positions.is_empty() {
                break;
            }
            self.score(q, positions.clone(), weights);
            let softmax = self.soften(positions.clone(), weights);
            self.add_values(weights, positions, scaled, values);
            for (i, row) in self.rows.clone().enumerate() {
                let Some((max, total)) = softmax[i] else {
                    continue;
                };
                let values = &values[i][..head_dim];
                if self.task.is_split() {
                    self.write_partial(row, span, max, total, values);
                } else {
                    merged[i].add(max, total, values);
                }
            }
        }
        if !self.task.is_split() {
            for (merged, row) in merged.iter_mut().zip(self.rows.clone()) {
                self.task.write_head(self.kv_head, row, merged.finish(head_dim));
            }
        }
    }

    /// `scores[r][p] = q[r] · key[positions.start + p]`.
    fn score<const R: usize>(&self, q: &Rows<R>, positions: Range<usize>, scores: &mut Rows<R>) {
        let n = positions.len().next_multiple_of(LANES);
        scores.iter_mut().for_each(|scores| scores[..n].fill(0.0));
        for (at, piece) in self.pieces(positions) {
            weigh(self.task.isa, piece.keys(), q, 0, scores, at);
        }
    }

    /// Turns scores into weights `e^(score - max)`, those not visible into 0. Gives each row's maximum and
    /// sum; `None` for rows that see nothing of this span.
    fn soften<const R: usize>(
        &self,
        positions: Range<usize>,
        scores: &mut Rows<R>,
    ) -> [Option<(f32, f32)>; R] {
        let mut out = [None; R];
        for (i, (scores, out)) in scores.iter_mut().zip(&mut out).enumerate() {
            // Rows beyond the last repeat it, so that their arithmetic stays finite.
            let row = (self.rows.start + i).min(self.rows.end - 1);
            let visible = self.task.seen(row).saturating_sub(positions.start);
            let (seen, hidden) = scores[..positions.len()].split_at_mut(visible.min(positions.len()));
            hidden.fill(0.0);
            if !seen.is_empty() {
                let max = lanes::max(seen);
                *out = Some((max, lanes::exp_minus(seen, max)));
            }
        }
        out
    }

    /// `values[r] = Σ_p weights[r][p] · value[positions.start + p]`; `scaled` is room for weights.
    fn add_values<const R: usize>(
        &self,
        weights: &Rows<R>,
        positions: Range<usize>,
        scaled: &mut Rows<R>,
        values: &mut Rows<R>,
    ) {
        let isa = self.task.isa;
        let n = self.task.kv.head_dim().next_multiple_of(LANES);
        values.iter_mut().for_each(|values| values[..n].fill(0.0));
        for (at, piece) in self.pieces(positions) {
            let columns = piece.values();
            let Some(first_scales) = piece.value_scales(0) else {
                weigh(isa, columns, weights, at, values, 0);
                continue;
            };
            let mut scales = Some(first_scales);
            let mut part = 0;
            while let Some(of_part) = scales {
                // The scale of a position goes to its weight: one product for 32 components.
                for (scaled, weights) in scaled.iter_mut().zip(weights) {
                    lanes::mul_bytes(&weights[at..], of_part, &mut scaled[at..]);
                }
                let first = part * SCALED / LANES;
                let mut columns = columns;
                columns.bytes = &columns.bytes[first * columns.group_bytes..];
                columns.n_groups = (columns.n_groups - first).min(SCALED / LANES);
                weigh(isa, columns, scaled, at, values, first * LANES);
                part += 1;
                scales = piece.value_scales(part);
            }
        }
    }

    /// The blocks' parts of `positions`, each with where it starts among them.
    fn pieces(&self, positions: Range<usize>) -> impl Iterator<Item = (usize, Piece<'_>)> {
        let mut at = positions.start;
        std::iter::from_fn(move || {
            (at < positions.end).then(|| {
                let piece = self.task.kv.piece(self.kv_head, at..positions.end);
                let start = at - positions.start;
                at += piece.len();
                (start, piece)
            })
        })
    }

    /// The rows' queries, scaled; 0 beyond the last.
    fn gather_queries<const R: usize>(&self, q: &mut Rows<R>) {
        let head_dim = self.task.kv.head_dim();
        for (q, row) in q.iter_mut().zip(self.rows.start..) {
            if row >= self.rows.end {
                q[..head_dim].fill(0.0);
                continue;
            }
            let head = &self.task.q[self.task.head_at(self.kv_head, row)..][..head_dim];
            q.iter_mut().zip(head).for_each(|(q, v)| *q = v * self.task.scale);
        }
    }

    fn write_partial(&self, row: usize, span: usize, max: f32, total: f32, values: &[f32]) {
        let to = self.task.partial(self.kv_head, row, span);
        // SAFETY: `partial` points to room for two numbers and the values of a head, which this unit alone
        // writes.
        unsafe {
            to.write(max);
            to.add(1).write(total);
            std::ptr::copy_nonoverlapping(values.as_ptr(), to.add(2), values.len());
        }
    }
}

/// The first `R` of all rows there is room for.
fn first_rows<const R: usize>(rows: &mut Rows<ROWS_MAX>) -> &mut Rows<R> {
    rows.first_chunk_mut().expect("no block has more rows")
}

#[cfg(test)]
mod tests;
