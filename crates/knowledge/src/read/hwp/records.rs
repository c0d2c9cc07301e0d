//! The records that streams of HWP 5 consist of: a tag, a level of nesting, and data.

use super::super::{ReadError, Run};
use super::corrupt;

/// More records than this in one stream are refused.
const RECORDS_MAX: usize = 20_000_000;
/// A size that says that the real one follows.
const LONG: u32 = 0xFFF;
/// Records between two looks at the clock.
const TIME_CHECK_EVERY: usize = 4096;

/// One record. Reading beyond its end gives `None`.
pub(super) struct Record<'a> {
    pub(super) tag: u16,
    pub(super) level: u16,
    pub(super) data: &'a [u8],
}

/// Cuts a stream into its records. One that is cut short ends the list: what came before counts.
pub(super) fn records<'a>(bytes: &'a [u8], run: Run<'_>) -> Result<Vec<Record<'a>>, ReadError> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        if records.len().is_multiple_of(TIME_CHECK_EVERY) {
            run.check_time()?;
        }
        if records.len() >= RECORDS_MAX {
            return Err(corrupt("it has too many records"));
        }
        let head = u32::from_le_bytes(*head);
        rest = after;
        let mut size = head >> 20;
        if size == LONG {
            let Some((long, after)) = rest.split_first_chunk::<4>() else {
                break;
            };
            size = u32::from_le_bytes(*long);
            rest = after;
        }
        let Some((data, after)) = rest.split_at_checked(size as usize) else {
            break;
        };
        rest = after;
        records.push(Record {
            tag: (head & 0x3FF) as u16,
            level: (head >> 10 & 0x3FF) as u16,
            data,
        });
    }
    if records.is_empty() && !bytes.is_empty() {
        return Err(corrupt("a stream holds no records"));
    }
    Ok(records)
}

impl Record<'_> {
    pub(super) fn u8(&self, at: usize) -> Option<u8> {
        self.data.get(at).copied()
    }

    pub(super) fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.data.get(at..)?.first_chunk()?;
        Some(u16::from_le_bytes(*bytes))
    }

    pub(super) fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.data.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    pub(super) fn i32(&self, at: usize) -> Option<i32> {
        self.u32(at).map(u32::cast_signed)
    }

    /// UTF-16 text with its length before it, and where it ends.
    pub(super) fn text(&self, at: usize) -> Option<(String, usize)> {
        let n = usize::from(self.u16(at)?);
        let end = at + 2 + 2 * n;
        let bytes = self.data.get(at + 2..end)?;
        let units = bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|unit| u16::from_le_bytes(*unit));
        let text = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
        Some((text.collect(), end))
    }
}
