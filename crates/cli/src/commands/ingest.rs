//! `hanok ingest`: documents in, only what changed; vectors afterwards.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use assistant::Wanted;
use knowledge::{Access, Embed, Go, IngestEvent, Store, StoreError};
use serde::Serialize;
use server::local::{Call, EventLine, Outcome};
use server::wire::{FailedJson, FileJson, FileOutcomeJson, IngestJson, StageJson};

use super::shards;
use crate::args::IngestArgs;
use crate::exit::{Code, Failure, Result, chain};
use crate::print::{self, Counts, Progress};
use crate::settings::Settings;
use crate::{house, interrupt};

/// Passages embedded between two looks at Ctrl-C.
const N_EMBEDDED_AT_ONCE: usize = 16;

/// Runs the command.
pub(crate) fn run(args: &IngestArgs, settings: &Settings, json: bool) -> Result<Code> {
    interrupt::install();
    let paths = absolute(&args.paths)?;
    if let (Some(shard), Some(to)) = (args.shard, &args.to) {
        return shards::make(shard, &paths, to, settings, json);
    }
    if let Some(from) = &args.commit {
        return shards::commit(from, args, settings, json);
    }
    if args.publish_rules {
        let store = house::open(settings, Access::Write)?;
        store.publish_rules().map_err(house::not_stored)?;
        if paths.is_empty() {
            return finish(&take_in(&store, &[])?, json);
        }
    }
    let mut bar = Bar::with_report(args.report.as_deref())?;
    let call = Call::Ingest {
        paths: paths.clone(),
        retry: args.retry,
    };
    let through_server = house::served_with(settings, call, &mut |line| {
        if let EventLine::Ingest(event) = line {
            bar.event(&event.into());
        }
        if interrupt::asked() {
            Wanted::No
        } else {
            Wanted::Yes
        }
    });
    if let Some(outcome) = through_server {
        let outcome = outcome.map_err(|failure| match failure.code {
            Code::Interrupted => {
                Failure::interrupted("stopped waiting; the running server goes on with the files")
            }
            _ => failure,
        });
        let outcome = outcome?;
        return match outcome {
            Outcome::Ingest(report) => {
                bar.end(&report.failed)?;
                finish(&report, json)
            }
            other => Err(house::unexpected(&other)),
        };
    }
    let store = house::open(settings, Access::Write)?;
    if args.retry {
        store.retry_set_aside().map_err(house::not_stored)?;
    }
    let report = take_in_with(&store, &paths, bar)?;
    let code = finish(&report, json)?;
    if !args.no_vectors {
        make_vectors(&store, settings)?;
    }
    say_need(&store)?;
    Ok(code)
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    paths
        .iter()
        .map(|path| {
            std::path::absolute(path)
                .map_err(|error| Failure::misuse(format!("`{}`: {error}", path.display())))
        })
        .collect()
}

/// Takes files and folders in with a progress bar; stops between two files on Ctrl-C.
pub(crate) fn take_in(store: &Store, paths: &[PathBuf]) -> Result<IngestJson> {
    take_in_with(store, paths, Bar::default())
}

fn take_in_with(store: &Store, paths: &[PathBuf], mut bar: Bar) -> Result<IngestJson> {
    let report = store.ingest(paths, &mut |event| bar.go(&event));
    let report = match report {
        Ok(report) => IngestJson::from(&report),
        Err(error) => {
            bar.clear();
            return Err(house::not_stored(error));
        }
    };
    bar.end(&report.failed)?;
    if interrupt::asked() {
        let queued = house::status(store).map_or(0, |status| status.queued);
        return Err(Failure::interrupted(format!(
            "stopped: {} in, {} still queued",
            print::count(report.added + report.changed, "document"),
            print::count(queued, "file")
        ))
        .hint("the same command, or `hanok serve`, goes on with them"));
    }
    resume(store)?;
    Ok(report)
}

