//! `cargo xtask test`: everything that must hold before a change is accepted, each step with its time, and a
//! last line that counts.
//!
//! Not the tests themselves: those stand in the crates, in `tidy`, `walls`, `licences`, `parity` and `system`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use stdx::clock::Stopwatch;

use crate::{dist, licences, parity_step, shell, system, tidy, walls};

/// Lines of a failed step's log that are shown; the whole log is kept.
const SHOWN_LINES: usize = 150;

/// Programs that tests start, and the Debian package each comes from.
const TOOLS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("chromedriver", "chromium-driver"),
    ("chromium", "chromium"),
    ("git", "git"),
    ("ip", "iproute2"),
    ("pip3", "python3-pip"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("strace", "strace"),
    ("strip", "binutils"),
    ("tar", "tar"),
    ("tesseract", "tesseract-ocr"),
    ("unshare", "util-linux"),
];

/// Files that tests need, and the Debian package each comes from: a Korean font to print with, data to read it again.
const FILES: &[(&str, &str)] = &[
    ("/usr/share/fonts/truetype/nanum/NanumMyeongjo.ttf", "fonts-nanum"),
    (
        "/usr/share/tesseract-ocr/5/tessdata/kor.traineddata",
        "tesseract-ocr-kor",
    ),
];

/// What running the kernels of another processor needs, and the Debian package each comes from.
const AARCH64_TOOLS: &[(&str, &str)] = &[
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("qemu-aarch64-static", "qemu-user-static"),
];
/// The C library to link with, by a file of it.
const AARCH64_LIBC: (&str, &str) = ("/usr/aarch64-linux-gnu/lib/crti.o", "libc6-dev-arm64-cross");
const AARCH64: &str = "aarch64-unknown-linux-gnu";
/// Processors to emulate: one with the dot product, one without, and the kernels that must be in force on each.
const AARCH64_CPUS: [(&str, &str, &str); 2] = [
    ("aarch64-max", "max", "neondot"),
    ("aarch64-cortex-a72", "cortex-a72", "scalar"),
];

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also fuzz, kill and compare at length (an hour and more); the log is kept
    #[arg(long)]
    long: bool,
    /// Install nothing, fetch nothing: what is missing is reported
    #[arg(long)]
    no_install: bool,
}

/// What a step found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// One line each, without the word SKIPPED.
    pub(crate) skipped: Vec<String>,
}

impl Outcome {
    /// One check that held.
    pub(crate) fn one() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    /// One check that could not be made here.
    pub(crate) fn skip(reason: impl Into<String>) -> Self {
        Self {
            skipped: vec![reason.into()],
            ..Self::default()
        }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }
}

/// The whole run: where logs go, what the tests are told, what was found so far.
struct Run {
    logs: PathBuf,
    total: Outcome,
    environment: Vec<(&'static str, PathBuf)>,
    long: bool,
    install: bool,
}

/// Runs every step, also after a failed one; returns whether all held.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let watch = Stopwatch::start();
    let logs = target_dir().join("test-logs");
    stdx::fs::create_dir_all(&logs)?;
    let mut run = Run {
        logs,
        total: Outcome::default(),
        environment: Vec::new(),
        long: options.long,
        install: !options.no_install,
    };
    if !options.no_install {
        run.step("tools", install_tools);
    }
    run.step("build", || build_release().map(|_| Outcome::one()));
    run.find_data();
    run.find_models(options.no_install);
    run.rust_steps();
    run.aarch64(options.no_install);
    run.step("walls", || walls::run().map(|()| Outcome::one()));
    run.step("tidy", || tidy::run().map(|()| Outcome::one()));
    run.step("licences", || licences::run().map(|()| Outcome::one()));
    run.parity_and_system();
    if options.long {
        run.long_steps();
    }
    run.finish(&watch)
}

/// Cargo's target folder.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from)
}

/// Builds the program as it ships and says where it stands.
pub(crate) fn build_release() -> Result<PathBuf> {
    shell::capture(shell::cargo().args(["build", "--release", "--locked", "-p", "hanok"]))?;
    Ok(target_dir().join("release/hanok"))
}

fn install_tools() -> Result<Outcome> {
    let mut packages = missing(TOOLS);
    let files = FILES.iter().filter(|(file, _)| !Path::new(file).is_file());
    packages.extend(files.map(|(_, package)| *package));
    shell::apt_install(&packages)?;
    shell::apt_lists()?;
    system::package(testkit::postgres::PACKAGE, true)?;
    Ok(Outcome::one())
}

