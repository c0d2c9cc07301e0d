//! A question as the word index takes it: weighted terms, what it names exactly, and what it puts in quotation marks.
//!
//! Not a parser: nothing in a question is an operator, so no text can be a wrong query. A document keeps all its
//! terms; only in a question are particles, endings and asking words worth less, because a rare ending ("나요")
//! would otherwise weigh more than the noun that is asked about.

use std::collections::BTreeMap;

use crate::analyser::{self, Analyser, Class, class, fold};
use crate::analysis::Analysis;
use crate::exact;

/// Longer questions are cut: the rest would only cost time.
const CHARS_MAX: usize = 8_000;
/// A noun keeps at least this many syllables when its particle is split off.
const STEM_SYLLABLES_MIN: usize = 2;
/// What the pairs over a particle that may also be the end of a noun ("고양이", "이사회의") are worth.
const AMBIGUOUS_TAIL_WEIGHT: f32 = 0.2;
/// What a word is worth that belongs to the asking and not to what is asked about.
const ASKING_WEIGHT: f32 = 0.3;

/// What the pieces of a clause's name are worth: 제, 12, 조, 3 and 항 stand in any order in any statute, and which clause is
/// meant is looked up under its exact name. They still find it where a document writes it in a way that is not known.
const CLAUSE_WEIGHT: f32 = 0.1;

/// Particles (josa), longest first where one ends with another.
const PARTICLES: &str = "\
    에서부터 으로부터 에게서는 이라는 이라고 에서는 에서도 에서의 으로는 으로도 으로의 으로써 \
    으로서 에게는 까지의 까지는 부터의 부터는 라는 라고 에서 에게 에는 에도 으로 로는 로도 로의 \
    로써 로서 과의 와의 과는 와는 께서 한테 부터 까지 보다 처럼 마다 이나 이란 이며 이고 만의 만을 \
    만이 들은 들이 들을 들의 은 는 을 를 과 와 에 이 가 의 도 로 만 란 나 며";
/// Those that are just as often the end of a noun.
const AMBIGUOUS: &str = "\
    이 가 의 도 로 만 란 나 며 에 들이 들의 한 할 했 된 될";
/// Endings of verbs and of the copula, as questions and the clauses in them carry.
const ENDINGS: &str = "\
    이었습니까 해주십시오 하였습니까 되었습니까 해주세요 이었나요 하였나요 되었나요 하겠습니까 \
    입니까 합니까 됩니까 습니까 했나요 됐나요 인가요 하나요 되나요 있나요 없나요 였나요 었나요 \
    았나요 한가요 은가요 는가요 던가요 을까요 일까요 할까요 될까요 하는지 되는지 했는지 인지요 \
    입니다 합니다 됩니다 습니다 하세요 주세요 하시오 하려면 되려면 하는데 나요 까요 인가 인지 는지 \
    은지 인데 하는 하고 하여 하며 하기 하면 하지 하던 했던 해서 해야 해줘 되는 되어 되고 되며 되면 \
    되기 된다 한다 위한 으며 한 할 했 된 될";
/// Korean words that belong to the asking.
const ASKING_KO: &str = "\
    무엇 무엇인지 무엇이 무엇을 무엇인가 무엇인가요 무엇입니까 뭔가요 무슨 어떤 어떻게 어떠한 \
    어떤가 어떤가요 어떠한가요 어디 어디서 어디에 언제 누가 누구 얼마 얼마나 어느 대해 대해서 대한 \
    대하여 관해 관해서 관한 관하여 따라 따른 따르면 통해 통한 위해 위해서 위한 있나요 있는 있는지 \
    있을까요 있습니까 없나요 되나요 하나요 합니까 설명 설명해 설명해줘 설명해주세요 알려 알려줘 \
    알려주세요 주세요 해주세요 그리고 또는 또한 경우";
/// Morphemes that belong to the asking, or to no subject.
const ASKING_MORPHEMES: &str = "하 되 있 없 알리 설명 대하 관하 따르 위하 통하 의하 어떻 어떠하 그렇 경우";
/// English words that carry no subject, as the analyser gives them.
const ASKING_EN: &str = "\
    a an the and or of in on at to for from by with about as is are was were be been do doe did can \
    could should would will may must i we you it its they this that these those there what which \
    who whom whose when where whi how if me my our pleas tell";

