//! Taking documents in: walk, durable queue, one transaction for each document.
//!
//! The files to read are recorded before the first is read. Whatever cuts an ingest off, what is done is done and
//! the rest is still queued; the next ingest or [`Store::resume`] goes on with it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use stdx::clock::{Stopwatch, unix_ms};
use stdx::fs;
use stdx::hash::sha256_hex;
use unicode_normalization::UnicodeNormalization;

use crate::access::{self, Audience, SOURCES};
use crate::catalog::{NewDocument, Origin, QueueEntry, Stat, StoredDocument};
use crate::error::StoreError;
use crate::mirror::Addresses;
use crate::passage::CUTTER_VERSION;
use crate::prepare::{Prepared, ReadOptions, prepare, prepare_pages};
use crate::read::{ReadError, load};
use crate::store::{Store, held, id_of_file, id_of_source};
use crate::types::{FailedFile, Go, IngestEvent, IngestReport};
use crate::validity::{self, Ruled};
use crate::walk::{Walk, stat_of};

/// Longer names of uploads are refused.
const UPLOAD_NAME_BYTES_MAX: usize = 200;
/// How often a file that changes while it is read is read again.
const READS_MAX: usize = 2;
/// A file changed less than this before it was read may change again without a new time stamp.
const CLOCK_TICK_NS: i64 = 20_000_000;
/// Hexadecimal digits of a version.
const VERSION_DIGITS: usize = 12;

