//! The most memory that `ask` holds at once, with the default model: printed, and held below a limit.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Bench, Hanok};
use crate::test::Outcome;

/// Far above what the default models need, far below a small machine's memory.
const PEAK_BYTES_MAX: u64 = 2 << 30;

/// The test.
pub(super) fn run(bench: &Bench) -> Result<Outcome> {
    let Some(models) = &bench.models else {
        return Ok(Outcome::skip("memory: there are no models"));
    };
    let work = super::workplace("memory")?;
    super::write_documents(&work.join("documents"))?;
    let hanok = Hanok::new(&bench.hanok, Some(models), &work)?;
    hanok.json_ok(&["ingest", &work.join("documents").display().to_string()])?;
    let watch = stdx::clock::Stopwatch::start();
    let mut child = hanok
        .command(&["ask", "Who keeps the key to the archive room?", "--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut peak = 0;
    let status = loop {
        peak = peak.max(high_water_bytes(child.id()));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    println!(
        "  ask: peak memory {:.0} MB, {:.2} s",
        peak as f64 / 1e6,
        watch.s()
    );
    ensure!(status.success(), "`hanok ask` ended with {status}");
    ensure!(peak > 0 && peak < PEAK_BYTES_MAX, "`hanok ask` held {peak} bytes");
    Ok(Outcome::one())
}

/// The kernel's high-water mark of a process's resident memory; 0 once it is gone.
fn high_water_bytes(id: u32) -> u64 {
    let status = stdx::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0) * 1024
}
