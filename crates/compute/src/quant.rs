//! Values of stored blocks: bytes to f32 and back.
//!
//! `legacy` has the blocks of 32, `k` the super-blocks of 256, `layout` the places of their fields and
//! `fit` the search for scales. Row-major bytes as files hold them; not the interleaved form in which [`crate::Matrix`] keeps them.
//! Dequantisation is bit-exact with the reference implementation. These are the slow, obvious loops:
//! kernels are judged against them.

use half::{bf16, f16};

use crate::blocks::{DType, SUPER_BLOCK};

mod fit;
mod k;
pub(crate) mod layout;
mod legacy;

/// Why bytes and values do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantError {
    /// The buffer is not a whole number of blocks.
    #[error("{len} {what} are not whole {} blocks of {block}: the tensor is cut off or has another type", dtype.name())]
    PartialBlock {
        /// The element type asked for.
        dtype: DType,
        /// "bytes" or "values".
        what: &'static str,
        /// How many there are.
        len: usize,
        /// How many make a block.
        block: usize,
    },
    /// Input and output disagree.
    #[error("{bytes} bytes of {} hold {held} values but {wanted} are wanted: shape and data disagree", dtype.name())]
    LengthMismatch {
        /// The element type asked for.
        dtype: DType,
        /// Bytes given.
        bytes: usize,
        /// Values in them.
        held: usize,
        /// Values asked for.
        wanted: usize,
    },
    /// Importance that does not belong to these rows.
    #[error(
        "{values} values are not whole rows of {columns} columns: give one importance per column of the matrix"
    )]
    Importance {
        /// Values given.
        values: usize,
        /// Columns that the importance is of.
        columns: usize,
    },
}

