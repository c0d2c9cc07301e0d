//! The rules of access and validity, which all who share a database must go by: who ingests with others would let
//! documents stand as somebody else's rules forbid.

use std::io::ErrorKind;
use std::path::Path;

use stdx::fs;

use super::{Postgres, Sql};
use crate::access;
use crate::error::StoreError;
use crate::validity;

/// The files of rules.
const FILES: [&str; 2] = [access::RULES_FILE, validity::RULES_FILE];

impl Postgres {
    /// Compares the rules in `dir` with those in the database. The first who ingests states them; where there is no file,
    /// the database's is written.
    pub(super) fn compare_rules(&self, dir: &Path) -> Result<(), StoreError> {
        for name in FILES {
            let path = dir.join(name);
            let here = read(&path)?;
            let there = self.transact("compare the rules", |transaction| {
                let first = here.clone().unwrap_or_default();
                transaction.execute(
                    "INSERT INTO rules (name, text) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                    &[&name, &first],
                )?;
                let row = transaction.query_one("SELECT text FROM rules WHERE name = $1", &[&name])?;
                let text: String = row.try_get(0)?;
                Ok(text)
            })?;
            match here {
                None if there.is_empty() => {}
                None => {
                    tracing::info!(path = %path.display(), "taking the rules from the database");
                    fs::write_atomic(&path, there).map_err(StoreError::file)?;
                }
                Some(here) if here == there => {}
                Some(_) => {
                    return Err(StoreError::RulesDiffer {
                        path,
                        place: self.address.shown().to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Writes the rules in `dir` into the database.
    pub(super) fn write_rules(&self, dir: &Path) -> Result<(), StoreError> {
        let texts: Vec<String> = FILES
            .iter()
            .map(|name| Ok(read(&dir.join(name))?.unwrap_or_default()))
            .collect::<Result<_, StoreError>>()?;
        self.transact("publish the rules", |transaction| {
            let put = |(name, text): (&&str, &String)| -> Sql<()> {
                transaction.execute(
                    "INSERT INTO rules (name, text) VALUES ($1, $2)
                     ON CONFLICT (name) DO UPDATE SET text = excluded.text",
                    &[name, text],
                )?;
                Ok(())
            };
            FILES.iter().zip(&texts).try_for_each(put)
        })
    }
}

fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::Fs(error)),
    }
}
