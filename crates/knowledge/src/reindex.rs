//! Making a new index beside the present one, which answers meanwhile, and putting it into its place in one step.
//!
//! Three things say how an index is made: who cuts passages, who makes terms of words, who makes vectors. When one of them
//! is another than it was, what depends on it is made anew: passages in a table of their own, words in a folder of their
//! own, vectors beside the others. Documents that change meanwhile are followed by the number of their last change, so
//! that whatever cuts this off, it goes on where it was. One transaction then says that the new index is the one that
//! answers; a search sees either all of it or nothing.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use stdx::clock::Stopwatch;
use stdx::fs;

use crate::attempt::{Known, read_whole};
use crate::catalog::{Building, Change, Cut, CutSource, PresentEmbedder};
use crate::embedding;
use crate::error::StoreError;
use crate::failpoint::{FailPoint, pass};
use crate::lexical::{Lexical, Shadow, folder, folders, remove_if_there};
use crate::prepare::{PreparedPassage, cut_document};
use crate::store::{Store, held};
use crate::text::NormalText;
use crate::types::{Access, Embed, Go, ReindexNeed, ReindexProgress, ReindexReport, ReindexStage};
use crate::writer::Writer;

/// Documents that are looked at together.
const BATCH: usize = 32;
/// Passages that are embedded together.
const VECTORS_AT_ONCE: usize = 16;
/// The new word index is committed after this many documents …
const COMMIT_DOCUMENTS_MAX: usize = 256;
/// … or this many bytes of text.
const COMMIT_BYTES_MAX: usize = 16 << 20;
/// So many documents may have changed when the new index is put in place: they are caught up with while nobody writes.
const REST_MAX: usize = 64;
/// Disk that is left free beside what a new index takes.
const SPARE_BYTES: u64 = 64 << 20;
/// Bytes that SQLite needs for each row beside what is in it.
const ROW_BYTES: u64 = 96;
/// Bytes of a character, at most as a rule: Hangul has three.
const CHAR_BYTES: u64 = 3;

/// A new index under way.
struct Work<'a> {
    building: Building,
    words: Option<Words>,
    /// Makes the vectors, with its row; `None` where they stay.
    embedder: Option<&'a dyn Embed>,
    /// Passages up to this one have a vector or were tried.
    embedded_up_to: u64,
    /// Documents that could not be cut anew.
    kept: usize,
}

/// The new word index and what was added to it since its last commit.
struct Words {
    shadow: Shadow,
    /// The change up to which documents were added.
    at: i64,
    documents: usize,
    bytes: usize,
}

/// Says how far a stage is; measures how fast it goes.
struct Teller<'a> {
    store: &'a Store,
    on_event: &'a mut dyn FnMut(&ReindexProgress) -> Go,
    stage: ReindexStage,
    watch: Stopwatch,
    /// What was done when this process began with the stage.
    from: usize,
    stop: bool,
}

impl Teller<'_> {
    fn begin(&mut self, stage: ReindexStage, done: usize, total: usize) {
        self.stage = stage;
        self.watch = Stopwatch::start();
        self.from = done;
        self.tell(done, total);
    }

    fn tell(&mut self, done: usize, total: usize) {
        let s = self.watch.s();
        let per_s = if s > 0.0 {
            done.saturating_sub(self.from) as f64 / s
        } else {
            0.0
        };
        let progress = ReindexProgress {
            stage: self.stage,
            done: done.min(total),
            total,
            per_s,
            left_s: (per_s > 0.0).then(|| total.saturating_sub(done) as f64 / per_s),
        };
        *held(&self.store.reindex_progress) = Some(progress);
        if (self.on_event)(&progress) == Go::Stop {
            self.stop = true;
        }
    }
}

