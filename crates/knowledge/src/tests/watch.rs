//! Watched folders end to end: what happens to files is found by searching, after a while.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stdx::clock::Stopwatch;
use stdx::fs;

use super::{House, check_whole, find, names, seen};
use crate::watch::{Watch, WatchConfig};
use crate::{Go, Store};

/// Longer than a watch takes on a busy machine.
const PATIENCE_S: f64 = 30.0;

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let watch = Stopwatch::start();
    while !is_so() {
        assert!(watch.s() < PATIENCE_S, "still not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn config(rest_ms: u64) -> WatchConfig {
    WatchConfig {
        rest: Duration::from_millis(rest_ms),
        every: Duration::from_hours(1),
    }
}

/// A watch and all paths that it handed on.
fn start(store: &Arc<Store>, config: WatchConfig) -> (Watch, Arc<Mutex<Vec<Vec<PathBuf>>>>) {
    let handed_on = Arc::new(Mutex::new(Vec::new()));
    let (held, taken_in) = (Arc::clone(&handed_on), Arc::clone(store));
    let follow = Box::new(move |changes: Vec<PathBuf>| {
        let followed = taken_in.follow(&changes, config.rest, &mut |_| Go::On).ok();
        held.lock().unwrap().push(changes);
        followed
    });
    let watch = Watch::start(Arc::clone(store), config, follow).unwrap();
    wait("the first look", || !handed_on.lock().unwrap().is_empty());
    (watch, handed_on)
}

fn n_documents(store: &Store) -> usize {
    seen(store).documents().unwrap().len()
}

#[test]
fn files_that_come_change_move_and_go_are_followed() {
    let house = House::new();
    house.write("a.txt", "alpha");
    let store = Arc::new(house.open());
    house.ingest(&store);
    let b = house.write("b.txt", "beta, written while nobody watched");
    let (watch, _) = start(&store, config(40));
    wait("what came before the watch", || !find(&store, "beta").is_empty());
    let deep = house.write("new/deeper/c.txt", "gamma");
    wait("a file in a new folder", || {
        names(&find(&store, "gamma")) == ["c.txt"]
    });
    fs::write(&deep, "gamma amended").unwrap();
    wait("a changed file", || !find(&store, "amended").is_empty());
    fs::rename(&b, house.documents.join("new/b2.txt")).unwrap();
    wait("a moved file", || names(&find(&store, "beta")) == ["b2.txt"]);
    fs::rename(house.documents.join("new"), house.documents.join("newer")).unwrap();
    wait("a moved folder", || {
        find(&store, "gamma")
            .first()
            .is_some_and(|hit| hit.path.ends_with("newer/deeper/c.txt"))
    });
    house.write("newer/deeper/d.txt", "delta");
    wait("a file in a moved folder", || !find(&store, "delta").is_empty());
    fs::remove_dir_all(house.documents.join("newer")).unwrap();
    wait("a removed folder", || n_documents(&store) == 1);
    drop(watch);
    check_whole(&store);
}

#[test]
fn a_folder_that_is_ingested_or_forgotten_later_is_watched_from_then_on_or_no_more() {
    let house = House::new();
    let store = Arc::new(house.open());
    let (watch, _) = start_on_nothing(&store);
    house.write("a.txt", "alpha");
    house.ingest(&store);
    house.write("b.txt", "beta");
    wait("a new file of a new folder", || !find(&store, "beta").is_empty());
    store.forget_folder(&house.documents).unwrap();
    std::thread::sleep(Duration::from_millis(1_200));
    house.write("c.txt", "gamma");
    std::thread::sleep(Duration::from_millis(200));
    assert!(find(&store, "gamma").is_empty());
    drop(watch);
}

fn start_on_nothing(store: &Arc<Store>) -> (Watch, Arc<AtomicUsize>) {
    let n = Arc::new(AtomicUsize::new(0));
    let (held, counted) = (Arc::clone(store), Arc::clone(&n));
    let follow = Box::new(move |changes: Vec<PathBuf>| {
        counted.fetch_add(1, Relaxed);
        held.follow(&changes, Duration::from_millis(40), &mut |_| Go::On)
            .ok()
    });
    (Watch::start(Arc::clone(store), config(40), follow).unwrap(), n)
}

#[test]
fn a_burst_of_500_files_is_taken_in_whole_in_few_portions() {
    const N: usize = 500;
    let house = House::new();
    house.write("a.txt", "alpha");
    let store = Arc::new(house.open());
    house.ingest(&store);
    let (watch, handed_on) = start(&store, config(150));
    for i in 0..N {
        house.write(
            &format!("burst/{}/{i}.txt", i % 7),
            &format!("ship {i} of the fleet"),
        );
    }
    wait("the whole burst", || n_documents(&store) == N + 1);
    drop(watch);
    let n_portions = handed_on.lock().unwrap().len();
    assert!(n_portions < 60, "{n_portions} portions");
    check_whole(&store);
}

#[test]
fn a_file_that_is_being_written_is_read_once_when_it_is_whole() {
    let house = House::new();
    house.write("a.txt", "alpha");
    let store = Arc::new(house.open());
    house.ingest(&store);
    let (watch, handed_on) = start(&store, config(400));
    let path = house.documents.join("slow.txt");
    let mut text = String::new();
    for i in 0..12 {
        text.push_str(&format!("line {i} of a slow letter\n"));
        fs::write(&path, &text).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(find(&store, "slow letter").is_empty(), "read after line {i}");
    }
    wait("the whole letter", || !find(&store, "slow letter").is_empty());
    assert!(find(&store, "slow letter")[0].text.contains("line 11"));
    drop(watch);
    let handed_on = handed_on.lock().unwrap();
    let n_times = handed_on
        .iter()
        .flatten()
        .filter(|changed| **changed == path)
        .count();
    assert_eq!(n_times, 1, "{handed_on:?}");
}

#[test]
fn everything_is_looked_at_now_and_then() {
    let house = House::new();
    house.write("a.txt", "alpha");
    let store = Arc::new(house.open());
    house.ingest(&store);
    let often = WatchConfig {
        every: Duration::from_millis(100),
        ..config(20)
    };
    let (watch, handed_on) = start(&store, often);
    let looks = || {
        let handed_on = handed_on.lock().unwrap();
        handed_on
            .iter()
            .filter(|changes| **changes == store.folders().unwrap())
            .count()
    };
    wait("three looks", || looks() >= 3);
    // A folder that goes away and comes back is watched again.
    let away = house.documents.with_file_name("away");
    fs::rename(&house.documents, &away).unwrap();
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(n_documents(&store), 1);
    fs::rename(&away, &house.documents).unwrap();
    house.write("b.txt", "beta");
    wait("a file of a folder that came back", || {
        !find(&store, "beta").is_empty()
    });
    drop(watch);
}
