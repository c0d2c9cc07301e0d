//! Bulk ingestion in parts: whole segments, taken in at once or not at all, by either store.

use testkit::postgres::Server;

use super::*;
use crate::access::{FOLDER_FILE, RULES_FILE};
use crate::prepare::ReadOptions;
use crate::shard::{self, Shard};
use crate::{PostgresAddress, StoreError};

fn make(house: &House, part: &str) -> IngestReport {
    let shard: Shard = part.parse().unwrap();
    let paths = [house.documents.clone()];
    let options = ReadOptions::default();
    shard::make(
        shard,
        &paths,
        &segments(house),
        &house.data,
        &options,
        &mut |_| Go::On,
    )
    .unwrap()
}

fn segments(house: &House) -> PathBuf {
    house.documents.with_file_name("segments")
}

fn fill(house: &House) {
    for i in 0..20 {
        house.write(&format!("{i}.txt"), &format!("stork number {i}"));
    }
    house.write("bad.pdf", "%PDF-1.7 nothing");
    house.write(&format!("hr/{FOLDER_FILE}"), "hr\n");
    house.write("hr/pay.md", "# 급여\n\n급여 대장은 비밀이다.");
}

/// What is found and listed, without the ids that differ between stores.
fn all(store: &Store) -> Vec<String> {
    let documents = seen(store).documents().unwrap().into_iter();
    let listed = documents.map(|d| format!("{} {} {} {}", d.path, d.version, d.title, d.n_passages));
    let found = ["stork 7", "급여"].into_iter().flat_map(|question| {
        let hits = seen(store).search(question, 100, SearchMode::Lexical, None);
        hits.unwrap()
    });
    let mut all: Vec<String> = listed
        .chain(found.map(|hit| format!("{} {}..{} {}", hit.path, hit.start, hit.end, hit.score)))
        .collect();
    // Equal scores come in the order of the documents, which was another.
    all.sort();
    all
}

#[test]
fn parts_are_disjoint_and_together_everything_whoever_makes_them() {
    let house = House::new();
    fill(&house);
    let reports = ["1/3", "3/3", "2/3"].map(|part| make(&house, part));
    assert_eq!(reports.iter().map(|report| report.added).sum::<usize>(), 21);
    assert_eq!(reports.iter().map(|report| report.failed.len()).sum::<usize>(), 1);
    let again = make(&house, "2/3");
    assert_eq!(
        (again.added, again.unchanged),
        (0, reports[2].added + reports[2].failed.len())
    );

    let store = house.open();
    let report = store.commit_segments(&segments(&house)).unwrap();
    assert_eq!((report.added, report.failed.len()), (21, 1));
    let committed = all(&store);
    let other = House::new();
    let ingested = other.open();
    house.ingest(&ingested);
    assert_eq!(committed, all(&ingested));
    let hr = store.view(&Reader::anyone()).unwrap();
    assert!(
        hr.search("급여", 9, SearchMode::Lexical, None)
            .unwrap()
            .is_empty()
    );

    let twice = store.commit_segments(&segments(&house)).unwrap();
    assert_eq!((twice.added, twice.changed, twice.unchanged), (0, 0, 21));
    let kept = house.ingest(&store);
    assert_eq!((kept.added, kept.changed, kept.removed), (0, 0, 0));
    check_whole(&store);
}

