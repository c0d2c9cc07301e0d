//! Weights that are no numbers (NaN, infinite) are found while they are read: with one of them in it, a model answers
//! nonsense without ever failing.
//!
//! Bytes are read in pieces and looked at while the processor's cache has them, so that it costs next to nothing. Of
//! quantised blocks only the scales are looked at: all else in them are whole numbers, and those times a finite scale
//! are finite.

use compute::DType;
use weights::Source;

use crate::error::LoadError;

/// About as many bytes are read at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Elements looked at together.
const TOGETHER: usize = 1024;
/// The bits of an f16, a bf16 and an f32 that are all set in what is not finite, and only there.
const F16_EXPONENT: u16 = 0x7c00;
const BF16_EXPONENT: u16 = 0x7f80;
const F32_EXPONENT: u32 = 0x7f80_0000;

/// Fills `bytes` with a whole tensor, whose weights must be finite; `shape` has the rows first.
pub(crate) fn read(
    source: &dyn Source,
    name: &str,
    dtype: DType,
    shape: &[usize],
    bytes: &mut [u8],
) -> Result<(), LoadError> {
    let block_bytes = dtype.block_bytes();
    let piece_bytes = PIECE_BYTES / block_bytes * block_bytes;
    for (index, piece) in bytes.chunks_mut(piece_bytes).enumerate() {
        let start = index * piece_bytes;
        source.read_part(name, start as u64, piece)?;
        if let Some(first) = first_in(dtype, piece) {
            let before = start / block_bytes * dtype.block_len();
            return Err(refusal(name, shape, before + first));
        }
    }
    Ok(())
}

/// Refuses values among which one is not finite.
pub(crate) fn check(name: &str, shape: &[usize], values: &[f32]) -> Result<(), LoadError> {
    let is_not = |value: f32| value.to_bits() & F32_EXPONENT == F32_EXPONENT;
    first(values, is_not).map_or(Ok(()), |element| Err(refusal(name, shape, element)))
}

fn refusal(name: &str, shape: &[usize], element: usize) -> LoadError {
    let mut rest = element;
    let mut place: Vec<usize> = Vec::with_capacity(shape.len());
    for &extent in shape.iter().rev() {
        place.push(rest % extent.max(1));
        rest /= extent.max(1);
    }
    place.reverse();
    LoadError::NotFinite {
        name: name.to_owned(),
        place,
    }
}

/// The first element that is not finite; of a block with such a scale, its first.
fn first_in(dtype: DType, bytes: &[u8]) -> Option<usize> {
    let is_not_f16 = |word: [u8; 2]| u16::from_le_bytes(word) & F16_EXPONENT == F16_EXPONENT;
    let is_not_bf16 = |word: [u8; 2]| u16::from_le_bytes(word) & BF16_EXPONENT == BF16_EXPONENT;
    let is_not_f32 = |word: [u8; 4]| u32::from_le_bytes(word) & F32_EXPONENT == F32_EXPONENT;
    let block = match dtype {
        DType::F32 => first(bytes.as_chunks().0, is_not_f32),
        DType::F16 => first(bytes.as_chunks().0, is_not_f16),
        DType::BF16 => first(bytes.as_chunks().0, is_not_bf16),
        DType::Q4_0 => first_block::<18>(bytes, &[0]),
        DType::Q4_1 => first_block::<20>(bytes, &[0, 2]),
        DType::Q5_0 => first_block::<22>(bytes, &[0]),
        DType::Q5_1 => first_block::<24>(bytes, &[0, 2]),
        DType::Q8_0 => first_block::<34>(bytes, &[0]),
        DType::Q2_K => first_block::<84>(bytes, &[80, 82]),
        DType::Q3_K => first_block::<110>(bytes, &[108]),
        DType::Q4_K => first_block::<144>(bytes, &[0, 2]),
        DType::Q5_K => first_block::<176>(bytes, &[0, 2]),
        DType::Q6_K => first_block::<210>(bytes, &[208]),
    };
    Some(block? * dtype.block_len())
}

/// The first block of `B` bytes with an f16 at one of these places that is not finite.
#[inline(always)]
fn first_block<const B: usize>(bytes: &[u8], scales: &[usize]) -> Option<usize> {
    let is_not = |block: [u8; B]| {
        let is_not =
            |&at: &usize| u16::from_le_bytes([block[at], block[at + 1]]) & F16_EXPONENT == F16_EXPONENT;
        scales.iter().any(is_not)
    };
    first(bytes.as_chunks().0, is_not)
}

/// The first item of which that is so. Many are asked before any answer is looked at: so it is a few instructions of
/// the processor for many items.
#[inline(always)]
fn first<T: Copy>(items: &[T], is_not: impl Fn(T) -> bool) -> Option<usize> {
    let any = |items: &[T]| items.iter().fold(false, |any, item| any | is_not(*item));
    let start = TOGETHER * items.chunks(TOGETHER).position(any)?;
    let within = items[start..].iter().position(|item| is_not(*item))?;
    Some(start + within)
}

#[cfg(test)]
mod tests {
    use compute::quant;

    use super::*;

    #[test]
    fn says_of_every_type_what_its_values_say() {
        for dtype in DType::ALL {
            let (block_bytes, n_blocks) = (dtype.block_bytes(), 9);
            let n_values = n_blocks * dtype.block_len();
            // Ones all over: finite in every type.
            let good = quant::quantise(dtype, &vec![1.0; n_values]).unwrap();
            assert_eq!(first_in(dtype, &good), None, "{}", dtype.name());
            let mut found_some = false;
            // Every number of the format is made infinite, then NaN, wherever it may be; all else are whole numbers.
            for at in (0..block_bytes).step_by(2) {
                for bits in [0x7c00u16, 0xfc00, 0x7e01, 0x7f80, 0xff81] {
                    let mut bytes = good.clone();
                    let place = 5 * block_bytes + at;
                    bytes[place..place + 2].copy_from_slice(&bits.to_le_bytes());
                    let mut values = vec![0.0; n_values];
                    quant::dequantise(dtype, &bytes, &mut values).unwrap();
                    let want = values.iter().position(|value| !value.is_finite());
                    assert_eq!(
                        first_in(dtype, &bytes),
                        want,
                        "{} at {at}: {bits:x}",
                        dtype.name()
                    );
                    found_some |= want.is_some();
                }
            }
            assert!(found_some, "{}", dtype.name());
        }
    }

    #[test]
    fn the_place_is_told_by_the_shape() {
        let mut values = vec![0.0; 2 * 3 * 1000];
        assert!(check("x", &[2, 3, 1000], &values).is_ok());
        values[5_999] = f32::NEG_INFINITY;
        values[4_007] = f32::NAN;
        let error = check("x", &[2, 3, 1000], &values).unwrap_err();
        assert!(
            matches!(&error, LoadError::NotFinite { name, place } if name == "x" && *place == [1, 1, 7]),
            "{error}"
        );
    }
}
