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

use super::{
    Format, Limits, Passwords, PictureError, RawDocument, ReadError, draw, format_of, read_locked,
    refuse_large, with_text,
};

/// The hidden sub-command with which a program starts [`worker_main`].
pub const WORKER_COMMAND: &str = "__read";

/// Stack of the thread that reads.
const STACK_BYTES: usize = 64 << 20;
/// How much longer than a document's own time limit its reader may live.
const GRACE: Duration = Duration::from_secs(3);
/// Longest request header: a file name, passwords and some numbers.
const MAX_HEADER_BYTES: u64 = 256 << 10;
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

/// What the child is asked; the document's bytes follow it. Passwords come this way too: other users of the machine
/// can see a process's arguments and environment, but not its pipes.
#[derive(Serialize, Deserialize)]
struct Request {
    name: String,
    limits: Limits,
    passwords: Passwords,
    task: Task,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Task {
    Read,
    /// One page as a picture of at most so many pixels across.
    Draw {
        page: u32,
        width: u32,
    },
}

impl Request {
    /// Most bytes of an honest answer.
    fn answer_max(&self) -> u64 {
        match self.task {
            Task::Read => self.limits.max_text_bytes as u64 * ANSWER_GROWTH + ANSWER_EXTRA_BYTES,
            Task::Draw { .. } => draw::MAX_PICTURE_BYTES,
        }
    }
}

/// With what documents are read.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// Where the formats that attackers like are read.
    pub isolation: &'a Isolation,
    /// How much of a document is read before it is refused.
    pub limits: &'a Limits,
    /// What opens encrypted PDF files.
    pub passwords: &'a Passwords,
}

/// Reads a document that needs no password; the formats that attackers like where `isolation` says.
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
    let passwords = &Passwords::default();
    let means = Means {
        isolation,
        limits,
        passwords,
    };
    read_with(path, bytes, means)
}

/// Reads a document. Encrypted PDF files are opened with the first password that fits.
///
/// # Errors
///
/// One of [`ReadError`], each a sentence.
pub fn read_with(path: &Path, bytes: &[u8], means: Means<'_>) -> Result<RawDocument, ReadError> {
    read_scanned(path, bytes, means).and_then(with_text)
}

/// Reads a document like [`read_with`]; a PDF file may be one of pictures alone.
pub(crate) fn read_scanned(path: &Path, bytes: &[u8], means: Means<'_>) -> Result<RawDocument, ReadError> {
    refuse_large(bytes.len() as u64, means.limits)?;
    // Telling the format opens at most the table of contents of a zip file.
    let format = guarded_format(path, bytes)?;
    match means.isolation {
        Isolation::Process { exe, args } if format.is_hostile(path) => {
            let request = Request::to(Task::Read, path, means);
            in_process(exe, args, &request, bytes, document_of)
        }
        _ => read_in_thread(path, bytes, means.limits, means.passwords),
    }
}

/// Draws a page of a PDF file, 1-based, as a PNG picture of `width` pixels across, or less where the page is so high
/// that the picture would be too large.
///
/// # Errors
///
/// [`PictureError`]: there is no such page, or the file cannot be read.
pub fn draw_page(bytes: &[u8], (page, width): (u32, u32), means: Means<'_>) -> Result<Vec<u8>, PictureError> {
    refuse_large(bytes.len() as u64, means.limits)?;
    let limits = &draw::limits(means.limits);
    let means = Means { limits, ..means };
    match means.isolation {
        Isolation::Process { exe, args } => {
            let request = Request::to(Task::Draw { page, width }, Path::new(""), means);
            in_process(exe, args, &request, bytes, picture_of)
        }
        Isolation::Thread => draw_in_thread(bytes, (page, width), limits, means.passwords),
    }
}

impl Request {
    fn to(task: Task, path: &Path, means: Means<'_>) -> Self {
        Self {
            name: path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            limits: means.limits.clone(),
            passwords: means.passwords.clone(),
            task,
        }
    }
}