impl Store {
    /// What of the index was made otherwise than it would be made now, and the disk that making it anew needs.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn reindex_need(&self, embedder: Option<&dyn Embed>) -> Result<ReindexNeed, StoreError> {
        let present = self.catalog.embedder_in_force()?;
        let cutter = self.read_options().cut.cutter();
        let passages = self.catalog.cut_otherwise(cutter)? > 0;
        let lexical = self.lexical();
        let mut need = ReindexNeed {
            words: passages || lexical.other_analyser().is_some(),
            passages,
            vectors: embedder.is_some_and(|embedder| is_replaced(present.as_ref(), embedder)),
            leftovers: self.catalog.has_leftovers()?,
            bytes: 0,
        };
        let (_, n_chars, n_passages) = self.catalog.extent()?;
        if need.words {
            // Merging needs the room of what is merged once more.
            need.bytes += 2 * lexical.bytes().max(n_chars);
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
            *held(&self.read_only) = None;
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
        } else if self.catalog.building()?.is_some() {
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
        let present = self.catalog.embedder_in_force()?;
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
            Some(embedder) => self.write(|store, writer| {
                let connection = writer.connect(&store.catalog)?;
                let source = embedding::source_of(embedder);
                store
                    .catalog
                    .record_embedder(connection, &embedder.id(), &source, false)
            })?,
            None => 0,
        };
        let wanted = Building {
            index_folder: i64::from(need.words) * (self.catalog.index_folder()? + 1),
            cutter: need.passages.then(|| self.read_options().cut.cutter()),
            cut_to: 0,
            embedder: row,
        };
        let begun = self.catalog.building()?;
        let building = match begun {
            Some(begun) if (Building { cut_to: 0, ..begun }) == wanted => begun,
            _ => {
                self.check_room(need)?;
                self.give_up_reindex()?;
                while self.write(|store, writer| store.catalog.clear_some(writer.connect(&store.catalog)?))? {}
                self.write(|store, writer| {
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

    fn open_words(&self, building: &Building) -> Result<Option<Words>, StoreError> {
        if building.index_folder == 0 {
            return Ok(None);
        }
        let shadow = Shadow::open(&folder(&self.dir, building.index_folder))?;
        Ok(Some(Words {
            at: shadow.seq(),
            shadow,
            documents: 0,
            bytes: 0,
        }))
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
        self.write(|store, writer| {
            store
                .catalog
                .give_up_building(writer.connect(&store.catalog)?)
        })?;
        self.sweep_folders()
    }

    /// Removes folders of word indexes that neither answer nor are being made.
    pub(crate) fn sweep_folders(&self) -> Result<(), StoreError> {
        let present = folder(&self.dir, self.catalog.index_folder()?);
        let building = self.catalog.building()?.map(|b| folder(&self.dir, b.index_folder));
        for found in folders(&self.dir) {
            if found != present && Some(&found) != building.as_ref() {
                remove_if_there(&found)?;
            }
        }
        Ok(())
    }

    /// Makes the new index and puts it in place; false if it was told to stop.
    fn build(&self, work: &mut Work<'_>, teller: &mut Teller<'_>) -> Result<bool, StoreError> {
        loop {
            self.cut_all(work, teller)?;
            self.index_all(work, teller)?;
            self.embed_all(work, teller)?;
            if teller.stop {
                if let Some(words) = &mut work.words {
                    words.commit()?;
                }
                return Ok(false);
            }
            // Merges end, and whatever changed in that time is caught up with, before writers have to wait.
            if let Some(words) = work.words.take() {
                words.shadow.finish();
                work.words = self.open_words(&work.building)?;
            }
            if self.write(|store, writer| store.put_in_place(writer, work))? {
                pass(FailPoint::ReindexSwapped);
                *held(&self.embedded_up_to) = (0, 0);
                return Ok(true);
            }
        }
    }

    fn cut_all(&self, work: &mut Work<'_>, teller: &mut Teller<'_>) -> Result<(), StoreError> {
        if work.building.cutter.is_none() || teller.stop {
            return Ok(());
        }
        let total = self.catalog.extent()?.0 as usize;
        let mut left = self.catalog.n_changed_since(work.building.cut_to)?;
        teller.begin(ReindexStage::Passages, total.saturating_sub(left), total);
        while !teller.stop {
            let changes = self
                .catalog
                .changed_since(work.building.cut_to, i64::MAX, BATCH)?;
            if changes.is_empty() {
                break;
            }
            let cuts = self.cut(&changes, work)?;
            self.write(|store, writer| store.put_cuts(writer, work, &changes, &cuts))?;
            pass(FailPoint::NextPassagesWritten);
            left = left.saturating_sub(changes.len());
            teller.tell(total.saturating_sub(left), total);
        }
        Ok(())
    }

    fn put_cuts(
        &self,
        writer: &mut Writer,
        work: &mut Work<'_>,
        changes: &[Change],
        cuts: &[Cut],
    ) -> Result<(), StoreError> {
        let cut_to = changes.last().map_or(work.building.cut_to, |change| change.seq);
        let connection = writer.connect(&self.catalog)?;
        self.catalog
            .put_cuts(connection, cuts, cut_to, work.building.embedder)?;
        work.building.cut_to = cut_to;
        Ok(())
    }

    /// Cuts the documents of some changes.
    fn cut(&self, changes: &[Change], work: &mut Work<'_>) -> Result<Vec<Cut>, StoreError> {
        let mut cuts = Vec::with_capacity(changes.len());
        for change in changes.iter().filter(|change| !change.is_gone) {
            let Some(source) = self.catalog.cut_source(&change.document_id)? else {
                continue;
            };
            let anew = self.cut_one(&source, work.building.cutter);
            work.kept += usize::from(anew.is_none());
            cuts.push(Cut {
                as_now: anew.is_some(),
                passages: match anew {
                    Some(passages) => passages,
                    None => self.catalog.cut_before(&source.document_id)?,
                },
                document_id: source.document_id,
                changed: source.changed,
            });
        }
        Ok(cuts)
    }

    /// A document's passages by the present cutter; `None` if it was taken in before its blocks were kept and its file is
    /// not what it was.
    fn cut_one(&self, source: &CutSource, cutter: Option<i64>) -> Option<Vec<PreparedPassage>> {
        if cutter == Some(source.cutter) {
            return self.catalog.cut_before(&source.document_id).ok();
        }
        let options = self.read_options();
        let n_chars = source.text.chars().count();
        if let Some(blocks) = &source.blocks {
            let fits = blocks.last().is_none_or(|last| last.end <= n_chars);
            return fits.then(|| {
                let normal = NormalText {
                    text: source.text.clone(),
                    n_chars,
                    blocks: blocks.clone(),
                    pages: source.pages.clone(),
                    words: Vec::new(),
                };
                cut_document(&normal, &options.cut)
            });
        }
        let nothing = Known {
            document: None,
            aside: None,
        };
        let path = self.place(source.origin, &source.path_bytes);
        let read = read_whole(&path, &nothing, &options).ok()?;
        let prepared = read.prepared.filter(|_| read.version == source.version)?;
        (prepared.text == source.text).then_some(prepared.passages)
    }

    fn index_all(&self, work: &mut Work<'_>, teller: &mut Teller<'_>) -> Result<(), StoreError> {
        let Some(words) = &mut work.words else {
            return Ok(());
        };
        if teller.stop {
            return Ok(());
        }
        let total = self.catalog.extent()?.0 as usize;
        let mut left = self.catalog.n_changed_since(words.at)?;
        teller.begin(ReindexStage::Words, total.saturating_sub(left), total);
        while !teller.stop {
            let n = self.index_some(words, &work.building)?;
            if n == 0 {
                break;
            }
            left = left.saturating_sub(n);
            teller.tell(total.saturating_sub(left), total);
        }
        words.commit()
    }

    /// Adds the next few documents to the new word index; returns how many.
    fn index_some(&self, words: &mut Words, building: &Building) -> Result<usize, StoreError> {
        let upto = building.cutter.map_or(i64::MAX, |_| building.cut_to);
        let changes = self.catalog.changed_since(words.at, upto, BATCH)?;
        for change in &changes {
            if change.is_gone {
                words.shadow.remove(&change.document_id);
            } else {
                let passages = self
                    .catalog
                    .passages_in(building.passages(), &change.document_id)?;
                words.shadow.replace(&change.document_id, &passages)?;
                words.bytes += passages.iter().map(|p| p.text.len()).sum::<usize>();
            }
            words.at = change.seq;
            words.documents += 1;
        }
        if words.documents >= COMMIT_DOCUMENTS_MAX || words.bytes >= COMMIT_BYTES_MAX {
            words.commit()?;
        }
        Ok(changes.len())
    }

    fn embed_all(&self, work: &mut Work<'_>, teller: &mut Teller<'_>) -> Result<(), StoreError> {
        let Some(embedder) = work.embedder else {
            return Ok(());
        };
        if teller.stop {
            return Ok(());
        }
        let (place, row) = (work.building.passages(), work.building.embedder);
        let mut left = self
            .catalog
            .without_vector_count(place, row, work.embedded_up_to)?;
        let total = left.max(self.catalog.extent()?.2 as usize);
        teller.begin(ReindexStage::Vectors, total - left, total);
        while !teller.stop {
            let batch = self
                .catalog
                .without_vector(place, row, work.embedded_up_to, VECTORS_AT_ONCE)?;
            let Some(last) = batch.last().map(|p| p.passage_id) else {
                break;
            };
            let vectors = embedding::vectors(embedder, embedder.id().dim, &batch);
            self.write(|store, writer| {
                let connection = writer.connect(&store.catalog)?;
                store.catalog.put_vectors(connection, row, &vectors)
            })?;
            pass(FailPoint::NextVectorsWritten);
            work.embedded_up_to = last;
            left = left.saturating_sub(batch.len());
            teller.tell(total.saturating_sub(left), total);
        }
        Ok(())
    }

    /// Catches up with the last changes and puts the new index in place, while nobody else writes; false if too much has
    /// changed for that. Passages that came in the last moment get their vectors afterwards, like any others.
    fn put_in_place(&self, writer: &mut Writer, work: &mut Work<'_>) -> Result<bool, StoreError> {
        let cut_to = work.building.cutter.map_or(i64::MAX, |_| work.building.cut_to);
        let indexed_to = work.words.as_ref().map_or(i64::MAX, |words| words.at);
        if self.catalog.n_changed_since(cut_to.min(indexed_to))? > REST_MAX {
            return Ok(false);
        }
        if work.building.cutter.is_some() {
            let changes = self
                .catalog
                .changed_since(work.building.cut_to, i64::MAX, REST_MAX)?;
            let cuts = self.cut(&changes, work)?;
            self.put_cuts(writer, work, &changes, &cuts)?;
        }
        let mut fresh = None;
        if let Some(mut words) = work.words.take() {
            while self.index_some(&mut words, &work.building)? > 0 {}
            words.shadow.commit(self.catalog.index_seq()?)?;
            fresh = Some(words.shadow.open_for_search()?);
            // Whatever the old one has not committed is in the new one.
            writer.abandon();
        }
        pass(FailPoint::ReindexReady);
        // A search that comes now waits for the new index; one that has the old one sees that its passages are gone, and
        // begins again.
        let mut present = self.lexical.write().unwrap_or_else(PoisonError::into_inner);
        self.catalog
            .swap(writer.connect(&self.catalog)?, &work.building)?;
        if let Some(fresh) = fresh {
            *present = Arc::new(fresh);
        }
        Ok(true)
    }

    /// Clears away what answers no more; false if it was told to stop.
    fn clear_leftovers(&self, teller: &mut Teller<'_>) -> Result<bool, StoreError> {
        self.sweep_folders()?;
        if !self.catalog.has_leftovers()? {
            return Ok(true);
        }
        teller.begin(ReindexStage::Clearing, 0, 0);
        while !teller.stop {
            let more =
                self.write(|store, writer| store.catalog.clear_some(writer.connect(&store.catalog)?))?;
            pass(FailPoint::LeftoversCleared);
            if !more {
                return Ok(true);
            }
            teller.tell(0, 0);
        }
        Ok(false)
    }

    /// The word index in use by now; another process may have put a new one in its place.
    pub(crate) fn reopened(&self, current: &Arc<Lexical>) -> Option<Arc<Lexical>> {
        let number = self.catalog.index_folder().ok()?;
        let dir = folder(&self.dir, number);
        if current.dir() == dir {
            return None;
        }
        let fresh = Lexical::open(&dir, &self.catalog, crate::lexical::Verify::No)?;
        Some(self.set_lexical(fresh))
    }

    /// Where the word index is.
    pub(crate) fn lexical_dir(&self) -> Result<std::path::PathBuf, StoreError> {
        Ok(folder(&self.dir, self.catalog.index_folder()?))
    }

    /// The embedder whose vectors answer, with what it was loaded from; `None` where there are no vectors.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn embedder_in_force(&self) -> Result<Option<(crate::EmbedderId, std::path::PathBuf)>, StoreError> {
        let present = self.catalog.embedder_in_force()?.filter(|p| p.has_vectors);
        Ok(present.map(|p| (p.id, Path::new(&p.source).to_owned())))
    }

    /// Refuses an embedder whose vectors are not those that answer.
    ///
    /// # Errors
    /// [`StoreError::OtherEmbedder`]; when the database cannot be read.
    pub fn check_embedder(&self, embedder: &dyn Embed) -> Result<(), StoreError> {
        let present = self.catalog.embedder_in_force()?;
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

impl Words {
    fn commit(&mut self) -> Result<(), StoreError> {
        if self.documents == 0 && self.at == self.shadow.seq() {
            return Ok(());
        }
        self.shadow.commit(self.at)?;
        pass(FailPoint::NextIndexCommitted);
        self.documents = 0;
        self.bytes = 0;
        Ok(())
    }
}

/// Whether there are vectors, and all of another embedder.
fn is_replaced(present: Option<&PresentEmbedder>, embedder: &dyn Embed) -> bool {
    let id = embedder.id();
    present.is_some_and(|p| p.has_vectors && (&p.id.sha256, p.id.dim) != (&id.sha256, id.dim))
}
