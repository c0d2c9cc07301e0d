//! What an ingest reports: added, changed, unchanged, removed, failed.

use std::os::unix::fs::symlink;

use super::*;
use crate::{IngestEvent, StoreError};

fn counts(report: &IngestReport) -> (usize, usize, usize, usize, usize) {
    (
        report.added,
        report.changed,
        report.unchanged,
        report.removed,
        report.failed.len(),
    )
}

#[test]
fn tells_new_changed_unchanged_and_removed_files_apart() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "알파 문서입니다.");
    let b = house.write("sub/b.txt", "베타 문서입니다.");
    assert_eq!(counts(&house.ingest(&store)), (2, 0, 0, 0, 0));
    assert_eq!(counts(&house.ingest(&store)), (0, 0, 2, 0, 0));
    house.write("a.txt", "감마 문서로 바뀌었습니다.");
    house.write("c.txt", "델타 문서입니다.");
    fs::remove_file(&b).unwrap();
    assert_eq!(counts(&house.ingest(&store)), (1, 1, 0, 1, 0));
    assert!(find(&store, "베타").is_empty());
    assert_eq!(names(&find(&store, "감마")), ["a.txt"]);
    check_whole(&store);
}

#[test]
fn a_touched_file_with_the_same_bytes_is_unchanged() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "same bytes");
    house.ingest(&store);
    house.write("a.txt", "same bytes");
    assert_eq!(counts(&house.ingest(&store)), (0, 0, 1, 0, 0));
}

#[test]
fn a_rewrite_of_the_same_length_is_seen_at_once() {
    let house = House::new();
    let store = house.open();
    for text in ["aaaa first", "bbbb other", "cccc third"] {
        house.write("a.txt", text);
        house.ingest(&store);
        assert_eq!(find(&store, &text[..4]).len(), 1, "{text}");
    }
}

#[test]
fn ingesting_one_folder_leaves_others_alone() {
    let house = House::new();
    let store = house.open();
    house.write("one/a.txt", "eins");
    house.write("one-more/b.txt", "zwei");
    house.ingest(&store);
    fs::remove_file(house.documents.join("one-more/b.txt")).unwrap();
    let report = ingest(&store, &house.documents.join("one"));
    assert_eq!(counts(&report), (0, 0, 1, 0, 0));
    assert_eq!(seen(&store).documents().unwrap().len(), 2);
}

#[test]
fn a_path_that_does_not_exist_is_reported_and_removes_nothing() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "text");
    house.ingest(&store);
    fs::rename(&house.documents, house.documents.with_extension("away")).unwrap();
    let report = house.ingest(&store);
    assert_eq!(counts(&report), (0, 0, 0, 0, 1));
    assert!(
        report.failed[0].reason.contains("no such file"),
        "{:?}",
        report.failed
    );
    assert_eq!(seen(&store).documents().unwrap().len(), 1);
}

#[test]
fn a_file_in_place_of_a_folder_removes_nothing_silently() {
    let house = House::new();
    let store = house.open();
    house.write("sub/a.txt", "inside");
    house.ingest(&store);
    let sub = house.documents.join("sub");
    fs::rename(&sub, house.documents.with_extension("moved")).unwrap();
    fs::write(&sub, "a file now").unwrap();
    let report = ingest(&store, &sub);
    // The file itself is taken in or refused by its format; the folder's documents stay.
    assert_eq!(report.removed, 0);
    assert!(
        seen(&store)
            .documents()
            .unwrap()
            .iter()
            .any(|d| d.path.ends_with("sub/a.txt"))
    );
}

#[test]
fn hidden_files_and_links_are_not_followed() {
    let house = House::new();
    let store = house.open();
    house.write(".hidden.txt", "secret");
    house.write(".git/config", "secret");
    house.write("a.txt", "open");
    symlink(&house.documents, house.documents.join("loop")).unwrap();
    let report = house.ingest(&store);
    assert_eq!(counts(&report), (1, 0, 0, 0, 1));
    assert!(report.failed[0].path.ends_with("loop"), "{:?}", report.failed);
}

