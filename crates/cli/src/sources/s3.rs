//! A bucket of an S3-compatible store: listed page by page (ListObjectsV2), named in the path, requests signed.

use std::collections::BTreeSet;

use knowledge::mirror::Object;
use ureq::http::Request;

use super::client::{Client, Fault, Trouble};
use super::credentials::Credentials;
use super::mirror::Remote;
use super::names::unescaped;
use super::sigv4::{self, Signable};
use super::xml::{Node, walk};
use super::{Listed, Listing, OBJECTS_MAX};
use crate::sources::spec;

/// A bucket.
pub(super) struct Bucket<'a> {
    at: &'a spec::Bucket,
    client: &'a Client<'a>,
    credentials: Credentials,
}

/// One page of a list.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    objects: Vec<Listed>,
    is_truncated: bool,
    next: Option<String>,
}

impl<'a> Bucket<'a> {
    pub(super) fn new(at: &'a spec::Bucket, client: &'a Client<'a>, credentials: Credentials) -> Self {
        Self {
            at,
            client,
            credentials,
        }
    }

    /// A signed GET of the bucket (without a key) or of an object.
    fn get(&self, key: &str, query: &[(&str, &str)]) -> Result<Request<()>, Trouble> {
        let path = format!("/{}/{}", self.at.bucket, sigv4::escaped(key, true));
        // A list is asked of the bucket itself, without a slash at its end.
        let path = if key.is_empty() {
            path.trim_end_matches('/')
        } else {
            &path
        };
        let query = sigv4::query(query);
        let endpoint = &self.at.endpoint;
        let host = endpoint.authority().map_or("", |authority| authority.as_str());
        let scheme = endpoint.scheme_str().unwrap_or("https");
        let question = if query.is_empty() { "" } else { "?" };
        let uri = format!("{scheme}://{host}{path}{question}{query}");
        let mut request = Request::get(uri).header("host", host);
        if let Credentials::Key { id, secret, token } = &self.credentials {
            let timestamp = sigv4::timestamp(stdx::clock::unix_s());
            let mut headers = vec![
                ("host", host),
                ("x-amz-content-sha256", sigv4::EMPTY_SHA256),
                ("x-amz-date", &timestamp),
            ];
            headers.extend(
                token
                    .as_ref()
                    .map(|token| ("x-amz-security-token", token.reveal())),
            );
            let signable = Signable {
                method: "GET",
                path,
                query: &query,
                headers: &headers,
                payload_sha256: sigv4::EMPTY_SHA256,
            };
            let signed = sigv4::authorization(&signable, id, secret, &self.at.region, &timestamp);
            for (name, value) in headers.iter().skip(1) {
                request = request.header(*name, *value);
            }
            request = request.header("authorization", signed);
        }
        request
            .body(())
            .map_err(|error| Trouble::new(format!("`{key}` cannot be asked for: {error}")))
    }

    fn page(&self, token: Option<&str>) -> Result<Page, Trouble> {
        let mut query = vec![("list-type", "2"), ("encoding-type", "url"), ("max-keys", "1000")];
        if !self.at.prefix.is_empty() {
            query.push(("prefix", &self.at.prefix));
        }
        query.extend(token.map(|token| ("continuation-token", token)));
        self.client.retrying(&mut || {
            let text = self.client.text(self.get("", &query)?)?;
            parse(&text, &self.at.bucket).map_err(|what| {
                let trouble = Trouble::new(format!(
                    "the list of the bucket `{}` cannot be read: {what}",
                    self.at.bucket
                ));
                Fault::Passing(
                    trouble.hint("is it an S3-compatible store that answers there?"),
                    None,
                )
            })
        })
    }
}

impl Remote for Bucket<'_> {
    fn list(&self) -> Result<Listing, Trouble> {
        let mut objects = Vec::new();
        let mut tokens = BTreeSet::new();
        let mut token: Option<String> = None;
        loop {
            let page = self.page(token.as_deref())?;
            objects.extend(page.objects);
            if objects.len() > OBJECTS_MAX {
                return Err(
                    Trouble::new(format!("the bucket lists more than {OBJECTS_MAX} objects"))
                        .hint("name a `prefix`, and several sources if need be"),
                );
            }
            if !page.is_truncated {
                return Ok(Listing {
                    objects,
                    closed: Vec::new(),
                });
            }
            let next = page.next.filter(|next| tokens.insert(next.clone()));
            let Some(next) = next else {
                return Err(
                    Trouble::new("the bucket's list says that it goes on, and does not say where")
                        .hint("nothing was deleted; it is tried again the next time"),
                );
            };
            token = Some(next);
        }
    }

    fn request(&self, object: &Listed, _known: Option<&Object>) -> Result<Request<()>, Trouble> {
        self.get(&object.key, &[])
    }

    fn fetch_from(&self) -> &Client<'_> {
        self.client
    }
}

fn parse(text: &str, bucket: &str) -> Result<Page, String> {
    let mut page = Page::default();
    let mut listed: Option<Listed> = None;
    let mut is_escaped = false;
    walk(text, "ListBucketResult", &mut |node| match node {
        Node::Open("Contents") => {
            listed = Some(Listed {
                key: String::new(),
                address: String::new(),
                etag: None,
                modified: None,
                bytes: None,
            });
        }
        Node::Close("Contents", _) => page.objects.extend(listed.take()),
        Node::Close(name, value) => match (&mut listed, name) {
            (Some(object), "Key") => value.clone_into(&mut object.key),
            (Some(object), "ETag") => object.etag = Some(value.to_owned()).filter(|etag| !etag.is_empty()),
            (Some(object), "LastModified") => object.modified = Some(value.to_owned()),
            (Some(object), "Size") => object.bytes = value.parse().ok(),
            (None, "IsTruncated") => page.is_truncated = value == "true",
            (None, "NextContinuationToken") => {
                page.next = Some(value.to_owned()).filter(|next| !next.is_empty())
            }
            (None, "EncodingType") => is_escaped = value == "url",
            _ => {}
        },
        Node::Open(_) => {}
    })?;
    for object in &mut page.objects {
        if is_escaped {
            object.key = String::from_utf8(unescaped(&object.key, true))
                .map_err(|_| format!("the key `{}` is no text", object.key))?;
        }
        if object.key.is_empty() {
            return Err("an object has no key".to_owned());
        }
        object.address = format!("s3://{bucket}/{}", object.key);
    }
    Ok(page)
}
