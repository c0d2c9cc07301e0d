//! Fonts of a PDF: which text each code stands for, and how far it moves the pen.
//!
//! Shapes are never looked at. In order of trust: the document's own map to text, the encoding it names, the
//! table inside of an embedded font.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, MACINTOSH, SHIFT_JIS, WINDOWS_1252};
use lopdf::{Dictionary, Document, Object, ObjectId};
use unicode_normalization::UnicodeNormalization;

use super::super::Run;
use super::cmap::CMap;
use super::{dictionary, entry, glyphs, number, resolve, truetype};

/// Largest font program or map that is unpacked.
const MAX_STREAM_BYTES: usize = 64 << 20;
/// Most widths of one font.
const MAX_WIDTHS: usize = 70_000;
/// Widths of the printable ASCII characters in Helvetica, for the standard fonts, which documents need not
/// describe (Adobe's metrics, thousandths of the font size).
const HELVETICA: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278,
    500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469,
    556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500,
    278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/// A code of a font: its text, if that is known, and its width in units of the font size.
#[derive(Clone)]
pub(super) struct Glyph {
    pub(super) text: Option<Rc<str>>,
    pub(super) width: f64,
}

/// How codes are told apart in a string.
enum Coding {
    OneByte,
    TwoBytes,
    Map(Box<CMap>),
    /// A national encoding.
    National(&'static Encoding),
    Utf16,
}

/// A font, ready to decode strings.
pub(super) struct Font {
    coding: Coding,
    to_unicode: CMap,
    /// Texts of the codes of a simple font.
    simple: Vec<Option<Rc<str>>>,
    widths: BTreeMap<u32, f64>,
    default_width: f64,
    /// Characters by glyph number of an embedded font.
    characters: BTreeMap<u32, char>,
    glyph_numbers: Option<Vec<u8>>,
    pub(super) is_vertical: bool,
    pub(super) is_bold: bool,
    known: RefCell<HashMap<(u32, usize), Glyph>>,
}

/// The fonts of a document, each read once.
pub(super) struct Fonts<'d, 'r> {
    document: &'d Document,
    run: Run<'r>,
    known: HashMap<ObjectId, Rc<Font>>,
}

impl<'d, 'r> Fonts<'d, 'r> {
    pub(super) fn new(document: &'d Document, run: Run<'r>) -> Self {
        Self {
            document,
            run,
            known: HashMap::new(),
        }
    }

