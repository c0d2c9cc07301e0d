//! Which character a glyph of an embedded TrueType or OpenType font shows, from the font's own table.
//!
//! Needed where a PDF gives glyph numbers and no map to text. Reads nothing else of the font.

use std::collections::BTreeMap;

/// Most tables of a font.
const MAX_TABLES: u16 = 256;
/// Most glyphs taken from one table.
const MAX_GLYPHS: usize = 70_000;

/// Characters by glyph number; empty where the font tells nothing.
pub(super) fn characters(font: &[u8]) -> BTreeMap<u32, char> {
    cmap_table(font)
        .and_then(best_subtable)
        .map(read)
        .unwrap_or_default()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn cmap_table(font: &[u8]) -> Option<&[u8]> {
    let n_tables = u16_at(font, 4)?.min(MAX_TABLES);
    let record = (0..usize::from(n_tables))
        .map(|index| 12 + 16 * index)
        .find(|at| font.get(*at..at + 4) == Some(b"cmap"))?;
    font.get(u32_at(font, record + 8)? as usize..)
}

/// The subtable for Unicode, the one for all of it first.
fn best_subtable(table: &[u8]) -> Option<&[u8]> {
    let n = usize::from(u16_at(table, 2)?.min(MAX_TABLES));
    let rank = |at: usize| match (u16_at(table, at), u16_at(table, at + 2)) {
        (Some(3), Some(10)) => 0,
        (Some(0), Some(4 | 6)) => 1,
        (Some(3), Some(1)) => 2,
        (Some(0), _) => 3,
        _ => 9,
    };
    let best = (0..n)
        .map(|index| 4 + 8 * index)
        .min_by_key(|at| rank(*at))
        .filter(|at| rank(*at) < 9)?;
    table.get(u32_at(table, best + 4)? as usize..)
}

fn read(subtable: &[u8]) -> BTreeMap<u32, char> {
    let mut map = BTreeMap::new();
    let done = match u16_at(subtable, 0) {
        Some(4) => read_segments(subtable, &mut map),
        Some(12) => read_groups(subtable, &mut map),
        _ => None,
    };
    // A table that ends early still tells what stands before its end.
    let _ = done;
    map
}

/// The first character of a glyph wins, unless it is of no public meaning.
fn add(map: &mut BTreeMap<u32, char>, glyph: u32, code: u32) {
    let Some(c) = char::from_u32(code).filter(|c| glyph != 0 && !c.is_control()) else {
        return;
    };
    let is_private = |c: char| ('\u{E000}'..='\u{F8FF}').contains(&c);
    if map.len() < MAX_GLYPHS
        && map
            .get(&glyph)
            .is_none_or(|known| is_private(*known) && !is_private(c))
    {
        map.insert(glyph, c);
    }
}

/// Format 4: segments of codes, with an offset or an array of glyphs each.
fn read_segments(table: &[u8], map: &mut BTreeMap<u32, char>) -> Option<()> {
    let n = usize::from(u16_at(table, 6)? / 2);
    let (ends, starts, deltas, offsets) = (14, 16 + 2 * n, 16 + 4 * n, 16 + 6 * n);
    for segment in 0..n {
        let (start, end) = (
            u16_at(table, starts + 2 * segment)?,
            u16_at(table, ends + 2 * segment)?,
        );
        let delta = u16_at(table, deltas + 2 * segment)?;
        let offset = usize::from(u16_at(table, offsets + 2 * segment)?);
        for code in start..=end {
            if code == 0xFFFF {
                break;
            }
            let glyph = if offset == 0 {
                code.wrapping_add(delta)
            } else {
                let at = offsets + 2 * segment + offset + 2 * usize::from(code - start);
                match u16_at(table, at) {
                    Some(0) | None => continue,
                    Some(glyph) => glyph.wrapping_add(delta),
                }
            };
            add(map, u32::from(glyph), u32::from(code));
        }
    }
    Some(())
}

/// Format 12: groups of codes with glyphs that count up.
fn read_groups(table: &[u8], map: &mut BTreeMap<u32, char>) -> Option<()> {
    let n = u32_at(table, 12)?.min(MAX_GLYPHS as u32) as usize;
    for group in 0..n {
        let at = 16 + 12 * group;
        let (start, end, glyph) = (u32_at(table, at)?, u32_at(table, at + 4)?, u32_at(table, at + 8)?);
        for (index, code) in (start..=end.min(0x0010_FFFF)).enumerate().take(MAX_GLYPHS) {
            add(map, glyph.saturating_add(index as u32), code);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A font with nothing but a table of format 4 that maps `A`, `B`, `C` to glyphs 5, 6, 7.
    fn font() -> Vec<u8> {
        let words: [u16; 16] = [4, 32, 0, 4, 4, 1, 0, 67, 0xFFFF, 0, 65, 0xFFFF, 0xFFC4, 1, 0, 0];
        let mut table: Vec<u8> = [0_u16, 1, 3, 1, 0, 12]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        table.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        let mut font = b"\0\x01\0\0\0\x01\0\0\0\0\0\0cmap\0\0\0\0".to_vec();
        font.extend(28_u32.to_be_bytes());
        font.extend((table.len() as u32).to_be_bytes());
        font.extend(table);
        font
    }

    #[test]
    fn turns_the_table_round() {
        let map = characters(&font());
        assert_eq!(map.get(&5), Some(&'A'));
        assert_eq!(map.get(&7), Some(&'C'));
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn ends_on_any_bytes() {
        let font = font();
        for cut in 0..font.len() {
            characters(&font[..cut]);
        }
        let mut rng = stdx::rng::Rng::new(3);
        for _ in 0..300 {
            let mut damaged = font.clone();
            let at = rng.below(damaged.len() as u64) as usize;
            damaged[at] ^= 1 << rng.below(8);
            characters(&damaged);
        }
    }
}