#[test]
fn the_data_directory_is_never_taken_in() {
    let house = House::new();
    let store = Store::open(&house.documents.join("data"), Access::Write).unwrap();
    house.write("a.txt", "text");
    assert_eq!(counts(&house.ingest(&store)), (1, 0, 0, 0, 0));
    // A file in it that was named is not gone when the folder above is ingested.
    let kept = house.write("data/uploads/b.txt", "uploaded");
    assert_eq!(counts(&ingest(&store, &kept)), (1, 0, 0, 0, 0));
    assert_eq!(counts(&house.ingest(&store)), (0, 0, 1, 0, 0));
    assert_eq!(seen(&store).documents().unwrap().len(), 2);
}

#[test]
fn old_versions_stay_readable_but_are_not_found() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "옛날 문장입니다.");
    house.ingest(&store);
    let old = seen(&store).documents().unwrap().remove(0);
    house.write("a.txt", "새로운 글입니다.");
    house.ingest(&store);
    let new = seen(&store).documents().unwrap().remove(0);
    assert_eq!(new.document_id, old.document_id);
    assert_ne!(new.version, old.version);
    let text = seen(&store)
        .document(&old.document_id, Some(&old.version))
        .unwrap()
        .unwrap();
    assert!(text.text.contains("옛날 문장입니다."));
    assert_eq!(
        seen(&store)
            .span(&old.document_id, Some(&old.version), 0..2)
            .unwrap()
            .as_deref(),
        Some("옛날")
    );
    assert!(find(&store, "옛날").is_empty());
    assert!(store.remove(&old.document_id).unwrap());
    assert_eq!(
        seen(&store)
            .document(&old.document_id, Some(&old.version))
            .unwrap(),
        None
    );
    assert!(!store.remove(&old.document_id).unwrap());
}

#[test]
fn a_span_outside_the_text_is_refused() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "짧다");
    house.ingest(&store);
    let id = seen(&store).documents().unwrap().remove(0).document_id;
    let n_chars = seen(&store)
        .document(&id, None)
        .unwrap()
        .unwrap()
        .text
        .chars()
        .count();
    assert!(matches!(
        seen(&store).span(&id, None, 0..n_chars + 1),
        Err(StoreError::BadSpan { .. })
    ));
    assert_eq!(seen(&store).span("dno", None, 0..1).unwrap(), None);
}

#[test]
fn uploads_are_kept_by_name_and_removed_with_their_file() {
    let house = House::new();
    let store = house.open();
    let report = store
        .ingest_upload("보고서.txt", "업로드한 보고서".as_bytes())
        .unwrap();
    assert_eq!(counts(&report), (1, 0, 0, 0, 0));
    let report = store
        .ingest_upload("보고서.txt", "고친 보고서".as_bytes())
        .unwrap();
    assert_eq!(counts(&report), (0, 1, 0, 0, 0));
    assert_eq!(names(&find(&store, "보고서를")), ["보고서.txt"]);
    assert!(house.data.join("uploads/보고서.txt").is_file());
    assert!(store.remove(&Store::upload_id("보고서.txt")).unwrap());
    assert!(!house.data.join("uploads/보고서.txt").exists());
    for name in ["", "../x", "a/b", ".x", &"x".repeat(300)] {
        assert!(
            store.ingest_upload(name, b"x").unwrap_err().is_bad_input(),
            "{name}"
        );
    }
}

#[test]
fn a_folder_is_removed_by_its_path() {
    let house = House::new();
    let store = house.open();
    house.write("x/a.txt", "하나");
    house.write("x/b.txt", "둘째");
    house.write("c.txt", "셋째");
    house.ingest(&store);
    assert_eq!(store.remove_path(&house.documents.join("x")).unwrap(), 2);
    assert_eq!(names(&find(&store, "셋째 하나 둘째")), ["c.txt"]);
}

#[test]
fn a_stopped_ingest_goes_on_with_resume() {
    let house = House::new();
    let store = house.open();
    for i in 0..6 {
        house.write(&format!("{i}.txt"), &format!("numero{i}"));
    }
    let mut finished = 0;
    let report = store
        .ingest(std::slice::from_ref(&house.documents), &mut |event| {
            finished += usize::from(matches!(event, IngestEvent::Finished { .. }));
            if finished >= 2 { Go::Stop } else { Go::On }
        })
        .unwrap();
    assert_eq!(report.added, 2);
    assert_eq!(seen(&store).status().unwrap().queued, 4);
    let report = store.resume(&mut |_| Go::On).unwrap();
    assert_eq!(report.added, 4);
    assert_eq!(seen(&store).status().unwrap().queued, 0);
    check_whole(&store);
}

