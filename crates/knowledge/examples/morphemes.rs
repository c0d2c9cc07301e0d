//! The words of each line of stdin by a dictionary, one a line, to be compared with what MeCab makes of them:
//! `cargo run --release -p knowledge --example morphemes -- FOLDER < TEXT`.

use std::error::Error;
use std::io::{self, BufRead as _, Write as _};
use std::path::Path;

use knowledge::dictionary::Dictionary;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .ok_or("which folder has the dictionary?")?;
    let dictionary = Dictionary::open(Path::new(&folder))?;
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        for morpheme in dictionary.morphemes(&line) {
            let word = &line[morpheme.start..morpheme.end];
            writeln!(out, "{} {word}\t{}", morpheme.start, morpheme.features)?;
        }
        writeln!(out, "EOS")?;
    }
    Ok(())
}
