//! Reference files: reading tensors of expected outputs, and the two kinds of folder that need no model.

use std::path::Path;

use compute::{DType, quant};
use serde::Deserialize;
use weights::safetensors::{Dtype, SafeTensors};

use super::{ParityError, Row};
use crate::tokenizer::Tokenizer;

/// A file of expected outputs.
pub(super) struct Reference(SafeTensors);

impl Reference {
    pub(super) fn open(path: &Path) -> Result<Self, ParityError> {
        Ok(Self(SafeTensors::open(path)?))
    }

    /// Names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.tensors().map(|info| info.name.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.tensor(name).is_some()
    }

    pub(super) fn shape(&self, name: &str) -> Result<Vec<usize>, ParityError> {
        let info = self
            .0
            .tensor(name)
            .ok_or_else(|| reference(format!("there is no `{name}`")))?;
        Ok(info
            .shape
            .iter()
            .map(|&extent| usize::try_from(extent).unwrap_or(usize::MAX))
            .collect())
    }

    pub(super) fn f32(&self, name: &str) -> Result<Vec<f32>, ParityError> {
        let bytes = self.bytes(name, Dtype::F32)?;
        Ok(bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect())
    }

    /// Token ids, stored as i64.
    pub(super) fn ids(&self, name: &str) -> Result<Vec<u32>, ParityError> {
        let bytes = self.bytes(name, Dtype::I64)?;
        let ids = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| u32::try_from(i64::from_le_bytes(*b)));
        ids.collect::<Result<_, _>>()
            .map_err(|_| reference(format!("`{name}` holds a number that is no token id")))
    }

    pub(super) fn bytes(&self, name: &str, dtype: Dtype) -> Result<Vec<u8>, ParityError> {
        let info = self
            .0
            .tensor(name)
            .ok_or_else(|| reference(format!("there is no `{name}`")))?;
        if info.dtype != dtype {
            return Err(reference(format!("`{name}` is {:?}, not {dtype:?}", info.dtype)));
        }
        let n_bytes =
            usize::try_from(info.n_bytes).map_err(|_| reference(format!("`{name}` is too large")))?;
        let mut bytes = vec![0; n_bytes];
        self.0.read_tensor(info, &mut bytes)?;
        Ok(bytes)
    }
}

pub(super) fn reference(reason: impl Into<String>) -> ParityError {
    ParityError::Reference {
        reason: reason.into(),
    }
}

/// Reads a JSON file.
pub(super) fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ParityError> {
    let text = stdx::fs::read_to_string(path)?;
    serde_json::from_str(&text).map_err(|error| ParityError::Json {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Stored blocks of each type that we compute with, dequantised: equal bit for bit.
pub(super) fn quant_rows(dir: &Path) -> Result<Vec<Row>, ParityError> {
    let blocks = Reference::open(&dir.join("blocks.safetensors"))?;
    let mut rows = Vec::new();
    for dtype in DType::ALL {
        let name = dtype.name().to_uppercase();
        let (raw, values) = (format!("{name}.{name}.raw"), format!("{name}.values"));
        if !blocks.has(&raw) {
            continue;
        }
        let expected = blocks.f32(&values)?;
        let mut found = vec![0.0; expected.len()];
        let mut row = Row::new(dir, "quant", dtype.name(), "fixture");
        match quant::dequantise(dtype, &blocks.bytes(&raw, Dtype::U8)?, &mut found) {
            Ok(()) => {
                let n_other = found
                    .iter()
                    .zip(&expected)
                    .filter(|(a, b)| a.to_bits() != b.to_bits())
                    .count();
                row.require(n_other == 0, || {
                    format!("{n_other} of {} values differ", expected.len())
                });
            }
            Err(error) => row.require(false, || error.to_string()),
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(reference("blocks.safetensors holds no type that we compute with"));
    }
    Ok(rows)
}

/// A text with its ids.
#[derive(Debug, Deserialize)]
pub(super) struct TokenizedText {
    pub(super) text: String,
    pub(super) ids: Vec<u32>,
}

/// Texts to ids, no special tokens added.
pub(super) fn tokenizer_rows(dir: &Path) -> Result<Vec<Row>, ParityError> {
    let tokenizer = Tokenizer::from_json_file(dir.join("tokenizer.json"))?;
    let texts: Vec<TokenizedText> = json(&dir.join("expected.json"))?;
    let mut row = Row::new(dir, "tokenizer", "", "fixture");
    check_texts(&mut row, &tokenizer, &texts);
    Ok(vec![row])
}

pub(super) fn check_texts(row: &mut Row, tokenizer: &Tokenizer, texts: &[TokenizedText]) {
    for TokenizedText { text, ids } in texts {
        let found = tokenizer.encode(text);
        row.require(found == *ids, || {
            format!("{text:?} becomes {found:?} instead of {ids:?}")
        });
    }
}
