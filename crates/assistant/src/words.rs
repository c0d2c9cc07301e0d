//! The content words of a question: what an answer would have to speak of.
//!
//! English words lose the function words; Korean words (eojeol) lose their particles and endings by
//! longest suffix, twice at most. Not a morpheme analyser: the index works on bigrams anyway, and the
//! gate only needs to know which words carry the question.

use unicode_normalization::UnicodeNormalization as _;

use crate::language::is_hangul;

/// How many content words of a question are looked at; more only makes a long question slower.
const WORDS_MAX: usize = 40;

/// A content word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// As the reader wrote it, without particles.
    pub(crate) text: String,
    /// Which rules apply to it.
    pub(crate) kind: WordKind,
    /// A word such as "get" or "방법" that is part of a question more than of its subject.
    pub(crate) light: bool,
}

/// The script of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WordKind {
    /// Hangul.
    Hangul,
    /// Digits, with separators inside.
    Number,
    /// Latin and everything else.
    Other,
}

/// What kind of thing the question asks for, as far as its wording tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A quantity, a price, a duration, a date: the answer holds a number.
    Number,
    /// Anything else.
    Anything,
}

/// The content words of `question`, in order, each once.
pub(crate) fn content_words(question: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut follows_how = false;
    for token in tokens(question) {
        let lower = token.to_lowercase();
        let is_pace = follows_how && PACE.contains(&lower.as_str());
        follows_how = HOW.contains(&lower.as_str());
        let Some(mut word) = content_word(&token) else {
            continue;
        };
        // "How fast" is answered by "within three seconds".
        word.light |= is_pace;
        if !words.iter().any(|w| w.text == word.text) {
            words.push(word);
        }
        if words.len() == WORDS_MAX {
            break;
        }
    }
    words
}

/// Runs of one script: Hangul, digits (with inner `.` and `,`), other letters.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut last = None;
    let chars: Vec<char> = text.nfc().collect();
    for (i, &c) in chars.iter().enumerate() {
        let kind = if is_hangul(c) {
            Some(WordKind::Hangul)
        } else if c.is_numeric() || is_inner_separator(&chars, i) {
            Some(WordKind::Number)
        } else if c.is_alphabetic() {
            Some(WordKind::Other)
        } else {
            None
        };
        match (kind, tokens.last_mut()) {
            (Some(_), Some(token)) if last == kind => token.push(c),
            (Some(_), _) => tokens.push(c.to_string()),
            (None, _) => {}
        }
        last = kind;
    }
    tokens
}

fn is_inner_separator(chars: &[char], i: usize) -> bool {
    matches!(chars[i], '.' | ',')
        && i > 0
        && chars[i - 1].is_numeric()
        && chars.get(i + 1).is_some_and(|c| c.is_numeric())
}

fn kind_of(token: &str) -> WordKind {
    match token.chars().next() {
        Some(c) if is_hangul(c) => WordKind::Hangul,
        Some(c) if c.is_numeric() => WordKind::Number,
        _ => WordKind::Other,
    }
}

fn content_word(token: &str) -> Option<Word> {
    let kind = kind_of(token);
    match kind {
        WordKind::Number => Some(Word {
            text: token.to_owned(),
            kind,
            light: false,
        }),
        WordKind::Other => {
            let lower = token.to_lowercase();
            // A single letter is an article, a contraction's tail or a list mark.
            if lower.chars().count() < 2 || EN_FUNCTION.contains(&lower.as_str()) {
                return None;
            }
            let light = EN_LIGHT.contains(&lower.as_str());
            Some(Word {
                text: token.to_owned(),
                kind,
                light,
            })
        }
        WordKind::Hangul => {
            if KO_FUNCTION.contains(&token) {
                return None;
            }
            let stem = korean_stem(token);
            if KO_FUNCTION.contains(&stem) {
                return None;
            }
            let light = KO_LIGHT.contains(&stem) || stem.chars().count() < 2;
            Some(Word {
                text: stem.to_owned(),
                kind,
                light,
            })
        }
    }
}

