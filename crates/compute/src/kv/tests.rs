//! What was pushed is what is read, whoever shares the blocks.

use half::f16;
use proptest::prelude::*;
use stdx::rng::Rng;

use super::*;

const TYPES: [KvDType; 3] = [KvDType::F32, KvDType::F16, KvDType::Q8_0];

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| (rng.next_u64() as i32 as f32) / 1e9).collect()
}

fn f32_at(bytes: &[u8], i: usize) -> f32 {
    f32::from_le_bytes(*bytes[4 * i..].first_chunk().unwrap())
}

fn number(columns: &Columns<'_>, group: usize, column: usize, lane: usize) -> f32 {
    let at = group * columns.group_bytes + (column * LANES + lane) * columns.numbers.size();
    let bytes = &columns.bytes[at..];
    match columns.numbers {
        Numbers::F32 => f32_at(bytes, 0),
        Numbers::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        Numbers::I8 => f32::from(bytes[0].cast_signed()),
        Numbers::ScaledI8(scales) => {
            let scale = f32_at(
                &scales[group * columns.group_bytes..],
                column / SCALED * LANES + lane,
            );
            f32::from(bytes[0].cast_signed()) * scale
        }
    }
}

/// Keys and values of a head at a position, as attention finds them.
fn read(layer: KvLayer<'_>, head: usize, position: usize) -> (Vec<f32>, Vec<f32>) {
    let tile = position / LANES * LANES;
    let piece = layer.piece(head, tile..layer.len());
    let (keys, values) = (piece.keys(), piece.values());
    let in_piece = position - tile;
    let key = (0..layer.head_dim()).map(|c| number(&keys, 0, c, in_piece));
    let value = (0..layer.head_dim()).map(|c| {
        let scale = piece.value_scales(c / SCALED);
        let scale = scale.map_or(1.0, |scales| f32_at(scales, in_piece));
        number(&values, c / LANES, in_piece, c % LANES) * scale
    });
    (key.collect(), value.collect())
}

