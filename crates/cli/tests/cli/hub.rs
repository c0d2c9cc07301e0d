//! `pull` from a hub: a small local server that speaks its interface.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use stdx::hash::sha256_hex;

use crate::home::Home;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one large file. `cut` bounds the bytes of a first answer, as a broken connection does.
struct Hub {
    content: Vec<u8>,
    stated: String,
    cut: Mutex<Option<usize>>,
    requests: Mutex<Vec<String>>,
}

impl Hub {
    fn start(content: &[u8], stated: String, cut: Option<usize>) -> (Arc<Self>, String) {
        let hub = Arc::new(Self {
            content: content.to_vec(),
            stated,
            cut: Mutex::new(cut),
            requests: Mutex::new(Vec::new()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::clone(&hub);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                served.answer(stream);
            }
        });
        (hub, address)
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let range = headers.iter().find_map(|line| {
            let line = line.to_lowercase();
            let from = line.strip_prefix("range: bytes=")?.strip_suffix('-')?;
            from.parse::<usize>().ok()
        });
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        self.requests.lock().unwrap().push(format!("{path} {range:?}"));
        let reply = if path.contains("/revision/") {
            json(&format!("{{\"sha\":\"{COMMIT}\",\"id\":\"x\"}}"))
        } else if path.contains("/tree/") {
            let (oid, size) = (&self.stated, self.content.len());
            json(&format!(
                "[{{\"type\":\"file\",\"path\":\"README.md\",\"size\":3}},\
                 {{\"type\":\"file\",\"path\":\"OLMoE-Q4_0.gguf\",\"size\":{size},\"lfs\":{{\"oid\":\"{oid}\",\"size\":{size}}}}}]"
            ))
        } else if path.contains("/resolve/") {
            self.file(range)
        } else {
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()
        };
        let _ = stream.write_all(&reply);
    }

    fn file(&self, range: Option<usize>) -> Vec<u8> {
        let from = range.unwrap_or(0);
        let body = &self.content[from..];
        let status = if range.is_some() {
            "206 Partial Content"
        } else {
            "200 OK"
        };
        let mut reply = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        let cut = self.cut.lock().unwrap().take().unwrap_or(body.len());
        reply.extend_from_slice(&body[..cut]);
        reply
    }
}

fn json(text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_broken_download_goes_on_where_it_stopped_and_the_stated_hash_is_checked_and_recorded() {
    let content = content();
    let stated = sha256_hex(&content);
    let (hub, address) = Hub::start(&content, stated.clone(), Some(400_000));
    let home = Home::new().with("HF_ENDPOINT", address.clone());
    let broken = home.run(&["pull", "olmoe"]);
    assert_eq!(broken.code, 3, "{}", broken.stderr);
    assert!(broken.stderr.contains("goes on from there"), "{}", broken.stderr);
    let pulled = home.run(&["pull", "olmoe", "--json"]);
    assert_eq!(pulled.code, 0, "{}", pulled.stderr);
    let model = &pulled.json()["models"][0];
    assert_eq!(
        (model["sha256"].as_str(), model["hash_from"].as_str()),
        (Some(stated.as_str()), Some("stated by the hub"))
    );
    assert!(model["source"].as_str().unwrap().contains(COMMIT));
    let file = home.path(".local/share/hanok/models/OLMoE-1B-7B-0125-Instruct-Q4_0.gguf");
    assert_eq!(stdx::fs::read(file).unwrap(), content);
    let requests = hub.requests.lock().unwrap();
    assert!(
        requests.iter().any(|r| r.ends_with("Some(400000)")),
        "{requests:?}"
    );
    drop(requests);
    let again = home.run(&["pull", "olmoe", "--json"]).json();
    assert_eq!(again["models"][0]["fetched"], false);
}

#[test]
fn a_file_with_another_hash_than_the_hub_states_is_removed() {
    let (_hub, address) = Hub::start(&content(), "a".repeat(64), None);
    let home = Home::new().with("HF_ENDPOINT", address);
    let ended = home.run(&["pull", "allenai/OLMoE:OLMoE-Q4_0.gguf"]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("the file was removed"), "{}", ended.stderr);
    let models = stdx::fs::read_dir(home.path(".local/share/hanok/models")).unwrap();
    let left = models
        .iter()
        .filter(|path| path.to_string_lossy().contains("OLMoE"))
        .count();
    assert_eq!(left, 0, "{models:?}");
}

#[test]
fn an_unreachable_hub_and_a_missing_file_are_clear_messages() {
    let unreachable = Home::new()
        .with("HF_ENDPOINT", "http://127.0.0.1:9")
        .run(&["pull", "olmoe"]);
    assert_eq!(unreachable.code, 3);
    assert!(
        unreachable.stderr.contains("HTTPS_PROXY"),
        "{}",
        unreachable.stderr
    );
    let (_hub, address) = Hub::start(b"x", "a".repeat(64), None);
    let missing = Home::new()
        .with("HF_ENDPOINT", address)
        .run(&["pull", "org/repo:nothing.gguf"]);
    assert_eq!(missing.code, 3);
    assert!(missing.stderr.contains("has no such file"), "{}", missing.stderr);
}
