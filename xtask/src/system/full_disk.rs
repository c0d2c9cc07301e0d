//! A full disk: ingest stops with a clear message, questions go on, and once there is room ingest finishes what
//! was left, nothing lost and nothing twice.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use stdx::rng::Rng;

use super::{Bench, Hanok};
use crate::shell;
use crate::test::Outcome;

/// Room on the data disk at first, and after making room.
const SMALL: &str = "size=12m";
const LARGE: &str = "size=512m";
/// Documents of about 100 kB: together far more than the small disk holds.
const N_DOCUMENTS: usize = 120;
const N_WORDS: usize = 14_000;
/// Exit code of a bug.
const BUG: i32 = 70;

/// Writes the documents and enters a mount namespace.
pub(super) fn outside(bench: &Bench) -> Result<Outcome> {
    let work = super::workplace("full-disk")?;
    super::write_documents(&work.join("first"))?;
    stdx::fs::create_dir_all(work.join("many"))?;
    let mut rng = Rng::new(4);
    for i in 0..N_DOCUMENTS {
        let mut text = format!("Report {i}\n\n");
        for n in 0..N_WORDS {
            text.push_str(&format!("w{:05}", rng.below(60_000)));
            text.push(if n % 12 == 11 { '\n' } else { ' ' });
        }
        stdx::fs::write(work.join(format!("many/{i:03}.txt")), text)?;
    }
    // Vectors would only make this slower: the disk is what is tested.
    super::enter(
        "-rm",
        "full-disk",
        &Bench {
            models: None,
            ..bench.clone()
        },
        &work,
    )
}

/// The test itself, with the right to mount.
pub(super) fn inside(hanok: &Hanok) -> Result<()> {
    stdx::fs::create_dir_all(&hanok.data)?;
    let mount = |options: &str| {
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&hanok.data);
        shell::capture(&mut command).map(|_| ())
    };
    mount(SMALL)?;
    let folder = |name: &str| hanok.work.join(name).display().to_string();
    hanok.json_ok(&["ingest", &folder("first")])?;
    fill(hanok, &folder("many"))?;
    let answer = hanok.json_ok(&["ask", "Who keeps the key to the archive room?", "--extractive"])?;
    ensure!(
        answer["citations"].to_string().contains("Halvorsen"),
        "ask on a full disk: {answer}"
    );
    println!("ask: answers on the full disk");
    mount(&format!("remount,{LARGE}"))?;
    let done = hanok.json_ok(&["ingest", &folder("many")])?;
    let count = |key: &str| done[key].as_u64().unwrap_or_default();
    ensure!(
        done["failed"] == Value::Array(Vec::new()),
        "after making room: {}",
        done["failed"]
    );
    let all = count("added") + count("changed") + count("unchanged");
    ensure!(
        all == N_DOCUMENTS as u64,
        "after making room {all} of {N_DOCUMENTS} are in: {done}"
    );
    println!(
        "ingest: {} were in, {} resumed",
        count("unchanged"),
        count("added")
    );
    let again = hanok.json_ok(&["ingest", &folder("many")])?;
    ensure!(
        again["unchanged"] == N_DOCUMENTS,
        "the second time something changed: {again}"
    );
    let answer = hanok.json_ok(&["ask", "Who keeps the key to the archive room?", "--extractive"])?;
    ensure!(
        answer["citations"].to_string().contains("Halvorsen"),
        "ask after making room: {answer}"
    );
    Ok(())
}

/// Ingests until the disk is full; the message must say so.
fn fill(hanok: &Hanok, folder: &str) -> Result<()> {
    let output = shell::output(&mut hanok.command(&["ingest", folder, "--json"]))?;
    let code = output
        .status
        .code()
        .context("ingest was killed by a signal on a full disk")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).to_lowercase();
    ensure!(
        code != BUG && !said.contains("panicked"),
        "ingest on a full disk ended with {code}: {said}"
    );
    let clear = ["disk is full", "no space left", "no room", "full disk"];
    if !clear.iter().any(|words| said.contains(words)) {
        bail!("ingest on a full disk ended with {code} and does not say that the disk is full: {said}");
    }
    println!("ingest: ended with {code} on the full disk and says why");
    Ok(())
}
