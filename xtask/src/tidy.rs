//! House rules that the compiler does not know: module docs, lengths of functions and files, links that lead
//! somewhere, tests that documents name, nothing of one machine in the repository, a small repository.
//!
//! Not formatting (`rustfmt`) and not lints (`clippy`).

use std::path::Path;

use anyhow::{Result, bail};

use crate::lexer;
use crate::shell;

/// The longest a function may be without standing in [`LONG_FUNCTIONS`].
const FUNCTION_LINES_MAX: usize = 70;
/// The longest a source file may be.
const FILE_LINES_MAX: usize = 900;
/// The most that committed test data may weigh.
const FIXTURE_BYTES_MAX: u64 = 12 << 20;
/// The most that any single committed file may weigh.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A function that may be longer than the wall, up to its own limit, and why.
struct LongFunction {
    path: &'static str,
    name: &'static str,
    lines_max: usize,
    /// One flat `match`, one kernel, or one reference `forward`: nothing else is a reason.
    #[expect(dead_code, reason = "it is for the reader of the table")]
    reason: &'static str,
}

/// The ratchet: an entry goes when its function has become short again, and limits only go down.
const LONG_FUNCTIONS: &[LongFunction] = &[];

/// Checks every rule; the error lists each fault.
pub(crate) fn run() -> Result<()> {
    let mut faults = Vec::new();
    let mut seen_long = vec![false; LONG_FUNCTIONS.len()];
    let mut fixture_bytes = 0;
    for path in shell::tracked_files()? {
        let bytes = stdx::fs::read(shell::root().join(&path))?;
        let n_bytes = u64::try_from(bytes.len())?;
        if path.contains("fixtures/") {
            fixture_bytes += n_bytes;
        }
        if n_bytes > FILE_BYTES_MAX {
            faults.push(format!("{path}: {n_bytes} bytes is too much to commit"));
        }
        // A file that is not text has no lines to check.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        faults.extend(foreign_names(&path, &text));
        match Path::new(&path).extension().and_then(|e| e.to_str()) {
            Some("rs") => faults.extend(rust_faults(&path, &text, &mut seen_long)),
            Some("md") => {
                faults.extend(dead_links(&path, &text));
                faults.extend(absent_tests(&path, &text));
            }
            _ => {}
        }
    }
    for (entry, _) in LONG_FUNCTIONS.iter().zip(&seen_long).filter(|(_, seen)| !**seen) {
        faults.push(format!(
            "{}: `{}` is short or gone: take it off the list",
            entry.path, entry.name
        ));
    }
    if fixture_bytes > FIXTURE_BYTES_MAX {
        faults.push(format!(
            "committed fixtures weigh {fixture_bytes} bytes, more than {FIXTURE_BYTES_MAX}"
        ));
    }
    if !faults.is_empty() {
        bail!("{} faults:\n  {}", faults.len(), faults.join("\n  "));
    }
    Ok(())
}

fn rust_faults(path: &str, text: &str, seen_long: &mut [bool]) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!(
            "{path}:1: does not begin with `//!`: say what the file is, and what it is not"
        ));
    }
    let n_lines = text.lines().count();
    if n_lines > FILE_LINES_MAX {
        faults.push(format!(
            "{path}: {n_lines} lines; {FILE_LINES_MAX} is the wall: is it still one idea?"
        ));
    }
    // Spelled in two parts so that this file does not accuse itself.
    for open_end in [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimple", "mented!("),
    ] {
        if let Some(at) = text.lines().position(|line| line.contains(open_end)) {
            faults.push(format!(
                "{path}:{}: `{open_end}`: finish it or write an issue",
                at + 1
            ));
        }
    }
    for function in lexer::functions(&lexer::code_only(text)) {
        let listed = LONG_FUNCTIONS
            .iter()
            .position(|l| l.path == path && l.name == function.name);
        let limit = listed.map_or(FUNCTION_LINES_MAX, |i| LONG_FUNCTIONS[i].lines_max);
        let n_lines = function.n_lines();
        if n_lines > FUNCTION_LINES_MAX
            && let Some(i) = listed
        {
            seen_long[i] = true;
        }
        if n_lines > limit {
            let (line, name) = (function.first_line, &function.name);
            faults.push(format!(
                "{path}:{line}: `{name}` has {n_lines} lines; {limit} is its wall"
            ));
        }
    }
    faults
}

/// Registry hosts and paths of one machine: the repository must build anywhere, from any mirror.
fn foreign_names(path: &str, text: &str) -> Vec<String> {
    // Lock files name the registry because cargo writes them so.
    if path.ends_with("Cargo.lock") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if names_a_registry_host(line) || names_a_machine_path(line) {
            let line = line.trim().chars().take(100).collect::<String>();
            faults.push(format!(
                "{path}:{}: a registry host or a path of one machine: {line}",
                index + 1
            ));
        }
    }
    faults
}

fn names_a_registry_host(line: &str) -> bool {
    let hosts = ["pythonhosted", "pypi", "npmjs", "debian", "crates"];
    hosts.iter().any(|host| {
        ["org", "com", "io"].iter().any(|domain| {
            line.match_indices(&format!("{host}.{domain}"))
                .any(|(at, found)| {
                    // Part of a longer name (an index's file name, say) is no host.
                    matches!(line[at + found.len()..].chars().next(), None | Some('/' | '"'))
                })
        })
    })
}