/// Quotation marks that open a phrase, with those that close it. An apostrophe is none.
const QUOTES: [(char, char); 6] = [
    ('"', '"'),
    ('\u{201C}', '\u{201D}'),
    ('\u{300C}', '\u{300D}'),
    ('\u{300E}', '\u{300F}'),
    ('\u{AB}', '\u{BB}'),
    ('\u{300A}', '\u{300B}'),
];
/// More phrases of one question are only words.
const PHRASES_MAX: usize = 4;
/// So are the words of a phrase behind these.
const PHRASE_TERMS_MAX: usize = 32;

/// More different morphemes of one question are not looked up.
const MORPHEMES_MAX: usize = 256;

/// A term of a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sought {
    pub(crate) text: String,
    pub(crate) weight: f32,
    /// Terms of one word of the question have the same number.
    pub(crate) word: usize,
}

/// What is looked for.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// Different terms, in order.
    pub(crate) terms: Vec<Sought>,
    /// Terms of the index of exact names (see [`crate::exact`]), with their weights.
    pub(crate) exact: Vec<(String, f32)>,
    /// Morphemes, with their weights; none without a dictionary.
    pub(crate) morphemes: Vec<(String, f32)>,
    /// Phrases in quotation marks: their terms with the distance of each from the first.
    pub(crate) phrases: Vec<Vec<analyser::Term>>,
}

/// A Hangul word without its particle or ending.
struct Stem {
    syllables: usize,
    tail_weight: f32,
}

impl Question {
    pub(crate) fn parse(text: &str) -> Self {
        let cut: String = text.chars().take(CHARS_MAX).collect();
        let chars = fold(&cut);
        let mut gathered = Gathered::default();
        let mut from = 0;
        for clause in exact::clauses_in(&chars) {
            gathered.text(&chars[from..clause.start]);
            gathered.clause(&chars[clause.clone()]);
            from = after_particle(&chars, clause.end);
        }
        gathered.text(&chars[from..]);
        let mut question = gathered.question;
        // A question of nothing but particles and asking words is taken as it stands.
        if question.terms.is_empty() {
            let first = Analyser::terms_of_chars(&chars).into_iter().next();
            question.terms.extend(first.map(|term| Sought {
                text: term.text,
                weight: 1.0,
                word: 0,
            }));
        }
        question.exact = different(exact::terms_of_question(&cut));
        question.phrases = phrases(&cut);
        question
    }

    /// The same with the morphemes of an analysis that has a dictionary.
    pub(crate) fn parse_with(text: &str, analysis: &Analysis) -> Self {
        let mut question = Self::parse(text);
        if analysis.has_morphemes() {
            let cut: String = text.chars().take(CHARS_MAX).collect();
            question.morphemes = morphemes(&fold(&cut), analysis);
        }
        question
    }
}

/// The morphemes of a question between the clauses that it names: those are looked up as what they are.
fn morphemes(chars: &[char], analysis: &Analysis) -> Vec<(String, f32)> {
    let mut between: Vec<char> = chars.to_vec();
    for clause in exact::clauses_in(chars) {
        between[clause].fill(' ');
    }
    let between: String = between.into_iter().collect();
    let found = analysis.morphemes_of_folded(&between).into_iter().map(|text| {
        let lists = [ASKING_MORPHEMES, ASKING_KO, ASKING_EN];
        let is_asking = lists.iter().any(|list| is_listed(list, &text));
        let weight = if is_asking { ASKING_WEIGHT } else { 1.0 };
        (text, weight)
    });
    let mut found = different(found.collect());
    found.truncate(MORPHEMES_MAX);
    found
}

/// Each term once, with its greatest weight, in the order of the question.
fn different(all: Vec<(String, f32)>) -> Vec<(String, f32)> {
    let mut once: Vec<(String, f32)> = Vec::new();
    for (term, weight) in all {
        match once.iter_mut().find(|(known, _)| *known == term) {
            Some((_, known)) => *known = known.max(weight),
            None => once.push((term, weight)),
        }
    }
    once
}

