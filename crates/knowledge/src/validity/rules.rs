//! The store's own file of validity: what its keeper states by path, which counts more than what documents say.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use stdx::date::Date;
use stdx::fs;

use super::Stated;
use crate::error::StoreError;
use crate::rules::ByPath;

/// States by path, in the data directory, when documents hold, whose they are and what they replace.
pub const RULES_FILE: &str = "validity.toml";
/// Takes back what a document states of itself.
const NONE: &str = "none";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleToml {
    path: PathBuf,
    from: Option<toml::Value>,
    until: Option<toml::Value>,
    owner: Option<String>,
    replaces: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// What rules state of one document. A date may be taken back: there is none then, whatever the document says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ruled {
    from: Option<Option<Date>>,
    until: Option<Option<Date>>,
    owner: Option<String>,
    replaces: Option<Vec<String>>,
}

impl Ruled {
    /// This rule, and for what it leaves open one of a folder further up.
    fn or(self, above: &Self) -> Self {
        Self {
            from: self.from.or(above.from),
            until: self.until.or(above.until),
            owner: self.owner.or_else(|| above.owner.clone()),
            replaces: self.replaces.or_else(|| above.replaces.clone()),
        }
    }

    /// What holds for a document that states this itself.
    pub(crate) fn over(&self, own: &Stated) -> Stated {
        let mut stated = Stated {
            from: self.from.unwrap_or(own.from),
            until: self.until.unwrap_or(own.until),
            owner: self.owner.clone().or_else(|| own.owner.clone()),
            replaces: self.replaces.clone().unwrap_or_else(|| own.replaces.clone()),
        };
        // Of two dates that contradict each other the keeper's counts.
        if stated
            .from
            .zip(stated.until)
            .is_some_and(|(from, until)| until < from)
        {
            match (self.from, self.until) {
                (Some(_), None) => stated.until = None,
                (None, Some(_)) => stated.from = None,
                _ => {}
            }
        }
        stated.sound()
    }
}

/// All rules of a store.
#[derive(Debug)]
pub(crate) struct Rules(ByPath<Ruled>);

impl Rules {
    /// Reads the store's rules; none where there is no file of them.
    ///
    /// # Errors
    /// [`StoreError::ValidityRules`] for a file that cannot be read or understood.
    pub(crate) fn load(dir: &Path) -> Result<Self, StoreError> {
        let dir = fs::canonicalize(dir).map_err(StoreError::file)?;
        let parse = |mut rule: RuleToml| (std::mem::take(&mut rule.path), ruled(rule));
        ByPath::load(&dir, RULES_FILE, parse)
            .map(Self)
            .map_err(|what| StoreError::ValidityRules {
                path: dir.join(RULES_FILE),
                what,
            })
    }

    /// What is ruled of a file: the rule of the longest path counts for each thing that it states.
    pub(crate) fn of_file(&self, path: &Path) -> Ruled {
        self.0.above(path).fold(Ruled::default(), Ruled::or)
    }

    /// What is ruled of an upload.
    pub(crate) fn of_upload(&self, name: &[u8]) -> Ruled {
        self.of_file(&self.0.upload(name))
    }

    /// The paths that rules name.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.paths()
    }
}

fn ruled(rule: RuleToml) -> Result<Ruled, String> {
    let ruled = Ruled {
        from: rule.from.map(|value| date("from", &value)).transpose()?,
        until: rule.until.map(|value| date("until", &value)).transpose()?,
        owner: rule.owner.filter(|owner| !owner.trim().is_empty()),
        replaces: rule.replaces.map(|replaces| match replaces {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }),
    };
    if let (Some(Some(from)), Some(Some(until))) = (ruled.from, ruled.until)
        && until < from
    {
        return Err(format!("it ends ({until}) before it begins ({from})"));
    }
    Ok(ruled)
}

/// A date, or none.
fn date(key: &str, value: &toml::Value) -> Result<Option<Date>, String> {
    let text = match value {
        toml::Value::String(text) => text.trim().to_owned(),
        toml::Value::Datetime(date) => date.to_string(),
        other => other.to_string(),
    };
    if text == NONE {
        return Ok(None);
    }
    let parsed = text.parse().map(Some);
    parsed.map_err(|error| format!("`{key}` is `{text}`, {error}, or `{NONE}`"))
}
