//! The JSON header: names to type, extents and byte range; and the checks between them.
//!
//! Parsed with a visitor rather than into a map, because a map would silently keep the last of two equal
//! names.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::{Dtype, MAX_DIMS, SafeTensorsError, TensorInfo};

/// One entry as the file writes it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// A JSON object whose keys are unique.
struct Unique<T>(BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Unique<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<T>, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if pairs.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("`{key}` stands twice")));
                    }
                    pairs.insert(key, value);
                }
                Ok(Unique(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(std::marker::PhantomData))
    }
}

/// The header: `__metadata__` and the rest.
struct Header {
    metadata: BTreeMap<String, String>,
    entries: BTreeMap<String, Entry>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut metadata = None;
                let mut entries = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let twice = if key == "__metadata__" {
                        metadata.replace(map.next_value::<Unique<String>>()?.0).is_some()
                    } else {
                        let entry = map.next_value::<Entry>()?;
                        entries.insert(key.clone(), entry).is_some()
                    };
                    if twice {
                        return Err(A::Error::custom(format_args!("`{key}` stands twice")));
                    }
                }
                Ok(Header {
                    metadata: metadata.unwrap_or_default(),
                    entries,
                })
            }
        }
        deserializer.deserialize_map(Parts)
    }
}

/// The checked tensors of a file of `len` bytes whose data begins at `data_start`, and its texts.
pub(super) fn parse(
    json: &[u8],
    data_start: u64,
    len: u64,
) -> Result<(Vec<TensorInfo>, BTreeMap<String, String>), SafeTensorsError> {
    let invalid = |reason: String| SafeTensorsError::Json {
        what: "the header".to_owned(),
        reason,
    };
    if json.first() != Some(&b'{') {
        return Err(invalid("it does not begin with `{`".to_owned()));
    }
    let header: Header = serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
    let mut infos = header
        .entries
        .into_iter()
        .map(|(name, entry)| check(name, entry, data_start, len))
        .collect::<Result<Vec<_>, _>>()?;
    // Without holes or overlaps, and to the last byte. Empty tensors sort before what follows them.
    infos.sort_by_key(|info| (info.offset, info.n_bytes));
    let mut expected = data_start;
    for info in &infos {
        if info.offset != expected {
            return Err(SafeTensorsError::Layout {
                tensor: info.name.clone(),
                found: info.offset,
                expected,
            });
        }
        expected = info.offset + info.n_bytes;
    }
    if expected != len {
        return Err(SafeTensorsError::Layout {
            tensor: "(end of file)".to_owned(),
            found: len,
            expected,
        });
    }
    Ok((infos, header.metadata))
}

fn check(name: String, entry: Entry, data_start: u64, len: u64) -> Result<TensorInfo, SafeTensorsError> {
    let refuse = |reason: String| SafeTensorsError::Tensor {
        tensor: name.clone(),
        reason,
    };
    let Some(dtype) = Dtype::from_name(&entry.dtype) else {
        return Err(refuse(format!("unknown type `{}`", entry.dtype.escape_default())));
    };
    if entry.shape.len() > MAX_DIMS {
        return Err(refuse(format!(
            "{} dimensions, at most {MAX_DIMS} are allowed",
            entry.shape.len()
        )));
    }
    let n_elements = entry
        .shape
        .iter()
        .try_fold(1u64, |product, dim| product.checked_mul(*dim));
    let Some(expected) = n_elements.and_then(|n| n.checked_mul(dtype.n_bytes())) else {
        return Err(refuse(format!("the extents {:?} overflow", entry.shape)));
    };
    let [begin, end] = entry.data_offsets;
    let Some(n_bytes) = end.checked_sub(begin).filter(|n| *n == expected) else {
        return Err(refuse(format!(
            "the byte range {begin}..{end} does not hold {expected} bytes"
        )));
    };
    // The bytes after the header; `data_start` was read within the file.
    let data_bytes = len.saturating_sub(data_start);
    if end > data_bytes {
        return Err(SafeTensorsError::Truncated {
            what: format!("tensor `{name}`"),
            offset: begin.saturating_add(data_start),
            needed: n_bytes,
            remaining: data_bytes.saturating_sub(begin),
        });
    }
    Ok(TensorInfo {
        name,
        dtype,
        shape: entry.shape,
        shard: 0,
        offset: data_start + begin,
        n_bytes,
    })
}
