//! `cargo xtask dist`: one archive that installs without a network, the same bytes from the same inputs.
//!
//! Not an installer: the archive is unpacked anywhere and run from there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{licences, shell, test};

/// Libraries that every Debian 12 has; the program may need no other.
const LIBRARIES: &[&str] = &[
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];
/// Debian 12's glibc: the archive must not need a newer one.
const GLIBC_MAX: (u32, u32) = (2, 36);
/// Model files that belong into the archive; each travels with the files that begin with its name.
const MODELS: &[&str] = &["SmolLM2-135M-Instruct.Q4_1.gguf", "e5-small-q4.bin"];

/// Options of `cargo xtask dist`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the archive goes
    #[arg(long, default_value = "dist")]
    out: PathBuf,
    /// Where the models lie [default: fetched with `hanok pull` into the target folder]
    #[arg(long)]
    models: Option<PathBuf>,
    /// The program to pack [default: a new release build]
    #[arg(long)]
    hanok: Option<PathBuf>,
}

/// Builds the program, fetches what belongs to it and packs.
pub(crate) fn run(options: &Options) -> Result<()> {
    let hanok = match &options.hanok {
        Some(path) => path.clone(),
        None => test::build_release()?,
    };
    let models = match &options.models {
        Some(folder) => folder.clone(),
        None => {
            let folder = test::models_dir();
            shell::run(Command::new(&hanok).arg("--models-dir").arg(&folder).arg("pull"))?;
            folder
        }
    };
    build(&hanok, &models, &options.out).map(|_| ())
}

/// Packs `hanok` with its models and documents; returns the archive.
pub(crate) fn build(hanok: &Path, models: &Path, out: &Path) -> Result<PathBuf> {
    let glibc = check_linking(hanok)?;
    let name = format!("hanok-{}", env!("CARGO_PKG_VERSION"));
    let staging = out.join("staging");
    if staging.exists() {
        stdx::fs::remove_dir_all(&staging)?;
    }
    let top = staging.join(&name);
    let time_s = time_of_files()?;
    fill(&top, hanok, models, time_s)?;
    write_sums(&top)?;
    let archive = out.join(format!("{name}-{}-linux.tar.gz", std::env::consts::ARCH));
    pack(&staging, &name, &archive, time_s)?;
    stdx::fs::remove_dir_all(&staging)?;
    let n_bytes = stdx::fs::metadata(&archive)?.len();
    let sha = stdx::hash::sha256_file(&archive)?;
    println!(
        "{}: {:.1} MB, sha256 {sha}",
        archive.display(),
        n_bytes as f64 / 1e6
    );
    println!("needs glibc {}.{} or newer and nothing else", glibc.0, glibc.1);
    Ok(archive)
}

fn fill(top: &Path, hanok: &Path, models: &Path, time_s: i64) -> Result<()> {
    let root = shell::root();
    let program = top.join("bin/hanok");
    copy(hanok, &program)?;
    shell::capture(Command::new("strip").arg("--strip-debug").arg(&program))?;
    for wanted in MODELS {
        copy_model(models, wanted, &top.join("share/hanok/models"), time_s)?;
    }
    let demo = top.join("share/hanok/demo");
    let documents = demo_documents(hanok)?;
    for path in files_below(&documents)? {
        copy(
            &path,
            &demo.join("documents").join(path.strip_prefix(&documents)?),
        )?;
    }
    copy(&root.join("demo/SOURCES.md"), &demo.join("SOURCES.md"))?;
    copy(&root.join("LICENSE"), &top.join("LICENSE"))?;
    copy(
        &root.join("packaging/hanok.service"),
        &top.join("lib/systemd/hanok.service"),
    )?;
    copy(
        &root.join("packaging/README-INSTALL.md"),
        &top.join("README-INSTALL.md"),
    )?;
    stdx::fs::write(
        top.join("THIRD-PARTY-LICENCES.txt"),
        licences::third_party("hanok")?,
    )?;
    Ok(())
}

/// The demo documents, fetched once into the target folder by the program itself.
fn demo_documents(hanok: &Path) -> Result<PathBuf> {
    let folder = test::target_dir().join("demo-documents");
    let mut gather = Command::new(hanok);
    gather.arg("demo").arg("--documents-into").arg(&folder);
    shell::capture(&mut gather).context("the demo documents cannot be gathered")?;
    Ok(folder)
}

