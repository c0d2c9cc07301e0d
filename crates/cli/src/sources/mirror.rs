//! Bringing the copies of one source up to date: what is listed, what is here, and the steps from one to the other.
//!
//! Each copy appears whole under its name or not at all. The manifest is written after the copies it speaks of, so after
//! a crash a copy may be fetched once more, never missed. What says who may read a folder is fetched before anything
//! that it is about, and deleted after it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use knowledge::access::{FOLDER_FILE, SOURCES};
use knowledge::mirror::{Manifest, Object, folder};
use stdx::clock::Stopwatch;
use stdx::fs;
use stdx::lock::{FileLock, LockError};
use ureq::http::Request;

use super::client::{Client, Fetched, Trouble};
use super::names;
use super::spec::Spec;
use super::{Listed, Listing};

/// The manifest is written at least this often while much is fetched.
const SAVE_EVERY_S: f64 = 10.0;
/// After this many objects in a row that could not be fetched, the source is left alone.
const FAILURES_MAX: usize = 8;

/// A kind of source.
pub(super) trait Remote {
    /// Everything that is there, or an error: never a part of it.
    fn list(&self) -> Result<Listing, Trouble>;
    /// How an object is asked for, given what is known of its copy.
    fn request(&self, object: &Listed, known: Option<&Object>) -> Result<Request<()>, Trouble>;
    /// Who asks.
    fn fetch_from(&self) -> &Client<'_>;
    /// Whether the list says which objects have changed; otherwise each is asked for.
    fn tells_changes(&self) -> bool {
        true
    }
}

/// What bringing a source up to date did to its copies.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Mirrored {
    /// Objects that the source lists and that are documents.
    pub(crate) listed: usize,
    /// Copies written.
    pub(crate) fetched: usize,
    /// Copies deleted.
    pub(crate) deleted: usize,
    /// Addresses that could not be fetched, and why; older copies were kept.
    pub(crate) failed: Vec<(String, String)>,
}

/// Brings the copies of one source up to date.
pub(super) fn run(
    remote: &dyn Remote,
    spec: &Spec,
    dir: &Path,
    stop: &dyn Fn() -> bool,
) -> Result<Mirrored, Trouble> {
    let sources = dir.join(SOURCES);
    fs::create_dir_all(&sources).map_err(local)?;
    fs::make_private(&sources).map_err(local)?;
    let _lock = lock(&sources, &spec.name)?;
    let manifest = Manifest::load(dir, &spec.name).map_err(|error| Trouble::new(error.to_string()))?;
    let listing = remote.list()?;
    let mut work = Work {
        remote,
        spec,
        dir,
        part: sources.join(format!(".{}.part", spec.name)),
        manifest,
        saved: Stopwatch::start(),
        is_dirty: false,
        done: Mirrored::default(),
        stop,
    };
    let wanted = work.wanted(listing.objects);
    let result = work.carry_out(&wanted, &listing.closed);
    // What was done before a failure is kept, and known.
    let saved = work.save();
    let _ = fs::remove_file(&work.part);
    result?;
    saved?;
    Ok(work.done)
}

fn lock(sources: &Path, name: &str) -> Result<FileLock, Trouble> {
    let mut lock =
        FileLock::try_acquire(sources.join(format!("{name}.lock"))).map_err(|error| match error {
            LockError::Held { holder, .. } => {
                Trouble::new(format!("another process is fetching it ({holder})"))
                    .hint("wait until it is done")
            }
            LockError::Fs(error) => local(error),
        })?;
    lock.describe(&format!("process {}", std::process::id()))
        .map_err(local)?;
    Ok(lock)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn local(error: fs::FsError) -> Trouble {
    let trouble = Trouble::new(error.to_string());
    if error.is_no_space() {
        trouble.hint("make room on the disk of the data directory")
    } else {
        trouble
    }
}

struct Work<'a> {
    remote: &'a dyn Remote,
    spec: &'a Spec,
    dir: &'a Path,
    /// Where a copy lies until it is whole.
    part: PathBuf,
    manifest: Manifest,
    saved: Stopwatch,
    is_dirty: bool,
    done: Mirrored,
    stop: &'a dyn Fn() -> bool,
}

