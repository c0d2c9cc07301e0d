//! What is in force: flag beats environment beats file beats default, and where each value came from.
//!
//! The only place that reads environment variables.

mod environment;
mod file;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use knowledge::quality::Refusals;

use crate::args::SettingArgs;
use crate::exit::{Failure, Result};
use crate::sources::Spec;

pub(crate) use environment::Environment;

/// A setting: its key in the file, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// Key of the configuration file; the flag is the same with dashes, the variable `HANOK_` and upper case.
    pub(crate) name: &'static str,
    /// What the file may hold.
    kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
}

/// All settings, in the order in which they are printed.
pub(crate) const KEYS: [Key; 27] = [
    text("data_dir"),
    text("store"),
    text("store_password_file"),
    text("models_dir"),
    text("model"),
    text("embedder"),
    text("reranker"),
    number("threads"),
    text("kernels"),
    number("context"),
    text("pack"),
    text("kv_cache"),
    text("memory_budget"),
    text("prompt_cache"),
    text("mission"),
    text("address"),
    number("port"),
    text("token"),
    text("groups"),
    text("callers"),
    text("watch"),
    text("sync_every"),
    text("refusals"),
    text("pdf_passwords"),
    text("ocr"),
    text("dictionary"),
    text("log"),
];

const fn text(name: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Text,
    }
}

const fn number(name: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Number,
    }
}

impl Key {
    /// The environment variable.
    pub(crate) fn variable(self) -> String {
        format!("HANOK_{}", self.name.to_uppercase())
    }

    /// The flag.
    pub(crate) fn flag(self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line.
    Flag,
    /// An environment variable.
    Environment,
    /// The configuration file.
    File,
    /// Nobody said anything.
    Default,
}

impl Source {
    /// For people and for JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// The value of one key with its source; `None` where there is no value and no default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    /// The key.
    pub(crate) key: Key,
    /// The value.
    pub(crate) value: Option<String>,
    /// Where it came from.
    pub(crate) source: Source,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Documents and index.
    pub(crate) data_dir: PathBuf,
    /// Address of a PostgreSQL database with the documents; `None` keeps them in the data directory.
    pub(crate) store: Option<String>,
    /// File with that database's password.
    pub(crate) store_password_file: Option<PathBuf>,
    /// Where `pull` puts models.
    pub(crate) models_dir: PathBuf,
    /// Language model as given; `None` takes the best one that is there.
    pub(crate) model: Option<String>,
    /// Embedding model as given; `None` takes the default one if it is there.
    pub(crate) embedder: Option<String>,
    /// Model that reads the best passages again, as given; `None` is none.
    pub(crate) reranker: Option<String>,
    /// Threads; 0 for one a core.
    pub(crate) threads: usize,
    /// Level of the kernels; `None` takes the best.
    pub(crate) kernels: Option<compute::Level>,
    /// Context in tokens; `None` takes the model's own.
    pub(crate) context: Option<usize>,
    /// Whether models are packed once for all processes; off keeps weights in each process's memory.
    pub(crate) pack: bool,
    /// How keys and values are kept.
    pub(crate) kv_cache: compute::KvDType,
    /// Bytes that the model may take; `None` keeps all of it in memory.
    pub(crate) memory_budget: Option<u64>,
    /// Bytes of the disk that beginnings of prompts may take; `None` keeps none there.
    pub(crate) prompt_cache: Option<u64>,
    /// Address to serve at.
    pub(crate) address: std::net::IpAddr,
    /// Port to serve at.
    pub(crate) port: u16,
    /// Token that HTTP clients must send.
    pub(crate) token: Option<String>,
    /// Whose documents may be read.
    pub(crate) reader: knowledge::Reader,
    /// Callers with tokens of their own.
    pub(crate) callers: Option<PathBuf>,
    /// Whether the server keeps folders and sources in step.
    pub(crate) watch: bool,
    /// How often everything is looked at.
    pub(crate) sync_every: Duration,
    /// Sources beyond folders.
    pub(crate) sources: Vec<Spec>,
    /// What the server remembers of refused questions.
    pub(crate) refusals: Refusals,
    /// File with the passwords of encrypted PDF files, one a line.
    pub(crate) pdf_passwords: Option<PathBuf>,
    /// Languages in which text in pictures is recognised; `None` for not at all.
    pub(crate) ocr: Option<String>,
    /// Folder of the dictionary by which morphemes are indexed; `None` for none.
    pub(crate) dictionary: Option<PathBuf>,
    /// Log filter, if one was given.
    pub(crate) log: Option<String>,
    /// Where the configuration file was looked for, and whether it is there.
    pub(crate) file: (PathBuf, bool),
    /// Every key as it was given.
    pub(crate) raw: Vec<Raw>,
    /// The environment they were read from.
    pub(crate) environment: Environment,
}

/// The port of `hanok serve`.
pub(crate) const DEFAULT_PORT: u16 = 8642;

/// How often everything is looked at unless somebody says otherwise.
const SYNC_EVERY_DEFAULT: Duration = Duration::from_mins(15);

/// Longer intervals are as good as none.
const SYNC_EVERY_S_MAX: u64 = 365 * 86_400;

/// Documents are kept in the data directory.
const EMBEDDED: &str = "embedded";

/// Words are indexed without a dictionary.
const NO_DICTIONARY: &str = "none";

/// The only mission there is.
const DEFAULT_MISSION: &str = "default";

impl Settings {
    /// Puts flags, environment, file and defaults together.
    pub(crate) fn resolve(args: &SettingArgs, environment: Environment) -> Result<Self> {
        let path = file::path(args.config.as_deref(), &environment)?;
        let from_file = file::read(
            &path,
            args.config.is_some() || environment.var("HANOK_CONFIG").is_some(),
        )?;
        let raw: Vec<Raw> = KEYS
            .iter()
            .map(|key| {
                layer(
                    *key,
                    args,
                    &environment,
                    from_file.as_ref().map(|file| &file.values),
                )
            })
            .collect();
        let mut settings = Self::typed(&raw, &environment, &path)?;
        settings.file = (path, from_file.is_some());
        settings.sources = from_file.map(|file| file.sources).unwrap_or_default();
        settings.fill_defaults(raw);
        Ok(settings)
    }

