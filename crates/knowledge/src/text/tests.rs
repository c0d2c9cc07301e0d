//! What normalised text promises.

use proptest::prelude::*;
use unicode_normalization::is_nfc;

use super::*;

fn document(format: Format, n_pages: Option<u32>, blocks: &[(BlockKind, &str, Option<u32>)]) -> RawDocument {
    let blocks = blocks.iter().map(|(kind, text, page)| Block {
        kind: *kind,
        text: (*text).to_owned(),
        page: *page,
        words: Vec::new(),
        under: Vec::new(),
    });
    RawDocument {
        format,
        title: None,
        blocks: blocks.collect(),
        n_pages,
        page_sizes: Vec::new(),
        without_text: Vec::new(),
        recognised: Vec::new(),
        warnings: Vec::new(),
        properties: Vec::new(),
    }
}

fn paragraph(format: Format, text: &str) -> String {
    normalise(&document(format, None, &[(BlockKind::Paragraph, text, None)])).text
}

fn slice(text: &NormalText, start: usize, end: usize) -> String {
    text.text.chars().skip(start).take(end - start).collect()
}

#[test]
fn composes_korean_from_apple_file_systems() {
    let decomposed: String = "한글 문서".nfd().collect();
    assert_ne!(decomposed, "한글 문서");
    assert_eq!(paragraph(Format::Markdown, &decomposed), "한글 문서");
}

#[test]
fn joins_wrapped_lines_and_undoes_hyphens() {
    assert_eq!(
        paragraph(
            Format::Pdf,
            "The quick develop-\nment of X-\nrays is well\nknown."
        ),
        "The quick development of X- rays is well known."
    );
}

#[test]
fn joins_korean_lines_within_and_between_words() {
    let text = "이 계약서를 잘 보관한다 그리고 계약\n서를 다시 본다 오늘은 날씨\n가 좋습\n니다.";
    assert_eq!(
        paragraph(Format::Pdf, text),
        "이 계약서를 잘 보관한다 그리고 계약서를 다시 본다 오늘은 날씨 가 좋습니다."
    );
    let spaced = "첫째 줄은 \n둘째 줄로 이어\n지고 끝난다.";
    assert_eq!(
        paragraph(Format::Pdf, spaced),
        "첫째 줄은 둘째 줄로 이어지고 끝난다."
    );
}

#[test]
fn keeps_lines_of_plain_text_that_were_not_wrapped() {
    assert_eq!(paragraph(Format::Text, "Kim\nSeoul\nKorea"), "Kim\nSeoul\nKorea");
    let wrapped = "This paragraph was wrapped by an editor at about sixty or so\ncharacters because that is how mail is written by people who\ncare.";
    assert!(!paragraph(Format::Text, wrapped).contains('\n'));
    let list = "- one entry that is long enough to be taken for a wrapped line of text\n- another entry";
    assert!(paragraph(Format::Text, list).contains("\n- another"));
}

#[test]
fn spans_are_exact_and_pages_follow_each_other() {
    let text = normalise(&document(
        Format::Docx,
        Some(4),
        &[
            (BlockKind::Heading(1), "제목", Some(1)),
            (
                BlockKind::Paragraph,
                "첫 쪽의 글이\u{C} 둘째 쪽으로 간다",
                Some(1),
            ),
            (BlockKind::Paragraph, "넷째 쪽", Some(4)),
        ],
    ));
    assert_eq!(text.text, "제목\n\n첫 쪽의 글이 둘째 쪽으로 간다\n\n넷째 쪽");
    assert_eq!(slice(&text, text.blocks[2].start, text.blocks[2].end), "넷째 쪽");
    let pages: Vec<String> = text
        .pages
        .iter()
        .map(|page| slice(&text, page.start, page.end))
        .collect();
    assert_eq!(
        pages,
        ["제목\n\n첫 쪽의 글이 ", "둘째 쪽으로 간다\n\n", "", "넷째 쪽"]
    );
    assert_eq!(text.page_at(0), Some(1));
    assert_eq!(text.page_at(text.blocks[1].end - 1), Some(2));
    assert_eq!(text.page_at(text.n_chars - 1), Some(4));
}

#[test]
fn pages_without_text_before_the_first_are_empty() {
    let text = normalise(&document(
        Format::Pdf,
        Some(3),
        &[(BlockKind::Paragraph, "글", Some(2))],
    ));
    let spans: Vec<(usize, usize)> = text.pages.iter().map(|page| (page.start, page.end)).collect();
    assert_eq!(spans, [(0, 0), (0, 1), (1, 1)]);
    assert_eq!(text.page_at(0), Some(2));
}

fn any_kind() -> impl Strategy<Value = BlockKind> {
    prop_oneof![
        (1_u8..=6).prop_map(BlockKind::Heading),
        Just(BlockKind::Paragraph),
        Just(BlockKind::ListItem),
        Just(BlockKind::TableRow),
        Just(BlockKind::Code),
    ]
}

proptest! {
    #[test]
    fn text_is_composed_and_blocks_tile_it(
        blocks in prop::collection::vec((any_kind(), "[a-z가-힣\u{1100}-\u{1112}\u{1161}\u{11a8}e\u{301} \\t\\n\u{c}\u{1}\u{a0}\u{ad}.-]{0,40}"), 0..12),
        format in prop_oneof![Just(Format::Pdf), Just(Format::Text), Just(Format::Docx)],
    ) {
        let n = blocks.len() as u32;
        let with_pages: Vec<(BlockKind, &str, Option<u32>)> =
            blocks.iter().zip(1..).map(|((kind, text), page)| (*kind, text.as_str(), Some(page))).collect();
        let text = normalise(&document(format, Some(n), &with_pages));
        prop_assert!(is_nfc(&text.text));
        prop_assert_eq!(text.n_chars, text.text.chars().count());
        prop_assert!(!text.text.chars().any(|c| c.is_control() && c != '\n'));
        prop_assert!(!text.text.contains(" \n") && !text.text.contains("\n\n\n"));
        let mut at = 0;
        for block in &text.blocks {
            prop_assert!(block.start >= at && block.end > block.start);
            prop_assert!(slice(&text, at, block.start).trim().is_empty());
            at = block.end;
        }
        prop_assert_eq!(at, text.n_chars);
        let mut at = 0;
        for page in &text.pages {
            prop_assert!(page.start == at && page.end >= page.start);
            at = page.end;
        }
        prop_assert!(text.pages.is_empty() || at == text.n_chars);
    }
}
