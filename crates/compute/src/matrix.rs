//! Weight matrices in the layout the kernels read.
//!
//! A [`Matrix`] takes row-major blocks as files hold them and interleaves, in place, groups of
//! [`LANES`] rows, so that one vector register holds the same columns of sixteen rows: a kernel then
//! needs no horizontal sum, multiplies by sixteen scales at once and reads memory strictly forward.
//! The size stays the same (rows are padded to a whole group). All instruction sets share the layout.
//!
//! A group is a run of *cells*. With `r` a row of the group, little endian throughout:
//!
//! | type | columns of a cell | bytes |
//! |---|---|---|
//! | f32 | 1 | sixteen f32 |
//! | f16, bf16 | 1 | sixteen u16 |
//! | q4_0 | 32 | sixteen f16 `d`, then 4 × 64 bytes: quad `k` holds bytes `4k..4k+4` of each row's nibbles |
//! | q4_1 | 32 | sixteen f16 `d`, sixteen f16 `m`, then as q4_0 |
//! | q5_0, q5_1 | 32 | as q4_0 and q4_1, with 64 bytes of fifth bits (four of each row) before the nibbles |
//! | q8_0 | 32 | sixteen f16 `d`, then 8 × 64 bytes: quad `k` holds columns `4k..4k+4` of each row, plus 128 |
//! | K types | 256 | the fields of a block in their order; of each field in turn: f16 as sixteen f16, scales as sixteen bytes each, quants as quads |
//!
//! This file knows nothing of arithmetic on weights; that is `kernels`.

use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::blocks::DType;
use crate::bytes::AlignedBytes;
use crate::quant;

/// Rows that are interleaved: the f32 lanes of a 512-bit register.
pub(crate) const LANES: usize = 16;
/// Bytes of the largest block.
const BLOCK_BYTES_MAX: usize = DType::Q6_K.block_bytes();
/// Bytes from which interleaving is worth more than one thread.
const PARALLEL_FROM: usize = 8 << 20;

/// Why a matrix cannot be made from these bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// Blocks do not divide a row.
    #[error("{cols} columns are not whole {} blocks of {}: the tensor needs another type", dtype.name(), dtype.block_len())]
    PartialBlock {
        /// Element type.
        dtype: DType,
        /// Columns asked for.
        cols: usize,
    },
    /// The shape and the data disagree.
    #[error("{rows} rows of {cols} {} weights do not fill {len} bytes: the tensor is cut off or mislabelled", dtype.name())]
    LengthMismatch {
        /// Element type.
        dtype: DType,
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// Bytes given.
        len: usize,
    },
}

/// An immutable weight matrix, `rows` outputs × `cols` inputs; clones share the bytes.
///
/// A stack of experts `[E][rows][cols]` is one matrix of `E * rows` rows; take an expert with
/// [`Matrix::rows_view`]. Views that start and end on a multiple of 16 rows cost nothing extra.
#[derive(Debug, Clone)]
pub struct Matrix {
    dtype: DType,
    rows: usize,
    cols: usize,
    /// Interleaved groups; see the module.
    groups: Groups,
}

/// Interleaved bytes, this matrix's own or a part of somebody else's.
#[derive(Clone)]
enum Groups {
    Own(Arc<AlignedBytes>),
    Lent {
        owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
        range: Range<usize>,
    },
}

impl Deref for Groups {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Lent { owner, range } => &(**owner).as_ref()[range.clone()],
        }
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let who = match self {
            Self::Own(_) => "own",
            Self::Lent { .. } => "lent",
        };
        write!(f, "{who}, {} bytes", self.len())
    }
}

/// Some consecutive rows of a [`Matrix`].
#[derive(Debug, Clone, Copy)]
pub struct MatrixRef<'a> {
    matrix: &'a Matrix,
    first: usize,
    rows: usize,
}

impl Matrix {
    /// Rows that lie together in the interleaved bytes: a matrix can be cut after any multiple of so many.
    pub const ROWS_TOGETHER: usize = LANES;

