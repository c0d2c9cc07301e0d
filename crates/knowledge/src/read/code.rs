//! Source code: every line where it stands, cut at functions and classes where its grammar is known.
//!
//! Lines are kept one for one, so that a quote's line number in the stored text is the file's. What a line stands in
//! (module, class, function) goes along as headings that are no part of the text. Programs of other languages, and those
//! that their grammar does not understand, are cut between definitions as far as blank lines show them.

use std::path::Path;
use std::time::{Duration, Instant};

use super::builder::Builder;
use super::{Format, RawDocument, ReadError, Run, encoding, plain};

mod languages;
mod outline;
#[cfg(test)]
mod tests;

use languages::Grammar;
use outline::{Cut, Unknown};

/// Extensions of programs and of files that are read line by line as programs are.
const EXTENSIONS: [&str; 56] = [
    "bash", "bat", "c", "cc", "clj", "cpp", "cs", "css", "cxx", "dart", "diff", "erl", "ex", "exs", "fs",
    "go", "gradle", "groovy", "h", "hpp", "hs", "hxx", "ini", "java", "jl", "js", "json", "jsx", "kt", "kts",
    "lisp", "lua", "m", "mjs", "ml", "patch", "php", "pl", "pm", "proto", "ps1", "py", "r", "rb", "rs",
    "scala", "sh", "sql", "swift", "tf", "toml", "ts", "tsx", "yaml", "yml", "zig",
];
/// Longest time that a grammar is given for one file.
const GRAMMAR_TIME: Duration = Duration::from_secs(20);

/// Whether files of this extension are source code.
pub(super) fn is_name(extension: &str) -> bool {
    EXTENSIONS.binary_search(&extension).is_ok()
}

/// Whether a file of this name is read with a grammar.
pub(super) fn has_grammar(path: &Path) -> bool {
    grammar(path).is_some()
}

fn grammar(path: &Path) -> Option<Grammar> {
    let extension = path.extension()?.to_string_lossy().to_lowercase();
    Grammar::of(&extension)
}

/// Reads source code.
pub(super) fn read(path: &Path, bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let decoded = encoding::text(bytes, None)?;
    let mut builder = Builder::new(run);
    plain::warn_of_damage(&mut builder, &decoded);
    let text = decoded
        .text
        .trim_start_matches('\u{FEFF}')
        .replace("\r\n", "\n")
        .replace(['\r', '\u{C}'], "\n");
    let cuts = match grammar(path) {
        Some(grammar) => {
            let deadline = run.deadline.min(Instant::now() + GRAMMAR_TIME);
            outline::outline(&text, grammar, deadline).unwrap_or_else(|why| {
                builder.warn(not_outlined(grammar, why));
                Vec::new()
            })
        }
        None => Vec::new(),
    };
    for (part, under) in parts(&text, cuts) {
        builder.push_under(part, under)?;
    }
    Ok(builder.finish(Format::Code, None, None))
}

fn not_outlined(grammar: Grammar, why: Unknown) -> String {
    let why = match why {
        Unknown::TooLarge => "it is too long".to_owned(),
        Unknown::Late => format!("that took more than {} s", GRAMMAR_TIME.as_secs()),
        Unknown::Foreign(row) => format!("from line {} on it is something else", row + 1),
    };
    let name = grammar.name();
    format!("not read as {name}: {why}; it is cut at blank lines instead of at its functions")
}

/// The text in pieces of whole lines, each with what it stands in.
fn parts(text: &str, cuts: Vec<Cut>) -> Vec<(String, Vec<String>)> {
    let mut cuts = cuts.into_iter().peekable();
    let mut parts: Vec<(String, Vec<String>)> = Vec::new();
    let mut under: Vec<String> = Vec::new();
    let (mut part, mut is_after_blank) = (String::new(), false);
    for (row, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.trim_end();
        let is_cut = cuts.peek().is_some_and(|cut| cut.row <= row);
        // A definition begins at the edge after a blank line; what closes one does not.
        let begins = bare.starts_with(|c: char| !c.is_whitespace() && !is_closer(c));
        if is_cut || (begins && is_after_blank) {
            finish(&mut parts, &mut part, &under);
        }
        while let Some(cut) = cuts.next_if(|cut| cut.row <= row) {
            under = cut.under;
        }
        is_after_blank = bare.is_empty();
        part.push_str(bare);
        part.push('\n');
    }
    finish(&mut parts, &mut part, &under);
    for (part, _) in &mut parts {
        // Blocks are parted by one line end, which is the last of the block before.
        part.pop();
    }
    parts
}

/// Ends a piece. One of nothing but blank lines and what closes others belongs to the piece before it; blank lines at
/// the beginning belong to the first one.
fn finish(parts: &mut Vec<(String, Vec<String>)>, part: &mut String, under: &[String]) {
    let has_words = part.chars().any(|c| !c.is_whitespace() && !is_closer(c));
    match parts.last_mut() {
        Some((last, _)) if !has_words => last.push_str(part),
        None if part.trim().is_empty() => return,
        _ => parts.push((std::mem::take(part), under.to_vec())),
    }
    part.clear();
}

fn is_closer(c: char) -> bool {
    matches!(c, '}' | ')' | ']' | ';')
}
