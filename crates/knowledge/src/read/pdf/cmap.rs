//! Character maps of PDF fonts: from codes to text, and from codes to glyph numbers.
//!
//! Only maps written into the document; the names of well-known ones are dealt with in `font`.

use std::collections::BTreeMap;

use super::lexer::{Lexer, Operand};

/// Most entries of one map; ranges count once for each code.
const MAX_ENTRIES: usize = 200_000;
/// Most ranges of codes.
const MAX_SPACES: usize = 256;
/// Longest text of one code, in characters.
const MAX_TEXT_CHARS: usize = 32;

/// A parsed map.
#[derive(Default)]
pub(super) struct CMap {
    /// Length in bytes, lowest and highest code.
    spaces: Vec<(usize, u32, u32)>,
    texts: BTreeMap<u32, Box<str>>,
    glyphs: BTreeMap<u32, u32>,
}

impl CMap {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut map = Self::default();
        let (mut lexer, mut operands) = (Lexer::new(bytes), Vec::new());
        while let Some(operator) = lexer.next_operator(&mut operands) {
            match operator {
                b"endcodespacerange" => map.add_spaces(&operands),
                b"endbfchar" => {
                    for pair in operands.chunks_exact(2) {
                        if let Some(code) = code(&pair[0]) {
                            map.add_text(code, &pair[1], 0);
                        }
                    }
                }
                b"endbfrange" => map.add_text_ranges(&operands),
                b"endcidchar" => {
                    for pair in operands.chunks_exact(2) {
                        if let (Some(code), Some(glyph)) = (code(&pair[0]), pair[1].number()) {
                            map.glyphs.insert(code, glyph as u32);
                        }
                    }
                }
                b"endcidrange" => map.add_glyph_ranges(&operands),
                _ => {}
            }
        }
        map
    }

    /// Whether any code has a text.
    pub(super) fn has_texts(&self) -> bool {
        !self.texts.is_empty()
    }

    pub(super) fn text(&self, code: u32) -> Option<&str> {
        self.texts.get(&code).map(AsRef::as_ref)
    }

    pub(super) fn glyph(&self, code: u32) -> Option<u32> {
        self.glyphs.get(&code).copied()
    }

    /// How many bytes the code at the beginning of `bytes` has.
    pub(super) fn code_length(&self, bytes: &[u8]) -> usize {
        let mut code = 0;
        for (index, byte) in bytes.iter().take(4).enumerate() {
            code = code << 8 | u32::from(*byte);
            let fits = |(length, low, high): &(usize, u32, u32)| {
                *length == index + 1 && in_space(code, *low, *high, *length)
            };
            if self.spaces.iter().any(fits) {
                return index + 1;
            }
        }
        self.spaces.iter().map(|(length, ..)| *length).min().unwrap_or(2)
    }

    fn add_spaces(&mut self, operands: &[Operand]) {
        for pair in operands.chunks_exact(2) {
            if let (Operand::Text(low), Some(from), Some(to)) = (&pair[0], code(&pair[0]), code(&pair[1]))
                && (1..=4).contains(&low.len())
                && self.spaces.len() < MAX_SPACES
            {
                self.spaces.push((low.len(), from, to));
            }
        }
    }

    fn add_text_ranges(&mut self, operands: &[Operand]) {
        for range in operands.chunks_exact(3) {
            let (Some(low), Some(high)) = (code(&range[0]), code(&range[1])) else {
                continue;
            };
            for (index, code) in (low..=high).enumerate() {
                if self.texts.len() >= MAX_ENTRIES || index > 0xFFFF {
                    return;
                }
                match &range[2] {
                    Operand::Array(texts) => match texts.get(index) {
                        Some(text) => self.add_text(code, text, 0),
                        None => break,
                    },
                    text => self.add_text(code, text, index as u32),
                }
            }
        }
    }

    fn add_glyph_ranges(&mut self, operands: &[Operand]) {
        for range in operands.chunks_exact(3) {
            let (Some(low), Some(high), Some(first)) = (code(&range[0]), code(&range[1]), range[2].number())
            else {
                continue;
            };
            for (index, code) in (low..=high).enumerate() {
                if self.glyphs.len() >= MAX_ENTRIES {
                    return;
                }
                self.glyphs
                    .insert(code, (first as u32).saturating_add(index as u32));
            }
        }
    }

    /// Adds the text of a code: UTF-16, its last unit raised by `offset`.
    fn add_text(&mut self, code: u32, text: &Operand, offset: u32) {
        let Operand::Text(bytes) = text else {
            return;
        };
        let mut units: Vec<u16> = match bytes.as_slice() {
            [single] => vec![u16::from(*single)],
            bytes => bytes
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect(),
        };
        if let Some(last) = units.last_mut() {
            *last = last.wrapping_add((offset & 0xFFFF) as u16);
        }
        let text: String = char::decode_utf16(units)
            .flatten()
            .filter(|c| *c != '\0' && *c != '\u{FFFD}')
            .take(MAX_TEXT_CHARS)
            .collect();
        if !text.is_empty() && self.texts.len() < MAX_ENTRIES {
            self.texts.insert(code, text.into());
        }
    }
}

/// Ranges of codes hold byte by byte (PDF 32000-1, 9.7.6.2).
fn in_space(code: u32, low: u32, high: u32, length: usize) -> bool {
    (0..length).all(|index| {
        let byte = |value: u32| value >> (8 * index) & 0xFF;
        (byte(low)..=byte(high)).contains(&byte(code))
    })
}

fn code(operand: &Operand) -> Option<u32> {
    match operand {
        Operand::Text(bytes) if (1..=4).contains(&bytes.len()) => {
            Some(bytes.iter().fold(0, |code, byte| code << 8 | u32::from(*byte)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_characters_ranges_and_lists() {
        let map = CMap::parse(
            b"1 begincodespacerange <0000> <FFFF> endcodespacerange\n2 beginbfchar <0003> <0020> <0010> <00660069> \
              endbfchar 2 beginbfrange <0100> <0102> <AC00> <0200> <0201> [<D83DDE00> <0041>] endbfrange",
        );
        assert_eq!(map.text(3), Some(" "));
        assert_eq!(map.text(0x10), Some("fi"));
        assert_eq!(map.text(0x102), Some("갂"));
        assert_eq!(map.text(0x200), Some("😀"));
        assert_eq!(map.text(0x201), Some("A"));
        assert_eq!(map.code_length(b"\x01\x02"), 2);
    }

    #[test]
    fn tells_the_length_of_mixed_codes() {
        let map = CMap::parse(b"begincodespacerange <00> <80> <8140> <FEFE> endcodespacerange 1 begincidrange <8140> <8142> 7 endcidrange");
        assert_eq!(map.code_length(b"A\xB0"), 1);
        assert_eq!(map.code_length(b"\xB0\xA1"), 2);
        assert_eq!(map.glyph(0x8142), Some(9));
    }
}