/// Writes the values of `bytes` (row-major blocks of `dtype`) to `out`.
pub fn dequantise(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    let block = dtype.block_bytes();
    if !bytes.len().is_multiple_of(block) {
        return Err(QuantError::PartialBlock {
            dtype,
            what: "bytes",
            len: bytes.len(),
            block,
        });
    }
    let held = bytes.len() / block * dtype.block_len();
    if held != out.len() {
        return Err(QuantError::LengthMismatch {
            dtype,
            bytes: bytes.len(),
            held,
            wanted: out.len(),
        });
    }
    let blocks = bytes
        .chunks_exact(block)
        .zip(out.chunks_exact_mut(dtype.block_len()));
    match dtype {
        DType::F32 => blocks.for_each(|(b, o)| o[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        DType::F16 => blocks.for_each(|(b, o)| o[0] = half_at(b, 0)),
        DType::BF16 => blocks.for_each(|(b, o)| o[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::Q8_0 => {
            blocks.for_each(|(b, o)| legacy::decode(dtype, b, o));
        }
        DType::Q2_K | DType::Q3_K | DType::Q4_K | DType::Q5_K | DType::Q6_K => {
            blocks.for_each(|(b, o)| k::decode(dtype, b, o));
        }
    }
    Ok(())
}

/// Encodes `values` as row-major blocks of `dtype`: the plain types and blocks of 32 with the reference
/// quantiser's rounding, byte for byte; the K types as [`quantise_weighted`] without importance.
///
/// Infinite values give blocks whose scale is not finite.
pub fn quantise(dtype: DType, values: &[f32]) -> Result<Vec<u8>, QuantError> {
    quantise_weighted(dtype, values, None)
}

/// Encodes `values` as row-major blocks of `dtype` so that little of what matters is lost.
///
/// `importance` has one number per column, the mean squared activation the column meets; `values` are
/// whole rows of that many columns. With it, the scales of every type but the plain ones and q8_0 are
/// searched for such that the squared error weighted by it is small (it is what the layer's output
/// loses); without it, those of the K types still are, all columns alike.
///
/// Infinite values give blocks whose scale is not finite; so does NaN in the K types.
pub fn quantise_weighted(
    dtype: DType,
    values: &[f32],
    importance: Option<&[f32]>,
) -> Result<Vec<u8>, QuantError> {
    let block = dtype.block_len();
    let partial = |len: usize| QuantError::PartialBlock {
        dtype,
        what: "values",
        len,
        block,
    };
    if !values.len().is_multiple_of(block) {
        return Err(partial(values.len()));
    }
    if let Some(importance) = importance {
        let columns = importance.len();
        if columns == 0 || !values.len().is_multiple_of(columns) {
            return Err(QuantError::Importance {
                values: values.len(),
                columns,
            });
        }
        if !columns.is_multiple_of(block) {
            return Err(partial(columns));
        }
    }
    let mut out = Vec::with_capacity(values.len() / block * dtype.block_bytes());
    let mut weights = [1.0; SUPER_BLOCK];
    for (i, v) in values.chunks_exact(block).enumerate() {
        if let Some(importance) = importance {
            let column = i * block % importance.len();
            weigh(&importance[column..column + block], &mut weights[..block]);
        }
        match dtype {
            DType::F32 => out.extend(v[0].to_le_bytes()),
            DType::F16 => out.extend(f16::from_f32(v[0]).to_le_bytes()),
            DType::BF16 => out.extend(bf16::from_f32(v[0]).to_le_bytes()),
            DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::Q8_0 => {
                if importance.is_some() {
                    legacy::encode_weighted(dtype, v, &weights[..block], &mut out);
                } else {
                    legacy::encode(dtype, v, &mut out);
                }
            }
            DType::Q2_K | DType::Q3_K | DType::Q4_K | DType::Q5_K | DType::Q6_K => {
                k::encode(dtype, v, &weights, &mut out);
            }
        }
    }
    Ok(out)
}

/// Weights of a block's columns from their importance. A hundredth of the block's mean is added: a column
/// that was never active while importance was measured may be so later, and must not be lost altogether.
fn weigh(importance: &[f32], weights: &mut [f32]) {
    let measured = |v: f32| if v.is_finite() { v.max(0.0) } else { 0.0 };
    let mean = importance.iter().map(|&v| measured(v)).sum::<f32>() / importance.len() as f32;
    if !(mean > 0.0 && mean.is_finite()) {
        weights.fill(1.0);
        return;
    }
    for (weight, &v) in weights.iter_mut().zip(importance) {
        *weight = measured(v) / mean + 0.01;
    }
}

/// The f16 that starts at byte `at`.
fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &[u8] = include_bytes!("../../testkit/fixtures/quant/blocks.safetensors");

    /// Finds one tensor by a scan of the JSON header: enough for a file we committed ourselves.
    fn tensor(name: &str) -> &'static [u8] {
        let header_len = u64::from_le_bytes(FIXTURE[..8].try_into().unwrap()) as usize;
        let header = std::str::from_utf8(&FIXTURE[8..8 + header_len]).unwrap();
        let entry = &header[header
            .find(&format!("\"{name}\""))
            .unwrap_or_else(|| panic!("no {name}"))..];
        let offsets = &entry[entry.find("data_offsets").unwrap()..];
        let list = &offsets[offsets.find('[').unwrap() + 1..offsets.find(']').unwrap()];
        let at: Vec<usize> = list.split(',').map(|n| n.trim().parse().unwrap()).collect();
        &FIXTURE[8 + header_len..][at[0]..at[1]]
    }

    fn floats(name: &str) -> Vec<f32> {
        tensor(name)
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    fn raw(dtype: DType) -> &'static [u8] {
        let t = dtype.name().to_uppercase();
        tensor(&format!("{t}.{t}.raw"))
    }

    const SUPER: [DType; 5] = [DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K];
    const ROUNDED: [DType; 7] = [
        DType::F16,
        DType::BF16,
        DType::Q4_0,
        DType::Q4_1,
        DType::Q5_0,
        DType::Q5_1,
        DType::Q8_0,
    ];

    #[test]
    fn dequantises_the_reference_blocks_bit_for_bit() {
        for dtype in ROUNDED.into_iter().chain(SUPER) {
            let want = floats(&format!("{}.values", dtype.name().to_uppercase()));
            let mut got = vec![0.0; want.len()];
            dequantise(dtype, raw(dtype), &mut got).unwrap();
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got), bits(&want), "{}", dtype.name());
        }
    }

    #[test]
    fn quantises_to_the_reference_bytes() {
        for dtype in ROUNDED {
            assert_eq!(
                quantise(dtype, &floats("f32.values")).unwrap(),
                raw(dtype),
                "{}",
                dtype.name()
            );
        }
    }

    /// Root of the mean of the weighted squared errors of `bytes`.
    fn loss(dtype: DType, bytes: &[u8], values: &[f32], importance: &[f32]) -> f64 {
        let mut found = vec![0.0; values.len()];
        dequantise(dtype, bytes, &mut found).unwrap();
        let error = |(i, (a, b)): (usize, (&f32, &f32))| {
            f64::from(importance[i % importance.len()]) * f64::from(a - b).powi(2)
        };
        let sum: f64 = found.iter().zip(values).enumerate().map(error).sum();
        (sum / values.len() as f64).sqrt()
    }

    #[test]
    fn super_blocks_lose_no_more_than_the_reference_quantisers() {
        let values = floats("f32.values");
        for dtype in SUPER {
            let ours = loss(dtype, &quantise(dtype, &values).unwrap(), &values, &[1.0]);
            let reference = loss(dtype, raw(dtype), &values, &[1.0]);
            assert!(
                ours <= reference * 1.02,
                "{}: {ours} against {reference}",
                dtype.name()
            );
        }
    }

    #[test]
    fn importance_lowers_the_error_where_it_counts() {
        let values = floats("f32.values");
        let importance: Vec<f32> = (0..256).map(|i| if i % 7 == 0 { 30.0 } else { 0.3 }).collect();
        for dtype in DType::ALL.into_iter().filter(|d| d.is_quantised()) {
            let plain = quantise(dtype, &values).unwrap();
            let weighted = quantise_weighted(dtype, &values, Some(&importance)).unwrap();
            let (before, after) = (
                loss(dtype, &plain, &values, &importance),
                loss(dtype, &weighted, &values, &importance),
            );
            if dtype == DType::Q8_0 {
                assert_eq!(plain, weighted);
            } else {
                assert!(after < before * 0.97, "{}: {after} after {before}", dtype.name());
            }
        }
    }

    #[test]
    fn importance_of_another_width_or_without_sense_does_no_harm() {
        let values = floats("f32.values");
        for dtype in [DType::Q4_0, DType::Q4_K] {
            for columns in [0, 3, 160, 1024 + 256] {
                assert!(quantise_weighted(dtype, &values, Some(&vec![1.0; columns])).is_err());
            }
            for odd in [0.0, -1.0, f32::NAN, f32::INFINITY, f32::MAX] {
                let bytes = quantise_weighted(dtype, &values, Some(&[odd; 256])).unwrap();
                let (found, plain) = (
                    loss(dtype, &bytes, &values, &[1.0]),
                    loss(dtype, &quantise(dtype, &values).unwrap(), &values, &[1.0]),
                );
                assert!(found <= plain * 1.01, "{} with {odd}", dtype.name());
            }
        }
        let f16 = quantise_weighted(DType::F16, &values, Some(&[1.0; 256])).unwrap();
        assert_eq!(f16, raw(DType::F16));
    }

    #[test]
    fn rows_that_have_no_spread_are_kept() {
        for dtype in DType::ALL.into_iter().filter(|d| d.is_quantised()) {
            for value in [0.0f32, 0.75, -0.75, 1e-30] {
                let bytes = quantise(dtype, &[value; 512]).unwrap();
                let mut found = [f32::NAN; 512];
                dequantise(dtype, &bytes, &mut found).unwrap();
                let near = |v: &f32| (v - value).abs() <= 0.005 * value.abs() + 1e-20;
                assert!(
                    found.iter().all(near),
                    "{} of {value}: {}",
                    dtype.name(),
                    found[0]
                );
            }
        }
    }

    #[test]
    fn refuses_partial_blocks_and_wrong_lengths() {
        let mut out = [0.0; 32];
        let partial = dequantise(DType::Q4_0, &[0; 17], &mut out).unwrap_err();
        assert!(
            matches!(
                partial,
                QuantError::PartialBlock {
                    len: 17,
                    block: 18,
                    ..
                }
            ),
            "{partial}"
        );
        let wrong = dequantise(DType::Q8_0, &[0; 68], &mut out).unwrap_err();
        assert!(
            matches!(
                wrong,
                QuantError::LengthMismatch {
                    held: 64,
                    wanted: 32,
                    ..
                }
            ),
            "{wrong}"
        );
        assert!(quantise(DType::Q4_1, &[0.0; 31]).is_err());
    }

    #[test]
    fn survives_values_that_are_not_finite() {
        for dtype in DType::ALL {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let bytes = quantise(dtype, &[bad; 256]).unwrap();
                let mut found = [0.0; 256];
                dequantise(dtype, &bytes, &mut found).unwrap();
                if SUPER.contains(&dtype) {
                    assert!(found.iter().all(|v| v.is_nan()), "{} of {bad}", dtype.name());
                }
                let weighted = quantise_weighted(dtype, &[bad; 256], Some(&[1.0; 256])).unwrap();
                assert_eq!(weighted.len(), bytes.len());
            }
        }
    }
}
