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
        question: "How much memory and hard disk space does a normal installation need?",
        shows: "English",
    },
    Prepared {
        question: "국회는 부의장을 몇 명 선출하나요?",
        shows: "Korean",
    },
    Prepared {
        question: "What does a Debian support contract cost per month?",
        shows: "not in the documents",
    },
];
