//! Rows in one type to rows in another, some at a time, shared among threads.
//!
//! Reading and writing happen on the calling thread, in order, so the file is the same for any number of threads.

use std::ops::Range;

use compute::{DType, quant};
use weights::Source;

use super::ConvertError;
use super::plan::Planned;
use super::recipe;
use crate::importance::Importance;

/// Elements that are decoded at a time: 16 MiB of f32.
const PIECE_ELEMENTS: usize = 4 << 20;

/// Takes a piece of a tensor's bytes.
type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), ConvertError> + 'a;

/// Re-encodes tensors of one source.
pub(super) struct Encoder<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) importance: Option<&'a Importance>,
    pub(super) threads: usize,
}

/// How some rows of a matrix are re-encoded.
struct Rows<'a> {
    tensor: &'a Planned,
    stored: DType,
    dtype: DType,
    importance: Option<&'a [f32]>,
}

impl Encoder<'_> {
    /// Gives `sink` the bytes of `tensor` in type `dtype`.
    pub(super) fn tensor(
        &self,
        tensor: &Planned,
        dtype: DType,
        sink: &mut Sink<'_>,
    ) -> Result<(), ConvertError> {
        let n_matrices = tensor.n_matrices();
        for matrix in 0..n_matrices {
            // Either each matrix is a tensor of its own, or all lie below each other in one.
            let (source, first_row) = match tensor.sources.as_slice() {
                [whole] => (whole, matrix * tensor.rows()),
                each => (&each[matrix], 0),
            };
            let importance = self
                .importance
                .filter(|_| tensor.is_matrix)
                .and_then(|importance| importance.columns(&tensor.name, matrix));
            let rows = first_row..first_row + tensor.rows();
            self.matrix(tensor, source, rows, (dtype, importance.as_deref()), sink)?;
        }
        Ok(())
    }

    fn matrix(
        &self,
        tensor: &Planned,
        source: &str,
        rows: Range<usize>,
        (dtype, importance): (DType, Option<&[f32]>),
        sink: &mut Sink<'_>,
    ) -> Result<(), ConvertError> {
        let columns = tensor.columns();
        let found = self
            .source
            .tensor(source)
            .ok_or_else(|| weights::ReadError::Missing {
                name: source.to_owned(),
            })?;
        let unreadable = || ConvertError::Unreadable {
            tensor: source.to_owned(),
            ty: found.ty.name(),
        };
        if found.ty.name() == dtype.name() && tensor.interleaved_head.is_none() {
            let row_bytes = dtype.row_bytes(columns).ok_or_else(unreadable)?;
            return self.copy(source, rows, row_bytes, sink);
        }
        let stored = recipe::find(found.ty.name()).ok_or_else(unreadable)?;
        let row_bytes = stored.row_bytes(columns).ok_or_else(unreadable)?;
        let job = Rows {
            tensor,
            stored,
            dtype,
            importance,
        };
        let unit = tensor.interleaved_head.unwrap_or(1);
        let step = (PIECE_ELEMENTS / columns.max(1)).max(1).next_multiple_of(unit);
        for start in rows.clone().step_by(step) {
            let n = step.min(rows.end - start);
            let mut bytes = vec![0; n * row_bytes];
            self.source
                .read_part(source, (start * row_bytes) as u64, &mut bytes)?;
            if let Some(head) = tensor.interleaved_head {
                bytes = interleave(&bytes, head, row_bytes);
            }
            for piece in job.encode(&bytes, row_bytes, self.threads)? {
                sink(&piece)?;
            }
        }
        Ok(())
    }

    /// Rows that have the right type already.
    fn copy(
        &self,
        source: &str,
        rows: Range<usize>,
        row_bytes: usize,
        sink: &mut Sink<'_>,
    ) -> Result<(), ConvertError> {
        let step = (PIECE_ELEMENTS / row_bytes.max(1)).max(1);
        for start in rows.clone().step_by(step) {
            let mut bytes = vec![0; step.min(rows.end - start) * row_bytes];
            self.source
                .read_part(source, (start * row_bytes) as u64, &mut bytes)?;
            sink(&bytes)?;
        }
        Ok(())
    }
}

impl Rows<'_> {
    /// The rows in `bytes`, re-encoded; one piece for each thread, in order.
    fn encode(&self, bytes: &[u8], row_bytes: usize, threads: usize) -> Result<Vec<Vec<u8>>, ConvertError> {
        let n_rows = bytes.len() / row_bytes;
        let part_bytes = n_rows.div_ceil(threads.max(1)).max(1) * row_bytes;
        std::thread::scope(|scope| {
            let workers: Vec<_> = bytes
                .chunks(part_bytes)
                .map(|part| scope.spawn(|| self.part(part)))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("encoding numbers does not panic"))
                .collect()
        })
    }

    fn part(&self, bytes: &[u8]) -> Result<Vec<u8>, ConvertError> {
        let n_values = bytes.len() / self.stored.block_bytes() * self.stored.block_len();
        let mut values = vec![0.0; n_values];
        quant::dequantise(self.stored, bytes, &mut values)?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ConvertError::NotFinite {
                tensor: self.tensor.name.clone(),
            });
        }
        Ok(quant::quantise_weighted(self.dtype, &values, self.importance)?)
    }
}

/// Rows of each head from halves `(i, i + S/2)` to neighbours `(2i, 2i + 1)`.
fn interleave(bytes: &[u8], head: usize, row_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for head_bytes in bytes.chunks_exact(head * row_bytes) {
        let (low, high) = head_bytes.split_at(head / 2 * row_bytes);
        let pairs = low.chunks_exact(row_bytes).zip(high.chunks_exact(row_bytes));
        for (first, second) in pairs {
            out.extend_from_slice(first);
            out.extend_from_slice(second);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_each_head_become_neighbours() {
        // Two heads of four rows with one byte each.
        assert_eq!(
            interleave(&[0, 1, 2, 3, 4, 5, 6, 7], 4, 1),
            [0, 2, 1, 3, 4, 6, 5, 7]
        );
    }
}
