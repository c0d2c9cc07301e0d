//! Output: stdout is data, stderr is everything else, and a closed pipe is no error.
//!
//! The only place of the program that writes to the terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use server::wire::ValidityJson;

use crate::exit::{Failure, Result};

/// Writes exactly `text` to stdout.
pub(crate) fn stdout(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::closed_pipe(),
            _ => Failure::environment(format!("cannot write to the standard output: {error}")),
        })
}

/// Writes `text` and a line end to stdout.
pub(crate) fn line(text: &str) -> Result<()> {
    stdout(&format!("{text}\n"))
}

/// Writes one JSON object and a line end to stdout.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::environment(format!("cannot write the result as JSON: {error}")))?;
    line(&text)
}

/// Writes `text` and a line end to stderr; nothing is to be done where stderr is closed.
pub(crate) fn stderr_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A failure as text: `error: …`, a blank line, `hint: …`.
pub(crate) fn failure(failure: &Failure) {
    if failure.message.is_empty() {
        return;
    }
    stderr_line(&format!("error: {}", failure.message));
    if let Some(hint) = &failure.hint {
        stderr_line(&format!("\nhint: {hint}"));
    }
}

/// Whether a person watches stderr.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether a person types on stdin.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// A progress bar on a terminal; a plain line when it starts and ends elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    what: String,
    plain: bool,
}

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// Bytes.
    Bytes,
    /// Things.
    Items,
}

impl Progress {
    /// Starts a bar of `total`.
    pub(crate) fn start(what: &str, total: u64, counts: Counts) -> Self {
        let plain = !stderr_is_terminal();
        let bar = ProgressBar::with_draw_target(Some(total), target(plain));
        bar.set_style(style(counts));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if plain {
            stderr_line(&format!("{what} …"));
        }
        Self {
            bar,
            what: what.to_owned(),
            plain,
        }
    }

    /// Says what is being done just now.
    pub(crate) fn say(&self, doing: &str) {
        self.bar.set_message(doing.to_owned());
    }

    /// Sets how much there is in all.
    pub(crate) fn set_total(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// Sets how much is done.
    pub(crate) fn set(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Adds to what is done.
    pub(crate) fn add(&self, done: u64) {
        self.bar.inc(done);
    }

    /// Ends the bar with a line that says what came of it.
    pub(crate) fn finish(self, outcome: &str) {
        self.bar.finish_and_clear();
        let what = &self.what;
        stderr_line(&format!("{what}: {outcome}"));
    }

    /// Takes the bar away without a word.
    pub(crate) fn clear(self) {
        self.bar.finish_and_clear();
        if self.plain {
            stderr_line(&format!("{}: stopped", self.what));
        }
    }
}

fn target(plain: bool) -> ProgressDrawTarget {
    if plain {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    }
}

fn style(counts: Counts) -> ProgressStyle {
    let template = match counts {
        Counts::Bytes => "{wide_msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
        Counts::Items => "{msg} [{bar:30}] {pos}/{len} {per_sec}, {eta} left",
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Bytes for people: "98.4 MB".
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    for (size, unit) in UNITS {
        if n >= size {
            let tenths = n / (size / 10);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{n} B")
}

/// What is said of a document that does not hold today; nothing of one that does.
pub(crate) fn not_in_force(validity: &ValidityJson, korean: bool) -> Option<String> {
    if validity.holds {
        return None;
    }
    // Past its last day, or else before its first.
    let today = stdx::clock::today();
    let until = validity
        .valid_until
        .map(|day| day.0)
        .filter(|until| *until < today);
    Some(match (until, validity.valid_from, korean) {
        (Some(until), _, false) => format!("expired: in force until {until}"),
        (Some(until), _, true) => format!("만료: {until}까지 유효했음"),
        (None, Some(from), false) => format!("not yet in force: from {}", from.0),
        (None, Some(from), true) => format!("시행 전: {}부터", from.0),
        (None, None, false) => "not in force".to_owned(),
        (None, None, true) => "유효하지 않음".to_owned(),
    })
}

/// `n` things with their plural: "1 page", "2 pages".
pub(crate) fn count(n: usize, singular: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {singular}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_read_like_people_write_them() {
        assert_eq!(bytes(98_362_432), "98.3 MB");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(4_210_000_000), "4.2 GB");
        assert_eq!(count(1, "page"), "1 page");
        assert_eq!(count(0, "page"), "0 pages");
    }
}
