//! Source code: every line where it stands, cut between definitions.
//!
//! Lines are kept one for one, so that a quote's line number in the stored text is the file's.

use super::builder::Builder;
use super::{BlockKind, Format, RawDocument, ReadError, Run, encoding, plain};

/// Extensions of programs and of files that are read line by line as programs are.
const EXTENSIONS: [&str; 56] = [
    "bash", "bat", "c", "cc", "clj", "cpp", "cs", "css", "cxx", "dart", "diff", "erl", "ex", "exs", "fs",
    "go", "gradle", "groovy", "h", "hpp", "hs", "hxx", "ini", "java", "jl", "js", "json", "jsx", "kt", "kts",
    "lisp", "lua", "m", "mjs", "ml", "patch", "php", "pl", "pm", "proto", "ps1", "py", "r", "rb", "rs",
    "scala", "sh", "sql", "swift", "tf", "toml", "ts", "tsx", "yaml", "yml", "zig",
];

/// Whether files of this extension are source code.
pub(super) fn is_name(extension: &str) -> bool {
    EXTENSIONS.binary_search(&extension).is_ok()
}

/// Reads source code.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let decoded = encoding::text(bytes, None)?;
    let mut builder = Builder::new(run);
    plain::warn_of_damage(&mut builder, &decoded);
    let text = decoded
        .text
        .trim_start_matches('\u{FEFF}')
        .replace("\r\n", "\n")
        .replace(['\r', '\u{C}'], "\n");
    let mut part = String::new();
    let mut is_after_blank = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        // A definition begins at the edge after a blank line; what closes one does not.
        let begins = bare.starts_with(|c: char| !c.is_whitespace() && !matches!(c, '}' | ')' | ']'));
        if begins && is_after_blank && !part.trim().is_empty() {
            push(&mut builder, &part)?;
            part.clear();
        }
        is_after_blank = bare.is_empty();
        part.push_str(bare);
        part.push('\n');
    }
    push(&mut builder, &part)?;
    Ok(builder.finish(Format::Code, None, None))
}

/// Blocks are parted by one line end, which is the last of the block before.
fn push(builder: &mut Builder<'_>, part: &str) -> Result<(), ReadError> {
    let part = part.strip_suffix('\n').unwrap_or(part);
    builder.push(BlockKind::Code, part, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_can_be_searched() {
        assert!(EXTENSIONS.is_sorted());
        assert!(is_name("rs") && is_name("bash") && is_name("zig") && !is_name("txt"));
    }
}
