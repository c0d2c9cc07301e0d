//! The inner loop of attention: columns of sixteen cached numbers, weighed and summed.
//!
//! Scores and weighted values are the same sum over other columns: lane `i` of a key column is position
//! `i` of a tile and its columns are components; lane `i` of a value column is a component and its columns
//! are positions. Each sum is one chain over the columns in order, whatever the number of rows, groups and
//! the instruction set's width, so a row's result does not depend on the rows beside it. Several groups or
//! rows go together, because a chain alone waits for itself.

use half::f16;

use crate::isa::{Isa, Proof};
use crate::matrix::LANES;

/// Columns and sums of a row at most: positions that are scored together, and components of a head.
pub(crate) const SPAN: usize = 256;

/// Columns that share a scale in [`Numbers::ScaledI8`].
pub(crate) const SCALED: usize = 32;

/// One weight, or one sum, for each column of several rows.
pub(crate) type Rows<const T: usize> = [[f32; SPAN]; T];

/// What a column holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Numbers<'a> {
    F32,
    F16,
    /// Integers as they are.
    I8,
    /// Integers; the sum over each [`SCALED`] columns is multiplied by sixteen f32, one for each lane. They
    /// start here for the first group and lie as far apart as the groups do.
    ScaledI8(&'a [u8]),
}

impl Numbers<'_> {
    /// Bytes of one number.
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::I8 | Self::ScaledI8(_) => 1,
        }
    }
}

/// Groups of columns; the columns of a group follow one another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// From the first column of the first group on.
    pub(crate) bytes: &'a [u8],
    pub(crate) numbers: Numbers<'a>,
    /// Bytes from one group to the next.
    pub(crate) group_bytes: usize,
    pub(crate) n_groups: usize,
    /// Columns of each group.
    pub(crate) len: usize,
}

impl Columns<'_> {
    /// That every byte, weight and sum a kernel touches is there.
    fn check(&self, from: usize, at: usize) {
        assert!(from + self.len <= SPAN && at + self.n_groups * LANES <= SPAN);
        let before_last = self.n_groups.saturating_sub(1) * self.group_bytes;
        assert!(before_last + self.len * LANES * self.numbers.size() <= self.bytes.len());
        if let Numbers::ScaledI8(scales) = self.numbers {
            assert!(before_last + self.len.div_ceil(SCALED) * LANES * 4 <= scales.len());
        }
    }
}

/// `sums[t][at + 16 g + lane] += Σ_c weights[t][from + c] · column c of group g`, for `T` of 1, 2, 4 or 8.
///
/// # Panics
/// If bytes, weights or sums are too few for the columns.
pub(crate) fn weigh<const T: usize>(
    isa: Isa,
    columns: Columns<'_>,
    weights: &Rows<T>,
    from: usize,
    sums: &mut Rows<T>,
    at: usize,
) {
    columns.check(from, at);
    let checked = Checked {
        columns,
        weights,
        from,
        sums,
        at,
    };
    match isa.proof() {
        #[cfg(target_arch = "x86_64")]
        Proof::Avx512(token) => super::x86_64::avx512_attention::weigh(token, checked),
        #[cfg(target_arch = "x86_64")]
        Proof::Avx2(token) => super::x86_64::avx2_attention::weigh(token, checked),
        #[cfg(target_arch = "aarch64")]
        Proof::Neon(_) => weigh_plainly(checked),
        Proof::Scalar => weigh_plainly(checked),
    }
}

/// What [`weigh`] was given, its bounds checked: only that function makes one.
pub(super) struct Checked<'a, const T: usize> {
    pub(super) columns: Columns<'a>,
    weights: &'a Rows<T>,
    from: usize,
    sums: &'a mut Rows<T>,
    at: usize,
}

impl<const T: usize> Checked<'_, T> {
    /// The first row's weight for the first column; that of the next row comes [`SPAN`] later.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn weights(&self) -> *const f32 {
        self.weights.as_flattened()[self.from..].as_ptr()
    }

    /// The first row's sum of the first group; that of the next row comes [`SPAN`] later.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn sums(&mut self) -> *mut f32 {
        self.sums.as_flattened_mut()[self.at..].as_mut_ptr()
    }
}

/// The oracle of the others.
fn weigh_plainly<const T: usize>(checked: Checked<'_, T>) {
    let Checked {
        columns,
        weights,
        from,
        sums,
        at,
    } = checked;
    let column_bytes = LANES * columns.numbers.size();
    for g in 0..columns.n_groups {
        let group = &columns.bytes[g * columns.group_bytes..][..columns.len * column_bytes];
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let sums = &mut sums[at + g * LANES..][..LANES];
            let weights = &weights[from..from + columns.len];
            let Numbers::ScaledI8(scales) = columns.numbers else {
                add_columns(columns.numbers, group, weights, sums);
                continue;
            };
            let scales = &scales[g * columns.group_bytes..];
            let runs = group.chunks(SCALED * column_bytes).zip(weights.chunks(SCALED));
            for ((group, weights), scales) in runs.zip(scales.chunks_exact(LANES * 4)) {
                let mut run = [0.0; LANES];
                add_columns(columns.numbers, group, weights, &mut run);
                let scales = widen(Numbers::F32, scales);
                for ((sum, run), scale) in sums.iter_mut().zip(run).zip(scales) {
                    *sum += run * scale;
                }
            }
        }
    }
}

fn add_columns(numbers: Numbers<'_>, group: &[u8], weights: &[f32], sums: &mut [f32]) {
    for (column, w) in group.chunks_exact(LANES * numbers.size()).zip(weights) {
        let column = widen(numbers, column);
        sums.iter_mut().zip(column).for_each(|(sum, v)| *sum += w * v);
    }
}

/// Sixteen numbers as f32.
fn widen(numbers: Numbers<'_>, bytes: &[u8]) -> [f32; LANES] {
    std::array::from_fn(|lane| match numbers {
        Numbers::F32 => {
            let b = &bytes[4 * lane..];
            f32::from_le_bytes([b[0], b[1], b[2], b[3]])
        }
        Numbers::F16 => f16::from_le_bytes([bytes[2 * lane], bytes[2 * lane + 1]]).to_f32(),
        Numbers::I8 | Numbers::ScaledI8(_) => f32::from(bytes[lane].cast_signed()),
    })
}

#[cfg(test)]
mod tests;
