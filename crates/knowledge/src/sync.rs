//! Keeping folders in step: which ones, and taking in exactly what changed in them.
//!
//! Not the watching: that is [`crate::watch`], which finds out what changed and calls [`Store::follow`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use stdx::clock::{Stopwatch, unix_ms};
use stdx::fs;

use crate::access::{self, FOLDER_FILE};
use crate::catalog::Stat;
use crate::error::StoreError;
use crate::ingest::Run;
use crate::store::{Store, held};
use crate::types::{Go, IngestEvent, IngestReport};
use crate::validity;
use crate::walk::{Walk, stat_of};

/// What following changes did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Followed {
    /// As for an ingest.
    pub report: IngestReport,
    /// Files that were left alone because they changed a moment ago (somebody may still write them), and places of gone
    /// files that may be one of them.
    pub unsettled: Vec<PathBuf>,
}

/// What a changed path is in its folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A file or folder whose documents may have changed.
    Documents,
    /// A file that says who may read a folder.
    Access,
}

/// What a path below a folder is, if it is anything: what is hidden is not.
pub(crate) fn change_in(folder: &Path, path: &Path) -> Option<Change> {
    let inside = path.strip_prefix(folder).ok()?;
    let is_hidden = |step: Component<'_>| step.as_os_str().as_bytes().starts_with(b".");
    if inside.file_name() == Some(OsStr::new(FOLDER_FILE)) {
        let above = inside.parent().unwrap_or(Path::new(""));
        return (!above.components().any(is_hidden)).then_some(Change::Access);
    }
    (!inside.components().any(is_hidden)).then_some(Change::Documents)
}

