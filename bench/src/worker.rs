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

/// Context of each sequence when several are decoded together: two of our blocks and a token to begin with.
const TOGETHER_CONTEXT: usize = 129;

/// What a held worker prints when it has measured.
pub(crate) const HELD: &str = "held";

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
    /// Prompt lengths to time, ascending: beginnings of one text.
    #[arg(long, value_delimiter = ',')]
    pub(crate) prefill: Vec<usize>,
    /// Context lengths at which to time single tokens; those beyond the longest prompt go on in its text.
    #[arg(long, value_delimiter = ',')]
    pub(crate) decode: Vec<usize>,
    /// Tokens to time at each context length.
    #[arg(long)]
    pub(crate) new_tokens: usize,
    /// Sequences to decode together; 0 leaves that out.
    #[arg(long)]
    pub(crate) together: usize,
    #[arg(long)]
    pub(crate) seed: u64,
    /// Where our engine keeps packed weights; without it they stay in memory.
    #[arg(long)]
    pub(crate) pack: Option<PathBuf>,
    /// Bytes that our engine may take; experts that do not fit are read on demand.
    #[arg(long)]
    pub(crate) memory_budget: Option<u64>,
    /// Stay alive, model loaded, until standard input ends.
    #[arg(long)]
    pub(crate) hold: bool,
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
    /// Tokens per second of all sequences decoded together; none if that was left out.
    #[serde(default)]
    pub(crate) together: Option<f64>,
    /// Most memory that was resident at once, mapped files included, in bytes.
    pub(crate) peak_bytes: f64,
    /// Processor time of the whole process in clock ticks.
    pub(crate) own_ticks: u64,
    /// Bytes that the disk gave.
    pub(crate) read_bytes: u64,
    /// Tokens processed or chosen.
    pub(crate) n_tokens: usize,
    /// Experts that were in memory when they were needed, and all that were needed; zeros where all are there.
    pub(crate) experts: (u64, u64),
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
            return Ok(Self::Ours(Ours::load(
                &work.model,
                work.threads,
                work.context,
                work.together,
                work.pack.clone(),
                work.memory_budget,
            )?));
        }
        let settings = Settings {
            n_threads: i32::try_from(work.threads)?,
            n_context: u32::try_from(work.context)?,
            repack: work.which == Which::PeerRepack,
            flash_attention: true,
            n_sequences: u32::try_from(work.together.max(1))?,
        };
        Ok(Self::Peer(Peer::load(&work.model, settings)?))
    }

    /// Experts that were there when they were needed, and all that were needed.
    fn experts(&self) -> (u64, u64) {
        match self {
            Self::Ours(ours) => ours.experts(),
            Self::Peer(_) => (0, 0),
        }
    }

    /// Tokens per second of all sequences, from the moment each has its first new token.
    fn generate_together(&mut self, prompts: &[Vec<u32>], n_new: usize) -> Result<f64> {
        match self {
            Self::Ours(ours) => ours.generate_together(prompts, n_new),
            Self::Peer(peer) => {
                peer.clear();
                let mut last = Vec::with_capacity(prompts.len());
                for (sequence, prompt) in prompts.iter().enumerate() {
                    last.push(peer.start_sequence(sequence, prompt)?);
                }
                let start = Instant::now();
                for step in 0..n_new {
                    peer.step_together(&mut last, prompts[0].len() + step)?;
                }
                Ok((n_new * prompts.len()) as f64 / start.elapsed().as_secs_f64())
            }
        }
    }

    /// Processes a prompt, of which the first `n_past` tokens were processed before, and goes on for `n_new` tokens.
    fn generate(&mut self, prompt: &[u32], n_past: usize, n_new: usize) -> Result<Timings> {
        let peer = match self {
            Self::Ours(ours) => return ours.generate(prompt, n_past, n_new),
            Self::Peer(peer) => peer,
        };
        peer.forget_from(n_past)?;
        let start = Instant::now();
        let mut token = peer.step(&prompt[n_past..])?;
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
    engine.generate(&tokens(1), 0, 1)?;
    let load_s = start.elapsed().as_secs_f64();
    // Threads, caches and pages are warm after this.
    engine.generate(&tokens(32), 0, 8)?;
    let mut decode = Vec::new();
    let longest = work.prefill.iter().copied().max().unwrap_or(0);
    let (short, long): (Vec<usize>, Vec<usize>) = work.decode.iter().partition(|n| **n <= longest);
    for n_tokens in short {
        let time = engine.generate(&tokens(n_tokens), 0, work.new_tokens + 1)?;
        decode.push(work.new_tokens as f64 / time.rest_s);
    }
    // One text for all that is long, each part processed once.
    let text = tokens(long.iter().copied().max().unwrap_or(0).max(longest));
    let (mut prefill, mut n_past, mut spent_s) = (Vec::new(), 0, 0.0);
    for &n_tokens in &work.prefill {
        spent_s += engine.generate(&text[..n_tokens], n_past, 1)?.first_s;
        n_past = n_tokens;
        prefill.push(n_tokens as f64 / spent_s);
    }
    for n_tokens in long {
        let time = engine.generate(&text[..n_tokens], n_past, work.new_tokens + 1)?;
        n_past = n_tokens;
        decode.push(work.new_tokens as f64 / time.rest_s);
    }
    let mut together = None;
    if work.together > 0 {
        let prompts: Vec<Vec<u32>> = (0..work.together).map(|_| tokens(TOGETHER_CONTEXT)).collect();
        together = Some(engine.generate_together(&prompts, work.new_tokens)?);
    }
    let longest = text.len().max(n_past);
    let n_decoded = (work.new_tokens + 1) * (work.decode.len() + work.together);
    let n_short: usize = work.decode.iter().filter(|n| **n <= longest).sum();
    let measured = Measured {
        load_s,
        together,
        read_bytes: read_bytes(),
        n_tokens: 2 + 32 + 8 + n_short + longest + work.together * TOGETHER_CONTEXT + n_decoded,
        experts: engine.experts(),
        prefill,
        decode,
        peak_bytes: peak_bytes()?,
        own_ticks: quiet::own_ticks()?,
        others: 0.0,
    };
    if work.hold {
        println!("{HELD}");
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    }
    Ok(measured)
}

/// What this process had read from disks; 0 where the system does not say.
fn read_bytes() -> u64 {
    let io = stdx::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("read_bytes:"));
    line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
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
