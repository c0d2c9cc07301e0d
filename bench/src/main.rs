//! Our engine and llama.cpp side by side in one run, with the machine's roofs between repetitions.
//!
//! `cargo xtask bench engine` builds and calls this; it makes the models, this only measures. Every
//! repetition of every engine is a process of its own; repetitions alternate, so that drift of a shared
//! machine falls on all alike.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum as _};

mod agree;
mod budget;
mod convert;
mod logits;
mod ours;
mod peer;
mod quiet;
mod report;
mod roofs;
mod service;
mod traffic;
mod worker;

use report::{ModelRun, Report};
use roofs::Arena;
use worker::{Measured, Which, Work};

/// Processes that share one model.
const PROCESSES: usize = 6;

/// What to do.
#[derive(Parser)]
enum Cli {
    /// Compare on one or more models
    Engine(Options),
    /// Compare what the engines say, token by token
    Agree(agree::Options),
    /// Whether llama.cpp reads what `hanok convert` writes, and says the same
    Convert(convert::Options),
    /// Many at once, and text that repeats
    Service(service::Options),
    /// A model larger than its memory
    Budget(budget::Options),
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
    /// Also time a prompt of 2048 tokens, decoding at a context of 3500, and eight sequences together
    #[arg(long)]
    deep: bool,
    /// Keep our weights in memory instead of in a packed file beside the model
    #[arg(long)]
    no_pack: bool,
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
        Cli::Agree(options) => agree::run(&options),
        Cli::Convert(options) => convert::run(&options),
        Cli::Service(options) => service::run(&options),
        Cli::Budget(options) => budget::run(&options),
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
            pack: packed_folder(&path).filter(|_| !options.no_pack),
            model: path,
            threads: options.threads,
            context: 4096.min(run.context_max()),
            vocabulary: run.vocabulary(),
            prefill: run.prefill_lengths().to_vec(),
            decode: run.decode_contexts().to_vec(),
            new_tokens: options.new_tokens,
            together: run.n_together(),
            seed: 0,
            memory_budget: None,
            hold: false,
        };
        prepare(&template)?;
        for repetition in 0..options.repetitions {
            for which in order(repetition) {
                let mut work = Work {
                    which,
                    seed: repetition as u64 + 1,
                    ..template.clone()
                };
                if run.is_out_of_the_race(which) {
                    work.together = 0;
                    work.prefill.truncate(1);
                    work.decode.truncate(1);
                }
                // What the machine has to give changes within minutes: what ours reached is held against what there was
                // right before and after it.
                let before = (which == Which::Ours).then(&roofs).transpose()?;
                let measured = in_its_own_process(&work)?;
                eprintln!("  {repetition} {which:?}: {}", report::line(&measured));
                run.add(which, measured);
                if let Some(before) = before {
                    let after = roofs()?;
                    report.roofs.extend([before.clone(), after.clone()]);
                    run.add_roofs(before, after);
                }
            }
        }
        if options.deep {
            for which in order(0) {
                match shared_memory(&template, which)? {
                    Some(bytes) => {
                        eprintln!("  {PROCESSES} processes {which:?}: {:.2} GB", bytes / 1e9);
                        run.add_shared(which, bytes);
                    }
                    None => eprintln!("  {PROCESSES} processes {which:?}: more than this machine has"),
                }
            }
        }
        report.add(&run)?;
    }
    report.print();
    if let Some(path) = &options.json {
        stdx::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

/// Packed files lie beside the model.
fn packed_folder(model: &Path) -> Option<PathBuf> {
    model.parent().map(|folder| folder.join("packed"))
}

/// Loads our engine once: the first time it packs the weights, which is no part of a start.
fn prepare(template: &Work) -> Result<()> {
    let work = Work {
        prefill: Vec::new(),
        decode: Vec::new(),
        together: 0,
        ..template.clone()
    };
    let measured = in_its_own_process(&work)?;
    eprintln!("  first load, packing included: {:.2} s", measured.load_s);
    Ok(())
}

/// The three set-ups, beginning with another one each time.
fn order(repetition: usize) -> [Which; 3] {
    let mut order = [Which::Ours, Which::PeerRepack, Which::PeerPlain];
    order.rotate_left(repetition % 3);
    order
}

/// This program, told to do `work`.
fn command(work: &Work) -> Result<Command> {
    let which = work
        .which
        .to_possible_value()
        .context("every variant has a name")?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["worker", "--which", which.get_name(), "--model"])
        .arg(&work.model)
        .args(list("--threads", &[work.threads]))
        .args(list("--context", &[work.context]))
        .args(["--vocabulary", &work.vocabulary.to_string()])
        .args(list("--new-tokens", &[work.new_tokens]))
        .args(list("--prefill", &work.prefill))
        .args(list("--decode", &work.decode))
        .args(list("--together", &[work.together]))
        .args(["--seed", &work.seed.to_string()])
        .args(
            work.pack
                .iter()
                .flat_map(|folder| [OsStr::new("--pack"), folder.as_os_str()]),
        )
        .args(
            work.memory_budget
                .iter()
                .flat_map(|bytes| ["--memory-budget".to_owned(), bytes.to_string()]),
        )
        .args(work.hold.then_some("--hold"));
    Ok(command)
}