impl Store {
    /// The folders that were ever ingested and not forgotten: those that are kept in step.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn folders(&self) -> Result<Vec<PathBuf>, StoreError> {
        let folders = self.shelf().folders()?;
        Ok(folders
            .iter()
            .map(|folder| PathBuf::from(OsStr::from_bytes(folder)))
            .collect())
    }

    /// Keeps a folder in step no more; its documents stay as they are. False if it was not.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn forget_folder(&self, folder: &Path) -> Result<bool, StoreError> {
        // It may be gone already; then its path is taken as it was named.
        let absolute = fs::canonicalize(folder)
            .or_else(|_| std::path::absolute(folder).map_err(|e| fs::FsError::new("find", folder, e)))?;
        let forgotten = self.shelf().drop_folder(absolute.as_os_str().as_bytes())?;
        self.folders_changed.fetch_add(1, Relaxed);
        Ok(forgotten)
    }

    /// Remembers folders of the house; those inside the data directory are kept by whoever fills them.
    pub(crate) fn remember(&self, folders: &[PathBuf]) -> Result<(), StoreError> {
        let folders: Vec<&[u8]> = folders
            .iter()
            .filter(|folder| !folder.starts_with(&self.dir))
            .map(|folder| folder.as_os_str().as_bytes())
            .collect();
        if folders.is_empty() {
            return Ok(());
        }
        let n_new = self.shelf().put_folders(&folders)?;
        if n_new > 0 {
            self.folders_changed.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Takes in what changed at these paths of remembered folders: new and changed files, documents of files that are
    /// gone, and whole folders (the remembered ones themselves, too). Paths elsewhere are passed over. Files that
    /// changed less than `rest` ago are left alone and named.
    ///
    /// # Errors
    /// As for [`Store::ingest`].
    pub fn follow(
        &self,
        changes: &[PathBuf],
        rest: Duration,
        on_event: &mut dyn FnMut(IngestEvent) -> Go,
    ) -> Result<Followed, StoreError> {
        let _one_at_a_time = held(&self.ingesting);
        let watch = Stopwatch::start();
        let mut run = Run::new(self, on_event)?;
        let folders = self.folders()?;
        let mut plan = Plan::default();
        for path in changes {
            self.look(path, &folders, &mut plan)?;
        }
        let rules = [access::RULES_FILE, validity::RULES_FILE]
            .map(|name| fs::metadata(self.dir.join(name)).map(|m| stat_of(&m)).ok());
        let mut rules_changed = false;
        if plan.access_changed || rules != *held(&self.rules_seen) {
            self.refresh_standings(&mut run.rules, &run.validity)?;
            rules_changed = rules != *held(&self.rules_seen);
            *held(&self.rules_seen) = rules;
        }
        let Plan {
            mut walk, mut gone, ..
        } = plan;
        let mut unsettled = Vec::new();
        let mut new = Vec::new();
        let mut entries = Vec::new();
        for (path, stat) in &walk.files {
            match self.entry_if_changed(path, stat)? {
                None => run.report.unchanged += 1,
                Some(entry) if changed_within(stat, rest) => {
                    unsettled.push(path.clone());
                    if self.shelf().by_path(&entry.path_bytes)?.is_none() {
                        new.push(path.clone());
                    }
                }
                Some(entry) => entries.push(entry),
            }
        }
        unsettled.extend(self.wait_for_moved(&new, &mut gone)?);
        self.carry_out(&entries, gone, &mut run)?;
        run.report.failed = std::mem::take(&mut walk.failed);
        self.drain(&mut run)?;
        if rules_changed {
            run.report.warnings = self.idle_rules(&run.rules, &run.validity)?;
        }
        Ok(Followed {
            report: run.end(&watch),
            unsettled,
        })
    }

    /// Finds out what a changed path is now.
    fn look(&self, path: &Path, folders: &[PathBuf], plan: &mut Plan) -> Result<(), StoreError> {
        let walk = &mut plan.walk;
        let Some((folder, change)) = folders
            .iter()
            .filter(|_| !path.starts_with(&self.dir))
            .find_map(|folder| change_in(folder, path).map(|change| (folder, change)))
        else {
            return Ok(());
        };
        if change == Change::Access {
            plan.access_changed = true;
            return Ok(());
        }
        match fs::symlink_metadata(path) {
            // Behind a link that took a folder's place lies something that nobody named.
            Ok(_) if !fs::canonicalize(path).is_ok_and(|real| real == path) => {
                walk.unreadable.push(path.to_owned());
            }
            Ok(metadata) if metadata.is_dir() => {
                plan.access_changed |= path == folder;
                walk.folder(path, &self.dir, 0);
            }
            Ok(metadata) if metadata.is_file() => walk.file(path.to_owned(), &metadata),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path != folder => {}
            Err(error) => {
                // Of a whole folder that is not there nothing is removed: a disk may not be mounted.
                walk.unreadable.push(path.to_owned());
                walk.fail(path, &format!("{error}; its documents were kept"));
            }
        }
        let known = self.known_at(path)?;
        plan.gone.extend(walk.gone(folder, known));
        Ok(())
    }
}

#[derive(Default)]
struct Plan {
    walk: Walk,
    /// Documents whose file is gone.
    gone: Vec<String>,
    /// What folders or the file of rules state may be new.
    access_changed: bool,
}

/// Whether a file changed less than `rest` ago. File systems tell time more finely than our clock, so a change of this
/// moment may lie a little ahead of it; a time far in the future is somebody else's clock and says nothing.
fn changed_within(stat: &Stat, rest: Duration) -> bool {
    let now_ns = unix_ms().saturating_mul(1_000_000);
    let rest_ns = u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX);
    [stat.mtime_ns, stat.ctime_ns]
        .into_iter()
        .any(|then| now_ns.abs_diff(then) < rest_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_a_little_ahead_of_our_clock_is_fresh_and_one_far_ahead_is_not() {
        let rest = Duration::from_secs(60);
        let now_ns = unix_ms() * 1_000_000;
        let changed = |ahead_ns: i64| Stat {
            bytes: 1,
            mtime_ns: now_ns + ahead_ns,
            ctime_ns: 0,
            device: 0,
        };
        assert!(changed_within(&changed(900_000), rest));
        assert!(changed_within(&changed(-1_000_000_000), rest));
        assert!(!changed_within(&changed(3_600_000_000_000), rest));
        assert!(!changed_within(&changed(-3_600_000_000_000), rest));
    }
}
