//! The parser: header, key-value pairs, tensor infos, and the checks between them.
//!
//! Order of every step: compare with a limit, compare with the bytes that remain, then allocate. The
//! mistakes that broke other readers of this format (unchecked counts, lengths, products, types,
//! alignment, nesting) each have a test in `tests.rs`.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::{
    Array, DEFAULT_ALIGNMENT, GgmlType, Gguf, GgufError, MAX_ALIGNMENT, MAX_DIMS, MAX_HEAD_BYTES,
    MAX_KEY_BYTES, MAX_KV, MAX_NESTING, MAX_STRING_BYTES, MAX_TENSOR_NAME_BYTES, MAX_TENSORS, MIN_ALIGNMENT,
    Metadata, TensorInfo, Value,
};
use crate::bytes::{Cursor, CursorError, ReadSeek};

/// Smallest key-value pair: key length, value type, one byte.
const MIN_KV_BYTES: u64 = 8 + 4 + 1;
/// Smallest tensor info: name length, number of dimensions, type, offset.
const MIN_INFO_BYTES: u64 = 8 + 4 + 4 + 8;
/// Smallest text: its length.
const MIN_TEXT_BYTES: u64 = 8;
/// Smallest list: element type and count.
const MIN_ARRAY_BYTES: u64 = 4 + 8;

type Result<T> = std::result::Result<T, GgufError>;

/// Parses the file that `reader` holds.
pub(super) fn parse(mut reader: Box<dyn ReadSeek>, len: u64) -> Result<Gguf> {
    let head = head(reader.as_mut(), len.min(MAX_HEAD_BYTES)).map_err(|error| match error {
        // Not cut off, but longer than any honest head: memory is bounded by the limit, not by the file.
        GgufError::Truncated {
            what, offset, needed, ..
        } if len > MAX_HEAD_BYTES => GgufError::Limit {
            what,
            offset,
            found: offset.saturating_add(needed),
            limit: MAX_HEAD_BYTES,
        },
        error => error,
    })?;
    let alignment = alignment(&head.metadata)?;
    let tensors = place(head.infos, head.end, alignment, len)?;
    let index = tensors
        .iter()
        .enumerate()
        .map(|(i, info)| (info.name.clone(), i))
        .collect();
    Ok(Gguf {
        version: head.version,
        metadata: head.metadata,
        tensors,
        index,
        readers: vec![Mutex::new(reader)],
        paths: Vec::new(),
    })
}

/// Everything before the tensor data; offsets of tensors still within the data part.
struct Head {
    version: u32,
    metadata: Metadata,
    infos: Vec<TensorInfo>,
    end: u64,
}

fn head(reader: &mut dyn ReadSeek, len: u64) -> Result<Head> {
    let mut parser = Parser {
        cursor: Cursor::new(reader, len).map_err(at("the header"))?,
    };
    let (version, n_tensors, n_kv) = parser.header()?;
    let metadata = parser.metadata(n_kv)?;
    let infos = parser.infos(n_tensors)?;
    Ok(Head {
        version,
        metadata,
        infos,
        end: parser.cursor.offset(),
    })
}

/// The alignment of a file's tensor data.
pub(super) fn alignment(metadata: &Metadata) -> Result<u64> {
    let found = metadata
        .opt_u64("general.alignment")?
        .unwrap_or(DEFAULT_ALIGNMENT);
    if !found.is_power_of_two() || !(MIN_ALIGNMENT..=MAX_ALIGNMENT).contains(&found) {
        return Err(GgufError::Alignment { found });
    }
    Ok(found)
}

/// Turns offsets within the data into offsets within the file; refuses what leaves it or overlaps.
fn place(mut infos: Vec<TensorInfo>, header_end: u64, alignment: u64, len: u64) -> Result<Vec<TensorInfo>> {
    let data_start = header_end.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
    let data_bytes = len.saturating_sub(data_start);
    for info in &mut infos {
        if !info.offset.is_multiple_of(alignment) {
            return Err(GgufError::Misaligned {
                tensor: info.name.clone(),
                offset: info.offset,
                alignment,
            });
        }
        let end = info.offset.checked_add(info.n_bytes);
        if end.is_none_or(|end| end > data_bytes) {
            return Err(GgufError::OutOfFile {
                tensor: info.name.clone(),
                offset: info.offset,
                n_bytes: info.n_bytes,
                data_bytes,
            });
        }
        // Cannot overflow: the end of the tensor lies within the file.
        info.offset += data_start;
    }
    let mut order: Vec<&TensorInfo> = infos.iter().collect();
    order.sort_by_key(|info| info.offset);
    for pair in order.windows(2) {
        if let [first, second] = pair
            && first.offset + first.n_bytes > second.offset
        {
            return Err(GgufError::Overlap {
                first: first.name.clone(),
                second: second.name.clone(),
            });
        }
    }
    Ok(infos)
}