/// A model and the record of its origin beside it.
fn copy_model(models: &Path, wanted: &str, target: &Path, time_s: i64) -> Result<()> {
    let model = models.join(wanted);
    if !model.is_file() {
        bail!("{} has no {wanted}: fetch it with `hanok pull`", models.display());
    }
    copy(&model, &target.join(wanted))?;
    let record = format!("{wanted}.json");
    let text = stdx::fs::read_to_string(models.join(&record))
        .with_context(|| format!("{wanted} has no record of its origin: `hanok pull` writes one"))?;
    let mut fields: serde_json::Value = serde_json::from_str(&text)?;
    // The times of fetching and of the file on this machine would make every archive another one; the
    // unpacked file bears the archive's time, so the record still vouches for it.
    for key in ["modified_ms", "fetched_ms"] {
        fields[key] = (time_s * 1000).into();
    }
    stdx::fs::write(
        target.join(&record),
        serde_json::to_string_pretty(&fields)? + "\n",
    )?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    stdx::fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
    std::fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The newest glibc that the program asks for; an error if it needs any other library.
fn check_linking(hanok: &Path) -> Result<(u32, u32)> {
    let dynamic = shell::capture(Command::new("readelf").args(["-W", "-d"]).arg(hanok))?;
    let foreign: Vec<&str> = needed(&dynamic)
        .filter(|library| !LIBRARIES.contains(library))
        .collect();
    if !foreign.is_empty() {
        bail!(
            "{} needs {}, which a plain system may lack",
            hanok.display(),
            foreign.join(", ")
        );
    }
    let symbols = shell::capture(Command::new("readelf").args(["-W", "--dyn-syms"]).arg(hanok))?;
    let newest = glibc_versions(&symbols).max().unwrap_or((2, 0));
    if newest > GLIBC_MAX {
        bail!(
            "the program needs glibc {}.{}: build it on Debian 12",
            newest.0,
            newest.1
        );
    }
    Ok(newest)
}

fn needed(dynamic: &str) -> impl Iterator<Item = &str> {
    dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| Some(line.rsplit_once('[')?.1.trim_end_matches(']')))
}

fn glibc_versions(symbols: &str) -> impl Iterator<Item = (u32, u32)> {
    symbols.split("@GLIBC_").skip(1).filter_map(|rest| {
        let version = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = version.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    })
}

/// A hash for each file, in the format of `sha256sum --check`.
fn write_sums(top: &Path) -> Result<()> {
    let mut sums = String::new();
    for path in files_below(top)? {
        let name = path.strip_prefix(top)?.display().to_string();
        sums.push_str(&format!("{}  {name}\n", stdx::hash::sha256_file(&path)?));
    }
    stdx::fs::write(top.join("SHA256SUMS"), sums)?;
    Ok(())
}

/// Every file below a folder, sorted.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in stdx::fs::read_dir(&folder)? {
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The time that every packed file bears: the commit's, or as the caller says.
fn time_of_files() -> Result<i64> {
    let time = match std::env::var_os("SOURCE_DATE_EPOCH") {
        Some(time) => time.to_string_lossy().into_owned(),
        None => {
            let mut git = Command::new("git");
            shell::capture(git.current_dir(shell::root()).args(["log", "-1", "--format=%ct"]))?
        }
    };
    time.trim()
        .parse()
        .with_context(|| format!("`{time}` is no time in seconds since 1970"))
}

/// Sorted names, one time for all files, no owner: the same inputs give the same bytes.
fn pack(staging: &Path, name: &str, archive: &Path, time_s: i64) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--format=gnu",
    ])
    .arg("--mode=u+rwX,go+rX,go-w")
    .arg(format!("--mtime=@{time_s}"))
    .args(["--use-compress-program", "gzip -n -6", "-cf"])
    .arg(archive)
    .arg("-C")
    .arg(staging)
    .arg(name);
    shell::capture(&mut tar).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_and_the_newest_glibc_are_read() {
        let dynamic = " 0x1 (NEEDED)  Shared library: [libc.so.6]\n 0x1 (NEEDED)  Shared library: [libssl.so.3]\n 0xe (SONAME) [x]\n";
        assert_eq!(needed(dynamic).collect::<Vec<_>>(), ["libc.so.6", "libssl.so.3"]);
        let symbols = "1: FUNC memcpy@GLIBC_2.14 (2)\n2: FUNC a@GLIBC_2.2.5\n3: FUNC b@GLIBC_2.34 (4)\n";
        assert_eq!(glibc_versions(symbols).max(), Some((2, 34)));
    }

    #[test]
    fn sums_are_those_that_sha256sum_checks() {
        let folder = tempfile::tempdir().unwrap();
        stdx::fs::create_dir_all(folder.path().join("b")).unwrap();
        stdx::fs::write(folder.path().join("b/c"), "abc").unwrap();
        write_sums(folder.path()).unwrap();
        let sums = stdx::fs::read_to_string(folder.path().join("SHA256SUMS")).unwrap();
        assert_eq!(
            sums,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b/c\n"
        );
    }
}
