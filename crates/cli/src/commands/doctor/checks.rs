//! The checks of `hanok doctor`, one function a part. Nothing is changed but a small file written and removed.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use engine::{Engine, EngineConfig, Event, Request};
use knowledge::Access;
use model::{Model, SamplingParams, TextEncoder};
use server::local::Client;
use stdx::fs;

use super::Check;
use crate::exit::chain;
use crate::house::{self, load_options};
use crate::models::{Finder, Use, recorded, table};
use crate::print;
use crate::pull::pip;
use crate::settings::{KEYS, Settings, Source};

/// Room below which an ingest may soon stop.
const FREE_BYTES_LOW: u64 = 500 << 20;

/// Memory below which the default model is tight.
const MEMORY_BYTES_LOW: u64 = 1 << 30;

/// Runs every check.
pub(super) fn all(settings: &Settings) -> Vec<Check> {
    let served = Client::connect(&settings.data_dir).is_some();
    let mut checks = vec![
        program(settings),
        memory(),
        configuration(settings),
        data_dir(settings, served),
        documents(settings),
        rules(settings),
        language_model(settings),
        embedder(settings),
        port(settings, served),
        server(served),
        python(),
        package_client(),
    ];
    checks.extend(reranker(settings));
    checks
}

fn program(settings: &Settings) -> Check {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if settings.threads == 0 {
        cores
    } else {
        settings.threads
    };
    Check::ok(
        "program",
        format!(
            "hanok {} on {}, kernels {}, {} of {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH,
            kernels(),
            print::count(threads, "thread"),
            print::count(cores, "core"),
        ),
    )
}

/// The kernels in force, and those that could be chosen.
fn kernels() -> String {
    let available: Vec<&str> = compute::Isa::available()
        .iter()
        .map(|isa| isa.level().name())
        .collect();
    format!(
        "{} (of {})",
        compute::Isa::active().level().name(),
        available.join(", ")
    )
}

fn memory() -> Check {
    let Some((total, available)) = memory_bytes() else {
        return Check::ok("memory", "its size is not told by this system");
    };
    let detail = format!("{} of {} available", print::bytes(available), print::bytes(total));
    if available < MEMORY_BYTES_LOW {
        return Check::missing(
            "memory",
            format!("{detail}; a model needs about its file's size"),
            "end other programs, or answer by quoting: `hanok ask --extractive`",
        );
    }
    Check::ok("memory", detail)
}

/// Total and available bytes, from `/proc/meminfo`.
fn memory_bytes() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}

fn configuration(settings: &Settings) -> Check {
    let (file, found) = &settings.file;
    let known: Vec<String> = KEYS.iter().map(|key| key.variable()).collect();
    let unknown: Vec<&str> = settings
        .environment
        .ours()
        .filter(|name| {
            !["HANOK_CONFIG", "HANOK_STORE_PASSWORD"].contains(name) && !name.starts_with("HANOK_TEST_")
        })
        .filter(|name| !known.iter().any(|known| known == name))
        .collect();
    if !unknown.is_empty() {
        return Check::missing(
            "settings",
            format!("{} means nothing to Hanok", unknown.join(", ")),
            "`hanok config --json` lists the variables there are",
        );
    }
    let state = if *found {
        "is in force"
    } else {
        "is not there; none is needed"
    };
    Check::ok("settings", format!("`{}` {state}", file.display()))
}

fn data_dir(settings: &Settings, served: bool) -> Check {
    let dir = &settings.data_dir;
    let shown = dir.display();
    if let Err(error) = try_to_write(dir) {
        return Check::broken(
            "data",
            format!("`{shown}` cannot be written to: {}", chain(&error)),
            "give the folder to this user, or choose another with `--data-dir DIR`",
        );
    }
    let free = free_bytes(dir);
    let room = free.map_or_else(String::new, |free| format!(", {} free", print::bytes(free)));
    if free.is_some_and(|free| free < FREE_BYTES_LOW) {
        return Check::missing(
            "data",
            format!("`{shown}` is nearly full{room}; questions go on, documents may not fit"),
            "free some room, or choose another folder with `--data-dir DIR`",
        );
    }
    let holder = if served {
        ", in use by the running server"
    } else {
        ""
    };
    Check::ok("data", format!("`{shown}` can be written to{room}{holder}"))
}