#[test]
fn a_file_over_the_limit_is_refused_without_reading_it() {
    let house = House::new();
    let store = house.open();
    let path = house.write("huge.txt", "");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(crate::read::MAX_FILE_BYTES + 1).unwrap();
    let report = house.ingest(&store);
    assert!(
        report.failed[0].reason.contains("more than the limit"),
        "{:?}",
        report.failed
    );
}

#[test]
fn a_second_writer_is_told_who_the_first_is() {
    let house = House::new();
    let store = house.open();
    store.describe_holder("{\"pid\":42}").unwrap();
    let error = Store::open(&house.data, Access::Write).err().unwrap();
    assert!(error.is_held() && error.is_environment());
    assert!(error.to_string().contains("{\"pid\":42}"), "{error}");
    // Readers are welcome.
    Store::open(&house.data, Access::Read).unwrap();
}

#[test]
fn reading_where_nothing_is_says_so() {
    let house = House::new();
    let error = Store::open(&house.data, Access::Read).err().unwrap();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    assert!(!house.data.exists());
}

#[test]
fn a_store_open_for_reading_refuses_to_write() {
    let house = House::new();
    drop(house.open());
    let store = Store::open(&house.data, Access::Read).unwrap();
    let error = store
        .ingest(std::slice::from_ref(&house.documents), &mut |_| Go::On)
        .unwrap_err();
    assert!(matches!(error, StoreError::OpenForReading { .. }), "{error}");
}

#[test]
fn a_store_of_the_second_layout_is_brought_up_to_date_and_asked_when_its_documents_hold() {
    let house = House::new();
    copy_layout("schema-2", &house);
    let refused = Store::open(&house.data, Access::Read).map(drop);
    assert!(matches!(refused, Err(StoreError::OlderSchema { found: 2, .. })));
    let store = house.open();
    assert_eq!(names(&find(&store, "leave counted")), ["leave.md"]);
    let n = |reader: &Reader| store.view(reader).unwrap().documents().unwrap().len();
    // Its readers are whom they were.
    assert_eq!((n(&Reader::anyone()), n(&Reader::of(["hr"]))), (2, 3));
    store.resume(&mut |_| Go::On).unwrap();
    assert_eq!((n(&Reader::anyone()), n(&Reader::of(["hr"]))), (2, 3));
    let from: Vec<_> = seen(&store)
        .documents()
        .unwrap()
        .iter()
        .map(|d| d.validity.from)
        .collect();
    assert_eq!(
        from,
        [crate::Date::new(2021, 1, 1), None, crate::Date::new(2020, 3, 1)]
    );
    assert!(store.verify(false).unwrap().is_sound());
}

/// Puts a data directory that an earlier version wrote in place of a house's.
fn copy_layout(name: &str, house: &House) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    fs::create_dir_all(house.data.join("lexical")).unwrap();
    for folder in ["", "lexical"] {
        for file in fs::read_dir(from.join(folder)).unwrap() {
            if fs::metadata(&file).unwrap().is_file() {
                let to = house.data.join(folder).join(file.file_name().unwrap());
                fs::write(&to, fs::read(&file).unwrap()).unwrap();
            }
        }
    }
}

#[test]
fn a_store_of_the_first_layout_is_brought_up_to_date() {
    let house = House::new();
    copy_layout("schema-1", &house);
    let refused = Store::open(&house.data, Access::Read).map(drop);
    assert!(matches!(refused, Err(StoreError::OlderSchema { found: 1, .. })));
    let store = house.open();
    assert_eq!(names(&find(&store, "leave days")), ["leave.md"]);
    assert_eq!(names(&find(&store, "계약 기간")), ["contract.txt"]);
    // What was there before is for everyone, as it was.
    assert_eq!(
        store.view(&Reader::anyone()).unwrap().documents().unwrap().len(),
        2
    );
    assert!(fs::metadata(house.data.join("hanok.v1.backup")).is_ok());
    drop(store);
    assert!(Store::open(&house.data, Access::Read).is_ok());
}