    /// The font of this name in a page's resources.
    pub(super) fn get(&mut self, resources: &Dictionary, name: &[u8]) -> Option<Rc<Font>> {
        let fonts = dictionary(self.document, resources, b"Font")?;
        let object = fonts.get(name).ok()?;
        let id = object.as_reference().ok();
        if let Some(font) = id.and_then(|id| self.known.get(&id)) {
            return Some(Rc::clone(font));
        }
        self.run.check_time().ok()?;
        let font = Rc::new(read(
            self.document,
            resolve(self.document, object).as_dict().ok()?,
        ));
        if let Some(id) = id {
            self.known.insert(id, Rc::clone(&font));
        }
        Some(font)
    }
}

fn stream(document: &Document, parent: &Dictionary, key: &[u8]) -> Option<Vec<u8>> {
    let stream = entry(document, parent, key)?.as_stream().ok()?;
    stream.get_plain_content_with_limit(MAX_STREAM_BYTES).ok()
}

fn name_of<'d>(document: &'d Document, parent: &'d Dictionary, key: &[u8]) -> Option<&'d [u8]> {
    entry(document, parent, key)?.as_name().ok()
}

fn read(document: &Document, font: &Dictionary) -> Font {
    let subtype = name_of(document, font, b"Subtype").unwrap_or_default();
    let to_unicode = stream(document, font, b"ToUnicode")
        .map(|map| CMap::parse(&map))
        .unwrap_or_default();
    let base = name_of(document, font, b"BaseFont")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_bold = [b"bold".as_slice(), b"black", b"heavy"]
        .iter()
        .any(|word| base.windows(word.len()).any(|w| w == *word));
    let mut read = Font {
        coding: Coding::OneByte,
        to_unicode,
        simple: Vec::new(),
        widths: BTreeMap::new(),
        default_width: 0.0,
        characters: BTreeMap::new(),
        glyph_numbers: None,
        is_vertical: false,
        is_bold,
        known: RefCell::new(HashMap::new()),
    };
    if subtype == b"Type0" {
        composite(document, font, &mut read);
    } else {
        simple(document, font, subtype, &base, &mut read);
    }
    read
}

fn composite(document: &Document, font: &Dictionary, read: &mut Font) {
    let descendants = entry(document, font, b"DescendantFonts").and_then(|list| list.as_array().ok());
    let descendant = descendants.and_then(|list| resolve(document, list.first()?).as_dict().ok());
    match entry(document, font, b"Encoding") {
        Some(Object::Name(name)) => {
            read.is_vertical = name.ends_with(b"-V");
            read.coding = named_coding(name);
        }
        Some(Object::Stream(map)) => {
            let bytes = map
                .get_plain_content_with_limit(MAX_STREAM_BYTES)
                .unwrap_or_default();
            read.coding = Coding::Map(Box::new(CMap::parse(&bytes)));
        }
        _ => read.coding = Coding::TwoBytes,
    }
    let Some(descendant) = descendant else {
        return;
    };
    read.default_width = entry(document, descendant, b"DW")
        .and_then(number)
        .unwrap_or(1000.0)
        / 1000.0;
    if let Some(widths) = entry(document, descendant, b"W").and_then(|widths| widths.as_array().ok()) {
        composite_widths(document, widths, &mut read.widths);
    }
    if !read.to_unicode.has_texts() {
        read.glyph_numbers = stream(document, descendant, b"CIDToGIDMap");
        let descriptor = dictionary(document, descendant, b"FontDescriptor");
        let file = descriptor
            .and_then(|d| stream(document, d, b"FontFile2").or_else(|| stream(document, d, b"FontFile3")));
        read.characters = file.map(|file| truetype::characters(&file)).unwrap_or_default();
    }
}

/// Well-known maps by what their names say of their codes.
fn named_coding(name: &[u8]) -> Coding {
    let name = String::from_utf8_lossy(name);
    let has = |part: &str| name.contains(part);
    if has("UCS2") || has("UTF16") {
        Coding::Utf16
    } else if has("KSC") && !has("Johab") {
        Coding::National(EUC_KR)
    } else if has("GBK") || has("GB-") || has("GBpc") || has("GBT") {
        Coding::National(GB18030)
    } else if has("B5") || has("ETen") || has("HKscs") {
        Coding::National(BIG5)
    } else if has("RKSJ") {
        Coding::National(SHIFT_JIS)
    } else if name.starts_with("EUC-") {
        Coding::National(EUC_JP)
    } else {
        Coding::TwoBytes
    }
}

/// `[first [w w …] first last w …]`
fn composite_widths(document: &Document, list: &[Object], widths: &mut BTreeMap<u32, f64>) {
    let mut at = 0;
    while at + 1 < list.len() && widths.len() < MAX_WIDTHS {
        let first = number(resolve(document, &list[at])).unwrap_or(0.0) as u32;
        match resolve(document, &list[at + 1]) {
            Object::Array(run) => {
                for (index, width) in run.iter().take(MAX_WIDTHS).enumerate() {
                    let width = number(resolve(document, width)).unwrap_or(0.0) / 1000.0;
                    widths.insert(first.saturating_add(index as u32), width);
                }
                at += 2;
            }
            last => {
                let last = (number(last).unwrap_or(0.0) as u32).min(first.saturating_add(MAX_WIDTHS as u32));
                let width = list
                    .get(at + 2)
                    .and_then(|width| number(resolve(document, width)));
                if let Some(width) = width {
                    widths.extend((first..=last).map(|code| (code, width / 1000.0)));
                }
                at += 3;
            }
        }
    }
}

fn simple(document: &Document, font: &Dictionary, subtype: &[u8], base: &[u8], read: &mut Font) {
    let descriptor = dictionary(document, font, b"FontDescriptor");
    // Type 3 fonts say themselves how large their units are.
    let matrix = entry(document, font, b"FontMatrix").and_then(|matrix| matrix.as_array().ok());
    let scale = if subtype == b"Type3" {
        matrix.and_then(|m| number(m.first()?)).unwrap_or(0.001)
    } else {
        0.001
    };
    let first = entry(document, font, b"FirstChar")
        .and_then(number)
        .unwrap_or(0.0) as u32;
    match entry(document, font, b"Widths").and_then(|widths| widths.as_array().ok()) {
        Some(widths) => {
            for (index, width) in widths.iter().take(256).enumerate() {
                let width = number(resolve(document, width)).unwrap_or(0.0) * scale;
                read.widths.insert(first.saturating_add(index as u32), width);
            }
            read.default_width = descriptor
                .and_then(|d| number(entry(document, d, b"MissingWidth")?))
                .unwrap_or(0.0)
                * scale;
        }
        None => {
            let is_fixed = base.windows(7).any(|word| word == b"courier");
            let width = |n: usize| {
                if is_fixed {
                    0.6
                } else {
                    f64::from(HELVETICA[n]) / 1000.0
                }
            };
            read.widths = (0..HELVETICA.len()).map(|n| (n as u32 + 32, width(n))).collect();
            read.default_width = 0.556;
        }
    }
    read.simple = simple_texts(document, font, descriptor);
}

/// The text of each code by the font's encoding.
fn simple_texts(
    document: &Document,
    font: &Dictionary,
    descriptor: Option<&Dictionary>,
) -> Vec<Option<Rc<str>>> {
    let encoding = entry(document, font, b"Encoding");
    let (base, differences) = match encoding {
        Some(Object::Name(name)) => (Some(name.as_slice()), None),
        Some(Object::Dictionary(encoding)) => (
            name_of(document, encoding, b"BaseEncoding"),
            entry(document, encoding, b"Differences").and_then(|list| list.as_array().ok()),
        ),
        _ => (None, None),
    };
    let is_true_type = name_of(document, font, b"Subtype") == Some(b"TrueType");
    let built_in = descriptor.and_then(|d| stream(document, d, b"FontFile"));
    let mut texts: Vec<Option<Rc<str>>> = match (base, built_in) {
        (Some(b"MacRomanEncoding"), _) => (0..=255).map(|byte| national(MACINTOSH, &[byte])).collect(),
        (None, Some(program)) => built_in_texts(&program, document),
        (None, None) if !is_true_type => (0..=255).map(|byte| standard(byte, document)).collect(),
        _ => (0..=255).map(|byte| national(WINDOWS_1252, &[byte])).collect(),
    };
    let mut code = 0_usize;
    for item in differences.unwrap_or(&Vec::new()) {
        match resolve(document, item) {
            Object::Name(name) => {
                if let Some(slot) = texts.get_mut(code) {
                    *slot = glyphs::text_of(name, document).map(Rc::from);
                }
                code += 1;
            }
            other => code = number(other).unwrap_or(0.0).clamp(0.0, 256.0) as usize,
        }
    }
    texts
}

fn standard(byte: u8, document: &Document) -> Option<Rc<str>> {
    let mut font = Dictionary::new();
    font.set("Type", Object::Name(b"Font".to_vec()));
    font.set("Encoding", Object::Name(b"StandardEncoding".to_vec()));
    let text = font
        .get_font_encoding(document)
        .ok()?
        .bytes_to_string(&[byte])
        .ok()?;
    (!text.is_empty()).then(|| text.into())
}

/// The encoding that a Type 1 program states in its plain part: `dup 65 /A put`.
fn built_in_texts(program: &[u8], document: &Document) -> Vec<Option<Rc<str>>> {
    let mut texts: Vec<Option<Rc<str>>> = vec![None; 256];
    let plain = &program[..super::super::sniff::find(program, b"eexec").unwrap_or(program.len())];
    let Some(start) = super::super::sniff::find(plain, b"/Encoding") else {
        return texts;
    };
    let words: Vec<&[u8]> = plain[start..]
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|w| !w.is_empty())
        .collect();
    if words.get(1) == Some(&b"StandardEncoding".as_slice()) {
        return (0..=255).map(|byte| standard(byte, document)).collect();
    }
    for window in words.windows(4) {
        if let [b"dup", code, name, b"put"] = window {
            let code = std::str::from_utf8(code)
                .ok()
                .and_then(|code| code.parse::<usize>().ok());
            if let (Some(slot), Some(name)) =
                (code.and_then(|code| texts.get_mut(code)), name.strip_prefix(b"/"))
            {
                *slot = glyphs::text_of(name, document).map(Rc::from);
            }
        }
    }
    texts
}

