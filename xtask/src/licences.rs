//! Every dependency's licence against the allow-list of `deny.toml`, the banned crates, and where crates come
//! from, so that the policy holds without cargo-deny; and the list of licences that a release carries.
//!
//! Not a check of advisories: that needs a database from the network.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::shell;

#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Sources {
    #[serde(rename = "allow-registry")]
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

/// One package as `cargo metadata` describes it.
#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: String,
    #[serde(default)]
    authors: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// `None` is a normal dependency, else "dev" or "build".
    kind: Option<String>,
}

/// Checks the policy; the error lists each breach.
pub(crate) fn run() -> Result<()> {
    let policy: Policy = toml::from_str(&stdx::fs::read_to_string(shell::root().join("deny.toml"))?)
        .context("deny.toml is not in cargo-deny's format")?;
    let mut breaches = Vec::new();
    let packages = metadata()?.packages;
    for package in packages.iter().filter(|p| p.source.is_some()) {
        breaches.extend(breaches_of(package, &policy));
    }
    if !breaches.is_empty() {
        bail!(
            "{} breaches of deny.toml:\n  {}",
            breaches.len(),
            breaches.join("\n  ")
        );
    }
    Ok(())
}

fn breaches_of(package: &Package, policy: &Policy) -> Vec<String> {
    let mut breaches = Vec::new();
    let name = format!("{} {}", package.name, package.version);
    match &package.license {
        None => breaches.push(format!("{name} declares no licence")),
        Some(expression) => match allowed(expression, &policy.licenses.allow) {
            Ok(true) => {}
            Ok(false) => breaches.push(format!("{name}: `{expression}` is not on the allow-list")),
            Err(error) => breaches.push(format!("{name}: `{expression}`: {error}")),
        },
    }
    for ban in policy.bans.deny.iter().filter(|ban| ban.name == package.name) {
        breaches.push(format!("{name} is banned: {}", ban.reason));
    }
    let source = package.source.as_deref().unwrap_or_default();
    let registry = source.strip_prefix("registry+").unwrap_or_default();
    if !policy
        .sources
        .allow_registry
        .iter()
        .any(|allowed| allowed == registry)
    {
        breaches.push(format!("{name} comes from `{source}`, which is not allowed"));
    }
    breaches
}

fn metadata() -> Result<Metadata> {
    let mut command = shell::cargo();
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    command.args([
        "metadata",
        "--format-version",
        "1",
        "--offline",
        "--locked",
        "--filter-platform",
        &target,
    ]);
    Ok(serde_json::from_str(&shell::capture(&mut command)?)?)
}

/// Whether an SPDX licence expression can be met with licences of the list.
///
/// Old manifests write `MIT/Apache-2.0`, which means OR.
fn allowed(expression: &str, list: &BTreeSet<String>) -> Result<bool> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().collect();
    words.reverse();
    let verdict = either(&mut words, list)?;
    if let Some(rest) = words.pop() {
        bail!("`{rest}` does not belong there");
    }
    Ok(verdict)
}

fn either(words: &mut Vec<&str>, list: &BTreeSet<String>) -> Result<bool> {
    let mut verdict = both(words, list)?;
    while words.last() == Some(&"OR") {
        words.pop();
        verdict |= both(words, list)?;
    }
    Ok(verdict)
}

fn both(words: &mut Vec<&str>, list: &BTreeSet<String>) -> Result<bool> {
    let mut verdict = single(words, list)?;
    while words.last() == Some(&"AND") {
        words.pop();
        verdict &= single(words, list)?;
    }
    Ok(verdict)
}

fn single(words: &mut Vec<&str>, list: &BTreeSet<String>) -> Result<bool> {
    let word = words.pop().context("the expression ends too early")?;
    if word == "(" {
        let verdict = either(words, list)?;
        if words.pop() != Some(")") {
            bail!("a bracket is not closed");
        }
        return Ok(verdict);
    }
    let mut name = word.to_owned();
    if words.last() == Some(&"WITH") {
        words.pop();
        let exception = words.pop().context("the expression ends too early")?;
        name = format!("{name} WITH {exception}");
    }
    Ok(list.contains(&name))
}

