//! `hanok generate`: raw continuation by any supported model, without documents and without sources.

use engine::{Engine, EngineConfig, Event, Request, SubmitError};
use model::{CONSTRAINT_BYTES_MAX, ChatMessage, Constraint, Model, SamplingParams, StopReason};
use serde::Serialize;
use stdx::clock::Stopwatch;

use crate::args::GenerateArgs;
use crate::exit::{Failure, OrFail, Result, chain};
use crate::house::{engine_config, load_options, not_loaded};
use crate::models::Finder;
use crate::print;
use crate::settings::Settings;

/// Prompt ids beyond this are refused before a model is loaded.
const N_IDS_MAX: usize = 1 << 20;

#[derive(Serialize)]
struct GenerateJson {
    schema: u32,
    model: String,
    grounded: bool,
    ids: Vec<u32>,
    text: String,
    prompt_tokens: usize,
    completion_tokens: usize,
    stop: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    experts: Option<ExpertsJson>,
    ms: MsJson,
}

/// How experts fared that are read on demand; bytes read and `hit_rate` are those of this generation.
#[derive(Serialize)]
struct ExpertsJson {
    needed: u64,
    hit_rate: f64,
    bytes_read: u64,
    bytes_read_per_token: f64,
    bytes_kept_max: u64,
    bytes_total: u64,
}

/// `first` and `total` count from the moment the model was loaded.
#[derive(Serialize)]
struct MsJson {
    load: f64,
    first: f64,
    total: f64,
}

/// Runs the command.
pub(crate) fn run(args: &GenerateArgs, settings: &Settings, json: bool) -> Result<()> {
    let ids = args.ids.as_deref().map(parse_ids).transpose()?;
    check(args)?;
    let constraint = constraint(args)?;
    let Some(path) = Finder::new(settings).language()? else {
        return Err(Failure::environment("no language model is here to generate with")
            .hint("`hanok pull` fetches one, or give a GGUF file with `--model FILE`"));
    };
    let clock = Stopwatch::start();
    let model = Model::load(&path, &load_options(settings)).map_err(|error| not_loaded(&path, &error))?;
    let load_ms = clock.ms();
    let prompt = match ids {
        Some(ids) => ids,
        None => tokens(&model, args)?,
    };
    let request = Request {
        prompt,
        max_tokens: args.max_tokens,
        sampling: sampling(args),
        stop: args.stop.clone(),
        constraint,
        ..Request::default()
    };
    let config = EngineConfig {
        prompt_lookup: !args.no_lookup,
        ..engine_config(settings)
    };
    let engine = Engine::start(model, config);
    let mut result = generate(&engine, request, json)?;
    result.ms.load = load_ms;
    if let Some(stats) = engine.model().residency() {
        let n_tokens = (result.prompt_tokens + result.completion_tokens).max(1);
        let experts = ExpertsJson {
            needed: stats.needed,
            hit_rate: stats.hits as f64 / stats.needed.max(1) as f64,
            bytes_read: stats.bytes_read,
            bytes_read_per_token: stats.bytes_read as f64 / n_tokens as f64,
            bytes_kept_max: stats.bytes_kept_max,
            bytes_total: stats.bytes_total,
        };
        if !json {
            print::stderr_line(&format!(
                "\nexperts: {} of {} fit, {:.0} % were there when they were needed, {} read a token",
                print::bytes(stats.bytes_kept_max),
                print::bytes(stats.bytes_total),
                experts.hit_rate * 100.0,
                print::bytes(experts.bytes_read_per_token as u64)
            ));
        }
        result.experts = Some(experts);
    }
    if json {
        print::json(&result)
    } else {
        print::line("")
    }
}

fn check(args: &GenerateArgs) -> Result<()> {
    let wrong = if !args.temperature.is_finite() || args.temperature < 0.0 {
        "--temperature must be 0 or more"
    } else if !(args.top_p > 0.0 && args.top_p <= 1.0) {
        "--top-p must be above 0 and at most 1"
    } else if args.max_tokens == 0 {
        "--max-tokens must be at least 1"
    } else if args.stop.iter().any(String::is_empty) {
        "--stop must not be empty"
    } else {
        return Ok(());
    };
    Err(Failure::misuse(wrong))
}

/// The form that was asked for.
fn constraint(args: &GenerateArgs) -> Result<Option<Constraint>> {
    if let Some(path) = &args.schema {
        let schema = serde_json::from_str(&form_file(path)?).map_err(|error| {
            Failure::misuse(format!("`{}` is not JSON: {error}", path.display()))
                .hint("--schema takes a file with a JSON schema")
        })?;
        return Ok(Some(Constraint::JsonSchema(schema)));
    }
    if let Some(path) = &args.grammar {
        return Ok(Some(Constraint::Grammar(form_file(path)?)));
    }
    Ok(args.regex.clone().map(Constraint::Regex))
}

fn form_file(path: &std::path::Path) -> Result<String> {
    let n_bytes = stdx::fs::metadata(path).or_environment()?.len();
    if n_bytes > CONSTRAINT_BYTES_MAX as u64 {
        let message = format!("`{}` has {n_bytes} bytes", path.display());
        return Err(Failure::misuse(message).hint(format!("at most {CONSTRAINT_BYTES_MAX} are taken")));
    }
    stdx::fs::read_to_string(path).or_environment()
}

