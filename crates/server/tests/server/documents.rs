//! Uploads, jobs, the list, deletion.

use std::io::{BufReader, Write as _};

use crate::common::client::{multipart, read};
use crate::common::{House, Request};

fn upload(house: &House, name: &str, bytes: &[u8]) -> crate::common::Response {
    let (kind, body) = multipart(name, bytes);
    let request = Request::new("POST", "/api/documents")
        .header("content-type", &kind)
        .body(body);
    house.client().send(&request)
}

#[test]
fn an_uploaded_file_can_be_asked_and_deleted() {
    let house = House::start();
    let response = upload(
        &house,
        "../../pond.md",
        b"# The pond\n\nThe pond holds eleven golden carp.\n",
    );
    assert_eq!(response.status, 202, "{}", response.text());
    assert_eq!(response.json()["jobs"][0]["name"], "pond.md");
    let job = house.wait_for_job("pond.md");
    assert_eq!(job["state"], "done", "{job}");
    let question = serde_json::json!({"question": "How many golden carp does the pond hold?"});
    let answer = house.client().post("/api/ask", &question).json();
    assert!(
        answer["citations"][0]["quote"]
            .as_str()
            .unwrap()
            .contains("eleven"),
        "{answer}"
    );
    let id = house.document("/uploads/pond.md");
    let file = house.data_dir().join("uploads/pond.md");
    assert!(file.is_file());
    let gone = house
        .client()
        .send(&Request::new("DELETE", &format!("/api/documents/{id}")));
    assert_eq!(gone.json()["removed"], true);
    assert!(!file.exists(), "the uploaded file goes with its document");
    let again = house
        .client()
        .send(&Request::new("DELETE", &format!("/api/documents/{id}")));
    assert_eq!(
        (again.status, again.error()["code"].as_str()),
        (404, Some("document_not_found"))
    );
}

#[test]
fn what_was_accepted_before_a_kill_is_taken_in_after_it() {
    let house = House::with(None, |config| {
        let store = config.assistant.store();
        stdx::fs::create_dir_all(store.arrivals()).unwrap();
        for (arrived, name) in [("1", "pond.md"), ("2", "mill.md")] {
            let arrived = store.arrivals().join(arrived);
            stdx::fs::write(&arrived, format!("# {name}\n\nThe lantern of {name} is green.")).unwrap();
            store
                .accept(&arrived, name, name, &knowledge::Reader::anyone())
                .unwrap();
        }
        stdx::fs::write(store.arrivals().join("3"), "half of a fi").unwrap();
    });
    for name in ["pond.md", "mill.md"] {
        let job = house.wait_for_job(name);
        assert_eq!(job["state"], "done", "{job}");
        house.document(&format!("/uploads/{name}"));
    }
    let left = stdx::fs::read_dir(house.data_dir().join("uploads/.incoming")).unwrap();
    assert_eq!(
        left,
        Vec::<std::path::PathBuf>::new(),
        "what was not accepted is gone"
    );
}

#[test]
fn a_file_that_cannot_be_read_fails_with_a_reason() {
    let house = House::start();
    assert_eq!(upload(&house, "empty.pdf", b"").status, 202);
    let job = house.wait_for_job("empty.pdf");
    assert_eq!(job["state"], "failed");
    assert!(!job["reason"].as_str().unwrap().is_empty());
}

#[test]
fn an_upload_over_the_limit_leaves_nothing_behind() {
    let house = House::with(None, |config| config.max_upload_bytes = 1000);
    let response = upload(&house, "big.txt", &vec![b'x'; 100_000]);
    assert_eq!(response.status, 413);
    assert!(
        response.error()["message"]
            .as_str()
            .unwrap()
            .contains("1000 bytes")
    );
    let left = stdx::fs::read_dir(house.data_dir().join("uploads/.incoming")).unwrap_or_default();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
    assert_eq!(
        upload(&house, "small.txt", b"A small note about lanterns.").status,
        202
    );
}

