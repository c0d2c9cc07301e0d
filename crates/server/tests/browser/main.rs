//! One run of the real page in a real browser: ask, open a citation, read, upload, in light, dark and on a phone.
//!
//! Pictures go to the folder that `HANOK_SCREENSHOTS` names, else beside the other test output.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../common/mod.rs"]
mod common;
mod webdriver;

use std::path::PathBuf;

use common::House;
use webdriver::Browser;

/// A sentence of a PDF file.
const ICE: &str = "The ice house was filled in February.";
const ENTER: &str = "\u{E007}";
const ESCAPE: &str = "\u{E00C}";

struct Visit {
    house: House,
    browser: Browser,
    pictures: PathBuf,
}

impl Visit {
    fn open(&self, path: &str) {
        self.browser.open(&format!("http://{}{path}", self.house.address));
    }

    fn picture(&self, name: &str) {
        // Let transitions end.
        std::thread::sleep(std::time::Duration::from_millis(500));
        self.browser
            .screenshot(&self.pictures.join(format!("{name}.png")));
    }

    fn ask(&self, question: &str) {
        let before = self
            .browser
            .run("return document.querySelectorAll('.turn .timing').length");
        let field = self.browser.find("#question");
        self.browser.type_into(&field, &format!("{question}{ENTER}"));
        self.browser.wait_for(&format!(
            "document.querySelectorAll('.turn .timing').length > {before}"
        ));
    }
}

/// The test command sets this where everything must run.
#[expect(clippy::disallowed_methods, reason = "tests read their own variables")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn visit() -> Option<Visit> {
    if !webdriver::is_installed() {
        assert!(
            variable(testkit::DATA_VARIABLE).is_none(),
            "chromium and chromedriver are not installed"
        );
        eprintln!("SKIPPED: chromium and chromedriver are not installed");
        return None;
    }
    let folder = variable("HANOK_SCREENSHOTS").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").to_owned());
    let pictures = PathBuf::from(folder);
    stdx::fs::create_dir_all(&pictures).unwrap();
    Some(Visit {
        house: House::with(None, |config| {
            let store = config.assistant.store();
            let folder = store.dir().parent().unwrap().join("papers");
            stdx::fs::create_dir_all(&folder).unwrap();
            stdx::fs::write(folder.join("ice.pdf"), common::pdf(&["A first page.", ICE])).unwrap();
            store.ingest(&[folder], &mut |_| knowledge::Go::On).unwrap();
        }),
        browser: Browser::start(),
        pictures,
    })
}

#[test]
fn a_visitor_asks_reads_and_adds_documents() {
    let Some(visit) = visit() else {
        return;
    };
    ask_and_open_a_citation(&visit);
    the_documents_do_not_tell(&visit);
    open_a_citation_on_its_page(&visit);
    on_a_phone_in_korean(&visit);
    assert_eq!(visit.browser.complaints(), Vec::<String>::new());
    read_and_upload(&visit);
    assert_eq!(visit.browser.complaints(), Vec::<String>::new());
}

fn ask_and_open_a_citation(visit: &Visit) {
    let browser = &visit.browser;
    browser.size(1280, 860, false);
    visit.open("/");
    browser.wait_for("document.documentElement.classList.contains('lively')");
    visit.picture("home-light");
    visit.ask("When is the garden gate locked?");
    assert_eq!(
        browser.run("return document.querySelectorAll('.badge.outcome-answer').length"),
        1
    );
    let text = browser.run("return document.querySelector('.sentences').innerText");
    assert!(text.as_str().unwrap().contains("nine o'clock"), "{text}");
    browser.click(&browser.find(".sentences .chip"));
    browser.wait_for("document.querySelector('#panel-text mark')");
    let mark = browser.run("return document.querySelector('#panel-text mark').textContent");
    assert!(mark.as_str().unwrap().contains("nine o'clock"), "{mark}");
    let whole = browser.run("return document.querySelector('#panel-text').textContent");
    assert!(
        whole.as_str().unwrap().contains("<script>alert"),
        "hostile text is text: {whole}"
    );
    assert!(
        browser.run(IN_VIEW).as_bool().unwrap(),
        "the quote is scrolled into view"
    );
    visit.picture("answer-light");
    browser.dark(true);
    visit.picture("answer-dark");
    browser.type_into(&browser.find("#panel-close"), ESCAPE);
    browser.wait_for("document.querySelector('#panel').hidden");
    assert_eq!(
        browser.run("return document.activeElement.className"),
        "chip",
        "the focus goes back"
    );
    visit.open("/");
    visit.picture("home-dark");
    browser.dark(false);
    let foreign = browser.run(
        "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin))",
    );
    assert_eq!(foreign, serde_json::json!([]));
}

