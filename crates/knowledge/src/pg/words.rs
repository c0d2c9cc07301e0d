//! Search by words in the tables: what permitted passages hold of a question's terms, scored by the one formula.
//!
//! Each statement is bound to the audiences of the reader, so that a passage that he may not read is in no count, no
//! length and no average.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use postgres::Transaction;

use super::inverted::{self, Outline};
use super::{Failed, Postgres, Sql, passage_id};
use crate::analyser;
use crate::catalog::{AudienceSet, PresentEmbedder};
use crate::error::StoreError;
use crate::lexical::around;
use crate::lexical::rank::{
    self, AROUND, EXACT, FIELDS, Found, HEADINGS, Lists, Occurrences, Place, TEXT, TITLE,
};
use crate::question::Question;
use crate::shelf::{EmbedderRow, Finds};
use crate::store::held;
use crate::suggest::Typed;
use crate::types::EmbedderId;

/// Outlines of so many segments are kept between questions.
const OUTLINES_MAX: usize = 200_000;

/// One question's view of the tables.
struct Asked<'a, 'b> {
    transaction: RefCell<&'a mut Transaction<'b>>,
    segments: Vec<(i64, Arc<Outline>)>,
    numbers: HashMap<i64, usize>,
    found: HashMap<(usize, String), Occurrences>,
    n_passages: u64,
    averages: Vec<f32>,
    allowed: Vec<i32>,
}

/// Where a term stands: a segment, and for each of its passages that have it the places.
type PlacesOf = Vec<(usize, Vec<(u32, Vec<u32>)>)>;

impl Postgres {
    fn ask(
        &self,
        question: Question,
        limit: usize,
        allowed: &AudienceSet,
    ) -> Result<Vec<(u64, f32)>, StoreError> {
        self.snapshot("search by words", |transaction| {
            let asked = Asked::of(self, transaction, &question, allowed)?;
            rank::best(&asked, question, limit)
        })
    }

    /// The outlines of these segments, from memory where they are known.
    fn outlines(
        &self,
        transaction: &mut Transaction<'_>,
        segments: &BTreeSet<i64>,
    ) -> Sql<Vec<(i64, Arc<Outline>)>> {
        let mut found: HashMap<i64, Arc<Outline>> = {
            let known = held(&self.outlines);
            let here = segments
                .iter()
                .filter_map(|no| Some((*no, Arc::clone(known.get(no)?))));
            here.collect()
        };
        let missing: Vec<i64> = segments
            .iter()
            .filter(|no| !found.contains_key(no))
            .copied()
            .collect();
        if !missing.is_empty() {
            let rows = transaction.query(
                "SELECT segment_no, outline FROM segments WHERE segment_no = ANY($1)",
                &[&missing],
            )?;
            let mut known = held(&self.outlines);
            if known.len() + rows.len() > OUTLINES_MAX {
                known.clear();
            }
            for row in rows {
                let no: i64 = row.try_get(0)?;
                let outline = Outline::from_bytes(row.try_get(1)?).ok_or_else(damaged)?;
                let outline = Arc::new(outline);
                known.insert(no, Arc::clone(&outline));
                found.insert(no, outline);
            }
        }
        let in_order = segments.iter().map(|no| Some((*no, found.remove(no)?)));
        in_order.collect::<Option<Vec<_>>>().ok_or_else(damaged)
    }
}

fn damaged() -> Failed {
    Failed::Other("the table of words is damaged; ingest the documents into an empty database".to_owned())
}

