//! How long a search takes while documents are taken in, beside how long it takes when nothing else happens.
//!
//! `cargo run --release -p knowledge --example busy [DOCUMENTS]` prints both with their ratio; the p95 must stay below
//! twice the idle one. The ingest runs as it does in the server: in a thread that gives way.
#![expect(
    clippy::print_stdout,
    reason = "a program whose output is text on the terminal"
)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use knowledge::{Access, Go, Reader, SearchMode, Store, StoreError};
use stdx::clock::Stopwatch;
use stdx::fs::{self, FsError};
use stdx::rng::Rng;

/// Documents that are in before anything is measured.
const N_DOCUMENTS: usize = 2_000;
const N_WORDS: usize = 2_000;
const N_VOCABULARY: u64 = 30_000;
const N_IDLE: usize = 2_000;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(2);
/// What the ratio of the two p95 may be.
const RATIO_MAX: f64 = 2.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let n = std::env::args().nth(1).map_or(Ok(N_DOCUMENTS), |n| n.parse())?;
    let folder = std::env::temp_dir().join(format!("hanok-busy-{}", std::process::id()));
    let measured = measure(&folder, n);
    fs::remove_dir_all(&folder)?;
    let (idle, busy) = measured?;
    for (what, times) in [("idle", &idle), ("while ingesting", &busy)] {
        println!(
            "{what}: {} searches, p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms",
            times.len(),
            quantile(times, 0.5),
            quantile(times, 0.95),
            quantile(times, 0.99)
        );
    }
    let ratio = quantile(&busy, 0.95) / quantile(&idle, 0.95);
    println!("p95 while ingesting is {ratio:.2} of the idle one (may be {RATIO_MAX})");
    Ok(())
}

/// Times of searches in milliseconds, sorted: idle, and while as many documents again are taken in.
fn measure(folder: &Path, n: usize) -> Result<(Vec<f64>, Vec<f64>), Box<dyn std::error::Error>> {
    let mut rng = Rng::new(6);
    write_documents(&folder.join("first"), n, &mut rng)?;
    write_documents(&folder.join("second"), n, &mut rng)?;
    let store = Store::open(&folder.join("data"), Access::Write)?;
    store.ingest(&[folder.join("first")], &mut |_| Go::On)?;
    search(&store, N_IDLE / 4, &mut rng, &AtomicBool::new(false))?;
    let idle = search(&store, N_IDLE, &mut rng, &AtomicBool::new(false))?;
    let done = AtomicBool::new(false);
    let busy = std::thread::scope(|scope| {
        let ingest = scope.spawn(|| {
            stdx::process::give_way();
            let watch = Stopwatch::start();
            let report = store.ingest(&[folder.join("second")], &mut |_| Go::On);
            done.store(true, Relaxed);
            report.map(|report| (report.passages, watch.s()))
        });
        let busy = search(&store, usize::MAX, &mut rng, &done)?;
        let (passages, s) = ingest.join().map_err(|_| "the ingest did not end well")??;
        println!(
            "{passages} passages taken in meanwhile, {:.0} a second",
            passages as f64 / s
        );
        Ok::<_, Box<dyn std::error::Error>>(busy)
    })?;
    Ok((idle, busy))
}

/// Asks until there were `most` questions or `done` is set.
fn search(store: &Store, most: usize, rng: &mut Rng, done: &AtomicBool) -> Result<Vec<f64>, StoreError> {
    let mut times = Vec::new();
    while times.len() < most && !done.load(Relaxed) {
        let question = (0..6).map(|_| word(rng)).collect::<Vec<_>>().join(" ");
        let watch = Stopwatch::start();
        store
            .view(&Reader::keeper())?
            .search(&question, 10, SearchMode::Lexical, None)?;
        times.push(watch.ms());
        std::thread::sleep(PAUSE);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = ((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0.0)
}

/// Frequent words are far more frequent, as in any language.
fn word(rng: &mut Rng) -> String {
    let at = rng
        .below(N_VOCABULARY)
        .min(rng.below(N_VOCABULARY))
        .min(rng.below(N_VOCABULARY));
    let syllables = [
        "가", "나", "다", "라", "마", "바", "사", "아", "자", "차", "카", "타",
    ];
    let digit = |n: u64| syllables[(n % 12) as usize];
    [digit(at), digit(at / 12), digit(at / 144), digit(at / 1728)].concat()
}

fn write_documents(folder: &Path, n: usize, rng: &mut Rng) -> Result<(), FsError> {
    fs::create_dir_all(folder)?;
    for i in 0..n {
        let mut text = format!("# 문서 {i}\n\n");
        for at in 0..N_WORDS {
            text.push_str(&word(rng));
            text.push_str(if at % 12 == 11 { ".\n" } else { " " });
        }
        fs::write(folder.join(format!("{i:05}.md")), text)?;
    }
    Ok(())
}
