//! The cheapest way to read a sentence as words (Viterbi).
//!
//! All words that may begin at a place are put beside each other; each takes the cheapest word that ends where it begins.
//! Of equally cheap ones the one that was thought of last is taken, as MeCab does, so that both read a sentence alike.

use super::entries::{Entries, Token};
use super::kinds::Kind;
use super::{Dictionary, Morpheme};

/// Seams that are looked at for each byte of a sentence, on average. Of Korean prose it is some hundreds; a dictionary
/// that demands more is damaged, and what it says of the sentence is not waited for.
const SEAMS_PER_BYTE: usize = 20_000;
/// Words that are thought of for each byte, likewise, and those that a short sentence may have beyond that.
const WORDS_PER_BYTE: usize = 64;
const WORDS_OF_ANY: usize = 4_096;
/// Before the first word, and instead of one where there is none.
const NONE: u32 = u32::MAX;

/// A word that the sentence may have.
struct Node {
    start: u32,
    end: u32,
    token: Token,
    is_known: bool,
    cost: i64,
    /// The word before it.
    before: u32,
    /// Another word that ends where it ends.
    beside: u32,
}

/// A sentence under way.
pub(super) struct Lattice<'a> {
    dictionary: &'a Dictionary,
    text: &'a str,
    nodes: Vec<Node>,
    /// By place: the last word that was found to end there.
    ends: Vec<u32>,
    nodes_max: usize,
    seams_left: usize,
}

/// How far a run of alike characters goes.
struct Run {
    end: usize,
    /// The kind of the last character that was looked at.
    last: Kind,
    n_chars: usize,
}

impl<'a> Lattice<'a> {
    /// The words of a sentence; none if it cannot be read within measure.
    pub(super) fn read(dictionary: &'a Dictionary, text: &'a str) -> Vec<Morpheme<'a>> {
        let mut lattice = Self {
            dictionary,
            text,
            nodes: Vec::with_capacity(text.len() * 4),
            ends: vec![NONE; text.len() + 1],
            nodes_max: text
                .len()
                .saturating_mul(WORDS_PER_BYTE)
                .saturating_add(WORDS_OF_ANY),
            seams_left: text.len().saturating_mul(SEAMS_PER_BYTE),
        };
        lattice
            .fill()
            .map_or_else(Vec::new, |last| lattice.words_up_to(last))
    }

    /// Finds the last word of the cheapest way.
    fn fill(&mut self) -> Option<u32> {
        for at in 0..self.text.len() {
            if at > 0 && self.ends[at] == NONE {
                continue;
            }
            let first = self.nodes.len();
            let from = self.words_from(at);
            if self.nodes.len() >= self.nodes_max {
                return None;
            }
            // In the order in which MeCab goes through them: the one that was found last first.
            for node in (first..self.nodes.len()).rev() {
                self.connect(at, from, node)?;
            }
        }
        // White space at the end belongs to nothing.
        let last = (1..=self.text.len()).rev().find(|&at| self.ends[at] != NONE)?;
        self.cheapest(last, 0, 0).map(|(before, _)| before)
    }

    /// Adds all words that may begin at `at`, behind white space; returns where they begin.
    fn words_from(&mut self, at: usize) -> usize {
        let (dictionary, text) = (self.dictionary, self.text);
        let space = self.run(at, dictionary.space);
        let start = space.end;
        let Some(first) = text[start..].chars().next() else {
            return start;
        };
        let kind = space.last;
        let n_before = self.nodes.len();
        dictionary
            .known
            .each_prefix(&text.as_bytes()[start..], |n, tokens| {
                // A word of a damaged dictionary may end within a character.
                if text.is_char_boundary(start + n) {
                    self.add(start, start + n, true, tokens);
                }
            });
        if self.nodes.len() > n_before && !kind.always() {
            return start;
        }
        let mut end = start + first.len_utf8();
        let mut grouped = None;
        if kind.groups() {
            let run = self.run(end, kind);
            if run.n_chars <= dictionary.manner.group_max {
                self.add_unknown(start, run.end, kind);
            }
            grouped = Some(run.end);
        }
        for _ in 0..kind.length() {
            if grouped == Some(end) {
                break;
            }
            self.add_unknown(start, end, kind);
            match text[end..].chars().next() {
                Some(next) if kind.is_like(dictionary.kinds.of(next)) => end += next.len_utf8(),
                _ => break,
            }
        }
        if self.nodes.len() == n_before {
            self.add_unknown(start, end, kind);
        }
        start
    }

    /// Goes on as long as each character is like the one before it, the first like `kind`.
    fn run(&self, from: usize, kind: Kind) -> Run {
        let mut run = Run {
            end: from,
            last: kind,
            n_chars: 0,
        };
        let mut before = kind;
        for c in self.text[from..].chars() {
            run.last = self.dictionary.kinds.of(c);
            if !before.is_like(run.last) {
                break;
            }
            run.end += c.len_utf8();
            run.n_chars += 1;
            before = run.last;
        }
        run
    }

    fn add_unknown(&mut self, start: usize, end: usize, kind: Kind) {
        let dictionary = self.dictionary;
        let tokens = dictionary.of_kinds.get(kind.number());
        self.add(start, end, false, &mut tokens.into_iter().flatten().copied());
    }

    fn add(&mut self, start: usize, end: usize, is_known: bool, tokens: &mut dyn Iterator<Item = Token>) {
        let room = self.nodes_max - self.nodes.len();
        self.nodes.extend(tokens.take(room).map(|token| Node {
            start: start as u32,
            end: end as u32,
            token,
            is_known,
            cost: 0,
            before: NONE,
            beside: NONE,
        }));
    }

    /// Puts a word behind the cheapest one that ends at `at`; white space up to `from` is between them. `None` if the
    /// sentence takes too long.
    fn connect(&mut self, at: usize, from: usize, node: usize) -> Option<()> {
        let token = self.nodes[node].token;
        let (before, cost) = self.cheapest(at, token.left, i64::from(token.cost))?;
        let spaced = if from > at {
            self.dictionary.manner.space(token.part)
        } else {
            0
        };
        let end = self.nodes[node].end as usize;
        self.nodes[node].before = before;
        self.nodes[node].cost = cost + spaced;
        self.nodes[node].beside = self.ends[end];
        self.ends[end] = node as u32;
        Some(())
    }

    /// The cheapest word that ends at `at` for a class of words behind it, and what both cost. `None` if the sentence
    /// takes too long.
    fn cheapest(&mut self, at: usize, class: u16, own: i64) -> Option<(u32, i64)> {
        let costs = &self.dictionary.costs;
        if at == 0 {
            return Some((NONE, costs.seam(0, class) + own));
        }
        let mut best = (NONE, i64::MAX);
        let mut next = self.ends[at];
        while let Some(node) = self.nodes.get(next as usize) {
            self.seams_left = self.seams_left.checked_sub(1)?;
            let cost = node.cost + costs.seam(node.token.right, class) + own;
            if cost < best.1 {
                best = (next, cost);
            }
            next = node.beside;
        }
        (best.0 != NONE).then_some(best)
    }

    fn words_up_to(&self, last: u32) -> Vec<Morpheme<'a>> {
        let mut words = Vec::new();
        let mut next = last;
        while let Some(node) = self.nodes.get(next as usize) {
            let entries: &'a Entries = if node.is_known {
                &self.dictionary.known
            } else {
                &self.dictionary.unknown
            };
            words.push(Morpheme {
                start: node.start as usize,
                end: node.end as usize,
                features: entries.features(node.token),
                is_known: node.is_known,
            });
            next = node.before;
        }
        words.reverse();
        words
    }
}
