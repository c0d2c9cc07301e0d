//! What our engine does for many at once and for text that repeats: figures of its own, without a peer.
//!
//! Times are medians over rounds; where two ways are compared, rounds alternate between them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use engine::{Engine, EngineConfig, Event, Request};
use model::{ChatMessage, Constraint, LoadOptions, Model, PackOptions, SamplingParams};
use serde::Serialize;
use stdx::rng::Rng;

use crate::report::median;

/// Tokens of system prompt and passages that questions share, and of a question.
const SHARED: usize = 1536;
const QUESTION: usize = 48;
/// Sequences that decode, and their prompts.
const RUNNING: usize = 4;
const RUNNING_PROMPT: usize = 128;
/// Tokens that each of them chooses alone, and while prompts arrive.
const ALONE: usize = 48;
const DISTURBED: usize = 96;
/// Tokens after which nobody's own prompt is in the way.
const SETTLED: usize = 4;
/// Long prompts that arrive.
const ARRIVING: usize = 2;
const ARRIVING_PROMPT: usize = 1024;
/// Tokens chosen when two ways are compared.
const NEW: usize = 160;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A mixture of experts
    #[arg(long)]
    model: PathBuf,
    /// A model that was trained, for guessing ahead and for constraints
    #[arg(long)]
    text_model: Option<PathBuf>,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    rows: Vec<Row>,
}

/// `of` against `beside`: with it and without it.
#[derive(Serialize)]
struct Row {
    model: String,
    what: &'static str,
    unit: &'static str,
    of: f64,
    beside: f64,
    /// Above 1 is better, whatever the unit.
    ratio: f64,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut rows = Vec::new();
    let model = load(&options.model, options.threads)?;
    prefixes(&model, options.rounds, &mut rows)?;
    stalls(&model, options.rounds, &mut rows)?;
    drop(model);
    if let Some(path) = &options.text_model {
        let model = load(path, options.threads)?;
        guesses(&model, options.rounds, &mut rows)?;
        constraints(&model, options.rounds, &mut rows)?;
    }
    println!("| model | what | of it | beside | ratio |\n|---|---|---|---|---|");
    for row in &rows {
        println!(
            "| {} | {} | {:.3} {unit} | {:.3} {unit} | {:.2} |",
            row.model,
            row.what,
            row.of,
            row.beside,
            row.ratio,
            unit = row.unit
        );
    }
    if let Some(path) = &options.json {
        stdx::fs::write(path, serde_json::to_vec_pretty(&Report { schema: 1, rows })?)?;
    }
    Ok(())
}

fn load(path: &Path, threads: usize) -> Result<Arc<Model>> {
    let options = LoadOptions {
        threads,
        context: Some(4096),
        pack: PackOptions {
            folder: path.parent().map(|folder| folder.join("packed")),
            ..PackOptions::default()
        },
        ..LoadOptions::default()
    };
    Ok(Model::load(path, &options)?)
}

fn row(model: &Model, what: &'static str, unit: &'static str, of: &[f64], beside: &[f64], less: bool) -> Row {
    let (of, beside) = (median(of), median(beside));
    Row {
        model: model.name().to_owned(),
        what,
        unit,
        of,
        beside,
        ratio: if less { beside / of } else { of / beside },
    }
}

fn tokens(model: &Model, rng: &mut Rng, n: usize) -> Vec<u32> {
    (0..n)
        .map(|_| rng.below(model.n_sampleable() as u64) as u32)
        .collect()
}

fn endless(prompt: Vec<u32>, max_tokens: usize) -> Request {
    Request {
        prompt,
        max_tokens,
        sampling: SamplingParams::greedy(),
        ignore_eos: true,
        ..Request::default()
    }
}

/// When each token of a generation came.
fn times(engine: &Engine, request: Request) -> Result<Vec<Instant>> {
    let mut times = Vec::new();
    for event in engine.submit(request)? {
        match event {
            Event::Token { .. } => times.push(Instant::now()),
            Event::Failed { reason } => bail!("our engine failed: {reason}"),
            Event::Prefilled { .. } | Event::Done { .. } => {}
        }
    }
    Ok(times)
}

/// A prompt whose beginning was seen, beside one that was not: time to the first token.
fn prefixes(model: &Arc<Model>, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let engine = Engine::start(Arc::clone(model), EngineConfig::default());
    let mut rng = Rng::new(11);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let shared = tokens(model, &mut rng, SHARED);
        for seen in [&mut cold, &mut warm] {
            let prompt = [&shared[..], &tokens(model, &mut rng, QUESTION)].concat();
            let start = Instant::now();
            let first = times(&engine, endless(prompt, 1))?;
            seen.push((first[0] - start).as_secs_f64());
        }
    }
    rows.push(row(
        model,
        "first token of a new question on passages that were seen, beside unseen",
        "s",
        &warm,
        &cold,
        true,
    ));
    Ok(())
}

