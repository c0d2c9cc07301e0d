//! Bulk ingestion in parts: every n-th file read by a process of its own into a segment, all segments committed at once.
//!
//! A segment is a folder that appears under its name only when it is whole, is never changed, and lists its files with
//! their checksums. Cut off, it is made again. Who may read a document and when it holds is decided at the commit, by
//! the rules of the store that takes it in.

mod commit;
mod record;

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use stdx::clock::{Stopwatch, unix_ms};
use stdx::fs::{self, FsError};
use stdx::hash::{sha256, sha256_file};

use crate::attempt::{BACK_OFF, Failure, Known, ReadFile, read_whole};
use crate::error::StoreError;
use crate::passage::CUTTER_VERSION;
use crate::prepare::ReadOptions;
use crate::types::{FailedFile, FileDetails, FileOutcome, Go, IngestEvent, IngestReport, Stage};
use crate::walk::Walk;
use record::Record;

/// Version of a segment's layout.
const SCHEMA: u32 = 1;
/// The list of a segment's files, written last.
const MANIFEST: &str = "segment.json";
/// A file of records is ended when it holds so many bytes before packing.
const FILE_BYTES: usize = 64 << 20;
/// More parts are a mistake.
const SHARDS_MAX: u32 = 100_000;

/// Part `i` of `n`, both counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: u32,
    of: u32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('/')
            .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) && of <= SHARDS_MAX => Ok(Self { number, of }),
            _ => Err(format!(
                "`{text}` is no part: write it like 2/8, the second of eight (at most {SHARDS_MAX})"
            )),
        }
    }
}

impl Shard {
    /// Whether a file is in this part; the same on every machine, whatever else there is.
    fn has(self, path: &Path) -> bool {
        let hash = sha256(path.as_os_str().as_bytes());
        let first = hash
            .iter()
            .take(8)
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        first % u64::from(self.of) == u64::from(self.number - 1)
    }

    fn folder(self) -> String {
        format!("segment-{:05}-of-{:05}", self.number, self.of)
    }
}

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    schema: u32,
    /// Version of the program that made it, for people.
    program: String,
    /// Version of the cutter that cut its passages.
    cutter: u32,
    shard: u32,
    of: u32,
    /// What was walked, by the bytes of the paths.
    paths: Vec<String>,
    files: Vec<SegmentFile>,
    records: usize,
}

/// A file of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SegmentFile {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Reads this part of the files at `paths` into a segment in `to`, and leaves one that is there as it is. `own` is the
/// data directory, which is never walked.
///
/// # Errors
/// When the segment cannot be written; files that cannot be read are in it with their reason.
pub fn make(
    shard: Shard,
    paths: &[PathBuf],
    to: &Path,
    own: &Path,
    options: &ReadOptions,
    on_event: &mut dyn FnMut(IngestEvent) -> Go,
) -> Result<IngestReport, StoreError> {
    let watch = Stopwatch::start();
    let mut report = IngestReport::default();
    fs::create_dir_all(to).map_err(StoreError::file)?;
    let folder = to.join(shard.folder());
    if fs::metadata(folder.join(MANIFEST)).is_ok() {
        let known = read_manifest(&folder)?;
        report.unchanged = known.records;
        report.s = watch.s();
        return Ok(report);
    }
    let own = fs::canonicalize(own).unwrap_or_else(|_| own.to_owned());
    let mut walk = Walk::of(paths, &own);
    let files: Vec<&PathBuf> = walk.files.keys().filter(|path| shard.has(path)).collect();
    // Of its own: whoever began this part before may still be at it, unknown to whoever began it again.
    let own_name = format!("{}.{}-{}.partial", shard.folder(), std::process::id(), unix_ms());
    let partial = to.join(own_name);
    fs::create_dir_all(&partial).map_err(StoreError::file)?;
    let bytes = files.iter().map(|path| walk.files[*path].bytes).sum();
    on_event(IngestEvent::Planned {
        files: files.len(),
        bytes,
    });
    let mut writer = SegmentWriter::new(&partial);
    for path in files {
        let event = IngestEvent::Reading {
            path: path.display().to_string(),
        };
        if on_event(event) == Go::Stop {
            report.s = watch.s();
            report
                .warnings
                .push("stopped: the segment is not whole and will be made again".to_owned());
            return Ok(report);
        }
        let record = one(path, options, &mut report, on_event);
        writer.add(&record)?;
    }
    // What could not be walked at all is said by the first part alone.
    if shard.number == 1 {
        report.failed.append(&mut walk.failed);
    }
    let manifest = Manifest {
        schema: SCHEMA,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        cutter: CUTTER_VERSION,
        shard: shard.number,
        of: shard.of,
        paths: walk
            .folders
            .iter()
            .map(|path| record::to_hex(path.as_os_str().as_bytes()))
            .collect(),
        records: writer.n_records,
        files: writer.finish()?,
    };
    finish(&partial, &folder, &manifest)?;
    clear_partial(to, shard)?;
    report.s = watch.s();
    Ok(report)
}

