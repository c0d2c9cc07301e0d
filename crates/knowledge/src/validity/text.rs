//! What a document's own text states about its validity, in English and Korean.
//!
//! Read are labels with their dates near the beginning ("Effective date: 1 March 2024", "시행일 2024. 3. 1."), sentences
//! in which the document speaks of itself ("이 규정은 … 시행한다"), and the supplementary provisions (부칙) of Korean
//! regulations. Not read are dates in running prose. What is stated twice in two ways is not stated.

use stdx::date::Date;

use super::Stated;
use super::written::date_at;

mod labels;

use labels::{FROM, Label, OWNER, RANGE, REPLACES, SUPERSEDES, UNTIL};

/// Labels count in so many characters from the beginning.
const HEAD_CHARS: usize = 3_000;
/// Longer lines are prose.
const LINE_CHARS_MAX: usize = 400;
/// A section of supplementary provisions is looked at for so many lines.
const SECTION_LINES_MAX: usize = 60;
/// Between the subject of a Korean sentence and its date ("이 규정은 이사회의 의결을 거쳐 …").
const SUBJECT_CHARS_MAX: usize = 60;
/// Between the date of a Korean sentence and its verb ("…부터 이를 시행한다").
const VERB_CHARS_MAX: usize = 14;
/// A name after a label has at most so many characters.
const VALUE_CHARS_MAX: usize = 120;

/// What a Korean document calls itself.
const KOREAN_SELVES: [&str; 26] = [
    "규정",
    "규칙",
    "지침",
    "세칙",
    "내규",
    "요령",
    "기준",
    "법",
    "법률",
    "영",
    "훈령",
    "예규",
    "고시",
    "조례",
    "약관",
    "정관",
    "계획",
    "계약",
    "협약",
    "매뉴얼",
    "안내서",
    "편람",
    "방침",
    "강령",
    "규약",
    "시행세칙",
];
/// What an English document calls itself.
const ENGLISH_SELVES: [&str; 24] = [
    "policy",
    "document",
    "agreement",
    "procedure",
    "regulation",
    "regulations",
    "guideline",
    "guidelines",
    "handbook",
    "standard",
    "rules",
    "contract",
    "notice",
    "circular",
    "instruction",
    "instructions",
    "manual",
    "plan",
    "version",
    "edition",
    "directive",
    "code",
    "guide",
    "charter",
];
/// How an English document says from or until when it holds.
const ENGLISH_FROM: [&str; 13] = [
    "is effective from",
    "is effective as of",
    "is effective on",
    "is effective",
    "are effective from",
    "are effective as of",
    "takes effect on",
    "take effect on",
    "comes into force on",
    "come into force on",
    "enters into force on",
    "is valid from",
    "applies from",
];
const ENGLISH_UNTIL: [&str; 7] = [
    "is valid until",
    "is valid through",
    "is effective until",
    "remains in force until",
    "is in force until",
    "expires on",
    "applies until",
];
/// Verbs by which a Korean document begins or ceases to hold.
const KOREAN_VERBS: [&str; 6] = ["시행", "적용", "효력", "유효", "발효", "존속"];

/// What a text states of the document that it is.
pub(crate) fn of_text(text: &str) -> Stated {
    let mut found = Found::default();
    let mut seen = 0;
    for line in text.lines() {
        if seen >= HEAD_CHARS {
            break;
        }
        let chars: Vec<char> = line.chars().collect();
        seen += chars.len() + 1;
        if chars.len() <= LINE_CHARS_MAX {
            found.labels(&chars);
        }
        found.sentences(&chars);
    }
    let from = match only(&found.from) {
        Only::One(date) => Some(date),
        Only::None => supplements(text),
        Only::Several => None,
    };
    let until = match only(&found.until) {
        Only::One(date) => Some(date),
        Only::None | Only::Several => None,
    };
    let is_one_owner = found.owners.windows(2).all(|pair| pair[0] == pair[1]);
    Stated {
        from,
        until,
        owner: found.owners.into_iter().next().filter(|_| is_one_owner),
        replaces: found.replaces,
    }
    .sound()
}

/// How many different dates there are.
enum Only {
    None,
    One(Date),
    Several,
}

fn only(dates: &[Date]) -> Only {
    match dates.split_first() {
        None => Only::None,
        Some((first, rest)) if rest.iter().all(|date| date == first) => Only::One(*first),
        Some(_) => Only::Several,
    }
}

