//! A hub that speaks the Hugging Face interface: find a file, fetch it with resume, check the hash the hub states.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stdx::fs::{self, FsError};
use stdx::hash::sha256_file;

use crate::exit::{Failure, OrFail, Result};
use crate::interrupt;
use crate::print::{self, Counts, Progress};
use crate::settings::Environment;

/// A listing longer than this is not read.
const LISTING_BYTES_MAX: u64 = 16 << 20;

/// A model file larger than this is not fetched.
const FILE_BYTES_MAX: u64 = 1 << 40;

/// A file on the hub at one commit.
#[derive(Debug, Clone)]
pub(crate) struct HubFile {
    /// ORG/NAME.
    repository: String,
    /// The commit the listing was read at.
    commit: String,
    /// Path in the repository.
    path: String,
    /// Size.
    bytes: u64,
    /// SHA-256 as the hub states it.
    pub(crate) sha256: String,
}

/// Speaks with one hub.
pub(crate) struct Client {
    agent: ureq::Agent,
    endpoint: String,
    token: Option<String>,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

#[derive(Deserialize)]
struct Listed {
    path: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Client {
    /// A client of the hub that the environment names (HF_ENDPOINT, HF_TOKEN, HTTPS_PROXY).
    pub(crate) fn new(environment: &Environment) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(std::time::Duration::from_secs(20)))
            .timeout_recv_response(Some(std::time::Duration::from_secs(60)))
            .user_agent(concat!("hanok/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            endpoint: environment.hub_endpoint(),
            token: environment.hub_token().map(str::to_owned),
        }
    }

    /// The one large file of a repository whose path is wanted.
    pub(crate) fn find(&self, repository: &str, wanted: impl Fn(&str) -> bool) -> Result<HubFile> {
        print::stderr_line(&format!("asking {} for {repository}", self.endpoint));
        let revision: Revision = self.json(&format!("api/models/{repository}/revision/main"))?;
        let commit = revision.sha;
        let listing: Vec<Listed> =
            self.json(&format!("api/models/{repository}/tree/{commit}?recursive=true"))?;
        let found = listing
            .into_iter()
            .filter_map(|listed| Some((listed.path, listed.lfs?)))
            .find(|(path, _)| wanted(path));
        let Some((path, lfs)) = found else {
            return Err(Failure::environment(format!(
                "the repository {repository} of {} has no such file",
                self.endpoint
            ))
            .hint("look at the repository's list of files, then `hanok pull ORG/REPOSITORY:FILE.gguf`"));
        };
        if lfs.oid.len() != 64 || !lfs.oid.bytes().all(|b| b.is_ascii_hexdigit()) || lfs.size > FILE_BYTES_MAX
        {
            return Err(Failure::environment(format!(
                "the hub states no usable hash or size for {repository}:{path}"
            )));
        }
        Ok(HubFile {
            repository: repository.to_owned(),
            commit,
            path,
            bytes: lfs.size,
            sha256: lfs.oid.to_lowercase(),
        })
    }

    /// The file's address.
    pub(crate) fn address(&self, file: &HubFile) -> String {
        format!(
            "{}/{}/resolve/{}/{}",
            self.endpoint, file.repository, file.commit, file.path
        )
    }

    /// Fetches a file to `target`, going on where an earlier fetch of the same bytes stopped.
    pub(crate) fn fetch(&self, file: &HubFile, target: &Path) -> Result<()> {
        let part = part_path(target, &file.sha256);
        forget_other_parts(target, &part);
        let have = fs::metadata(&part).map_or(0, |m| m.len()).min(file.bytes);
        print::stderr_line(&format!(
            "fetching {} ({}){}; its hash is the one the hub states: {}",
            self.address(file),
            print::bytes(file.bytes),
            if have > 0 {
                format!(", {} are here already", print::bytes(have))
            } else {
                String::new()
            },
            file.sha256
        ));
        if have < file.bytes {
            self.download(file, &part, have)?;
        }
        let found = sha256_file(&part).or_environment()?;
        if found != file.sha256 {
            fs::remove_file(&part).or_environment()?;
            return Err(Failure::environment(format!(
                "`{}` arrived with the SHA-256 {found}, but the hub states {}; the file was removed",
                file.path, file.sha256
            ))
            .hint("run the command again; if it happens again, a proxy on the way changes the file"));
        }
        fs::rename(&part, target).or_environment()?;
        fs::sync_parent(target).or_environment()
    }

