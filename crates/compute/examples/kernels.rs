//! Speed of the matrix kernels beside the machine's own roof: `cargo run --release -p compute --example kernels`.
//!
//! For each level and type: one token (limited by reading weights, GB/s) and 128 tokens (limited by
//! arithmetic, GMAC/s); then what a fork-join and a product that fits in the cache cost. A word on the
//! command line keeps only lines that contain it. Figures are the best of several rounds.

use std::hint::black_box;
use std::time::Instant;

use compute::{
    AlignedBytes, AttentionJob, DType, Isa, KvDType, Matrix, PagedKv, Pool, Precision, Rope, RopeStyle,
    Scratch, attention, matmul, ops,
};

/// Larger than the caches of the machines this is for.
const LARGE_BYTES: usize = 192 << 20;
const COLS: usize = 2048;
const TOKENS: usize = 128;
const ROUNDS: usize = 7;

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for threads in [1, threads] {
        let pool = Pool::new(threads);
        print(&format!(
            "-- {threads} threads, reading {:.1} GB/s",
            read_roof(&pool)
        ));
        for isa in Isa::available() {
            for dtype in DType::ALL {
                let name = format!("{:10} {:5}", isa.level().name(), dtype.name());
                if name.contains(&only) {
                    print(&format!("{name} {}", matrix_line(&pool, isa, dtype)));
                }
            }
        }
        if "small".contains(&only) {
            small(&pool);
        }
        if "attention".contains(&only) {
            attention_lines(&pool);
        }
    }
}

fn print(line: &str) {
    use std::io::Write;
    // A closed pipe ends the listing early, which is what its reader wanted.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Best seconds of several rounds.
fn best(mut f: impl FnMut()) -> f64 {
    let round = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

/// Median seconds of single calls: what a call costs when the machine leaves it alone.
fn median(calls: usize, f: &mut dyn FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..calls)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_unstable_by(f64::total_cmp);
    seconds[calls / 2]
}

fn read_roof(pool: &Pool) -> f64 {
    let mut bytes = AlignedBytes::zeroed(LARGE_BYTES);
    bytes.fill(1);
    let seconds = best(|| {
        pool.for_each_chunk(bytes.len(), 1 << 20, |range| {
            let words = bytes[range].as_chunks::<64>().0;
            let mut sums = [0u64; 8];
            for line in words {
                for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
                    *sum ^= u64::from_le_bytes(*word);
                }
            }
            black_box(sums);
        });
    });
    LARGE_BYTES as f64 / seconds / 1e9
}

fn matrix_line(pool: &Pool, isa: Isa, dtype: DType) -> String {
    let slow = isa.level() == compute::Level::Scalar;
    let row_bytes = dtype.row_bytes(COLS).expect("2048 columns are whole blocks");
    let rows = if slow {
        1024
    } else {
        (LARGE_BYTES / row_bytes).next_multiple_of(16)
    };
    let mut bytes = AlignedBytes::zeroed(rows * row_bytes);
    // Small numbers of any type; speed does not depend on the values.
    bytes.fill(0x11);
    let m = Matrix::new(dtype, rows, COLS, bytes).expect("the shape fits the bytes");
    let mut scratch = Scratch::with_isa(isa);
    let x: Vec<f32> = (0..TOKENS * COLS).map(|i| (i as f32 * 0.01).sin()).collect();
    let mut line = String::new();
    for precision in [Precision::Native, Precision::F32] {
        let mut out = vec![0.0; rows];
        let one = best(|| matmul(pool, m.as_ref(), &x[..COLS], 1, &mut out, precision, &mut scratch));
        let few = rows.min(1024);
        let view = m.rows_view(0..few);
        let mut out = vec![0.0; TOKENS * few];
        let many = best(|| matmul(pool, view, &x, TOKENS, &mut out, precision, &mut scratch));
        let gbs = (rows * row_bytes) as f64 / one / 1e9;
        let gmacs = (TOKENS * few * COLS) as f64 / many / 1e9;
        line += &format!("| {precision:?}: n=1 {gbs:5.1} GB/s, n={TOKENS} {gmacs:6.1} GMAC/s ");
    }
    line
}

