//! The process's environment, read once, so that tests can bring their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Environment variables by name; those that are not Unicode or empty are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process.
    pub(crate) fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// A variable's value, unless it is empty.
    pub(crate) fn var(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Variables that begin with `HANOK_`, sorted.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &str> {
        self.0
            .keys()
            .map(String::as_str)
            .filter(|name| name.starts_with("HANOK_"))
    }

    /// The home folder.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }

    /// `$XDG_DATA_HOME` or `~/.local/share`.
    pub(crate) fn data_home(&self) -> Option<PathBuf> {
        self.base("XDG_DATA_HOME", ".local/share")
    }

    /// `$XDG_CONFIG_HOME` or `~/.config`.
    pub(crate) fn config_home(&self) -> Option<PathBuf> {
        self.base("XDG_CONFIG_HOME", ".config")
    }

    /// Folders that hold models as the Hugging Face tools keep them, most specific first.
    pub(crate) fn hub_caches(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = Vec::new();
        folders.extend(self.var("HF_HUB_CACHE").map(PathBuf::from));
        folders.extend(self.var("HF_HOME").map(|home| PathBuf::from(home).join("hub")));
        folders.extend(self.home().map(|home| home.join(".cache/huggingface/hub")));
        folders
    }

    /// The hub to pull from.
    pub(crate) fn hub_endpoint(&self) -> String {
        self.var("HF_ENDPOINT")
            .unwrap_or("https://huggingface.co")
            .trim_end_matches('/')
            .to_owned()
    }

    /// The hub's token, if any.
    pub(crate) fn hub_token(&self) -> Option<&str> {
        self.var("HF_TOKEN")
    }

    /// A base folder of the XDG specification; relative values are ignored, as it demands.
    fn base(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let given = self.var(variable).map(PathBuf::from).filter(|p| p.is_absolute());
        given.or_else(|| self.home().map(|home| home.join(below_home)))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}
