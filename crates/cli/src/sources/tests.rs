//! Sources against a small server in this process that checks what it is asked, and fails where a test wants it to.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use knowledge::mirror::{Manifest, folder};
use stdx::fs;

use super::credentials::Secret;
use super::sigv4::{self, Signable};
use super::{Mirrored, Spec, Trouble, mirror};
use crate::settings::Environment;

/// A request as it arrived.
struct Asked {
    method: String,
    /// Path and query, as on the wire.
    target: String,
    headers: BTreeMap<String, String>,
}

impl Asked {
    fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is answered; `cut` breaks the body off after so many bytes.
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
}

fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        body: body.into(),
        cut: None,
    }
}

type Answer = Box<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A server with an answer that can be exchanged, and a list of what it was asked.
struct Server {
    address: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            answer: Arc::new(Mutex::new(Box::new(answer))),
            asked: Arc::default(),
        };
        let (answer, asked) = (Arc::clone(&server.answer), Arc::clone(&server.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &answer, &asked);
            }
        });
        server
    }

    fn answers(&self, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn serve(mut stream: TcpStream, answer: &Mutex<Answer>, asked: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    });
    let request = Asked {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        headers: headers.collect(),
    };
    asked
        .lock()
        .unwrap()
        .push(format!("{} {}", request.method, request.target));
    let reply = answer.lock().unwrap()(&request);
    let mut text = format!(
        "HTTP/1.1 {} X\r\ncontent-length: {}\r\nconnection: close\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    let _ = stream.write_all(&[text.as_bytes(), body].concat());
}

/// A data directory and the source that a test is about.
struct House {
    dir: tempfile::TempDir,
    spec: Spec,
    environment: Environment,
}

impl House {
    fn new(source: &str, variables: &[(&str, &str)]) -> Self {
        let table: toml::Table = format!("[[source]]\nname = \"my-box\"\n{source}")
            .parse()
            .unwrap();
        let spec = super::parse(&table["source"], Path::new("/")).unwrap().remove(0);
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            dir: tempfile::tempdir().unwrap(),
            spec,
            environment: variables.collect(),
        }
    }

    fn sync(&self) -> Result<Mirrored, Trouble> {
        mirror(&self.spec, self.dir.path(), &self.environment, &|| false)
    }

    fn copy(&self, path: &str) -> Option<String> {
        fs::read_to_string(folder(self.dir.path(), "my-box").join(path)).ok()
    }

    fn addresses(&self) -> Vec<String> {
        let manifest = Manifest::load(self.dir.path(), "my-box").unwrap();
        manifest
            .objects
            .into_values()
            .map(|object| object.address)
            .collect()
    }
}

const KEY: [(&str, &str); 2] = [
    ("HANOK_SOURCE_MY_BOX_KEY_ID", "AKIDEXAMPLE"),
    ("HANOK_SOURCE_MY_BOX_SECRET", "a secret key"),
];

/// Objects of a bucket: key, etag, content.
type Objects = Vec<(&'static str, &'static str, &'static str)>;

/// Recomputes the signature from what came over the wire.
fn is_signed(asked: &Asked) -> bool {
    let names = ["host", "x-amz-content-sha256", "x-amz-date"];
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (*name, asked.header(name))).collect();
    let request = Signable {
        method: &asked.method,
        path: asked.path(),
        query: asked.query(),
        headers: &headers,
        payload_sha256: sigv4::EMPTY_SHA256,
    };
    let secret = Secret::from("a secret key");
    let date = asked.header("x-amz-date");
    asked.header("authorization") == sigv4::authorization(&request, "AKIDEXAMPLE", &secret, "us-east-1", date)
}

/// A bucket that lists two objects a page.
fn bucket(objects: Objects) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    move |asked| {
        if !is_signed(asked) {
            return reply(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>");
        }
        if asked.path() == "/box" {
            let token = asked
                .query()
                .split('&')
                .find_map(|pair| pair.strip_prefix("continuation-token="));
            let from: usize = token.map_or(0, |token| token.trim_start_matches("at").parse().unwrap());
            return reply(200, page(&objects, from));
        }
        let found = objects
            .iter()
            .find(|(key, ..)| format!("/box/{}", sigv4::escaped(key, true)) == asked.path());
        found.map_or_else(|| reply(404, ""), |(_, _, content)| reply(200, *content))
    }
}

