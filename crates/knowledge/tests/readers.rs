//! Hostile documents read in a child process: this very program, which for the hidden argument becomes the
//! reader. Without the usual test harness, for that would write into the answer.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use knowledge::read::{self, Isolation, Limits, ReadError};

mod harness;

use harness::{Test, run_as_harness};

const BLOCKED: &str = "__blocked";
const CRASH: &str = "__crash";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(read::WORKER_COMMAND) => return worker(),
        Some(BLOCKED) => {
            std::thread::sleep(Duration::from_secs(60));
            return ExitCode::SUCCESS;
        }
        Some(CRASH) => std::process::abort(),
        _ => {}
    }
    let tests: [(&str, Test); 6] = [
        ("reads_a_document_in_a_child", reads_a_document_in_a_child),
        ("hands_errors_over", hands_errors_over),
        (
            "stops_a_child_that_takes_too_long",
            stops_a_child_that_takes_too_long,
        ),
        ("survives_a_child_that_crashes", survives_a_child_that_crashes),
        ("limits_the_memory_of_the_child", limits_the_memory_of_the_child),
        (
            "forbids_the_child_files_and_sockets",
            forbids_the_child_files_and_sockets,
        ),
    ];
    run_as_harness(&tests)
}

fn worker() -> ExitCode {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    if std::env::args().nth(2).is_some() {
        // What a reader taken over by a document would try.
        let limits = stdx::process::ProcessLimits {
            memory_bytes: 1 << 30,
            cpu_s: 5,
            file_bytes: 0,
            open_files: 3,
        };
        stdx::process::limit_this_process(&limits).expect("lowering limits is always allowed");
        let can_read = stdx::fs::read("/etc/passwd").is_ok();
        let can_write = stdx::fs::write("/tmp/hanok-readers-test", b"x").is_ok();
        let can_connect = std::net::TcpListener::bind("127.0.0.1:0").is_ok();
        let what = format!("{can_read} {can_write} {can_connect}");
        let answer = format!("{{\"Err\":{{\"Crashed\":{{\"what\":\"{what}\"}}}}}}");
        output.write_all(answer.as_bytes()).expect("the parent listens");
        return ExitCode::SUCCESS;
    }
    match read::worker_main(&mut input, &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

const HTML: &[u8] = "<html><title>제목</title><body><h1>안내</h1><p>본문이다.</p></body></html>".as_bytes();

fn process(exe: &Path, args: &[&str]) -> Isolation {
    Isolation::Process {
        exe: exe.to_owned(),
        args: args.iter().map(OsString::from).collect(),
    }
}

fn reads_a_document_in_a_child(exe: &Path) {
    let limits = Limits::default();
    let path = Path::new("a.html");
    let document = read::isolated(exe, path, HTML, &limits).expect("plain HTML can be read");
    assert_eq!(document.title.as_deref(), Some("제목"));
    let here = read::read(path, HTML, &Isolation::Thread, &limits);
    assert_eq!(here, Ok(document));
    let there = read::read(path, HTML, &process(exe, &[read::WORKER_COMMAND]), &limits);
    assert_eq!(there, here);
}

fn hands_errors_over(exe: &Path) {
    let limits = Limits::default();
    let broken = read::isolated(exe, Path::new("a.pdf"), b"%PDF-1.4 nothing more", &limits);
    assert!(matches!(broken, Err(ReadError::Corrupt { .. })), "{broken:?}");
    let none = PathBuf::from("/none");
    let missing = read::isolated(&none, Path::new("a.html"), HTML, &limits);
    assert!(matches!(missing, Err(ReadError::Io { .. })), "{missing:?}");
}

fn stops_a_child_that_takes_too_long(exe: &Path) {
    let limits = Limits {
        max_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let before = Instant::now();
    let result = read::read(Path::new("a.html"), HTML, &process(exe, &[BLOCKED]), &limits);
    assert!(matches!(result, Err(ReadError::TimedOut { .. })), "{result:?}");
    assert!(before.elapsed() < Duration::from_secs(20));
}

fn survives_a_child_that_crashes(exe: &Path) {
    let isolation = process(exe, &[CRASH]);
    let result = read::read(Path::new("a.html"), HTML, &isolation, &Limits::default());
    assert!(matches!(result, Err(ReadError::Crashed { .. })), "{result:?}");
}

fn limits_the_memory_of_the_child(exe: &Path) {
    let limits = Limits {
        worker_memory_bytes: 256 << 20,
        ..Limits::default()
    };
    let html = [b"<html><p>".as_slice(), &vec![b'a'; 120 << 20]].concat();
    let result = read::isolated(exe, Path::new("a.html"), &html, &limits);
    assert!(
        matches!(result, Err(ReadError::Crashed { .. })),
        "{:?}",
        result.map(|document| document.blocks.len())
    );
}

fn forbids_the_child_files_and_sockets(exe: &Path) {
    let isolation = process(exe, &[read::WORKER_COMMAND, "try"]);
    let result = read::read(Path::new("a.html"), HTML, &isolation, &Limits::default());
    let what = "false false false".to_owned();
    assert_eq!(result, Err(ReadError::Crashed { what }));
}