fn parse_ids(text: &str) -> Result<Vec<u32>> {
    let ids: Option<Vec<u32>> = text
        .split(',')
        .take(N_IDS_MAX)
        .map(|id| id.trim().parse().ok())
        .collect();
    ids.filter(|ids| !ids.is_empty()).ok_or_else(|| {
        Failure::misuse("--ids is not a list of token ids")
            .hint("write whole numbers with commas: --ids 1,2,3")
    })
}

fn tokens(model: &Model, args: &GenerateArgs) -> Result<Vec<u32>> {
    let prompt = args.prompt.clone().unwrap_or_default();
    if !args.chat {
        return Ok(model.tokenizer().encode_raw(&prompt));
    }
    let message = ChatMessage {
        role: "user".to_owned(),
        content: prompt,
    };
    let text = model.render_chat(&[message]).map_err(|error| {
        Failure::misuse(format!(
            "the model's chat template does not take this prompt: {}",
            chain(&error)
        ))
        .hint("leave out --chat to continue the text as it is")
    })?;
    Ok(model.tokenize_prompt(&text))
}

fn sampling(args: &GenerateArgs) -> SamplingParams {
    SamplingParams {
        temperature: if args.greedy { 0.0 } else { args.temperature },
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed,
        ..SamplingParams::greedy()
    }
}

/// Runs one generation; streams its text unless `json`.
fn generate(engine: &Engine, request: Request, json: bool) -> Result<GenerateJson> {
    let clock = Stopwatch::start();
    let n_prompt = request.prompt.len();
    let events = engine.submit(request).map_err(|error| match error {
        SubmitError::TooLong { .. } => {
            Failure::misuse(chain(&error)).hint("shorten the prompt, or raise --context")
        }
        SubmitError::Constraint(error) => Failure::misuse(chain(&error)),
        SubmitError::Empty => Failure::misuse("the prompt is empty").hint("give a text with --prompt"),
        error => Failure::environment(chain(&error)),
    })?;
    let mut result = GenerateJson {
        schema: 1,
        model: engine.model().name().to_owned(),
        grounded: false,
        ids: Vec::new(),
        text: String::new(),
        prompt_tokens: n_prompt,
        completion_tokens: 0,
        stop: "cancelled",
        experts: None,
        ms: MsJson {
            load: 0.0,
            first: 0.0,
            total: 0.0,
        },
    };
    for event in events {
        match event {
            Event::Prefilled { prompt_tokens, .. } => result.prompt_tokens = prompt_tokens,
            Event::Token { id, text, .. } => {
                if result.ids.is_empty() {
                    result.ms.first = clock.ms();
                }
                result.ids.push(id);
                result.text.push_str(&text);
                if !json {
                    print::stdout(&text)?;
                }
            }
            Event::Done {
                stop,
                completion_tokens,
            } => {
                result.stop = name(stop);
                result.completion_tokens = completion_tokens;
            }
            Event::Failed { reason } => {
                return Err(Failure::environment(format!("the generation failed: {reason}")));
            }
        }
    }
    result.ms.total = clock.ms();
    Ok(result)
}

fn name(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfSequence => "end_of_sequence",
        StopReason::StopText => "stop_text",
        StopReason::Length => "length",
    }
}

#[derive(Serialize)]
struct TokenizeJson {
    schema: u32,
    ids: Vec<u32>,
}

/// Runs `tokenize`.
pub(crate) fn tokenize(args: &crate::args::TokenizeArgs, settings: &Settings, json: bool) -> Result<()> {
    let text = super::ask::text_or_stdin(&args.text)?;
    let Some(path) = Finder::new(settings).language()? else {
        return Err(Failure::environment("no model is here to tokenize with").hint(
            "`hanok pull` fetches one, or give a GGUF file or a folder with tokenizer.json with `--model`",
        ));
    };
    let ids = tokenizer(&path)?.encode(&text);
    if json {
        return print::json(&TokenizeJson { schema: 1, ids });
    }
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    print::line(&ids.join(" "))
}

/// The tokenizer of a GGUF file, of a hub folder, or of a `tokenizer.json`, without the weights.
fn tokenizer(path: &std::path::Path) -> Result<model::tokenizer::Tokenizer> {
    let json = path.join("tokenizer.json");
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    if stdx::fs::metadata(&json).is_ok() {
        model::tokenizer::Tokenizer::from_json_file(&json).or_environment()
    } else if is_json {
        model::tokenizer::Tokenizer::from_json_file(path).or_environment()
    } else if path.is_dir() {
        Err(
            Failure::environment(format!("the folder `{}` has no tokenizer.json", path.display()))
                .hint("give a GGUF file, or a folder with tokenizer.json"),
        )
    } else {
        let file = weights::gguf::Gguf::open(path).or_environment()?;
        model::tokenizer::Tokenizer::from_gguf(file.metadata()).or_environment()
    }
}

#[cfg(test)]
mod tests {
    use super::parse_ids;

    #[test]
    fn ids_are_whole_numbers_with_commas() {
        assert_eq!(parse_ids("1, 2,3").unwrap(), [1, 2, 3]);
        for wrong in ["", "a", "1,,2", "-1", "4294967296"] {
            assert!(parse_ids(wrong).is_err(), "{wrong}");
        }
    }
}
