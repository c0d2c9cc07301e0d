//! The walls between rooms: which crate knows nothing of which, held by `cargo tree` and by the sources.
//!
//! The table is ARCHITECTURE.md's list of invariants in checkable form. Not a dependency policy for foreign
//! crates: that is `deny.toml` and `licences`.

use anyhow::{Result, bail};

use crate::lexer;
use crate::shell;

/// Crates that must be nowhere below a room.
const NOWHERE_BELOW: &[(&str, &[&str])] = &[
    (
        "stdx",
        &[
            "compute",
            "weights",
            "model",
            "engine",
            "knowledge",
            "assistant",
            "server",
            "tokio",
            "serde",
        ],
    ),
    (
        "compute",
        &[
            "weights",
            "model",
            "engine",
            "knowledge",
            "serde",
            "serde_json",
            "tokio",
            "axum",
            "ureq",
        ],
    ),
    (
        "weights",
        &["compute", "model", "engine", "knowledge", "tokio", "axum", "ureq"],
    ),
    (
        "model",
        &[
            "engine",
            "knowledge",
            "assistant",
            "server",
            "tantivy",
            "rusqlite",
            "tokio",
            "axum",
            "ureq",
        ],
    ),
    (
        "engine",
        &[
            "knowledge",
            "assistant",
            "server",
            "tantivy",
            "rusqlite",
            "tokio",
            "axum",
            "hyper",
            "ureq",
        ],
    ),
    (
        "knowledge",
        &[
            "compute",
            "weights",
            "model",
            "engine",
            "assistant",
            "server",
            "tokio",
            "axum",
            "hyper",
            "ureq",
        ],
    ),
    ("assistant", &["server", "tokio", "axum", "hyper", "ureq"]),
    ("server", &["hanok", "ureq"]),
];

/// Crates that a room must not name itself, though something below it may.
const NOT_DIRECTLY: &[(&str, &[&str])] = &[
    ("engine", &["serde", "serde_json", "weights", "compute"]),
    (
        "assistant",
        &[
            "weights",
            "compute",
            "serde_json",
            "tantivy",
            "rusqlite",
            "postgres",
        ],
    ),
    (
        "server",
        &[
            "weights",
            "compute",
            "tantivy",
            "rusqlite",
            "postgres",
            "tokenizers",
        ],
    ),
];

/// Rooms whose sources may hold the keyword `unsafe`.
const MAY_BE_UNSAFE: &[&str] = &["crates/compute/", "crates/stdx/"];

/// Rooms that parse hostile bytes and forbid it even to themselves.
const FORBID_UNSAFE: &[&str] = &["weights"];

/// Checks every wall; the error lists each breach.
pub(crate) fn run() -> Result<()> {
    let mut breaches = Vec::new();
    for (room, forbidden) in NOWHERE_BELOW {
        breaches.extend(breaches_in(&tree(room, None)?, room, forbidden)?);
    }
    for (room, forbidden) in NOT_DIRECTLY {
        breaches.extend(breaches_in(&tree(room, Some(1))?, room, forbidden)?);
    }
    for room in NOWHERE_BELOW.iter().map(|(room, _)| *room).chain(["hanok"]) {
        breaches.extend(breaches_in(&tree(room, None)?, room, &["testkit"])?);
    }
    breaches.extend(unsafe_outside_its_rooms()?);
    if !breaches.is_empty() {
        bail!(
            "{} walls are breached:\n  {}",
            breaches.len(),
            breaches.join("\n  ")
        );
    }
    Ok(())
}

fn tree(room: &str, depth: Option<usize>) -> Result<String> {
    let mut command = shell::cargo();
    command.args([
        "tree",
        "-p",
        room,
        "-e",
        "normal",
        "--prefix",
        "none",
        "--offline",
    ]);
    if let Some(depth) = depth {
        command.args(["--depth", &depth.to_string()]);
        return shell::capture(&mut command);
    }
    let whole = shell::capture(&mut command)?;
    if !whole.lines().any(|line| line.starts_with("postgres ")) {
        return Ok(whole);
    }
    // The driver of PostgreSQL waits with tokio inside; nobody outside it can.
    shell::capture(command.args(["--prune", "postgres"]))
}

/// The forbidden names in one crate's tree. A tree that does not hold the crate itself proves nothing.
fn breaches_in(tree: &str, room: &str, forbidden: &[&str]) -> Result<Vec<String>> {
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    if !names.contains(&room) {
        bail!("`cargo tree -p {room}` does not list {room} itself");
    }
    Ok(forbidden
        .iter()
        .filter(|name| names.contains(name))
        .map(|name| format!("`{room}` must know nothing of `{name}`"))
        .collect())
}

fn unsafe_outside_its_rooms() -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for path in shell::tracked_files()? {
        let ours = path.starts_with("crates/") || path.starts_with("xtask/");
        if !ours || !path.ends_with(".rs") || MAY_BE_UNSAFE.iter().any(|room| path.starts_with(room)) {
            continue;
        }
        let code = lexer::code_only(&stdx::fs::read_to_string(shell::root().join(&path))?);
        for (index, line) in code.lines().enumerate() {
            if lexer::words(line).any(|word| word == "unsafe") {
                breaches.push(format!("{path}:{}: `unsafe` outside compute and stdx", index + 1));
            }
        }
    }
    for room in FORBID_UNSAFE {
        let path = format!("crates/{room}/src/lib.rs");
        let code = lexer::code_only(&stdx::fs::read_to_string(shell::root().join(&path))?);
        if !code.contains("#![forbid(unsafe_code)]") {
            breaches.push(format!("{path}: `#![forbid(unsafe_code)]` is missing"));
        }
    }
    Ok(breaches)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "weights v0.1.0 (/x/crates/weights)\nserde v1.0.0\ncompute v0.1.0 (/x) (*)\n";

    #[test]
    fn names_a_forbidden_crate_and_not_one_that_only_begins_alike() {
        let breaches = breaches_in(TREE, "weights", &["compute", "serd", "tokio"]).unwrap();
        assert_eq!(breaches, ["`weights` must know nothing of `compute`"]);
    }

    #[test]
    fn refuses_a_tree_without_the_crate_itself() {
        assert!(breaches_in("", "weights", &["tokio"]).is_err());
        assert!(breaches_in(TREE, "weight", &["tokio"]).is_err());
    }
}
