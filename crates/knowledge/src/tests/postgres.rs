//! PostgreSQL as the store: the same answers as the embedded one, for whoever asks, from several processes at once.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use testkit::postgres::Server;

use super::access::{Bag, Document, WORDS, all_answers, document, fill_into, may_read, reader};
use super::*;
use crate::trial::{self, Trial};
use crate::{Analysis, AsOf, IngestEvent, PostgresAddress, StoreError};

/// A server of one test, with as many databases as it wants.
struct Databases {
    server: Server,
    n: std::cell::Cell<usize>,
    _folder: tempfile::TempDir,
}

impl Databases {
    fn start() -> Option<Self> {
        let programs = testkit::postgres::need_programs()?;
        // Sockets have short paths only.
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        Some(Self {
            server: Server::start(&programs, folder.path(), None).unwrap(),
            n: std::cell::Cell::new(0),
            _folder: folder,
        })
    }

    /// An empty database.
    fn fresh(&self) -> PostgresAddress {
        let name = format!("house{}", self.n.replace(self.n.get() + 1));
        self.server.create(&name).unwrap();
        PostgresAddress::parse(&self.server.url(&name), None).unwrap()
    }

    fn ask(&self, sql: &str) -> String {
        self.server
            .ask(&format!("house{}", self.n.get() - 1), sql)
            .unwrap()
    }
}

fn open(house: &House, address: &PostgresAddress) -> Store {
    Store::open_postgres(&house.data, Access::Write, address.clone()).unwrap()
}

fn write_some(house: &House) {
    house.write(
        "lease.md",
        "# 임대차 계약\n\n## 제12조 해지\n\n임차인은 30일 전에 서면으로 통지하여 계약을 해지할 수 있다. 위약금은 1,250,000원이다.\n\n\
         ## 제13조 보증금\n\n보증금은 계약 종료 후 14일 안에 돌려준다.",
    );
    house.write(
        "leave.txt",
        "Every employee has twenty days of annual leave. Early termination of leave needs a form.\n\nForm HR-204/7 is \
         filed by 2026-03-01.",
    );
    house.write(
        "cat.txt",
        "고양이는 회의실에서 잔다. 고양이 사료는 매주 월요일에 온다.",
    );
    for i in 0..12 {
        house.write(
            &format!("many/{i:02}.txt"),
            &format!(
                "보고서 {i}번은 서버 점검과 계약 해지를 다룬다. server report number {i} about the contract."
            ),
        );
    }
}

const QUESTIONS: [&str; 9] = [
    "계약을 해지하려면 언제까지 통지해야 하나요?",
    "제12조",
    "위약금 125만원",
    "\"early termination\"",
    "「계약 해지」 보고서",
    "annual leave days",
    "HR-204/7",
    "고양이 사료",
    "server report 7",
];

fn found(store: &Store, question: &str) -> Vec<(String, usize, usize, u64)> {
    let hits = seen(store)
        .search(question, 10, SearchMode::Lexical, None)
        .unwrap();
    hits.iter()
        .map(|hit| (hit.path.clone(), hit.start, hit.end, hit.score.to_bits()))
        .collect()
}

#[test]
fn words_are_found_as_in_the_embedded_store_to_the_bit() {
    let Some(databases) = Databases::start() else {
        return;
    };
    let (house, there) = (House::new(), House::new());
    write_some(&house);
    let (embedded, shared) = (house.open(), open(&there, &databases.fresh()));
    house.ingest(&embedded);
    let report = house.ingest(&shared);
    assert_eq!((report.added, report.failed.len()), (15, 0));
    for question in QUESTIONS {
        let expected = found(&embedded, question);
        assert!(!expected.is_empty(), "{question}");
        assert_eq!(found(&shared, question), expected, "{question}");
        for (ours, theirs) in find(&embedded, question).iter().zip(find(&shared, question)) {
            let texts = |store: &Store, id| {
                let beside = seen(store).neighbours(id).unwrap();
                [beside.before, beside.after].map(|hit| hit.map(|hit| hit.text))
            };
            assert_eq!(
                texts(&embedded, ours.passage_id),
                texts(&shared, theirs.passage_id)
            );
        }
    }
    let suggested = |store: &Store| seen(store).suggest("임대", 9).unwrap();
    assert!(!suggested(&embedded).is_empty());
    assert_eq!(suggested(&embedded), suggested(&shared));
    let again = house.ingest(&shared);
    assert_eq!((again.unchanged, again.added, again.changed), (15, 0, 0));
    check_whole(&shared);
}

