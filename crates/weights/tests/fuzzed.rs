//! The fuzz targets' bodies on seeded mutations of valid files: the same inputs on every machine.
//!
//! Coverage-guided fuzzing lives in `fuzz/`; this is its floor, run with every test.

#[expect(
    unreachable_pub,
    reason = "public for the fuzz targets, which are crates of their own"
)]
#[path = "../../../fuzz/src/files.rs"]
mod bodies;
#[expect(
    unreachable_pub,
    reason = "public for the fuzz targets, which are crates of their own"
)]
#[path = "../../../fuzz/src/shaped.rs"]
mod shaped;

use std::io::Cursor;

use stdx::rng::Rng;
use weights::gguf::{Array, GgmlType, Writer};

use shaped::INTERESTING;

/// Mutations of each format.
const ROUNDS: u64 = 20_000;

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len().max(1) as u64) as usize;
        match rng.below(6) {
            0 => bytes.truncate(at),
            1 => {
                let tail = bytes.split_off(at);
                bytes.extend(tail.iter().rev());
            }
            2 => put(bytes, at, &[rng.next_u64() as u8]),
            3 => put(
                bytes,
                at,
                &(INTERESTING[rng.below(12) as usize] as u32).to_le_bytes(),
            ),
            4 => put(bytes, at & !3, &INTERESTING[rng.below(12) as usize].to_le_bytes()),
            _ => {
                let end = (at + rng.below(32) as usize).min(bytes.len());
                let copy = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (slot, byte) in bytes.iter_mut().skip(at).zip(value) {
        *slot = *byte;
    }
}

fn run(seed: u64, valid: &[u8], body: fn(&[u8])) {
    body(valid);
    let mut rng = Rng::new(seed);
    for _ in 0..ROUNDS {
        let mut bytes = valid.to_vec();
        mutate(&mut rng, &mut bytes);
        body(&bytes);
    }
}

#[test]
fn mutated_gguf_files_never_panic() {
    let mut writer = Writer::new();
    writer
        .set("general.architecture", "olmoe")
        .set("general.alignment", 32u32)
        .set("n", 1u64);
    writer.set("list", Array::Text(vec!["a".into(), "b".into()]));
    writer.set("nested", Array::Array(vec![Array::U16(vec![1, 2, 3])]));
    writer.tensor("q", &[32, 2], GgmlType::Q4_0).unwrap();
    writer.tensor("f", &[2, 3, 4], GgmlType::F32).unwrap();
    let mut body = writer.begin(Vec::new()).unwrap();
    while let Some(info) = body.current() {
        let zeros = vec![0; info.n_bytes as usize];
        body.write(&zeros).unwrap();
    }
    run(1, &body.finish().unwrap(), bodies::gguf);
}

#[test]
fn gguf_files_that_are_wrong_in_single_numbers_never_panic() {
    let mut rng = Rng::new(4);
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        let decisions: Vec<u8> = (0..rng.below(600)).map(|_| rng.next_u64() as u8).collect();
        let file = shaped::gguf_file(&decisions);
        bodies::gguf(&file);
        let len = file.len() as u64;
        let parsed = weights::gguf::Gguf::parse(Cursor::new(file), len);
        accepted += u64::from(parsed.is_ok());
    }
    // Enough is right for the inside to be reached, and enough is wrong.
    assert!(
        (ROUNDS / 50..ROUNDS / 2).contains(&accepted),
        "{accepted} accepted"
    );
}

#[test]
fn mutated_safetensors_files_never_panic() {
    let json = r#"{"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"y":{"dtype":"BF16","shape":[1],"data_offsets":[16,18]}}"#;
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend([0; 18]);
    run(2, &bytes, bodies::safetensors);
}

#[test]
fn mutated_e5s1_files_never_panic() {
    let mut bytes = b"E5S1\x01\0\0\0".to_vec();
    [32i32, 1, 1, 32, 4, 4, 1]
        .iter()
        .for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes.extend(1e-12f32.to_le_bytes());
    [32i32, 2, 0, 1, 0, 1]
        .iter()
        .for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes.extend(2u64.to_le_bytes());
    [0u32, 1, 2, 0, 0]
        .iter()
        .for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes.extend(b"ab");
    [1u32, 9, 65]
        .iter()
        .for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes.push(1);
    [97u32, 1]
        .iter()
        .for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes.extend(b"\x01\0w\x01");
    bytes.extend(32u32.to_le_bytes());
    let offset = (bytes.len() as u64 + 16).next_multiple_of(64);
    bytes.extend(offset.to_le_bytes());
    bytes.extend(18u64.to_le_bytes());
    bytes.resize(offset as usize + 18, 7);
    let parsed = weights::e5s1::E5s1::parse(Cursor::new(bytes.clone()), bytes.len() as u64);
    assert!(parsed.is_ok(), "{parsed:?}");
    run(3, &bytes, bodies::e5s1);
}

#[test]
fn what_is_kept_of_fuzzing_never_panics() {
    for file in testkit::kept_corpus("gguf") {
        bodies::gguf(&file);
    }
    for decisions in testkit::kept_corpus("gguf_shaped") {
        bodies::gguf(&shaped::gguf_file(&decisions));
    }
    for file in testkit::kept_corpus("safetensors") {
        bodies::safetensors(&file);
    }
}

/// Three nodes and four tensors, written by the format's own library.
const ONNX: &[u8] =
    b"\x08\x0e\x12\x01t:\x80\x02\x0a)\x12\x01c\x22\x08Constant*\x1a\x0a\x05value*\x0e\x08\x01\x10\x07J\x08\
    \x02\x00\x00\x00\x00\x00\x00\x00\xa0\x01\x04\x0aJ\x0a\x01x\x0a\x0bw_quantized\x0a\x01z\x0a\x0cw_zero\
    _point\x12\x01y\x1a\x15/a/query/MatMul_quant\x22\x0dMatMulInteger\x0a.\x0a\x01y\x0a\x01w\x0a\x01b\
    \x12\x01o\x1a\x0b/a/out/Gemm\x22\x04Gemm*\x0d\x0a\x06transB\x18\x01\xa0\x01\x02\x12\x01g*\x19\x08\
    \x02\x08\x02\x10\x03B\x0bw_quantizedJ\x04\x01\x02\x03\xfc*\x11\x10\x01\x22\x04\x00\x00\x00?B\x07w_sc\
    ale*\x13\x10\x03*\x01\x00B\x0cw_zero_point*\x11\x08\x02\x10\x01B\x01bJ\x08\x00\x00\x00?\x00\x00\x80>\
    B\x02\x10\x1c";

#[test]
fn mutated_onnx_files_never_panic() {
    assert!(
        weights::onnx::Onnx::parse(ONNX)
            .unwrap()
            .tensor("w_quantized")
            .is_some()
    );
    run(5, ONNX, bodies::onnx);
}
