//! Taking documents in: walk, durable queue, one transaction for each document.
//!
//! The files to read are recorded before the first is read. Whatever cuts an ingest off, what is done is done and
//! the rest is still queued; the next ingest or [`Store::resume`] goes on with it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use stdx::clock::{Stopwatch, unix_ms};
use unicode_normalization::UnicodeNormalization;

use crate::access::{self, Audience, SOURCES};
use crate::attempt::{BACK_OFF, DEATHS_MAX, Failure, Known, ReadFile, read_whole, set_aside, version_of};
use crate::catalog::{NewDocument, Origin, QueueEntry, Stat, StoredDocument};
use crate::error::StoreError;
use crate::mirror::Addresses;
use crate::prepare::prepare_pages;
use crate::store::{Store, held, id_of_file, id_of_source};
use crate::types::{FailedFile, FileDetails, FileOutcome, Go, IngestEvent, IngestReport, Stage};
use crate::validity::{self, Ruled};
use crate::walk::Walk;

/// Longer names of uploads are refused.
const UPLOAD_NAME_BYTES_MAX: usize = 200;

/// What became of one file.
enum Outcome {
    Added(Size),
    Changed(Size),
    Moved(Size),
    Unchanged,
    Failed(String),
    SetAside(String),
    /// It is still queued.
    Later(String),
}

#[derive(Default)]
struct Size {
    passages: usize,
    pages: usize,
}

/// A running ingest: its report and whether it has been told to stop.
pub(crate) struct Run<'a> {
    pub(crate) report: IngestReport,
    on_event: &'a mut dyn FnMut(IngestEvent) -> Go,
    stop: bool,
    pub(crate) rules: access::Rules,
    pub(crate) validity: validity::Rules,
    addresses: Addresses,
    /// Files to try again when the others are done.
    later: Vec<QueueEntry>,
    /// Files that were this process's own for a while.
    tried: BTreeSet<Vec<u8>>,
    /// Whether there is another round for them.
    may_wait: bool,
    /// New places of files that were moved.
    moved: BTreeSet<Vec<u8>>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        store: &Store,
        on_event: &'a mut dyn FnMut(IngestEvent) -> Go,
    ) -> Result<Self, StoreError> {
        store.shelf().agree_on_rules(&store.dir)?;
        Ok(Self {
            report: IngestReport::default(),
            on_event,
            stop: false,
            rules: access::Rules::load(&store.dir)?,
            validity: validity::Rules::load(&store.dir)?,
            addresses: Addresses::of(&store.dir),
            later: Vec::new(),
            tried: BTreeSet::new(),
            may_wait: false,
            moved: BTreeSet::new(),
        })
    }

    /// The report, with the folders whose rules cannot be understood.
    pub(crate) fn end(mut self, watch: &Stopwatch) -> IngestReport {
        for (path, what) in std::mem::take(&mut self.rules.faults) {
            self.report.failed.push(FailedFile {
                path: path.display().to_string(),
                reason: format!("who may read this folder is not clear, so nobody may: {what}"),
            });
        }
        self.report.s = watch.s();
        self.report
    }

    /// A file that was looked at and is not read.
    fn passed_over(&mut self, path: String, bytes: u64, outcome: FileOutcome, failed: Option<String>) {
        let details = FileDetails::found(outcome);
        self.tell(IngestEvent::Finished {
            path,
            bytes,
            failed,
            details,
        });
    }

    /// Says that a document followed its file to this place.
    pub(crate) fn note_moved(&mut self, path_bytes: &[u8]) {
        self.moved.insert(path_bytes.to_vec());
    }

    /// A file's place as people see it.
    pub(crate) fn shown(&mut self, origin: Origin, path: &Path, path_bytes: &[u8]) -> String {
        match origin {
            Origin::File => path.display().to_string(),
            Origin::Upload => String::from_utf8_lossy(path_bytes).into_owned(),
            Origin::Source => self.addresses.of_file(path),
        }
    }

    fn tell(&mut self, event: IngestEvent) {
        if (self.on_event)(event) == Go::Stop {
            self.stop = true;
        }
    }
}

