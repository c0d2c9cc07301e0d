//! The title in a document's properties (MS-OLEPS, Property Set).

/// The number of the title.
const TITLE: u32 = 2;
/// Text in UTF-16, and in an 8-bit encoding.
const VT_LPWSTR: u32 = 31;
const VT_LPSTR: u32 = 30;
/// Where the place of the first set of properties stands.
const FIRST_SET: usize = 44;
/// More properties than this are damage.
const PROPERTIES_MAX: u32 = 4096;

/// The title, if one is stated.
pub(super) fn title(stream: &[u8]) -> Option<String> {
    let number = |at: usize| -> Option<u32> {
        let bytes = stream.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let set = number(FIRST_SET)? as usize;
    let n = number(set.checked_add(4)?)?.min(PROPERTIES_MAX) as usize;
    let place = (0..n).find_map(|i| {
        let at = set.checked_add(8 + 8 * i)?;
        (number(at)? == TITLE).then(|| number(at + 4))?
    })?;
    let at = set.checked_add(place as usize)?;
    let (kind, length) = (number(at)?, number(at.checked_add(4)?)? as usize);
    let text = stream.get(at.checked_add(8)?..)?;
    let text = match kind {
        VT_LPWSTR => {
            let bytes = text.get(..length.checked_mul(2)?)?;
            let units = bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|unit| u16::from_le_bytes(*unit));
            let text = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
            text.collect::<String>()
        }
        VT_LPSTR => encoding_rs::EUC_KR.decode(text.get(..length)?).0.into_owned(),
        _ => return None,
    };
    let text = text.trim_end_matches('\0').trim();
    (!text.is_empty()).then(|| text.to_owned())
}
