//! The tables `[[source]]` of the configuration file: what each names, checked before anything is reached.
//!
//! ```toml
//! [[source]]
//! name = "contracts"                       # small letters, digits and dashes
//! kind = "s3"
//! endpoint = "http://store.example:8333"
//! bucket = "contracts"
//! prefix = "2026/"                         # optional
//! region = "us-east-1"                     # optional
//!
//! [[source]]
//! name = "share"
//! kind = "webdav"
//! url = "https://share.example/dav/Documents/"
//!
//! [[source]]
//! name = "rules"
//! kind = "pages"
//! urls = ["https://rules.example/travel.html"]
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use ureq::http::Uri;

/// Names longer than this are refused.
const NAME_CHARS_MAX: usize = 40;
/// Larger objects are not fetched unless the source says so: the reader's own limit.
const BYTES_MAX_DEFAULT: u64 = knowledge::read::MAX_FILE_BYTES;
/// Sources beyond this many are a mistake.
const SOURCES_MAX: usize = 1_000;
/// Pages of one source.
const PAGES_MAX: usize = 10_000;

/// A source, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Its name: of its folder, of its variables, in messages.
    pub(crate) name: String,
    /// What it is and where.
    pub(crate) kind: Kind,
    /// A file with its credentials.
    pub(crate) credentials: Option<PathBuf>,
    /// Certificates of the house's own authority, in PEM.
    pub(crate) ca: Option<PathBuf>,
    /// Larger objects are not fetched.
    pub(crate) max_bytes: u64,
}

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bucket of an S3-compatible store.
    S3(Bucket),
    /// A folder of a WebDAV server; ends in a slash.
    WebDav(Uri),
    /// Single pages.
    Pages(Vec<Uri>),
}

/// Where a bucket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Scheme, host and port; requests name the bucket in the path.
    pub(crate) endpoint: Uri,
    /// Its name.
    pub(crate) bucket: String,
    /// Only keys that begin so.
    pub(crate) prefix: String,
    /// Part of the signature.
    pub(crate) region: String,
}

impl Spec {
    /// For people and for JSON.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::S3(_) => "s3",
            Kind::WebDav(_) => "webdav",
            Kind::Pages(_) => "pages",
        }
    }

    /// Where it is, for people.
    pub(crate) fn address(&self) -> String {
        match &self.kind {
            Kind::S3(at) => format!("{}{}/{}", at.endpoint, at.bucket, at.prefix),
            Kind::WebDav(url) => url.to_string(),
            Kind::Pages(urls) => match urls.as_slice() {
                [only] => only.to_string(),
                many => format!("{} pages", many.len()),
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    kind: String,
    endpoint: Option<String>,
    bucket: Option<String>,
    prefix: Option<String>,
    region: Option<String>,
    url: Option<String>,
    urls: Option<Vec<String>>,
    credentials: Option<PathBuf>,
    ca: Option<PathBuf>,
    max_bytes: Option<u64>,
}

/// Checks the tables of a file in `folder`; relative paths are relative to it.
///
/// # Errors
/// One sentence for people.
pub(crate) fn parse(value: &toml::Value, folder: &Path) -> Result<Vec<Spec>, String> {
    let toml::Value::Array(tables) = value else {
        return Err("`source` must be written as tables, `[[source]]`".to_owned());
    };
    if tables.len() > SOURCES_MAX {
        return Err(format!("there are more than {SOURCES_MAX} sources"));
    }
    let mut specs: Vec<Spec> = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let table: Table = table.clone().try_into().map_err(|error: toml::de::Error| {
            let what = error.to_string();
            format!("source {}: {}", index + 1, what.trim_end())
        })?;
        let spec = check(table, folder)?;
        if specs.iter().any(|other| other.name == spec.name) {
            return Err(format!("there are two sources `{}`", spec.name));
        }
        specs.push(spec);
    }
    Ok(specs)
}

fn check(table: Table, folder: &Path) -> Result<Spec, String> {
    let name = table.name.clone();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_plain) || name.starts_with('-')
    {
        return Err(format!(
            "`{name}` is no name of a source: it has 1 to {NAME_CHARS_MAX} small letters, digits and dashes"
        ));
    }
    let of = |what: String| format!("source `{name}`: {what}");
    refuse_foreign_keys(&table).map_err(&of)?;
    let needed = |value: &Option<String>, key: &str| {
        value
            .clone()
            .filter(|value| !value.is_empty())
            .ok_or_else(|| of(format!("a source of the kind `{}` needs `{key}`", table.kind)))
    };
    let kind = match table.kind.as_str() {
        "s3" => Kind::S3(Bucket {
            endpoint: endpoint(&needed(&table.endpoint, "endpoint")?).map_err(&of)?,
            bucket: bucket(needed(&table.bucket, "bucket")?).map_err(&of)?,
            prefix: table.prefix.unwrap_or_default(),
            region: table.region.unwrap_or_else(|| "us-east-1".to_owned()),
        }),
        "webdav" => Kind::WebDav(share(&needed(&table.url, "url")?).map_err(&of)?),
        "pages" => Kind::Pages(pages(table.urls.as_deref().unwrap_or_default()).map_err(&of)?),
        other => {
            return Err(of(format!(
                "the kind `{other}` is not known; s3, webdav and pages are"
            )));
        }
    };
    Ok(Spec {
        name,
        kind,
        credentials: table.credentials.map(|path| folder.join(path)),
        ca: table.ca.map(|path| folder.join(path)),
        max_bytes: table
            .max_bytes
            .unwrap_or(BYTES_MAX_DEFAULT)
            .min(BYTES_MAX_DEFAULT),
    })
}

