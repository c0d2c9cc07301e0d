//! Whether our engine and llama.cpp say the same, and who is nearer to exact arithmetic on the same file.
//!
//! Texts of random tokens; logits after each of them from llama.cpp, from our native kernels and from our f32
//! reference. One after another, so that one model at a time is in memory.
//!
//! llama.cpp runs twice, with its attention in tiles and by rows. Both are right and differ in the order of their sums
//! alone: how often they choose the same token is what two correct programs can be asked for.
//!
//! The error budget: with quantised weights the mean divergence from the reference is at most [`KL_MAX`], and not above
//! llama.cpp's own on the same file. A divergence grows with the square of the logits' spread, so it says something at
//! a stated spread only: the final norm of a random model is scaled until the reference's logits have the deviation
//! asked for, which changes nothing before it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use model::{Decoder, DecoderOptions, Input, LoadOptions, Model, Precision, Scratch, WantedLogits};
use serde::Serialize;
use weights::gguf::{GgmlType, Gguf};

use crate::logits::{Mean, divergence, first, lead, log_softmax, variance};
use crate::peer::{self, Peer, Settings};
use crate::traffic::Traffic;

/// A reference that prefers its best token by less than this has a tie, and either choice is right.
pub(crate) const TIE: f64 = 4e-3;
/// A lead is clear from so many times the deviation between the leads that llama.cpp's two attentions give.
const CLEAR: f64 = 3.0;
/// The mean divergence that quantised weights may have from the reference, in nats.
const KL_MAX: f64 = 1e-3;
/// The smallest deviation of the reference's logits at which the budget says something.
const DEVIATION_MIN: f64 = 1.5;
/// The tensor that every logit is proportional to.
const FINAL_NORM: &str = "output_norm.weight";

/// What to compare.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Model files
    #[arg(required_unless_present = "budget")]
    models: Vec<PathBuf>,
    /// Random model file that is held to the error budget: the command fails if it is outside. May be given several
    /// times
    #[arg(long, value_name = "FILE")]
    budget: Vec<PathBuf>,
    /// Standard deviation that the reference's logits get in files that are held to the budget
    #[arg(long, default_value_t = 1.55)]
    deviation: f64,
    /// Tokens of each text
    #[arg(long, default_value_t = 192)]
    tokens: usize,
    /// Random texts for each file that is held to the budget; others get one
    #[arg(long, default_value_t = 8)]
    texts: u64,
    /// Take the tokens of this text instead of random ones, and compare perplexities too
    #[arg(long)]
    text: Option<PathBuf>,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Seed of the first text
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
    /// Deviation, in logits, between the leads that llama.cpp gives the reference's best token with either attention:
    /// what rounding alone does.
    noise: f64,
    /// Positions at which the reference's lead is clear of that, and the share of them where both choose the same token.
    clear: usize,
    clear_ours_peer: f64,
    clear_peer_itself: f64,
    /// The reference's lead, in logits, at the clearest choice that ours and llama.cpp make differently; 0 if there is
    /// none.
    widest_disagreement: f64,
    /// Kullback-Leibler divergence from the reference's distribution over the positions, in nats.
    kl_ours: Mean,
    kl_peer: Mean,
    /// Ours less llama.cpp's, position by position.
    kl_difference: Mean,
    /// On a text: of the reference, ours and llama.cpp's.
    perplexity: Option<[f64; 3]>,
    /// Of a file that is held to the error budget.
    budget: Option<Verdict>,
}

/// Whether a file is within the error budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Within,
    /// The budget is about quantised weights.
    NotQuantised,
    SpreadTooSmall,
    AboveTheBound,
    AboveThePeer,
}

impl Verdict {
    fn of(row: &Row, is_quantised: bool) -> Self {
        if row.logit_std < DEVIATION_MIN {
            Self::SpreadTooSmall
        } else if !is_quantised {
            Self::NotQuantised
        } else if row.kl_ours.mean.is_nan() || row.kl_ours.mean > KL_MAX {
            Self::AboveTheBound
        } else if row.kl_difference.is_clearly_positive() {
            Self::AboveThePeer
        } else {
            Self::Within
        }
    }

    fn is_good(self) -> bool {
        matches!(self, Self::Within | Self::NotQuantised)
    }

    fn words(self) -> &'static str {
        match self {
            Self::Within => "within the budget",
            Self::NotQuantised => "not quantised",
            Self::SpreadTooSmall => "OUTSIDE: the logits' spread is too small to say",
            Self::AboveTheBound => "OUTSIDE: above the bound",
            Self::AboveThePeer => "OUTSIDE: above llama.cpp by more than two standard errors",
        }
    }
}