/// Writes and removes a small file, in the folder or in the nearest one above it that exists.
fn try_to_write(dir: &Path) -> Result<(), fs::FsError> {
    let existing = existing_ancestor(dir);
    if !existing.is_dir() {
        let error = std::io::Error::from(std::io::ErrorKind::NotADirectory);
        return Err(fs::FsError::new("use", existing, error));
    }
    let path = existing.join(format!(".hanok-doctor-{}", std::process::id()));
    fs::write(&path, b"x")?;
    fs::remove_file(&path)
}

fn existing_ancestor(dir: &Path) -> &Path {
    dir.ancestors()
        .find(|path| !path.as_os_str().is_empty() && fs::metadata(path).is_ok())
        .unwrap_or(Path::new("."))
}

/// Free bytes as `df` tells them; `None` where there is no `df`.
fn free_bytes(dir: &Path) -> Option<u64> {
    let output = Command::new("df")
        .args(["-Pk"])
        .arg(existing_ancestor(dir))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kib: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kib * 1024)
}

fn documents(settings: &Settings) -> Check {
    let take_in = "`hanok ingest FOLDER` takes documents in; `hanok demo` shows it with public ones";
    if settings.store.is_none() && fs::metadata(&settings.data_dir).is_err() {
        return Check::missing("documents", "none yet", take_in);
    }
    let opened = match house::try_open(settings, Access::Read) {
        Ok(opened) => opened,
        Err(failure) => {
            return Check::broken("documents", failure.to_string(), "put the setting right");
        }
    };
    let status = match opened.and_then(|store| house::status(&store)) {
        Ok(status) => status,
        Err(knowledge::StoreError::NotAStore { .. }) => {
            return Check::missing("documents", "none yet", take_in);
        }
        Err(error) => {
            return Check::broken(
                "documents",
                chain(&error),
                "do as the message says; the documents themselves are where they were",
            );
        }
    };
    let mut detail = format!(
        "{}, {}, {} with vectors",
        print::count(status.documents, "document"),
        print::count(status.passages, "passage"),
        status.vectors
    );
    for file in &status.set_aside {
        detail.push_str(&format!("; set aside: `{}`: {}", file.path, file.reason));
    }
    if let Some(reason) = status.read_only {
        return Check::missing(
            "documents",
            format!("{detail}; nothing can be written now: {reason}"),
            "free some room",
        );
    }
    if status.queued > 0 {
        return Check::missing(
            "documents",
            format!(
                "{detail}; {} of a cut-off ingest still queued",
                print::count(status.queued, "file")
            ),
            "`hanok serve`, or the same `hanok ingest`, goes on with them",
        );
    }
    if status.documents == 0 {
        return Check::missing("documents", "none yet", take_in);
    }
    Check::ok("documents", detail)
}

/// Rules by path: one whose path is misspelt protects nothing.
fn rules(settings: &Settings) -> Check {
    const NAME: &str = "rules";
    let opened = match house::try_open(settings, Access::Read) {
        Ok(opened) => opened,
        Err(failure) => return Check::broken(NAME, failure.to_string(), "put the setting right"),
    };
    match opened.and_then(|store| store.rules_of_nothing()) {
        Ok(idle) if idle.is_empty() => Check::ok(NAME, "each rule by path concerns a document"),
        Ok(idle) => Check::broken(
            NAME,
            idle.join("; "),
            "correct the path, or take the documents in that it is meant for",
        ),
        Err(error) if error.is_bad_input() => Check::broken(NAME, chain(&error), "correct the file"),
        Err(_) => Check::ok(NAME, "none can concern anything yet"),
    }
}

