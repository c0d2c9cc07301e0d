//! One repetition of one engine in a process of its own, so that load time and peak memory are its own.
//!
//! Prints one JSON object; the process that started it compares.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::ours::Ours;
use crate::peer::{Peer, Settings};
use crate::quiet;

/// Which engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Which {
    /// Ours.
    Ours,
    /// llama.cpp, weights repacked for the CPU.
    PeerRepack,
    /// llama.cpp, weights as in the file.
    PeerPlain,
}

/// What one process does.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Work {
    #[arg(long)]
    pub(crate) which: Which,
    #[arg(long)]
    pub(crate) model: PathBuf,
    #[arg(long)]
    pub(crate) threads: usize,
    /// Room for tokens that both engines reserve.
    #[arg(long)]
    pub(crate) context: usize,
    /// Ids below this are drawn as prompt tokens.
    #[arg(long)]
    pub(crate) vocabulary: u64,
    /// Prompt lengths to time, each with fresh tokens.
    #[arg(long, value_delimiter = ',')]
    pub(crate) prefill: Vec<usize>,
    /// Context lengths at which to time single tokens.
    #[arg(long, value_delimiter = ',')]
    pub(crate) decode: Vec<usize>,
    /// Tokens to time at each context length.
    #[arg(long)]
    pub(crate) new_tokens: usize,
    #[arg(long)]
    pub(crate) seed: u64,
}

/// Time to the first token of a prompt, and from there to the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timings {
    pub(crate) first_s: f64,
    pub(crate) rest_s: f64,
}

/// What one process measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// From nothing to the first token of a one-token prompt, file cache warm, in seconds.
    pub(crate) load_s: f64,
    /// Tokens per second, one for each prompt length.
    pub(crate) prefill: Vec<f64>,
    /// Tokens per second, one for each context length.
    pub(crate) decode: Vec<f64>,
    /// Most memory that was resident at once, mapped files included, in bytes.
    pub(crate) peak_bytes: f64,
    /// Processor time of the whole process in clock ticks.
    pub(crate) own_ticks: u64,
    /// Share of the machine that others took meanwhile; set by the process that started this one.
    #[serde(default)]
    pub(crate) others: f64,
}

enum Engine {
    Ours(Ours),
    Peer(Peer),
}

impl Engine {
    fn load(work: &Work) -> Result<Self> {
        if work.which == Which::Ours {
            return Ok(Self::Ours(Ours::load(&work.model, work.threads, work.context)?));
        }
        let settings = Settings {
            n_threads: i32::try_from(work.threads)?,
            n_context: u32::try_from(work.context)?,
            repack: work.which == Which::PeerRepack,
        };
        Ok(Self::Peer(Peer::load(&work.model, settings)?))
    }

    fn generate(&mut self, prompt: &[u32], n_new: usize) -> Result<Timings> {
        let peer = match self {
            Self::Ours(ours) => return ours.generate(prompt, n_new),
            Self::Peer(peer) => peer,
        };
        peer.clear();
        let start = Instant::now();
        let mut token = peer.step(prompt)?;
        let first = Instant::now();
        for _ in 1..n_new {
            token = peer.step(&[token])?;
        }
        Ok(Timings {
            first_s: (first - start).as_secs_f64(),
            rest_s: first.elapsed().as_secs_f64(),
        })
    }
}

/// Loads, times, prints.
pub(crate) fn run(work: &Work) -> Result<Measured> {
    // The same seed for every engine of a repetition, another one for the next.
    let mut rng = stdx::rng::Rng::new(work.seed);
    let mut tokens = |n: usize| -> Vec<u32> {
        (0..n)
            .map(|_| u32::try_from(rng.below(work.vocabulary)).unwrap_or(0))
            .collect()
    };
    let start = Instant::now();
    let mut engine = Engine::load(work)?;
    engine.generate(&tokens(1), 1)?;
    let load_s = start.elapsed().as_secs_f64();
    // Threads, caches and pages are warm after this.
    engine.generate(&tokens(32), 8)?;
    let mut prefill = Vec::new();
    for &n_tokens in &work.prefill {
        let time = engine.generate(&tokens(n_tokens), 1)?;
        prefill.push(n_tokens as f64 / time.first_s);
    }
    let mut decode = Vec::new();
    for &n_tokens in &work.decode {
        let time = engine.generate(&tokens(n_tokens), work.new_tokens + 1)?;
        decode.push(work.new_tokens as f64 / time.rest_s);
    }
    Ok(Measured {
        load_s,
        prefill,
        decode,
        peak_bytes: peak_bytes()?,
        own_ticks: quiet::own_ticks()?,
        others: 0.0,
    })
}

/// The kernel's high-water mark of this process's resident memory.
fn peak_bytes() -> Result<f64> {
    let status = stdx::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM in status")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}
