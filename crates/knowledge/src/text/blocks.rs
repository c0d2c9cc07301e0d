//! The blocks of a text as bytes, so that a document can be cut again without its file.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::BlockSpan;
use crate::read::BlockKind;
use crate::varint::{put, take};

/// More than this, unpacked, is damage.
const PLAIN_BYTES_MAX: u64 = 256 << 20;
/// Headings are this and their level.
const HEADING: u64 = 16;

/// Blocks, and what they stand in (see [`super::NormalText::under`]).
pub(crate) type Structure = (Vec<BlockSpan>, Vec<Vec<String>>);

/// Packs blocks: the names of what they stand in, then differences from each block to the next, deflated.
pub(crate) fn pack(blocks: &[BlockSpan], under: &[Vec<String>]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(blocks.len() * 5);
    put(&mut plain, under.len() as u64);
    for names in under {
        put(&mut plain, names.len() as u64);
        for name in names {
            put(&mut plain, name.len() as u64);
            plain.extend_from_slice(name.as_bytes());
        }
    }
    let mut last_end = 0;
    for block in blocks {
        put(&mut plain, number_of(block.kind));
        put(&mut plain, (block.start - last_end) as u64);
        put(&mut plain, (block.end - block.start) as u64);
        put(&mut plain, block.page.map_or(0, |page| u64::from(page) + 1));
        put(&mut plain, u64::from(block.under));
        last_end = block.end;
    }
    let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(&plain)?;
    packer.finish()
}

/// Unpacks what [`pack`] made; `None` for anything else.
pub(crate) fn unpack(packed: &[u8]) -> Option<Structure> {
    let mut plain = Vec::new();
    DeflateDecoder::new(packed)
        .take(PLAIN_BYTES_MAX)
        .read_to_end(&mut plain)
        .ok()?;
    let mut rest = plain.as_slice();
    let mut under = Vec::new();
    for _ in 0..take(&mut rest)? {
        let mut names = Vec::new();
        for _ in 0..take(&mut rest)? {
            let n_bytes = usize::try_from(take(&mut rest)?).ok()?;
            let (name, after) = rest.split_at_checked(n_bytes)?;
            rest = after;
            names.push(String::from_utf8(name.to_vec()).ok()?);
        }
        under.push(names);
    }
    let mut blocks = Vec::new();
    let mut last_end: usize = 0;
    while !rest.is_empty() {
        let kind = kind_of(take(&mut rest)?)?;
        let start = last_end.checked_add(usize::try_from(take(&mut rest)?).ok()?)?;
        let end = start.checked_add(usize::try_from(take(&mut rest)?).ok()?)?;
        let page = match take(&mut rest)? {
            0 => None,
            number => Some(u32::try_from(number - 1).ok()?),
        };
        let within = u32::try_from(take(&mut rest)?).ok()?;
        blocks.push(BlockSpan {
            kind,
            start,
            end,
            page,
            under: within,
        });
        last_end = end;
    }
    Some((blocks, under))
}

fn number_of(kind: BlockKind) -> u64 {
    match kind {
        BlockKind::Paragraph => 0,
        BlockKind::ListItem => 1,
        BlockKind::TableRow => 2,
        BlockKind::Code => 3,
        BlockKind::Heading(level) => HEADING + u64::from(level),
    }
}

fn kind_of(number: u64) -> Option<BlockKind> {
    Some(match number {
        0 => BlockKind::Paragraph,
        1 => BlockKind::ListItem,
        2 => BlockKind::TableRow,
        3 => BlockKind::Code,
        _ => BlockKind::Heading(u8::try_from(number.checked_sub(HEADING)?).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            steps in prop::collection::vec(
                (0u64..22, 0usize..300, 1usize..4000, prop::option::of(0u32..9999), 0u32..5),
                0..60,
            ),
            under in prop::collection::vec(prop::collection::vec("[a-z가-힣]{0,9}", 0..4), 0..5),
        ) {
            let mut at = 0;
            let blocks: Vec<BlockSpan> = steps
                .iter()
                .filter_map(|(kind, gap, n, page, under)| {
                    let kind = kind_of(*kind)?;
                    let start = at + gap;
                    at = start + n;
                    Some(BlockSpan { kind, start, end: at, page: *page, under: *under })
                })
                .collect();
            prop_assert_eq!(unpack(&pack(&blocks, &under).unwrap()), Some((blocks, under)));
        }

        #[test]
        fn any_other_bytes_unpack_to_something_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            unpack(&bytes);
            let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(&bytes).unwrap();
            unpack(&packer.finish().unwrap());
        }
    }
}
