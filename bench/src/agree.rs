//! Whether our engine and llama.cpp say the same, and who is nearer to exact arithmetic on the same file.
//!
//! One text of random tokens; logits after each of them from llama.cpp, from our native kernels and from our f32
//! reference. One after another, so that one model at a time is in memory.
//!
//! llama.cpp runs twice, with its attention in tiles and by rows. Both are right and differ in the order of their sums
//! alone: how often they choose the same token is what two correct programs can be asked for.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use model::{Input, LoadOptions, Model, Precision, Scratch, WantedLogits};
use serde::Serialize;

use crate::peer::{self, Peer, Settings};
use crate::traffic::Traffic;

/// A reference that prefers its best token by less than this has a tie, and either choice is right.
const TIE: f64 = 4e-3;

/// What to compare.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Model files
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// Tokens of the text
    #[arg(long, default_value_t = 192)]
    tokens: usize,
    /// Take the tokens of this text instead of random ones, and compare perplexities too
    #[arg(long)]
    text: Option<PathBuf>,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Seed of the text
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    peer: &'static str,
    system_info: String,
    rows: Vec<Row>,
}

/// Figures of one file; `reference` is our f32 arithmetic on the file's own weights.
#[derive(Serialize)]
struct Row {
    model: String,
    tokens: usize,
    /// Standard deviation of the reference's logits.
    logit_std: f64,
    ties: usize,
    /// Share of positions outside ties where both choose the same token.
    top1_ours_peer: f64,
    top1_ours_reference: f64,
    top1_peer_reference: f64,
    /// The same for llama.cpp and itself with its other attention.
    top1_peer_itself: f64,
    /// The reference's lead, in logits, at the clearest choice that ours and llama.cpp make differently; 0 if there is
    /// none.
    widest_disagreement: f64,
    /// Mean Kullback-Leibler divergence from the reference's distribution, in nats.
    kl_ours: f64,
    kl_peer: f64,
    /// On a text: of the reference, ours and llama.cpp's.
    perplexity: Option<[f64; 3]>,
}