fn language_model(settings: &Settings) -> Check {
    const NAME: &str = "model";
    if settings.model.as_deref() == Some("none") {
        return Check::ok(NAME, "none wanted: answers are quotes");
    }
    let path = match Finder::new(settings).language() {
        Ok(Some(path)) => path,
        Ok(None) => {
            return Check::missing(
                NAME,
                "no language model is here: answers are quotes",
                "hanok pull",
            );
        }
        Err(failure) => {
            let fix = failure.hint.unwrap_or_else(|| "hanok pull".to_owned());
            return Check::broken(NAME, failure.message, fix);
        }
    };
    let shown = path.display();
    match Model::load(&path, &load_options(settings)) {
        Err(error) => Check::broken(NAME, format!("`{shown}`: {}", chain(&error)), mend(&path)),
        Ok(model) => {
            let about = about(&path, model.sha256());
            let name = model.name().to_owned();
            if let Some(wrong) = wrong_hash(&path, model.sha256()) {
                return Check::broken(NAME, format!("`{shown}`: {wrong}"), mend(&path));
            }
            match one_token(Engine::start(model, EngineConfig::default())) {
                Ok(()) => Check::ok(NAME, format!("{name} answers; {about}; `{shown}`")),
                Err(reason) => Check::broken(
                    NAME,
                    format!("`{shown}` loads, but does not answer: {reason}"),
                    mend(&path),
                ),
            }
        }
    }
}

fn one_token(engine: Engine) -> Result<(), String> {
    let request = Request {
        prompt: engine.model().tokenize_prompt("Hello"),
        max_tokens: 1,
        sampling: SamplingParams::greedy(),
        stop: Vec::new(),
        ignore_eos: true,
        ..Request::default()
    };
    let mut answered = false;
    for event in engine.submit(request).map_err(|error| chain(&error))? {
        match event {
            Event::Token { .. } => answered = true,
            Event::Failed { reason } => return Err(reason),
            Event::Prefilled { .. } | Event::Done { .. } => {}
        }
    }
    answered
        .then_some(())
        .ok_or_else(|| "it gave no token".to_owned())
}

fn embedder(settings: &Settings) -> Check {
    const NAME: &str = "embedder";
    if settings.embedder.as_deref() == Some("none") {
        return Check::ok(NAME, "none wanted: searching goes by words");
    }
    let path = match Finder::new(settings).embedder() {
        Ok(Some(path)) => path,
        Ok(None) => {
            return Check::missing(
                NAME,
                "no embedding model is here: searching goes by words",
                "hanok pull e5",
            );
        }
        Err(failure) => {
            let fix = failure.hint.unwrap_or_else(|| "hanok pull e5".to_owned());
            return Check::broken(NAME, failure.message, fix);
        }
    };
    let shown = path.display();
    match TextEncoder::load(&path, settings.threads) {
        Err(error) => Check::broken(NAME, format!("`{shown}`: {}", chain(&error)), mend(&path)),
        Ok(encoder) => match wrong_hash(&path, encoder.sha256()) {
            Some(wrong) => Check::broken(NAME, format!("`{shown}`: {wrong}"), mend(&path)),
            None if encoder
                .encode(&["query: hello"])
                .first()
                .is_none_or(Vec::is_empty) =>
            {
                Check::broken(NAME, format!("`{shown}` loads, but makes no vector"), mend(&path))
            }
            None => Check::ok(
                NAME,
                format!("makes vectors; {}; `{shown}`", about(&path, encoder.sha256())),
            ),
        },
    }
}