impl<'a, 'b> Asked<'a, 'b> {
    fn of(
        postgres: &Postgres,
        transaction: &'a mut Transaction<'b>,
        question: &Question,
        allowed: &AudienceSet,
    ) -> Sql<Self> {
        let allowed = allowed.numbers();
        let in_phrases = question.phrases.iter().flatten().map(|term| term.text.as_str());
        let mut words: Vec<&str> = question.terms.iter().map(|term| term.text.as_str()).collect();
        words.extend(in_phrases);
        let exact: Vec<&str> = question.exact.iter().map(|(term, _)| term.as_str()).collect();
        let rows = transaction.query(
            "SELECT p.term, p.field, p.segment_no, p.counts FROM postings p
                 JOIN documents d ON d.segment_no = p.segment_no
             WHERE p.term = ANY($1) AND p.field IN (0, 1, 2) AND d.audience_id = ANY($3)
             UNION ALL
             SELECT p.term, p.field, p.segment_no, p.counts FROM postings p
                 JOIN documents d ON d.segment_no = p.segment_no
             WHERE p.term = ANY($2) AND p.field = 4 AND d.audience_id = ANY($3)",
            &[&words, &exact, &allowed],
        )?;
        let mut read = Vec::with_capacity(rows.len());
        let mut wanted = BTreeSet::new();
        for row in &rows {
            let (term, field, segment): (&str, i16, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let counts = inverted::counts(row.try_get(3)?).ok_or_else(damaged)?;
            wanted.insert(segment);
            read.push((term, field as usize, segment, counts));
        }
        let segments = postgres.outlines(transaction, &wanted)?;
        let (n_passages, averages) = totals(transaction, &allowed)?;
        let numbers = segments
            .iter()
            .enumerate()
            .map(|(at, (no, _))| (*no, at))
            .collect();
        let mut asked = Self {
            transaction: RefCell::new(transaction),
            segments,
            numbers,
            found: HashMap::new(),
            n_passages,
            averages,
            allowed,
        };
        for (term, field, segment, counts) in read {
            asked.take(term, field, segment, &counts)?;
        }
        Ok(asked)
    }

    /// Takes a row in; what stands around a passage is what stands in those beside it.
    fn take(&mut self, term: &str, field: usize, segment: i64, counts: &[(u32, u32)]) -> Sql<()> {
        let at = self.numbers[&segment];
        let outline = Arc::clone(&self.segments[at].1);
        let n = outline.n();
        if counts.iter().any(|(passage, _)| *passage as usize >= n) {
            return Err(damaged());
        }
        let list = self.found.entry((field, term.to_owned())).or_default();
        if field == TITLE {
            let count = counts.first().map_or(0, |(_, count)| *count);
            list.extend((0..n as u32).map(|passage| (at, passage, count)));
            return Ok(());
        }
        list.extend(counts.iter().map(|(passage, count)| (at, *passage, *count)));
        if field == TEXT {
            let mut sums: std::collections::BTreeMap<u32, u32> = std::collections::BTreeMap::new();
            for (passage, count) in counts {
                for near in around(*passage as usize, n, |i| outline.pages[i]) {
                    *sums.entry(near as u32).or_default() += count;
                }
            }
            let list = self.found.entry((AROUND, term.to_owned())).or_default();
            list.extend(sums.into_iter().map(|(passage, count)| (at, passage, count)));
        }
        Ok(())
    }

    /// Where terms stand in the texts of some segments; of all permitted ones where none are named.
    fn places_of(&self, terms: &[&str], segments: Option<&[i64]>) -> Sql<HashMap<String, PlacesOf>> {
        let rows = self.transaction.borrow_mut().query(
            "SELECT p.term, p.segment_no, p.counts, p.places FROM postings p
                 JOIN documents d ON d.segment_no = p.segment_no
             WHERE p.term = ANY($1) AND p.field = 0 AND d.audience_id = ANY($2)
                 AND ($3::bigint[] IS NULL OR p.segment_no = ANY($3))",
            &[&terms, &self.allowed, &segments],
        )?;
        let mut found: HashMap<String, PlacesOf> = HashMap::new();
        for row in rows {
            let segment: i64 = row.try_get(1)?;
            let counts = inverted::counts(row.try_get(2)?).ok_or_else(damaged)?;
            let places: Option<&[u8]> = row.try_get(3)?;
            let places = inverted::places(&counts, places.unwrap_or_default()).ok_or_else(damaged)?;
            // The terms of phrases were looked up with the others, so all segments that have them are known.
            let Some(&at) = self.numbers.get(&segment) else {
                continue;
            };
            let by_passage = counts.iter().map(|(passage, _)| *passage).zip(places).collect();
            let term: String = row.try_get(0)?;
            found.entry(term).or_default().push((at, by_passage));
        }
        Ok(found)
    }
}

/// How many permitted passages there are, and how long each field of them is on average.
fn totals(transaction: &mut Transaction<'_>, allowed: &[i32]) -> Sql<(u64, Vec<f32>)> {
    let row = transaction.query_one(
        "SELECT coalesce(sum(n_passages), 0)::bigint, coalesce(sum(n_terms[1]), 0)::bigint,
                coalesce(sum(n_terms[2]), 0)::bigint, coalesce(sum(n_terms[3]), 0)::bigint,
                coalesce(sum(n_terms[4]), 0)::bigint, coalesce(sum(n_terms[5]), 0)::bigint
         FROM documents WHERE audience_id = ANY($1)",
        &[&allowed],
    )?;
    let n_passages = row.try_get::<_, i64>(0)?.cast_unsigned();
    let average = |field: usize| -> Sql<f32> {
        let n_terms = row.try_get::<_, i64>(field + 1)?.cast_unsigned();
        Ok(n_terms as f32 / n_passages.max(1) as f32)
    };
    Ok((n_passages, (0..FIELDS).map(average).collect::<Sql<_>>()?))
}

impl Lists for Asked<'_, '_> {
    type Error = Failed;