#[derive(Default)]
struct Found {
    from: Vec<Date>,
    until: Vec<Date>,
    owners: Vec<String>,
    replaces: Vec<String>,
}

impl Found {
    /// Labels at the beginning of a line, of a cell, after a bracket or after a mark between statements.
    fn labels(&mut self, line: &[char]) {
        for start in starts(line) {
            let rest = &line[start..];
            if let Some((_, value)) = labelled(rest, &RANGE) {
                self.range(value);
            } else if let Some((_, value)) = labelled(rest, &FROM) {
                match lone_date(value) {
                    Some(date) => self.from.push(date),
                    None => self.both(value),
                }
            } else if let Some(date) = labelled(rest, &UNTIL).and_then(|(_, value)| lone_date(value)) {
                self.until.push(date);
            } else if let Some(owner) = named(rest, &OWNER) {
                self.owners.push(owner);
            } else if let Some(replaced) = named(rest, &REPLACES) {
                self.replaces.push(replaced);
            }
        }
    }

    /// The first and the last day, or one of them that says which it is.
    fn range(&mut self, value: &[char]) {
        let Some((date, end)) = date_at(value) else {
            let until = ["until", "to", "through", "~"]
                .iter()
                .map(|word| without_word(value, word));
            let until = until.filter(|rest| rest.len() < value.len()).find_map(lone_date);
            self.until.extend(until);
            return;
        };
        let rest = skip(&value[end..], char::is_whitespace);
        if !ends(rest) {
            return self.both(value);
        }
        match rest {
            ['까', '지', ..] => self.until.push(date),
            ['부', '터', ..] => self.from.push(date),
            _ => {}
        }
    }

    /// "2024. 3. 1. ~ 2025. 2. 28.", "1 March 2024 to 28 February 2025"; without the second: open.
    fn both(&mut self, value: &[char]) {
        let Some((from, end)) = date_at(value) else {
            return;
        };
        let Some(rest) = joined(&value[end..]) else {
            return;
        };
        match date_at(rest) {
            Some((until, end)) if ends(&rest[end..]) => {
                self.from.push(from);
                self.until.push(until);
            }
            None if ends(rest) => self.from.push(from),
            _ => {}
        }
    }

    /// Sentences in which a document speaks of itself.
    fn sentences(&mut self, line: &[char]) {
        match korean_sentence(line) {
            Some(Spoken::From(date)) => self.from.push(date),
            Some(Spoken::Until(date)) => self.until.push(date),
            Some(Spoken::NoDate) | None => {}
        }
        let text: String = line.iter().collect();
        for sentence in text.to_lowercase().split(". ") {
            let this = ["this ", "these "]
                .iter()
                .find_map(|this| sentence.trim_start().strip_prefix(this));
            let said = this.and_then(|rest| {
                let selves = ENGLISH_SELVES.iter();
                selves
                    .filter_map(|name| rest.strip_prefix(name)?.strip_prefix(' '))
                    .next()
            });
            let date = |phrases: &[&str]| {
                let rest = phrases
                    .iter()
                    .find_map(|phrase| said?.strip_prefix(phrase)?.strip_prefix(' '))?;
                date_at(&rest.chars().collect::<Vec<_>>()).map(|(date, _)| date)
            };
            self.from.extend(date(&ENGLISH_FROM));
            self.until.extend(date(&ENGLISH_UNTIL));
        }
    }
}

/// Where in a line a statement may begin.
fn starts(line: &[char]) -> Vec<usize> {
    let is_mark = |c: char| c.is_whitespace() || "#*-•·○●□■※▶◦|>–—[(【〔「『<《〈".contains(c);
    let mut starts = Vec::new();
    let mut may_begin = true;
    for (at, c) in line.iter().enumerate() {
        if is_mark(*c) {
            may_begin |= "|[(【〔「『<《〈".contains(*c);
        } else {
            if may_begin {
                starts.push(at);
            }
            may_begin = matches!(c, ';' | ',' | '.' | '/') || "])】〕」』>》〉".contains(*c);
        }
    }
    starts
}

