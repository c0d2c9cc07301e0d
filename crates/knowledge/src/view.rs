//! What one reader may see of a store: searching, listing, showing, counting.
//!
//! The only way to read. Every call is bound to the audiences that admit the reader; what others may not read changes
//! nothing in any result, not an order, a count or an error. Nor does what does not hold change a search.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::access::Reader;
use crate::alike::Seen;
use crate::analyser::Analyser;
use crate::attempt::DEATHS_MAX;
use crate::catalog::{AudienceSet, Origin, PassageRow, Side};
use crate::embedding::identity;
use crate::error::StoreError;
use crate::fusion::fuse;
use crate::mirror::Addresses;
use crate::rerank::{RERANKED_MAX, reorder};
use crate::store::{Store, held};
use crate::suggest::Typed;
use crate::types::{
    DocumentInfo, DocumentText, Embed, Hit, Place, Rerank, SearchMode, SetAsideFile, StoreStatus,
};
use crate::validity::{AsOf, Date};

/// How deep each list goes into the fusion. Where a list ends decides what counts nothing in it: so as many are taken for
/// few hits as for fifty.
const LIST_DEPTH: usize = 100;
/// How often a search whose passages vanish while it goes on is begun again.
const TRIES_MAX: usize = 4;
/// More passages are never returned.
const HITS_MAX: usize = 1_000;

/// What stands right before and after a passage in its section.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Neighbours {
    /// Before it.
    pub before: Option<Hit>,
    /// After it.
    pub after: Option<Hit>,
}

/// A store as one reader sees it, at the moment when it was made.
pub struct View<'a> {
    pub(crate) store: &'a Store,
    /// What is found and counted: what the reader may read and what holds.
    allowed: AudienceSet,
    /// What may be read when it is named or listed, whenever it holds.
    pub(crate) readable: AudienceSet,
    pub(crate) reader: Reader,
    today: Date,
}

impl<'a> View<'a> {
    pub(crate) fn new(store: &'a Store, reader: &Reader, as_of: AsOf) -> Result<Self, StoreError> {
        let today = store.today().get();
        let day = (!as_of.include_expired).then(|| as_of.day.unwrap_or(today));
        Ok(Self {
            store,
            allowed: store.shelf().audiences(reader, day)?,
            readable: store.shelf().audiences(reader, None)?,
            reader: reader.clone(),
            today,
        })
    }

    /// The day that counts as today.
    pub fn today(&self) -> Date {
        self.today
    }

    /// The best `k` passages. Of those that say the same in nearly the same words the best is listed, with the places
    /// of the others among what was found.
    ///
    /// # Errors
    /// When an index or the database cannot be read, or the two do not go together; never because of the question.
    pub fn search(
        &self,
        question: &str,
        k: usize,
        mode: SearchMode,
        embedder: Option<&dyn Embed>,
    ) -> Result<Vec<Hit>, StoreError> {
        let shelf = self.store.shelf();
        for n_before in 0..TRIES_MAX {
            let generation = shelf.generation()?;
            let (hits, missing) = self.search_once(question, k, mode, embedder)?;
            // Of two indexes nothing is right together; of documents that were removed between the two questions the
            // index, asked again, knows it too.
            let is_of_one = shelf.generation()? == generation;
            // Where others write without end, the last try has to do.
            let must_do = shelf.is_shared() && n_before + 1 == TRIES_MAX;
            if is_of_one && (missing == 0 || must_do || shelf.may_lag()?) {
                return Ok(hits);
            }
        }
        Err(StoreError::Diverged {
            dir: self.store.dir.clone(),
        })
    }

    /// The passages, and how many of those that the word index named are not in the database.
    fn search_once(
        &self,
        question: &str,
        k: usize,
        mode: SearchMode,
        embedder: Option<&dyn Embed>,
    ) -> Result<(Vec<Hit>, usize), StoreError> {
        let k = k.min(HITS_MAX);
        let depth = LIST_DEPTH.max(k.saturating_mul(2));
        let lexical = match mode {
            SearchMode::Dense => Vec::new(),
            SearchMode::Lexical | SearchMode::Hybrid => {
                self.store.shelf().by_words(question, depth, &self.allowed)?
            }
        };
        let dense = match (mode, embedder) {
            (SearchMode::Dense | SearchMode::Hybrid, Some(embedder)) => {
                self.search_dense(question, depth, embedder, false)?
            }
            _ => Vec::new(),
        };
        let mut ranked = match mode {
            SearchMode::Lexical => with_scores(&lexical),
            SearchMode::Dense => with_scores(&dense),
            SearchMode::Hybrid => {
                let ids = lexical.iter().chain(&dense).map(|(id, _)| *id);
                let firsts = self.store.shelf().first_passages(&ids.collect())?;
                fuse(&lexical, &dense, &firsts)
            }
        };
        if let Some(reranker) = self.store.reranker() {
            self.rerank(question, &mut ranked, reranker)?;
        }
        self.hits(&ranked, k, &lexical, &dense)
    }

