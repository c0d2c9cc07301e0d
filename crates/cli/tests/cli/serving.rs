//! `serve`, and the other commands while it runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::home::{Home, handbook, text};

/// A running server; ended by SIGTERM, or killed with the test.
pub(crate) struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    pub(crate) fn start_with(home: &Home, more: &[&str]) -> Self {
        let mut child = home
            .command(&[&["serve", "--port", "0", "--json"], more].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        Self {
            child,
            address: said["address"].as_str().unwrap().to_owned(),
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn end(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn while_a_server_runs_the_other_commands_go_through_it() {
    let home = Home::new();
    home.run(&["ingest", text(&handbook(&home)), "--no-vectors"]);
    let server = Server::start(&home);
    assert!(
        server.get("/health").contains("\"generation\":\"none\""),
        "{}",
        server.get("/health")
    );
    home.put(
        "docs/second.md",
        "# Lanterns\n\nThe lantern of the gate burns with rapeseed oil.\n",
    );
    let ingested = home.run(&["ingest", text(&home.path("docs")), "--json"]);
    assert_eq!(ingested.json()["added"], 1, "{}", ingested.stderr);
    let asked = home.run(&[
        "ask",
        "What does the lantern of the gate burn with?",
        "--extractive",
        "--json",
    ]);
    assert_eq!(asked.code, 0, "{}{}", asked.stdout, asked.stderr);
    assert!(asked.stdout.contains("rapeseed"), "{}", asked.stdout);
    let listed = home.run(&["documents", "--json"]).json();
    assert_eq!(listed["documents"].as_array().unwrap().len(), 2);
    let id = listed["documents"][0]["document_id"].as_str().unwrap();
    assert_eq!(
        home.run(&["show", id, "--span", "0..5"]).stdout.chars().count(),
        5
    );
    assert_eq!(home.run(&["remove", id]).code, 0);
    let second = home.run(&["serve", "--port", "0"]);
    assert_eq!(
        second.code, 3,
        "two servers on one data directory: {}",
        second.stderr
    );
    assert_eq!(server.end(), 0);
}

#[test]
fn a_public_address_without_a_token_is_refused() {
    let home = Home::new();
    let ended = home.run(&["serve", "--address", "0.0.0.0", "--port", "0"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("HANOK_TOKEN"), "{}", ended.stderr);
}