/// The largest error that a type may make on a head's row.
fn tolerance(dtype: KvDType, row: &[f32]) -> f32 {
    let largest = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    match dtype {
        KvDType::F32 => 0.0,
        KvDType::F16 => largest / 2048.0,
        KvDType::Q8_0 => largest / 254.0 * 1.0001,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn what_is_pushed_is_found_within_the_types_rounding(
        dtype in prop::sample::select(&TYPES[..]), n_layers in 1usize..3, heads in 1usize..4,
        dim in 1usize..=70, steps in prop::collection::vec(1usize..90, 1..4), seed: u64,
    ) {
        let width = heads * dim;
        let total: usize = steps.iter().sum();
        let (k, v) = (noise(total * width, seed), noise(total * width, seed ^ 1));
        let mut kv = PagedKv::new(dtype, n_layers, heads, dim);
        let mut at = 0;
        for n in steps {
            for layer in 0..n_layers {
                kv.push(layer, &k[at * width..(at + n) * width], &v[at * width..(at + n) * width]);
            }
            at += n;
        }
        prop_assert_eq!(kv.size_bytes(), total.div_ceil(KV_BLOCK) * kv.block_bytes());
        for layer in 0..n_layers {
            let layer = kv.layer(layer);
            prop_assert_eq!(layer.len(), total);
            for (position, head) in (0..total).flat_map(|p| (0..heads).map(move |h| (p, h))) {
                let own = (position * heads + head) * dim..(position * heads + head + 1) * dim;
                let (key, value) = read(layer, head, position);
                for (got, want) in [(key, &k[own.clone()]), (value, &v[own.clone()])] {
                    let limit = tolerance(dtype, want);
                    for (got, want) in got.iter().zip(want) {
                        prop_assert!((got - want).abs() <= limit, "{} instead of {}", got, want);
                    }
                }
            }
        }
    }
}

fn filled(n: usize, seed: u64) -> PagedKv {
    let mut kv = PagedKv::new(KvDType::F16, 1, 2, 16);
    kv.push(0, &noise(n * 32, seed), &noise(n * 32, seed + 1));
    kv
}

#[test]
fn a_clone_shares_memory_until_one_of_them_writes() {
    let kv = filled(KV_BLOCK + 10, 1);
    let mut other = kv.clone();
    let before = read(kv.layer(0), 1, KV_BLOCK + 9);
    other.truncate(KV_BLOCK + 9);
    other.push(0, &noise(32, 5), &noise(32, 6));
    assert!(other.blocks[0].is_same(&kv.blocks[0]));
    assert!(!other.blocks[1].is_same(&kv.blocks[1]));
    assert_eq!(read(kv.layer(0), 1, KV_BLOCK + 9), before);
    assert_ne!(read(other.layer(0), 1, KV_BLOCK + 9), before);
    assert_eq!(
        read(other.layer(0), 0, KV_BLOCK + 8),
        read(kv.layer(0), 0, KV_BLOCK + 8)
    );
}

#[test]
fn only_full_blocks_are_shared_and_only_at_the_end_of_full_ones() {
    let kv = filled(2 * KV_BLOCK - 1, 1);
    assert!(kv.full_block(0).is_some() && kv.full_block(1).is_none() && kv.full_block(2).is_none());
    let block = kv.full_block(0).unwrap();
    let mut other = PagedKv::new(KvDType::F16, 1, 2, 16);
    assert!(other.attach(block.clone()));
    assert_eq!(other.layer(0).len(), KV_BLOCK);
    assert_eq!(read(other.layer(0), 1, 7), read(kv.layer(0), 1, 7));
    other.push(0, &noise(32, 5), &noise(32, 6));
    assert!(!other.attach(block.clone()), "the cache ends inside a block");
    assert!(
        !PagedKv::new(KvDType::F32, 1, 2, 16).attach(block),
        "another type"
    );
}

#[test]
fn a_block_survives_its_bytes() {
    let kv = filled(KV_BLOCK, 3);
    let again = KvBlock::from_bytes(kv.full_block(0).unwrap().bytes());
    let mut other = PagedKv::new(KvDType::F16, 1, 2, 16);
    assert!(other.attach(again));
    assert_eq!(read(other.layer(0), 0, 63), read(kv.layer(0), 0, 63));
}

#[test]
fn what_is_not_finite_breaks_nothing_else() {
    let mut kv = PagedKv::new(KvDType::Q8_0, 1, 1, 32);
    let mut x = vec![1.0f32; 32];
    (x[3], x[4], x[5]) = (f32::INFINITY, f32::NEG_INFINITY, f32::NAN);
    kv.push(0, &x, &x);
    kv.push(0, &[1e-44; 32], &[-1e-44; 32]);
    let (key, value) = read(kv.layer(0), 0, 0);
    assert!(key.iter().chain(&value).all(|v| v.is_finite()), "{key:?}");
    assert!(key[3] > 1e38 && key[4] < -1e38);
    let (key, value) = read(kv.layer(0), 0, 1);
    assert!(key.iter().chain(&value).all(|v| v.abs() < 1e-40));
}

#[test]
fn threads_write_the_same_bytes() {
    let pool = Pool::new(3);
    for dtype in TYPES {
        let (mut alone, mut shared) = (PagedKv::new(dtype, 2, 8, 48), PagedKv::new(dtype, 2, 8, 48));
        // A block begun, some filled, one begun; then few enough for one thread.
        for (n, seed) in [(5, 1), (2 * KV_BLOCK, 2), (1, 3)] {
            let (k, v) = (noise(n * 8 * 48, seed), noise(n * 8 * 48, seed + 10));
            for layer in 0..2 {
                alone.push(layer, &k, &v);
                shared.push_in(&pool, layer, &k, &v);
            }
        }
        assert_eq!(alone.lens, shared.lens);
        assert_eq!(alone.blocks.len(), shared.blocks.len());
        for (a, b) in alone.blocks.iter().zip(&shared.blocks) {
            assert!(a.bytes() == b.bytes(), "{dtype:?}");
        }
    }
}
