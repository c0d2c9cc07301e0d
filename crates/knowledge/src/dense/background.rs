//! Graphs come and go in the background: read when vectors were loaded, made by a thread of their own where they are
//! missing or have fallen behind. Until then everything is scanned.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use super::build::build;
use super::graph::Graph;
use super::kept::{self, Kept};
use super::rows::Rows;
use super::{CHANGED_SHARE, Dense, Group};

/// A graph that is being made.
pub(super) struct Building {
    audience: u32,
    stop: Arc<AtomicBool>,
    /// `None` once it was waited for.
    thread: Option<JoinHandle<Option<Graph>>>,
}

impl Building {
    fn start(audience: u32, rows: Rows, path: PathBuf) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("graph".to_owned());
        let thread = thread.spawn({
            let stop = Arc::clone(&stop);
            move || {
                stdx::process::give_way();
                // As many as leave the others to questions.
                let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2));
                let graph = build(&rows, n_threads, &stop)?;
                if let Err(error) = kept::write(&path, &graph, &rows) {
                    tracing::warn!(%error, "the graph of the vectors is not kept; it is made again after a restart");
                }
                Some(graph)
            }
        })?;
        Ok(Self {
            audience,
            stop,
            thread: Some(thread),
        })
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn take(&mut self) -> Option<Graph> {
        self.thread.take()?.join().ok().flatten()
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it was making is not needed any more, whole or not.
            drop(thread.join());
        }
    }
}

impl Dense {
    /// Uses the graphs that were kept, as far as they fit.
    pub(super) fn read_graphs(&mut self) {
        for (audience, group) in &mut self.groups {
            if group.rows.n_alive() < self.graphs.min {
                continue;
            }
            if let Some(kept) = kept::read(&kept::path(&self.graphs.dir, self.embedder, *audience)) {
                group.use_kept(kept);
            }
        }
    }

    /// Uses a graph that is ready, and begins the next one that is wanted.
    pub(super) fn tend_graphs(&mut self) {
        if let Some(mut building) = self.building.take_if(|building| building.is_done()) {
            let graph = building.take();
            self.gave_up |= graph.is_none();
            if let (Some(graph), Some(group)) = (graph, self.groups.get_mut(&building.audience)) {
                group.use_graph(graph);
            }
        }
        if !self.graphs.are_made || self.building.is_some() || self.gave_up {
            return;
        }
        let wants = |group: &Group| group.wants_graph(self.graphs.min);
        if let Some((audience, group)) = self.groups.iter().find(|(_, group)| wants(group)) {
            let path = kept::path(&self.graphs.dir, self.embedder, *audience);
            match Building::start(*audience, group.rows.sorted(), path) {
                Ok(building) => self.building = Some(building),
                Err(error) => {
                    tracing::warn!(%error, "no thread for the graph of the vectors; they are scanned");
                    self.gave_up = true;
                }
            }
        }
    }
}

impl Group {
    /// Uses a graph out of a file, if its vectors are still these, but for some that are gone.
    fn use_kept(&mut self, kept: Kept) {
        let rows = self.arranged(&kept.graph);
        let known = (0..kept.graph.len()).filter(|row| rows.passage(*row).is_some());
        let fits = known
            .clone()
            .all(|row| kept.sums[row] == kept::sum_of(&rows, row));
        let n_lost = kept.graph.len() - known.count();
        if fits && n_lost as f64 <= CHANGED_SHARE * kept.graph.len() as f64 {
            self.rows = rows;
            self.graph = Some(Arc::new(kept.graph));
        }
    }

    fn use_graph(&mut self, graph: Graph) {
        self.rows = self.arranged(&graph);
        self.graph = Some(Arc::new(graph));
    }

    /// The rows in the graph's order, then the others.
    fn arranged(&self, graph: &Graph) -> Rows {
        let is_so = graph.len() <= self.rows.len()
            && (0..graph.len()).all(|row| self.rows.passage(row) == Some(graph.members[row]));
        if is_so {
            return self.rows.clone();
        }
        let mut place: Vec<(u64, usize)> = (0..self.rows.len())
            .filter_map(|row| Some((self.rows.passage(row)?, row)))
            .collect();
        place.sort_unstable();
        let mut is_taken = vec![false; self.rows.len()];
        let mut arranged = Rows::new(self.rows.dim());
        for member in &graph.members {
            match place.binary_search_by_key(member, |(passage, _)| *passage) {
                Ok(at) => {
                    arranged.take(&self.rows, place[at].1);
                    is_taken[place[at].1] = true;
                }
                Err(_) => arranged.take_none(),
            }
        }
        for (row, _) in is_taken.iter().enumerate().filter(|(_, is_taken)| !**is_taken) {
            arranged.take(&self.rows, row);
        }
        arranged
    }
}
