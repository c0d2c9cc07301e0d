//! A key of a source becomes the path of its copy: readable, below the source's folder, one for each key.
//!
//! A key is foreign text. Every step of the path is made harmless: what a file system or a terminal would take amiss is
//! written as `%XX`, and so is the percent sign, so two keys never share a path. Hidden names are passed over, as they
//! are in folders, except the file that says who may read a folder.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use knowledge::access::FOLDER_FILE;
use stdx::hash::sha256_hex;

/// A longer step is cut, with its hash to tell it from others.
const STEP_BYTES_MAX: usize = 180;
/// A longer or deeper path is kept under its hash.
const PATH_BYTES_MAX: usize = 1_200;
const STEPS_MAX: usize = 40;
/// An ending longer than this is none.
const ENDING_BYTES_MAX: usize = 16;
/// Stands before a hash; nothing else follows a percent sign so.
const HASH_MARK: &str = "%~";
/// What a copy is called more whose name is also a folder's.
const FILE_MARK: &str = "%f";

/// The path of a key's copy, with slashes; `None` for keys that are no documents: folders and hidden names.
pub(super) fn path_of(key: &str) -> Option<String> {
    if key.is_empty() || key.ends_with('/') {
        return None;
    }
    let steps: Vec<&str> = key.trim_start_matches('/').split('/').collect();
    let (last, above) = steps.split_last()?;
    let is_hidden = |step: &&str| step.starts_with('.') && !matches!(*step, "." | "..");
    if above.iter().any(is_hidden) || is_hidden(last) && *last != FOLDER_FILE {
        return None;
    }
    // A key may begin with a slash, or with several: those without would have the same path.
    let n_slashes = key.len() - key.trim_start_matches('/').len();
    let mut path = "%/".repeat(n_slashes);
    for step in above {
        path.push_str(&safe(step));
        path.push('/');
    }
    if *last == FOLDER_FILE {
        path.push_str(FOLDER_FILE);
    } else {
        path.push_str(&safe(last));
    }
    if path.len() > PATH_BYTES_MAX || path.split('/').count() > STEPS_MAX {
        // What says who may read a folder says nothing elsewhere.
        return (*last != FOLDER_FILE).then(|| format!("{HASH_MARK}/{}", hashed(key, last)));
    }
    Some(path)
}

/// Keys of which one is another one's folder cannot both have their paths: the file's is marked.
pub(super) fn part_files_from_folders(paths: &mut [String]) {
    let mut folders = BTreeSet::new();
    for path in paths.iter() {
        folders.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
    }
    for path in paths.iter_mut().filter(|path| folders.contains(*path)) {
        path.push_str(FILE_MARK);
    }
}

fn safe(step: &str) -> String {
    if step.is_empty() {
        return "%".to_owned();
    }
    let mut out = String::with_capacity(step.len());
    for (at, c) in step.char_indices() {
        if c == '%' || c == '\\' || c.is_control() || at == 0 && c == '.' || is_unseen(c) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
    if out.len() > STEP_BYTES_MAX {
        return hashed(step, step);
    }
    out
}

/// Characters that turn the direction of text around, or are not seen at all.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The beginning of a name, the hash of `whole`, and the name's ending, by which readers know its kind.
fn hashed(whole: &str, name: &str) -> String {
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending))
            if !stem.is_empty()
                && (1..=ENDING_BYTES_MAX).contains(&ending.len())
                && ending.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            (stem, format!(".{ending}"))
        }
        _ => (name, String::new()),
    };
    let mut beginning = String::new();
    for c in stem.chars() {
        if beginning.len() + c.len_utf8() > STEP_BYTES_MAX / 2 {
            break;
        }
        let is_plain = c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        beginning.push(if is_plain { c } else { '_' });
    }
    format!(
        "{beginning}{HASH_MARK}{}{ending}",
        &sha256_hex(whole.as_bytes())[..16]
    )
}

