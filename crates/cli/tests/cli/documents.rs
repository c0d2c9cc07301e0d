//! Documents in, found, shown, asked about, removed: without any model.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::home::{Home, handbook, text};

#[test]
fn a_quote_is_exactly_what_show_prints_for_its_span() {
    let home = Home::new();
    let ingested = home.run(&["ingest", text(&handbook(&home)), "--json"]);
    assert_eq!(ingested.code, 0, "{}", ingested.stderr);
    assert_eq!(ingested.json()["added"], 1);
    let asked = home.run(&[
        "ask",
        "Who keeps the key to the archive room?",
        "--extractive",
        "--json",
    ]);
    assert_eq!(asked.code, 0, "{}{}", asked.stdout, asked.stderr);
    let answer = asked.json();
    assert_eq!(answer["mode"], "extractive");
    let citation = &answer["citations"][0];
    let quote = citation["quote"].as_str().unwrap();
    assert!(quote.contains("Halvorsen"), "{answer}");
    let document = format!(
        "{}@{}",
        citation["document_id"].as_str().unwrap(),
        citation["version"].as_str().unwrap()
    );
    let span = format!("{}..{}", citation["start"], citation["end"]);
    let shown = home.run(&["show", &document, "--span", &span]);
    assert_eq!((shown.code, shown.stdout.as_str()), (0, quote));
    let json = home.run(&["show", &document, "--span", &span, "--json"]).json();
    assert_eq!(json["text"], quote);
}

#[test]
fn an_answer_in_words_shows_its_source() {
    let home = Home::new();
    home.run(&["ingest", text(&handbook(&home)), "--no-vectors"]);
    let asked = home.run(&["ask", "열람 수수료는 얼마입니까?", "--extractive"]);
    assert_eq!(asked.code, 0, "{}{}", asked.stdout, asked.stderr);
    assert!(asked.stdout.contains("[1]"), "{}", asked.stdout);
    assert!(asked.stdout.contains("출처"), "{}", asked.stdout);
    assert!(asked.stdout.contains("삼천 원"), "{}", asked.stdout);
}

#[test]
fn a_question_that_the_documents_do_not_answer_is_refused_with_exit_code_one() {
    let home = Home::new();
    home.run(&["ingest", text(&handbook(&home)), "--no-vectors"]);
    let asked = home.run(&[
        "ask",
        "What is the boiling point of tungsten?",
        "--extractive",
        "--json",
    ]);
    assert_eq!(asked.code, 1, "{}{}", asked.stdout, asked.stderr);
    let answer = asked.json();
    assert_eq!(answer["outcome"], "refuse");
    assert!(answer["refusal"]["reason"].is_string());
}

#[test]
fn only_what_changed_is_read_again() {
    let home = Home::new();
    let docs = handbook(&home);
    home.run(&["ingest", text(&docs), "--no-vectors"]);
    home.put("docs/second.txt", "A second document about lanterns.\n");
    let again = home
        .run(&["ingest", text(&docs), "--no-vectors", "--json"])
        .json();
    assert_eq!(
        (&again["added"], &again["unchanged"]),
        (&1.into(), &1.into()),
        "{again}"
    );
    let listed = home.run(&["documents", "--json"]).json();
    assert_eq!(listed["documents"].as_array().unwrap().len(), 2);
}

#[test]
fn single_bad_files_are_reported_and_only_bad_files_are_misuse() {
    let home = Home::new();
    let docs = handbook(&home);
    home.put("docs/broken.pdf", b"%PDF-1.7\nnothing follows");
    let some = home.run(&["ingest", text(&docs), "--no-vectors", "--json"]);
    assert_eq!(some.code, 0, "{}", some.stderr);
    assert_eq!(some.json()["failed"].as_array().unwrap().len(), 1);
    let all = home.run(&["ingest", "/no/such/path", "--no-vectors", "--json"]);
    assert_eq!(all.code, 2, "{}{}", all.stdout, all.stderr);
}

#[test]
fn search_finds_passages_with_their_place() {
    let home = Home::new();
    home.run(&["ingest", text(&handbook(&home)), "--no-vectors"]);
    let found = home
        .run(&[
            "search",
            "archive room key",
            "-k",
            "3",
            "--mode",
            "lexical",
            "--json",
        ])
        .json();
    let hit = &found["hits"][0];
    assert!(hit["text"].as_str().unwrap().contains("Halvorsen"), "{found}");
    for field in ["document_id", "path", "title", "start", "end", "score"] {
        assert!(!hit[field].is_null(), "{field}: {hit}");
    }
    let dense = home.run(&["search", "key", "--mode", "dense"]);
    assert_eq!(dense.code, 3);
    assert!(dense.stderr.contains("hanok pull e5"), "{}", dense.stderr);
}

