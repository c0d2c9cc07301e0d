//! `hanok demo`: models, documents, three answers, the page. The second time nothing is fetched or indexed again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use assistant::Assistant;
use knowledge::Store;
use serde::Serialize;
use server::local::Client;
use server::wire::{AsOfJson, AskJson, IngestJson};
use stdx::clock::Stopwatch;
use stdx::fs;

use super::{ask, ingest, serve};
use crate::args::DemoArgs;
use crate::demo::{QUESTIONS, gather};
use crate::exit::{Code, Failure, OrFail, Result};
use crate::house::{self, House, Question};
use crate::models::Finder;
use crate::settings::Settings;
use crate::{interrupt, print, pull};

#[derive(Serialize)]
struct DemoJson {
    schema: u32,
    data_dir: PathBuf,
    documents_dir: PathBuf,
    missing: Vec<String>,
    /// Null when everything was indexed already.
    ingest: Option<IngestJson>,
    answers: Vec<AnswerJson>,
    ms: MsJson,
}

#[derive(Serialize)]
struct AnswerJson {
    question: &'static str,
    first_ms: f64,
    answer: AskJson,
}

/// Milliseconds since the command started.
#[derive(Serialize)]
struct MsJson {
    prepared: f64,
    first_sentence: f64,
    total: f64,
}

/// Runs the command.
pub(crate) fn run(args: &DemoArgs, settings: &Settings, json: bool) -> Result<()> {
    if let Some(into) = &args.documents_into {
        return gather_only(into, json);
    }
    let clock = Stopwatch::start();
    interrupt::install();
    let documents_dir = settings.data_dir.join("demo-documents");
    let demo = Settings {
        data_dir: settings.data_dir.join("demo"),
        // What the house keeps elsewhere has no place among the demo's documents.
        sources: Vec::new(),
        ..settings.clone()
    };
    models(settings, json)?;
    let gathered = gather(&documents_dir)?;
    gathered.say();
    let mut prepared = prepare(&demo, &documents_dir, gathered.changed)?;
    let prepared_ms = clock.ms();
    let answers = answers(&prepared.house, json)?;
    if json {
        print::json(&DemoJson {
            schema: 1,
            data_dir: demo.data_dir.clone(),
            documents_dir,
            missing: gathered.missing,
            ingest: prepared.report.take(),
            ms: MsJson {
                prepared: prepared_ms,
                first_sentence: prepared_ms + answers.first().map_or(0.0, |answer| answer.first_ms),
                total: clock.ms(),
            },
            answers,
        })?;
    } else {
        follow_up(&demo.data_dir)?;
    }
    match prepared.house {
        House::Own(assistant, _) if !args.no_serve => serve_on(&demo, &assistant, json),
        _ => Ok(()),
    }
}

#[derive(Serialize)]
struct DocumentsJson<'a> {
    schema: u32,
    documents_dir: &'a Path,
    missing: &'a [String],
}

fn gather_only(into: &Path, json: bool) -> Result<()> {
    interrupt::install();
    let gathered = gather(into)?;
    gathered.say();
    gathered.complete()?;
    if json {
        return print::json(&DocumentsJson {
            schema: 1,
            documents_dir: into,
            missing: &gathered.missing,
        });
    }
    print::line(&format!("the demo documents are in {}", into.display()))
}

/// Fetches the default models that are nowhere on this machine; without them the demo quotes.
fn models(settings: &Settings, json: bool) -> Result<()> {
    let finder = Finder::new(settings);
    for entry in pull::defaults() {
        if finder.file(&entry.file).is_some() {
            continue;
        }
        match pull::pull(entry, settings) {
            Ok(pulled) if json => print::stderr_line(&super::pull::sentence(&pulled)),
            Ok(pulled) => print::line(&super::pull::sentence(&pulled))?,
            Err(failure) if failure.code == Code::Interrupted => return Err(failure),
            Err(failure) => {
                let hint = failure.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                print::stderr_line(&format!(
                    "going on without `{}`: {}{hint}",
                    entry.name, failure.message
                ));
            }
        }
    }
    Ok(())
}

struct PreparedHouse {
    house: House,
    report: Option<IngestJson>,
}

