//! How documents stand: who may read them, on which days they hold, whose they are, what they replace.
//!
//! Changes without a document being read again, when rules or folders state something else.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::read::{json, validity};
use super::write::{mark, to_json};
use super::{Catalog, Marks, Origin};
use crate::access::Audience;
use crate::checksum::Summed;
use crate::error::StoreError;
use crate::validity::{Ruled, Stated, Validity};

/// How a document stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) audience: Audience,
    pub(crate) validity: Validity,
    pub(crate) owner: Option<String>,
    pub(crate) replaces: Vec<String>,
}

impl Standing {
    pub(crate) fn of(audience: &Audience, ruled: &Ruled, own: &Stated) -> Self {
        let stated = ruled.over(own);
        Self {
            audience: audience.clone(),
            validity: stated.validity(),
            owner: stated.owner,
            replaces: stated.replaces,
        }
    }
}

/// A document as it stands now.
pub(crate) struct Known {
    pub(crate) document_id: String,
    pub(crate) origin: Origin,
    pub(crate) path_bytes: Vec<u8>,
    pub(crate) format: String,
    /// What it says of itself; `None` where it was not asked yet, or what is known of it is damaged.
    pub(crate) stated: Option<Stated>,
    pub(crate) standing: Standing,
    /// Whether its row is as it was written.
    pub(crate) is_intact: bool,
}

/// A document that does not stand any more as it did.
pub(crate) struct Moved {
    pub(crate) document_id: String,
    /// What it says of itself.
    pub(crate) own: Stated,
    pub(crate) standing: Standing,
}

impl Catalog {
    /// Every document with how it stands.
    pub(crate) fn standings(&self) -> Result<Vec<Known>, StoreError> {
        self.read("list how documents stand", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT d.document_id, d.origin, d.path_bytes, d.format, iif({}, d.stated, NULL), d.owner, d.replaces,
                            a.groups, a.valid_from, a.valid_until, {}
                     FROM documents d LEFT JOIN audiences a ON a.audience_id = d.audience_id
                     ORDER BY d.document_id",
                    Summed::Stated.is_intact("d"),
                    Summed::Documents.is_intact("d")
                ))?
                .query_map([], known)?
                .collect()
        })
    }

    /// A document's present text, to ask it what it states.
    pub(crate) fn present_text(&self, document_id: &str) -> Result<Option<String>, StoreError> {
        self.read("read a document", |connection| {
            connection
                .prepare_cached(
                    "SELECT v.text FROM versions v
                     JOIN documents d ON d.document_id = v.document_id AND d.version = v.version
                     WHERE v.document_id = ?1",
                )?
                .query_row([document_id], |row| row.get(0))
                .optional()
        })
    }

    /// Records how documents stand now. Those that have other readers or other days by it are marked for the index.
    pub(crate) fn set_standings(
        &self,
        connection: &mut Connection,
        moved: &[Moved],
    ) -> Result<Marks, StoreError> {
        self.transact(connection, "change how documents stand", |tx| {
            let mut marks = Marks::new();
            for moved in moved {
                if set_standing(tx, moved)? {
                    marks.push((moved.document_id.clone(), mark(tx, &moved.document_id)?));
                }
            }
            Ok(marks)
        })
    }
}

/// Whether other readers or other days follow.
pub(super) fn set_standing(tx: &Transaction<'_>, moved: &Moved) -> rusqlite::Result<bool> {
    let standing = &moved.standing;
    let row = audience_row(tx, &standing.audience, standing.validity)?;
    let before: Option<i64> = tx
        .prepare_cached("SELECT audience_id FROM documents WHERE document_id = ?1")?
        .query_row([&moved.document_id], |row| row.get(0))
        .optional()?;
    tx.prepare_cached(
        "UPDATE documents SET audience_id = ?2, stated = ?3, owner = ?4, replaces = ?5 WHERE document_id = ?1",
    )?
    .execute(params![
        moved.document_id,
        row,
        to_json(&moved.own)?,
        standing.owner,
        to_json(&standing.replaces)?
    ])?;
    tx.execute(&Summed::Documents.seal("document_id = ?1"), [&moved.document_id])?;
    tx.execute(&Summed::Stated.seal("document_id = ?1"), [&moved.document_id])?;
    let is_other = before.is_some_and(|before| before != row);
    if is_other {
        tx.execute("UPDATE meta SET value = value + 1 WHERE key = 'audience_seq'", [])?;
    }
    Ok(is_other)
}

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    let groups: Option<String> = row.get(7)?;
    let stated: Option<String> = row.get(4)?;
    Ok(Known {
        document_id: row.get(0)?,
        origin: Origin::from_name(&row.get::<_, String>(1)?),
        path_bytes: row.get(2)?,
        format: row.get(3)?,
        // What cannot be read is asked for again.
        stated: stated.and_then(|text| serde_json::from_str(&text).ok()),
        standing: Standing {
            audience: Audience::from_json(&groups.unwrap_or_default()),
            validity: validity(row, 8)?,
            owner: row.get(5)?,
            replaces: json(row, 6)?,
        },
        is_intact: row.get(10)?,
    })
}

/// The row of an audience and the days on which its documents hold, made where it is missing.
pub(super) fn audience_row(
    tx: &Transaction<'_>,
    audience: &Audience,
    validity: Validity,
) -> rusqlite::Result<i64> {
    let day = |date: Option<stdx::date::Date>| date.map(|date| date.to_string()).unwrap_or_default();
    let key = params![audience.to_json(), day(validity.from), day(validity.until)];
    let n_new = tx
        .prepare_cached(
            "INSERT OR IGNORE INTO audiences (groups, valid_from, valid_until) VALUES (?1, ?2, ?3)",
        )?
        .execute(key)?;
    if n_new > 0 {
        let seal = Summed::Audiences.seal("groups = ?1 AND valid_from = ?2 AND valid_until = ?3");
        tx.execute(&seal, key)?;
        tx.execute("UPDATE meta SET value = value + 1 WHERE key = 'audiences'", [])?;
    }
    tx.prepare_cached(
        "SELECT audience_id FROM audiences WHERE groups = ?1 AND valid_from = ?2 AND valid_until = ?3",
    )?
    .query_row(key, |row| row.get(0))
}
