//! A folder of shards: the index says which file holds which tensor.
//!
//! File names in the index are foreign input: only plain names within the folder are opened.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::{MAX_HEADER_BYTES, MAX_SHARDS, SafeTensors, SafeTensorsError};

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens every shard that the index names and keeps the tensors that it maps.
pub(super) fn open(folder: &Path, index_path: &Path) -> Result<SafeTensors, SafeTensorsError> {
    let index = read_index(index_path)?;
    let mut shard_of: BTreeMap<&str, usize> = BTreeMap::new();
    for file in index.weight_map.values() {
        check_name(file)?;
        let next = shard_of.len();
        shard_of.entry(file).or_insert(next);
    }
    if shard_of.len() > MAX_SHARDS {
        return Err(SafeTensorsError::Limit {
            what: "the number of shards".to_owned(),
            found: shard_of.len() as u64,
            limit: MAX_SHARDS as u64,
        });
    }
    let mut opened = BTreeMap::new();
    for (file, shard) in &shard_of {
        opened.insert(*shard, SafeTensors::open_file(&folder.join(file))?);
    }
    let mut tensors = BTreeMap::new();
    for (name, file) in &index.weight_map {
        let shard = shard_of.get(file.as_str()).copied().unwrap_or_default();
        let info = opened.get(&shard).and_then(|shard| shard.tensors.get(name));
        let Some(info) = info else {
            return Err(SafeTensorsError::Index {
                name: name.clone(),
                reason: format!("`{file}` does not hold it"),
            });
        };
        let mut info = info.clone();
        info.shard = shard;
        tensors.insert(name.clone(), info);
    }
    let readers = opened.into_values().flat_map(|shard| shard.readers).collect();
    Ok(SafeTensors {
        tensors,
        metadata: BTreeMap::new(),
        readers,
    })
}

fn read_index(path: &Path) -> Result<Index, SafeTensorsError> {
    let found = stdx::fs::metadata(path)?.len();
    if found > MAX_HEADER_BYTES {
        return Err(SafeTensorsError::Limit {
            what: "the index's length".to_owned(),
            found,
            limit: MAX_HEADER_BYTES,
        });
    }
    let bytes = stdx::fs::read(path)?;
    serde_json::from_slice(&bytes).map_err(|error| SafeTensorsError::Json {
        what: format!("`{}`", path.display()),
        reason: error.to_string(),
    })
}

/// Refuses names that lead out of the folder.
fn check_name(file: &str) -> Result<(), SafeTensorsError> {
    let mut components = Path::new(file).components();
    let plain = matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    );
    if !plain || file.contains(['\\', '\0']) {
        return Err(SafeTensorsError::Index {
            name: file.to_owned(),
            reason: "only plain file names within the folder are allowed".to_owned(),
        });
    }
    Ok(())
}
