//! The byte-level alphabet of GPT-2: every byte as one printable character.
//!
//! Bytes that print in Latin-1 stand for themselves; the other 68 are numbered from U+0100 in order.

/// One beyond the largest character of the alphabet.
const END: usize = 0x144;

/// The characters by their byte.
pub(crate) fn chars_of_bytes() -> [char; 256] {
    let mut next = 0x100u32;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
            return char::from(byte);
        }
        let character = char::from_u32(next).unwrap_or(char::REPLACEMENT_CHARACTER);
        next += 1;
        character
    })
}

/// The bytes by their character's number; `None` for characters outside the alphabet.
pub(super) fn bytes_of_chars() -> [Option<u8>; END] {
    let mut bytes = [None; END];
    for (byte, character) in chars_of_bytes().into_iter().enumerate() {
        if let Some(slot) = bytes.get_mut(character as usize) {
            *slot = Some(byte as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        let chars = chars_of_bytes();
        let bytes = bytes_of_chars();
        for (byte, character) in chars.into_iter().enumerate() {
            assert_eq!(bytes[character as usize], Some(byte as u8));
        }
        assert_eq!(
            (chars[b' ' as usize], chars[b'\n' as usize], chars[0xAD]),
            ('Ġ', 'Ċ', 'Ń')
        );
    }
}
