//! `hanok ask`: one question, one answer with its sources.

use std::io::Read;

use assistant::Wanted;
use server::wire::{AskJson, AskStreamEvent, OutcomeJson};
use stdx::clock::Stopwatch;

use crate::answer::AnswerPrinter;
use crate::args::AskArgs;
use crate::exit::{Code, Failure, OrFail, Result};
use crate::house::{House, Question};
use crate::print;
use crate::settings::Settings;

/// A question on stdin longer than this is not read to its end; the assistant refuses it anyway.
const STDIN_BYTES_MAX: u64 = 1 << 20;

/// Runs the command.
pub(crate) fn run(args: &AskArgs, settings: &Settings, json: bool) -> Result<Code> {
    let question = Question {
        text: text_or_stdin(&args.question)?,
        history: Vec::new(),
        extractive: args.extractive,
        as_of: args.as_of.into(),
    };
    if question.text.trim().is_empty() {
        return Err(Failure::misuse("the question is empty").hint("write it in quotes: hanok ask \"…\""));
    }
    let house = House::for_questions(settings, args.extractive)?;
    let printed = answer(&house, question, !json)?;
    if json {
        print::json(&printed.answer)?;
    }
    Ok(match printed.answer.outcome {
        OutcomeJson::Refuse => Code::No,
        OutcomeJson::Answer | OutcomeJson::Hedge | OutcomeJson::Conflict => Code::Done,
    })
}

/// Asks; with `words`, prints the answer as it comes.
pub(crate) fn answer(house: &House, question: Question, words: bool) -> Result<Printed> {
    let clock = Stopwatch::start();
    let mut printer = AnswerPrinter::default();
    let mut first_ms = None;
    let mut trouble = None;
    let answer = house.ask(question, &mut |event| {
        if let AskStreamEvent::Sentence { .. } = event {
            first_ms.get_or_insert_with(|| clock.ms());
        }
        match if words { printer.event(&event) } else { Ok(()) } {
            Ok(()) => Wanted::Yes,
            Err(failure) => {
                trouble = Some(failure);
                Wanted::No
            }
        }
    });
    if let Some(failure) = trouble {
        return Err(failure);
    }
    let answer = answer?;
    if words {
        printer.finish(&answer)?;
    }
    Ok(Printed {
        first_ms: first_ms.unwrap_or_else(|| clock.ms()),
        answer,
    })
}

/// What was printed.
pub(crate) struct Printed {
    /// When the first sentence (or the refusal) stood.
    pub(crate) first_ms: f64,
    /// The answer.
    pub(crate) answer: AskJson,
}

/// The argument itself, or stdin for `-`.
pub(crate) fn text_or_stdin(argument: &str) -> Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(STDIN_BYTES_MAX)
        .read_to_end(&mut bytes)
        .or_environment()?;
    String::from_utf8(bytes).map_err(|_| Failure::misuse("the text on the standard input is not UTF-8"))
}
