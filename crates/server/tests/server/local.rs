//! The local socket, from the side of the commands.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};

use assistant::Wanted;
use server::local::{Call, Client, ClientError, EventLine, Outcome, Socket};
use server::wire::{AsOfJson, SearchModeJson};

use crate::common::House;

fn call(house: &House, call: Call) -> Result<Outcome, ClientError> {
    connect(house).call(call, String::new(), &mut |_| Wanted::Yes)
}

fn connect(house: &House) -> Client {
    Client::connect(&house.data_dir()).expect("the server answers on its socket")
}

fn question(text: &str) -> Call {
    Call::Ask {
        question: text.into(),
        history: vec![],
        extractive: false,
        as_of: AsOfJson::default(),
    }
}

#[test]
fn every_command_works_through_the_socket() {
    let house = House::start();
    let mut events = Vec::new();
    let answer = connect(&house).call(
        question("When is the garden gate locked?"),
        String::new(),
        &mut |event| {
            events.push(event);
            Wanted::Yes
        },
    );
    let Ok(Outcome::Ask(answer)) = answer else {
        panic!("{answer:?}");
    };
    assert!(answer.text().contains("nine o'clock"));
    assert!(events.iter().any(|event| matches!(event, EventLine::Ask(_))));

    let search = Call::Search {
        question: "badge".into(),
        k: 5,
        mode: SearchModeJson::Lexical,
        as_of: AsOfJson::default(),
    };
    let Ok(Outcome::Search(found)) = call(&house, search) else {
        panic!("no search");
    };
    let hit = &found.hits[0];
    let show = Call::Show {
        document_id: hit.document_id.clone(),
        version: Some(hit.version.clone()),
        start: Some(hit.start),
        end: Some(hit.end),
    };
    let Ok(Outcome::Show(Some(part))) = call(&house, show) else {
        panic!("no text");
    };
    assert_eq!(part.text, hit.text);

    let Ok(Outcome::Documents(list)) = call(&house, Call::Documents) else {
        panic!("no list");
    };
    assert_eq!(list.documents.len(), 2);
    let Ok(Outcome::Status(status)) = call(&house, Call::Status) else {
        panic!("no status");
    };
    assert_eq!((status.documents, status.generation.as_str()), (2, "none"));
    let remove = Call::Remove {
        document_id: hit.document_id.clone(),
    };
    assert!(matches!(call(&house, remove.clone()), Ok(Outcome::Remove(true))));
    assert!(matches!(call(&house, remove), Ok(Outcome::Remove(false))));
}

#[test]
fn an_ingest_through_the_socket_reports_its_progress() {
    let house = House::start();
    let file = house.dir.path().join("well.md");
    stdx::fs::write(&file, "# The well\n\nThe well is seven metres deep.\n").unwrap();
    let mut events = Vec::new();
    let done = connect(&house).call(
        Call::Ingest {
            paths: vec![file],
            retry: false,
        },
        String::new(),
        &mut |event| {
            events.extend(event.ingest_event());
            Wanted::Yes
        },
    );
    let Ok(Outcome::Ingest(report)) = done else {
        panic!("{done:?}");
    };
    assert_eq!((report.added, report.failed.len()), (1, 0));
    assert!(
        matches!(events[0], knowledge::IngestEvent::Planned { files: 1, .. }),
        "{events:?}"
    );
    assert!(matches!(
        events.last(),
        Some(knowledge::IngestEvent::Finished { failed: None, .. })
    ));
}

#[test]
fn a_refused_call_carries_its_message() {
    let house = House::start();
    let refused = call(&house, question(" "));
    assert!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
    let relative = Call::Ingest {
        paths: vec!["relative.txt".into()],
        retry: false,
    };
    assert!(
        call(&house, relative)
            .unwrap_err()
            .to_string()
            .contains("absolute")
    );
}

#[test]
fn a_caller_that_says_no_ends_the_call() {
    let house = House::start();
    let ended = connect(&house).call(
        question("When is the garden gate locked?"),
        String::new(),
        &mut |_| Wanted::No,
    );
    assert!(matches!(ended, Err(ClientError::Cancelled)));
    assert!(call(&house, Call::Status).is_ok());
}

#[test]
fn nonsense_on_the_socket_is_answered_with_an_error() {
    let house = House::start();
    for line in [
        "",
        "{",
        "{\"schema\":1,\"call\":\"fly\"}",
        "{\"schema\":9,\"call\":\"status\"}",
        "\u{0}",
    ] {
        let mut stream = UnixStream::connect(house.data_dir().join("hanok.sock")).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).unwrap();
        assert!(reply.starts_with("{\"error\":{\"message\":"), "{line:?}: {reply}");
    }
}

#[test]
fn the_socket_is_private_and_goes_with_the_server() {
    let house = House::start();
    let path = house.data_dir().join("hanok.sock");
    let mode = stdx::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let dir = house.dir.path().to_owned();
    assert!(Client::connect(&dir.join("data")).is_some());
    assert!(Client::connect(&dir).is_none());
    let data = house.data_dir();
    let kept = tempfile::tempdir().unwrap();
    drop(house);
    assert!(!data.join("hanok.sock").exists());
    drop(kept);
}

#[tokio::test]
async fn a_socket_file_left_over_from_a_crash_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hanok.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists() && Client::connect(dir.path()).is_none());
    let socket = Socket::bind(dir.path()).unwrap();
    assert!(Client::connect(dir.path()).is_some());
    let second = Socket::bind(dir.path()).unwrap_err();
    assert!(second.to_string().contains("another server"), "{second}");
    drop(socket);
    assert!(!path.exists());
}
