//! The queue that several processes work through: a file is claimed by locking its row, written and taken off in the same
//! transaction.
//!
//! So a claim ends with its process, however that ends: the server rolls back and the file waits again. Nothing has to
//! run out first.

use std::path::Path;

use postgres::Client;
use stdx::fs;

use super::{Failed, Postgres, Sql, part};
use crate::catalog::{Origin, QueueEntry};
use crate::error::StoreError;
use crate::store::held;

/// The connection at which files are claimed and written, and the file that is claimed.
#[derive(Default)]
pub(super) struct Desk {
    client: Option<Client>,
    claimed: Option<Vec<u8>>,
}

/// Whether a step ends what was begun with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Commit,
    GoOn,
}

impl Desk {
    /// Gives up the connection, and with it the claim.
    pub(super) fn leave(&mut self) -> Option<Client> {
        self.claimed = None;
        self.client.take()
    }
}

impl Postgres {
    pub(super) fn read_queue(&self) -> Result<Vec<QueueEntry>, StoreError> {
        self.with("read the queue", |client| {
            let rows = client.query(
                "SELECT path_bytes, origin, file_bytes FROM queue ORDER BY seq",
                &[],
            )?;
            rows.iter()
                .map(|row| {
                    Ok(QueueEntry {
                        path_bytes: row.try_get(0)?,
                        origin: Origin::from_name(row.try_get(1)?),
                        file_bytes: row.try_get::<_, i64>(2)?.cast_unsigned(),
                    })
                })
                .collect()
        })
    }

    pub(super) fn add_to_queue(&self, entries: &[QueueEntry]) -> Result<(), StoreError> {
        let (paths, origins, bytes) = columns(entries);
        // A file that somebody reads is locked; it is queued already, so nobody waits for him.
        self.transact("queue files", |transaction| {
            transaction.execute(
                "INSERT INTO queue (path_bytes, origin, file_bytes, node)
                 SELECT p, o, b, $4 FROM unnest($1::bytea[], $2::text[], $3::bigint[]) WITH ORDINALITY AS t (p, o, b, n)
                 ORDER BY n ON CONFLICT (path_bytes) DO NOTHING",
                &[&paths, &origins, &bytes, &self.node],
            )?;
            Ok(())
        })
    }

    /// Claims a queued file. One that another data directory queued is left to it unless the file is here, too.
    pub(super) fn claim_file(&self, entry: &QueueEntry, path: &Path) -> Result<bool, StoreError> {
        if held(&self.desk).claimed.as_ref() == Some(&entry.path_bytes) {
            return Ok(true);
        }
        let is_mine = self.at_desk("claim a file", &entry.path_bytes, Then::GoOn, |client| {
            let row = client.query_opt(
                "SELECT node FROM queue WHERE path_bytes = $1 FOR UPDATE SKIP LOCKED",
                &[&entry.path_bytes],
            )?;
            let Some(row) = row else { return Ok(false) };
            let node: String = row.try_get(0)?;
            if entry.origin == Origin::Upload {
                return bring_upload(client, &entry.path_bytes, path);
            }
            Ok(node == self.node || fs::symlink_metadata(path).is_ok())
        })?;
        if !is_mine {
            self.give_back()?;
        }
        Ok(is_mine)
    }

    pub(super) fn give_back(&self) -> Result<(), StoreError> {
        let mut desk = held(&self.desk);
        if desk.claimed.take().is_none() {
            return Ok(());
        }
        let Some(client) = &mut desk.client else {
            return Ok(());
        };
        let result = client.batch_execute("ROLLBACK");
        if result.is_err() {
            part(desk.leave().into_iter().collect());
        }
        // A connection that is gone holds nothing any more.
        Ok(())
    }

    /// Keeps an upload's bytes and queues it, claimed: until it is written, nobody sees it.
    pub(super) fn keep_bytes(&self, entry: &QueueEntry, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(StoreError::file)?;
        }
        self.at_desk("keep an upload", &entry.path_bytes, Then::GoOn, |client| {
            client.execute(
                "INSERT INTO queue (path_bytes, origin, file_bytes, node) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (path_bytes) DO UPDATE SET file_bytes = excluded.file_bytes, node = excluded.node",
                &[
                    &entry.path_bytes,
                    &entry.origin.name(),
                    &entry.file_bytes.cast_signed(),
                    &self.node,
                ],
            )?;
            client.execute(
                "INSERT INTO uploads (path_bytes, bytes) VALUES ($1, $2)
                 ON CONFLICT (path_bytes) DO UPDATE SET bytes = excluded.bytes",
                &[&entry.path_bytes, &bytes],
            )?;
            Ok(())
        })?;
        fs::write_atomic(path, bytes).map_err(StoreError::file)
    }

    /// Runs a step of what is done with one file, in the transaction that holds its claim; in one of its own where
    /// nothing is claimed.
    pub(super) fn at_desk<T>(
        &self,
        doing: &'static str,
        path_bytes: &[u8],
        then: Then,
        work: impl FnOnce(&mut Client) -> Sql<T>,
    ) -> Result<T, StoreError> {
        self.may_write()?;
        let mut desk = held(&self.desk);
        let is_going_on = desk.claimed.as_deref() == Some(path_bytes);
        if !is_going_on {
            desk.claimed = None;
            let stale = desk
                .client
                .take_if(|client| client.batch_execute("ROLLBACK").is_err());
            part(stale.into_iter().collect());
        }
        if desk.client.is_none() {
            if is_going_on {
                desk.claimed = None;
                return Err(self.fail(doing, Failed::Other("the connection was lost".to_owned())));
            }
            desk.client = Some(self.connect()?);
        }
        let Some(client) = &mut desk.client else {
            return Err(self.fail(doing, Failed::Other("there is no connection".to_owned())));
        };
        let result = in_transaction(client, !is_going_on, then, work);
        match &result {
            Ok(_) if then == Then::GoOn => desk.claimed = Some(path_bytes.to_owned()),
            Ok(_) => desk.claimed = None,
            // Whatever was claimed waits again.
            Err(_) => part(desk.leave().into_iter().collect()),
        }
        result.map_err(|failed| self.fail(doing, failed))
    }
}

fn in_transaction<T>(
    client: &mut Client,
    begins: bool,
    then: Then,
    work: impl FnOnce(&mut Client) -> Sql<T>,
) -> Sql<T> {
    if begins {
        client.batch_execute("BEGIN")?;
    }
    let value = work(client)?;
    if then == Then::Commit {
        client.batch_execute("COMMIT")?;
    }
    Ok(value)
}

/// Puts the bytes of an upload where they are read; false if they are gone.
fn bring_upload(client: &mut Client, path_bytes: &[u8], path: &Path) -> Sql<bool> {
    let Some(row) = client.query_opt("SELECT bytes FROM uploads WHERE path_bytes = $1", &[&path_bytes])?
    else {
        return Ok(false);
    };
    let bytes: &[u8] = row.try_get(0)?;
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write_atomic(path, bytes));
    written.map_err(|error| Failed::Other(error.to_string()))?;
    Ok(true)
}

fn columns(entries: &[QueueEntry]) -> (Vec<&[u8]>, Vec<&'static str>, Vec<i64>) {
    (
        entries.iter().map(|entry| entry.path_bytes.as_slice()).collect(),
        entries.iter().map(|entry| entry.origin.name()).collect(),
        entries
            .iter()
            .map(|entry| entry.file_bytes.cast_signed())
            .collect(),
    )
}
