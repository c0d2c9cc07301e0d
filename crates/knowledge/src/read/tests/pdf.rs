//! PDF: characters, pages, headings, rows, what is not text.

use super::made::{HELVETICA, lines, pdf, pdf_pages, stream};
use super::*;

fn simple(contents: &[Vec<u8>]) -> Vec<u8> {
    pdf_pages(contents, &[HELVETICA.to_owned()], &[], "")
}

#[test]
fn reads_pages_headings_and_paragraphs() {
    let mut first = lines(20, 780, &["A Title"]);
    first.extend(lines(
        10,
        740,
        &[
            "The first paragraph runs over two lines of text and it",
            "ends here with \\(brackets\\).",
        ],
    ));
    first.extend(lines(10, 700, &["Another one."]));
    let document = read_named(
        "a",
        &simple(&[
            first,
            b"0 0 10 10 re f".to_vec(),
            lines(10, 780, &["Third page."]),
        ]),
    )
    .unwrap();
    assert_eq!(document.n_pages, Some(3));
    let found: Vec<(BlockKind, &str, Option<u32>)> = document
        .blocks
        .iter()
        .map(|b| (b.kind, b.text.as_str(), b.page))
        .collect();
    let body = "The first paragraph runs over two lines of text and it\nends here with (brackets).";
    assert_eq!(
        found,
        [
            (BlockKind::Heading(1), "A Title", Some(1)),
            (BlockKind::Paragraph, body, Some(1)),
            (BlockKind::Paragraph, "Another one.", Some(1)),
            (BlockKind::Paragraph, "Third page.", Some(3)),
        ]
    );
    assert_eq!(document.warnings, ["no text on page 2"]);
}

#[test]
fn reads_korean_through_a_map_to_unicode() {
    let map = b"begincodespacerange <0000> <FFFF> endcodespacerange 1 beginbfrange <0001> <0003> [<ACC4> <C57D> <C11C>] endbfrange";
    let font = "<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H /ToUnicode 6 0 R \
                /DescendantFonts [<< /Type /Font /Subtype /CIDFontType2 /BaseFont /X /DW 1000 >>] >>";
    let content = b"BT /F1 10 Tf 72 700 Td <000100020003> Tj ET".to_vec();
    let bytes = pdf_pages(&[content], &[font.to_owned()], &[stream("", map)], "");
    assert_eq!(texts(&read_named("a.pdf", &bytes).unwrap()), ["계약서"]);
}

#[test]
fn reads_korean_in_national_codes_without_any_map() {
    let font = |encoding: &str| {
        format!(
            "<< /Type /Font /Subtype /Type0 /BaseFont /Batang /Encoding /{encoding} /DescendantFonts [<< /Type /Font \
             /Subtype /CIDFontType0 /BaseFont /Batang /CIDSystemInfo << /Ordering (Korea1) >> >>] >>"
        )
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let (national, _, _) = encoding_rs::EUC_KR.encode("계약 A똠");
    let utf16: Vec<u8> = "계약 A똠".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let content = format!(
        "BT /F1 10 Tf 72 700 Td <{}> Tj 0 -40 Td /F2 10 Tf <{}> Tj ET",
        hex(&national),
        hex(&utf16)
    );
    let fonts = [font("KSCms-UHC-H"), font("UniKS-UCS2-H")];
    let bytes = pdf_pages(&[content.into_bytes()], &fonts, &[], "");
    assert_eq!(
        texts(&read_named("a.pdf", &bytes).unwrap()),
        ["계약 A똠", "계약 A똠"]
    );
}

#[test]
fn puts_spaces_where_gaps_are_and_rows_where_columns_stand() {
    let mut content = b"BT /F1 10 Tf 72 780 Td [(Wo) 20 (rd) -300 (next)] TJ ET\n".to_vec();
    for (row, y) in [("Paper", 700), ("Ink", 686), ("Glue", 672)] {
        content.extend(format!("BT /F1 10 Tf 72 {y} Td ({row}) Tj 200 0 Td (100) Tj ET\n").bytes());
    }
    let document = read_named("a.pdf", &simple(&[content])).unwrap();
    assert_eq!(
        texts(&document),
        ["Word next", "Paper | 100", "Ink | 100", "Glue | 100"]
    );
    assert_eq!(kinds(&document)[1..], [BlockKind::TableRow; 3]);
}

#[test]
fn leaves_out_what_cannot_be_seen() {
    let content = b"BT /F1 10 Tf 72 700 Td (Seen.) Tj ET BT /F1 10 Tf 72 -300 Td (off the page) Tj ET \
        BT /F1 0.1 Tf 72 600 Td (tiny) Tj ET BT 3 Tr /F1 10 Tf 72 500 Td (not painted) Tj ET";
    let document = read_named("a.pdf", &simple(&[content.to_vec()])).unwrap();
    assert_eq!(texts(&document), ["Seen."]);
    assert_eq!(document.warnings, ["1 hidden parts were left out"]);
}

#[test]
fn takes_the_text_that_was_recognised_in_a_scanned_page() {
    let content = b"BT 3 Tr /F1 10 Tf 72 500 Td (recognised) Tj ET".to_vec();
    assert_eq!(
        texts(&read_named("a.pdf", &simple(&[content])).unwrap()),
        ["recognised"]
    );
}

#[test]
fn says_that_scanned_documents_have_no_text() {
    let error = read_named("a.pdf", &simple(&[b"q Q".to_vec(), b"".to_vec()])).unwrap_err();
    assert_eq!(error, ReadError::NoText { n_pages: Some(2) });
    assert!(error.to_string().contains("OCR"), "{error}");
}

#[test]
fn takes_the_stated_title_unless_a_program_made_it_up() {
    let titled = |title: &str| {
        let bytes = pdf_pages(
            &[lines(10, 700, &["Text."])],
            &[HELVETICA.to_owned()],
            &[],
            &format!("/Info << /Title {title} >>"),
        );
        read_named("a.pdf", &bytes).unwrap().title
    };
    assert_eq!(titled("<FEFFACC4C57D>").as_deref(), Some("계약"));
    assert_eq!(titled("(Microsoft Word - plan.doc)").as_deref(), Some("plan.doc"));
    assert_eq!(titled("(untitled)"), None);
}

#[test]
fn refuses_encrypted_documents_and_those_without_pages() {
    let content = lines(10, 700, &["Secret."]);
    let encrypt = "/Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -4 \
                   /O <00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF> \
                   /U <00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF> >> /ID [<01> <01>]";
    let bytes = pdf_pages(&[content], &[HELVETICA.to_owned()], &[], encrypt);
    assert_eq!(read_named("a.pdf", &bytes), Err(ReadError::Locked { n_tried: 0 }));
    let none = pdf(
        &[
            b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
            b"<< /Type /Pages /Kids [] >>".to_vec(),
        ],
        "",
    );
    assert!(matches!(
        read_named("a.pdf", &none),
        Err(ReadError::Corrupt { .. })
    ));
}

#[test]
fn reads_a_document_whose_cross_references_are_wrong() {
    let bytes = simple(&[lines(10, 700, &["Still here."])]);
    let moved = [b"rubbish before the header\n".to_vec(), bytes.clone()].concat();
    assert_eq!(texts(&read_named("a.pdf", &moved).unwrap()), ["Still here."]);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let broken = text.replace("startxref\n", "startxref\n9");
    assert_eq!(
        texts(&read_named("a.pdf", broken.as_bytes()).unwrap()),
        ["Still here."]
    );
}
