//! `cargo xtask bench retrieval`: how well documents are found, on questions and labels that people made.
//!
//! The sets are derived from Debian packages (the FAQ in English and Korean; LibreOffice's help with its keyword
//! index), the searching is the program's own `trial retrieval`. Not the speed: that is `bench knowledge`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;
use stdx::fs;

use crate::{shell, test};

mod faq;
mod help;
mod html;
mod metrics;
mod set;

use metrics::{Report, Scores};
use set::Set;

/// Debian packages with the sets.
const PACKAGES: [&str; 4] = [
    "debian-faq",
    "debian-faq-ko",
    "libreoffice-help-en-us",
    "libreoffice-help-ko",
];

/// Options of `cargo xtask bench retrieval`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the sets whose names begin so (faq, help, pages)
    #[arg(long)]
    only: Option<String>,
    /// Words only: no vectors are made, which take most of the time
    #[arg(long)]
    lexical: bool,
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One set measured in one way.
#[derive(Debug, Serialize)]
struct Row {
    set: String,
    mode: String,
    n: usize,
    #[serde(flatten)]
    scores: Scores,
    p50_ms: f64,
}

/// What must be reached.
#[derive(Debug, Serialize)]
struct Check {
    what: String,
    must: f64,
    reached: f64,
    pass: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    schema: u32,
    rows: Vec<Row>,
    checks: Vec<Check>,
}

/// Makes the sets, runs the trials, prints the table; whether everything was reached.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let folder = test::target_dir().join("retrieval");
    let sets: Vec<Set> = sets(&folder)?
        .into_iter()
        .filter(|set| {
            options
                .only
                .as_ref()
                .is_none_or(|only| set.name.starts_with(only))
        })
        .collect();
    let program = program()?;
    let modes: &[&str] = if options.lexical {
        &["lexical"]
    } else {
        &["lexical", "dense", "hybrid"]
    };
    let mut rows = Vec::new();
    println!(
        "{:<12} {:<9} {:>5} {:>7} {:>7} {:>7} {:>8} {:>7}",
        "set", "mode", "n", "hit@1", "hit@5", "mrr@10", "ndcg@10", "p50 ms"
    );
    for set in &sets {
        for mode in modes {
            let report = trial(&program, set, mode)?;
            let mut row = |mode: &str, scores: Scores, p50_ms: f64| {
                println!(
                    "{:<12} {mode:<9} {:>5} {:>7.3} {:>7.3} {:>7.3} {:>8.3} {p50_ms:>7.2}",
                    set.name, report.n, scores.hit1, scores.hit5, scores.mrr10, scores.ndcg10
                );
                rows.push(Row {
                    set: set.name.clone(),
                    mode: mode.to_owned(),
                    n: report.n,
                    scores,
                    p50_ms,
                });
            };
            if *mode == modes[0] {
                row(
                    "baseline",
                    metrics::of(&report.baseline_items, &set.labels()?),
                    0.0,
                );
            }
            row(mode, metrics::of(&report.items, &set.labels()?), report.p50_ms);
        }
    }
    let checks = checks(&rows);
    for check in &checks {
        println!(
            "{} {}: {:.3}, must be {:.3}",
            if check.pass { "pass" } else { "FAIL" },
            check.what,
            check.reached,
            check.must
        );
    }
    let all_pass = checks.iter().all(|check| check.pass);
    if let Some(path) = &options.json {
        let outcome = Outcome {
            schema: 1,
            rows,
            checks,
        };
        fs::write_atomic(path, serde_json::to_vec_pretty(&outcome)?)?;
    }
    Ok(all_pass)
}