    /// Takes `bytes` as row-major blocks of `dtype`, as GGUF and safetensors hold them, and interleaves
    /// them in place (in a padded copy if `rows` is not a multiple of 16).
    pub fn new(dtype: DType, rows: usize, cols: usize, bytes: AlignedBytes) -> Result<Self, MatrixError> {
        let row_bytes = dtype
            .row_bytes(cols)
            .ok_or(MatrixError::PartialBlock { dtype, cols })?;
        let mismatch = || MatrixError::LengthMismatch {
            dtype,
            rows,
            cols,
            len: bytes.len(),
        };
        let wanted = row_bytes.checked_mul(rows).ok_or_else(mismatch)?;
        if wanted != bytes.len() {
            return Err(mismatch());
        }
        let padded = rows
            .checked_next_multiple_of(LANES)
            .and_then(|r| r.checked_mul(row_bytes));
        let padded = padded.ok_or_else(mismatch)?;
        let mut groups = bytes;
        if padded != groups.len() {
            let mut copy = AlignedBytes::zeroed(padded);
            copy[..wanted].copy_from_slice(&groups);
            groups = copy;
        }
        interleave(dtype, row_bytes * LANES, &mut groups);
        Ok(Self {
            dtype,
            rows,
            cols,
            groups: Groups::Own(Arc::new(groups)),
        })
    }

    /// A matrix over bytes that [`Matrix::interleaved`] once gave, wherever they lie now: `owner`'s bytes `range`.
    /// Their content is taken as it is.
    pub fn from_interleaved(
        dtype: DType,
        rows: usize,
        cols: usize,
        owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
        range: Range<usize>,
    ) -> Result<Self, MatrixError> {
        let row_bytes = dtype
            .row_bytes(cols)
            .ok_or(MatrixError::PartialBlock { dtype, cols })?;
        let wanted = rows
            .checked_next_multiple_of(LANES)
            .and_then(|rows| rows.checked_mul(row_bytes));
        let held = (*owner).as_ref().get(range.clone()).map(<[u8]>::len);
        if held.is_none() || held != wanted {
            return Err(MatrixError::LengthMismatch {
                dtype,
                rows,
                cols,
                len: held.unwrap_or(0),
            });
        }
        Ok(Self {
            dtype,
            rows,
            cols,
            groups: Groups::Lent { owner, range },
        })
    }

    /// The bytes as kernels read them; see the module for their order.
    pub fn interleaved(&self) -> &[u8] {
        &self.groups
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes held, padding included.
    pub fn size_bytes(&self) -> usize {
        self.groups.len()
    }

    /// All rows.
    pub fn as_ref(&self) -> MatrixRef<'_> {
        self.rows_view(0..self.rows)
    }

    /// The rows of `range`.
    ///
    /// # Panics
    /// If the range does not lie inside the matrix.
    pub fn rows_view(&self, range: Range<usize>) -> MatrixRef<'_> {
        let (first, end) = (range.start, range.end);
        assert!(
            first <= end && end <= self.rows,
            "rows {first}..{end} of a matrix with {} rows",
            self.rows
        );
        MatrixRef {
            matrix: self,
            first,
            rows: end - first,
        }
    }

    /// Writes row `row` to `out` (`cols` values), bit for bit as [`quant::dequantise`] gives it.
    ///
    /// # Panics
    /// If there is no such row or `out` has another length.
    pub fn row_f32(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of a matrix with {} rows", self.rows);
        assert_eq!(
            out.len(),
            self.cols,
            "a row has as many values as the matrix has columns"
        );
        let group = self.groups(row / LANES..row / LANES + 1);
        let mut block = [0u8; BLOCK_BYTES_MAX];
        let block = &mut block[..self.dtype.block_bytes()];
        let cells = group.chunks_exact(self.dtype.block_bytes() * LANES);
        for (cell, out) in cells.zip(out.chunks_exact_mut(self.dtype.block_len())) {
            each_part(self.dtype, |part, lane_bytes| {
                let at = part.start * LANES + (row % LANES) * lane_bytes;
                block[part].copy_from_slice(&cell[at..at + lane_bytes]);
            });
            unbias(self.dtype, block);
            quant::dequantise(self.dtype, block, out).expect("one block holds its own length of values");
        }
    }

    /// The bytes of these groups; group `i` holds rows `16 * i..16 * i + 16`.
    pub(crate) fn groups(&self, range: Range<usize>) -> &[u8] {
        let group_bytes = self.group_bytes();
        &self.groups[range.start * group_bytes..range.end * group_bytes]
    }

    pub(crate) fn group_bytes(&self) -> usize {
        self.cols / self.dtype.block_len() * self.dtype.block_bytes() * LANES
    }
}

