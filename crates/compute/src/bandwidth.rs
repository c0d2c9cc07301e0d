//! How fast memory can be read, which is what limits decoding one token after another.
//!
//! A probe of a fraction of a second for an estimate, not a benchmark.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::bytes::AlignedBytes;
use crate::pool::Pool;

/// Larger than the caches of most machines.
const BUFFER_BYTES: usize = 256 << 20;
/// What a thread reads before it takes more.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes a second that the threads of `pool` read together, by the fastest pass over a large buffer within about
/// `duration` (at least one pass).
pub fn read_bandwidth(pool: &Pool, duration: Duration) -> f64 {
    let mut buffer = AlignedBytes::zeroed(BUFFER_BYTES);
    // Untouched pages are all the same one.
    buffer.fill(1);
    let begin = Instant::now();
    let mut fastest = 0.0f64;
    loop {
        let pass = Instant::now();
        pool.for_each_chunk(BUFFER_BYTES / PIECE_BYTES, 1, |pieces| {
            let bytes = &buffer[pieces.start * PIECE_BYTES..pieces.end * PIECE_BYTES];
            black_box(sum(bytes));
        });
        let seconds = pass.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        fastest = fastest.max(BUFFER_BYTES as f64 / seconds);
        if begin.elapsed() >= duration {
            return fastest;
        }
    }
}

/// Eight independent sums, so that additions never wait for each other.
fn sum(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; 8];
    for line in bytes.as_chunks::<64>().0 {
        for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    sums.iter().fold(0, |total, sum| total.wrapping_add(*sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read() {
        assert_eq!(sum(&[1; 128]), 16 * 0x0101_0101_0101_0101);
    }

    #[test]
    fn the_probe_gives_a_number_and_ends() {
        let found = read_bandwidth(&Pool::new(2), Duration::ZERO);
        assert!(found.is_finite() && found > 1e6, "{found}");
    }
}
