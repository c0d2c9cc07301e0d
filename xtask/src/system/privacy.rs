//! Nothing leaves the machine: ingest, ask and serve work in a network namespace without a route, and the
//! system calls show that none of them even tried.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::{Bench, Hanok};
use crate::shell;
use crate::test::Outcome;

/// An address that nobody has (RFC 5737).
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Runs the test in a namespace of its own.
pub(super) fn outside(bench: &Bench) -> Result<Outcome> {
    let work = super::workplace("privacy")?;
    super::write_documents(&work.join("documents"))?;
    super::enter("-rn", "privacy", bench, &work)
}

/// The test itself; only loopback exists here.
pub(super) fn inside(hanok: &Hanok) -> Result<()> {
    shell::capture(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    let nowhere = SocketAddr::from((NOWHERE, 80));
    ensure!(
        TcpStream::connect_timeout(&nowhere, Duration::from_secs(2)).is_err(),
        "there is a route out of the namespace, so the test would prove nothing"
    );
    let watched = can_watch(&hanok.work)?;
    if !watched {
        println!("SKIPPED: privacy, system calls: strace is missing or may not trace");
    }
    let documents = hanok.work.join("documents").display().to_string();
    let ingested = step(hanok, watched, &["ingest", &documents])?;
    ensure!(ingested["added"] == 3, "ingest without a network: {ingested}");
    println!("ingest: {} passages", ingested["passages"]);
    for (question, expected) in [
        ("Who keeps the key to the archive room?", "Halvorsen"),
        ("위탁 수수료는 언제 지급합니까?", "27일"),
    ] {
        let answer = step(hanok, watched, &["ask", question, "--extractive"])?;
        ensure!(
            answer["citations"].to_string().contains(expected),
            "`{question}` without a network: {answer}"
        );
    }
    println!("ask: both questions answered with the right quote");
    if hanok.has_models() {
        let answer = step(
            hanok,
            watched,
            &["ask", "When is water turned off in the allotments?"],
        )?;
        ensure!(
            answer["citations"].to_string().contains("October"),
            "a written answer without a network: {answer}"
        );
        let text = step(
            hanok,
            watched,
            &[
                "generate",
                "--prompt",
                "The capital of Norway is",
                "--greedy",
                "--max-tokens",
                "4",
            ],
        )?;
        ensure!(
            text["ids"].as_array().is_some_and(|ids| !ids.is_empty()),
            "generate without a network: {text}"
        );
    } else {
        println!("SKIPPED: privacy, generation: there are no models");
    }
    serve(hanok, watched)
}

fn serve(hanok: &Hanok, watched: bool) -> Result<()> {
    let log = hanok.work.join("serve.strace");
    let log_text = log.display().to_string();
    let wrapper = tracer(&log_text);
    let serving = hanok.serve(if watched { &wrapper } else { &[] })?;
    let (status, body) = serving.post(
        "/api/ask",
        &json!({"question": "When is the rent of a plot due?", "extractive": true}),
    )?;
    ensure!(
        status == 200 && body.contains("first of March"),
        "the server answered {status}: {body}"
    );
    let (status, page) = serving.get("/")?;
    ensure!(
        status == 200 && page.contains("<html"),
        "the page answered {status}"
    );
    println!("serve: answered");
    // A tracer ends as its child does.
    let code = serving.stop()?;
    ensure!(code == 0, "`hanok serve` ended with {code} when asked to end");
    if watched {
        refuse_foreign(&log, "serve")?;
        println!("no connection but loopback and local sockets was attempted");
    }
    Ok(())
}

/// One command that must succeed, watched where possible.
fn step(hanok: &Hanok, watched: bool, arguments: &[&str]) -> Result<serde_json::Value> {
    if !watched {
        return hanok.json_ok(arguments);
    }
    let log = hanok.work.join("strace.log");
    let log_text = log.display().to_string();
    let mut all = arguments.to_vec();
    all.push("--json");
    let mut command = hanok.wrapped(&tracer(&log_text), &all);
    let output = shell::output(&mut command)?;
    let (code, value) = super::hanok::read_json(&shell::shown(&command), &output)?;
    ensure!(
        code == 0,
        "`hanok {}` ended with {code}: {value}",
        arguments.join(" ")
    );
    refuse_foreign(&log, arguments[0])?;
    Ok(value)
}

fn tracer(log: &str) -> [&str; 8] {
    [
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=connect,sendto,sendmsg,sendmmsg",
        "-o",
        log,
        "--",
    ]
}

/// Whether strace is there, may trace, and an attempt to leave the machine is really seen.
fn can_watch(work: &Path) -> Result<bool> {
    if shell::which("strace").is_none() {
        return Ok(false);
    }
    let log = work.join("control.strace");
    let log_text = log.display().to_string();
    let attempt = format!("import socket; socket.socket().connect(('{NOWHERE}', 80))");
    let mut control = Command::new("strace");
    control
        .args(&tracer(&log_text)[1..])
        .args(["python3", "-c", &attempt]);
    if shell::output(&mut control).is_err() || !log.exists() {
        return Ok(false);
    }
    let seen = foreign_addresses(&stdx::fs::read_to_string(&log)?);
    Ok(seen == [NOWHERE.to_string()])
}

fn refuse_foreign(log: &Path, what: &str) -> Result<()> {
    let foreign = foreign_addresses(&stdx::fs::read_to_string(log)?);
    if !foreign.is_empty() {
        bail!("`{what}` tried to reach {}", foreign.join(", "));
    }
    Ok(())
}

/// Internet addresses in a trace that are not loopback.
fn foreign_addresses(trace: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for marker in ["inet_addr(\"", "inet_pton(AF_INET6, \""] {
        for (at, _) in trace.match_indices(marker) {
            let address = trace[at + marker.len()..].split('"').next().unwrap_or_default();
            let loopback = address
                .parse()
                .is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback());
            if !loopback && !found.iter().any(|known| known == address) {
                found.push(address.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_addresses_are_found_and_loopback_is_not() {
        let trace = "1 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"192.0.2.1\")}, 16) = -1\n\
            1 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"127.0.0.53\")}, 16) = 0\n\
            1 connect(3, {sa_family=AF_INET6, sin6_port=htons(1), inet_pton(AF_INET6, \"2001:db8::1\", &sin6_addr)}, 28)\n\
            1 connect(3, {sa_family=AF_UNIX, sun_path=\"/x\"}, 3) = 0\n";
        assert_eq!(foreign_addresses(trace), ["192.0.2.1", "2001:db8::1"]);
    }
}
