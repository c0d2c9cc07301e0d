//! HWP and HWPX: structure, pages, what is left out, and what is refused.

use std::io::{Cursor, Write};

use super::made::package;
use super::*;

fn hwpx(section: &str, header: &str) -> Vec<u8> {
    let content = r#"<opf:package><opf:metadata><opf:title>보고서</opf:title></opf:metadata><opf:manifest>
        <opf:item id="header" href="Contents/header.xml"/><opf:item id="section0" href="Contents/section0.xml"/></opf:manifest>
        <opf:spine><opf:itemref idref="header"/><opf:itemref idref="section0"/></opf:spine></opf:package>"#;
    package(&[
        ("mimetype", b"application/hwp+zip"),
        ("Contents/content.hpf", content.as_bytes()),
        ("Contents/header.xml", header.as_bytes()),
        (
            "Contents/section0.xml",
            format!("<hs:sec>{section}</hs:sec>").as_bytes(),
        ),
    ])
}

/// A paragraph with lines: text position and distance from the top.
fn paragraph(shape: u32, text: &str, lines: &[(u32, i32)]) -> String {
    let lines: String = lines
        .iter()
        .map(|(at, top)| format!(r#"<hp:lineseg textpos="{at}" vertpos="{top}" horzpos="0"/>"#))
        .collect();
    format!(
        r#"<hp:p paraPrIDRef="{shape}" styleIDRef="0"><hp:run><hp:t>{text}</hp:t></hp:run><hp:linesegarray>{lines}</hp:linesegarray></hp:p>"#
    )
}

const HEADER: &str = r#"<hh:head><hh:paraPr id="0"/><hh:paraPr id="1"><hh:heading type="OUTLINE" level="1"/></hh:paraPr>
    <hh:paraPr id="2"><hh:heading type="BULLET" level="0"/></hh:paraPr>
    <hh:style id="0" name="바탕글" paraPrIDRef="0"/><hh:style id="3" name="개요 1" paraPrIDRef="0"/></hh:head>"#;

fn found(document: &RawDocument) -> Vec<(Option<u32>, BlockKind, &str)> {
    let of_block = |block: &'_ Block| (block.page, block.kind);
    document
        .blocks
        .iter()
        .map(|block| {
            let (page, kind) = of_block(block);
            (page, kind, block.text.as_str())
        })
        .collect()
}

#[test]
fn hwpx_has_headings_lists_and_the_pages_of_its_lines() {
    let section = [
        paragraph(1, "총칙", &[(0, 0)]),
        paragraph(0, "첫 쪽에서 둘째 쪽으로", &[(0, 60_000), (5, 0)]),
        paragraph(2, "목록", &[(0, 1600)]),
        paragraph(0, "셋째 쪽", &[(0, 800)]),
    ]
    .concat();
    let document = read_named("a.hwpx", &hwpx(&section, HEADER)).unwrap();
    assert_eq!(
        (document.format, document.title.as_deref()),
        (Format::Hwpx, Some("보고서"))
    );
    assert_eq!(document.n_pages, Some(3));
    assert_eq!(
        found(&document),
        [
            (Some(1), BlockKind::Heading(2), "총칙"),
            (Some(1), BlockKind::Paragraph, "첫 쪽에서\u{C} 둘째 쪽으로"),
            (Some(2), BlockKind::ListItem, "목록"),
            (Some(3), BlockKind::Paragraph, "셋째 쪽"),
        ]
    );
}

#[test]
fn a_column_to_the_right_is_no_new_page() {
    let line = |text: &str, top: u32, left: u32| {
        format!(
            r#"<hp:p><hp:run><hp:t>{text}</hp:t></hp:run><hp:lineseg textpos="0" vertpos="{top}" horzpos="{left}"/></hp:p>"#
        )
    };
    let section = [
        line("a", 0, 0),
        line("b", 900, 0),
        line("c", 0, 20_000),
        line("d", 900, 20_000),
        line("e", 0, 0),
    ]
    .concat();
    let document = read_named("a.hwpx", &hwpx(&section, HEADER)).unwrap();
    let pages: Vec<_> = document.blocks.iter().map(|block| block.page).collect();
    assert_eq!(pages, [1, 1, 1, 1, 2].map(Some));
}

#[test]
fn without_layout_there_are_no_pages() {
    let section = [paragraph(0, "가", &[]), paragraph(0, "나", &[])].concat();
    let document = read_named("a.hwpx", &hwpx(&section, HEADER)).unwrap();
    assert_eq!(document.n_pages, None);
    assert_eq!(found(&document)[0].0, None);
}

#[test]
fn tables_are_rows_in_order_and_long_ones_turn_pages() {
    let cell = |row: u32, column: u32, text: &str| {
        format!(
            r#"<hp:tc><hp:subList>{}</hp:subList><hp:cellAddr colAddr="{column}" rowAddr="{row}"/><hp:cellSz height="50000"/></hp:tc>"#,
            paragraph(0, text, &[(0, 0)])
        )
    };
    let table = format!(
        r#"<hp:p><hp:run><hp:secPr><hp:pagePr height="84000"><hp:margin top="4000" bottom="0" header="0" footer="0"/></hp:pagePr></hp:secPr>
        <hp:tbl><hp:sz height="100000"/><hp:tr>{}{}</hp:tr><hp:tr>{}{}</hp:tr></hp:tbl><hp:t>앞글</hp:t></hp:run>
        <hp:linesegarray><hp:lineseg textpos="0" vertpos="40000" horzpos="0"/></hp:linesegarray></hp:p>"#,
        cell(0, 0, "항목"),
        cell(0, 1, "값"),
        cell(1, 1, "둘"),
        cell(1, 0, "하나")
    );
    let section = [
        paragraph(0, "머리", &[(0, 0)]),
        table,
        paragraph(0, "뒤", &[(0, 62_000)]),
    ]
    .concat();
    let document = read_named("a.hwpx", &hwpx(&section, HEADER)).unwrap();
    assert_eq!(
        found(&document),
        [
            (Some(1), BlockKind::Paragraph, "머리"),
            (Some(1), BlockKind::Paragraph, "앞글"),
            (Some(1), BlockKind::TableRow, "항목 | 값"),
            (Some(2), BlockKind::TableRow, "하나 | 둘"),
            (Some(2), BlockKind::Paragraph, "뒤"),
        ]
    );
}

#[test]
fn headers_and_comments_are_left_out_and_notes_follow() {
    let section = format!(
        "<hp:p><hp:run><hp:ctrl><hp:header>{}</hp:header><hp:hiddenComment>{}</hp:hiddenComment><hp:footNote>{}</hp:footNote></hp:ctrl>\
         <hp:t>본문</hp:t></hp:run></hp:p>",
        paragraph(0, "머리말", &[]),
        paragraph(0, "숨은 설명", &[]),
        paragraph(0, "각주", &[])
    );
    let document = read_named("a.hwpx", &hwpx(&section, HEADER)).unwrap();
    assert_eq!(texts(&document), ["본문", "각주"]);
}

fn record(tag: u32, level: u32, data: &[u8]) -> Vec<u8> {
    let size = u32::try_from(data.len()).unwrap();
    let mut out = (tag | level << 10 | size.min(0xFFF) << 20).to_le_bytes().to_vec();
    if size >= 0xFFF {
        out.extend(size.to_le_bytes());
    }
    out.extend(data);
    out
}

fn units(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A control of eight units, among text.
fn control_units(code: u16) -> Vec<u8> {
    let mut out = vec![0; 16];
    out[..2].copy_from_slice(&code.to_le_bytes());
    out[14..].copy_from_slice(&code.to_le_bytes());
    out
}

fn hwp_paragraph(level: u32, shape: u16, text: &[u8], lines: &[(u32, i32)]) -> Vec<u8> {
    let mut header = vec![0; 22];
    header[8..10].copy_from_slice(&shape.to_le_bytes());
    let mut out = record(0x42, level, &header);
    out.extend(record(0x43, level + 1, &[text, &units("\r")].concat()));
    let mut segments = Vec::new();
    for (at, top) in lines {
        let mut segment = [0; 36];
        segment[..4].copy_from_slice(&at.to_le_bytes());
        segment[4..8].copy_from_slice(&top.to_le_bytes());
        segments.extend(segment);
    }
    if !lines.is_empty() {
        out.extend(record(0x45, level + 1, &segments));
    }
    out
}

fn hwp(flags: u32, section: &[u8]) -> Vec<u8> {
    let mut file = cfb::CompoundFile::create(Cursor::new(Vec::new())).unwrap();
    let mut header = b"HWP Document File".to_vec();
    header.resize(32, 0);
    header.extend([0, 0, 0, 5]);
    header.extend(flags.to_le_bytes());
    header.resize(256, 0);
    let info = [
        record(0x19, 1, &[0; 54]),
        record(0x19, 1, &{
            let mut shape = vec![0; 54];
            shape[..4].copy_from_slice(&(1_u32 << 23).to_le_bytes());
            shape
        }),
    ]
    .concat();
    let pack = |bytes: &[u8]| {
        if flags & 1 == 0 {
            return bytes.to_vec();
        }
        let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    file.create_storage("/BodyText").unwrap();
    for (name, bytes) in [
        ("/FileHeader", header),
        ("/DocInfo", pack(&info)),
        ("/BodyText/Section0", pack(section)),
    ] {
        file.create_stream(name).unwrap().write_all(&bytes).unwrap();
    }
    file.into_inner().into_inner()
}

fn hwp_section() -> Vec<u8> {
    let mut table = b" lbt".to_vec();
    table.resize(46, 0);
    let list = |row: u16, column: u16| {
        let mut data = vec![0; 8];
        data.extend(column.to_le_bytes());
        data.extend(row.to_le_bytes());
        data.extend([1, 0, 1, 0]);
        data.extend(1000_u32.to_le_bytes());
        data.extend(500_u32.to_le_bytes());
        data.resize(34, 0);
        record(0x48, 2, &data)
    };
    let header = [b"daeh".as_slice(), &[0; 8]].concat();
    [
        hwp_paragraph(0, 1, &units("제1조"), &[(0, 0)]),
        hwp_paragraph(
            0,
            0,
            &[units("앞"), control_units(9), units("뒤 쪽")].concat(),
            &[(0, 60_000), (11, 0)],
        ),
        hwp_paragraph(0, 0, &control_units(11), &[(0, 1000)]),
        record(0x47, 1, &table),
        record(0x4D, 2, &[0; 20]),
        list(0, 0),
        hwp_paragraph(2, 0, &units("가"), &[(0, 0)]),
        list(0, 1),
        hwp_paragraph(2, 0, &units("나"), &[(0, 0)]),
        hwp_paragraph(0, 0, &control_units(16), &[(0, 2000)]),
        record(0x47, 1, &header),
        record(0x48, 2, &[0; 8]),
        hwp_paragraph(2, 0, &units("머리말"), &[(0, 0)]),
        hwp_paragraph(0, 0, &units("끝"), &[(0, 3000)]),
    ]
    .concat()
}

#[test]
fn hwp_has_headings_tables_and_the_pages_of_its_lines() {
    for flags in [0, 1] {
        let document = read_named("a.hwp", &hwp(flags, &hwp_section())).unwrap();
        assert_eq!((document.format, document.n_pages), (Format::Hwp, Some(2)));
        assert_eq!(
            found(&document),
            [
                (Some(1), BlockKind::Heading(1), "제1조"),
                (Some(1), BlockKind::Paragraph, "앞\t뒤 \u{C}쪽"),
                (Some(2), BlockKind::TableRow, "가 | 나"),
                (Some(2), BlockKind::Paragraph, "끝"),
            ],
            "flags {flags}"
        );
    }
}

#[test]
fn a_locked_hwp_is_called_so() {
    assert_eq!(
        read_named("a.hwp", &hwp(2, &hwp_section())),
        Err(ReadError::Encrypted)
    );
}

#[test]
fn a_packed_bomb_is_refused() {
    let bytes = hwp(1, &vec![0; 64 << 20]);
    assert!(matches!(
        read_named("a.hwp", &bytes),
        Err(ReadError::ZipBomb { .. })
    ));
}

#[test]
fn a_cut_or_damaged_hwp_never_panics() {
    let whole = hwp(0, &hwp_section());
    let mut rng = stdx::rng::Rng::new(5);
    for case in 0..300 {
        let mut bytes = whole.clone();
        if case % 3 == 0 {
            bytes.truncate(usize::try_from(rng.below(bytes.len() as u64)).unwrap());
        }
        for _ in 0..rng.below(8) {
            if !bytes.is_empty() {
                let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                bytes[at] = rng.below(256) as u8;
            }
        }
        if let Err(ReadError::Crashed { what }) = read_named("a.hwp", &bytes) {
            panic!("case {case}: {what}");
        }
    }
}