fn page(objects: &Objects, from: usize) -> String {
    let mut text = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.example/\"><EncodingType>url</EncodingType>".to_owned();
    for (key, etag, content) in objects.iter().skip(from).take(2) {
        let key = sigv4::escaped(key, true).replace("%20", "+");
        text.push_str(&format!(
            "\n<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>&quot;{etag}&quot;</ETag><Size>{}</Size></Contents>",
            content.len()
        ));
    }
    let goes_on = from + 2 < objects.len();
    text.push_str(&format!("<IsTruncated>{goes_on}</IsTruncated>"));
    if goes_on {
        text.push_str(&format!(
            "<NextContinuationToken>at{}</NextContinuationToken>",
            from + 2
        ));
    }
    text + "</ListBucketResult>"
}

fn s3(server: &Server) -> House {
    let source = format!(
        "kind = \"s3\"\nendpoint = \"http://{}\"\nbucket = \"box\"\n",
        server.address
    );
    House::new(&source, &KEY)
}

fn objects() -> Objects {
    vec![
        ("계약/2026 년+계약.md", "1", "contract"),
        ("../../escape.txt", "2", "up and away"),
        ("a", "3", "a file"),
        ("a/b.txt", "4", "in a folder of the same name"),
        ("folder/", "5", ""),
        (".git/config", "6", "hidden"),
    ]
}

#[test]
fn a_bucket_is_listed_page_by_page_and_only_what_changed_is_fetched() {
    let server = Server::start(bucket(objects()));
    let house = s3(&server);
    let done = house.sync().unwrap();
    assert_eq!(
        (done.listed, done.fetched, done.deleted, done.failed.len()),
        (4, 4, 0, 0),
        "{done:?}"
    );
    assert_eq!(
        server
            .asked()
            .iter()
            .filter(|asked| asked.contains("list-type=2"))
            .count(),
        3
    );
    assert_eq!(house.copy("계약/2026 년+계약.md").as_deref(), Some("contract"));
    assert_eq!(house.copy("%2E./%2E./escape.txt").as_deref(), Some("up and away"));
    assert_eq!(
        (house.copy("a%f").as_deref(), house.copy("a/b.txt").is_some()),
        (Some("a file"), true)
    );
    assert!(
        house
            .addresses()
            .contains(&"s3://box/계약/2026 년+계약.md".to_owned())
    );
    assert_eq!(house.sync().unwrap().fetched, 0);
    assert_eq!(server.asked().len(), 3);
    let mut changed = objects();
    changed[0] = ("계약/2026 년+계약.md", "1b", "contract, amended");
    changed.remove(3);
    server.answers(bucket(changed));
    let done = house.sync().unwrap();
    // `a` is no folder's name any more, so its copy has its own name again.
    assert_eq!((done.fetched, done.deleted), (2, 2), "{done:?}");
    assert_eq!(
        house.copy("계약/2026 년+계약.md").as_deref(),
        Some("contract, amended")
    );
    assert_eq!(
        (house.copy("a").as_deref(), house.copy("a%f")),
        (Some("a file"), None)
    );
}

