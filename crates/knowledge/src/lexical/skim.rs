//! The best passages of a segment, without looking at what cannot be among them.
//!
//! MaxScore (Turtle and Flood 1995) over windows of passages. What a list of postings can add to a score at most is known
//! from the rarity of its term. Lists that even together cannot lift a passage to the last of the best found so far need
//! not be read from end to end: they are only asked about passages that the others found. So the longest lists, those of
//! the words that are everywhere, are hardly read at all.
//!
//! A passage's score is the same whatever order its parts are summed in: every part is rounded to a multiple of 2^-24, and
//! sums of such numbers are exact in 53 bits. What is left out therefore changes no bit of what is found.

use tantivy::fieldnorm::FieldNormReader;
use tantivy::postings::BlockSegmentPostings;

use super::classes::SegmentClasses;
use super::rank::{Found, by_score};

/// Passages whose sums are held at a time: few enough for the nearest cache.
pub(super) const WINDOW: u32 = 4_096;
/// Asking one passage of a list costs about as much as reading so many postings.
const ASKING_COST: u64 = 4;
/// Added to and taken from a number up to 2^27, leaves a multiple of 2^-24: doubles so large have no finer steps.
const GRID: f64 = 1.5 * (1_u64 << 28) as f64;
/// The step of the grid.
const STEP: f64 = 1.0 / (1_u64 << 24) as f64;

/// What a term or phrase that stands `count` times in a field adds to a score, as a multiple of 2^-24. `half` is the count
/// at which it is worth half of what it can be.
pub(super) fn part(worth: f32, count: u32, half: f32) -> f64 {
    let count = count as f32;
    let part = worth * (count / (count + half));
    (f64::from(part) + GRID) - GRID
}

/// A field of a segment: how long it is in each passage, and what a length means.
pub(super) struct Lengths<'a> {
    pub(super) norms: FieldNormReader,
    /// By the number of a length.
    pub(super) halves: &'a [f32; 256],
}

impl Lengths<'_> {
    fn half(&self, doc: u32) -> f32 {
        self.halves[usize::from(self.norms.fieldnorm_id(doc))]
    }
}

/// Where a term or phrase stands.
pub(super) enum Postings<'a> {
    Term(Box<BlockSegmentPostings>),
    /// Documents with counts.
    Phrase(&'a [(u32, u32)]),
}

/// A list of postings, with what it is worth.
pub(super) struct List<'a> {
    postings: Postings<'a>,
    /// The place within the present block, or within the phrase's list.
    at: usize,
    n: u64,
    lengths: &'a Lengths<'a>,
    worth: f32,
    is_own: bool,
}

const FOUND: u8 = 1;
const OWN: u8 = 2;

/// The sums of a window.
struct Sums {
    base: u32,
    scores: Vec<f64>,
    marks: Vec<u8>,
}

/// The best so far, over all segments.
pub(super) struct Best {
    limit: usize,
    found: Vec<Found>,
    /// What is below cannot be among them any more.
    floor: f32,
}

impl Best {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            found: Vec::with_capacity(limit * 2),
            floor: f32::NEG_INFINITY,
        }
    }

    /// Whether a passage whose parts sum up to this may be among the best.
    fn admits(&self, sum: f64) -> bool {
        sum as f32 >= self.floor
    }

    fn push(&mut self, found: Found) {
        self.found.push(found);
        if self.found.len() >= self.limit * 2 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.found.len() >= self.limit {
            self.found.select_nth_unstable_by(self.limit - 1, by_score);
            self.found.truncate(self.limit);
            self.floor = self.found[self.limit - 1].score;
        }
    }

    /// Best first, equal ones by id.
    pub(super) fn into_sorted(mut self) -> Vec<Found> {
        self.found.sort_unstable_by(by_score);
        self.found.truncate(self.limit);
        self.found
    }
}

impl<'a> List<'a> {
    pub(super) fn new(postings: Postings<'a>, lengths: &'a Lengths<'a>, worth: f32, is_own: bool) -> Self {
        let n = match &postings {
            Postings::Term(postings) => u64::from(postings.doc_freq()),
            Postings::Phrase(found) => found.len() as u64,
        };
        Self {
            postings,
            at: 0,
            n,
            lengths,
            worth,
            is_own,
        }
    }

    /// No passage gets more from it.
    fn most(&self) -> f64 {
        f64::from(self.worth) + STEP
    }

    fn mark(&self) -> u8 {
        if self.is_own { FOUND | OWN } else { FOUND }
    }

    /// The next document at or after `from`, with its count.
    fn next(&mut self, from: u32) -> Option<(u32, u32)> {
        match &mut self.postings {
            Postings::Term(postings) => {
                if postings.docs().get(self.at).is_none_or(|doc| *doc < from) {
                    self.at = postings.seek(from);
                }
                let doc = *postings.docs().get(self.at)?;
                Some((doc, postings.freq(self.at)))
            }
            Postings::Phrase(found) => {
                self.at += found[self.at..].partition_point(|(doc, _)| *doc < from);
                found.get(self.at).copied()
            }
        }
    }

