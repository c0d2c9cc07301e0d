//! The hidden sub-command that reads one document in a process of its own, limited in memory, time and files.
//!
//! Started by `ingest` and `serve`, never by people; knows no settings, so that nothing of them reaches a reader.

use crate::exit::{Code, chain};
use crate::{interrupt, print};

/// Reads one request from stdin and answers it on stdout.
pub(crate) fn run() -> Code {
    // A crash is told by the parent, in its own words.
    std::panic::set_hook(Box::new(|_| {}));
    // Ctrl-C goes to the whole group: the parent decides, and the file under way is finished.
    interrupt::ignore();
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    match knowledge::read::worker_main(&mut input, &mut output) {
        Ok(()) => Code::Done,
        Err(error) => {
            print::stderr_line(&format!("error: the reader's streams failed: {}", chain(&error)));
            Code::Environment
        }
    }
}
