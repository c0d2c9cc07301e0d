//! Our engine and llama.cpp side by side in one run, with the machine's roofs between repetitions.
//!
//! `cargo xtask bench engine` builds and calls this; it makes the models, this only measures. Every
//! repetition of every engine is a process of its own; repetitions alternate, so that drift of a shared
//! machine falls on all alike.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum as _};

mod ours;
mod peer;
mod quiet;
mod report;
mod roofs;
mod traffic;
mod worker;

use report::{ModelRun, Report};
use roofs::Arena;
use worker::{Measured, Which, Work};

/// What to do.
#[derive(Parser)]
enum Cli {
    /// Compare on one or more models
    Engine(Options),
    /// One repetition in this process
    #[command(hide = true)]
    Worker(Work),
}

/// How to compare.
#[derive(clap::Args)]
struct Options {
    /// Model file and the name of its weight type, `FILE=TYPE`; may be given several times
    #[arg(long = "model", required = true)]
    models: Vec<String>,
    /// Repetitions of each engine
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Threads of each engine and of the roofs
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Also time a prompt of 2048 tokens and decoding at a context of 3500
    #[arg(long)]
    deep: bool,
    /// Tokens to time when decoding
    #[arg(long, default_value_t = 64)]
    new_tokens: usize,
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    match Cli::parse() {
        Cli::Worker(work) => {
            println!("{}", serde_json::to_string(&worker::run(&work)?)?);
            Ok(())
        }
        Cli::Engine(options) => compare(&options),
    }
}

fn compare(options: &Options) -> Result<()> {
    eprintln!("llama.cpp: {}", peer::Peer::system_info());
    // Mapped only while measuring: a gigabyte must not stand beside a model that hardly fits.
    let roofs = || Ok::<_, anyhow::Error>(Arena::new()?.measure(options.threads));
    let mut report = Report::new(options.threads);
    for model in &options.models {
        let (path, weight_type) = model.rsplit_once('=').context("--model wants FILE=TYPE")?;
        let path = PathBuf::from(path);
        let mut run = ModelRun::new(&path, weight_type, options.deep)?;
        let template = Work {
            which: Which::Ours,
            model: path,
            threads: options.threads,
            context: 4096.min(run.context_max()),
            vocabulary: run.vocabulary(),
            prefill: run.prefill_lengths().to_vec(),
            decode: run.decode_contexts().to_vec(),
            new_tokens: options.new_tokens,
            seed: 0,
        };
        for repetition in 0..options.repetitions {
            report.roofs.push(roofs()?);
            for which in order(repetition) {
                let work = Work {
                    which,
                    seed: repetition as u64 + 1,
                    ..template.clone()
                };
                let measured = in_its_own_process(&work)?;
                eprintln!("  {repetition} {which:?}: {}", report::line(&measured));
                run.add(which, measured);
            }
        }
        report.roofs.push(roofs()?);
        report.add(&run)?;
    }
    report.print();
    if let Some(path) = &options.json {
        stdx::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

/// The three set-ups, beginning with another one each time.
fn order(repetition: usize) -> [Which; 3] {
    let mut order = [Which::Ours, Which::PeerRepack, Which::PeerPlain];
    order.rotate_left(repetition % 3);
    order
}

fn in_its_own_process(work: &Work) -> Result<Measured> {
    let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let which = work
        .which
        .to_possible_value()
        .context("every variant has a name")?;
    let before = quiet::Ticks::now()?;
    let output = Command::new(std::env::current_exe()?)
        .args(["worker", "--which", which.get_name(), "--model"])
        .arg(&work.model)
        .args([
            "--threads",
            &work.threads.to_string(),
            "--context",
            &work.context.to_string(),
        ])
        .args([
            "--vocabulary",
            &work.vocabulary.to_string(),
            "--new-tokens",
            &work.new_tokens.to_string(),
        ])
        .args(["--prefill", &list(&work.prefill), "--decode", &list(&work.decode)])
        .args(["--seed", &work.seed.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!(
            "{which:?} on {} ended with {}",
            work.model.display(),
            output.status,
            which = work.which
        );
    }
    let text = String::from_utf8(output.stdout)?;
    let json = text.lines().last().context("the worker printed nothing")?;
    let mut measured: Measured = serde_json::from_str(json)?;
    measured.others = before.others_since(measured.own_ticks)?;
    Ok(measured)
}
