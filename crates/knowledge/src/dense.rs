//! Vectors of passages in one flat array of half floats, scanned exactly.
//!
//! The catalog holds them durably; this is a copy that follows its commits. Vectors of another embedder are
//! never in it.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rusqlite::{Connection, params};

use crate::catalog::{AudienceSet, Catalog, meta};
use crate::checksum::Summed;
use crate::error::StoreError;

/// Vectors are scanned by several threads from this many on.
const PARALLEL_MIN: usize = 20_000;
const THREADS_MAX: usize = 8;

/// The vectors of one embedder.
pub(crate) struct Dense {
    embedder: i64,
    dim: usize,
    passages: Vec<u64>,
    /// Of each passage's document.
    audiences: Vec<u32>,
    values: Vec<f16>,
    /// Vectors up to this id are in.
    watermark: i64,
    /// The catalog's count of removals when the array was last pruned.
    removals: i64,
    /// How often a new index had taken the old one's place: what was read before is not of this one.
    generation: i64,
    /// The catalog's count of changed audiences when they were last looked up.
    audience_changes: i64,
    /// A connection of its own: SQLite counts, for each connection, the commits of all others.
    connection: Connection,
    data_version: Option<i64>,
}

/// A vector as it is stored: half floats, little-endian.
pub(crate) fn encode(vector: &[f32]) -> Vec<u8> {
    vector
        .iter()
        .flat_map(|&x| f16::from_f32(x).to_le_bytes())
        .collect()
}

impl Dense {
    pub(crate) fn new(catalog: &Catalog, embedder: i64, dim: usize) -> Result<Self, StoreError> {
        Ok(Self {
            embedder,
            dim,
            passages: Vec::new(),
            audiences: Vec::new(),
            values: Vec::new(),
            watermark: 0,
            removals: 0,
            generation: 0,
            audience_changes: 0,
            connection: catalog.reader()?,
            data_version: None,
        })
    }

    pub(crate) fn is_of(&self, embedder: i64, dim: usize) -> bool {
        self.embedder == embedder && self.dim == dim
    }

    /// Whether the catalog has been written since the last [`Dense::refresh`].
    fn is_stale(&self) -> rusqlite::Result<Option<i64>> {
        let version = self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0))?;
        Ok((self.data_version != Some(version)).then_some(version))
    }

    /// Takes in what was committed since the last time.
    pub(crate) fn refresh(&mut self, catalog: &Catalog) -> Result<(), StoreError> {
        self.try_refresh()
            .map_err(|error| StoreError::database("load vectors", catalog.path(), error))
    }

    fn try_refresh(&mut self) -> rusqlite::Result<()> {
        let Some(version) = self.is_stale()? else {
            return Ok(());
        };
        let generation = meta(&self.connection, "generation")?;
        if generation != self.generation {
            self.passages.clear();
            self.audiences.clear();
            self.values.clear();
            self.watermark = 0;
            self.generation = generation;
        }
        let removals = meta(&self.connection, "passages_removed")?;
        let changes = meta(&self.connection, "audience_seq")?;
        if removals != self.removals || changes != self.audience_changes {
            self.prune()?;
            self.removals = removals;
            self.audience_changes = changes;
        }
        let sql = format!(
            "SELECT v.vector_id, v.passage_id, v.data, d.audience_id, {} FROM vectors v
             JOIN passages p ON p.passage_id = v.passage_id
             JOIN documents d ON d.document_id = p.document_id
             WHERE v.embedder_id = ?1 AND v.vector_id > ?2 ORDER BY v.vector_id",
            Summed::Vectors.is_intact("v")
        );
        let mut query = self.connection.prepare_cached(&sql)?;
        let mut rows = query.query(params![self.embedder, self.watermark])?;
        while let Some(row) = rows.next()? {
            self.watermark = row.get(0)?;
            let data = row.get_ref(2)?.as_blob()?;
            // A damaged vector is left out: its passage is still found by words, and `verify` names it.
            if data.len() == self.dim * size_of::<f16>() && row.get::<_, bool>(4)? {
                self.passages.push(row.get::<_, i64>(1)?.cast_unsigned());
                self.audiences.push(row.get(3)?);
                self.values
                    .extend(data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])));
            }
        }
        self.data_version = Some(version);
        Ok(())
    }

    /// Drops vectors whose passage is gone or was embedded anew, and looks the audiences of the others up again.
    fn prune(&mut self) -> rusqlite::Result<()> {
        let mut alive: Vec<(u64, u32)> = self
            .connection
            .prepare_cached(
                "SELECT v.passage_id, d.audience_id FROM vectors v
                 JOIN passages p ON p.passage_id = v.passage_id
                 JOIN documents d ON d.document_id = p.document_id
                 WHERE v.embedder_id = ?1 AND v.vector_id <= ?2",
            )?
            .query_map(params![self.embedder, self.watermark], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        alive.sort_unstable();
        let mut kept = 0;
        for i in 0..self.passages.len() {
            if let Ok(at) = alive.binary_search_by_key(&self.passages[i], |(passage, _)| *passage) {
                self.passages[kept] = self.passages[i];
                self.audiences[kept] = alive[at].1;
                self.values
                    .copy_within(i * self.dim..(i + 1) * self.dim, kept * self.dim);
                kept += 1;
            }
        }
        self.passages.truncate(kept);
        self.audiences.truncate(kept);
        self.values.truncate(kept * self.dim);
        Ok(())
    }

    /// Of the passages of these audiences those whose vectors are nearest (unit vectors: the dot product is the cosine), best first, equal
    /// ones by id.
    pub(crate) fn search(&self, query: &[f32], limit: usize, allowed: &AudienceSet) -> Vec<(u64, f32)> {
        if query.len() != self.dim || self.dim == 0 || limit == 0 {
            return Vec::new();
        }
        let n = self.passages.len();
        let n_threads = if n < PARALLEL_MIN {
            1
        } else {
            std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS_MAX))
        };
        let share = n.div_ceil(n_threads).max(1);
        let mut best: Vec<(u64, f32)> = std::thread::scope(|scope| {
            let scans: Vec<_> = self
                .passages
                .chunks(share)
                .zip(self.audiences.chunks(share))
                .zip(self.values.chunks(share * self.dim))
                .map(|((ids, audiences), values)| {
                    scope.spawn(move || scan(query, ids, audiences, values, limit, allowed))
                })
                .collect();
            scans
                .into_iter()
                .flat_map(|scan| scan.join().unwrap_or_default())
                .collect()
        });
        rank(&mut best, limit);
        best
    }
}

fn scan(
    query: &[f32],
    ids: &[u64],
    audiences: &[u32],
    values: &[f16],
    limit: usize,
    allowed: &AudienceSet,
) -> Vec<(u64, f32)> {
    let mut row = vec![0.0f32; query.len()];
    let mut best = Vec::with_capacity(limit * 2);
    let mut floor = f32::NEG_INFINITY;
    for ((&id, &audience), vector) in ids.iter().zip(audiences).zip(values.chunks_exact(query.len())) {
        if !allowed.has(audience) {
            continue;
        }
        vector.convert_to_f32_slice(&mut row);
        let score = dot(query, &row);
        if score > floor || best.len() < limit {
            best.push((id, score));
        }
        if best.len() >= limit * 2 {
            rank(&mut best, limit);
            floor = best.last().map_or(floor, |last: &(u64, f32)| last.1);
        }
    }
    rank(&mut best, limit);
    best
}

fn rank(best: &mut Vec<(u64, f32)>, limit: usize) {
    best.retain(|(_, score)| score.is_finite());
    best.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    best.truncate(limit);
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
