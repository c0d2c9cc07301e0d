//! Files that were moved: their documents keep their ids, so that links to them stay valid.
//!
//! Only where it is certain: one file is gone, one file is new, their bytes are the same, and no other document has these
//! bytes. Everything else is a document that is gone and another one that is new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use stdx::fs;
use stdx::hash::sha256_file;

use crate::attempt::VERSION_DIGITS;
use crate::catalog::{Catalog, Gone, Moved, MovedTo, Origin, QueueEntry, Standing};
use crate::error::StoreError;
use crate::failpoint::{FailPoint, pass};
use crate::ingest::Run;
use crate::store::Store;
use crate::validity::Stated;

impl Store {
    /// Lets documents follow files that were moved; they are left out of `gone`. Their new places stay queued, for a title
    /// may come from a name.
    pub(crate) fn follow_moved(
        &self,
        entries: &[QueueEntry],
        gone: &mut Vec<String>,
        run: &mut Run<'_>,
    ) -> Result<(), StoreError> {
        // In PostgreSQL a file at another place is another document.
        let Some(here) = self.here() else {
            return Ok(());
        };
        let pairs = self.moved(&here.catalog, entries, gone)?;
        if pairs.is_empty() {
            return Ok(());
        }
        let own = here.catalog.standings()?.into_iter();
        let mut own: BTreeMap<String, Stated> = own
            .filter(|known| known.is_intact)
            .map(|known| (known.document_id, known.stated.unwrap_or_default()))
            .collect();
        for (document_id, entry) in pairs {
            // A damaged row stays as it is.
            let Some(own) = own.remove(&document_id) else {
                continue;
            };
            let path = self.place(entry.origin, &entry.path_bytes);
            let ruled = run.validity.of_file(&path);
            let to = MovedTo {
                entry,
                shown: run.shown(entry.origin, &path, &entry.path_bytes),
                standing: Moved {
                    standing: Standing::of(&run.rules.of_file(&path), &ruled, &own),
                    document_id: document_id.clone(),
                    own,
                },
            };
            here.write(|store, writer| {
                let connection = writer.connect(&store.catalog)?;
                let seq = store.catalog.move_document(connection, &to)?;
                pass(FailPoint::DocumentMoved);
                store.index(writer, &[(document_id.clone(), seq)])
            })?;
            gone.retain(|id| *id != document_id);
            run.note_moved(&entry.path_bytes);
        }
        Ok(())
    }

    /// Documents whose file was surely moved, with its new place.
    fn moved<'a>(
        &self,
        catalog: &Catalog,
        entries: &'a [QueueEntry],
        gone: &[String],
    ) -> Result<Vec<(String, &'a QueueEntry)>, StoreError> {
        let mut by_version: BTreeMap<(Vec<u8>, String), Vec<Gone>> = BTreeMap::new();
        let mut sizes: BTreeSet<u64> = BTreeSet::new();
        for id in gone {
            if let Some(gone) = catalog.gone(id)?.filter(|gone| gone.origin != Origin::Upload) {
                sizes.insert(gone.bytes);
                let key = (gone.origin.name().as_bytes().to_vec(), gone.version.clone());
                by_version.entry(key).or_default().push(gone);
            }
        }
        let mut new: BTreeMap<(Vec<u8>, String), Vec<&QueueEntry>> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| sizes.contains(&entry.file_bytes)) {
            if catalog.by_path(&entry.path_bytes)?.is_some() {
                continue;
            }
            // One that cannot be read is nobody's new place.
            if let Ok(mut version) = sha256_file(self.place(entry.origin, &entry.path_bytes)) {
                version.truncate(VERSION_DIGITS);
                let key = (entry.origin.name().as_bytes().to_vec(), version);
                new.entry(key).or_default().push(entry);
            }
        }
        let mut pairs = Vec::new();
        for (key, gone) in by_version {
            if let ([gone], Some([entry])) = (gone.as_slice(), new.get(&key).map(Vec::as_slice))
                && catalog.n_of_version(&key.1)? == 1
            {
                pairs.push((gone.document_id.clone(), *entry));
            }
        }
        Ok(pairs)
    }

    /// Of documents whose file is gone, those whose file may be one of these new ones, which have yet to settle: they wait
    /// for it. Returns their places.
    pub(crate) fn wait_for_moved(
        &self,
        unsettled: &[PathBuf],
        gone: &mut Vec<String>,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let Some(here) = self.here() else {
            return Ok(Vec::new());
        };
        let sizes: BTreeSet<u64> = unsettled
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|metadata| metadata.len())
            .collect();
        let mut waiting = Vec::new();
        let mut decided = Vec::with_capacity(gone.len());
        for id in std::mem::take(gone) {
            match here.catalog.gone(&id)? {
                Some(gone) if sizes.contains(&gone.bytes) => {
                    waiting.push(self.place(gone.origin, &gone.path_bytes));
                }
                _ => decided.push(id),
            }
        }
        *gone = decided;
        Ok(waiting)
    }
}
