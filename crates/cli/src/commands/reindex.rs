//! `hanok knowledge reindex`: a new index beside the present one, where that was made otherwise than it would be now.

use std::sync::Arc;

use assistant::Wanted;
use knowledge::{Access, Embed, Go, ReindexNeed, Store};
use serde::Serialize;
use server::local::{Call, EventLine, Outcome};
use server::wire::{ReindexEventJson, ReindexJson, ReindexProgressJson, ReindexStageJson};

use crate::args::ReindexArgs;
use crate::exit::{Code, Failure, OrFail, Result};
use crate::print::{self, Counts, Progress};
use crate::settings::{Settings, Source};
use crate::{house, interrupt};

#[derive(Serialize)]
struct NeedJson {
    schema: u32,
    words: bool,
    passages: bool,
    vectors: bool,
    leftovers: bool,
    bytes: u64,
    free: u64,
}

/// Runs the command; with `--check` the exit code is 1 if a new index is needed.
pub(crate) fn run(args: &ReindexArgs, settings: &Settings, json: bool) -> Result<Code> {
    if args.check {
        return check(settings, json);
    }
    interrupt::install();
    let mut bar = Bar::default();
    let report = match through_server(settings, &mut bar)? {
        Some(report) => report,
        None => here(settings, &mut bar)?,
    };
    bar.end();
    if json {
        print::json(&report)?;
    } else {
        print::line(&sentence(&report))?;
    }
    Ok(Code::Done)
}

fn check(settings: &Settings, json: bool) -> Result<Code> {
    let store = house::open(settings, Access::Read)?;
    let embedder = house::embedder(settings)?;
    let need = need(&store, embedder.as_deref())?;
    let free = stdx::fs::free_bytes(store.dir()).or_environment()?;
    if json {
        print::json(&NeedJson {
            schema: 1,
            words: need.words,
            passages: need.passages,
            vectors: need.vectors,
            leftovers: need.leftovers,
            bytes: need.bytes,
            free,
        })?;
    } else if need.is_new_index() {
        print::line(&format!("{}; {} are free", in_words(&need), print::bytes(free)))?;
    } else {
        print::line("the index is as it would be made now")?;
    }
    Ok(if need.is_new_index() { Code::No } else { Code::Done })
}

fn need(store: &Store, embedder: Option<&dyn Embed>) -> Result<ReindexNeed> {
    store.reindex_need(embedder).map_err(house::not_stored)
}

fn in_words(need: &ReindexNeed) -> String {
    let parts: Vec<&str> = [
        (need.passages, "passages"),
        (need.words, "words"),
        (need.vectors || need.passages, "vectors"),
    ]
    .into_iter()
    .filter_map(|(is_needed, what)| is_needed.then_some(what))
    .collect();
    format!(
        "to be made anew: {}; that takes about {} beside the present index",
        parts.join(", "),
        print::bytes(need.bytes)
    )
}

/// In the server that runs on the data directory, if one does: it goes on when this command is interrupted.
fn through_server(settings: &Settings, bar: &mut Bar) -> Result<Option<ReindexJson>> {
    let named = settings.source("embedder") == Source::Flag;
    let embedder = if named { house::embedder(settings)? } else { None };
    let call = Call::Reindex {
        embedder: embedder.map(|embedder| embedder.id().sha256),
    };
    let outcome = house::served_with(settings, call, &mut |line| {
        if let EventLine::Reindex(ReindexEventJson::Reindex(progress)) = line {
            bar.show(&progress);
        }
        if interrupt::asked() {
            Wanted::No
        } else {
            Wanted::Yes
        }
    });
    let Some(outcome) = outcome else {
        return Ok(None);
    };
    let outcome = outcome.map_err(|failure| match failure.code {
        Code::Interrupted => {
            Failure::interrupted("stopped waiting; the running server goes on with the new index")
        }
        _ => failure,
    })?;
    match outcome {
        Outcome::Reindex(report) => Ok(Some(report)),
        other => Err(house::unexpected(&other)),
    }
}

fn here(settings: &Settings, bar: &mut Bar) -> Result<ReindexJson> {
    let store = Arc::new(house::open(settings, Access::Write)?);
    let embedder = house::embedder(settings)?;
    let embedder = embedder.as_deref();
    let need = need(&store, embedder)?;
    if need.is_new_index() {
        print::stderr_line(&in_words(&need));
    }
    let report = store
        .reindex(embedder, &mut |progress| {
            bar.show(&progress.into());
            if interrupt::asked() { Go::Stop } else { Go::On }
        })
        .map_err(house::not_stored)?;
    if report.stopped {
        return Err(
            Failure::interrupted("stopped; the present index answers as before").hint(
                "the same command, or `hanok serve`, goes on where it was; a command with the settings that made the \
                 present index gives it up",
            ),
        );
    }
    if let Some(embedder) = embedder.filter(|_| report.vectors) {
        // What came in the last moment.
        store
            .embed_pending(embedder, usize::MAX)
            .map_err(house::not_stored)?;
    }
    Ok((&report).into())
}

fn sentence(report: &ReindexJson) -> String {
    if !report.words && !report.vectors {
        return "the index is as it would be made now; nothing was done".to_owned();
    }
    let parts: Vec<&str> = [
        (report.passages, "passages"),
        (report.words, "words"),
        (report.vectors, "vectors"),
    ]
    .into_iter()
    .filter_map(|(is_made, what)| is_made.then_some(what))
    .collect();
    let mut text = format!(
        "a new index answers: {} made anew in {:.1} s",
        parts.join(", "),
        report.s
    );
    if report.kept > 0 {
        let kept = print::count(report.kept, "document");
        text.push_str(&format!(
            "; {kept} could not be cut anew (taken in by an earlier version, and the file is gone or another) and \
             stay as they were until their files are taken in again"
        ));
    }
    text
}

/// A bar for each stage.
#[derive(Default)]
struct Bar(Option<(ReindexStageJson, Progress)>);

impl Bar {
    fn show(&mut self, progress: &ReindexProgressJson) {
        if self.0.as_ref().is_none_or(|(stage, _)| *stage != progress.stage) {
            self.end();
            let what = match progress.stage {
                ReindexStageJson::Passages => "cutting documents",
                ReindexStageJson::Words => "indexing words",
                ReindexStageJson::Vectors => "making vectors",
                ReindexStageJson::Clearing => "clearing the old index away",
            };
            let bar = Progress::start(what, progress.total as u64, Counts::Items);
            self.0 = Some((progress.stage, bar));
        }
        if let Some((_, bar)) = &self.0 {
            bar.set_total(progress.total as u64);
            bar.set(progress.done as u64);
        }
    }

    fn end(&mut self) {
        if let Some((_, bar)) = self.0.take() {
            bar.finish("done");
        }
    }
}
