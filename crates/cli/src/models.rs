//! Which models there are and where their files lie. Fetches nothing: that is `pull`.

mod hub_cache;
mod record;
mod table;

use std::path::{Path, PathBuf};

use stdx::fs;

use crate::exit::{Failure, Result};
use crate::settings::Settings;

pub(crate) use record::{Record, recorded, size_and_time};
pub(crate) use table::{Entry, Hub, Package, Use, table};

/// Finds model files by name or path.
pub(crate) struct Finder<'a> {
    settings: &'a Settings,
    folders: Vec<PathBuf>,
}

impl<'a> Finder<'a> {
    /// A finder over the folders of these settings: the data directory's own, the one `pull` fills, and those of
    /// an unpacked archive.
    pub(crate) fn new(settings: &'a Settings) -> Self {
        let mut folders = vec![settings.data_dir.join("models"), settings.models_dir.clone()];
        folders.extend(
            settings
                .environment
                .data_home()
                .map(|data| data.join("hanok/models")),
        );
        folders.extend(beside_the_program(&["models", "../share/hanok/models"]));
        let mut seen = Vec::new();
        folders.retain(|folder| {
            let new = !seen.contains(folder);
            seen.push(folder.clone());
            new
        });
        Self { settings, folders }
    }

    /// The language model in force: as given, else the best known one that is there. `Ok(None)`: none is there
    /// and none was asked for.
    pub(crate) fn language(&self) -> Result<Option<PathBuf>> {
        self.resolve(self.settings.model.as_deref(), Use::Language)
    }

    /// The embedding model in force.
    pub(crate) fn embedder(&self) -> Result<Option<PathBuf>> {
        self.resolve(self.settings.embedder.as_deref(), Use::Embedding)
    }

    /// The model that reads passages again, if one is asked for.
    pub(crate) fn reranker(&self) -> Result<Option<PathBuf>> {
        match self.settings.reranker.as_deref() {
            None | Some("none") => Ok(None),
            Some(given) => self.named(given).map(Some),
        }
    }

    fn resolve(&self, given: Option<&str>, wanted: Use) -> Result<Option<PathBuf>> {
        match given {
            Some("none") => Ok(None),
            Some(given) => self.named(given).map(Some),
            None => Ok(self.best(wanted)),
        }
    }

    /// The largest known model of this use that is there: who fetched a better one than the default wants it.
    fn best(&self, wanted: Use) -> Option<PathBuf> {
        let (rest, defaults): (Vec<&Entry>, Vec<&Entry>) = table()
            .iter()
            .filter(|entry| entry.used_for == wanted)
            .partition(|entry| !entry.default);
        rest.iter()
            .chain(defaults.iter())
            .find_map(|entry| self.file(&entry.file))
    }

    /// A model by path, by a known name, by a file name in one of the folders, or from the hub's cache.
    fn named(&self, given: &str) -> Result<PathBuf> {
        let path = Path::new(given);
        if fs::metadata(path).is_ok() {
            return Ok(path.to_owned());
        }
        let known = table().iter().find(|entry| entry.name == given);
        let found = match known {
            Some(entry) => self.file(&entry.file),
            None => self.by_file_name(given).or_else(|| {
                let caches = self.settings.environment.hub_caches();
                caches.iter().find_map(|cache| hub_cache::find(cache, given))
            }),
        };
        found.ok_or_else(|| self.not_found(given, known))
    }

    fn by_file_name(&self, given: &str) -> Option<PathBuf> {
        if given.contains('/') {
            return None;
        }
        self.file(given).or_else(|| self.file(&format!("{given}.gguf")))
    }

    /// A file of this name in one of the folders.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        self.folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| fs::metadata(path).is_ok())
    }

    fn not_found(&self, given: &str, known: Option<&Entry>) -> Failure {
        match known {
            Some(entry) => Failure::environment(format!(
                "the model `{given}` ({}) is not on this machine",
                entry.title
            ))
            .hint(format!("`hanok pull {given}` fetches it")),
            None => {
                let folders: Vec<String> = self.folders.iter().map(|f| f.display().to_string()).collect();
                Failure::environment(format!("there is no model file `{given}`")).hint(format!(
                    "give the path of a GGUF file, or one of the names {}; looked in {} and the hub's cache",
                    table::names().join(", "),
                    folders.join(", ")
                ))
            }
        }
    }
}

/// Folders relative to the program's own, as an unpacked archive has them.
pub(crate) fn beside_the_program(relative: &[&str]) -> Vec<PathBuf> {
    let Ok(program) = std::env::current_exe() else {
        return Vec::new();
    };
    let Some(folder) = program.parent() else {
        return Vec::new();
    };
    relative.iter().map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::SettingArgs;
    use crate::settings::Environment;

    fn settings(home: &Path, model: Option<&str>) -> Settings {
        let environment: Environment = [("HOME".to_owned(), home.display().to_string())]
            .into_iter()
            .collect();
        let args = SettingArgs {
            model: model.map(str::to_owned),
            ..SettingArgs::default()
        };
        Settings::resolve(&args, environment).unwrap()
    }

    fn put(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }

    #[test]
    fn nothing_is_found_in_an_empty_home_and_that_is_no_failure() {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(home.path(), None);
        assert_eq!(Finder::new(&settings).language().unwrap(), None);
    }

    #[test]
    fn a_model_that_was_asked_for_and_is_not_there_is_a_failure_with_the_command_that_mends_it() {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(home.path(), Some("smollm2"));
        let failure = Finder::new(&settings).language().unwrap_err();
        assert_eq!(failure.code, crate::exit::Code::Environment);
        assert_eq!(failure.hint.unwrap(), "`hanok pull smollm2` fetches it");
    }

    #[test]
    fn the_fetched_better_model_is_taken_before_the_default_one() {
        let home = tempfile::tempdir().unwrap();
        let models = home.path().join(".local/share/hanok/models");
        put(&models.join("SmolLM2-135M-Instruct.Q4_1.gguf"));
        let settings = settings(home.path(), None);
        let found = Finder::new(&settings).language().unwrap().unwrap();
        assert!(found.ends_with("SmolLM2-135M-Instruct.Q4_1.gguf"));
        put(&models.join("OLMoE-1B-7B-0125-Instruct-Q4_0.gguf"));
        let found = Finder::new(&settings).language().unwrap().unwrap();
        assert!(found.ends_with("OLMoE-1B-7B-0125-Instruct-Q4_0.gguf"));
    }

    #[test]
    fn a_file_is_found_by_its_stem_and_in_the_hub_cache() {
        let home = tempfile::tempdir().unwrap();
        put(&home.path().join(".local/share/hanok/models/mine.gguf"));
        let by_stem = settings(home.path(), Some("mine"));
        assert!(
            Finder::new(&by_stem)
                .language()
                .unwrap()
                .unwrap()
                .ends_with("mine.gguf")
        );
        let cached = home.path().join(".cache/huggingface/hub/models--org--name");
        put(&cached.join("snapshots/abc/name-q8_0.gguf"));
        fs::create_dir_all(cached.join("refs")).unwrap();
        fs::write(cached.join("refs/main"), b"abc").unwrap();
        let by_repository = settings(home.path(), Some("org/name"));
        let found = Finder::new(&by_repository).language().unwrap().unwrap();
        assert!(
            found.ends_with("snapshots/abc/name-q8_0.gguf"),
            "{}",
            found.display()
        );
    }
}
