//! The second look at what was found, by a model that the operator names.

use crate::home::{Home, text};

#[test]
fn a_named_reranker_orders_what_words_found() {
    let Some(reranker) = testkit::need_model(testkit::RERANKER_FILE) else {
        return;
    };
    let home = Home::new();
    let papers = home.path("papers");
    home.put(
        "papers/a.txt",
        "Which pump, what pump, whose pump: how long is a pump? This list of words is about the pump.",
    );
    home.put(
        "papers/b.txt",
        "The guarantee of the pump runs for two years after delivery.",
    );
    home.run(&["ingest", text(&papers), "--no-vectors"]);
    let first = |more: &[&str]| {
        let search = [
            "search",
            "how long does the guarantee last for a pump",
            "--mode",
            "lexical",
            "--json",
        ];
        let ended = home.run(&[&search[..], more].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.json()["hits"][0]["title"].clone()
    };
    assert_eq!(first(&["--reranker", text(&reranker)]), "b");
    assert_eq!(first(&[]), "a");
}

#[test]
fn a_reranker_that_cannot_be_used_is_named_with_what_to_do() {
    let home = Home::new();
    let paper = home.put("paper.txt", "The pump stops.");
    home.run(&["ingest", text(&paper), "--no-vectors"]);
    let broken = home.put("broken.onnx", "no model");
    let ended = home.run(&["search", "pump", "--reranker", text(&broken)]);
    assert_eq!(ended.code, 3);
    assert!(
        ended.stderr.contains("broken.onnx") && ended.stderr.contains("hanok pull reranker-en"),
        "{}",
        ended.stderr
    );
}
