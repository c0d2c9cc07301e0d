//! The file of callers: who may ask the server with which token, and what each may read.
//!
//! ```toml
//! [[caller]]
//! name = "front desk"
//! token_sha256 = "…"          # printf %s TOKEN | sha256sum; or token = "…"
//! groups = ["sales"]          # ["*"] reads everything
//! ```

use std::path::Path;

use knowledge::Reader;
use knowledge::access::{EVERYONE, check_group};
use serde::Deserialize;
use server::Caller;
use stdx::fs;

use crate::exit::{Failure, OrFail, Result};

/// Shorter tokens can be guessed.
const TOKEN_CHARS_MIN: usize = 16;
/// Hexadecimal digits of a SHA-256.
const HASH_DIGITS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    caller: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    token: Option<String>,
    token_sha256: Option<String>,
    groups: Vec<String>,
}

/// Reads the file.
pub(crate) fn read(path: &Path) -> Result<Vec<Caller>> {
    let text = fs::read_to_string(path).or_environment()?;
    parse(&text).map_err(|what| {
        Failure::misuse(format!("the file of callers `{}`: {what}", path.display()))
            .hint("each `[[caller]]` has a name, a token or its token_sha256, and groups")
    })
}

fn parse(text: &str) -> std::result::Result<Vec<Caller>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let mut callers: Vec<Caller> = Vec::new();
    for entry in file.caller {
        let caller = caller(entry)?;
        if let Some(other) = callers
            .iter()
            .find(|other| other.name == caller.name || other.token_sha256 == caller.token_sha256)
        {
            return Err(format!(
                "`{}` and `{}` have the same name or token",
                other.name, caller.name
            ));
        }
        callers.push(caller);
    }
    Ok(callers)
}

fn caller(entry: Entry) -> std::result::Result<Caller, String> {
    let name = entry.name.trim().to_owned();
    if name.is_empty() {
        return Err("a caller has no name".to_owned());
    }
    let token_sha256 = match (entry.token, entry.token_sha256) {
        (Some(token), None) if token.chars().count() >= TOKEN_CHARS_MIN => {
            stdx::hash::sha256_hex(token.as_bytes())
        }
        (Some(_), None) => {
            return Err(format!(
                "the token of `{name}` has fewer than {TOKEN_CHARS_MIN} characters"
            ));
        }
        (None, Some(hash)) if hash.len() == HASH_DIGITS && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            hash.to_ascii_lowercase()
        }
        (None, Some(_)) => return Err(format!("token_sha256 of `{name}` is no SHA-256")),
        _ => return Err(format!("`{name}` needs either a token or its token_sha256")),
    };
    let rights = if entry.groups.iter().any(|group| group == EVERYONE) {
        Reader::keeper()
    } else {
        entry.groups.iter().try_for_each(|group| check_group(group))?;
        Reader::of(entry.groups)
    };
    Ok(Caller {
        name,
        token_sha256,
        rights,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_have_a_token_and_groups_of_their_own() {
        let hash = "ab".repeat(32);
        let text = format!(
            "[[caller]]\nname = \"desk\"\ntoken = \"0123456789abcdef\"\ngroups = [\"sales\"]\n\
             [[caller]]\nname = \"keeper\"\ntoken_sha256 = \"{hash}\"\ngroups = [\"*\"]\n"
        );
        let callers = parse(&text).unwrap();
        assert_eq!(callers[0].rights, Reader::of(["sales"]));
        assert_eq!(
            callers[0].token_sha256,
            stdx::hash::sha256_hex(b"0123456789abcdef")
        );
        assert_eq!(
            (callers[1].rights.clone(), &callers[1].token_sha256),
            (Reader::keeper(), &hash)
        );
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        let entry = |rest: &str| format!("[[caller]]\nname = \"a\"\n{rest}\n");
        let good = entry("token = \"0123456789abcdef\"\ngroups = []");
        assert!(parse(&good).is_ok());
        for bad in [
            entry("groups = []"),
            entry("token = \"short\"\ngroups = []"),
            entry("token_sha256 = \"12\"\ngroups = []"),
            entry("token = \"0123456789abcdef\"\ngroups = [\"a,b\"]"),
            entry("token = \"0123456789abcdef\"\ngroup = []"),
            format!("{good}{good}"),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }
}
