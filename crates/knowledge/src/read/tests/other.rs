//! CSV, e-mail and source code.

use super::*;

#[test]
fn rows_of_fields_in_any_common_form() {
    let (cp949, _, _) = encoding_rs::EUC_KR.encode("이름,금액\n\"홍, 길동\",\"1,000\"\n\n김,\"두\n줄\"\n");
    let document = read_named("a.csv", &cp949).unwrap();
    assert_eq!(document.format, Format::Csv);
    assert_eq!(
        texts(&document),
        ["이름 | 금액", "홍, 길동 | 1,000", "김 | 두 줄"]
    );
    let document = read_named("a.tsv", b"sep=;\na;b\n1;2\n").unwrap();
    assert_eq!(texts(&document), ["a | b", "1 | 2"]);
    // Named so, but no table: read as what it is.
    assert_eq!(
        read_named("a.csv", b"just a sentence").unwrap().format,
        Format::Text
    );
}

const MAIL: &str = "Received: from a\r\nFrom: =?EUC-KR?B?yKux5rW/?= <hong@example.org>\r\nTo: b@example.org, C <c@example.org>\r\n\
    Subject: =?UTF-8?B?6rOE7JW9IOqxtA==?=\r\nDate: Tue, 2 Jan 2024 09:00:00 +0900\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=X\r\n\r\n--X\r\nContent-Type: multipart/alternative; boundary=Y\r\n\r\n\
    --Y\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n첫 문단.\r\n\r\n둘째 문단.\r\n\
    --Y\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>HTML</p>\r\n--Y--\r\n\
    --X\r\nContent-Type: text/csv; name=\"a.csv\"\r\nContent-Disposition: attachment; filename=\"a.csv\"\r\n\r\nx,y\r\n1,2\r\n\
    --X\r\nContent-Type: image/png; name=\"b.png\"\r\nContent-Disposition: attachment; filename=\"b.png\"\r\n\
    Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgoAAAAN\r\n--X--\r\n";

#[test]
fn a_mail_with_its_attachments() {
    let document = read_named("a", MAIL.as_bytes()).unwrap();
    assert_eq!(
        (document.format, document.title.as_deref()),
        (Format::Email, Some("계약 건"))
    );
    assert_eq!(
        texts(&document),
        [
            "계약 건",
            "From: 홍길동 <hong@example.org>\nTo: b@example.org, C <c@example.org>\nDate: 2024-01-02T09:00:00+09:00",
            "첫 문단.",
            "둘째 문단.",
            "Attachment: a.csv",
            "x | y",
            "1 | 2"
        ]
    );
    assert_eq!(document.warnings.len(), 1);
    assert!(
        document.warnings[0].contains("`b.png`"),
        "{:?}",
        document.warnings
    );
}

#[test]
fn mails_within_mails_end_somewhere() {
    let mut mail =
        b"From: a@b\r\nSubject: s\r\nDate: Tue, 2 Jan 2024 09:00:00 +0900\r\n\r\ninnermost\r\n".to_vec();
    for _ in 0..40 {
        mail = [
            b"From: a@b\r\nSubject: s\r\nMIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\n"
                .as_slice(),
            &mail,
        ]
        .concat();
    }
    let document = read_named("a.eml", &mail).unwrap();
    assert!(document.blocks.len() < 50);
}

#[test]
fn code_keeps_every_line_where_it_stands() {
    let source = "\n\n// first\nfn a() {\n\tx();\n\n\n    y();\n}\n\nfn b() {}\r\n";
    let document = read_named("a.rs", source.as_bytes()).unwrap();
    assert_eq!(document.format, Format::Code);
    assert_eq!(document.blocks.len(), 2, "{:?}", texts(&document));
    let normal = crate::text::normalise(&document);
    let lines: Vec<&str> = normal.text.split('\n').collect();
    assert_eq!(
        lines,
        [
            "",
            "",
            "// first",
            "fn a() {",
            "    x();",
            "",
            "",
            "    y();",
            "}",
            "",
            "fn b() {}"
        ]
    );
}
