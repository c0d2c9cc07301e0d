//! A hand-made file, and what must be refused.

use std::io::Cursor;

use super::*;

/// A small valid file: width 64, two tensors, and where some of its fields stand.
pub(crate) fn sample() -> Vec<u8> {
    let mut out = b"E5S1\x01\0\0\0".to_vec();
    for value in [64i32, 1, 2, 128, 8, 16, 2] {
        out.extend(value.to_le_bytes());
    }
    out.extend(1e-12f32.to_le_bytes());
    for value in [32i32, 5, 0, 2, 1, 3] {
        out.extend(value.to_le_bytes());
    }
    let pieces: [&[u8]; 5] = [b"<s>", b"<pad>", b"</s>", b"<unk>", "\u{2581}a".as_bytes()];
    out.extend((pieces.concat().len() as u64).to_le_bytes());
    let mut end = 0u32;
    out.extend(end.to_le_bytes());
    for piece in pieces {
        end += piece.len() as u32;
        out.extend(end.to_le_bytes());
    }
    for score in [0f32, 0.0, 0.0, 0.0, -1.5] {
        out.extend(score.to_le_bytes());
    }
    out.extend(pieces.concat());
    out.extend(2i32.to_le_bytes());
    out.extend(14u32.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.push(0);
    out.extend(u32::from('Å').to_le_bytes());
    out.push(1);
    out.extend(u32::from('a').to_le_bytes());
    out.extend(2i32.to_le_bytes());
    let table = 2 * (2 + 1 + 1 + 4 + 8 + 8);
    let first = (out.len() as u64 + table).next_multiple_of(64);
    for (name, ty, n, offset, n_bytes) in [(b"a", 0u8, 16u32, first, 64u64), (b"b", 1, 64, first + 64, 36)] {
        out.extend(1u16.to_le_bytes());
        out.extend(name);
        out.push(ty);
        out.extend(n.to_le_bytes());
        out.extend(offset.to_le_bytes());
        out.extend(n_bytes.to_le_bytes());
    }
    out.resize(first as usize, 0);
    out.extend((0..100u8).collect::<Vec<_>>());
    out
}

fn parse(bytes: &[u8]) -> Result<E5s1, E5s1Error> {
    E5s1::parse(Cursor::new(bytes.to_vec()), bytes.len() as u64)
}

/// The table entry of the first tensor begins here.
fn first_entry(bytes: &[u8]) -> usize {
    bytes
        .windows(4)
        .position(|window| window == b"\x01\0a\0")
        .unwrap()
}

#[test]
fn reads_a_small_file() {
    let file = parse(&sample()).unwrap();
    assert_eq!(
        (file.header().d_model, file.header().n_heads, file.header().unk),
        (64, 2, 3)
    );
    assert_eq!(file.pieces().bytes(4), Some("\u{2581}a".as_bytes()));
    assert_eq!(
        (file.pieces().score(4), file.pieces().bytes(5)),
        (Some(-1.5), None)
    );
    assert_eq!(file.normaliser().get(&'Å').map(String::as_str), Some("a"));
    assert_eq!(file.normaliser().get(&'\u{1}').map(String::as_str), Some(""));
    let info = file.tensor("b").unwrap();
    let mut buffer = vec![0; 36];
    file.read_tensor(info, &mut buffer).unwrap();
    assert_eq!(buffer, (64..100).collect::<Vec<u8>>());
    assert!(file.read_tensor(info, &mut [0; 3]).is_err());
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let bytes = sample();
    for n in 0..bytes.len() {
        assert!(parse(&bytes[..n]).is_err(), "{n} bytes");
    }
}

#[test]
fn lying_numbers_are_refused() {
    let good = sample();
    let entry = first_entry(&good);
    // (byte position, replacement)
    let cases: [(usize, &[u8]); 14] = [
        (0, b"E5S2"),
        (8, &0i32.to_le_bytes()),             // width 0
        (8, &(-1i32).to_le_bytes()),          // negative width
        (16, &3i32.to_le_bytes()),            // heads do not divide the width
        (36, &f32::NAN.to_le_bytes()),        // epsilon
        (40, &16i32.to_le_bytes()),           // block length
        (44, &i32::MAX.to_le_bytes()),        // pieces
        (48, &5i32.to_le_bytes()),            // begin token out of range
        (64, &u64::MAX.to_le_bytes()),        // blob
        (76, &999u32.to_le_bytes()),          // offsets fall
        (entry + 3, &[9]),                    // type
        (entry + 4, &u32::MAX.to_le_bytes()), // elements
        (entry + 8, &u64::MAX.to_le_bytes()), // offset
        (entry + 8, &1u64.to_le_bytes()),     // unaligned
    ];
    for (at, replacement) in cases {
        let mut bytes = good.clone();
        bytes[at..at + replacement.len()].copy_from_slice(replacement);
        assert!(parse(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn overlapping_and_double_tensors_are_refused() {
    let good = sample();
    let entry = first_entry(&good);
    let mut double = good.clone();
    double[entry + 2 + 24] = b'a';
    let message = parse(&double).unwrap_err().to_string();
    assert!(message.contains("`a`"), "{message}");
    let mut overlap = good.clone();
    let offset: [u8; 8] = good[entry + 8..entry + 16].try_into().unwrap();
    overlap[entry + 24 + 8..entry + 24 + 16].copy_from_slice(&offset);
    assert!(parse(&overlap).unwrap_err().to_string().contains("inside"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn flipped_bits_never_panic(flips in proptest::collection::vec((0usize..400, 0u8..8), 1..6)) {
        let mut bytes = sample();
        for (at, bit) in flips {
            let n = bytes.len();
            bytes[at % n] ^= 1 << bit;
        }
        if let Ok(file) = parse(&bytes) {
            for info in file.tensors() {
                let mut buffer = vec![0; info.n_bytes as usize];
                file.read_tensor(info, &mut buffer).unwrap();
            }
        }
    }
}
