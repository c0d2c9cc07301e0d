//! `hanok importance`: which columns of a model's matrices matter, found on a text.

use std::ops::ControlFlow;

use model::importance::{Importance, ImportanceError};
use model::{LoadOptions, Model};
use serde::Serialize;
use stdx::clock::Stopwatch;

use crate::args::ImportanceArgs;
use crate::exit::{Failure, OrFail, Result, chain};
use crate::house::not_loaded;
use crate::interrupt;
use crate::print::{self, Counts, Progress};
use crate::settings::Settings;

#[derive(Serialize)]
struct ImportanceJson {
    schema: u32,
    input: String,
    output: String,
    tokens: usize,
    matrices: usize,
    unseen_experts: usize,
    seconds: f64,
}

/// Runs the command.
pub(crate) fn run(args: &ImportanceArgs, settings: &Settings, json: bool) -> Result<()> {
    let text = stdx::fs::read_to_string(&args.text).or_environment()?;
    let clock = Stopwatch::start();
    // A limit of 32 bits fits.
    let chunk = args.chunk as usize;
    let options = LoadOptions {
        threads: settings.threads,
        context: Some(chunk),
        ..LoadOptions::default()
    };
    let model = Model::load(&args.input, &options).map_err(|error| not_loaded(&args.input, &error))?;
    let chunk = chunk.min(model.context());
    let mut tokens = model.tokenize(&text);
    let n_max = args.chunks.map_or(usize::MAX, |n| n.saturating_mul(chunk));
    tokens.truncate(n_max);
    let importance = gather(&model, &tokens, chunk)?;
    importance
        .write(&args.output, &args.text.display().to_string())
        .or_environment()?;
    let result = ImportanceJson {
        schema: 1,
        input: args.input.display().to_string(),
        output: args.output.display().to_string(),
        tokens: tokens.len() / chunk * chunk,
        matrices: importance.n_matrices(),
        unseen_experts: importance.n_unseen_experts(),
        seconds: clock.s(),
    };
    if json {
        return print::json(&result);
    }
    print::line(&format!(
        "{}: {} matrices over {} tokens, in {:.1} s",
        result.output, result.matrices, result.tokens, result.seconds
    ))?;
    if result.unseen_experts > 0 {
        print::line(&format!(
            "note: {} matrices of experts met no token and count as all equal; a longer text helps",
            result.unseen_experts
        ))?;
    }
    Ok(())
}

fn gather(model: &Model, tokens: &[u32], chunk: usize) -> Result<Importance> {
    interrupt::install();
    let bar = Progress::start("reading the text", 0, Counts::Items);
    let gathered = Importance::gather(model.decoder(), tokens, chunk, &mut |done, all| {
        bar.set_total(all as u64);
        bar.set(done as u64);
        if interrupt::asked() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    match gathered {
        Ok(importance) => {
            bar.finish("done");
            Ok(importance)
        }
        Err(error) => {
            bar.clear();
            Err(match &error {
                ImportanceError::Stopped => Failure::interrupted("stopped: nothing was written"),
                ImportanceError::TooShort { .. } => {
                    Failure::misuse(chain(&error)).hint("or read fewer tokens at a time with `--chunk`")
                }
                _ => Failure::environment(chain(&error)),
            })
        }
    }
}
