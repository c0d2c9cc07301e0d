//! What passages promise.

use proptest::prelude::*;

use super::*;
use crate::read::{Block, Format, RawDocument};
use crate::text::normalise;

fn normal(blocks: &[(BlockKind, String)]) -> NormalText {
    let blocks = blocks
        .iter()
        .map(|(kind, text)| Block {
            kind: *kind,
            text: text.clone(),
            page: None,
            words: Vec::new(),
            under: Vec::new(),
        })
        .collect();
    let document = RawDocument {
        format: Format::Docx,
        title: None,
        blocks,
        n_pages: None,
        page_sizes: Vec::new(),
        without_text: Vec::new(),
        recognised: Vec::new(),
        warnings: Vec::new(),
        properties: Vec::new(),
    };
    normalise(&document)
}

fn texts(text: &NormalText, passages: &[PassageSpan]) -> Vec<String> {
    let chars: Vec<char> = text.text.chars().collect();
    passages
        .iter()
        .map(|passage| chars[passage.start..passage.end].iter().collect())
        .collect()
}

fn sentences(n: usize) -> String {
    (0..n)
        .map(|i| format!("This is sentence number {i} of the text. "))
        .collect()
}

#[test]
fn does_not_cross_the_headings_of_full_sections() {
    let text = normal(&[
        (BlockKind::Heading(1), "Guide".to_owned()),
        (BlockKind::Heading(2), "Install".to_owned()),
        (BlockKind::Paragraph, sentences(8)),
        (BlockKind::Heading(2), "Remove".to_owned()),
        (BlockKind::Paragraph, sentences(8)),
    ]);
    let passages = cut(&text, &CutOptions::default());
    let cut_texts = texts(&text, &passages);
    assert_eq!(passages.len(), 2);
    assert!(cut_texts[0].starts_with("Guide\n\nInstall\n\nThis"));
    assert!(cut_texts[1].starts_with("Remove"));
    assert_eq!(passages[0].heading_path, ["Guide", "Install"]);
    assert_eq!(passages[1].heading_path, ["Guide", "Remove"]);
}

#[test]
fn puts_tiny_sections_together_under_what_they_share() {
    let text = normal(&[
        (BlockKind::Heading(1), "Terms".to_owned()),
        (BlockKind::Heading(2), "One".to_owned()),
        (BlockKind::Paragraph, "A short one.".to_owned()),
        (BlockKind::Heading(2), "Two".to_owned()),
        (BlockKind::Paragraph, "Another short one.".to_owned()),
    ]);
    let passages = cut(&text, &CutOptions::default());
    assert_eq!(passages.len(), 1);
    assert_eq!(passages[0].heading_path, ["Terms"]);
}

#[test]
fn cuts_long_text_between_sentences_into_even_passages() {
    let text = normal(&[(BlockKind::Paragraph, sentences(60))]);
    let passages = cut(&text, &CutOptions::default());
    assert!(passages.len() > 2);
    for piece in texts(&text, &passages) {
        assert!(piece.starts_with("This") && piece.ends_with('.'), "{piece}");
        assert!(estimate_tokens(&piece) <= 225.0);
    }
}

#[test]
fn a_table_that_goes_on_takes_its_head_along() {
    let mut blocks = vec![
        (BlockKind::Heading(1), "요금".to_owned()),
        (BlockKind::TableRow, "품목 | 가격".to_owned()),
    ];
    blocks.extend((0..60).map(|i| (BlockKind::TableRow, format!("물건 {i}번 | {}원", i * 100))));
    let text = normal(&blocks);
    let passages = cut(&text, &CutOptions::default());
    assert!(passages.len() > 1);
    assert_eq!(passages[0].heading_path, ["요금"]);
    assert_eq!(passages[1].heading_path, ["요금", "품목 | 가격"]);
}

#[test]
fn a_heading_stays_with_what_follows_it() {
    let text = normal(&[
        (BlockKind::Paragraph, sentences(14)),
        (BlockKind::Heading(4), "Detail".to_owned()),
        (BlockKind::Paragraph, sentences(14)),
    ]);
    let passages = cut(&text, &CutOptions::default());
    assert!(
        texts(&text, &passages)
            .iter()
            .all(|piece| !piece.ends_with("Detail"))
    );
}

fn any_block() -> impl Strategy<Value = (BlockKind, String)> {
    let kind = prop_oneof![
        (1_u8..=6).prop_map(BlockKind::Heading),
        Just(BlockKind::Paragraph),
        Just(BlockKind::Paragraph),
        Just(BlockKind::ListItem),
        Just(BlockKind::TableRow),
        Just(BlockKind::Code),
    ];
    (kind, "[a-zA-Z가-힣 .?!|\\n]{0,400}")
}

proptest! {
    #[test]
    fn every_character_is_in_exactly_one_passage(
        blocks in prop::collection::vec(any_block(), 0..14),
        budget in 5.0_f64..300.0,
    ) {
        let text = normal(&blocks);
        let passages = cut(&text, &CutOptions { budget_tokens: budget, tiny_tokens: budget / 5.0 });
        let chars: Vec<char> = text.text.chars().collect();
        let mut at = 0;
        for (ordinal, passage) in passages.iter().enumerate() {
            prop_assert_eq!(passage.ordinal, ordinal);
            prop_assert!(passage.start >= at && passage.end > passage.start && passage.end <= chars.len());
            prop_assert!(chars[at..passage.start].iter().all(|c| c.is_whitespace()));
            at = passage.end;
        }
        prop_assert!(chars[at..].iter().all(|c| c.is_whitespace()));
    }
}
