//! `sync`, and `serve --watch`: folders and pages kept in step, end to end.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::home::{Home, handbook, text};
use crate::serving::Server;

/// Longer than a watch takes on a busy machine.
const TRIES: usize = 300;

fn wait(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..TRIES {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("still not: {what}");
}

fn paths(home: &Home, more: &[&str]) -> Vec<String> {
    let listed = home.run(&[&["documents", "--json"], more].concat()).json();
    let documents = listed["documents"].as_array().unwrap();
    documents
        .iter()
        .map(|d| d["path"].as_str().unwrap().to_owned())
        .collect()
}

fn counts(report: &Value) -> [u64; 4] {
    ["added", "changed", "unchanged", "removed"].map(|key| report[key].as_u64().unwrap())
}

/// A server of one page, whose text can be exchanged; `None` answers 503.
fn page(content: &str) -> (String, Arc<Mutex<Option<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/rules/travel.html", listener.local_addr().unwrap());
    let content = Arc::new(Mutex::new(Some(content.to_owned())));
    let held = Arc::clone(&content);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .count();
            let body = held.lock().unwrap().clone();
            let status = if body.is_some() { "200 OK" } else { "503 Busy" };
            let body = body.unwrap_or_default();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (address, content)
}

fn configured(home: Home, address: &str) -> Home {
    let file = home.put(
        "hanok.toml",
        format!("[[source]]\nname = \"rules\"\nkind = \"pages\"\nurls = [\"{address}\"]\n"),
    );
    home.with("HANOK_CONFIG", text(&file).to_owned())
}

#[test]
fn sync_brings_folders_up_to_date_and_says_what_each_had() {
    let home = Home::new();
    let docs = handbook(&home);
    home.put("more/a.txt", "A text about masts.\n");
    home.run(&["ingest", text(&docs), text(&home.path("more")), "--no-vectors"]);
    home.put("docs/new.txt", "A text about lanterns.\n");
    stdx::fs::rename(home.path("more/a.txt"), home.path("more/b.txt")).unwrap();
    let synced = home.run(&["sync", "--no-vectors", "--json"]);
    assert_eq!(synced.code, 0, "{}", synced.stderr);
    let report = synced.json();
    assert_eq!(counts(&report), [1, 0, 1, 0], "{report}");
    assert_eq!(report["moved"], 1, "{report}");
    let [first, second] = report["sources"].as_array().unwrap().as_slice() else {
        panic!("{report}");
    };
    assert_eq!(
        (counts(first), counts(second)),
        ([1, 0, 1, 0], [0, 0, 0, 0]),
        "{report}"
    );
    assert_eq!((&first["moved"], &second["moved"]), (&0.into(), &1.into()));
    assert_eq!(first["kind"], "folder");
    // Gone as a whole, nothing is removed and it is said by name.
    stdx::fs::rename(home.path("more"), home.path("away")).unwrap();
    let missing = home.run(&["sync", "--no-vectors", "--json"]);
    assert_eq!(missing.code, 0, "{}", missing.stderr);
    assert!(missing.stderr.contains("more"), "{}", missing.stderr);
    assert_eq!(paths(&home, &[]).len(), 3);
    assert_eq!(home.run(&["sync", "--forget", text(&home.path("more"))]).code, 0);
    assert_eq!(home.run(&["sync", "--forget", text(&home.path("more"))]).code, 2);
    let list = home.run(&["sync", "--list", "--json"]).json();
    assert_eq!(list["sources"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(home.run(&["sync", "nothing"]).code, 2);
}

#[test]
fn a_page_is_fetched_shown_under_its_address_and_guarded_by_the_rules() {
    let (address, content) = page("<h1>Travel</h1><p>A night in Busan costs at most 90,000 won.</p>");
    let home = configured(Home::new(), &address);
    let synced = home.run(&["sync", "--no-vectors", "--json"]);
    assert_eq!(synced.code, 0, "{}", synced.stderr);
    let report = synced.json();
    assert_eq!(
        (counts(&report), &report["sources"][0]["fetched"]),
        ([1, 0, 0, 0], &1.into()),
        "{report}"
    );
    assert_eq!(paths(&home, &[]), std::slice::from_ref(&address));
    let asked = home
        .run(&[
            "ask",
            "What does a night in Busan cost at most?",
            "--extractive",
            "--json",
        ])
        .json();
    assert_eq!(asked["citations"][0]["path"], address, "{asked}");
    *content.lock().unwrap() = Some("<p>A night in Busan costs at most 95,000 won.</p>".to_owned());
    let report = home.run(&["sync", "rules", "--no-vectors", "--json"]).json();
    assert_eq!(counts(&report), [0, 1, 0, 0], "{report}");
    *content.lock().unwrap() = None;
    let failed = home.run(&["sync", "--no-vectors", "--json"]);
    assert_eq!(paths(&home, &[]).len(), 1, "{}", failed.stderr);
    let listed = home.run(&["config", "--json"]).json();
    assert_eq!(listed["sources"][0]["name"], "rules");
    home.put(
        ".local/share/hanok/access.toml",
        "[[rule]]\npath = \"sources/rules\"\ngroups = [\"hr\"]\n",
    );
    home.run(&["sync", "--no-vectors"]);
    assert!(paths(&home, &[]).is_empty());
    assert_eq!(paths(&home, &["--groups", "hr"]).len(), 1);
}

#[test]
fn a_server_that_watches_follows_folders_and_sources() {
    let (address, content) = page("<p>The old rules of travel.</p>");
    let home = configured(Home::new(), &address);
    home.run(&["ingest", text(&handbook(&home)), "--no-vectors"]);
    let server = Server::start_with(&home, &["--watch", "--sync-every", "1s"]);
    wait("the page", || paths(&home, &[]).contains(&address));
    home.put(
        "docs/lanterns/gate.md",
        "The lantern of the gate burns with rapeseed oil.\n",
    );
    wait("a new file", || paths(&home, &[]).len() == 3);
    stdx::fs::remove_dir_all(home.path("docs/lanterns")).unwrap();
    wait("a removed folder", || paths(&home, &[]).len() == 2);
    *content.lock().unwrap() = Some("<p>The new rules of voyages.</p>".to_owned());
    wait("a changed page", || {
        let found = home
            .run(&["search", "voyages", "--mode", "lexical", "--json"])
            .json();
        !found["hits"].as_array().unwrap().is_empty()
    });
    // The command goes through the server, and so does forgetting.
    assert_eq!(
        home.run(&["sync", "--json"]).json()["sources"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(home.run(&["sync", "--forget", text(&home.path("docs"))]).code, 0);
    assert_eq!(server.end(), 0);
}
