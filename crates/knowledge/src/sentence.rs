//! Where sentences begin and end, in English and Korean.
//!
//! Rules and short lists only; no model, no dictionary. Line ends are always borders, for lines that were
//! merely wrapped have been joined before.

use std::ops::Range;

/// Longest stretch between two brackets within which sentence ends do not count.
const MAX_BRACKET_CHARS: usize = 300;
/// Longest table row that stands as one sentence.
const MAX_ROW_CHARS: usize = 400;
/// Deepest nesting of brackets that is followed.
const MAX_BRACKETS: usize = 32;
/// What parts the cells of a table row (see `read::BlockKind::TableRow`).
const CELL_GAP: [char; 3] = [' ', '|', ' '];

/// Abbreviations after which a sentence goes on.
const ABBREVIATIONS: [&str; 46] = [
    "mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "vs", "e.g", "i.e", "cf", "viz", "al", "approx", "ca",
    "resp", "gen", "col", "sgt", "capt", "lt", "hon", "rev", "gov", "pres", "dept", "est", "jan", "feb",
    "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "u.s", "u.k", "e.u", "u.n",
    "ph.d", "incl",
];
/// Abbreviations only before a number ("No. 5"); elsewhere they are words ("I said no.").
const BEFORE_NUMBERS: [&str; 16] = [
    "no", "nos", "fig", "figs", "p", "pp", "vol", "ch", "sec", "eq", "art", "para", "app", "tab", "ver", "v",
];
/// Particles by which a Korean sentence goes on after a quotation.
const QUOTE_PARTICLES: [&str; 10] = [
    "라고",
    "라는",
    "이라고",
    "이라는",
    "하고",
    "하며",
    "고 ",
    "며 ",
    "면서",
    "는 ",
];
/// Last syllables of Korean sentences.
const KOREAN_ENDS: [char; 6] = ['다', '요', '까', '죠', '오', '라'];
/// Letters that number lists in Korean.
const KOREAN_NUMBERS: &str = "가나다라마바사아자차카타파하";

/// The sentences of a text as half-open ranges of Unicode scalar values, in order, without the white space
/// around them. Every character that is not white space lies in exactly one.
pub fn split(text: &str) -> Vec<Range<usize>> {
    let chars: Vec<char> = text.chars().collect();
    let mut sentences = Vec::new();
    let mut start = 0;
    for line in chars.split(|c| *c == '\n') {
        split_line(line, start, &mut sentences);
        start += line.len() + 1;
    }
    sentences
}

fn split_line(line: &[char], offset: usize, sentences: &mut Vec<Range<usize>>) {
    let mut push = |from: usize, to: usize| {
        let Some(first) = line[from..to].iter().position(|c| !c.is_whitespace()) else {
            return;
        };
        let last = line[from..to]
            .iter()
            .rposition(|c| !c.is_whitespace())
            .unwrap_or(first);
        sentences.push(offset + from + first..offset + from + last + 1);
    };
    let is_row = line.len() <= MAX_ROW_CHARS && line.windows(3).any(|window| window == CELL_GAP);
    let mut start = 0;
    if !is_row {
        let inside = inside_brackets(line);
        let mut at = 0;
        while at < line.len() {
            if !is_terminator(line[at]) {
                at += 1;
                continue;
            }
            let marks = at..skip(line, at, is_terminator);
            let end = skip(line, marks.end, is_closer);
            if !inside[at] && is_end(line, start, &marks, end) {
                push(start, end);
                start = end;
            }
            at = end;
        }
    }
    push(start, line.len());
}

/// The first place from `at` on whose character does not pass.
fn skip(line: &[char], at: usize, passes: fn(char) -> bool) -> usize {
    line[at..]
        .iter()
        .position(|c| !passes(*c))
        .map_or(line.len(), |n| at + n)
}

fn is_terminator(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '．' | '｡')
}

fn is_closer(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | '”' | '’' | ')' | ']' | '}' | '»' | '」' | '』' | '》' | '〉' | '】' | '）'
    )
}

fn is_hangul(c: char) -> bool {
    ('가'..='힣').contains(&c)
}

