//! Taking segments in: all of them, or nothing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use stdx::clock::Stopwatch;
use stdx::fs;
use stdx::hash::sha256_file;

use super::record::{Record, Taken, from_hex};
use super::{MANIFEST, Manifest, Shard, bad, read_manifest};
use crate::catalog::QueueEntry;
use crate::error::StoreError;
use crate::ingest::Run;
use crate::shelf::Shelved;
use crate::store::{Store, held};
use crate::types::{FailedFile, Go, IngestReport};

/// All segments of one bulk ingestion, checked.
struct Segments {
    paths: Vec<PathBuf>,
    /// Files of records, in order.
    files: Vec<PathBuf>,
}

/// The records of all files, one after the other.
struct Records {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<(PathBuf, BufReader<MultiGzDecoder<std::fs::File>>)>,
}

impl Store {
    /// Takes in the segments in `from`, which were made by [`super::make`], in one transaction. Documents that are in
    /// as they are, or newer, are left alone, so that doing it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::BadSegment`] for segments that are not whole, do not belong together, or are missing; then, and
    /// whenever the store cannot be written, nothing is taken in.
    pub fn commit_segments(&self, from: &Path) -> Result<IngestReport, StoreError> {
        let _one_at_a_time = held(&self.ingesting);
        let watch = Stopwatch::start();
        let segments = Segments::read(from)?;
        let mut nothing = |_| Go::On;
        let mut run = Run::new(self, &mut nothing)?;
        self.refresh_standings(&mut run.rules, &run.validity)?;
        self.remember(&segments.paths)?;
        let mut records = Records {
            files: segments.files.into_iter(),
            open: None,
        };
        let mut failed: Vec<(Vec<u8>, String)> = Vec::new();
        self.shelf()
            .put_all(&mut || self.next_shelved(&mut records, &mut run, &mut failed))?;
        for (path_bytes, reason) in failed {
            self.note_failure(path_bytes, reason, &mut run)?;
        }
        run.report.warnings = self.idle_rules(&run.rules, &run.validity)?;
        Ok(run.end(&watch))
    }

    /// The next document that is not in yet; files that failed are gathered on the way.
    fn next_shelved(
        &self,
        records: &mut Records,
        run: &mut Run<'_>,
        failed: &mut Vec<(Vec<u8>, String)>,
    ) -> Result<Option<Shelved>, StoreError> {
        while let Some(taken) = records.next()? {
            let (path, version, stat, prepared) = match taken {
                Taken::Failed { path, reason } => {
                    failed.push((path, reason));
                    continue;
                }
                Taken::Document {
                    path,
                    version,
                    stat,
                    prepared,
                } => (PathBuf::from(OsStr::from_bytes(&path)), version, stat, prepared),
            };
            let (origin, path_bytes) = self.identity(&path);
            let known = self.shelf().by_path(&path_bytes)?;
            if let Some(known) = &known {
                let is_same = known.version == version && known.cutter == prepared.cutter;
                // A time that is not trusted is that of a file read the moment it changed.
                let is_newer = known.stat.mtime_ns == i64::MIN || known.stat.mtime_ns > stat.mtime_ns;
                if is_same || is_newer {
                    run.report.unchanged += 1;
                    continue;
                }
                run.report.changed += 1;
            } else {
                run.report.added += 1;
            }
            run.report.passages += prepared.passages.len();
            run.report.pages += prepared.n_pages.unwrap_or(0) as usize;
            return Ok(Some(Shelved {
                document_id: match known {
                    Some(known) => known.document_id,
                    None => self.new_id(origin, &path_bytes, &path.display().to_string())?,
                },
                origin,
                path: path.display().to_string(),
                path_bytes,
                version,
                stat,
                audience: run.rules.of_file(&path),
                ruled: run.validity.of_file(&path),
                prepared,
            }));
        }
        Ok(None)
    }

