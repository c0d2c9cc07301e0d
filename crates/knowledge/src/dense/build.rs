//! Making the graph of [`super::graph`]: deterministic, whatever the number of threads.
//!
//! Rows are taken in batches. Where each of a batch belongs is looked for in the graph as it stood before the batch, by
//! several threads if there are; then they are linked one after another.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use stdx::rng::Rng;

use super::graph::{Graph, LINKS, LINKS_LOWEST, Level, Linked, NONE, Near, Scratches, nearest, step};
use super::rows::Rows;

/// Near rows that are looked at before some of them are chosen.
const WIDTH: usize = 100;
/// More links than these are not kept while building; then the worst of them go.
const ROOM: usize = LINKS_LOWEST + LINKS;
/// A batch is so much smaller than the graph that its rows hardly belong to each other.
const BATCH_SHARE: usize = 32;
const BATCH_MAX: usize = 512;
/// Threads are worth their while from so many rows on.
const THREADED_MIN: usize = 64;
const LEVELS_MAX: usize = 8;

/// A graph while it is made.
struct Builder<'a> {
    rows: &'a Rows,
    /// Up to [`ROOM`] links of each row on the lowest level.
    lowest: Vec<u32>,
    n_lowest: Vec<u8>,
    levels: Vec<Level>,
    entry: u32,
    scratch: Scratches,
}

impl Linked for Builder<'_> {
    fn linked(&self, level: usize, row: u32) -> &[u32] {
        match level.checked_sub(1) {
            None => {
                let at = row as usize * ROOM;
                &self.lowest[at..at + usize::from(self.n_lowest[row as usize])]
            }
            Some(above) => {
                let level = &self.levels[above];
                let at = level
                    .rows
                    .binary_search(&row)
                    .map_or(level.links.len(), |at| at * LINKS);
                let all = level.links.get(at..at + LINKS).unwrap_or_default();
                let n = all.iter().position(|link| *link == NONE).unwrap_or(all.len());
                &all[..n]
            }
        }
    }
}

/// The graph of all of these rows; `None` if `stop` was set meanwhile.
pub(super) fn build(rows: &Rows, n_threads: usize, stop: &AtomicBool) -> Option<Graph> {
    let n = rows.len();
    let mut builder = Builder {
        rows,
        lowest: vec![NONE; n * ROOM],
        n_lowest: vec![0; n],
        levels: Vec::new(),
        entry: 0,
        scratch: Scratches::default(),
    };
    let mut done = 1.min(n);
    builder.raise(0);
    while done < n {
        if stop.load(Relaxed) {
            return None;
        }
        let batch = (done / BATCH_SHARE).clamp(1, BATCH_MAX).min(n - done);
        let chosen = builder.places(done..done + batch, n_threads);
        for (row, chosen) in (done..).zip(chosen) {
            builder.link(row as u32, chosen);
        }
        done += batch;
    }
    Some(builder.finish())
}

/// The highest level of a row: each has a sixteenth of the rows of the one below.
fn level_of(row: usize) -> usize {
    let chance = 1.0 - Rng::new(row as u64).unit_f32();
    ((-chance.ln() / (LINKS as f32).ln()) as usize).min(LEVELS_MAX)
}

