//! Running other programs: where the repository is, what a command printed, and an error that says which
//! command failed.
//!
//! Not a shell: nothing here is interpreted, arguments are passed as they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// The repository's root folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the xtask crate lies one folder below the root")
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    // What `cargo run` set for this program would mislead the cargo started from it.
    command.env_remove("CARGO_MANIFEST_DIR");
    command
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut text = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Runs to the end with both streams kept; fails only when the program cannot be started.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let shown = shown(command);
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))
}

/// Runs to the end and returns stdout; a failure shows what the program wrote to stderr.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "`{}` ended with {}\n{stdout}{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(stdout)
}

/// Runs to the end with the terminal's own streams.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Where a program stands in `PATH`, if it does.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Whether this process is root, by the owner of its own `/proc` entry.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    stdx::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// Files of the working tree that git knows or would add, relative to the root, sorted.
pub(crate) fn tracked_files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let listed = capture(&mut git).context("the list of source files comes from git")?;
    let mut files: Vec<String> = listed
        .split('\0')
        .filter(|name| !name.is_empty() && root().join(name).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Installs Debian packages by name, or says clearly why it cannot.
pub(crate) fn apt_install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let wanted = packages.join(" ");
    if which("apt-get").is_none() {
        bail!("this is not a Debian system: install what stands for {wanted} by hand");
    }
    if !is_root() && which("sudo").is_none() {
        bail!("not root: run `apt-get install {wanted}` as root first");
    }
    apt_get(&["update", "-q"])?;
    apt_get(&[&["install", "-y", "-q", "--no-install-recommends"], packages].concat())
}

/// Fetches the lists of packages where a fresh system has none: the demo documents come from one.
pub(crate) fn apt_lists() -> Result<()> {
    let lists = stdx::fs::read_dir("/var/lib/apt/lists").unwrap_or_default();
    let has_lists = lists
        .iter()
        .any(|path| path.to_string_lossy().contains("_Packages"));
    if has_lists || which("apt-get").is_none() || !is_root() {
        return Ok(());
    }
    renew_apt_lists()
}

/// Fetches the lists of packages anew: those that a system image came with name versions that are gone.
pub(crate) fn renew_apt_lists() -> Result<()> {
    apt_get(&["update", "-q"])
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(if is_root() { "apt-get" } else { "sudo" });
    if !is_root() {
        command.args(["-n", "apt-get"]);
    }
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    capture(&mut command).map(|_| ())
}