/// Writes what a segment says of itself, and gives it its name: from then on it is whole.
fn finish(partial: &Path, folder: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| bad(partial, error.to_string()))?;
    fs::write_atomic(partial.join(MANIFEST), text).map_err(StoreError::file)?;
    fs::sync_parent(partial.join(MANIFEST)).map_err(StoreError::file)?;
    if let Err(error) = fs::rename(partial, folder) {
        // Somebody else was faster; a segment that is whole stays as it is.
        if fs::metadata(folder.join(MANIFEST)).is_err() {
            return Err(StoreError::file(error));
        }
    }
    fs::sync_parent(folder).map_err(StoreError::file)
}

/// Removes what unfinished attempts at this part left.
fn clear_partial(to: &Path, shard: Shard) -> Result<(), StoreError> {
    let begins = format!("{}.", shard.folder());
    for path in fs::read_dir(to).map_err(StoreError::file)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&begins) && name.ends_with(".partial") {
            crate::lexical::remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Reads a file; one that cannot be read for a reason that may pass is tried again after growing pauses.
fn one(
    path: &Path,
    options: &ReadOptions,
    report: &mut IngestReport,
    on_event: &mut dyn FnMut(IngestEvent) -> Go,
) -> Record {
    let watch = Stopwatch::start();
    let read = read_patiently(path, options);
    let shown = path.display().to_string();
    let mut details = FileDetails::found(FileOutcome::Added);
    details.stage = Stage::Read;
    let (record, failed) = match read {
        Ok(read) => {
            let record = Record::of(path, &read);
            let prepared = read.prepared.as_ref();
            details.passages = prepared.map_or(0, |prepared| prepared.passages.len());
            details.pages = prepared.and_then(|prepared| prepared.n_pages).unwrap_or(0) as usize;
            report.added += 1;
            report.passages += details.passages;
            report.pages += details.pages;
            (record, None)
        }
        Err(reason) => {
            details.outcome = FileOutcome::Failed;
            report.failed.push(FailedFile {
                path: shown.clone(),
                reason: reason.clone(),
            });
            (Record::failed(path, &reason), Some(reason))
        }
    };
    details.ms = watch.ms() as u64;
    let bytes = record.bytes();
    // Whether to go on is asked before the next file.
    on_event(IngestEvent::Finished {
        path: shown,
        bytes,
        failed,
        details,
    });
    record
}

fn read_patiently(path: &Path, options: &ReadOptions) -> Result<ReadFile, String> {
    let known = Known {
        document: None,
        aside: None,
    };
    let mut pauses = BACK_OFF.iter();
    loop {
        match (read_whole(path, &known, options), pauses.next()) {
            (Ok(read), _) => return Ok(read),
            (Err(Failure::Passing(_)), Some(pause)) => std::thread::sleep(*pause),
            (
                Err(
                    Failure::Passing(reason)
                    | Failure::Lasting(reason)
                    | Failure::Deadly { reason, .. }
                    | Failure::SetAside(reason),
                ),
                _,
            ) => return Err(reason),
        }
    }
}

/// Writes records, a line each, into packed files of a bearable size.
struct SegmentWriter<'a> {
    folder: &'a Path,
    open: Option<(String, GzEncoder<std::fs::File>, usize)>,
    files: Vec<SegmentFile>,
    n_records: usize,
}

impl<'a> SegmentWriter<'a> {
    fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            open: None,
            files: Vec::new(),
            n_records: 0,
        }
    }

    fn add(&mut self, record: &Record) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(record).map_err(|error| bad(self.folder, error.to_string()))?;
        line.push(b'\n');
        if self.open.is_none() {
            let name = format!("records-{:05}.jsonl.gz", self.files.len());
            let file = fs::create(self.folder.join(&name)).map_err(StoreError::file)?;
            self.open = Some((name, GzEncoder::new(file, Compression::fast()), 0));
        }
        let mut is_full = false;
        if let Some((name, encoder, n_bytes)) = &mut self.open {
            let path = self.folder.join(&*name);
            encoder
                .write_all(&line)
                .map_err(|error| StoreError::file(FsError::new("write", path, error)))?;
            *n_bytes += line.len();
            is_full = *n_bytes >= FILE_BYTES;
        }
        self.n_records += 1;
        if is_full { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let Some((name, encoder, _)) = self.open.take() else {
            return Ok(());
        };
        let path = self.folder.join(&name);
        let synced = encoder.finish().and_then(|file| file.sync_all());
        synced.map_err(|error| StoreError::file(FsError::new("write", &path, error)))?;
        self.files.push(SegmentFile {
            bytes: fs::metadata(&path).map_err(StoreError::file)?.len(),
            sha256: sha256_file(&path).map_err(StoreError::file)?,
            name,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<SegmentFile>, StoreError> {
        self.close()?;
        Ok(self.files)
    }
}

fn read_manifest(folder: &Path) -> Result<Manifest, StoreError> {
    let path = folder.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| bad(folder, error.to_string()))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| bad(folder, format!("its list of files is damaged ({error})")))?;
    if manifest.schema != SCHEMA || manifest.cutter != CUTTER_VERSION {
        return Err(bad(
            folder,
            format!(
                "it was made by version {}, whose segments are others",
                manifest.program
            ),
        ));
    }
    Ok(manifest)
}

fn bad(path: &Path, what: String) -> StoreError {
    StoreError::BadSegment {
        path: path.to_owned(),
        what,
    }
}
