//! `hanok sync`: every remembered folder and every source of the configuration, once.

use std::path::{Path, PathBuf};

use assistant::Wanted;
use knowledge::{Access, Store};
use serde::Serialize;
use server::local::{Call, Client, Outcome};
use server::wire::{FailedJson, IngestJson, SCHEMA};
use stdx::clock::Stopwatch;

use super::ingest;
use crate::args::SyncArgs;
use crate::exit::{Code, Failure, OrFail, Result};
use crate::print;
use crate::settings::Settings;
use crate::sources::{self, Spec};
use crate::{house, interrupt};

/// What `sync` prints: an ingest's counts, and those of each source.
#[derive(Serialize)]
struct SyncJson {
    #[serde(flatten)]
    total: IngestJson,
    sources: Vec<SourceJson>,
}

#[derive(Serialize)]
struct SourceJson {
    name: String,
    kind: &'static str,
    address: String,
    /// Objects fetched; for folders nothing is fetched.
    fetched: usize,
    added: usize,
    changed: usize,
    unchanged: usize,
    removed: usize,
    moved: usize,
    failed: usize,
    /// Why the source as a whole is not up to date, or null.
    error: Option<String>,
}

#[derive(Serialize)]
struct ListJson {
    schema: u32,
    sources: Vec<NamedJson>,
}

#[derive(Serialize)]
struct NamedJson {
    name: String,
    kind: &'static str,
    address: String,
}

#[derive(Serialize)]
struct ForgotJson {
    schema: u32,
    forgotten: bool,
}

/// One thing to bring up to date.
enum Part {
    Folder(PathBuf),
    Source(Box<Spec>),
}

