//! Killed at any moment and at every fail-point, out of room: nothing lost, nothing doubled, nothing unreadable.
//!
//! The child is this test program itself, which lives through everything that a store does; its parent ends it with
//! SIGKILL and looks at what is left.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use stdx::clock::Stopwatch;
use stdx::rng::Rng;
use testkit::{cases, log};

use super::dense::{FIRST, SECOND};
use super::*;
use crate::ReadOptions;
use crate::access::FOLDER_FILE;
use crate::failpoint::{FailPoint, armed};
use crate::passage::CutOptions;

/// With this set, the test program is the child that gets killed: the folder of its house.
const CHILD: &str = "HANOK_TEST_CHILD";
const N_FILES: usize = 15;
const UPLOAD: &str = "note.txt";
/// A file that is handed over and taken in later.
const HANDED: &str = "handed.txt";
const KILLS: (usize, usize) = (6, 200);

/// A house whose documents change from generation to generation, with what must then be in the store.
struct Changing {
    house: House,
    home: PathBuf,
    generation: usize,
}

fn exists(i: usize, generation: usize) -> bool {
    !(i + generation).is_multiple_of(5)
}

/// Every third document is new in a generation.
fn text(i: usize, generation: usize) -> String {
    let written = generation - (generation + i) % 3.min(generation + 1);
    let body = format!("본문 {i} 세대 {written} ").repeat(60);
    format!("canary{i}x generation{written}x {body}")
}

fn upload_text(generation: usize) -> String {
    format!("canaryupx generation{generation}x")
}

fn wanderer(generation: usize) -> String {
    format!("wander{}.txt", generation % 2)
}

fn handed_text(generation: usize) -> String {
    format!("canaryhandx generation{generation}x")
}

/// What a server does before it says that a file is accepted.
fn accept(store: &Store, generation: usize) -> crate::Accepted {
    let arrived = store.arrivals().join(format!("arrived{generation}"));
    fs::create_dir_all(store.arrivals()).unwrap();
    fs::write(&arrived, handed_text(generation)).unwrap();
    store.accept(&arrived, HANDED, HANDED, &Reader::anyone()).unwrap()
}

fn hand_over(store: &Store, generation: usize) {
    let accepted = accept(store, generation);
    ingest(store, &accepted.path);
    store.forget_accepted(accepted.id).unwrap();
}

/// In which generation the child said last that a file is accepted.
fn read_said(home: &Path) -> Option<usize> {
    fs::read_to_string(home.join("said")).ok()?.parse().ok()
}

fn read_generation(home: &Path) -> usize {
    fs::read_to_string(home.join("generation"))
        .unwrap()
        .parse()
        .unwrap()
}

impl Changing {
    fn new() -> Self {
        let house = House::new();
        let home = house.data.parent().unwrap().to_owned();
        let new = Self {
            house,
            home,
            generation: 0,
        };
        new.write();
        new
    }

    /// Documents are changed, removed, added, touched and given to other readers; one can never be read.
    fn write(&self) {
        for i in 0..N_FILES {
            let name = format!("inner/{i:03}.txt");
            if exists(i, self.generation) {
                self.house.write(&name, &text(i, self.generation));
            } else if fs::metadata(self.house.documents.join(&name)).is_ok() {
                fs::remove_file(self.house.documents.join(&name)).unwrap();
            }
        }
        self.house.write("same.txt", "canarysamex always the same");
        // One file goes to and fro.
        let place = |generation: usize| self.house.documents.join(wanderer(generation));
        if let Some(before) = self.generation.checked_sub(1) {
            fs::rename(place(before), place(self.generation)).unwrap();
        } else {
            self.house.write(&wanderer(0), "canarywanderx is on its way");
        }
        fs::write(
            self.house.documents.join("noise.bin"),
            [0, 159, 146, 150, 255, 0, 7],
        )
        .unwrap();
        let group = format!("group{}", self.generation % 2);
        self.house.write(&format!("inner/{FOLDER_FILE}"), &group);
        fs::write(self.home.join("generation"), self.generation.to_string()).unwrap();
    }

    fn next(&mut self) {
        self.generation += 1;
        self.write();
    }