/// Compares and prints; an error if a file is outside the budget.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut rows = Vec::new();
    for path in &options.models {
        let texts = match &options.text {
            Some(text) => vec![tokens_of(path, text, options.tokens)?],
            None => random_texts(path, options, 1)?,
        };
        let logits = Logits::of(path, &texts, options.threads)?;
        let mut row = judge(name_of(path), &texts, &logits)?;
        if let (Some(_), [tokens]) = (&options.text, texts.as_slice()) {
            let all = [&logits.reference, &logits.native, &logits.theirs];
            row.perplexity = Some(all.map(|logits| perplexity(tokens, logits)));
        }
        print(&row);
        rows.push(row);
    }
    for path in &options.budget {
        let row = held_to_the_budget(path, options)?;
        print(&row);
        rows.push(row);
    }
    print_budget(&rows);
    let n_outside = rows
        .iter()
        .filter(|row| row.budget.is_some_and(|verdict| !verdict.is_good()))
        .count();
    if let Some(path) = &options.json {
        let report = Report {
            schema: 2,
            peer: peer::VERSION,
            system_info: Peer::system_info(),
            rows,
        };
        stdx::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    if n_outside > 0 {
        bail!("{n_outside} files are outside the error budget");
    }
    Ok(())
}

fn print(row: &Row) {
    println!(
        "{}: {} tokens ({} ties), logits' deviation {:.3}; same first choice: ours and llama.cpp {:.4}, ours and reference {:.4}, \
         llama.cpp and reference {:.4}, llama.cpp and itself with other attention {:.4}; ours and llama.cpp differ up to a lead of {:.3}; \
         at the {} leads above {:.3}, {CLEAR} times what llama.cpp's attentions differ by: ours and llama.cpp {:.4}, llama.cpp and itself {:.4}; \
         KL from the reference: ours {:.2e}, llama.cpp {:.2e}",
        row.model,
        row.tokens,
        row.ties,
        row.logit_std,
        row.top1_ours_peer,
        row.top1_ours_reference,
        row.top1_peer_reference,
        row.top1_peer_itself,
        row.widest_disagreement,
        row.clear,
        CLEAR * row.noise,
        row.clear_ours_peer,
        row.clear_peer_itself,
        row.kl_ours.mean,
        row.kl_peer.mean
    );
    if let Some([reference, ours, peer]) = row.perplexity {
        println!(
            "{}: perplexity {ours:.3}, llama.cpp {peer:.3} ({:+.2} %), reference {reference:.3}",
            row.model,
            (ours / peer - 1.0) * 100.0
        );
    }
}

/// One line for each file that is held to the budget.
fn print_budget(rows: &[Row]) {
    let mut judged = rows.iter().filter_map(|row| Some((row, row.budget?))).peekable();
    if judged.peek().is_some() {
        println!("error budget: KL from the reference at most {KL_MAX:.0e} nats and not above llama.cpp's");
    }
    for (row, verdict) in judged {
        println!(
            "  {:24} deviation {:.3}, {} tokens: ours {}, llama.cpp {}, difference {}: {}",
            row.model,
            row.logit_std,
            row.tokens,
            row.kl_ours,
            row.kl_peer,
            row.kl_difference,
            verdict.words()
        );
    }
}

/// The figures of a copy of the file whose logits have the deviation asked for.
fn held_to_the_budget(path: &Path, options: &Options) -> Result<Row> {
    let texts = random_texts(path, options, options.texts)?;
    let found = deviation(path, &texts, options.threads)?;
    let scaled = with_scaled_logits(path, options.deviation / found)?;
    let logits = Logits::of(&scaled, &texts, options.threads);
    stdx::fs::remove_file(&scaled)?;
    let mut row = judge(name_of(path), &texts, &logits?)?;
    let is_quantised = Gguf::open(path)?
        .tensors()
        .iter()
        .any(|tensor| tensor.ty.block_len() > 1);
    row.budget = Some(Verdict::of(&row, is_quantised));
    Ok(row)
}

/// Standard deviation of the reference's logits on the texts.
fn deviation(path: &Path, texts: &[Vec<u32>], threads: usize) -> Result<f64> {
    let logits = ours(path, texts, threads, Precision::F32)?;
    let n_tokens: usize = texts.iter().map(Vec::len).sum();
    let rows = logits.chunks_exact((logits.len() / n_tokens.max(1)).max(1));
    Ok((rows.map(variance).sum::<f64>() / n_tokens as f64).sqrt())
}

