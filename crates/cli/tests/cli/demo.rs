//! `demo` where nothing can be fetched: it says so and goes on with the document that is part of the program.

use crate::home::Home;

#[test]
fn without_a_network_the_demo_says_what_is_missing_and_answers_from_what_is_there() {
    let home = Home::new().with("PATH", "/nowhere");
    let ended = home.run(&["demo", "--no-serve", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let json = ended.json();
    assert_eq!(json["missing"].as_array().unwrap().len(), 2, "{json}");
    assert_eq!(json["ingest"]["added"], 1);
    let answers = json["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 3);
    let korean = &answers[1]["answer"];
    assert!(
        korean["citations"][0]["quote"]
            .as_str()
            .unwrap()
            .contains("부의장 2인"),
        "{korean}"
    );
    assert_eq!(answers[2]["answer"]["outcome"], "refuse");
    assert!(
        ended.stderr.contains("going on without `smollm2`"),
        "{}",
        ended.stderr
    );
    let again = home.run(&["demo", "--no-serve", "--json"]).json();
    assert!(again["ingest"].is_null(), "nothing is indexed again: {again}");
}

#[test]
fn an_incomplete_set_of_documents_is_not_put_into_an_archive() {
    let home = Home::new().with("PATH", "/nowhere");
    let ended = home.run(&["demo", "--documents-into", "out"]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("not complete"), "{}", ended.stderr);
}
