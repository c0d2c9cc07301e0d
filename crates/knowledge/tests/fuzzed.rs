//! The fuzz targets' bodies on seeded mutations of valid documents: the same inputs on every machine.
//!
//! Coverage-guided fuzzing lives in `fuzz/`; this is its floor, run with every test.

#[expect(
    unreachable_pub,
    reason = "public for the fuzz targets, which are crates of their own"
)]
#[path = "../../../fuzz/src/documents.rs"]
mod bodies;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use stdx::clock::Stopwatch;
use stdx::rng::Rng;
use testkit::cases;

/// Mutations of each format, with every change and in the long run.
const ROUNDS: (usize, usize) = (200, 20_000);
/// Longest time that one small document may take, in a debug build on a busy machine.
const LONGEST: Duration = Duration::from_secs(8);
/// Pieces that parsers treat in ways of their own.
const PIECES: [&[u8]; 24] = [
    b"<",
    b">",
    b"/>",
    b"</",
    b"&",
    b"&#x110000;",
    b"\"",
    b"(",
    b"<<",
    b"]",
    b"endobj",
    b"-1",
    b"4294967295",
    b"999999999999999999999",
    b"1e999",
    b"\0",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\xEA\xB0\x80",
    b"\n\n",
    b"|",
    b"```",
    b"--X",
    b"R/A 1 0 R",
];

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let end = (at + rng.below(48) as usize).min(bytes.len());
        match rng.below(7) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let copy = bytes[at..end].to_vec();
                let to = rng.below(bytes.len() as u64 + 1) as usize;
                bytes.splice(to..to, copy);
            }
            2 => bytes[at..end].reverse(),
            3 if rng.below(4) == 0 => bytes.truncate(at),
            4 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            5 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
            _ => drop(bytes.splice(at..at, PIECES[rng.below(24) as usize].iter().copied())),
        }
    }
}

#[test]
fn mutated_documents_never_panic_and_end_soon() {
    for (number, (name, body, seed)) in bodies::targets().into_iter().enumerate() {
        assert!(body(&seed), "{name}: its seed is not valid");
        let mut rng = Rng::new(number as u64);
        for round in 0..cases(ROUNDS.0, ROUNDS.1) {
            let mut bytes = seed.clone();
            mutate(&mut rng, &mut bytes);
            let watch = Stopwatch::start();
            let survived = catch_unwind(AssertUnwindSafe(|| body(&bytes)));
            let shown = String::from_utf8_lossy(&bytes);
            assert!(survived.is_ok(), "{name}, mutation {round}: {shown}");
            assert!(
                watch.s() < LONGEST.as_secs_f64(),
                "{name}, mutation {round}, took {} s: {shown}",
                watch.s()
            );
        }
    }
}