/// Goes on with files that an earlier, cut-off ingest left queued.
fn resume(store: &Store) -> Result<()> {
    let queued = house::status(store).map_or(0, |status| status.queued);
    if queued == 0 {
        return Ok(());
    }
    print::stderr_line(&format!(
        "going on with {} of an earlier ingest",
        print::count(queued, "file")
    ));
    let mut bar = Bar::default();
    let report = store.resume(&mut |event| bar.go(&event));
    bar.clear();
    report.map_err(house::not_stored)?;
    interrupt::check("the rest stays queued; the same command, or `hanok serve`, goes on with it")
}

pub(super) fn finish(report: &IngestJson, json: bool) -> Result<Code> {
    for failed in &report.failed {
        print::stderr_line(&format!("not taken in: `{}`: {}", failed.path, failed.reason));
    }
    for warning in &report.warnings {
        print::stderr_line(&format!("note: {warning}"));
    }
    if json {
        print::json(report)?;
    } else {
        print::line(&sentence(report))?;
    }
    let taken = report.added + report.changed + report.unchanged + report.removed + report.moved;
    Ok(if taken == 0 && !report.failed.is_empty() {
        Code::Misuse
    } else {
        Code::Done
    })
}

/// One line about an ingest.
pub(crate) fn sentence(report: &IngestJson) -> String {
    let mut parts = vec![
        format!("{} added", report.added),
        format!("{} changed", report.changed),
        format!("{} unchanged", report.unchanged),
    ];
    if report.moved > 0 {
        parts.push(format!("{} moved", report.moved));
    }
    if report.removed > 0 {
        parts.push(format!("{} removed", report.removed));
    }
    if !report.failed.is_empty() {
        parts.push(format!("{} not taken in", report.failed.len()));
    }
    format!(
        "{} ({}, {}) in {:.1} s",
        parts.join(", "),
        print::count(report.pages, "page"),
        print::count(report.passages, "passage"),
        report.s
    )
}

/// Says that the index was made by another version of this program.
fn say_need(store: &Store) -> Result<()> {
    let need = store.reindex_need(None).map_err(house::not_stored)?;
    if need.is_new_index() {
        print::stderr_line(
            "note: the index was made by another version of this program, or with another dictionary; `hanok knowledge \
             reindex`, or `hanok serve`, makes it anew while the present one answers",
        );
    }
    Ok(())
}

/// Makes the vectors that are still missing, with a bar; searching by words works meanwhile.
pub(crate) fn make_vectors(store: &Store, settings: &Settings) -> Result<()> {
    let Some(embedder) = house::embedder(settings)? else {
        print::stderr_line(
            "note: no embedding model is here, so searching goes by words; `hanok pull` fetches one",
        );
        return Ok(());
    };
    embed_all(store, embedder.as_ref())
}

fn embed_all(store: &Store, embedder: &dyn Embed) -> Result<()> {
    let mut left = match store.embed_pending(embedder, 0) {
        Err(error @ StoreError::OtherEmbedder { .. }) => {
            print::stderr_line(&format!("note: no vectors were made: {}", chain(&error)));
            return Ok(());
        }
        other => other.map_err(house::not_stored)?,
    };
    if left == 0 {
        return Ok(());
    }
    let total = left;
    let bar = Progress::start("making vectors", total as u64, Counts::Items);
    while left > 0 {
        if interrupt::asked() {
            bar.clear();
            return Err(Failure::interrupted(format!(
                "stopped: {} without a vector; they are found by words already",
                print::count(left, "passage")
            ))
            .hint("the same command, or `hanok serve`, goes on with them"));
        }
        let before = left;
        left = store
            .embed_pending(embedder, N_EMBEDDED_AT_ONCE)
            .map_err(house::not_stored)?;
        bar.set((total.saturating_sub(left)) as u64);
        if left >= before {
            break;
        }
    }
    bar.finish(&format!(
        "{} made",
        print::count(total.saturating_sub(left), "vector")
    ));
    Ok(())
}

/// What became of links, folders and whatever else is no file that could be read.
const NOT_LOOKED_AT: FileJson = FileJson {
    stage: StageJson::Find,
    outcome: FileOutcomeJson::Failed,
    pages: 0,
    passages: 0,
    ms: 0,
};