/// A key that this kind does not have would be passed over in silence.
fn refuse_foreign_keys(table: &Table) -> Result<(), String> {
    let present = [
        ("endpoint", "s3", table.endpoint.is_some()),
        ("bucket", "s3", table.bucket.is_some()),
        ("prefix", "s3", table.prefix.is_some()),
        ("region", "s3", table.region.is_some()),
        ("url", "webdav", table.url.is_some()),
        ("urls", "pages", table.urls.is_some()),
    ];
    let foreign = present
        .iter()
        .find(|(_, kind, is_there)| *is_there && *kind != table.kind);
    match foreign {
        Some((key, kind, _)) => Err(format!("`{key}` belongs to the kind `{kind}`")),
        None => Ok(()),
    }
}

/// An address that may be asked: HTTP or HTTPS, with a host, without credentials in it.
fn address(text: &str) -> Result<Uri, String> {
    let bad = |what: &str| Err(format!("the address {what}"));
    let uri: Uri = match text.parse() {
        Ok(uri) => uri,
        Err(_) => {
            return bad(&format!(
                "`{text}` has no host, or characters that are to be written as %XX"
            ));
        }
    };
    let Some(authority) = uri.authority() else {
        return bad(&format!("`{text}` names no host"));
    };
    if authority.as_str().contains('@') {
        // It is not shown: the secret is in it.
        return bad("holds a password; put it into the file `credentials` or a variable");
    }
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return bad(&format!("`{text}` is neither http nor https"));
    }
    if uri.path().split('/').any(|step| matches!(step, "." | "..")) {
        return bad(&format!("`{text}` goes up with `..`"));
    }
    Ok(uri)
}

fn endpoint(text: &str) -> Result<Uri, String> {
    let uri = address(text)?;
    if uri.path() != "/" || uri.query().is_some() {
        return Err(format!(
            "the endpoint `{text}` has a path; only scheme, host and port belong there"
        ));
    }
    Ok(uri)
}

fn bucket(name: String) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.chars().all(is_plain) && !name.starts_with('.') {
        Ok(name)
    } else {
        Err(format!("`{name}` is no name of a bucket"))
    }
}

fn share(text: &str) -> Result<Uri, String> {
    let uri = address(text)?;
    if uri.query().is_some() {
        return Err(format!("the address `{text}` of a folder has a query"));
    }
    if uri.path().ends_with('/') {
        return Ok(uri);
    }
    address(&format!("{text}/"))
}

fn pages(urls: &[String]) -> Result<Vec<Uri>, String> {
    if urls.is_empty() || urls.len() > PAGES_MAX {
        return Err(format!(
            "`urls` names {} pages; 1 to {PAGES_MAX} are possible",
            urls.len()
        ));
    }
    let mut pages = Vec::new();
    for url in urls {
        let page = address(url)?;
        if pages.contains(&page) {
            return Err(format!("`{url}` is named twice"));
        }
        pages.push(page);
    }
    Ok(pages)
}