    fn typed(raw: &[Raw], environment: &Environment, file: &Path) -> Result<Self> {
        let get = |name| {
            raw.iter()
                .find(|r| r.key.name == name)
                .expect("every key is layered")
        };
        check_mission(get("mission"))?;
        let context: usize = parsed(get("context"), "a number of tokens")?.unwrap_or(0);
        Ok(Self {
            data_dir: folder(get("data_dir"), environment, file, "")?,
            store: get("store").value.clone().filter(|store| store != EMBEDDED),
            store_password_file: file_of(get("store_password_file"), environment, file),
            models_dir: folder(get("models_dir"), environment, file, "models")?,
            model: get("model").value.clone(),
            embedder: get("embedder").value.clone(),
            reranker: get("reranker").value.clone(),
            threads: parsed(get("threads"), "a number of threads")?.unwrap_or(0),
            kernels: kernels(get("kernels"))?,
            context: (context > 0).then_some(context),
            pack: pack(get("pack"))?,
            kv_cache: kv_cache(get("kv_cache"))?,
            memory_budget: bytes(get("memory_budget"))?,
            prompt_cache: bytes(get("prompt_cache"))?,
            address: parsed(get("address"), "an IP address such as 127.0.0.1")?
                .unwrap_or(std::net::Ipv4Addr::LOCALHOST.into()),
            port: parsed(get("port"), "a port between 0 and 65535")?.unwrap_or(DEFAULT_PORT),
            token: get("token").value.clone(),
            reader: reader(get("groups"))?,
            callers: get("callers").value.as_deref().map(PathBuf::from),
            watch: watch(get("watch"))?,
            sync_every: every(get("sync_every"))?,
            sources: Vec::new(),
            refusals: refusals(get("refusals"))?,
            pdf_passwords: file_of(get("pdf_passwords"), environment, file),
            ocr: ocr(get("ocr")),
            dictionary: dictionary(get("dictionary"), environment, file),
            log: get("log").value.clone(),
            file: (file.to_owned(), false),
            raw: Vec::new(),
            environment: environment.clone(),
        })
    }

    fn fill_defaults(&mut self, mut raw: Vec<Raw>) {
        for entry in &mut raw {
            if entry.value.is_none() {
                entry.value = match entry.key.name {
                    "data_dir" => Some(self.data_dir.display().to_string()),
                    "models_dir" => Some(self.models_dir.display().to_string()),
                    "kernels" | "pack" => Some("auto".to_owned()),
                    "kv_cache" => Some("f16".to_owned()),
                    "refusals" => Some("words".to_owned()),
                    "threads" | "context" => Some("0".to_owned()),
                    "store" => Some(EMBEDDED.to_owned()),
                    "mission" => Some(DEFAULT_MISSION.to_owned()),
                    "address" => Some(self.address.to_string()),
                    "port" => Some(self.port.to_string()),
                    "watch" | "ocr" => Some("off".to_owned()),
                    "dictionary" => Some(NO_DICTIONARY.to_owned()),
                    "sync_every" => Some("15min".to_owned()),
                    _ => None,
                };
            }
        }
        self.raw = raw;
    }

