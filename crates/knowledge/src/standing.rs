//! Bringing up to date how documents stand, before an ingest reads anything: rules and folders may state something else
//! than they did, and documents of an older layout were never asked.

use std::path::Path;

use stdx::fs;

use crate::access::{self, Audience};
use crate::catalog::{Known, Moved, Origin, Standing};
use crate::error::StoreError;
use crate::prepare::speaks_of_itself;
use crate::store::Store;
use crate::validity::{self, Stated};
use crate::walk::Walk;

impl Store {
    /// Lets documents and failures stand as it is stated now. A file that cannot be seen keeps its readers: so does its
    /// folder's own statement.
    pub(crate) fn refresh_standings(
        &self,
        access: &mut access::Rules,
        validity: &validity::Rules,
    ) -> Result<(), StoreError> {
        let mut moved: Vec<Moved> = Vec::new();
        // A damaged row stays as it is, for a new checksum would hide that; `verify` has it read again.
        let known = self.shelf().standings()?.into_iter();
        for known in known.filter(|known| known.is_intact) {
            let (audience, ruled) = match known.origin {
                Origin::Upload => (
                    access.of_upload(&known.path_bytes),
                    validity.of_upload(&known.path_bytes),
                ),
                Origin::File | Origin::Source => {
                    let path = self.place(known.origin, &known.path_bytes);
                    let audience = if fs::symlink_metadata(&path).is_ok() {
                        access.of_file(&path)
                    } else {
                        known.standing.audience.clone()
                    };
                    (audience, validity.of_file(&path))
                }
            };
            let own = match &known.stated {
                Some(stated) => stated.clone(),
                None => self.own_statement(&known)?,
            };
            let standing = Standing::of(&audience, &ruled, &own);
            if standing != known.standing || known.stated.is_none() {
                moved.push(Moved {
                    document_id: known.document_id,
                    own,
                    standing,
                });
            }
        }
        self.move_failures(access)?;
        self.move_standings(&moved)
    }

    /// What a document says of itself that was taken in before anybody asked. Its properties are read when its file
    /// changes.
    fn own_statement(&self, known: &Known) -> Result<Stated, StoreError> {
        if !speaks_of_itself(&known.format) {
            return Ok(Stated::default());
        }
        let text = self.shelf().present_text(&known.document_id)?;
        Ok(text.map(|text| validity::of_text(&text)).unwrap_or_default())
    }

    fn move_standings(&self, moved: &[Moved]) -> Result<(), StoreError> {
        if moved.is_empty() {
            return Ok(());
        }
        self.shelf().set_standings(moved)
    }

    /// Who may read a file may know that it failed.
    fn move_failures(&self, access: &mut access::Rules) -> Result<(), StoreError> {
        let everyone = self.shelf().audiences(&crate::Reader::keeper(), None)?;
        let readers: Vec<(Vec<u8>, Option<Audience>)> = self
            .shelf()
            .failures(&everyone)?
            .into_iter()
            .filter_map(|failure| {
                let path = self.place(failure.origin, &failure.path_bytes);
                let audience = match failure.origin {
                    Origin::Upload => access.of_upload(&failure.path_bytes),
                    Origin::File | Origin::Source if fs::symlink_metadata(&path).is_ok() => {
                        access.of_file(&path)
                    }
                    Origin::File | Origin::Source => return None,
                };
                Some((failure.path_bytes, Some(audience)))
            })
            .collect();
        self.set_failures(&readers)
    }

    /// Files that failed, lay in a folder that was walked, and are not there any more.
    pub(crate) fn forget_failures(&self, walk: &Walk) -> Result<(), StoreError> {
        let everyone = self.shelf().audiences(&crate::Reader::keeper(), None)?;
        let gone: Vec<(Vec<u8>, Option<Audience>)> = self
            .shelf()
            .failures(&everyone)?
            .into_iter()
            .filter(|failure| {
                let path = self.place(failure.origin, &failure.path_bytes);
                failure.origin != Origin::Upload && walk.is_gone(&path)
            })
            .map(|failure| (failure.path_bytes, None))
            .collect();
        self.set_failures(&gone)
    }

    fn set_failures(&self, readers: &[(Vec<u8>, Option<Audience>)]) -> Result<(), StoreError> {
        if readers.is_empty() {
            return Ok(());
        }
        self.shelf().set_failures(readers)
    }

    /// What is said of rules that concern no document and no file that failed, one sentence each: most likely their path is
    /// misspelt, so that what they are meant for is open to everyone.
    ///
    /// # Errors
    /// When the rules or the database cannot be read.
    pub fn rules_of_nothing(&self) -> Result<Vec<String>, StoreError> {
        let (access, validity) = (access::Rules::load(&self.dir)?, validity::Rules::load(&self.dir)?);
        self.idle_rules(&access, &validity)
    }

    /// See [`Store::rules_of_nothing`].
    pub(crate) fn idle_rules(
        &self,
        access: &access::Rules,
        validity: &validity::Rules,
    ) -> Result<Vec<String>, StoreError> {
        let paths: Vec<(&str, &Path)> = access
            .paths()
            .map(|path| (access::RULES_FILE, path))
            .chain(validity.paths().map(|path| (validity::RULES_FILE, path)))
            .collect();
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let everyone = self.shelf().audiences(&crate::Reader::keeper(), None)?;
        let failed = self.shelf().failures(&everyone)?;
        let known = self.shelf().standings()?;
        let known = known.iter().map(|known| (known.origin, &known.path_bytes));
        let failed = failed.iter().map(|failure| (failure.origin, &failure.path_bytes));
        // Sorted by their components, everything below a path follows it.
        let mut whole: Vec<std::path::PathBuf> = known
            .chain(failed)
            .map(|(origin, bytes)| self.place(origin, bytes))
            .collect();
        whole.sort_unstable();
        let is_idle = |path: &Path| {
            let at = whole.partition_point(|known| known.as_path() < path);
            whole.get(at).is_none_or(|known| !known.starts_with(path))
        };
        Ok(paths
            .into_iter()
            .filter(|(_, path)| is_idle(path))
            .map(|(file, path)| {
                format!(
                    "a rule of {file} concerns no document: there is none at or below `{}`; check its path",
                    path.display()
                )
            })
            .collect())
    }
}
