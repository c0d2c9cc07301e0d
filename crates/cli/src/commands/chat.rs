//! `hanok chat`: questions in turns, each answered from the documents, earlier turns kept in mind.

use std::io::{BufRead, Read, Write};

use server::wire::TurnJson;

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
            question => turn(&house, question, args, &mut history, json)?,
        }
    }
    Ok(())
}

fn turn(house: &House, text: &str, args: &ChatArgs, history: &mut Vec<TurnJson>, json: bool) -> Result<()> {
    match ask::answer(house, question(text, args, history), !json) {
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

fn question(text: &str, args: &ChatArgs, history: &[TurnJson]) -> Question {
    Question {
        text: text.to_owned(),
        history: history.to_vec(),
        extractive: args.extractive,
        as_of: args.as_of.into(),
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use server::wire::AsOfJson;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn every_turn_looks_at_the_day_that_was_asked_for() {
        let asked = |flags: &[&str]| {
            let line = ["hanok", "chat"].iter().chain(flags);
            let Command::Chat(args) = Cli::try_parse_from(line).unwrap().command else {
                panic!("it is the command chat");
            };
            question("무엇이 다른가", &args, &[]).as_of
        };
        let then = asked(&["--as-of", "2023-06-01"]);
        assert_eq!(
            then.day.map(|day| day.0.to_string()).as_deref(),
            Some("2023-06-01")
        );
        assert!(!then.include_expired);
        assert!(asked(&["--include-expired"]).include_expired);
        assert_eq!(asked(&[]), AsOfJson::default());
    }
}
