//! The blocking side of the local socket, for commands.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use assistant::Wanted;
use thiserror::Error;

use super::{Call, EventLine, LINE_BYTES_MAX, Outcome, Reply, Request};
use crate::wire::{ErrorBody, SCHEMA};

/// Why a call had no result.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The server refused or failed.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// The caller did not want to wait any more.
    #[error("cancelled")]
    Cancelled,
    /// The connection broke: the server ended.
    #[error("the running server hung up")]
    Broken(#[source] std::io::Error),
    /// The server said something this program does not know; it is of another version.
    #[error("the running server speaks another version ({0}); restart it")]
    Unknown(String),
}

/// A connection to the server of a data directory; it carries one call.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to the server that runs on `data_dir`; `None` if none does (a left-over socket file included).
    pub fn connect(data_dir: &Path) -> Option<Self> {
        let path = super::socket_path(data_dir).ok()?;
        let stream = UnixStream::connect(path).ok()?;
        Some(Self { stream })
    }

    /// Calls and waits for the result. `on_event` may say that nobody waits any more, which cancels.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn call(
        mut self,
        call: Call,
        groups: String,
        on_event: &mut dyn FnMut(EventLine) -> Wanted,
    ) -> Result<Outcome, ClientError> {
        let request = Request {
            schema: SCHEMA,
            groups,
            call,
        };
        let mut line =
            serde_json::to_string(&request).map_err(|error| ClientError::Unknown(error.to_string()))?;
        line.push('\n');
        self.stream
            .write_all(line.as_bytes())
            .map_err(ClientError::Broken)?;
        let mut reader = BufReader::new(self.stream);
        loop {
            match read(&mut reader)? {
                Reply::Event(event) => {
                    if on_event(event) == Wanted::No {
                        return Err(ClientError::Cancelled);
                    }
                }
                Reply::Final(outcome) => return Ok(outcome),
                Reply::Error(error) => return Err(ClientError::Refused(error)),
            }
        }
    }
}

fn read(reader: &mut BufReader<UnixStream>) -> Result<Reply, ClientError> {
    let mut line = String::new();
    let n = reader
        .take(LINE_BYTES_MAX as u64)
        .read_line(&mut line)
        .map_err(ClientError::Broken)?;
    if n == 0 {
        return Err(ClientError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_str(&line).map_err(|error| ClientError::Unknown(error.to_string()))
}