impl Store {
    /// Takes in files and folders (recursively): only what changed; files gone from a folder are removed. What an
    /// earlier ingest left in the queue is done too. Folders are remembered, see [`Store::folders`].
    ///
    /// # Errors
    /// When the store cannot be written; files that cannot be read are listed in the report instead.
    pub fn ingest(
        &self,
        paths: &[PathBuf],
        on_event: &mut dyn FnMut(IngestEvent) -> Go,
    ) -> Result<IngestReport, StoreError> {
        let _one_at_a_time = held(&self.ingesting);
        let watch = Stopwatch::start();
        let mut run = Run::new(self, on_event)?;
        self.refresh_standings(&mut run.rules, &run.validity)?;
        if self.read_options().ocr.is_some() {
            self.shelf().queue_for_recognition()?;
        }
        self.plan(paths, &mut run)?;
        self.drain(&mut run)?;
        run.report.warnings = self.idle_rules(&run.rules, &run.validity)?;
        Ok(run.end(&watch))
    }

    /// Goes on with an ingest that was cut off.
    ///
    /// # Errors
    /// As for [`Store::ingest`].
    pub fn resume(&self, on_event: &mut dyn FnMut(IngestEvent) -> Go) -> Result<IngestReport, StoreError> {
        self.ingest(&[], on_event)
    }

    /// Keeps an uploaded file under its name and takes it in; the same name again is a new version.
    ///
    /// # Errors
    /// [`StoreError::BadUploadName`], [`StoreError::Refused`] for bytes that cannot be read as a document, and
    /// whatever keeps the store from writing.
    pub fn ingest_upload(&self, name: &str, bytes: &[u8]) -> Result<IngestReport, StoreError> {
        let watch = Stopwatch::start();
        let name = Self::upload_name(name)?;
        let _one_at_a_time = held(&self.ingesting);
        let entry = QueueEntry {
            path_bytes: name.clone().into_bytes(),
            origin: Origin::Upload,
            file_bytes: bytes.len() as u64,
        };
        let mut nothing = |_| Go::On;
        let mut run = Run::new(self, &mut nothing)?;
        self.shelf()
            .keep_upload(&entry, &self.uploads().join(&name), bytes)?;
        self.one(&entry, &mut run)?;
        self.shelf().flush()?;
        if let Some(failed) = run.report.failed.pop() {
            return Err(StoreError::Refused {
                name,
                reason: failed.reason,
            });
        }
        run.report.s = watch.s();
        Ok(run.report)
    }

    /// A name among the uploads, if it can be one.
    pub(crate) fn upload_name(name: &str) -> Result<String, StoreError> {
        let name: String = name.nfc().collect();
        let hidden = name.starts_with('.');
        if name.is_empty() || hidden || name.contains(['/', '\\', '\0']) || name.len() > UPLOAD_NAME_BYTES_MAX
        {
            return Err(StoreError::BadUploadName {
                name,
                max: UPLOAD_NAME_BYTES_MAX,
            });
        }
        Ok(name)
    }

    /// Walks the paths, removes documents whose file is gone and queues files that may have changed.
    fn plan(&self, paths: &[PathBuf], run: &mut Run<'_>) -> Result<(), StoreError> {
        let mut walk = Walk::of(paths, &self.dir);
        let mut gone = Vec::new();
        for folder in walk.folders.clone() {
            let known = self.known_at(&folder)?;
            gone.extend(walk.gone(&folder, known));
        }
        let mut unchanged: Vec<(String, u64)> = Vec::new();
        let mut entries = Vec::new();
        let mut aside = Vec::new();
        let known_aside = self.shelf().all_aside(DEATHS_MAX)?;
        for (path, stat) in &walk.files {
            match self.entry_if_changed(path, stat)? {
                Some(entry) => {
                    let at = known_aside.binary_search_by(|aside| aside.path_bytes.cmp(&entry.path_bytes));
                    match at.ok().map(|at| &known_aside[at]) {
                        Some(known) if known.stat == *stat => {
                            aside.push((path.display().to_string(), stat.bytes, set_aside(&known.reason)));
                        }
                        _ => entries.push(entry),
                    }
                }
                None => unchanged.push((path.display().to_string(), stat.bytes)),
            }
        }
        self.remember(&walk.folders)?;
        self.carry_out(&entries, gone, run)?;
        self.forget_failures(&walk)?;
        run.report.failed = std::mem::take(&mut walk.failed);
        self.announce(unchanged, aside, run)
    }