/// Opens the demo's store, takes the documents in unless they are in already, and loads the model.
fn prepare(demo: &Settings, documents: &Path, changed: bool) -> Result<PreparedHouse> {
    if Client::connect(&demo.data_dir).is_some() {
        print::stderr_line("a server already runs on the demo's documents; asking it");
        return Ok(PreparedHouse {
            house: House::Served(demo.data_dir.clone(), demo.reader.clone()),
            report: None,
        });
    }
    let store = serve::open_store(demo)?;
    let stamp = demo.data_dir.join("demo.stamp");
    let listing = listing(documents)?;
    let indexed = !changed && fs::read_to_string(&stamp).is_ok_and(|old| old == listing) && is_whole(&store);
    let report = if indexed {
        None
    } else {
        let report = ingest::take_in(&store, &[documents.to_owned()])?;
        print::stderr_line(&format!("demo documents: {}", ingest::sentence(&report)));
        for failed in &report.failed {
            print::stderr_line(&format!("not taken in: `{}`: {}", failed.path, failed.reason));
        }
        if report.failed.is_empty() {
            fs::write_atomic(&stamp, listing).or_environment()?;
        }
        Some(report)
    };
    let assistant = house::assistant(demo, store, false)?;
    Ok(PreparedHouse {
        house: House::Own(Box::new(assistant), demo.reader.clone()),
        report,
    })
}

fn is_whole(store: &Store) -> bool {
    house::status(store).is_ok_and(|status| status.documents > 0 && status.queued == 0)
}

/// Every file with its size and time stamp: what changed is seen without reading it.
fn listing(documents: &Path) -> Result<String> {
    const DEPTH_MAX: usize = 6;
    fn walk(folder: &Path, depth: usize, lines: &mut String) -> Result<()> {
        use std::fmt::Write as _;
        for path in fs::read_dir(folder).or_environment()? {
            if path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
            {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).or_environment()?;
            if metadata.is_dir() && depth > 0 {
                walk(&path, depth - 1, lines)?;
            } else {
                let (bytes, ms) = crate::models::size_and_time(&path).unwrap_or_default();
                let _ = writeln!(lines, "{} {bytes} {ms}", path.display());
            }
        }
        Ok(())
    }
    let mut lines = String::new();
    walk(documents, DEPTH_MAX, &mut lines)?;
    Ok(lines)
}

fn answers(house: &House, json: bool) -> Result<Vec<AnswerJson>> {
    let mut answers = Vec::new();
    for (i, prepared) in QUESTIONS.iter().enumerate() {
        interrupt::check("the documents are in; the same command goes on")?;
        if !json {
            let rule = "─".repeat(78);
            print::line(&format!(
                "\n{rule}\n{}. {} ({})\n",
                i + 1,
                prepared.question,
                prepared.shows
            ))?;
        }
        let question = Question {
            text: prepared.question.to_owned(),
            history: Vec::new(),
            extractive: false,
            as_of: AsOfJson::default(),
        };
        let printed = ask::answer(house, question, !json)?;
        answers.push(AnswerJson {
            question: prepared.question,
            first_ms: printed.first_ms,
            answer: printed.answer,
        });
    }
    Ok(answers)
}

fn follow_up(data_dir: &Path) -> Result<()> {
    let dir = data_dir.display();
    let program = std::env::args_os().next().unwrap_or_else(|| "hanok".into());
    let program = program.to_string_lossy();
    print::line(&format!(
        "{}\nThe demo keeps its documents and index in {dir}. Go on with\n  {program} ask --data-dir '{dir}' \"…\"\n  \
         {program} chat --data-dir '{dir}'\nand take in your own with\n  {program} ingest FOLDER\n",
        "─".repeat(78)
    ))
}

/// Serves the page; vectors are made in the background from now on.
fn serve_on(demo: &Settings, answered: &Assistant, json: bool) -> Result<()> {
    let assistant = Assistant::new(
        Arc::clone(answered.store()),
        answered.engine().cloned(),
        match answered.embedder() {
            Some(embedder) => Some(Arc::clone(embedder)),
            None => house::embedder(demo)?,
        },
    );
    interrupt::check("the answers stand; `hanok demo` serves the page again")?;
    interrupt::hand_over();
    serve::serve(demo, Arc::new(assistant), serve::Say::after_result(json)).map_err(|failure| {
        match failure.code {
            Code::Environment => Failure::environment(format!(
                "the answers stand, but the page cannot be served: {failure}"
            ))
            .hint("`--no-serve` ends the demo after the answers"),
            _ => failure,
        }
    })
}