/// Which places lie between an opening bracket and its partner close by.
fn inside_brackets(line: &[char]) -> Vec<bool> {
    let mut inside = vec![false; line.len()];
    let mut open: Vec<(usize, char)> = Vec::new();
    for (at, c) in line.iter().enumerate() {
        let partner = match c {
            '(' => Some(')'),
            '[' => Some(']'),
            '「' => Some('」'),
            '『' => Some('』'),
            '（' => Some('）'),
            _ => None,
        };
        if let Some(partner) = partner {
            if open.len() == MAX_BRACKETS {
                open.remove(0);
            }
            open.push((at, partner));
        } else if let Some(depth) = open.iter().rposition(|(_, partner)| partner == c) {
            let (from, _) = open[depth];
            open.truncate(depth);
            if at - from <= MAX_BRACKET_CHARS {
                inside[from..at].fill(true);
            }
        }
    }
    inside
}

/// Whether the marks that stand at `marks`, with closing quotes up to `end`, close the sentence begun at `start`.
fn is_end(line: &[char], start: usize, marks: &Range<usize>, end: usize) -> bool {
    let is_full_width = line[marks.clone()]
        .iter()
        .any(|c| matches!(c, '。' | '！' | '？' | '｡'));
    let Some(&next) = line.get(end) else {
        return true;
    };
    if is_full_width {
        return true;
    }
    let before = marks.start.checked_sub(1).map(|at| line[at]);
    let is_korean_end = before.is_some_and(|c| KOREAN_ENDS.contains(&c));
    if !next.is_whitespace() {
        // A space forgotten between two Korean sentences; a quotation goes on instead ("…다."고).
        return is_korean_end && end == marks.end && is_hangul(next);
    }
    let rest = &line[skip(line, end, char::is_whitespace)..];
    let Some(&following) = rest.first() else {
        return true;
    };
    if end > marks.end && goes_on_after_quote(rest) {
        return false;
    }
    let is_dots = marks.len() > 1 && line[marks.clone()].iter().all(|c| matches!(c, '.' | '…'));
    if is_dots || line[marks.start] == '…' {
        return following.is_uppercase() || (is_hangul(following) && is_korean_end);
    }
    // Dots that lead to a page number (". . . . 12").
    if is_terminator(following) {
        return false;
    }
    if line[marks.start] != '.' || marks.len() > 1 {
        return !following.is_lowercase();
    }
    is_full_stop(line, start, marks.start, following)
}

fn goes_on_after_quote(rest: &[char]) -> bool {
    let head: String = rest.iter().take(4).collect();
    QUOTE_PARTICLES.iter().any(|particle| head.starts_with(particle))
}

/// Whether a single full stop at `dot`, before white space, ends its sentence.
fn is_full_stop(line: &[char], start: usize, dot: usize, following: char) -> bool {
    if following.is_lowercase() {
        return false;
    }
    let word_start = line[start..dot]
        .iter()
        .rposition(|c| c.is_whitespace() || matches!(c, '(' | '[' | '"' | '“'));
    let word_start = word_start.map_or(start, |at| start + at + 1);
    let word: String = line[word_start..dot].iter().collect::<String>().to_lowercase();
    let is_first_word = line[start..word_start].iter().all(|c| c.is_whitespace());
    if is_first_word && is_list_number(&word) {
        return false;
    }
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_digit()) {
        return !(following.is_ascii_digit() || is_date(line, start, word_start, following));
    }
    if ABBREVIATIONS.contains(&word.as_str()) {
        return false;
    }
    if BEFORE_NUMBERS.contains(&word.as_str()) {
        return !following.is_ascii_digit();
    }
    // An initial, as in "J. Smith"; "I" is a word.
    let mut letters = word.chars();
    let initial = letters.next().filter(|_| letters.next().is_none());
    !initial.is_some_and(|c| c.is_ascii_alphabetic() && line[dot - 1] != 'I')
}

/// `1`, `2.3`, `iv`, `a`, `가`: the number of a list entry or heading.
fn is_list_number(word: &str) -> bool {
    let n = word.chars().count();
    let is_number = word.chars().all(|c| c.is_ascii_digit() || c == '.') && n <= 6;
    let is_roman = n <= 4 && word.chars().all(|c| matches!(c, 'i' | 'v' | 'x'));
    let is_letter = n == 1
        && word
            .chars()
            .all(|c| c.is_ascii_alphabetic() || KOREAN_NUMBERS.contains(c));
    n > 0 && (is_number || is_roman || is_letter)
}