fn names_a_machine_path(line: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase();
    let work = concat!("/wo", "rk/");
    let in_work = line
        .match_indices(work)
        .any(|(at, _)| line[at + work.len()..].starts_with(lower));
    in_work
        || [
            concat!("/fa", "rm/"),
            concat!("package", "-lists/"),
            concat!("/tmp/", "hanok/"),
        ]
        .iter()
        .any(|path| line.contains(path))
}

/// Links of a Markdown file to files and headings that do not exist.
fn dead_links(path: &str, text: &str) -> Vec<String> {
    let folder = shell::root()
        .join(path)
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default();
    let mut faults = Vec::new();
    for (line, target) in links(text) {
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let foreign = target.contains("://") || target.starts_with("mailto:");
        if foreign {
            continue;
        }
        if !file.is_empty() && !folder.join(file).exists() {
            faults.push(format!("{path}:{line}: link to `{target}`, which does not exist"));
        } else if file.is_empty() && !anchor.is_empty() && !headings(text).any(|h| h == anchor) {
            faults.push(format!(
                "{path}:{line}: link to `{target}`, but no heading has that name"
            ));
        }
    }
    faults
}

/// Targets of inline links outside code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_fence = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        if in_fence {
            continue;
        }
        // Every second piece between backticks is code.
        let prose: Vec<&str> = line.split('`').step_by(2).collect();
        let prose = prose.join("\u{0}");
        for (at, _) in prose.match_indices("](") {
            if let Some(length) = prose[at + 2..].find([')', ' ']) {
                found.push((index + 1, prose[at + 2..at + 2 + length].to_owned()));
            }
        }
    }
    found
}

/// Links of the form [`test`](file.rs) to a file that has no such test.
fn absent_tests(path: &str, text: &str) -> Vec<String> {
    let folder = shell::root().join(path).parent().map(Path::to_path_buf);
    let folder = folder.unwrap_or_default();
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (at, found) in line.match_indices("`](") {
            let name = line[..at].rsplit('`').next().unwrap_or_default();
            let target = line[at + found.len()..].split(')').next().unwrap_or_default();
            if !target.ends_with(".rs") {
                continue;
            }
            // A file that is not there is a dead link.
            let is_there = |source: String| has_test(&source, name);
            if !stdx::fs::read_to_string(folder.join(target)).map_or(true, is_there) {
                faults.push(format!("{path}:{}: `{target}` has no test `{name}`", index + 1));
            }
        }
    }
    faults
}

/// Whether `fn name` stands below a line that makes it a test.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let begins = format!("fn {name}(");
    (0..lines.len()).any(|i| {
        let mut attributes = lines[..i].iter().rev().take_while(|line| line.starts_with("#["));
        lines[i].trim_start_matches("async ").starts_with(&begins)
            && attributes.any(|line| line.contains("test"))
    })
}

/// The anchors that a forge makes of a file's headings.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        line.trim_start_matches('#')
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of(n_lines: usize) -> String {
        format!(
            "//! Doc.\nfn long() {{\n{}}}\n",
            "    step();\n".repeat(n_lines - 2)
        )
    }

    #[test]
    fn a_function_of_71_lines_fails_and_one_of_70_passes() {
        assert_eq!(
            rust_faults("a.rs", &function_of(70), &mut []),
            Vec::<String>::new()
        );
        assert_eq!(rust_faults("a.rs", &function_of(71), &mut []).len(), 1);
    }

    #[test]
    fn a_file_without_module_docs_or_too_long_fails() {
        assert_eq!(rust_faults("a.rs", "use a::b;\n", &mut []).len(), 1);
        assert_eq!(
            rust_faults("a.rs", &format!("//! Doc.\n{}", "\n".repeat(900)), &mut []).len(),
            1
        );
    }

    #[test]
    fn hosts_and_machine_paths_are_found_and_lookalikes_are_not() {
        let host = ["see https://py", "pi.org/project"].concat();
        let index = ["https://github.com/rust-lang/cra", "tes.io-index"].concat();
        let machine = ["open /wo", "rk/main"].concat();
        assert_eq!(foreign_names("a.md", &host).len(), 1);
        assert_eq!(foreign_names("a.md", &machine).len(), 1);
        assert!(foreign_names("a.toml", &index).is_empty());
        assert!(foreign_names("Cargo.lock", &host).is_empty());
        assert!(foreign_names("a.md", "the /work/ of others, debian.organisation").is_empty());
    }

    #[test]
    fn dead_links_are_named_and_code_is_not_searched() {
        let text = "# A b, c!\n[x](nowhere.md) [y](#a-b-c) [z](#d) `[q](nowhere.md)`\n```\n[p](nowhere.md)\n```\n[w](https://example.test/)\n";
        let faults = dead_links("README.md", text);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("nowhere.md") && faults[1].contains("#d"));
    }

    #[test]
    fn tests_that_are_named_and_gone_are_found() {
        let text = "[`tests_that_are_named_and_gone_are_found`](xtask/src/tidy.rs) [`has_test`](xtask/src/tidy.rs)\n\
                    [`gone`](xtask/src/tidy.rs) [tidy](xtask/src/tidy.rs) `[`x`](y.md)\n";
        let faults = absent_tests("README.md", text);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("README.md:1") && faults[0].contains("`has_test`"));
        assert!(faults[1].contains("README.md:2") && faults[1].contains("`gone`"));
    }
}
