//! How a command ends: exit codes, failures with their hints, and the message of a bug.
//!
//! Not the words of each failure: those stand where the failure happens.

use std::error::Error;
use std::fmt;
use std::panic::PanicHookInfo;

use serde::Serialize;

use crate::print;

/// The exit codes of `hanok`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Done.
    Done = 0,
    /// The answer is "no": a refusal.
    No = 1,
    /// Misuse or bad input.
    Misuse = 2,
    /// The environment: a file, a model, a port.
    Environment = 3,
    /// A bug of ours.
    Bug = 70,
    /// Stopped by Ctrl-C.
    Interrupted = 130,
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: Code,
    /// What happened and where. Empty when nothing is to be said (a closed pipe).
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

/// Result of a command's parts.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Misuse or bad input.
    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self::new(Code::Misuse, message)
    }

    /// Something outside is missing or broken.
    pub(crate) fn environment(message: impl Into<String>) -> Self {
        Self::new(Code::Environment, message)
    }

    /// Stopped by Ctrl-C; `message` says what is left.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Code::Interrupted, message)
    }

    /// The reader of our output went away: success without a word.
    pub(crate) fn closed_pipe() -> Self {
        Self::new(Code::Done, "")
    }

    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure as `--json` prints it.
    pub(crate) fn json(&self) -> ErrorReport<'_> {
        ErrorReport {
            schema: 1,
            error: ErrorDetail {
                message: &self.message,
                hint: self.hint.as_deref(),
                code: self.code as u8,
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

/// The object on stdout when a `--json` command fails.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorReport<'a> {
    schema: u32,
    error: ErrorDetail<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorDetail<'a> {
    message: &'a str,
    hint: Option<&'a str>,
    code: u8,
}

/// Turns errors of the rooms into failures.
pub(crate) trait OrFail<T> {
    /// The error means bad input.
    fn or_misuse(self) -> Result<T>;
    /// The error means that something outside is missing or broken.
    fn or_environment(self) -> Result<T>;
}

impl<T, E: Error> OrFail<T> for std::result::Result<T, E> {
    fn or_misuse(self) -> Result<T> {
        self.map_err(|error| Failure::misuse(chain(&error)))
    }

    fn or_environment(self) -> Result<T> {
        self.map_err(|error| Failure::environment(chain(&error)))
    }
}

/// An error and its causes in one line, causes that only repeat their parent left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

/// Makes a panic say what to report instead of a bare backtrace.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| print::stderr_line(&bug_report(info))));
}

fn bug_report(info: &PanicHookInfo<'_>) -> String {
    let what = info
        .payload()
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| info.payload().downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown reason".to_owned());
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    format!(
        "error: hanok {} has a bug: {what} ({place})\n\nhint: please report this line with the command that led \
         to it; leave out what is confidential. Your documents and the index are not touched by this message.",
        env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_json_object_with_message_hint_and_code() {
        let failure = Failure::environment("no model").hint("run `hanok pull`");
        let json = serde_json::to_value(failure.json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"schema": 1, "error": {"message": "no model", "hint": "run `hanok pull`", "code": 3}})
        );
    }

    #[test]
    fn a_cause_that_repeats_its_parent_is_left_out() {
        let error = stdx::fs::read("/no/such/file").unwrap_err();
        let text = chain(&error);
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
    }
}
