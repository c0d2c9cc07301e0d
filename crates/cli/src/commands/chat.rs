//! `hanok chat`: questions in turns, each answered from the documents, earlier turns kept in mind.

use std::io::{BufRead, Read, Write};

use server::wire::{AsOfJson, TurnJson};

use super::ask;
use crate::args::ChatArgs;
use crate::exit::{Code, Failure, Result};
use crate::house::{House, Question};
use crate::print;
use crate::settings::Settings;

/// Turns kept in mind; older ones are forgotten.
const N_TURNS_MAX: usize = 16;

/// Bytes of one typed line.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Runs the command.
pub(crate) fn run(args: &ChatArgs, settings: &Settings, json: bool) -> Result<()> {
    let house = House::for_questions(settings, args.extractive)?;
    let typed = print::stdin_is_terminal();
    if typed {
        print::stderr_line(
            "Ask about your documents. /new forgets the earlier questions, /quit (or Ctrl-D) ends.",
        );
    }
    let mut history: Vec<TurnJson> = Vec::new();
    while let Some(line) = next_line(typed)? {
        match line.trim() {
            "" => {}
            "/quit" | "/exit" => break,
            "/new" => history.clear(),
            question => turn(&house, question, args.extractive, &mut history, json)?,
        }
    }
    Ok(())
}

fn turn(house: &House, text: &str, extractive: bool, history: &mut Vec<TurnJson>, json: bool) -> Result<()> {
    let question = Question {
        text: text.to_owned(),
        history: history.clone(),
        extractive,
        as_of: AsOfJson::default(),
    };
    match ask::answer(house, question, !json) {
        Ok(printed) => {
            if json {
                print::json(&printed.answer)?;
            }
            history.push(TurnJson {
                question: text.to_owned(),
                answer: printed.answer.text(),
            });
            if history.len() > N_TURNS_MAX {
                history.remove(0);
            }
        }
        // A question that is too long ends a turn, not the conversation.
        Err(failure) if failure.code == Code::Misuse => {
            print::failure(&failure);
            if json {
                print::json(&failure.json())?;
            }
        }
        Err(failure) => return Err(failure),
    }
    if json { Ok(()) } else { print::line("") }
}

/// The next line; `None` at the end of the input.
fn next_line(typed: bool) -> Result<Option<String>> {
    if typed {
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "> ").and_then(|()| err.flush());
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut bytes)
        .map_err(|error| Failure::environment(format!("cannot read the standard input: {error}")))?;
    match bytes.is_empty() {
        true => Ok(None),
        false => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
    }
}
