//! Damaged, missing and foreign files of the data directory.

use stdx::rng::Rng;

use super::*;

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
fn an_index_of_another_analyser_is_made_again() {
    let house = filled();
    let manifest = lexical(&house).join("meta.json");
    let text = fs::read_to_string(&manifest)
        .unwrap()
        .replace("analyser 2", "analyser 1");
    fs::write(&manifest, text).unwrap();
    assert_eq!(names(&find(&house.open(), "canary7")), ["7.txt"]);
    assert!(fs::read_to_string(&manifest).unwrap().contains("analyser 2"));
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

fn uses(house: &House, access: Access) -> Result<(), crate::StoreError> {
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
        assert!(matches!(error, crate::StoreError::Damaged { .. }), "{error}");
    }
}