    /// Remembers a file that could not be read, unless it is a document by now.
    fn note_failure(&self, path: Vec<u8>, reason: String, run: &mut Run<'_>) -> Result<(), StoreError> {
        let path = PathBuf::from(OsStr::from_bytes(&path));
        let (origin, path_bytes) = self.identity(&path);
        if self.shelf().by_path(&path_bytes)?.is_some() {
            return Ok(());
        }
        let entry = QueueEntry {
            path_bytes,
            origin,
            file_bytes: 0,
        };
        let shown = path.display().to_string();
        self.shelf()
            .fail(&entry, &shown, &reason, &run.rules.of_file(&path))?;
        run.report.failed.push(FailedFile { path: shown, reason });
        Ok(())
    }
}

impl Segments {
    /// Reads every list, and every byte that they list: nothing is taken in of what is not whole.
    fn read(from: &Path) -> Result<Self, StoreError> {
        let mut manifests: Vec<(PathBuf, Manifest)> = Vec::new();
        for folder in fs::read_dir(from).map_err(|error| bad(from, error.to_string()))? {
            if fs::metadata(folder.join(MANIFEST)).is_ok() && folder.extension().is_none() {
                let manifest = read_manifest(&folder)?;
                manifests.push((folder, manifest));
            }
        }
        manifests.sort_by_key(|(_, manifest)| manifest.shard);
        let Some((_, first)) = manifests.first() else {
            return Err(bad(
                from,
                "there are no segments in it; make them with `hanok ingest --shard 1/1`".to_owned(),
            ));
        };
        let (of, walked) = (first.of, first.paths.clone());
        for (folder, manifest) in &manifests {
            let own = Shard {
                number: manifest.shard,
                of: manifest.of,
            };
            let is_named_so = folder.file_name() == Some(OsStr::new(&own.folder()));
            if manifest.of != of || manifest.paths != walked || !is_named_so {
                return Err(bad(
                    folder,
                    "it belongs to another run than the segments beside it".to_owned(),
                ));
            }
        }
        let there: BTreeSet<u32> = manifests.iter().map(|(_, manifest)| manifest.shard).collect();
        let missing: Vec<String> = (1..=of)
            .filter(|i| !there.contains(i))
            .map(|i| format!("{i}/{of}"))
            .collect();
        if !missing.is_empty() {
            let listed = missing.join(", ");
            return Err(bad(
                from,
                format!("parts are missing: {listed}; run `hanok ingest --shard` for them"),
            ));
        }
        let mut files = Vec::new();
        for (folder, manifest) in &manifests {
            files.extend(checked(folder, manifest)?);
        }
        let paths: Option<Vec<PathBuf>> = walked
            .iter()
            .map(|path| Some(PathBuf::from(OsStr::from_bytes(&from_hex(path)?))))
            .collect();
        Ok(Self {
            paths: paths.ok_or_else(|| bad(from, "a path in it is damaged".to_owned()))?,
            files,
        })
    }
}

/// The files of a segment, each of whose bytes are those that were written.
fn checked(folder: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for file in &manifest.files {
        let path = folder.join(&file.name);
        let is_inside = Path::new(&file.name).components().count() == 1;
        let is_whole = is_inside
            && fs::metadata(&path).is_ok_and(|metadata| metadata.len() == file.bytes)
            && sha256_file(&path).is_ok_and(|sum| sum == file.sha256);
        if !is_whole {
            return Err(bad(
                &path,
                "its bytes are not those that were written; remove the segment and make it again".to_owned(),
            ));
        }
        files.push(path);
    }
    Ok(files)
}

impl Records {
    fn next(&mut self) -> Result<Option<Taken>, StoreError> {
        loop {
            let Some((path, reader)) = &mut self.open else {
                let Some(path) = self.files.next() else {
                    return Ok(None);
                };
                let file = fs::open(&path).map_err(|error| bad(&path, error.to_string()))?;
                self.open = Some((path, BufReader::new(MultiGzDecoder::new(file))));
                continue;
            };
            let mut line = String::new();
            let n = reader
                .read_line(&mut line)
                .map_err(|error| bad(path, error.to_string()))?;
            if n == 0 {
                self.open = None;
                continue;
            }
            let record: Record = serde_json::from_str(&line).map_err(|error| bad(path, error.to_string()))?;
            let taken = record
                .take()
                .ok_or_else(|| bad(path, "a record in it makes no sense".to_owned()))?;
            return Ok(Some(taken));
        }
    }
}
