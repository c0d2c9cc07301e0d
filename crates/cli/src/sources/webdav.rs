//! A folder of a WebDAV server: asked folder by folder (PROPFIND, depth 1), because many servers refuse more at once.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knowledge::mirror::Object;
use ureq::http::{Request, Uri, request};

use super::client::{Client, Fault, Trouble};
use super::credentials::Credentials;
use super::mirror::Remote;
use super::names::{readable, unescaped};
use super::xml::{Node, walk};
use super::{Listed, Listing, OBJECTS_MAX};

/// Deeper folders are not listed.
const DEPTH_MAX: usize = 64;

/// A folder on a server.
pub(super) struct Share<'a> {
    /// Ends in a slash.
    at: &'a Uri,
    client: &'a Client<'a>,
    credentials: Credentials,
}

/// What a server says of one thing in a folder.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Entry {
    href: String,
    is_folder: bool,
    etag: Option<String>,
    modified: Option<String>,
    bytes: Option<u64>,
    /// The server's own words when it does not show this one.
    refused: Option<String>,
}

impl<'a> Share<'a> {
    pub(super) fn new(at: &'a Uri, client: &'a Client<'a>, credentials: Credentials) -> Self {
        Self {
            at,
            client,
            credentials,
        }
    }

    fn origin(&self) -> String {
        origin(self.at)
    }

    fn ask(&self, method: &str, path: &str) -> Result<Request<()>, Trouble> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin()));
        let request = if method == "PROPFIND" {
            request.header("depth", "1")
        } else {
            request
        };
        with_user(request, &self.credentials)
            .body(())
            .map_err(|error| Trouble::new(format!("`{path}` cannot be asked for: {error}")))
    }

    /// The entries of one folder, itself left out.
    fn folder(&self, path: &str) -> Result<Vec<Entry>, Trouble> {
        let entries = self.client.retrying(&mut || {
            let text = self.client.text(self.ask("PROPFIND", path)?)?;
            parse(&text).map_err(|what| {
                let trouble =
                    Trouble::new(format!("the list of `{}` cannot be read: {what}", readable(path)));
                Fault::Passing(trouble.hint("is it a WebDAV server that answers there?"), None)
            })
        })?;
        let mut inside = Vec::new();
        for mut entry in entries {
            entry.href = self.path_of(&entry.href)?;
            if same_place(&entry.href, path) {
                continue;
            }
            // Whatever a server says, nothing outside the folder that was asked for is believed.
            let below = unescaped(&entry.href, false);
            let steps = below.split(|byte| *byte == b'/');
            if !below.starts_with(&unescaped(path, false)) || steps.into_iter().any(|step| step == b"..") {
                return Err(Trouble::new(format!(
                    "the list of `{}` names `{}`, which lies elsewhere",
                    readable(path),
                    readable(&entry.href)
                ))
                .hint("is the address of the source the one that the server itself uses?"));
            }
            inside.push(entry);
        }
        Ok(inside)
    }

    /// The path of a reference, which may be a whole address.
    fn path_of(&self, href: &str) -> Result<String, Trouble> {
        let uri: Uri = match href.parse() {
            Ok(uri) => uri,
            // Some servers do not escape what they should.
            Err(_) => {
                return Ok(super::sigv4::escaped(
                    &String::from_utf8_lossy(&unescaped(href, false)),
                    true,
                ));
            }
        };
        if uri.authority().is_some() && uri.authority() != self.at.authority() {
            return Err(
                Trouble::new(format!("the server refers to another one: {}", readable(href)))
                    .hint("name that address if it is meant"),
            );
        }
        Ok(uri.path().to_owned())
    }
}