impl Part {
    fn named(&self) -> NamedJson {
        match self {
            Self::Folder(path) => NamedJson {
                name: path.display().to_string(),
                kind: "folder",
                address: path.display().to_string(),
            },
            Self::Source(spec) => NamedJson {
                name: spec.name.clone(),
                kind: spec.kind_name(),
                address: spec.address(),
            },
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &SyncArgs, settings: &Settings, json: bool) -> Result<Code> {
    if let Some(folder) = &args.forget {
        return forget(folder, settings, json);
    }
    interrupt::install();
    let taker = Taker::find(settings, args.list)?;
    let parts = chosen(&args.only, taker.parts(settings)?)?;
    if args.list {
        return list(&parts, json);
    }
    let watch = Stopwatch::start();
    let mut report = SyncJson {
        total: nothing(),
        sources: Vec::new(),
    };
    for part in &parts {
        interrupt::check("the same command goes on")?;
        one(part, &taker, settings, &mut report)?;
    }
    report.total.s = watch.s();
    let code = finish(&report, json)?;
    if let (Taker::Own(store), false) = (&taker, args.no_vectors) {
        ingest::make_vectors(store, settings)?;
    }
    Ok(code)
}

/// Who takes documents in: the running server, or this process.
enum Taker<'a> {
    Served(&'a Settings),
    Own(Box<Store>),
}

impl<'a> Taker<'a> {
    fn find(settings: &'a Settings, only_looks: bool) -> Result<Self> {
        if Client::connect(&settings.data_dir).is_some() {
            return Ok(Self::Served(settings));
        }
        let is_new = !settings.data_dir.join("hanok.sqlite").is_file();
        let access = if only_looks && !is_new {
            Access::Read
        } else {
            Access::Write
        };
        Ok(Self::Own(Box::new(house::open(settings, access)?)))
    }

    fn parts(&self, settings: &Settings) -> Result<Vec<Part>> {
        let folders = match self {
            Self::Own(store) => store.folders(),
            // The server writes; a reader beside it does not wait.
            Self::Served(settings) => house::open(settings, Access::Read)?.folders(),
        };
        let folders = folders.map_err(house::not_stored)?.into_iter().map(Part::Folder);
        Ok(folders
            .chain(
                settings
                    .sources
                    .iter()
                    .cloned()
                    .map(|spec| Part::Source(Box::new(spec))),
            )
            .collect())
    }

    fn ingest(&self, path: PathBuf) -> Result<IngestJson> {
        match self {
            Self::Own(store) => ingest::take_in(store, &[path]),
            Self::Served(settings) => {
                let call = Call::Ingest {
                    paths: vec![path],
                    retry: false,
                };
                let outcome = house::served_with(settings, call, &mut |_| {
                    if interrupt::asked() {
                        Wanted::No
                    } else {
                        Wanted::Yes
                    }
                });
                let ended = || Failure::environment("the running server ended").hint("run the command again");
                match outcome.ok_or_else(ended)?? {
                    Outcome::Ingest(report) => Ok(report),
                    other => Err(house::unexpected(&other)),
                }
            }
        }
    }
}

/// Those that were named, or all.
fn chosen(only: &[String], mut parts: Vec<Part>) -> Result<Vec<Part>> {
    let is = |name: &str, part: &Part| match part {
        Part::Source(spec) => spec.name == name,
        Part::Folder(folder) => {
            stdx::fs::canonicalize(name).is_ok_and(|path| path == *folder) || Path::new(name) == folder
        }
    };
    for name in only {
        if !parts.iter().any(|part| is(name, part)) {
            return Err(Failure::misuse(format!(
                "`{name}` is no source of the configuration and no ingested folder"
            ))
            .hint("`hanok sync --list` lists them"));
        }
    }
    if !only.is_empty() {
        parts.retain(|part| only.iter().any(|name| is(name, part)));
    }
    if parts.is_empty() {
        print::stderr_line(
            "note: no folder was ever ingested and the configuration names no source, so there is nothing to do; \
             `hanok ingest FOLDER` takes one in",
        );
    }
    Ok(parts)
}

fn one(part: &Part, taker: &Taker<'_>, settings: &Settings, report: &mut SyncJson) -> Result<()> {
    let NamedJson { name, kind, address } = part.named();
    let mut source = SourceJson {
        name,
        kind,
        address,
        fetched: 0,
        added: 0,
        changed: 0,
        unchanged: 0,
        removed: 0,
        moved: 0,
        failed: 0,
        error: None,
    };
    let folder = match part {
        Part::Folder(folder) => {
            if !folder.is_dir() {
                source.error = Some(
                    "the folder is not there, and its documents were kept; if it is gone for good, `hanok sync --forget`"
                        .to_owned(),
                );
            }
            folder.clone()
        }
        Part::Source(spec) => fetch(spec, settings, &mut source, &mut report.total)?,
    };
    if folder.is_dir() {
        add(&taker.ingest(folder)?, &mut source, &mut report.total);
    }
    report.sources.push(source);
    Ok(())
}

/// Brings the copies up to date; says where they lie, all those that are whole.
fn fetch(
    spec: &Spec,
    settings: &Settings,
    source: &mut SourceJson,
    total: &mut IngestJson,
) -> Result<PathBuf> {
    stdx::fs::create_dir_all(&settings.data_dir).or_environment()?;
    let dir = stdx::fs::canonicalize(&settings.data_dir).or_environment()?;
    match sources::mirror(spec, &dir, &settings.environment, &interrupt::asked) {
        Ok(done) => {
            source.fetched = done.fetched;
            source.failed += done.failed.len();
            let failed = done.failed.into_iter();
            total
                .failed
                .extend(failed.map(|(path, reason)| FailedJson { path, reason }));
        }
        Err(trouble) => {
            interrupt::check("what was fetched is kept; the same command goes on")?;
            source.error = Some(trouble.sentence());
        }
    }
    Ok(sources::folder_of(spec, &dir))
}

fn add(part: &IngestJson, source: &mut SourceJson, total: &mut IngestJson) {
    source.added = part.added;
    source.changed = part.changed;
    source.unchanged = part.unchanged;
    source.removed = part.removed;
    source.moved = part.moved;
    source.failed += part.failed.len();
    total.added += part.added;
    total.changed += part.changed;
    total.unchanged += part.unchanged;
    total.removed += part.removed;
    total.moved += part.moved;
    total.passages += part.passages;
    total.pages += part.pages;
    total.failed.extend(part.failed.iter().cloned());
    // Rules may concern what comes last, so what the last part says counts.
    total.warnings.clone_from(&part.warnings);
}

fn nothing() -> IngestJson {
    IngestJson {
        schema: SCHEMA,
        added: 0,
        changed: 0,
        unchanged: 0,
        removed: 0,
        moved: 0,
        failed: Vec::new(),
        warnings: Vec::new(),
        passages: 0,
        pages: 0,
        s: 0.0,
    }
}

fn finish(report: &SyncJson, json: bool) -> Result<Code> {
    for failed in &report.total.failed {
        print::stderr_line(&format!("not taken in: `{}`: {}", failed.path, failed.reason));
    }
    for warning in &report.total.warnings {
        print::stderr_line(&format!("note: {warning}"));
    }
    for source in &report.sources {
        if let Some(error) = &source.error {
            print::stderr_line(&format!(
                "not up to date: {} `{}`: {error}",
                source.kind, source.name
            ));
        }
    }
    if json {
        print::json(report)?;
    } else {
        for source in &report.sources {
            print::line(&format!(
                "{} {}: {} added, {} changed, {} unchanged, {} removed, {} not taken in",
                source.kind,
                source.name,
                source.added,
                source.changed,
                source.unchanged,
                source.removed,
                source.failed
            ))?;
        }
        print::line(&ingest::sentence(&report.total))?;
    }
    let all_failed = !report.sources.is_empty() && report.sources.iter().all(|source| source.error.is_some());
    Ok(if all_failed { Code::Environment } else { Code::Done })
}

fn list(parts: &[Part], json: bool) -> Result<Code> {
    let sources: Vec<NamedJson> = parts.iter().map(Part::named).collect();
    if json {
        print::json(&ListJson {
            schema: SCHEMA,
            sources,
        })?;
    } else {
        for source in sources {
            print::line(&format!("{} {} {}", source.kind, source.name, source.address))?;
        }
    }
    Ok(Code::Done)
}

fn forget(folder: &Path, settings: &Settings, json: bool) -> Result<Code> {
    let folder = std::path::absolute(folder)
        .map_err(|error| Failure::misuse(format!("`{}`: {error}", folder.display())))?;
    let call = Call::Forget {
        folder: folder.clone(),
    };
    let forgotten = match house::served(settings, call) {
        Some(outcome) => match outcome? {
            Outcome::Forget(forgotten) => forgotten,
            other => return Err(house::unexpected(&other)),
        },
        None => house::open(settings, Access::Write)?
            .forget_folder(&folder)
            .map_err(house::not_stored)?,
    };
    let shown = folder.display();
    if !forgotten {
        return Err(Failure::misuse(format!("`{shown}` is no ingested folder"))
            .hint("`hanok sync --list` lists them"));
    }
    if json {
        print::json(&ForgotJson {
            schema: SCHEMA,
            forgotten,
        })?;
    } else {
        print::line(&format!("`{shown}` is kept in step no more; its documents stay"))?;
    }
    Ok(Code::Done)
}
