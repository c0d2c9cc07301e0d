//! `hanok inspect`: what a model is and what it needs, from its tables alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::inspect::{Condition, ConditionKind, Inspection, TemplateFacts, TokenizerFacts};
use model::memory::Available;
use serde::Serialize;

use crate::args::InspectArgs;
use crate::exit::{Failure, OrFail, Result};
use crate::house::not_loaded;
use crate::models::Finder;
use crate::print;
use crate::settings::Settings;

/// How long memory is measured.
const PROBE: Duration = Duration::from_millis(250);
/// Conditions of a template that are printed one by one.
const N_SHOWN: usize = 5;

#[derive(Serialize)]
struct InspectJson {
    schema: u32,
    name: String,
    files: Vec<FileJson>,
    architecture: &'static str,
    layers: usize,
    width: usize,
    heads: usize,
    kv_heads: usize,
    head_size: usize,
    experts: usize,
    experts_used: usize,
    parameters: u64,
    active_parameters: u64,
    types: BTreeMap<&'static str, TypeJson>,
    model_context: usize,
    vocabulary: usize,
    tokenizer: Option<TokenizerJson>,
    chat_template: Option<TemplateJson>,
    end_tokens: Vec<EndJson>,
    memory: MemoryJson,
    speed: SpeedJson,
}

#[derive(Serialize)]
struct FileJson {
    path: String,
    bytes: u64,
    /// Only with `--hash`.
    sha256: Option<String>,
}

