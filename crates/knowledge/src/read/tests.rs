//! What the readers promise, format by format, and what hostile input gets.

use std::path::Path;
use std::time::Duration;

use super::*;

mod docx;
mod hangul;
mod hostile;
mod locked;
pub(crate) mod made;
mod office;
mod other;
mod pdf;
mod places;
mod properties;
mod web;

fn read_named(name: &str, bytes: &[u8]) -> Result<RawDocument, ReadError> {
    let limits = Limits {
        max_time: Duration::from_secs(20),
        ..Limits::default()
    };
    read(Path::new(name), bytes, &Isolation::Thread, &limits)
}

fn texts(document: &RawDocument) -> Vec<&str> {
    document.blocks.iter().map(|block| block.text.as_str()).collect()
}

fn kinds(document: &RawDocument) -> Vec<BlockKind> {
    document.blocks.iter().map(|block| block.kind).collect()
}

const KOREAN: &str = "계약서를 검토한 결과 대금은 삼천만 원이다.\n\n둘째 문단은 납기를 정한다.\n";

#[test]
fn reads_plain_text_in_every_common_encoding() {
    let expected = [
        "계약서를 검토한 결과 대금은 삼천만 원이다.",
        "둘째 문단은 납기를 정한다.",
    ];
    let (cp949, _, _) = encoding_rs::EUC_KR.encode(KOREAN);
    let little: Vec<u8> = KOREAN.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = KOREAN.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let inputs = [
        KOREAN.as_bytes().to_vec(),
        [b"\xEF\xBB\xBF", KOREAN.as_bytes()].concat(),
        cp949.into_owned(),
        little.clone(),
        big.clone(),
        [b"\xFF\xFE".to_vec(), little].concat(),
        [b"\xFE\xFF".to_vec(), big].concat(),
        KOREAN.replace('\n', "\r\n").into_bytes(),
    ];
    for (index, bytes) in inputs.iter().enumerate() {
        let document = read_named("a.txt", bytes).unwrap();
        assert_eq!(document.format, Format::Text, "input {index}");
        assert_eq!(texts(&document), expected, "input {index}");
        assert_eq!(document.warnings, [""; 0], "input {index}");
    }
}

#[test]
fn reads_short_korean_text_in_the_old_encoding() {
    let (bytes, _, _) = encoding_rs::EUC_KR.encode("회의록: 똠방각하 펲시콜라");
    assert_eq!(
        texts(&read_named("a", &bytes).unwrap()),
        ["회의록: 똠방각하 펲시콜라"]
    );
}

#[test]
fn says_where_damaged_text_lost_characters() {
    let mut bytes = KOREAN.repeat(20).into_bytes();
    bytes[40] = 0xFF;
    let document = read_named("a.txt", &bytes).unwrap();
    assert!(
        document.warnings[0].contains("could not be decoded as UTF-8"),
        "{:?}",
        document.warnings
    );
}

#[test]
fn refuses_nothing_and_binary_rubbish_in_one_sentence() {
    assert_eq!(read_named("a.txt", b""), Err(ReadError::Empty));
    assert_eq!(
        read_named("a.txt", b" \n\t "),
        Err(ReadError::NoText { n_pages: None })
    );
    let mut rng = stdx::rng::Rng::new(1);
    let noise: Vec<u8> = (0..4096).map(|_| rng.below(256) as u8).collect();
    for bytes in [
        noise.as_slice(),
        b"\x7FELF\x02\x01\x01\0\0\0",
        b"\x89PNG\r\n\x1a\n\0\0",
        &[0; 64],
    ] {
        assert!(matches!(
            read_named("a.txt", bytes),
            Err(ReadError::UnknownFormat { .. })
        ));
    }
    let error = read_named("a.txt", b"\x89PNG\r\n\x1a\n").unwrap_err().to_string();
    assert!(error.starts_with("this looks like a PNG image"), "{error}");
}

#[test]
fn tells_formats_by_content_whatever_the_name_says() {
    let cases: [(&str, &[u8], Format); 8] = [
        ("a.txt", b"%PDF-1.4\n", Format::Pdf),
        ("a.pdf", b"Plain words only.", Format::Text),
        ("a.docx", b"<!DOCTYPE html><p>x", Format::Html),
        (
            "a.txt",
            b"<!-- note -->\n<?xml version='1.0'?><HTML><body>x",
            Format::Html,
        ),
        ("a.md", b"Plain words only.", Format::Markdown),
        ("a.html", b"a <b>fragment</b><br>of it", Format::Html),
        (
            "a",
            b"---\ntitle: x\n---\n# One\n\n- [a](b)\n\n```\ncode\n```\n",
            Format::Markdown,
        ),
        ("a.txt", b"BM25 is a ranking function.", Format::Text),
    ];
    for (name, bytes, format) in cases {
        assert_eq!(
            format_of(Path::new(name), bytes),
            Ok(format),
            "{name} {}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn leaves_out_characters_that_nobody_sees() {
    let text = "Pay\u{200B} the\u{202E} bill\u{E0041}\u{E0042}.";
    let document = read_named("a.txt", text.as_bytes()).unwrap();
    assert_eq!(texts(&document), ["Pay the bill."]);
    assert_eq!(document.warnings, ["4 invisible characters were left out"]);
}

#[test]
fn refuses_a_huge_file_without_reading_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.txt");
    stdx::fs::create(&path).unwrap().set_len(1 << 30).unwrap();
    let before = Instant::now();
    let error = load(&path, &Limits::default()).unwrap_err();
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!(
        error.to_string(),
        "the document has 1 073 741 824 bytes, more than the limit of 268 435 456; split it into smaller files"
    );
    assert!(matches!(
        load(folder.path(), &Limits::default()),
        Err(ReadError::Io { .. })
    ));
    assert!(matches!(
        load(&folder.path().join("none"), &Limits::default()),
        Err(ReadError::Io { .. })
    ));
}

#[test]
fn keeps_to_its_limits_of_blocks_and_text() {
    let limits = Limits {
        max_blocks: 3,
        ..Limits::default()
    };
    let error = read_document(Path::new("a.txt"), b"a\n\nb\n\nc\n\nd", &limits).unwrap_err();
    assert_eq!(
        error,
        ReadError::TooLarge {
            what: Unit::Blocks,
            found: 4,
            limit: 3
        }
    );
    let limits = Limits {
        max_text_bytes: 10,
        ..Limits::default()
    };
    assert!(read_document(Path::new("a.txt"), b"twelve bytes", &limits).is_err());
    let limits = Limits {
        max_time: Duration::ZERO,
        ..Limits::default()
    };
    assert_eq!(
        read_document(Path::new("a.txt"), b"words", &limits),
        Err(ReadError::TimedOut { limit_s: 0 })
    );
}
