//! Hostile formats are read where a failure harms nothing: in a child process without files and network, or,
//! where there is no program to start as one, in a thread that is watched.
//!
//! The child gets the bytes through its standard input and answers through its standard output; it never
//! sees a path of this machine.

use std::any::Any;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stdx::process::{ProcessLimits, limit_this_process};

use super::{Format, Limits, RawDocument, ReadError, format_of, read_document, refuse_large};

/// The hidden sub-command with which a program starts [`worker_main`].
pub const WORKER_COMMAND: &str = "__read";

/// Stack of the thread that reads.
const STACK_BYTES: usize = 64 << 20;
/// How much longer than a document's own time limit its reader may live.
const GRACE: Duration = Duration::from_secs(3);
/// Longest request header: a file name and some numbers.
const MAX_HEADER_BYTES: u64 = 64 << 10;
/// JSON needs at most so many bytes for one byte of text, names of blocks apart.
const ANSWER_GROWTH: u64 = 3;
/// What an answer may have beyond its text.
const ANSWER_EXTRA_BYTES: u64 = 256 << 20;
/// Standard input, output and error; no further file or socket can then be opened.
const WORKER_OPEN_FILES: u64 = 3;

/// Where documents of hostile formats are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// In a child process: this program, started with these arguments, calls [`worker_main`].
    Process {
        /// The program.
        exe: PathBuf,
        /// Its arguments, usually [`WORKER_COMMAND`] alone.
        args: Vec<OsString>,
    },
    /// In a thread of this process. A reader that hangs is given up and left behind.
    Thread,
}

impl Isolation {
    /// This very program as the child, with [`WORKER_COMMAND`]; a thread where its path is not known.
    pub fn current_exe() -> Self {
        match std::env::current_exe() {
            Ok(exe) => Self::Process {
                exe,
                args: vec![WORKER_COMMAND.into()],
            },
            Err(_) => Self::Thread,
        }
    }
}

/// What the child is asked; the document's bytes follow it.
#[derive(Serialize, Deserialize)]
struct Request {
    name: String,
    limits: Limits,
}

/// Reads a document; the formats that attackers like where `isolation` says.
///
/// # Errors
///
/// One of [`ReadError`], each a sentence.
pub fn read(
    path: &Path,
    bytes: &[u8],
    isolation: &Isolation,
    limits: &Limits,
) -> Result<RawDocument, ReadError> {
    refuse_large(bytes.len() as u64, limits)?;
    // Telling the format opens at most the table of contents of a zip file.
    let format = guarded_format(path, bytes)?;
    match isolation {
        Isolation::Process { exe, args } if format.is_hostile() => in_process(exe, args, path, bytes, limits),
        _ => in_thread(path, bytes, limits),
    }
}

/// Reads a document in a child process of the program `exe`, started with [`WORKER_COMMAND`].
///
/// # Errors
///
/// One of [`ReadError`], each a sentence.
pub fn isolated(exe: &Path, path: &Path, bytes: &[u8], limits: &Limits) -> Result<RawDocument, ReadError> {
    refuse_large(bytes.len() as u64, limits)?;
    in_process(exe, &[WORKER_COMMAND.into()], path, bytes, limits)
}

fn guarded_format(path: &Path, bytes: &[u8]) -> Result<Format, ReadError> {
    panic::catch_unwind(AssertUnwindSafe(|| format_of(path, bytes)))
        .unwrap_or_else(|panic| Err(crashed(&panic)))
}

fn crashed(panic: &Box<dyn Any + Send>) -> ReadError {
    let what = panic
        .downcast_ref::<&str>()
        .map(|what| (*what).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason given".to_owned());
    ReadError::Crashed { what }
}

fn timed_out(limits: &Limits) -> ReadError {
    ReadError::TimedOut {
        limit_s: limits.max_time.as_secs(),
    }
}

fn in_thread(path: &Path, bytes: &[u8], limits: &Limits) -> Result<RawDocument, ReadError> {
    let (path, bytes, own_limits) = (path.to_owned(), bytes.to_owned(), limits.clone());
    let (sender, receiver) = mpsc::sync_channel(1);
    let spawned = thread::Builder::new()
        .name("reader".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let result = panic::catch_unwind(AssertUnwindSafe(|| read_document(&path, &bytes, &own_limits)));
            // Nobody listens any more if the time was over.
            let _ = sender.send(result.unwrap_or_else(|panic| Err(crashed(&panic))));
        });
    spawned.map_err(|error| ReadError::Io {
        what: format!("cannot start a reading thread: {error}"),
    })?;
    match receiver.recv_timeout(limits.max_time + GRACE) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(timed_out(limits)),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(ReadError::Crashed {
            what: "its thread ended".to_owned(),
        }),
    }
}