/// What stands in quotation marks, if it has more than one term.
fn phrases(text: &str) -> Vec<Vec<analyser::Term>> {
    let mut phrases = Vec::new();
    let mut rest = text;
    while let Some((open_at, open)) = rest
        .char_indices()
        .find(|(_, c)| QUOTES.iter().any(|(open, _)| open == c))
        && phrases.len() < PHRASES_MAX
    {
        let inside = &rest[open_at + open.len_utf8()..];
        let closes = |c: char| QUOTES.contains(&(open, c));
        let Some(end) = inside.find(closes) else {
            rest = inside;
            continue;
        };
        let mut terms = Analyser::terms(&inside[..end]);
        // A number with joiners is there whole and in parts; the parts hold the places.
        terms.reverse();
        terms.dedup_by_key(|term| term.position);
        terms.reverse();
        terms.truncate(PHRASE_TERMS_MAX);
        if terms.len() > 1 {
            phrases.push(terms);
        }
        let close = inside[end..].chars().next().map_or(0, char::len_utf8);
        rest = &inside[end + close..];
    }
    phrases
}

#[derive(Default)]
struct Gathered {
    question: Question,
    places: BTreeMap<String, usize>,
    n_words: usize,
}

impl Gathered {
    /// Adds a term; of several occurrences the weightiest counts.
    fn add(&mut self, text: String, weight: f32) {
        if let Some(&place) = self.places.get(&text) {
            let known = &mut self.question.terms[place].weight;
            *known = known.max(weight);
        } else if weight > 0.0 {
            self.places.insert(text.clone(), self.question.terms.len());
            let word = self.n_words;
            self.question.terms.push(Sought { text, weight, word });
        }
    }

    /// Words, each run of Hangul by itself.
    fn text(&mut self, chars: &[char]) {
        let is_hangul = |c: char| class(c) == Class::Hangul;
        for run in chars.chunk_by(|a, b| is_hangul(*a) == is_hangul(*b)) {
            if is_hangul(run[0]) {
                self.hangul(run);
            } else {
                self.other(run);
            }
        }
    }

    /// The name of a clause.
    fn clause(&mut self, name: &[char]) {
        self.n_words += 1;
        for term in Analyser::terms_of_chars(name) {
            self.add(term.text, CLAUSE_WEIGHT);
        }
    }

    fn other(&mut self, run: &[char]) {
        for term in Analyser::terms_of_chars(run) {
            let weight = if is_listed(ASKING_EN, &term.text) {
                ASKING_WEIGHT
            } else {
                1.0
            };
            self.n_words += 1;
            self.add(term.text, weight);
        }
    }

    fn hangul(&mut self, run: &[char]) {
        let word: String = run.iter().collect();
        let stem = stem(&word, run.len());
        let is_asking = |text: &str| is_listed(ASKING_KO, text);
        let stem_text: String = run[..stem.syllables].iter().collect();
        let asking = is_asking(&word) || is_asking(&stem_text);
        let weight = if asking { ASKING_WEIGHT } else { 1.0 };
        let terms = Analyser::terms_of_chars(run);
        let n_stem_terms = stem.syllables.saturating_sub(1).max(1);
        self.n_words += 1;
        for (i, term) in terms.into_iter().enumerate() {
            let factor = if i < n_stem_terms { 1.0 } else { stem.tail_weight };
            self.add(term.text, weight * factor);
        }
    }
}

/// Where the particle or ending ends that is glued to what ends here, if there is one.
fn after_particle(chars: &[char], end: usize) -> usize {
    let tail: String = chars[end..]
        .iter()
        .take_while(|c| class(**c) == Class::Hangul)
        .collect();
    if is_listed(PARTICLES, &tail) || is_listed(ENDINGS, &tail) {
        end + tail.chars().count()
    } else {
        end
    }
}

fn is_listed(list: &str, word: &str) -> bool {
    list.split(' ').any(|listed| listed == word)
}

