//! Files that are handed over and taken in later: from the moment in which one is accepted it is safe, whatever comes.
//!
//! It arrives in a hidden folder, is recorded there, and then put in its place among the uploads. Whoever has accepted it
//! may say so. A restart finds what was recorded, puts it in place if that was cut off, and goes on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stdx::fs;

use crate::access::Reader;
use crate::catalog::IntakeRow;
use crate::error::StoreError;
use crate::failpoint::{FailPoint, pass};
use crate::store::Store;

/// Where files arrive, below the uploads.
const ARRIVALS: &str = ".incoming";

/// A file that was accepted and is to be taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its number, for [`Store::forget_accepted`].
    pub id: i64,
    /// What whoever handed it over called it.
    pub name: String,
    /// Who that was.
    pub owner: Reader,
    /// Where it lies now.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

impl Store {
    /// The folder in which files arrive that are to be accepted.
    pub fn arrivals(&self) -> PathBuf {
        self.uploads().join(ARRIVALS)
    }

    /// Accepts a file that has arrived whole, is synced, and lies in [`Store::arrivals`]: puts it among the uploads as
    /// `kept`, in place of whatever is called so there.
    ///
    /// # Errors
    /// [`StoreError::BadUploadName`]; when anything cannot be written: then it is not accepted.
    pub fn accept(
        &self,
        arrived: &Path,
        kept: &str,
        name: &str,
        owner: &Reader,
    ) -> Result<Accepted, StoreError> {
        let row = IntakeRow {
            id: 0,
            name: name.to_owned(),
            owner: owner.to_stated(),
            kept: Self::upload_name(kept)?,
            arrived: arrived
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            bytes: fs::metadata(arrived).map_err(StoreError::file)?.len(),
        };
        fs::sync_parent(arrived).map_err(StoreError::file)?;
        let id = self.shelf().put_intake(&row)?;
        if let Err(error) = self.put_in_uploads(&row) {
            self.forget_accepted(id)?;
            return Err(error);
        }
        pass(FailPoint::IntakePlaced);
        Ok(self.accepted_of(IntakeRow { id, ..row }))
    }

    fn put_in_uploads(&self, row: &IntakeRow) -> Result<(), StoreError> {
        let kept = self.uploads().join(&row.kept);
        fs::rename(self.arrivals().join(&row.arrived), &kept).map_err(StoreError::file)?;
        fs::sync_parent(&kept).map_err(StoreError::file)
    }

    fn accepted_of(&self, row: IntakeRow) -> Accepted {
        Accepted {
            id: row.id,
            // What was written was understood; anything else gives no rights.
            owner: Reader::stated(&row.owner).unwrap_or_default(),
            path: self.uploads().join(&row.kept),
            name: row.name,
            bytes: row.bytes,
        }
    }

    /// What an earlier process accepted and did not take in, in the order in which it came; each is in its place. Files that
    /// arrived and were not accepted are removed.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn accepted_before(&self) -> Result<Vec<Accepted>, StoreError> {
        let rows = self.shelf().intakes()?;
        let known: BTreeSet<PathBuf> = rows
            .iter()
            .map(|row| self.arrivals().join(&row.arrived))
            .collect();
        for stray in fs::read_dir(self.arrivals()).unwrap_or_default() {
            if !known.contains(&stray) {
                fs::remove_file(&stray).map_err(StoreError::file)?;
            }
        }
        let mut accepted = Vec::with_capacity(rows.len());
        for row in rows {
            if fs::symlink_metadata(self.arrivals().join(&row.arrived)).is_ok() {
                self.put_in_uploads(&row)?;
            }
            if fs::metadata(self.uploads().join(&row.kept)).is_ok() {
                accepted.push(self.accepted_of(row));
            } else {
                // A restored backup has no files that were still arriving.
                self.forget_accepted(row.id)?;
            }
        }
        Ok(accepted)
    }

    /// Forgets that a file was accepted: it is taken in, or will never be.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn forget_accepted(&self, id: i64) -> Result<(), StoreError> {
        self.shelf().drop_intake(id)
    }
}
