//! A disk that fails: the n-th write, truncation, renaming, new folder or sync of a store's whole life fails, for n = 1,
//! 2, … until all succeed. The failures are real ones of the system's calls, made by `strace`, in a child process that is
//! this very program.
//!
//! Without a usual test harness, for that would write by itself and be counted.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use knowledge::{Access, Go, Reader, SearchMode, Store, StoreError};
use stdx::fs;
use testkit::{cases, log};

mod harness;

use harness::{Test, run_as_harness};

/// The child's first argument; the folder of its house follows.
const LIVE: &str = "__live";
const N_FILES: usize = 6;
/// How the child ended.
const DONE: u8 = 0;
const NO_ROOM: u8 = 10;
const DISK_FAILED: u8 = 11;
/// The child would not even open the store.
const NOT_OPENED: u8 = 12;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if let (Some(LIVE), Some(home)) = (args.next().as_deref(), args.next()) {
        return live(Path::new(&home));
    }
    let tests: [(&str, Test); 2] = [
        (
            "whatever_finds_no_room_loses_nothing",
            whatever_finds_no_room_loses_nothing,
        ),
        (
            "a_disk_that_fails_is_not_asked_again",
            a_disk_that_fails_is_not_asked_again,
        ),
    ];
    run_as_harness(&tests)
}

/// What the child does: everything that writes. Whatever fails, questions go on.
fn live(home: &Path) -> ExitCode {
    let data = home.join("data");
    let store = match Store::open(&data, Access::Write) {
        Ok(store) => store,
        Err(error) => return ExitCode::from(kind(&error, NOT_OPENED)),
    };
    let Err(error) = write_everything(home, &store) else {
        return ExitCode::from(DONE);
    };
    assert!(!error.to_string().is_empty());
    let view = store.view(&Reader::keeper()).expect("reading goes on");
    let hits = view
        .search("canaryoldx", 5, SearchMode::Lexical, None)
        .expect("questions go on");
    assert_eq!(hits.len(), 1, "what was in is found");
    let code = kind(&error, 1);
    // A backup may lie on another disk: that one failing keeps nobody from writing here.
    let status = view.status().expect("reading goes on");
    if code == DISK_FAILED && status.read_only.is_some() {
        let again = store.ingest(&[home.join("documents")], &mut |_| Go::On);
        assert!(
            again.is_err_and(|error| error.is_disk_failure()),
            "nothing more is written"
        );
    }
    ExitCode::from(code)
}

fn kind(error: &StoreError, other: u8) -> u8 {
    if error.is_no_space() {
        NO_ROOM
    } else if error.is_disk_failure() || matches!(error, StoreError::Fs(error) if error.is_device_failure()) {
        DISK_FAILED
    } else {
        other
    }
}

fn write_everything(home: &Path, store: &Store) -> Result<(), StoreError> {
    store.ingest(&[home.join("documents")], &mut |_| Go::On)?;
    store.reindex(None, &mut |_| Go::On)?;
    store.ingest_upload("note.txt", b"canaryupx")?;
    store.verify(true)?;
    store.backup(&home.join("backup"))?;
    Store::restore(&home.join("backup"), &home.join("restored"))?;
    drop(Store::open(&home.join("restored"), Access::Write)?);
    Ok(())
}