/// Bytes of a national encoding.
fn national(encoding: &'static Encoding, bytes: &[u8]) -> Option<Rc<str>> {
    let (text, broken) = encoding.decode_without_bom_handling(bytes);
    let is_text = !broken && !text.chars().any(char::is_control);
    is_text.then(|| Rc::from(text.as_ref()))
}

impl Font {
    /// Goes through a string: each code, whether it is the single byte for a space, and its glyph.
    pub(super) fn decode(&self, bytes: &[u8], each: &mut dyn FnMut(&Glyph, bool)) {
        let mut rest = bytes;
        while let [first, ..] = rest {
            let length = match &self.coding {
                Coding::OneByte => 1,
                Coding::TwoBytes => 2,
                Coding::Map(map) => map.code_length(rest),
                Coding::National(encoding) => {
                    let is_single =
                        *first < 0x80 || (*encoding == SHIFT_JIS && (0xA1..=0xDF).contains(first));
                    if is_single { 1 } else { 2 }
                }
                Coding::Utf16 if (0xD8..=0xDB).contains(first) => 4,
                Coding::Utf16 => 2,
            };
            let (bytes, tail) = rest.split_at(length.clamp(1, rest.len()));
            rest = tail;
            let code = bytes
                .iter()
                .fold(0_u32, |code, byte| code << 8 | u32::from(*byte));
            let mut known = self.known.borrow_mut();
            let glyph = known
                .entry((code, bytes.len()))
                .or_insert_with(|| self.glyph(code, bytes));
            each(glyph, bytes == b" ");
        }
    }