/// One line of a report: a file and what became of it.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    #[serde(flatten)]
    file: FileJson,
    reason: Option<&'a str>,
    s: f64,
    bytes: u64,
}

/// The progress bar of an ingest, started when the plan is known, and its report.
#[derive(Default)]
pub(crate) struct Bar {
    progress: Option<Progress>,
    finished: usize,
    report: Option<Report>,
}

/// A file with a line for each file of an ingest.
struct Report {
    path: PathBuf,
    to: BufWriter<File>,
    /// Paths that have a line and a reason.
    failed: BTreeSet<String>,
    /// Why it could not be written any more.
    broken: Option<std::io::Error>,
}

impl Report {
    fn line(&mut self, line: &Line<'_>) {
        if line.reason.is_some() {
            self.failed.insert(line.path.to_owned());
        }
        let written = serde_json::to_writer(&mut self.to, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.to.write_all(b"\n"));
        if let Err(error) = written {
            self.broken.get_or_insert(error);
        }
    }

    fn finish(mut self) -> Result<()> {
        let flushed = match self.broken.take() {
            Some(error) => Err(error),
            None => self.to.flush(),
        };
        flushed.map_err(|error| {
            Failure::environment(format!(
                "cannot write the report `{}`: {error}",
                self.path.display()
            ))
        })
    }
}

impl Bar {
    /// A bar that also writes a report, where one is asked for.
    fn with_report(path: Option<&Path>) -> Result<Self> {
        let report = path.map(|path| {
            let file = stdx::fs::create(path).map_err(|error| Failure::environment(error.to_string()))?;
            Ok(Report {
                path: path.to_owned(),
                to: BufWriter::new(file),
                failed: BTreeSet::new(),
                broken: None,
            })
        });
        Ok(Self {
            report: report.transpose()?,
            ..Self::default()
        })
    }

    /// Shows an event; says whether to go on.
    pub(crate) fn go(&mut self, event: &IngestEvent) -> Go {
        self.event(event);
        if interrupt::asked() { Go::Stop } else { Go::On }
    }

    fn event(&mut self, event: &IngestEvent) {
        match event {
            IngestEvent::Planned { files, bytes } => {
                let what = format!("reading {}", print::count(*files, "file"));
                self.progress = Some(Progress::start(&what, *bytes, Counts::Bytes));
            }
            IngestEvent::Reading { path } => self.stage("reading", path),
            IngestEvent::Writing { path } => self.stage("writing", path),
            IngestEvent::Waiting { path, .. } => self.stage("waiting for", path),
            IngestEvent::Finished {
                path,
                bytes,
                failed,
                details,
            } => {
                self.finished += 1;
                if let Some(progress) = &self.progress {
                    progress.add(*bytes);
                }
                if let Some(report) = &mut self.report {
                    report.line(&Line {
                        path,
                        file: (*details).into(),
                        reason: failed.as_deref(),
                        s: details.ms as f64 / 1e3,
                        bytes: *bytes,
                    });
                }
            }
        }
    }

    /// What is being done to which file.
    fn stage(&self, doing: &str, path: &str) {
        if let Some(progress) = &self.progress {
            let name = path.rsplit('/').next().unwrap_or(path);
            progress.say(&format!("{doing} {name}"));
        }
    }

    /// Ends the bar and the report; what failed without having been a file of the plan gets its line too.
    pub(crate) fn end(mut self, failed: &[FailedJson]) -> Result<()> {
        if let Some(mut report) = self.report.take() {
            for file in failed
                .iter()
                .filter(|file| !report.failed.contains(&file.path))
                .collect::<Vec<_>>()
            {
                report.line(&Line {
                    path: &file.path,
                    file: NOT_LOOKED_AT,
                    reason: Some(&file.reason),
                    s: 0.0,
                    bytes: 0,
                });
            }
            report.finish()?;
        }
        self.clear();
        Ok(())
    }

    /// Ends the bar.
    pub(crate) fn clear(self) {
        if let Some(progress) = self.progress {
            progress.finish(&format!("{} looked at", print::count(self.finished, "file")));
        }
    }
}