/// A Korean word without particles and endings; at least two syllables stay.
pub(crate) fn korean_stem(eojeol: &str) -> &str {
    const ROUNDS_MAX: usize = 2;
    const SYLLABLES_MIN: usize = 2;
    if let Some(syllable) = one_syllable_noun(eojeol) {
        return syllable;
    }
    let mut stem = eojeol;
    for _ in 0..ROUNDS_MAX {
        let shorter = KO_SUFFIXES
            .iter()
            .filter_map(|suffix| stem.strip_suffix(suffix))
            .filter(|rest| rest.chars().count() >= SYLLABLES_MIN)
            .min_by_key(|rest| rest.len());
        match shorter {
            Some(rest) => stem = rest,
            None => break,
        }
    }
    stem
}

/// "항은" is "항" and its particle, "년인가요" asks for years; "이", "가", "의" and others are left, since too many
/// nouns end in them.
fn one_syllable_noun(eojeol: &str) -> Option<&str> {
    const NOUNS: &[&str] = &["가을", "노을", "마을"];
    let rest = ["인가요", "인가", "입니까", "인지", "이나", "은", "는", "을", "를"]
        .iter()
        .find_map(|particle| eojeol.strip_suffix(particle))?;
    (rest.chars().count() == 1 && !NOUNS.contains(&eojeol)).then_some(rest)
}

/// What the wording of `question` asks for.
pub(crate) fn asks_for(question: &str) -> Asks {
    let lower = question.to_lowercase();
    let number = EN_NUMBER_CUES.iter().any(|cue| lower.contains(cue))
        || KO_NUMBER_CUES.iter().any(|cue| lower.contains(cue))
        || lower.split_whitespace().any(|w| w.starts_with('몇'));
    if number { Asks::Number } else { Asks::Anything }
}

/// Whether a question leans on the one before it ("and for cards?", "그럼 수수료는요?").
pub(crate) fn leans_on_history(question: &str, words: &[Word]) -> bool {
    const FEW: usize = 2;
    let lower = question.to_lowercase();
    let first = lower.split_whitespace().next().unwrap_or_default();
    let refers = EN_REFERRING
        .iter()
        .any(|w| lower.split(|c: char| !c.is_alphabetic()).any(|t| t == *w));
    let continues = EN_CONTINUING.contains(&first) || KO_CONTINUING.iter().any(|w| first.starts_with(w));
    words.iter().filter(|w| !w.light).count() <= FEW && (refers || continues || words.len() < FEW)
}

/// What asks for a degree.
const HOW: &[&str] = &["how", "얼마나"];
/// Degrees that an answer gives as a time.
const PACE: &[&str] = &[
    "fast",
    "quick",
    "quickly",
    "rapidly",
    "slow",
    "slowly",
    "빨리",
    "빠르게",
    "빠른가요",
    "신속히",
    "신속하게",
    "천천히",
    "늦게",
];
const EN_NUMBER_CUES: &[&str] = &[
    "how fast",
    "how quick",
    "how rapidly",
    "how slow",
    "how many",
    "how much",
    "how long",
    "how old",
    "how often",
    "how soon",
    "how large",
    "how high",
    "when ",
    "what time",
    "what year",
    "what date",
    "which year",
    "deadline",
    "percentage",
    "what percent",
];
const KO_NUMBER_CUES: &[&str] = &[
    "얼마",
    "언제",
    "며칠",
    "몇 ",
    "기한은",
    "기간은",
    "비율은",
    "한도는",
    "시간은",
];
const EN_REFERRING: &[&str] = &[
    "it", "its", "that", "this", "they", "them", "those", "these", "there",
];
const EN_CONTINUING: &[&str] = &["and", "but", "or", "so", "then", "also"];
const KO_CONTINUING: &[&str] = &[
    "그럼",
    "그러면",
    "그리고",
    "그건",
    "그것",
    "그거",
    "이건",
    "이것",
    "그때",
    "그 ",
    "그렇",
];

/// English words that carry grammar, not a subject.
const EN_FUNCTION: &[&str] = &[
    "a", "about", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "but",
    "by", "can", "could", "did", "do", "does", "doing", "don", "for", "from", "had", "has", "have", "having",
    "he", "her", "here", "hers", "him", "his", "how", "i", "if", "in", "into", "is", "isn", "it", "its",
    "ll", "many", "may", "me", "might", "much", "must", "my", "no", "nor", "not", "of", "on", "or", "our",
    "ours", "please", "re", "shall", "she", "should", "so", "some", "such", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "to", "too", "us", "ve", "very", "was", "we",
    "were", "what", "when", "where", "which", "while", "who", "whom", "whose", "why", "will", "with",
    "would", "you", "your", "yours",
];

