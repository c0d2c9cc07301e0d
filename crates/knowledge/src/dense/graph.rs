//! A graph of near vectors, through which a search goes instead of looking at every one.
//!
//! HNSW (Malkov and Yashunin, TPAMI 2018): every vector is linked to some near ones that lie in different directions;
//! few of them also stand on higher levels with longer links, by which a search comes near in few steps. How it is made
//! stands in [`super::build`], how it is kept in [`super::kept`].
//!
//! A graph holds vectors of one audience only. So what others may not read has no part in where a search goes, and no
//! filter is needed on the way.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

use super::rows::{Query, Rows};

/// Links of a vector on the higher levels, and those that it chooses itself on the lowest.
pub(super) const LINKS: usize = 16;
/// Links of a vector on the lowest level.
pub(super) const LINKS_LOWEST: usize = 2 * LINKS;
/// Stands in the place of a link that is not there.
pub(super) const NONE: u32 = u32::MAX;

/// A vector with its nearness; nearer ones are greater, of equals the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Near {
    pub(super) score: f32,
    pub(super) row: u32,
}

impl Eq for Near {}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.row.cmp(&self.row))
    }
}

/// Links on a higher level.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Level {
    /// In order.
    pub(super) rows: Vec<u32>,
    /// [`LINKS`] of each.
    pub(super) links: Vec<u32>,
}

/// The graph of the first rows of an audience.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// The passages of its rows.
    pub(super) members: Vec<u64>,
    /// [`LINKS_LOWEST`] of each row.
    pub(super) links: Vec<u32>,
    /// From the lowest but one to the highest.
    pub(super) levels: Vec<Level>,
    /// Where every search begins: a row of the highest level.
    pub(super) entry: u32,
    pub(super) scratch: Scratches,
}

/// Where a search has been.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    round: u32,
    seen_in: Vec<u32>,
}

/// Those that no search uses at the moment.
#[derive(Debug, Default)]
pub(super) struct Scratches(Mutex<Vec<Scratch>>);

impl Scratches {
    pub(super) fn with<T>(&self, n_rows: usize, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = idle.unwrap_or_default();
        scratch.seen_in.resize(n_rows, 0);
        let value = work(&mut scratch);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(scratch);
        value
    }
}

impl Scratch {
    fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.seen_in.fill(0);
            self.round = 1;
        }
    }

    /// Whether this row is seen for the first time in this round.
    fn is_new(&mut self, row: u32) -> bool {
        let seen_in = &mut self.seen_in[row as usize];
        let is_new = *seen_in != self.round;
        *seen_in = self.round;
        is_new
    }
}

/// Links while they are made and when they are done.
pub(super) trait Linked {
    /// The rows that a row is linked to on a level; 0 is the lowest.
    fn linked(&self, level: usize, row: u32) -> &[u32];
}

impl Linked for Graph {
    fn linked(&self, level: usize, row: u32) -> &[u32] {
        let all = match level.checked_sub(1) {
            None => {
                let at = row as usize * LINKS_LOWEST;
                &self.links[at..at + LINKS_LOWEST]
            }
            Some(above) => {
                let level = &self.levels[above];
                let at = level
                    .rows
                    .binary_search(&row)
                    .map_or(level.links.len(), |at| at * LINKS);
                level.links.get(at..at + LINKS).unwrap_or_default()
            }
        };
        let n = all.iter().position(|link| *link == NONE).unwrap_or(all.len());
        &all[..n]
    }
}

/// The `width` nearest rows that are reached on a level from `entries`, nearest first.
pub(super) fn nearest(
    graph: &impl Linked,
    (rows, query): (&Rows, &Query),
    entries: &[Near],
    (level, width): (usize, usize),
    scratch: &mut Scratch,
) -> Vec<Near> {
    scratch.begin();
    let mut ahead: BinaryHeap<Near> = BinaryHeap::with_capacity(width);
    let mut best: BinaryHeap<Reverse<Near>> = BinaryHeap::with_capacity(width + 1);
    for near in entries {
        if scratch.is_new(near.row) {
            ahead.push(*near);
            best.push(Reverse(*near));
        }
    }
    while let Some(next) = ahead.pop() {
        if best.len() >= width && best.peek().is_some_and(|last| next < last.0) {
            break;
        }
        for &row in graph.linked(level, next.row) {
            if !scratch.is_new(row) {
                continue;
            }
            let near = Near {
                score: rows.score(row as usize, query),
                row,
            };
            if best.len() < width || best.peek().is_some_and(|last| near > last.0) {
                ahead.push(near);
                best.push(Reverse(near));
                if best.len() > width {
                    best.pop();
                }
            }
        }
    }
    best.into_sorted_vec().into_iter().map(|near| near.0).collect()
}

impl Graph {
    /// How many rows it is of.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Rows near to a question, nearest first; the first of them are most likely the nearest of all.
    pub(super) fn search(&self, rows: &Rows, query: &Query, width: usize) -> Vec<Near> {
        if self.members.is_empty() {
            return Vec::new();
        }
        self.scratch.with(self.len(), |scratch| {
            let mut at = Near {
                score: rows.score(self.entry as usize, query),
                row: self.entry,
            };
            for level in (1..=self.levels.len()).rev() {
                at = step(self, (rows, query), at, level);
            }
            nearest(self, (rows, query), &[at], (0, width), scratch)
        })
    }
}

/// Goes to the nearest neighbour as long as there is a nearer one.
pub(super) fn step(graph: &impl Linked, (rows, query): (&Rows, &Query), mut at: Near, level: usize) -> Near {
    loop {
        let linked = graph.linked(level, at.row).iter();
        let next = linked.map(|row| Near {
            score: rows.score(*row as usize, query),
            row: *row,
        });
        match next.max() {
            Some(nearer) if nearer > at => at = nearer,
            _ => return at,
        }
    }
}