/// Names what was being read when the cursor failed.
fn at(what: &str) -> impl FnOnce(CursorError) -> GgufError {
    move |error| GgufError::cursor(what, error)
}

struct Parser<'a> {
    cursor: Cursor<'a>,
}

impl Parser<'_> {
    /// Version, number of tensors, number of key-value pairs.
    fn header(&mut self) -> Result<(u32, u64, u64)> {
        let found = self.cursor.array::<4>().map_err(at("the magic number"))?;
        if &found != b"GGUF" {
            return Err(GgufError::Magic { found });
        }
        let version = self.cursor.u32().map_err(at("the version"))?;
        match version {
            2 | 3 => {}
            // A small number in the other byte order.
            _ if version & 0xFFFF == 0 && version != 0 => return Err(GgufError::BigEndian),
            found => return Err(GgufError::Version { found }),
        }
        let n_tensors = self.count("the number of tensors", MAX_TENSORS)?;
        let n_kv = self.count("the number of keys", MAX_KV)?;
        self.cursor
            .require_items(n_kv, MIN_KV_BYTES)
            .map_err(at("the list of keys"))?;
        self.cursor
            .require_items(n_tensors, MIN_INFO_BYTES)
            .map_err(at("the tensor table"))?;
        Ok((version, n_tensors, n_kv))
    }

    fn count(&mut self, what: &str, limit: u64) -> Result<u64> {
        let offset = self.cursor.offset();
        let found = self.cursor.u64().map_err(at(what))?;
        check_limit(what, offset, found, limit)?;
        Ok(found)
    }

    fn text(&mut self, what: &str, limit: u64) -> Result<String> {
        let offset = self.cursor.offset();
        let n = self.count(what, limit)?;
        let bytes = self.cursor.bytes(n).map_err(at(what))?;
        String::from_utf8(bytes).map_err(|_| GgufError::Text {
            what: what.to_owned(),
            offset,
        })
    }

    fn metadata(&mut self, n_kv: u64) -> Result<Metadata> {
        let mut metadata = Metadata::new();
        for _ in 0..n_kv {
            let key = self.text("a key", MAX_KEY_BYTES)?;
            let offset = self.cursor.offset();
            let ty = self.cursor.u32().map_err(at(&key))?;
            let value = self.value(&key, ty, offset)?;
            if metadata.get(&key).is_some() {
                return Err(GgufError::DuplicateKey { key });
            }
            metadata.set(key, value);
        }
        Ok(metadata)
    }

    fn value(&mut self, key: &str, ty: u32, offset: u64) -> Result<Value> {
        let failed = |error| GgufError::cursor(format!("the value of `{key}`"), error);
        let cursor = &mut self.cursor;
        Ok(match ty {
            0 => Value::U8(u8::from_le_bytes(cursor.array().map_err(failed)?)),
            1 => Value::I8(i8::from_le_bytes(cursor.array().map_err(failed)?)),
            2 => Value::U16(u16::from_le_bytes(cursor.array().map_err(failed)?)),
            3 => Value::I16(i16::from_le_bytes(cursor.array().map_err(failed)?)),
            4 => Value::U32(u32::from_le_bytes(cursor.array().map_err(failed)?)),
            5 => Value::I32(i32::from_le_bytes(cursor.array().map_err(failed)?)),
            6 => Value::F32(f32::from_le_bytes(cursor.array().map_err(failed)?)),
            7 => {
                let [found] = cursor.array().map_err(failed)?;
                Value::Bool(truth(key, offset, found)?)
            }
            8 => Value::Text(self.text(&format!("the value of `{key}`"), MAX_STRING_BYTES)?),
            9 => Value::Array(self.list(key, 1)?),
            10 => Value::U64(u64::from_le_bytes(cursor.array().map_err(failed)?)),
            11 => Value::I64(i64::from_le_bytes(cursor.array().map_err(failed)?)),
            12 => Value::F64(f64::from_le_bytes(cursor.array().map_err(failed)?)),
            found => {
                return Err(GgufError::ValueType {
                    key: key.to_owned(),
                    offset,
                    found,
                });
            }
        })
    }

    fn list(&mut self, key: &str, depth: u32) -> Result<Array> {
        let what = format!("the list `{key}`");
        let offset = self.cursor.offset();
        let ty = self.cursor.u32().map_err(at(&what))?;
        let n = self.cursor.u64().map_err(at(&what))?;
        let failed = |error| GgufError::cursor(what.clone(), error);
        let cursor = &mut self.cursor;
        Ok(match ty {
            0 => Array::U8(cursor.bytes(n).map_err(failed)?),
            1 => Array::I8(cursor.numbers(n, i8::from_le_bytes).map_err(failed)?),
            2 => Array::U16(cursor.numbers(n, u16::from_le_bytes).map_err(failed)?),
            3 => Array::I16(cursor.numbers(n, i16::from_le_bytes).map_err(failed)?),
            4 => Array::U32(cursor.numbers(n, u32::from_le_bytes).map_err(failed)?),
            5 => Array::I32(cursor.numbers(n, i32::from_le_bytes).map_err(failed)?),
            6 => Array::F32(cursor.numbers(n, f32::from_le_bytes).map_err(failed)?),
            7 => {
                let bytes = cursor.bytes(n).map_err(failed)?;
                let values = bytes.into_iter().map(|found| truth(key, offset, found));
                Array::Bool(values.collect::<Result<_>>()?)
            }
            8 => {
                cursor.require_items(n, MIN_TEXT_BYTES).map_err(failed)?;
                Array::Text(
                    (0..n)
                        .map(|_| self.text(&what, MAX_STRING_BYTES))
                        .collect::<Result<_>>()?,
                )
            }
            9 => {
                check_limit(
                    "the nesting of a list",
                    offset,
                    u64::from(depth) + 1,
                    MAX_NESTING.into(),
                )?;
                cursor.require_items(n, MIN_ARRAY_BYTES).map_err(failed)?;
                Array::Array((0..n).map(|_| self.list(key, depth + 1)).collect::<Result<_>>()?)
            }
            10 => Array::U64(cursor.numbers(n, u64::from_le_bytes).map_err(failed)?),
            11 => Array::I64(cursor.numbers(n, i64::from_le_bytes).map_err(failed)?),
            12 => Array::F64(cursor.numbers(n, f64::from_le_bytes).map_err(failed)?),
            found => {
                return Err(GgufError::ValueType {
                    key: key.to_owned(),
                    offset,
                    found,
                });
            }
        })
    }

    /// The tensor table, offsets still within the data part.
    fn infos(&mut self, n_tensors: u64) -> Result<Vec<TensorInfo>> {
        let mut infos = Vec::new();
        let mut names = BTreeSet::new();
        for _ in 0..n_tensors {
            let info = self.info()?;
            if !names.insert(info.name.clone()) {
                return Err(GgufError::DuplicateTensor { tensor: info.name });
            }
            infos.push(info);
        }
        Ok(infos)
    }

    fn info(&mut self) -> Result<TensorInfo> {
        let name = self.text("a tensor's name", MAX_TENSOR_NAME_BYTES)?;
        let what = format!("the table entry of tensor `{name}`");
        let failed = |error| GgufError::cursor(what.clone(), error);
        let offset = self.cursor.offset();
        let n_dims = self.cursor.u32().map_err(failed)?;
        check_limit(
            &format!("the number of dimensions of tensor `{name}`"),
            offset,
            n_dims.into(),
            MAX_DIMS.into(),
        )?;
        let dims = self
            .cursor
            .numbers(n_dims.into(), u64::from_le_bytes)
            .map_err(failed)?;
        let id = self.cursor.u32().map_err(failed)?;
        let Some(ty) = GgmlType::from_id(id) else {
            return Err(GgufError::TensorType {
                tensor: name,
                found: id,
            });
        };
        let offset = self.cursor.u64().map_err(failed)?;
        let Some(n_bytes) = ty.n_bytes(&dims) else {
            return Err(GgufError::Dims {
                tensor: name,
                dims,
                ty,
            });
        };
        Ok(TensorInfo {
            name,
            dims,
            ty,
            offset,
            n_bytes,
            part: 0,
        })
    }
}

fn truth(key: &str, offset: u64, found: u8) -> Result<bool> {
    match found {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(GgufError::Bool {
            key: key.to_owned(),
            offset,
            found,
        }),
    }
}

fn check_limit(what: &str, offset: u64, found: u64, limit: u64) -> Result<()> {
    if found > limit {
        return Err(GgufError::Limit {
            what: what.to_owned(),
            offset,
            found,
            limit,
        });
    }
    Ok(())
}
