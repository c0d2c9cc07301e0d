//! Making a new index beside the present one, which answers meanwhile, and putting it into its place in one step.
//!
//! Three things say how an index is made: who cuts passages, who makes terms of words, who makes vectors. When one of them
//! is another than it was, what depends on it is made anew: passages in a table of their own, words in a folder of their
//! own, vectors beside the others. Documents that change meanwhile are followed by the number of their last change, so
//! that whatever cuts this off, it goes on where it was. One transaction then says that the new index is the one that
//! answers; a search sees either all of it or nothing.

mod build;

use std::path::PathBuf;

use stdx::clock::Stopwatch;
use stdx::fs;

use crate::catalog::{Building, PresentEmbedder};
use crate::embedded::Embedded;
use crate::embedding;
use crate::error::StoreError;
use crate::failpoint::{FailPoint, pass};
use crate::store::{Store, held};
use crate::types::{
    Access, Embed, EmbedderId, Go, ReindexNeed, ReindexProgress, ReindexReport, ReindexStage,
};
use build::{Teller, Work};

/// Disk that is left free beside what a new index takes.
const SPARE_BYTES: u64 = 64 << 20;
/// Bytes that SQLite needs for each row beside what is in it.
const ROW_BYTES: u64 = 96;
/// Bytes of a character, at most as a rule: Hangul has three.
const CHAR_BYTES: u64 = 3;

