//! `cargo xtask parity DIR… [--compute f32|native] [--model FILE] [--json]`: agreement with reference outputs.
//!
//! Only arguments and printing: the comparison is `model::parity`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use model::Precision;
use model::parity::{self, Divergence, Kind, Options, Row};
use serde::Serialize;

use crate::test;

/// The model that `smollm2` folders describe.
const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// Arguments of `parity`.
#[derive(Debug, Args)]
pub(crate) struct ParityArgs {
    /// Folders with reference outputs; the kind of each is found by its contents.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// Compare this arithmetic only.
    #[arg(long)]
    compute: Option<Compute>,
    /// The model file of a folder without one; by default the small model among the test models.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Compute {
    /// Weights dequantised, f32 sums.
    F32,
    /// The kernels that serve.
    Native,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    rows: Vec<Row>,
}

/// Compares and prints; false if a row does not pass.
///
/// # Errors
/// When a folder holds nothing to compare.
pub(crate) fn run(args: &ParityArgs) -> Result<bool> {
    let options = Options {
        compute: args.compute.map(|compute| match compute {
            Compute::F32 => Precision::F32,
            Compute::Native => Precision::Native,
        }),
        model: args.model.clone().or_else(small_model),
        threads: 0,
    };
    let mut rows = Vec::new();
    for dir in &args.dirs {
        if Kind::of(dir) == Some(Kind::Smollm2) && options.model.is_none() {
            bail!(
                "`{}` needs the model file it was made with: name it with --model",
                dir.display()
            );
        }
        rows.extend(parity::rows(dir, &options)?);
    }
    let pass = rows.iter().all(|row| row.pass);
    if args.json {
        println!("{}", serde_json::to_string(&Report { schema: 1, rows })?);
    } else {
        table(&rows);
    }
    Ok(pass)
}

fn small_model() -> Option<PathBuf> {
    Some(test::models_dir().join(SMOLLM2)).filter(|path| path.is_file())
}

fn table(rows: &[Row]) {
    println!(
        "{:<18} {:<9} {:<5} {:<7} {:<9} {:>10} {:>9} {:>6} {:>5} {:<22} verdict",
        "folder", "family", "type", "compute", "reference", "max logit", "rms", "router", "ties", "greedy"
    );
    for row in rows {
        let folder = PathBuf::from(&row.dir)
            .file_name()
            .map_or_else(String::new, |n| n.display().to_string());
        println!(
            "{folder:<18} {:<9} {:<5} {:<7} {:<9} {:>10} {:>9} {:>6} {:>5} {:<22} {}",
            row.family,
            row.dtype,
            row.compute.unwrap_or("-"),
            row.reference,
            number(row.max_abs_logit),
            number(row.rms_relative),
            count(row.router_mismatch),
            count(row.router_ties),
            greedy(row.greedy_match, row.first_divergence),
            if row.pass { "pass" } else { "FAIL" },
        );
        for note in &row.notes {
            println!("    {note}");
        }
    }
}

fn number(value: Option<f32>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.2e}"))
}

fn count(value: Option<usize>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

fn greedy(same: Option<bool>, first: Option<Divergence>) -> String {
    match (same, first) {
        (None, _) => "-".into(),
        (Some(_), None) => "alike".into(),
        (Some(true), Some(tie)) => format!("tie at {} ({:.1e})", tie.step, tie.margin),
        (Some(false), Some(first)) => format!("parts at {} ({:.1e})", first.step, first.margin),
    }
}
