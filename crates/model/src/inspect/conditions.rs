//! Conditions of a chat template that look at what messages say.
//!
//! A scan of the text, not a proof: it follows names that were set from a message's content and lists every condition
//! that mentions one, so a reader can see what the template makes depend on words. It cannot see what a template
//! hides behind computed names, and it may list what is harmless.

use std::collections::BTreeSet;

/// Conditions listed at most.
const MAX_CONDITIONS: usize = 64;
/// Characters of a condition shown.
const MAX_SHOWN: usize = 160;
/// Rounds of following names; each finds at least one more, and templates are short.
const MAX_ROUNDS: usize = 32;

/// What a condition asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionKind {
    /// Only whether content is there or of what type it is (`content is string`).
    Presence,
    /// What the words are (`'</think>' in content`).
    Words,
}

/// A condition on the content of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Line of the template, from 1.
    pub line: usize,
    /// The condition as it stands there, cut to a readable length.
    pub text: String,
    /// What it asks.
    pub kind: ConditionKind,
}

/// A tag `{% … %}` or `{{ … }}`.
struct Tag<'a> {
    line: usize,
    is_statement: bool,
    /// Without the braces.
    text: &'a str,
}

/// The conditions of a template that mention the content of messages, directly or through names set from it.
pub(super) fn on_content(source: &str) -> Vec<Condition> {
    let tags = tags(source);
    let tainted = names_from_content(&tags);
    let mut found = Vec::new();
    for tag in &tags {
        for text in conditions(tag) {
            let mentions = names(text).iter().any(|name| tainted.contains(name));
            if mentions && found.len() < MAX_CONDITIONS {
                found.push(Condition {
                    line: tag.line,
                    text: text
                        .split_whitespace()
                        .collect::<Vec<_>>()
                        .join(" ")
                        .chars()
                        .take(MAX_SHOWN)
                        .collect(),
                    kind: kind(text, &tainted),
                });
            }
        }
    }
    found
}

/// All tags of a template, comments left out.
fn tags(source: &str) -> Vec<Tag<'_>> {
    let mut tags = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(open) = source.get(at..).and_then(|rest| rest.find('{')).map(|i| i + at) {
        line += newlines(source, at, open);
        let rest = source.get(open..).unwrap_or_default();
        let close = match rest.as_bytes().get(1) {
            Some(b'%') => "%}",
            Some(b'{') => "}}",
            Some(b'#') => "#}",
            _ => {
                at = open + 1;
                continue;
            }
        };
        let Some(length) = closing(rest, close) else {
            break;
        };
        let text = rest.get(2..length).unwrap_or_default();
        if close != "#}" {
            tags.push(Tag {
                line,
                is_statement: close == "%}",
                text: text.trim_matches(['-', '+']).trim(),
            });
        }
        at = open + length + close.len();
        line += newlines(source, open, at);
    }
    tags
}

fn newlines(source: &str, from: usize, to: usize) -> usize {
    source
        .get(from..to)
        .map_or(0, |part| part.bytes().filter(|byte| *byte == b'\n').count())
}

/// Where the tag that begins `rest` is closed, quoted text left aside.
fn closing(rest: &str, close: &str) -> Option<usize> {
    if close == "#}" {
        return rest.find(close);
    }
    let bytes = rest.as_bytes();
    let (mut quote, mut at) = (None, 2);
    while at < bytes.len() {
        let byte = bytes[at];
        match quote {
            Some(_) if byte == b'\\' => at += 1,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if byte == b'\'' || byte == b'"' => quote = Some(byte),
            None if bytes[at..].starts_with(close.as_bytes()) => return Some(at),
            None => {}
        }
        at += 1;
    }
    None
}

/// The conditions in a tag: of `if`, `elif` and filtered loops, and between `if` and `else` of an expression.
fn conditions<'a>(tag: &Tag<'a>) -> Vec<&'a str> {
    let text = tag.text;
    for keyword in ["if ", "elif ", "if(", "elif("] {
        if tag.is_statement && text.starts_with(keyword) {
            return vec![text[keyword.len() - 1..].trim()];
        }
    }
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = word(rest, "if") {
        let after = rest.get(at + 2..).unwrap_or_default();
        let end = word(after, "else").unwrap_or(after.len());
        let (condition, later) = after.split_at(end);
        found.push(condition.trim());
        rest = later;
    }
    found
}

/// Where `word` stands as a word of its own, outside quoted text.
fn word(text: &str, word: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_name = |at: Option<&u8>| at.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate() {
        match quote {
            Some(open) if *byte == open => quote = None,
            Some(_) => {}
            None if *byte == b'\'' || *byte == b'"' => quote = Some(*byte),
            None => {
                let begins = at.checked_sub(1).is_none_or(|before| !is_name(bytes.get(before)));
                let is_word = bytes[at..].starts_with(word.as_bytes());
                if begins && is_word && !is_name(bytes.get(at + word.len())) {
                    return Some(at);
                }
            }
        }
    }
    None
}