/// Reads a document in a child process of the program `exe`, started with [`WORKER_COMMAND`].
///
/// # Errors
///
/// One of [`ReadError`], each a sentence.
pub fn isolated(exe: &Path, path: &Path, bytes: &[u8], limits: &Limits) -> Result<RawDocument, ReadError> {
    refuse_large(bytes.len() as u64, limits)?;
    let isolation = &Isolation::Process {
        exe: exe.to_owned(),
        args: vec![WORKER_COMMAND.into()],
    };
    let passwords = &Passwords::default();
    let means = Means {
        isolation,
        limits,
        passwords,
    };
    let request = Request::to(Task::Read, path, means);
    in_process(exe, &[WORKER_COMMAND.into()], &request, bytes, document_of).and_then(with_text)
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

fn read_in_thread(
    path: &Path,
    bytes: &[u8],
    limits: &Limits,
    passwords: &Passwords,
) -> Result<RawDocument, ReadError> {
    let (path, bytes, own_limits, passwords) = (
        path.to_owned(),
        bytes.to_owned(),
        limits.clone(),
        passwords.clone(),
    );
    in_thread(limits, move || {
        read_locked(&path, &bytes, &own_limits, &passwords)
    })
}

fn draw_in_thread(
    bytes: &[u8],
    (page, width): (u32, u32),
    limits: &Limits,
    passwords: &Passwords,
) -> Result<Vec<u8>, PictureError> {
    let (bytes, passwords) = (bytes.to_owned(), passwords.clone());
    in_thread(limits, move || draw::page(&bytes, page, width, &passwords))
}

fn in_thread<T, E>(limits: &Limits, work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<ReadError> + Send + 'static,
{
    let (sender, receiver) = mpsc::sync_channel(1);
    let spawned = thread::Builder::new()
        .name("reader".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let result = panic::catch_unwind(AssertUnwindSafe(work));
            // Nobody listens any more if the time was over.
            let _ = sender.send(result.unwrap_or_else(|panic| Err(crashed(&panic).into())));
        });
    spawned.map_err(|error| ReadError::Io {
        what: format!("cannot start a reading thread: {error}"),
        is_passing: true,
    })?;
    match receiver.recv_timeout(limits.max_time + GRACE) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(timed_out(limits).into()),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(ReadError::Crashed {
            what: "its thread ended".to_owned(),
        }
        .into()),
    }
}

fn in_process<T, E: From<ReadError>>(
    exe: &Path,
    args: &[OsString],
    request: &Request,
    bytes: &[u8],
    parse: impl FnOnce(&[u8]) -> Option<Result<T, E>>,
) -> Result<T, E> {
    let limits = &request.limits;
    let header = serde_json::to_vec(request).map_err(|error| ReadError::Io {
        what: error.to_string(),
        is_passing: false,
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
            is_passing: stdx::fs::is_transient(&error),
        })?;
    let answer = converse(&mut child, &header, bytes, request);
    // Killing a child that has ended does nothing; waiting clears it away.
    let _ = child.kill();
    let status = child.wait();
    match answer {
        Answer::Bytes(bytes) => parse(&bytes).unwrap_or_else(|| Err(ended(status.ok(), limits).into())),
        Answer::Late => Err(timed_out(limits).into()),
    }
}

fn document_of(answer: &[u8]) -> Option<Result<RawDocument, ReadError>> {
    serde_json::from_slice(answer).ok()
}

/// A line that says how it went, then the picture.
fn picture_of(answer: &[u8]) -> Option<Result<Vec<u8>, PictureError>> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let outcome: Result<(), PictureError> = serde_json::from_slice(&answer[..end]).ok()?;
    Some(outcome.map(|()| answer[end + 1..].to_vec()))
}

enum Answer {
    Bytes(Vec<u8>),
    Late,
}

/// Writes the request and reads the answer at the same time, until the answer is complete or the time is over.
fn converse(child: &mut Child, header: &[u8], bytes: &[u8], request: &Request) -> Answer {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (most, limits) = (request.answer_max(), &request.limits);
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
                    .write_all(&(header.len() as u64).to_le_bytes())
                    .and_then(|()| stdin.write_all(header))
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
    let (limits, passwords) = (&request.limits, &request.passwords);
    match request.task {
        Task::Read => {
            let answer = read_in_thread(Path::new(&request.name), &bytes, limits, passwords);
            serde_json::to_writer(&mut *output, &answer)?;
        }
        Task::Draw { page, width } => {
            let answer = draw_in_thread(&bytes, (page, width), limits, passwords);
            let outcome = answer.as_ref().map(|_| ());
            serde_json::to_writer(&mut *output, &outcome)?;
            output.write_all(b"\n")?;
            output.write_all(answer.as_deref().unwrap_or_default())?;
        }
    }
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
