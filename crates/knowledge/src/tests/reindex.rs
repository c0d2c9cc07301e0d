//! A new index beside the present one: searches go on, the swap is one step, whatever cuts it off is gone on with.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::dense::{FIRST, Letters, SECOND, dense};
use super::*;
use crate::catalog::Passages;
use crate::failpoint::{FailPoint, armed};
use crate::passage::CutOptions;
use crate::{ReadOptions, ReindexProgress, ReindexStage, StoreError};

const N: usize = 40;
/// With this set, the test program is the child that gets killed: the folder of its house.
const CHILD: &str = "HANOK_TEST_REINDEX_CHILD";

fn small_cuts() -> ReadOptions {
    ReadOptions {
        cut: CutOptions {
            budget_tokens: 30.0,
            tiny_tokens: 6.0,
        },
        ..ReadOptions::default()
    }
}

fn text(i: usize) -> String {
    let letter = char::from(b'a' + (i % 26) as u8);
    let word: String = std::iter::repeat_n(letter, 8).collect();
    format!(
        "# canary{i}x\n\n{}",
        format!("{word} 본문 {i} 문장이다. ").repeat(30)
    )
}

/// Documents with vectors of the first embedder.
fn filled() -> House {
    let house = House::new();
    for i in 0..N {
        house.write(&format!("{i:02}.md"), &text(i));
    }
    let store = house.open();
    house.ingest(&store);
    while store.embed_pending(&FIRST, 100).unwrap() > 0 {}
    house
}