impl Remote for Share<'_> {
    fn list(&self) -> Result<Listing, Trouble> {
        let root = self.at.path();
        let n_above = root.matches('/').count();
        let mut listing = Listing::default();
        let mut seen = BTreeSet::new();
        let mut open = vec![root.to_owned()];
        while let Some(path) = open.pop() {
            let key = |href: &str| key_below(root, href);
            if !seen.insert(unescaped(&path, false)) {
                continue;
            }
            let entries = match self.folder(&path) {
                Ok(entries) => entries,
                // The first folder is the source; one below it may be closed, or gone since it was named.
                Err(trouble) if path != root && matches!(trouble.status, Some(403 | 404)) => {
                    listing.closed.push((key(&path), trouble.sentence()));
                    continue;
                }
                Err(trouble) => return Err(trouble),
            };
            for entry in entries {
                if let Some(refused) = entry.refused {
                    listing.closed.push((key(&entry.href), refused));
                } else if entry.is_folder {
                    if path.matches('/').count() - n_above >= DEPTH_MAX {
                        listing
                            .closed
                            .push((key(&entry.href), "folders are nested too deep here".to_owned()));
                        continue;
                    }
                    let slash = if entry.href.ends_with('/') { "" } else { "/" };
                    open.push(format!("{}{slash}", entry.href));
                } else {
                    listing.objects.push(Listed {
                        key: key(&entry.href),
                        address: readable(&format!("{}{}", self.origin(), entry.href)),
                        etag: entry.etag,
                        modified: entry.modified,
                        bytes: entry.bytes,
                    });
                }
            }
            if listing.objects.len() + open.len() > OBJECTS_MAX {
                return Err(
                    Trouble::new(format!("the folder holds more than {OBJECTS_MAX} files"))
                        .hint("name folders further down, as several sources"),
                );
            }
        }
        Ok(listing)
    }

    fn request(&self, object: &Listed, _known: Option<&Object>) -> Result<Request<()>, Trouble> {
        self.ask(
            "GET",
            &format!("{}{}", self.at.path(), super::sigv4::escaped(&object.key, true)),
        )
    }

    fn fetch_from(&self) -> &Client<'_> {
        self.client
    }
}

/// Scheme, host and port.
pub(super) fn origin(uri: &Uri) -> String {
    let host = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{host}", uri.scheme_str().unwrap_or("https"))
}

/// Adds basic authentication.
pub(super) fn with_user(request: request::Builder, credentials: &Credentials) -> request::Builder {
    match credentials {
        Credentials::User { user, password } => {
            let both = STANDARD.encode(format!("{user}:{}", password.reveal()));
            request.header("authorization", format!("Basic {both}"))
        }
        _ => request,
    }
}

/// The key of what lies below the source's folder, however the server escapes its path.
fn key_below(root: &str, href: &str) -> String {
    let (root, whole) = (unescaped(root, false), unescaped(href, false));
    let below = whole.strip_prefix(root.as_slice()).unwrap_or(&whole);
    String::from_utf8_lossy(below).into_owned()
}

fn same_place(a: &str, b: &str) -> bool {
    let plain = |path: &str| {
        let mut bytes = unescaped(path, false);
        while bytes.last() == Some(&b'/') {
            bytes.pop();
        }
        bytes
    };
    plain(a) == plain(b)
}

fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let (mut entry, mut part) = (Entry::default(), Entry::default());
    let mut in_part = false;
    walk(text, "multistatus", &mut |node| match node {
        Node::Open("response") => entry = Entry::default(),
        Node::Open("propstat") => (part, in_part) = (Entry::default(), true),
        Node::Open("collection") => part.is_folder = true,
        Node::Open(_) => {}
        Node::Close("href", value) if !in_part => value.clone_into(&mut entry.href),
        Node::Close("getetag", value) => part.etag = Some(value.to_owned()).filter(|etag| !etag.is_empty()),
        Node::Close("getlastmodified", value) => part.modified = Some(value.to_owned()),
        Node::Close("getcontentlength", value) => part.bytes = value.parse().ok(),
        // Properties that a server does not have are listed apart, with another status.
        Node::Close("status", value) if in_part && !value.contains(" 200") => part = Entry::default(),
        Node::Close("status", value) if !value.contains(" 200") => {
            entry.refused = Some(format!("the server answers `{value}` for it"));
        }
        Node::Close("propstat", _) => {
            in_part = false;
            entry.is_folder |= part.is_folder;
            entry.etag = entry.etag.take().or(part.etag.take());
            entry.modified = entry.modified.take().or(part.modified.take());
            entry.bytes = entry.bytes.or(part.bytes);
        }
        Node::Close("response", _) => entries.push(std::mem::take(&mut entry)),
        Node::Close(_, _) => {}
    })?;
    if entries.iter().any(|entry| entry.href.is_empty()) {
        return Err("an entry has no address".to_owned());
    }
    Ok(entries)
}