    /// Queues files, then removes the documents of files that are gone.
    pub(crate) fn carry_out(
        &self,
        entries: &[QueueEntry],
        mut gone: Vec<String>,
        run: &mut Run<'_>,
    ) -> Result<(), StoreError> {
        gone.sort_unstable();
        gone.dedup();
        // Before anything is queued: read under its new path, it would be another document.
        self.follow_moved(entries, &mut gone, run)?;
        self.shelf().enqueue(entries)?;
        run.report.removed = self.shelf().erase(&gone)?;
        Ok(())
    }

    /// A file as the queue takes it, unless it is known as it is.
    pub(crate) fn entry_if_changed(
        &self,
        path: &Path,
        stat: &Stat,
    ) -> Result<Option<QueueEntry>, StoreError> {
        let (origin, path_bytes) = self.identity(path);
        let known = self.shelf().by_path(&path_bytes)?;
        Ok(if known.is_some_and(|known| known.stat == *stat) {
            None
        } else {
            Some(QueueEntry {
                path_bytes,
                origin,
                file_bytes: stat.bytes,
            })
        })
    }

    /// The documents of a path and of all below it, with the places of their files.
    pub(crate) fn known_at(&self, path: &Path) -> Result<Vec<(PathBuf, StoredDocument)>, StoreError> {
        let (origin, mut prefix) = self.identity(path);
        let mut known: Vec<StoredDocument> = self.shelf().by_path(&prefix)?.into_iter().collect();
        if !prefix.ends_with(b"/") {
            prefix.push(b'/');
        }
        known.extend(self.shelf().below(origin, &prefix)?);
        let placed = known
            .into_iter()
            .map(|document| (self.place(origin, &document.path_bytes), document));
        Ok(placed.collect())
    }

    /// How a file is known: copies from elsewhere by their place in the data directory, so that it can be moved.
    pub(crate) fn identity(&self, path: &Path) -> (Origin, Vec<u8>) {
        match path.strip_prefix(&self.dir) {
            Ok(inside) if inside.starts_with(SOURCES) => {
                (Origin::Source, inside.as_os_str().as_bytes().to_vec())
            }
            _ => (Origin::File, path.as_os_str().as_bytes().to_vec()),
        }
    }

    /// Where a document's file lies.
    pub(crate) fn place(&self, origin: Origin, path_bytes: &[u8]) -> PathBuf {
        let name = OsStr::from_bytes(path_bytes);
        match origin {
            Origin::File => PathBuf::from(name),
            Origin::Upload => self.uploads().join(name),
            Origin::Source => self.dir.join(name),
        }
    }

    /// Says what there is to do. Files set aside come with their bytes and reason.
    fn announce(
        &self,
        unchanged: Vec<(String, u64)>,
        aside: Vec<(String, u64, String)>,
        run: &mut Run<'_>,
    ) -> Result<(), StoreError> {
        let queue = self.shelf().queue()?;
        let bytes = queue
            .iter()
            .map(|e| e.file_bytes)
            .chain(unchanged.iter().map(|u| u.1))
            .chain(aside.iter().map(|a| a.1))
            .sum();
        run.report.unchanged = unchanged.len();
        run.tell(IngestEvent::Planned {
            files: queue.len() + unchanged.len() + aside.len(),
            bytes,
        });
        for (path, bytes) in unchanged {
            run.passed_over(path, bytes, FileOutcome::Unchanged, None);
        }
        for (path, bytes, reason) in aside {
            run.report.failed.push(FailedFile {
                path: path.clone(),
                reason: reason.clone(),
            });
            run.passed_over(path, bytes, FileOutcome::SetAside, Some(reason));
        }
        Ok(())
    }

    /// Works through the queue. Files that cannot be read for a reason that may pass are tried again at the end, after
    /// growing pauses.
    pub(crate) fn drain(&self, run: &mut Run<'_>) -> Result<(), StoreError> {
        loop {
            let mut left = self.shelf().queue()?;
            left.retain(|entry| !run.tried.contains(&entry.path_bytes));
            let n_before = run.tried.len();
            run.later = left;
            self.drain_once(run)?;
            // What another process was at may wait again by now: it may have ended.
            if run.stop || run.tried.len() == n_before {
                return Ok(());
            }
        }
    }

    fn drain_once(&self, run: &mut Run<'_>) -> Result<(), StoreError> {
        for round in 0..=BACK_OFF.len() {
            run.may_wait = round < BACK_OFF.len();
            for entry in std::mem::take(&mut run.later) {
                if run.stop {
                    break;
                }
                self.one(&entry, run)?;
            }
            self.shelf().flush()?;
            if run.stop || run.later.is_empty() {
                break;
            }
            std::thread::sleep(BACK_OFF[round.min(BACK_OFF.len() - 1)]);
        }
        Ok(())
    }

