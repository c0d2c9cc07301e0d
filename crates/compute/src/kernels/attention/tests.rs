//! Every instruction set weighs columns as the formula in f64 does, and as the scalar loop does.

use proptest::prelude::*;
use stdx::rng::Rng;

use super::*;

fn noise(n: usize, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| (rng.next_u64() as i32 as f32) / 1e9).collect()
}

/// Columns of every kind, as bytes and as what they mean.
struct Case {
    n_groups: usize,
    len: usize,
    group_bytes: usize,
    numbers: u8,
    bytes: Vec<u8>,
    scales: Vec<u8>,
}

impl Case {
    fn new(numbers: u8, n_groups: usize, len: usize, gap: usize, rng: &mut Rng) -> Self {
        let size = [4, 2, 1, 1][usize::from(numbers)];
        // A multiple of every number's size, so that numbers are where groups and scales start.
        let group_bytes = len * LANES * size + gap * 4 + len.div_ceil(SCALED) * LANES * 4;
        let values = noise(n_groups * group_bytes, rng);
        let bytes = match numbers {
            0 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            1 => values
                .iter()
                .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                .collect(),
            _ => values.iter().map(|v| (v * 60.0) as i8 as u8).collect(),
        };
        let scales = noise(n_groups * group_bytes, rng);
        Self {
            n_groups,
            len,
            group_bytes,
            numbers,
            bytes,
            scales: scales.iter().flat_map(|v| (v / 60.0).to_le_bytes()).collect(),
        }
    }

    fn columns(&self) -> Columns<'_> {
        Columns {
            bytes: &self.bytes,
            numbers: match self.numbers {
                0 => Numbers::F32,
                1 => Numbers::F16,
                2 => Numbers::I8,
                _ => Numbers::ScaledI8(&self.scales),
            },
            group_bytes: self.group_bytes,
            n_groups: self.n_groups,
            len: self.len,
        }
    }

    /// What the formula says of one number.
    fn value(&self, group: usize, column: usize, lane: usize) -> f64 {
        let columns = self.columns();
        let at = group * self.group_bytes + column * LANES * columns.numbers.size();
        let value = f64::from(widen(columns.numbers, &self.bytes[at..])[lane]);
        let scale = || {
            let at = group * self.group_bytes + column / SCALED * LANES * 4;
            f64::from(widen(Numbers::F32, &self.scales[at..])[lane])
        };
        if self.numbers == 3 { value * scale() } else { value }
    }
}

fn check<const T: usize>(case: &Case, from: usize, at: usize, rng: &mut Rng) {
    let mut weights = [[0.0; SPAN]; T];
    weights
        .iter_mut()
        .for_each(|row| row.copy_from_slice(&noise(SPAN, rng)));
    for isa in Isa::available() {
        let mut sums = [[0.5; SPAN]; T];
        weigh(isa, case.columns(), &weights, from, &mut sums, at);
        for (t, sums) in sums.iter().enumerate() {
            for (i, got) in sums.iter().enumerate() {
                let mut want = 0.5;
                if (at..at + case.n_groups * LANES).contains(&i) {
                    let (g, lane) = ((i - at) / LANES, (i - at) % LANES);
                    let term = |c| f64::from(weights[t][from + c]) * case.value(g, c, lane);
                    want += (0..case.len).map(term).sum::<f64>();
                }
                let tolerance = if case.numbers == 2 { 2e-2 } else { 1e-3 };
                assert!(
                    (f64::from(*got) - want).abs() < tolerance,
                    "{} {:?}, {T} rows: {got} not {want}",
                    isa.level().name(),
                    case.numbers
                );
            }
        }
        // A row's sums are the same bits whoever goes beside it.
        for t in 0..T {
            let mut alone = [[0.5; SPAN]; 1];
            weigh(isa, case.columns(), &[weights[t]], from, &mut alone, at);
            assert_eq!(alone[0], sums[t], "{}", isa.level().name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_level_weighs_columns_alike(
        numbers in 0u8..4, n_groups in 1usize..=9, len in 1usize..=128, from in 0usize..=128,
        at in 0usize..=112, gap in 0usize..40, seed: u64,
    ) {
        let rng = &mut Rng::new(seed);
        let case = Case::new(numbers, n_groups, len, gap, rng);
        check::<1>(&case, from, at, rng);
        check::<2>(&case, from, at, rng);
        check::<4>(&case, from, at, rng);
        check::<8>(&case, from, at, rng);
    }
}

#[test]
#[should_panic(expected = "assertion failed")]
fn columns_that_are_not_there_are_refused() {
    let case = Case::new(1, 3, 40, 0, &mut Rng::new(1));
    let columns = Columns {
        bytes: &case.bytes[..case.group_bytes * 2 + 40 * 32 - 1],
        ..case.columns()
    };
    weigh(Isa::active(), columns, &[[1.0; SPAN]], 0, &mut [[0.0; SPAN]], 0);
}
