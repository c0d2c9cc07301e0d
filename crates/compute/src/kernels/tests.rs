//! Tests of the quantisation of activations, which matrix products reach only in part.

use proptest::prelude::*;
use stdx::rng::Rng;

use super::*;

fn noise(n: usize, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| (rng.next_u64() as i32 as f32) / 1e9).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

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
