//! The stages of a new index: documents are cut, words indexed, vectors made; then it is put in place.
//!
//! What is made anew, and when, is decided in [`crate::reindex`].

use std::sync::{Arc, PoisonError};

use stdx::clock::Stopwatch;

use crate::attempt::{Known, read_whole};
use crate::catalog::{Building, Change, Cut, CutSource};
use crate::embedded::encoded;
use crate::error::StoreError;
use crate::failpoint::{FailPoint, pass};
use crate::lexical::{Shadow, folder};
use crate::prepare::{PreparedPassage, cut_document};
use crate::store::{Store, held};
use crate::text::NormalText;
use crate::types::{Embed, Go, ReindexProgress, ReindexStage};
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

/// A new index under way.
pub(super) struct Work<'a> {
    pub(super) building: Building,
    pub(super) words: Option<Words>,
    /// Makes the vectors, with its row; `None` where they stay.
    pub(super) embedder: Option<&'a dyn Embed>,
    /// Passages up to this one have a vector or were tried.
    pub(super) embedded_up_to: u64,
    /// Documents that could not be cut anew.
    pub(super) kept: usize,
}

/// The new word index and what was added to it since its last commit.
pub(super) struct Words {
    shadow: Shadow,
    /// The change up to which documents were added.
    at: i64,
    documents: usize,
    bytes: usize,
}

/// Says how far a stage is; measures how fast it goes.
pub(super) struct Teller<'a> {
    pub(super) store: &'a Store,
    pub(super) on_event: &'a mut dyn FnMut(&ReindexProgress) -> Go,
    pub(super) stage: ReindexStage,
    pub(super) watch: Stopwatch,
    /// What was done when this process began with the stage.
    pub(super) from: usize,
    pub(super) stop: bool,
}

