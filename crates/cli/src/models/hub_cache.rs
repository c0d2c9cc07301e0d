//! Models as the Hugging Face tools keep them: `models--ORG--NAME/{refs,snapshots}`. Read as they are, never written.

use std::path::{Path, PathBuf};

use stdx::fs;

/// Weight types from the most to the least wanted when a repository holds several files.
const PREFERRED: [&str; 6] = ["q4_0", "q4_1", "q8_0", "bf16", "f16", "f32"];

/// Finds `ORG/NAME` or `ORG/NAME:FILE` in a cache: a GGUF file, or a folder with a configuration and weights.
pub(super) fn find(cache: &Path, given: &str) -> Option<PathBuf> {
    let (repository, file) = match given.split_once(':') {
        Some((repository, file)) => (repository, Some(file)),
        None => (given, None),
    };
    let (organisation, name) = repository.split_once('/')?;
    if organisation.is_empty() || name.is_empty() || name.contains('/') {
        return None;
    }
    let folder = cache.join(format!("models--{organisation}--{name}"));
    let snapshot = snapshot(&folder)?;
    match file {
        Some(file) => Some(snapshot.join(file)).filter(|path| fs::metadata(path).is_ok()),
        None => best_file(&snapshot).or_else(|| {
            let complete = fs::metadata(snapshot.join("config.json")).is_ok();
            complete.then_some(snapshot)
        }),
    }
}

/// The snapshot that `main` points to, else the only one there is.
fn snapshot(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    if let Ok(commit) = fs::read_to_string(folder.join("refs/main")) {
        let path = snapshots.join(commit.trim());
        if fs::metadata(&path).is_ok() {
            return Some(path);
        }
    }
    let all = fs::read_dir(&snapshots).ok()?;
    match all.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

fn best_file(snapshot: &Path) -> Option<PathBuf> {
    let files: Vec<PathBuf> = fs::read_dir(snapshot)
        .ok()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")))
        .collect();
    let lower = |path: &Path| path.to_string_lossy().to_lowercase();
    PREFERRED
        .iter()
        .find_map(|kind| files.iter().find(|path| lower(path).contains(kind)))
        .or_else(|| files.first().filter(|_| files.len() == 1))
        .cloned()
}