/// Makes the word index look as if another analyser had made it.
fn age_index(house: &House) {
    let folders = crate::lexical::folders(&house.data);
    let [folder] = folders.as_slice() else {
        panic!("{folders:?}");
    };
    let manifest = folder.join("meta.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("analyser 2", "analyser 1")).unwrap();
}

/// The files in which a word is found.
fn found(store: &Store, i: usize) -> Vec<String> {
    let mut found = names(&find(store, &format!("canary{i}x")));
    found.dedup();
    found
}

/// Everything is found, once, by words and by vectors of whoever made them.
fn check_all(store: &Store, embedder: &Letters) {
    for i in 0..N {
        assert_eq!(found(store, i), [format!("{i:02}.md")]);
    }
    let hits = dense(store, "cccccccc", embedder);
    assert!(["02.md", "28.md"].contains(&hits[0].as_str()), "{hits:?}");
    let status = seen(store).status().unwrap();
    assert_eq!((status.documents, status.vectors), (N, status.passages));
    let report = store.verify(false).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

fn all(store: &Store, embedder: &Letters) -> crate::ReindexReport {
    store.reindex(Some(embedder), &mut |_| Go::On).unwrap()
}

fn folders(house: &House) -> usize {
    crate::lexical::folders(&house.data).len()
}

#[test]
fn nothing_is_done_where_nothing_changed() {
    let house = filled();
    let store = house.open();
    assert!(!store.reindex_need(Some(&FIRST)).unwrap().is_any());
    let report = all(&store, &FIRST);
    assert!(!report.words && !report.passages && !report.vectors && !report.stopped);
}

#[test]
fn an_index_of_another_analyser_answers_until_it_is_made_anew() {
    let house = filled();
    age_index(&house);
    let reader = Store::open(&house.data, Access::Read).unwrap();
    let error = seen(&reader)
        .search("canary7x", 10, SearchMode::Lexical, None)
        .unwrap_err();
    assert!(matches!(error, StoreError::OtherAnalyser { .. }), "{error}");
    assert!(error.to_string().contains("hanok knowledge reindex"), "{error}");
    let store = house.open();
    let need = store.reindex_need(Some(&FIRST)).unwrap();
    assert!(need.words && !need.passages && !need.vectors && need.bytes > 0);
    assert_eq!(found(&store, 7), ["07.md"]);
    // What is taken in meanwhile stays in an index of the other analyser.
    house.write("new.md", "latecomer");
    house.ingest(&store);
    assert!(store.reindex_need(None).unwrap().words);
    let report = all(&store, &FIRST);
    assert!(report.words && !report.passages && !report.vectors);
    assert_eq!(names(&find(&store, "latecomer")), ["new.md"]);
    // The reader, which was there before, takes the new one.
    assert_eq!(found(&reader, 7), ["07.md"]);
    assert_eq!(folders(&house), 1);
    assert!(!store.reindex_need(Some(&FIRST)).unwrap().is_any());
    assert!(store.verify(false).unwrap().is_sound());
}

#[test]
fn documents_are_cut_anew_and_keep_what_stays_the_same() {
    let house = filled();
    let store = house.open();
    let before = seen(&store).status().unwrap();
    let texts: Vec<_> = seen(&store).documents().unwrap();
    store.configure(small_cuts());
    assert!(store.reindex_need(Some(&FIRST)).unwrap().passages);
    let report = all(&store, &FIRST);
    assert!(report.passages && report.words && report.vectors);
    assert_eq!(report.kept, 0);
    let after = seen(&store).status().unwrap();
    assert!(after.passages > 2 * before.passages, "{before:?} {after:?}");
    check_all(&store, &FIRST);
    for document in texts {
        let text = seen(&store)
            .document(&document.document_id, None)
            .unwrap()
            .unwrap();
        assert_eq!(text.info.version, document.version);
        assert_eq!(text.info.n_chars, document.n_chars);
    }
    // Nothing is left of the old one, and nothing is to be done any more, also for a store that is opened anew.
    drop(store);
    let store = house.open();
    store.configure(small_cuts());
    assert!(!store.reindex_need(Some(&FIRST)).unwrap().is_any());
    assert_eq!(
        store
            .files()
            .catalog
            .without_vector_count(Passages::Next, 1, 0)
            .unwrap(),
        0
    );
    // And back again: ids of passages are never used twice.
    store.configure(ReadOptions::default());
    all(&store, &FIRST);
    check_all(&store, &FIRST);
    assert_eq!(seen(&store).status().unwrap().passages, before.passages);
}

#[test]
fn vectors_of_passages_that_stay_are_not_made_again() {
    struct Counting(AtomicUsize);
    impl crate::Embed for Counting {
        fn id(&self) -> crate::EmbedderId {
            FIRST.id()
        }
        fn embed(&self, kind: crate::EmbedKind, texts: &[&str]) -> Vec<Vec<f32>> {
            self.0.fetch_add(texts.len(), SeqCst);
            FIRST.embed(kind, texts)
        }
    }
    let house = House::new();
    for i in 0..10 {
        house.write(&format!("{i}.txt"), &format!("short canary{i}x"));
    }
    house.write("long.txt", &"하나의 긴 문서이다. ".repeat(60));
    let store = house.open();
    house.ingest(&store);
    while store.embed_pending(&FIRST, 100).unwrap() > 0 {}
    store.configure(small_cuts());
    let counting = Counting(AtomicUsize::new(0));
    store.reindex(Some(&counting), &mut |_| Go::On).unwrap();
    let n_passages = seen(&store).status().unwrap().passages;
    assert_eq!(counting.0.load(SeqCst), n_passages - 10);
}

#[test]
fn searches_go_on_and_what_changes_meanwhile_is_in_both() {
    let house = filled();
    age_index(&house);
    let store = house.open();
    store.configure(small_cuts());
    let reader = Store::open(&house.data, Access::Read).unwrap();
    let mut n_steps = 0;
    let mut n_swapped = 0;
    store
        .reindex(Some(&SECOND), &mut |progress: &ReindexProgress| {
            n_steps += 1;
            if progress.stage == ReindexStage::Clearing {
                n_swapped += 1;
                assert_eq!(found(&store, 5), ["05.md"]);
                assert_eq!(dense(&store, "cccccccc", &SECOND).len(), 3);
                return Go::On;
            }
            assert_eq!(found(&store, 5), ["05.md"]);
            assert_eq!(dense(&store, "cccccccc", &FIRST).len(), 3);
            assert_eq!(dense(&reader, "cccccccc", &FIRST).len(), 3);
            let status = seen(&store).status().unwrap();
            assert_eq!(status.reindex, Some(*progress));
            let other = store.view(&Reader::anyone()).unwrap().status().unwrap();
            assert_eq!(other.reindex, None, "counts of all documents are the keeper's");
            // Something is added, changed and removed at every step.
            house.write(&format!("step{n_steps}.md"), &format!("# added{n_steps}x\n\nnew"));
            house.write("changing.md", &format!("# now{n_steps}x\n\nchanged"));
            let gone = house.documents.join(format!("step{}.md", n_steps - 1));
            if n_steps % 3 == 0 {
                fs::remove_file(gone).unwrap();
            }
            house.ingest(&store);
            assert_eq!(names(&find(&store, &format!("now{n_steps}x"))), ["changing.md"]);
            Go::On
        })
        .unwrap();
    assert!(n_steps > 5 && n_swapped > 0, "{n_steps} {n_swapped}");
    for store in [&store, &reader] {
        for i in 0..N {
            assert_eq!(found(store, i), [format!("{i:02}.md")]);
        }
        for step in 1..=n_steps - n_swapped {
            let hits = names(&find(store, &format!("added{step}x")));
            let is_gone = (step + 1) % 3 == 0 && step < n_steps - n_swapped;
            assert_eq!(hits.is_empty(), is_gone, "{step}: {hits:?}");
        }
        assert_eq!(
            names(&find(store, &format!("now{}x", n_steps - n_swapped))),
            ["changing.md"]
        );
        assert!(find(store, "now1x").is_empty());
    }
    while store.embed_pending(&SECOND, 100).unwrap() > 0 {}
    assert!(!store.reindex_need(Some(&SECOND)).unwrap().is_any());
    let report = store.verify(false).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn no_search_sees_a_moment_between_two_indexes() {
    let house = filled();
    let store = house.open();
    let reader = Store::open(&house.data, Access::Read).unwrap();
    let done = AtomicBool::new(false);
    let searches = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for store in [&store, &store, &reader] {
            let (done, searches) = (&done, &searches);
            scope.spawn(move || {
                let mut i = 0;
                while !done.load(SeqCst) {
                    i = (i + 7) % N;
                    assert_eq!(found(store, i), [format!("{i:02}.md")]);
                    assert_eq!(dense(store, "cccccccc", &FIRST).len(), 3);
                    searches.fetch_add(1, SeqCst);
                }
            });
        }
        for round in 0..6 {
            store.configure(if round % 2 == 0 {
                small_cuts()
            } else {
                ReadOptions::default()
            });
            assert!(all(&store, &FIRST).passages);
        }
        done.store(true, SeqCst);
    });
    assert!(searches.load(SeqCst) > 0);
    check_all(&store, &FIRST);
}

#[test]
fn stopped_it_goes_on_where_it_was() {
    let house = filled();
    let store = house.open();
    store.configure(small_cuts());
    let mut seen_stages: Vec<(ReindexStage, usize)> = Vec::new();
    let mut n_calls = 0;
    loop {
        n_calls += 1;
        assert!(n_calls < 1000);
        // One step each time.
        let mut before: Option<(ReindexStage, usize)> = None;
        let report = store
            .reindex(Some(&SECOND), &mut |progress| {
                let now = (progress.stage, progress.done);
                seen_stages.push(now);
                let is_step = before.replace(now).is_some_and(|(stage, done)| {
                    stage == now.0 && (now.1 > done || stage == ReindexStage::Clearing)
                });
                if is_step { Go::Stop } else { Go::On }
            })
            .unwrap();
        if !report.stopped {
            break;
        }
    }
    assert!(n_calls > 3, "{n_calls}");
    for stage in [ReindexStage::Passages, ReindexStage::Vectors] {
        let most = seen_stages.iter().filter(|s| s.0 == stage).map(|s| s.1);
        // It never begins with a stage anew: what is done only grows.
        let done: Vec<usize> = most.collect();
        assert!(done.is_sorted(), "{stage:?}: {done:?}");
    }
    check_all(&store, &SECOND);
}

#[test]
fn one_that_nobody_wants_any_more_is_given_up() {
    let house = filled();
    let store = house.open();
    let stopped = store.reindex(Some(&SECOND), &mut |_| Go::Stop).unwrap();
    assert!(stopped.stopped);
    assert!(store.files().catalog.building().unwrap().is_some());
    // Back to the embedder that was.
    all(&store, &FIRST);
    assert_eq!(store.files().catalog.building().unwrap(), None);
    check_all(&store, &FIRST);
    // Another want than the one that was begun.
    assert!(store.reindex(Some(&SECOND), &mut |_| Go::Stop).unwrap().stopped);
    store.configure(small_cuts());
    let report = all(&store, &SECOND);
    assert!(report.passages && report.vectors);
    check_all(&store, &SECOND);
    assert_eq!(folders(&house), 1);
}

#[test]
fn without_room_nothing_is_begun_and_the_need_is_said() {
    let house = filled();
    age_index(&house);
    let store = house.open();
    let connection = rusqlite::Connection::open(house.data.join("hanok.sqlite")).unwrap();
    connection
        .execute("UPDATE documents SET n_chars = 1000000000000000", [])
        .unwrap();
    let error = store.reindex(Some(&FIRST), &mut |_| Go::On).unwrap_err();
    let StoreError::NoRoomToReindex { need, free, .. } = error else {
        panic!("{error}");
    };
    assert!(need > free);
    assert_eq!(store.files().catalog.building().unwrap(), None);
    assert_eq!(folders(&house), 1);
}

#[test]
fn documents_of_earlier_versions_are_cut_from_their_files_or_kept_as_they_are() {
    let house = filled();
    let store = house.open();
    let connection = rusqlite::Connection::open(house.data.join("hanok.sqlite")).unwrap();
    crate::checksum::register(&connection).unwrap();
    connection
        .execute("UPDATE versions SET blocks = NULL", [])
        .unwrap();
    let seal = crate::checksum::Summed::Versions.seal("true");
    connection.execute(&seal, []).unwrap();
    fs::remove_file(house.documents.join("03.md")).unwrap();
    house.write("04.md", "canary4x in another text");
    store.configure(small_cuts());
    let report = all(&store, &FIRST);
    assert!(report.passages);
    assert_eq!(report.kept, 2);
    for i in 0..N {
        assert_eq!(found(&store, i), [format!("{i:02}.md")]);
    }
    // It is not tried again and again.
    assert!(!store.reindex_need(Some(&FIRST)).unwrap().is_any());
    assert!(store.verify(false).unwrap().is_sound());
    house.ingest(&store);
    assert!(found(&store, 3).is_empty());
    assert!(find(&store, "canary4x")[0].text.contains("another"));
    assert!(!store.reindex_need(Some(&FIRST)).unwrap().is_any());
}

#[test]
fn cutting_anew_without_the_embedder_that_made_the_vectors_is_refused() {
    let house = filled();
    let store = house.open();
    store.configure(small_cuts());
    let error = store.reindex(None, &mut |_| Go::On).unwrap_err();
    assert!(matches!(error, StoreError::EmbedderNeeded { .. }), "{error}");
    check_all(&store, &FIRST);
}

#[test]
fn a_backup_of_a_store_with_a_new_index_under_way_is_restored_whole() {
    let house = filled();
    let store = house.open();
    store.configure(small_cuts());
    let mut n = 0;
    let stop_at_third = &mut |_: &ReindexProgress| {
        n += 1;
        if n == 3 { Go::Stop } else { Go::On }
    };
    assert!(store.reindex(Some(&SECOND), stop_at_third).unwrap().stopped);
    let (backup, restored) = (
        house.data.with_file_name("backup"),
        house.data.with_file_name("again"),
    );
    store.backup(&backup).unwrap();
    Store::restore(&backup, &restored).unwrap();
    let again = Store::open(&restored, Access::Write).unwrap();
    check_all(&again, &FIRST);
    again.configure(small_cuts());
    assert!(!all(&again, &SECOND).stopped);
    check_all(&again, &SECOND);
}

/// Not a test of its own: the life of the child. Without the variable there is nothing to do.
#[test]
fn child_reindexes_until_it_is_killed() {
    let Some(home) = env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let store = Store::open(&home.join("data"), Access::Write).unwrap();
    store.configure(small_cuts());
    all(&store, &SECOND);
}

#[test]
fn killed_at_every_fail_point_the_old_or_the_new_index_is_whole() {
    const SIGKILL: i32 = 9;
    let points = [
        FailPoint::ReindexBegun,
        FailPoint::NextPassagesWritten,
        FailPoint::NextIndexCommitted,
        FailPoint::NextVectorsWritten,
        FailPoint::ReindexReady,
        FailPoint::ReindexSwapped,
        FailPoint::LeftoversCleared,
    ];
    for point in points {
        for nth in [1, 2] {
            let house = filled();
            age_index(&house);
            let old = seen(&house.open()).status().unwrap().passages;
            let status = Command::new(env::current_exe().unwrap())
                .args([
                    "--exact",
                    "tests::reindex::child_reindexes_until_it_is_killed",
                    "--test-threads=1",
                ])
                .env(CHILD, house.data.parent().unwrap())
                .env(armed::VARIABLE, format!("{point:?}:{nth}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            let is_killed = status.signal() == Some(SIGKILL);
            assert!(is_killed || status.success() && nth > 1, "{point:?}: {status}");
            let is_new =
                !is_killed || matches!(point, FailPoint::ReindexSwapped | FailPoint::LeftoversCleared);
            let embedder = if is_new { &SECOND } else { &FIRST };
            let store = house.open();
            check_all(&store, embedder);
            let passages = seen(&store).status().unwrap().passages;
            assert_eq!(passages > old, is_new, "{point:?}");
            // It goes on, and does not make again what was made.
            store.configure(small_cuts());
            let mut first: Option<ReindexProgress> = None;
            store
                .reindex(Some(&SECOND), &mut |progress| {
                    first.get_or_insert(*progress);
                    Go::On
                })
                .unwrap();
            if point == FailPoint::NextVectorsWritten {
                let first = first.unwrap();
                assert_eq!(first.done, first.total, "passages were cut already");
            }
            check_all(&store, &SECOND);
            assert!(!store.reindex_need(Some(&SECOND)).unwrap().is_any());
            assert_eq!(folders(&house), 1);
        }
    }
}
