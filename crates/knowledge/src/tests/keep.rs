//! Backups and the comparison of everything with everything.

use rusqlite::Connection;

use super::*;
use crate::StoreError;
use crate::checksum::{self, Summed};
use crate::quality::{Refusals, RefusedQuestion};
use crate::read::tests::made::{HELVETICA, lines, pdf_pages};

fn filled(house: &House) -> Store {
    house.write("a.txt", "등불은 처마 밑에 걸려 있다.");
    house.write("b/b.txt", "The gate is locked at nine.");
    let store = house.open();
    house.ingest(&store);
    store
        .ingest_upload("note.txt", "연못의 물은 맑다.".as_bytes())
        .unwrap();
    store
}

#[test]
fn a_backup_is_whole_and_makes_the_same_store() {
    let house = House::new();
    let store = filled(&house);
    let to = house.data.with_file_name("backup");
    let made = store.backup(&to).unwrap();
    assert_eq!(made.files.len(), 2);
    assert!(matches!(store.backup(&to), Err(StoreError::BackupExists { .. })));
    // What comes later is not in it.
    house.write("c.txt", "later");
    house.ingest(&store);
    let fresh = house.data.with_file_name("fresh");
    Store::restore(&to, &fresh).unwrap();
    let restored = Store::open(&fresh, Access::Write).unwrap();
    assert_eq!(seen(&restored).documents().unwrap().len(), 3);
    assert_eq!(names(&find(&restored, "등불")), ["a.txt"]);
    assert!(restored.verify(false).unwrap().is_sound());
    assert!(matches!(
        Store::restore(&to, &fresh),
        Err(StoreError::NotEmpty { .. })
    ));
}

#[test]
fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let house = House::new();
    let store = filled(&house);
    let to = house.data.with_file_name("backup");
    store.backup(&to).unwrap();
    let fresh = house.data.with_file_name("fresh");
    let upload = to.join("uploads/note.txt");
    let whole = fs::read(&upload).unwrap();
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    for bytes in [&flipped[..], &whole[..4]] {
        fs::write(&upload, bytes).unwrap();
        assert!(matches!(
            Store::restore(&to, &fresh),
            Err(StoreError::BadBackup { .. })
        ));
        assert!(fs::metadata(&fresh).is_err());
    }
    fs::write(&upload, &whole).unwrap();
    let list = fs::read_to_string(to.join("backup.json")).unwrap();
    for (from, bad) in [
        ("uploads/note.txt", "../note.txt"),
        ("uploads/note.txt", "/etc/passwd"),
        ("\"schema\": 1", "\"schema\": 9"),
    ] {
        fs::write(to.join("backup.json"), list.replacen(from, bad, 1)).unwrap();
        assert!(
            matches!(Store::restore(&to, &fresh), Err(StoreError::BadBackup { .. })),
            "{bad}"
        );
    }
}

#[test]
fn differences_of_the_index_are_found_and_mended() {
    let house = House::new();
    let store = filled(&house);
    assert!(store.verify(false).unwrap().is_sound());
    drop(store);
    // Somebody changes the catalog behind the index's back.
    let connection = Connection::open(house.data.join("hanok.sqlite")).unwrap();
    checksum::register(&connection).unwrap();
    let changes = [
        "INSERT INTO audiences (groups) VALUES ('[[\"x\"]]')",
        "UPDATE meta SET value = value + 1 WHERE key = 'audiences'",
        "UPDATE documents SET audience_id = (SELECT max(audience_id) FROM audiences) WHERE path LIKE '%a.txt'",
    ];
    for change in changes {
        connection.execute(change, []).unwrap();
    }
    for table in Summed::ALL {
        connection.execute(&table.seal("true"), []).unwrap();
    }
    drop(connection);
    let store = house.open();
    let found = store.verify(false).unwrap();
    assert_eq!(
        (found.index_differs, found.n_faults, found.is_sound()),
        (1, 0, false)
    );
    let mended = store.verify(true).unwrap();
    assert!(mended.mended && mended.is_sound());
    assert_eq!(store.verify(false).unwrap().index_differs, 0);
    assert_eq!(names(&find(&store, "등불")), ["a.txt"]);
    // And ingest goes on with the new index.
    house.write("d.txt", "돌담 옆의 소나무");
    house.ingest(&store);
    assert_eq!(names(&find(&store, "소나무")), ["d.txt"]);
}

#[test]
fn what_is_wrong_in_itself_is_named_and_read_again() {
    for change in [
        "UPDATE passages SET start_char = start_char + 1 WHERE text LIKE 'The gate%'",
        "UPDATE passages SET text = 'The gate is locked at ten.' WHERE text LIKE 'The gate%'",
        "UPDATE versions SET text = replace(text, 'nine', 'five')",
        "DELETE FROM passages WHERE text LIKE 'The gate%'",
        "UPDATE documents SET title = 'another' WHERE path LIKE '%b.txt'",
    ] {
        let house = House::new();
        drop(filled(&house));
        let connection = Connection::open(house.data.join("hanok.sqlite")).unwrap();
        assert!(connection.execute(change, []).unwrap() > 0, "{change}");
        drop(connection);
        let store = house.open();
        let view = seen(&store);
        // Never a wrong answer: what is damaged is not shown.
        let answer = view.search("gate locked", 5, SearchMode::Lexical, None);
        if let Ok(hits) = answer {
            assert!(
                hits.iter()
                    .all(|hit| hit.text == "The gate is locked at nine." && hit.title == "b"),
                "{change}"
            );
            assert!(!hits.is_empty(), "{change}");
        }
        let report = store.verify(true).unwrap();
        assert!(report.n_faults > 0 && !report.is_sound(), "{change}");
        assert!(
            report.faults.iter().any(|fault| fault.contains("b.txt")),
            "{change}: {:?}",
            report.faults
        );
        assert!(report.requeued > 0);
        // The documents are where they were: read again, all is well.
        store.resume(&mut |_| Go::On).unwrap();
        let report = store.verify(false).unwrap();
        assert!(report.is_sound(), "{change}: {report:?}");
        let hits = find(&store, "gate locked");
        assert_eq!(
            (names(&hits), hits[0].text.as_str()),
            (vec!["b.txt".to_owned()], "The gate is locked at nine.")
        );
    }
}