    fn child(&self, fail_at: Option<&str>) -> Child {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "tests::crash::child_lives_until_it_is_killed",
                "--test-threads=1",
            ])
            .env(CHILD, &self.home)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match fail_at {
            Some(point) => command.env(armed::VARIABLE, point),
            None => command.env_remove(armed::VARIABLE),
        };
        command.spawn().unwrap()
    }

    /// What a person does after a crash: the same again. Then everything must be there, once, and right.
    fn recover_and_check(&self) {
        // Readers are never disturbed by what was cut off.
        if let Ok(reader) = Store::open(&self.house.data, Access::Read) {
            check_whole(&reader);
            find(&reader, "canary1x");
        }
        let store = self.house.open();
        let report = self.house.ingest(&store);
        // An upload of which only the name had come was never acknowledged.
        let failed: Vec<_> = report.failed.iter().filter(|file| file.path != UPLOAD).collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        store
            .ingest_upload(UPLOAD, upload_text(self.generation).as_bytes())
            .unwrap();
        let accepted = store.accepted_before().unwrap();
        if read_said(&self.home) == Some(self.generation) {
            let is_in =
                |i: &crate::Accepted| fs::read_to_string(&i.path).unwrap() == handed_text(self.generation);
            let hits = find(&store, "canaryhandx");
            let is_taken_in = hits.iter().any(|hit| hit.text == handed_text(self.generation));
            assert!(
                is_taken_in || accepted.iter().any(is_in),
                "what was accepted is lost"
            );
        }
        for accepted in accepted {
            ingest(&store, &accepted.path);
            store.forget_accepted(accepted.id).unwrap();
        }
        hand_over(&store, self.generation);
        self.check(&store);
        drop(store);
        self.check(&Store::open(&self.house.data, Access::Read).unwrap());
        self.check_kept();
    }

    fn check(&self, store: &Store) {
        check_whole(store);
        let report = store.verify(false).unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(seen(store).status().unwrap().queued, 0);
        assert!(store.files().catalog.marks().unwrap().is_empty());
        let expected = (0..N_FILES).filter(|i| exists(*i, self.generation));
        let n_expected = expected.clone().count() + 4;
        assert_eq!(seen(store).documents().unwrap().len(), n_expected);
        for i in 0..N_FILES {
            let hits = find(store, &format!("canary{i}x"));
            if !exists(i, self.generation) {
                assert_eq!(names(&hits), [""; 0], "{i} is gone");
                continue;
            }
            assert_eq!(names(&hits), [format!("{i:03}.txt")]);
            let whole = text(i, self.generation);
            assert!(whole.contains(&hits[0].text), "{i}: an older text");
            let document = seen(store).document(&hits[0].document_id, None).unwrap().unwrap();
            assert_eq!(document.text.trim(), whole.trim());
        }
        assert_eq!(names(&find(store, "canarysamex")), ["same.txt"]);
        let hits = find(store, "canarywanderx");
        assert_eq!(names(&hits), [wanderer(self.generation)]);
        let known = self.home.join("wanderer");
        if fs::metadata(&known).is_err() {
            fs::write(&known, &hits[0].document_id).unwrap();
        }
        let id = fs::read_to_string(known).unwrap();
        assert_eq!(hits[0].document_id, id, "a file that was moved keeps its id");
        let hits = find(store, "canaryhandx");
        assert_eq!(names(&hits), [HANDED]);
        assert_eq!(hits[0].text, handed_text(self.generation));
        assert!(store.files().catalog.intakes().unwrap().is_empty());
        assert!(fs::read_dir(store.arrivals()).unwrap().is_empty());
        let hits = find(store, "canaryupx");
        assert_eq!(names(&hits), [UPLOAD]);
        assert_eq!(hits[0].text, upload_text(self.generation));
        let group = format!("group{}", self.generation % 2);
        let allowed = store.view(&Reader::of([group])).unwrap().documents().unwrap();
        assert_eq!(allowed.len(), n_expected);
        let others = store.view(&Reader::of(["nobody"])).unwrap().documents().unwrap();
        assert_eq!(others.len(), 4);
    }

    /// A backup and a restored store are whole, or not there.
    fn check_kept(&self) {
        let backup = self.home.join("backup");
        let again = self.home.join("again");
        if fs::metadata(&backup).is_ok() {
            Store::restore(&backup, &again).unwrap();
            fs::remove_dir_all(&again).unwrap();
        }
        let restored = self.home.join("restored");
        if fs::metadata(restored.join("hanok.sqlite")).is_ok() {
            let store = Store::open(&restored, Access::Write).unwrap();
            assert!(store.verify(false).unwrap().is_sound());
            assert!(!seen(&store).documents().unwrap().is_empty());
        }
        let old = self.home.join("old");
        let store = Store::open(&old, Access::Write).unwrap();
        assert_eq!(names(&find(&store, "leave days")), ["leave.md"]);
        assert!(store.verify(false).unwrap().is_sound());
        for made in [backup, restored, old] {
            if fs::metadata(&made).is_ok() {
                fs::remove_dir_all(&made).unwrap();
            }
        }
        copy_old_store(&self.home.join("old"));
    }
}