/// Memory of several processes that run one model, in bytes: shared pages count once (PSS). `None` if one more would
/// not fit: a machine that runs out of memory stands still for minutes before it kills anything.
fn shared_memory(template: &Work, which: Which) -> Result<Option<f64>> {
    let work = Work {
        which,
        prefill: vec![512],
        decode: Vec::new(),
        together: 0,
        hold: true,
        ..template.clone()
    };
    let mut children: Vec<(Child, BufReader<ChildStdout>)> = Vec::new();
    let before = available_bytes()?;
    for n in 0..PROCESSES as u64 {
        let left = available_bytes()?;
        // The next will take about as much as those before took each.
        if n > 0 && left < (before.saturating_sub(left) / n).saturating_mul(5) / 4 {
            end(children)?;
            return Ok(None);
        }
        let mut child = command(&work)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        // One after another: all at once would only wait for each other's cores.
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        output.read_line(&mut line)?;
        if line.trim() != worker::HELD {
            bail!("{which:?} did not get ready");
        }
        children.push((child, output));
    }
    let mut total = 0.0;
    for (child, _) in &children {
        let rollup = stdx::fs::read_to_string(format!("/proc/{}/smaps_rollup", child.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib: f64 = line
            .and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
            .context("no Pss in smaps_rollup")?;
        total += kib * 1024.0;
    }
    end(children)?;
    Ok(Some(total))
}

/// Lets held workers end.
fn end(children: Vec<(Child, BufReader<ChildStdout>)>) -> Result<()> {
    for (mut child, mut output) in children {
        drop(child.stdin.take());
        std::io::copy(&mut output, &mut std::io::sink())?;
        child.wait()?;
    }
    Ok(())
}

/// What the kernel could give to a new process without swapping.
fn available_bytes() -> Result<u64> {
    let text = stdx::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 = line
        .and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
        .context("no MemAvailable in /proc/meminfo")?;
    Ok(kib * 1024)
}

/// A flag with its numbers; nothing of none.
fn list(flag: &str, numbers: &[usize]) -> Vec<String> {
    let joined = numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    match numbers {
        [] => Vec::new(),
        _ => vec![flag.to_owned(), joined],
    }
}

fn in_its_own_process(work: &Work) -> Result<Measured> {
    measured_by(command(work)?, work)
}

/// What the process says that does `work`.
fn measured_by(mut command: Command, work: &Work) -> Result<Measured> {
    let before = quiet::Ticks::now()?;
    let output = command.stderr(Stdio::inherit()).output()?;
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
