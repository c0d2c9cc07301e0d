//! PostgreSQL with pgvector as the place where documents, passages, vectors and the queue are kept.
//!
//! Several processes share it: each question is one snapshot, each document one transaction, each file that is being
//! read a row lock that ends with its process. Words are looked up in tables of our own (see [`words`]), with the terms,
//! the counts and the formula of the embedded store.

mod address;
mod document;
mod inverted;
mod layout;
mod queue;
mod read;
mod rules;
mod vectors;
mod words;
mod write;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postgres::error::SqlState;
use postgres::{Client, IsolationLevel, NoTls, Transaction};
use stdx::fs;

pub use address::PostgresAddress;

use crate::error::StoreError;
use crate::store::held;
use crate::types::Access;
use inverted::Outline;
use queue::Desk;

/// Connections kept open; more are opened and closed as needed.
const IDLE_MAX: usize = 8;
/// How long an idle connection may take to show that it still lives.
const ALIVE_S: u64 = 5;
/// Names this data directory among those that share a database.
const NODE_FILE: &str = "node";

/// Why a statement's work failed.
#[derive(Debug)]
enum Failed {
    Sql(postgres::Error),
    /// One sentence.
    Other(String),
}

impl From<postgres::Error> for Failed {
    fn from(error: postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<serde_json::Error> for Failed {
    fn from(error: serde_json::Error) -> Self {
        Self::Other(error.to_string())
    }
}

type Sql<T> = Result<T, Failed>;

/// A database that holds documents.
pub(crate) struct Postgres {
    address: PostgresAddress,
    access: Access,
    /// Which data directory this is.
    node: String,
    /// In which order this process makes vectors.
    way: i64,
    idle: Mutex<Vec<Client>>,
    /// The connection that claims files and writes what was read of them.
    desk: Mutex<Desk>,
    /// How passages stand and how long they are, by segment; a segment never changes.
    outlines: Mutex<HashMap<i64, Arc<Outline>>>,
}

impl Postgres {
    /// Connects; with [`Access::Write`] makes the tables or brings them up to date.
    pub(crate) fn open(dir: &Path, access: Access, address: PostgresAddress) -> Result<Self, StoreError> {
        let node = match access {
            Access::Read => String::new(),
            Access::Write => node(dir)?,
        };
        let postgres = Self {
            address,
            access,
            node,
            way: stdx::clock::unix_ms() ^ i64::from(std::process::id()),
            idle: Mutex::new(Vec::new()),
            desk: Mutex::new(Desk::default()),
            outlines: Mutex::new(HashMap::new()),
        };
        match access {
            Access::Read => postgres.check_layout(dir)?,
            Access::Write => postgres.prepare_layout()?,
        }
        Ok(postgres)
    }

    /// Server and database, for people.
    pub(crate) fn shown(&self) -> &str {
        self.address.shown()
    }

    fn connect(&self) -> Result<Client, StoreError> {
        let mut client = self
            .address
            .config()
            .connect(NoTls)
            .map_err(|error| self.fail("connect", error.into()))?;
        // A claim may be held for as long as a file takes to be read; a machine that is gone loses its claims soon.
        let set_up = client.batch_execute(
            "SET search_path = hanok, public; SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0;
             SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
             SET client_min_messages = warning",
        );
        set_up.map_err(|error| self.fail("connect", error.into()))?;
        Ok(client)
    }

    /// Runs `work` on a connection of its own for that time.
    fn with<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Client) -> Sql<T>,
    ) -> Result<T, StoreError> {
        let mut client = loop {
            let idle = held(&self.idle).pop();
            match idle {
                Some(mut client) => {
                    if client.is_valid(Duration::from_secs(ALIVE_S)).is_ok() {
                        break client;
                    }
                    part(vec![client]);
                }
                None => break self.connect()?,
            }
        };
        let result = work(&mut client);
        let mut idle = held(&self.idle);
        if client.is_closed() || idle.len() >= IDLE_MAX {
            drop(idle);
            part(vec![client]);
        } else {
            idle.push(client);
        }
        result.map_err(|failed| self.fail(doing, failed))
    }

    /// Reads as of one moment.
    fn snapshot<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Transaction<'_>) -> Sql<T>,
    ) -> Result<T, StoreError> {
        self.with(doing, |client| {
            let level = IsolationLevel::RepeatableRead;
            let mut transaction = client
                .build_transaction()
                .isolation_level(level)
                .read_only(true)
                .start()?;
            let value = work(&mut transaction)?;
            transaction.commit()?;
            Ok(value)
        })
    }

    /// Writes all of it or nothing.
    fn transact<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Transaction<'_>) -> Sql<T>,
    ) -> Result<T, StoreError> {
        self.may_write()?;
        self.with(doing, |client| {
            let mut transaction = client.transaction()?;
            let value = work(&mut transaction)?;
            transaction.commit()?;
            Ok(value)
        })
    }

    fn may_write(&self) -> Result<(), StoreError> {
        match self.access {
            Access::Write => Ok(()),
            Access::Read => Err(StoreError::OpenForReading {
                dir: self.address.shown().into(),
            }),
        }
    }

    fn fail(&self, doing: &'static str, failed: Failed) -> StoreError {
        let place = self.address.shown().to_owned();
        let what = match failed {
            Failed::Other(what) => what,
            Failed::Sql(error) if error.code() == Some(&SqlState::DISK_FULL) => {
                return StoreError::NoSpace { path: place.into() };
            }
            Failed::Sql(error) => match error.as_db_error() {
                Some(said) => format!("{} ({})", said.message(), said.code().code()),
                None => chain(&error),
            },
        };
        StoreError::Postgres { doing, place, what }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut clients = std::mem::take(&mut *held(&self.idle));
        clients.extend(held(&self.desk).leave());
        part(clients);
    }
}

/// Closes connections on a thread of its own: the driver waits for the server, which may not be done where this is
/// called from.
fn part(clients: Vec<Client>) {
    if clients.is_empty() {
        return;
    }
    // Without a thread they are closed here.
    let closing = std::thread::Builder::new().spawn(move || drop(clients));
    if let Ok(closing) = closing {
        let _ = closing.join();
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        text.push_str(&format!(": {inner}"));
        next = inner.source();
    }
    text
}

/// The name of a data directory among others, made the first time.
fn node(dir: &Path) -> Result<String, StoreError> {
    let path = dir.join(NODE_FILE);
    if let Ok(name) = fs::read_to_string(&path) {
        return Ok(name.trim().to_owned());
    }
    let seed = format!(
        "{} {} {}",
        dir.display(),
        std::process::id(),
        stdx::clock::unix_ms()
    );
    let name = stdx::hash::short_id('n', seed.as_bytes());
    fs::write_atomic(&path, format!("{name}\n")).map_err(StoreError::file)?;
    Ok(name)
}

/// A passage's number for those who only compare numbers: its segment and its place in it.
fn passage_id(segment: i64, ordinal: u32) -> u64 {
    (segment.cast_unsigned() << ORDINAL_BITS) | u64::from(ordinal)
}

fn segment_of(passage: u64) -> (i64, i32) {
    let ordinal = passage & ((1 << ORDINAL_BITS) - 1);
    // Fewer bits than a positive number of that type has.
    ((passage >> ORDINAL_BITS).cast_signed(), ordinal as i32)
}

/// A document has fewer passages than these bits count.
const ORDINAL_BITS: u32 = 20;
