//! What documents state in their properties is handed on as it is written there.

use super::made::{docx, package, paragraph};
use super::read_named;

fn properties(name: &str, bytes: &[u8]) -> Vec<(String, String)> {
    read_named(name, bytes).unwrap().properties
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    list.iter().map(own).collect()
}

#[test]
fn front_matter_meta_elements_and_office_properties_are_handed_on() {
    let markdown = "---\ntitle: x\nowner: 'HR'\nvalid_from: 2024-03-01\nlist:\n  - a: b\n---\ntext";
    let found = properties("a.md", markdown.as_bytes());
    assert_eq!(
        found,
        pairs(&[("owner", "HR"), ("valid_from", "2024-03-01"), ("list", "")])
    );
    let html = r#"<html><head><meta charset="utf-8"><meta name="owner" content="HR"></head><body><p>text</p></body></html>"#;
    assert_eq!(properties("a.html", html.as_bytes()), pairs(&[("owner", "HR")]));
    let app = r#"<Properties xmlns="x"><Manager>Kim</Manager></Properties>"#;
    let custom = r#"<Properties xmlns="x" xmlns:vt="v"><property fmtid="{}" pid="2" name="Effective date">
        <vt:filetime>2024-03-01T00:00:00Z</vt:filetime></property></Properties>"#;
    let document = docx(
        &paragraph("", "text"),
        &[("docProps/app.xml", app), ("docProps/custom.xml", custom)],
    );
    let expected = pairs(&[("Manager", "Kim"), ("Effective date", "2024-03-01T00:00:00Z")]);
    assert_eq!(properties("a.docx", &document), expected);
    let content = br#"<office:document-content xmlns:office="o" xmlns:text="t"><office:body><office:text>
        <text:p>text</text:p></office:text></office:body></office:document-content>"#;
    let meta = r#"<office:document-meta xmlns:office="o" xmlns:meta="m"><office:meta>
        <meta:user-defined meta:name="담당부서">인사팀</meta:user-defined></office:meta></office:document-meta>"#;
    let document = package(&[
        ("mimetype", b"application/vnd.oasis.opendocument.text"),
        ("content.xml", content),
        ("meta.xml", meta.as_bytes()),
    ]);
    assert_eq!(properties("a.odt", &document), pairs(&[("담당부서", "인사팀")]));
}

#[test]
fn too_many_and_too_long_properties_are_left_out() {
    let many: String = (0..100).map(|n| format!("p{n}: v\n")).collect();
    let markdown = format!("---\nlong: {}\n{many}---\ntext", "x".repeat(2_000));
    assert_eq!(properties("a.md", markdown.as_bytes()).len(), 64);
}