/// A copy beside the file in which the final norm, and with it every logit, is `factor` times as large.
fn with_scaled_logits(path: &Path, factor: f64) -> Result<PathBuf> {
    let file = Gguf::open(path)?;
    let norm = file
        .tensor(FINAL_NORM)
        .filter(|norm| norm.ty == GgmlType::F32)
        .with_context(|| format!("{} has no {FINAL_NORM} in f32", path.display()))?;
    let start = usize::try_from(norm.offset)?;
    let end = start + usize::try_from(norm.n_bytes)?;
    let mut bytes = stdx::fs::read(path)?;
    let weights = bytes.get_mut(start..end).context("the file is cut short")?;
    for weight in weights.as_chunks_mut::<4>().0 {
        let scaled = f64::from(f32::from_le_bytes(*weight)) * factor;
        *weight = (scaled as f32).to_le_bytes();
    }
    let scaled = path.with_extension("scaled.gguf");
    stdx::fs::write(&scaled, bytes)?;
    Ok(scaled)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The first tokens of a text.
fn tokens_of(path: &Path, text: &Path, n_max: usize) -> Result<Vec<u32>> {
    let model = Model::load(path, &LoadOptions::default())?;
    let mut tokens = model.tokenize(&stdx::fs::read_to_string(text)?);
    tokens.truncate(n_max);
    Ok(tokens)
}

fn random_texts(path: &Path, options: &Options, n: u64) -> Result<Vec<Vec<u32>>> {
    // The last rows of OLMoE's embedding belong to no token.
    let vocabulary = Traffic::of(path)?.n_vocabulary.saturating_sub(24).max(1);
    let text = |seed| {
        let mut rng = stdx::rng::Rng::new(seed);
        (0..options.tokens)
            .map(|_| u32::try_from(rng.below(vocabulary)).unwrap_or(0))
            .collect()
    };
    Ok((0..n).map(|n| text(options.seed + n)).collect())
}

/// Logits after each token of all texts, one row after another.
struct Logits {
    reference: Vec<f32>,
    native: Vec<f32>,
    theirs: Vec<f32>,
    /// With llama.cpp's other attention.
    theirs_by_rows: Vec<f32>,
}

impl Logits {
    fn of(path: &Path, texts: &[Vec<u32>], threads: usize) -> Result<Self> {
        let logits = Self {
            theirs: theirs(path, texts, threads, true)?,
            theirs_by_rows: theirs(path, texts, threads, false)?,
            native: ours(path, texts, threads, Precision::Native)?,
            reference: ours(path, texts, threads, Precision::F32)?,
        };
        let others = [&logits.theirs, &logits.theirs_by_rows, &logits.native];
        if others.iter().any(|other| other.len() != logits.reference.len()) {
            bail!("the engines gave logits of different lengths");
        }
        Ok(logits)
    }
}

/// llama.cpp's.
pub(crate) fn theirs(
    path: &Path,
    texts: &[Vec<u32>],
    threads: usize,
    flash_attention: bool,
) -> Result<Vec<f32>> {
    let n_longest = texts.iter().map(Vec::len).max().unwrap_or(0);
    let settings = Settings {
        n_threads: i32::try_from(threads)?,
        n_context: u32::try_from(n_longest + 8)?,
        repack: false,
        n_sequences: 1,
        flash_attention,
    };
    let mut peer = Peer::load(path, settings)?;
    let mut all = Vec::new();
    for tokens in texts {
        peer.clear();
        all.extend(peer.all_logits(tokens)?);
    }
    Ok(all)
}

/// Ours.
pub(crate) fn ours(
    path: &Path,
    texts: &[Vec<u32>],
    threads: usize,
    precision: Precision,
) -> Result<Vec<f32>> {
    let n_longest = texts.iter().map(Vec::len).max().unwrap_or(0);
    let options = DecoderOptions {
        threads,
        precision,
        context: Some(n_longest + 8),
        ..DecoderOptions::default()
    };
    let decoder = Decoder::open(path, &options)?;
    let mut scratch = Scratch::default();
    let mut all = Vec::new();
    for tokens in texts {
        let input = Input {
            tokens,
            cache: &mut decoder.new_cache(),
            logits: WantedLogits::All,
        };
        decoder.forward(&mut [input], &mut scratch, None)?;
        for row in 0..tokens.len() {
            all.extend_from_slice(scratch.logits(row));
        }
    }
    Ok(all)
}

/// The exponential of the mean surprise at each token after the first.
fn perplexity(tokens: &[u32], logits: &[f32]) -> f64 {
    let width = logits.len() / tokens.len();
    let rows = logits.chunks_exact(width).zip(&tokens[1..]);
    let surprise: f64 = rows.map(|(row, next)| -log_softmax(row)[*next as usize]).sum();
    (surprise / (tokens.len() - 1) as f64).exp()
}

/// Of leads, how those of llama.cpp's attentions differ and who chooses as it does: the deviation of the differences,
/// how many leads are clear of it, and the shares of them with the same choice.
fn where_clear(mut leads: Vec<(f64, f64, [bool; 2])>) -> (f64, usize, [f64; 2]) {
    let squares: f64 = leads.iter().map(|(_, apart, _)| apart * apart).sum();
    let noise = (squares / leads.len().max(1) as f64).sqrt();
    leads.retain(|(lead, ..)| *lead >= CLEAR * noise);
    let share = |who: usize| {
        let same = leads.iter().filter(|(.., same)| same[who]).count();
        same as f64 / leads.len().max(1) as f64
    };
    (noise, leads.len(), [share(0), share(1)])
}

fn judge(model: String, texts: &[Vec<u32>], logits: &Logits) -> Result<Row> {
    let n_tokens: usize = texts.iter().map(Vec::len).sum();
    if n_tokens < 2 {
        bail!("the texts are too short to compare anything on");
    }
    let width = logits.reference.len() / n_tokens;
    let (mut ties, mut widest) = (0, 0.0_f64);
    let (mut ours_peer, mut ours_exact, mut peer_exact, mut peer_itself) = (0, 0, 0, 0);
    let (mut kl_ours, mut kl_peer, mut spread) = (Vec::new(), Vec::new(), 0.0);
    // Of each position: the reference's lead, how the leads of llama.cpp's attentions differ, who agrees.
    let mut leads = Vec::new();
    let all = logits
        .reference
        .chunks_exact(width)
        .zip(logits.native.chunks_exact(width))
        .zip(
            logits
                .theirs
                .chunks_exact(width)
                .zip(logits.theirs_by_rows.chunks_exact(width)),
        );
    for ((exact, ours), (peer, peer_by_rows)) in all {
        kl_ours.push(divergence(exact, ours));
        kl_peer.push(divergence(exact, peer));
        spread += variance(exact);
        let (best, margin) = first(exact);
        let theirs = first(peer).0;
        let same = [ours, peer_by_rows].map(|other| first(other).0 == theirs);
        leads.push((margin, lead(peer, best) - lead(peer_by_rows, best), same));
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
    let differences: Vec<f64> = kl_ours.iter().zip(&kl_peer).map(|(a, b)| a - b).collect();
    let decided = (n_tokens - ties).max(1) as f64;
    let (noise, clear, [clear_ours_peer, clear_peer_itself]) = where_clear(leads);
    Ok(Row {
        model,
        tokens: n_tokens,
        logit_std: (spread / n_tokens as f64).sqrt(),
        ties,
        top1_ours_peer: ours_peer as f64 / decided,
        top1_ours_reference: ours_exact as f64 / decided,
        top1_peer_reference: peer_exact as f64 / decided,
        top1_peer_itself: peer_itself as f64 / decided,
        noise,
        clear,
        clear_ours_peer,
        clear_peer_itself,
        widest_disagreement: widest,
        kl_ours: Mean::of(&kl_ours),
        kl_peer: Mean::of(&kl_peer),
        kl_difference: Mean::of(&differences),
        perplexity: None,
        budget: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(logit_std: f64, ours: f64, difference: Mean) -> Row {
        let mean = |mean| Mean { mean, error: 1e-5 };
        Row {
            model: String::new(),
            tokens: 100,
            logit_std,
            ties: 0,
            noise: 0.0,
            clear: 0,
            clear_ours_peer: 1.0,
            clear_peer_itself: 1.0,
            top1_ours_peer: 1.0,
            top1_ours_reference: 1.0,
            top1_peer_reference: 1.0,
            top1_peer_itself: 1.0,
            widest_disagreement: 0.0,
            kl_ours: mean(ours),
            kl_peer: mean(ours - difference.mean),
            kl_difference: difference,
            perplexity: None,
            budget: None,
        }
    }

    #[test]
    fn leads_that_rounding_may_turn_are_not_counted() {
        let leads = vec![
            (9.0, 1.0, [true, true]),
            (4.0, -1.0, [false, true]),
            (2.0, 1.0, [false, false]),
        ];
        assert_eq!(where_clear(leads), (1.0, 2, [0.5, 1.0]));
        assert_eq!(where_clear(Vec::new()), (0.0, 0, [0.0, 0.0]));
    }

    #[test]
    fn the_budget_is_a_bound_and_the_peer_at_a_spread_that_says_something() {
        let difference = |mean| Mean { mean, error: 1e-5 };
        let of = |logit_std, ours, d| Verdict::of(&row(logit_std, ours, difference(d)), true);
        assert_eq!(of(1.55, 9e-4, 1e-5), Verdict::Within);
        assert_eq!(of(1.55, 9e-4, 3e-5), Verdict::AboveThePeer);
        assert_eq!(of(1.55, 1.1e-3, -1e-3), Verdict::AboveTheBound);
        assert_eq!(of(1.55, f64::NAN, 0.0), Verdict::AboveTheBound);
        assert_eq!(of(1.4, 1e-4, -1e-3), Verdict::SpreadTooSmall);
        let exact = row(1.55, 4e-7, difference(3e-5));
        assert_eq!(Verdict::of(&exact, false), Verdict::NotQuantised);
    }
}