#[test]
fn what_is_not_whole_is_not_taken_in() {
    let house = House::new();
    fill(&house);
    make(&house, "1/2");
    let store = house.open();
    let refused = |why: &str| {
        let error = store.commit_segments(&segments(&house)).unwrap_err();
        assert!(matches!(error, StoreError::BadSegment { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(seen(&store).status().unwrap().documents, 0);
    };
    refused("parts are missing: 2/2");
    // A worker that was killed leaves this.
    let partial = segments(&house).join("segment-00002-of-00002.7-7.partial");
    fs::create_dir_all(&partial).unwrap();
    fs::write(partial.join("records-00000.jsonl.gz"), "half").unwrap();
    refused("parts are missing: 2/2");
    make(&house, "2/2");
    assert!(fs::metadata(&partial).is_err());
    let file = segments(&house).join("segment-00002-of-00002/records-00000.jsonl.gz");
    let bytes = fs::read(&file).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    fs::write(&file, &flipped).unwrap();
    refused("its bytes are not those that were written");
    fs::write(&file, &bytes).unwrap();
    make(&house, "1/3");
    refused("another run");
    fs::remove_dir_all(segments(&house).join("segment-00001-of-00003")).unwrap();
    assert_eq!(store.commit_segments(&segments(&house)).unwrap().added, 21);
}

#[test]
fn what_was_stopped_is_made_again_and_what_is_newer_stays() {
    let house = House::new();
    fill(&house);
    let shard: Shard = "1/1".parse().unwrap();
    let paths = [house.documents.clone()];
    let mut n = 0;
    let mut stop = |_| {
        n += 1;
        if n > 9 { Go::Stop } else { Go::On }
    };
    shard::make(
        shard,
        &paths,
        &segments(&house),
        &house.data,
        &ReadOptions::default(),
        &mut stop,
    )
    .unwrap();
    let store = house.open();
    assert!(store.commit_segments(&segments(&house)).is_err());
    assert_eq!(make(&house, "1/1").added, 21);
    // Somebody else was faster with a later version.
    std::thread::sleep(std::time::Duration::from_millis(30));
    house.write("7.txt", "heron number 7");
    house.ingest(&store);
    let report = store.commit_segments(&segments(&house)).unwrap();
    assert_eq!((report.added, report.changed, report.unchanged), (0, 0, 21));
    assert_eq!(names(&find(&store, "heron")), ["7.txt"]);
    for wrong in ["0/2", "3/2", "2", "a/b", "1/0", "1/1000000"] {
        assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
    }
}

#[test]
fn segments_go_into_a_database_at_once_and_by_its_rules() {
    let Some(programs) = testkit::postgres::need_programs() else {
        return;
    };
    let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
    let server = Server::start(&programs, folder.path(), None).unwrap();
    server.create("house").unwrap();
    let address = PostgresAddress::parse(&server.url("house"), None).unwrap();
    let open = |house: &House| Store::open_postgres(&house.data, Access::Write, address.clone()).unwrap();
    let (house, other) = (House::new(), House::new());
    fill(&house);
    for part in ["1/2", "2/2"] {
        make(&house, part);
    }
    let store = open(&house);
    // The last record makes no sense to the database: nothing of the others stays.
    assert_eq!(
        server
            .ask(
                "house",
                "ALTER TABLE hanok.documents ADD CHECK (path NOT LIKE '%/hr/%')"
            )
            .unwrap(),
        ""
    );
    assert!(matches!(
        store.commit_segments(&segments(&house)),
        Err(StoreError::Postgres { .. })
    ));
    assert_eq!(seen(&store).status().unwrap().documents, 0);
    server
        .ask(
            "house",
            "ALTER TABLE hanok.documents DROP CONSTRAINT documents_path_check",
        )
        .unwrap();
    assert_eq!(store.commit_segments(&segments(&house)).unwrap().added, 21);
    let ingested = other.open();
    house.ingest(&ingested);
    assert_eq!(all(&store), all(&ingested));

    // Rules that nobody agreed on let nobody in.
    let third = House::new();
    fs::create_dir_all(&third.data).unwrap();
    let rules = format!(
        "[[rule]]\npath = {:?}\ngroups = [\"board\"]\n",
        fs::canonicalize(&house.documents).unwrap()
    );
    fs::write(third.data.join(RULES_FILE), &rules).unwrap();
    let theirs = open(&third);
    assert!(matches!(
        theirs.resume(&mut |_| Go::On),
        Err(StoreError::RulesDiffer { .. })
    ));
    let of_anyone = |store: &Store| store.view(&Reader::anyone()).unwrap().documents().unwrap().len();
    assert_eq!(of_anyone(&store), 20);
    theirs.publish_rules().unwrap();
    theirs.resume(&mut |_| Go::On).unwrap();
    assert_eq!(of_anyone(&store), 0);
    // One without a file takes them over.
    store.resume(&mut |_| Go::On).unwrap();
    assert_eq!(fs::read_to_string(house.data.join(RULES_FILE)).unwrap(), rules);
    assert_eq!(of_anyone(&store), 0);
}
