//! The page as a browser without script sees it.

use crate::common::{House, Request};

fn page(house: &House, path: &str) -> String {
    let response = house
        .client()
        .send(&Request::new("GET", path).header("accept", "text/html"));
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    response.text()
}

fn ask(house: &House, question: &str) -> String {
    let request = Request::new("POST", "/ask").header("content-type", "application/x-www-form-urlencoded");
    let response = house
        .client()
        .send(&request.body(format!("question={}&history=[]", question.replace(' ', "+"))));
    assert_eq!(response.status, 200, "{}", response.text());
    response.text()
}

/// Nothing on the page comes from anywhere else.
fn check_self_contained(html: &str) {
    for part in html.split(['"', '\'']).filter(|part| part.contains("//")) {
        assert!(part.starts_with("http://www.w3.org/"), "{part}");
    }
    assert!(
        !html.contains(" style=") && !html.contains(" onclick="),
        "inline style or script"
    );
}

#[test]
fn asking_works_without_script() {
    let house = House::start();
    check_self_contained(&page(&house, "/"));
    let html = ask(&house, "When is the garden gate locked?");
    assert!(
        html.contains("class=\"badge outcome-answer\"") && html.contains("nine o&#x27;clock"),
        "{html}"
    );
    let link = html
        .split("class=\"chip\" href=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let opened = page(&house, &link.replace("&amp;", "&").replace("#quote", ""));
    let marked = opened
        .split("<mark id=\"quote\" tabindex=\"-1\">")
        .nth(1)
        .unwrap()
        .split("</mark>")
        .next()
        .unwrap();
    assert!(marked.contains("nine o&#x27;clock"), "{marked}");
}

#[test]
fn what_was_not_read_is_listed_with_its_reason_and_can_be_tried_again() {
    let house = House::with(None, |config| {
        let store = config.assistant.store();
        let folder = store.dir().parent().unwrap().join("more");
        stdx::fs::create_dir_all(folder.join("hr")).unwrap();
        stdx::fs::write(folder.join("hr/.hanok-access"), "hr\n").unwrap();
        stdx::fs::write(folder.join("hr/payroll.pdf"), "%PDF-1.7 nothing").unwrap();
        stdx::fs::write(folder.join("broken.pdf"), "%PDF-1.7 nothing").unwrap();
        let scanned = crate::common::pdf(&["A page with text.", ""]);
        stdx::fs::write(folder.join("scanned.pdf"), scanned).unwrap();
        store.ingest(&[folder], &mut |_| knowledge::Go::On).unwrap();
    });
    let english = page(&house, "/documents?lang=en");
    assert!(
        english.contains("Not read, or not whole") && english.contains("broken.pdf"),
        "{english}"
    );
    assert!(
        english.contains("Pages 2 are pictures without text."),
        "{english}"
    );
    let korean = page(&house, "/documents?lang=ko");
    assert!(
        korean.contains("2쪽은 글자가 없는 그림입니다.") && korean.contains("다시 시도"),
        "{korean}"
    );
    assert!(!english.contains("payroll"), "a name tells, too");
    let path = |name: &str| house.dir.path().join("more").join(name);
    let retry = |name: &str| {
        let shown = stdx::fs::canonicalize(path(name)).unwrap().display().to_string();
        let request = Request::new("POST", "/documents/retry")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("path={}", shown.replace('/', "%2F")));
        house.client().send(&request).status
    };
    assert_eq!(retry("hr/payroll.pdf"), 404, "as if it were not there");
    stdx::fs::write(path("broken.pdf"), crate::common::pdf(&["It is whole now."])).unwrap();
    assert_eq!(retry("broken.pdf"), 303);
    assert_eq!(house.wait_for_job("broken.pdf")["state"], "done");
    house.document("more/broken.pdf");
    let after = page(&house, "/documents?lang=en");
    assert_eq!(after.matches("action=\"/documents/retry\"").count(), 1, "{after}");
}

#[test]
fn a_refusal_is_a_card_of_its_own() {
    let house = House::start();
    let html = ask(&house, "Quarterly zirconium exports of Peru");
    assert!(
        html.contains("class=\"badge outcome-refuse\"") && html.contains("class=\"refusal\""),
        "{html}"
    );
}

#[test]
fn a_hostile_document_stays_text() {
    let house = House::start();
    let id = house.document("handbook.md");
    let html = page(&house, &format!("/document/{id}"));
    assert!(
        html.contains("&lt;script&gt;") && !html.contains("<script>alert"),
        "{html}"
    );
    let html = ask(&house, "<script>alert(1)</script> gate");
    assert!(!html.contains("<script>alert"), "{html}");
}

#[test]
fn the_page_speaks_the_readers_language_and_remembers_a_choice() {
    let house = House::start();
    let korean = house
        .client()
        .send(&Request::new("GET", "/").header("accept-language", "ko-KR,en;q=0.5"));
    assert!(korean.text().contains("<html lang=\"ko\">") && korean.text().contains("무엇이 궁금하신가요?"));
    let chosen = house.client().get("/documents?lang=ko");
    assert!(chosen.header("set-cookie").unwrap().starts_with("hanok_lang=ko;"));
    let remembered = house
        .client()
        .send(&Request::new("GET", "/").header("cookie", "hanok_lang=ko"));
    assert!(remembered.text().contains("<html lang=\"ko\">"));
    assert!(page(&house, "/").contains("<html lang=\"en\">"));
}

#[test]
fn documents_are_listed_uploaded_and_deleted_without_script() {
    let house = House::start();
    let html = page(&house, "/documents");
    check_self_contained(&html);
    assert!(
        html.contains("House handbook") && html.contains("한옥 안내서"),
        "{html}"
    );
    let (kind, body) = crate::common::client::multipart("lamp.md", b"# Lamp\n\nThe lamp is lit at dusk.\n");
    let sent = house.client().send(
        &Request::new("POST", "/documents")
            .header("content-type", &kind)
            .body(body),
    );
    assert_eq!((sent.status, sent.header("location")), (303, Some("/documents")));
    house.wait_for_job("lamp.md");
    let id = house.document("lamp.md");
    let gone = house
        .client()
        .send(&Request::new("POST", &format!("/documents/{id}/delete")));
    assert_eq!((gone.status, gone.header("location")), (303, Some("/documents")));
    assert!(
        !page(&house, "/documents").contains(&id),
        "the list has forgotten it"
    );
}

#[test]
fn assets_are_kept_by_browsers_until_they_change() {
    let house = House::start();
    let html = page(&house, "/");
    let style = html
        .split("href=\"")
        .find(|part| part.starts_with("/assets/page.css?v="))
        .unwrap();
    let style = style.split('"').next().unwrap();
    let first = house.client().get(style);
    assert_eq!(first.header("content-type"), Some("text/css; charset=utf-8"));
    assert!(first.header("cache-control").unwrap().contains("immutable"));
    let tag = first.header("etag").unwrap();
    let again = house
        .client()
        .send(&Request::new("GET", "/assets/page.css").header("if-none-match", tag));
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(house.client().get("/assets/..%2f..%2fCargo.toml").status, 404);
}
