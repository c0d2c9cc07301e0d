//! Matrix products: how the work of one or many is cut and shared, not how it is multiplied.
//!
//! `out[t][r] = Σ_c w[r][c] · x[t][c]`. Activations are brought once per call into the form the kernels
//! read, shared by all jobs with the same `x`; then threads take runs of row groups from one counter, long
//! ones first and ever shorter ones towards the end (guided self-scheduling, Polychronopoulos & Kuck 1987),
//! so that a call with many products (the experts of a token) costs a single fork-join and all threads end
//! at about the same time.

#![expect(unsafe_code, reason = "threads write disjoint rows of one output")]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::blocks::BLOCK;
use crate::isa::Isa;
use crate::kernels::{self, ActBlock, Rows, Sums, TILE_MAX};
use crate::matrix::{LANES, MatrixRef};
use crate::pool::Pool;

/// Arithmetic of the matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Activations quantised to int8 blocks of 32 where the weights are quantised: fast.
    #[default]
    Native,
    /// Weights dequantised to f32, f32 sums: the reference.
    F32,
}

/// One product among several: `out` (`n` × rows) becomes `x` (`n` × cols) times `w` transposed.
#[derive(Debug)]
pub struct Job<'a> {
    /// Weights.
    pub w: MatrixRef<'a>,
    /// Activations, `n` rows of `w.cols()`.
    pub x: &'a [f32],
    /// Tokens.
    pub n: usize,
    /// Which row of `x` each token reads; `None`: its own. Rows that several jobs read are prepared once.
    pub rows: Option<&'a [u32]>,
    /// Results, `n` rows of `w.rows()`.
    pub out: &'a mut [f32],
}

/// Buffers that a caller keeps between products, and the instruction set to use.
#[derive(Debug)]
pub struct Scratch {
    isa: Isa,
    /// Quantised rows `[row][block]`, from which jobs with [`Job::rows`] take theirs.
    plain: Vec<ActBlock>,
    acts: Vec<ActBlock>,
    floats: Vec<f32>,
    inputs: Vec<Input>,
    plans: Vec<Plan>,
}

/// One distinct activation matrix, prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Input {
    /// Addresses and lengths tell whether two jobs read the same activations.
    x: (usize, usize),
    rows: Option<(usize, usize)>,
    cols: usize,
    native: bool,
    /// Start in `acts` or `floats`.
    at: usize,
}

/// One job's share of the work.
#[derive(Debug, Clone, Copy)]
struct Plan {
    input: Input,
    /// Row groups of all jobs up to and with this one.
    groups_end: usize,
}

/// Weight bytes below which handing out a run of groups costs more than balance gains.
const RUN_BYTES_MIN: usize = 32 << 10;
/// A thread takes what is left, divided by the number of threads and by this: what a slow core has taken
/// last then holds up the others but little.
const RUN_DIVISOR: usize = 3;
/// Bytes of prepared activations that are multiplied with a group before the next group: they should
/// stay in the second-level cache.
const INPUT_BYTES_MAX: usize = 256 << 10;
/// Activations from which preparing them is worth a fork-join.
const PREPARE_PARALLEL_FROM: usize = 16 << 10;

impl Scratch {
    /// Empty buffers, kernels of [`Isa::active`].
    pub fn new() -> Self {
        Self::with_isa(Isa::active())
    }

