//! Vectors: fusion, other embedders, removal.

use super::*;
use crate::{Embed, EmbedKind, EmbedderId};

/// Hashes letters into a few dimensions: enough to tell texts apart, and the same on every run.
struct Letters {
    sha256: &'static str,
    dim: usize,
}

impl Embed for Letters {
    fn id(&self) -> EmbedderId {
        EmbedderId {
            name: "letters".to_owned(),
            sha256: self.sha256.to_owned(),
            dim: self.dim,
        }
    }

    fn embed(&self, _kind: EmbedKind, texts: &[&str]) -> Vec<Vec<f32>> {
        let one = |text: &&str| {
            let mut vector = vec![0.01f32; self.dim];
            for c in text.chars().filter(|c| c.is_alphabetic()) {
                vector[c as usize % self.dim] += 1.0;
            }
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter().map(|x| x / norm).collect()
        };
        texts.iter().map(one).collect()
    }
}

const FIRST: Letters = Letters {
    sha256: "first",
    dim: 64,
};
const SECOND: Letters = Letters {
    sha256: "second",
    dim: 32,
};

fn dense(store: &Store, question: &str, embedder: &Letters) -> Vec<String> {
    names(
        &seen(store)
            .search(question, 3, SearchMode::Dense, Some(embedder))
            .unwrap(),
    )
}

fn three_files() -> (House, Store) {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "aaaa aaaa");
    house.write("b.txt", "bbbb bbbb");
    house.write("c.txt", "cccc cccc");
    house.ingest(&store);
    (house, store)
}

#[test]
fn vectors_are_made_in_steps_and_searched() {
    let (_house, store) = three_files();
    assert_eq!(dense(&store, "bbb", &FIRST), Vec::<String>::new());
    assert_eq!(store.embed_pending(&FIRST, 2).unwrap(), 1);
    assert_eq!(store.embed_pending(&FIRST, 2).unwrap(), 0);
    assert_eq!(seen(&store).status().unwrap().vectors, 3);
    assert_eq!(dense(&store, "bbb", &FIRST)[0], "b.txt");
    let hits = seen(&store)
        .search("cccc", 3, SearchMode::Hybrid, Some(&FIRST))
        .unwrap();
    assert_eq!(names(&hits)[0], "c.txt");
    assert!(hits[0].lexical_score.is_some() && hits[0].dense_score.is_some());
}

#[test]
fn changed_and_removed_documents_leave_the_vectors() {
    let (house, store) = three_files();
    store.embed_pending(&FIRST, 100).unwrap();
    assert_eq!(dense(&store, "bbb", &FIRST)[0], "b.txt");
    house.write("b.txt", "now xxxx and yyyy");
    fs::remove_file(house.documents.join("c.txt")).unwrap();
    house.ingest(&store);
    assert_eq!(dense(&store, "bbb", &FIRST), ["a.txt"]);
    assert_eq!(store.embed_pending(&FIRST, 100).unwrap(), 0);
    assert_eq!(dense(&store, "xxxx yyyy", &FIRST)[0], "b.txt");
    assert_eq!(seen(&store).status().unwrap().vectors, 2);
}

#[test]
fn another_embedders_vectors_are_never_mixed_in() {
    let (house, store) = three_files();
    store.embed_pending(&FIRST, 100).unwrap();
    assert_eq!(dense(&store, "bbb", &SECOND), Vec::<String>::new());
    // Words still answer where no vector of the embedder is.
    assert_eq!(
        seen(&store)
            .search("bbbb", 3, SearchMode::Hybrid, Some(&SECOND))
            .unwrap()
            .len(),
        1
    );
    assert_eq!(store.embed_pending(&SECOND, 100).unwrap(), 0);
    assert_eq!(dense(&store, "bbb", &SECOND)[0], "b.txt");
    assert_eq!(seen(&store).status().unwrap().vectors, 3);
    drop(store);
    let store = house.open();
    assert_eq!(dense(&store, "bbb", &SECOND)[0], "b.txt");
    assert_eq!(store.embed_pending(&FIRST, 100).unwrap(), 0);
    assert_eq!(dense(&store, "bbb", &FIRST)[0], "b.txt");
}