    fn glyph(&self, code: u32, bytes: &[u8]) -> Glyph {
        let number = match &self.coding {
            Coding::Map(map) => map.glyph(code).unwrap_or(code),
            _ => code,
        };
        let width = self.widths.get(&number).copied().unwrap_or(match self.coding {
            Coding::National(_) if bytes.len() == 1 => self.default_width / 2.0,
            _ => self.default_width,
        });
        let mapped = self.to_unicode.text(code).map(Rc::from);
        let text = mapped
            .or_else(|| self.text_without_map(code, number, bytes))
            .map(|text| shown(&text));
        Glyph { text, width }
    }

    fn text_without_map(&self, code: u32, number: u32, bytes: &[u8]) -> Option<Rc<str>> {
        match &self.coding {
            Coding::OneByte => self.simple.get(code as usize)?.clone(),
            Coding::National(encoding) => national(encoding, bytes),
            Coding::Utf16 => national(encoding_rs::UTF_16BE, bytes),
            Coding::TwoBytes | Coding::Map(_) => {
                let at = number as usize * 2;
                let glyph = match &self.glyph_numbers {
                    Some(map) => u32::from(u16::from_be_bytes([*map.get(at)?, *map.get(at + 1)?])),
                    None => number,
                };
                self.characters.get(&glyph).map(|c| Rc::from(c.to_string()))
            }
        }
    }
}

/// Ligatures become letters, and the radicals that some fonts put in place of Han characters those characters.
fn shown(text: &Rc<str>) -> Rc<str> {
    let is_stand_in = |c: char| matches!(c, '\u{2E80}'..='\u{2FDF}' | '\u{FB00}'..='\u{FB06}');
    if !text.contains(is_stand_in) {
        return Rc::clone(text);
    }
    let plain: String = text
        .chars()
        .flat_map(|c| {
            let parts: Vec<char> = if is_stand_in(c) {
                std::iter::once(c).nfkc().collect()
            } else {
                vec![c]
            };
            parts
        })
        .collect();
    Rc::from(plain)
}
