//! A model larger than the memory it gets: ours with a budget beside llama.cpp, which maps the file and hopes.
//!
//! Each run is a process in a control group of its own whose limit counts the file cache too; the cache is emptied
//! before. Needs to be root on Linux, with version 1 or 2 of control groups.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::worker::{Measured, Which, Work};

/// How to compare.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Model file
    #[arg(long)]
    model: PathBuf,
    /// Memory of each process, in MiB
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// Repetitions of each engine
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Threads of each engine
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Room for tokens
    #[arg(long, default_value_t = 1024)]
    context: usize,
    /// Tokens to time
    #[arg(long, default_value_t = 48)]
    new_tokens: usize,
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    model: String,
    limit_bytes: u64,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    engine: &'static str,
    decode: f64,
    prefill: f64,
    load_s: f64,
    peak_bytes: f64,
    /// Bytes read from the disk for each token that was processed or chosen.
    read_bytes_per_token: f64,
    /// Share of experts that were in memory when they were needed; ours alone knows.
    hit_rate: Option<f64>,
}

/// Runs both and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let limit = options.mib << 20;
    let work = |which| Work {
        which,
        model: options.model.clone(),
        threads: options.threads,
        context: options.context,
        vocabulary: 50_280,
        prefill: vec![64],
        decode: vec![64],
        new_tokens: options.new_tokens,
        together: 0,
        seed: 1,
        pack: options.model.parent().map(|folder| folder.join("packed")),
        memory_budget: (which == Which::Ours).then_some(limit),
        hold: false,
    };
    // Packing is no part of it.
    crate::prepare(&Work {
        memory_budget: None,
        ..work(Which::Ours)
    })?;
    let mut report = Report {
        schema: 1,
        model: options.model.display().to_string(),
        limit_bytes: limit,
        rows: Vec::new(),
    };
    println!(
        "| engine | decode | prefill 64 | load | peak memory | read a token | experts there |\n|---|---|---|---|---|---|---|"
    );
    for _ in 0..options.repetitions {
        for (which, engine) in [(Which::Ours, "ours"), (Which::PeerPlain, "llama.cpp, mapped")] {
            let row = row(engine, &limited(&work(which), limit)?);
            println!(
                "| {} | {:.2} tokens/s | {:.2} tokens/s | {:.2} s | {:.2} GB | {:.0} MB | {} |",
                row.engine,
                row.decode,
                row.prefill,
                row.load_s,
                row.peak_bytes / 1e9,
                row.read_bytes_per_token / 1e6,
                row.hit_rate
                    .map_or(String::new(), |rate| format!("{:.0} %", rate * 100.0))
            );
            report.rows.push(row);
        }
    }
    if let Some(path) = &options.json {
        stdx::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

fn row(engine: &'static str, measured: &Measured) -> Row {
    let (hits, needed) = measured.experts;
    Row {
        engine,
        decode: measured.decode.first().copied().unwrap_or(0.0),
        prefill: measured.prefill.first().copied().unwrap_or(0.0),
        load_s: measured.load_s,
        peak_bytes: measured.peak_bytes,
        read_bytes_per_token: measured.read_bytes as f64 / measured.n_tokens.max(1) as f64,
        hit_rate: (needed > 0).then(|| hits as f64 / needed as f64),
    }
}

/// Runs `work` in a control group of its own, the file cache emptied before.
fn limited(work: &Work, limit: u64) -> Result<Measured> {
    let group = Group::new(limit)?;
    stdx::fs::write("/proc/sys/vm/drop_caches", "3").context("emptying the file cache needs root")?;
    let mut command = crate::command(work)?;
    let procs = group.folder.join("cgroup.procs");
    // The shell enters the group and then becomes the worker.
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(&procs)
        .arg(command.get_program())
        .args(command.get_args())
        .arg0("sh");
    command = shell;
    crate::measured_by(command, work)
}

/// A control group that goes when it is dropped.
struct Group {
    folder: PathBuf,
}

impl Group {
    fn new(limit: u64) -> Result<Self> {
        let name = format!("hanok-bench-{}", std::process::id());
        let version_1 = Path::new("/sys/fs/cgroup/memory");
        let (folder, file) = if version_1.is_dir() {
            (version_1.join(name), "memory.limit_in_bytes")
        } else {
            let root = Path::new("/sys/fs/cgroup");
            if stdx::fs::write(root.join("cgroup.subtree_control"), "+memory").is_err() {
                bail!("control groups of memory cannot be made here");
            }
            (root.join(name), "memory.max")
        };
        stdx::fs::create_dir_all(&folder)?;
        let group = Self { folder };
        stdx::fs::write(group.folder.join(file), limit.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its files are the kernel's; only the folder can be removed.
        let _ = std::fs::remove_dir(&self.folder);
    }
}
