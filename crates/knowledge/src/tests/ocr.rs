//! Scanned pages: listed as what they are, and recognised by the installed Tesseract when that is turned on.
//!
//! The scans are made here: Hangul is printed with a real font, drawn as a picture, and the picture alone is put into
//! another PDF file.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;
use crate::ocr::{DOUBTFUL_BELOW, LANGUAGES, Ocr, OcrError};
use crate::prepare::ReadOptions;
use crate::read::tests::made::{HELVETICA, lines, pdf, pdf_pages, stream};
use crate::read::{Isolation, Limits, Means, Passwords, draw_page};

const FONT: &str = "/usr/share/fonts/truetype/nanum/NanumMyeongjo.ttf";
const PRINTED: [&str; 4] = [
    "제12조(계약의 해지) 갑은 을이 계약을 위반한 경우",
    "서면으로 통지하고 계약을 해지할 수 있다.",
    "위약금은 계약 금액의 10퍼센트로 한다.",
    "The notice period is thirty days in writing.",
];

/// Tesseract with Korean, where it is; the run of the tests installs it.
fn tesseract() -> Option<Ocr> {
    match Ocr::installed(LANGUAGES) {
        Ok(ocr) if fs::metadata(FONT).is_ok() => Some(ocr),
        Ok(_) => missing(&format!("`{FONT}` is not here")),
        Err(error) => missing(&error.to_string()),
    }
}

fn missing(what: &str) -> Option<Ocr> {
    assert!(
        std::env::var_os(testkit::DATA_VARIABLE).is_none(),
        "nothing may be skipped: {what}"
    );
    testkit::log(&format!("SKIPPED: {what}"));
    None
}

/// A page of text, as a picture: its width and height, and a byte of grey for each pixel.
fn printed(text: &[&str], size: u32) -> (u32, u32, Vec<u8>) {
    let page = printed_page(text, size);
    let (limits, passwords) = (Limits::default(), Passwords::default());
    let means = Means {
        isolation: &Isolation::Thread,
        limits: &limits,
        passwords: &passwords,
    };
    let picture = draw_page(&page, (1, 1_700), means).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(picture))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let channels = info.color_type.samples();
    let grey = pixels.chunks(channels).map(|pixel| pixel[0]).collect();
    (info.width, info.height, grey)
}

/// A PDF page with text in the font: characters stand in it by their codes, a map leads to the font's shapes.
fn printed_page(text: &[&str], size: u32) -> Vec<u8> {
    let font = fs::read(FONT).unwrap();
    let shapes = Shapes::of(&font);
    let mut content = format!("BT /F1 {size} Tf {} TL 60 760 Td\n", size * 2);
    for line in text {
        let codes: String = line
            .chars()
            .map(|c| format!("{:04X}", shapes.of_char(c)))
            .collect();
        content += &format!("<{codes}> Tj T*\n");
    }
    content += "ET";
    let widths: String = text
        .iter()
        .flat_map(|line| line.chars())
        .map(|c| format!("{} [{}] ", shapes.of_char(c), shapes.width(c)))
        .collect();
    let objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>".to_vec(),
        stream("", content.as_bytes()),
        b"<< /Type /Font /Subtype /Type0 /BaseFont /Nanum /Encoding /Identity-H /DescendantFonts [6 0 R] >>".to_vec(),
        format!(
            "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Nanum /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) \
             /Supplement 0 >> /CIDToGIDMap /Identity /FontDescriptor 7 0 R /DW 1000 /W [{widths}] >>"
        )
        .into_bytes(),
        b"<< /Type /FontDescriptor /FontName /Nanum /Flags 4 /FontBBox [0 -200 1000 900] /ItalicAngle 0 /Ascent 900 \
          /Descent -200 /CapHeight 700 /StemV 80 /FontFile2 8 0 R >>"
            .to_vec(),
        stream(&format!("/Length1 {}", font.len()), &font),
    ];
    pdf(&objects, "")
}

/// The numbers of a TrueType font's shapes by character (format 4 of its map), and their widths.
struct Shapes<'a> {
    font: &'a [u8],
    map: usize,
}

impl<'a> Shapes<'a> {
    fn of(font: &'a [u8]) -> Self {
        let mut shapes = Self { font, map: 0 };
        let cmap = shapes.table(b"cmap");
        shapes.map = (0..shapes.u16(cmap + 2))
            .map(|n| cmap + 4 + 8 * n)
            .map(|record| cmap + (shapes.u16(record + 4) << 16 | shapes.u16(record + 6)))
            .find(|map| shapes.u16(*map) == 4)
            .unwrap();
        shapes
    }

    fn u16(&self, at: usize) -> usize {
        usize::from(u16::from_be_bytes([self.font[at], self.font[at + 1]]))
    }