impl Builder<'_> {
    /// Which rows each of these is to be linked to, by level.
    fn places(&self, batch: std::ops::Range<usize>, n_threads: usize) -> Vec<Vec<Vec<u32>>> {
        let of_some = |rows: std::ops::Range<usize>| -> Vec<Vec<Vec<u32>>> {
            self.scratch.with(self.rows.len(), |scratch| {
                rows.map(|row| self.place(row, scratch)).collect()
            })
        };
        if n_threads < 2 || batch.len() < THREADED_MIN {
            return of_some(batch);
        }
        let share = batch.len().div_ceil(n_threads);
        std::thread::scope(|scope| {
            let starts = batch.clone().step_by(share);
            let parts: Vec<_> = starts
                .map(|start| scope.spawn(move || of_some(start..(start + share).min(batch.end))))
                .collect();
            // A thread that failed leaves its rows without links: they are found by nothing but an exact scan.
            parts
                .into_iter()
                .flat_map(|part| part.join().unwrap_or_default())
                .collect()
        })
    }

    fn place(&self, row: usize, scratch: &mut super::graph::Scratch) -> Vec<Vec<u32>> {
        let query = self.rows.query(row);
        let (own, top) = (level_of(row), self.levels.len());
        let mut at = Near {
            score: self.rows.score(self.entry as usize, &query),
            row: self.entry,
        };
        for level in (own + 1..=top).rev() {
            at = step(self, (self.rows, &query), at, level);
        }
        let mut entries = vec![at];
        let mut chosen = vec![Vec::new(); own.min(top) + 1];
        for level in (0..=own.min(top)).rev() {
            entries = nearest(self, (self.rows, &query), &entries, (level, WIDTH), scratch);
            chosen[level] = self.choose(&entries, LINKS);
        }
        chosen
    }

    /// Of near rows, nearest first, those that are nearer to the middle than to any chosen before: so links point in
    /// different directions. Then the nearest of the others, up to `most`.
    fn choose(&self, near: &[Near], most: usize) -> Vec<u32> {
        let mut chosen: Vec<u32> = Vec::with_capacity(most);
        let mut others = Vec::new();
        for candidate in near {
            if chosen.len() >= most {
                break;
            }
            let query = self.rows.query(candidate.row as usize);
            let is_apart = chosen
                .iter()
                .all(|row| self.rows.score(*row as usize, &query) < candidate.score);
            if is_apart {
                chosen.push(candidate.row);
            } else {
                others.push(candidate.row);
            }
        }
        let room = most - chosen.len();
        chosen.extend(others.into_iter().take(room));
        chosen
    }

    /// Links a row to those chosen, and them to it.
    fn link(&mut self, row: u32, chosen: Vec<Vec<u32>>) {
        self.raise(row);
        for (level, chosen) in chosen.into_iter().enumerate() {
            self.set(level, row, &chosen);
            for other in chosen {
                self.add(level, other, row);
            }
        }
        let top = self.levels.len();
        if self.levels.last().is_some_and(|level| level.rows == [row]) && top > 0 {
            self.entry = row;
        }
    }

    /// Lets a row stand on its levels, as the first of a new one perhaps.
    fn raise(&mut self, row: u32) {
        let own = level_of(row as usize);
        // One level more than there was, at most: a search must find its way down.
        let own = own.min(self.levels.len() + 1);
        if own > self.levels.len() {
            self.levels.push(Level::default());
        }
        for level in &mut self.levels[..own] {
            level.rows.push(row);
            level.links.extend([NONE; LINKS]);
        }
    }

    fn set(&mut self, level: usize, row: u32, links: &[u32]) {
        match level.checked_sub(1) {
            None => {
                let at = row as usize * ROOM;
                self.lowest[at..at + links.len()].copy_from_slice(links);
                self.n_lowest[row as usize] = links.len() as u8;
            }
            Some(above) => {
                let level = &mut self.levels[above];
                if let Ok(at) = level.rows.binary_search(&row) {
                    let here = &mut level.links[at * LINKS..(at + 1) * LINKS];
                    here.fill(NONE);
                    here[..links.len()].copy_from_slice(links);
                }
            }
        }
    }

    /// Adds a link; where there is no more room, the better ones are kept.
    fn add(&mut self, level: usize, row: u32, link: u32) {
        let (room, kept) = if level == 0 {
            (ROOM, LINKS_LOWEST)
        } else {
            (LINKS, LINKS)
        };
        let mut links = self.linked(level, row).to_vec();
        links.push(link);
        if links.len() > room {
            links = self.best_of(row, &links, kept);
        }
        self.set(level, row, &links);
    }

    fn best_of(&self, row: u32, links: &[u32], most: usize) -> Vec<u32> {
        let query = self.rows.query(row as usize);
        let mut near: Vec<Near> = links
            .iter()
            .map(|link| Near {
                score: self.rows.score(*link as usize, &query),
                row: *link,
            })
            .collect();
        near.sort_unstable_by(|a, b| b.cmp(a));
        self.choose(&near, most)
    }

    fn finish(mut self) -> Graph {
        let n = self.rows.len();
        let mut links = Vec::with_capacity(n * LINKS_LOWEST);
        for row in 0..n as u32 {
            let mut own = self.linked(0, row).to_vec();
            if own.len() > LINKS_LOWEST {
                own = self.best_of(row, &own, LINKS_LOWEST);
            }
            own.resize(LINKS_LOWEST, NONE);
            links.extend(own);
        }
        Graph {
            members: (0..n).map(|row| self.rows.passage(row).unwrap_or(0)).collect(),
            links,
            levels: std::mem::take(&mut self.levels),
            entry: self.entry,
            scratch: Scratches::default(),
        }
    }
}
