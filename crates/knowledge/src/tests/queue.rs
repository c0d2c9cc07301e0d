//! What becomes of each file: tried again, set aside, refused by name; and no other file is harmed.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use testkit::log;

use super::*;
use crate::attempt::CLOCK_TICK_NS;
use crate::read::Limits;
use crate::read::tests::made::{HELVETICA, lines, pdf_pages};
use crate::{FileOutcome, IngestEvent, ReadOptions, Stage};

/// What happened to each file of an ingest: its name, outcome, stage and reason.
fn told(store: &Store, path: &Path) -> Vec<(String, FileOutcome, Stage, Option<String>)> {
    let mut told = Vec::new();
    let on_event = &mut |event| {
        if let IngestEvent::Finished {
            path,
            failed,
            details,
            ..
        } = event
        {
            let name = path.rsplit('/').next().unwrap().to_owned();
            told.push((name, details.outcome, details.stage, failed));
        }
        Go::On
    };
    store.ingest(&[path.to_owned()], on_event).unwrap();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}

/// A program that stands in for the reader of hostile formats.
fn reader(house: &House, script: &str) -> ReadOptions {
    let path = house.data.with_file_name("reader.sh");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    ReadOptions {
        worker_exe: Some(path),
        limits: Limits::default(),
        ..ReadOptions::default()
    }
}

/// An answer of the reader.
const ANSWER: &str = r#"cat > /dev/null; echo '{"Ok":{"format":"Html","title":null,"blocks":[{"kind":"Paragraph","text":"legible at last","page":null}],"n_pages":null,"warnings":[]}}'"#;

#[test]
fn a_file_that_the_reader_dies_of_is_set_aside_until_it_changes() {
    let house = House::new();
    let store = house.open();
    house.write("poison.html", "<html><p>poison");
    house.write("good.txt", "unharmed");
    // Younger, the file's time stamp would not be trusted, and it would be opened to be known again.
    std::thread::sleep(Duration::from_nanos(CLOCK_TICK_NS as u64));
    store.configure(reader(&house, "exit 1"));
    for attempt in 1..=3 {
        let told = told(&store, &house.documents);
        let (_, outcome, stage, reason) = &told[1];
        assert_eq!((*outcome, *stage), (FileOutcome::Failed, Stage::Read));
        let reason = reason.as_deref().unwrap();
        assert_eq!(reason.contains("set aside"), attempt == 3, "{reason}");
    }
    assert_eq!(names(&find(&store, "unharmed")), ["good.txt"]);
    store.configure(reader(&house, ANSWER));
    // Not even opened, and still with its reason.
    let now = told(&store, &house.documents);
    assert_eq!((now[1].1, now[1].2), (FileOutcome::SetAside, Stage::Find));
    assert!(
        now[1].3.as_deref().unwrap().contains("the reader failed"),
        "{now:?}"
    );
    let aside = seen(&store).status().unwrap().set_aside;
    assert_eq!((aside.len(), aside[0].tries), (1, 3));
    assert!(aside[0].path.ends_with("poison.html"));
    assert!(
        store
            .view(&Reader::anyone())
            .unwrap()
            .status()
            .unwrap()
            .set_aside
            .is_empty()
    );
    // Touched, it has the same bytes.
    house.write("poison.html", "<html><p>poison");
    assert_eq!(told(&store, &house.documents)[1].1, FileOutcome::SetAside);
    // Changed, it is another file.
    house.write("poison.html", "<html><p>healthy");
    assert_eq!(told(&store, &house.documents)[1].1, FileOutcome::Added);
    assert!(seen(&store).status().unwrap().set_aside.is_empty());
}

#[test]
fn what_was_set_aside_is_tried_again_when_asked_for() {
    let house = House::new();
    let store = house.open();
    house.write("poison.html", "<html><p>poison");
    store.configure(reader(&house, "kill -SEGV $$"));
    for _ in 0..3 {
        house.ingest(&store);
    }
    store.configure(reader(&house, ANSWER));
    assert_eq!(house.ingest(&store).added, 0);
    store.retry_set_aside().unwrap();
    assert_eq!(house.ingest(&store).added, 1);
    assert_eq!(names(&find(&store, "legible")), ["poison.html"]);
}

