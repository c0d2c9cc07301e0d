//! Random blocks of the types whose quantisation searches: all bytes random, the scale such that the weights have
//! the spread that is wanted.
//!
//! Searching scales for seven billion random numbers would take an hour and make them no more random. Levels and
//! the integer scales of sub-blocks are uniform, so their moments are known exactly. Where sub-blocks have offsets,
//! these follow the scales, so that every sub-block has a mean of 0, as it has where weights were searched: an offset
//! of its own, shared by 32 weights, would multiply the rounding of the activations' sum and let any arithmetic look
//! worse than it is.

use compute::DType;
use half::f16;
use stdx::rng::Rng;

/// How random bytes of a type become weights: `d` times something of mean 0 and this deviation.
struct Recipe {
    /// Byte of the block where the f16 `d` is.
    d: usize,
    /// Byte of the f16 that scales the offsets, and how many `d` it must be for a mean of 0.
    offset: Option<(usize, f32)>,
    deviation: f32,
}

/// Mean and mean square of the integers `low..=high`.
fn moments(low: f32, high: f32) -> (f32, f32) {
    let (mean, n) = ((low + high) / 2.0, high - low + 1.0);
    (mean, mean * mean + (n * n - 1.0) / 12.0)
}

/// `None` for types that are made by quantising numbers.
fn recipe(dtype: DType) -> Option<Recipe> {
    // `d * q` of symmetric types has a mean near 0, and the signs of `d` or of the scales are random.
    let symmetric = |d, half_scales: f32, half_levels: f32| {
        let square = |half: f32| moments(-half, half - 1.0).1;
        Recipe {
            d,
            offset: None,
            deviation: (square(half_scales) * square(half_levels)).sqrt(),
        }
    };
    // `d * s * (q - middle)`: offsets are `middle` times the scales.
    let affine = |d, e, scale_max: f32, level_max: f32| {
        let middle = level_max / 2.0;
        let square = moments(0.0, scale_max).1 * moments(-middle, middle).1;
        Recipe {
            d,
            offset: Some((e, middle)),
            deviation: square.sqrt(),
        }
    };
    match dtype {
        DType::Q5_0 => Some(Recipe {
            d: 0,
            offset: None,
            deviation: moments(-16.0, 15.0).1.sqrt(),
        }),
        DType::Q5_1 => Some(Recipe {
            d: 0,
            offset: Some((2, -15.5)),
            deviation: moments(-15.5, 15.5).1.sqrt(),
        }),
        DType::Q2_K => Some(affine(80, 82, 15.0, 3.0)),
        DType::Q3_K => Some(symmetric(108, 32.0, 4.0)),
        DType::Q4_K => Some(affine(0, 2, 63.0, 15.0)),
        DType::Q5_K => Some(affine(0, 2, 63.0, 31.0)),
        DType::Q6_K => Some(symmetric(208, 128.0, 32.0)),
        _ => None,
    }
}

/// Blocks of `n` weights of mean 0 and the deviation asked for; `None` where the type has no recipe or blocks do
/// not divide `n`.
pub(super) fn blocks(dtype: DType, deviation: f32, rng: &mut Rng, n: usize) -> Option<Vec<u8>> {
    let recipe = recipe(dtype)?;
    let mut bytes = vec![0; dtype.row_bytes(n)?];
    for chunk in bytes.chunks_mut(8) {
        let random = rng.next_u64().to_le_bytes();
        chunk.copy_from_slice(&random[..chunk.len()]);
    }
    let d = deviation / recipe.deviation;
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        tie_offsets(dtype, block);
        // The sign is one of the random bits that stood there.
        let flip = recipe.offset.is_none() && block[recipe.d] & 1 == 1;
        let mut put = |at: usize, v: f32| block[at..at + 2].copy_from_slice(&f16::from_f32(v).to_le_bytes());
        put(recipe.d, if flip { -d } else { d });
        if let Some((at, times)) = recipe.offset {
            put(at, d * times);
        }
    }
    Some(bytes)
}

/// Makes the integer offsets of sub-blocks equal to their scales.
fn tie_offsets(dtype: DType, block: &mut [u8]) {
    let twice = |byte: u8| (byte & 15) * 17;
    match dtype {
        // Bytes 0..16: the scale in the low half, the offset in the high half.
        DType::Q2_K => block[..16].iter_mut().for_each(|byte| *byte = twice(*byte)),
        // Bytes 4..8: the first scales and high bits, 8..12 the same of the offsets; 12..16: low bits of the later
        // scales in the low half, of the offsets in the high half.
        DType::Q4_K | DType::Q5_K => {
            block.copy_within(4..8, 8);
            block[12..16].iter_mut().for_each(|byte| *byte = twice(*byte));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_blocks_have_the_spread_that_is_asked_for() {
        for dtype in DType::ALL {
            let Some(bytes) = blocks(dtype, 0.02, &mut Rng::new(1), 1 << 18) else {
                assert!(recipe(dtype).is_none());
                continue;
            };
            let mut values = vec![0.0; 1 << 18];
            compute::quant::dequantise(dtype, &bytes, &mut values).unwrap();
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            let square = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
            let name = dtype.name();
            assert!(mean.abs() < 0.0003, "{name}: mean {mean}");
            assert!(
                (square.sqrt() / 0.02 - 1.0).abs() < 0.01,
                "{name}: {}",
                square.sqrt()
            );
        }
        assert!(blocks(DType::Q4_K, 1.0, &mut Rng::new(1), 128).is_none());
    }
}