    /// Adds all of its postings in the window.
    fn add(&mut self, sums: &mut Sums) {
        let (worth, mark, lengths) = (self.worth, self.mark(), self.lengths);
        let end = sums.base + sums.scores.len() as u32;
        if self.next(sums.base).is_none() {
            return;
        }
        match &mut self.postings {
            Postings::Term(postings) => loop {
                let docs = postings.docs();
                let to = match docs.last() {
                    None => break,
                    Some(last) if *last < end => docs.len(),
                    Some(_) => docs.partition_point(|doc| *doc < end),
                };
                let here = self.at..to.max(self.at);
                for (&doc, &count) in docs[here.clone()].iter().zip(&postings.freqs()[here]) {
                    sums.add(doc, part(worth, count, lengths.half(doc)), mark);
                }
                self.at = to;
                if to < docs.len() {
                    break;
                }
                postings.advance();
                self.at = 0;
            },
            Postings::Phrase(found) => {
                let to = self.at + found[self.at..].partition_point(|(doc, _)| *doc < end);
                for &(doc, count) in &found[self.at..to] {
                    sums.add(doc, part(worth, count, lengths.half(doc)), mark);
                }
                self.at = to;
            }
        }
    }

    /// Adds its postings at these documents of the window.
    fn ask(&mut self, sums: &mut Sums, candidates: &[u32]) {
        for &doc in candidates {
            match self.next(doc) {
                None => break,
                Some((found, count)) if found == doc => {
                    sums.add(doc, part(self.worth, count, self.lengths.half(doc)), self.mark());
                }
                Some(_) => {}
            }
        }
    }
}

impl Sums {
    fn begin(&mut self, base: u32, n: u32) {
        self.base = base;
        self.scores.clear();
        self.scores.resize(n as usize, 0.0);
        self.marks.clear();
        self.marks.resize(n as usize, 0);
    }

    fn add(&mut self, doc: u32, part: f64, mark: u8) {
        let at = (doc - self.base) as usize;
        self.scores[at] += part;
        self.marks[at] |= mark;
    }

    fn score(&self, doc: u32) -> f64 {
        self.scores[(doc - self.base) as usize]
    }

    fn is_own(&self, doc: u32) -> bool {
        self.marks[(doc - self.base) as usize] & OWN != 0
    }

    /// Documents that were found, in order.
    fn found(&self, mut visit: impl FnMut(u32)) {
        let (eights, rest) = self.marks.as_chunks::<8>();
        for (i, eight) in eights.iter().enumerate().filter(|(_, eight)| **eight != [0; 8]) {
            for (at, _) in eight.iter().enumerate().filter(|(_, mark)| **mark != 0) {
                visit(self.base + (i * 8 + at) as u32);
            }
        }
        for (at, _) in rest.iter().enumerate().filter(|(_, mark)| **mark != 0) {
            visit(self.base + (eights.len() * 8 + at) as u32);
        }
    }
}

/// Puts the best passages of a segment among the best so far. `n_docs` are in the segment, `segment` is its number.
pub(super) fn skim(
    mut lists: Vec<List<'_>>,
    classes: &SegmentClasses,
    admitted: &[bool],
    (segment, n_docs, window): (usize, u32, u32),
    best: &mut Best,
) {
    lists.sort_by(|a, b| b.worth.total_cmp(&a.worth));
    // What all lists from each one on can add at most.
    let mut rest = vec![0.0; lists.len() + 1];
    for i in (0..lists.len()).rev() {
        rest[i] = rest[i + 1] + lists[i].most();
    }
    let mut sums = Sums {
        base: 0,
        scores: Vec::with_capacity(window as usize),
        marks: Vec::with_capacity(window as usize),
    };
    let mut candidates = Vec::new();
    let mut from = 0;
    while from < n_docs {
        // What stands only in the lists behind these cannot be among the best.
        let n_read = rest
            .iter()
            .take_while(|sum| best.admits(**sum))
            .count()
            .min(lists.len());
        let (read, asked) = lists.split_at_mut(n_read);
        let Some(next) = read.iter_mut().filter_map(|list| Some(list.next(from)?.0)).min() else {
            break;
        };
        let base = next - next % window;
        sums.begin(base, window.min(n_docs - base));
        from = base + window;
        read.iter_mut().for_each(|list| list.add(&mut sums));
        candidates.clear();
        sums.found(|doc| {
            if admitted[classes.kind_of(doc)] && best.admits(sums.score(doc) + rest[n_read]) {
                candidates.push(doc);
            }
        });
        for (list, rest) in asked.iter_mut().zip(&rest[n_read + 1..]) {
            if candidates.is_empty() {
                break;
            }
            let here = list.n * u64::from(window) / u64::from(n_docs);
            if candidates.len() as u64 * ASKING_COST < here {
                list.ask(&mut sums, &candidates);
            } else {
                list.add(&mut sums);
            }
            candidates.retain(|doc| best.admits(sums.score(*doc) + rest));
        }
        for &doc in candidates.iter().filter(|doc| sums.is_own(**doc)) {
            best.push(Found {
                segment,
                doc,
                passage: classes.passage(doc),
                score: sums.score(doc) as f32,
            });
        }
        best.cut();
    }
}
