//! `hanok config`: what is in force and where each value came from.

use serde::Serialize;

use crate::exit::Result;
use crate::print;
use crate::settings::{Raw, Settings, Source};
use crate::sources::Spec;

#[derive(Serialize)]
struct ConfigJson {
    schema: u32,
    file: String,
    file_found: bool,
    settings: Vec<SettingJson>,
    sources: Vec<SourceJson>,
}

#[derive(Serialize)]
struct SourceJson {
    name: String,
    kind: &'static str,
    address: String,
}

#[derive(Serialize)]
struct SettingJson {
    key: &'static str,
    value: Option<String>,
    source: &'static str,
    variable: String,
    flag: String,
}

/// Runs the command.
pub(crate) fn run(settings: &Settings, json: bool) -> Result<()> {
    if json {
        return print::json(&ConfigJson {
            schema: 1,
            file: settings.file.0.display().to_string(),
            file_found: settings.file.1,
            settings: settings.raw.iter().map(setting_json).collect(),
            sources: settings.sources.iter().map(source_json).collect(),
        });
    }
    let state = if settings.file.1 { "" } else { " (not there)" };
    print::line(&format!(
        "configuration file: {}{state}\n",
        settings.file.0.display()
    ))?;
    for raw in &settings.raw {
        let value = shown(raw).unwrap_or_else(|| "(not set)".to_owned());
        print::line(&format!("{:<13} = {value}  ({})", raw.key.name, origin(raw)))?;
    }
    for spec in &settings.sources {
        let (kind, address) = (spec.kind_name(), spec.address());
        print::line(&format!("source {} = {kind} {address}", spec.name))?;
    }
    Ok(())
}

fn source_json(spec: &Spec) -> SourceJson {
    SourceJson {
        name: spec.name.clone(),
        kind: spec.kind_name(),
        address: spec.address(),
    }
}

fn setting_json(raw: &Raw) -> SettingJson {
    SettingJson {
        key: raw.key.name,
        value: shown(raw),
        source: raw.source.name(),
        variable: raw.key.variable(),
        flag: raw.key.flag(),
    }
}

/// The value; a token is a secret and only said to be there.
fn shown(raw: &Raw) -> Option<String> {
    match raw.key.name {
        "token" => raw.value.as_ref().map(|_| "(set, not shown)".to_owned()),
        _ => raw.value.clone(),
    }
}

fn origin(raw: &Raw) -> String {
    match raw.source {
        Source::Flag => format!("flag {}", raw.key.flag()),
        Source::Environment => format!("environment {}", raw.key.variable()),
        Source::File => "file".to_owned(),
        Source::Default => "default".to_owned(),
    }
}