    /// Where a key's value came from.
    pub(crate) fn source(&self, name: &str) -> Source {
        self.raw
            .iter()
            .find(|raw| raw.key.name == name)
            .map_or(Source::Default, |raw| raw.source)
    }
}

fn layer(key: Key, args: &SettingArgs, environment: &Environment, file: Option<&file::Values>) -> Raw {
    let from_file = || file.and_then(|values| values.get(key.name).cloned());
    let (value, source) = if let Some(value) = flag(key, args) {
        (Some(value.to_owned()), Source::Flag)
    } else if let Some(value) = environment.var(&key.variable()) {
        (Some(value.to_owned()), Source::Environment)
    } else if let Some(value) = from_file() {
        (Some(value), Source::File)
    } else {
        (None, Source::Default)
    };
    Raw { key, value, source }
}

fn flag(key: Key, args: &SettingArgs) -> Option<&str> {
    match key.name {
        "data_dir" => args.data_dir.as_deref(),
        "store" => args.store.as_deref(),
        "store_password_file" => args.store_password_file.as_deref(),
        "models_dir" => args.models_dir.as_deref(),
        "model" => args.model.as_deref(),
        "embedder" => args.embedder.as_deref(),
        "reranker" => args.reranker.as_deref(),
        "kernels" => args.kernels.as_deref(),
        "threads" => args.threads.as_deref(),
        "context" => args.context.as_deref(),
        "pack" => args.pack.as_deref(),
        "kv_cache" => args.kv_cache.as_deref(),
        "memory_budget" => args.memory_budget.as_deref(),
        "prompt_cache" => args.prompt_cache.as_deref(),
        "mission" => args.mission.as_deref(),
        "address" => args.address.as_deref(),
        "port" => args.port.as_deref(),
        "token" => args.token.as_deref(),
        "groups" => args.groups.as_deref(),
        "callers" => args.callers.as_deref(),
        "watch" => args.watch.as_deref(),
        "sync_every" => args.sync_every.as_deref(),
        "refusals" => args.refusals.as_deref(),
        "pdf_passwords" => args.pdf_passwords.as_deref(),
        "ocr" => args.ocr.as_deref(),
        "dictionary" => args.dictionary.as_deref(),
        "log" => args.log.as_deref(),
        _ => None,
    }
}

/// Where a value was said, for messages: "flag `--port`", "variable `HANOK_PORT`", "key `port` of the …".
fn place(raw: &Raw) -> String {
    match raw.source {
        Source::Flag => format!("flag `{}`", raw.key.flag()),
        Source::Environment => format!("variable `{}`", raw.key.variable()),
        Source::File => format!("key `{}` of the configuration file", raw.key.name),
        Source::Default => format!("default of `{}`", raw.key.name),
    }
}

fn parsed<T: std::str::FromStr>(raw: &Raw, expected: &str) -> Result<Option<T>> {
    let Some(value) = &raw.value else {
        return Ok(None);
    };
    value.trim().parse().map(Some).map_err(|_| {
        Failure::misuse(format!("{} is `{value}`, but {expected} is needed", place(raw)))
            .hint("`hanok config` prints all settings and where each comes from")
    })
}

fn reader(raw: &Raw) -> Result<knowledge::Reader> {
    let stated = raw.value.as_deref().unwrap_or_default();
    knowledge::Reader::stated(stated)
        .map_err(|what| Failure::misuse(format!("{} is `{stated}`: {what}", place(raw))))
}

fn check_mission(raw: &Raw) -> Result<()> {
    match raw.value.as_deref() {
        None | Some(DEFAULT_MISSION) => Ok(()),
        Some(other) => Err(Failure::misuse(format!(
            "there is no mission `{other}`: {} names it",
            place(raw)
        ))
        .hint("the only mission of this version is `default`; leave the setting out")),
    }
}

fn pack(raw: &Raw) -> Result<bool> {
    match raw.value.as_deref() {
        None | Some("auto") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(Failure::misuse(format!(
            "{} is `{other}`, but auto and off are known",
            place(raw)
        ))),
    }
}

fn watch(raw: &Raw) -> Result<bool> {
    match raw.value.as_deref() {
        Some("on") => Ok(true),
        None | Some("off") => Ok(false),
        Some(other) => Err(Failure::misuse(format!(
            "{} is `{other}`, but on and off are known",
            place(raw)
        ))),
    }
}

/// Languages in Tesseract's notation; `on` for Korean and English.
fn ocr(raw: &Raw) -> Option<String> {
    match raw.value.as_deref() {
        None | Some("off" | "") => None,
        Some("on") => Some(knowledge::ocr::LANGUAGES.to_owned()),
        Some(languages) => Some(languages.to_owned()),
    }
}

/// A folder; `none` overrides one that stands elsewhere.
fn dictionary(raw: &Raw, environment: &Environment, file: &Path) -> Option<PathBuf> {
    file_of(raw, environment, file).filter(|_| raw.value.as_deref() != Some(NO_DICTIONARY))
}

/// How often; at most once a second.
fn every(raw: &Raw) -> Result<Duration> {
    let Some(value) = raw.value.as_deref() else {
        return Ok(SYNC_EVERY_DEFAULT);
    };
    duration(value).ok_or_else(|| {
        Failure::misuse(format!("{} is `{value}`, which is no length of time", place(raw)))
            .hint("write it like 15min, 30s, 2h or 1d")
    })
}

/// A length of time such as `15min`.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (1..=SYNC_EVERY_S_MAX)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

fn kv_cache(raw: &Raw) -> Result<compute::KvDType> {
    match raw.value.as_deref() {
        None | Some("f16") => Ok(compute::KvDType::F16),
        Some("q8_0") => Ok(compute::KvDType::Q8_0),
        Some(other) => Err(Failure::misuse(format!(
            "{} is `{other}`, but f16 and q8_0 are known",
            place(raw)
        ))),
    }
}

fn refusals(raw: &Raw) -> Result<Refusals> {
    match raw.value.as_deref() {
        None | Some("words") => Ok(Refusals::Words),
        Some("questions") => Ok(Refusals::Questions),
        Some("off") => Ok(Refusals::Off),
        Some(other) => Err(Failure::misuse(format!(
            "{} is `{other}`, but off, words and questions are known",
            place(raw)
        ))),
    }
}

/// A size, or none.
fn bytes(raw: &Raw) -> Result<Option<u64>> {
    let Some(value) = raw.value.as_deref().filter(|value| *value != "none") else {
        return Ok(None);
    };
    size(value).map(Some).ok_or_else(|| {
        Failure::misuse(format!("{} is `{value}`, which is no size", place(raw)))
            .hint("write it like 2GiB, 1500MB or as a number of bytes; `none` sets none")
    })
}

/// Bytes of a size such as `2GiB`, `1.5 GB` or `1048576`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let bytes = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "kb" => 1e3,
        "m" | "mib" => 1024.0 * 1024.0,
        "mb" => 1e6,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "gb" => 1e9,
        "tib" => 1024.0_f64.powi(4),
        "tb" => 1e12,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    let bytes = number * bytes;
    // Above that, floating-point numbers skip integers.
    (1.0..=9e15).contains(&bytes).then_some(bytes as u64)
}

