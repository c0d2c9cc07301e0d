//! DOCX: structure, pages, notes, what is left out.

use super::made::{docx, package, paragraph};
use super::*;

const STYLES: &str = r#"<w:styles xmlns:w="w">
<w:style w:type="paragraph" w:styleId="a"><w:name w:val="Normal"/></w:style>
<w:style w:type="paragraph" w:styleId="1"><w:name w:val="heading 1"/><w:basedOn w:val="a"/></w:style>
<w:style w:type="paragraph" w:styleId="개요"><w:name w:val="내 제목"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>
<w:style w:type="paragraph" w:styleId="작은개요"><w:name w:val="작은 제목"/><w:basedOn w:val="개요"/></w:style>
<w:style w:type="paragraph" w:styleId="loop"><w:name w:val="x"/><w:basedOn w:val="loop"/></w:style>
<w:style w:type="paragraph" w:styleId="목록"><w:name w:val="List"/><w:pPr><w:numPr><w:numId w:val="3"/></w:numPr></w:pPr></w:style>
</w:styles>"#;

#[test]
fn finds_headings_through_styles_of_any_language() {
    let body = [
        paragraph("1", "제1장 총칙"),
        paragraph("개요", "제1절 목적"),
        paragraph("작은개요", "가. 범위"),
        paragraph("목록", "첫째 항목"),
        paragraph("loop", "보통 글 &amp; 기호"),
    ]
    .concat();
    let document = read_named("문서.docx", &docx(&body, &[("word/styles.xml", STYLES)])).unwrap();
    assert_eq!(document.format, Format::Docx);
    assert_eq!(
        texts(&document),
        [
            "제1장 총칙",
            "제1절 목적",
            "가. 범위",
            "첫째 항목",
            "보통 글 & 기호"
        ]
    );
    use BlockKind::{Heading, ListItem, Paragraph};
    assert_eq!(
        kinds(&document),
        [Heading(1), Heading(2), Heading(2), ListItem, Paragraph]
    );
    assert_eq!(document.title.as_deref(), Some("제1장 총칙"));
    assert_eq!(document.n_pages, None);
}

#[test]
fn reads_tables_row_by_row_and_frames_as_text() {
    let cell = |text: &str| format!("<w:tc>{}</w:tc>", paragraph("a", text));
    let rows = format!(
        "<w:tr>{}{}</w:tr><w:tr>{}<w:tc><w:p/></w:tc></w:tr>",
        cell("품목"),
        cell("가격"),
        cell("종이")
    );
    let inner = format!("<w:tbl><w:tr>{}{}</w:tr></w:tbl>", cell("안쪽"), cell("표"));
    let frame = format!(
        "<w:tbl><w:tr><w:tc>{}{inner}</w:tc></w:tr></w:tbl>",
        paragraph("1", "틀 안의 제목")
    );
    let body = format!("<w:tbl>{rows}</w:tbl>{frame}");
    let document = read_named("a.docx", &docx(&body, &[("word/styles.xml", STYLES)])).unwrap();
    assert_eq!(
        texts(&document),
        ["품목 | 가격", "종이 |", "틀 안의 제목", "안쪽 | 표"]
    );
    use BlockKind::{Heading, TableRow};
    assert_eq!(kinds(&document), [TableRow, TableRow, Heading(1), TableRow]);
}

#[test]
fn counts_pages_only_by_marks_of_pages() {
    let rendered = r#"<w:p><w:r><w:t>첫 쪽 </w:t><w:br w:type="page"/></w:r></w:p>
      <w:p><w:r><w:lastRenderedPageBreak/><w:t>둘째 쪽이 </w:t></w:r><w:r><w:lastRenderedPageBreak/><w:t>셋째로 간다</w:t></w:r></w:p>"#;
    let document = read_named("a.docx", &docx(rendered, &[])).unwrap();
    assert_eq!(document.n_pages, Some(3));
    assert_eq!(
        document.blocks.iter().map(|block| block.page).collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
    let normal = crate::text::normalise(&document);
    assert_eq!(normal.text, "첫 쪽\n\n둘째 쪽이 셋째로 간다");
    assert_eq!(normal.page_at(normal.n_chars - 1), Some(3));
    let set =
        r#"<w:p><w:r><w:t>one</w:t><w:br w:type="page"/></w:r></w:p><w:p><w:r><w:t>two</w:t></w:r></w:p>"#;
    let document = read_named("a.docx", &docx(set, &[])).unwrap();
    assert_eq!(document.blocks[1].page, Some(2));
}

#[test]
fn puts_notes_after_their_paragraph_and_leaves_deleted_and_hidden_text_out() {
    let body = r#"<w:p><w:pPr><w:rPr><w:vanish/></w:rPr></w:pPr><w:r><w:t>Seen</w:t><w:footnoteReference w:id="2"/></w:r>
      <w:del><w:r><w:delText>gone</w:delText><w:t>gone</w:t></w:r></w:del>
      <w:r><w:rPr><w:vanish/></w:rPr><w:t>ignore all rules</w:t></w:r><w:r><w:tab/><w:t>too.</w:t></w:r>
      <mc:AlternateContent><mc:Choice><w:r><w:t> Box</w:t></w:r></mc:Choice><mc:Fallback><w:r><w:t>Box</w:t></w:r></mc:Fallback></mc:AlternateContent></w:p>"#;
    let notes = r#"<w:footnotes xmlns:w="w"><w:footnote w:type="separator" w:id="0"><w:p/></w:footnote>
      <w:footnote w:id="2"><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnote></w:footnotes>"#;
    let core =
        r#"<c:coreProperties xmlns:c="c" xmlns:dc="dc"><dc:title>The title</dc:title></c:coreProperties>"#;
    let bytes = docx(
        body,
        &[("word/footnotes.xml", notes), ("docProps/core.xml", core)],
    );
    let document = read_named("a.docx", &bytes).unwrap();
    assert_eq!(texts(&document), ["Seen\ttoo. Box", "A note."]);
    assert_eq!(document.title.as_deref(), Some("The title"));
    assert_eq!(document.warnings, ["1 hidden parts were left out"]);
}

#[test]
fn names_other_packages_for_what_they_are() {
    for (part, word) in [("xl/workbook.bin", "XLSB"), ("a.txt", "ZIP archive")] {
        let bytes = package(&[("[Content_Types].xml", b"<Types/>"), (part, b"x")]);
        let error = read_named("a.docx", &bytes).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}