/// Compares and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut rows = Vec::new();
    for path in &options.models {
        let row = compare(path, options)?;
        println!(
            "{}: {} tokens ({} ties), logits' deviation {:.2}; same first choice: ours and llama.cpp {:.4}, ours and reference {:.4}, \
             llama.cpp and reference {:.4}, llama.cpp and itself with other attention {:.4}; ours and llama.cpp differ up to a lead of {:.3}; KL from the reference: ours {:.2e}, llama.cpp {:.2e}",
            row.model,
            row.tokens,
            row.ties,
            row.logit_std,
            row.top1_ours_peer,
            row.top1_ours_reference,
            row.top1_peer_reference,
            row.top1_peer_itself,
            row.widest_disagreement,
            row.kl_ours,
            row.kl_peer
        );
        if let Some([reference, ours, peer]) = row.perplexity {
            println!(
                "{}: perplexity {ours:.3}, llama.cpp {peer:.3} ({:+.2} %), reference {reference:.3}",
                row.model,
                (ours / peer - 1.0) * 100.0
            );
        }
        rows.push(row);
    }
    if let Some(path) = &options.json {
        let report = Report {
            schema: 1,
            peer: peer::VERSION,
            system_info: Peer::system_info(),
            rows,
        };
        stdx::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

fn compare(path: &Path, options: &Options) -> Result<Row> {
    let traffic = Traffic::of(path)?;
    let mut rng = stdx::rng::Rng::new(options.seed);
    // The last rows of OLMoE's embedding belong to no token.
    let vocabulary = traffic.n_vocabulary.saturating_sub(24).max(1);
    let tokens: Vec<u32> = match &options.text {
        None => (0..options.tokens)
            .map(|_| u32::try_from(rng.below(vocabulary)).unwrap_or(0))
            .collect(),
        Some(text) => {
            let model = Model::load(path, &LoadOptions::default())?;
            let mut tokens = model.tokenize(&stdx::fs::read_to_string(text)?);
            tokens.truncate(options.tokens);
            tokens
        }
    };
    let theirs = |flash_attention: bool| -> Result<Vec<f32>> {
        let settings = Settings {
            n_threads: i32::try_from(options.threads)?,
            n_context: u32::try_from(tokens.len() + 8)?,
            repack: false,
            n_sequences: 1,
            flash_attention,
        };
        Peer::load(path, settings)?.all_logits(&tokens)
    };
    let (theirs, theirs_by_rows) = (theirs(true)?, theirs(false)?);
    let native = ours(path, &tokens, options.threads, Precision::Native)?;
    let reference = ours(path, &tokens, options.threads, Precision::F32)?;
    if theirs.len() != reference.len()
        || theirs_by_rows.len() != reference.len()
        || native.len() != reference.len()
    {
        bail!("the engines gave logits of different lengths");
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut row = judge(name, &tokens, [&reference, &native, &theirs, &theirs_by_rows]);
    if options.text.is_some() {
        row.perplexity = Some([&reference, &native, &theirs].map(|logits| perplexity(&tokens, logits)));
    }
    Ok(row)
}

/// Logits after each token, one row after another.
fn ours(path: &Path, tokens: &[u32], threads: usize, precision: Precision) -> Result<Vec<f32>> {
    let options = LoadOptions {
        threads,
        precision,
        context: Some(tokens.len() + 8),
        ..LoadOptions::default()
    };
    let model = Model::load(path, &options)?;
    let (mut cache, mut scratch) = (model.new_cache(), Scratch::default());
    let input = Input {
        tokens,
        cache: &mut cache,
        logits: WantedLogits::All,
    };
    model.forward(&mut [input], &mut scratch)?;
    Ok((0..tokens.len())
        .flat_map(|row| scratch.logits(row).to_vec())
        .collect())
}

/// The exponential of the mean surprise at each token after the first.
fn perplexity(tokens: &[u32], logits: &[f32]) -> f64 {
    let width = logits.len() / tokens.len();
    let rows = logits.chunks_exact(width).zip(&tokens[1..]);
    let surprise: f64 = rows.map(|(row, next)| -log_softmax(row)[*next as usize]).sum();
    (surprise / (tokens.len() - 1) as f64).exp()
}

fn judge(model: String, tokens: &[u32], [reference, native, theirs, theirs_by_rows]: [&[f32]; 4]) -> Row {
    let width = reference.len() / tokens.len();
    let rows = |logits: &'_ [f32]| {
        logits
            .chunks_exact(width)
            .map(<[f32]>::to_vec)
            .collect::<Vec<_>>()
    };
    let (reference, native) = (rows(reference), rows(native));
    let (theirs, theirs_by_rows) = (rows(theirs), rows(theirs_by_rows));
    let (mut ties, mut widest) = (0, 0.0_f64);
    let (mut ours_peer, mut ours_exact, mut peer_exact, mut peer_itself) = (0, 0, 0, 0);
    let (mut kl_ours, mut kl_peer, mut variance) = (0.0, 0.0, 0.0);
    let all = reference
        .iter()
        .zip(&native)
        .zip(theirs.iter().zip(&theirs_by_rows));
    for ((exact, ours), (peer, peer_by_rows)) in all {
        kl_ours += divergence(exact, ours);
        kl_peer += divergence(exact, peer);
        variance += spread(exact);
        let (best, margin) = first(exact);
        if margin < TIE {
            ties += 1;
            continue;
        }
        let (a, b) = (first(ours).0, first(peer).0);
        ours_peer += usize::from(a == b);
        if a != b {
            widest = widest.max(margin);
        }
        ours_exact += usize::from(a == best);
        peer_exact += usize::from(b == best);
        peer_itself += usize::from(b == first(peer_by_rows).0);
    }
    let n = tokens.len() as f64;
    let decided = (tokens.len() - ties).max(1) as f64;
    Row {
        model,
        tokens: tokens.len(),
        logit_std: (variance / n).sqrt(),
        ties,
        top1_ours_peer: ours_peer as f64 / decided,
        top1_ours_reference: ours_exact as f64 / decided,
        top1_peer_reference: peer_exact as f64 / decided,
        top1_peer_itself: peer_itself as f64 / decided,
        widest_disagreement: widest,
        kl_ours: kl_ours / n,
        kl_peer: kl_peer / n,
        perplexity: None,
    }
}

/// The best index and how far it is ahead of the second.
fn first(logits: &[f32]) -> (usize, f64) {
    let (mut best, mut second) = ((0, f32::NEG_INFINITY), f32::NEG_INFINITY);
    for (i, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            second = best.1;
            best = (i, logit);
        } else if logit > second {
            second = logit;
        }
    }
    (best.0, f64::from(best.1 - second))
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    logits.iter().map(|l| f64::from(l - max) - total.ln()).collect()
}

/// KL(exact ‖ other) in nats.
fn divergence(exact: &[f32], other: &[f32]) -> f64 {
    let (p, q) = (log_softmax(exact), log_softmax(other));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn spread(logits: &[f32]) -> f64 {
    let n = logits.len() as f64;
    let mean = logits.iter().map(|l| f64::from(*l)).sum::<f64>() / n;
    logits.iter().map(|l| (f64::from(*l) - mean).powi(2)).sum::<f64>() / n
}
