//! What `hanok demo` needs: its documents, gathered once, and its questions.

mod debian;
mod documents;
mod sources;

pub(crate) use documents::gather;

/// Whom a prepared question is for.
pub(crate) struct Prepared {
    /// The question.
    pub(crate) question: &'static str,
    /// What it shows, for the line above it.
    pub(crate) shows: &'static str,
}

/// The three questions: English from a PDF, Korean from a DOCX, and one that the documents cannot answer.
pub(crate) const QUESTIONS: [Prepared; 3] = [
    Prepared {
        question: "How much memory do I need to install Debian?",
        shows: "English",
    },
    Prepared {
        question: "대통령의 임기는 몇 년인가요?",
        shows: "Korean",
    },
    Prepared {
        question: "How many days of paid leave does a new employee get?",
        shows: "not in the documents",
    },
];
