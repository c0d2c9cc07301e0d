//! `hanok convert`: a hub folder or a GGUF file to a GGUF file of chosen weight types.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use model::convert::{ConvertError, Options, Report, Rule, convert, dtype_by_name};
use model::importance::Importance;
use serde::Serialize;
use stdx::clock::Stopwatch;

use crate::args::ConvertArgs;
use crate::exit::{Failure, OrFail, Result, chain};
use crate::interrupt;
use crate::print::{self, Counts, Progress};
use crate::settings::Settings;

/// Fallbacks that are printed one by one; more are counted.
const N_SHOWN: usize = 8;

#[derive(Serialize)]
struct ConvertJson<'a> {
    schema: u32,
    input: String,
    output: String,
    r#type: &'a str,
    bytes: u64,
    tensors: &'a BTreeMap<&'static str, u64>,
    fallbacks: Vec<FallbackJson<'a>>,
    notes: &'a [String],
    seconds: f64,
}

#[derive(Serialize)]
struct FallbackJson<'a> {
    tensor: &'a str,
    columns: u64,
    wanted: &'static str,
    taken: &'static str,
}

/// Runs the command.
pub(crate) fn run(args: &ConvertArgs, settings: &Settings, json: bool) -> Result<()> {
    let rules: std::result::Result<Vec<Rule>, ConvertError> =
        args.recipe.iter().map(|rule| Rule::parse(rule)).collect();
    let importance = args.importance.as_deref().map(Importance::open).transpose();
    let options = Options {
        dtype: dtype_by_name(&args.dtype).or_misuse()?,
        rules: rules.or_misuse()?,
        importance: importance.or_environment()?,
        without_tokenizer: args.no_tokenizer,
        threads: settings.threads,
    };
    let clock = Stopwatch::start();
    let report = with_bar(args, &options)?;
    let seconds = clock.s();
    if json {
        return print::json(&ConvertJson {
            schema: 1,
            input: args.input.display().to_string(),
            output: args.output.display().to_string(),
            r#type: options.dtype.name(),
            bytes: report.bytes,
            tensors: &report.tensors,
            fallbacks: fallbacks(&report),
            notes: &report.notes,
            seconds,
        });
    }
    print::stdout(&words(args, &report, seconds))
}

fn with_bar(args: &ConvertArgs, options: &Options) -> Result<Report> {
    interrupt::install();
    let bar = Progress::start("converting", 0, Counts::Bytes);
    let made = convert(&args.input, &args.output, options, &mut |progress| {
        bar.set_total(progress.total_bytes);
        bar.set(progress.done_bytes);
        if interrupt::asked() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    match made {
        Ok(report) => {
            bar.finish("done");
            Ok(report)
        }
        Err(error) => {
            bar.clear();
            Err(not_converted(&error))
        }
    }
}

fn not_converted(error: &ConvertError) -> Failure {
    match error {
        ConvertError::Stopped => Failure::interrupted("stopped: the unfinished file was removed"),
        ConvertError::RuleUnused { .. } => {
            Failure::misuse(chain(error)).hint("`hanok inspect` prints the model's names and types")
        }
        ConvertError::OwnInput { .. } => Failure::misuse(chain(error)),
        ConvertError::NoTokenizer { .. } => {
            Failure::environment(chain(error)).hint("`--no-tokenizer` converts the weights alone")
        }
        ConvertError::Fs(inner) if inner.is_no_space() => {
            Failure::environment(chain(error)).hint("make room, or choose a smaller type")
        }
        _ => Failure::environment(chain(error)),
    }
}

fn fallbacks(report: &Report) -> Vec<FallbackJson<'_>> {
    let fallbacks = report.fallbacks.iter();
    fallbacks
        .map(|fallback| FallbackJson {
            tensor: &fallback.tensor,
            columns: fallback.columns,
            wanted: fallback.wanted.name(),
            taken: fallback.taken.name(),
        })
        .collect()
}

fn words(args: &ConvertArgs, report: &Report, seconds: f64) -> String {
    let types: Vec<String> = report
        .tensors
        .iter()
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    let mut text = format!(
        "{}: {}, tensors by type: {}, in {seconds:.1} s\n",
        args.output.display(),
        print::bytes(report.bytes),
        types.join(", ")
    );
    for fallback in report.fallbacks.iter().take(N_SHOWN) {
        text += &format!(
            "  {}: {} instead of {}, because rows of {} are not whole blocks\n",
            fallback.tensor,
            fallback.taken.name(),
            fallback.wanted.name(),
            fallback.columns
        );
    }
    if let Some(more) = report.fallbacks.len().checked_sub(N_SHOWN).filter(|n| *n > 0) {
        text += &format!("  and {more} more like that\n");
    }
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    text
}
