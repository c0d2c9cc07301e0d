//! A dictionary as the setting of an operator: what it adds, and what is refused until the index is made with it.

use testkit::mecab::Mecab;

use crate::home::{Home, text};

#[test]
fn a_dictionary_is_refused_until_the_index_is_made_with_it() {
    let home = Home::new();
    let water = home.put("papers/water.txt", "물을 아껴 쓰는 방법");
    let dictionary = home.path("ko-dic");
    Mecab::korean().write(&dictionary).unwrap();
    home.run(&["ingest", text(&water), "--no-vectors"]);
    let search = ["search", "물", "--mode", "lexical", "--json"];
    assert_eq!(home.run(&search).json()["hits"], serde_json::json!([]));
    let home = home.with("HANOK_DICTIONARY", text(&dictionary));
    let refused = home.run(&search);
    assert_eq!(refused.code, 3, "{}", refused.stdout);
    assert!(
        refused.stderr.contains("`hanok knowledge reindex`"),
        "{}",
        refused.stderr
    );
    let check = home.run(&["knowledge", "reindex", "--check", "--json"]);
    assert_eq!(
        (check.code, check.json()["words"].clone()),
        (1, serde_json::json!(true))
    );
    let made = home.run(&["knowledge", "reindex", "--json"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert_eq!(home.run(&search).json()["hits"].as_array().unwrap().len(), 1);
    // Without it, the index is another's again.
    assert_eq!(
        home.run(&[&search[..], &["--dictionary", "none"]].concat()).code,
        3
    );
}

#[test]
fn a_folder_that_holds_no_dictionary_is_named() {
    let home = Home::new();
    let ended = home.run(&["search", "x", "--dictionary", "nowhere"]);
    assert_eq!(ended.code, 3);
    assert!(
        ended
            .stderr
            .contains("`nowhere` holds no dictionary in MeCab's format"),
        "{}",
        ended.stderr
    );
    let dictionary = home.path("ko-dic");
    Mecab::korean().write(&dictionary).unwrap();
    home.put("ko-dic/matrix.bin", b"short");
    let ended = home.run(&["ingest", ".", "--dictionary", text(&dictionary)]);
    assert_eq!(ended.code, 3);
    for said in ["`[HOME]/ko-dic` cannot be used", "matrix.bin"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

#[test]
fn a_dictionary_and_postgresql_are_refused_together_by_name() {
    let home = Home::new();
    let ended = home.run(&[
        "search",
        "x",
        "--dictionary",
        "ko-dic",
        "--store",
        "postgresql:///hanok?host=/nowhere",
    ]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("--dictionary none"), "{}", ended.stderr);
}