/// English words that belong to the asking more than to the subject.
const EN_LIGHT: &[&str] = &[
    "anything",
    "back",
    "call",
    "called",
    "come",
    "describe",
    "difference",
    "different",
    "explain",
    "find",
    "get",
    "gets",
    "give",
    "go",
    "goes",
    "happen",
    "happens",
    "know",
    "like",
    "list",
    "long",
    "look",
    "make",
    "makes",
    "mean",
    "means",
    "name",
    "need",
    "needed",
    "needs",
    "often",
    "old",
    "possible",
    "put",
    "say",
    "says",
    "see",
    "show",
    "soon",
    "take",
    "takes",
    "tell",
    "thing",
    "things",
    "use",
    "used",
    "using",
    "want",
    "way",
    "ways",
    "work",
    "works",
    "document",
    "documents",
    "according",
    "exactly",
    "kind",
    "kinds",
    "one",
    "ones",
];

/// Korean words that carry the asking, whole or as stems.
const KO_FUNCTION: &[&str] = &[
    "가장",
    "것",
    "것은",
    "것이",
    "과연",
    "그",
    "그것",
    "그냥",
    "그러나",
    "그런",
    "그럼",
    "그러면",
    "그로",
    "그리고",
    "나요",
    "내",
    "너무",
    "누가",
    "누구",
    "다른",
    "다시",
    "대하여",
    "대한",
    "대해",
    "대해서",
    "된",
    "될",
    "되는",
    "되나요",
    "되었",
    "되어",
    "들",
    "등",
    "따라",
    "따른",
    "때",
    "또",
    "또는",
    "또한",
    "및",
    "매우",
    "며칠",
    "몇",
    "무슨",
    "무엇",
    "무엇이",
    "무엇인",
    "뭐",
    "뭔",
    "바로",
    "수",
    "시",
    "아주",
    "알려",
    "알려줘",
    "어느",
    "어디",
    "어떠",
    "어떠한",
    "어떤",
    "어떻게",
    "어떻",
    "언제",
    "얼마",
    "얼마나",
    "왜",
    "위한",
    "위해",
    "이",
    "이런",
    "이러한",
    "이것",
    "인",
    "인가요",
    "인지",
    "있",
    "있는",
    "있나요",
    "있는지",
    "있을",
    "없",
    "없나요",
    "없는",
    "저",
    "제",
    "좀",
    "주세요",
    "주시",
    "줘",
    "중",
    "지금",
    "통한",
    "통해",
    "하",
    "하고",
    "하나요",
    "하는",
    "하는지",
    "하면",
    "하여",
    "한",
    "할",
    "해",
    "해서",
    "해야",
    "해주",
    "해주세요",
    "했",
    "혹시",
    "우리",
    "저희",
    "되",
    "수가",
    "건가요",
    "거",
    "게",
];

/// Korean words that belong to the asking more than to the subject.
const KO_LIGHT: &[&str] = &[
    "각각",
    "경우",
    "관련",
    "구체적",
    "내용",
    "말씀",
    "말해",
    "방법",
    "방식",
    "부분",
    "사항",
    "상세",
    "설명",
    "어떻게",
    "예시",
    "의미",
    "이유",
    "자세",
    "정도",
    "종류",
    "차이",
    "차이점",
    "특징",
    "필요",
    "가능",
    "문서",
    "제시",
    "언급",
    "소개",
    "사용",
];