#[test]
fn what_was_not_read_is_known_to_those_who_may_read_it_and_tried_again_by_itself() {
    let house = House::new();
    let store = house.open();
    house.write("poison.html", "<html><p>poison");
    house.write("other.html", "<html><p>poison too");
    house.write("hr/.hanok-access", "hr");
    house.write("hr/venom.html", "<html><p>venom");
    let half = [lines(12, 700, &["A page with text."]), Vec::new()];
    let scanned = pdf_pages(&half, &[HELVETICA.to_owned()], &[], "");
    store.configure(reader(&house, "exit 1"));
    for _ in 0..3 {
        house.ingest(&store);
    }
    store.configure(ReadOptions::default());
    fs::write(house.documents.join("hr/scanned.pdf"), &scanned).unwrap();
    house.ingest(&store);
    let unread = |reader: &Reader| store.view(reader).unwrap().unread().unwrap();
    let names = |reader: &Reader| -> Vec<String> {
        let name = |u: &crate::Unread| u.path.rsplit('/').next().unwrap().to_owned();
        unread(reader).iter().map(name).collect()
    };
    assert_eq!(names(&Reader::anyone()), ["other.html", "poison.html"]);
    assert_eq!(
        names(&Reader::of(["hr"])),
        ["scanned.pdf", "venom.html", "other.html", "poison.html"]
    );
    let of_hr = unread(&Reader::of(["hr"]));
    assert_eq!(
        (of_hr[0].pages.as_slice(), of_hr[0].set_aside),
        ([2].as_slice(), false)
    );
    assert!(of_hr[0].document_id.is_some());
    assert!(of_hr[1].set_aside && of_hr[1].reason.contains("set aside after 3 attempts"));
    // One is tried again, the other is not.
    store.configure(reader(&house, ANSWER));
    store.retry(&of_hr[3]).unwrap();
    assert_eq!(house.ingest(&store).added, 1);
    assert_eq!(names(&Reader::anyone()), ["other.html"]);
    // With a text layer the pages are read.
    let whole = [
        lines(12, 700, &["A page with text."]),
        lines(12, 700, &["Another."]),
    ];
    let legible = pdf_pages(&whole, &[HELVETICA.to_owned()], &[], "");
    store.configure(ReadOptions::default());
    fs::write(house.documents.join("hr/scanned.pdf"), legible).unwrap();
    house.ingest(&store);
    assert_eq!(names(&Reader::of(["hr"])), ["venom.html", "other.html"]);
}

#[test]
fn a_file_that_is_still_written_is_read_when_it_is_complete() {
    let house = House::new();
    let store = house.open();
    let growing = house.write("growing.html", "<html><p>half");
    house.write("z.txt", "unharmed");
    let count = house.data.with_file_name("count");
    // It grows under the reader's eyes, three times.
    let script = format!(
        "if [ $(wc -c < {count} || echo 0) -lt 3 ]; then printf x >> {count}; printf more >> {file}; fi; {ANSWER}",
        count = count.display(),
        file = growing.display(),
    );
    fs::write(&count, "").unwrap();
    store.configure(reader(&house, &script));
    let mut waited = 0;
    let report = store
        .ingest(std::slice::from_ref(&house.documents), &mut |event| {
            waited += usize::from(matches!(event, IngestEvent::Waiting { .. }));
            Go::On
        })
        .unwrap();
    assert_eq!((report.added, report.failed.len(), waited), (2, 0, 1));
    assert_eq!(names(&find(&store, "legible")), ["growing.html"]);
}