#[test]
fn spans_and_documents_that_are_not_there_are_misuse() {
    let home = Home::new();
    home.run(&["ingest", text(&handbook(&home)), "--no-vectors"]);
    let id = home.run(&["documents", "--json"]).json()["documents"][0]["document_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let cases: [&[&str]; 4] = [
        &["show", &id, "--span", "0..999999"],
        &["show", "d0000", "--span", "0..1"],
        &["show", &id, "--span", "five"],
        &["remove", "d0000"],
    ];
    for arguments in cases {
        let ended = home.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn a_removed_document_is_gone_but_its_file_stays() {
    let home = Home::new();
    let docs = handbook(&home);
    home.run(&["ingest", text(&docs), "--no-vectors"]);
    let id = home.run(&["documents", "--json"]).json()["documents"][0]["document_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let removed = home.run(&["remove", &id, "--json"]);
    assert_eq!(removed.json()["removed"], true);
    assert!(
        home.run(&["documents", "--json"]).json()["documents"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert!(docs.join("handbook.md").is_file());
}

#[test]
fn chat_answers_each_line_of_a_piped_input() {
    let home = Home::new();
    home.run(&["ingest", text(&handbook(&home)), "--no-vectors"]);
    let input = "Who keeps the key to the archive room?\n\n/new\n열람 수수료는 얼마입니까?\n";
    let ended = home.run_with_input(&["chat", "--extractive", "--json"], input);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let answers: Vec<serde_json::Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1]["language"], "ko");
}

#[test]
fn ctrl_c_stops_an_ingest_cleanly_and_the_same_command_finishes_it() {
    const N_FILES: usize = 1500;
    let home = Home::new();
    for i in 0..N_FILES {
        home.put(
            &format!("many/{i:04}.md"),
            format!("# Report {i}\n\nThe mast of ship {i} is {} feet high.\n", i * 3),
        );
    }
    let many = home.path("many");
    let mut child = home
        .command(&["ingest", text(&many), "--no-vectors"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("reading") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("still queued"), "{said}");
    let finished = home
        .run(&["ingest", text(&many), "--no-vectors", "--json"])
        .json();
    let count = |key: &str| finished[key].as_u64().unwrap();
    assert_eq!(
        count("added") + count("changed") + count("unchanged"),
        N_FILES as u64,
        "{finished}"
    );
    let listed = home.run(&["documents", "--json"]).json();
    assert_eq!(listed["documents"].as_array().unwrap().len(), N_FILES);
}

#[test]
fn what_is_for_others_is_not_there() {
    let home = Home::new();
    let docs = handbook(&home);
    home.put("docs/hr/pay.txt", "The payroll vault code is zanzibar.\n");
    home.put("docs/hr/.hanok-access", "hr\n");
    home.run(&["ingest", text(&docs), "--no-vectors"]);
    let seen = |groups: &[&str]| {
        let args = [&["documents", "--json"], groups].concat();
        home.run(&args).json()["documents"].as_array().unwrap().clone()
    };
    assert_eq!(seen(&[]).len(), 1);
    assert_eq!(seen(&["--groups", "sales"]).len(), 1);
    assert_eq!(seen(&["--groups", "hr, sales"]).len(), 2);
    let all = seen(&["--groups", "*"]);
    let hidden = all
        .iter()
        .find(|d| d["path"].as_str().unwrap().ends_with("pay.txt"))
        .unwrap();
    let id = hidden["document_id"].as_str().unwrap();
    let span = ["show", id, "--span", "0..3"];
    let (hidden, absent) = (
        home.run(&span),
        home.run(&["show", "d0000000000000000", "--span", "0..3"]),
    );
    assert_eq!((hidden.code, absent.code), (2, 2));
    assert_eq!(
        hidden.stderr.replace(id, "ID"),
        absent.stderr.replace("d0000000000000000", "ID")
    );
    assert_eq!(home.run(&["remove", id]).code, 2);
    let asked = home.run(&["ask", "What is the payroll vault code?", "--extractive", "--json"]);
    assert_eq!(asked.code, 1, "{}", asked.stdout);
    let asked = home.run(&[
        "ask",
        "What is the payroll vault code?",
        "--extractive",
        "--json",
        "--groups",
        "hr",
    ]);
    assert_eq!(asked.json()["outcome"], "answer", "{}", asked.stdout);
    assert_eq!(home.run(&["documents", "--groups", "a\tb"]).code, 2);
}

#[test]
fn a_backup_makes_the_same_store_again() {
    let home = Home::new();
    home.run(&["ingest", text(&handbook(&home)), "--no-vectors"]);
    let listed = home.run(&["documents", "--json"]).json();
    let (copy, fresh) = (home.path("copy"), home.path("fresh"));
    let made = home.run(&["backup", text(&copy), "--json"]);
    assert_eq!(
        (made.code, made.json()["files"].as_u64()),
        (0, Some(1)),
        "{}",
        made.stderr
    );
    assert_eq!(
        home.run(&["backup", text(&copy)]).code,
        2,
        "a backup replaces nothing"
    );
    let restored = home.run(&["restore", text(&copy), "--data-dir", text(&fresh)]);
    assert_eq!(restored.code, 0, "{}", restored.stderr);
    assert!(!restored.stderr.contains("WARN"), "{}", restored.stderr);
    assert_eq!(
        home.run(&["documents", "--json", "--data-dir", text(&fresh)])
            .json(),
        listed
    );
    let verified = home.run(&["verify", "--json", "--data-dir", text(&fresh)]);
    assert_eq!(
        (verified.code, &verified.json()["sound"]),
        (0, &true.into()),
        "{}",
        verified.stdout
    );
    assert_eq!(
        home.run(&["export", "--data-dir", text(&fresh)])
            .stdout
            .lines()
            .count(),
        1
    );
    assert_eq!(
        home.run(&[
            "restore",
            text(&home.path("nothing")),
            "--data-dir",
            text(&home.path("x"))
        ])
        .code,
        2
    );
}
