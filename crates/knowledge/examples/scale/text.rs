//! Documents out of real text: the pages themselves first, then new pages out of their sentences.
//!
//! A new page takes runs of sentences from several pages of one language, changes their figures, and replaces one word
//! in eight by a word from elsewhere, drawn as often as it is written. So words are as frequent as in real text, no two
//! passages are alike, and nobody could tell the size of the index from its words.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stdx::fs;
use stdx::rng::Rng;

use crate::{Outcome, seeded};

/// Sentences of a page, about.
const SENTENCES_OF_PAGE: usize = 48;
/// Sentences that stay together.
const RUN_MAX: u64 = 5;
/// One word in so many is replaced.
const REPLACED: u64 = 8;
/// Pages of one document.
const PAGES_OF_DOCUMENT: usize = 6;
/// Passages of a page, about: how much is written before it is looked how many there are.
const PASSAGES_OF_PAGE: usize = 6;

#[derive(Deserialize)]
struct Page {
    document: String,
    text: String,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
}

/// Questions out of several files: all of short files, and evenly out of longer ones; mixed, but the same every time.
pub(crate) fn questions(files: &[PathBuf], n: usize) -> Outcome<Vec<String>> {
    let mut all = Vec::new();
    for file in files {
        let mut asked: Vec<String> = Vec::new();
        for line in read(file)?.lines().filter(|line| !line.is_empty()) {
            asked.push(serde_json::from_str::<Asked>(line)?.question);
        }
        let step = asked.len().div_ceil(n.div_ceil(files.len().max(1)).max(1)).max(1);
        all.extend(asked.into_iter().step_by(step));
    }
    let mut rng = seeded(3);
    for i in (1..all.len()).rev() {
        all.swap(i, rng.below(i as u64 + 1) as usize);
    }
    all.dedup();
    all.truncate(n);
    if all.len() < 2 {
        return Err("there are no questions in these files".into());
    }
    Ok(all)
}

/// A file as text, plain or compressed.
fn read(path: &Path) -> Outcome<String> {
    let bytes = fs::read(path)?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text)?;
    } else {
        text = String::from_utf8(bytes)?;
    }
    Ok(text)
}

/// Sentences of one language.
#[derive(Default)]
struct Pool {
    sentences: Vec<String>,
}

/// Writes documents.
pub(crate) struct Maker {
    real: std::vec::IntoIter<Page>,
    pools: Vec<Pool>,
    rng: Rng,
}

impl Maker {
    pub(crate) fn new(files: &[PathBuf]) -> Outcome<Self> {
        let (mut pages, mut korean, mut other) = (Vec::new(), Pool::default(), Pool::default());
        for file in files {
            for line in read(file)?.lines().filter(|line| !line.is_empty()) {
                let page: Page = serde_json::from_str(line)?;
                let is_korean = page.text.chars().any(|c| ('가'..='힣').contains(&c));
                let pool = if is_korean { &mut korean } else { &mut other };
                pool.sentences.extend(sentences(&page.text));
                pages.push(page);
            }
        }
        pages.sort_by(|a, b| a.document.cmp(&b.document));
        let pools: Vec<Pool> = [korean, other]
            .into_iter()
            .filter(|pool| !pool.sentences.is_empty())
            .collect();
        if pools.is_empty() {
            return Err("there is no text in these files".into());
        }
        Ok(Self {
            real: pages.into_iter(),
            pools,
            // Another process that goes on must not write the same again.
            rng: seeded(stdx::clock::unix_ms().cast_unsigned()),
        })
    }

    /// Writes pages for about so many passages, a little fewer rather than more; returns how many pages.
    pub(crate) fn write(&mut self, folder: &Path, n_passages: usize) -> Outcome<usize> {
        fs::create_dir_all(folder)?;
        let n_pages = (n_passages / PASSAGES_OF_PAGE).clamp(1, 10_000);
        let mut document = String::new();
        for at in 0..n_pages {
            let page = match self.real.next() {
                Some(page) => page.text,
                None => self.page(),
            };
            document.push_str(&format!("{page}\n\n"));
            if (at + 1) % PAGES_OF_DOCUMENT == 0 || at + 1 == n_pages {
                fs::write(folder.join(format!("{at:06}.md")), &document)?;
                document.clear();
            }
        }
        Ok(n_pages)
    }

    fn page(&mut self) -> String {
        let which = self.rng.below(self.pools.len() as u64) as usize;
        let sentences = &self.pools[which].sentences;
        let mut page = String::from("## ");
        let mut n = 0;
        while n < SENTENCES_OF_PAGE {
            let from = self.rng.below(sentences.len() as u64) as usize;
            let run = 1 + self.rng.below(RUN_MAX) as usize;
            for sentence in sentences.iter().skip(from).take(run) {
                for word in sentence.split_whitespace() {
                    page.push_str(&changed(word, sentences, &mut self.rng));
                    page.push(' ');
                }
                page.push_str(if n == 0 { "\n\n" } else { "\n" });
                n += 1;
            }
        }
        page
    }
}

fn sentences(text: &str) -> Vec<String> {
    text.split_inclusive(['.', '?', '!', '\n'])
        .map(str::trim)
        .filter(|sentence| sentence.chars().count() > 8)
        .map(str::to_owned)
        .collect()
}

/// The word, or one from elsewhere, with other figures.
fn changed(word: &str, sentences: &[String], rng: &mut Rng) -> String {
    let word = if rng.below(REPLACED) == 0 {
        let other = &sentences[rng.below(sentences.len() as u64) as usize];
        let words: Vec<&str> = other.split_whitespace().collect();
        words[rng.below(words.len() as u64) as usize]
    } else {
        word
    };
    let digit = |c: char, rng: &mut Rng| match c {
        '0'..='9' => char::from(b'0' + rng.below(10) as u8),
        other => other,
    };
    word.chars().map(|c| digit(c, rng)).collect()
}