#[test]
fn a_file_that_never_stands_still_is_named_and_harms_no_other() {
    let house = House::new();
    let store = house.open();
    let growing = house.write("growing.html", "<html><p>half");
    house.write("z.txt", "unharmed");
    store.configure(reader(
        &house,
        &format!("printf more >> {}; {ANSWER}", growing.display()),
    ));
    let told = told(&store, &house.documents);
    assert!(
        told[0].3.as_deref().unwrap().contains("changes while"),
        "{told:?}"
    );
    assert_eq!(told[1].1, FileOutcome::Added);
    assert_eq!(seen(&store).status().unwrap().queued, 0);
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let house = House::new();
    let store = house.open();
    let path = house.write("a.txt", "aaaa first");
    let set = |time: SystemTime| {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
    };
    let day = Duration::from_secs(86_400);
    set(SystemTime::now() + 365 * day);
    assert_eq!(house.ingest(&store).added, 1);
    assert_eq!(house.ingest(&store).unchanged, 1);
    // The same length, and the time set back to long before the last look.
    for (text, time) in [
        ("bbbb other", SystemTime::UNIX_EPOCH),
        ("cccc third", SystemTime::now() + 9 * day),
    ] {
        house.write("a.txt", text);
        set(time);
        assert_eq!(house.ingest(&store).changed, 1, "{text}");
        assert_eq!(names(&find(&store, &text[..4])), ["a.txt"]);
        assert_eq!(house.ingest(&store).unchanged, 1);
    }
    // A time before any that the clock knows.
    set(SystemTime::UNIX_EPOCH - 40_000 * day);
    assert_eq!(house.ingest(&store).unchanged, 1);
    check_whole(&store);
}

/// Everything that is no document, in one folder: each gets a reason of its own, and the one document is taken in.
#[test]
fn whatever_lies_in_a_folder_has_its_reason_and_harms_no_other() {
    let house = House::new();
    let store = house.open();
    house.write("good.txt", "unharmed");
    let at = |name: &str| house.documents.join(name);
    let outside = house.data.with_file_name("outside.txt");
    fs::write(&outside, "outsider").unwrap();
    symlink(&outside, at("link.txt")).unwrap();
    symlink(at("loop-b"), at("loop-a")).unwrap();
    symlink(at("loop-a"), at("loop-b")).unwrap();
    symlink(&house.documents, at("up")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(at("pipe.txt"))
        .status()
        .unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(at("socket.txt")).unwrap();
    house.write("empty.txt", "");
    fs::write(at("noise.bin"), [0, 159, 146, 150, 255, 0, 7]).unwrap();
    let strange = std::ffi::OsStr::from_bytes(b"caf\xe9 \xb0\xa1.txt");
    fs::write(house.documents.join(strange), "strangely named").unwrap();
    let secret = house.write("secret.txt", "forbidden");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    let may_read_all = fs::read(&secret).is_ok();

    let report = house.ingest(&store);
    let reason = |name: &str| {
        let failed = report
            .failed
            .iter()
            .find(|f| f.path.ends_with(&format!("/{name}")));
        failed.map_or_else(
            || panic!("{name} is not named: {:?}", report.failed),
            |f| f.reason.clone(),
        )
    };
    for name in ["link.txt", "loop-a", "loop-b", "up"] {
        assert!(reason(name).contains("links inside a folder"), "{name}");
    }
    for name in ["pipe.txt", "socket.txt"] {
        assert!(reason(name).contains("neither a file nor a folder"), "{name}");
    }
    assert!(reason("empty.txt").contains("empty"));
    assert!(reason("noise.bin").contains("this looks like"));
    if may_read_all {
        log("SKIPPED: a file without permission: this user may read everything");
    } else {
        assert!(reason("secret.txt").contains("ermission denied"));
    }
    assert_eq!(names(&find(&store, "unharmed")), ["good.txt"]);
    assert_eq!(find(&store, "strangely").len(), 1);
    assert!(find(&store, "outsider").is_empty());
    // Named by itself, what is no file is refused too, and opening it waits for nobody.
    for name in ["pipe.txt", "socket.txt", "loop-a"] {
        let report = ingest(&store, &at(name));
        assert_eq!(report.failed.len(), 1, "{name}");
    }
    let device = ingest(&store, Path::new("/dev/zero"));
    assert!(device.failed[0].reason.contains("neither a file nor a folder"));
    // The file whose name is no text is known by it: gone, it is removed.
    fs::remove_file(house.documents.join(strange)).unwrap();
    assert_eq!(house.ingest(&store).removed, 1);
    assert!(find(&store, "strangely").is_empty());
}
