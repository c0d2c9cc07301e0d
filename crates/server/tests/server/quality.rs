//! Days on which documents hold, and the report on quality, over HTTP and on the page.

use serde_json::json;

use crate::common::{House, Request};

/// A house with a document that has ended and two that contradict each other.
fn house() -> House {
    House::with(None, |config| {
        let store = config.assistant.store();
        let folder = store.dir().parent().unwrap().join("more");
        stdx::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| stdx::fs::write(folder.join(name), text).unwrap();
        write(
            "sauna.md",
            "---\nexpires: 2020-12-31\n---\n# Sauna\n\nThe sauna behind the pond opens at five.\n",
        );
        write(
            "parking.md",
            "# Parking\n\nThe monthly fee for a parking place is 20 euros.\n",
        );
        write(
            "fees.md",
            "# Fees\n\nThe monthly fee for a parking place is 25 euros.\n",
        );
        write("broken.pdf", "%PDF-1.7 nothing");
        store.ingest(&[folder], &mut |_| knowledge::Go::On).unwrap();
    })
}

#[test]
fn what_has_ended_is_found_when_asked_for_and_said_so() {
    let house = house();
    let search = |more: &str| house.client().get(&format!("/api/search?q=sauna{more}")).json();
    assert_eq!(search("")["hits"], json!([]));
    for more in ["&include_expired=1", "&as_of=2020-06-01"] {
        let hit = &search(more)["hits"][0];
        assert_eq!(
            (&hit["valid_until"], &hit["holds"]),
            (&json!("2020-12-31"), &json!(false)),
            "{more}"
        );
    }
    assert_eq!(house.client().get("/api/search?q=sauna&as_of=soon").status, 400);
    let ask = |more: serde_json::Value| {
        let mut body = json!({"question": "When does the sauna behind the pond open?", "extractive": true});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let request = Request::new("POST", "/api/ask").header("content-type", "application/json");
        house.client().send(&request.body(body.to_string()))
    };
    assert_eq!(ask(json!({})).json()["outcome"], "refuse");
    let answer = ask(json!({"include_expired": true})).json();
    assert_eq!(answer["citations"][0]["holds"], false);
    assert!(
        answer["notes"][0].as_str().unwrap().contains("2020-12-31"),
        "{answer}"
    );
    assert_eq!(ask(json!({"as_of": "1.1.2020"})).status, 400);
    // The form of the page without script.
    let form = "question=When+does+the+sauna+behind+the+pond+open%3F&extractive=1&include_expired=1&as_of=";
    let request = Request::new("POST", "/ask").header("content-type", "application/x-www-form-urlencoded");
    let page = house.client().send(&request.body(form.to_owned())).text();
    assert!(
        page.contains("not in force") && page.contains("opens at five"),
        "{page}"
    );
    assert!(
        house
            .client()
            .get("/documents")
            .text()
            .contains("expired: in force until 2020-12-31")
    );
}

#[test]
fn the_report_shows_findings_and_what_was_asked_for_in_vain_in_both_languages() {
    let house = house();
    let body = json!({"question": "Where is the helicopter?", "extractive": true}).to_string();
    let request = Request::new("POST", "/api/ask").header("content-type", "application/json");
    assert_eq!(
        house.client().send(&request.body(body)).json()["outcome"],
        "refuse"
    );
    // It is kept after the answer is out.
    let report = (0..100)
        .find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let report = house.client().get("/api/quality").json();
            (report["gaps"]["n"] == 1).then_some(report)
        })
        .expect("the refused question is kept");
    assert_eq!(report["clean"], false);
    assert_eq!(report["gaps"]["listed"][0]["words"], json!(["helicopter"]));
    assert_eq!(report["gaps"]["listed"][0]["questions"], json!([]));
    assert_eq!(report["contradictory"]["n"], 1);
    assert_eq!(
        (&report["stale"]["n"], &report["stale"]["listed"][0]["why"]),
        (&json!(1), &json!("past"))
    );
    assert_eq!(report["unreadable"]["n"], 1);
    for (language, words) in [
        (
            "en",
            [
                "Different figures on the same",
                "Out of date",
                "Unreadable",
                "Asked for in vain",
                "helicopter",
            ],
        ),
        (
            "ko",
            [
                "같은 내용, 다른 값",
                "오래된 문서",
                "읽을 수 없는 파일",
                "답을 찾지 못한 질문",
                "helicopter",
            ],
        ),
    ] {
        let page = house.client().get(&format!("/quality?lang={language}")).text();
        for word in words {
            assert!(page.contains(word), "{word}: {page}");
        }
        assert!(page.contains("25 euros") && page.contains("broken.pdf"), "{page}");
    }
    assert_eq!(house.client().get("/api/quality?months=0x").status, 400);
    assert_eq!(house.client().get("/api/quality?months=99999").status, 400);
}