impl<'a> MatrixRef<'a> {
    /// Outputs.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(self) -> usize {
        self.matrix.cols
    }

    /// Element type.
    pub fn dtype(self) -> DType {
        self.matrix.dtype
    }

    /// Row of the matrix at which the view starts.
    pub(crate) fn first(self) -> usize {
        self.first
    }

    pub(crate) fn matrix(self) -> &'a Matrix {
        self.matrix
    }
}

/// Calls `f` with each byte range of a block whose rows are interleaved, and the bytes each row
/// contributes at a time: the range's first byte, times 16, is where the range starts in a cell.
#[inline(always)]
fn each_part(dtype: DType, mut f: impl FnMut(Range<usize>, usize)) {
    let mut parts = |range: Range<usize>, lane_bytes: usize| {
        for at in range.step_by(lane_bytes) {
            f(at..at + lane_bytes, lane_bytes);
        }
    };
    let end = dtype.block_bytes();
    match dtype {
        DType::F32 => parts(0..end, 4),
        DType::F16 | DType::BF16 => parts(0..end, 2),
        DType::Q4_0 | DType::Q5_0 | DType::Q8_0 => {
            parts(0..2, 2);
            parts(2..end, 4);
        }
        DType::Q4_1 | DType::Q5_1 => {
            parts(0..4, 2);
            parts(4..end, 4);
        }
        DType::Q2_K => {
            parts(0..16, 1);
            parts(16..80, 4);
            parts(80..end, 2);
        }
        DType::Q3_K => {
            parts(0..96, 4);
            parts(96..108, 1);
            parts(108..end, 2);
        }
        DType::Q4_K | DType::Q5_K => {
            parts(0..4, 2);
            parts(4..16, 1);
            parts(16..end, 4);
        }
        DType::Q6_K => {
            parts(0..192, 4);
            parts(192..208, 1);
            parts(208..end, 2);
        }
    }
}

/// Signed bytes are kept plus 128, because the dot-product instructions want one unsigned operand.
fn unbias(dtype: DType, block: &mut [u8]) {
    if dtype == DType::Q8_0 {
        block[2..].iter_mut().for_each(|q| *q ^= 0x80);
    }
}

fn interleave(dtype: DType, group_bytes: usize, groups: &mut [u8]) {
    if group_bytes == 0 || groups.is_empty() {
        return;
    }
    let n_groups = groups.len() / group_bytes;
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if groups.len() < PARALLEL_FROM {
        1
    } else {
        available
    };
    let share = n_groups.div_ceil(threads) * group_bytes;
    if share >= groups.len() {
        return interleave_share(dtype, group_bytes, groups);
    }
    std::thread::scope(|scope| {
        for part in groups.chunks_mut(share) {
            scope.spawn(move || interleave_share(dtype, group_bytes, part));
        }
    });
}

fn interleave_share(dtype: DType, group_bytes: usize, groups: &mut [u8]) {
    let mut rows = vec![0u8; group_bytes];
    for group in groups.chunks_exact_mut(group_bytes) {
        rows.copy_from_slice(group);
        match dtype {
            DType::F32 => interleave_cells::<4>(DType::F32, &rows, group),
            DType::F16 => interleave_cells::<2>(DType::F16, &rows, group),
            DType::BF16 => interleave_cells::<2>(DType::BF16, &rows, group),
            DType::Q4_0 => interleave_cells::<18>(DType::Q4_0, &rows, group),
            DType::Q4_1 => interleave_cells::<20>(DType::Q4_1, &rows, group),
            DType::Q5_0 => interleave_cells::<22>(DType::Q5_0, &rows, group),
            DType::Q5_1 => interleave_cells::<24>(DType::Q5_1, &rows, group),
            DType::Q8_0 => interleave_cells::<34>(DType::Q8_0, &rows, group),
            DType::Q2_K => interleave_cells::<84>(DType::Q2_K, &rows, group),
            DType::Q3_K => interleave_cells::<110>(DType::Q3_K, &rows, group),
            DType::Q4_K => interleave_cells::<144>(DType::Q4_K, &rows, group),
            DType::Q5_K => interleave_cells::<176>(DType::Q5_K, &rows, group),
            DType::Q6_K => interleave_cells::<210>(DType::Q6_K, &rows, group),
        }
    }
}

