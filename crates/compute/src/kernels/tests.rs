//! Tests of the kernels that matrix products do not reach: columns of a cache, and quantisation.

use half::f16;
use proptest::prelude::*;
use stdx::rng::Rng;

use super::*;

fn noise(n: usize, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| (rng.next_u64() as i32 as f32) / 1e9).collect()
}

/// `G` groups of `len` columns against `T` rows of weights, for every level.
fn check_columns<const T: usize, const G: usize>(len: usize, gap: usize, seed: u64) {
    let mut rng = Rng::new(seed);
    let per_column = LANES + gap;
    let values: Vec<f16> = noise(G * len * per_column, &mut rng)
        .into_iter()
        .map(f16::from_f32)
        .collect();
    let mut weights = [[0.0; SPAN]; T];
    weights
        .iter_mut()
        .for_each(|row| row.copy_from_slice(&noise(SPAN, &mut rng)));
    let narrow: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let wide: Vec<u8> = values.iter().flat_map(|v| v.to_f32().to_le_bytes()).collect();
    for (dtype, bytes, size) in [(DType::F16, &narrow, 2), (DType::F32, &wide, 4)] {
        let groups = std::array::from_fn(|g| &bytes[g * len * per_column * size..]);
        let columns = Columns::<G> {
            groups,
            stride: per_column * size,
            len,
        };
        for isa in Isa::available() {
            let sums = weigh_columns(isa, dtype, columns, &weights);
            for (g, t, lane) in
                (0..G).flat_map(|g| (0..T).flat_map(move |t| (0..LANES).map(move |l| (g, t, l))))
            {
                let column = |c: usize| f64::from(values[(g * len + c) * per_column + lane].to_f32());
                let want: f64 = (0..len).map(|c| f64::from(weights[t][c]) * column(c)).sum();
                let got = f64::from(sums[g][t][lane]);
                assert!(
                    (got - want).abs() < 1e-3,
                    "{} {}: {got} not {want}",
                    isa.level().name(),
                    dtype.name()
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_level_weighs_columns_alike(len in 1usize..=SPAN, gap in 0usize..40, seed: u64) {
        check_columns::<1, 4>(len, gap, seed);
        check_columns::<4, 1>(len, gap, seed);
        check_columns::<TILE_MAX, 2>(len, gap, seed);
    }

    #[test]
    fn every_level_quantises_to_the_same_integers(seed: u64, exponent in -30i32..30) {
        let mut x = [0.0; 32];
        x.copy_from_slice(&noise(32, &mut Rng::new(seed)));
        x.iter_mut().for_each(|v| *v *= 2.0f32.powi(exponent));
        let want = scalar::quantise_block(&x);
        for isa in Isa::available() {
            prop_assert_eq!(quantise_block(isa, &x), want, "{}", isa.level().name());
        }
    }
}

#[test]
fn no_level_makes_minus_128_of_anything() {
    let hostile = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        f32::from_bits(1),
        -0.0,
    ];
    for a in hostile {
        for b in hostile {
            let x: [f32; 32] = std::array::from_fn(|i| [a, b, 1.0, -1.0][i % 4]);
            for isa in Isa::available() {
                let block = quantise_block(isa, &x);
                let lowest = block
                    .quads
                    .into_iter()
                    .flat_map(i32::to_le_bytes)
                    .map(u8::cast_signed)
                    .min();
                assert!(
                    lowest > Some(i8::MIN),
                    "{} made -128 of {a} and {b}",
                    isa.level().name()
                );
            }
        }
    }
}

#[test]
fn kernel_names_say_architecture_types_and_level() {
    for isa in Isa::available() {
        let names = kernel_names(isa);
        assert!(
            names
                .iter()
                .any(|n| n.contains("q4_0.i8") && n.ends_with(isa.level().name())),
            "{names:?}"
        );
    }
}