    fn n_passages(&self) -> u64 {
        self.n_passages
    }

    fn average(&self, field: usize) -> f32 {
        self.averages[field]
    }

    fn length(&self, field: usize, segment: usize, doc: u32) -> u32 {
        self.segments[segment].1.length(field, doc)
    }

    fn sizes(&self) -> Vec<usize> {
        self.segments.iter().map(|(_, outline)| outline.n()).collect()
    }

    fn passage(&self, segment: usize, doc: u32) -> u64 {
        passage_id(self.segments[segment].0, doc)
    }

    fn occurrences(&self, field: usize, term: &str) -> Sql<Occurrences> {
        Ok(self
            .found
            .get(&(field, term.to_owned()))
            .cloned()
            .unwrap_or_default())
    }

    fn phrase(&self, phrase: &[analyser::Term]) -> Sql<Occurrences> {
        let terms: Vec<&str> = phrase.iter().map(|term| term.text.as_str()).collect();
        let places = self.places_of(&terms, None)?;
        // Where the phrase may begin, by passage: what all its terms agree on.
        let mut starts: Option<HashMap<(usize, u32), BTreeSet<u32>>> = None;
        for term in phrase {
            let mut here: HashMap<(usize, u32), BTreeSet<u32>> = HashMap::new();
            for (segment, passages) in places.get(&term.text).into_iter().flatten() {
                for (passage, places) in passages {
                    let begins = places
                        .iter()
                        .filter_map(|at| at.checked_sub(term.position as u32));
                    here.insert((*segment, *passage), begins.collect());
                }
            }
            starts = Some(match starts {
                None => here,
                Some(before) => both(&before, &here),
            });
        }
        let mut found: Occurrences = starts
            .unwrap_or_default()
            .into_iter()
            .map(|((segment, passage), starts)| (segment, passage, starts.len() as u32))
            .filter(|(_, _, count)| *count > 0)
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    fn places(&self, found: &[Found], question: &Question) -> Sql<Vec<Vec<Place>>> {
        let mut places: Vec<Vec<Place>> = vec![Vec::new(); found.len()];
        if found.is_empty() {
            return Ok(places);
        }
        let terms: Vec<&str> = question.terms.iter().map(|term| term.text.as_str()).collect();
        let mut segments: Vec<i64> = found.iter().map(|found| self.segments[found.segment].0).collect();
        segments.sort_unstable();
        segments.dedup();
        let known = self.places_of(&terms, Some(&segments))?;
        let order: HashMap<(usize, u32), usize> = found
            .iter()
            .enumerate()
            .map(|(at, found)| ((found.segment, found.doc), at))
            .collect();
        for (number, term) in question.terms.iter().enumerate() {
            for (segment, passages) in known.get(&term.text).into_iter().flatten() {
                for (passage, at_places) in passages {
                    if let Some(&at) = order.get(&(*segment, *passage)) {
                        places[at].extend(at_places.iter().map(|place| (*place, number)));
                    }
                }
            }
        }
        Ok(places)
    }
}

/// Where both begin, in passages that both have.
fn both(
    a: &HashMap<(usize, u32), BTreeSet<u32>>,
    b: &HashMap<(usize, u32), BTreeSet<u32>>,
) -> HashMap<(usize, u32), BTreeSet<u32>> {
    a.iter()
        .filter_map(|(key, starts)| Some((*key, starts.intersection(b.get(key)?).copied().collect())))
        .collect()
}

impl Finds for Postgres {
    fn by_words(
        &self,
        question: &str,
        limit: usize,
        allowed: &AudienceSet,
    ) -> Result<Vec<(u64, f32)>, StoreError> {
        self.ask(Question::parse(question), limit, allowed)
    }

    fn known_embedder(&self, id: &EmbedderId) -> Result<Option<EmbedderRow>, StoreError> {
        self.find_embedder(id)
    }

    fn embedder_in_force(&self) -> Result<Option<PresentEmbedder>, StoreError> {
        self.find_present_embedder()
    }

    fn generation(&self) -> Result<i64, StoreError> {
        // Nothing takes the place of the tables.
        Ok(0)
    }

