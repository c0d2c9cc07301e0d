//! The file of a graph: written when it is made, read when the store is opened again.
//!
//! Derived from the vectors and never the truth. It carries a checksum of all of it and one of each vector that it was
//! made of; if either does not fit, the graph is made again.

use std::path::{Path, PathBuf};

use stdx::fs::{self, FsError};

use super::graph::{Graph, LINKS, LINKS_LOWEST, Level, NONE, Scratches};
use super::rows::Rows;

/// The folder of these files in the data directory.
pub(crate) const FOLDER: &str = "near";
const ENDING: &str = "graph";
/// Names the file's kind and version.
const MAGIC: &[u8; 8] = b"hnkgrph1";
/// More levels are damage.
const LEVELS_MAX: u64 = 16;

/// Where the graph of an audience lies.
pub(super) fn path(dir: &Path, embedder: i64, audience: u32) -> PathBuf {
    dir.join(FOLDER).join(format!("{embedder}-{audience}.{ENDING}"))
}

/// The files of graphs that are not as they were written.
pub(crate) fn damaged(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join(FOLDER)).unwrap_or_default().into_iter();
    let graphs = files.filter(|path| path.extension().is_some_and(|ending| ending == ENDING));
    graphs
        .filter(|path| !fs::read(path).is_ok_and(|bytes| parse(&bytes).is_some()))
        .collect()
}

/// A graph out of its file, with the checksums of its vectors.
pub(super) struct Kept {
    pub(super) graph: Graph,
    pub(super) sums: Vec<u32>,
}

/// The checksum of a row's numbers.
pub(super) fn sum_of(rows: &Rows, row: usize) -> u32 {
    // The same bytes, whatever the sign.
    let bytes: Vec<u8> = rows.codes(row).iter().map(|x| x.cast_unsigned()).collect();
    crc32fast::hash(&bytes)
}

/// Writes the graph of these rows under its name when it is whole.
pub(super) fn write(path: &Path, graph: &Graph, rows: &Rows) -> Result<(), FsError> {
    let mut bytes = MAGIC.to_vec();
    let n = graph.len() as u64;
    for number in [n, u64::from(graph.entry), graph.levels.len() as u64] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(graph.members.iter().flat_map(|passage| passage.to_le_bytes()));
    bytes.extend((0..graph.len()).flat_map(|row| sum_of(rows, row).to_le_bytes()));
    bytes.extend(graph.links.iter().flat_map(|link| link.to_le_bytes()));
    for level in &graph.levels {
        bytes.extend((level.rows.len() as u64).to_le_bytes());
        bytes.extend(
            level
                .rows
                .iter()
                .chain(&level.links)
                .flat_map(|x| x.to_le_bytes()),
        );
    }
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
        fs::make_private(folder)?;
    }
    fs::write_atomic(path, bytes)
}

/// Reads a graph; `None` if there is none, or none that is whole.
pub(super) fn read(path: &Path) -> Option<Kept> {
    if fs::metadata(path).is_err() {
        return None;
    }
    let kept = fs::read(path).ok().and_then(|bytes| parse(&bytes));
    if kept.is_none() {
        tracing::warn!(path = %path.display(), "the graph of the vectors is damaged and is made again");
    }
    kept
}

fn parse(bytes: &[u8]) -> Option<Kept> {
    let (content, sum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = Bytes(content.strip_prefix(MAGIC)?);
    let (n, entry, n_levels) = (rest.number()?, rest.number()?, rest.number()?);
    // A checksum says that nothing happened to the file, not that a sane program wrote it.
    if n == 0 || n >= u64::from(NONE) || entry >= n || n_levels > LEVELS_MAX {
        return None;
    }
    let n = usize::try_from(n).ok()?;
    let members = rest.take(n.checked_mul(8)?)?.as_chunks::<8>().0;
    let members = members.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    let sums = rest.u32s(n)?;
    let is_link = |link: &u32| *link == NONE || (*link as usize) < n;
    let links = rest.u32s(n.checked_mul(LINKS_LOWEST)?)?;
    if !links.iter().all(is_link) {
        return None;
    }
    let mut levels = Vec::new();
    for _ in 0..n_levels {
        let count = usize::try_from(rest.number()?).ok()?;
        let rows = rest.u32s(count)?;
        let links = rest.u32s(count.checked_mul(LINKS)?)?;
        let in_order = rows.windows(2).all(|pair| pair[0] < pair[1]);
        if !in_order || !rows.iter().all(|row| (*row as usize) < n) || !links.iter().all(is_link) {
            return None;
        }
        levels.push(Level { rows, links });
    }
    let graph = Graph {
        members,
        links,
        levels,
        entry: entry as u32,
        scratch: Scratches::default(),
    };
    rest.0.is_empty().then_some(Kept { graph, sums })
}

/// What is still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn u32s(&mut self, n: usize) -> Option<Vec<u32>> {
        let bytes = self.take(n.checked_mul(4)?)?.as_chunks::<4>().0;
        Some(bytes.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }
}