/// `B` is the bytes of a block, known at compile time (as the type is where this is inlined) so that the
/// copies are single moves.
#[inline(always)]
fn interleave_cells<const B: usize>(dtype: DType, rows: &[u8], group: &mut [u8]) {
    let row_bytes = rows.len() / LANES;
    for (cell_idx, cell) in group.chunks_exact_mut(B * LANES).enumerate() {
        for lane in 0..LANES {
            let at = lane * row_bytes + cell_idx * B;
            let mut block = [0u8; B];
            block.copy_from_slice(&rows[at..at + B]);
            unbias(dtype, &mut block);
            each_part(dtype, |part, lane_bytes| {
                let at = part.start * LANES + lane * lane_bytes;
                cell[at..at + lane_bytes].copy_from_slice(&block[part]);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::BLOCK;

    fn noise(len: usize) -> AlignedBytes {
        let mut bytes = AlignedBytes::zeroed(len);
        let mut state = 1u32;
        for b in bytes.iter_mut() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *b = (state >> 24) as u8;
        }
        bytes
    }

    #[test]
    fn rows_come_back_bit_for_bit() {
        for dtype in DType::ALL {
            for rows in [1, 15, 16, 17, 40] {
                let cols = 3 * dtype.block_len().max(BLOCK);
                let row_bytes = dtype.row_bytes(cols).unwrap();
                let bytes = noise(rows * row_bytes);
                let mut want = vec![0.0; rows * cols];
                quant::dequantise(dtype, &bytes, &mut want).unwrap();
                let matrix = Matrix::new(dtype, rows, cols, bytes).unwrap();
                let mut got = vec![0.0f32; cols];
                for (row, want) in want.chunks_exact(cols).enumerate() {
                    matrix.row_f32(row, &mut got);
                    let same = got.iter().zip(want).all(|(g, w)| g.to_bits() == w.to_bits());
                    assert!(same, "{} row {row} of {rows}", dtype.name());
                }
            }
        }
    }

    #[test]
    fn large_matrices_interleave_in_parallel_alike() {
        for (dtype, rows) in [(DType::Q8_0, 16 * 300), (DType::Q4_K, 16 * 500)] {
            let cols = 2048;
            let row_bytes = dtype.row_bytes(cols).unwrap();
            let bytes = noise(rows * row_bytes);
            assert!(bytes.len() >= PARALLEL_FROM);
            let mut want = vec![0.0; cols];
            quant::dequantise(dtype, &bytes[(rows - 1) * row_bytes..], &mut want).unwrap();
            let matrix = Matrix::new(dtype, rows, cols, bytes).unwrap();
            let mut got = vec![0.0; cols];
            matrix.row_f32(rows - 1, &mut got);
            assert!(got.iter().zip(&want).all(|(g, w)| g.to_bits() == w.to_bits()));
        }
    }

    #[test]
    fn refuses_shapes_that_do_not_fit_the_bytes() {
        let partial = Matrix::new(DType::Q4_0, 2, 33, AlignedBytes::zeroed(36)).unwrap_err();
        assert_eq!(
            partial,
            MatrixError::PartialBlock {
                dtype: DType::Q4_0,
                cols: 33
            }
        );
        assert!(Matrix::new(DType::Q4_0, 2, 32, AlignedBytes::zeroed(35)).is_err());
        assert!(Matrix::new(DType::F32, usize::MAX, 8, AlignedBytes::zeroed(32)).is_err());
        let empty = Matrix::new(DType::F32, 0, 8, AlignedBytes::zeroed(0)).unwrap();
        assert_eq!(empty.as_ref().rows(), 0);
    }
}
