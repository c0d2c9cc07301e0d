//! Tesseract as a child: its standard streams alone, with limits on time, memory and what it says.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use stdx::process::{ProcessLimits, limit_child};

use super::{Ocr, OcrError};

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 32 << 20;
/// Most bytes of what it complains of.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;
/// Largest file it may write: what it is sent may be kept in a temporary one.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Files it may have open: data for each language, libraries.
const OPEN_FILES: u64 = 64;
/// Longest time to say which languages it has.
const LANGUAGES_TIME: Duration = Duration::from_secs(20);

/// The words of a picture: a table of words with places, and the text as running lines.
pub(super) fn run(ocr: &Ocr, picture: &[u8]) -> Result<String, String> {
    let mut command = command(ocr);
    command.args(["stdin", "stdout", "-l", &ocr.languages]);
    // Korean: spaces are where they are written, not between all syllables.
    command.args(["-c", "preserve_interword_spaces=1", "tsv", "txt"]);
    talk(&mut command, picture, ocr.max_time)
}

/// The languages it has data for.
pub(super) fn languages(ocr: &Ocr) -> Result<Vec<String>, OcrError> {
    let mut command = command(ocr);
    command.arg("--list-langs");
    let said = talk(&mut command, &[], LANGUAGES_TIME).map_err(|what| OcrError::NoProgram {
        program: ocr.program.display().to_string(),
        what,
    })?;
    // The first line is a heading.
    Ok(said
        .lines()
        .skip(1)
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect())
}

fn command(ocr: &Ocr) -> Command {
    let mut command = Command::new(&ocr.program);
    command
        .env_clear()
        .current_dir("/")
        .env("LC_ALL", "C")
        .env("OMP_THREAD_LIMIT", "1");
    for name in ["PATH", "TESSDATA_PREFIX", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let limits = ProcessLimits {
        memory_bytes: ocr.memory_bytes,
        cpu_s: ocr.max_time.as_secs().max(1),
        file_bytes: FILE_BYTES_MAX,
        open_files: OPEN_FILES,
    };
    limit_child(&mut command, limits);
    command
}

/// Starts it, gives it `input` and takes what it says; or why it failed, in its own words.
fn talk(command: &mut Command, input: &[u8], max_time: Duration) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (sender, receiver) = mpsc::sync_channel(1);
    let (answer, complaint) = thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // One that ended reads no more; its status tells.
                let _ = stdin.write_all(input);
            }
        });
        let complaint = scope.spawn(move || {
            stderr
                .map(|pipe| first_of(pipe, COMPLAINT_BYTES_MAX))
                .unwrap_or_default()
        });
        scope.spawn(move || {
            let _ = sender.send(
                stdout
                    .map(|pipe| first_of(pipe, ANSWER_BYTES_MAX))
                    .unwrap_or_default(),
            );
        });
        let answer = receiver.recv_timeout(max_time).ok();
        if answer.is_none() {
            // Ends its pipes, and with them the threads.
            let _ = child.kill();
        }
        (answer, complaint.join().unwrap_or_default())
    });
    let status = child.wait().map_err(|error| error.to_string())?;
    match answer {
        None => Err(format!("it took more than {} s", max_time.as_secs())),
        Some(answer) if status.success() => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Some(_) => {
            let complaint = String::from_utf8_lossy(&complaint);
            let last = complaint.lines().rfind(|line| !line.trim().is_empty());
            Err(last.map_or_else(
                || format!("it ended with {status}"),
                |line| line.trim().to_owned(),
            ))
        }
    }
}

/// The first bytes of a pipe; the rest is read and forgotten, so that nobody waits for it.
fn first_of(mut pipe: impl Read, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.by_ref().take(most).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    bytes
}