/// Packages of those programs that are not here.
fn missing(tools: &[(&str, &'static str)]) -> Vec<&'static str> {
    let missing = tools
        .iter()
        .filter(|(program, _)| shell::which(program).is_none());
    missing.map(|(_, package)| *package).collect()
}

/// Compiler, linker and emulator for aarch64; the error says what is missing.
fn prepare_aarch64(no_install: bool) -> Result<()> {
    let missing = || {
        let mut packages = missing(AARCH64_TOOLS);
        if !Path::new(AARCH64_LIBC.0).is_file() {
            packages.push(AARCH64_LIBC.1);
        }
        packages
    };
    if !no_install {
        shell::apt_install(&missing())?;
        shell::capture(Command::new("rustup").args(["target", "add", AARCH64]))?;
    }
    let missing = missing();
    if missing.is_empty() {
        Ok(())
    } else {
        bail!("{} not installed", missing.join(" and "))
    }
}

impl Run {
    /// Runs one step, prints its line, keeps its count; an error is one failure and does not end the run.
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) {
        let watch = Stopwatch::start();
        println!("{name} …");
        let outcome = work().unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            Outcome {
                failed: 1,
                ..Outcome::default()
            }
        });
        let verdict = if outcome.failed == 0 { "ok" } else { "FAILED" };
        println!("{name}: {verdict}, {:.1} s", watch.s());
        self.total.add(outcome);
    }

    /// Like [`Run::step`], for a command whose output goes to a log and is read by `count` afterwards.
    fn logged(&mut self, name: &str, mut command: Command, count: impl Fn(&str) -> Outcome) {
        command.envs(self.environment.iter().map(|(key, value)| (*key, value)));
        let log = self.logs.join(format!("{name}.log"));
        self.step(name, || run_logged(&mut command, &log, count));
    }

    /// Shared data beside the repository, unless the caller has named it already.
    fn find_data(&mut self) {
        let beside = shell::root().join("../shared");
        if std::env::var_os("HANOK_TEST_DATA").is_some() {
            return;
        }
        match stdx::fs::canonicalize(&beside) {
            Ok(folder) if folder.is_dir() => self.environment.push(("HANOK_TEST_DATA", folder)),
            _ => self
                .total
                .skipped
                .push("tests on shared data: there is no folder ../shared".to_owned()),
        }
    }

    /// The test models, fetched by the program under test itself.
    fn find_models(&mut self, no_install: bool) {
        let folder = models_dir();
        if no_install && !folder.exists() {
            let reason = "tests with models: none are here and --no-install forbids fetching them";
            self.total.skipped.push(reason.to_owned());
            return;
        }
        if !no_install {
            // Costs nothing where they are already; checks their hashes and records where they came from.
            let mut pull = Command::new(target_dir().join("release/hanok"));
            pull.arg("--models-dir").arg(&folder);
            pull.args(["pull", "smollm2", "e5", "reranker-en"]);
            self.logged("models", pull, |_| Outcome::one());
        }
        self.environment.push(("HANOK_TEST_MODELS", folder));
    }

    fn rust_steps(&mut self) {
        self.logged("fmt", cargo(&["fmt", "--all", "--check"]), |_| Outcome::one());
        let bench = ["fmt", "--manifest-path", "bench/Cargo.toml", "--check"];
        self.logged("fmt-bench", cargo(&bench), |_| Outcome::one());
        let clippy = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        self.logged("clippy", cargo(&clippy), |_| Outcome::one());
        let mut tests = if shell::which("cargo-nextest").is_some() {
            let show = [
                "--success-output",
                "immediate",
                "--no-fail-fast",
                "--color",
                "never",
            ];
            let mut command = cargo(&["nextest", "run", "--workspace", "--locked"]);
            command.args(show);
            command
        } else {
            let kinds = [
                "--lib",
                "--bins",
                "--tests",
                "--no-fail-fast",
                "--",
                "--show-output",
            ];
            let mut command = cargo(&["test", "--workspace", "--locked"]);
            command.args(kinds);
            command
        };
        if self.long {
            tests.env("HANOK_TEST_LONG", "1").env("PROPTEST_CASES", "20000");
        }
        self.logged("tests", tests, count_tests);
        self.logged(
            "doctests",
            cargo(&["test", "--workspace", "--locked", "--doc"]),
            count_tests,
        );
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        doc.env("RUSTDOCFLAGS", "-D warnings");
        self.logged("doc", doc, |_| Outcome::one());
    }

    /// The kernels of aarch64 against the scalar reference, under emulation where this machine is another.
    fn aarch64(&mut self, no_install: bool) {
        if cfg!(target_arch = "aarch64") {
            return;
        }
        if let Err(error) = prepare_aarch64(no_install) {
            return self.total.skipped.push(format!("kernels of aarch64: {error:#}"));
        }
        for (name, cpu, kernels) in AARCH64_CPUS {
            let mut tests = cargo(&["test", "--locked", "-p", "compute", "--lib", "--target", AARCH64]);
            tests
                .args(["--", "--show-output"])
                .env(
                    "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
                    "aarch64-linux-gnu-gcc",
                )
                .env(
                    "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
                    format!("qemu-aarch64-static -cpu {cpu} -L /usr/aarch64-linux-gnu"),
                );
            // Emulated code takes ten times as long.
            if !self.long {
                tests.env("PROPTEST_CASES", "24");
            }
            self.logged(name, tests, |log| count_with_kernels(log, kernels));
        }
    }

    fn parity_and_system(&mut self) {
        self.step("parity", parity_step::run);
        let hanok = target_dir().join("release/hanok");
        if !hanok.is_file() {
            self.total.failed += 1;
            println!("system: FAILED, there is no release build to test");
            return;
        }
        let folder = target_dir().join("test-dist");
        let models = models_dir();
        let has_models = models.is_dir();
        let mut archive = None;
        if has_models {
            self.step("dist", || {
                archive = Some(dist::build(&hanok, &models, &folder)?);
                Ok(Outcome::one())
            });
        } else {
            self.total
                .skipped
                .push("dist and its test: there are no models to pack".to_owned());
        }
        let bench = system::Bench {
            hanok,
            models: has_models.then_some(models),
            archive,
            long: self.long,
            install: self.install,
        };
        for (name, test) in system::TESTS {
            self.step(name, || test(&bench));
        }
    }

    fn long_steps(&mut self) {
        self.step("fuzz", fuzz);
        let convert = crate::bench::Convert::default();
        self.step("convert", || {
            crate::bench::convert(&convert).map(|()| Outcome::one())
        });
        let whole = crate::bench::Engine::whole(self.logs.join("engine.json"));
        self.step("bench", || crate::bench::engine(&whole).map(|()| Outcome::one()));
    }

    fn finish(self, watch: &Stopwatch) -> Result<bool> {
        let mut skipped = self.total.skipped;
        skipped.sort();
        skipped.dedup();
        println!("\nlogs: {}; {:.0} s in all", self.logs.display(), watch.s());
        for reason in &skipped {
            println!("SKIPPED: {reason}");
        }
        let failed = self.total.failed;
        println!("{} passed, {failed} failed", self.total.passed);
        Ok(failed == 0)
    }
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = shell::cargo();
    command.args(arguments);
    command
}