#[test]
fn a_kept_upload_that_changed_is_named() {
    let house = House::new();
    drop(filled(&house));
    fs::write(house.data.join("uploads/note.txt"), "another text").unwrap();
    let report = house.open().verify(false).unwrap();
    assert!(
        report.n_faults == 1 && report.faults[0].contains("note.txt"),
        "{:?}",
        report.faults
    );
}

/// A store with something in every table whose rows are only shown beside answers.
fn with_everything_beside(house: &House) -> Store {
    let pages = [lines(12, 700, &["The mill was closed in spring."])];
    let pdf = pdf_pages(&pages, &[HELVETICA.to_owned()], &[], "");
    fs::write(house.documents.join("mill.pdf"), pdf).unwrap();
    house.write(
        "rule.md",
        "---\nvalid_until: 2090-12-31\n---\n# Rule\n\nThe pond is closed.",
    );
    fs::write(house.documents.join("noise.bin"), [0, 159, 146, 150, 255, 0, 7]).unwrap();
    let store = house.open();
    store.remember_refusals(Refusals::Questions).unwrap();
    house.ingest(&store);
    let refused = RefusedQuestion {
        question: "Where is the orchard?",
        missing: &["orchard".to_owned()],
        nearest: &[],
        reader: &Reader::of(["garden"]),
    };
    store.note_refusal(&refused).unwrap();
    let entry = crate::catalog::QueueEntry {
        path_bytes: b"/poison.html".to_vec(),
        origin: crate::catalog::Origin::File,
        file_bytes: 1,
    };
    let stat = crate::catalog::Stat {
        bytes: 1,
        mtime_ns: 0,
        ctime_ns: 0,
        device: 0,
    };
    for _ in 0..3 {
        store
            .files()
            .write(|store, writer| {
                let connection = writer.connect(&store.catalog)?;
                store.catalog.put_aside(connection, &entry, "v", stat, "it dies")
            })
            .unwrap();
    }
    assert!(store.verify(false).unwrap().is_sound());
    store
}

#[test]
fn damage_of_what_stands_beside_the_answers_is_found_and_mended() {
    for (change, named) in [
        ("UPDATE page_words SET width = width + 1", "mill.pdf"),
        ("UPDATE page_words SET words = zeroblob(3)", "mill.pdf"),
        (
            "UPDATE documents SET stated = replace(stated, '2090', '2019') WHERE path LIKE '%rule.md'",
            "rule.md",
        ),
        (
            "UPDATE failures SET audience_id = audience_id + 1",
            "files that failed",
        ),
        ("UPDATE failures SET reason = 'another'", "files that failed"),
        ("UPDATE refusals SET groups = '*'", "refused questions"),
        ("UPDATE set_aside SET tries = 1", "files set aside"),
    ] {
        let house = House::new();
        drop(with_everything_beside(&house));
        let connection = Connection::open(house.data.join("hanok.sqlite")).unwrap();
        assert!(connection.execute(change, []).unwrap() > 0, "{change}");
        drop(connection);
        let store = house.open();
        let report = store.verify(false).unwrap();
        assert!(!report.is_sound(), "{change}");
        assert!(
            report.faults.iter().any(|fault| fault.contains(named)),
            "{change}: {:?}",
            report.faults
        );
        // What it says is not believed.
        let everyone = store
            .files()
            .catalog
            .audiences_on(&Reader::keeper(), None)
            .unwrap();
        let is_of = |table: &str| change.starts_with(&format!("UPDATE {table} "));
        assert_eq!(
            store.files().catalog.failures(&everyone).unwrap().is_empty(),
            is_of("failures")
        );
        assert_eq!(
            store.files().catalog.refusals().unwrap().is_empty(),
            is_of("refusals")
        );
        assert_eq!(
            store.files().catalog.all_aside(3).unwrap().is_empty(),
            is_of("set_aside")
        );
        store.verify(true).unwrap();
        house.ingest(&store);
        let report = store.verify(false).unwrap();
        assert!(report.is_sound(), "{change}: {report:?}");
        let rule = find(&store, "pond closed").swap_remove(0);
        assert_eq!(rule.validity.until.unwrap().to_string(), "2090-12-31", "{change}");
    }
}

#[test]
fn damage_before_a_change_of_the_layout_is_still_known_after_it() {
    let house = House::new();
    drop(filled(&house));
    let connection = Connection::open(house.data.join("hanok.sqlite")).unwrap();
    checksum::register(&connection).unwrap();
    connection
        .execute("UPDATE versions SET text = replace(text, 'nine', 'five')", [])
        .unwrap();
    let damaged = Summed::Versions.damaged_before(&connection).unwrap();
    assert_eq!(damaged.len(), 1);
    connection.execute(&Summed::Versions.seal("true"), []).unwrap();
    assert!(Summed::Versions.damaged_before(&connection).unwrap().is_empty());
    Summed::Versions.spoil(&connection, &damaged).unwrap();
    drop(connection);
    let report = house.open().verify(false).unwrap();
    assert!(
        report.faults.iter().any(|fault| fault.contains("b.txt")),
        "{report:?}"
    );
}