/// An address as people read it: `%XX` that stand for letters beyond ASCII become those letters.
pub(super) fn readable(address: &str) -> String {
    let bytes = unescaped(address, false);
    let Ok(text) = String::from_utf8(bytes) else {
        return address.to_owned();
    };
    let mut out = String::new();
    let mut rest = address;
    // Only letters are taken from the decoded text; everything else stays escaped, so the address still works.
    let mut letters = text.chars().filter(|c| !c.is_ascii());
    while let Some(c) = rest.chars().next() {
        let escape = rest.as_bytes();
        if c == '%' && escape.len() >= 3 && hex(escape[1]).is_some_and(|high| high >= 8) {
            let Some(letter) = letters.next().filter(|c| c.is_alphanumeric()) else {
                return address.to_owned();
            };
            let length = 3 * letter.len_utf8();
            if !rest.is_char_boundary(length) || rest.len() < length {
                return address.to_owned();
            }
            out.push(letter);
            rest = &rest[length..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The bytes that `%XX` stand for; with `plus`, a plus sign stands for a space.
pub(super) fn unescaped(text: &str, plus: bool) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| Some(hex(pair[0])? << 4 | hex(pair[1])?));
        match (bytes[at], pair) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) if plus => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_readable_paths_that_stay_inside() {
        let cases = [
            ("a/b.pdf", "a/b.pdf"),
            ("계약/2026 년 계약서.hwp", "계약/2026 년 계약서.hwp"),
            ("../../etc/passwd", "%2E./%2E./etc/passwd"),
            ("./a", "%2E/a"),
            ("/etc/passwd", "%/etc/passwd"),
            ("a//b", "a/%/b"),
            ("50%.txt", "50%25.txt"),
            ("a\nb\u{7}\u{202e}c", "a%0Ab%07%E2%80%AEc"),
            ("a\\b", "a%5Cb"),
            ("hr/.hanok-access", "hr/.hanok-access"),
        ];
        for (key, path) in cases {
            assert_eq!(path_of(key).as_deref(), Some(path), "{key:?}");
        }
        for key in ["", "folder/", ".git/config", "a/.hidden", "a/.git/b"] {
            assert_eq!(path_of(key), None, "{key:?}");
        }
    }

    #[test]
    fn long_and_deep_keys_are_kept_under_their_hash_with_their_ending() {
        let long = format!("a/{}.pdf", "가".repeat(300));
        let path = path_of(&long).unwrap();
        assert!(
            path.len() < 250 && path.starts_with("a/가가") && path.ends_with(".pdf"),
            "{path}"
        );
        assert_ne!(path_of(&format!("a/{}.pdf", "가".repeat(301))).unwrap(), path);
        let deep = format!("{}x.md", "d/".repeat(500));
        let path = path_of(&deep).unwrap();
        assert!(path.starts_with("%~/x%~") && path.ends_with(".md"), "{path}");
        assert_eq!(path_of(&format!("{}{FOLDER_FILE}", "d/".repeat(500))), None);
    }

    #[test]
    fn a_file_that_is_also_a_folder_is_marked() {
        let mut paths = ["a", "a/b", "a/b/c", "ab"].map(str::to_owned);
        part_files_from_folders(&mut paths);
        assert_eq!(paths, ["a%f", "a/b%f", "a/b/c", "ab"]);
    }

    #[test]
    fn different_keys_have_different_paths() {
        let keys = [
            "a", "%61", "/a", "//a", "a/", "%/a", "%2Fa", "a%", "a%25", ".a", "%2Ea", "a%f",
        ];
        let mut paths: Vec<String> = keys.iter().filter_map(|key| path_of(key)).collect();
        let n = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), n, "{paths:?}");
    }

    #[test]
    fn addresses_show_letters_and_keep_what_must_be_escaped() {
        assert_eq!(readable("http://h/%EA%B0%80%20b?x=%26"), "http://h/가%20b?x=%26");
        for unchanged in [
            "http://h/%FF",
            "http://h/%E2%80%AE",
            "http://h/a%zz",
            "http://h/%",
        ] {
            assert_eq!(readable(unchanged), unchanged);
        }
    }
}