    fn table(&self, name: &[u8]) -> usize {
        let record = (0..self.u16(4))
            .map(|n| 12 + 16 * n)
            .find(|at| &self.font[*at..at + 4] == name)
            .unwrap();
        self.u16(record + 8) << 16 | self.u16(record + 10)
    }

    fn of_char(&self, c: char) -> usize {
        let code = c as usize;
        let doubled = self.u16(self.map + 6);
        let segment = (0..doubled / 2)
            .find(|n| self.u16(self.map + 14 + 2 * n) >= code)
            .unwrap();
        let part = |k: usize| self.map + 16 + k * doubled + 2 * segment;
        let (start, delta, offset) = (self.u16(part(1)), self.u16(part(2)), self.u16(part(3)));
        if offset == 0 {
            return (code + delta) & 0xFFFF;
        }
        (self.u16(part(3) + offset + 2 * (code - start)) + delta) & 0xFFFF
    }

    fn width(&self, c: char) -> usize {
        let n_widths = self.u16(self.table(b"hhea") + 34);
        let units = self.u16(self.table(b"head") + 18);
        let at = self.table(b"hmtx") + 4 * self.of_char(c).min(n_widths - 1);
        self.u16(at) * 1000 / units
    }
}

/// A PDF file whose pages are these pictures and nothing else.
fn scanned(pictures: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    with_scans(pictures, None)
}

/// A PDF file whose pages are these pictures; in place of the first one there may be typed text.
fn with_scans(pictures: &[(u32, u32, Vec<u8>)], typed: Option<&str>) -> Vec<u8> {
    let n = pictures.len();
    let kids: String = (0..n).map(|i| format!("{} 0 R ", 3 + 3 * i)).collect();
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!("<< /Type /Pages /Kids [{kids}] /Count {n} >>").into_bytes(),
    ];
    for (i, (width, height, pixels)) in pictures.iter().enumerate() {
        let (content, picture) = (4 + 3 * i, 5 + 3 * i);
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(pixels).unwrap();
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {content} 0 R /Resources << /XObject \
                 << /P {picture} 0 R >> /Font << /F1 {HELVETICA} >> >> >>"
            )
            .into_bytes(),
        );
        let text = typed.filter(|_| i == 0).map(|text| lines(12, 700, &[text]));
        objects.push(stream(
            "",
            &text.unwrap_or_else(|| b"q 595 0 0 842 0 0 cm /P Do Q".to_vec()),
        ));
        let dictionary = format!(
            "/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray /BitsPerComponent 8 \
             /Filter /FlateDecode"
        );
        objects.push(stream(&dictionary, &packer.finish().unwrap()));
    }
    pdf(&objects, "")
}

fn put(house: &House, name: &str, bytes: &[u8]) {
    fs::write(house.documents.join(name), bytes).unwrap();
}

fn configured(house: &House, ocr: Option<Ocr>) -> Store {
    let store = house.open();
    store.configure(ReadOptions {
        ocr,
        ..ReadOptions::default()
    });
    store
}

fn blank() -> (u32, u32, Vec<u8>) {
    (400, 566, vec![255; 400 * 566])
}

#[test]
fn a_scan_that_is_not_recognised_is_listed_and_never_silently_empty() {
    let house = House::new();
    put(&house, "scan.pdf", &scanned(&[blank()]));
    let contents = [lines(12, 700, &["A typed page."]), Vec::new()];
    put(
        &house,
        "mixed.pdf",
        &pdf_pages(&contents, &[HELVETICA.to_owned()], &[], ""),
    );
    let store = house.open();
    let report = house.ingest(&store);
    assert_eq!(report.failed.len(), 1);
    assert!(
        report.failed[0].reason.contains("needs OCR") && report.failed[0].reason.contains("`ocr`"),
        "{report:?}"
    );
    let documents = seen(&store).documents().unwrap();
    assert_eq!(documents[0].without_text, [2]);
    assert!(documents[0].recognised.is_empty());
    let text = seen(&store)
        .document(&documents[0].document_id, None)
        .unwrap()
        .unwrap();
    assert_eq!(text.info.without_text, [2]);
    // What is noted goes with the document.
    store.remove(&documents[0].document_id).unwrap();
    let n: i64 = store
        .files()
        .catalog
        .read("count", |c| {
            c.query_row("SELECT count(*) FROM page_notes", [], |row| row.get(0))
        })
        .unwrap();
    assert_eq!(n, 0);
}

