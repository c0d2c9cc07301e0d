//! How fast and how large a store of many passages is: the measuring half of `cargo xtask bench knowledge`.
//!
//! * `scale make DIR N --pages FILE…` takes in N passages: real pages first, then new ones out of their sentences
//!   ([`text`]), with vectors that are generated ([`vectors`]).
//! * `scale search DIR --questions FILE…` asks real questions, one after another, in a process that has done nothing else.
//! * `scale recall DIR` compares the ten nearest vectors with those of an exact scan.
//! * `scale busy DIR --questions FILE… --pages FILE…` asks while documents are taken in.
//!
//! Each prints one JSON object.
#![expect(
    clippy::print_stdout,
    reason = "a program whose output is text on the terminal"
)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use knowledge::{Access, Embed, Go, Hit, Reader, SearchMode, Store};
use serde_json::{Value, json};
use stdx::clock::Stopwatch;
use stdx::{fs, rng::Rng};

mod text;
mod vectors;

use text::Maker;
use vectors::Clustered;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Questions that are asked before anything is measured.
const N_WARM: usize = 50;
/// Questions that are measured.
const N_ASKED: usize = 600;
/// Hits that are asked for.
const K: usize = 10;
/// Between two questions while documents are taken in.
const PAUSE: Duration = Duration::from_millis(2);
/// What is looked for in the exact scan.
const N_RECALL: usize = 200;
/// Passages taken in beside the questions.
const N_BUSY: usize = 30_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["make", dir, n, "--pages", pages @ ..] => make(Path::new(dir), n.parse()?, &paths(pages))?,
        ["search", dir, "--questions", questions @ ..] => search(Path::new(dir), &paths(questions))?,
        ["recall", dir, "--questions", questions @ ..] => recall(Path::new(dir), &paths(questions))?,
        ["busy", dir, "--questions", files @ ..] => {
            let mut files = files.split(|word| *word == "--pages");
            let mut next = || paths(files.next().unwrap_or_default());
            busy(Path::new(dir), &next(), &next())?
        }
        _ => {
            let how = "say: make DIR N --pages FILE…; search|recall DIR --questions FILE…; busy DIR --questions FILE… --pages FILE…";
            return Err(how.into());
        }
    };
    println!("{outcome}");
    Ok(())
}

fn paths(words: &[&str]) -> Vec<PathBuf> {
    words.iter().map(PathBuf::from).collect()
}

/// Fills the store up to `n` passages with their vectors.
fn make(dir: &Path, n: usize, pages: &[PathBuf]) -> Outcome<Value> {
    let mut maker = Maker::new(pages)?;
    let store = Store::open(&dir.join("data"), Access::Write)?;
    let watch = Stopwatch::start();
    let (mut n_passages, mut n_pages, mut round) = (passages(&store)?, 0, 0);
    let is_resumed = n_passages > 0;
    while n_passages < n {
        let folder = dir.join(format!("documents/{n_passages}-{round}"));
        n_pages += maker.write(&folder, n - n_passages)?;
        store.ingest(&[folder], &mut |_| Go::On)?;
        (n_passages, round) = (passages(&store)?, round + 1);
    }
    let ingest_s = watch.s();
    let watch = Stopwatch::start();
    while store.embed_pending(&Clustered::new(), usize::MAX)? > 0 {}
    let embed_s = watch.s();
    let watch = Stopwatch::start();
    settle(&store)?;
    let graph_s = watch.s();
    let watch = Stopwatch::start();
    drop(store);
    Ok(json!({
        "passages": n_passages, "resumed": is_resumed, "pages": n_pages, "ingest_s": ingest_s,
        "pages_per_s": n_pages as f64 / ingest_s, "vectors_s": embed_s, "graph_s": graph_s, "close_s": watch.s(),
        "rss_anon_mb": rss_anon_mb()?,
    }))
}

