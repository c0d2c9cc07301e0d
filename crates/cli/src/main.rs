//! The binary `hanok`: arguments, settings, printing, exit codes.
//!
//! Has no business of its own: every command is a few calls into the rooms below.

mod answer;
mod args;
mod callers;
mod commands;
mod demo;
mod embedder;
mod exit;
mod house;
mod interrupt;
mod models;
mod print;
mod pull;
mod reranker;
mod settings;
mod sources;
mod upkeep;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser;
use knowledge::read::WORKER_COMMAND;

use args::{Cli, Command, KnowledgeCommand, TrialCommand};
use exit::{Code, Failure, OrFail, Result};
use settings::{Environment, Settings};

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == WORKER_COMMAND)
    {
        return commands::read::run().into();
    }
    exit::install_panic_hook();
    let ended = std::panic::catch_unwind(AssertUnwindSafe(start));
    ended.unwrap_or(Code::Bug).into()
}

fn start() -> Code {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let json = cli.settings.json;
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            print::failure(&failure);
            if json && !failure.message.is_empty() {
                // Nothing is left to be done when even this cannot be written.
                let _ = print::json(&failure.json());
            }
            failure.code
        }
    }
}

/// Wrong arguments, or a call for help or the version.
fn misused(error: &clap::Error) -> Code {
    if !error.use_stderr() {
        return match print::stdout(&error.render().to_string()) {
            Ok(()) => Code::Done,
            Err(failure) => failure.code,
        };
    }
    print::stderr_line(error.render().to_string().trim_end());
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        // Up to the usage: "the following arguments were not provided:" and their names.
        let said: Vec<&str> = text
            .lines()
            .map(str::trim)
            .take_while(|l| !l.starts_with("Usage:"))
            .collect();
        let message = said.join(" ").trim().trim_start_matches("error: ").to_owned();
        let failure = Failure::misuse(message).hint("`hanok --help` lists what there is");
        let _ = print::json(&failure.json());
    }
    Code::Misuse
}

fn run(cli: Cli) -> Result<Code> {
    let settings = Settings::resolve(&cli.settings, Environment::of_process())?;
    let json = cli.settings.json;
    start_log(&settings, &cli.command)?;
    if let Some(level) = settings.kernels {
        compute::force_isa(level).or_misuse()?;
    }
    match cli.command {
        Command::Ask(args) => return commands::ask::run(&args, &settings, json),
        Command::Ingest(args) => return commands::ingest::run(&args, &settings, json),
        Command::Sync(args) => return commands::sync::run(&args, &settings, json),
        Command::Verify(args) => return commands::keep::verify(&args, &settings, json),
        Command::Knowledge(KnowledgeCommand::Quality(args)) => {
            return commands::quality::run(&args, &settings, json);
        }
        Command::Knowledge(KnowledgeCommand::Reindex(args)) => {
            return commands::reindex::run(&args, &settings, json);
        }
        Command::Doctor => return commands::doctor::run(&settings, json),
        Command::Pull(args) => commands::pull::run(&args, &settings, json)?,
        Command::Chat(args) => commands::chat::run(&args, &settings, json)?,
        Command::Search(args) => commands::search::run(&args, &settings, json)?,
        Command::Suggest(args) => commands::search::suggest(&args, &settings, json)?,
        Command::Show(args) => commands::documents::show(&args, &settings, json)?,
        Command::Documents => commands::documents::list(&settings, json)?,
        Command::Remove(args) => commands::documents::remove(&args, &settings, json)?,
        Command::Backup(args) => commands::keep::backup(&args, &settings, json)?,
        Command::Restore(args) => commands::keep::restore(&args, &settings, json)?,
        Command::Export => commands::keep::export(&settings)?,
        Command::Serve => commands::serve::run(&settings, json)?,
        Command::Generate(args) => commands::generate::run(&args, &settings, json)?,
        Command::Tokenize(args) => commands::generate::tokenize(&args, &settings, json)?,
        Command::Config => commands::config::run(&settings, json)?,
        Command::Demo(args) => commands::demo::run(&args, &settings, json)?,
        Command::Synth(args) => commands::synth::run(&args, json)?,
        Command::Convert(args) => commands::convert::run(&args, &settings, json)?,
        Command::Importance(args) => commands::importance::run(&args, &settings, json)?,
        Command::Inspect(args) => commands::inspect::run(&args, &settings, json)?,
        Command::Trial(TrialCommand::Retrieval(args)) => commands::trial::retrieval(&args, &settings, json)?,
    }
    Ok(Code::Done)
}

/// Logs go to stderr: warnings for a command, what happens for `serve`.
fn start_log(settings: &Settings, command: &Command) -> Result<()> {
    let default = match command {
        Command::Serve => "info",
        _ => "warn",
    };
    let given = settings.log.as_deref().unwrap_or(default);
    let filter = tracing_subscriber::EnvFilter::try_new(given).map_err(|error| {
        Failure::misuse(format!("the log filter `{given}` is not understood: {error}"))
            .hint("use error, warn, info, debug, trace, or a filter such as `warn,server=info`")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(print::stderr_is_terminal())
        .init();
    Ok(())
}
