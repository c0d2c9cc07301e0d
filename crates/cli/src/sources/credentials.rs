//! Credentials of sources: from the environment or a private file, never from the configuration, never shown.
//!
//! For a source `my-share` the variables are `HANOK_SOURCE_MY_SHARE_USER` and `…_PASSWORD`; for a bucket `…_KEY_ID`,
//! `…_SECRET` and, where there is one, `…_TOKEN`. The file has the same names in small letters as keys of TOML.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Deserialize;
use stdx::fs;

use super::client::Trouble;
use super::spec::{Kind, Spec};
use crate::settings::Environment;

/// A longer file is none of credentials.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A text that is not printed.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub(super) struct Secret(String);

impl Secret {
    /// The text.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// What a source wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Nothing.
    None,
    /// A signature.
    Key {
        id: String,
        secret: Secret,
        token: Option<Secret>,
    },
    /// Basic authentication.
    User { user: String, password: Secret },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    key_id: Option<Secret>,
    secret: Option<Secret>,
    token: Option<Secret>,
    user: Option<Secret>,
    password: Option<Secret>,
}

impl Credentials {
    /// Those of a source: variables first, then its file.
    pub(super) fn of(spec: &Spec, environment: &Environment) -> Result<Self, Trouble> {
        let file = match &spec.credentials {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let variable = |part: &str| variable(&spec.name, part);
        let value = |part: &str, from_file: Option<Secret>| {
            environment.var(&variable(part)).map(Secret::from).or(from_file)
        };
        let (first, second) = match spec.kind {
            Kind::S3(_) => (value("KEY_ID", file.key_id), value("SECRET", file.secret)),
            _ => (value("USER", file.user), value("PASSWORD", file.password)),
        };
        let (names, token) = match spec.kind {
            Kind::S3(_) => (["KEY_ID", "SECRET"], value("TOKEN", file.token)),
            _ => (["USER", "PASSWORD"], None),
        };
        match (first, second) {
            (None, None) => Ok(Self::None),
            (Some(first), Some(second)) => Ok(match spec.kind {
                Kind::S3(_) => Self::Key {
                    id: first.0,
                    secret: second,
                    token,
                },
                _ => Self::User {
                    user: first.0,
                    password: second,
                },
            }),
            _ => Err(
                Trouble::new("only one half of its credentials is there").hint(format!(
                    "set both {} and {}, or both keys of the file",
                    variable(names[0]),
                    variable(names[1])
                )),
            ),
        }
    }
}

/// The variable of one part of a source's credentials.
fn variable(name: &str, part: &str) -> String {
    format!("HANOK_SOURCE_{}_{part}", name.to_uppercase().replace('-', "_"))
}

fn read(path: &Path) -> Result<File, Trouble> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| {
        Trouble::new(error.to_string()).hint("create the file of credentials, or name another")
    })?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(
            Trouble::new(format!("the file of credentials `{shown}` can be read by others"))
                .hint(format!("chmod 600 {shown}")),
        );
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(Trouble::new(format!(
            "the file of credentials `{shown}` is too long to be one"
        )));
    }
    let text = fs::read_to_string(path).map_err(|error| Trouble::new(error.to_string()))?;
    // The error of the parser quotes the text, and the text is a secret.
    toml::from_str(&text).map_err(|_| {
        Trouble::new(format!("the file of credentials `{shown}` is not understood"))
            .hint("it holds `key_id` and `secret` (and `token`), or `user` and `password`, each as NAME = \"VALUE\"")
    })
}