/// Korean dates: "2024. 3. 15. 시행"; the number before ends in a full stop too.
fn is_date(line: &[char], start: usize, word_start: usize, following: char) -> bool {
    let mut before = line[start..word_start]
        .iter()
        .rev()
        .skip_while(|c| c.is_whitespace());
    let has_dot = before.next() == Some(&'.');
    has_dot && before.next().is_some_and(char::is_ascii_digit) && !following.is_uppercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sentences(text: &str) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        split(text)
            .into_iter()
            .map(|range| chars[range].iter().collect())
            .collect()
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(sentences(text), expected, "{text}");
    }

    #[test]
    fn parts_english_sentences() {
        check(
            "It works. It really does! Does it? Yes.",
            &["It works.", "It really does!", "Does it?", "Yes."],
        );
        check(
            "He said \"Stop.\" Then he left.",
            &["He said \"Stop.\"", "Then he left."],
        );
    }

    #[test]
    fn keeps_abbreviations_decimals_and_initials_together() {
        check(
            "Dr. Kim paid 3.14 dollars, e.g. for tea. Mr. J. Smith left.",
            &["Dr. Kim paid 3.14 dollars, e.g. for tea.", "Mr. J. Smith left."],
        );
        check(
            "See No. 5 and Fig. 3 there. I said no. Then I went.",
            &["See No. 5 and Fig. 3 there.", "I said no.", "Then I went."],
        );
    }

    #[test]
    fn parts_korean_sentences() {
        check(
            "계약을 체결하였다. 대금은 얼마입니까? 확인해 주세요! 끝",
            &["계약을 체결하였다.", "대금은 얼마입니까?", "확인해 주세요!", "끝"],
        );
        check(
            "비가 왔다.그러나 우리는 갔다.",
            &["비가 왔다.", "그러나 우리는 갔다."],
        );
    }

    #[test]
    fn keeps_korean_dates_and_list_numbers_whole() {
        check(
            "2024. 3. 15. 시행한다. 다음과 같다.",
            &["2024. 3. 15. 시행한다.", "다음과 같다."],
        );
        check(
            "1. 목적은 다음과 같다. 가. 범위를 정한다.",
            &["1. 목적은 다음과 같다.", "가. 범위를 정한다."],
        );
    }

    #[test]
    fn keeps_quotations_and_brackets_whole() {
        check(
            "그는 \"간다.\" 라고 말했다. 그리고 갔다.",
            &["그는 \"간다.\" 라고 말했다.", "그리고 갔다."],
        );
        check("\"늦었다.\"고 했다. 끝났다.", &["\"늦었다.\"고 했다.", "끝났다."]);
        check(
            "회사(이하 \"갑\"이라 한다. 이하 같다)는 지급한다. 끝.",
            &["회사(이하 \"갑\"이라 한다. 이하 같다)는 지급한다.", "끝."],
        );
    }

    #[test]
    fn takes_line_ends_and_table_rows_as_borders() {
        check(
            "제1조 목적\n이 법은 정한다\n- 첫째. 둘째\nName | Dr. Who. Yes | 3",
            &[
                "제1조 목적",
                "이 법은 정한다",
                "- 첫째.",
                "둘째",
                "Name | Dr. Who. Yes | 3",
            ],
        );
    }

    #[test]
    fn knows_dots_that_trail_off() {
        check(
            "Well... maybe. Well... Maybe not.",
            &["Well... maybe.", "Well...", "Maybe not."],
        );
        check(
            "그런데… 모르겠다. 그렇다… 그는 갔다.",
            &["그런데… 모르겠다.", "그렇다…", "그는 갔다."],
        );
    }

    proptest! {
        #[test]
        fn covers_every_character_once(text in "[a-zA-Z가-힣0-9 .!?…\"()\\n|,]{0,200}") {
            let ranges = split(&text);
            let chars: Vec<char> = text.chars().collect();
            let mut at = 0;
            for range in ranges {
                prop_assert!(range.start >= at && range.end > range.start && range.end <= chars.len());
                prop_assert!(chars[at..range.start].iter().all(|c| c.is_whitespace()));
                prop_assert!(!chars[range.start].is_whitespace() && !chars[range.end - 1].is_whitespace());
                at = range.end;
            }
            prop_assert!(chars[at..].iter().all(|c| c.is_whitespace()));
        }
    }
}