#[test]
fn a_scanned_page_is_recognised_and_its_quote_marked_where_it_stands() {
    let Some(ocr) = tesseract() else { return };
    let house = House::new();
    put(&house, "scan.pdf", &scanned(&[printed(&PRINTED, 14), blank()]));
    let store = configured(&house, Some(ocr));
    let report = house.ingest(&store);
    assert_eq!((report.added, report.failed.len()), (1, 0), "{report:?}");
    let hit = find(&store, "계약을 해지할 수 있는 경우").swap_remove(0);
    assert_eq!(hit.page, Some(1));
    assert!(
        hit.text.contains("서면으로 통지하고 계약을 해지할 수 있다."),
        "{}",
        hit.text
    );
    assert!(hit.text.contains("thirty days in writing"), "{}", hit.text);
    let info = seen(&store).documents().unwrap().swap_remove(0);
    assert!(
        info.recognised[0].page == 1 && info.recognised[0].confidence >= DOUBTFUL_BELOW,
        "{info:?}"
    );
    // A page on which nothing is: looked at, and nothing found.
    assert_eq!((info.recognised[1].page, info.recognised[1].confidence), (2, 0));
    assert_eq!(info.without_text, [0; 0]);
    // The second line stands 28 points under the first, which stands at 842 - 760 = 82.
    let start = hit
        .text
        .find("서면으로")
        .map(|at| hit.text[..at].chars().count() + hit.start)
        .unwrap();
    let marks = seen(&store)
        .marks(&hit.document_id, None, start..start + 4)
        .unwrap()
        .unwrap();
    let line = marks[0].lines[0];
    assert!(
        (55.0..66.0).contains(&line.x) && (85.0..112.0).contains(&line.y),
        "{line:?}"
    );
    assert!(line.width < 80.0 && line.height < 32.0, "{line:?}");
}

#[test]
fn turning_it_on_recognises_what_is_in_already() {
    let Some(ocr) = tesseract() else { return };
    let house = House::new();
    let (width, height, pixels) = printed(&PRINTED[..2], 16);
    put(&house, "picture.png", &png(width, height, &pixels));
    let mixed = with_scans(&[blank(), (width, height, pixels)], Some("A typed page."));
    put(&house, "mixed.pdf", &mixed);
    let store = house.open();
    let report = house.ingest(&store);
    assert!(report.failed[0].reason.contains("PNG"), "{report:?}");
    assert_eq!(names(&find(&store, "계약의 해지")), [""; 0]);
    drop(store);
    let store = configured(&house, Some(ocr.clone()));
    let report = house.ingest(&store);
    assert!(report.failed.is_empty(), "{report:?}");
    let mut found = names(&find(&store, "계약의 해지"));
    found.sort();
    assert_eq!(found, ["mixed.pdf", "picture.png"]);
    // And only once.
    let report = house.ingest(&store);
    assert_eq!((report.unchanged, report.changed + report.added), (2, 0));
}

fn png(width: u32, height: u32, grey: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(grey).unwrap();
    out
}

#[test]
fn what_is_missing_is_said_with_what_to_install() {
    let none = Ocr::of(Path::new("/nowhere/tesseract"), "kor").unwrap_err();
    assert!(
        matches!(none, OcrError::NoProgram { .. }) && none.to_string().contains("apt-get install"),
        "{none}"
    );
    for languages in ["", "kor+", "kor eng", "../x", "-c"] {
        assert!(
            matches!(Ocr::of(Path::new("x"), languages), Err(OcrError::BadLanguages(_))),
            "{languages}"
        );
    }
    if tesseract().is_some() {
        let error = Ocr::installed("kor+chi_tra_vert").unwrap_err();
        assert!(
            error.to_string().contains("tesseract-ocr-chi-tra-vert"),
            "{error}"
        );
    }
}

#[test]
fn a_program_that_fails_or_never_ends_costs_its_page_alone() {
    let house = House::new();
    let contents = [lines(12, 700, &["A typed page."]), Vec::new()];
    put(
        &house,
        "mixed.pdf",
        &pdf_pages(&contents, &[HELVETICA.to_owned()], &[], ""),
    );
    let broken = |script: &str| {
        let program = house.data.parent().unwrap().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Ocr {
            program,
            languages: "eng".to_owned(),
            max_time: std::time::Duration::from_secs(1),
            memory_bytes: 1 << 30,
        }
    };
    for script in [
        "echo out of order >&2; exit 1",
        "exec sleep 20",
        "cat > /dev/null; exec yes '5\t1'",
    ] {
        let store = configured(&house, Some(broken(script)));
        assert!(house.ingest(&store).failed.is_empty(), "{script}");
        assert_eq!(names(&find(&store, "typed page")), ["mixed.pdf"], "{script}");
        let info = seen(&store).documents().unwrap().swap_remove(0);
        assert_eq!(info.without_text, [2], "{script}");
        drop(store);
    }
}