/// A store of the first layout.
fn copy_old_store(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schema-1");
    fs::create_dir_all(to.join("lexical")).unwrap();
    for folder in ["", "lexical"] {
        for file in fs::read_dir(from.join(folder)).unwrap() {
            if fs::metadata(&file).unwrap().is_file() {
                fs::write(
                    to.join(folder).join(file.file_name().unwrap()),
                    fs::read(&file).unwrap(),
                )
                .unwrap();
            }
        }
    }
}

/// Not a test of its own: the life of the child. Without the variable there is nothing to do.
#[test]
fn child_lives_until_it_is_killed() {
    let Some(home) = env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let (data, documents) = (home.join("data"), home.join("documents"));
    // The parent never kills before these are there.
    drop(Store::open(&home.join("old"), Access::Write).unwrap());
    for folder in crate::lexical::folders(&data) {
        let manifest = folder.join("meta.json");
        if fs::metadata(&manifest).is_ok() {
            fs::write(&manifest, "{").unwrap();
        }
    }
    let store = Store::open(&data, Access::Write).unwrap();
    store.ingest(&[documents], &mut |_| Go::On).unwrap();
    store
        .ingest_upload(UPLOAD, upload_text(read_generation(&home)).as_bytes())
        .unwrap();
    let generation = read_generation(&home);
    let accepted = accept(&store, generation);
    fs::write(home.join("said"), generation.to_string()).unwrap();
    ingest(&store, &accepted.path);
    store.forget_accepted(accepted.id).unwrap();
    store.verify(true).unwrap();
    reindex(&store, read_generation(&home));
    let (backup, restored) = (home.join("backup"), home.join("restored"));
    store.backup(&backup).unwrap();
    // An empty folder, as a person makes it.
    fs::create_dir_all(&restored).unwrap();
    Store::restore(&backup, &restored).unwrap();
    drop(Store::open(&restored, Access::Write).unwrap());
}

/// Passages of another length and vectors of another embedder than in the generation before.
fn reindex(store: &Store, generation: usize) {
    if store.embedder_in_force().unwrap().is_none() {
        while store.embed_pending(&FIRST, 100).unwrap() > 0 {}
    }
    let (tokens, embedder) = if generation.is_multiple_of(2) {
        (CutOptions::default().budget_tokens, &FIRST)
    } else {
        (60.0, &SECOND)
    };
    store.configure(ReadOptions {
        cut: CutOptions {
            budget_tokens: tokens,
            ..CutOptions::default()
        },
        ..ReadOptions::default()
    });
    store.reindex(Some(embedder), &mut |_| Go::On).unwrap();
    while store.embed_pending(embedder, 100).unwrap() > 0 {}
}

fn is_killed(status: ExitStatus) -> bool {
    const SIGKILL: i32 = 9;
    status.signal() == Some(SIGKILL)
}

#[test]
fn killed_at_any_moment_nothing_is_lost_or_doubled() {
    let mut changing = Changing::new();
    copy_old_store(&changing.home.join("old"));
    let watch = Stopwatch::start();
    assert!(changing.child(None).wait().unwrap().success());
    let whole_ms = watch.ms() as u64;
    changing.recover_and_check();
    let n_kills = cases(KILLS.0, KILLS.1);
    let mut rng = Rng::new(20_26);
    let mut n_killed = 0;
    for kill in 0..n_kills {
        changing.next();
        let mut child = changing.child(None);
        let after_ms = rng.below(whole_ms.max(50));
        std::thread::sleep(Duration::from_millis(after_ms));
        let _ = child.kill();
        let killed = is_killed(child.wait().unwrap());
        n_killed += usize::from(killed);
        let left = Store::open(&changing.house.data, Access::Read)
            .and_then(|store| store.view(&Reader::keeper())?.status())
            .map_or_else(
                |error| error.to_string(),
                |s| format!("{} documents, {} queued", s.documents, s.queued),
            );
        let watch = Stopwatch::start();
        changing.recover_and_check();
        let verdict = if killed { "killed" } else { "was done" };
        log(&format!(
            "kill {kill}: {verdict} after {after_ms} ms ({left}); whole again in {:.0} ms",
            watch.ms()
        ));
    }
    log(&format!(
        "{n_kills} moments, {n_killed} of them before the work was done: 0 lost, 0 doubled, 0 unreadable"
    ));
    assert!(n_killed > 0, "the child was always faster");
}

