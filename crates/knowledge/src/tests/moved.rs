//! Files that were moved keep the ids of their documents, where it is certain that they were.

use std::time::Duration;

use super::*;
use crate::access::FOLDER_FILE;

fn id_of(store: &Store, question: &str) -> String {
    find(store, question).swap_remove(0).document_id
}

fn moved(report: &IngestReport) -> (usize, usize, usize, usize) {
    (report.added, report.changed, report.removed, report.moved)
}

#[test]
fn a_file_that_was_moved_keeps_its_id_and_is_known_by_its_new_name() {
    let house = House::new();
    let old = house.write("lantern.txt", "the lantern hangs under the eaves");
    house.write("other.txt", "another text");
    let store = house.open();
    house.ingest(&store);
    let before = find(&store, "lantern eaves").swap_remove(0);
    let new = house.documents.join("deep/lamp.txt");
    fs::create_dir_all(new.parent().unwrap()).unwrap();
    fs::rename(&old, &new).unwrap();
    assert_eq!(moved(&house.ingest(&store)), (0, 0, 0, 1));
    let after = find(&store, "lantern eaves").swap_remove(0);
    assert_eq!(
        (&after.document_id, &after.version),
        (&before.document_id, &before.version)
    );
    assert_eq!(after.title, "lamp");
    assert!(after.path.ends_with("deep/lamp.txt"));
    // A link to the quote is still good.
    let span = seen(&store).span(
        &before.document_id,
        Some(&before.version),
        before.start..before.end,
    );
    assert_eq!(span.unwrap().as_deref(), Some(before.text.as_str()));
    // What comes to lie in its old place is another document.
    house.write("lantern.txt", "a new lantern of glass");
    assert_eq!(moved(&house.ingest(&store)), (1, 0, 0, 0));
    assert_ne!(id_of(&store, "glass"), before.document_id);
    assert_eq!(id_of(&store, "eaves"), before.document_id);
    assert_eq!(moved(&house.ingest(&store)), (0, 0, 0, 0));
    house.write("lantern.txt", "a new lantern of paper");
    assert_eq!(moved(&house.ingest(&store)), (0, 1, 0, 0));
    check_whole(&store);
    assert!(store.verify(false).unwrap().is_sound());
    // And back again.
    fs::remove_file(&old).unwrap();
    house.ingest(&store);
    fs::rename(&new, &old).unwrap();
    assert_eq!(moved(&house.ingest(&store)), (0, 0, 0, 1));
    assert_eq!(id_of(&store, "eaves"), before.document_id);
}

#[test]
fn a_folder_under_another_name_keeps_all_ids() {
    let house = House::new();
    for i in 0..5 {
        house.write(&format!("old/{i}.txt"), &format!("canary{i}x"));
    }
    let store = house.open();
    house.ingest(&store);
    let ids =
        |store: &Store| -> Vec<String> { (0..5).map(|i| id_of(store, &format!("canary{i}x"))).collect() };
    let before = ids(&store);
    fs::rename(house.documents.join("old"), house.documents.join("new")).unwrap();
    assert_eq!(moved(&house.ingest(&store)), (0, 0, 0, 5));
    assert_eq!(ids(&store), before);
}

#[test]
fn what_is_not_certain_is_another_document() {
    let house = House::new();
    house.write("a.txt", "the same words");
    house.write("b.txt", "the same words");
    house.write("c.txt", "changed while it was moved");
    house.write("d.txt", "copied and then removed");
    house.write("e.txt", "copied and then removed");
    let store = house.open();
    house.ingest(&store);
    let place = |name: &str| house.documents.join(name);
    // Two of one content: which of them went where?
    fs::rename(place("a.txt"), place("a2.txt")).unwrap();
    fs::rename(place("b.txt"), place("b2.txt")).unwrap();
    fs::remove_file(place("c.txt")).unwrap();
    house.write("c2.txt", "changed while it was movéd");
    // Its twin is still there: this may be a new copy of that one.
    fs::rename(place("d.txt"), place("d2.txt")).unwrap();
    assert_eq!(moved(&house.ingest(&store)), (4, 0, 4, 0));
    // One goes, two come.
    house.write("f.txt", "one becomes two");
    house.ingest(&store);
    fs::rename(place("f.txt"), place("f1.txt")).unwrap();
    house.write("f2.txt", "one becomes two");
    assert_eq!(moved(&house.ingest(&store)), (2, 0, 1, 0));
    assert!(store.verify(false).unwrap().is_sound());
}

#[test]
fn whoever_may_not_read_the_new_folder_does_not_see_the_document_there() {
    let house = House::new();
    house.write("hr/.keep", "");
    house.write(&format!("hr/{FOLDER_FILE}"), "hr");
    let old = house.write("open.txt", "the payroll is large");
    let store = house.open();
    house.ingest(&store);
    let id = id_of(&store, "payroll");
    let anyone = Reader::anyone();
    assert_eq!(store.view(&anyone).unwrap().documents().unwrap().len(), 1);
    fs::rename(&old, house.documents.join("hr/secret name.txt")).unwrap();
    // Also when it is stopped before the file is read again.
    let report = store
        .ingest(std::slice::from_ref(&house.documents), &mut |_| Go::Stop)
        .unwrap();
    assert_eq!(moved(&report), (0, 0, 0, 0));
    for _ in 0..2 {
        let view = store.view(&anyone).unwrap();
        assert!(view.documents().unwrap().is_empty());
        assert!(view.document(&id, None).unwrap().is_none());
        let hits = view.search("payroll", 5, SearchMode::Lexical, None).unwrap();
        assert!(hits.is_empty());
        house.ingest(&store);
    }
    assert_eq!(id_of(&store, "payroll"), id);
}

#[test]
fn a_watched_file_that_moves_is_waited_for() {
    let house = House::new();
    let old = house.write("a.txt", "the lantern hangs under the eaves");
    let gone = house.write("b.txt", "short");
    let store = house.open();
    house.ingest(&store);
    let id = id_of(&store, "lantern");
    let new = house.documents.join("c.txt");
    fs::rename(&old, &new).unwrap();
    fs::remove_file(&gone).unwrap();
    let changes = [old.clone(), new.clone(), gone];
    let follow = |changes: &[PathBuf], rest| store.follow(changes, rest, &mut |_| Go::On).unwrap();
    let first = follow(&changes, Duration::from_secs(60));
    assert_eq!(
        moved(&first.report),
        (0, 0, 1, 0),
        "what no new file can be is gone at once"
    );
    assert_eq!(first.unsettled, [new, old]);
    assert_eq!(id_of(&store, "lantern"), id);
    let second = follow(&first.unsettled, Duration::ZERO);
    assert_eq!(moved(&second.report), (0, 0, 0, 1));
    assert!(second.unsettled.is_empty());
    assert_eq!(id_of(&store, "lantern"), id);
}