/// A level by its name; whether this processor has it is checked when it is forced.
fn kernels(raw: &Raw) -> Result<Option<compute::Level>> {
    const LEVELS: [compute::Level; 4] = [
        compute::Level::Scalar,
        compute::Level::Avx2,
        compute::Level::Avx512,
        compute::Level::Neon,
    ];
    match raw.value.as_deref() {
        None | Some("auto") => Ok(None),
        Some(name) => LEVELS
            .into_iter()
            .find(|level| level.name() == name)
            .map(Some)
            .ok_or_else(|| {
                let names = LEVELS.map(compute::Level::name).join(", ");
                Failure::misuse(format!("{} is `{name}`, but auto, {names} are known", place(raw)))
                    .hint("`hanok doctor` lists those that this processor has")
            }),
    }
}

/// A folder setting: `~/` is the home folder; a relative path in the file is relative to the file.
fn folder(raw: &Raw, environment: &Environment, file: &Path, below: &str) -> Result<PathBuf> {
    let Some(value) = raw.value.as_deref().filter(|value| !value.is_empty()) else {
        let Some(data) = environment.data_home() else {
            return Err(
                Failure::environment("no home folder: neither HOME nor XDG_DATA_HOME is set")
                    .hint(format!("say where to keep data with `{}`", raw.key.flag())),
            );
        };
        let hanok = data.join("hanok");
        return Ok(if below.is_empty() {
            hanok
        } else {
            hanok.join(below)
        });
    };
    Ok(path_of(value, raw, environment, file))
}

/// A file setting, read like a folder.
fn file_of(raw: &Raw, environment: &Environment, file: &Path) -> Option<PathBuf> {
    let value = raw.value.as_deref().filter(|value| !value.is_empty())?;
    Some(path_of(value, raw, environment, file))
}

fn path_of(value: &str, raw: &Raw, environment: &Environment, file: &Path) -> PathBuf {
    let path = match (value.strip_prefix("~/"), environment.home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(value),
    };
    match (raw.source, file.parent()) {
        (Source::File, Some(parent)) => parent.join(path),
        _ => path,
    }
}