    /// Has the best passages of a list read again, with their headings.
    fn rerank(
        &self,
        question: &str,
        ranked: &mut [(u64, f64)],
        reranker: &dyn Rerank,
    ) -> Result<(), StoreError> {
        let n = ranked.len().min(RERANKED_MAX);
        let best = &mut ranked[..n];
        let ids: Vec<u64> = best.iter().map(|(id, _)| *id).collect();
        let mut rows = self.store.shelf().passages(&ids)?;
        rows.retain(|row| self.allowed.has(row.audience));
        // In one order, whatever the database's is: scores are then the same every time.
        rows.sort_by_key(|row| row.passage_id);
        let texts: Vec<String> = rows.iter().map(readable_text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let scores = rows.iter().zip(reranker.score(question, &texts));
        let scores =
            scores.filter_map(|(row, score)| Some((row.passage_id, score.filter(|s| s.is_finite())?)));
        reorder(best, &scores.collect());
        Ok(())
    }

    fn search_dense(
        &self,
        question: &str,
        depth: usize,
        embedder: &dyn Embed,
        exactly: bool,
    ) -> Result<Vec<(u64, f32)>, StoreError> {
        let shelf = self.store.shelf();
        self.store.check_embedder(embedder)?;
        let Some(known) = shelf.known_embedder(&identity(embedder))? else {
            return Ok(Vec::new());
        };
        match embedder.embed_for_search(question) {
            Some(vector) => shelf.by_vector(known, &vector, depth, &self.allowed, exactly),
            None => Ok(Vec::new()),
        }
    }

    /// The passages whose vectors are nearest to a question's, by vectors alone; with `exactly`, every vector is looked
    /// at, however many there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn nearest(
        &self,
        question: &str,
        k: usize,
        embedder: &dyn Embed,
        exactly: bool,
    ) -> Result<Vec<u64>, StoreError> {
        let near = self.search_dense(question, k.min(HITS_MAX), embedder, exactly)?;
        Ok(near.into_iter().map(|(passage, _)| passage).collect())
    }

    fn hits(
        &self,
        ranked: &[(u64, f64)],
        k: usize,
        lexical: &[(u64, f32)],
        dense: &[(u64, f32)],
    ) -> Result<(Vec<Hit>, usize), StoreError> {
        let score_in = |list: &[(u64, f32)], id| {
            list.iter()
                .find(|(other, _)| *other == id)
                .map(|(_, s)| f64::from(*s))
        };
        let mut hits: Vec<Hit> = Vec::with_capacity(k);
        let mut seen = Seen::default();
        let mut missing = 0;
        // No more rows are read than it takes; copies further down are not told.
        for batch in ranked.chunks(k.max(1)) {
            let ids: Vec<u64> = batch.iter().map(|(id, _)| *id).collect();
            let rows = self.store.shelf().passages(&ids)?;
            let mut rows: BTreeMap<u64, PassageRow> = rows.into_iter().map(|r| (r.passage_id, r)).collect();
            for &(id, score) in batch {
                let lexical_score = score_in(lexical, id);
                // An index that lags behind names passages that are gone, or that have another audience by now.
                let Some(row) = rows.remove(&id) else {
                    missing += usize::from(lexical_score.is_some());
                    continue;
                };
                if !self.allowed.has(row.audience) {
                    continue;
                }
                if let Some(twin) = seen.twin(&row.text, |number| &hits[number].text) {
                    hits[twin].alike.push(place(row));
                } else if hits.len() < k {
                    seen.add(hits.len(), &row.text);
                    hits.push(self.hit(row, score, lexical_score, score_in(dense, id)));
                }
            }
            if hits.len() >= k {
                break;
            }
        }
        Ok((hits, missing))
    }

