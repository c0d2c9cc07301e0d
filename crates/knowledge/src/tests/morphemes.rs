//! Morphemes of a dictionary beside the pairs of characters: they only add, and an index is never searched with a
//! dictionary that did not make it.

use proptest::prelude::*;
use testkit::mecab::{Mecab, word};

use super::*;
use crate::{ReindexProgress, StoreError};

fn filled(open: fn(&House) -> Store) -> House {
    let house = House::new();
    house.write("water.txt", "물을 아껴 쓰는 방법");
    house.write("contract.md", "# 계약서\n\n계약서에 서명한다.");
    house.write("gone.txt", "어제 서버실에 갔다.");
    let store = open(&house);
    house.ingest(&store);
    house
}

fn lexical(store: &Store, question: &str) -> Result<Vec<String>, StoreError> {
    let hits = seen(store).search(question, 10, SearchMode::Lexical, None)?;
    Ok(names(&hits))
}

#[test]
fn a_word_of_one_syllable_is_found_with_its_particle() {
    let house = filled(House::open_with_dictionary);
    let store = house.open_with_dictionary();
    assert_eq!(lexical(&store, "물").unwrap(), ["water.txt"]);
    // The stem of a verb, whatever its ending.
    assert_eq!(lexical(&store, "가서").unwrap(), ["gone.txt"]);
    drop(store);
    let plain = filled(House::open);
    let store = plain.open();
    for question in ["물", "가서"] {
        assert!(lexical(&store, question).unwrap().is_empty(), "{question}");
    }
    assert!(store_is_sound(&house));
}

fn store_is_sound(house: &House) -> bool {
    house.open_with_dictionary().verify(false).unwrap().is_sound()
}

#[test]
fn an_index_of_another_dictionary_is_refused_until_it_is_made_anew() {
    let house = filled(House::open);
    let other = || {
        let mut mecab = Mecab::korean();
        mecab.words.push(word("서버실", 10, "NNG,*,T,서버실,*,*,*,*"));
        analysis_of(&mecab)
    };
    type Makes = fn() -> Analysis;
    let steps: [(Makes, Makes); 4] = [
        (Analysis::default, small_dictionary),
        (small_dictionary, other),
        (other, small_dictionary),
        (small_dictionary, Analysis::default),
    ];
    for (before, after) in steps {
        let open = |access, analysis: Makes| Store::open_with(&house.data, access, analysis()).unwrap();
        let reader = open(Access::Read, after);
        let error = lexical(&reader, "계약서").unwrap_err();
        assert!(matches!(error, StoreError::OtherAnalyser { .. }), "{error}");
        for said in ["hanok knowledge reindex", "--dictionary", after().name()] {
            assert!(error.to_string().contains(said), "{error}");
        }
        assert_eq!(
            lexical(&open(Access::Read, before), "계약서").unwrap(),
            ["contract.md"]
        );
        let writer = open(Access::Write, after);
        // Meanwhile it answers by what both have.
        assert_eq!(lexical(&writer, "계약서").unwrap(), ["contract.md"]);
        assert!(writer.reindex_need(None).unwrap().words);
        assert!(writer.reindex(None, &mut |_| Go::On).unwrap().words);
        assert!(!writer.reindex_need(None).unwrap().is_any());
        assert_eq!(lexical(&writer, "계약서").unwrap(), ["contract.md"]);
        assert!(writer.verify(false).unwrap().is_sound());
        // Whoever was there before takes the new one.
        assert_eq!(lexical(&reader, "계약서").unwrap(), ["contract.md"]);
    }
}

#[test]
fn what_is_taken_in_without_the_dictionary_is_found_and_the_index_is_made_anew() {
    let house = filled(House::open_with_dictionary);
    house.write("late.txt", "물은 늦게 왔다");
    let store = house.open();
    house.ingest(&store);
    assert_eq!(lexical(&store, "늦게").unwrap(), ["late.txt"]);
    drop(store);
    // Its dictionary is back, but one document has no morphemes.
    let store = house.open_with_dictionary();
    assert_eq!(lexical(&store, "늦게").unwrap(), ["late.txt"]);
    assert!(store.reindex_need(None).unwrap().words);
    assert!(store.reindex(None, &mut |_| Go::On).unwrap().words);
    let mut found = lexical(&store, "물").unwrap();
    found.sort();
    assert_eq!(found, ["late.txt", "water.txt"]);
    assert!(!store.reindex_need(None).unwrap().is_any());
}

#[test]
fn a_new_index_with_a_dictionary_goes_on_where_it_was() {
    let house = filled(House::open);
    for i in 0..40 {
        house.write(&format!("{i}.txt"), &format!("물은 {i}번 canary{i}x"));
    }
    let store = house.open();
    house.ingest(&store);
    drop(store);
    let store = house.open_with_dictionary();
    let mut n = 0;
    let stop = &mut |_: &ReindexProgress| {
        n += 1;
        if n > 1 { Go::Stop } else { Go::On }
    };
    assert!(store.reindex(None, stop).unwrap().stopped);
    drop(store);
    let store = house.open_with_dictionary();
    assert!(store.reindex(None, &mut |_| Go::On).unwrap().words);
    assert_eq!(lexical(&store, "canary39x").unwrap()[0], "39.txt");
    assert_eq!(lexical(&store, "물").unwrap().len(), 10);
    assert!(store.verify(false).unwrap().is_sound());
}

#[test]
fn a_damaged_index_is_made_anew_with_its_dictionary() {
    let house = filled(House::open_with_dictionary);
    let [folder] = crate::lexical::folders(&house.data).try_into().unwrap();
    fs::write(folder.join("meta.json"), "{}").unwrap();
    let reader = Store::open_with(&house.data, Access::Read, small_dictionary()).unwrap();
    assert_eq!(lexical(&reader, "물").unwrap(), ["water.txt"]);
    assert_eq!(
        lexical(&house.open_with_dictionary(), "물").unwrap(),
        ["water.txt"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn with_a_dictionary_nothing_less_is_found(
        documents in prop::collection::vec("[가-힣 ]{0,6}(계약|해지|물|갔다|서버)(은|는|이|를|서)[가-힣a-z0-9 .]{0,20}", 1..8),
        question in "(계약서|물|해지|갔다|[가-힣]{1,3})(를|가| )[가-힣a-z0-9 ]{0,8}",
    ) {
        let found = |open: fn(&House) -> Store| {
            let house = House::new();
            for (i, text) in documents.iter().enumerate() {
                house.write(&format!("{i}.txt"), text);
            }
            let store = open(&house);
            house.ingest(&store);
            lexical(&store, &question).unwrap().into_iter().collect::<BTreeSet<String>>()
        };
        let (without, with) = (found(House::open), found(House::open_with_dictionary));
        prop_assert!(with.is_superset(&without), "{:?} {:?}", without, with);
    }
}
