//! `hanok doctor`: each part, whether it is there, why not, and the command that mends it.

mod checks;

use serde::Serialize;

use crate::exit::{Code, Result};
use crate::print;
use crate::settings::Settings;

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Works.
    Ok,
    /// Not there; the rest works without it.
    Missing,
    /// There, but it does not work.
    Broken,
}

/// One part.
#[derive(Debug, Clone, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    /// The command or the deed that mends it.
    fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            detail: detail.into(),
            fix: None,
        }
    }

    fn missing(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Missing,
            detail: detail.into(),
            fix: Some(fix.into()),
        }
    }

    fn broken(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status: Status::Broken,
            ..Self::missing(name, detail, fix)
        }
    }
}

#[derive(Serialize)]
struct DoctorJson {
    schema: u32,
    checks: Vec<Check>,
}

/// Runs the command: exit code 0 if questions can be answered, at least by quoting; 3 if something is broken.
pub(crate) fn run(settings: &Settings, json: bool) -> Result<Code> {
    let checks = checks::all(settings);
    let broken = checks
        .iter()
        .filter(|check| check.status == Status::Broken)
        .count();
    if json {
        print::json(&DoctorJson { schema: 1, checks })?;
    } else {
        for check in &checks {
            print::stdout(&shown(check))?;
        }
        print::line(&format!("\n{}", verdict(broken)))?;
    }
    Ok(if broken == 0 {
        Code::Done
    } else {
        Code::Environment
    })
}

fn shown(check: &Check) -> String {
    let status = match check.status {
        Status::Ok => "ok",
        Status::Missing => "missing",
        Status::Broken => "broken",
    };
    let fix = check
        .fix
        .as_ref()
        .map(|fix| format!("{:21}→ {fix}\n", ""))
        .unwrap_or_default();
    format!("{status:<8} {:<12}{}\n{fix}", check.name, check.detail)
}

fn verdict(broken: usize) -> String {
    match broken {
        0 => "questions can be answered".to_owned(),
        n => format!("{} to be mended first", print::count(n, "part")),
    }
}
