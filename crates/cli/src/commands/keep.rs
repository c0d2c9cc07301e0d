//! `hanok backup`, `restore`, `verify` and `export`: keeping what is in the store.

use knowledge::{Access, Backup, Store, VerifyReport};
use serde::Serialize;
use server::wire::DocumentTextJson;

use crate::args::{BackupArgs, RestoreArgs, VerifyArgs};
use crate::exit::{Code, Failure, Result};
use crate::settings::Settings;
use crate::{house, print};

#[derive(Serialize)]
struct BackupJson {
    schema: u32,
    path: String,
    files: usize,
    bytes: u64,
    made_ms: i64,
}

impl BackupJson {
    fn of(backup: &Backup, path: &std::path::Path) -> Self {
        Self {
            schema: 1,
            path: path.display().to_string(),
            files: backup.files.len(),
            bytes: backup.bytes(),
            made_ms: backup.made_ms,
        }
    }
}

/// Runs `backup`; a running server goes on meanwhile.
pub(crate) fn backup(args: &BackupArgs, settings: &Settings, json: bool) -> Result<()> {
    let store = house::open(settings, Access::Read)?;
    let made = store.backup(&args.to).map_err(house::not_stored)?;
    say(&BackupJson::of(&made, &args.to), "backed up to", json)
}

/// Runs `restore`.
pub(crate) fn restore(args: &RestoreArgs, settings: &Settings, json: bool) -> Result<()> {
    if settings.store.is_some() {
        return Err(Failure::misuse(
            "a backup is restored into a data directory, and `store` names a database",
        )
        .hint(
            "restore it with `--store embedded`; a database is restored with its own tools (`pg_restore`)",
        ));
    }
    let from = Store::restore(&args.backup, &settings.data_dir).map_err(house::not_stored)?;
    // Opened once for writing: an older layout is brought up to date, the word index made.
    drop(house::open(settings, Access::Write)?);
    say(&BackupJson::of(&from, &settings.data_dir), "restored to", json)
}

fn say(made: &BackupJson, what: &str, json: bool) -> Result<()> {
    if json {
        return print::json(made);
    }
    print::line(&format!(
        "{what} `{}`: {}, {:.1} MB, every byte checked",
        made.path,
        print::count(made.files, "file"),
        made.bytes as f64 / 1e6
    ))
}

#[derive(Serialize)]
struct VerifyJson<'a> {
    schema: u32,
    sound: bool,
    documents: usize,
    passages: usize,
    vectors: usize,
    faults: &'a [String],
    n_faults: usize,
    index_differs: usize,
    vectors_bad: usize,
    graphs_bad: usize,
    mended: bool,
    requeued: usize,
    forgotten: usize,
}

/// Runs `verify`; the exit code is 1 if anything stays wrong.
pub(crate) fn verify(args: &VerifyArgs, settings: &Settings, json: bool) -> Result<Code> {
    let access = if args.mend { Access::Write } else { Access::Read };
    let store = house::open(settings, access)?;
    let report = store.verify(args.mend).map_err(house::not_stored)?;
    if json {
        print::json(&VerifyJson {
            schema: 1,
            sound: report.is_sound(),
            documents: report.documents,
            passages: report.passages,
            vectors: report.vectors,
            faults: &report.faults,
            n_faults: report.n_faults,
            index_differs: report.index_differs,
            vectors_bad: report.vectors_bad,
            graphs_bad: report.graphs_bad,
            mended: report.mended,
            requeued: report.requeued,
            forgotten: report.forgotten,
        })?;
    } else {
        print::line(&in_words(&report))?;
    }
    Ok(if report.is_sound() { Code::Done } else { Code::No })
}

fn in_words(report: &VerifyReport) -> String {
    let mut lines = vec![format!(
        "{}, {}, {} compared",
        print::count(report.documents, "document"),
        print::count(report.passages, "passage"),
        print::count(report.vectors, "vector")
    )];
    lines.extend(report.faults.iter().map(|fault| format!("wrong: {fault}")));
    let more = report.n_faults - report.faults.len();
    if more > 0 {
        lines.push(format!("wrong: {more} more"));
    }
    for (n, what) in [
        (report.index_differs, "the word index differs in"),
        (report.vectors_bad, "of the vectors are damaged"),
        (report.graphs_bad, "files of the vectors' graphs are damaged"),
    ] {
        if n > 0 {
            let mended = if report.mended { ", made again" } else { "" };
            lines.push(format!("{what}: {n}{mended}"));
        }
    }
    if report.forgotten > 0 {
        lines.push(format!(
            "{} of what is only remembered (failed files, refused questions) forgotten",
            print::count(report.forgotten, "damaged row")
        ));
    }
    if report.requeued > 0 {
        lines.push(format!(
            "{} queued to be read again: `hanok ingest` of their folder, or `hanok serve`, does it",
            print::count(report.requeued, "damaged document")
        ));
    }
    lines.push(if report.is_sound() {
        "all is well".to_owned()
    } else if report.n_faults > report.forgotten {
        "restore a backup (`hanok restore`), or remove the documents named and ingest them again".to_owned()
    } else {
        "`hanok verify --mend` makes it right".to_owned()
    });
    lines.join("\n")
}

/// Runs `export`: one JSON object a line for each document that the reader may see, with its whole text.
pub(crate) fn export(settings: &Settings) -> Result<()> {
    let store = house::open(settings, Access::Read)?;
    let view = store.view(&settings.reader).map_err(house::not_stored)?;
    for info in view.documents().map_err(house::not_stored)? {
        let document = view
            .document(&info.document_id, None)
            .map_err(house::not_stored)?;
        // It may have been removed meanwhile.
        if let Some(document) = document {
            let line = serde_json::to_string(&DocumentTextJson::part(&document, 0, usize::MAX));
            print::line(&line.map_err(|error| Failure::environment(error.to_string()))?)?;
        }
    }
    Ok(())
}
