//! The parser of E5S1: every count has a limit, every offset is compared with the file's length.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::{
    E5s1, E5s1Error, Header, MAX_EXTENT, MAX_PIECE_BYTES, MAX_PIECES, MAX_TENSORS, Pieces, TensorInfo,
};
use crate::bytes::{Cursor, CursorError, ReadSeek};
use crate::gguf::GgmlType;

/// Weights of a q4_0 block, the only length in use.
const BLOCK_LEN: u64 = 32;
/// Alignment of the tensor data.
const ALIGNMENT: u64 = 64;
/// Smallest tensor entry: name length, type, count, offset, length.
const MIN_INFO_BYTES: u64 = 2 + 1 + 4 + 8 + 8;
/// Smallest normaliser entry: code point and length.
const MIN_RULE_BYTES: u64 = 4 + 1;

type Result<T> = std::result::Result<T, E5s1Error>;

/// Parses the file that `reader` holds.
pub(super) fn parse(mut reader: Box<dyn ReadSeek>, len: u64) -> Result<E5s1> {
    let mut parser = Parser {
        cursor: Cursor::new(reader.as_mut(), len).map_err(at("the header"))?,
    };
    let found = parser.cursor.array::<8>().map_err(at("the magic number"))?;
    if &found != b"E5S1\x01\0\0\0" {
        return Err(E5s1Error::Magic { found });
    }
    let (header, n_pieces, blob_bytes) = parser.header()?;
    let pieces = parser.pieces(n_pieces, blob_bytes)?;
    let normaliser = parser.normaliser()?;
    let tensors = parser.tensors(len)?;
    drop(parser);
    let index = tensors
        .iter()
        .enumerate()
        .map(|(i, info)| (info.name.clone(), i))
        .collect();
    Ok(E5s1 {
        header,
        pieces,
        normaliser,
        tensors,
        index,
        reader: Mutex::new(reader),
    })
}

/// Names what was being read when the cursor failed.
fn at(what: &str) -> impl Fn(CursorError) -> E5s1Error {
    move |error| E5s1Error::cursor(what, error)
}

