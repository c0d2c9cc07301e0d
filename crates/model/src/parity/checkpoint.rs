//! Checkpoint folders: every family in f32 against the reference, and each type's native kernels against our f32.

use std::path::Path;

use compute::{DType, Precision};

use super::compare::{Greedy, max_abs, rms_relative, routing};
use super::files::{Reference, reference};
use super::generator::{Run, follow, generate};
use super::{LOGIT_BOUND, NativeBound, Options, ParityError, Row, compute_name};
use crate::config::Config;
use crate::decoder::Decoder;
use crate::open::DecoderOptions;

/// Types that checkpoints are re-encoded in.
const RECAST: [DType; 5] = [DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0, DType::Q4_1];

/// What the reference computed.
struct Expected {
    /// Sequences of equal length.
    inputs: Vec<Vec<u32>>,
    logits: Vec<f32>,
    hidden: Vec<Vec<f32>>,
    router: Vec<(usize, Vec<f32>)>,
    /// Prompt and greedy tokens, and how many of them are the prompt.
    greedy: Vec<u32>,
    n_prompt: usize,
}

impl Expected {
    fn read(dir: &Path, config: &Config) -> Result<Self, ParityError> {
        let file = Reference::open(&dir.join("expected.safetensors"))?;
        let shape = file.shape("input_ids")?;
        let n_tokens = *shape
            .last()
            .filter(|n| **n > 0)
            .ok_or_else(|| reference("`input_ids` is empty"))?;
        let inputs = file
            .ids("input_ids")?
            .chunks_exact(n_tokens)
            .map(<[u32]>::to_vec)
            .collect();
        let indexed = |prefix: &str, n: usize| -> Result<Vec<(usize, Vec<f32>)>, ParityError> {
            let present = (0..n).filter(|i| file.has(&format!("{prefix}.{i}")));
            present
                .map(|i| Ok((i, file.f32(&format!("{prefix}.{i}"))?)))
                .collect()
        };
        let hidden = indexed("hidden", config.n_layers + 1)?
            .into_iter()
            .map(|(_, states)| states)
            .collect();
        let n_prompt = file.ids("greedy_prompt")?.len();
        let greedy = file.ids("greedy_ids")?;
        if n_prompt == 0 || n_prompt > greedy.len() {
            return Err(reference("`greedy_ids` does not begin with a prompt"));
        }
        Ok(Self {
            inputs,
            logits: file.f32("logits")?,
            hidden,
            router: indexed("router_logits", config.n_layers)?,
            greedy,
            n_prompt,
        })
    }
}

pub(super) fn rows(dir: &Path, options: &Options) -> Result<Vec<Row>, ParityError> {
    let load = |precision, recast| {
        let options = DecoderOptions {
            threads: options.threads,
            precision,
            recast,
            ..DecoderOptions::default()
        };
        Decoder::open(dir, &options)
    };
    let exact = load(Precision::F32, None)?;
    let expected = Expected::read(dir, exact.config())?;
    let mut rows = Vec::new();
    if options.wants(Precision::F32) {
        rows.push(against_fixture(dir, &exact, &expected)?);
    }
    if options.wants(Precision::Native) {
        rows.push(stored_native(dir, &load(Precision::Native, None)?, &expected)?);
        for dtype in RECAST.into_iter().filter(|dtype| fits(exact.config(), *dtype)) {
            let f32 = load(Precision::F32, Some(dtype))?;
            let native = load(Precision::Native, Some(dtype))?;
            rows.push(against_f32(dir, dtype, (&f32, &native), &expected)?);
        }
    }
    Ok(rows)
}

/// Whether the rows of every matrix are whole blocks.
fn fits(config: &Config, dtype: DType) -> bool {
    let widths = [config.d_model, config.q_width(), config.d_ff, config.d_ff_expert];
    widths.iter().all(|width| width.is_multiple_of(dtype.block_len()))
}

fn against_fixture(dir: &Path, decoder: &Decoder, expected: &Expected) -> Result<Row, ParityError> {
    let mut row = fixture_row(dir, (decoder, Precision::F32), expected, 0.0)?;
    let max_logit = row.max_abs_logit.unwrap_or(f32::INFINITY);
    row.require(max_logit <= LOGIT_BOUND, || {
        format!("a logit is off by {max_logit}, more than {LOGIT_BOUND}")
    });
    row.require(row.greedy_match == Some(true), || {
        "the greedy tokens differ".to_owned()
    });
    Ok(row)
}