/// Nothing where none is asked for, which is the ordinary case.
fn reranker(settings: &Settings) -> Option<Check> {
    const NAME: &str = "reranker";
    let fix = "hanok pull reranker-en, or --reranker none";
    match house::reranker(settings) {
        Ok(None) => None,
        Err(failure) => Some(Check::broken(
            NAME,
            failure.message,
            failure.hint.unwrap_or(fix.to_owned()),
        )),
        Ok(Some(reranker)) => {
            let passages = ["The key lies under the stone.", "The cat sleeps."];
            let scores = reranker.score("Where is the key?", &passages);
            Some(match scores[..] {
                [Some(right), Some(wrong)] if right > wrong => Check::ok(NAME, "orders passages"),
                _ => Check::broken(
                    NAME,
                    "it loads, but does not tell a right passage from a wrong one",
                    fix,
                ),
            })
        }
    }
}

/// Licence and origin, as recorded beside the file or known by its hash.
fn about(path: &Path, sha256: &str) -> String {
    if let Some(record) = recorded(path) {
        return format!("{}, from {}", record.licence, record.source);
    }
    let known = table()
        .iter()
        .find(|entry| entry.sha256.as_deref() == Some(sha256));
    match known {
        Some(entry) => format!("{}, {}", entry.licence, entry.title),
        None => "licence and origin not recorded".to_owned(),
    }
}

/// What is wrong with a file that bears a known name or a record but has other bytes.
fn wrong_hash(path: &Path, sha256: &str) -> Option<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let pinned = table()
        .iter()
        .find(|entry| entry.file == name)
        .and_then(|entry| entry.sha256.clone());
    let expected = pinned.or_else(|| recorded(path).map(|record| record.sha256))?;
    (expected != sha256).then(|| format!("its SHA-256 is {sha256}, but {expected} is expected"))
}

/// The command that brings a file back.
fn mend(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let known = table().iter().find(|entry| entry.file == name);
    match known {
        Some(entry) => format!("rm '{}' && hanok pull {}", path.display(), entry.name),
        None => format!(
            "give another file with `--model FILE` ({} are known by name)",
            table()
                .iter()
                .filter(|entry| entry.used_for == Use::Language)
                .map(|entry| entry.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

fn port(settings: &Settings, served: bool) -> Check {
    let at = std::net::SocketAddr::new(settings.address, settings.port);
    if !settings.address.is_loopback() && settings.token.is_none() {
        return Check::broken(
            "address",
            format!("{at} can be reached by other machines, and no token is set: `hanok serve` will refuse"),
            "set HANOK_TOKEN to a secret, or leave the address at 127.0.0.1",
        );
    }
    match TcpListener::bind(at) {
        Ok(_) => Check::ok("address", format!("{at} is free")),
        Err(_) if served => Check::ok("address", format!("{at} is in use, and a server runs")),
        Err(error) if settings.source("port") == Source::Default => Check::missing(
            "address",
            format!("{at} is not free ({error}); `hanok serve` takes another port"),
            "nothing needs to be done; `--port N` chooses one",
        ),
        Err(error) => Check::broken(
            "address",
            format!("{at} cannot be used: {error}"),
            "choose another with `--port N`",
        ),
    }
}

fn server(served: bool) -> Check {
    Check::ok(
        "server",
        if served {
            "runs on this data directory; other commands go through it"
        } else {
            "none runs on this data directory; commands read the documents themselves"
        },
    )
}

fn python() -> Check {
    let found = Command::new("python3")
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success());
    match found {
        Some(output) => Check::ok(
            "python",
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        ),
        None => Check::missing(
            "python",
            "no `python3`; only `hanok pull` uses it, through pip",
            "sudo apt install python3-pip",
        ),
    }
}

fn package_client() -> Check {
    match pip::client() {
        Some((program, arguments)) => {
            let shown: Vec<&str> = std::iter::once(program)
                .chain(arguments.iter().copied())
                .collect();
            Check::ok("pip", format!("`{}` fetches the default models", shown.join(" ")))
        }
        None => Check::missing(
            "pip",
            "no `pip`; only `hanok pull` and `hanok demo` use it",
            "sudo apt install python3-pip, or copy the models folder from another machine",
        ),
    }
}