/// The names in an expression: identifiers, and quoted text that is nothing but one (`message['content']`).
fn names(text: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (piece, later) = if first == '\'' || first == '"' {
            let inner = rest.get(1..).unwrap_or_default();
            let end = inner.find(first).unwrap_or(inner.len());
            let (inner, later) = inner.split_at(end);
            (inner, later.get(1..).unwrap_or_default())
        } else if is_name(first) {
            rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()))
        } else {
            ("", rest.get(first.len_utf8()..).unwrap_or_default())
        };
        if !piece.is_empty() && piece.chars().all(is_name) {
            found.push(piece);
        }
        rest = later;
    }
    found
}

/// `content`, and every name that is set from it or loops over it.
fn names_from_content<'a>(tags: &[Tag<'a>]) -> BTreeSet<&'a str> {
    let mut tainted = BTreeSet::from(["content"]);
    for _ in 0..MAX_ROUNDS {
        let before = tainted.len();
        for tag in tags.iter().filter(|tag| tag.is_statement) {
            let (targets, value) = if let Some(rest) = tag.text.strip_prefix("set ") {
                match rest.split_once('=') {
                    Some(parts) => parts,
                    None => continue,
                }
            } else if let Some(rest) = tag.text.strip_prefix("for ") {
                match word(rest, "in") {
                    Some(at) => (&rest[..at], &rest[at + 2..]),
                    None => continue,
                }
            } else {
                continue;
            };
            if names(value).iter().any(|name| tainted.contains(name)) {
                // Of `ns.found` the attribute: its owner holds other things too.
                let targets = targets.split(',').filter_map(|target| names(target).pop());
                tainted.extend(targets);
            }
        }
        if tainted.len() == before {
            break;
        }
    }
    tainted
}

/// Whether every mention of a tainted name is only about presence or type.
fn kind(text: &str, tainted: &BTreeSet<&str>) -> ConditionKind {
    const TESTS: [&str; 7] = [
        "defined",
        "undefined",
        "none",
        "string",
        "mapping",
        "iterable",
        "sequence",
    ];
    let clauses = text.replace(" and ", "\n").replace(" or ", "\n");
    let is_harmless = |clause: &str| {
        let clause = bared(clause);
        if !names(clause).iter().any(|name| tainted.contains(name)) {
            return true;
        }
        let tested = clause.split_once(" is ").is_some_and(|(_, test)| {
            let test = test.trim().trim_start_matches("not ").trim().to_lowercase();
            TESTS.contains(&test.as_str())
        });
        // A bare name asks whether there is anything at all.
        let is_bare = clause
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.[]'\"".contains(c));
        tested || is_bare || clause.starts_with("'content' in ")
    };
    if clauses.split('\n').all(is_harmless) {
        ConditionKind::Presence
    } else {
        ConditionKind::Words
    }
}

/// A clause without `not` and without brackets that only group; those of a call stay.
fn bared(clause: &str) -> &str {
    let mut clause = clause.trim();
    loop {
        let opened = clause.matches('(').count();
        let closed = clause.matches(')').count();
        let rest = if let Some(rest) = clause.strip_prefix("not ").or(clause.strip_prefix('(')) {
            rest
        } else if let Some(rest) = clause.strip_suffix(')').filter(|_| closed > opened) {
            rest
        } else {
            return clause;
        };
        clause = rest.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<(usize, String, ConditionKind)> {
        on_content(source)
            .into_iter()
            .map(|condition| (condition.line, condition.text, condition.kind))
            .collect()
    }

    #[test]
    fn a_template_that_only_looks_at_roles_has_none() {
        let source = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] + '{% if content %}' }}\n\
                      {% elif loop.first %}{{ 'a' if loop.last else 'b' }}{% endif %}{% endfor %}\
                      {# {% if content %} #}";
        assert_eq!(found(source), []);
    }

    #[test]
    fn conditions_on_words_are_told_from_those_on_presence() {
        let source = "{% if message.content is string %}x{% endif %}\n\
                      {%- if '</think>' in message['content'] -%}y{% endif %}\n\
                      {{ 'a' if message.content.startswith('secret') else 'b' }}\n\
                      {% if message.role == 'user' and (not (message.content is none)) %}z{% endif %}";
        let expected = [
            (1, "message.content is string", ConditionKind::Presence),
            (2, "'</think>' in message['content']", ConditionKind::Words),
            (3, "message.content.startswith('secret')", ConditionKind::Words),
            (
                4,
                "message.role == 'user' and (not (message.content is none))",
                ConditionKind::Presence,
            ),
        ];
        let expected = expected.map(|(line, text, kind)| (line, text.to_owned(), kind));
        assert_eq!(found(source), expected);
    }

    #[test]
    fn names_set_from_content_are_followed() {
        let source = "{% set text = messages[0].content %}{% set ns.seen = text|lower %}\n\
                      {% for part in text.split('x') %}{% if part == 'trigger' %}{% endif %}{% endfor %}\n\
                      {% if seen == 'now' %}{% endif %}{% if other %}{% endif %}";
        let texts: Vec<String> = found(source).into_iter().map(|(_, text, _)| text).collect();
        assert_eq!(texts, ["part == 'trigger'", "seen == 'now'"]);
    }

    #[test]
    fn broken_templates_end() {
        for source in [
            "{% if content",
            "{{ 'x",
            "{",
            "{% if %}",
            "{% set %}{% for %}",
            "{%%}",
            "{% set content %}",
        ] {
            let _ = on_content(source);
        }
    }
}