/// What became of one file.
enum Outcome {
    Added(Size),
    Changed(Size),
    Unchanged,
    Failed(String),
}

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
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        store: &Store,
        on_event: &'a mut dyn FnMut(IngestEvent) -> Go,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            report: IngestReport::default(),
            on_event,
            stop: false,
            rules: access::Rules::load(&store.dir)?,
            validity: validity::Rules::load(&store.dir)?,
            addresses: Addresses::of(&store.dir),
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
        let name: String = name.nfc().collect();
        let hidden = name.starts_with('.');
        if name.is_empty() || hidden || name.contains(['/', '\\', '\0']) || name.len() > UPLOAD_NAME_BYTES_MAX
        {
            return Err(StoreError::BadUploadName {
                name,
                max: UPLOAD_NAME_BYTES_MAX,
            });
        }
        let _one_at_a_time = held(&self.ingesting);
        let entry = QueueEntry {
            path_bytes: name.clone().into_bytes(),
            origin: Origin::Upload,
            file_bytes: bytes.len() as u64,
        };
        self.write(|store, writer| {
            fs::create_dir_all(store.uploads()).map_err(StoreError::file)?;
            fs::write_atomic(store.uploads().join(&name), bytes).map_err(StoreError::file)?;
            store
                .catalog
                .enqueue(writer.connect(&store.catalog)?, std::slice::from_ref(&entry))?;
            store.fail_point("upload queued")
        })?;
        let mut nothing = |_| Go::On;
        let mut run = Run::new(self, &mut nothing)?;
        self.one(&entry, &mut run)?;
        self.write(Self::flush)?;
        *held(&self.read_only) = None;
        if let Some(failed) = run.report.failed.pop() {
            return Err(StoreError::Refused {
                name,
                reason: failed.reason,
            });
        }
        run.report.s = watch.s();
        Ok(run.report)
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
        for (path, stat) in &walk.files {
            match self.entry_if_changed(path, stat)? {
                Some(entry) => entries.push(entry),
                None => unchanged.push((path.display().to_string(), stat.bytes)),
            }
        }
        self.remember(&walk.folders)?;
        self.carry_out(&entries, gone, run)?;
        self.forget_failures(&walk)?;
        run.report.failed = std::mem::take(&mut walk.failed);
        self.announce(unchanged, run)
    }

    /// Queues files, then removes the documents of files that are gone.
    pub(crate) fn carry_out(
        &self,
        entries: &[QueueEntry],
        mut gone: Vec<String>,
        run: &mut Run<'_>,
    ) -> Result<(), StoreError> {
        self.write(|store, writer| {
            store.catalog.enqueue(writer.connect(&store.catalog)?, entries)?;
            store.fail_point("files queued")
        })?;
        gone.sort_unstable();
        gone.dedup();
        run.report.removed = self.erase_ids(&gone)?;
        Ok(())
    }

    /// A file as the queue takes it, unless it is known as it is.
    pub(crate) fn entry_if_changed(
        &self,
        path: &Path,
        stat: &Stat,
    ) -> Result<Option<QueueEntry>, StoreError> {
        let (origin, path_bytes) = self.identity(path);
        let known = self.catalog.by_path(&path_bytes)?;
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
        let mut known: Vec<StoredDocument> = self.catalog.by_path(&prefix)?.into_iter().collect();
        if !prefix.ends_with(b"/") {
            prefix.push(b'/');
        }
        known.extend(self.catalog.below(origin, &prefix)?);
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

    pub(crate) fn announce(
        &self,
        unchanged: Vec<(String, u64)>,
        run: &mut Run<'_>,
    ) -> Result<(), StoreError> {
        let queue = self.catalog.queue()?;
        let bytes = queue
            .iter()
            .map(|e| e.file_bytes)
            .chain(unchanged.iter().map(|u| u.1))
            .sum();
        run.report.unchanged = unchanged.len();
        run.tell(IngestEvent::Planned {
            files: queue.len() + unchanged.len(),
            bytes,
        });
        for (path, bytes) in unchanged {
            run.tell(IngestEvent::Finished {
                path,
                bytes,
                failed: None,
            });
        }
        Ok(())
    }

    /// Works through the queue.
    pub(crate) fn drain(&self, run: &mut Run<'_>) -> Result<(), StoreError> {
        for entry in self.catalog.queue()? {
            if run.stop {
                break;
            }
            self.one(&entry, run)?;
        }
        self.write(Self::flush)?;
        *held(&self.read_only) = None;
        Ok(())
    }

    /// Takes in one queued file.
    fn one(&self, entry: &QueueEntry, run: &mut Run<'_>) -> Result<(), StoreError> {
        let path = self.place(entry.origin, &entry.path_bytes);
        let shown = match entry.origin {
            Origin::File => path.display().to_string(),
            Origin::Upload => String::from_utf8_lossy(&entry.path_bytes).into_owned(),
            Origin::Source => run.addresses.of_file(&path),
        };
        run.tell(IngestEvent::Reading { path: shown.clone() });
        if run.stop {
            return Ok(());
        }
        let (audience, ruled) = match entry.origin {
            Origin::File | Origin::Source => (run.rules.of_file(&path), run.validity.of_file(&path)),
            Origin::Upload => (
                run.rules.of_upload(&entry.path_bytes),
                run.validity.of_upload(&entry.path_bytes),
            ),
        };
        let named = Named {
            path: &path,
            shown: &shown,
            audience: &audience,
            ruled: &ruled,
        };
        let outcome = self.take_in(entry, &named)?;
        let mut failed = None;
        match outcome {
            Outcome::Unchanged => run.report.unchanged += 1,
            Outcome::Added(size) => {
                run.report.added += 1;
                run.report.count(&size);
            }
            Outcome::Changed(size) => {
                run.report.changed += 1;
                run.report.count(&size);
            }
            Outcome::Failed(reason) => {
                run.report.failed.push(FailedFile {
                    path: shown.clone(),
                    reason: reason.clone(),
                });
                failed = Some(reason);
            }
        }
        run.tell(IngestEvent::Finished {
            path: shown,
            bytes: entry.file_bytes,
            failed,
        });
        Ok(())
    }

    fn take_in(&self, entry: &QueueEntry, named: &Named<'_>) -> Result<Outcome, StoreError> {
        let (shown, audience) = (named.shown, named.audience);
        let known = self.catalog.by_path(&entry.path_bytes)?;
        let read = match read_whole(named.path, known.as_ref(), &self.read_options()) {
            Ok(read) => read,
            Err(reason) => {
                self.write(|store, writer| {
                    let connection = writer.connect(&store.catalog)?;
                    store.catalog.fail(connection, entry, shown, &reason, audience)
                })?;
                return Ok(Outcome::Failed(reason));
            }
        };
        let document_id = match entry.origin {
            Origin::File => id_of_file(&entry.path_bytes),
            Origin::Upload => Self::upload_id(shown),
            Origin::Source => id_of_source(&entry.path_bytes),
        };
        let new = NewDocument {
            document_id: &document_id,
            origin: entry.origin,
            path: shown,
            path_bytes: &entry.path_bytes,
            version: &read.version,
            stat: read.stat,
            audience,
            ruled: named.ruled,
            now_ms: unix_ms(),
        };
        self.write(|store, writer| {
            let connection = writer.connect(&store.catalog)?;
            let Some(prepared) = &read.prepared else {
                store.catalog.touch(connection, &new)?;
                return Ok(Outcome::Unchanged);
            };
            let seq = store.catalog.put(connection, &new, prepared)?;
            store.fail_point("document committed")?;
            store.index(writer, &[(document_id.clone(), seq)])?;
            let size = Size {
                passages: prepared.passages.len(),
                pages: prepared.n_pages.unwrap_or(0) as usize,
            };
            Ok(if known.is_some() {
                Outcome::Changed(size)
            } else {
                Outcome::Added(size)
            })
        })
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

impl IngestReport {
    fn count(&mut self, size: &Size) {
        self.passages += size.passages;
        self.pages += size.pages;
    }
}

/// A file read without changing meanwhile.
struct ReadFile {
    version: String,
    stat: Stat,
    /// `None` where the bytes are the stored ones.
    prepared: Option<Prepared>,
}

/// Reads a file; the error is one sentence for people.
fn read_whole(
    path: &Path,
    known: Option<&StoredDocument>,
    options: &ReadOptions,
) -> Result<ReadFile, String> {
    for _ in 0..READS_MAX {
        let before = stat(path)?;
        let bytes = load(path, &options.limits).map_err(|error: ReadError| error.to_string())?;
        let mut version = sha256_hex(&bytes);
        version.truncate(VERSION_DIGITS);
        let same = known.is_some_and(|known| known.version == version && is_cut_as_now(known));
        let prepared = if same {
            None
        } else {
            Some(prepare(path, &bytes, options)?)
        };
        if stat(path)? == before {
            return Ok(ReadFile {
                version,
                stat: settled(before),
                prepared,
            });
        }
    }
    Err("it changes while it is being read; ingest it again when it is complete".to_owned())
}

/// Whether a document's passages are the ones that would be cut now.
fn is_cut_as_now(known: &StoredDocument) -> bool {
    known.cutter == i64::from(CUTTER_VERSION)
}

fn stat(path: &Path) -> Result<Stat, String> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(stat_of(&metadata)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err("it was there when the folder was listed and is gone now".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A file that changed just now may change again within the same tick of the clock: its time is not trusted.
fn settled(stat: Stat) -> Stat {
    let now_ns = unix_ms().saturating_mul(1_000_000);
    if now_ns.saturating_sub(stat.mtime_ns.max(stat.ctime_ns)) < CLOCK_TICK_NS {
        return Stat {
            mtime_ns: i64::MIN,
            ..stat
        };
    }
    stat
}

impl Store {
    /// Takes in a document that is given as pages of text, for a trial.
    pub(crate) fn ingest_pages(&self, name: &str, pages: &[(u32, &str)]) -> Result<(), StoreError> {
        let prepared = prepare_pages(name, pages);
        let document_id = Self::upload_id(name);
        let mut version = sha256_hex(prepared.text.as_bytes());
        version.truncate(VERSION_DIGITS);
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
        self.write(|store, writer| {
            let seq = store
                .catalog
                .put(writer.connect(&store.catalog)?, &new, &prepared)?;
            store.index(writer, &[(document_id.clone(), seq)])
        })
    }

    /// Makes everything that [`Store::ingest_pages`] took in searchable.
    pub(crate) fn finish_pages(&self) -> Result<(), StoreError> {
        self.write(Self::flush)
    }
}