    /// The passages right before and after one, in its section; none of a passage that is gone or may not be seen.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn neighbours(&self, passage_id: u64) -> Result<Neighbours, StoreError> {
        let rows = self.store.shelf().beside(passage_id)?.into_iter();
        let mut neighbours = Neighbours::default();
        for (side, row) in rows.filter(|(_, row)| self.allowed.has(row.audience)) {
            let found = Some(self.hit(row, 0.0, None, None));
            match side {
                Side::Before => neighbours.before = found,
                Side::After => neighbours.after = found,
            }
        }
        Ok(neighbours)
    }

    /// Passages by what is typed of a title or heading.
    pub(crate) fn passages_titled(&self, typed: &Typed, limit: usize) -> Result<Vec<PassageRow>, StoreError> {
        let ids = self.store.shelf().titled(typed, limit, &self.allowed)?;
        let rows = self.store.shelf().passages(&ids)?.into_iter();
        Ok(rows.filter(|row| self.allowed.has(row.audience)).collect())
    }

    fn hit(&self, row: PassageRow, score: f64, lexical_score: Option<f64>, dense_score: Option<f64>) -> Hit {
        Hit {
            passage_id: row.passage_id,
            document_id: row.document_id,
            version: row.version,
            path: row.path,
            title: row.title,
            page: row.page,
            start: row.start,
            end: row.end,
            heading_path: row.heading_path,
            text: row.text,
            validity: row.validity,
            holds: row.validity.holds_on(self.today),
            replaces: row.replaces,
            score,
            lexical_score,
            dense_score,
            alike: Vec::new(),
        }
    }

    /// All documents, by path, also those that do not hold.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn documents(&self) -> Result<Vec<DocumentInfo>, StoreError> {
        self.store.shelf().documents(&self.readable)
    }

    /// A document's text: the present version, or an older one by its name; `None` if there is none such.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn document(
        &self,
        document_id: &str,
        version: Option<&str>,
    ) -> Result<Option<DocumentText>, StoreError> {
        self.store.shelf().document(document_id, version, &self.readable)
    }

    /// Exactly the characters `span` of a document's text; `None` if there is no such document or version.
    ///
    /// # Errors
    /// [`StoreError::BadSpan`] for a range that the text does not have.
    pub fn span(
        &self,
        document_id: &str,
        version: Option<&str>,
        span: Range<usize>,
    ) -> Result<Option<String>, StoreError> {
        let Some(document) = self.document(document_id, version)? else {
            return Ok(None);
        };
        let n_chars = document.text.chars().count();
        if span.start > span.end || span.end > n_chars {
            return Err(StoreError::BadSpan {
                start: span.start,
                end: span.end,
                n_chars,
            });
        }
        let chars = document.text.chars().skip(span.start).take(span.end - span.start);
        Ok(Some(chars.collect()))
    }

    /// Counts of what is found, and state. What waits to be read has no audience yet: only the keeper sees how much it is.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn status(&self) -> Result<StoreStatus, StoreError> {
        let counts = self.store.shelf().counts(&self.allowed)?;
        let set_aside = if self.reader.is_keeper() {
            self.set_aside()?
        } else {
            Vec::new()
        };
        Ok(StoreStatus {
            documents: counts.documents,
            passages: counts.passages,
            vectors: counts.vectors,
            queued: if self.reader.is_keeper() { counts.queued } else { 0 },
            set_aside,
            read_only: self.store.shelf().read_only(),
            reindex: (*held(&self.store.reindex_progress)).filter(|_| self.reader.is_keeper()),
        })
    }

    fn set_aside(&self) -> Result<Vec<SetAsideFile>, StoreError> {
        let files = self.store.shelf().all_aside(DEATHS_MAX)?;
        let mut addresses = Addresses::of(&self.store.dir);
        let shown = files.into_iter().map(|file| SetAsideFile {
            path: match file.origin {
                Origin::Upload => String::from_utf8_lossy(&file.path_bytes).into_owned(),
                origin => addresses.of_file(&self.store.place(origin, &file.path_bytes)),
            },
            reason: file.reason,
            tries: file.tries,
            last_ms: file.last_ms,
        });
        Ok(shown.collect())
    }

    /// The index terms of a text in order, as the lexical index sees them (NFC, folded, stemmed; Hangul as bigrams).
    pub fn terms(&self, text: &str) -> Vec<String> {
        Analyser::terms(text).into_iter().map(|term| term.text).collect()
    }

    /// In how many passages a term occurs.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn passage_frequency(&self, term: &str) -> Result<u64, StoreError> {
        self.store.shelf().passage_frequency(term, &self.allowed)
    }
}

fn with_scores(list: &[(u64, f32)]) -> Vec<(u64, f64)> {
    let mut scored: Vec<(u64, f64)> = list.iter().map(|(id, score)| (*id, f64::from(*score))).collect();
    scored.sort_by(|a, b| match b.1.total_cmp(&a.1) {
        Ordering::Equal => a.0.cmp(&b.0),
        unequal => unequal,
    });
    scored
}

fn place(row: PassageRow) -> Place {
    Place {
        document_id: row.document_id,
        version: row.version,
        path: row.path,
        title: row.title,
        page: row.page,
        start: row.start,
        end: row.end,
    }
}

/// A passage's words under their headings; the heading that it begins with is not said twice.
fn readable_text(row: &PassageRow) -> String {
    let above = match row.heading_path.split_last() {
        Some((last, above)) if row.text.starts_with(last.as_str()) => above,
        _ => &row.heading_path,
    };
    let lines = above.iter().map(String::as_str).chain([row.text.as_str()]);
    lines.collect::<Vec<&str>>().join("\n")
}
