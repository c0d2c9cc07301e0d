//! Values of stored blocks: bytes to f32 and back, as GGUF's reference quantiser does.
//!
//! Row-major bytes as files hold them; not the interleaved form in which [`crate::Matrix`] keeps them.
//! Dequantisation is bit-exact with the reference implementation. These are the slow, obvious loops:
//! kernels are judged against them.

use half::{bf16, f16};

use crate::blocks::{BLOCK, DType};

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
        DType::Q4_0 => blocks.for_each(|(b, o)| {
            let d = half_at(b, 0);
            nibbles(&b[2..], o, |q| (q - 8.0) * d)
        }),
        DType::Q4_1 => blocks.for_each(|(b, o)| {
            let (d, m) = (half_at(b, 0), half_at(b, 2));
            nibbles(&b[4..], o, |q| q * d + m)
        }),
        DType::Q8_0 => blocks.for_each(|(b, o)| {
            let d = half_at(b, 0);
            for (o, &q) in o.iter_mut().zip(&b[2..]) {
                *o = f32::from(q.cast_signed()) * d;
            }
        }),
    }
    Ok(())
}

/// Encodes `values` as row-major blocks of `dtype`, with the reference quantiser's rounding.
///
/// Values that are not finite give blocks whose scale is not finite.
pub fn quantise(dtype: DType, values: &[f32]) -> Result<Vec<u8>, QuantError> {
    let block = dtype.block_len();
    if !values.len().is_multiple_of(block) {
        return Err(QuantError::PartialBlock {
            dtype,
            what: "values",
            len: values.len(),
            block,
        });
    }
    let mut out = Vec::with_capacity(values.len() / block * dtype.block_bytes());
    for v in values.chunks_exact(block) {
        match dtype {
            DType::F32 => out.extend(v[0].to_le_bytes()),
            DType::F16 => out.extend(f16::from_f32(v[0]).to_le_bytes()),
            DType::BF16 => out.extend(bf16::from_f32(v[0]).to_le_bytes()),
            DType::Q4_0 => encode_q4_0(v, &mut out),
            DType::Q4_1 => encode_q4_1(v, &mut out),
            DType::Q8_0 => encode_q8_0(v, &mut out),
        }
    }
    Ok(out)
}

/// The f16 that starts at byte `at`.
pub(crate) fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Low nibbles are the first half of the block, high nibbles the second.
fn nibbles(packed: &[u8], out: &mut [f32], value: impl Fn(f32) -> f32) {
    let (low, high) = out.split_at_mut(BLOCK / 2);
    for ((&q, l), h) in packed.iter().zip(low).zip(high) {
        *l = value(f32::from(q & 15));
        *h = value(f32::from(q >> 4));
    }
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The scale maps the value of largest magnitude to -8, so that one end of the range is exact.
fn encode_q4_0(v: &[f32], out: &mut Vec<u8>) {
    let extreme = v
        .iter()
        .fold(0.0f32, |best, &x| if x.abs() > best.abs() { x } else { best });
    let d = extreme / -8.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    push_nibbles(v, out, |x| x * id + 8.5);
}

fn encode_q4_1(v: &[f32], out: &mut Vec<u8>) {
    let min = v.iter().copied().fold(f32::MAX, f32::min);
    let max = v.iter().copied().fold(-f32::MAX, f32::max);
    let d = (max - min) / 15.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(f16::from_f32(min).to_le_bytes());
    push_nibbles(v, out, |x| (x - min) * id + 0.5);
}

/// `level` adds the half; the cast drops the fraction and saturates.
fn push_nibbles(v: &[f32], out: &mut Vec<u8>, level: impl Fn(f32) -> f32) {
    let (low, high) = v.split_at(BLOCK / 2);
    let nibble = |x: f32| (level(x) as u8).min(15);
    out.extend(low.iter().zip(high).map(|(&l, &h)| nibble(l) | nibble(h) << 4));
}

fn encode_q8_0(v: &[f32], out: &mut Vec<u8>) {
    let amax = v.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let d = amax / 127.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(v.iter().map(|x| ((x * id).round() as i8).cast_unsigned()));
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

    const STORED: [DType; 5] = [DType::F16, DType::BF16, DType::Q4_0, DType::Q4_1, DType::Q8_0];

    #[test]
    fn dequantises_the_reference_blocks_bit_for_bit() {
        for dtype in STORED {
            let want = floats(&format!("{}.values", dtype.name().to_uppercase()));
            let mut got = vec![0.0; want.len()];
            dequantise(dtype, raw(dtype), &mut got).unwrap();
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got), bits(&want), "{}", dtype.name());
        }
    }

    #[test]
    fn quantises_to_the_reference_bytes() {
        for dtype in STORED {
            assert_eq!(
                quantise(dtype, &floats("f32.values")).unwrap(),
                raw(dtype),
                "{}",
                dtype.name()
            );
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
                assert_eq!(
                    quantise(dtype, &[bad; 32]).unwrap().len(),
                    dtype.row_bytes(32).unwrap()
                );
            }
        }
    }
}
