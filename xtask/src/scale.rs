//! `cargo xtask bench knowledge`: how fast and how large a store of ten thousand, a hundred thousand, a million passages is.
//!
//! The text comes from the packages of `bench retrieval`, and so do the questions; the measuring is done by the example
//! `scale` of `crates/knowledge`, each part in a process of its own. Vectors are generated. What was made is kept in
//! `target/scale`, so that a part can be measured again.

mod ingest;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use stdx::fs;

use crate::{quality, shell, test};

/// The part that is measured once, whatever the sizes.
const INGEST: &str = "ingest";

/// Options of `cargo xtask bench knowledge`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many passages; several times for several sizes
    #[arg(long, value_name = "N", default_values_t = [10_000, 100_000, 1_000_000])]
    passages: Vec<u64>,
    /// Only these parts (ingest; make, search, recall, busy), of what was made before
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What must be reached: a size (0: whatever the size), what is measured there (a path in the result), the most or the
/// least it may be.
struct Must {
    passages: u64,
    what: &'static str,
    path: &'static str,
    bound: Bound,
}

enum Bound {
    Most(f64),
    Least(f64),
}

const MUST: [Must; 9] = [
    Must {
        passages: 0,
        what: "text PDFs taken in, pages/s",
        path: "/ingest/pdf_pages_per_s",
        bound: Bound::Least(200.0),
    },
    Must {
        passages: 0,
        what: "vectors of 256 tokens, passages/s",
        path: "/ingest/dense_passages_per_s",
        bound: Bound::Least(25.0),
    },
    Must {
        passages: 100_000,
        what: "hybrid search, p50 ms",
        path: "/search/modes/hybrid/p50_ms",
        bound: Bound::Most(15.0),
    },
    Must {
        passages: 100_000,
        what: "hybrid search, p99 ms",
        path: "/search/modes/hybrid/p99_ms",
        bound: Bound::Most(40.0),
    },
    Must {
        passages: 100_000,
        what: "memory beyond the page cache, MB",
        path: "/search/modes/hybrid/rss_anon_mb",
        bound: Bound::Most(300.0),
    },
    Must {
        passages: 100_000,
        what: "p95 while taking in, of the idle one",
        path: "/busy/ratio_p95",
        bound: Bound::Most(2.0),
    },
    Must {
        passages: 1_000_000,
        what: "hybrid search, p99 ms",
        path: "/search/modes/hybrid/p99_ms",
        bound: Bound::Most(150.0),
    },
    Must {
        passages: 1_000_000,
        what: "memory beyond the page cache, MB",
        path: "/search/modes/hybrid/rss_anon_mb",
        bound: Bound::Most(1_500.0),
    },
    Must {
        passages: 1_000_000,
        what: "recall of the ten nearest",
        path: "/recall/recall_at_10",
        bound: Bound::Least(0.98),
    },
];

/// Makes and measures every size, prints the table; whether everything was reached.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let folder = test::target_dir().join("scale");
    fs::create_dir_all(&folder)?;
    let (pages, questions) = quality::files(&test::target_dir().join("retrieval"))?;
    let program = program()?;
    let wanted = |part: &str| options.only.is_empty() || options.only.iter().any(|only| only == part);
    let mut rows = Vec::new();
    if wanted(INGEST) {
        let value = ingest::measure(&folder.join(INGEST))?;
        println!("{INGEST}: {value}");
        rows.push(json!({ "passages": 0, "ingest": value }));
    }
    for &passages in &options.passages {
        let dir = folder.join(passages.to_string());
        let mut row = Map::new();
        row.insert("passages".to_owned(), json!(passages));
        for part in ["make", "search", "recall", "busy"] {
            if wanted(part) {
                let value = measure(&program, part, &dir, passages, (&pages, &questions))?;
                println!("{passages} {part}: {value}");
                row.insert(part.to_owned(), value);
            }
        }
        rows.push(Value::Object(row));
    }
    print_table(&rows);
    let checks = checks(&rows);
    for check in &checks {
        println!("{check}");
    }
    let pass = checks.iter().all(|check| check["pass"] == true);
    if let Some(path) = &options.json {
        let outcome = json!({ "schema": 1, "rows": rows, "checks": checks });
        fs::write_atomic(path, serde_json::to_vec_pretty(&outcome)?)?;
    }
    Ok(pass)
}

/// The measuring program, built as the program itself is.
fn program() -> Result<PathBuf> {
    shell::run(shell::cargo().args([
        "build",
        "--release",
        "--locked",
        "-p",
        "knowledge",
        "--example",
        "scale",
    ]))?;
    Ok(test::target_dir().join("release/examples/scale"))
}

fn measure(
    program: &Path,
    part: &str,
    dir: &Path,
    passages: u64,
    (pages, questions): (&[PathBuf], &[PathBuf]),
) -> Result<Value> {
    let mut command = Command::new(program);
    command.arg(part).arg(dir);
    match part {
        "make" => command.arg(passages.to_string()).arg("--pages").args(pages),
        "busy" => command
            .arg("--questions")
            .args(questions)
            .arg("--pages")
            .args(pages),
        _ => command.arg("--questions").args(questions),
    };
    let printed = shell::capture(&mut command)?;
    serde_json::from_str(&printed)
        .with_context(|| format!("`{}` printed another shape", shell::shown(&command)))
}

fn print_table(rows: &[Value]) {
    println!(
        "{:>9} {:>8} {:>17} {:>17} {:>17} {:>9} {:>7} {:>9}",
        "passages",
        "pages/s",
        "lexical p50/p99",
        "dense p50/p99",
        "hybrid p50/p99",
        "memory MB",
        "recall",
        "busy p95"
    );
    for row in rows.iter().filter(|row| row["passages"] != 0) {
        let number = |path: &str| row.pointer(path).and_then(Value::as_f64);
        let shown = |path: &str, digits: usize| {
            number(path).map_or("-".to_owned(), |number| format!("{number:.digits$}"))
        };
        let times = |mode: &str| {
            let of = |quantile: &str| shown(&format!("/search/modes/{mode}/{quantile}_ms"), 2);
            format!("{}/{} ms", of("p50"), of("p99"))
        };
        println!(
            "{:>9} {:>8} {:>17} {:>17} {:>17} {:>9} {:>7} {:>9}",
            shown("/passages", 0),
            shown("/make/pages_per_s", 0),
            times("lexical"),
            times("dense"),
            times("hybrid"),
            shown("/search/modes/hybrid/rss_anon_mb", 0),
            shown("/recall/recall_at_10", 3),
            shown("/busy/ratio_p95", 2)
        );
    }
}

/// The table of what must be reached, for what was measured.
fn checks(rows: &[Value]) -> Vec<Value> {
    let check = |must: &Must| {
        let row = rows.iter().find(|row| row["passages"] == must.passages)?;
        let reached = row.pointer(must.path)?.as_f64()?;
        let (pass, bound) = match must.bound {
            Bound::Most(most) => (reached <= most, most),
            Bound::Least(least) => (reached >= least, least),
        };
        Some(json!({
            "passages": must.passages, "what": must.what, "must": bound, "reached": reached, "pass": pass,
        }))
    };
    MUST.iter().filter_map(check).collect()
}
