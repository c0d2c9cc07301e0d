//! Following changes of remembered folders, and copies of what lies elsewhere.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use stdx::fs;

use super::{House, check_whole, find, ingest, names, seen};
use crate::mirror::{Manifest, Object, folder};
use crate::{Followed, Go, Reader, Store};

fn follow(store: &Store, changes: &[PathBuf]) -> Followed {
    store.follow(changes, Duration::ZERO, &mut |_| Go::On).unwrap()
}

fn counts(followed: &Followed) -> (usize, usize, usize) {
    let report = &followed.report;
    (report.added, report.changed, report.removed)
}

#[test]
fn folders_are_remembered_until_they_are_forgotten_and_single_files_are_not() {
    let house = House::new();
    let file = house.write("a.txt", "alpha");
    let store = house.open();
    ingest(&store, &file);
    assert!(store.folders().unwrap().is_empty());
    house.ingest(&store);
    house.ingest(&store);
    let real = fs::canonicalize(&house.documents).unwrap();
    assert_eq!(store.folders().unwrap(), std::slice::from_ref(&real));
    drop(store);
    let store = house.open();
    assert_eq!(store.folders().unwrap(), [real]);
    assert!(store.forget_folder(&house.documents).unwrap());
    assert!(!store.forget_folder(&house.documents).unwrap());
    assert!(store.folders().unwrap().is_empty());
    assert_eq!(names(&find(&store, "alpha")), ["a.txt"]);
}

#[test]
fn new_changed_moved_and_gone_files_are_followed_and_nothing_else_is_read() {
    let house = House::new();
    let (a, b) = (house.write("a.txt", "alpha"), house.write("sub/b.txt", "beta"));
    house.write("c.txt", "gamma");
    let store = house.open();
    house.ingest(&store);
    let new = house.write("new/d.txt", "delta");
    fs::write(&a, "alpha amended").unwrap();
    // Changed, but nobody says so: it waits for the next look at everything.
    house.write("c.txt", "gamma amended");
    assert_eq!(counts(&follow(&store, &[a.clone(), new])), (1, 1, 0));
    assert!(find(&store, "gamma amended")[0].text == "gamma");
    let moved = house.documents.join("moved.txt");
    fs::rename(&a, &moved).unwrap();
    let followed = follow(&store, &[a, moved]);
    assert_eq!((counts(&followed), followed.report.moved), ((0, 0, 0), 1));
    assert_eq!(names(&find(&store, "alpha amended")), ["moved.txt"]);
    // A whole folder under another name.
    let folders = (b.parent().unwrap().to_owned(), house.documents.join("sub2"));
    fs::rename(&folders.0, &folders.1).unwrap();
    let followed = follow(&store, &[folders.0, folders.1]);
    assert_eq!((counts(&followed), followed.report.moved), ((0, 0, 0), 1));
    assert_eq!(names(&find(&store, "beta")), ["b.txt"]);
    fs::remove_dir_all(house.documents.join("new")).unwrap();
    assert_eq!(counts(&follow(&store, &[house.documents.join("new")])), (0, 0, 1));
    // A folder in place of a file.
    fs::remove_file(house.documents.join("moved.txt")).unwrap();
    house.write("moved.txt/e.txt", "epsilon");
    assert_eq!(
        counts(&follow(&store, &[house.documents.join("moved.txt")])),
        (1, 0, 1)
    );
    assert_eq!(
        counts(&follow(&store, std::slice::from_ref(&house.documents))),
        (0, 1, 0)
    );
    check_whole(&store);
}

