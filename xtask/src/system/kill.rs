//! `kill -9` of ingest at random moments: after the last one finishes, every document is in exactly once, as if
//! nothing had happened.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stdx::rng::Rng;

use super::{Bench, Hanok};
use crate::test::Outcome;

pub(super) const N_DOCUMENTS: usize = 40;
const N_ROUNDS: usize = 8;
const N_ROUNDS_LONG: usize = 100;
const QUESTIONS: &[&str] = &[
    "archive room key",
    "수수료 지급",
    "fact 7 of report 13",
    "rent of a plot",
];

/// The test; needs no namespace.
pub(super) fn run(bench: &Bench) -> Result<Outcome> {
    let work = super::workplace("kill")?;
    let documents = work.join("documents");
    super::write_documents(&documents)?;
    write_reports(&documents)?;
    // Lexical only: more kills fall into the store, and the vectors have their own tests.
    let hanok = Hanok::new(&bench.hanok, None, &work)?;
    let path = documents.display().to_string();
    let calm = hanok.with_data(work.join("calm"));
    let watch = stdx::clock::Stopwatch::start();
    calm.json_ok(&["ingest", &path])?;
    let whole_ms = watch.ms();

    let killed = hanok.with_data(work.join("killed"));
    let mut rng = Rng::new(20);
    let mut n_killed = 0;
    for _ in 0..if bench.long { N_ROUNDS_LONG } else { N_ROUNDS } {
        let mut child = killed
            .command(&["ingest", &path])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(rng.below(whole_ms.max(20.0) as u64)));
        if child.try_wait()?.is_none() {
            child.kill().context("cannot kill ingest")?;
            n_killed += 1;
        }
        child.wait()?;
    }
    ensure!(
        n_killed > 0,
        "ingest was always faster than the signal: the test proves nothing"
    );
    let last = killed.json_ok(&["ingest", &path])?;
    ensure!(
        last["failed"] == Value::Array(Vec::new()),
        "after {n_killed} kills: {last}"
    );
    let again = killed.json_ok(&["ingest", &path])?;
    ensure!(
        again["unchanged"] == N_DOCUMENTS + 3,
        "after {n_killed} kills: {again}"
    );
    compare(&calm, &killed, n_killed)?;
    println!("  {n_killed} kills, nothing lost, nothing doubled");
    Ok(Outcome::one())
}

/// Both data folders must answer alike: the same documents, the same passages for each question.
pub(super) fn compare(calm: &Hanok, killed: &Hanok, n_killed: usize) -> Result<()> {
    let (expected, found) = (documents(calm)?, documents(killed)?);
    ensure!(
        expected == found,
        "after {n_killed} kills the documents differ: {expected:?} {found:?}"
    );
    for question in QUESTIONS {
        let hits = |hanok: &Hanok| -> Result<Vec<String>> {
            let found = hanok.json_ok(&["search", question, "-k", "50", "--mode", "lexical"])?;
            let hits = found["hits"].as_array().context("`search` prints hits")?;
            let mut hits: Vec<String> = hits
                .iter()
                .map(|h| format!("{} {} {}", h["path"], h["start"], h["end"]))
                .collect();
            hits.sort();
            Ok(hits)
        };
        let (expected, found) = (hits(calm)?, hits(killed)?);
        let unique: BTreeSet<&String> = found.iter().collect();
        ensure!(
            unique.len() == found.len(),
            "after {n_killed} kills `{question}` finds a passage twice: {found:?}"
        );
        ensure!(
            expected.len() == found.len(),
            "after {n_killed} kills `{question}`: {expected:?} {found:?}"
        );
    }
    Ok(())
}

/// Every document's path, one entry each.
fn documents(hanok: &Hanok) -> Result<Vec<String>> {
    let listed = hanok.json_ok(&["documents"])?;
    let documents = listed["documents"]
        .as_array()
        .context("`documents` prints a list")?;
    let mut paths: Vec<String> = documents.iter().map(|d| d["path"].to_string()).collect();
    paths.sort();
    Ok(paths)
}

pub(super) fn write_reports(folder: &Path) -> Result<()> {
    for i in 0..N_DOCUMENTS {
        let mut text = format!("# Report {i}\n");
        for fact in 0..300 {
            text.push_str(&format!(
                "\n## Section {fact}\n\nThis is fact {fact} of report {i}, measured at station {}.\n",
                i * 31 + fact
            ));
        }
        stdx::fs::write(folder.join(format!("report-{i:02}.md")), text)?;
    }
    Ok(())
}