/// Particles and endings. Order does not matter: the longest one that leaves a stem is cut.
const KO_SUFFIXES: &[&str] = &[
    "은",
    "는",
    "이",
    "가",
    "을",
    "를",
    "의",
    "에",
    "도",
    "만",
    "과",
    "와",
    "로",
    "들",
    "요",
    "나",
    "란",
    "며",
    "고",
    "에서",
    "에게",
    "에는",
    "에도",
    "에만",
    "에서는",
    "에서의",
    "에게는",
    "으로",
    "으로는",
    "으로의",
    "로는",
    "로서",
    "로써",
    "으로서",
    "으로써",
    "까지",
    "까지는",
    "까지의",
    "부터",
    "부터는",
    "이나",
    "이란",
    "이라는",
    "라는",
    "이라고",
    "라고",
    "마다",
    "처럼",
    "보다",
    "보다는",
    "만큼",
    "밖에",
    "조차",
    "마저",
    "한테",
    "께",
    "께서",
    "들은",
    "들이",
    "들을",
    "들의",
    "들에",
    "과의",
    "와의",
    "이며",
    "이고",
    "이면",
    "인가",
    "인가요",
    "인지",
    "인데",
    "입니까",
    "입니다",
    "이다",
    "이에요",
    "예요",
    "이었나요",
    "였나요",
    "한",
    "할",
    "하는",
    "하나",
    "하나요",
    "하고",
    "하기",
    "하면",
    "하며",
    "하여",
    "하려면",
    "하려고",
    "하려",
    "하게",
    "하지",
    "하거나",
    "하도록",
    "하였나요",
    "하였으며",
    "하였",
    "해",
    "해서",
    "해야",
    "해도",
    "했나요",
    "했는지",
    "했",
    "하는지",
    "하세요",
    "하시오",
    "합니까",
    "합니다",
    "할까요",
    "할까",
    "했습니까",
    "했을",
    "되는",
    "되나",
    "되나요",
    "되고",
    "되며",
    "되면",
    "되어",
    "되었나요",
    "되었으며",
    "되었",
    "된",
    "될",
    "됩니까",
    "됩니다",
    "될까요",
    "되는지",
    "되려면",
    "돼",
    "돼요",
    "됐나요",
    "시",
    "적",
    "적인",
    "적으로",
    "나요",
    "까요",
    "습니까",
    "습니다",
    "는지",
    "은지",
    "는데",
    "려면",
    "으려면",
    "으면",
    "면",
    "어야",
    "아야",
    "어서",
    "아서",
    "어도",
    "아도",
    "었나요",
    "았나요",
    "던",
    "기",
    "기는",
    "에게서",
    "이라면",
    "라면",
    "이든",
    "든지",
    "이요",
    "이죠",
    "죠",
    "지요",
    "네요",
    "세요",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(question: &str) -> Vec<String> {
        content_words(question).into_iter().map(|w| w.text).collect()
    }

    #[test]
    fn english_function_words_fall_away() {
        assert_eq!(
            texts("What is the capital of Burkina Faso?"),
            ["capital", "Burkina", "Faso"]
        );
        assert_eq!(texts("Is it on?"), Vec::<String>::new());
    }

    #[test]
    fn korean_particles_and_endings_fall_away() {
        assert_eq!(
            texts("계약서를 해지하려면 어떻게 해야 하나요?"),
            ["계약서", "해지"]
        );
        assert_eq!(texts("대통령의 임기는 몇 년인가요?"), ["대통령", "임기", "년"]);
        assert_eq!(texts("환불 기간은 얼마인가요?"), ["환불", "기간"]);
    }

    #[test]
    fn how_fast_belongs_to_the_asking_and_fast_alone_does_not() {
        let light = |question: &str| -> Vec<String> {
            let words = content_words(question).into_iter().filter(|w| w.light);
            words.map(|w| w.text).collect()
        };
        assert_eq!(light("How fast does the pump stop?"), ["fast"]);
        assert_eq!(light("펌프는 얼마나 빨리 멈추나요?"), ["빨리"]);
        assert!(light("Where is the fast pump?").is_empty());
        assert_eq!(asks_for("How quickly does the pump stop?"), Asks::Number);
    }

    #[test]
    fn numbers_stay_whole() {
        assert_eq!(
            texts("Version 3.14 costs 1,000 won"),
            ["Version", "3.14", "costs", "1,000", "won"]
        );
        assert_eq!(texts("제3조 2항은?"), ["3", "조", "2", "항"]);
    }

    #[test]
    fn decomposed_hangul_is_composed_first() {
        assert_eq!(
            texts("\u{1100}\u{1168}\u{110B}\u{1163}\u{11A8}\u{1109}\u{1165}를"),
            ["계약서"]
        );
    }

    #[test]
    fn wording_tells_when_a_number_is_asked_for() {
        assert_eq!(asks_for("How long does a refund take?"), Asks::Number);
        assert_eq!(asks_for("임기는 몇 년인가요?"), Asks::Number);
        assert_eq!(asks_for("What is a conffile?"), Asks::Anything);
    }

    #[test]
    fn follow_ups_lean_on_the_question_before() {
        for question in ["And for cards?", "그럼 수수료는요?", "How long does it take?"] {
            assert!(leans_on_history(question, &content_words(question)), "{question}");
        }
        let whole = "How long does a card refund take after settlement?";
        assert!(!leans_on_history(whole, &content_words(whole)));
    }
}