fn impossible(what: &str, found: impl Into<i64>) -> E5s1Error {
    E5s1Error::Value {
        what: what.to_owned(),
        found: found.into(),
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
}

impl Parser<'_> {
    fn i32(&mut self, what: &str) -> Result<i32> {
        Ok(i32::from_le_bytes(self.cursor.array().map_err(at(what))?))
    }

    /// A number from 1 to `limit`.
    fn extent(&mut self, what: &str, limit: u64) -> Result<u64> {
        let found = self.i32(what)?;
        let value = u64::try_from(found).unwrap_or(0);
        if value == 0 || value > limit {
            return Err(impossible(what, found));
        }
        Ok(value)
    }

    /// A token id below `n_pieces`.
    fn token(&mut self, what: &str, n_pieces: u64) -> Result<u32> {
        let found = self.i32(what)?;
        u32::try_from(found)
            .ok()
            .filter(|id| u64::from(*id) < n_pieces)
            .ok_or_else(|| impossible(what, found))
    }

    /// The header, the number of pieces and the length of their bytes.
    fn header(&mut self) -> Result<(Header, u64, u64)> {
        let d_model = self.extent("the width", MAX_EXTENT)?;
        let n_layers = self.extent("the number of layers", 1024)?;
        let n_heads = self.extent("the number of heads", d_model)?;
        if !d_model.is_multiple_of(n_heads) {
            return Err(impossible("the number of heads", n_heads as i64));
        }
        let d_ff = self.extent("the feed-forward width", MAX_EXTENT)?;
        let vocab_size = self.extent("the vocabulary", MAX_PIECES)?;
        let n_positions = self.extent("the number of positions", MAX_EXTENT)?;
        let n_types = self.extent("the number of token types", 1024)?;
        let norm_eps = f32::from_le_bytes(self.cursor.array().map_err(at("the epsilon"))?);
        if !(norm_eps.is_finite() && norm_eps >= 0.0) {
            return Err(impossible("the epsilon (its bits)", norm_eps.to_bits()));
        }
        let block_len = self.extent("the block length", BLOCK_LEN)?;
        if block_len != BLOCK_LEN {
            return Err(impossible("the block length", block_len as i64));
        }
        let n_pieces = self.extent("the number of pieces", MAX_PIECES.min(vocab_size))?;
        let header = Header {
            d_model,
            n_layers,
            n_heads,
            d_ff,
            vocab_size,
            n_positions,
            n_types,
            norm_eps,
            block_len,
            bos: self.token("the begin token", n_pieces)?,
            eos: self.token("the end token", n_pieces)?,
            pad: self.token("the padding token", n_pieces)?,
            unk: self.token("the unknown token", n_pieces)?,
        };
        let blob_bytes = self.cursor.u64().map_err(at("the length of the pieces"))?;
        if blob_bytes > MAX_PIECE_BYTES {
            return Err(impossible(
                "the length of the pieces",
                i64::try_from(blob_bytes).unwrap_or(i64::MAX),
            ));
        }
        Ok((header, n_pieces, blob_bytes))
    }

    fn pieces(&mut self, n_pieces: u64, blob_bytes: u64) -> Result<Pieces> {
        let failed = at("the pieces");
        let offsets = self
            .cursor
            .numbers(n_pieces + 1, u32::from_le_bytes)
            .map_err(&failed)?;
        let scores = self
            .cursor
            .numbers(n_pieces, f32::from_le_bytes)
            .map_err(&failed)?;
        let blob = self.cursor.bytes(blob_bytes).map_err(&failed)?;
        if let Some(pair) = offsets.windows(2).find(|pair| pair.first() > pair.last()) {
            return Err(impossible(
                "the offset of a piece",
                pair.last().copied().unwrap_or_default(),
            ));
        }
        let end = offsets.last().copied().unwrap_or_default();
        if u64::from(end) > blob_bytes {
            return Err(impossible("the end of the last piece", end));
        }
        if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
            return Err(impossible("the score of a piece (its bits)", score.to_bits()));
        }
        Ok(Pieces {
            offsets,
            scores,
            blob,
        })
    }

    fn normaliser(&mut self) -> Result<BTreeMap<char, String>> {
        let what = "the normaliser";
        let found = self.i32(what)?;
        let n = u64::try_from(found).map_err(|_| impossible("the number of normaliser rules", found))?;
        let n_bytes = u64::from(self.cursor.u32().map_err(at(what))?);
        self.cursor.require(n_bytes).map_err(at(what))?;
        self.cursor.require_items(n, MIN_RULE_BYTES).map_err(at(what))?;
        let start = self.cursor.offset();
        let mut rules = BTreeMap::new();
        for _ in 0..n {
            let from = self.character()?;
            let [length] = self.cursor.array().map_err(at(what))?;
            let to = (0..length)
                .map(|_| self.character())
                .collect::<Result<String>>()?;
            if rules.insert(from, to).is_some() {
                return Err(impossible(
                    "a character with two normaliser rules",
                    u32::from(from),
                ));
            }
        }
        if self.cursor.offset() - start != n_bytes {
            return Err(impossible("the length of the normaliser", n_bytes as i64));
        }
        Ok(rules)
    }

    fn character(&mut self) -> Result<char> {
        let found = self.cursor.u32().map_err(at("the normaliser"))?;
        char::from_u32(found).ok_or_else(|| impossible("a code point of the normaliser", found))
    }

    fn tensors(&mut self, len: u64) -> Result<Vec<TensorInfo>> {
        let what = "the tensor table";
        let n = self.extent("the number of tensors", MAX_TENSORS)?;
        self.cursor.require_items(n, MIN_INFO_BYTES).map_err(at(what))?;
        let mut infos: Vec<TensorInfo> = Vec::new();
        let mut seen = BTreeMap::new();
        for i in 0..n {
            let info = self.info(len)?;
            if seen.insert(info.name.clone(), i).is_some() {
                return Err(E5s1Error::Tensor {
                    tensor: info.name,
                    reason: "it stands twice".to_owned(),
                });
            }
            infos.push(info);
        }
        let table_end = self.cursor.offset();
        let mut order: Vec<&TensorInfo> = infos.iter().collect();
        order.sort_by_key(|info| info.offset);
        let mut free = table_end;
        for info in order {
            if info.offset < free {
                let reason = format!("its data begin at {}, inside what ends at {free}", info.offset);
                return Err(E5s1Error::Tensor {
                    tensor: info.name.clone(),
                    reason,
                });
            }
            // Cannot overflow: the end was compared with the file's length.
            free = info.offset + info.n_bytes;
        }
        Ok(infos)
    }

    fn info(&mut self, len: u64) -> Result<TensorInfo> {
        let what = "the tensor table";
        let name_bytes = u16::from_le_bytes(self.cursor.array().map_err(at(what))?);
        let name = self.cursor.bytes(name_bytes.into()).map_err(at(what))?;
        let name = String::from_utf8(name).map_err(|error| {
            impossible(
                "the length of a valid tensor name",
                error.utf8_error().valid_up_to() as i64,
            )
        })?;
        let [id] = self.cursor.array().map_err(at(what))?;
        let n_elements = u64::from(self.cursor.u32().map_err(at(what))?);
        let offset = self.cursor.u64().map_err(at(what))?;
        let n_bytes = self.cursor.u64().map_err(at(what))?;
        let refuse = |reason: String| E5s1Error::Tensor {
            tensor: name.clone(),
            reason,
        };
        let ty = match id {
            0 => GgmlType::F32,
            1 => GgmlType::Q4_0,
            id => return Err(refuse(format!("unknown type {id}"))),
        };
        if ty.n_bytes(&[n_elements]) != Some(n_bytes) {
            return Err(refuse(format!(
                "{n_elements} elements of {ty} do not take {n_bytes} bytes"
            )));
        }
        if !offset.is_multiple_of(ALIGNMENT) {
            return Err(refuse(format!(
                "its data begin at {offset}, no multiple of {ALIGNMENT}"
            )));
        }
        if offset.checked_add(n_bytes).is_none_or(|end| end > len) {
            return Err(refuse(format!(
                "{n_bytes} bytes at {offset} reach beyond the end of the file ({len} bytes)"
            )));
        }
        Ok(TensorInfo {
            name,
            ty,
            n_elements,
            offset,
            n_bytes,
        })
    }
}