#[test]
fn what_changes_goes_or_comes_is_followed_and_vectors_of_the_same_passages_stay() {
    let Some(databases) = Databases::start() else {
        return;
    };
    let house = House::new();
    write_some(&house);
    let store = open(&house, &databases.fresh());
    house.ingest(&store);
    assert_eq!(store.embed_pending(&Bag, usize::MAX).unwrap(), 0);
    let vectors = seen(&store).status().unwrap().vectors;
    assert_eq!(vectors, seen(&store).status().unwrap().passages);
    // The same passages under another title, other passages, and one file less.
    house.write(
        "cat.txt",
        "고양이는 회의실에서 잔다.   고양이 사료는 매주 월요일에 온다.",
    );
    house.write("many/03.txt", "zebra");
    fs::remove_file(house.documents.join("leave.txt")).unwrap();
    let report = house.ingest(&store);
    assert_eq!((report.changed, report.removed, report.unchanged), (2, 1, 12));
    assert_eq!(names(&find(&store, "zebra")), ["03.txt"]);
    assert!(find(&store, "annual").is_empty());
    let stray = "SELECT count(*) FROM hanok.postings WHERE segment_no NOT IN (SELECT segment_no FROM hanok.documents)";
    assert_eq!(databases.ask(stray), "0");
    assert_eq!(databases.ask(&stray.replace("postings", "vectors")), "0");
    assert_eq!(store.embed_pending(&Bag, usize::MAX).unwrap(), 0);
    let status = seen(&store).status().unwrap();
    assert_eq!((status.documents, status.vectors), (14, status.passages));
    let dense = seen(&store)
        .search("고양이", 3, SearchMode::Dense, Some(&Bag))
        .unwrap();
    assert_eq!(dense.len(), 3);
    check_whole(&store);
}

#[test]
fn nobody_sees_more_than_he_may_and_what_he_may_not_see_changes_nothing() {
    let Some(databases) = Databases::start() else {
        return;
    };
    let cases = testkit::cases(4, 40) as u32;
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let asked = prop::collection::vec(prop::collection::vec(0..WORDS.len(), 1..5), 1..3);
    let input = (prop::collection::vec(document(), 1..9), 0_u8..8, asked);
    let result = runner.run(&input, |(documents, bits, asked)| {
        let questions: Vec<String> = asked
            .iter()
            .map(|words| {
                words
                    .iter()
                    .map(|word| WORDS[*word])
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .flat_map(|words| [format!("\"{words}\""), words])
            .collect();
        let (whole, part) = (House::new(), House::new());
        let readable = |document: &Document| may_read(bits, document);
        let of_whole = fill_into(open(&whole, &databases.fresh()), &whole, &documents, |_| true);
        let of_part = fill_into(open(&part, &databases.fresh()), &part, &documents, readable);
        prop_assert_eq!(
            all_answers(&whole, &of_whole, &reader(bits), &questions),
            all_answers(&part, &of_part, &reader(bits), &questions)
        );
        Ok(())
    });
    result.unwrap();
}

#[test]
fn several_stores_work_through_one_queue_and_each_file_is_done_once() {
    let Some(databases) = Databases::start() else {
        return;
    };
    let address = databases.fresh();
    let houses = [House::new(), House::new(), House::new()];
    for i in 0..60 {
        houses[0].write(
            &format!("{i}.txt"),
            &format!("document number {i} about storks and herons"),
        );
    }
    let stores: Vec<Store> = std::thread::scope(|scope| {
        // Made at the same moment, too.
        let address = &address;
        let opening: Vec<_> = houses
            .iter()
            .map(|house| scope.spawn(move || open(house, address)))
            .collect();
        opening
            .into_iter()
            .map(|opening| opening.join().unwrap())
            .collect()
    });
    let path = &[houses[0].documents.clone()];
    let reports: Vec<IngestReport> = std::thread::scope(|scope| {
        let ingest = |store| scope.spawn(move || Store::ingest(store, path, &mut |_| Go::On).unwrap());
        let running: Vec<_> = stores.iter().map(ingest).collect();
        running
            .into_iter()
            .map(|running| running.join().unwrap())
            .collect()
    });
    let sum = |count: fn(&IngestReport) -> usize| reports.iter().map(count).sum::<usize>();
    assert_eq!(
        (sum(|report| report.added), sum(|report| report.changed)),
        (60, 0)
    );
    assert!(
        reports.iter().filter(|report| report.added > 0).count() > 1,
        "{reports:?}"
    );
    for store in &stores {
        check_whole(store);
        assert_eq!(
            find(store, "document number 41")[0].path.rsplit('/').next(),
            Some("41.txt")
        );
    }
    assert_eq!(databases.ask("SELECT count(*) FROM hanok.queue"), "0");
    // And vectors: what two make at once is the same, and none is left out.
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(move || store.embed_pending(&Bag, usize::MAX).unwrap());
        }
    });
    let status = seen(&stores[0]).status().unwrap();
    assert_eq!(status.vectors, status.passages);
}

