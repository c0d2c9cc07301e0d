//! How fast documents come in: text PDFs until words find them, and passages of 256 tokens into vectors.
//!
//! The PDFs are those of Debian's installation guide, in eighteen languages; `hanok ingest` takes them in as anybody's. The
//! vectors are made by the example `speed` of `crates/model`, which does what `ingest` does in the background.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stdx::fs;

use crate::{quality, shell, test};

/// Debian package with the PDFs.
const PACKAGE: &str = "installation-guide-amd64";
/// Fewer pages are another set.
const PAGES_MIN: u64 = 1_000;
/// Each is measured so often, alternating; the medians are printed.
const ROUNDS: usize = 5;

/// Measures both.
pub(super) fn measure(folder: &Path) -> Result<Value> {
    let documents = documents(folder)?;
    let hanok = test::target_dir().join("release/hanok");
    shell::run(shell::cargo().args(["build", "--release", "--locked", "-p", "hanok"]))?;
    shell::run(shell::cargo().args([
        "build",
        "--release",
        "--locked",
        "-p",
        "model",
        "--example",
        "speed",
    ]))?;
    let speed = test::target_dir().join("release/examples/speed");
    let data = folder.join("data");
    let (mut pages_per_s, mut passages_per_s, mut pages) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        if fs::metadata(&data).is_ok() {
            fs::remove_dir_all(&data)?;
        }
        let mut ingest = Command::new(&hanok);
        ingest
            .arg("--data-dir")
            .arg(&data)
            .args(["--json", "ingest", "--no-vectors"]);
        let report: Value = serde_json::from_str(&shell::capture(ingest.arg(&documents))?)?;
        let seconds = report["s"].as_f64().context("`ingest --json` says no time")?;
        pages = report["pages"].as_u64().unwrap_or(0);
        let failed = report["failed"].as_array().map_or(0, Vec::len);
        if pages < PAGES_MIN || failed > 0 {
            bail!("of the PDFs of {PACKAGE} {pages} pages were read, and {failed} failed");
        }
        pages_per_s.push(pages as f64 / seconds);
        let mut encode = Command::new(&speed);
        let printed = shell::capture(encode.arg(test::models_dir().join("e5-small-q4.bin")))?;
        passages_per_s.extend(printed.lines().filter_map(rate));
    }
    Ok(json!({
        "pdf_pages": pages,
        "pdf_pages_per_s": median(&mut pages_per_s)?,
        "dense_passages_per_s": median(&mut passages_per_s)?,
    }))
}

/// "31.4 passages/s".
fn rate(line: &str) -> Option<f64> {
    line.strip_suffix(" passages/s")?.trim().parse().ok()
}

fn median(values: &mut [f64]) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len() / 2)
        .copied()
        .context("nothing was measured")
}

/// The PDFs, unpacked once.
fn documents(folder: &Path) -> Result<PathBuf> {
    let documents = folder.join("documents");
    if fs::metadata(&documents).is_ok() {
        return Ok(documents);
    }
    let unpacked = folder.join("package");
    quality::unpack(&[PACKAGE], folder, &unpacked)?;
    let partial = folder.join("documents.partial");
    if fs::metadata(&partial).is_ok() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    for language in fs::read_dir(unpacked.join("usr/share/doc").join(PACKAGE))? {
        for file in fs::read_dir(&language).unwrap_or_default() {
            if file.to_string_lossy().ends_with(".pdf.gz") {
                let copy = partial.join(file.file_name().unwrap_or_default());
                fs::write(&copy, fs::read(&file)?)?;
                shell::capture(Command::new("gzip").arg("-d").arg(&copy))?;
            }
        }
    }
    fs::rename(&partial, &documents)?;
    Ok(documents)
}
