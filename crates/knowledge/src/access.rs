//! Who may read what: groups of readers, audiences of documents, and where an audience is stated.
//!
//! A folder's own file [`FOLDER_FILE`] names the groups for all in it, until a folder below has one of its own; the
//! store's file [`RULES_FILE`] names them by path. Where both speak, a reader needs a group of each. What cannot be
//! understood admits nobody. Deciding happens in one place, [`Audience::admits`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stdx::fs;

use crate::error::StoreError;
use crate::rules::ByPath;

/// Names the groups that may read a folder, one on each line.
pub const FOLDER_FILE: &str = ".hanok-access";
/// Names groups by path, in the data directory.
pub const RULES_FILE: &str = "access.toml";
/// Stands for everyone where groups are named.
pub const EVERYONE: &str = "*";
/// What was uploaded lies under this name in the rules …
pub(crate) const UPLOADS: &str = "uploads";
/// … and what is copied from elsewhere under this one, with the source's name below it.
pub const SOURCES: &str = "sources";
/// Longer files of groups are refused.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Longer names of groups are refused.
const GROUP_CHARS_MAX: usize = 128;

/// Whoever asks: the groups that it is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Reader {
    sees_all: bool,
    groups: BTreeSet<String>,
}

impl Reader {
    /// In no group: reads what everyone may read.
    pub fn anyone() -> Self {
        Self::default()
    }

    /// Reads everything: whoever keeps the store.
    pub fn keeper() -> Self {
        Self {
            sees_all: true,
            groups: BTreeSet::new(),
        }
    }

    /// In these groups; [`EVERYONE`] is no group that one could be in.
    pub fn of(groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let groups = groups
            .into_iter()
            .map(Into::into)
            .filter(|group| group != EVERYONE);
        Self {
            sees_all: false,
            groups: groups.collect(),
        }
    }

    /// As a keeper states it: names parted by commas, or [`EVERYONE`] for a keeper's own rights.
    ///
    /// # Errors
    /// One sentence for people about a name that no group can have.
    pub fn stated(text: &str) -> Result<Self, String> {
        if text.trim() == EVERYONE {
            return Ok(Self::keeper());
        }
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<&str> = names.collect();
        names.iter().try_for_each(|name| check_group(name))?;
        Ok(Self::of(names))
    }

    /// What [`Reader::stated`] reads.
    pub fn to_stated(&self) -> String {
        if self.sees_all {
            return EVERYONE.to_owned();
        }
        self.groups
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Whether it reads everything.
    pub fn is_keeper(&self) -> bool {
        self.sees_all
    }

    /// Whether it may read everything that a reader of these rights may, as [`Reader::to_stated`] says them.
    pub(crate) fn sees_all_of(&self, stated: &str) -> bool {
        let other = Self::stated(stated);
        self.sees_all || other.is_ok_and(|other| !other.sees_all && other.groups.is_subset(&self.groups))
    }

    /// A text that is equal for readers of equal rights only, to key what is kept between requests.
    pub fn key(&self) -> String {
        if self.sees_all {
            return EVERYONE.to_owned();
        }
        let mut key = String::new();
        for group in &self.groups {
            // The length parts names, whatever is in them.
            key.push_str(&format!("{}:{group};", group.len()));
        }
        key
    }
}

/// Who may read a document: a reader needs one group of each list. No list at all admits everyone, an empty one nobody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Audience(BTreeSet<BTreeSet<String>>);

impl Audience {
    /// Everyone.
    pub fn everyone() -> Self {
        Self::default()
    }

    /// Members of any of these groups; everyone, if [`EVERYONE`] is among them; nobody, if there are none.
    pub fn any_of(groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let groups: BTreeSet<String> = groups.into_iter().map(Into::into).collect();
        if groups.contains(EVERYONE) {
            return Self::everyone();
        }
        Self(BTreeSet::from([groups]))
    }

    /// Those whom both admit.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether this reader may read. The only place where that is decided.
    pub fn admits(&self, reader: &Reader) -> bool {
        reader.sees_all || self.0.iter().all(|groups| !groups.is_disjoint(&reader.groups))
    }

