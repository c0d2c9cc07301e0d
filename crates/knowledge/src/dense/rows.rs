//! Vectors as small whole numbers, each with the worth of its step, in blocks that a builder can share with searches.

use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use stdx::dot::dot;

/// Vectors of a block. A block is copied when it is changed while somebody else holds it.
pub(super) const BLOCK: usize = 4_096;
/// The passage of a vector that counts no more; no passage has this id.
const GONE: u64 = 0;
/// A question's numbers are finer than a row's: then only the row's rounding counts. Sums of a vector of 4,096 such
/// products stay below 2^31, as the two have the lengths of unit vectors.
const QUERY_STEPS: f32 = 2_047.0;
const ROW_STEPS: f32 = 127.0;

#[derive(Clone, Default)]
struct Block {
    passages: Vec<u64>,
    /// What a step of each vector's numbers is worth.
    scales: Vec<f32>,
    codes: Vec<i8>,
}

/// Vectors of one width, with their passages.
#[derive(Clone)]
pub(super) struct Rows {
    dim: usize,
    blocks: Vec<Arc<Block>>,
    len: usize,
    n_gone: usize,
}

/// What vectors are compared with.
pub(super) struct Query {
    values: Vec<i16>,
    scale: f32,
}

impl Query {
    pub(super) fn of(vector: &[f32]) -> Self {
        let scale = greatest(vector) / QUERY_STEPS;
        Self {
            values: vector.iter().map(|x| (x / scale).round() as i16).collect(),
            scale,
        }
    }
}

/// The greatest magnitude, never 0.
fn greatest(vector: &[f32]) -> f32 {
    vector
        .iter()
        .fold(f32::MIN_POSITIVE * QUERY_STEPS, |most, x| most.max(x.abs()))
}

impl Rows {
    pub(super) fn new(dim: usize) -> Self {
        Self {
            dim,
            blocks: Vec::new(),
            len: 0,
            n_gone: 0,
        }
    }

    /// How many numbers a vector has.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// How many there are, also those that count no more.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many count.
    pub(super) fn n_alive(&self) -> usize {
        self.len - self.n_gone
    }

    /// How many are kept though they count no more.
    pub(super) fn n_gone(&self) -> usize {
        self.n_gone
    }

    pub(super) fn push(&mut self, passage: u64, vector: &[f16]) {
        let mut values = vec![0.0; vector.len()];
        vector.convert_to_f32_slice(&mut values);
        let scale = greatest(&values) / ROW_STEPS;
        self.append(passage, scale, values.iter().map(|x| (x / scale).round() as i8));
    }

    fn append(&mut self, passage: u64, scale: f32, codes: impl Iterator<Item = i8>) {
        if self.len.is_multiple_of(BLOCK) {
            self.blocks.push(Arc::default());
        }
        if let Some(block) = self.blocks.last_mut() {
            let block = Arc::make_mut(block);
            block.passages.push(passage);
            block.scales.push(scale);
            block.codes.extend(codes);
            self.len += 1;
            self.n_gone += usize::from(passage == GONE);
        }
    }

    /// The passage of a row; `None` if it counts no more.
    pub(super) fn passage(&self, row: usize) -> Option<u64> {
        let passage = self.blocks[row / BLOCK].passages[row % BLOCK];
        (passage != GONE).then_some(passage)
    }

    /// The numbers of a row.
    pub(super) fn codes(&self, row: usize) -> &[i8] {
        let at = row % BLOCK * self.dim;
        &self.blocks[row / BLOCK].codes[at..at + self.dim]
    }

    fn scale(&self, row: usize) -> f32 {
        self.blocks[row / BLOCK].scales[row % BLOCK]
    }

    /// How near a row is.
    pub(super) fn score(&self, row: usize, query: &Query) -> f32 {
        dot(self.codes(row), &query.values) as f32 * self.scale(row) * query.scale
    }

    /// A row to compare others with; exact.
    pub(super) fn query(&self, row: usize) -> Query {
        Query {
            values: self.codes(row).iter().map(|x| i16::from(*x)).collect(),
            scale: self.scale(row),
        }
    }

    /// Visits the rows that count, with their nearness.
    pub(super) fn scan(&self, rows: std::ops::Range<usize>, query: &Query, mut visit: impl FnMut(u64, f32)) {
        let mut row = rows.start;
        while row < rows.end {
            let block = &self.blocks[row / BLOCK];
            let here = row % BLOCK..(rows.end - row + row % BLOCK).min(block.passages.len());
            row += here.len().max(1);
            let codes = block.codes[here.start * self.dim..here.end * self.dim].chunks_exact(self.dim);
            let scales = &block.scales[here.clone()];
            for ((passage, scale), codes) in block.passages[here].iter().zip(scales).zip(codes) {
                if *passage != GONE {
                    visit(*passage, dot(codes, &query.values) as f32 * scale * query.scale);
                }
            }
        }
    }

    /// Lets the rows count no more of which `is_kept` does not say so. They keep their places.
    pub(super) fn let_go(&mut self, is_kept: impl Fn(u64) -> bool) {
        for block in &mut self.blocks {
            let goes = |passage: u64| passage != GONE && !is_kept(passage);
            let n = block.passages.iter().filter(|passage| goes(**passage)).count();
            if n > 0 {
                self.n_gone += n;
                let going = Arc::make_mut(block).passages.iter_mut();
                going
                    .filter(|passage| goes(**passage))
                    .for_each(|passage| *passage = GONE);
            }
        }
    }

    /// The rows that count, by passage.
    pub(super) fn sorted(&self) -> Self {
        let mut order: Vec<(u64, usize)> = (0..self.len)
            .filter_map(|row| Some((self.passage(row)?, row)))
            .collect();
        order.sort_unstable();
        let mut sorted = Self::new(self.dim);
        for (passage, row) in order {
            sorted.append(passage, self.scale(row), self.codes(row).iter().copied());
        }
        sorted
    }

    /// Takes a row of another set over.
    pub(super) fn take(&mut self, other: &Self, row: usize) {
        if let Some(passage) = other.passage(row) {
            self.append(passage, other.scale(row), other.codes(row).iter().copied());
        }
    }

    /// A place for a row that is gone.
    pub(super) fn take_none(&mut self) {
        self.append(GONE, 0.0, std::iter::repeat_n(0, self.dim));
    }
}