#[test]
fn a_list_that_is_cut_short_or_not_to_be_had_deletes_nothing() {
    let server = Server::start(bucket(objects()));
    let house = s3(&server);
    house.sync().unwrap();
    let breaks: [fn(&Asked) -> Reply; 5] = [
        |_| reply(500, "<Error><Code>InternalError</Code></Error>"),
        |_| reply(403, "<Error><Code>AccessDenied</Code></Error>"),
        |_| reply(200, "<ListBucketResult><Contents><Key>a</Key></Contents>"),
        |_| {
            reply(
                200,
                "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            )
        },
        |asked| {
            let text = page(&vec![("x", "1", "x"); 3], 0);
            let cut = asked.query().contains("token").then_some(40);
            Reply {
                cut,
                ..reply(200, text)
            }
        },
    ];
    for broken in breaks {
        server.answers(broken);
        let trouble = house.sync().unwrap_err();
        assert!(trouble.hint.is_some(), "{trouble:?}");
        assert!(!trouble.sentence().contains("secret key"), "{trouble:?}");
        assert_eq!(house.addresses().len(), 4);
        assert!(house.copy("a/b.txt").is_some());
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = format!("kind = \"s3\"\nendpoint = \"http://{nobody}\"\nbucket = \"box\"\n");
    let trouble = House::new(&source, &KEY).sync().unwrap_err();
    assert!(trouble.message.contains("cannot be reached"), "{trouble:?}");
}

#[test]
fn an_answer_that_breaks_off_is_asked_for_again_and_one_that_fails_leaves_the_rest() {
    let server = Server::start(bucket(objects()));
    let house = s3(&server);
    let n_cut = Arc::new(Mutex::new(0));
    let whole = bucket(objects());
    server.answers(move |asked| {
        let mut reply = whole(asked);
        let mut n_cut = n_cut.lock().unwrap();
        if asked.path() == "/box/a/b.txt" && *n_cut < 2 {
            *n_cut += 1;
            reply.cut = Some(3);
        }
        if asked.path() == "/box/a" {
            reply.status = 403;
        }
        reply
    });
    let done = house.sync().unwrap();
    assert_eq!((done.fetched, done.failed.len()), (3, 1), "{done:?}");
    assert_eq!(
        house.copy("a/b.txt").as_deref(),
        Some("in a folder of the same name")
    );
    assert_eq!(done.failed[0].0, "s3://box/a");
    server.answers(bucket(objects()));
    assert_eq!(house.sync().unwrap().fetched, 1);
}

#[test]
fn what_says_who_may_read_comes_first_or_nothing_comes() {
    let with_rules: fn() -> Objects = || vec![("hr/pay.txt", "1", "pay"), ("hr/.hanok-access", "2", "hr\n")];
    let whole = bucket(with_rules());
    let server = Server::start(move |asked| {
        if asked.path().ends_with(".hanok-access") {
            reply(403, "")
        } else {
            whole(asked)
        }
    });
    let house = s3(&server);
    let trouble = house.sync().unwrap_err();
    assert!(trouble.sentence().contains("who may read"), "{trouble:?}");
    assert_eq!(house.copy("hr/pay.txt"), None);
    server.answers(bucket(with_rules()));
    server.asked();
    assert_eq!(house.sync().unwrap().fetched, 2);
    let order = server.asked();
    let at = |end: &str| order.iter().position(|asked| asked.ends_with(end)).unwrap();
    assert!(at(".hanok-access") < at("pay.txt"), "{order:?}");
}

const USER: [(&str, &str); 2] = [
    ("HANOK_SOURCE_MY_BOX_USER", "clerk"),
    ("HANOK_SOURCE_MY_BOX_PASSWORD", "open sesame"),
];

fn multistatus(entries: &[(&str, Option<&str>)]) -> Reply {
    let mut text = "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">".to_owned();
    for (href, etag) in entries {
        let prop = match etag {
            Some(etag) => format!("<D:getetag>{etag}</D:getetag><D:resourcetype/>"),
            None => "<D:resourcetype><D:collection/></D:resourcetype>".to_owned(),
        };
        text.push_str(&format!(
            "<D:response><D:href>{href}</D:href><D:propstat><D:prop>{prop}</D:prop><D:status>HTTP/1.1 200 OK</D:status>\
             </D:propstat><D:propstat><D:prop><D:getetag/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status>\
             </D:propstat></D:response>"
        ));
    }
    reply(207, text + "</D:multistatus>")
}

fn share(asked: &Asked) -> Reply {
    // "clerk:open sesame"
    if asked.header("authorization") != "Basic Y2xlcms6b3BlbiBzZXNhbWU=" {
        return reply(401, "");
    }
    match (asked.method.as_str(), asked.path()) {
        ("PROPFIND", _) if asked.header("depth") != "1" => reply(403, ""),
        ("PROPFIND", "/dav/docs/") => multistatus(&[
            ("/dav/docs/", None),
            ("/dav/docs/a%20b.txt", Some("1")),
            ("/dav/docs/%EA%B3%84%EC%95%BD", None),
            ("/dav/docs/closed/", None),
        ]),
        ("PROPFIND", "/dav/docs/%EA%B3%84%EC%95%BD/") => multistatus(&[
            ("/dav/docs/%EA%B3%84%EC%95%BD/", None),
            ("/dav/docs/%EA%B3%84%EC%95%BD/1.md", Some("2")),
        ]),
        ("PROPFIND", "/dav/docs/closed/") => {
            multistatus(&[("/dav/docs/closed/", None), ("/dav/docs/closed/c.txt", Some("3"))])
        }
        ("GET", path) => reply(200, path.to_owned()),
        _ => reply(404, ""),
    }
}

fn webdav(server: &Server) -> House {
    let source = format!(
        "kind = \"webdav\"\nurl = \"http://{}/dav/docs\"\n",
        server.address
    );
    House::new(&source, &USER)
}

#[test]
fn a_share_is_listed_folder_by_folder_and_what_is_closed_keeps_what_was_there() {
    let server = Server::start(share);
    let house = webdav(&server);
    let done = house.sync().unwrap();
    assert_eq!(
        (done.listed, done.fetched, done.failed.len()),
        (3, 3, 0),
        "{done:?}"
    );
    assert_eq!(
        house.copy("계약/1.md").as_deref(),
        Some("/dav/docs/%EA%B3%84%EC%95%BD/1.md")
    );
    assert!(
        house
            .addresses()
            .contains(&format!("http://{}/dav/docs/계약/1.md", server.address))
    );
    server.asked();
    assert_eq!(house.sync().unwrap().fetched, 0);
    assert!(server.asked().iter().all(|asked| asked.starts_with("PROPFIND")));
    server.answers(|asked| match (asked.method.as_str(), asked.path()) {
        ("PROPFIND", "/dav/docs/closed/") => reply(403, ""),
        ("PROPFIND", "/dav/docs/%EA%B3%84%EC%95%BD/") => multistatus(&[]),
        _ => share(asked),
    });
    let done = house.sync().unwrap();
    assert_eq!((done.deleted, done.failed.len()), (1, 1), "{done:?}");
    assert!(house.copy("closed/c.txt").is_some() && house.copy("계약/1.md").is_none());
    server.answers(|asked| match asked.path() {
        "/dav/docs/closed/" => reply(503, ""),
        _ => share(asked),
    });
    house.sync().unwrap_err();
    assert!(house.copy("closed/c.txt").is_some());
}

#[test]
fn what_a_share_says_of_other_places_is_not_believed() {
    for elsewhere in [
        "/dav/other/x.txt",
        "/dav/docs/%2e%2e/x.txt",
        "http://other.example/dav/docs/x.txt",
    ] {
        let server = Server::start(move |_| multistatus(&[("/dav/docs/", None), (elsewhere, Some("1"))]));
        let trouble = webdav(&server).sync().unwrap_err();
        assert!(trouble.hint.is_some(), "{elsewhere}: {trouble:?}");
        assert!(server.asked().iter().all(|asked| asked.starts_with("PROPFIND")));
    }
}

#[test]
fn pages_are_sent_again_only_when_they_changed_and_lead_nowhere_else() {
    let server = Server::start(|asked| match asked.path() {
        "/rules.html" if asked.header("if-none-match") == "\"v1\"" => reply(304, ""),
        "/rules.html" => Reply {
            headers: vec![("etag", "\"v1\"".to_owned())],
            ..reply(200, "<a href=\"/other.html\">rules</a>")
        },
        "/plain" => reply(200, "plain"),
        "/moved" => Reply {
            headers: vec![("location", "http://other.example/".to_owned())],
            ..reply(302, "")
        },
        "/huge" => reply(200, vec![b'x'; 4096]),
        _ => reply(404, ""),
    });
    let at = &server.address;
    let urls = ["rules.html", "plain", "moved", "huge", "gone"].map(|page| format!("\"http://{at}/{page}\""));
    let house = House::new(
        &format!(
            "kind = \"pages\"\nurls = [{}]\nmax_bytes = 1000\n",
            urls.join(",")
        ),
        &[],
    );
    let done = house.sync().unwrap();
    assert_eq!((done.fetched, done.failed.len()), (2, 3), "{done:?}");
    let words: Vec<&str> = done.failed.iter().map(|(_, why)| why.as_str()).collect();
    let all = words.join("\n");
    assert!(
        all.contains("http://other.example/") && all.contains("max_bytes") && all.contains("404"),
        "{all}"
    );
    assert!(server.asked().iter().all(|asked| !asked.contains("other")));
    assert_eq!(house.sync().unwrap().fetched, 0);
    let rest = format!("kind = \"pages\"\nurls = [\"http://{at}/plain\"]\n");
    let rest = House {
        spec: House::new(&rest, &[]).spec,
        ..house
    };
    assert_eq!(rest.sync().unwrap().deleted, 1);
    server.answers(|_| reply(410, ""));
    assert_eq!(rest.sync().unwrap().deleted, 1);
}

#[test]
fn a_source_that_cannot_be_meant_is_refused() {
    let cases = [
        (
            "name = \"A\"\nkind = \"pages\"\nurls = [\"http://h/\"]",
            "small letters",
        ),
        (
            "name = \"../a\"\nkind = \"pages\"\nurls = [\"http://h/\"]",
            "small letters",
        ),
        ("name = \"a\"\nkind = \"ftp\"", "not known"),
        ("name = \"a\"\nkind = \"pages\"", "0 pages"),
        (
            "name = \"a\"\nkind = \"pages\"\nurls = [\"file:///etc/passwd\"]",
            "host",
        ),
        ("name = \"a\"\nkind = \"pages\"\nurls = [\"ftp://h/\"]", "http"),
        (
            "name = \"a\"\nkind = \"webdav\"\nurl = \"https://u:hunter2@h/\"",
            "password",
        ),
        (
            "name = \"a\"\nkind = \"webdav\"\nurl = \"https://h/a/../b\"",
            "`..`",
        ),
        (
            "name = \"a\"\nkind = \"s3\"\nendpoint = \"https://h\"",
            "`bucket`",
        ),
        (
            "name = \"a\"\nkind = \"s3\"\nendpoint = \"https://h/x\"\nbucket = \"b\"",
            "path",
        ),
        (
            "name = \"a\"\nkind = \"s3\"\nendpoint = \"https://h\"\nbucket = \"b/c\"",
            "bucket",
        ),
        (
            "name = \"a\"\nkind = \"s3\"\nendpoint = \"https://h\"\nbucket = \"b\"\nurl = \"https://h\"",
            "belongs",
        ),
        ("name = \"a\"\nkind = \"s3\"\nsecret = \"hunter2\"", "secret"),
    ];
    for (table, word) in cases {
        let table: toml::Table = format!("[[source]]\n{table}\n").parse().unwrap();
        let what = super::parse(&table["source"], Path::new("/")).unwrap_err();
        assert!(what.contains(word), "{what}");
        assert!(!what.contains("hunter2"), "{what}");
    }
}

#[test]
fn credentials_come_from_a_private_file_and_are_never_shown() {
    let server = Server::start(bucket(objects()));
    let mut house = s3(&server);
    house.environment = Environment::default();
    let file = house.dir.path().join("key.toml");
    fs::write(&file, "key_id = \"AKIDEXAMPLE\"\nsecret = \"a secret key\"\n").unwrap();
    house.spec.credentials = Some(file.clone());
    let set_mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o644);
    assert!(house.sync().unwrap_err().sentence().contains("chmod 600"));
    set_mode(0o600);
    assert_eq!(house.sync().unwrap().fetched, 4);
    let secret = Secret::from("a secret key");
    assert!(!format!("{secret:?}").contains("key"));
    house.spec.credentials = None;
    house.environment = [("HANOK_SOURCE_MY_BOX_SECRET".to_owned(), "x".to_owned())]
        .into_iter()
        .collect();
    assert!(
        house
            .sync()
            .unwrap_err()
            .sentence()
            .contains("HANOK_SOURCE_MY_BOX_KEY_ID")
    );
}