#[test]
fn what_a_lost_process_had_claimed_is_done_by_another() {
    let Some(databases) = Databases::start() else {
        return;
    };
    let address = databases.fresh();
    let (house, other) = (House::new(), House::new());
    let a = house.write("a.txt", "avocet");
    house.write("b.txt", "bittern");
    let (first, second) = (open(&house, &address), open(&other, &address));
    // The first is stopped while it reads: its claim is open, and the second passes it over.
    let report = first.ingest(std::slice::from_ref(&house.documents), &mut |event| match event {
        IngestEvent::Reading { path } if Path::new(&path) == fs::canonicalize(&a).unwrap() => {
            let report = second.ingest(&[], &mut |_| Go::On).unwrap();
            assert_eq!(report.added, 1, "{report:?}");
            let busy = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state LIKE 'idle in%'";
            assert_eq!(databases.ask(busy), "t");
            Go::On
        }
        _ => Go::On,
    });
    assert!(matches!(report, Err(StoreError::Postgres { .. })), "{report:?}");
    assert_eq!(databases.ask("SELECT count(*) FROM hanok.queue"), "1");
    assert_eq!(second.resume(&mut |_| Go::On).unwrap().added, 1);
    assert_eq!(names(&find(&first, "avocet")), ["a.txt"]);
    // A new connection is made where the old one is gone.
    house.write("c.txt", "curlew");
    assert_eq!(house.ingest(&first).added, 1);
    check_whole(&first);
}

#[test]
fn files_that_only_another_machine_has_are_left_to_it() {
    let Some(databases) = Databases::start() else {
        return;
    };
    let address = databases.fresh();
    let (house, other) = (House::new(), House::new());
    let path = house.write("a.txt", "avocet");
    let (first, second) = (open(&house, &address), open(&other, &address));
    let stopped = first.ingest(std::slice::from_ref(&house.documents), &mut |event| match event {
        IngestEvent::Reading { .. } => Go::Stop,
        _ => Go::On,
    });
    assert_eq!(stopped.unwrap().added, 0);
    let away = house.documents.join("away");
    fs::rename(&path, &away).unwrap();
    let report = second.resume(&mut |_| Go::On).unwrap();
    assert_eq!((report.added, report.failed.len()), (0, 0));
    assert_eq!(seen(&second).status().unwrap().queued, 1);
    fs::rename(&away, &path).unwrap();
    assert_eq!(second.resume(&mut |_| Go::On).unwrap().added, 1);
}

#[test]
fn uploads_are_kept_in_the_database_and_replaced_by_name() {
    let Some(databases) = Databases::start() else {
        return;
    };
    let address = databases.fresh();
    let (house, other) = (House::new(), House::new());
    let (first, second) = (open(&house, &address), open(&other, &address));
    first
        .ingest_upload("memo.txt", "the first heron".as_bytes())
        .unwrap();
    let report = second
        .ingest_upload("memo.txt", "the second heron".as_bytes())
        .unwrap();
    assert_eq!((report.added, report.changed), (0, 1));
    assert_eq!(find(&first, "heron")[0].text, "the second heron");
    let refused = second.ingest_upload("bad.pdf", b"%PDF-1.7 nothing");
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert_eq!(databases.ask("SELECT count(*) FROM hanok.queue"), "0");
    assert!(first.remove(&Store::upload_id("memo.txt")).unwrap());
    assert!(find(&second, "heron").is_empty());
    assert_eq!(
        databases.ask("SELECT count(*) FROM hanok.uploads WHERE path_bytes = 'memo.txt'"),
        "0"
    );
}