    fn by_vector(
        &self,
        embedder: EmbedderRow,
        vector: &[f32],
        limit: usize,
        allowed: &AudienceSet,
        _exactly: bool,
    ) -> Result<Vec<(u64, f32)>, StoreError> {
        self.nearest(embedder, vector, limit, allowed)
    }

    fn titled(&self, typed: &Typed, limit: usize, allowed: &AudienceSet) -> Result<Vec<u64>, StoreError> {
        if typed.complete.is_empty() && typed.unfinished.is_empty() {
            return Ok(Vec::new());
        }
        self.snapshot("look up titles", |transaction| {
            let mut found: Vec<(u32, u64)> = Vec::new();
            for field in [TITLE, HEADINGS] {
                found.extend(titled_in(self, transaction, field, typed, &allowed.numbers())?);
            }
            found.sort_unstable();
            let mut ids: Vec<u64> = Vec::new();
            for (_, passage) in found {
                if ids.len() < limit && !ids.contains(&passage) {
                    ids.push(passage);
                }
            }
            Ok(ids)
        })
    }

    fn passage_frequency(&self, term: &str, allowed: &AudienceSet) -> Result<u64, StoreError> {
        self.with("look up a word", |client| {
            let row = client.query_one(
                "SELECT coalesce(sum(p.n_passages), 0)::bigint FROM postings p
                     JOIN documents d ON d.segment_no = p.segment_no
                 WHERE p.term = $1 AND p.field = 0 AND d.audience_id = ANY($2)",
                &[&term, &allowed.numbers()],
            )?;
            Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
        })
    }

    fn may_lag(&self) -> Result<bool, StoreError> {
        // The words are written with the passages.
        Ok(false)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Passages in whose title or headings all of this stands, with the length of that field.
fn titled_in(
    postgres: &Postgres,
    transaction: &mut Transaction<'_>,
    field: usize,
    typed: &Typed,
    allowed: &[i32],
) -> Sql<Vec<(u32, u64)>> {
    let number = field as i16;
    let mut lists: Vec<BTreeSet<(i64, u32)>> = Vec::new();
    for term in &typed.complete {
        let rows = transaction.query(
            "SELECT p.segment_no, p.counts FROM postings p JOIN documents d ON d.segment_no = p.segment_no
             WHERE p.term = $1 AND p.field = $2 AND d.audience_id = ANY($3)",
            &[term, &number, &allowed],
        )?;
        lists.push(members(&rows)?);
    }
    if !typed.unfinished.is_empty() {
        let mut any = BTreeSet::new();
        for (from, to) in &typed.unfinished {
            let rows = transaction.query(
                "SELECT p.segment_no, p.counts FROM postings p JOIN documents d ON d.segment_no = p.segment_no
                 WHERE p.term >= $1 AND p.term < $2 AND p.field = $3 AND d.audience_id = ANY($4)",
                &[from, to, &number, &allowed],
            )?;
            any.extend(members(&rows)?);
        }
        lists.push(any);
    }
    let Some((first, others)) = lists.split_first() else {
        return Ok(Vec::new());
    };
    let everywhere: Vec<(i64, u32)> = first
        .iter()
        .filter(|at| others.iter().all(|list| list.contains(at)))
        .copied()
        .collect();
    let segments: BTreeSet<i64> = everywhere.iter().map(|(segment, _)| *segment).collect();
    let outlines: HashMap<i64, Arc<Outline>> =
        postgres.outlines(transaction, &segments)?.into_iter().collect();
    let mut found = Vec::new();
    for (segment, passage) in everywhere {
        let outline = &outlines[&segment];
        // A title stands over every passage.
        let passages = if field == TITLE {
            0..outline.n() as u32
        } else {
            passage..passage + 1
        };
        found.extend(passages.map(|p| (outline.length(field, p), passage_id(segment, p))));
    }
    Ok(found)
}

fn members(rows: &[postgres::Row]) -> Sql<BTreeSet<(i64, u32)>> {
    let mut found = BTreeSet::new();
    for row in rows {
        let segment: i64 = row.try_get(0)?;
        let counts = inverted::counts(row.try_get(1)?).ok_or_else(damaged)?;
        found.extend(counts.into_iter().map(|(passage, _)| (segment, passage)));
    }
    Ok(found)
}

// The numbers of the fields stand in statements, too.
const _: () = assert!(TEXT == 0 && TITLE == 1 && HEADINGS == 2 && EXACT == 4 && FIELDS == 5);
