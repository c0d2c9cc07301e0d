//! The archive on a bare system: unpacked beside nothing but the C library, without a toolchain, a shell or a
//! route, with an empty home.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Bench;
use crate::shell;
use crate::test::Outcome;

/// Unpacks into a root folder of its own and enters namespaces.
pub(super) fn outside(bench: &Bench) -> Result<Outcome> {
    let Some(archive) = &bench.archive else {
        return Ok(Outcome::skip("unpack: there is no archive to unpack"));
    };
    let work = super::workplace("unpack")?;
    let root = work.join("root");
    for folder in ["proc", "dev", "tmp", "home"] {
        stdx::fs::create_dir_all(root.join(folder))?;
    }
    shell::capture(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&root))?;
    let top = top_folder(&root)?;
    let sums = ["--check", "--quiet", "SHA256SUMS"];
    shell::capture(Command::new("sha256sum").args(sums).current_dir(&top))?;
    copy_libraries(&top.join("bin/hanok"), &root)?;
    super::enter("-rnm", "unpack", bench, &work)
}

/// The commands of the installation guide, in the bare root.
pub(super) fn inside(work: &Path) -> Result<()> {
    shell::capture(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    let root = work.join("root");
    shell::capture(
        Command::new("mount")
            .args(["--rbind", "/dev"])
            .arg(root.join("dev")),
    )?;
    let doctor = hanok(&root, &["doctor"])?;
    ensure!(doctor.0 == 0, "`hanok doctor` on a bare system: {}", doctor.1);
    println!("doctor: every part is there");
    let ingested = hanok(&root, &["ingest", "share/hanok/demo/documents"])?;
    ensure!(
        ingested.0 == 0 && ingested.1["failed"] == Value::Array(Vec::new()),
        "ingest: {}",
        ingested.1
    );
    println!(
        "ingest: {} documents, {} pages, {} s",
        ingested.1["added"], ingested.1["pages"], ingested.1["s"]
    );
    let asked = hanok(&root, &["ask", "How much memory do I need to install Debian?"])?;
    ensure!(
        asked.0 == 0 && asked.1["citations"].as_array().is_some_and(|c| !c.is_empty()),
        "ask: {}",
        asked.1
    );
    println!(
        "ask: {} with {} citations",
        asked.1["outcome"],
        asked.1["citations"].as_array().map_or(0, Vec::len)
    );
    Ok(())
}

fn top_folder(root: &Path) -> Result<PathBuf> {
    let found = stdx::fs::read_dir(root)?
        .into_iter()
        .find(|path| path.join("bin/hanok").is_file());
    found.context("the archive holds no bin/hanok")
}

/// The loader and the libraries that the loader would take, at the paths where they stand.
fn copy_libraries(program: &Path, root: &Path) -> Result<()> {
    let listed = shell::capture(Command::new("ldd").arg(program))?;
    for path in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        let target = root.join(path.trim_start_matches('/'));
        stdx::fs::create_dir_all(target.parent().context("a library lies in a folder")?)?;
        std::fs::copy(path, &target).with_context(|| format!("cannot copy {path}"))?;
    }
    Ok(())
}

/// Runs the unpacked program in the bare root, nothing inherited.
fn hanok(root: &Path, arguments: &[&str]) -> Result<(i32, Value)> {
    let top = top_folder(root)?;
    let name = top
        .file_name()
        .context("the archive has a top folder")?
        .to_string_lossy();
    // `env` runs outside the new root, so the program sees an empty environment but for these two.
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--mount-proc=/proc"])
        .arg(format!("--root={}", root.display()))
        .arg(format!("--wd=/{name}"))
        .arg(format!("/{name}/bin/hanok"))
        .args(arguments)
        .arg("--json");
    let program = shell::which("unshare").context("unshare is missing")?;
    let mut clean = Command::new(program);
    clean
        .args(command.get_args())
        .env_clear()
        .env("PATH", "/nowhere")
        .env("HOME", "/home");
    let output = shell::output(&mut clean)?;
    super::hanok::read_json(&shell::shown(&clean), &output)
}
