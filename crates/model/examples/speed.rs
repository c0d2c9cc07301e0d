//! Measures a model's prefill and decode, or an encoder's passages: `speed FILE [THREADS]`.
//!
//! For work on the engine's speed; the comparison with other engines is `cargo xtask bench engine`.
#![expect(clippy::print_stdout, reason = "a program for developers")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Input, LoadError, LoadOptions, Model, Scratch, TextEncoder, WantedLogits, greedy};
use stdx::clock::Stopwatch;

/// Tokens of the prompt.
const N_PREFILL: usize = 512;
/// Tokens generated.
const N_DECODE: usize = 128;
/// Sequences decoded together.
const N_TOGETHER: usize = 8;
/// Repetitions.
const N_ROUNDS: usize = 3;
/// Passages encoded, of about 256 tokens each.
const N_PASSAGES: usize = 24;
/// Passages that are encoded together while questions are asked.
const PASSAGES_TOGETHER: usize = 16;
/// Questions encoded.
const N_QUESTIONS: usize = 41;

fn main() -> Result<(), LoadError> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_default();
    let threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    if file.ends_with(".bin") {
        return encoder(Path::new(&file), threads);
    }
    let start = Stopwatch::start();
    let options = LoadOptions {
        threads,
        ..LoadOptions::default()
    };
    let model = Model::load(Path::new(&file), &options)?;
    println!(
        "{}: loaded in {:.0} ms, {} MB",
        model.name(),
        start.ms(),
        model.decoder().weight_bytes() >> 20
    );
    for _ in 0..N_ROUNDS {
        let (prefill, decode) = one(&model);
        println!(
            "prefill {prefill:.1} tokens/s, decode {decode:.1} tokens/s, {N_TOGETHER} together {:.1}",
            many(&model)
        );
    }
    Ok(())
}

fn prompt(n: usize, seed: usize) -> Vec<u32> {
    (0..n)
        .map(|i| ((i * 7919 + seed * 104_729) % 20_000 + 100) as u32)
        .collect()
}

/// Prefill and decode of one sequence, tokens per second.
fn one(model: &Arc<Model>) -> (f64, f64) {
    let (mut cache, mut scratch) = (model.new_cache(), Scratch::default());
    let tokens = prompt(N_PREFILL, 0);
    let start = Stopwatch::start();
    let input = Input {
        tokens: &tokens,
        cache: &mut cache,
        logits: WantedLogits::Last,
    };
    model
        .forward(&mut [input], &mut scratch)
        .expect("the prompt fits");
    let prefill = N_PREFILL as f64 / start.s();
    let start = Stopwatch::start();
    for _ in 0..N_DECODE {
        let next = [greedy(scratch.logits(0))];
        let input = Input {
            tokens: &next,
            cache: &mut cache,
            logits: WantedLogits::Last,
        };
        model
            .forward(&mut [input], &mut scratch)
            .expect("the context has room");
    }
    (prefill, N_DECODE as f64 / start.s())
}

/// Decode of several sequences together, tokens per second in all.
fn many(model: &Arc<Model>) -> f64 {
    let mut caches: Vec<_> = (0..N_TOGETHER).map(|_| model.new_cache()).collect();
    let mut scratch = Scratch::default();
    let mut next: Vec<[u32; 1]> = (0..N_TOGETHER).map(|i| [prompt(1, i)[0]]).collect();
    let start = Stopwatch::start();
    for _ in 0..N_DECODE / 2 {
        let mut inputs: Vec<Input<'_>> = next
            .iter()
            .zip(&mut caches)
            .map(|(tokens, cache)| Input {
                tokens,
                cache,
                logits: WantedLogits::Last,
            })
            .collect();
        model
            .forward(&mut inputs, &mut scratch)
            .expect("the context has room");
        for (row, next) in next.iter_mut().enumerate() {
            *next = [greedy(scratch.logits(row))];
        }
    }
    (N_TOGETHER * N_DECODE / 2) as f64 / start.s()
}

fn encoder(path: &Path, threads: usize) -> Result<(), LoadError> {
    let start = Stopwatch::start();
    let encoder = TextEncoder::load(path, threads)?;
    println!("loaded in {:.0} ms", start.ms());
    let passage = "passage: ".to_owned() + &"The warranty ends two years after delivery. ".repeat(25);
    let texts = vec![passage.as_str(); N_PASSAGES];
    println!("{} tokens in a passage", encoder.tokenize(&passage).len());
    for _ in 0..N_ROUNDS {
        let start = Stopwatch::start();
        let n = encoder.encode(&texts).len();
        println!("{:.1} passages/s", n as f64 / start.s());
    }
    let alone = question_ms(&encoder);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                encoder.encode(&texts[..PASSAGES_TOGETHER]);
            }
        });
        std::thread::sleep(Duration::from_millis(50));
        let beside = question_ms(&encoder);
        stop.store(true, Ordering::Relaxed);
        println!("a question {alone:.1} ms, while passages are encoded {beside:.1} ms (medians)");
    });
    Ok(())
}

/// Median milliseconds until a question of twenty tokens is encoded.
fn question_ms(encoder: &TextEncoder) -> f64 {
    let question = "query: How long does the warranty of the pump last if it was repaired?";
    let mut times: Vec<f64> = (0..N_QUESTIONS)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(7));
            let start = Stopwatch::start();
            encoder.encode(&[question]);
            start.ms()
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    times[N_QUESTIONS / 2]
}
