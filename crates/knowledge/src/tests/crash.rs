//! Killed, stopped at every fail-point, out of room: nothing lost, nothing doubled.

use std::env;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stdx::rng::Rng;

use super::*;
use crate::StoreError;

/// With this set, the test binary is the child that gets killed: the folder that holds `data` and `documents`.
const CHILD: &str = "HANOK_TEST_CHILD";
const N_FILES: usize = 60;
const N_KILLS: usize = 30;

fn child_house() -> Option<(PathBuf, PathBuf)> {
    let home = PathBuf::from(env::var_os(CHILD)?);
    Some((home.join("data"), home.join("documents")))
}

/// Not a test of its own: what the other process does. Without the variable there is nothing to do.
#[test]
fn child_ingests_until_it_is_killed() {
    let Some((data, documents)) = child_house() else {
        return;
    };
    let Ok(store) = Store::open(&data, Access::Write) else {
        return;
    };
    let result = store.ingest(&[documents], &mut |_| Go::On);
    if let Err(error) = result {
        assert!(error.is_no_space(), "{error}");
        let status = seen(&store).status().unwrap();
        assert!(
            status
                .read_only
                .is_some_and(|reason| reason.contains("no room is left"))
        );
        assert!(status.queued > 0);
        assert!(!find(&store, "canary0x").is_empty());
        // Which the parent reads from the exit status.
        panic!("out of room");
    }
}

fn spawn_child(house: &House, limit_kb: Option<u64>) -> Child {
    let program = env::current_exe().unwrap();
    let mut command = match limit_kb {
        None => Command::new(&program),
        Some(kb) => {
            // The signal is ignored, so that the write fails instead of the process.
            let mut command = Command::new("bash");
            command
                .arg("-c")
                .arg(format!("trap '' XFSZ; ulimit -f {kb}; exec \"$@\""))
                .arg("bash")
                .arg(&program);
            command
        }
    };
    command
        .args([
            "--exact",
            "tests::crash::child_ingests_until_it_is_killed",
            "--test-threads=1",
        ])
        .env(CHILD, house.data.parent().unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn write_files(house: &House, generation: usize) {
    for i in 0..N_FILES {
        let body = format!("본문 {i} 세대 {generation} ").repeat(150);
        house.write(
            &format!("{i:03}.txt"),
            &format!("canary{i}x generation{generation}x {body}"),
        );
    }
}

fn check_all(store: &Store, generation: usize) {
    check_whole(store);
    assert_eq!(seen(store).documents().unwrap().len(), N_FILES);
    assert_eq!(seen(store).status().unwrap().queued, 0);
    assert!(store.catalog.marks().unwrap().is_empty());
    for i in 0..N_FILES {
        let hits = seen(store)
            .search(&format!("canary{i}x"), 10, SearchMode::Lexical, None)
            .unwrap();
        assert_eq!(names(&hits), [format!("{i:03}.txt")]);
        assert!(hits[0].text.contains(&format!("generation{generation}x")));
    }
    let n_indexed = seen(store)
        .passage_frequency(&seen(store).terms("세대")[0])
        .unwrap();
    assert!(n_indexed as usize >= seen(store).status().unwrap().passages);
}

#[test]
fn killed_at_any_moment_nothing_is_lost_or_doubled() {
    let house = House::new();
    let mut rng = Rng::new(20_26);
    let mut generation = 0;
    write_files(&house, generation);
    for kill in 0..N_KILLS {
        let mut child = spawn_child(&house, None);
        std::thread::sleep(Duration::from_millis(5 + rng.below(400)));
        let _ = child.kill();
        child.wait().unwrap();
        // Readers are never disturbed by what was cut off.
        if let Ok(reader) = Store::open(&house.data, Access::Read) {
            check_whole(&reader);
            find(&reader, "canary1x");
        }
        if kill % 6 == 5 {
            let store = house.open();
            house.ingest(&store);
            check_all(&store, generation);
            drop(store);
            generation += 1;
            write_files(&house, generation);
        }
    }
    let store = house.open();
    house.ingest(&store);
    check_all(&store, generation);
}

#[test]
fn stopped_at_any_fail_point_nothing_is_lost_or_doubled() {
    let points = [
        "files queued",
        "document committed",
        "index added",
        "index committed",
        "marks cleared",
        "documents erased",
    ];
    for point in points {
        for nth in [1, 2, 5] {
            let house = House::new();
            house.write("old.txt", "oldest canary");
            drop({
                let store = house.open();
                house.ingest(&store);
                store
            });
            for i in 0..8 {
                house.write(&format!("{i}.txt"), &format!("canary{i}x"));
            }
            fs::remove_file(house.documents.join("old.txt")).unwrap();
            let store = house.open();
            *crate::store::held(&store.fail_at) = Some((point, nth));
            let stopped = store.ingest(std::slice::from_ref(&house.documents), &mut |_| Go::On);
            if let Err(error) = &stopped {
                assert!(matches!(error, StoreError::FailPoint(_)), "{error}");
            }
            drop(store);
            let store = house.open();
            house.ingest(&store);
            check_whole(&store);
            assert_eq!(seen(&store).documents().unwrap().len(), 8, "{point} {nth}");
            assert!(find(&store, "oldest").is_empty(), "{point} {nth}");
            for i in 0..8 {
                assert_eq!(
                    names(&find(&store, &format!("canary{i}x"))),
                    [format!("{i}.txt")],
                    "{point} {nth}"
                );
            }
        }
    }
}

#[test]
fn an_upload_cut_off_after_it_was_queued_is_taken_in_later() {
    let house = House::new();
    let store = house.open();
    *crate::store::held(&store.fail_at) = Some(("upload queued", 1));
    store.ingest_upload("a.txt", b"uploaded canary").unwrap_err();
    drop(store);
    let store = house.open();
    assert_eq!(seen(&store).status().unwrap().queued, 1);
    assert_eq!(store.resume(&mut |_| Go::On).unwrap().added, 1);
    assert_eq!(names(&find(&store, "canary")), ["a.txt"]);
}

#[test]
fn out_of_room_questions_go_on_and_the_rest_waits() {
    let house = House::new();
    write_files(&house, 0);
    // One file is in, so that there is something to ask.
    let store = house.open();
    ingest(&store, &house.documents.join("000.txt"));
    drop(store);
    let mut ran_out = 0;
    for limit_kb in [160, 256, 400, 640] {
        let status = spawn_child(&house, Some(limit_kb)).wait().unwrap();
        ran_out += usize::from(!status.success());
        let reader = Store::open(&house.data, Access::Read).unwrap();
        check_whole(&reader);
        assert_eq!(names(&find(&reader, "canary0x")), ["000.txt"]);
    }
    assert!(ran_out > 0, "no limit was reached");
    let store = house.open();
    store.resume(&mut |_| Go::On).unwrap();
    house.ingest(&store);
    check_all(&store, 0);
    assert_eq!(seen(&store).status().unwrap().read_only, None);
}

#[test]
fn another_process_writes_while_this_one_reads() {
    let house = House::new();
    write_files(&house, 0);
    drop(house.open());
    let reader = Store::open(&house.data, Access::Read).unwrap();
    let mut child = spawn_child(&house, None);
    let mut seen = 0;
    while child.try_wait().unwrap().is_none() {
        let now = find(&reader, "본문").len();
        assert!(now >= seen, "documents vanished: {seen}, then {now}");
        seen = now;
    }
    assert!(child.wait().unwrap().success());
    check_all(&reader, 0);
}
