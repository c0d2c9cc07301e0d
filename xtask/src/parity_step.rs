//! Parity on every fixture there is, as one step of `cargo xtask test`.
//!
//! Not the comparison itself: that is `parity`. It runs as a process of its own, so that a crash counts as a
//! failure like any other.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;
use crate::test::{self, Outcome};

/// The model that the `smollm2` fixture describes.
const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// Runs `xtask parity` on the committed fixtures and, where they are, the shared ones.
pub(crate) fn run() -> Result<Outcome> {
    let mut folders = fixtures_below(&shell::root().join("crates/testkit/fixtures"))?;
    let shared = match std::env::var_os("HANOK_TEST_DATA") {
        Some(data) => PathBuf::from(data),
        None => shell::root().join("../shared"),
    };
    let tokenizer = shared.join("fixtures/olmoe-tokenizer");
    if tokenizer.is_dir() {
        folders.push(tokenizer);
    }
    let model = test::models_dir().join(SMOLLM2);
    let mut outcome = Outcome::default();
    if !model.is_file() {
        folders.retain(|folder| !folder.ends_with("smollm2"));
        outcome
            .skipped
            .push(format!("parity on smollm2: {SMOLLM2} is not here"));
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("parity").args(&folders).arg("--json");
    if model.is_file() {
        command.arg("--model").arg(&model);
    }
    let output = shell::output(&mut command)?;
    let result: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "parity ended with {} and printed no JSON\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let rows = result["rows"].as_array().context("parity prints rows")?;
    for row in rows {
        if row["pass"] == true {
            outcome.passed += 1;
        } else {
            outcome.failed += 1;
            println!("  parity fails: {row}");
        }
    }
    if rows.len() < folders.len() {
        bail!("parity judged {} rows for {} folders", rows.len(), folders.len());
    }
    if outcome.failed == 0 && !output.status.success() {
        bail!("parity ended with {} although every row passes", output.status);
    }
    Ok(outcome)
}

fn fixtures_below(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(stdx::fs::read_dir(folder)?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect())
}
