//! Documents of a Debian package: downloaded by the machine's own `apt-get`, unpacked by `dpkg-deb`, nothing run.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stdx::fs;
use stdx::hash::sha256_hex;

use super::documents::put;
use super::sources::{DebFile, DebSource};
use crate::exit::{Failure, OrFail, Result};
use crate::{interrupt, print};

/// A document is not larger than this, unpacked.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Fetches the package below `work`; returns the folder with its checked documents.
pub(super) fn fetch(source: &DebSource, work: &Path) -> Result<PathBuf> {
    let package = format!("{}={}", source.package, source.version);
    print::stderr_line(&format!(
        "fetching the Debian package {package} ({}) with `apt-get download`; nothing in it is run",
        print::bytes(source.bytes)
    ));
    let folder = work.join("deb");
    fs::create_dir_all(&folder).or_environment()?;
    let mut download = Command::new("apt-get");
    download
        .args([
            "download",
            "-q",
            "-o",
            "Acquire::Retries=1",
            "-o",
            "Acquire::http::Timeout=15",
        ])
        .arg(&package)
        .current_dir(&folder);
    let moved =
        format!("this machine offers no {package}; after a new Debian release the pinned version has moved");
    run(download, "apt-get", &moved)?;
    let deb = fs::read_dir(&folder)
        .or_environment()?
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Failure::environment(format!("`apt-get` left no file of {package}")))?;
    let unpacked = work.join("unpacked");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&deb).arg(&unpacked);
    run(unpack, "dpkg-deb", "the package cannot be unpacked")?;
    take(source, &unpacked.join(&source.prefix), work)
}

/// Runs a tool of the machine; its own last line goes into the message.
fn run(mut command: Command, tool: &str, failed: &str) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::environment(format!(
                "`{tool}` is not on this machine, and these documents come through it"
            )),
            _ => Failure::environment(format!("`{tool}` does not start: {error}")),
        })?;
    interrupt::check("nothing was kept of the unfinished download")?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| line.starts_with("E:"));
    let said = last.map(|line| format!("; it says {line}")).unwrap_or_default();
    Err(Failure::environment(format!("{failed}{said}"))
        .hint("where the list of packages is old or empty, `sudo apt-get update` brings it"))
}

fn take(source: &DebSource, from: &Path, work: &Path) -> Result<PathBuf> {
    let folder = work.join(&source.folder);
    for file in &source.file {
        let bytes = read(&from.join(&file.inside))?;
        check(source, file, &bytes)?;
        put(&folder.join(&file.name), &bytes)?;
    }
    let notice = fs::read(from.join("copyright")).or_environment()?;
    put(&folder.join(".LICENSE"), &notice)?;
    Ok(folder)
}

fn check(source: &DebSource, file: &DebFile, bytes: &[u8]) -> Result<()> {
    let found = sha256_hex(bytes);
    if found == file.sha256 && bytes.len() as u64 == file.bytes {
        return Ok(());
    }
    Err(Failure::environment(format!(
        "`{}` of {} {} has the SHA-256 {found}, but {} is expected; it was not taken",
        file.inside, source.package, source.version, file.sha256
    )))
}

/// A file's bytes; `.gz` is unpacked.
fn read(path: &Path) -> Result<Vec<u8>> {
    let file = fs::open(path).or_environment()?;
    let mut bytes = Vec::new();
    let read = if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(file)
            .take(FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
    } else {
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)
    };
    read.map_err(|error| fs::FsError::new("read", path, error))
        .or_environment()?;
    Ok(bytes)
}
