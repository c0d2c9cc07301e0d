//! Files that were accepted and are not taken in yet: what is needed to go on with them after a restart.

use rusqlite::{Connection, Row, params};

use super::Catalog;
use super::write::as_i64;
use crate::checksum::Summed;
use crate::error::StoreError;

/// A file that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IntakeRow {
    pub(crate) id: i64,
    /// What whoever handed it over called it.
    pub(crate) name: String,
    /// Who that was, as [`crate::Reader::to_stated`] says it.
    pub(crate) owner: String,
    /// Its name among the uploads.
    pub(crate) kept: String,
    /// Its name among the files that have arrived.
    pub(crate) arrived: String,
    pub(crate) bytes: u64,
}

impl Catalog {
    /// Records a file that was accepted; returns its number.
    pub(crate) fn put_intake(
        &self,
        connection: &mut Connection,
        intake: &IntakeRow,
    ) -> Result<i64, StoreError> {
        self.transact(connection, "record an accepted file", |tx| {
            tx.execute(
                "INSERT INTO intake (name, owner, kept, arrived, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    intake.name,
                    intake.owner,
                    intake.kept,
                    intake.arrived,
                    as_i64(intake.bytes)
                ],
            )?;
            let id = tx.last_insert_rowid();
            tx.execute(&Summed::Intake.seal("intake_id = ?1"), [id])?;
            Ok(id)
        })
    }

    /// Every file that was accepted and is not forgotten, in the order in which they came. A damaged row is left out: it may
    /// name another file, or another's.
    pub(crate) fn intakes(&self) -> Result<Vec<IntakeRow>, StoreError> {
        self.read("list the accepted files", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT intake_id, name, owner, kept, arrived, bytes FROM intake i WHERE {} ORDER BY intake_id",
                    Summed::Intake.is_intact("i")
                ))?
                .query_map([], intake)?
                .collect()
        })
    }

    /// Forgets a file that was accepted.
    pub(crate) fn drop_intake(&self, connection: &mut Connection, id: i64) -> Result<(), StoreError> {
        self.transact(connection, "forget an accepted file", |tx| {
            tx.execute("DELETE FROM intake WHERE intake_id = ?1", [id])
                .map(drop)
        })
    }
}

fn intake(row: &Row<'_>) -> rusqlite::Result<IntakeRow> {
    Ok(IntakeRow {
        id: row.get(0)?,
        name: row.get(1)?,
        owner: row.get(2)?,
        kept: row.get(3)?,
        arrived: row.get(4)?,
        bytes: row.get::<_, i64>(5)?.cast_unsigned(),
    })
}