impl Store {
    /// What of the index was made otherwise than it would be made now, and the disk that making it anew needs.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn reindex_need(&self, embedder: Option<&dyn Embed>) -> Result<ReindexNeed, StoreError> {
        // In PostgreSQL whoever opens the tables for writing brings them up to date, and an ingest the passages and vectors.
        let Some(here) = self.here() else {
            return Ok(ReindexNeed::default());
        };
        let present = here.catalog.embedder_in_force()?;
        let cutter = self.read_options().cut.cutter();
        let passages = here.catalog.cut_otherwise(cutter)? > 0;
        let lexical = here.lexical();
        let mut need = ReindexNeed {
            words: passages || lexical.other_analyser().is_some(),
            passages,
            vectors: embedder.is_some_and(|embedder| is_replaced(present.as_ref(), embedder)),
            leftovers: here.catalog.has_leftovers()?,
            bytes: 0,
        };
        let (_, n_chars, n_passages) = here.catalog.extent()?;
        if need.words {
            // A morpheme for each few characters, where there is a dictionary.
            let morphemes = u64::from(here.analysis.has_morphemes()) * n_chars;
            // Merging needs the room of what is merged once more.
            need.bytes += 2 * (lexical.bytes().max(n_chars) + morphemes);
        }
        if need.passages {
            need.bytes += n_chars * CHAR_BYTES + n_passages * ROW_BYTES;
        }
        if let Some(embedder) = embedder.filter(|_| need.vectors || need.passages) {
            need.bytes += n_passages * (2 * embedder.id().dim as u64 + ROW_BYTES);
        }
        Ok(need)
    }

    /// Makes anew, beside what answers, whatever was made otherwise than it would be made now, and puts it in its place;
    /// clears away what answers no more. Stopped or cut off at any moment, the next call goes on.
    ///
    /// # Errors
    /// [`StoreError::NoRoomToReindex`] and [`StoreError::EmbedderNeeded`] before anything is done; whatever keeps the
    /// store from being read or written. The present index answers on.
    pub fn reindex(
        &self,
        embedder: Option<&dyn Embed>,
        on_event: &mut dyn FnMut(&ReindexProgress) -> Go,
    ) -> Result<ReindexReport, StoreError> {
        if self.access == Access::Read {
            return Err(StoreError::OpenForReading {
                dir: self.dir.clone(),
            });
        }
        let here = self.indexed_here()?;
        let _one_at_a_time = held(&self.reindexing);
        let mut teller = Teller {
            store: self,
            on_event,
            stage: ReindexStage::Passages,
            watch: Stopwatch::start(),
            from: 0,
            stop: false,
        };
        let result = self.reindex_told(embedder, &mut teller);
        *held(&self.reindex_progress) = None;
        if result.as_ref().is_err_and(StoreError::is_no_space) {
            // What answers and what is taken in need the room more.
            self.give_up_reindex()?;
            *held(&here.read_only) = None;
        }
        result
    }

    fn reindex_told(
        &self,
        embedder: Option<&dyn Embed>,
        teller: &mut Teller<'_>,
    ) -> Result<ReindexReport, StoreError> {
        let watch = Stopwatch::start();
        let mut report = ReindexReport::default();
        let need = self.reindex_need(embedder)?;
        if need.is_new_index() {
            let mut work = self.begin_reindex(&need, embedder)?;
            report.stopped = !self.build(&mut work, teller)?;
            report.kept = work.kept;
            if !report.stopped {
                report.words = need.words;
                report.passages = need.passages;
                report.vectors = work.building.embedder != 0;
            }
        } else if self.indexed_here()?.catalog.building()?.is_some() {
            // What made it necessary is no more.
            self.give_up_reindex()?;
        }
        if !report.stopped {
            report.stopped = !self.clear_leftovers(teller)?;
        }
        report.s = watch.s();
        Ok(report)
    }

    /// Goes on with an index that was begun for the same need, or begins one.
    fn begin_reindex<'a>(
        &self,
        need: &ReindexNeed,
        embedder: Option<&'a dyn Embed>,
    ) -> Result<Work<'a>, StoreError> {
        let here = self.indexed_here()?;
        let present = here.catalog.embedder_in_force()?;
        let makes_vectors = need.vectors || need.passages && present.as_ref().is_some_and(|p| p.has_vectors);
        let embedder = match (makes_vectors, embedder, &present) {
            (false, ..) => None,
            (true, Some(embedder), _) => Some(embedder),
            (true, None, present) => {
                return Err(StoreError::EmbedderNeeded {
                    dir: self.dir.clone(),
                    name: present.as_ref().map_or_else(String::new, |p| p.id.name.clone()),
                });
            }
        };
        let row = match embedder {
            Some(embedder) => here.write(|store, writer| {
                let connection = writer.connect(&store.catalog)?;
                let source = embedding::source_of(embedder);
                store
                    .catalog
                    .record_embedder(connection, &embedding::identity(embedder), &source, false)
            })?,
            None => 0,
        };
        let wanted = Building {
            index_folder: i64::from(need.words) * (here.catalog.index_folder()? + 1),
            cutter: need.passages.then(|| self.read_options().cut.cutter()),
            cut_to: 0,
            embedder: row,
        };
        let begun = here.catalog.building()?;
        let building = match begun {
            Some(begun) if (Building { cut_to: 0, ..begun }) == wanted => begun,
            _ => {
                self.check_room(need)?;
                self.give_up_reindex()?;
                while here.write(|store, writer| store.catalog.clear_some(writer.connect(&store.catalog)?))? {
                }
                here.write(|store, writer| {
                    store
                        .catalog
                        .begin_building(writer.connect(&store.catalog)?, &wanted)
                })?;
                pass(FailPoint::ReindexBegun);
                wanted
            }
        };
        Ok(Work {
            building,
            words: self.open_words(&building)?,
            embedder,
            embedded_up_to: 0,
            kept: 0,
        })
    }

    /// Whether a new index can be made here beside the present one; what PostgreSQL holds is brought up to date otherwise.
    pub fn makes_indexes(&self) -> bool {
        self.here().is_some()
    }

    /// The files in which a new index is made beside the present one.
    fn indexed_here(&self) -> Result<&Embedded, StoreError> {
        self.embedded(
            "make an index anew",
            "words are brought up to date when the store is opened for writing, passages and vectors by `hanok ingest`",
        )
    }

    fn check_room(&self, need: &ReindexNeed) -> Result<(), StoreError> {
        let free = fs::free_bytes(&self.dir)?;
        if free >= need.bytes.saturating_add(SPARE_BYTES) {
            return Ok(());
        }
        Err(StoreError::NoRoomToReindex {
            dir: self.dir.clone(),
            need: need.bytes + SPARE_BYTES,
            free,
        })
    }

    /// Takes back what was made of a new index.
    fn give_up_reindex(&self) -> Result<(), StoreError> {
        let here = self.indexed_here()?;
        here.write(|store, writer| store.catalog.give_up_building(writer.connect(&store.catalog)?))?;
        here.sweep_folders()
    }

    /// Clears away what answers no more; false if it was told to stop.
    fn clear_leftovers(&self, teller: &mut Teller<'_>) -> Result<bool, StoreError> {
        let here = self.indexed_here()?;
        here.sweep_folders()?;
        if !here.catalog.has_leftovers()? {
            return Ok(true);
        }
        teller.begin(ReindexStage::Clearing, 0, 0);
        while !teller.stop {
            let more =
                here.write(|store, writer| store.catalog.clear_some(writer.connect(&store.catalog)?))?;
            pass(FailPoint::LeftoversCleared);
            if !more {
                return Ok(true);
            }
            teller.tell(0, 0);
        }
        Ok(false)
    }

    /// The embedder whose vectors answer, with what it was loaded from; `None` where there are no vectors.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn embedder_in_force(&self) -> Result<Option<(EmbedderId, PathBuf)>, StoreError> {
        let present = self.shelf().embedder_in_force()?.filter(|p| p.has_vectors);
        Ok(present.map(|p| (p.id, PathBuf::from(&p.source))))
    }

    /// Refuses an embedder whose vectors are not those that answer; in PostgreSQL none, for there the vectors of one take
    /// the place of another's passage by passage.
    ///
    /// # Errors
    /// [`StoreError::OtherEmbedder`]; when the database cannot be read.
    pub fn check_embedder(&self, embedder: &dyn Embed) -> Result<(), StoreError> {
        let Some(here) = self.here() else {
            return Ok(());
        };
        let present = here.catalog.embedder_in_force()?;
        if is_replaced(present.as_ref(), embedder) {
            return Err(StoreError::OtherEmbedder {
                dir: self.dir.clone(),
                present: present.map_or_else(String::new, |p| p.id.name),
                given: embedder.id().name,
            });
        }
        Ok(())
    }
}

/// Whether there are vectors, and all of another embedder.
fn is_replaced(present: Option<&PresentEmbedder>, embedder: &dyn Embed) -> bool {
    let id = embedding::identity(embedder);
    present.is_some_and(|p| p.has_vectors && (&p.id.sha256, p.id.dim) != (&id.sha256, id.dim))
}
