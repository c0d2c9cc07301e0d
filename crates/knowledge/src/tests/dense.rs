//! Vectors: fusion, other embedders, removal.

use super::*;
use crate::{Embed, EmbedKind, EmbedderId, StoreError};

/// Hashes letters into a few dimensions: enough to tell texts apart, and the same on every run.
pub(super) struct Letters {
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

pub(super) const FIRST: Letters = Letters {
    sha256: "first",
    dim: 64,
};
pub(super) const SECOND: Letters = Letters {
    sha256: "second",
    dim: 32,
};

pub(super) fn dense(store: &Store, question: &str, embedder: &Letters) -> Vec<String> {
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
fn a_damaged_passage_does_not_keep_the_others_from_getting_vectors() {
    for damaged in ["a.txt", "b.txt", "c.txt"] {
        let (house, store) = three_files();
        let connection = rusqlite::Connection::open(house.data.join("hanok.sqlite")).unwrap();
        let sql = "UPDATE passages SET text = text || '!' WHERE document_id =
                     (SELECT document_id FROM documents WHERE path LIKE '%' || ?1)";
        assert_eq!(connection.execute(sql, [damaged]).unwrap(), 1);
        // One at a time: the damaged one is first, beside another or last.
        for _ in 0..3 {
            store.embed_pending(&FIRST, 1).unwrap();
        }
        assert_eq!(store.embed_pending(&FIRST, 1).unwrap(), 0, "{damaged}");
        let n: i64 = connection
            .query_row("SELECT count(*) FROM vectors", [], |row| row.get(0))
            .unwrap();
        assert_eq!(n, 2, "{damaged}");
        assert!(store.verify(false).unwrap().n_faults > 0);
    }
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
fn what_words_and_vectors_find_in_one_place_counts_together() {
    let house = House::new();
    let store = house.open();
    // The words stand under one heading, their letters under the next.
    let (one, two) = ("xxxx yyyy ".repeat(60), "pots mupp ".repeat(60));
    house.write(
        "place.md",
        &format!("# One\n\nstop pump {one}\n\n# Two\n\n{two}\n"),
    );
    house.write("other.txt", "stop kkkkkkkkkkkkkkkkkkkk");
    house.write("far.txt", "bbbb bbbb");
    house.ingest(&store);
    store.embed_pending(&FIRST, 100).unwrap();
    let best = |mode| {
        let hits = seen(&store).search("stop pump", 5, mode, Some(&FIRST)).unwrap();
        hits.into_iter().next().unwrap()
    };
    let (words, vectors) = (best(SearchMode::Lexical), best(SearchMode::Dense));
    assert_eq!(
        (words.heading_path, vectors.heading_path),
        (vec!["One".to_owned()], vec!["Two".to_owned()])
    );
    let both = best(SearchMode::Hybrid);
    assert!(both.path.ends_with("place.md") && both.score > 0.999, "{both:?}");
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
fn another_embedder_is_refused_until_its_vectors_are_made() {
    let (house, store) = three_files();
    store.embed_pending(&FIRST, 100).unwrap();
    for mode in [SearchMode::Dense, SearchMode::Hybrid] {
        let error = seen(&store).search("bbbb", 3, mode, Some(&SECOND)).unwrap_err();
        assert!(matches!(error, StoreError::OtherEmbedder { .. }), "{error}");
        assert!(error.to_string().contains("hanok knowledge reindex"), "{error}");
    }
    let error = store.embed_pending(&SECOND, 100).unwrap_err();
    assert!(matches!(error, StoreError::OtherEmbedder { .. }), "{error}");
    // Words answer without any.
    assert_eq!(names(&find(&store, "bbbb")), ["b.txt"]);
    assert!(store.reindex(Some(&SECOND), &mut |_| Go::On).unwrap().vectors);
    assert_eq!(dense(&store, "bbb", &SECOND)[0], "b.txt");
    assert_eq!(seen(&store).status().unwrap().vectors, 3);
    drop(store);
    let store = house.open();
    assert_eq!(dense(&store, "bbb", &SECOND)[0], "b.txt");
    store.reindex(Some(&FIRST), &mut |_| Go::On).unwrap();
    assert_eq!(dense(&store, "bbb", &FIRST)[0], "b.txt");
}

#[test]
fn a_store_without_vectors_takes_any_embedder() {
    let (house, store) = three_files();
    store.embed_pending(&FIRST, 100).unwrap();
    fs::remove_dir_all(&house.documents).unwrap();
    fs::create_dir_all(&house.documents).unwrap();
    house.ingest(&store);
    house.write("d.txt", "dddd");
    house.ingest(&store);
    assert_eq!(store.embed_pending(&SECOND, 100).unwrap(), 0);
    assert_eq!(dense(&store, "ddd", &SECOND), ["d.txt"]);
}

#[test]
fn a_reader_sees_new_vectors() {
    let (house, store) = three_files();
    let reader = Store::open(&house.data, Access::Read).unwrap();
    assert_eq!(dense(&reader, "bbb", &FIRST), Vec::<String>::new());
    store.embed_pending(&FIRST, 100).unwrap();
    assert_eq!(dense(&reader, "bbb", &FIRST)[0], "b.txt");
}

/// Waits until every graph that is wanted is there.
pub(super) fn settle(store: &Store, embedder: &dyn Embed) {
    loop {
        seen(store).nearest("bbb", 1, embedder, false).unwrap();
        if store.vectors_are_settled() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Documents of letters, enough for a graph.
fn many_files() -> (House, Store) {
    let house = House::new();
    let mut store = house.open();
    store.files_mut().graphs.min = 20;
    for (i, letter) in ('a'..='z').enumerate() {
        house.write(&format!("{letter}.txt"), &letter.to_string().repeat(4 + i));
    }
    house.ingest(&store);
    store.embed_pending(&FIRST, usize::MAX).unwrap();
    settle(&store, &FIRST);
    (house, store)
}

fn graph_files(house: &House) -> Vec<PathBuf> {
    fs::read_dir(house.data.join("near")).unwrap_or_default()
}

#[test]
fn a_graph_follows_what_comes_and_goes() {
    let (house, store) = many_files();
    assert_eq!(graph_files(&house).len(), 1);
    assert_eq!(dense(&store, "qqqq", &FIRST)[0], "q.txt");
    house.write("zz.txt", "qqqqq");
    fs::remove_file(house.documents.join("q.txt")).unwrap();
    house.ingest(&store);
    store.embed_pending(&FIRST, usize::MAX).unwrap();
    let found = dense(&store, "qqqq", &FIRST);
    assert!(found[0] == "zz.txt" && !found.contains(&"q.txt".to_owned()));
    // So much is new that it is made again.
    for letter in 'a'..='l' {
        house.write(&format!("{letter}{letter}.txt"), &format!("{letter} q {letter}"));
    }
    house.ingest(&store);
    store.embed_pending(&FIRST, usize::MAX).unwrap();
    settle(&store, &FIRST);
    for letter in ['b', 'k', 'y'] {
        let question = letter.to_string().repeat(3);
        let view = seen(&store);
        let exact = view.nearest(&question, 10, &FIRST, true).unwrap();
        assert_eq!(view.nearest(&question, 10, &FIRST, false).unwrap(), exact);
    }
    assert!(store.verify(false).unwrap().is_sound());
}

#[test]
fn a_graph_that_is_damaged_or_of_other_vectors_is_made_again() {
    let (house, store) = many_files();
    let file = graph_files(&house).remove(0);
    let whole = fs::read(&file).unwrap();
    drop(store);
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let mut store = house.open();
    store.files_mut().graphs.min = 20;
    assert_eq!(store.verify(false).unwrap().graphs_bad, 1);
    assert_eq!(dense(&store, "qqqq", &FIRST)[0], "q.txt");
    settle(&store, &FIRST);
    assert!(store.verify(false).unwrap().is_sound());
    fs::write(&file, &bytes).unwrap();
    assert!(store.verify(true).unwrap().mended);
    assert!(!file.exists());
    // A reader makes none, and searches all the same.
    let reader = Store::open(&house.data, Access::Read).unwrap();
    assert_eq!(dense(&reader, "qqqq", &FIRST)[0], "q.txt");
    assert!(reader.vectors_are_settled() && !file.exists());
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

/// The best score of a passage of this letter.
fn best_of(found: &[(String, f64)], letter: &str) -> f64 {
    let of_letter = found.iter().filter(|(text, _)| text.starts_with(letter));
    of_letter
        .map(|(_, score)| *score)
        .fold(f64::NEG_INFINITY, f64::max)
}

#[test]
fn the_beginning_of_a_section_is_in_all_of_its_vectors_and_that_of_a_page_in_those_beside_it() {
    let text = long("a") + &long("b") + &long("c") + &long("d");
    let other = long("e") + &long("f");
    for page in [None, Some(1)] {
        let house = House::new();
        let store = house.open();
        store.ingest_pages("one", &[(page, &text)]).unwrap();
        store.ingest_pages("two", &[(page, &other)]).unwrap();
        store.finish_pages().unwrap();
        store.embed_pending(&FIRST, 100).unwrap();
        let found = scores(&store, "aaaa");
        let best = |letter: &str| best_of(&found, letter);
        assert!(best("a") > best("b"), "{page:?}: {found:?}");
        assert!(best("b") > best("f") + 0.05, "{page:?}: {found:?}");
        // Two passages further on.
        let is_in = best("d") > best("f") + 0.05;
        assert_eq!(is_in, page.is_none(), "{page:?}: {found:?}");
    }
}

#[test]
fn a_section_begins_with_its_headings() {
    let house = House::new();
    let store = house.open();
    let section =
        |name: &str, first: &str, second: &str| format!("# {name}\n\n{}{}", long(first), long(second));
    house.write("a.md", &(section("gg", "a", "b") + &section("hh", "c", "d")));
    house.ingest(&store);
    store.embed_pending(&FIRST, 100).unwrap();
    let found = scores(&store, "aaaa");
    let best = |letter: &str| best_of(&found, letter);
    assert!(best("b") > best("c") + 0.05, "{found:?}");
    assert!(best("b") > best("d") + 0.05, "{found:?}");
}

#[test]
fn vectors_do_not_depend_on_the_steps_in_which_they_are_made() {
    let text = long("a") + &long("b") + &long("c") + &long("d");
    for page in [None, Some(1)] {
        vectors_do_not_depend_on_the_steps(&text, page);
    }
}

fn vectors_do_not_depend_on_the_steps(text: &str, page: Option<u32>) {
    let made = |step: usize, reopened: bool| {
        let house = House::new();
        let mut store = house.open();
        store.ingest_pages("a", &[(page, text)]).unwrap();
        store.finish_pages().unwrap();
        while store.embed_pending(&FIRST, step).unwrap() > 0 {
            if reopened {
                drop(store);
                store = house.open();
            }
        }
        scores(&store, "aaab")
    };
    let at_once = made(100, false);
    assert!(at_once.len() >= 4, "{at_once:?}");
    assert_eq!(made(1, false), at_once);
    assert_eq!(made(3, true), at_once);
}

#[test]
fn vectors_made_in_another_way_are_another_embedders() {
    let (_house, store) = three_files();
    let ids = [1, 2, 3];
    // As a version before the present way of putting vectors together left them.
    store
        .files()
        .write(|store, writer| {
            let connection = writer.connect(&store.catalog)?;
            let row = store.catalog.record_embedder(connection, &FIRST.id(), "", true)?;
            let vector = crate::dense::encode(&FIRST.embed(EmbedKind::Passage, &["bbbb"])[0]);
            let vectors: Vec<(u64, Vec<u8>)> = ids.iter().map(|id| (*id, vector.clone())).collect();
            store.catalog.put_vectors(connection, row, &vectors)
        })
        .unwrap();
    let refused = store.embed_pending(&FIRST, 1);
    assert!(
        matches!(refused, Err(StoreError::OtherEmbedder { .. })),
        "{refused:?}"
    );
    assert!(store.reindex(Some(&FIRST), &mut |_| Go::On).unwrap().vectors);
    assert_eq!(dense(&store, "bbb", &FIRST)[0], "b.txt");
    assert_eq!(seen(&store).status().unwrap().vectors, ids.len());
}
