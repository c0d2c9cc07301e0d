//! What holds, what does not, and the report on the documents as a whole.

use stdx::fs;

use crate::home::{Home, text};

/// Documents of which one has ended and two contradict each other.
fn documents(home: &Home) -> std::path::PathBuf {
    let write = |name: &str, text: &str| home.put(&format!("papers/{name}"), text);
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
    home.path("papers")
}

#[test]
fn what_has_ended_is_found_when_asked_for_and_said_so() {
    let home = Home::new();
    home.run(&["ingest", text(&documents(&home)), "--no-vectors"]);
    assert_eq!(
        home.run(&["search", "sauna", "--json"]).json()["hits"],
        serde_json::json!([])
    );
    for more in [&["--include-expired"][..], &["--as-of", "2020-06-01"]] {
        let found = home.run(&[&["search", "sauna", "--json"], more].concat()).json();
        assert_eq!(found["hits"][0]["holds"], false, "{found}");
        let question = ["ask", "When does the sauna behind the pond open?", "--extractive"];
        let asked = home.run(&[&question, more].concat());
        assert_eq!(asked.code, 0, "{}", asked.stderr);
        for said in ["expired: in force until 2020-12-31", "no longer in force"] {
            assert!(asked.stdout.contains(said), "{}", asked.stdout);
        }
    }
    let wrong = home.run(&["search", "sauna", "--as-of", "31.12.2020"]);
    assert!(
        wrong.code == 2 && wrong.stderr.contains("2024-03-01"),
        "{}",
        wrong.stderr
    );
    let listed = home.run(&["documents"]).stdout;
    assert!(listed.contains("until 2020-12-31"), "{listed}");
}

#[test]
fn the_report_names_what_is_wrong_and_exits_with_one() {
    let home = Home::new();
    let folder = documents(&home);
    home.run(&["ingest", text(&folder), "--no-vectors"]);
    let report = home.run(&["knowledge", "quality", "--json"]);
    assert_eq!(report.code, 1, "{}", report.stderr);
    let json = report.json();
    assert_eq!((&json["schema"], &json["clean"]), (&1.into(), &false.into()));
    assert_eq!(
        json["contradictory"]["listed"][0]["first"]["quote"],
        "The monthly fee for a parking place is 25 euros."
    );
    let words = home.run(&["knowledge", "quality"]).stdout;
    for said in [
        "different figures on the same: 1",
        "20 euros",
        "in force until 2020-12-31",
        "no document names an owner",
    ] {
        assert!(words.contains(said), "{words}");
    }
    fs::remove_file(folder.join("fees.md")).unwrap();
    fs::remove_file(folder.join("sauna.md")).unwrap();
    home.run(&["ingest", text(&folder), "--no-vectors"]);
    let clean = home.run(&["knowledge", "quality"]);
    assert!(
        clean.code == 0 && clean.stdout.contains("nothing was found"),
        "{}",
        clean.stdout
    );
}

#[test]
fn a_rule_that_concerns_nothing_is_said() {
    let home = Home::new();
    let folder = documents(&home);
    home.run(&["ingest", text(&folder), "--no-vectors"]);
    let rules = "[[rule]]\npath = \"/no/such/file\"\nuntil = \"2020-01-01\"\n";
    home.put(".local/share/hanok/validity.toml", rules);
    let ingested = home.run(&["ingest", text(&folder), "--no-vectors", "--json"]);
    assert_eq!(ingested.code, 0);
    assert!(
        ingested.stderr.contains("/no/such/file") && ingested.stderr.contains("validity.toml"),
        "{}",
        ingested.stderr
    );
    assert_eq!(ingested.json()["warnings"].as_array().unwrap().len(), 1);
}
