//! Hostile and damaged input: one clear error each, no panic, no endless work.

use std::fmt::Write;

use super::made::{HELVETICA, docx, lines, package, paragraph, pdf, pdf_pages, stream};
use super::*;

/// Reading must end, well or with an error that is a sentence; a panic would surface as `Crashed`.
fn survives(name: &str, bytes: &[u8]) {
    let limits = Limits {
        max_time: Duration::from_secs(10),
        ..Limits::default()
    };
    match read_document(Path::new(name), bytes, &limits) {
        Ok(document) => assert!(!document.blocks.is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn sample_docx() -> Vec<u8> {
    let body: String = (0..20)
        .map(|n| paragraph("a", &format!("문단 {n} of the document.")))
        .collect();
    docx(
        &body,
        &[
            ("word/styles.xml", "<w:styles/>"),
            ("docProps/core.xml", "<c><title>t</title></c>"),
        ],
    )
}

fn sample_pdf() -> Vec<u8> {
    let map =
        b"begincodespacerange <0000> <FFFF> endcodespacerange 1 beginbfrange <0001> <0003> <AC00> endbfrange";
    let font = "<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H /ToUnicode 9 0 R \
                /DescendantFonts [<< /Type /Font /Subtype /CIDFontType2 /W [1 [500 600] 3 9 700] >>] >>";
    let mut content = lines(12, 780, &["Title", "Some text on the page.", "And more of it."]);
    content
        .extend(b"BT /F2 10 Tf 1 0 0 1 72 600 Tm [<0001> -300 <00020003>] TJ ET q 1 0 0 1 0 0 cm /X1 Do Q");
    let fonts = [HELVETICA.to_owned(), font.to_owned()];
    pdf_pages(&[content.clone(), content], &fonts, &[stream("", map)], "")
}

#[test]
fn survives_truncation_anywhere() {
    for (name, bytes) in [("a.docx", sample_docx()), ("a.pdf", sample_pdf())] {
        assert!(read_named(name, &bytes).is_ok(), "{name}");
        for cut in (0..bytes.len()).step_by(7) {
            survives(name, &bytes[..cut]);
        }
    }
}

#[test]
fn survives_flipped_bits_anywhere() {
    let html =
        b"<html><head><meta charset=utf-8><title>t</title></head><body><table><tr><td hidden>a<td>b</table>\
        <p style='display:none'>x</p><pre>y</pre><script>z</script></body></html>"
            .to_vec();
    let markdown = b"---\ntitle: x\n---\n# a\n\n- b\n  - c\n\n| d | e |\n|---|---|\n| f | g |\n\n```\nh\n```\n<div>i</div>\n".to_vec();
    let mut rng = stdx::rng::Rng::new(20);
    for (name, bytes) in [
        ("a.docx", sample_docx()),
        ("a.pdf", sample_pdf()),
        ("a.html", html),
        ("a.md", markdown),
    ] {
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            for _ in 0..=rng.below(6) {
                let at = rng.below(damaged.len() as u64) as usize;
                damaged[at] ^= 1 << rng.below(8);
            }
            survives(name, &damaged);
        }
    }
}

#[test]
fn refuses_zip_bombs_by_ratio_and_by_size() {
    let bomb = vec![b' '; 40 << 20];
    let mut document = b"<w:document><w:body>".to_vec();
    document.extend(&bomb);
    let parts: [(&str, &[u8]); 2] = [
        ("[Content_Types].xml", b"<Types/>"),
        ("word/document.xml", &document),
    ];
    let bytes = package(&parts);
    assert!(bytes.len() < 1 << 20);
    assert!(matches!(
        read_named("a.docx", &bytes),
        Err(ReadError::ZipBomb { .. })
    ));
    let limits = Limits {
        max_unpacked_bytes: 1 << 20,
        ..Limits::default()
    };
    let error = read_document(Path::new("a.docx"), &bytes, &limits).unwrap_err();
    assert!(matches!(error, ReadError::ZipBomb { .. }), "{error}");
    // A bomb within a package's other parts is never opened.
    let nested = package(&[("layer.zip", &bytes), ("layer2.zip", &bytes)]);
    assert!(matches!(
        read_named("a.docx", &nested),
        Err(ReadError::UnknownFormat { .. })
    ));
}

#[test]
fn refuses_a_pdf_whose_streams_unpack_without_end() {
    let packed = {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b' '; 300 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    let pages = pdf_pages(
        &[b"".to_vec()],
        &[HELVETICA.to_owned()],
        &[stream("/Filter /FlateDecode", &packed)],
        "",
    );
    let bytes = String::from_utf8_lossy(&pages[..400]).contains("/Contents 5 0 R");
    assert!(bytes, "the page's content is object 5");
    let mut bomb = pages;
    let at = sniff::find(&bomb, b"/Contents 5 0 R").unwrap();
    bomb[at + 10] = b'6';
    assert!(matches!(
        read_named("a.pdf", &bomb),
        Err(ReadError::ZipBomb { .. })
    ));
}

#[test]
fn expands_no_entities_of_the_document_itself() {
    let mut dtd = String::from("<!DOCTYPE x [<!ENTITY a0 \"ha\">");
    for n in 1..30 {
        write!(dtd, "<!ENTITY a{n} \"&a{};&a{};\">", n - 1, n - 1).unwrap();
    }
    let text = format!(
        "{dtd}]><w:document><w:body><w:p><w:r><w:t>x&a29;y &#x41;</w:t></w:r></w:p></w:body></w:document>"
    );
    let parts: [(&str, &[u8]); 2] = [
        ("[Content_Types].xml", b"<Types/>"),
        ("word/document.xml", text.as_bytes()),
    ];
    let document = read_named("a.docx", &package(&parts)).unwrap();
    assert_eq!(texts(&document), ["xy A"]);
}

#[test]
fn reads_html_that_nests_a_hundred_thousand_deep() {
    let open = "<div><b>".repeat(100_000);
    let html = format!("<html><body>{open}deep</body>");
    assert_eq!(texts(&read_named("a.html", html.as_bytes()).unwrap()), ["deep"]);
    let lists = format!("<html>{}x", "<ul><li>".repeat(100_000));
    assert_eq!(texts(&read_named("a.html", lists.as_bytes()).unwrap()), ["x"]);
    let tables = format!("<html>{}x", "<table><tr><td>".repeat(50_000));
    assert_eq!(texts(&read_named("a.html", tables.as_bytes()).unwrap()), ["x"]);
}

#[test]
fn refuses_xml_that_nests_without_end() {
    let body = "<w:tbl><w:tr><w:tc>".repeat(20_000);
    assert!(matches!(
        read_named("a.docx", &docx(&body, &[])),
        Err(ReadError::Corrupt { .. })
    ));
}

#[test]
fn reads_markdown_that_nests_without_end() {
    survives("a.md", format!("{}x", "> ".repeat(20_000)).as_bytes());
    survives("a.md", "[".repeat(20_000).as_bytes());
    survives("a.md", format!("{}x", "- ".repeat(5_000)).as_bytes());
}

#[test]
fn ends_on_forms_that_call_each_other() {
    let fonts = [HELVETICA.to_owned()];
    let form = |number: usize| {
        stream(
            &format!(
                "/Type /XObject /Subtype /Form /Resources << /XObject << /A {number} 0 R /B {number} 0 R >> >>"
            ),
            b"/A Do /B Do",
        )
    };
    // Objects: 1 catalog, 2 pages, 3 font, 4 page, 5 content, 6 and 7 forms.
    let mut bytes = pdf_pages(&[b"/A Do".to_vec()], &fonts, &[form(7), form(6)], "");
    let at = sniff::find(&bytes, b"/Font << /F1 3 0 R >>").unwrap();
    bytes.splice(at..at, b"/XObject << /A 6 0 R >> ".iter().copied());
    assert!(matches!(
        read_named("a.pdf", &bytes),
        Err(ReadError::NoText { .. })
    ));
}

#[test]
fn reads_a_document_of_ten_thousand_pages_or_says_that_it_is_too_long() {
    let n = testkit::cases(1_000, 10_000);
    let contents: Vec<Vec<u8>> = (0..n)
        .map(|page| lines(12, 780, &[&format!("Page number {page}.")]))
        .collect();
    let bytes = pdf_pages(&contents, &[HELVETICA.to_owned()], &[], "");
    let document = read_document(Path::new("a.pdf"), &bytes, &Limits::default()).unwrap();
    assert_eq!(document.n_pages, Some(n as u32));
    assert!(
        texts(&document)
            .last()
            .unwrap()
            .contains(&format!("Page number {}.", n - 1))
    );
    let limits = Limits {
        max_pages: 500,
        ..Limits::default()
    };
    let error = read_document(Path::new("a.pdf"), &bytes, &limits).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::TooLarge {
                what: Unit::Pages,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn ends_on_pages_outlines_and_lengths_that_refer_to_themselves() {
    let page =
        b"<< /Type /Page /Parent 2 0 R /Contents 5 0 R /Resources << /Font << /F1 6 0 R >> >> >>".to_vec();
    let text = stream("", &lines(12, 780, &["Still legible."]));
    let font = HELVETICA.as_bytes().to_vec();
    let pages = |kids: &str| {
        format!("<< /Type /Pages /Count 1 /Kids [{kids}] /MediaBox [0 0 595 842] >>").into_bytes()
    };
    let catalog = b"<< /Type /Catalog /Pages 2 0 R /Outlines 3 0 R >>".to_vec();
    let outline = b"<< /Title (a) /First 3 0 R /Next 3 0 R /Prev 3 0 R /Parent 3 0 R /Last 3 0 R >>".to_vec();
    let endless = b"<< /Length 5 0 R >>\nstream\nBT ET\nendstream".to_vec();
    let cases: [[Vec<u8>; 6]; 5] = [
        [
            catalog.clone(),
            pages("4 0 R"),
            outline.clone(),
            page.clone(),
            text.clone(),
            font.clone(),
        ],
        [
            catalog.clone(),
            pages("2 0 R 4 0 R"),
            outline.clone(),
            page.clone(),
            text.clone(),
            font.clone(),
        ],
        [
            catalog.clone(),
            pages("4 0 R"),
            outline.clone(),
            page.clone(),
            endless,
            font.clone(),
        ],
        [
            catalog.clone(),
            pages("4 0 R"),
            outline.clone(),
            page.clone(),
            b"[5 0 R 5 0 R]".to_vec(),
            font,
        ],
        [catalog, pages("4 0 R"), outline, page, text, b"6 0 R".to_vec()],
    ];
    for (number, objects) in cases.iter().enumerate() {
        let bytes = pdf(objects, "");
        let before = Instant::now();
        survives("a.pdf", &bytes);
        assert!(before.elapsed() < Duration::from_secs(5), "case {number}");
        if number == 0 {
            assert_eq!(texts(&read_named("a.pdf", &bytes).unwrap()), ["Still legible."]);
        }
    }
}

#[test]
fn fonts_of_absurd_sizes_and_widths_do_no_harm() {
    let widths = "<< /Type /Font /Subtype /TrueType /BaseFont /X /FirstChar -9 /LastChar 99999999 /Widths [1e38 -1e38 (x)] >>";
    let fonts = [HELVETICA.to_owned(), widths.to_owned()];
    for font in [
        "/F1 1e38 Tf",
        "/F1 -0.0001 Tf",
        "/F2 12 Tf",
        "/None 12 Tf",
        "/F1 99999999999999999999999 Tf",
    ] {
        for matrix in [
            "1e30 0 0 1e30 0 0 cm",
            "0 0 0 0 0 0 cm",
            "1 0 0 1 1e38 -1e38 cm",
            "",
        ] {
            let content = format!(
                "{matrix} BT {font} 1e38 TL 200 Tz 1e37 Tc 72 700 Td (Some) Tj T* [(te) -1e38 (xt)] TJ ET"
            );
            survives("a.pdf", &pdf_pages(&[content.into_bytes()], &fonts, &[], ""));
        }
    }
}

#[test]
fn tells_encrypted_office_files_and_old_ones_apart() {
    let mut ole = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".to_vec();
    ole.resize(600, 0);
    assert!(
        read_named("a.doc", &ole)
            .unwrap_err()
            .to_string()
            .contains("before 2007")
    );
    ole.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(read_named("a.docx", &ole), Err(ReadError::Encrypted));
}
