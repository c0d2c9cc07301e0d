//! The trial on a small set made here, and on the real one where it is.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::Analysis;

fn small(dir: &Path, gzip: bool) -> Trial {
    let page = |id: &str, page: u32, text: &str| {
        serde_json::json!({"id": id, "document": "d.pdf", "page": page, "text": text}).to_string()
    };
    let pages = [
        page("one", 1, "계약서를 검토하는 절차와 기한"),
        page("two", 2, "연차 휴가의 신청과 승인"),
        page("three", 3, "출장비 정산 방법"),
    ]
    .join("\n");
    let questions = [
        serde_json::json!({"id": "q1", "question": "계약서 검토 기한은?", "pages": ["one"]}).to_string(),
        serde_json::json!({"id": "q2", "question": "출장비는 어떻게 정산하나요?", "pages": ["three"]})
            .to_string(),
    ]
    .join("\n");
    let trial = Trial {
        pages: dir.join("pages"),
        questions: dir.join("questions.jsonl"),
        mode: SearchMode::Lexical,
    };
    let mut bytes = pages.into_bytes();
    if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes).unwrap();
        bytes = encoder.finish().unwrap();
    }
    fs::write(&trial.pages, bytes).unwrap();
    fs::write(&trial.questions, questions).unwrap();
    trial
}

#[test]
fn what_has_no_pages_is_found_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let trial = small(dir.path(), false);
    let text = |id: &str, text: &str| {
        serde_json::json!({"id": id, "document": format!("{id}.html"), "text": text}).to_string()
    };
    let pages = [
        text("one", "계약서를 검토하는 절차와 기한"),
        text("three", "출장비 정산 방법"),
    ];
    fs::write(&trial.pages, pages.join("\n")).unwrap();
    let report = retrieval(&trial, None, None, Analysis::default()).unwrap();
    assert_eq!((report.rates.hit1, report.baseline.hit1), (1.0, 1.0));
}

#[test]
fn finds_the_right_pages_of_a_plain_or_packed_file() {
    for gzip in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let report = retrieval(&small(dir.path(), gzip), None, None, Analysis::default()).unwrap();
        assert_eq!((report.n, report.mode), (2, "lexical"));
        let all = Rates {
            hit1: 1.0,
            hit5: 1.0,
            hit10: 1.0,
            mrr10: 1.0,
        };
        assert_eq!((report.rates, report.baseline), (all, all));
        assert_eq!(report.items[1].ranked[0], "three");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (&json["hit1"], &json["schema"]),
            (&serde_json::json!(1.0), &serde_json::json!(1))
        );
    }
}

#[test]
fn bad_lines_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let trial = small(dir.path(), false);
    fs::write(
        &trial.questions,
        "{\"id\": \"q\", \"question\": \"x\", \"pages\": [\"no\"]}",
    )
    .unwrap();
    let error = retrieval(&trial, None, None, Analysis::default()).unwrap_err();
    assert!(
        error.is_bad_input() && error.to_string().contains("line 1"),
        "{error}"
    );
    fs::write(&trial.questions, "\n{not json").unwrap();
    assert!(
        retrieval(&trial, None, None, Analysis::default())
            .unwrap_err()
            .to_string()
            .contains("line 2")
    );
    fs::write(&trial.pages, "").unwrap();
    fs::write(&trial.questions, "").unwrap();
    assert!(
        retrieval(&trial, None, None, Analysis::default())
            .unwrap_err()
            .to_string()
            .contains("no pages")
    );
}

#[test]
fn korean_pages_are_found_better_than_by_plain_pairs() {
    let Some(dir) = testkit::need_data("data/ko-retrieval") else {
        return;
    };
    let trial = Trial {
        pages: dir.join("pages.jsonl.gz"),
        questions: dir.join("questions.jsonl"),
        mode: SearchMode::Lexical,
    };
    let report = retrieval(&trial, None, None, Analysis::default()).unwrap();
    let (ours, plain, n) = (report.rates, report.baseline, report.n as f64);
    println!(
        "ours {ours:?}\nplain {plain:?}\nindex {} s, p50 {} ms",
        report.index_s, report.p50_ms
    );
    assert!((ours.hit1 - plain.hit1) * n >= 1.99, "{ours:?} {plain:?}");
    assert!(ours.hit5 >= 0.96, "{ours:?}");
}