    /// Empty buffers, kernels of `isa`.
    pub fn with_isa(isa: Isa) -> Self {
        Self {
            isa,
            plain: Vec::new(),
            acts: Vec::new(),
            floats: Vec::new(),
            inputs: Vec::new(),
            plans: Vec::new(),
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// `out` (`n` × `w.rows()`) = `x` (`n` × `w.cols()`) · `w` transposed.
///
/// # Panics
/// If the lengths do not fit the shapes.
pub fn matmul(
    pool: &Pool,
    w: MatrixRef<'_>,
    x: &[f32],
    n: usize,
    out: &mut [f32],
    precision: Precision,
    scratch: &mut Scratch,
) {
    let rows = None;
    matmul_jobs(pool, &mut [Job { w, x, n, rows, out }], precision, scratch);
}

/// Several matrices times the same `x`: one preparation of `x`, one fork-join.
///
/// # Panics
/// As [`matmul`].
pub fn matmul_many(
    pool: &Pool,
    products: &mut [(MatrixRef<'_>, &mut [f32])],
    x: &[f32],
    n: usize,
    precision: Precision,
    scratch: &mut Scratch,
) {
    let mut jobs: Vec<Job<'_>> = products
        .iter_mut()
        .map(|(w, out)| Job {
            w: *w,
            x,
            n,
            rows: None,
            out,
        })
        .collect();
    matmul_jobs(pool, &mut jobs, precision, scratch);
}

/// Independent products in one fork-join. Jobs whose `x` is the same slice share its preparation.
///
/// # Panics
/// As [`matmul`].
pub fn matmul_jobs(pool: &Pool, jobs: &mut [Job<'_>], precision: Precision, scratch: &mut Scratch) {
    jobs.iter().for_each(check);
    prepare(pool, jobs, precision, scratch);
    let (n_groups, run_min) = plan(jobs, scratch);
    let jobs: Vec<(MatrixRef<'_>, usize, OutPtr<'_>)> = jobs
        .iter_mut()
        .map(|job| (job.w, job.n, OutPtr::new(job)))
        .collect();
    let scratch = &*scratch;
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(run) = take_run(&next, n_groups, run_min, pool.threads()) {
            multiply_run(scratch, &jobs, run);
        }
    };
    if n_groups <= run_min {
        work()
    } else {
        pool.join_in(&work)
    }
}

/// The next run of groups for a thread; `None` when all are taken.
fn take_run(next: &AtomicUsize, n_groups: usize, run_min: usize, n_threads: usize) -> Option<Range<usize>> {
    let mut start = next.load(Ordering::Relaxed);
    loop {
        let left = n_groups.checked_sub(start).filter(|left| *left > 0)?;
        let run = (left / (n_threads * RUN_DIVISOR)).max(run_min).min(left);
        match next.compare_exchange_weak(start, start + run, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(start..start + run),
            Err(now) => start = now,
        }
    }
}

/// Multiplies a run of groups, which may end in another job than it begins.
fn multiply_run(scratch: &Scratch, jobs: &[(MatrixRef<'_>, usize, OutPtr<'_>)], mut run: Range<usize>) {
    let mut idx = scratch.plans.partition_point(|plan| plan.groups_end <= run.start);
    while !run.is_empty() {
        let ((w, n, out), plan) = (&jobs[idx], scratch.plans[idx]);
        let end = run.end.min(plan.groups_end);
        if run.start < end {
            let all = group_range(*w);
            let before = plan.groups_end - all.len();
            let share = all.start + run.start - before..all.start + end - before;
            let then = if end < run.end {
                first_group(&jobs[idx + 1..])
            } else {
                &[]
            };
            multiply(scratch, plan.input, *w, *n, (share, then), out);
        }
        (run.start, idx) = (end, idx + 1);
    }
}

/// The group with which work goes on.
fn first_group<'a>(jobs: &[(MatrixRef<'a>, usize, OutPtr<'_>)]) -> &'a [u8] {
    let next = jobs.iter().find(|(w, n, _)| *n > 0 && w.rows() > 0);
    next.map_or(&[], |(w, ..)| {
        let first = w.first() / LANES;
        w.matrix().groups(first..first + 1)
    })
}

fn check(job: &Job<'_>) {
    let (rows, cols) = (job.w.rows(), job.w.cols());
    match job.rows {
        None => assert_eq!(
            job.x.len(),
            job.n * cols,
            "activations of {} tokens and {cols} columns",
            job.n
        ),
        Some(of_x) => {
            assert_eq!(of_x.len(), job.n, "one row of activations for each token");
            let there = job.x.len() / cols.max(1);
            assert!(
                of_x.iter().all(|row| (*row as usize) < there),
                "rows of {there} rows of activations"
            );
        }
    }
    assert_eq!(
        job.out.len(),
        job.n * rows,
        "results of {} tokens and {rows} rows",
        job.n
    );
}

/// Groups that hold the rows of `w`.
fn group_range(w: MatrixRef<'_>) -> Range<usize> {
    w.first() / LANES..(w.first() + w.rows()).div_ceil(LANES)
}

/// Numbers the groups of all jobs; returns how many there are and the shortest run worth handing out.
fn plan(jobs: &[Job<'_>], scratch: &mut Scratch) -> (usize, usize) {
    let (mut groups_end, mut group_bytes) = (0, 1);
    for (job, plan) in jobs.iter().zip(&mut scratch.plans) {
        if job.n > 0 && job.w.rows() > 0 {
            groups_end += group_range(job.w).len();
            group_bytes = group_bytes.max(job.w.matrix().group_bytes());
        }
        plan.groups_end = groups_end;
    }
    (groups_end, (RUN_BYTES_MIN / group_bytes).max(1))
}

/// Brings the activations of every job into kernel form and notes in `plans` where they are.
fn prepare(pool: &Pool, jobs: &[Job<'_>], precision: Precision, scratch: &mut Scratch) {
    let Scratch {
        isa,
        plain,
        acts,
        floats,
        inputs,
        plans,
    } = scratch;
    inputs.clear();
    plans.clear();
    let (mut n_acts, mut n_floats, mut works) = (0, 0, Vec::new());
    for job in jobs {
        let wanted = Input {
            x: (job.x.as_ptr() as usize, job.x.len()),
            rows: job.rows.map(|rows| (rows.as_ptr() as usize, rows.len())),
            cols: job.w.cols(),
            native: precision == Precision::Native && job.w.dtype().is_quantised(),
            at: 0,
        };
        let same = |known: &&Input| Input { at: 0, ..**known } == wanted;
        let input = inputs.iter().find(same).copied().unwrap_or_else(|| {
            let n = if wanted.native { &mut n_acts } else { &mut n_floats };
            let input = Input { at: *n, ..wanted };
            *n += if wanted.native {
                job.n * (wanted.cols / BLOCK)
            } else {
                job.n * wanted.cols
            };
            inputs.push(input);
            works.push((input, job));
            input
        });
        plans.push(Plan { input, groups_end: 0 });
    }
    grow(acts, n_acts);
    grow(floats, n_floats);
    let plain_at = quantise_plain(pool, *isa, &works, plain);
    let (mut acts, mut floats) = (&mut acts[..n_acts], &mut floats[..n_floats]);
    let mut tasks = Vec::new();
    for (input, job) in works {
        let source = Source {
            isa: *isa,
            x: job.x,
            rows: job.rows,
            cols: input.cols,
            plain: plain_at
                .filter(|of| *of == input.x && input.native)
                .map(|_| &plain[..]),
        };
        for tile in tiles(job.n) {
            let out = if input.native {
                let (own, later) = std::mem::take(&mut acts).split_at_mut(tile.len() * (input.cols / BLOCK));
                acts = later;
                Out::Acts(own)
            } else {
                let (own, later) = std::mem::take(&mut floats).split_at_mut(tile.len() * input.cols);
                floats = later;
                Out::Floats(own)
            };
            tasks.push((source, tile, Mutex::new(out)));
        }
    }
    let is_small = n_acts * BLOCK + n_floats < PREPARE_PARALLEL_FROM;
    fill(pool, is_small, &tasks);
}

/// Room for `n` values. A buffer never shrinks: growing back would write zeros over what is written anyway.
fn grow<T: Clone + Default>(buffer: &mut Vec<T>, n: usize) {
    if buffer.len() < n {
        buffer.resize(n, T::default());
    }
}

/// A tile to fill: where its activations come from and where they go.
type Task<'a> = (Source<'a>, Range<usize>, Mutex<Out<'a>>);

/// Fills all tiles, on this thread alone where they are few.
fn fill(pool: &Pool, is_small: bool, tasks: &[Task<'_>]) {
    let fill = |range: Range<usize>| {
        for (source, tile, out) in &tasks[range] {
            source.fill(
                tile.clone(),
                &mut out.lock().unwrap_or_else(PoisonError::into_inner),
            );
        }
    };
    if is_small {
        fill(0..tasks.len());
    } else {
        pool.for_each_chunk(tasks.len(), 1, fill);
    }
}

/// Quantises once, row by row, the activations that jobs take rows of; returns whose they are. Only the first such
/// matrix of a call: experts all read the same one.
fn quantise_plain(
    pool: &Pool,
    isa: Isa,
    works: &[(Input, &Job<'_>)],
    plain: &mut Vec<ActBlock>,
) -> Option<(usize, usize)> {
    let (input, job) = works
        .iter()
        .find(|(input, _)| input.native && input.rows.is_some())?;
    let cols = input.cols;
    let (n_plain, n_blocks) = (job.x.len() / BLOCK, (cols / BLOCK).max(1));
    grow(plain, n_plain);
    let rows = plain[..n_plain].chunks_exact_mut(n_blocks).map(Mutex::new);
    let rows: Vec<Mutex<&mut [ActBlock]>> = rows.collect();
    pool.for_each_chunk(rows.len(), 4, |range| {
        for row in range {
            let mut out = rows[row].lock().unwrap_or_else(PoisonError::into_inner);
            let x = job.x[row * cols..(row + 1) * cols].as_chunks::<BLOCK>().0;
            for (out, x) in out.iter_mut().zip(x) {
                *out = kernels::quantise_block(isa, x);
            }
        }
    });
    Some(input.x)
}

/// The tiles of `n` tokens: as many of [`TILE_MAX`] as fit, then one with the rest. Most experts see few tokens, and their
/// weights are what takes the time: they are read once for all of them.
fn tiles(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n)
        .step_by(TILE_MAX)
        .map(move |start| start..(start + TILE_MAX).min(n))
}

/// Activations of one job, as they are given.
#[derive(Clone, Copy)]
struct Source<'a> {
    isa: Isa,
    x: &'a [f32],
    rows: Option<&'a [u32]>,
    cols: usize,
    /// The same, quantised already.
    plain: Option<&'a [ActBlock]>,
}

/// Activations of one tile, as kernels read them.
enum Out<'a> {
    /// Per block of columns, one [`ActBlock`] for each token.
    Acts(&'a mut [ActBlock]),
    /// Per column, the value of each token.
    Floats(&'a mut [f32]),
}

impl Source<'_> {
    fn fill(&self, tile: Range<usize>, out: &mut Out<'_>) {
        let (len, cols) = (tile.len(), self.cols);
        for (t, token) in tile.enumerate() {
            let row = self.rows.map_or(token, |rows| rows[token] as usize);
            match (&mut *out, self.plain) {
                (Out::Acts(acts), Some(plain)) => {
                    let n_blocks = cols / BLOCK;
                    let from = &plain[row * n_blocks..(row + 1) * n_blocks];
                    for (b, block) in from.iter().enumerate() {
                        acts[b * len + t] = *block;
                    }
                }
                (Out::Acts(acts), None) => {
                    let x = self.x[row * cols..(row + 1) * cols].as_chunks::<BLOCK>().0;
                    for (b, x) in x.iter().enumerate() {
                        acts[b * len + t] = kernels::quantise_block(self.isa, x);
                    }
                }
                (Out::Floats(floats), _) => {
                    for (c, &x) in self.x[row * cols..(row + 1) * cols].iter().enumerate() {
                        floats[c * len + t] = x;
                    }
                }
            }
        }
    }
}

/// Multiplies the groups of `share` with all tokens, a cache-sized run of tokens at a time. `then` is the group that
/// is read after them.
fn multiply(
    scratch: &Scratch,
    input: Input,
    w: MatrixRef<'_>,
    n: usize,
    (share, then): (Range<usize>, &[u8]),
    out: &OutPtr<'_>,
) {
    let token_bytes = if input.native {
        input.cols / BLOCK * size_of::<ActBlock>()
    } else {
        input.cols * 4
    };
    let run = (INPUT_BYTES_MAX / token_bytes.max(1)).next_multiple_of(TILE_MAX);
    let group_bytes = w.matrix().group_bytes().max(1);
    let groups = w.matrix().groups(share.clone());
    for run_start in (0..n).step_by(run) {
        let run_end = (run_start + run).min(n);
        let n_tiles = (run_end - run_start).div_ceil(TILE_MAX);
        let mut nexts = groups.chunks_exact(group_bytes).skip(1);
        for (idx, bytes) in share.clone().zip(groups.chunks_exact(group_bytes)) {
            let group = Group {
                scratch,
                input,
                w,
                bytes,
                idx,
            };
            let next = nexts.next().unwrap_or(then);
            // A tile that is not full and alone asks for what follows it by itself, nearer.
            let next = if run_end - run_start < TILE_MAX { &[] } else { next };
            let mut aheads = next.chunks(next.len().div_ceil(n_tiles).max(1));
            for tile in tiles(run_end - run_start) {
                group.multiply_tile(
                    tile.len(),
                    run_start + tile.start,
                    aheads.next().unwrap_or_default(),
                    out,
                );
            }
        }
    }
}

/// One group of rows.
struct Group<'a> {
    scratch: &'a Scratch,
    input: Input,
    w: MatrixRef<'a>,
    bytes: &'a [u8],
    idx: usize,
}

impl Group<'_> {
    /// Times `n` tokens from `token` on; memory that is read soon after, `ahead`, is asked for meanwhile.
    #[inline]
    fn multiply_tile(&self, n: usize, token: usize, ahead: &[u8], out: &OutPtr<'_>) {
        match n {
            1 => self.multiply::<1>(token, ahead, out),
            2 => self.multiply::<2>(token, ahead, out),
            3 => self.multiply::<3>(token, ahead, out),
            4 => self.multiply::<4>(token, ahead, out),
            5 => self.multiply::<5>(token, ahead, out),
            6 => self.multiply::<6>(token, ahead, out),
            7 => self.multiply::<7>(token, ahead, out),
            _ => self.multiply::<TILE_MAX>(token, ahead, out),
        }
    }

    #[inline]
    fn multiply<const T: usize>(&self, token: usize, ahead: &[u8], out: &OutPtr<'_>) {
        let (isa, dtype) = (self.scratch.isa, self.w.dtype());
        let sums: Sums<T> = if self.input.native {
            let n_blocks = self.input.cols / BLOCK;
            let at = self.input.at + token * n_blocks;
            let x = self.scratch.acts[at..at + T * n_blocks].as_chunks::<T>().0;
            kernels::native_tile(
                isa,
                dtype,
                Rows {
                    group: self.bytes,
                    ahead,
                },
                x,
            )
        } else {
            let at = self.input.at + token * self.input.cols;
            let x = self.scratch.floats[at..at + T * self.input.cols]
                .as_chunks::<T>()
                .0;
            kernels::float_tile(isa, dtype, self.bytes, x)
        };
        self.store(&sums, token, out);
    }

    /// Writes those sums whose rows belong to the view: its first and last group may hold others.
    #[inline]
    fn store<const T: usize>(&self, sums: &Sums<T>, token: usize, out: &OutPtr<'_>) {
        let (first, end) = (self.w.first(), self.w.first() + self.w.rows());
        let start = self.idx * LANES;
        if start >= first && start + LANES <= end {
            for (sums, token) in sums.iter().zip(token..) {
                // SAFETY: this run is the only one that owns this group of this job, and all its rows are the view's.
                unsafe { out.write_all(token, start - first, sums) };
            }
            return;
        }
        let lanes = first.saturating_sub(start)..(end - start).min(LANES);
        for (sums, token) in sums.iter().zip(token..) {
            // SAFETY: as above, and the lanes kept are rows of the view.
            unsafe { out.write(token, start + lanes.start - first, &sums[lanes.clone()]) };
        }
    }
}

/// An output matrix whose rows are written by several threads.
struct OutPtr<'a> {
    start: *mut f32,
    rows: usize,
    n: usize,
    _borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: writes go through `write`, whose callers keep to disjoint elements.
unsafe impl Sync for OutPtr<'_> {}

impl<'a> OutPtr<'a> {
    fn new(job: &'a mut Job<'_>) -> Self {
        Self {
            start: job.out.as_mut_ptr(),
            rows: job.w.rows(),
            n: job.n,
            _borrow: PhantomData,
        }
    }

    /// [`OutPtr::write`] of a whole group, whose length the compiler knows.
    ///
    /// # Safety
    /// As there.
    #[inline]
    unsafe fn write_all(&self, token: usize, row: usize, values: &[f32; LANES]) {
        assert!(
            token < self.n && row + LANES <= self.rows,
            "a result outside its matrix"
        );
        // SAFETY: the element lies inside the `n` × `rows` slice by the assertion.
        let to = unsafe { self.start.add(token * self.rows + row) };
        // SAFETY: in bounds as above, aligned as an f32 is, exclusive by the caller's promise.
        unsafe { to.cast::<[f32; LANES]>().write(*values) };
    }

    /// # Safety
    /// No other thread may write these elements during the borrow.
    unsafe fn write(&self, token: usize, row: usize, values: &[f32]) {
        assert!(
            token < self.n && row + values.len() <= self.rows,
            "a result outside its matrix"
        );
        // SAFETY: the element lies inside the `n` × `rows` slice by the assertion.
        let to = unsafe { self.start.add(token * self.rows + row) };
        // SAFETY: in bounds as above, exclusive by the caller's promise, and `values` is elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, values.len()) };
    }
}

#[cfg(test)]
mod tests;