/// A folder that holds a store with something in it, and documents that are changed, new and gone.
struct House {
    home: PathBuf,
    _temporary: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let temporary = tempfile::tempdir().expect("room for a test");
        let house = Self {
            home: temporary.path().to_owned(),
            _temporary: temporary,
        };
        house.write("old.txt", "canaryoldx");
        house.write("gone.txt", "canarygonex");
        house.write("0.txt", "canary0x before");
        let store = house.open();
        house.ingest(&store);
        drop(store);
        house.age_index();
        fs::remove_file(house.home.join("documents/gone.txt")).expect("a file of ours");
        for i in 0..N_FILES {
            let body = format!("본문 {i} ").repeat(400);
            house.write(&format!("{i}.txt"), &format!("canary{i}x {body}"));
        }
        house
    }

    /// Makes the word index look as if another analyser had made it, so that the child makes a new one.
    fn age_index(&self) {
        let mut aged = 0;
        for entry in walk(&self.home.join("data")) {
            if entry.ends_with("meta.json") {
                let text = fs::read_to_string(&entry).expect("a manifest of ours");
                let (before, name) = text
                    .split_once("analyser ")
                    .expect("the manifest names its analyser");
                fs::write(&entry, format!("{before}analyser 0{name}")).expect("room for a test");
                aged += 1;
            }
        }
        assert_eq!(aged, 1, "one word index");
    }

    fn write(&self, name: &str, text: &str) {
        let folder = self.home.join("documents");
        fs::create_dir_all(&folder).expect("room for a test");
        fs::write(folder.join(name), text).expect("room for a test");
    }

    fn open(&self) -> Store {
        Store::open(&self.home.join("data"), Access::Write).expect("the store opens again")
    }

    fn ingest(&self, store: &Store) {
        let report = store.ingest(&[self.home.join("documents")], &mut |_| Go::On);
        let failed = report.expect("work goes on").failed;
        // An upload of which only the name had come was never acknowledged.
        assert!(failed.iter().all(|file| file.path == "note.txt"), "{failed:?}");
    }

    /// Everything is in once there is room again: once, and right.
    fn check(&self, what: &str) {
        let store = self.open();
        self.ingest(&store);
        let report = store.reindex(None, &mut |_| Go::On).expect("work goes on");
        assert!(!report.stopped, "{what}");
        store
            .ingest_upload("note.txt", b"canaryupx")
            .expect("work goes on");
        let report = store.verify(false).expect("the store can be read");
        assert!(report.is_sound(), "{what}: {report:?}");
        assert_eq!(report.documents, N_FILES + 2, "{what}");
        let view = store.view(&Reader::keeper()).expect("the store can be read");
        let find = |question: &str| {
            let hits = view.search(question, 5, SearchMode::Lexical, None);
            hits.expect("questions are answered").len()
        };
        for i in 0..N_FILES {
            assert_eq!(find(&format!("canary{i}x")), 1, "{what}: {i}");
        }
        assert_eq!(
            (find("canaryoldx"), find("canarygonex"), find("canaryupx")),
            (1, 0, 1),
            "{what}"
        );
        drop(store);
        // A backup is whole or not there.
        if self.home.join("backup").exists() {
            let again = self.home.join("again");
            Store::restore(&self.home.join("backup"), &again)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        if self.home.join("restored/hanok.sqlite").exists() {
            let restored = Store::open(&self.home.join("restored"), Access::Write);
            let report = restored.and_then(|store| store.verify(false));
            assert!(report.is_ok_and(|report| report.is_sound()), "{what}");
        }
    }

    /// Runs the child with `call` failing as `how` says; returns how it ended and what strace saw.
    fn run(&self, exe: &Path, call: &str, how: &str) -> (u8, String) {
        let seen = self.home.join("seen");
        let status = Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-y",
                "-e",
                "trace=write,pwrite64,ftruncate,rename,mkdir,fsync,fdatasync",
            ])
            .args(["-e", &format!("inject={call}:{how}"), "-o"])
            .arg(&seen)
            .arg(exe)
            .arg(LIVE)
            .arg(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("strace was there a moment ago");
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let text = String::from_utf8_lossy(&fs::read(&seen).expect("strace writes its log")).into_owned();
        (code.unwrap_or(u8::MAX), text)
    }
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in fs::read_dir(folder).expect("a folder of ours") {
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Whether calls can be made to fail here.
fn can_inject() -> bool {
    let traced = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-e",
            "inject=rename:error=ENOSPC",
            "-o",
            "/dev/null",
            "true",
        ])
        .stderr(Stdio::null())
        .status();
    let can = traced.is_ok_and(|status| status.success());
    if !can {
        log("SKIPPED: failing disks: strace is not here, or may not trace");
    }
    can
}

/// Which n are tried: all in the long run, else some, further and further apart.
fn next(n: usize) -> usize {
    n + cases(1 + n, 1)
}

fn whatever_finds_no_room_loses_nothing(exe: &Path) {
    // From the n-th call on there is no room; each thread counts by itself.
    let how = |n| format!("error=ENOSPC:when={n}+");
    let calls = ["write", "pwrite64", "ftruncate", "rename", "mkdir"];
    fail_each(exe, &calls, how, |code, _, what| {
        assert!([DONE, NO_ROOM].contains(&code), "{what}: ended with {code}");
    });
}

fn a_disk_that_fails_is_not_asked_again(exe: &Path) {
    let how = |n| format!("error=EIO:when={n}");
    let calls = ["fsync", "fdatasync", "pwrite64", "write"];
    fail_each(exe, &calls, how, |code, seen, what| {
        assert!([DONE, DISK_FAILED].contains(&code), "{what}: ended with {code}");
        check_not_repeated(code, seen, what);
    });
}

/// Lets each of the calls fail at its n-th time, until n is more than there are; `check` sees how the child ended and
/// what strace saw.
fn fail_each(exe: &Path, calls: &[&str], how: impl Fn(usize) -> String, check: impl Fn(u8, &str, &str)) {
    if !can_inject() {
        return;
    }
    let mut summary = String::new();
    for call in calls {
        let (mut n, mut n_failed) = (1, 0);
        loop {
            let house = House::new();
            let (code, seen) = house.run(exe, call, &how(n));
            let what = format!("{call} {}", how(n));
            check(code, &seen, &what);
            house.check(&what);
            if !seen.contains("(INJECTED)") {
                break;
            }
            n_failed += 1;
            n = next(n);
        }
        let _ = write!(summary, " {call} {n_failed};");
    }
    log(&format!(
        "the n-th call, {}, cases that failed:{summary} nothing lost, nothing doubled",
        how(0)
    ));
}

/// No file whose sync failed is synced again.
fn check_not_repeated(code: u8, seen: &str, what: &str) {
    let mut failed: Vec<&str> = Vec::new();
    for line in seen
        .lines()
        .filter(|line| line.contains("fsync(") || line.contains("fdatasync("))
    {
        let Some(file) = line
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'))
            .map(|(file, _)| file)
        else {
            continue;
        };
        assert!(!failed.contains(&file), "{what}: {line}");
        // SQLite passes over a folder that cannot be synced, and so it may be synced again. That of a backup has another
        // name by now.
        let is_folder = Path::new(file).is_dir() || file.ends_with(".partial");
        // Where the log of a new store cannot be switched on, SQLite writes the first page as it was and syncs that; the
        // store does not open.
        let is_undone = file.ends_with("restored/hanok.sqlite") && code == DISK_FAILED;
        if line.contains("(INJECTED)") && !is_folder && !is_undone {
            failed.push(file);
        }
    }
}
