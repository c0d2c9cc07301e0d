//! GGUF files put together from a fuzzer's bytes: right in form, so that what lies behind the header is reached, and wrong
//! in single numbers, names and types.
//!
//! Not a target itself: `fuzz_targets/gguf_shaped.rs` wraps it, and `crates/weights/tests/fuzzed.rs` runs it on seeded
//! bytes.

use weights::gguf::GgmlType;

const KEYS: [&str; 10] = [
    "general.alignment",
    "general.architecture",
    "split.no",
    "split.count",
    "split.tensors.count",
    "olmoe.block_count",
    "tokenizer.ggml.tokens",
    "a",
    "b",
    "",
];
/// Numbers that parsers get wrong.
pub const INTERESTING: [u64; 12] = [
    0,
    1,
    31,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    1 << 32,
    1 << 59,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 31,
    u64::MAX,
];
/// The numbers of those types of values that have a length: strings and arrays.
const TEXT: u32 = 8;
const ARRAY: u32 = 9;
/// Bytes of a file at most.
const FILE_MAX: u64 = 1 << 20;

/// Decisions made by a fuzzer's bytes; all zero when they have run out.
struct Draw<'a>(&'a [u8]);

impl Draw<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// Mostly what is right.
    fn or_wrong(&mut self, right: u64) -> u64 {
        match self.byte() {
            0..=247 => right,
            248..=250 => right.wrapping_add_signed(i64::from(self.byte().cast_signed())),
            251..=253 => INTERESTING[self.below(INTERESTING.len())],
            _ => self.number(),
        }
    }
}

/// A file that the bytes decide about.
pub fn gguf_file(bytes: &[u8]) -> Vec<u8> {
    let mut draw = Draw(bytes);
    let (n_values, n_tensors) = (draw.below(8), draw.below(8));
    let mut out = b"GGUF".to_vec();
    put(&mut out, draw.or_wrong(3), 4);
    put(&mut out, draw.or_wrong(n_tensors as u64), 8);
    put(&mut out, draw.or_wrong(n_values as u64), 8);
    let mut alignment = 32;
    for nth in 0..n_values {
        // Keys of their own, but for the few that come twice.
        let key = KEYS[(draw.or_wrong(nth as u64) % KEYS.len() as u64) as usize];
        text(&mut draw, &mut out, key);
        if key == KEYS[0] {
            alignment = 8 << draw.below(4);
            put(&mut out, draw.or_wrong(4), 4);
            put(&mut out, draw.or_wrong(alignment), 4);
        } else {
            let kind = draw.below(13) as u32;
            put(&mut out, draw.or_wrong(u64::from(kind)), 4);
            value(&mut draw, &mut out, kind, 0);
        }
    }
    let data_bytes = tensors(&mut draw, &mut out, n_tensors, alignment);
    out.resize(out.len().next_multiple_of(alignment as usize), 0);
    let end = draw.or_wrong(data_bytes).min(FILE_MAX) as usize;
    out.resize(out.len() + end, 0x3c);
    out
}

/// The descriptions of tensors; returns how long their data is.
fn tensors(draw: &mut Draw<'_>, out: &mut Vec<u8>, n_tensors: usize, alignment: u64) -> u64 {
    let mut offset = 0u64;
    for nth in 0..n_tensors {
        let name = format!("t{}", draw.or_wrong(nth as u64) % 16);
        text(draw, out, &name);
        let kind = GgmlType::ALL[draw.below(GgmlType::ALL.len())];
        let n_dims = 1 + draw.below(4);
        put(out, draw.or_wrong(n_dims as u64), 4);
        let mut n_blocks = 1;
        for dim in 0..n_dims {
            let count = 1 + draw.below(4) as u64;
            n_blocks *= count;
            let unit = if dim == 0 { kind.block_len() } else { 1 };
            put(out, draw.or_wrong(count * unit), 8);
        }
        put(out, draw.or_wrong(u64::from(kind.id())), 4);
        put(out, draw.or_wrong(offset), 8);
        offset = (offset + n_blocks * kind.block_bytes()).next_multiple_of(alignment);
    }
    offset
}

fn value(draw: &mut Draw<'_>, out: &mut Vec<u8>, kind: u32, depth: usize) {
    match kind {
        0 | 1 | 7 => put(out, draw.or_wrong(1), 1),
        2 | 3 => put(out, draw.number(), 2),
        4..=6 => put(out, draw.number(), 4),
        TEXT => {
            let n = draw.below(20);
            text(draw, out, &"가나다abc"[..n / 3 * 3 % 12]);
        }
        ARRAY => {
            let inner = if depth < 3 { draw.below(13) } else { draw.below(8) } as u32;
            let n = draw.below(6);
            put(out, draw.or_wrong(u64::from(inner)), 4);
            put(out, draw.or_wrong(n as u64), 8);
            (0..n).for_each(|_| value(draw, out, inner, depth + 1));
        }
        _ => put(out, draw.number(), 8),
    }
}

/// A string with its length.
fn text(draw: &mut Draw<'_>, out: &mut Vec<u8>, text: &str) {
    put(out, draw.or_wrong(text.len() as u64), 8);
    out.extend(text.as_bytes());
    // Now and then something that is no UTF-8.
    if draw.byte() > 250 {
        out.extend([0xff, 0xfe]);
    }
}

fn put(out: &mut Vec<u8>, number: u64, n_bytes: usize) {
    out.extend(&number.to_le_bytes()[..n_bytes]);
}
