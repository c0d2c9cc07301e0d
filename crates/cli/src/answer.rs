//! An answer on the terminal: its sentences as they come, then its sources with page and quoted words.

use std::fmt::Write as _;

use server::wire::{AskJson, AskStreamEvent, CitationJson, LanguageJson, ModeJson, OutcomeJson, RefusalJson};

use crate::exit::Result;
use crate::print;

/// Characters of a quote that are shown; `--json` and `hanok show` have all of it.
const QUOTE_CHARS_MAX: usize = 400;

/// Prints an answer while it is made.
#[derive(Default)]
pub(crate) struct AnswerPrinter {
    sentences: usize,
}

impl AnswerPrinter {
    /// Prints a sentence as soon as it stands.
    pub(crate) fn event(&mut self, event: &AskStreamEvent) -> Result<()> {
        if let AskStreamEvent::Sentence { sentence, .. } = event {
            print::line(&marked(&sentence.text, &sentence.citations))?;
            self.sentences += 1;
        }
        Ok(())
    }

    /// Prints what is still to be said once the answer is complete.
    pub(crate) fn finish(&self, answer: &AskJson) -> Result<()> {
        for sentence in answer.sentences.iter().skip(self.sentences) {
            print::line(&marked(&sentence.text, &sentence.citations))?;
        }
        print::stdout(&rest(answer))
    }
}

fn marked(text: &str, citations: &[usize]) -> String {
    citations.iter().fold(one_line(text), |mut line, i| {
        let _ = write!(line, " [{}]", i + 1);
        line
    })
}

fn rest(answer: &AskJson) -> String {
    let korean = answer.language == LanguageJson::Korean;
    let mut text = String::new();
    if let Some(refusal) = &answer.refusal {
        text.push_str(&refused(refusal, korean));
    }
    if let Some(line) = outcome(answer.outcome, korean) {
        let _ = writeln!(text, "\n{line}");
    }
    if !answer.citations.is_empty() {
        text.push_str(if korean { "\n출처\n" } else { "\nSources\n" });
    }
    for (i, citation) in answer.citations.iter().enumerate() {
        let _ = writeln!(text, "[{}] {}", i + 1, source(citation, korean));
    }
    for note in &answer.notes {
        let _ = writeln!(text, "\n({note})");
    }
    if answer.refusal.is_none() {
        let _ = writeln!(text, "\n{}", mode(answer.mode, korean));
    }
    text
}

fn refused(refusal: &RefusalJson, korean: bool) -> String {
    let mut text = format!("{}\n", refusal.reason);
    if !refusal.nearest.is_empty() {
        text.push_str(if korean {
            "\n가장 가까운 문서\n"
        } else {
            "\nNearest documents\n"
        });
    }
    for near in &refusal.nearest {
        let _ = writeln!(text, "- {} ({})", near.title, near.document_id);
    }
    text
}

fn outcome(outcome: OutcomeJson, korean: bool) -> Option<&'static str> {
    match (outcome, korean) {
        (OutcomeJson::Hedge, false) => Some("The documents answer this only in part."),
        (OutcomeJson::Hedge, true) => Some("문서는 이 질문에 일부만 답합니다."),
        (OutcomeJson::Conflict, false) => Some("The documents contradict each other."),
        (OutcomeJson::Conflict, true) => Some("문서들의 내용이 서로 다릅니다."),
        (OutcomeJson::Answer | OutcomeJson::Refuse, _) => None,
    }
}

fn mode(mode: ModeJson, korean: bool) -> &'static str {
    match (mode, korean) {
        (ModeJson::Generated, false) => {
            "Written by the model; every sentence was checked against its source."
        }
        (ModeJson::Generated, true) => "모델이 작성했고, 모든 문장을 출처와 대조해 확인했습니다.",
        (ModeJson::Extractive, false) => "Quoted word for word from the documents.",
        (ModeJson::Extractive, true) => "문서에서 그대로 인용했습니다.",
    }
}

fn source(citation: &CitationJson, korean: bool) -> String {
    let page = match (citation.page, korean) {
        (None, _) => String::new(),
        (Some(page), false) => format!(", page {page}"),
        (Some(page), true) => format!(", {page}쪽"),
    };
    let quote = shortened(&one_line(&citation.quote));
    let validity = print::not_in_force(&citation.validity, korean);
    let validity = validity.map(|said| format!(" [{said}]")).unwrap_or_default();
    format!(
        "{}{page}{validity}: “{quote}”\n    {}  (hanok show {}@{} --span {}..{})",
        citation.title, citation.path, citation.document_id, citation.version, citation.start, citation.end
    )
}

/// Line breaks and runs of spaces as one space.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use server::wire::{NearJson, SentenceJson};

    fn answer(json: serde_json::Value) -> AskJson {
        serde_json::from_value(json).unwrap()
    }

    fn base() -> serde_json::Value {
        serde_json::json!({
            "schema": 1, "outcome": "answer", "mode": "extractive", "language": "en", "sentences": [],
            "citations": [], "refusal": null, "usage": {"prompt_tokens": 0, "completion_tokens": 0},
            "ms": {"retrieve": 1.0, "first": 2.0, "total": 3.0}, "notes": []
        })
    }

    #[test]
    fn a_source_shows_title_page_quoted_words_path_and_the_command_that_shows_them() {
        let mut json = base();
        json["citations"] = serde_json::json!([{
            "document_id": "d1", "version": "abc", "path": "/g.pdf", "title": "Guide", "page": 7,
            "start": 3, "end": 9, "quote": "two\n words"
        }]);
        let text = rest(&answer(json));
        let expected = "\nSources\n[1] Guide, page 7: “two words”\n    /g.pdf  (hanok show d1@abc --span 3..9)\n\n\
                        Quoted word for word from the documents.\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_refusal_names_what_came_nearest_in_the_language_of_the_question() {
        let mut json = base();
        json["language"] = "ko".into();
        json["outcome"] = "refuse".into();
        let mut answer = answer(json);
        answer.refusal = Some(RefusalJson {
            reason: "문서에 없습니다.".into(),
            missing: Vec::new(),
            nearest: vec![NearJson {
                document_id: "d1".into(),
                title: "안내서".into(),
            }],
        });
        assert_eq!(
            rest(&answer),
            "문서에 없습니다.\n\n가장 가까운 문서\n- 안내서 (d1)\n"
        );
    }

    #[test]
    fn sentences_carry_their_marks() {
        let sentence = SentenceJson {
            text: "It is so.".into(),
            citations: vec![0, 2],
        };
        assert_eq!(marked(&sentence.text, &sentence.citations), "It is so. [1] [3]");
    }
}