    fn download(&self, file: &HubFile, part: &Path, have: u64) -> Result<()> {
        let mut request = self.request(&self.address(file));
        if have > 0 {
            request = request.header("range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| self.unreachable(&error))?;
        let resumed = response.status().as_u16() == 206;
        let start = if resumed { have } else { 0 };
        let mut out = std::fs::OpenOptions::new()
            .create(true)
            .append(resumed)
            .write(true)
            .truncate(!resumed)
            .open(part)
            .map_err(|error| FsError::new("write", part, error))
            .or_environment()?;
        let mut body = response
            .into_body()
            .into_with_config()
            .limit(FILE_BYTES_MAX)
            .reader();
        let progress = Progress::start(&file.path, file.bytes, Counts::Bytes);
        let copied = copy(&mut body, &mut out, &progress, start, file.bytes);
        let synced = out
            .sync_all()
            .map_err(|error| FsError::new("sync", part, error))
            .or_environment();
        match copied.and(synced) {
            Ok(()) => {
                progress.finish("downloaded");
                Ok(())
            }
            Err(failure) => {
                progress.clear();
                Err(failure)
            }
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let address = format!("{}/{path}", self.endpoint);
        let response = self
            .request(&address)
            .call()
            .map_err(|error| self.unreachable(&error))?;
        response
            .into_body()
            .into_with_config()
            .limit(LISTING_BYTES_MAX)
            .read_json()
            .map_err(|error| {
                Failure::environment(format!("{address} does not answer as a hub does: {error}"))
                    .hint("is HF_ENDPOINT right, or does a proxy answer in the hub's place?")
            })
    }

    fn request(&self, address: &str) -> ureq::RequestBuilder<ureq::typestate::WithoutBody> {
        let request = self.agent.get(address);
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let hint = match error {
            ureq::Error::StatusCode(401 | 403) => {
                "the repository is closed: set HF_TOKEN to a token that may read it"
            }
            ureq::Error::StatusCode(404) => "the hub does not know this repository or file: check its name",
            _ => {
                "is the hub reachable from here? HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy; without a network, \
                 copy the GGUF file here and use `--model FILE`"
            }
        };
        Failure::environment(format!("the hub {} does not deliver: {error}", self.endpoint)).hint(hint)
    }
}

fn copy(
    body: &mut impl Read,
    out: &mut impl Write,
    progress: &Progress,
    start: u64,
    total: u64,
) -> Result<()> {
    let mut buffer = vec![0; 1 << 18];
    let mut done = start;
    progress.set(done);
    loop {
        interrupt::check("what has arrived is kept; the same command goes on from there")?;
        let n = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken_off(done, total, &error.to_string())),
        };
        out.write_all(&buffer[..n])
            .map_err(|error| Failure::environment(format!("cannot write the file: {error}")))?;
        done += n as u64;
        progress.set(done);
    }
    if done < total {
        return Err(broken_off(done, total, "the connection ended early"));
    }
    Ok(())
}

fn broken_off(done: u64, total: u64, why: &str) -> Failure {
    Failure::environment(format!(
        "the download broke off after {} of {}: {why}",
        print::bytes(done),
        print::bytes(total)
    ))
    .hint("run the same command again: it goes on from there")
}

/// Where an unfinished download waits; the name holds the hash, so that another file never goes on in it.
fn part_path(target: &Path, sha256: &str) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", &sha256[..12]));
    target.with_file_name(name)
}

fn forget_other_parts(target: &Path, keep: &Path) {
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
        return;
    };
    let prefix = format!("{}.", name.to_string_lossy());
    for path in fs::read_dir(folder).unwrap_or_default() {
        let other = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if other.starts_with(&prefix) && other.ends_with(".part") && path != keep {
            let _ = fs::remove_file(&path);
        }
    }
}