#[test]
fn a_broken_upload_is_refused() {
    let house = House::start();
    let form = "multipart/form-data; boundary=x";
    let file = "--x\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nhalf a fi";
    let cases = [
        ("application/json", "{}"),
        ("multipart/form-data", "no boundary"),
        (form, ""),
        (form, "--x--\r\n"),
        (form, "nothing like it"),
        (form, file),
        (
            form,
            "--x\r\ncontent-disposition: form-data; name=\"f\"\r\n\r\nno file\r\n--x--\r\n",
        ),
        (
            form,
            "--x\r\ncontent-disposition: form-data; name=\"f\"; filename=\"..\"\r\n\r\nno name\r\n--x--\r\n",
        ),
    ];
    for (kind, body) in cases {
        let request = Request::new("POST", "/api/documents")
            .header("content-type", kind)
            .body(body);
        let response = house.client().send(&request);
        assert_eq!(response.status, 400, "{body:?}");
        response.error();
    }
    assert_eq!(
        house.client().get("/api/jobs").json()["jobs"],
        serde_json::json!([])
    );
}

#[test]
fn a_client_that_hangs_up_in_the_middle_of_an_upload_leaves_nothing_behind() {
    let house = House::start();
    let (kind, body) = multipart("half.txt", &vec![b'x'; 100_000]);
    let request = Request::new("POST", "/api/documents")
        .header("content-type", &kind)
        .header("content-length", &body.len().to_string());
    let mut stream = house.client().open(&request);
    stream.write_all(&body[..50_000]).unwrap();
    drop(stream);
    let incoming = house.data_dir().join("uploads/.incoming");
    for _ in 0..100 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        if stdx::fs::read_dir(&incoming).unwrap_or_default().is_empty() {
            return;
        }
    }
    panic!("half a file stays in {}", incoming.display());
}

#[test]
fn the_watcher_sees_the_board_and_every_change() {
    let house = House::start();
    let mut stream = BufReader::new(house.client().open(&Request::new("GET", "/api/jobs/events")));
    upload(&house, "bell.md", b"# Bell\n\nThe bell rings at noon.\n");
    let mut seen = String::new();
    while !seen.contains("\"state\":\"done\"") {
        let n = std::io::BufRead::read_line(&mut stream, &mut seen).unwrap();
        assert!(n > 0, "the stream ended: {seen}");
    }
    let at = |what: &str| seen.find(what).unwrap_or_else(|| panic!("no {what} in {seen}"));
    assert!(at("event: jobs") < at("\"state\":\"queued\""));
    assert!(at("\"state\":\"queued\"") < at("\"state\":\"running\""));
    assert!(seen.contains("\"name\":\"bell.md\""));
}

#[test]
fn a_document_is_given_whole_or_in_part() {
    let house = House::start();
    let id = house.document("handbook.md");
    let whole = house.client().get(&format!("/api/documents/{id}")).json();
    assert!(whole["text"].as_str().unwrap().contains("blue badge"));
    assert_eq!(whole["start"], 0);
    let part = house
        .client()
        .get(&format!("/api/documents/{id}?start=2&end=7"))
        .json();
    let expected: String = whole["text"].as_str().unwrap().chars().skip(2).take(5).collect();
    assert_eq!(
        (part["text"].as_str(), part["end"].as_u64()),
        (Some(expected.as_str()), Some(7))
    );
    for bad in [
        format!("/api/documents/{id}?version=000000000000"),
        "/api/documents/..%2f..%2fetc".into(),
    ] {
        assert_eq!(house.client().get(&bad).status, 404, "{bad}");
    }
    assert_eq!(
        house
            .client()
            .get(&format!("/api/documents/{id}?start=-1"))
            .status,
        400
    );
}

#[test]
fn a_request_that_is_not_http_does_no_harm() {
    let house = House::start();
    let mut stream = std::net::TcpStream::connect(house.address).unwrap();
    stream.write_all(b"\x16\x03\x01 not http\r\n\r\n").unwrap();
    assert_eq!(read(&mut BufReader::new(stream)).status, 400);
    assert_eq!(house.client().get("/health").status, 200);
}