fn in_process(
    exe: &Path,
    args: &[OsString],
    path: &Path,
    bytes: &[u8],
    limits: &Limits,
) -> Result<RawDocument, ReadError> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let request = serde_json::to_vec(&Request {
        name,
        limits: limits.clone(),
    })
    .map_err(|error| ReadError::Io {
        what: error.to_string(),
    })?;
    let mut child = Command::new(exe)
        .args(args)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| ReadError::Io {
            what: format!("cannot start the reader `{}`: {error}", exe.display()),
        })?;
    let answer = converse(&mut child, &request, bytes, limits);
    // Killing a child that has ended does nothing; waiting clears it away.
    let _ = child.kill();
    let status = child.wait();
    match answer {
        Answer::Bytes(bytes) => serde_json::from_slice::<Result<RawDocument, ReadError>>(&bytes)
            .unwrap_or_else(|_| Err(ended(status.ok(), limits))),
        Answer::Late => Err(timed_out(limits)),
    }
}

enum Answer {
    Bytes(Vec<u8>),
    Late,
}

/// Writes the request and reads the answer at the same time, until the answer is complete or the time is over.
fn converse(child: &mut Child, request: &[u8], bytes: &[u8], limits: &Limits) -> Answer {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let most = limits.max_text_bytes as u64 * ANSWER_GROWTH + ANSWER_EXTRA_BYTES;
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut answer = Vec::new();
            if let Some(stdout) = stdout {
                // A broken answer shows when it is taken apart.
                let _ = stdout.take(most).read_to_end(&mut answer);
            }
            let _ = sender.send(answer);
        });
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A child that died no longer reads; its status tells why.
                let _ = stdin
                    .write_all(&(request.len() as u64).to_le_bytes())
                    .and_then(|()| stdin.write_all(request))
                    .and_then(|()| stdin.write_all(bytes));
            }
        });
        match receiver.recv_timeout(limits.max_time + GRACE) {
            Ok(answer) => Answer::Bytes(answer),
            Err(_) => {
                // Ends the child, and with it its pipes and both threads.
                let _ = child.kill();
                Answer::Late
            }
        }
    })
}

/// Why a child that gave no answer ended.
fn ended(status: Option<ExitStatus>, limits: &Limits) -> ReadError {
    #[cfg(unix)]
    if let Some(signal) = status
        .as_ref()
        .and_then(std::os::unix::process::ExitStatusExt::signal)
    {
        return match signal {
            libc::SIGXCPU => timed_out(limits),
            libc::SIGABRT => ReadError::Crashed {
                what: format!(
                    "it gave up, most likely because it needed more than {} MiB of memory",
                    limits.worker_memory_bytes >> 20
                ),
            },
            other => ReadError::Crashed {
                what: format!("it was ended by signal {other}"),
            },
        };
    }
    let what = status.map_or_else(
        || "it could not be waited for".to_owned(),
        |status| format!("it ended with {status}"),
    );
    ReadError::Crashed { what }
}

/// The child's whole life: limits itself, reads one request, answers it. To be called first thing by the hidden
/// sub-command [`WORKER_COMMAND`], with the standard streams.
///
/// # Errors
///
/// Failing streams, or limits that could not be set: then nothing is read.
pub fn worker_main(input: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    let request = read_request(input)?;
    limit_this_process(&ProcessLimits {
        memory_bytes: request.limits.worker_memory_bytes,
        cpu_s: request.limits.max_time.as_secs() + GRACE.as_secs(),
        file_bytes: 0,
        open_files: WORKER_OPEN_FILES,
    })?;
    let mut bytes = Vec::new();
    input
        .take(request.limits.max_file_bytes + 1)
        .read_to_end(&mut bytes)?;
    let answer = in_thread(Path::new(&request.name), &bytes, &request.limits);
    serde_json::to_writer(&mut *output, &answer)?;
    output.flush()
}

fn read_request(input: &mut dyn Read) -> io::Result<Request> {
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the request is too long",
        ));
    }
    let mut header = Vec::new();
    input.take(length).read_to_end(&mut header)?;
    serde_json::from_slice(&header).map_err(io::Error::from)
}
