//! `hanok pull`: fetches models by name.

use serde::Serialize;

use crate::args::PullArgs;
use crate::exit::{Failure, Result};
use crate::models::{Entry, Use, table};
use crate::pull::{self, Pulled};
use crate::settings::Settings;
use crate::{interrupt, print};

#[derive(Serialize)]
struct PullJson {
    schema: u32,
    models: Vec<Pulled>,
}

#[derive(Serialize)]
struct ListJson {
    schema: u32,
    known: Vec<KnownJson>,
}

#[derive(Serialize)]
struct KnownJson {
    name: &'static str,
    title: &'static str,
    r#use: &'static str,
    default: bool,
    bytes: Option<u64>,
    licence: &'static str,
    upstream: &'static str,
}

/// Runs the command.
pub(crate) fn run(args: &PullArgs, settings: &Settings, json: bool) -> Result<()> {
    if args.list {
        return list(json);
    }
    interrupt::install();
    let mut models = Vec::new();
    for wanted in wanted(&args.names)? {
        let pulled = match wanted {
            Wanted::Known(entry) => pull::pull(entry, settings)?,
            Wanted::OnHub(given) => pull::pull_from_hub(given, settings)?,
        };
        if !json {
            print::line(&sentence(&pulled))?;
        }
        models.push(pulled);
    }
    if json {
        print::json(&PullJson { schema: 1, models })?;
    }
    Ok(())
}

enum Wanted<'a> {
    Known(&'static Entry),
    OnHub(&'a str),
}

fn wanted(names: &[String]) -> Result<Vec<Wanted<'_>>> {
    if names.is_empty() {
        return Ok(pull::defaults().into_iter().map(Wanted::Known).collect());
    }
    names
        .iter()
        .map(|name| match table().iter().find(|entry| &entry.name == name) {
            Some(entry) => Ok(Wanted::Known(entry)),
            None if name.contains('/') => Ok(Wanted::OnHub(name)),
            None => Err(Failure::misuse(format!("there is no model `{name}`")).hint(
                "`hanok pull --list` prints the names; ORG/REPOSITORY:FILE.gguf names a file of the hub",
            )),
        })
        .collect()
}

/// One line about a model that is there.
pub(crate) fn sentence(pulled: &Pulled) -> String {
    let did = if pulled.fetched {
        "fetched"
    } else {
        "already there"
    };
    format!(
        "{}: {did}, {}, {}, from {}, SHA-256 {} ({})\n  {}",
        pulled.name,
        print::bytes(pulled.bytes),
        pulled.licence,
        pulled.source,
        pulled.sha256,
        pulled.hash_from,
        pulled.path.display()
    )
}

fn list(json: bool) -> Result<()> {
    let known: Vec<KnownJson> = table()
        .iter()
        .map(|entry| KnownJson {
            name: &entry.name,
            title: &entry.title,
            r#use: match entry.used_for {
                Use::Language => "language",
                Use::Embedding => "embedding",
                Use::Reranking => "reranking",
            },
            default: entry.default,
            bytes: entry.bytes,
            licence: &entry.licence,
            upstream: &entry.upstream,
        })
        .collect();
    if json {
        return print::json(&ListJson { schema: 1, known });
    }
    let width = known.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in known {
        let size = entry
            .bytes
            .map_or_else(|| "size as stated by the hub".to_owned(), print::bytes);
        let default = if entry.default { ", fetched by default" } else { "" };
        print::line(&format!(
            "{:<width$} {} model, {}, {size}, {}{default}\n{:<width$} from {}",
            entry.name, entry.r#use, entry.title, entry.licence, "", entry.upstream
        ))?;
    }
    Ok(())
}