/// What is paid per call where the weights are in the cache.
fn small(pool: &Pool) {
    let per_call = |f: &mut dyn FnMut()| median(2000, f) * 1e6;
    print(&format!(
        "small: fork-join {:.2} us",
        per_call(&mut || pool.run(&|_, _| {}))
    ));
    for (rows, cols) in [(576, 576), (1536, 576), (576, 1536)] {
        let bytes = AlignedBytes::zeroed(rows * DType::Q4_1.row_bytes(cols).expect("whole blocks"));
        let m = Matrix::new(DType::Q4_1, rows, cols, bytes).expect("the shape fits the bytes");
        let (x, mut out, mut scratch) = (vec![0.5; cols], vec![0.0; rows], Scratch::new());
        let us = per_call(&mut || matmul(pool, m.as_ref(), &x, 1, &mut out, Precision::Native, &mut scratch));
        print(&format!(
            "small: q4_1 {rows} x {cols} {us:.2} us, {:.1} GB/s",
            m.size_bytes() as f64 / us / 1e3
        ));
    }
    op_lines();
}

/// Vector operations on one thread, on data that fits in the cache.
fn op_lines() {
    let (mut x, y, w) = (vec![0.3f32; 4096], vec![0.7f32; 4096], vec![0.9f32; 4096]);
    let mut out = vec![0.0; x.len()];
    let mut line = String::from("small: ops on 4096 values:");
    let mut time = |name: &str, f: &mut dyn FnMut(&mut [f32], &mut [f32])| {
        let ns = median(2000, &mut || f(&mut x, &mut out)) * 1e9;
        line += &format!(" {name} {ns:.0} ns");
    };
    time("rms_norm", &mut |x, out| ops::rms_norm(x, &w, 1e-5, out));
    time("silu_mul", &mut |_, out| ops::silu_mul(out, &y));
    time("gelu", &mut |_, out| ops::gelu_erf(out));
    time("softmax", &mut |_, out| ops::softmax(out));
    time("dot", &mut |x, out| out[0] = black_box(ops::dot_f32(x, &y)));
    time("argmax", &mut |x, _| _ = black_box(ops::argmax(x)));
    time("top_k 8", &mut |x, _| _ = black_box(ops::top_k(x, 8)));
    let rope = Rope::new(64, 1e4, 16);
    time("rope", &mut |_, out| {
        rope.apply(RopeStyle::HalfRotate, out, 64, 3)
    });
    print(&line);
}

/// One token, limited by reading keys and values of layers that fit no cache together, and a whole text,
/// limited by arithmetic.
fn attention_lines(pool: &Pool) {
    for (heads, kv_heads, head_dim) in [(9, 3, 64), (16, 16, 128), (32, 4, 128)] {
        for dtype in [KvDType::F16, KvDType::Q8_0] {
            for (n, len) in [(1, 3500), (2048, 2048)] {
                let n_layers = if n == 1 { 8 } else { 1 };
                let mut kv = PagedKv::new(dtype, n_layers, kv_heads, head_dim);
                let fill = vec![0.1; len * kv_heads * head_dim];
                (0..n_layers).for_each(|layer| kv.push(layer, &fill, &fill));
                let (q, mut out) = (vec![0.1; n * heads * head_dim], vec![0.0; n * heads * head_dim]);
                let mut pass =
                    || (0..n_layers).for_each(|layer| attend(pool, &kv, layer, heads, &q, &mut out));
                let seconds = best(&mut pass) / n_layers as f64;
                let macs = 2 * heads * head_dim * if n == 1 { len } else { len * len / 2 };
                print(&format!(
                    "attention {heads}/{kv_heads} heads of {head_dim}, {}, {n} of {len}: {:.1} us, {:.1} GB/s, {:.1} GMAC/s",
                    dtype.name(),
                    seconds * 1e6,
                    (kv.size_bytes() / n_layers) as f64 / seconds / 1e9,
                    macs as f64 / seconds / 1e9
                ));
            }
        }
    }
}

fn attend(pool: &Pool, kv: &PagedKv, layer: usize, n_heads: usize, q: &[f32], out: &mut [f32]) {
    let kv = kv.layer(layer);
    let n = q.len() / (n_heads * kv.head_dim());
    let (start, scale) = (kv.len() - n, 0.1);
    let job = AttentionJob {
        q,
        n,
        n_heads,
        kv,
        start,
        scale,
        out,
    };
    attention(pool, &mut [job]);
}
