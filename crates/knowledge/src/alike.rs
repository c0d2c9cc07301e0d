//! Passages that say the same in all but the same words: the same clause in two editions, a copied notice.
//!
//! Compared are the hits of one search only. Two passages with other figures, or with another "not", say different
//! things however much else they share.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Runs of so many words are compared …
const RUN: usize = 3;
/// … and this share of them must be common to both (Broder 1997: the resemblance of documents).
const SHARED_MIN: f64 = 0.9;
/// A text with fewer runs is alike only to its equal.
const RUNS_MIN: usize = 12;

/// Parts of words that turn a sentence round.
const TURNING: &[&str] = &[
    "없", "않", "못", "아니", "제외", "금지", "불가", "미만", "이하", "초과", "이상",
];
const TURNING_WORDS: &[&str] = &[
    "not", "no", "never", "without", "except", "cannot", "neither", "nor", "unless", "none",
];

/// Texts by number, among which the one is found that a further text repeats.
///
/// Most texts differ in their figures already; only those that do not are looked at more closely.
#[derive(Default)]
pub(crate) struct Seen {
    by_figures: HashMap<u64, Vec<(usize, OnceCell<Print>)>>,
}

impl Seen {
    /// The first text that says the same; `text_of` gives the texts by number.
    pub(crate) fn twin<'a>(&self, text: &str, text_of: impl Fn(usize) -> &'a str) -> Option<usize> {
        let near = self.by_figures.get(&figures(text))?;
        let print = Print::of(text);
        let twin = near.iter().find(|(number, known)| {
            let known = known.get_or_init(|| Print::of(text_of(*number)));
            known.is_alike(&print)
        });
        twin.map(|(number, _)| *number)
    }

    pub(crate) fn add(&mut self, number: usize, text: &str) {
        let near = self.by_figures.entry(figures(text)).or_default();
        near.push((number, OnceCell::new()));
    }
}

/// Equal for texts that are alike: every figure stands in a decisive word.
fn figures(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for figure in text.chars().filter(|c| c.is_numeric()) {
        figure.hash(&mut hasher);
    }
    hasher.finish()
}

/// What of a text is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Print {
    /// Hashes of runs of words, sorted, each once.
    runs: Vec<u64>,
    /// Figures and words that turn the sense, in order.
    decisive: Vec<String>,
}

impl Print {
    fn of(text: &str) -> Self {
        let lower = text.to_lowercase();
        let words: Vec<&str> = lower
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let mut runs: Vec<u64> = words.windows(RUN.min(words.len()).max(1)).map(hash).collect();
        runs.sort_unstable();
        runs.dedup();
        let decisive = words.iter().filter(|word| is_decisive(word));
        Self {
            runs,
            decisive: decisive.map(|word| (*word).to_owned()).collect(),
        }
    }

    /// Whether two texts say the same in nearly the same words.
    fn is_alike(&self, other: &Self) -> bool {
        if self.decisive != other.decisive {
            return false;
        }
        let (fewer, more) = (
            self.runs.len().min(other.runs.len()),
            self.runs.len().max(other.runs.len()),
        );
        if fewer < RUNS_MIN {
            return self.runs == other.runs;
        }
        if (fewer as f64) < SHARED_MIN * more as f64 {
            return false;
        }
        let shared = shared(&self.runs, &other.runs);
        shared as f64 >= SHARED_MIN * (fewer + more - shared) as f64
    }
}

fn is_decisive(word: &str) -> bool {
    word.chars().any(char::is_numeric)
        || TURNING_WORDS.contains(&word)
        || TURNING.iter().any(|part| word.contains(part))
        // "isn't" and its like: the apostrophe parts them.
        || word == "t"
}

fn hash(words: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    hasher.finish()
}

/// How many values two sorted lists share.
fn shared(a: &[u64], b: &[u64]) -> usize {
    let (mut i, mut j, mut n) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                n += 1;
                i += 1;
                j += 1;
            }
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOTICE: &str = "이 계약은 당사자 일방이 서면으로 통지하는 날부터 30일이 지난 때에 종료하며, 종료 전에 생긴 \
        권리와 의무는 그대로 남는다. 통지는 상대방의 주소로 등기 우편으로 하며 도달한 날에 효력이 생긴다. \
        양 당사자는 종료 후에도 서로의 영업 비밀을 지키고 받은 자료를 모두 돌려주어야 한다.";

    fn alike(first: &str, second: &str) -> bool {
        let (a, b) = (Print::of(first), Print::of(second));
        assert_eq!(a.is_alike(&b), b.is_alike(&a));
        let mut seen = Seen::default();
        seen.add(7, first);
        let twin = seen.twin(second, |number| {
            assert_eq!(number, 7);
            first
        });
        assert_eq!(twin, a.is_alike(&b).then_some(7));
        a.is_alike(&b)
    }

    #[test]
    fn spacing_and_punctuation_make_no_difference() {
        let other = NOTICE.replace(", ", " - ").replace(". ", ".\n\n");
        assert!(alike(NOTICE, &other));
        assert!(alike("Same text.", "same  TEXT"));
    }

    #[test]
    fn another_figure_or_a_not_makes_all_the_difference() {
        assert!(!alike(NOTICE, &NOTICE.replace("30일", "60일")));
        assert!(!alike(
            NOTICE,
            &NOTICE.replace("돌려주어야 한다", "돌려주지 않아도 된다")
        ));
        let english = "The tenant may end this lease at any time by giving written notice to the landlord at the \
            address stated above, and the notice takes effect on the day when it reaches the landlord.";
        assert!(!alike(english, &english.replace("may end", "may not end")));
        assert!(alike(english, &english.replace("stated above", "stated above,")));
    }

    proptest! {
        #[test]
        fn texts_whose_figures_differ_are_never_alike(a in "[a1２Ⅳ½.-]{0,6}", b in "[a1２Ⅳ½.-]{0,6}") {
            prop_assert!(figures(&a) == figures(&b) || !Print::of(&a).is_alike(&Print::of(&b)));
        }
    }

    #[test]
    fn other_texts_are_not_alike() {
        assert!(!alike(NOTICE, &NOTICE.chars().take(90).collect::<String>()));
        assert!(!alike("계약 해지", "계약 해제"));
        assert!(alike("", ""));
    }
}
