//! The second look: what is read again, and what comes of it.

use std::sync::{Arc, Mutex};

use super::*;
use crate::Rerank;
use crate::access::FOLDER_FILE;

/// Likes passages with "within", says nothing of Korean ones, and remembers what it was given.
#[derive(Default)]
struct Picky {
    read: Mutex<Vec<String>>,
}

impl Rerank for Picky {
    fn score(&self, _: &str, passages: &[&str]) -> Vec<Option<f32>> {
        let mut read = self.read.lock().unwrap();
        read.extend(passages.iter().map(|text| (*text).to_owned()));
        let score = |text: &&str| match () {
            () if text.contains("펌프") => None,
            () if text.contains("broken") => Some(f32::NAN),
            () => Some(if text.contains("within") { 5.0 } else { -5.0 }),
        };
        passages.iter().map(score).collect()
    }
}

fn house() -> (House, Store) {
    let house = House::new();
    house.write(
        "a.md",
        "# Pump\n\nThe pump, the pump and the pump: about the pump.",
    );
    house.write("b.md", "# Safety\n\nThe pump stops within three seconds.");
    house.write(
        "board/c.md",
        "# Board\n\nThe pump stops within the year, says the board.",
    );
    house.write(&format!("board/{FOLDER_FILE}"), "board");
    let store = house.open();
    house.ingest(&store);
    (house, store)
}

#[test]
fn the_best_are_ordered_anew_and_scores_still_fall() {
    let (_house, store) = house();
    assert_eq!(names(&find(&store, "pump"))[0], "a.md");
    let picky = Arc::new(Picky::default());
    store.rerank_with(Arc::clone(&picky) as Arc<dyn Rerank>);
    let hits = find(&store, "pump");
    assert_eq!(names(&hits)[2], "a.md");
    assert!(hits.windows(2).all(|w| w[0].score >= w[1].score));
    let read = picky.read.lock().unwrap();
    assert!(
        read.iter()
            .any(|text| text == "Safety\n\nThe pump stops within three seconds."),
        "{read:?}"
    );
}

#[test]
fn what_it_says_nothing_of_keeps_its_place() {
    let (house, store) = house();
    house.write("d.md", "# 펌프\n\npump pump pump pump pump 펌프");
    house.write("e.md", "# Broken\n\nA broken pump.");
    house.ingest(&store);
    let before = names(&find(&store, "pump"));
    store.rerank_with(Arc::new(Picky::default()));
    let after = names(&find(&store, "pump"));
    let place = |names: &[String], name: &str| names.iter().position(|n| n == name).unwrap();
    for name in ["d.md", "e.md"] {
        assert_eq!(place(&before, name), place(&after, name), "{before:?} {after:?}");
    }
    assert!(place(&after, "b.md") < place(&after, "a.md"));
}

#[test]
fn it_reads_nothing_that_the_asker_may_not() {
    let (_house, store) = house();
    let picky = Arc::new(Picky::default());
    store.rerank_with(Arc::clone(&picky) as Arc<dyn Rerank>);
    let view = store.view(&Reader::of(Vec::<String>::new())).unwrap();
    let hits = view.search("pump board", 10, SearchMode::Lexical, None).unwrap();
    assert_eq!(names(&hits), ["b.md", "a.md"]);
    let read = picky.read.lock().unwrap();
    assert!(
        !read.is_empty() && read.iter().all(|text| !text.contains("board")),
        "{read:?}"
    );
}
