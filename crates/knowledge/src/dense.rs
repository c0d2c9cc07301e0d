//! Vectors of passages, held as small whole numbers: scanned exactly, or through a graph where there are very many.
//!
//! The catalog holds them durably; this is a copy that follows its commits. Vectors of another embedder are never in it.
//! What is found here is compared again by the stored numbers, so rounding decides nothing among the best.
//!
//! They are kept apart by audience. A graph holds one audience only, so what a reader may not see has no part in where
//! a search goes; audiences of fewer vectors are scanned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use half::f16;
use rusqlite::{Connection, params};

use crate::catalog::{AudienceSet, Catalog, meta};
use crate::checksum::Summed;
use crate::error::StoreError;
use crate::store::held;

mod background;
mod build;
mod graph;
pub(crate) mod kept;
mod rows;
#[cfg(test)]
mod tests;

use background::Building;
use graph::Graph;
use rows::{BLOCK, Query, Rows};

/// Vectors are scanned by several threads from this many on.
const PARALLEL_MIN: usize = 20_000;
const THREADS_MAX: usize = 8;
/// An audience of so many vectors gets a graph.
const GRAPH_MIN: usize = 200_000;
/// A graph is made again when this share of its audience has come or gone since.
const CHANGED_SHARE: f64 = 0.2;
/// Rows that a search through a graph keeps in view: more find more of the nearest and take longer.
const WIDTH: usize = 320;
/// Beyond those asked for, so many are compared again by their stored numbers.
const SPARE: usize = 50;

/// Where graphs are kept, who may make them, and from how many vectors on.
#[derive(Debug, Clone)]
pub(crate) struct Graphs {
    /// The data directory.
    pub(crate) dir: PathBuf,
    /// Whether they are made where they are missing; a process that only reads uses those that are there.
    pub(crate) are_made: bool,
    pub(crate) min: usize,
}

impl Graphs {
    pub(crate) fn new(dir: &Path, are_made: bool) -> Self {
        Self {
            dir: dir.to_owned(),
            are_made,
            min: GRAPH_MIN,
        }
    }
}

/// The vectors of one embedder.
pub(crate) struct Dense {
    embedder: i64,
    dim: usize,
    graphs: Graphs,
    groups: BTreeMap<u32, Group>,
    /// Vectors up to this id are in.
    watermark: i64,
    /// The catalog's count of removals when vectors were last let go.
    removals: i64,
    /// How often a new index had taken the old one's place: what was read before is not of this one.
    generation: i64,
    /// The catalog's count of changed audiences when they were last looked up.
    audience_changes: i64,
    /// A connection of its own: SQLite counts, for each connection, the commits of all others.
    connection: Mutex<Connection>,
    data_version: Option<i64>,
    building: Option<Building>,
    /// The last graph could not be made, of which nobody would learn by trying again.
    gave_up: bool,
}

/// The vectors of one audience.
struct Group {
    rows: Rows,
    /// Of the first rows.
    graph: Option<Arc<Graph>>,
}

impl Group {
    fn new(dim: usize) -> Self {
        Self {
            rows: Rows::new(dim),
            graph: None,
        }
    }

    /// Rows that the graph does not know.
    fn n_behind(&self) -> usize {
        self.rows.len() - self.graph.as_ref().map_or(0, |graph| graph.len())
    }

    fn wants_graph(&self, min: usize) -> bool {
        let n = self.rows.n_alive();
        let changed = self.n_behind() + self.rows.n_gone();
        n >= min && (self.graph.is_none() || changed as f64 > CHANGED_SHARE * n as f64)
    }
}

/// A vector as it is stored: half floats, little-endian.
pub(crate) fn encode(vector: &[f32]) -> Vec<u8> {
    vector
        .iter()
        .flat_map(|&x| f16::from_f32(x).to_le_bytes())
        .collect()
}

fn decode(data: &[u8]) -> Vec<f16> {
    let numbers = data.as_chunks::<2>().0.iter();
    numbers.map(|bytes| f16::from_le_bytes(*bytes)).collect()
}