fn stem(word: &str, syllables: usize) -> Stem {
    let longest = |tails: &'static str| {
        tails
            .split(' ')
            .filter(|tail| word.ends_with(tail))
            .map(|tail| (tail.chars().count(), tail))
            .filter(|(n, _)| syllables.saturating_sub(*n) >= STEM_SYLLABLES_MIN)
            .max()
    };
    match longest(ENDINGS).or_else(|| longest(PARTICLES)) {
        Some((n, tail)) => Stem {
            syllables: syllables - n,
            tail_weight: if is_listed(AMBIGUOUS, tail) {
                AMBIGUOUS_TAIL_WEIGHT
            } else {
                0.0
            },
        },
        None => Stem {
            syllables,
            tail_weight: 0.0,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(text: &str) -> Vec<(String, f32)> {
        let terms = Question::parse(text).terms.into_iter();
        terms.map(|term| (term.text, term.weight)).collect()
    }

    fn names(text: &str) -> Vec<String> {
        weights(text).into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn particles_and_endings_are_left_out() {
        assert_eq!(names("계약서를"), ["계약", "약서"]);
        assert_eq!(names("해지되나요"), ["해지"]);
        assert_eq!(names("은행에서는"), ["은행"]);
        // Two syllables may be a noun that only looks like one with a particle.
        assert_eq!(names("회의"), ["회의"]);
    }

    #[test]
    fn what_may_be_part_of_the_noun_still_counts_a_little() {
        assert_eq!(
            weights("고양이"),
            [
                ("고양".to_owned(), 1.0),
                ("양이".to_owned(), AMBIGUOUS_TAIL_WEIGHT)
            ]
        );
    }

    #[test]
    fn asking_words_count_less_than_what_is_asked_about() {
        let weights = weights("휴가는 어떻게 신청하나요? What is the leave policy?");
        let of = |text: &str| weights.iter().find(|(t, _)| t == text).map(|(_, w)| *w);
        assert_eq!(
            (of("휴가"), of("신청"), of("polici")),
            (Some(1.0), Some(1.0), Some(1.0))
        );
        assert_eq!(
            (of("어떻"), of("what")),
            (Some(ASKING_WEIGHT), Some(ASKING_WEIGHT))
        );
    }

    #[test]
    fn what_stands_in_quotation_marks_is_a_phrase() {
        let phrases = |text: &str| -> Vec<Vec<(String, usize)>> {
            let phrases = Question::parse(text).phrases.into_iter();
            let pairs =
                |terms: Vec<analyser::Term>| terms.into_iter().map(|t| (t.text, t.position)).collect();
            phrases.map(pairs).collect()
        };
        let two = vec![("earli".to_owned(), 0), ("termin".to_owned(), 1)];
        assert_eq!(
            phrases("what is \"early termination\"?"),
            std::slice::from_ref(&two)
        );
        assert_eq!(
            phrases("\u{201C}early termination\u{201D} and \u{300C}one"),
            [two]
        );
        assert_eq!(
            phrases("「중도 해지」란 무엇인가요"),
            [vec![("중도".to_owned(), 0), ("해지".to_owned(), 1)]]
        );
        for none in ["\"alone", "\"word\"", "it's Bob's", "\"\"", ""] {
            assert!(phrases(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn the_pieces_of_a_clause_count_little_and_its_particle_nothing() {
        for text in ["제12조제3항은 해지", "제12조 제3항의 해지", "해지 Article 12(3)"] {
            for (term, weight) in weights(text) {
                let expected = if term == "해지" { 1.0 } else { CLAUSE_WEIGHT };
                assert_eq!(weight, expected, "{text}: {term}");
            }
            assert!(names(text).contains(&"12".to_owned()), "{text}");
            assert!(
                !names(text).iter().any(|term| term == "은" || term == "의"),
                "{text}"
            );
        }
        // A number that stands by itself as well is one of the question's words.
        assert!(weights("제12조에서 12 days").contains(&("12".to_owned(), 1.0)));
    }

    proptest! {
        #[test]
        fn any_question_gives_different_terms_with_positive_weights(text in "[가-힣a-z0-9 .,?\\-]{0,120}") {
            let question = Question::parse(&text);
            let mut names: Vec<&String> = question.terms.iter().map(|term| &term.text).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), question.terms.len());
            prop_assert!(question.terms.iter().all(|term| term.weight > 0.0 && term.weight <= 1.0));
            prop_assert_eq!(question.terms.is_empty(), Analyser::terms(&text).is_empty());
        }
    }
}
