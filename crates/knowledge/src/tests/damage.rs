//! Damaged, missing and foreign files of the data directory.

use std::collections::BTreeMap;

use stdx::rng::Rng;
use testkit::{cases, log};

use super::*;
use crate::access::RULES_FILE;
use crate::{Embed, EmbedKind, EmbedderId, StoreError};

fn filled() -> House {
    let house = House::new();
    let store = house.open();
    for i in 0..20 {
        house.write(
            &format!("{i}.txt"),
            &format!("canary{i} {}", "문서 본문 ".repeat(200)),
        );
    }
    house.ingest(&store);
    house
}

fn lexical(house: &House) -> PathBuf {
    house.data.join("lexical")
}

#[test]
fn a_missing_index_is_made_again() {
    let house = filled();
    fs::remove_dir_all(lexical(&house)).unwrap();
    // A reader may not write, and still answers.
    let reader = Store::open(&house.data, Access::Read).unwrap();
    assert_eq!(names(&find(&reader, "canary7")), ["7.txt"]);
    assert!(!lexical(&house).exists());
    let store = house.open();
    assert_eq!(names(&find(&store, "canary7")), ["7.txt"]);
    assert_eq!(names(&find(&reader, "canary8")), ["8.txt"]);
}

#[test]
fn a_reader_does_not_take_back_an_index_that_it_refused() {
    let house = filled();
    let postings = fs::read_dir(lexical(&house)).unwrap();
    let postings = postings
        .iter()
        .find(|path| path.extension().is_some_and(|e| e == "idx"));
    let mut bytes = fs::read(postings.unwrap()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 8;
    fs::write(postings.unwrap(), &bytes).unwrap();
    let reader = Store::open(&house.data, Access::Read).unwrap();
    let is_in_memory = || reader.here().unwrap().lexical().is_in_memory();
    assert_eq!(names(&find(&reader, "canary7")), ["7.txt"]);
    assert!(is_in_memory() && is_in_memory());
    drop(house.open());
    assert!(!is_in_memory());
    assert_eq!(names(&find(&reader, "canary8")), ["8.txt"]);
}

#[test]
fn an_index_that_vanishes_while_it_is_open_is_made_again() {
    let house = filled();
    let store = house.open();
    fs::remove_dir_all(lexical(&house)).unwrap();
    house.write("new.txt", "latecomer");
    assert_eq!(house.ingest(&store).added, 1);
    assert_eq!(names(&find(&store, "latecomer")), ["new.txt"]);
    assert_eq!(names(&find(&store, "canary7")), ["7.txt"]);
}

#[test]
fn an_index_that_says_nothing_of_its_analyser_is_made_again() {
    let house = filled();
    let manifest = lexical(&house).join("meta.json");
    let text = fs::read_to_string(&manifest).unwrap().replace("analyser ", "");
    fs::write(&manifest, text).unwrap();
    assert_eq!(names(&find(&house.open(), "canary7")), ["7.txt"]);
    assert!(fs::read_to_string(&manifest).unwrap().contains("analyser "));
}

#[test]
fn a_damaged_index_is_made_again() {
    let house = filled();
    let mut rng = Rng::new(5);
    for round in 0..12 {
        let files: Vec<PathBuf> = fs::read_dir(lexical(&house)).unwrap();
        let file = &files[rng.below(files.len() as u64) as usize];
        let mut bytes = fs::read(file).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let at = rng.below(bytes.len() as u64) as usize;
        if round % 2 == 0 {
            bytes[at] ^= 1 << rng.below(8);
        } else {
            bytes.truncate(at);
        }
        fs::write(file, bytes).unwrap();
        let store = house.open();
        for i in [0, 7, 19] {
            assert_eq!(
                names(&find(&store, &format!("canary{i}"))),
                [format!("{i}.txt")],
                "{}",
                file.display()
            );
        }
    }
}

#[test]
fn flipped_bytes_in_the_database_are_an_error_or_harmless() {
    let house = filled();
    drop(house.open());
    let database = house.data.join("hanok.sqlite");
    let whole = fs::read(&database).unwrap();
    let mut rng = Rng::new(11);
    let mut refused = 0;
    for _ in 0..40 {
        let mut bytes = whole.clone();
        for _ in 0..=rng.below(64) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        for log in ["hanok.sqlite-wal", "hanok.sqlite-shm"] {
            let _ = fs::remove_file(house.data.join(log));
        }
        fs::write(&database, bytes).unwrap();
        for access in [Access::Read, Access::Write] {
            refused += usize::from(uses(&house, access).is_err());
        }
    }
    assert!(refused > 0);
}

fn uses(house: &House, access: Access) -> Result<(), StoreError> {
    let store = Store::open(&house.data, access)?;
    seen(&store).search("canary7 문서", 10, SearchMode::Hybrid, None)?;
    for document in seen(&store).documents()? {
        seen(&store).document(&document.document_id, None)?;
    }
    if access == Access::Write {
        store.ingest(std::slice::from_ref(&house.documents), &mut |_| Go::On)?;
    }
    Ok(())
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let house = House::new();
    fs::create_dir_all(&house.data).unwrap();
    fs::write(
        house.data.join("hanok.sqlite"),
        "this is not a database, it is a text".repeat(50),
    )
    .unwrap();
    for access in [Access::Read, Access::Write] {
        let error = Store::open(&house.data, access).err().unwrap();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_database_that_vanished_is_missed() {
    let house = filled();
    for bytes in [None, Some("")] {
        fs::remove_file(house.data.join("hanok.sqlite")).unwrap();
        if let Some(bytes) = bytes {
            fs::write(house.data.join("hanok.sqlite"), bytes).unwrap();
        }
        for access in [Access::Read, Access::Write] {
            let error = Store::open(&house.data, access).err().unwrap();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        }
        fs::write(house.data.join("hanok.sqlite"), "").unwrap();
    }
}

#[test]
fn a_database_older_than_its_index_gets_a_new_index() {
    let house = House::new();
    house.write("a.txt", "ancient");
    let store = house.open();
    house.ingest(&store);
    drop(store);
    let before = fs::read(house.data.join("hanok.sqlite")).unwrap();
    house.write("b.txt", "bygone");
    house.ingest(&house.open());
    fs::write(house.data.join("hanok.sqlite"), before).unwrap();
    let reader = Store::open(&house.data, Access::Read).unwrap();
    assert_eq!(names(&find(&reader, "bygone ancient")), ["a.txt"]);
    fs::remove_file(house.documents.join("b.txt")).unwrap();
    // The number that b.txt had in the index is given to another passage.
    house.write("c.txt", "current");
    let store = house.open();
    house.ingest(&store);
    assert!(find(&store, "bygone").is_empty());
    assert_eq!(names(&find(&store, "current")), ["c.txt"]);
    assert!(store.verify(false).unwrap().is_sound());
}

/// Counts letters: enough for vectors that tell texts apart.
struct Letters;

impl Embed for Letters {
    fn id(&self) -> EmbedderId {
        EmbedderId {
            name: "letters".to_owned(),
            sha256: "l".repeat(64),
            dim: 16,
        }
    }

    fn embed(&self, _: EmbedKind, texts: &[&str]) -> Vec<Vec<f32>> {
        let one = |text: &&str| {
            let mut vector = [0.01f32; 16];
            for c in text.chars() {
                vector[c as usize % 16] += 1.0;
            }
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter().map(|x| x / norm).collect()
        };
        texts.iter().map(one).collect()
    }
}

/// Every file below a folder, by its path in it.
type Files = BTreeMap<String, Vec<u8>>;

fn files_of(folder: &Path) -> Files {
    fn gather(folder: &Path, prefix: &str, files: &mut Files) {
        for path in fs::read_dir(folder).unwrap() {
            let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
            if path.is_dir() {
                gather(&path, &format!("{name}/"), files);
            } else {
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = Files::new();
    gather(folder, "", &mut files);
    files
}

fn write_files(folder: &Path, files: &Files) {
    if fs::metadata(folder).is_ok() {
        fs::remove_dir_all(folder).unwrap();
    }
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

const QUESTIONS: [&str; 6] = ["canary3x", "canary7x 문서", "본문", "upx", "section 4", "없는 말"];

/// What a store says to everything that can be asked of it; each answer by itself, for each is right or an error.
fn answers(store: &Store) -> Vec<Result<String, StoreError>> {
    let view = || store.view(&Reader::keeper());
    let said = |hits: Vec<Hit>| {
        let lines = hits.iter().map(|h| {
            format!(
                "{} {} {:?} {}..{} {}",
                h.path, h.version, h.page, h.start, h.end, h.text
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let mut all: Vec<Result<String, StoreError>> = QUESTIONS
        .iter()
        .map(|question| Ok(said(view()?.search(question, 50, SearchMode::Lexical, None)?)))
        .collect();
    all.push(view().and_then(|view| Ok(format!("{:?}", view.documents()?))));
    for i in 0..8 {
        let document = || {
            let path = format!("{i}.txt");
            let documents = view()?.documents()?;
            let found = documents.iter().find(|d| d.path.ends_with(&path));
            let Some(found) = found else {
                return Ok("none".to_owned());
            };
            Ok(format!("{:?}", view()?.document(&found.document_id, None)?))
        };
        all.push(document());
    }
    all.push(view().and_then(|view| {
        let readers = store.view(&Reader::of(["hr"]))?.documents()?.len();
        Ok(format!("{} {readers}", view.documents()?.len()))
    }));
    all
}

/// A data directory with one of every kind of file, in the state after a crash: its log is not emptied.
fn everything() -> (House, Files, Files, Vec<String>) {
    let house = House::new();
    fs::create_dir_all(&house.data).unwrap();
    for i in 0..8 {
        let body = format!("문서 본문 {i} section {}. ", i * 2).repeat(40);
        house.write(&format!("{i}.txt"), &format!("# canary{i}x\n\n{body}"));
    }
    house.write("hr/pay.txt", "payroll");
    let hr = house.documents.join("hr");
    let rules = format!("[[rule]]\npath = \"{}\"\ngroups = [\"hr\"]\n", hr.display());
    fs::write(house.data.join(RULES_FILE), rules).unwrap();
    let store = house.open();
    house.ingest(&store);
    store.ingest_upload("up.txt", b"canary upx").unwrap();
    while store.embed_pending(&Letters, 16).unwrap() > 0 {}
    let backup = house.data.with_file_name("backup");
    store.backup(&backup).unwrap();
    let expected = answers(&store).into_iter().map(Result::unwrap).collect();
    let crashed = files_of(&house.data);
    assert!(crashed.contains_key("hanok.sqlite-wal") && crashed.contains_key("hanok.sqlite-shm"));
    drop(store);
    let mut closed = files_of(&house.data);
    for (name, bytes) in files_of(&backup) {
        closed.insert(format!("backup/{name}"), bytes);
    }
    (house, crashed, closed, expected)
}

/// Damages one file; says how.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) -> (&'static str, bool) {
    let len = bytes.len() as u64;
    match rng.below(5) {
        0 => ("removed", true),
        1 if len > 0 => {
            bytes.truncate(rng.below(len) as usize);
            ("cut short", false)
        }
        2 if len > 0 => {
            let at = rng.below(len) as usize;
            let end = (at + 1 + rng.below(4096) as usize).min(bytes.len());
            bytes[at..end].fill(0);
            ("zero-filled", false)
        }
        _ => {
            for _ in 0..=rng.below(3) {
                if len > 0 {
                    bytes[rng.below(len) as usize] ^= 1 << rng.below(8);
                }
            }
            ("bits flipped", false)
        }
    }
}

/// Whether the damage is of what cannot be made again.
fn is_truth(name: &str) -> bool {
    name == "hanok.sqlite"
        || name == RULES_FILE
        || name.starts_with("uploads/")
        || name.starts_with("backup/")
}

#[derive(Default)]
struct Tally {
    harmless: usize,
    healed: usize,
    found: usize,
    refused: usize,
}

#[test]
fn no_damage_of_any_file_makes_a_wrong_answer() {
    let (house, crashed, closed, expected) = everything();
    let mut rng = Rng::new(500);
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let n_cases = cases(40, 500);
    for case in 0..n_cases {
        let whole = if case % 2 == 0 { &crashed } else { &closed };
        let names: Vec<&String> = whole.keys().collect();
        // Each kind of file has its turn, however many there are of one kind.
        let kinds: BTreeSet<String> = names.iter().map(|name| kind_of(name)).collect();
        let kind = kinds.iter().nth((case / 2) % kinds.len()).unwrap();
        let of_kind: Vec<&&String> = names.iter().filter(|name| kind_of(name) == *kind).collect();
        let name = of_kind[rng.below(of_kind.len() as u64) as usize].as_str();
        let mut files = whole.clone();
        let (how, is_removed) = damage(&mut rng, files.get_mut(name).unwrap());
        if is_removed {
            files.remove(name);
        }
        write_files(&house.data, &files);
        let what = format!("case {case}: `{name}` {how}");
        let tally = tallies.entry(kind.clone()).or_default();
        if name.starts_with("backup/") {
            check_backup(&house, &what, tally);
        } else {
            check_store(&house, name, &what, &expected, tally);
        }
    }
    log(&format!("{n_cases} cases of damage"));
    for (kind, t) in tallies {
        log(&format!(
            "{kind}: {} harmless, {} healed when opened, {} found by verify, {} refused by name",
            t.harmless, t.healed, t.found, t.refused
        ));
    }
}

/// A kind of file: segments of the index have names of their own each time.
fn kind_of(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((path, extension)) if path.starts_with("lexical/") && path.len() > 30 => {
            format!("lexical/*.{extension}")
        }
        _ => name.to_owned(),
    }
}

fn check_backup(house: &House, what: &str, tally: &mut Tally) {
    let to = house.data.with_file_name("restored");
    match Store::restore(&house.data.join("backup"), &to) {
        Err(StoreError::BadBackup { .. }) => tally.refused += 1,
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => {
            let store = Store::open(&to, Access::Write).unwrap();
            assert!(store.verify(false).unwrap().is_sound(), "{what}");
            assert_eq!(seen(&store).documents().unwrap().len(), 10, "{what}");
            drop(store);
            fs::remove_dir_all(&to).unwrap();
            tally.harmless += 1;
        }
    }
}

/// Asks a store everything; each answer must be the right one, or an error that says what to do. Returns whether all were
/// right.
fn check_answers(store: &Store, name: &str, what: &str, expected: &[String]) -> bool {
    let mut all_right = true;
    for (answer, expected) in answers(store).iter().zip(expected) {
        match answer {
            Ok(answer) if answer == expected => {}
            // Of a log that lost its end the database is what it was before: what is there is right, what is not there
            // comes back with the next ingest.
            Ok(answer) if name == "hanok.sqlite-wal" => {
                all_right = false;
                for line in answer.lines().filter(|line| line.contains("..")) {
                    assert!(
                        expected.contains(line) || !line.contains("canary"),
                        "{what}: {line}"
                    );
                }
            }
            Ok(answer) => panic!("{what}: a wrong answer\n{answer}\nexpected\n{expected}"),
            Err(error) => {
                all_right = false;
                assert!(is_clear(error), "{what}: {error} ({error:?})");
            }
        }
    }
    all_right
}

fn is_clear(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Damaged { .. }
            | StoreError::Diverged { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::OlderSchema { .. }
            | StoreError::NotAStore { .. }
            | StoreError::AccessRules { .. }
            | StoreError::Database { .. }
    )
}

fn check_store(house: &House, name: &str, what: &str, expected: &[String], tally: &mut Tally) {
    for access in [Access::Read, Access::Write] {
        let store = match Store::open(&house.data, access) {
            Ok(store) => store,
            Err(error) => {
                assert!(is_truth(name) || name == "hanok.sqlite-wal", "{what}: {error}");
                assert!(is_clear(&error), "{what}: {error} ({error:?})");
                tally.refused += usize::from(access == Access::Write);
                continue;
            }
        };
        let all_right = check_answers(&store, name, what, expected);
        if access == Access::Read {
            continue;
        }
        match store.verify(false) {
            Ok(report) if report.is_sound() => {
                assert!(
                    all_right || name == "hanok.sqlite-wal",
                    "{what}: verify found nothing"
                );
                tally.harmless += 1;
            }
            Ok(_) => tally.found += 1,
            Err(error) => {
                assert!(is_clear(&error), "{what}: {error} ({error:?})");
                tally.found += 1;
            }
        }
        if !is_truth(name) {
            let mended = store.verify(true).unwrap();
            assert!(mended.is_sound(), "{what}: {mended:?}");
            house.ingest(&store);
            store.ingest_upload("up.txt", b"canary upx").unwrap();
            assert!(store.verify(false).unwrap().is_sound(), "{what}");
            for (i, question) in QUESTIONS.iter().enumerate().take(4) {
                let hits = seen(&store)
                    .search(question, 50, SearchMode::Lexical, None)
                    .unwrap();
                assert_eq!(hits.is_empty(), expected[i].is_empty(), "{what}: {question}");
            }
        }
    }
}
