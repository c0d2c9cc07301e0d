//! What the machine can do at most, measured in the same minutes as the engines: reading memory, and int8
//! multiply-add. Plain loops that do nothing else.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Memory that is read, shared between the threads: far more than any cache.
const READ_BYTES: usize = 1 << 30;
const HUGE_PAGE: usize = 2 << 20;
/// Passes over the memory; the best one counts, as in any bandwidth test.
const PASSES: usize = 3;
/// Rounds of the int8 loop in one timing.
const ROUNDS: u64 = 200_000_000;
/// Independent sums, enough to cover the latency of the multiply-add.
const CHAINS: u64 = 12;

/// The roofs at one moment.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Roofs {
    /// Reading memory with all threads, huge pages, GB/s (10⁹ bytes).
    pub(crate) read_gb_s: f64,
    /// Whether the kernel granted huge pages for that.
    pub(crate) huge_pages: bool,
    /// int8 multiply-adds with all threads, 10⁹ a second.
    pub(crate) int8_gmac_s: f64,
    /// The instruction that gave the int8 figure.
    pub(crate) int8_kernel: &'static str,
}

/// Memory from the kernel, aligned to huge pages and asked to use them.
pub(crate) struct Arena {
    base: *mut libc::c_void,
    words: &'static mut [u64],
    huge: bool,
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the map made in `new`, and its only reference goes with `self`.
        unsafe { libc::munmap(self.base, READ_BYTES + HUGE_PAGE) };
    }
}

impl Arena {
    /// Maps and touches the memory.
    pub(crate) fn new() -> Result<Self> {
        let length = READ_BYTES + HUGE_PAGE;
        // SAFETY: an anonymous private map at an address of the kernel's choice touches nothing of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("cannot map memory to measure its speed");
        }
        let offset = base.align_offset(HUGE_PAGE);
        // SAFETY: the map is one huge page longer than what is used, so the aligned start lies inside it.
        let start = unsafe { base.byte_add(offset) };
        // SAFETY: the range lies inside the map above; the advice changes no content.
        let code = unsafe { libc::madvise(start, READ_BYTES, libc::MADV_HUGEPAGE) };
        // SAFETY: the range is mapped, writable, aligned, zeroed by the kernel, unmapped only when `self` goes, and this
        // is its only reference.
        let words = unsafe { std::slice::from_raw_parts_mut(start.cast::<u64>(), READ_BYTES / 8) };
        for (i, word) in words.iter_mut().enumerate() {
            *word = i as u64;
        }
        let enabled = stdx::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        let huge = code == 0 && enabled.is_ok_and(|text| !text.contains("[never]"));
        Ok(Self { base, words, huge })
    }

    /// Measures both roofs with `n_threads`.
    pub(crate) fn measure(&self, n_threads: usize) -> Roofs {
        let best = (0..PASSES)
            .map(|_| self.read_once(n_threads))
            .fold(f64::MAX, f64::min);
        let (int8_kernel, int8_gmac_s) = int8_peak(n_threads);
        Roofs {
            read_gb_s: READ_BYTES as f64 / best / 1e9,
            huge_pages: self.huge,
            int8_gmac_s,
            int8_kernel,
        }
    }

    /// Seconds to read all of it once.
    fn read_once(&self, n_threads: usize) -> f64 {
        let share = self.words.len().div_ceil(n_threads);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in self.words.chunks(share) {
                scope.spawn(move || black_box(read_all(part)));
            }
        });
        start.elapsed().as_secs_f64()
    }
}

/// Mixes all words with the widest loads there are; what comes out only proves that they were read.
fn read_all(words: &[u64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was just detected.
        return unsafe { x86::read_zmm(words) };
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was just detected.
        return unsafe { x86::read_ymm(words) };
    }
    words.iter().fold(0, |a, b| a ^ b)
}

/// The fastest int8 multiply-add of this machine and its speed in 10⁹ products a second.
fn int8_peak(n_threads: usize) -> (&'static str, f64) {
    let kernels = int8_kernels();
    let once = |kernel: &Int8Kernel| {
        let run = kernel.run;
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..n_threads {
                scope.spawn(move || black_box(run(ROUNDS / CHAINS)));
            }
        });
        start.elapsed().as_secs_f64()
    };
    let speeds = kernels.iter().map(|kernel| {
        let products = (ROUNDS / CHAINS * CHAINS) as f64 * kernel.products * n_threads as f64;
        // Threads may begin on the same core: what the machine can do is what it did at best.
        let best = (0..PASSES).map(|_| once(kernel)).fold(f64::MAX, f64::min);
        (kernel.name, products / best / 1e9)
    });
    speeds.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("none", 0.0))
}