impl Dense {
    pub(crate) fn new(
        catalog: &Catalog,
        embedder: i64,
        dim: usize,
        graphs: Graphs,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            embedder,
            dim,
            graphs,
            groups: BTreeMap::new(),
            watermark: 0,
            removals: 0,
            generation: 0,
            audience_changes: 0,
            connection: Mutex::new(catalog.reader()?),
            data_version: None,
            building: None,
            gave_up: false,
        })
    }

    pub(crate) fn is_of(&self, embedder: i64, dim: usize) -> bool {
        self.embedder == embedder && self.dim == dim
    }

    /// Whether the catalog has been written since the last [`Dense::refresh`], or a graph is ready to be used.
    pub(crate) fn is_stale(&self, catalog: &Catalog) -> Result<bool, StoreError> {
        let version = self.version().map_err(|error| fail(catalog, error))?;
        let is_ready = self.building.as_ref().is_some_and(Building::is_done);
        Ok(is_ready || self.data_version != Some(version))
    }

    fn version(&self) -> rusqlite::Result<i64> {
        held(&self.connection).pragma_query_value(None, "data_version", |row| row.get(0))
    }

    /// Whether every audience that should have a graph has one, as far as this process makes them.
    pub(crate) fn is_settled(&self) -> bool {
        let wants = |group: &Group| group.wants_graph(self.graphs.min);
        !self.graphs.are_made || self.gave_up || self.building.is_none() && !self.groups.values().any(wants)
    }

    /// Takes in what was committed since the last time.
    pub(crate) fn refresh(&mut self, catalog: &Catalog) -> Result<(), StoreError> {
        let (is_first, before) = (self.data_version.is_none(), self.generation);
        self.try_refresh().map_err(|error| fail(catalog, error))?;
        if is_first || self.generation != before {
            self.read_graphs();
        }
        self.tend_graphs();
        Ok(())
    }

    fn try_refresh(&mut self) -> rusqlite::Result<()> {
        let version = self.version()?;
        if self.data_version == Some(version) {
            return Ok(());
        }
        let connection = self
            .connection
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let generation = meta(connection, "generation")?;
        if generation != self.generation {
            self.groups.clear();
            self.building = None;
            self.watermark = 0;
            self.generation = generation;
        }
        let removals = meta(connection, "passages_removed")?;
        let changes = meta(connection, "audience_seq")?;
        if self.watermark > 0 && (removals, changes) != (self.removals, self.audience_changes) {
            let alive = alive(connection, self.embedder, self.watermark)?;
            regroup(&mut self.groups, self.dim, &alive);
        }
        (self.removals, self.audience_changes) = (removals, changes);
        let sql = format!(
            "SELECT v.vector_id, v.passage_id, v.data, d.audience_id, {} FROM vectors v
             JOIN passages p ON p.passage_id = v.passage_id
             JOIN documents d ON d.document_id = p.document_id
             WHERE v.embedder_id = ?1 AND v.vector_id > ?2 ORDER BY v.vector_id",
            Summed::Vectors.is_intact("v")
        );
        let mut query = connection.prepare_cached(&sql)?;
        let mut found = query.query(params![self.embedder, self.watermark])?;
        while let Some(row) = found.next()? {
            self.watermark = row.get(0)?;
            let data = row.get_ref(2)?.as_blob()?;
            // A damaged vector is left out: its passage is still found by words, and `verify` names it.
            if data.len() == self.dim * size_of::<f16>() && row.get::<_, bool>(4)? {
                let group = self.groups.entry(row.get(3)?);
                let group = group.or_insert_with(|| Group::new(self.dim));
                group
                    .rows
                    .push(row.get::<_, i64>(1)?.cast_unsigned(), &decode(data));
            }
        }
        self.data_version = Some(version);
        Ok(())
    }

    /// Of the passages of these audiences those whose vectors are most likely the nearest, a few more than `limit`; with
    /// `exactly`, no graph is trusted.
    pub(crate) fn candidates(
        &self,
        question: &[f32],
        limit: usize,
        allowed: &AudienceSet,
        exactly: bool,
    ) -> Vec<u64> {
        if question.len() != self.dim || self.dim == 0 || limit == 0 {
            return Vec::new();
        }
        let query = Query::of(question);
        let limit = limit + SPARE;
        let mut best = Vec::new();
        let mut scans = Vec::new();
        for (_, group) in self.groups.iter().filter(|(audience, _)| allowed.has(**audience)) {
            let mut from = 0;
            if let (Some(graph), false) = (&group.graph, exactly) {
                let near = graph.search(&group.rows, &query, WIDTH.max(limit * 2));
                let found = near.into_iter().filter_map(|near| {
                    let passage = group.rows.passage(near.row as usize)?;
                    Some((passage, near.score))
                });
                best.extend(found);
                from = graph.len();
            }
            let blocks = (from..group.rows.len()).step_by(BLOCK);
            scans.extend(blocks.map(|start| (&group.rows, start..(start + BLOCK).min(group.rows.len()))));
        }
        best.extend(scan(&scans, &query, limit));
        rank(&mut best, limit);
        best.into_iter().map(|(passage, _)| passage).collect()
    }
}

fn fail(catalog: &Catalog, error: rusqlite::Error) -> StoreError {
    StoreError::database("load vectors", catalog.path(), error)
}

