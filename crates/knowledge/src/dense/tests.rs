//! Graphs find what scans find, keep, and never know of other audiences.

use stdx::fs;
use stdx::rng::Rng;

use super::build::build;
use super::kept;
use super::*;

const DIM: usize = 32;
static STOP: AtomicBool = AtomicBool::new(false);

/// Unit vectors in overlapping clusters.
fn vector(rng: &mut Rng) -> Vec<f32> {
    let mut centre = Rng::new(rng.below(40));
    let mut vector: Vec<f32> = (0..DIM)
        .map(|_| centre.normal_f32() + 0.8 * rng.normal_f32())
        .collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

fn rows(n: u64, seed: u64) -> Rows {
    let mut rng = Rng::new(seed);
    let mut rows = Rows::new(DIM);
    for passage in 1..=n {
        let vector: Vec<f16> = vector(&mut rng).into_iter().map(f16::from_f32).collect();
        rows.push(passage, &vector);
    }
    rows
}

fn scanned(rows: &Rows, query: &Query, limit: usize) -> Vec<u64> {
    let best = scan(&[(rows, 0..rows.len())], query, limit);
    best.into_iter().map(|(passage, _)| passage).collect()
}

#[test]
fn a_graph_finds_nearly_all_that_a_scan_finds() {
    let rows = rows(6_000, 1);
    let graph = build(&rows, 1, &STOP).unwrap();
    let mut rng = Rng::new(2);
    let (mut found, mut wanted) = (0, 0);
    for _ in 0..100 {
        let query = Query::of(&vector(&mut rng));
        let near = graph.search(&rows, &query, 64);
        assert!(near.windows(2).all(|pair| pair[0] > pair[1]));
        let exact = scanned(&rows, &query, 10);
        let near: Vec<u64> = near
            .iter()
            .filter_map(|near| rows.passage(near.row as usize))
            .collect();
        found += exact.iter().filter(|passage| near.contains(passage)).count();
        wanted += exact.len();
    }
    assert!(found as f64 >= 0.98 * wanted as f64, "{found} of {wanted}");
}

#[test]
fn a_graph_is_the_same_however_many_threads_make_it() {
    let rows = rows(4_000, 3);
    let (one, three) = (build(&rows, 1, &STOP).unwrap(), build(&rows, 3, &STOP).unwrap());
    assert_eq!(one.links, three.links);
    assert_eq!(one.levels, three.levels);
    assert!(build(&rows, 1, &AtomicBool::new(true)).is_none());
}

#[test]
fn a_file_comes_back_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = kept::path(dir.path(), 1, 2);
    let rows = rows(300, 4);
    let graph = build(&rows, 1, &STOP).unwrap();
    kept::write(&path, &graph, &rows).unwrap();
    let read = kept::read(&path).unwrap();
    assert_eq!(
        (&read.graph.links, &read.graph.members),
        (&graph.links, &graph.members)
    );
    assert_eq!(
        (&read.graph.levels, read.graph.entry),
        (&graph.levels, graph.entry)
    );
    assert!(kept::damaged(dir.path()).is_empty());
    let whole = fs::read(&path).unwrap();
    let mut rng = Rng::new(5);
    for round in 0..200 {
        let mut bytes = whole.clone();
        let at = rng.below(bytes.len() as u64) as usize;
        if round % 2 == 0 {
            bytes[at] ^= 1 << rng.below(8);
        } else {
            bytes.truncate(at);
        }
        fs::write(&path, bytes).unwrap();
        assert!(kept::read(&path).is_none());
        assert_eq!(kept::damaged(dir.path()), std::slice::from_ref(&path));
    }
}

#[test]
fn rounding_decides_nothing_among_the_best() {
    let mut rng = Rng::new(6);
    let vectors: Vec<Vec<f32>> = (0..3_000).map(|_| vector(&mut rng)).collect();
    let mut rows = Rows::new(DIM);
    let mut stored = Vec::new();
    for (passage, vector) in (1..).zip(&vectors) {
        let halves: Vec<f16> = vector.iter().map(|x| f16::from_f32(*x)).collect();
        rows.push(passage, &halves);
        stored.push((passage, encode(vector)));
    }
    for _ in 0..50 {
        let question = vector(&mut rng);
        let near = scanned(&rows, &Query::of(&question), 10 + SPARE);
        let of_near: Vec<(u64, Vec<u8>)> = near
            .iter()
            .map(|passage| stored[*passage as usize - 1].clone())
            .collect();
        assert_eq!(nearest(&question, &of_near, 10), nearest(&question, &stored, 10));
    }
}

#[test]
fn several_threads_scan_what_one_does() {
    let rows = rows(30_000, 7);
    let query = Query::of(&vector(&mut Rng::new(8)));
    let ranges: Vec<_> = (0..rows.len())
        .step_by(BLOCK)
        .map(|start| (&rows, start..(start + BLOCK).min(rows.len())))
        .collect();
    assert_eq!(scan(&ranges, &query, 20), scan_some(&ranges, &query, 20));
}
