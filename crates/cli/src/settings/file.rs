//! The configuration file: TOML, every key known by name; flat but for the tables of sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stdx::fs;

use super::{Environment, KEYS, Kind};
use crate::exit::{Failure, OrFail, Result};
use crate::sources::{self, Spec};

/// The file's values as text.
pub(super) type Values = BTreeMap<String, String>;

/// What the file says.
pub(super) struct File {
    /// The keys.
    pub(super) values: Values,
    /// The tables `[[source]]`.
    pub(super) sources: Vec<Spec>,
}

/// The name of those tables.
const SOURCE: &str = "source";

/// A configuration file longer than this is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the file is looked for.
pub(super) fn path(given: Option<&Path>, environment: &Environment) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    if let Some(path) = environment.var("HANOK_CONFIG") {
        return Ok(PathBuf::from(path));
    }
    let home = environment.config_home().unwrap_or_else(|| PathBuf::from("/etc"));
    Ok(home.join("hanok").join("config.toml"))
}

/// Reads the file; `None` if it is not there and nobody asked for it.
pub(super) fn read(path: &Path, asked_for: bool) -> Result<Option<File>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked_for => return Ok(None),
        Err(error) => {
            return Err(Failure::environment(error.to_string())
                .hint("create the file, or leave out `--config` and HANOK_CONFIG"));
        }
    };
    if metadata.len() > FILE_BYTES_MAX {
        return Err(Failure::misuse(format!(
            "the configuration file `{}` has {} bytes; at most {FILE_BYTES_MAX} are read",
            path.display(),
            metadata.len()
        )));
    }
    let text = fs::read_to_string(path).or_environment()?;
    parse(path, &text).map(Some)
}

fn parse(path: &Path, text: &str) -> Result<File> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        Failure::misuse(format!(
            "the configuration file `{}` is not valid TOML: {}",
            path.display(),
            error.to_string().trim_end()
        ))
    })?;
    let mut values = Values::new();
    let mut sources = Vec::new();
    for (name, value) in table {
        if name == SOURCE {
            let folder = path.parent().unwrap_or(Path::new(""));
            sources = sources::parse(&value, folder).map_err(|what| {
                Failure::misuse(format!("the configuration file `{}`: {what}", path.display()))
                    .hint("docs/sources.md shows each kind of source")
            })?;
            continue;
        }
        let text = value_text(path, &name, &value)?;
        values.insert(name, text);
    }
    Ok(File { values, sources })
}

fn value_text(path: &Path, name: &str, value: &toml::Value) -> Result<String> {
    let Some(key) = KEYS.iter().find(|key| key.name == name) else {
        let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        return Err(Failure::misuse(format!(
            "the configuration file `{}` has the unknown key `{name}`",
            path.display()
        ))
        .hint(match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys are {}", known.join(", ")),
        }));
    };
    match (key.kind, value) {
        (Kind::Text, toml::Value::String(text)) => Ok(text.clone()),
        (Kind::Number, toml::Value::Integer(number)) => Ok(number.to_string()),
        (kind, _) => Err(Failure::misuse(format!(
            "the key `{name}` of the configuration file `{}` must be {}",
            path.display(),
            match kind {
                Kind::Text => "a text in quotes",
                Kind::Number => "a whole number without quotes",
            }
        ))),
    }
}

/// The known name that is at most two letters away.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