/// Time between two tokens of running sequences while long prompts arrive, beside the same sequences alone: the 99th of a
/// hundred.
fn stalls(model: &Arc<Model>, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let config = EngineConfig {
        n_sequences_max: RUNNING + ARRIVING,
        prompt_lookup: false,
        ..EngineConfig::default()
    };
    let engine = Engine::start(Arc::clone(model), config);
    let mut rng = Rng::new(12);
    let (mut alone, mut disturbed, mut arrived) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let running: Vec<_> = (0..RUNNING)
            .map(|_| {
                let request = endless(tokens(model, &mut rng, RUNNING_PROMPT), ALONE + DISTURBED);
                let engine = engine.clone();
                thread::spawn(move || times(&engine, request))
            })
            .collect();
        // The first half undisturbed; every sequence has come so far when the counters say so.
        let before = engine.stats().generation_tokens_total;
        while engine.stats().generation_tokens_total < before + (RUNNING * ALONE) as u64 {
            thread::sleep(Duration::from_millis(2));
        }
        let from = Instant::now();
        let long: Vec<_> = (0..ARRIVING)
            .map(|_| {
                let request = endless(tokens(model, &mut rng, ARRIVING_PROMPT), 1);
                let engine = engine.clone();
                thread::spawn(move || times(&engine, request))
            })
            .collect();
        for prompt in long {
            let first = joined(prompt.join())?;
            arrived.push(first[0]);
        }
        let until = arrived.last().copied().unwrap_or(from);
        let mut of_all = Vec::new();
        for sequence in running {
            of_all.push(joined(sequence.join())?);
        }
        // Their own prompts are over when each has chosen a few tokens.
        let settled = of_all.iter().map(|times| times[SETTLED]).max().unwrap_or(from);
        for times in of_all {
            for pair in times.windows(2) {
                let s = (pair[1] - pair[0]).as_secs_f64();
                if pair[0] >= settled && pair[1] <= from {
                    alone.push(s);
                } else if pair[0] >= from && pair[0] <= until {
                    disturbed.push(s);
                }
            }
        }
    }
    let (of, beside) = (percentile(&disturbed, 0.99), percentile(&alone, 0.99));
    rows.push(row(
        model,
        "p99 between tokens of four sequences while long prompts arrive, beside alone",
        "s",
        &[of],
        &[beside],
        true,
    ));
    Ok(())
}

fn joined<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.unwrap_or_else(|_| bail!("a listener panicked"))
}

const HANDBOOK: &str = "The handbook says: The garden gate is locked every evening at nine o'clock. Visitors receive a \
    blue badge at the reception desk and return it when they leave. Parking in the inner court is allowed only for \
    deliveries between seven and ten in the morning. The library on the second floor is open on weekdays from eight to \
    six; books may be borrowed for three weeks. Lost badges must be reported within one day to the security office.";

/// Guessing ahead, beside not guessing: where the answer quotes, and where it does not.
fn guesses(model: &Arc<Model>, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let engine = |prompt_lookup| {
        let config = EngineConfig {
            prompt_lookup,
            ..EngineConfig::default()
        };
        Engine::start(Arc::clone(model), config)
    };
    let (with, without) = (engine(true), engine(false));
    let quoting = format!("{HANDBOOK}\n\nRepeat the text above exactly.");
    let telling = "Write a short story about a lighthouse keeper who finds a letter.".to_owned();
    for (what, question, sampling) in [
        (
            "quoting with guesses, beside without",
            &quoting,
            SamplingParams::greedy(),
        ),
        (
            "telling a story with guesses, beside without",
            &telling,
            SamplingParams::default(),
        ),
    ] {
        let request = |seed: usize| -> Result<Request> {
            let mut sampling = sampling.clone();
            sampling.seed = seed as u64;
            Ok(Request {
                sampling,
                ..endless(chat(model, question)?, NEW)
            })
        };
        let (mut of, mut beside) = (Vec::new(), Vec::new());
        for round in 0..rounds + 1 {
            for (engine, speeds) in [(&with, &mut of), (&without, &mut beside)] {
                let times = times(engine, request(round)?)?;
                // In the first round nothing is known of what steps cost.
                if round > 0 {
                    speeds.push(speed(&times));
                }
            }
        }
        rows.push(row(model, what, "tokens/s", &of, &beside, false));
    }
    Ok(())
}

/// Output held to a form, beside the same free.
fn constraints(model: &Arc<Model>, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let config = EngineConfig {
        prompt_lookup: false,
        ..EngineConfig::default()
    };
    let engine = Engine::start(Arc::clone(model), config);
    let schema = serde_json::json!({
        "type": "object", "required": ["title", "chapters"], "additionalProperties": false,
        "properties": {
            "title": {"type": "string", "minLength": 10, "maxLength": 60},
            "chapters": {"type": "array", "minItems": 12, "items": {
                "type": "object", "required": ["name", "pages"], "additionalProperties": false,
                "properties": {
                    "name": {"type": "string", "minLength": 20, "maxLength": 80},
                    "pages": {"type": "integer", "minimum": 1, "maximum": 900},
                },
            }},
        },
    });
    let prompt = chat(
        model,
        "Describe a book about a lighthouse as JSON with its title and chapters.",
    )?;
    let (mut of, mut beside) = (Vec::new(), Vec::new());
    for round in 0..rounds + 1 {
        for (constraint, speeds) in [(Some(&schema), &mut of), (None, &mut beside)] {
            let request = Request {
                constraint: constraint.map(|schema| Constraint::JsonSchema(schema.clone())),
                ..endless(prompt.clone(), NEW)
            };
            let times = times(&engine, request)?;
            if round > 0 {
                speeds.push(speed(&times));
            }
        }
    }
    rows.push(row(
        model,
        "output held to a JSON schema, beside free",
        "tokens/s",
        &of,
        &beside,
        false,
    ));
    Ok(())
}

fn chat(model: &Model, question: &str) -> Result<Vec<u32>> {
    let messages = [ChatMessage {
        role: "user".to_owned(),
        content: question.to_owned(),
    }];
    Ok(model.tokenize_prompt(&model.render_chat(&messages)?))
}

/// Tokens per second after the first.
fn speed(times: &[Instant]) -> f64 {
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return 0.0;
    };
    (times.len() - 1) as f64 / (*last - *first).as_secs_f64().max(1e-9)
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
