//! Rules by path in a file of the data directory, whatever they state: `access.toml`, `validity.toml`.
//!
//! Not what a rule means for a document: that is for [`crate::access`] and [`crate::validity`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use stdx::fs;

use crate::access::{SOURCES, UPLOADS};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesToml<T> {
    #[serde(default = "Vec::new")]
    rule: Vec<T>,
}

/// What rules state, by the real path that each names.
#[derive(Debug)]
pub(crate) struct ByPath<T> {
    by_path: BTreeMap<PathBuf, T>,
    /// Where uploads are kept.
    uploads: PathBuf,
}

impl<T> ByPath<T> {
    /// Reads the rules of the real path `dir` from the file `name` in it; none where there is no such file. `parse`
    /// takes a rule's path and what it states out of its TOML.
    ///
    /// # Errors
    /// One sentence for people about a file that cannot be read or understood.
    pub(crate) fn load<R: DeserializeOwned>(
        dir: &Path,
        name: &str,
        parse: impl Fn(R) -> (PathBuf, Result<T, String>),
    ) -> Result<Self, String> {
        let text = match fs::read_to_string(dir.join(name)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.to_string()),
        };
        let rules: RulesToml<R> = toml::from_str(&text).map_err(|error| error.to_string())?;
        let mut by_path = BTreeMap::new();
        for (path, stated) in rules.rule.into_iter().map(parse) {
            let shown = path.display();
            let stated = stated.map_err(|what| format!("the rule for `{shown}`: {what}"))?;
            if by_path.insert(real_path(dir, &path)?, stated).is_some() {
                return Err(format!("there are two rules for `{shown}`; make them one"));
            }
        }
        Ok(Self {
            by_path,
            uploads: dir.join(UPLOADS),
        })
    }

    /// What is stated of a path, from the longest rule to the shortest.
    pub(crate) fn above<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a T> {
        path.ancestors().filter_map(|above| self.by_path.get(above))
    }

    /// Where an upload lies.
    pub(crate) fn upload(&self, name: &[u8]) -> PathBuf {
        self.uploads.join(OsStr::from_bytes(name))
    }

    /// The paths that rules name.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.by_path.keys().map(PathBuf::as_path)
    }
}

/// The real path that a rule names.
fn real_path(dir: &Path, path: &Path) -> Result<PathBuf, String> {
    let goes_up = path.components().any(|step| step == Component::ParentDir);
    let is_ours = path.starts_with(UPLOADS) || path.starts_with(SOURCES);
    if goes_up || !path.is_absolute() && !is_ours {
        let shown = path.display();
        return Err(format!(
            "the path `{shown}` is not absolute, and not `{UPLOADS}`, `{SOURCES}` or a name below one of them; nor may \
             it hold `..`"
        ));
    }
    // Documents are known by their real path; joining an absolute one gives that one.
    let whole = dir.join(path);
    Ok(fs::canonicalize(&whole).unwrap_or(whole))
}