    /// Takes in one queued file, unless another process is at it.
    fn one(&self, entry: &QueueEntry, run: &mut Run<'_>) -> Result<(), StoreError> {
        let path = self.place(entry.origin, &entry.path_bytes);
        if !self.shelf().claim(entry, &path)? {
            return Ok(());
        }
        run.tried.insert(entry.path_bytes.clone());
        let result = self.claimed(entry, &path, run);
        self.shelf().release()?;
        result
    }

    fn claimed(&self, entry: &QueueEntry, path: &Path, run: &mut Run<'_>) -> Result<(), StoreError> {
        let shown = run.shown(entry.origin, path, &entry.path_bytes);
        run.tell(IngestEvent::Reading { path: shown.clone() });
        if run.stop {
            return Ok(());
        }
        let (audience, ruled) = match entry.origin {
            Origin::File | Origin::Source => (run.rules.of_file(path), run.validity.of_file(path)),
            Origin::Upload => (
                run.rules.of_upload(&entry.path_bytes),
                run.validity.of_upload(&entry.path_bytes),
            ),
        };
        let named = Named {
            path,
            shown: &shown,
            audience: &audience,
            ruled: &ruled,
        };
        let watch = Stopwatch::start();
        let (outcome, stage) = match self.read_queued(entry, &named, run.may_wait)? {
            Ok(read) => {
                run.tell(IngestEvent::Writing { path: shown.clone() });
                (self.store_read(entry, &read, &named)?, Stage::Write)
            }
            Err(outcome) => (outcome, Stage::Read),
        };
        let outcome = match outcome {
            Outcome::Changed(size) if run.moved.remove(&entry.path_bytes) => Outcome::Moved(size),
            other => other,
        };
        if let Outcome::Later(reason) = outcome {
            run.later.push(entry.clone());
            run.tell(IngestEvent::Waiting { path: shown, reason });
            return Ok(());
        }
        let (mut details, failed) = run.count(outcome, &shown);
        details.stage = stage;
        details.ms = watch.ms() as u64;
        run.tell(IngestEvent::Finished {
            path: shown,
            bytes: entry.file_bytes,
            failed,
            details,
        });
        Ok(())
    }

    /// Reads a queued file; one that cannot be read leaves the queue, unless it is tried again later.
    fn read_queued(
        &self,
        entry: &QueueEntry,
        named: &Named<'_>,
        may_wait: bool,
    ) -> Result<Result<ReadFile, Outcome>, StoreError> {
        let document = self.shelf().by_path(&entry.path_bytes)?;
        let aside = self.shelf().aside(&entry.path_bytes)?;
        let known = Known {
            document: document.as_ref(),
            aside: aside
                .as_ref()
                .filter(|aside| aside.tries >= DEATHS_MAX)
                .map(|aside| (aside.version.as_str(), aside.reason.as_str())),
        };
        let failure = match read_whole(named.path, &known, &self.read_options()) {
            Ok(read) => return Ok(Ok(read)),
            Err(failure) => failure,
        };
        let (reason, is_aside) = match failure {
            Failure::Passing(reason) if may_wait => return Ok(Err(Outcome::Later(reason))),
            Failure::Deadly {
                reason,
                version,
                stat,
            } => {
                let tries = self.shelf().put_aside(entry, &version, stat, &reason)?;
                let is_last = tries >= DEATHS_MAX;
                (if is_last { set_aside(&reason) } else { reason }, false)
            }
            Failure::Passing(reason) | Failure::Lasting(reason) => (reason, false),
            Failure::SetAside(reason) => (reason, true),
        };
        self.shelf().fail(entry, named.shown, &reason, named.audience)?;
        Ok(Err(if is_aside {
            Outcome::SetAside(reason)
        } else {
            Outcome::Failed(reason)
        }))
    }