#[test]
fn what_is_hidden_linked_or_outside_is_not_followed() {
    let house = House::new();
    house.write("a.txt", "alpha");
    let outside = house.data.with_file_name("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("x.txt"), "xylophone").unwrap();
    let store = house.open();
    house.ingest(&store);
    symlink(&outside, house.documents.join("link")).unwrap();
    let changes = [
        house.write(".hidden/h.txt", "xylophone"),
        house.write(".h.txt", "xylophone"),
        outside.join("x.txt"),
        house.documents.join("link"),
        house.documents.join("link/x.txt"),
        house.data.join("hanok.sqlite"),
    ];
    assert_eq!(counts(&follow(&store, &changes)), (0, 0, 0));
    assert!(find(&store, "xylophone").is_empty());
}

#[test]
fn a_folder_that_is_not_there_loses_nothing() {
    let house = House::new();
    house.write("sub/a.txt", "alpha");
    let store = house.open();
    house.ingest(&store);
    let away = house.documents.with_file_name("away");
    fs::rename(&house.documents, &away).unwrap();
    let followed = follow(&store, &[house.documents.clone(), house.documents.join("sub")]);
    assert_eq!((counts(&followed), followed.report.failed.len()), ((0, 0, 0), 1));
    assert_eq!(names(&find(&store, "alpha")), ["a.txt"]);
    fs::rename(&away, &house.documents).unwrap();
    assert_eq!(
        counts(&follow(&store, std::slice::from_ref(&house.documents))),
        (0, 0, 0)
    );
}

#[test]
fn what_changed_a_moment_ago_is_left_alone_and_named() {
    let house = House::new();
    house.write("a.txt", "alpha");
    // A file that is read in the tick of its last change is read again: let that one pass.
    std::thread::sleep(Duration::from_millis(50));
    let store = house.open();
    house.ingest(&store);
    let fresh = house.write("b.txt", "beta");
    let changes = std::slice::from_ref(&house.documents);
    let followed = store
        .follow(changes, Duration::from_mins(1), &mut |_| Go::On)
        .unwrap();
    assert_eq!((counts(&followed), followed.unsettled), ((0, 0, 0), vec![fresh]));
}

#[test]
fn what_a_folder_states_holds_as_soon_as_it_is_followed() {
    let house = House::new();
    house.write("hr/pay.txt", "payroll");
    let store = house.open();
    house.ingest(&store);
    let visible = || store.view(&Reader::anyone()).unwrap().documents().unwrap().len();
    assert_eq!(visible(), 1);
    let stated = house.write("hr/.hanok-access", "hr\n");
    follow(&store, std::slice::from_ref(&stated));
    assert_eq!(visible(), 0);
    fs::remove_file(&stated).unwrap();
    follow(&store, &[stated]);
    assert_eq!(visible(), 1);
    let rules = format!("[[rule]]\npath = {:?}\ngroups = [\"hr\"]\n", house.documents);
    fs::write(store.dir().join("access.toml"), rules).unwrap();
    follow(&store, &[]);
    assert_eq!(visible(), 0);
}

/// Writes a copy with its line in the manifest, as whoever fetches does.
fn put_copy(store: &Store, file: &str, address: &str, text: &str) {
    let path = folder(store.dir(), "bucket").join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    let mut manifest = Manifest::load(store.dir(), "bucket").unwrap();
    let object = Object {
        key: file.into(),
        address: address.into(),
        etag: None,
        modified: None,
        bytes: text.len() as u64,
    };
    manifest.objects.insert(file.into(), object);
    manifest.save(store.dir(), "bucket").unwrap();
}

#[test]
fn copies_show_their_own_address_obey_the_rules_and_survive_a_move_of_the_data_directory() {
    let house = House::new();
    let store = house.open();
    put_copy(&store, "hr/pay.txt", "s3://bucket/hr/pay.txt", "payroll");
    put_copy(&store, "open.txt", "s3://bucket/open.txt", "opening hours");
    let take_in = |store: &Store| ingest(store, &folder(store.dir(), "bucket"));
    assert_eq!(take_in(&store).added, 2);
    assert_eq!(find(&store, "payroll")[0].path, "s3://bucket/hr/pay.txt");
    assert!(store.folders().unwrap().is_empty());
    let visible = |store: &Store| {
        let documents = store.view(&Reader::anyone()).unwrap().documents().unwrap();
        documents.into_iter().map(|d| d.path).collect::<Vec<_>>()
    };
    let rules = "[[rule]]\npath = \"sources/bucket/hr\"\ngroups = [\"hr\"]\n";
    fs::write(store.dir().join("access.toml"), rules).unwrap();
    take_in(&store);
    assert_eq!(visible(&store), ["s3://bucket/open.txt"]);
    fs::write(folder(store.dir(), "bucket").join(".hanok-access"), "staff\n").unwrap();
    take_in(&store);
    assert!(visible(&store).is_empty());
    drop(store);
    let elsewhere = house.data.with_file_name("elsewhere");
    fs::rename(&house.data, &elsewhere).unwrap();
    let store = Store::open(&elsewhere, crate::Access::Write).unwrap();
    let again = take_in(&store);
    assert_eq!((again.added, again.removed), (0, 0));
    fs::remove_file(folder(store.dir(), "bucket").join("open.txt")).unwrap();
    assert_eq!(take_in(&store).removed, 1);
    assert_eq!(seen(&store).documents().unwrap().len(), 1);
    check_whole(&store);
}