const IN_VIEW: &str = "const box = document.querySelector('#panel-text').getBoundingClientRect(); \
    const mark = document.querySelector('#panel-text mark').getBoundingClientRect(); \
    return mark.top >= box.top - 1 && mark.bottom <= box.bottom + 1";

fn the_documents_do_not_tell(visit: &Visit) {
    visit.open("/");
    visit.ask("Quarterly zirconium exports of Peru?");
    let reason = visit
        .browser
        .run("return document.querySelector('.refusal p').textContent");
    assert!(!reason.as_str().unwrap().is_empty());
    visit.picture("refusal-light");
}

/// The overlay's rectangle lies where the sentence is drawn: 72 points from the left, its base line 600 from below.
fn open_a_citation_on_its_page(visit: &Visit) {
    let browser = &visit.browser;
    let id = visit.house.document("ice.pdf");
    let whole = visit.house.client().get(&format!("/api/documents/{id}")).json();
    let start = whole["text"].as_str().unwrap().find(ICE).unwrap();
    let end = start + ICE.len();
    visit.open(&format!("/document/{id}?start={start}&end={end}#quote"));
    browser.wait_for("document.querySelector('figure.leaf img').naturalWidth > 0");
    assert_eq!(browser.run(OVERLAY), true, "the rectangle lies on the sentence");
    assert_eq!(
        browser.run("return document.querySelector('mark#quote').textContent"),
        ICE
    );
    visit.picture("page-light");
    visit.open("/");
    visit.ask("When was the ice house filled?");
    browser.click(&browser.find(".sentences .chip"));
    browser.wait_for("document.querySelector('#panel-pages figure.leaf img')?.naturalWidth > 0");
    assert_eq!(browser.run(OVERLAY), true, "in the panel too");
    visit.picture("panel-page-light");
}

const OVERLAY: &str = "const face = document.querySelector('figure.leaf img').getBoundingClientRect(); \
    const mark = document.querySelector('figure.leaf rect').getBoundingClientRect(); \
    const scale = face.width / 595; \
    const near = (a, b) => Math.abs(a - b) < 3 * scale; \
    return near(mark.left - face.left, 72 * scale) && mark.width > 150 * scale && mark.width < 300 * scale && \
    mark.top - face.top < 240 * scale && mark.bottom - face.top > 242 * scale && mark.height < 20 * scale";

fn on_a_phone_in_korean(visit: &Visit) {
    let browser = &visit.browser;
    browser.size(390, 844, true);
    visit.open("/?lang=ko");
    visit.picture("home-phone-ko");
    visit.ask("정원 대문은 언제 잠급니까?");
    let wide = browser.run("return document.documentElement.scrollWidth > innerWidth");
    assert_eq!(wide, false, "nothing is wider than the phone");
    visit.picture("answer-phone-ko");
    browser.click(&browser.find(".sentences .chip"));
    browser.wait_for("document.querySelector('#panel-text mark')");
    let mark = browser.run("return document.querySelector('#panel-text mark').textContent");
    assert!(mark.as_str().unwrap().contains("아홉 시"), "{mark}");
    visit.picture("citation-phone-ko");
    browser.dark(true);
    visit.picture("citation-phone-ko-dark");
    browser.dark(false);
    browser.size(1280, 860, false);
    visit.open("/?lang=en");
}

fn read_and_upload(visit: &Visit) {
    let browser = &visit.browser;
    visit.open("/documents");
    browser.wait_for("document.documentElement.classList.contains('lively')");
    let file = visit.house.dir.path().join("lantern.md");
    stdx::fs::write(&file, "# Lanterns\n\nThe lanterns are lit at dusk.\n").unwrap();
    let empty = visit.house.dir.path().join("empty.pdf");
    stdx::fs::write(&empty, "").unwrap();
    let input = browser.find("#files");
    browser.type_into(&input, &format!("{}\n{}", file.display(), empty.display()));
    browser.wait_for("document.querySelector('#jobs li[data-state=done]')");
    browser.wait_for("document.querySelector('#jobs li[data-state=failed] .reason')");
    browser.wait_for("document.querySelector('#documents').textContent.includes('lantern.md')");
    assert_eq!(
        browser.run("return document.querySelectorAll('#jobs li').length"),
        2,
        "one row for each file"
    );
    visit.picture("documents-light");
    let id = visit.house.document("handbook.md");
    let whole = visit.house.client().get(&format!("/api/documents/{id}")).json();
    let fact = "Visitors receive a blue badge at the reception desk.";
    let before = whole["text"]
        .as_str()
        .unwrap()
        .split(fact)
        .next()
        .unwrap()
        .chars()
        .count();
    let end = before + fact.chars().count();
    visit.open(&format!("/document/{id}?start={before}&end={end}#quote"));
    assert_eq!(
        browser.run("return document.querySelector('mark#quote').textContent"),
        fact
    );
    visit.picture("document-light");
}