#[test]
fn a_reader_sees_new_vectors() {
    let (house, store) = three_files();
    let reader = Store::open(&house.data, Access::Read).unwrap();
    assert_eq!(dense(&reader, "bbb", &FIRST), Vec::<String>::new());
    store.embed_pending(&FIRST, 100).unwrap();
    assert_eq!(dense(&reader, "bbb", &FIRST)[0], "b.txt");
}

/// Five hundred letters: a passage or two.
fn long(letter: &str) -> String {
    format!("{}.\n\n", format!("{letter} ").repeat(500))
}

fn scores(store: &Store, question: &str) -> Vec<(String, f64)> {
    let hits = seen(store)
        .search(question, 50, SearchMode::Dense, Some(&FIRST))
        .unwrap();
    let of = |hit: &Hit| (hit.text.clone(), hit.dense_score.unwrap());
    hits.iter().map(of).collect()
}

#[test]
fn what_stands_beside_a_passage_is_in_its_vector_and_what_stands_elsewhere_is_not() {
    let house = House::new();
    let store = house.open();
    house.write("near.txt", &(long("a") + &long("b") + &long("c")));
    house.write("far.txt", &long("b"));
    house.write("next.txt", &long("d"));
    house.ingest(&store);
    store.embed_pending(&FIRST, 100).unwrap();
    let found = scores(&store, "aaaa");
    let best = |letter: &str| {
        let of_letter = found.iter().filter(|(text, _)| text.starts_with(letter));
        of_letter
            .map(|(_, score)| *score)
            .fold(f64::NEG_INFINITY, f64::max)
    };
    assert!(best("a") > best("b"), "{found:?}");
    assert!(best("b") > best("d") + 0.05, "{found:?}");
}

#[test]
fn vectors_do_not_depend_on_the_steps_in_which_they_are_made() {
    let text = long("a") + &long("b") + &long("c") + &long("d");
    let made = |step: usize, reopened: bool| {
        let house = House::new();
        let mut store = house.open();
        house.write("a.txt", &text);
        house.ingest(&store);
        while store.embed_pending(&FIRST, step).unwrap() > 0 {
            if reopened {
                drop(store);
                store = house.open();
            }
        }
        scores(&store, "aaab")
    };
    let at_once = made(100, false);
    assert_eq!(at_once.len(), 4, "{at_once:?}");
    assert_eq!(made(1, false), at_once);
    assert_eq!(made(3, true), at_once);
}

#[test]
fn vectors_made_in_another_way_are_another_embedders() {
    let (_house, store) = three_files();
    let ids = [1, 2, 3];
    // As a version before the present way of putting vectors together left them.
    store
        .write(|store, writer| {
            let connection = writer.connect(&store.catalog)?;
            let row = store.catalog.use_embedder(connection, &FIRST.id())?;
            let vector = crate::dense::encode(&FIRST.embed(EmbedKind::Passage, &["bbbb"])[0]);
            let vectors: Vec<(u64, Vec<u8>)> = ids.iter().map(|id| (*id, vector.clone())).collect();
            store.catalog.put_vectors(connection, row, &vectors)
        })
        .unwrap();
    assert_eq!(seen(&store).status().unwrap().vectors, ids.len());
    assert_eq!(dense(&store, "bbb", &FIRST), Vec::<String>::new());
    assert_eq!(store.embed_pending(&FIRST, 1).unwrap(), ids.len() - 1);
    assert_eq!(store.embed_pending(&FIRST, 100).unwrap(), 0);
    assert_eq!(dense(&store, "bbb", &FIRST)[0], "b.txt");
    assert_eq!(seen(&store).status().unwrap().vectors, ids.len());
}