/// Where the test models lie: as the caller says, else in the target folder.
pub(crate) fn models_dir() -> PathBuf {
    std::env::var_os("HANOK_TEST_MODELS").map_or_else(|| target_dir().join("test-models"), PathBuf::from)
}

fn run_logged(command: &mut Command, log: &Path, count: impl Fn(&str) -> Outcome) -> Result<Outcome> {
    let file = stdx::fs::create(log)?;
    let shown = shell::shown(command);
    let status = command
        .stdin(std::process::Stdio::null())
        .stdout(
            file.try_clone()
                .context("cannot share the log between two streams")?,
        )
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let text = String::from_utf8_lossy(&stdx::fs::read(log)?).into_owned();
    let mut outcome = count(&text);
    if status.success() {
        if outcome.failed > 0 {
            bail!(
                "`{shown}` succeeded but its log counts {} failures",
                outcome.failed
            );
        }
        return Ok(outcome);
    }
    let lines: Vec<&str> = text.lines().collect();
    println!("{}", lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"));
    println!("`{shown}` ended with {status}; the whole log: {}", log.display());
    if outcome.failed == 0 {
        outcome = Outcome {
            failed: 1,
            ..Outcome::default()
        };
    }
    Ok(outcome)
}

/// Counts passed, failed and skipped tests in the output of nextest or of cargo's own runner.
fn count_tests(log: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for line in log.lines() {
        if let Some((_, reason)) = line.split_once("SKIPPED: ") {
            outcome.skipped.push(reason.trim().to_owned());
        }
        let nextest = line.trim_start().starts_with("Summary [");
        // nextest shows each test's own libtest lines too; only cargo's runner begins a line with them.
        let libtest = line.starts_with("test result:") && !log.contains("Nextest run ID");
        if nextest || libtest {
            outcome.passed += number_before(line, "passed");
            outcome.failed += number_before(line, "failed") + number_before(line, "timed out");
        }
    }
    outcome
}

/// Like [`count_tests`], and a failure unless a test said that `kernels` are in force: a level that goes undetected
/// would leave the scalar kernels to be compared with themselves.
fn count_with_kernels(log: &str, kernels: &str) -> Outcome {
    let mut outcome = count_tests(log);
    let said = format!("kernels in force: {kernels}");
    if !log.lines().any(|line| line == said) {
        println!("no test said `{said}`");
        outcome.failed += 1;
    }
    outcome
}

/// The number in front of `word`, 0 without one.
fn number_before(line: &str, word: &str) -> usize {
    let Some(at) = line.find(word) else { return 0 };
    line[..at]
        .split_whitespace()
        .next_back()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Ten minutes of each fuzz target, where the nightly toolchain and cargo-fuzz are.
fn fuzz() -> Result<Outcome> {
    let folder = shell::root().join("fuzz");
    if !folder.join("Cargo.toml").is_file() {
        return Ok(Outcome::skip("fuzzing: there is no fuzz/Cargo.toml"));
    }
    let nightly = shell::cargo()
        .args(["+nightly", "fuzz", "--version"])
        .output()
        .is_ok_and(|o| o.status.success());
    if !nightly {
        return Ok(Outcome::skip(
            "fuzzing: needs the nightly toolchain and cargo-fuzz",
        ));
    }
    // Valid documents to begin with.
    let seeds = ["run", "--manifest-path", "Cargo.toml", "--example", "seeds"];
    shell::run(shell::cargo().args(seeds).current_dir(&folder))?;
    let targets = shell::capture(shell::cargo().args(["+nightly", "fuzz", "list"]))?;
    let mut outcome = Outcome::default();
    for target in targets.split_whitespace() {
        shell::run(shell::cargo().args(["+nightly", "fuzz", "run", target, "--", "-max_total_time=600"]))?;
        outcome.passed += 1;
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_nextest_prints() {
        let log = " Nextest run ID 1\ntest result: ok. 1 passed; 0 failed; 0 ignored\nSKIPPED: no model\n\
                   Summary [  12.300s] 14 tests run: 11 passed (1 slow), 3 failed, 2 skipped\n";
        let expected = Outcome {
            passed: 11,
            failed: 3,
            skipped: vec!["no model".to_owned()],
        };
        assert_eq!(count_tests(log), expected);
    }

    #[test]
    fn counts_what_cargo_prints() {
        let log = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured\ntest result: FAILED. 2 passed; 1 failed; 0 ignored\n";
        assert_eq!(
            count_tests(log),
            Outcome {
                passed: 5,
                failed: 1,
                skipped: Vec::new()
            }
        );
    }

    #[test]
    fn tests_of_other_kernels_than_those_meant_are_a_failure() {
        let log = "---- isa stdout ----\nkernels in force: scalar\n\ntest result: ok. 3 passed; 0 failed\n";
        assert_eq!(count_with_kernels(log, "scalar").failed, 0);
        assert_eq!(count_with_kernels(log, "neondot").failed, 1);
        assert_eq!(
            count_with_kernels("test result: ok. 3 passed; 0 failed\n", "scalar").failed,
            1
        );
    }

    #[test]
    fn a_command_that_fails_without_counting_is_one_failure() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("false");
        assert_eq!(
            run_logged(&mut command, &log, |_| Outcome::one()).unwrap().failed,
            1
        );
        let mut command = Command::new("true");
        assert_eq!(
            run_logged(&mut command, &log, |_| Outcome::one()).unwrap(),
            Outcome::one()
        );
    }
}