#[derive(Serialize)]
struct TypeJson {
    tensors: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct TokenizerJson {
    kind: String,
    splitting: Option<String>,
    tokens: usize,
    unusable: Option<String>,
}

#[derive(Serialize)]
struct TemplateJson {
    bytes: usize,
    sha256: String,
    /// Whether a condition looks at the words of messages, or may: what is not understood counts.
    branches_on_words: bool,
    conditions: Vec<ConditionJson>,
}

#[derive(Serialize)]
struct ConditionJson {
    line: usize,
    text: String,
    asks: &'static str,
}

#[derive(Serialize)]
struct EndJson {
    id: u32,
    text: Option<String>,
}

#[derive(Serialize)]
struct MemoryJson {
    context: usize,
    weight_bytes: u64,
    cache_bytes_f16: u64,
    cache_bytes_q8_0: u64,
    working_bytes: u64,
    available_bytes: Option<u64>,
    limited_by: Option<&'static str>,
    fits: Option<bool>,
}

/// An estimate: what memory gives in a second, divided by what a token reads.
#[derive(Serialize)]
struct SpeedJson {
    threads: usize,
    bytes_per_second: f64,
    bytes_per_token: u64,
    tokens_per_second: f64,
}

/// Runs the command.
pub(crate) fn run(args: &InspectArgs, settings: &Settings, json: bool) -> Result<()> {
    let path = {
        let mut settings = settings.clone();
        settings.model = args.file.clone().or(settings.model);
        Finder::new(&settings).language()?
    };
    let Some(path) = path else {
        return Err(Failure::environment("no language model is here to look at")
            .hint("name a GGUF file or a folder, or fetch one with `hanok pull`"));
    };
    let found = Inspection::of(&path).map_err(|error| not_loaded(&path, &error))?;
    let result = describe(found, args, settings)?;
    if json {
        print::json(&result)
    } else {
        print::stdout(&words(&result))
    }
}

fn describe(found: Inspection, args: &InspectArgs, settings: &Settings) -> Result<InspectJson> {
    let files: Result<Vec<FileJson>> = found.files.iter().map(|path| file(path, args.hash)).collect();
    let memory = memory(&found, settings.context);
    let speed = speed(found.token_bytes, settings.threads);
    let config = &found.config;
    let type_json = |share: model::inspect::Share| TypeJson {
        tensors: share.tensors,
        bytes: share.bytes,
    };
    Ok(InspectJson {
        schema: 1,
        files: files?,
        architecture: config.family.gguf_name(),
        layers: config.n_layers,
        width: config.d_model,
        heads: config.n_heads,
        kv_heads: config.n_kv_heads,
        head_size: config.head_dim,
        experts: config.n_experts,
        experts_used: config.n_experts_used,
        parameters: found.n_parameters,
        active_parameters: found.n_active,
        types: found
            .types
            .iter()
            .map(|(name, share)| (*name, type_json(*share)))
            .collect(),
        model_context: config.context,
        vocabulary: config.vocab_size,
        tokenizer: found.tokenizer.map(tokenizer_json),
        chat_template: found.template.map(template_json),
        end_tokens: found
            .end_tokens
            .into_iter()
            .map(|(id, text)| EndJson { id, text })
            .collect(),
        name: found.name,
        memory,
        speed,
    })
}

fn file(path: &Path, hash: bool) -> Result<FileJson> {
    let sha256 = hash.then(|| stdx::hash::sha256_file(path));
    Ok(FileJson {
        path: path.display().to_string(),
        bytes: stdx::fs::metadata(path).or_environment()?.len(),
        sha256: sha256.transpose().or_environment()?,
    })
}

fn tokenizer_json(facts: TokenizerFacts) -> TokenizerJson {
    TokenizerJson {
        kind: facts.kind,
        splitting: facts.splitting,
        tokens: facts.n_tokens,
        unusable: facts.unusable,
    }
}

fn template_json(facts: TemplateFacts) -> TemplateJson {
    let asks = |condition: &Condition| match condition.kind {
        ConditionKind::Presence => "presence",
        ConditionKind::Words => "words",
        ConditionKind::Unknown => "unknown",
    };
    TemplateJson {
        bytes: facts.bytes,
        sha256: facts.sha256,
        branches_on_words: facts
            .conditions
            .iter()
            .any(|condition| condition.kind != ConditionKind::Presence),
        conditions: facts
            .conditions
            .into_iter()
            .map(|condition| ConditionJson {
                asks: asks(&condition),
                line: condition.line,
                text: condition.text,
            })
            .collect(),
    }
}

fn memory(found: &Inspection, context: Option<usize>) -> MemoryJson {
    let context = found.context(context);
    let (f16, q8_0) = found.cache_bytes(context);
    let working_bytes = found.working_bytes(context);
    let needed = found
        .weight_bytes
        .saturating_add(f16)
        .saturating_add(working_bytes);
    let available = Available::now();
    MemoryJson {
        context,
        weight_bytes: found.weight_bytes,
        cache_bytes_f16: f16,
        cache_bytes_q8_0: q8_0,
        working_bytes,
        available_bytes: available.map(|available| available.bytes),
        limited_by: available.map(|available| available.limited_by),
        fits: available.map(|available| needed <= available.bytes),
    }
}

fn speed(token_bytes: u64, threads: usize) -> SpeedJson {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let pool = compute::Pool::new(if threads == 0 { available() } else { threads });
    let bytes_per_second = compute::read_bandwidth(&pool, PROBE);
    SpeedJson {
        threads: pool.threads(),
        bytes_per_second,
        bytes_per_token: token_bytes,
        tokens_per_second: bytes_per_second / token_bytes.max(1) as f64,
    }
}

/// Name and value, the values below each other.
fn row(name: &str, value: &str) -> String {
    format!("{name:<14} {value}\n")
}

fn words(found: &InspectJson) -> String {
    let mut text = row("name", &found.name);
    for file in &found.files {
        let hash = file.sha256.as_ref().map(|sha256| format!(", SHA-256 {sha256}"));
        let line = format!(
            "{}, {}{}",
            file.path,
            print::bytes(file.bytes),
            hash.unwrap_or_default()
        );
        text += &row("file", &line);
    }
    text += &shape(found);
    for (name, share) in &found.types {
        let line = format!(
            "{name} in {} tensors, {}",
            share.tensors,
            print::bytes(share.bytes)
        );
        text += &row("weights", &line);
    }
    text += &row("tokenizer", &tokenizer_words(found));
    text += &template_words(found.chat_template.as_ref());
    let ends = found.end_tokens.iter().map(|end| match &end.text {
        Some(text) => format!("{} {text:?}", end.id),
        None => end.id.to_string(),
    });
    text += &row("end tokens", &ends.collect::<Vec<_>>().join(", "));
    text + &needs(found)
}

fn shape(found: &InspectJson) -> String {
    let experts = if found.experts > 0 {
        format!(", {} of {} experts", found.experts_used, found.experts)
    } else {
        String::new()
    };
    let architecture = format!(
        "{}, {} layers of width {}, {} heads of {} ({} for keys and values){experts}",
        found.architecture, found.layers, found.width, found.heads, found.head_size, found.kv_heads
    );
    let parameters = format!(
        "{:.3} billion, of which {:.3} billion work on each token",
        found.parameters as f64 / 1e9,
        found.active_parameters as f64 / 1e9
    );
    row("architecture", &architecture)
        + &row("parameters", &parameters)
        + &row("context", &format!("{} tokens", found.model_context))
        + &row("vocabulary", &format!("{} rows", found.vocabulary))
}

fn tokenizer_words(found: &InspectJson) -> String {
    let Some(tokenizer) = &found.tokenizer else {
        return "none".to_owned();
    };
    let splitting = tokenizer
        .splitting
        .as_ref()
        .map(|name| format!(", splitting {name}"));
    let unusable = tokenizer
        .unusable
        .as_ref()
        .map(|reason| format!("; cannot be used: {reason}"));
    format!(
        "{}{}, {} tokens{}",
        tokenizer.kind,
        splitting.unwrap_or_default(),
        tokenizer.tokens,
        unusable.unwrap_or_default()
    )
}

fn template_words(template: Option<&TemplateJson>) -> String {
    let Some(template) = template else {
        return row("chat template", "none of its own");
    };
    let has = |asks: &str| template.conditions.iter().any(|condition| condition.asks == asks);
    let branches = if has("words") {
        "looks at the words of messages"
    } else if has("unknown") {
        "may look at the words of messages: not all of it is understood"
    } else {
        "no condition on the words of messages was found"
    };
    let line = format!(
        "{} bytes, SHA-256 {}; {branches}",
        template.bytes, template.sha256
    );
    let mut text = row("chat template", &line);
    let asking = template
        .conditions
        .iter()
        .filter(|condition| condition.asks != "presence");
    for condition in asking.clone().take(N_SHOWN) {
        text += &row("", &format!("line {}: {}", condition.line, condition.text));
    }
    if let Some(more) = asking.count().checked_sub(N_SHOWN).filter(|n| *n > 0) {
        text += &row("", &format!("and {more} more; `--json` lists all"));
    }
    text
}

fn needs(found: &InspectJson) -> String {
    let memory = &found.memory;
    let available = match (memory.available_bytes, memory.limited_by) {
        (Some(bytes), Some(limited_by)) => {
            let fits = if memory.fits == Some(true) {
                "fits"
            } else {
                "does not fit"
            };
            format!("; {} are available ({limited_by}): {fits}", print::bytes(bytes))
        }
        _ => String::new(),
    };
    let needs = format!(
        "{} for weights, {} for {} tokens of context in f16 ({} in q8_0), {} to work with{available}",
        print::bytes(memory.weight_bytes),
        print::bytes(memory.cache_bytes_f16),
        memory.context,
        print::bytes(memory.cache_bytes_q8_0),
        print::bytes(memory.working_bytes)
    );
    let speed = &found.speed;
    let estimate = format!(
        "at most about {:.1} tokens a second (an estimate: {} a second from memory with {}, {} for each token)",
        speed.tokens_per_second,
        // A machine's memory gives far less than 64 bits count.
        print::bytes(speed.bytes_per_second as u64),
        print::count(speed.threads, "thread"),
        print::bytes(speed.bytes_per_token)
    );
    row("memory", &needs) + &row("speed", &estimate)
}
