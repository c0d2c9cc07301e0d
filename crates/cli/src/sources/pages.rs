//! Pages that are named one by one: each is asked for with what is known of it, and sent again only if it changed.
//!
//! Links are never followed, nor are redirects: another address is one that nobody named.

use knowledge::mirror::Object;
use ureq::http::{Request, Uri};

use super::client::{Client, Trouble};
use super::credentials::Credentials;
use super::mirror::Remote;
use super::names::{readable, unescaped};
use super::webdav::with_user;
use super::{Listed, Listing};

/// The pages of a source.
pub(super) struct Pages<'a> {
    urls: &'a [Uri],
    client: &'a Client<'a>,
    credentials: Credentials,
}

impl<'a> Pages<'a> {
    pub(super) fn new(urls: &'a [Uri], client: &'a Client<'a>, credentials: Credentials) -> Self {
        Self {
            urls,
            client,
            credentials,
        }
    }
}

impl Remote for Pages<'_> {
    fn list(&self) -> Result<Listing, Trouble> {
        let objects = self.urls.iter().map(|url| Listed {
            key: key_of(url),
            address: readable(&url.to_string()),
            etag: None,
            modified: None,
            bytes: None,
        });
        Ok(Listing {
            objects: objects.collect(),
            closed: Vec::new(),
        })
    }

    fn request(&self, object: &Listed, known: Option<&Object>) -> Result<Request<()>, Trouble> {
        let not_asked =
            |what: String| Trouble::new(format!("`{}` cannot be asked for: {what}", object.address));
        let url = self.urls.iter().find(|url| key_of(url) == object.key);
        let url = url.ok_or_else(|| not_asked("it is not named".to_owned()))?;
        let mut request = with_user(Request::get(url.clone()), &self.credentials);
        if let Some(known) = known {
            if let Some(etag) = &known.etag {
                request = request.header("if-none-match", etag);
            }
            if let Some(modified) = &known.modified {
                request = request.header("if-modified-since", modified);
            }
        }
        request.body(()).map_err(|error| not_asked(error.to_string()))
    }

    fn fetch_from(&self) -> &Client<'_> {
        self.client
    }

    fn tells_changes(&self) -> bool {
        false
    }
}

/// Host, path and query; a page that stands for a folder gets a name.
fn key_of(url: &Uri) -> String {
    let host = url.authority().map_or("", |authority| authority.as_str());
    let mut key = String::from_utf8_lossy(&unescaped(&format!("{host}{}", url.path()), false)).into_owned();
    if key.ends_with('/') {
        key.push_str("index.html");
    }
    if let Some(query) = url.query() {
        key.push('?');
        key.push_str(query);
    }
    // A hidden name is passed over in buckets and folders; a page was named on purpose.
    key.replace("/.", "/_.")
}