impl Teller<'_> {
    pub(super) fn begin(&mut self, stage: ReindexStage, done: usize, total: usize) {
        self.stage = stage;
        self.watch = Stopwatch::start();
        self.from = done;
        self.tell(done, total);
    }

    pub(super) fn tell(&mut self, done: usize, total: usize) {
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
    pub(super) fn open_words(&self, building: &Building) -> Result<Option<Words>, StoreError> {
        if building.index_folder == 0 {
            return Ok(None);
        }
        let shadow = Shadow::open(
            &folder(&self.dir, building.index_folder),
            &self.indexed_here()?.analysis,
        )?;
        Ok(Some(Words {
            at: shadow.seq(),
            shadow,
            documents: 0,
            bytes: 0,
        }))
    }

    /// Makes the new index and puts it in place; false if it was told to stop.
    pub(super) fn build(&self, work: &mut Work<'_>, teller: &mut Teller<'_>) -> Result<bool, StoreError> {
        loop {
            self.cut_all(work, teller)?;
            self.index_all(work, teller)?;
            self.embed_all(work, teller)?;
            // Vectors take long: what changed meanwhile is caught up with.
            self.cut_all(work, teller)?;
            self.index_all(work, teller)?;
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
            if self
                .indexed_here()?
                .write(|_, writer| self.put_in_place(writer, work))?
            {
                pass(FailPoint::ReindexSwapped);
                *held(&self.embedded_up_to) = (0, 0);
                return Ok(true);
            }
        }
    }

    /// Cuts what has changed by now; what changes meanwhile has its turn later, so that this ends.
    fn cut_all(&self, work: &mut Work<'_>, teller: &mut Teller<'_>) -> Result<(), StoreError> {
        let here = self.indexed_here()?;
        if work.building.cutter.is_none() || teller.stop {
            return Ok(());
        }
        let upto = here.catalog.index_seq()?;
        let total = here.catalog.extent()?.0 as usize;
        let mut left = here.catalog.n_changed_since(work.building.cut_to)?;
        teller.begin(ReindexStage::Passages, total.saturating_sub(left), total);
        while !teller.stop {
            let changes = here.catalog.changed_since(work.building.cut_to, upto, BATCH)?;
            if changes.is_empty() {
                break;
            }
            let cuts = self.cut(&changes, work)?;
            here.write(|_, writer| self.put_cuts(writer, work, &changes, &cuts))?;
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
        let here = self.indexed_here()?;
        let cut_to = changes.last().map_or(work.building.cut_to, |change| change.seq);
        let connection = writer.connect(&here.catalog)?;
        here.catalog
            .put_cuts(connection, cuts, cut_to, work.building.embedder)?;
        work.building.cut_to = cut_to;
        Ok(())
    }

    /// Cuts the documents of some changes.
    fn cut(&self, changes: &[Change], work: &mut Work<'_>) -> Result<Vec<Cut>, StoreError> {
        let here = self.indexed_here()?;
        let mut cuts = Vec::with_capacity(changes.len());
        for change in changes.iter().filter(|change| !change.is_gone) {
            let Some(source) = here.catalog.cut_source(&change.document_id)? else {
                continue;
            };
            let anew = self.cut_one(&source, work.building.cutter);
            work.kept += usize::from(anew.is_none());
            cuts.push(Cut {
                as_now: anew.is_some(),
                passages: match anew {
                    Some(passages) => passages,
                    None => here.catalog.cut_before(&source.document_id)?,
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
        let here = self.here()?;
        if cutter == Some(source.cutter) {
            return here.catalog.cut_before(&source.document_id).ok();
        }
        let options = self.read_options();
        let n_chars = source.text.chars().count();
        if let Some((blocks, under)) = &source.blocks {
            let fits = blocks.last().is_none_or(|last| last.end <= n_chars);
            return fits.then(|| {
                let normal = NormalText {
                    text: source.text.clone(),
                    n_chars,
                    blocks: blocks.clone(),
                    pages: source.pages.clone(),
                    words: Vec::new(),
                    under: under.clone(),
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

    /// Indexes the words of what has changed by now, as [`Store::cut_all`] cuts.
    fn index_all(&self, work: &mut Work<'_>, teller: &mut Teller<'_>) -> Result<(), StoreError> {
        let here = self.indexed_here()?;
        let Some(words) = &mut work.words else {
            return Ok(());
        };
        if teller.stop {
            return Ok(());
        }
        let upto = here.catalog.index_seq()?;
        let total = here.catalog.extent()?.0 as usize;
        let mut left = here.catalog.n_changed_since(words.at)?;
        teller.begin(ReindexStage::Words, total.saturating_sub(left), total);
        while !teller.stop {
            let n = self.index_some(words, &work.building, upto)?;
            if n == 0 {
                break;
            }
            left = left.saturating_sub(n);
            teller.tell(total.saturating_sub(left), total);
        }
        words.commit()
    }

    /// Adds the next few documents to the new word index, up to a change; returns how many.
    fn index_some(&self, words: &mut Words, building: &Building, upto: i64) -> Result<usize, StoreError> {
        let here = self.indexed_here()?;
        let upto = building.cutter.map_or(upto, |_| building.cut_to.min(upto));
        let changes = here.catalog.changed_since(words.at, upto, BATCH)?;
        for change in &changes {
            if change.is_gone {
                words.shadow.remove(&change.document_id);
            } else {
                let passages = here
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

    /// Makes the vectors of passages that lack them by now.
    fn embed_all(&self, work: &mut Work<'_>, teller: &mut Teller<'_>) -> Result<(), StoreError> {
        let here = self.indexed_here()?;
        let Some(embedder) = work.embedder else {
            return Ok(());
        };
        if teller.stop {
            return Ok(());
        }
        let (place, row) = (work.building.passages(), work.building.embedder);
        let mut left = here
            .catalog
            .without_vector_count(place, row, work.embedded_up_to)?;
        let total = left.max(here.catalog.n_passages(place)?);
        teller.begin(ReindexStage::Vectors, total - left, total);
        while !teller.stop && left > 0 {
            let batch = here
                .catalog
                .without_vector(place, row, work.embedded_up_to, VECTORS_AT_ONCE)?;
            let Some(last) = batch.last().map(|p| p.passage_id) else {
                break;
            };
            let mut read = |ids: &[u64]| here.catalog.stored_passages(place, ids);
            let vectors = encoded(&self.vectors(embedder, row, &batch, &mut read)?);
            here.write(|store, writer| {
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
        let here = self.indexed_here()?;
        let cut_to = work.building.cutter.map_or(i64::MAX, |_| work.building.cut_to);
        let indexed_to = work.words.as_ref().map_or(i64::MAX, |words| words.at);
        if here.catalog.n_changed_since(cut_to.min(indexed_to))? > REST_MAX {
            return Ok(false);
        }
        if work.building.cutter.is_some() {
            let changes = here
                .catalog
                .changed_since(work.building.cut_to, i64::MAX, REST_MAX)?;
            let cuts = self.cut(&changes, work)?;
            self.put_cuts(writer, work, &changes, &cuts)?;
        }
        let mut fresh = None;
        if let Some(mut words) = work.words.take() {
            while self.index_some(&mut words, &work.building, i64::MAX)? > 0 {}
            words.shadow.commit(here.catalog.index_seq()?)?;
            fresh = Some(words.shadow.open_for_search()?);
            // Whatever the old one has not committed is in the new one.
            writer.abandon();
        }
        pass(FailPoint::ReindexReady);
        // A search that comes now waits for the new index; one that has the old one sees that its passages are gone, and
        // begins again.
        let mut present = here.lexical.write().unwrap_or_else(PoisonError::into_inner);
        here.catalog
            .swap(writer.connect(&here.catalog)?, &work.building)?;
        if let Some(fresh) = fresh {
            *present = Arc::new(fresh);
        }
        Ok(true)
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