    pub(crate) fn to_json(&self) -> String {
        // Sets of strings have no form that JSON lacks.
        serde_json::to_string(self).unwrap_or_else(|_| "[[]]".to_owned())
    }

    /// What is stored; what cannot be understood admits nobody.
    pub(crate) fn from_json(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self::any_of([""; 0]))
    }
}

/// A name that a group may have.
///
/// # Errors
/// One sentence for people.
pub fn check_group(name: &str) -> Result<(), String> {
    let is_odd = |c: char| c.is_control() || c == ',';
    if name.is_empty() || name.trim() != name || name.chars().any(is_odd) {
        return Err(format!(
            "`{name}` is no name of a group: it may not be empty, begin or end with a space, or hold a comma"
        ));
    }
    if name.chars().count() > GROUP_CHARS_MAX {
        return Err(format!("a group's name has at most {GROUP_CHARS_MAX} characters"));
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleToml {
    path: PathBuf,
    groups: Vec<String>,
}

/// All that states audiences, for one run of an ingest.
pub(crate) struct Rules {
    /// Of several that hold, the longest counts.
    by_path: ByPath<Audience>,
    /// What folders state themselves, as it is looked up.
    folders: BTreeMap<PathBuf, Option<Audience>>,
    /// Folders whose file cannot be understood, each reported once.
    pub(crate) faults: Vec<(PathBuf, String)>,
}

impl Rules {
    /// Reads the store's rules.
    ///
    /// # Errors
    /// [`StoreError::AccessRules`] for a file that cannot be read or understood.
    pub(crate) fn load(dir: &Path) -> Result<Self, StoreError> {
        let dir = fs::canonicalize(dir).map_err(StoreError::file)?;
        let audience = |rule: RuleToml| {
            let mut groups = rule.groups.iter().filter(|group| *group != EVERYONE);
            let checked = groups.try_for_each(|group| check_group(group));
            (rule.path, checked.map(|()| Audience::any_of(rule.groups)))
        };
        let by_path = ByPath::load(&dir, RULES_FILE, audience).map_err(|what| StoreError::AccessRules {
            path: dir.join(RULES_FILE),
            what,
        })?;
        Ok(Self {
            by_path,
            folders: BTreeMap::new(),
            faults: Vec::new(),
        })
    }

    /// The paths that rules name.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.by_path.paths()
    }

    /// The audience of a file.
    pub(crate) fn of_file(&mut self, path: &Path) -> Audience {
        let folder = path.parent().and_then(|folder| self.of_folder(folder));
        self.by_rule(path).and(folder.unwrap_or_default())
    }

    /// The audience of an upload.
    pub(crate) fn of_upload(&self, name: &[u8]) -> Audience {
        self.by_rule(&self.by_path.upload(name))
    }

    fn by_rule(&self, path: &Path) -> Audience {
        self.by_path.above(path).next().cloned().unwrap_or_default()
    }

    /// What the nearest folder from this one upwards states.
    fn of_folder(&mut self, folder: &Path) -> Option<Audience> {
        if let Some(known) = self.folders.get(folder) {
            return known.clone();
        }
        let stated = match read_folder_file(&folder.join(FOLDER_FILE)) {
            Ok(stated) => stated,
            Err(what) => {
                self.faults.push((folder.join(FOLDER_FILE), what));
                Some(Audience::any_of([""; 0]))
            }
        };
        let audience = stated.or_else(|| folder.parent().and_then(|above| self.of_folder(above)));
        self.folders.insert(folder.to_owned(), audience.clone());
        audience
    }
}

/// The groups that a folder's file names; `None` if there is no such file.
fn read_folder_file(path: &Path) -> Result<Option<Audience>, String> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(format!(
            "it is not a file of at most {FILE_BYTES_MAX} bytes; nobody may read the folder until it is"
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut groups = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line != EVERYONE {
            check_group(line)?;
        }
        groups.push(line.to_owned());
    }
    Ok(Some(Audience::any_of(groups)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(groups: &[&str]) -> Reader {
        Reader::of(groups.iter().copied())
    }

    #[test]
    fn a_reader_needs_a_group_of_each_list() {
        let both = Audience::any_of(["hr", "board"]).and(Audience::any_of(["seoul"]));
        assert!(both.admits(&reader(&["hr", "seoul"])) && both.admits(&Reader::keeper()));
        assert!(!both.admits(&reader(&["hr", "board"])) && !both.admits(&Reader::anyone()));
        assert!(Audience::everyone().admits(&Reader::anyone()));
        assert!(Audience::any_of(["a", "*"]).admits(&Reader::anyone()));
        assert!(!Audience::any_of([""; 0]).admits(&reader(&["a", ""])));
        // Nobody is in the group of everyone, and nobody becomes a keeper by its name.
        assert!(!Audience::any_of(["a"]).admits(&reader(&["*"])));
    }

    #[test]
    fn what_is_stored_comes_back_and_rubbish_admits_nobody() {
        for audience in [
            Audience::everyone(),
            Audience::any_of(["a", "b"]).and(Audience::any_of(["c"])),
            Audience::any_of([""; 0]),
        ] {
            assert_eq!(Audience::from_json(&audience.to_json()), audience);
        }
        assert!(!Audience::from_json("{").admits(&reader(&["a"])));
    }

    #[test]
    fn keys_tell_groups_apart() {
        assert_ne!(reader(&["a;1:b"]).key(), reader(&["a", "b"]).key());
        assert_ne!(Reader::keeper().key(), Reader::anyone().key());
        assert_eq!(reader(&["b", "a"]).key(), reader(&["a", "b"]).key());
    }

    #[test]
    fn the_nearest_folder_and_the_longest_rule_count() {
        let data = tempfile::tempdir().unwrap();
        let docs = tempfile::tempdir().unwrap();
        let docs_path = fs::canonicalize(docs.path()).unwrap();
        let (hr, open) = (docs_path.join("hr"), docs_path.join("hr/open"));
        fs::create_dir_all(&open).unwrap();
        fs::write(hr.join(FOLDER_FILE), "# comment\nhr\n").unwrap();
        fs::write(open.join(FOLDER_FILE), "*\n").unwrap();
        let rules = format!(
            "[[rule]]\npath = {:?}\ngroups = [\"staff\"]\n[[rule]]\npath = \"uploads\"\ngroups = [\"desk\"]\n",
            docs_path.join("hr")
        );
        fs::write(data.path().join(RULES_FILE), rules).unwrap();
        let mut rules = Rules::load(data.path()).unwrap();
        let staff = Audience::any_of(["staff"]);
        assert_eq!(rules.of_file(&docs_path.join("a.txt")), Audience::everyone());
        assert_eq!(
            rules.of_file(&hr.join("a.txt")),
            Audience::any_of(["hr"]).and(staff.clone())
        );
        assert_eq!(rules.of_file(&open.join("a.txt")), staff);
        assert_eq!(rules.of_upload(b"a.txt"), Audience::any_of(["desk"]));
        assert!(rules.faults.is_empty());
    }

    #[test]
    fn what_cannot_be_understood_admits_nobody() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FOLDER_FILE), "a,b\n").unwrap();
        let mut rules = Rules::load(dir.path()).unwrap();
        let audience = rules.of_file(&dir.path().join("x.txt"));
        assert!(!audience.admits(&reader(&["a", "b", "a,b"])));
        assert_eq!(rules.faults.len(), 1);
        for text in [
            "[[rule]]\npath = \"relative\"\ngroups = []",
            "[[rule]]\npath = \"uploads/../hr\"\ngroups = [\"hr\"]",
            "[[rule]]\npath = \"/a\"\ngrups = []",
            "x",
        ] {
            fs::write(dir.path().join(RULES_FILE), text).unwrap();
            assert!(
                matches!(Rules::load(dir.path()), Err(StoreError::AccessRules { .. })),
                "{text}"
            );
        }
    }
}
