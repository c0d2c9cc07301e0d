//! The wire shapes against what the contract says.

use assistant::{Answer, Citation, Language, Mode, NearDocument, Outcome, Refusal, Sentence, Timing, Usage};
use knowledge::{Date, DocumentInfo, DocumentText, PageSpan, Validity};
use serde_json::json;

use super::{AskJson, DocumentTextJson};

fn answer() -> Answer {
    Answer {
        outcome: Outcome::Answer,
        mode: Mode::Generated,
        language: Language::Korean,
        sentences: vec![Sentence {
            text: "기한은 30일입니다.".into(),
            citations: vec![0],
        }],
        citations: vec![Citation {
            document_id: "d1".into(),
            version: "0123456789ab".into(),
            path: "/a/b.pdf".into(),
            title: "계약".into(),
            page: Some(2),
            start: 10,
            end: 14,
            quote: "30일 ".into(),
            validity: Validity {
                from: Date::new(2024, 3, 1),
                until: None,
            },
            holds: true,
        }],
        refusal: None,
        usage: Usage {
            prompt_tokens: 7,
            completion_tokens: 3,
        },
        timing: Timing {
            retrieve: 1.5,
            first: f64::NAN,
            total: 9.0,
        },
        notes: vec![],
    }
}

#[test]
fn an_answer_has_the_fields_of_the_contract() {
    let json = serde_json::to_value(AskJson::from(&answer())).unwrap();
    let expected = json!({
        "schema": 1, "outcome": "answer", "mode": "generated", "language": "ko",
        "sentences": [{"text": "기한은 30일입니다.", "citations": [0]}],
        "citations": [{"document_id": "d1", "version": "0123456789ab", "path": "/a/b.pdf", "title": "계약",
            "page": 2, "start": 10, "end": 14, "quote": "30일 ",
            "valid_from": "2024-03-01", "valid_until": null, "holds": true}],
        "refusal": null,
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        "ms": {"retrieve": 1.5, "first": 0.0, "total": 9.0},
        "notes": []
    });
    assert_eq!(json, expected);
}

#[test]
fn an_answer_reads_back_what_it_writes() {
    let mut answer = answer();
    answer.refusal = Some(Refusal {
        reason: "no".into(),
        missing: vec!["x".into()],
        nearest: vec![NearDocument {
            document_id: "d".into(),
            title: "t".into(),
        }],
    });
    let json = AskJson::from(&answer);
    let text = serde_json::to_string(&json).unwrap();
    assert_eq!(serde_json::from_str::<AskJson>(&text).unwrap(), json);
}

fn document(text: &str) -> DocumentText {
    DocumentText {
        info: DocumentInfo {
            document_id: "d".into(),
            version: "v".into(),
            path: "p".into(),
            title: "t".into(),
            format: "text".into(),
            n_pages: Some(2),
            n_chars: text.chars().count(),
            n_passages: 1,
            ..DocumentInfo::default()
        },
        text: text.into(),
        pages: vec![
            PageSpan {
                page: 1,
                start: 0,
                end: 3,
            },
            PageSpan {
                page: 2,
                start: 3,
                end: 6,
            },
        ],
    }
}

#[test]
fn a_part_of_a_document_counts_characters_and_names_its_pages() {
    let part = DocumentTextJson::part(&document("가나다라마바"), 1, 3);
    assert_eq!(
        (part.start, part.end, part.text.as_str(), part.pages.len()),
        (1, 3, "나다", 1)
    );
    let rest = DocumentTextJson::part(&document("가나다라마바"), 2, 999);
    assert_eq!(
        (rest.end, rest.text.as_str(), rest.pages.len()),
        (6, "다라마바", 2)
    );
    let beyond = DocumentTextJson::part(&document("가나다"), 50, 60);
    assert_eq!(beyond.text, "");
    assert_eq!(DocumentTextJson::whole(&document("가나")).text, "가나");
}