struct Int8Kernel {
    name: &'static str,
    /// Products of one instruction (or instruction sequence).
    products: f64,
    /// Runs `CHAINS` of them so many times.
    run: fn(u64) -> i32,
}

#[cfg(not(target_arch = "x86_64"))]
fn int8_kernels() -> Vec<Int8Kernel> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
fn int8_kernels() -> Vec<Int8Kernel> {
    let mut kernels = Vec::new();
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the features were just detected.
        let run = |rounds| unsafe { x86::vnni_zmm(rounds) };
        kernels.push(Int8Kernel {
            name: "vpdpbusd-zmm",
            products: 64.0,
            run,
        });
        if is_x86_feature_detected!("avx512vl") {
            // SAFETY: the features were just detected.
            let run = |rounds| unsafe { x86::vnni_ymm(rounds) };
            kernels.push(Int8Kernel {
                name: "vpdpbusd-ymm",
                products: 32.0,
                run,
            });
        }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was just detected.
        let run = |rounds| unsafe { x86::maddubs(rounds) };
        kernels.push(Int8Kernel {
            name: "vpmaddubsw-ymm",
            products: 32.0,
            run,
        });
    }
    kernels
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    const N: usize = super::CHAINS as usize;
    /// Vectors read in one turn, each into a sum of its own.
    const WIDE: usize = 8;

    #[target_feature(enable = "avx512f")]
    pub(super) fn read_zmm(words: &[u64]) -> u64 {
        let mut sums = [_mm512_setzero_si512(); WIDE];
        for chunk in words.chunks_exact(8 * WIDE) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the chunk holds `WIDE` vectors of 8 words, and `i` is below `WIDE`.
                let vector = unsafe { _mm512_loadu_si512(chunk.as_ptr().add(8 * i).cast()) };
                *sum = _mm512_xor_si512(*sum, vector);
            }
        }
        sums.iter().fold(0, |total, &sum| {
            total ^ _mm512_reduce_add_epi64(sum).cast_unsigned()
        })
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn read_ymm(words: &[u64]) -> u64 {
        let mut sums = [_mm256_setzero_si256(); WIDE];
        for chunk in words.chunks_exact(4 * WIDE) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the chunk holds `WIDE` vectors of 4 words, and `i` is below `WIDE`.
                let vector = unsafe { _mm256_loadu_si256(chunk.as_ptr().add(4 * i).cast()) };
                *sum = _mm256_xor_si256(*sum, vector);
            }
        }
        sums.iter().fold(0, |total, &sum| {
            total ^ _mm256_extract_epi64::<0>(sum).cast_unsigned()
        })
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn vnni_zmm(rounds: u64) -> i32 {
        let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(5)));
        let mut sums = [_mm512_setzero_si512(); N];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        sums.iter()
            .fold(0, |total, &sum| total ^ _mm512_reduce_add_epi32(sum))
    }

    #[target_feature(enable = "avx512f,avx512vnni,avx512vl,avx2")]
    pub(super) fn vnni_ymm(rounds: u64) -> i32 {
        let (a, b) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi8(black_box(5)));
        let mut sums = [_mm256_setzero_si256(); N];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_dpbusd_epi32(*sum, a, b);
            }
        }
        sums.iter()
            .fold(0, |total, &sum| total ^ _mm256_extract_epi32::<0>(sum))
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn maddubs(rounds: u64) -> i32 {
        let (a, b, one) = (
            _mm256_set1_epi8(black_box(3)),
            _mm256_set1_epi8(black_box(5)),
            _mm256_set1_epi16(black_box(1)),
        );
        let mut sums = [_mm256_setzero_si256(); N];
        for _ in 0..rounds {
            for sum in &mut sums {
                // The sum is mixed into the operand so that the products are not hoisted out of the loop.
                let products = _mm256_maddubs_epi16(_mm256_or_si256(a, *sum), b);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, one));
            }
        }
        sums.iter()
            .fold(0, |total, &sum| total ^ _mm256_extract_epi32::<0>(sum))
    }
}