/// Waits for the graphs of the vectors.
fn settle(store: &Store) -> Outcome<()> {
    let embedder = Clustered::new();
    loop {
        ask(store, "anything", K, SearchMode::Dense, &embedder)?;
        if store.vectors_are_settled() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn passages(store: &Store) -> Outcome<usize> {
    Ok(store.view(&Reader::keeper())?.status()?.passages)
}

fn ask(store: &Store, question: &str, k: usize, mode: SearchMode, embedder: &dyn Embed) -> Outcome<Vec<Hit>> {
    let view = store.view(&Reader::keeper())?;
    Ok(view.search(question, k, mode, Some(embedder))?)
}

/// Times and memory of each way to search.
fn search(dir: &Path, questions: &[PathBuf]) -> Outcome<Value> {
    let questions = text::questions(questions, N_WARM + N_ASKED)?;
    let (warm, asked) = questions.split_at(N_WARM.min(questions.len()));
    let embedder = Clustered::new();
    let start = rss_anon_mb()?;
    let watch = Stopwatch::start();
    let store = Store::open(&dir.join("data"), Access::Read)?;
    let open_ms = watch.ms();
    let mut modes = serde_json::Map::new();
    for (name, mode) in [
        ("lexical", SearchMode::Lexical),
        ("dense", SearchMode::Dense),
        ("hybrid", SearchMode::Hybrid),
    ] {
        let watch = Stopwatch::start();
        ask(&store, &warm[0], K, mode, &embedder)?;
        let first_ms = watch.ms();
        for question in warm {
            ask(&store, question, K, mode, &embedder)?;
        }
        let mut times = Vec::with_capacity(asked.len());
        for question in asked {
            let watch = Stopwatch::start();
            ask(&store, question, K, mode, &embedder)?;
            times.push(watch.ms());
        }
        let mut row = summary(times);
        row["first_ms"] = json!(first_ms);
        row["rss_anon_mb"] = json!(rss_anon_mb()?);
        modes.insert(name.to_owned(), row);
    }
    Ok(json!({
        "passages": passages(&store)?, "questions": asked.len(), "open_ms": open_ms,
        "rss_anon_start_mb": start, "modes": modes,
    }))
}

/// How many of the ten that an exact scan finds are found.
fn recall(dir: &Path, questions: &[PathBuf]) -> Outcome<Value> {
    let questions = text::questions(questions, N_RECALL)?;
    let store = Store::open(&dir.join("data"), Access::Read)?;
    let embedder = Clustered::new();
    let (mut found, mut wanted, mut exact_ms) = (0, 0, Vec::new());
    for question in &questions {
        let view = store.view(&Reader::keeper())?;
        let near = view.nearest(question, K, &embedder, false)?;
        let watch = Stopwatch::start();
        let exact = view.nearest(question, K, &embedder, true)?;
        exact_ms.push(watch.ms());
        found += exact.iter().filter(|id| near.contains(id)).count();
        wanted += exact.len();
    }
    Ok(json!({
        "questions": questions.len(), "recall_at_10": found as f64 / wanted.max(1) as f64,
        "exact": summary(exact_ms),
    }))
}

/// Searches beside an ingest, and without.
fn busy(dir: &Path, questions: &[PathBuf], pages: &[PathBuf]) -> Outcome<Value> {
    let questions = text::questions(questions, N_WARM + N_ASKED)?;
    let mut maker = Maker::new(pages)?;
    let folder = dir.join("documents/busy");
    maker.write(&folder, N_BUSY)?;
    let store = Store::open(&dir.join("data"), Access::Write)?;
    let embedder = Clustered::new();
    let done = AtomicBool::new(false);
    let asking = |most: usize| -> Outcome<Vec<f64>> {
        let mut times = Vec::new();
        for question in questions.iter().cycle().take(most) {
            if done.load(Relaxed) {
                break;
            }
            let watch = Stopwatch::start();
            ask(&store, question, K, SearchMode::Hybrid, &embedder)?;
            times.push(watch.ms());
            std::thread::sleep(PAUSE);
        }
        Ok(times)
    };
    asking(questions.len())?;
    let idle = summary(asking(questions.len())?);
    let (busy, passages_per_s) = std::thread::scope(|scope| -> Outcome<_> {
        let ingest = scope.spawn(|| {
            stdx::process::give_way();
            let watch = Stopwatch::start();
            let report = store.ingest(std::slice::from_ref(&folder), &mut |_| Go::On);
            done.store(true, Relaxed);
            report.map(|report| report.passages as f64 / watch.s())
        });
        let times = asking(usize::MAX)?;
        let rate = ingest.join().map_err(|_| "the ingest did not end well")??;
        Ok((summary(times), rate))
    })?;
    // As it was before.
    store.remove_path(&folder)?;
    fs::remove_dir_all(&folder)?;
    let ratio = busy["p95_ms"].as_f64().unwrap_or(0.0) / idle["p95_ms"].as_f64().unwrap_or(1.0);
    Ok(json!({ "idle": idle, "busy": busy, "ratio_p95": ratio, "passages_per_s": passages_per_s }))
}

fn summary(mut times: Vec<f64>) -> Value {
    times.sort_by(f64::total_cmp);
    let quantile = |q: f64| {
        let at = ((times.len() as f64 * q) as usize).min(times.len().saturating_sub(1));
        times.get(at).copied().unwrap_or(0.0)
    };
    json!({
        "n": times.len(), "p50_ms": quantile(0.5), "p95_ms": quantile(0.95), "p99_ms": quantile(0.99),
        "max_ms": quantile(1.0),
    })
}

/// Memory of this process that is no file's.
fn rss_anon_mb() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kb: f64 = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("the system does not say how much memory a process holds")?
        .parse()?;
    Ok(kb / 1024.0)
}

/// A generator for everything that is made here.
fn seeded(seed: u64) -> Rng {
    Rng::new(seed)
}