    /// Writes what was read of a file.
    fn store_read(
        &self,
        entry: &QueueEntry,
        read: &ReadFile,
        named: &Named<'_>,
    ) -> Result<Outcome, StoreError> {
        let known = self.shelf().by_path(&entry.path_bytes)?;
        let is_known = known.is_some();
        let document_id = match known {
            Some(known) => known.document_id,
            None => self.new_id(entry.origin, &entry.path_bytes, named.shown)?,
        };
        let new = NewDocument {
            document_id: &document_id,
            origin: entry.origin,
            path: named.shown,
            path_bytes: &entry.path_bytes,
            version: &read.version,
            stat: read.stat,
            audience: named.audience,
            ruled: named.ruled,
            now_ms: unix_ms(),
        };
        let Some(prepared) = &read.prepared else {
            self.shelf().touch(&new)?;
            return Ok(Outcome::Unchanged);
        };
        self.shelf().put(&new, prepared)?;
        let size = Size {
            passages: prepared.passages.len(),
            pages: prepared.n_pages.unwrap_or(0) as usize,
        };
        Ok(if is_known {
            Outcome::Changed(size)
        } else {
            Outcome::Added(size)
        })
    }

    /// The id of a new document: by its path, unless a document that once lay there has it.
    pub(crate) fn new_id(
        &self,
        origin: Origin,
        path_bytes: &[u8],
        shown: &str,
    ) -> Result<String, StoreError> {
        let mut path_bytes = path_bytes.to_vec();
        let mut name = shown.to_owned();
        loop {
            let id = match origin {
                Origin::File => id_of_file(&path_bytes),
                Origin::Upload => Self::upload_id(&name),
                Origin::Source => id_of_source(&path_bytes),
            };
            if !self.shelf().has_document(&id)? {
                return Ok(id);
            }
            // No path has a zero in it.
            path_bytes.push(0);
            name.push('\0');
        }
    }

    /// Makes the rules of this data directory those of all who share its documents; they hold with the next ingest.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn publish_rules(&self) -> Result<(), StoreError> {
        self.shelf().publish_rules(&self.dir)
    }

    /// Forgets that files were set aside, so that the next ingest tries them again.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn retry_set_aside(&self) -> Result<(), StoreError> {
        self.shelf().clear_aside()
    }
}

impl Run<'_> {
    /// Counts what became of a file; returns its details, and why it failed.
    fn count(&mut self, outcome: Outcome, shown: &str) -> (FileDetails, Option<String>) {
        let report = &mut self.report;
        let (outcome, size, failed) = match outcome {
            Outcome::Unchanged => {
                report.unchanged += 1;
                (FileOutcome::Unchanged, Size::default(), None)
            }
            Outcome::Added(size) => {
                report.added += 1;
                (FileOutcome::Added, size, None)
            }
            Outcome::Changed(size) => {
                report.changed += 1;
                (FileOutcome::Changed, size, None)
            }
            Outcome::Moved(size) => {
                report.moved += 1;
                (FileOutcome::Changed, size, None)
            }
            Outcome::Failed(reason) | Outcome::Later(reason) => {
                (FileOutcome::Failed, Size::default(), Some(reason))
            }
            Outcome::SetAside(reason) => (FileOutcome::SetAside, Size::default(), Some(reason)),
        };
        report.passages += size.passages;
        report.pages += size.pages;
        report.failed.extend(failed.clone().map(|reason| FailedFile {
            path: shown.to_owned(),
            reason,
        }));
        let mut details = FileDetails::found(outcome);
        details.passages = size.passages;
        details.pages = size.pages;
        (details, failed)
    }
}

/// A queued file with what is stated of it from outside.
struct Named<'a> {
    path: &'a Path,
    /// For people.
    shown: &'a str,
    audience: &'a Audience,
    ruled: &'a Ruled,
}

impl Store {
    /// Takes in a document that is given as pages of text, for a trial.
    pub(crate) fn ingest_pages(&self, name: &str, pages: &[(Option<u32>, &str)]) -> Result<(), StoreError> {
        let prepared = prepare_pages(name, pages);
        let document_id = Self::upload_id(name);
        let version = version_of(prepared.text.as_bytes());
        let new = NewDocument {
            document_id: &document_id,
            origin: Origin::Upload,
            path: name,
            path_bytes: name.as_bytes(),
            version: &version,
            stat: Stat {
                bytes: prepared.text.len() as u64,
                mtime_ns: 0,
                ctime_ns: 0,
                device: 0,
            },
            audience: &Audience::everyone(),
            ruled: &Ruled::default(),
            now_ms: unix_ms(),
        };
        self.shelf().put(&new, &prepared)
    }

    /// Makes everything that [`Store::ingest_pages`] took in searchable.
    pub(crate) fn finish_pages(&self) -> Result<(), StoreError> {
        self.shelf().flush()
    }
}