#[test]
fn killed_at_every_fail_point_nothing_is_lost_or_doubled() {
    for point in FailPoint::ALL {
        let mut changing = Changing::new();
        copy_old_store(&changing.home.join("old"));
        // One generation is in, so that there is something to change, remove and touch.
        drop({
            let store = changing.house.open();
            changing.house.ingest(&store);
            store
        });
        for nth in [1, 2, 5].into_iter().take(cases(1, 3)) {
            changing.next();
            let status = changing.child(Some(&format!("{point:?}:{nth}"))).wait().unwrap();
            assert!(
                is_killed(status) || status.success() && nth > 1,
                "{point:?} was not passed: {status}"
            );
            changing.recover_and_check();
            let verdict = if is_killed(status) {
                "killed"
            } else {
                "not passed so often"
            };
            log(&format!("{point:?}, time {nth}: {verdict}, whole again"));
        }
    }
}

/// Not a test of its own: takes documents in with little room.
#[test]
fn child_ingests_until_there_is_no_room() {
    let Some(home) = env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let store = Store::open(&home.join("data"), Access::Write).unwrap();
    if let Err(error) = store.ingest(&[home.join("documents")], &mut |_| Go::On) {
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

fn spawn_limited(house: &House, limit_kb: u64) -> Child {
    // The signal is ignored, so that the write fails instead of the process.
    Command::new("bash")
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f {limit_kb}; exec \"$@\""))
        .arg("bash")
        .arg(env::current_exe().unwrap())
        .args([
            "--exact",
            "tests::crash::child_ingests_until_there_is_no_room",
            "--test-threads=1",
        ])
        .env(CHILD, house.data.parent().unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn out_of_room_questions_go_on_and_the_rest_waits() {
    const N: usize = 60;
    let house = House::new();
    for i in 0..N {
        let body = format!("본문 {i} ").repeat(300);
        house.write(&format!("{i:03}.txt"), &format!("canary{i}x {body}"));
    }
    // One file is in, so that there is something to ask.
    let store = house.open();
    ingest(&store, &house.documents.join("000.txt"));
    drop(store);
    let mut ran_out = 0;
    for limit_kb in [160, 256, 400, 640] {
        let status = spawn_limited(&house, limit_kb).wait().unwrap();
        ran_out += usize::from(!status.success());
        let reader = Store::open(&house.data, Access::Read).unwrap();
        check_whole(&reader);
        assert_eq!(names(&find(&reader, "canary0x")), ["000.txt"]);
    }
    assert!(ran_out > 0, "no limit was reached");
    let store = house.open();
    store.resume(&mut |_| Go::On).unwrap();
    house.ingest(&store);
    check_whole(&store);
    assert_eq!(seen(&store).documents().unwrap().len(), N);
    for i in 0..N {
        assert_eq!(
            names(&find(&store, &format!("canary{i}x"))),
            [format!("{i:03}.txt")]
        );
    }
    assert!(store.verify(false).unwrap().is_sound());
    assert_eq!(seen(&store).status().unwrap().read_only, None);
}

#[test]
fn another_process_writes_while_this_one_reads() {
    let changing = Changing::new();
    copy_old_store(&changing.home.join("old"));
    drop(changing.house.open());
    let reader = Store::open(&changing.house.data, Access::Read).unwrap();
    let mut child = changing.child(None);
    let mut n_before = 0;
    while child.try_wait().unwrap().is_none() {
        let n_now = find(&reader, "본문").len();
        assert!(n_now >= n_before, "documents vanished: {n_before}, then {n_now}");
        n_before = n_now;
    }
    assert!(child.wait().unwrap().success());
    changing.check(&reader);
}