#[test]
fn tables_of_another_version_are_refused_and_old_words_are_written_anew() {
    let Some(databases) = Databases::start() else {
        return;
    };
    let address = databases.fresh();
    let house = House::new();
    let nothing = Store::open_postgres(&house.data, Access::Read, address.clone());
    assert!(matches!(nothing, Err(StoreError::NotAStore { .. })));
    write_some(&house);
    let store = open(&house, &address);
    house.ingest(&store);
    store.embed_pending(&Bag, usize::MAX).unwrap();
    let before = found(&store, "계약 해지");
    databases.ask("UPDATE hanok.meta SET value = 1 WHERE key = 'analyser'; DELETE FROM hanok.postings");
    let older = Store::open_postgres(&house.data, Access::Read, address.clone());
    assert!(matches!(older, Err(StoreError::OlderSchema { .. })));
    let store = open(&house, &address);
    assert_eq!(found(&store, "계약 해지"), before);
    let status = seen(&store).status().unwrap();
    assert_eq!(status.vectors, status.passages);
    databases.ask("UPDATE hanok.layout SET version = 99");
    let newer = Store::open_postgres(&house.data, Access::Write, address);
    assert!(matches!(newer, Err(StoreError::NewerSchema { found: 99, .. })));
}

#[test]
fn what_only_files_can_do_is_refused_by_name() {
    let Some(databases) = Databases::start() else {
        return;
    };
    let house = House::new();
    let store = open(&house, &databases.fresh());
    let backup = store.backup(&house.documents.join("backup"));
    assert!(
        matches!(backup, Err(StoreError::NotInPostgres { .. })),
        "{backup:?}"
    );
    let verify = store.verify(false).unwrap_err().to_string();
    assert!(verify.contains("pg_amcheck"), "{verify}");
}

#[test]
fn pages_of_korean_documents_are_found_as_in_the_embedded_store() {
    let Some(data) = testkit::need_data("data/ko-retrieval") else {
        return;
    };
    let Some(databases) = Databases::start() else {
        return;
    };
    let trial = Trial {
        pages: data.join("pages.jsonl.gz"),
        questions: data.join("questions.jsonl"),
        mode: SearchMode::Lexical,
    };
    let here = trial::retrieval(&trial, None, None, Analysis::default()).unwrap();
    let house = House::new();
    let there = trial::retrieval_in(&open(&house, &databases.fresh()), &trial, None).unwrap();
    let overlap = |(a, b): (&trial::Item, &trial::Item)| {
        let shared = a.ranked.iter().filter(|page| b.ranked.contains(page)).count();
        shared as f64 / a.ranked.len().max(1) as f64
    };
    let sum: f64 = here.items.iter().zip(&there.items).map(overlap).sum();
    let mean = sum / here.items.len() as f64;
    testkit::log(&format!(
        "top-10 overlap {mean:.4} over {} questions; hit@1 {:.3} and {:.3}; median {:.1} and {:.1} ms",
        here.n, here.rates.hit1, there.rates.hit1, here.p50_ms, there.p50_ms
    ));
    assert!(mean >= 0.95, "{mean}");
}

#[test]
fn what_does_not_hold_is_not_found_on_that_day() {
    let Some(databases) = Databases::start() else {
        return;
    };
    let house = House::new();
    house.write(
        "old.md",
        "---\nvalid_from: 2020-01-01\nexpires: 2020-12-31\n---\n# 여비 규정\n\n옛 여비 규정: 하루 오만 원.",
    );
    house.write(
        "new.md",
        "---\nvalid_from: 2021-01-01\n---\n# 여비 규정\n\n새 여비 규정: 하루 육만 원.",
    );
    let there = House::new();
    let (embedded, shared) = (house.open(), open(&there, &databases.fresh()));
    for store in [&embedded, &shared] {
        house.ingest(store);
    }
    for day in ["2020-06-01", "2022-06-01"] {
        let as_of = AsOf {
            day: Some(day.parse().unwrap()),
            include_expired: false,
        };
        let paths = |store: &Store| {
            let view = store.view_as_of(&Reader::keeper(), as_of).unwrap();
            names(&view.search("여비 규정", 9, SearchMode::Lexical, None).unwrap())
        };
        assert_eq!(paths(&embedded).len(), 1);
        assert_eq!(paths(&embedded), paths(&shared));
    }
}