/// The weights as they are stored, native arithmetic: greedy tokens are reported, not required.
fn stored_native(dir: &Path, decoder: &Decoder, expected: &Expected) -> Result<Row, ParityError> {
    let bound = NativeBound::of(decoder.dtype());
    let mut row = fixture_row(dir, (decoder, Precision::Native), expected, bound.router_share)?;
    let rms = row.rms_relative.unwrap_or(f32::INFINITY);
    row.require(rms <= bound.rms, || {
        format!("logits are off by {rms} of their size, more than {}", bound.rms)
    });
    Ok(row)
}

fn fixture_row(
    dir: &Path,
    (decoder, precision): (&Decoder, Precision),
    expected: &Expected,
    router_share: f32,
) -> Result<Row, ParityError> {
    let config = decoder.config();
    let mut row = Row::new(dir, config.family.gguf_name(), decoder.dtype().name(), "fixture");
    row.compute = Some(compute_name(precision));
    let run = Run::of(decoder, &expected.inputs)?;
    row.max_abs_logit = Some(max_abs(&run.logits, &expected.logits));
    row.max_abs_hidden = run
        .hidden
        .iter()
        .zip(&expected.hidden)
        .map(|(a, b)| max_abs(a, b))
        .collect();
    row.rms_relative = Some(rms_relative(&run.logits, &expected.logits, config.vocab_size));
    compare_routing(&mut row, config, &run, &expected.router, router_share);
    let mut greedy = Greedy::default();
    follow(decoder, &expected.greedy, expected.n_prompt, &mut greedy)?;
    greedy.finish(&mut row);
    Ok(row)
}

fn against_f32(
    dir: &Path,
    dtype: DType,
    (f32, native): (&Decoder, &Decoder),
    expected: &Expected,
) -> Result<Row, ParityError> {
    let config = native.config();
    let bound = NativeBound::of(dtype);
    let mut row = Row::new(dir, config.family.gguf_name(), dtype.name(), "self-f32");
    row.compute = Some(compute_name(Precision::Native));
    let (exact, run) = (
        Run::of(f32, &expected.inputs)?,
        Run::of(native, &expected.inputs)?,
    );
    row.max_abs_logit = Some(max_abs(&run.logits, &exact.logits));
    row.max_abs_hidden = run
        .hidden
        .iter()
        .zip(&exact.hidden)
        .map(|(a, b)| max_abs(a, b))
        .collect();
    let rms = rms_relative(&run.logits, &exact.logits, config.vocab_size);
    row.rms_relative = Some(rms);
    row.require(rms <= bound.rms, || {
        format!("logits are off by {rms} of their size, more than {}", bound.rms)
    });
    let router: Vec<(usize, Vec<f32>)> = exact.router.iter().cloned().enumerate().collect();
    compare_routing(&mut row, config, &run, &router, bound.router_share);
    // Greedy tokens are reported, not required: on random weights small differences decide.
    let prompt = &expected.greedy[..expected.n_prompt];
    let own = generate(f32, prompt, expected.greedy.len() - expected.n_prompt)?;
    let mut greedy = Greedy::default();
    follow(native, &own, expected.n_prompt, &mut greedy)?;
    greedy.finish(&mut row);
    Ok(row)
}

fn compare_routing(row: &mut Row, config: &Config, run: &Run, expected: &[(usize, Vec<f32>)], share: f32) {
    if expected.is_empty() {
        return;
    }
    let (mut n_mismatch, mut n_ties, mut n) = (0, 0, 0);
    for (layer, expected) in expected {
        let Some(found) = run
            .router
            .get(*layer)
            .filter(|found| found.len() == expected.len())
        else {
            row.require(false, || {
                format!("layer {layer} has other router logits than the reference")
            });
            continue;
        };
        let layer = routing(found, expected, config.n_experts, config.n_experts_used);
        n_mismatch += layer.n_mismatch;
        n_ties += layer.n_ties;
        n += expected.len() / config.n_experts.max(1);
    }
    row.router_mismatch = Some(n_mismatch);
    row.router_ties = Some(n_ties);
    row.require(n_mismatch as f32 <= share * n as f32, || {
        format!("{n_mismatch} of {n} routing decisions differ beyond ties")
    });
}