/// The passages with a vector up to this one, in order, with their audiences.
fn alive(connection: &Connection, embedder: i64, watermark: i64) -> rusqlite::Result<Vec<(u64, u32)>> {
    let mut alive: Vec<(u64, u32)> = connection
        .prepare_cached(
            "SELECT v.passage_id, d.audience_id FROM vectors v
             JOIN passages p ON p.passage_id = v.passage_id
             JOIN documents d ON d.document_id = p.document_id
             WHERE v.embedder_id = ?1 AND v.vector_id <= ?2",
        )?
        .query_map(params![embedder, watermark], |row| {
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    alive.sort_unstable();
    Ok(alive)
}

/// Lets vectors go whose passage is gone or was embedded anew, and moves those whose audience is another now.
fn regroup(groups: &mut BTreeMap<u32, Group>, dim: usize, alive: &[(u64, u32)]) {
    let audience_of = |passage: u64| {
        let at = alive
            .binary_search_by_key(&passage, |(passage, _)| *passage)
            .ok()?;
        Some(alive[at].1)
    };
    let mut moved: Vec<(u32, Rows)> = Vec::new();
    for (audience, group) in groups.iter_mut() {
        for row in 0..group.rows.len() {
            let now = group.rows.passage(row).and_then(audience_of);
            if let Some(now) = now.filter(|now| now != audience) {
                let mut one = Rows::new(dim);
                one.take(&group.rows, row);
                moved.push((now, one));
            }
        }
        group
            .rows
            .let_go(|passage| audience_of(passage) == Some(*audience));
        // Where no graph needs the places of what is gone, nothing keeps them.
        if group.graph.is_none() && group.rows.n_gone() > 0 {
            group.rows = group.rows.sorted();
        }
    }
    for (audience, one) in moved {
        let group = groups.entry(audience).or_insert_with(|| Group::new(dim));
        group.rows.take(&one, 0);
    }
    groups.retain(|_, group| group.rows.n_alive() > 0);
}

/// The best of some ranges of rows; several threads share many of them.
fn scan(ranges: &[(&Rows, std::ops::Range<usize>)], query: &Query, limit: usize) -> Vec<(u64, f32)> {
    let n: usize = ranges.iter().map(|(_, rows)| rows.len()).sum();
    let n_threads = if n < PARALLEL_MIN {
        1
    } else {
        std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS_MAX))
    };
    if n_threads == 1 {
        return scan_some(ranges, query, limit);
    }
    let failed = AtomicBool::new(false);
    let mut best: Vec<(u64, f32)> = std::thread::scope(|scope| {
        let mut parts = ranges.chunks(ranges.len().div_ceil(n_threads).max(1));
        let own = parts.next().unwrap_or_default();
        let others: Vec<_> = parts
            .map(|part| scope.spawn(|| scan_some(part, query, limit)))
            .collect();
        let mut best = scan_some(own, query, limit);
        for other in others {
            match other.join() {
                Ok(found) => best.extend(found),
                Err(_) => failed.store(true, Relaxed),
            }
        }
        best
    });
    if failed.load(Relaxed) {
        return scan_some(ranges, query, limit);
    }
    rank(&mut best, limit);
    best
}

fn scan_some(ranges: &[(&Rows, std::ops::Range<usize>)], query: &Query, limit: usize) -> Vec<(u64, f32)> {
    let mut best = Vec::with_capacity(limit * 2);
    let mut floor = f32::NEG_INFINITY;
    for (rows, range) in ranges {
        rows.scan(range.clone(), query, |passage, score| {
            if score >= floor {
                best.push((passage, score));
                if best.len() >= limit * 2 {
                    rank(&mut best, limit);
                    floor = best.last().map_or(floor, |last: &(u64, f32)| last.1);
                }
            }
        });
    }
    rank(&mut best, limit);
    best
}

/// The best, best first, equal ones by id.
fn rank(best: &mut Vec<(u64, f32)>, limit: usize) {
    best.retain(|(_, score)| score.is_finite());
    best.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    best.truncate(limit);
}

/// The nearest of some stored vectors (unit vectors: the dot product is the cosine), best first, equal ones by id.
pub(crate) fn nearest(question: &[f32], stored: &[(u64, Vec<u8>)], limit: usize) -> Vec<(u64, f32)> {
    let of_one = |(passage, data): &(u64, Vec<u8>)| {
        let vector: Vec<f32> = decode(data).into_iter().map(f32::from).collect();
        (vector.len() == question.len()).then(|| (*passage, dot(question, &vector)))
    };
    let mut best: Vec<(u64, f32)> = stored.iter().filter_map(of_one).collect();
    rank(&mut best, limit);
    best
}

/// Eight sums side by side, so that the compiler can use vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for (x, y) in a8.iter().zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}
