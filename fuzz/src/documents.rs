//! The same for documents: every reader with a parser of our own, fed where it reads.
//!
//! Packed formats get their bytes as the part that matters of an otherwise valid package: the fuzzer shall try the parser,
//! not the unpacking. Not a target itself: `fuzz_targets/` wraps each function, and `crates/knowledge/tests/fuzzed.rs` runs
//! the same functions on seeded mutations of [`seeds`].

use std::io::{Cursor, Write};
use std::path::Path;
use std::time::Duration;

use knowledge::dictionary::{Dictionary, DictionaryFiles};
use knowledge::passage::{CutOptions, cut};
use knowledge::read::{BlockKind, Limits, RawDocument, read_document};
use knowledge::text::normalise;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A target: its name, what it does with bytes (and whether it found them valid), and valid bytes to begin with.
pub type Target = (&'static str, fn(&[u8]) -> bool, Vec<u8>);

/// Every target of this module.
pub fn targets() -> Vec<Target> {
    vec![
        ("read_pdf", pdf, pdf_of(PDF_CONTENT, PDF_MAP, b"")),
        ("read_pdf_content", pdf_content, PDF_CONTENT.to_vec()),
        ("read_pdf_map", pdf_map, PDF_MAP.to_vec()),
        ("read_pdf_font", pdf_font, font()),
        ("read_hwp", hwp, hwp_of(&hwp_section())),
        ("read_hwp_records", hwp_records, hwp_section()),
        ("read_hwpx", hwpx, HWPX.as_bytes().to_vec()),
        ("read_docx", docx, DOCX.as_bytes().to_vec()),
        ("read_xlsx", xlsx, XLSX.as_bytes().to_vec()),
        ("read_pptx", pptx, PPTX.as_bytes().to_vec()),
        ("read_odf", odf, ODF.as_bytes().to_vec()),
        ("read_epub", epub, EPUB.as_bytes().to_vec()),
        ("read_html", html, HTML.as_bytes().to_vec()),
        ("read_markdown", markdown, MARKDOWN.as_bytes().to_vec()),
        ("read_email", email, EMAIL.as_bytes().to_vec()),
        ("read_csv", csv, CSV.as_bytes().to_vec()),
        ("read_code", code, CODE.as_bytes().to_vec()),
        ("read_text", text, encoding_of_old_korea()),
        ("mecab_dictionary", mecab_dictionary, small_dictionary()),
        ("access_rules", access_rules, ACCESS.as_bytes().to_vec()),
    ]
}

/// Small limits: whatever a document says, it is over soon.
fn limits() -> Limits {
    Limits {
        max_file_bytes: 4 << 20,
        max_unpacked_bytes: 16 << 20,
        max_pages: 500,
        max_blocks: 50_000,
        max_text_bytes: 4 << 20,
        max_time: Duration::from_secs(5),
        ..Limits::default()
    }
}

/// Reads a document and checks what every reader promises; returns whether it could be read.
fn read(name: &str, bytes: &[u8]) -> bool {
    match read_document(Path::new(name), bytes, &limits()) {
        Ok(document) => {
            check(&document);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn check(document: &RawDocument) {
    assert!(!document.blocks.is_empty(), "a document without text is an error");
    for block in &document.blocks {
        assert!(!block.text.trim().is_empty(), "a block without text");
        if let BlockKind::Heading(level) = block.kind {
            assert!((1..=6).contains(&level), "a heading of level {level}");
        }
        assert!(block.page != Some(0), "pages count from one");
    }
    let normal = normalise(document);
    assert_eq!(normal.n_chars, normal.text.chars().count());
    for passage in cut(&normal, &CutOptions::default()) {
        assert!(
            passage.start < passage.end && passage.end <= normal.n_chars,
            "a passage outside its text: {passage:?}"
        );
    }
}

/// A zip file of these parts, not packed.
fn package(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in parts {
        writer.start_file(*name, options).expect("a zip file in memory");
        writer.write_all(bytes).expect("a zip file in memory");
    }
    writer.finish().expect("a zip file in memory").into_inner()
}

fn relations(list: &[(&str, &str, &str)]) -> String {
    let items = list.iter().map(|(id, kind, target)| {
        format!(r#"<Relationship Id="{id}" Type="http://x/relationships/{kind}" Target="{target}"/>"#)
    });
    format!("<Relationships>{}</Relationships>", items.collect::<String>())
}

/// A PDF file as a whole.
pub fn pdf(bytes: &[u8]) -> bool {
    read("a.pdf", bytes)
}

/// What draws a page of a PDF.
pub fn pdf_content(bytes: &[u8]) -> bool {
    read("a.pdf", &pdf_of(bytes, PDF_MAP, b""))
}

/// A map from codes to characters in a PDF.
pub fn pdf_map(bytes: &[u8]) -> bool {
    read("a.pdf", &pdf_of(PDF_CONTENT, bytes, b""))
}

/// A TrueType font in a PDF whose codes have no other map.
pub fn pdf_font(bytes: &[u8]) -> bool {
    read("a.pdf", &pdf_of(PDF_CONTENT, b"", bytes))
}

const PDF_CONTENT: &[u8] =
    b"q 1 0 0 1 0 0 cm BT /F1 12 Tf 14 TL 72 780 Td (Title) Tj T* (Some \\(text\\) here) ' \
    [(a) -300 (b)] TJ ET Q BT /F2 10 Tf 1 0 0 1 72 600 Tm [<0001> -300 <00020003>] TJ 3 Tr <0001> Tj ET \
    BI /W 1 /H 1 /BPC 8 /CS /G ID x EI /X1 Do";
const PDF_MAP: &[u8] = b"/CIDInit /ProcSet findresource begin 1 begincodespacerange <0000> <FFFF> endcodespacerange \
    1 beginbfchar <0001> <AC00> endbfchar 2 beginbfrange <0002> <0003> <AC01> <0004> <0005> [<0041> <D83DDE00>] \
    endbfrange end";

/// A PDF of one page with a simple and a composite font.
fn pdf_of(content: &[u8], map: &[u8], font: &[u8]) -> Vec<u8> {
    let stream = |bytes: &[u8]| {
        let mut out = format!("<< /Length {} >>\nstream\n", bytes.len()).into_bytes();
        out.extend(bytes);
        out.extend(b"\nendstream");
        out
    };
    let map_entry = if map.is_empty() { "" } else { "/ToUnicode 8 0 R" };
    let file_entry = if font.is_empty() { "" } else { "/FontFile2 9 0 R" };
    let objects: [Vec<u8>; 9] = [
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] /MediaBox [0 0 595 842] >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R /F2 6 0 R >> >> >>".to_vec(),
        stream(content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_vec(),
        format!(
            "<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H {map_entry} /DescendantFonts [7 0 R] >>"
        )
        .into_bytes(),
        format!(
            "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /X /W [1 [500 600] 3 9 700] /CIDToGIDMap /Identity \
             /FontDescriptor << /Type /FontDescriptor /FontName /X /Flags 4 {file_entry} >> >>"
        )
        .into_bytes(),
        stream(map),
        stream(font),
    ];
    let mut out = b"%PDF-1.5\n".to_vec();
    let mut offsets = Vec::new();
    for (object, number) in objects.iter().zip(1..) {
        offsets.push(out.len());
        out.extend(format!("{number} 0 obj\n").bytes());
        out.extend(object);
        out.extend(b"\nendobj\n");
    }
    let start = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for offset in offsets {
        out.extend(format!("{offset:010} 00000 n \n").bytes());
    }
    out.extend(
        format!(
            "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n",
            objects.len() + 1
        )
        .bytes(),
    );
    out
}

/// A TrueType font with nothing but a character map: glyphs 1 to 3 are 가, 각, 갂.
fn font() -> Vec<u8> {
    let segments: [(u16, u16, u16); 2] = [(0xAC00, 0xAC02, 0x5401), (0xFFFF, 0xFFFF, 1)];
    let mut table = Vec::new();
    for value in [4, 16 + 8 * 2, 0, 4, 4, 1, 0_u16] {
        table.extend(value.to_be_bytes());
    }
    for value in segments.map(|s| s.1) {
        table.extend(value.to_be_bytes());
    }
    table.extend([0, 0]);
    for value in segments
        .map(|s| s.0)
        .into_iter()
        .chain(segments.map(|s| s.2))
        .chain([0, 0])
    {
        table.extend(value.to_be_bytes());
    }
    let mut map = Vec::new();
    for value in [0, 1, 3, 1_u16] {
        map.extend(value.to_be_bytes());
    }
    map.extend(12_u32.to_be_bytes());
    map.extend(&table);
    let mut out = vec![0, 1, 0, 0, 0, 1, 0, 16, 0, 0, 0, 0];
    out.extend(b"cmap");
    out.extend(0_u32.to_be_bytes());
    out.extend(28_u32.to_be_bytes());
    out.extend((map.len() as u32).to_be_bytes());
    out.extend(map);
    out
}

/// A HWP 5 file as a whole.
pub fn hwp(bytes: &[u8]) -> bool {
    read("a.hwp", bytes)
}

/// The records of a section of a HWP 5 file.
pub fn hwp_records(bytes: &[u8]) -> bool {
    read("a.hwp", &hwp_of(bytes))
}

fn record(tag: u32, level: u32, data: &[u8]) -> Vec<u8> {
    let size = data.len() as u32;
    let mut out = (tag | level << 10 | size.min(0xFFF) << 20).to_le_bytes().to_vec();
    if size >= 0xFFF {
        out.extend(size.to_le_bytes());
    }
    out.extend(data);
    out
}

fn hwp_of(section: &[u8]) -> Vec<u8> {
    let mut header = b"HWP Document File".to_vec();
    header.resize(32, 0);
    header.extend([0, 0, 0, 5]);
    header.resize(256, 0);
    let mut shape = vec![0; 54];
    shape[..4].copy_from_slice(&(1_u32 << 23).to_le_bytes());
    let info = [record(0x19, 1, &[0; 54]), record(0x19, 1, &shape)].concat();
    let mut file = cfb::CompoundFile::create(Cursor::new(Vec::new())).expect("a file in memory");
    file.create_storage("/BodyText").expect("a file in memory");
    for (name, bytes) in [
        ("/FileHeader", header.as_slice()),
        ("/DocInfo", &info),
        ("/BodyText/Section0", section),
    ] {
        let mut stream = file.create_stream(name).expect("a file in memory");
        stream.write_all(bytes).expect("a file in memory");
    }
    file.into_inner().into_inner()
}

fn hwp_section() -> Vec<u8> {
    let units = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let control = |code: u16| {
        let mut out = vec![0; 16];
        out[..2].copy_from_slice(&code.to_le_bytes());
        out[14..].copy_from_slice(&code.to_le_bytes());
        out
    };
    let paragraph = |level: u32, shape: u16, text: &[u8]| {
        let mut header = vec![0; 22];
        header[8..10].copy_from_slice(&shape.to_le_bytes());
        let mut line = [0; 36];
        line[4] = 100;
        [
            record(0x42, level, &header),
            record(0x43, level + 1, &[text, &units("\r")].concat()),
            record(0x45, level + 1, &line),
        ]
        .concat()
    };
    let mut table = b" lbt".to_vec();
    table.resize(46, 0);
    let mut cell = vec![0; 34];
    cell[12] = 1;
    cell[14] = 1;
    [
        paragraph(0, 1, &units("제1조")),
        paragraph(0, 0, &[units("앞"), control(9), units("뒤 쪽")].concat()),
        paragraph(0, 0, &control(11)),
        record(0x47, 1, &table),
        record(0x4D, 2, &[0; 20]),
        record(0x48, 2, &cell),
        paragraph(2, 0, &units("가")),
        paragraph(0, 0, &units("끝")),
    ]
    .concat()
}

/// A section of a HWPX file.
pub fn hwpx(bytes: &[u8]) -> bool {
    let content = br#"<opf:package><opf:metadata><opf:title>t</opf:title></opf:metadata><opf:manifest>
        <opf:item id="header" href="Contents/header.xml"/><opf:item id="section0" href="Contents/section0.xml"/>
        </opf:manifest><opf:spine><opf:itemref idref="header"/><opf:itemref idref="section0"/></opf:spine></opf:package>"#;
    let header =
        br#"<hh:head><hh:paraPr id="0"/><hh:paraPr id="1"><hh:heading type="OUTLINE" level="1"/></hh:paraPr>
        <hh:style id="0" name="x" paraPrIDRef="0"/></hh:head>"#;
    let parts: [(&str, &[u8]); 4] = [
        ("mimetype", b"application/hwp+zip"),
        ("Contents/content.hpf", content),
        ("Contents/header.xml", header),
        ("Contents/section0.xml", bytes),
    ];
    read("a.hwpx", &package(&parts))
}

const HWPX: &str = r#"<hs:sec><hp:p paraPrIDRef="1" styleIDRef="0"><hp:run><hp:t>제1조</hp:t></hp:run><hp:linesegarray>
    <hp:lineseg textpos="0" vertpos="0" horzpos="0"/></hp:linesegarray></hp:p><hp:p paraPrIDRef="0"><hp:run><hp:tbl>
    <hp:tr><hp:tc><hp:cellAddr colAddr="0" rowAddr="0"/><hp:subList><hp:p><hp:run><hp:t>가<hp:tab/>나</hp:t></hp:run>
    </hp:p></hp:subList></hp:tc></hp:tr></hp:tbl><hp:t>뒤</hp:t></hp:run></hp:p></hs:sec>"#;

/// The text of a Word file.
pub fn docx(bytes: &[u8]) -> bool {
    let root = relations(&[("r1", "officeDocument", "word/document.xml")]);
    let parts: [(&str, &[u8]); 5] = [
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", root.as_bytes()),
        ("word/document.xml", bytes),
        (
            "word/styles.xml",
            br#"<w:styles><w:style w:styleId="h"><w:name w:val="heading 2"/></w:style></w:styles>"#,
        ),
        ("docProps/core.xml", b"<c><dc:title>t</dc:title></c>"),
    ];
    read("a.docx", &package(&parts))
}

const DOCX: &str = r#"<w:document xmlns:w="w"><w:body><w:p><w:pPr><w:pStyle w:val="h"/><w:outlineLvl w:val="1"/></w:pPr><w:r>
    <w:t>제목</w:t></w:r></w:p><w:p><w:r><w:t xml:space="preserve">본문 &amp; &#x41; </w:t><w:br w:type="page"/><w:tab/></w:r></w:p>
    <w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:tcPr><w:gridSpan w:val="2"/></w:tcPr><w:p/></w:tc></w:tr>
    </w:tbl></w:body></w:document>"#;

/// A sheet of a spreadsheet.
pub fn xlsx(bytes: &[u8]) -> bool {
    let root = relations(&[("r1", "officeDocument", "xl/workbook.xml")]);
    let of_workbook = relations(&[
        ("rId0", "worksheet", "worksheets/sheet0.xml"),
        ("s1", "sharedStrings", "sharedStrings.xml"),
        ("s2", "styles", "styles.xml"),
    ]);
    let parts: [(&str, &[u8]); 7] = [
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", root.as_bytes()),
        (
            "xl/workbook.xml",
            br#"<workbook><sheets><sheet name="a" sheetId="0" r:id="rId0"/></sheets></workbook>"#,
        ),
        ("xl/_rels/workbook.xml.rels", of_workbook.as_bytes()),
        ("xl/sharedStrings.xml", b"<sst><si><t>x</t></si></sst>"),
        (
            "xl/styles.xml",
            br##"<styleSheet><numFmts><numFmt numFmtId="164" formatCode="#,##0.00;[Red]-0"/></numFmts><cellXfs><xf numFmtId="0"/>
            <xf numFmtId="164"/><xf numFmtId="14"/><xf numFmtId="9"/></cellXfs></styleSheet>"##,
        ),
        ("xl/worksheets/sheet0.xml", bytes),
    ];
    read("a.xlsx", &package(&parts))
}

const XLSX: &str = r#"<worksheet><cols><col min="4" max="4" hidden="1"/></cols><sheetData><row r="2"><c r="B2" t="s"><v>0</v></c>
    <c r="E2" t="inlineStr"><is><t>납기</t></is></c></row><row r="3"><c r="C3" s="1"><f>1+1</f><v>-30000000.5</v></c>
    <c r="E3" s="2"><v>45292.5</v></c><c r="F3" s="3"><v>1e-3</v></c><c t="b"><v>1</v></c><c t="e"><v>#REF!</v></c></row></sheetData>
    <mergeCells><mergeCell ref="B2:C3"/></mergeCells></worksheet>"#;

/// A slide of a presentation.
pub fn pptx(bytes: &[u8]) -> bool {
    let root = relations(&[("r1", "officeDocument", "ppt/presentation.xml")]);
    let of_main = relations(&[("a", "slide", "slides/slide1.xml")]);
    let parts: [(&str, &[u8]); 5] = [
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", root.as_bytes()),
        (
            "ppt/presentation.xml",
            br#"<p:presentation><p:sldIdLst><p:sldId id="256" r:id="a"/></p:sldIdLst></p:presentation>"#,
        ),
        ("ppt/_rels/presentation.xml.rels", of_main.as_bytes()),
        ("ppt/slides/slide1.xml", bytes),
    ];
    read("a.pptx", &package(&parts))
}

const PPTX: &str = r#"<p:sld><p:cSld><p:spTree><p:sp><p:nvSpPr><p:nvPr><p:ph type="title"/></p:nvPr></p:nvSpPr><p:txBody><a:p><a:r>
    <a:t>제목</a:t></a:r></a:p></p:txBody></p:sp><p:sp><p:txBody><a:p><a:pPr lvl="1"/><a:r><a:t>하나</a:t></a:r><a:br/></a:p></p:txBody>
    </p:sp><p:graphicFrame><a:tbl><a:tr><a:tc><a:txBody><a:p><a:r><a:t>가</a:t></a:r></a:p></a:txBody></a:tc><a:tc gridSpan="2"/></a:tr>
    </a:tbl></p:graphicFrame></p:spTree></p:cSld></p:sld>"#;

/// The content of an OpenDocument file.
pub fn odf(bytes: &[u8]) -> bool {
    let parts: [(&str, &[u8]); 2] = [
        ("mimetype", b"application/vnd.oasis.opendocument.text"),
        ("content.xml", bytes),
    ];
    read("a.odt", &package(&parts))
}

const ODF: &str = r#"<office:document-content><office:body><text:h text:outline-level="2">둘째</text:h><text:p>앞<text:s text:c="2"/>
    뒤<text:note><text:note-body><text:p>각주</text:p></text:note-body></text:note></text:p><text:list><text:list-item><text:p>하나</text:p>
    </text:list-item></text:list><table:table><table:table-row><table:table-cell table:number-columns-repeated="2"><text:p>c</text:p>
    </table:table-cell></table:table-row></table:table></office:body></office:document-content>"#;

/// The list of contents of a book.
pub fn epub(bytes: &[u8]) -> bool {
    let container = br#"<container><rootfiles><rootfile full-path="O/book.opf"/></rootfiles></container>"#;
    let parts: [(&str, &[u8]); 4] = [
        ("mimetype", b"application/epub+zip"),
        ("META-INF/container.xml", container),
        ("O/book.opf", bytes),
        ("O/c.xhtml", b"<html><body><h1>a</h1><p>b</p></body></html>"),
    ];
    read("a.epub", &package(&parts))
}

const EPUB: &str = r#"<package><metadata><dc:title>책</dc:title></metadata><manifest><item id="c" href="c.xhtml"
    media-type="application/xhtml+xml"/><item id="d" href="%63.xhtml#x" media-type="application/xhtml+xml"/></manifest><spine>
    <itemref idref="c"/><itemref idref="d" linear="no"/></spine></package>"#;

/// An HTML file.
pub fn html(bytes: &[u8]) -> bool {
    read("a.html", bytes)
}

const HTML: &str = "<!DOCTYPE html><html><head><meta charset=utf-8><title>t</title><style>p{}</style></head><body><h2>제목</h2><table><tr>\
    <td hidden>a<td colspan=2>b</table><p style='display:none'>x</p><pre>y\n z</pre><ul><li>하나<ol><li>둘</ol></ul><script>z</script>\
    <a href=x>l</a>&amp;&#xAC00;</body></html>";

/// A Markdown file.
pub fn markdown(bytes: &[u8]) -> bool {
    read("a.md", bytes)
}

const MARKDOWN: &str = "---\ntitle: x\n---\n# a\n\n- b\n  - c\n\n| d | e |\n|---|---|\n| f | g |\n\n```rust\nh\n```\n<div>i</div>\n\n[j](k \"l\") \
    **m** `n`\n\n> o\n\n1. p\n\nq\n===\n";

/// A mail.
pub fn email(bytes: &[u8]) -> bool {
    read("a.eml", bytes)
}

const EMAIL: &str = "From: =?UTF-8?B?7ZmN?= <a@example.org>\r\nTo: b@example.org\r\nSubject: t\r\nDate: Tue, 2 Jan 2024 09:00:00 +0900\r\n\
    MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=X\r\n\r\n--X\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n본문\r\n\
    --X\r\nContent-Type: text/csv; name=a.csv\r\nContent-Disposition: attachment; filename=a.csv\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    eCx5CjEsMgo=\r\n--X\r\nContent-Type: message/rfc822\r\n\r\nSubject: u\r\n\r\nv\r\n--X--\r\n";

/// Rows of fields.
pub fn csv(bytes: &[u8]) -> bool {
    read("a.csv", bytes)
}

const CSV: &str = "a;b;\"c \"\"d\"\"\ne\"\n1;2;3\n\n4;5\n";

/// Source code.
pub fn code(bytes: &[u8]) -> bool {
    read("a.rs", bytes)
}

const CODE: &str = "//! x\n\nfn main() {\n    let y = \"{\";\n}\n\nstruct Z;\n";

/// Text of any encoding.
pub fn text(bytes: &[u8]) -> bool {
    read("a.txt", bytes)
}

/// "계약서를 검토한 결과" in EUC-KR, with a line of ASCII.
fn encoding_of_old_korea() -> Vec<u8> {
    b"\xb0\xe8\xbe\xe0\xbc\xad\xb8\xa6 \xb0\xcb\xc5\xe4\xc7\xd1 \xb0\xe1\xb0\xfa\n\nplain words\n".to_vec()
}

/// Characters of which a dictionary's bytes here say what they are; the others are like them, over and over.
const N_CHARS_SAID: usize = 128;

/// A dictionary in MeCab's format: the lengths of the first four files in two bytes each, then all five. The tables of
/// words get their length right, the kinds of characters are made whole.
pub fn mecab_dictionary(bytes: &[u8]) -> bool {
    let Some((lengths, mut rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    let (lengths, _) = lengths.as_chunks::<2>();
    let mut files = lengths.iter().map(|length| {
        let (file, behind) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        rest = behind;
        file.to_vec()
    });
    let mut next = || files.next().unwrap_or_default();
    let (mut words, mut unknown, mut characters, costs) = (next(), next(), next(), next());
    drop(files);
    for table in [&mut words, &mut unknown] {
        let magic = testkit::mecab::MAGIC ^ table.len() as u32;
        if let Some(first) = table.first_chunk_mut::<4>() {
            *first = magic.to_le_bytes();
        }
    }
    let of_chars = characters.split_off(characters.len().saturating_sub(N_CHARS_SAID * 4));
    characters.extend(of_chars.iter().cycle().take(0xffff * 4));
    let files = DictionaryFiles {
        words,
        unknown,
        characters,
        costs,
        manner: rest.to_vec(),
    };
    let Ok(dictionary) = Dictionary::from_files(files) else {
        return false;
    };
    for text in [
        "계약서를 해지하였다 abc 12",
        "위약금은 위약금",
        " \u{1F3E0}\u{0}\u{FFFF}",
    ] {
        let mut end = 0;
        for morpheme in dictionary.morphemes(text) {
            assert!(
                end <= morpheme.start && morpheme.start < morpheme.end,
                "words that overlap"
            );
            assert!(
                text.get(morpheme.start..morpheme.end).is_some(),
                "half a character"
            );
            end = morpheme.end;
        }
    }
    true
}

fn small_dictionary() -> Vec<u8> {
    let [words, unknown, mut characters, costs, manner] =
        testkit::mecab::Mecab::korean().files().map(|(_, bytes)| bytes);
    characters.truncate(characters.len() - (0xffff - N_CHARS_SAID) * 4);
    let files = [words, unknown, characters, costs];
    let mut bytes: Vec<u8> = files
        .iter()
        .flat_map(|file| (file.len() as u16).to_le_bytes())
        .collect();
    bytes.extend(files.concat());
    bytes.extend(manner);
    bytes
}

/// What a caller says it is allowed.
pub fn access_rules(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let _ = knowledge::access::check_group(text);
    let Ok(reader) = knowledge::Reader::stated(text) else {
        return false;
    };
    // What is said again is the same.
    let again = knowledge::Reader::stated(&reader.to_stated());
    assert_eq!(again.as_ref(), Ok(&reader), "{text:?}");
    true
}

const ACCESS: &str = "hr, board";