/// The label at the beginning and what stands after it and its separators.
fn labelled<'a>(rest: &'a [char], labels: &[Label]) -> Option<(Label, &'a [char])> {
    let (label, end) = labels
        .iter()
        .filter_map(|label| Some((*label, label_end(rest, label)?)))
        .max_by_key(|(_, end)| *end)?;
    let mut value = &rest[end..];
    // A label is a word: "시행일정" and "effectively" are others.
    let is_particle = matches!(value, ['은' | '는', next, ..] if next.is_whitespace());
    let is_word = is_particle
        || value
            .first()
            .is_none_or(|c| !c.is_alphanumeric() || date_at(value).is_some());
    if !is_word {
        return None;
    }
    value = skip(value, |c| c.is_whitespace() || ":：|=)]】*–-".contains(c));
    for word in ["is", "on", "from", "as of", "은", "는"] {
        value = without_word(value, word);
    }
    Some((label, value))
}

/// Where a label ends that begins here; blanks between Korean letters do not count.
fn label_end(rest: &[char], label: &str) -> Option<usize> {
    let is_korean = !label.is_ascii();
    let mut at = 0;
    for expected in label.chars() {
        if is_korean && at > 0 {
            while rest.get(at) == Some(&' ') {
                at += 1;
            }
        }
        if rest.get(at)?.to_lowercase().next() != Some(expected) {
            return None;
        }
        at += 1;
    }
    Some(at)
}

/// A date that is all there is of a statement.
fn lone_date(value: &[char]) -> Option<Date> {
    let (date, end) = date_at(value)?;
    ends(&value[end..]).then_some(date)
}

/// Whether a statement ends here, after the words that belong to its date.
fn ends(rest: &[char]) -> bool {
    let mut rest = rest;
    for word in [
        "부터",
        "까지",
        "이후",
        "자",
        "시행",
        "적용",
        "발효",
        "한다",
        "합니다",
        "함",
    ] {
        rest = without_word(rest, word);
    }
    let rest = skip(rest, |c| c.is_whitespace() && c != '\n');
    // The day of the week in brackets.
    let rest = match rest {
        ['(' | '（', inner @ ..] => inner
            .iter()
            .position(|c| matches!(c, ')' | '）'))
            .map_or(rest, |close| if close <= 5 { &inner[close + 1..] } else { rest }),
        rest => rest,
    };
    let rest = skip(rest, char::is_whitespace);
    match rest {
        [] => true,
        ['.', ..] => rest.get(1).is_none_or(|c| c.is_whitespace()),
        [c, ..] if ";|[(])】〕」』>》〉*".contains(*c) => true,
        // A further statement, not a clause that goes on.
        [',' | '/', after @ ..] => {
            let after = skip(after, char::is_whitespace);
            after.is_empty()
                || [&FROM[..], &UNTIL, &OWNER, &REPLACES]
                    .iter()
                    .any(|l| labelled(after, l).is_some())
        }
        _ => false,
    }
}

/// What follows the sign between two dates of a range.
fn joined(rest: &[char]) -> Option<&[char]> {
    let rest = skip(without_word(rest, "부터"), char::is_whitespace);
    for sign in ["~", "∼", "～", "–", "—", "-", "to", "until", "through"] {
        let after = without_word(rest, sign);
        if after.len() < rest.len() {
            return Some(after);
        }
    }
    // "2024. 3. 1.부터 2025. 2. 28.까지" has no sign.
    date_at(rest).is_some().then_some(rest)
}

/// A name after a label and a colon or in the next cell.
fn named(rest: &[char], labels: &[Label]) -> Option<String> {
    let (label, value) = labelled(rest, labels)?;
    let end = label_end(rest, label)?;
    let gap = &rest[end..rest.len() - value.len()];
    if label != SUPERSEDES && !gap.iter().any(|c| ":：|=".contains(*c)) {
        return None;
    }
    let value: String = value.iter().take_while(|c| !"|;".contains(**c)).collect();
    let value = value.trim().trim_end_matches(['.', ',', ']', ')']).trim();
    (!value.is_empty() && value.chars().count() <= VALUE_CHARS_MAX).then(|| value.to_owned())
}

fn skip(chars: &[char], passes: impl Fn(char) -> bool) -> &[char] {
    let n = chars.iter().take_while(|c| passes(**c)).count();
    &chars[n..]
}

/// What follows a word and the blanks after it; all, if it is not there.
fn without_word<'a>(chars: &'a [char], word: &str) -> &'a [char] {
    let mut at = 0;
    for expected in word.chars() {
        match chars.get(at) {
            Some(c) if c.to_lowercase().next() == Some(expected) => at += 1,
            _ => return chars,
        }
    }
    let goes_on = word.is_ascii() && chars.get(at).is_some_and(|c| c.is_ascii_alphabetic()) && word != "~";
    if goes_on {
        chars
    } else {
        skip(&chars[at..], char::is_whitespace)
    }
}

