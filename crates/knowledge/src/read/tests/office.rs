//! Spreadsheets, presentations, OpenDocument and books: what is taken out of each, and what is left in.

use super::made::package;
use super::*;

const TYPES: (&str, &[u8]) = ("[Content_Types].xml", b"<Types/>");

fn relations(list: &[(&str, &str, &str)]) -> String {
    let items = list.iter().map(|(id, kind, target)| {
        format!(r#"<Relationship Id="{id}" Type="http://x/relationships/{kind}" Target="{target}"/>"#)
    });
    format!("<Relationships>{}</Relationships>", items.collect::<String>())
}

/// A workbook of these sheets: name, state, content of the worksheet.
fn xlsx(sheets: &[(&str, &str, &str)], strings: &str, styles: &str) -> Vec<u8> {
    let mut list = String::new();
    let mut targets = Vec::new();
    for (i, (name, state, _)) in sheets.iter().enumerate() {
        list += &format!(r#"<sheet name="{name}" sheetId="{i}" state="{state}" r:id="rId{i}"/>"#);
        targets.push((format!("rId{i}"), format!("worksheets/sheet{i}.xml")));
    }
    let mut all: Vec<(&str, &str, &str)> = targets
        .iter()
        .map(|(id, target)| (id.as_str(), "worksheet", target.as_str()))
        .collect();
    all.push(("s1", "sharedStrings", "sharedStrings.xml"));
    all.push(("s2", "styles", "/xl/styles.xml"));
    let workbook = format!("<workbook><sheets>{list}</sheets></workbook>");
    let root = relations(&[("r1", "officeDocument", "xl/workbook.xml")]);
    let of_workbook = relations(&all);
    let parts: Vec<(String, String)> = sheets
        .iter()
        .enumerate()
        .map(|(i, (_, _, content))| {
            (
                format!("xl/worksheets/sheet{i}.xml"),
                format!("<worksheet>{content}</worksheet>"),
            )
        })
        .collect();
    let mut files: Vec<(&str, &[u8])> = vec![
        TYPES,
        ("_rels/.rels", root.as_bytes()),
        ("xl/workbook.xml", workbook.as_bytes()),
        ("xl/_rels/workbook.xml.rels", of_workbook.as_bytes()),
        ("xl/sharedStrings.xml", strings.as_bytes()),
        ("xl/styles.xml", styles.as_bytes()),
    ];
    files.extend(parts.iter().map(|(name, text)| (name.as_str(), text.as_bytes())));
    package(&files)
}

#[test]
fn a_spreadsheet_shows_what_people_see() {
    let strings = "<sst><si><t>품목</t></si><si><r><t>금</t></r><r><t>액</t></r><rPh><t>x</t></rPh></si><si><t>서버</t></si></sst>";
    let styles = r##"<styleSheet><numFmts><numFmt numFmtId="164" formatCode="#,##0&quot;원&quot;"/></numFmts>
        <cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="14"/><xf numFmtId="9"/></cellXfs></styleSheet>"##;
    let shown = r#"<cols><col min="4" max="4" hidden="1"/></cols><sheetData>
        <row r="2"><c r="B2" t="s"><v>0</v></c><c r="C2" t="s"><v>1</v></c><c r="E2" t="inlineStr"><is><t>납기</t></is></c></row>
        <row r="3"><c r="B3" t="s"><v>2</v></c><c r="C3" s="1"><f>1+1</f><v>30000000</v></c><c r="D3"><v>7</v></c>
          <c r="E3" s="2"><v>45292</v></c><c r="F3" s="3"><v>0.1</v></c></row>
        <row r="4" hidden="1"><c r="B4"><v>99</v></c></row>
        <row r="5"><c r="C5" t="b"><v>1</v></c><c t="e"><v>#DIV/0!</v></c></row></sheetData>"#;
    let bytes = xlsx(
        &[("예산", "visible", shown), ("숨김", "hidden", shown)],
        strings,
        styles,
    );
    let document = read_named("a.xlsx", &bytes).unwrap();
    assert_eq!(document.format, Format::Xlsx);
    assert_eq!(
        texts(&document),
        [
            "예산",
            "품목 | 금액 | 납기",
            "서버 | 30,000,000원 | 2024-01-01 | 10%",
            " | TRUE"
        ]
    );
    assert_eq!(
        document.warnings,
        ["2 hidden parts were left out"],
        "the hidden sheet, and what is hidden in the other"
    );
    assert_eq!(document.title.as_deref(), Some("예산"));
}

#[test]
fn a_cell_beyond_all_columns_is_damage() {
    let far = r#"<sheetData><row><c r="ZZZZ1"><v>1</v></c></row></sheetData>"#;
    let bytes = xlsx(&[("a", "visible", far)], "<sst/>", "<styleSheet/>");
    assert!(matches!(
        read_named("a.xlsx", &bytes),
        Err(ReadError::Corrupt { .. })
    ));
}

/// A presentation whose first two slides are stored the other way round; the second has notes.
fn pptx(first: &str, second: &str, hidden: &str, notes: &str) -> Vec<u8> {
    let presentation = r#"<p:presentation><p:sldIdLst><p:sldId id="256" r:id="b"/><p:sldId id="257" r:id="a"/><p:sldId id="258" r:id="c"/></p:sldIdLst></p:presentation>"#;
    let root = relations(&[("r1", "officeDocument", "ppt/presentation.xml")]);
    let of_main = relations(&[
        ("a", "slide", "slides/slide1.xml"),
        ("b", "slide", "slides/slide2.xml"),
        ("c", "slide", "slides/slide3.xml"),
    ]);
    let of_second = relations(&[("n", "notesSlide", "../notesSlides/n1.xml")]);
    package(&[
        TYPES,
        ("_rels/.rels", root.as_bytes()),
        ("ppt/presentation.xml", presentation.as_bytes()),
        ("ppt/_rels/presentation.xml.rels", of_main.as_bytes()),
        ("ppt/slides/slide1.xml", second.as_bytes()),
        ("ppt/slides/slide2.xml", first.as_bytes()),
        ("ppt/slides/slide3.xml", hidden.as_bytes()),
        ("ppt/slides/_rels/slide1.xml.rels", of_second.as_bytes()),
        ("ppt/notesSlides/n1.xml", notes.as_bytes()),
    ])
}

#[test]
fn slides_are_pages_with_titles_lists_tables_and_notes() {
    let slide = |body: &str| format!("<p:sld><p:cSld><p:spTree>{body}</p:spTree></p:cSld></p:sld>");
    let shape = |kind: &str, paragraphs: &str| {
        format!(
            "<p:sp><p:nvSpPr><p:nvPr><p:ph {kind}/></p:nvPr></p:nvSpPr><p:txBody>{paragraphs}</p:txBody></p:sp>"
        )
    };
    let line = |text: &str| format!("<a:p><a:r><a:t>{text}</a:t></a:r></a:p>");
    let first = slide(
        &[
            shape(r#"type="ctrTitle""#, &line("사업 계획")),
            shape(r#"type="sldNum""#, &line("1")),
        ]
        .concat(),
    );
    let table = "<p:graphicFrame><a:tbl><a:tr><a:tc><a:txBody><a:p><a:r><a:t>a</a:t></a:r></a:p></a:txBody></a:tc>\
                 <a:tc><a:txBody><a:p><a:r><a:t>b</a:t></a:r></a:p></a:txBody></a:tc></a:tr></a:tbl></p:graphicFrame>";
    let second = slide(
        &[
            shape(r#"type="title""#, &line("일정")),
            shape(r#"idx="1""#, &line("1월")),
            table.to_owned(),
        ]
        .concat(),
    );
    let hidden = slide(&line("비밀")).replace("<p:sld>", r#"<p:sld show="0">"#);
    let notes = format!(
        "<p:notes>{}</p:notes>",
        shape(
            r#"type="body""#,
            "<a:p><a:pPr><a:buNone/></a:pPr><a:r><a:t>강조할 것</a:t></a:r></a:p>"
        )
    );
    let document = read_named("a.pptx", &pptx(&first, &second, &hidden, &notes)).unwrap();
    assert_eq!(document.n_pages, Some(3));
    assert_eq!(document.title.as_deref(), Some("사업 계획"));
    let found: Vec<_> = document
        .blocks
        .iter()
        .map(|block| (block.page, block.kind, block.text.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (Some(1), BlockKind::Heading(1), "사업 계획"),
            (Some(2), BlockKind::Heading(1), "일정"),
            (Some(2), BlockKind::ListItem, "1월"),
            (Some(2), BlockKind::TableRow, "a | b"),
            (Some(2), BlockKind::Paragraph, "강조할 것"),
        ]
    );
    assert_eq!(document.warnings, ["1 hidden parts were left out"]);
}

fn odf(kind: &str, body: &str) -> Vec<u8> {
    let content =
        format!("<office:document-content><office:body>{body}</office:body></office:document-content>");
    package(&[
        (
            "mimetype",
            format!("application/vnd.oasis.opendocument.{kind}").as_bytes(),
        ),
        ("content.xml", content.as_bytes()),
        ("meta.xml", "<m><dc:title>제목</dc:title></m>".as_bytes()),
    ])
}

#[test]
fn open_document_text_keeps_its_structure() {
    let body = r#"<text:tracked-changes><text:p>옛말</text:p></text:tracked-changes>
        <text:h text:outline-level="2">둘째</text:h>
        <text:p>앞<text:s text:c="2"/>뒤<text:note><text:note-body><text:p>각주</text:p></text:note-body></text:note></text:p>
        <text:list><text:list-item><text:p>하나</text:p></text:list-item></text:list>
        <table:table><table:table-row><table:table-cell><text:p>a</text:p><text:p>b</text:p></table:table-cell>
        <table:table-cell table:number-columns-repeated="2"><text:p>c</text:p></table:table-cell></table:table-row></table:table>"#;
    let document = read_named("a.odt", &odf("text", body)).unwrap();
    assert_eq!(
        (document.format, document.title.as_deref()),
        (Format::Odt, Some("제목"))
    );
    assert_eq!(
        texts(&document),
        ["둘째", "앞  뒤", "각주", "하나", "a b | c | c"]
    );
    assert_eq!(
        kinds(&document),
        [
            BlockKind::Heading(2),
            BlockKind::Paragraph,
            BlockKind::Paragraph,
            BlockKind::ListItem,
            BlockKind::TableRow
        ]
    );
}

#[test]
fn open_document_sheets_and_slides_are_told_apart() {
    let sheet = r#"<table:table table:name="집계"><table:table-row><table:table-cell><text:p>1</text:p></table:table-cell>
        <table:table-cell><text:p>2</text:p></table:table-cell><table:table-cell table:number-columns-repeated="16000"/></table:table-row></table:table>"#;
    let document = read_named("a.ods", &odf("spreadsheet", sheet)).unwrap();
    assert_eq!(
        (document.format, texts(&document)),
        (Format::Ods, vec!["집계", "1 | 2"])
    );
    let slides = r#"<draw:page><draw:frame presentation:class="title"><text:p>하나</text:p></draw:frame></draw:page>
        <draw:page><draw:frame><text:p>둘</text:p></draw:frame></draw:page>"#;
    let document = read_named("a.odp", &odf("presentation", slides)).unwrap();
    assert_eq!(document.n_pages, Some(2));
    assert_eq!(document.blocks[0].kind, BlockKind::Heading(1));
    assert_eq!(document.blocks[1].page, Some(2));
}

#[test]
fn an_encrypted_document_is_called_so() {
    let bytes = package(&[
        ("mimetype", b"application/vnd.oasis.opendocument.text"),
        ("content.xml", b"\x01\x02"),
        ("META-INF/manifest.xml", b"<m><manifest:encryption-data/></m>"),
    ]);
    assert_eq!(read_named("a.odt", &bytes), Err(ReadError::Encrypted));
}

#[test]
fn a_book_is_read_in_its_order() {
    let opf = r#"<package><metadata><dc:title>책</dc:title></metadata><manifest>
        <item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
        <item id="c2" href="text/two.xhtml" media-type="application/xhtml+xml"/>
        <item id="c1" href="text/%EC%9E%A5.xhtml" media-type="application/xhtml+xml"/></manifest>
        <spine><itemref idref="n"/><itemref idref="c1"/><itemref idref="c2"/><itemref idref="c2" linear="no"/></spine></package>"#;
    let container = r#"<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>"#;
    let bytes = package(&[
        ("mimetype", b"application/epub+zip"),
        ("META-INF/container.xml", container.as_bytes()),
        ("OEBPS/book.opf", opf.as_bytes()),
        ("OEBPS/nav.xhtml", b"<html><body>nav</body></html>"),
        (
            "OEBPS/text/two.xhtml",
            "<html><body><h1>둘째 장</h1><p>끝</p></body></html>".as_bytes(),
        ),
        (
            "OEBPS/text/장.xhtml",
            "<html><body><h1>첫 장</h1><p>시작</p></body></html>".as_bytes(),
        ),
    ]);
    let document = read_named("a.epub", &bytes).unwrap();
    assert_eq!(
        (document.format, document.title.as_deref()),
        (Format::Epub, Some("책"))
    );
    assert_eq!(texts(&document), ["첫 장", "시작", "둘째 장", "끝"]);
}

#[test]
fn a_bomb_in_any_part_is_refused() {
    let bomb = vec![b' '; 40 << 20];
    for bytes in [
        package(&[
            ("mimetype", b"application/vnd.oasis.opendocument.text"),
            ("content.xml", &bomb),
        ]),
        package(&[TYPES, ("xl/workbook.xml", &bomb)]),
        package(&[TYPES, ("ppt/presentation.xml", &bomb)]),
        package(&[
            ("mimetype", b"application/epub+zip"),
            ("META-INF/container.xml", &bomb),
        ]),
        package(&[
            ("mimetype", b"application/hwp+zip"),
            ("Contents/content.hpf", &bomb),
        ]),
    ] {
        assert!(matches!(read_named("a", &bytes), Err(ReadError::ZipBomb { .. })));
    }
}
