//! Just enough of Rust's lexical rules to tell code from comments and literals, and to find where functions
//! begin and end.
//!
//! Not a parser: it trusts that the compiler has accepted the file.

/// A function and the lines it covers, both 1-based and inclusive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first_line: usize,
    pub(crate) last_line: usize,
}

impl Function {
    pub(crate) fn n_lines(&self) -> usize {
        self.last_line - self.first_line + 1
    }
}

/// The source with comments and the contents of literals replaced by spaces; lines stay where they are.
pub(crate) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < chars.len() {
        let end = literal_end(&chars, i).min(chars.len());
        if end == i {
            out.push(chars[i]);
            i += 1;
        } else {
            out.extend(chars[i..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `i` ends; `i` itself when none begins there.
fn literal_end(chars: &[char], i: usize) -> usize {
    let next = chars.get(i + 1).copied();
    match chars[i] {
        '/' if next == Some('/') => find(chars, i, |c| c == '\n'),
        '/' if next == Some('*') => block_comment_end(chars, i),
        '"' => quoted_end(chars, i, '"'),
        '\'' => char_literal_end(chars, i),
        'r' if !continues_a_word(chars, i) => raw_string_end(chars, i),
        _ => i,
    }
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..chars.len())
        .find(|&j| wanted(chars[j]))
        .unwrap_or(chars.len())
}

/// Whether the letter at `i` belongs to a word that began before it; the prefixes `b` and `c` do not count.
fn continues_a_word(chars: &[char], i: usize) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    match i.checked_sub(1).map(|j| chars[j]) {
        Some('b' | 'c') => i >= 2 && is_word(chars[i - 2]),
        Some(before) => is_word(before),
        None => false,
    }
}

fn block_comment_end(chars: &[char], i: usize) -> usize {
    let mut depth = 0;
    let mut j = i;
    while j + 1 < chars.len() {
        match (chars[j], chars[j + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                j += 1;
                continue;
            }
        }
        j += 2;
        if depth == 0 {
            return j;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], i: usize, quote: char) -> usize {
    let mut j = i + 1;
    while j < chars.len() && chars[j] != quote {
        j += if chars[j] == '\\' { 2 } else { 1 };
    }
    j + 1
}

/// `'a'` and `'\n'` are literals; `'a` alone is a lifetime.
fn char_literal_end(chars: &[char], i: usize) -> usize {
    match (chars.get(i + 1), chars.get(i + 2)) {
        (Some('\\'), _) => quoted_end(chars, i, '\''),
        (Some(_), Some('\'')) => i + 3,
        _ => i,
    }
}

fn raw_string_end(chars: &[char], i: usize) -> usize {
    let hashes = chars[i + 1..].iter().take_while(|&&c| c == '#').count();
    let open = i + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return i;
    }
    let mut j = open + 1;
    while j < chars.len() {
        let closing = chars[j + 1..].iter().take(hashes).filter(|&&c| c == '#').count();
        if chars[j] == '"' && closing == hashes {
            return j + 1 + hashes;
        }
        j += 1;
    }
    chars.len()
}

/// The words (identifiers and keywords) of a line of code.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// Every function with a body in `code` (the result of [`code_only`]), nested ones included.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let before = code[..at].chars().next_back();
        let name: String = code[at + 3..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        // `fn (` and `fn(` are types of pointers, not functions.
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') || name.is_empty() {
            continue;
        }
        if let Some(length) = body_end(&code[at..]) {
            let line_of = |offset: usize| code[..offset].matches('\n').count() + 1;
            found.push(Function {
                name,
                first_line: line_of(at),
                last_line: line_of(at + length),
            });
        }
    }
    found
}

/// Offset of the brace that closes the body of the function that begins `code`; `None` without a body.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0usize, 0usize);
    for (offset, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                // A brace within the signature's brackets belongs to a constant, not to the body.
                if braces == 0 && others == 0 {
                    return Some(offset);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_become_blank_and_lines_stay() {
        let source =
            "let a = \"unsafe \\\" {\"; // unsafe\nlet b = r#\"unsafe\"}\"#; /* unsafe /* { */ */ c('{')\n";
        let code = code_only(source);
        assert!(!code.contains("unsafe") && !code.contains('{'), "{code}");
        assert_eq!(code.lines().count(), source.lines().count());
        assert!(code.contains("let b ="));
    }

    #[test]
    fn lifetimes_are_not_literals() {
        assert_eq!(
            code_only("fn f<'a>(x: &'a str) -> &'a str"),
            "fn f<'a>(x: &'a str) -> &'a str"
        );
        assert_eq!(
            code_only("b'\\'' + br\"{\" + for"),
            "b     + b    + for".replace("b    +", "b     +")
        );
    }

    #[test]
    fn functions_are_measured_from_signature_to_closing_brace() {
        let code = code_only(
            "fn a() -> [u8; 2] {\n    inner(|x| {\n        x\n    })\n}\ntrait T {\n    fn none(&self);\n    fn b(\n        f: fn(u8),\n    ) {\n    }\n}\n",
        );
        let found = functions(&code);
        let shape: Vec<_> = found
            .iter()
            .map(|f| (f.name.as_str(), f.first_line, f.last_line))
            .collect();
        assert_eq!(shape, [("a", 1, 5), ("b", 8, 11)]);
    }
}