/// The licences of everything compiled into `package`, with the text of each licence file once.
pub(crate) fn third_party(package: &str) -> Result<String> {
    let metadata = metadata()?;
    let ids = compiled_into(package, &metadata)?;
    let mut list = String::from("Hanok contains the following third-party software.\n\n");
    let mut texts: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for package in metadata
        .packages
        .iter()
        .filter(|p| p.source.is_some() && ids.contains(&p.id))
    {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("no licence declared");
        let authors = package.authors.join(", ");
        writeln!(
            list,
            "{name}: {licence}{}{authors}",
            if authors.is_empty() { "" } else { "; " }
        )?;
        for text in licence_files(Path::new(&package.manifest_path))? {
            let entry = texts.entry(stdx::hash::sha256_hex(text.trim().as_bytes()));
            entry.or_insert_with(|| (text, Vec::new())).1.push(name.clone());
        }
    }
    let mut texts: Vec<(String, Vec<String>)> = texts.into_values().collect();
    texts.sort_by(|a, b| a.1.cmp(&b.1));
    for (text, names) in texts {
        write!(
            list,
            "\n{}\n{}\n\n{}\n",
            "=".repeat(80),
            names.join(", "),
            text.trim()
        )?;
    }
    Ok(list)
}

/// Ids of the packages reached from `package` over normal dependencies.
fn compiled_into<'m>(package: &str, metadata: &'m Metadata) -> Result<BTreeSet<&'m String>> {
    let nodes: BTreeMap<&String, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (&node.id, node))
        .collect();
    let root = metadata
        .packages
        .iter()
        .find(|p| p.name == package && p.source.is_none());
    let mut waiting = vec![
        &root
            .with_context(|| format!("the workspace has no package `{package}`"))?
            .id,
    ];
    let mut reached = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if reached.insert(id) {
            let normal = |d: &&Dependency| d.dep_kinds.iter().any(|k| k.kind.is_none());
            waiting.extend(nodes[id].deps.iter().filter(normal).map(|d| &d.pkg));
        }
    }
    Ok(reached.into_iter().collect())
}

fn licence_files(manifest: &Path) -> Result<Vec<String>> {
    let folder = manifest.parent().context("a manifest lies in a folder")?;
    let mut texts = Vec::new();
    for path in stdx::fs::read_dir(folder)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        let known = [
            "LICENSE",
            "LICENCE",
            "COPYING",
            "NOTICE",
            "COPYRIGHT",
            "UNLICENSE",
        ];
        if path.is_file() && known.iter().any(|prefix| name.starts_with(prefix)) {
            texts.push(String::from_utf8_lossy(&stdx::fs::read(&path)?).into_owned());
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> BTreeSet<String> {
        ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC"]
            .map(str::to_owned)
            .into()
    }

    #[test]
    fn expressions_are_met_as_spdx_says() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("MIT AND GPL-3.0-only", false),
            ("GPL-2.0-only OR MIT AND ISC", true),
            ("(GPL-2.0-only OR MIT) AND LGPL-3.0-only", false),
            ("MIT/GPL-3.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
        ] {
            assert_eq!(allowed(expression, &list()).unwrap(), expected, "{expression}");
        }
    }

    #[test]
    fn malformed_expressions_are_refused() {
        for expression in ["", "MIT OR", "(MIT", "MIT)", "MIT ISC", "MIT WITH"] {
            assert!(allowed(expression, &list()).is_err(), "{expression}");
        }
    }

    #[test]
    fn a_package_from_elsewhere_a_banned_and_an_unlicensed_one_are_named() {
        let policy: Policy = toml::from_str(
            "[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [{ crate = \"bad\", reason = \"why\" }]\n[sources]\nallow-registry = [\"here\"]\n",
        )
        .unwrap();
        let package = Package {
            id: "bad".into(),
            name: "bad".into(),
            version: "1".into(),
            license: None,
            source: Some("git+https://example.test/bad".into()),
            manifest_path: String::new(),
            authors: Vec::new(),
        };
        assert_eq!(breaches_of(&package, &policy).len(), 3);
    }
}