/// The table of what must be reached, for what was measured.
fn checks(rows: &[Row]) -> Vec<Check> {
    let of = |set: &str, mode: &str| {
        let row = rows.iter().find(|row| row.set == set && row.mode == mode)?;
        Some((row.scores, row.n))
    };
    let mut checks = Vec::new();
    let mut check = |what: String, must: f64, reached: f64| {
        checks.push(Check {
            what,
            must,
            reached,
            pass: reached >= must - 1e-9,
        });
    };
    if let (Some((ours, n)), Some((plain, _))) = (of("pages-ko", "lexical"), of("pages-ko", "baseline")) {
        check(
            "pages-ko lexical hit@1, two questions above the baseline".to_owned(),
            plain.hit1 + 2.0 / n as f64,
            ours.hit1,
        );
        check("pages-ko lexical hit@5".to_owned(), 0.96, ours.hit5);
    }
    for (set, must) in [("faq-en", 0.68), ("faq-ko", 0.52), ("faq-ko-en", 0.49)] {
        if let Some((ours, _)) = of(set, "hybrid") {
            check(format!("{set} hybrid mrr@10"), must, ours.mrr10);
        }
    }
    for set in ["help-en", "help-ko"] {
        if let (Some((hybrid, _)), Some((lexical, _))) = (of(set, "hybrid"), of(set, "lexical")) {
            check(
                format!("{set} hybrid ndcg@10, 0.05 above lexical"),
                lexical.ndcg10 + 0.05,
                hybrid.ndcg10,
            );
        }
    }
    checks
}

/// All sets; made once, from the packages' files.
fn sets(folder: &Path) -> Result<Vec<Set>> {
    let unpacked = folder.join("packages");
    if fs::metadata(&unpacked).is_err() {
        unpack(&PACKAGES, folder, &unpacked)?;
    }
    let mut sets = faq::sets(folder, &unpacked.join("usr/share/doc/debian/FAQ"))?;
    sets.extend(help::sets(folder, &unpacked.join("usr/share/libreoffice/help"))?);
    if let Some(data) = std::env::var_os("HANOK_TEST_DATA") {
        let data = Path::new(&data).join("data/ko-retrieval");
        sets.push(Set {
            name: "pages-ko".to_owned(),
            pages: data.join("pages.jsonl.gz"),
            questions: data.join("questions.jsonl"),
        });
    }
    Ok(sets)
}

/// The files of all sets: pages, and questions.
pub(crate) fn files(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    fs::create_dir_all(folder)?;
    Ok(sets(folder)?
        .into_iter()
        .map(|set| (set.pages, set.questions))
        .unzip())
}

/// Fetches Debian packages and unpacks them into the new folder `to`.
pub(crate) fn unpack(packages: &[&str], folder: &Path, to: &Path) -> Result<()> {
    let partial = folder.join("packages.partial");
    if fs::metadata(&partial).is_ok() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    shell::apt_lists()?;
    let mut download = Command::new("apt-get");
    download.current_dir(&partial).arg("download").args(packages);
    if shell::capture(&mut download).is_err() {
        shell::renew_apt_lists()?;
        shell::capture(&mut download).context("the sets come from Debian packages")?;
    }
    for file in fs::read_dir(&partial)? {
        if file.extension().is_some_and(|extension| extension == "deb") {
            shell::capture(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&partial))?;
        }
    }
    Ok(fs::rename(&partial, to)?)
}

/// The program, as it ships.
fn program() -> Result<PathBuf> {
    shell::run(shell::cargo().args(["build", "--release", "--locked", "-p", "hanok"]))?;
    Ok(test::target_dir().join("release/hanok"))
}

fn trial(program: &Path, set: &Set, mode: &str) -> Result<Report> {
    let mut command = Command::new(program);
    command
        .arg("--models-dir")
        .arg(test::models_dir())
        .args(["trial", "retrieval", "--mode", mode, "--json", "--pages"])
        .arg(&set.pages)
        .arg("--questions")
        .arg(&set.questions);
    let printed = shell::capture(&mut command)?;
    serde_json::from_str(&printed)
        .with_context(|| format!("`{}` printed another shape", shell::shown(&command)))
}