/// What is to be here, by the path of its copy.
type Wanted = BTreeMap<String, Listed>;

impl Work<'_> {
    fn wanted(&mut self, objects: Vec<Listed>) -> Wanted {
        let mut keys = BTreeSet::new();
        let (mut paths, mut kept) = (Vec::new(), Vec::new());
        for object in objects {
            // A list that is made while things change may name one twice.
            if let Some(path) = names::path_of(&object.key).filter(|_| keys.insert(object.key.clone())) {
                paths.push(path);
                kept.push(object);
            }
        }
        names::part_files_from_folders(&mut paths);
        let wanted: Wanted = paths.into_iter().zip(kept).collect();
        self.done.listed = wanted.len();
        wanted
    }

    fn carry_out(&mut self, wanted: &Wanted, closed: &[(String, String)]) -> Result<(), Trouble> {
        for (key, why) in closed {
            self.done
                .failed
                .push((key.clone(), format!("{why}; what was below it was kept")));
        }
        let gone = self.gone(wanted, closed);
        let (rules_gone, gone): (Vec<String>, Vec<String>) =
            gone.into_iter().partition(|path| is_rules(path));
        for path in &gone {
            self.delete(path)?;
        }
        for (path, object) in wanted.iter().filter(|(path, _)| is_rules(path)) {
            // Without it, what lies in its folder could be read by those who may not.
            self.update(path, object).map_err(|why| {
                Trouble::new(format!(
                    "`{}` cannot be fetched: {}",
                    object.address,
                    why.sentence()
                ))
                .hint("it says who may read its folder, so nothing of this source was fetched")
            })?;
        }
        let mut failures = 0;
        for (path, object) in wanted.iter().filter(|(path, _)| !is_rules(path)) {
            match self.update(path, object) {
                Ok(()) => failures = 0,
                Err(why) if (self.stop)() => return Err(why),
                Err(why) => {
                    failures += 1;
                    self.done.failed.push((object.address.clone(), why.sentence()));
                    if failures >= FAILURES_MAX && why.status.is_none_or(|status| status != 404) {
                        return Err(Trouble {
                            message: format!(
                                "{failures} objects in a row could not be fetched: {}",
                                why.message
                            ),
                            ..why
                        });
                    }
                }
            }
            if self.saved.s() > SAVE_EVERY_S {
                self.save()?;
            }
        }
        for path in &rules_gone {
            self.delete(path)?;
        }
        Ok(())
    }

    /// Copies of objects that are not listed any more, except where nothing could be listed.
    fn gone(&self, wanted: &Wanted, closed: &[(String, String)]) -> Vec<String> {
        let is_closed = |key: &str| closed.iter().any(|(prefix, _)| key.starts_with(prefix.as_str()));
        let objects = self.manifest.objects.iter();
        objects
            .filter(|(path, object)| !wanted.contains_key(*path) && !is_closed(&object.key))
            .map(|(path, _)| path.clone())
            .collect()
    }

    fn place(&self, path: &str) -> PathBuf {
        folder(self.dir, &self.spec.name).join(path)
    }

    fn update(&mut self, path: &str, object: &Listed) -> Result<(), Trouble> {
        let place = self.place(path);
        let here = fs::symlink_metadata(&place)
            .ok()
            .filter(std::fs::Metadata::is_file);
        // A copy that somebody removed or cut is fetched again, whatever the manifest says.
        let known = self.manifest.objects.get(path).cloned();
        let known = known.filter(|known| here.as_ref().is_some_and(|here| here.len() == known.bytes));
        if let Some(known) = &known
            && self.remote.tells_changes()
            && is_same(known, object)
        {
            if known.address != object.address {
                self.remember(path, object, known.clone());
            }
            return Ok(());
        }
        let max = self.spec.max_bytes;
        if let Some(bytes) = object.bytes.filter(|bytes| *bytes > max) {
            return Err(Trouble::new(format!(
                "it has {bytes} bytes, more than the {max} that are fetched"
            ))
            .hint("`max_bytes` of the source sets the limit"));
        }
        let request = || self.remote.request(object, known.as_ref());
        let fetched = self
            .remote
            .fetch_from()
            .fetch(&request, &self.part, max, object.bytes)?;
        self.took(path, object, fetched, known)
    }

    /// Does what follows from an answer.
    fn took(
        &mut self,
        path: &str,
        object: &Listed,
        fetched: Fetched,
        known: Option<Object>,
    ) -> Result<(), Trouble> {
        match (fetched, known) {
            (Fetched::NotModified, Some(known)) => {
                if known.address != object.address {
                    self.remember(path, object, known);
                }
                Ok(())
            }
            (Fetched::NotModified, None) => {
                Err(Trouble::new("it was not sent, though nothing of it is here")
                    .hint("is a proxy on the way?"))
            }
            (Fetched::Gone, _) => {
                if self.manifest.objects.contains_key(path) {
                    self.delete(path)?;
                }
                Err(Trouble::new("the server says that it is gone for good").hint("take it off the list"))
            }
            (
                Fetched::Written {
                    bytes,
                    etag,
                    modified,
                },
                _,
            ) => {
                self.put_in_place(&self.place(path))?;
                // A list's own words are compared with the next list's; where there are none, those of the answer.
                let (etag, modified) = if self.remote.tells_changes() {
                    (object.etag.clone(), object.modified.clone())
                } else {
                    (etag, modified)
                };
                let copy = Object {
                    key: object.key.clone(),
                    address: object.address.clone(),
                    etag,
                    modified,
                    bytes,
                };
                self.remember(path, object, copy);
                Ok(())
            }
        }
    }

    fn remember(&mut self, path: &str, object: &Listed, mut copy: Object) {
        copy.address.clone_from(&object.address);
        self.manifest.objects.insert(path.to_owned(), copy);
        self.is_dirty = true;
    }

    /// Moves what was fetched to its place, unless the same bytes lie there.
    fn put_in_place(&mut self, place: &Path) -> Result<(), Trouble> {
        if is_alike(place, &self.part) {
            return Ok(());
        }
        if let Some(above) = place.parent() {
            fs::create_dir_all(above).map_err(local)?;
        }
        fs::rename(&self.part, place).map_err(local)?;
        self.done.fetched += 1;
        Ok(())
    }

    fn delete(&mut self, path: &str) -> Result<(), Trouble> {
        let place = self.place(path);
        match fs::remove_file(&place) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(local(error)),
        }
        let root = folder(self.dir, &self.spec.name);
        // Folders that have become empty go, too; one that has not refuses.
        for above in place.ancestors().skip(1).take_while(|above| *above != root) {
            if std::fs::remove_dir(above).is_err() {
                break;
            }
        }
        self.manifest.objects.remove(path);
        self.is_dirty = true;
        self.done.deleted += 1;
        Ok(())
    }

    fn save(&mut self) -> Result<(), Trouble> {
        if self.is_dirty {
            self.manifest
                .save(self.dir, &self.spec.name)
                .map_err(|error| Trouble::new(error.to_string()))?;
            self.is_dirty = false;
        }
        self.saved = Stopwatch::start();
        Ok(())
    }
}

/// Whether two files hold the same bytes.
fn is_alike(a: &Path, b: &Path) -> bool {
    let length = |path: &Path| {
        fs::symlink_metadata(path)
            .ok()
            .filter(|m| m.is_file())
            .map(|m| m.len())
    };
    length(a).is_some() && length(a) == length(b) && fs::read(a).ok() == fs::read(b).ok()
}

fn is_rules(path: &str) -> bool {
    path.rsplit('/').next() == Some(FOLDER_FILE)
}

/// Whether a listed object is the one that was copied.
fn is_same(known: &Object, object: &Listed) -> bool {
    let is_told = object.etag.is_some() || object.modified.is_some();
    is_told
        && known.key == object.key
        && known.etag == object.etag
        && known.modified == object.modified
        && object.bytes.is_none_or(|bytes| bytes == known.bytes)
}
