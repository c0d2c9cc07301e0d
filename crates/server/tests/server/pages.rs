//! Pages as pictures, and where on them a quote stands.

use crate::common::{House, pdf};

const SENTENCE: &str = "The ice house was filled in February.";

/// A house with a PDF file of two pages, and the file's id.
fn house() -> (House, String) {
    let house = House::with(None, |config| {
        let store = config.assistant.store();
        let folder = store.dir().parent().unwrap().join("papers");
        stdx::fs::create_dir_all(&folder).unwrap();
        stdx::fs::write(folder.join("ice.pdf"), pdf(&["A first page.", SENTENCE])).unwrap();
        store.ingest(&[folder], &mut |_| knowledge::Go::On).unwrap();
    });
    let id = house.document("ice.pdf");
    (house, id)
}

fn span(house: &House, id: &str) -> (usize, usize) {
    let whole = house.client().get(&format!("/api/documents/{id}")).json();
    let start = whole["text"].as_str().unwrap().find(SENTENCE).unwrap();
    (start, start + SENTENCE.len())
}

#[test]
fn a_quote_has_its_rectangles_and_its_page_a_picture() {
    let (house, id) = house();
    let (start, end) = span(&house, &id);
    let path = format!("/api/documents/{id}/marks?start={start}&end={end}");
    let marks = house.client().get(&path).json();
    assert_eq!(marks["schema"], 1);
    let page = &marks["pages"][0];
    assert_eq!(
        (page["page"].as_u64(), page["width"].as_f64()),
        (Some(2), Some(595.0))
    );
    assert_eq!(page["lines"].as_array().unwrap().len(), 1);
    assert_eq!(page["lines"][0]["x"], 72.0);
    for _ in 0..2 {
        let picture = house
            .client()
            .get(&format!("/api/documents/{id}/pages/2/picture?width=300"));
        assert_eq!(picture.status, 200, "{}", picture.text());
        assert!(picture.body.starts_with(b"\x89PNG"));
        let kept = picture.headers.iter().find(|(name, _)| name == "cache-control");
        assert_eq!(kept.unwrap().1, "no-store", "a page may be confidential");
    }
}

#[test]
fn the_document_opens_at_the_quote_on_its_page() {
    let (house, id) = house();
    let (start, end) = span(&house, &id);
    let html = house
        .client()
        .get(&format!("/document/{id}?start={start}&end={end}"))
        .text();
    assert!(
        html.contains(&format!("/api/documents/{id}/pages/2/picture")),
        "{html}"
    );
    assert!(html.contains("<rect x=\"72"), "{html}");
    assert!(
        html.contains(SENTENCE),
        "the text stays for those who do not see the picture"
    );
}

#[test]
fn what_is_not_there_is_said_by_name() {
    let (house, id) = house();
    let code = |path: &str| {
        let response = house.client().get(path);
        (
            response.status,
            response.error()["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    for page in ["0", "3", "4294967295", "99999999999", "-1", "x"] {
        let path = format!("/api/documents/{id}/pages/{page}/picture");
        assert_eq!(code(&path), (404, "page_not_found".into()), "{page}");
    }
    let handbook = house.document("handbook.md");
    let path = format!("/api/documents/{handbook}/pages/1/picture");
    assert_eq!(code(&path), (404, "page_not_found".into()));
    for path in [
        "/api/documents/d0000000000000000/pages/1/picture".to_owned(),
        "/api/documents/d0000000000000000/marks?start=0&end=1".to_owned(),
        format!("/api/documents/{id}/pages/1/picture?version=nosuch"),
    ] {
        assert_eq!(code(&path), (404, "document_not_found".into()), "{path}");
    }
    let file = house.dir.path().join("papers/ice.pdf");
    stdx::fs::write(&file, pdf(&["Another one.", "By now."])).unwrap();
    let path = format!("/api/documents/{id}/pages/2/picture");
    assert_eq!(code(&path), (409, "file_changed".into()));
}