/// What a Korean document says of its own beginning or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    From(Date),
    Until(Date),
    /// It begins on a day that the sentence does not name ("공포한 날부터 시행한다").
    NoDate,
}

/// "이 규정은 2024년 3월 1일부터 시행한다."
fn korean_sentence(line: &[char]) -> Option<Spoken> {
    let rest = (0..line.len()).find_map(|at| {
        let begins = at == 0 || line[at - 1].is_whitespace() || ").]】.:：".contains(line[at - 1]);
        (begins && line[at] == '이').then(|| after_subject(&line[at + 1..]))?
    })?;
    let end = rest
        .windows(2)
        .position(|pair| pair == ['다', '.'])
        .unwrap_or(rest.len());
    let says = |chars: &[char]| {
        let text: String = chars.iter().collect();
        KOREAN_VERBS.iter().any(|verb| text.contains(verb))
    };
    let dated = (0..end.min(SUBJECT_CHARS_MAX)).find_map(|at| {
        let is_inside = at > 0 && rest[at - 1].is_ascii_digit();
        let (date, length) = date_at(&rest[at..]).filter(|_| !is_inside)?;
        Some((date, &rest[at + length..]))
    });
    match dated {
        Some((date, after)) => {
            let after = skip(after, char::is_whitespace);
            let (word, after) = after.split_at_checked(2)?;
            let word: String = word.iter().collect();
            if !says(&after[..after.len().min(VERB_CHARS_MAX)]) {
                return None;
            }
            match word.as_str() {
                "부터" => Some(Spoken::From(date)),
                "까지" => Some(Spoken::Until(date)),
                _ => None,
            }
        }
        None => says(&rest[..end]).then_some(Spoken::NoDate),
    }
}

/// What follows "규정은" and the like.
fn after_subject(chars: &[char]) -> Option<&[char]> {
    let chars = skip(chars, char::is_whitespace);
    let longest = KOREAN_SELVES
        .iter()
        .filter(|name| name.chars().eq(chars.iter().copied().take(name.chars().count())))
        .max_by_key(|name| name.len())?;
    let rest = &chars[longest.chars().count()..];
    matches!(rest.first(), Some('은' | '는')).then(|| skip(&rest[1..], char::is_whitespace))
}

/// From when a regulation holds by its supplementary provisions: the last of them, if each names its day.
fn supplements(text: &str) -> Option<Date> {
    let lines: Vec<&str> = text.lines().collect();
    let heads: Vec<usize> = (0..lines.len()).filter(|&i| is_supplement(lines[i])).collect();
    let mut latest = None;
    for (n, &head) in heads.iter().enumerate() {
        let end = heads.get(n + 1).copied().unwrap_or(lines.len());
        let section = &lines[head..end.min(head + SECTION_LINES_MAX)];
        let date = section.iter().find_map(|line| {
            let chars: Vec<char> = line.chars().collect();
            korean_sentence(&chars).or_else(|| labelled_provision(&chars))
        });
        match date {
            Some(Spoken::From(date)) => latest = latest.max(Some(date)),
            _ => return None,
        }
    }
    latest
}

/// "부칙", "부 칙 <2024. 3. 1.>", "부칙(2024.3.1. 개정)".
fn is_supplement(line: &str) -> bool {
    let line: String = line
        .chars()
        .filter(|c| !c.is_whitespace() && !"#*[]【】「」".contains(*c))
        .collect();
    let Some(rest) = line.strip_prefix("부칙") else {
        return false;
    };
    rest.is_empty() || rest.starts_with(['<', '(', '〈', '제', '이', '①', '1'])
}

/// "제1조(시행일) 2024년 3월 1일부터 시행한다."
fn labelled_provision(line: &[char]) -> Option<Spoken> {
    let text: String = line.iter().collect();
    let at = text.find("(시행일)")?;
    let rest: Vec<char> = text[at + "(시행일)".len()..].chars().collect();
    let rest = skip(&rest, char::is_whitespace);
    match date_at(rest) {
        Some((date, end))
            if ends(&rest[end..]) || without_word(&rest[end..], "부터").len() < rest[end..].len() =>
        {
            Some(Spoken::From(date))
        }
        _ => Some(Spoken::NoDate),
    }
}
