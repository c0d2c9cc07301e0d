//! Files of a set: pages and questions in the layout of `trial retrieval`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stdx::fs;

/// A set on the disk.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) pages: PathBuf,
    pub(super) questions: PathBuf,
}

/// What is to be found.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    pub(super) id: String,
    pub(super) document: String,
    pub(super) text: String,
}

/// What is asked, with the pages that are right.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) id: String,
    pub(super) question: String,
    pub(super) pages: Vec<String>,
}

impl Set {
    pub(super) fn write(folder: &Path, name: &str, pages: &[Page], questions: &[Question]) -> Result<Self> {
        let set = Self {
            name: name.to_owned(),
            pages: folder.join(format!("{name}.pages.jsonl")),
            questions: folder.join(format!("{name}.questions.jsonl")),
        };
        fs::write_atomic(&set.pages, lines(pages)?)?;
        fs::write_atomic(&set.questions, lines(questions)?)?;
        Ok(set)
    }

    /// The right pages of each question, by its id.
    pub(super) fn labels(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let text = String::from_utf8(fs::read(&self.questions)?)?;
        let mut labels = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let question: Question = serde_json::from_str(line)
                .with_context(|| format!("a line of {} is no question", self.questions.display()))?;
            labels.insert(question.id, question.pages);
        }
        Ok(labels)
    }
}

fn lines<T: Serialize>(rows: &[T]) -> Result<String> {
    let mut text = String::new();
    for row in rows {
        text += &serde_json::to_string(row)?;
        text.push('\n');
    }
    Ok(text)
}
