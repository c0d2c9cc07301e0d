//! A small blocking HTTP/1.1 client that looks at every response with suspicion: only known headers, always a
//! request id, always an error object with an error.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Headers a response may carry; anything else would be a leak.
const ALLOWED: [&str; 22] = [
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "etag",
    "location",
    "referrer-policy",
    "retry-after",
    "set-cookie",
    "transfer-encoding",
    "www-authenticate",
    "x-content-type-options",
    "x-request-id",
    // Sent by the framework with a redirect or a stream.
    "keep-alive",
    "vary",
    "accept-ranges",
    "content-language",
];

/// Headers every response must carry.
const REQUIRED: [&str; 5] = [
    "x-request-id",
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "cache-control",
];

/// A request to be sent.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    fn head(&self, address: SocketAddr) -> String {
        use std::fmt::Write as _;
        let mut head = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", self.method, self.path);
        if !self.has("host") {
            let _ = write!(head, "host: {address}\r\n");
        }
        if !self.has("content-length") && !self.body.is_empty() {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

/// A response read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The error object, checked for its shape and its request id.
    pub(crate) fn error(&self) -> Value {
        let json = self.json();
        let error = &json["error"];
        assert!(
            error["message"].is_string() && error["type"].is_string(),
            "{json}"
        );
        assert!(
            error.get("param").is_some() && error.get("code").is_some(),
            "{json}"
        );
        assert_eq!(
            error["request_id"].as_str(),
            self.header("x-request-id"),
            "{json}"
        );
        error.clone()
    }

    /// The events of a stream: name ("message" if none) and data. Comments are left out.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        assert_eq!(self.header("content-type"), Some("text/event-stream"));
        let text = self.text();
        assert!(text.ends_with("\n\n"), "a stream ends with an empty line");
        let blocks = text
            .split("\n\n")
            .filter(|block| !block.is_empty() && !block.starts_with(':'));
        let read = |block: &str| {
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::to_owned)
            };
            (
                field("event: ").unwrap_or_else(|| "message".into()),
                field("data: ").unwrap(),
            )
        };
        blocks.map(read).collect()
    }
}

/// Sends requests to one server.
pub(crate) struct Client {
    address: SocketAddr,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.send(&Request::new("GET", path))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        let request = Request::new("POST", path).header("content-type", "application/json");
        self.send(&request.body(body.to_string()))
    }

    pub(crate) fn send(&self, request: &Request) -> Response {
        let mut stream = self.open(request);
        stream.write_all(&request.body).ok();
        read(&mut BufReader::new(stream))
    }

    /// Sends the head and leaves the body to the caller.
    pub(crate) fn open(&self, request: &Request) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream.write_all(request.head(self.address).as_bytes()).unwrap();
        stream
    }
}

/// Reads a response to its end and checks what holds for all.
pub(crate) fn read(reader: &mut impl std::io::BufRead) -> Response {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("no status in {line:?}"))
        .parse()
        .unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response {
        status,
        headers,
        body: Vec::new(),
    };
    // A request that is not HTTP at all is refused before any of our layers.
    let ours = response.header("x-request-id").is_some();
    if response.header("transfer-encoding") == Some("chunked") {
        response.body = unchunk(reader);
    } else {
        reader.read_to_end(&mut response.body).unwrap();
    }
    for (name, _) in &response.headers {
        assert!(
            ALLOWED.contains(&name.as_str()),
            "unexpected header {name} in {response:?}"
        );
    }
    for name in REQUIRED {
        assert!(
            response.header(name).is_some() || !ours,
            "no {name} in {response:?}"
        );
    }
    response
}

fn unchunk(reader: &mut impl std::io::BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Ok(n) = usize::from_str_radix(line.trim(), 16) else {
            return body;
        };
        let mut chunk = vec![0; n + 2];
        reader.read_exact(&mut chunk).unwrap();
        if n == 0 {
            return body;
        }
        body.extend_from_slice(&chunk[..n]);
    }
}

/// A multipart body with one file, and its content type.
pub(crate) fn multipart(name: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    let boundary = "----house";
    let mut body = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n\
         content-type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}
