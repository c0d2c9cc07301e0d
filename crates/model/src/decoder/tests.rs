//! The decoder on tiny synthetic models: how a text is cut into steps changes nothing, and what is wrong is named.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weights::gguf::Gguf;

use super::*;
use crate::open::DecoderOptions;
use crate::synth::{self, Spec, WeightType};

const FAMILIES: [&str; 6] = [
    "tiny-olmoe",
    "tiny-olmo2",
    "tiny-llama",
    "tiny-qwen2",
    "tiny-qwen3",
    "tiny-qwen3moe",
];

fn file(name: &str, dtype: impl Into<WeightType>) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let dtype = dtype.into();
    let options = synth::Options { dtype, seed: 11 };
    let bytes = synth::synth(&Spec::by_name(name).unwrap(), &options, Vec::new(), &mut |_| {}).unwrap();
    stdx::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn decoder(name: &str, dtype: impl Into<WeightType>) -> Decoder {
    decoder_with(name, dtype, Precision::default())
}

fn decoder_with(name: &str, dtype: impl Into<WeightType>, precision: Precision) -> Decoder {
    let (_dir, path) = file(name, dtype);
    Decoder::open(
        &path,
        &DecoderOptions {
            threads: 2,
            precision,
            ..DecoderOptions::default()
        },
    )
    .unwrap()
}

/// Logits after the last token, the text cut into steps of these lengths.
fn in_steps(decoder: &Decoder, tokens: &[u32], lengths: &[usize]) -> Vec<f32> {
    let (mut cache, mut scratch) = (decoder.new_cache(), Scratch::default());
    let mut rest = tokens;
    for &n in lengths {
        let (step, later) = rest.split_at(n);
        rest = later;
        let input = Input {
            tokens: step,
            cache: &mut cache,
            logits: WantedLogits::Last,
        };
        decoder.forward(&mut [input], &mut scratch, None).unwrap();
    }
    assert!(rest.is_empty());
    scratch.logits(0).to_vec()
}

#[test]
fn how_a_text_is_cut_into_steps_changes_nothing() {
    let tokens: Vec<u32> = (0..40u32).map(|i| i * 37 % 500).collect();
    for name in FAMILIES {
        for dtype in [DType::F32, DType::Q4_0] {
            let decoder = decoder(name, dtype);
            let whole = in_steps(&decoder, &tokens, &[40]);
            assert_eq!(
                whole,
                in_steps(&decoder, &tokens, &[17, 1, 1, 20, 1]),
                "{name} {}",
                dtype.name()
            );
        }
    }
}

#[test]
fn five_bits_and_super_blocks_compute_natively_what_they_do_in_f32() {
    let tokens: Vec<u32> = (0..12u32).map(|i| i * 37 % 500).collect();
    let one = |dtype| WeightType::One(dtype);
    let mut types: Vec<WeightType> = vec![WeightType::Q4KM];
    types.extend([DType::Q5_0, DType::Q5_1, DType::Q2_K, DType::Q3_K, DType::Q4_K].map(one));
    types.extend([DType::Q5_K, DType::Q6_K].map(one));
    for ty in types {
        let native = decoder("tiny-olmoe-256", ty);
        let whole = in_steps(&native, &tokens, &[12]);
        assert_eq!(whole, in_steps(&native, &tokens, &[7, 1, 4]), "{}", ty.name());
        let exact = in_steps(
            &decoder_with("tiny-olmoe-256", ty, Precision::F32),
            &tokens,
            &[12],
        );
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosine = dot(&whole, &exact) / (dot(&whole, &whole) * dot(&exact, &exact)).sqrt();
        assert!(cosine > 0.99, "{}: {cosine}", ty.name());
    }
}

#[test]
fn sequences_in_one_step_do_not_see_each_other() {
    let decoder = decoder("tiny-qwen3moe", DType::Q8_0);
    let texts: [&[u32]; 3] = [&[1, 2, 3, 4, 5], &[9], &[7, 7, 8]];
    let mut caches: Vec<KvCache> = texts.iter().map(|_| decoder.new_cache()).collect();
    let mut inputs: Vec<Input<'_>> = texts
        .iter()
        .zip(&mut caches)
        .map(|(tokens, cache)| Input {
            tokens,
            cache,
            logits: WantedLogits::Last,
        })
        .collect();
    let mut scratch = Scratch::default();
    decoder.forward(&mut inputs, &mut scratch, None).unwrap();
    for (row, tokens) in texts.iter().enumerate() {
        assert_eq!(scratch.logits(row), in_steps(&decoder, tokens, &[tokens.len()]));
    }
}

#[test]
fn a_truncated_cache_goes_on_from_there() {
    let decoder = decoder("tiny-llama", DType::Q4_1);
    let (mut cache, mut scratch) = (decoder.new_cache(), Scratch::default());
    for tokens in [&[1u32, 2, 3, 4][..], &[5]] {
        cache.truncate(2);
        let input = Input {
            tokens,
            cache: &mut cache,
            logits: WantedLogits::Last,
        };
        decoder.forward(&mut [input], &mut scratch, None).unwrap();
    }
    assert_eq!(cache.len(), 3);
    assert_eq!(scratch.logits(0), in_steps(&decoder, &[1, 2, 5], &[3]));
}

#[test]
fn steps_that_cannot_be_are_refused_and_change_nothing() {
    let (_dir, path) = file("tiny-olmo2", DType::F32);
    let options = DecoderOptions {
        context: Some(8),
        ..DecoderOptions::default()
    };
    let decoder = Decoder::open(&path, &options).unwrap();
    let (mut cache, mut scratch) = (decoder.new_cache(), Scratch::default());
    let mut step = |tokens: &[u32]| {
        let input = Input {
            tokens,
            cache: &mut cache,
            logits: WantedLogits::None,
        };
        decoder.forward(&mut [input], &mut scratch, None)
    };
    step(&[1; 6]).unwrap();
    assert_eq!(
        step(&[1; 3]),
        Err(ForwardError::ContextFull {
            n_past: 6,
            n_tokens: 3,
            context: 8
        })
    );
    assert_eq!(
        step(&[512]),
        Err(ForwardError::UnknownToken {
            id: 512,
            vocab_size: 512
        })
    );
    assert_eq!(step(&[]), Err(ForwardError::NoTokens));
    step(&[1; 2]).unwrap();
    assert_eq!(cache.len(), 8);
}

/// Where the entry of a tensor goes on after its name: dimensions and type.
fn entry(bytes: &[u8], name: &str) -> usize {
    let at = bytes
        .windows(name.len())
        .position(|window| window == name.as_bytes())
        .unwrap();
    at + name.len()
}

fn refusal(name: &str, spoil: impl FnOnce(&mut Vec<u8>)) -> LoadError {
    let (_dir, path) = file(name, DType::F32);
    let mut bytes = stdx::fs::read(&path).unwrap();
    spoil(&mut bytes);
    stdx::fs::write(&path, bytes).unwrap();
    Decoder::open(&path, &DecoderOptions::default())
        .err()
        .expect("the file is spoiled")
}

#[test]
fn a_missing_tensor_is_named() {
    let error = refusal("tiny-olmoe", |bytes| {
        let end = entry(bytes, "blk.1.ffn_up_exps.weight");
        bytes[end - 1] = b'x';
    });
    assert!(
        matches!(&error, LoadError::MissingTensor { name } if name == "blk.1.ffn_up_exps.weight"),
        "{error}"
    );
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    // A matrix of 96 rows and 64 columns that says it has 64 rows and 96 columns.
    let error = refusal("tiny-llama", |bytes| {
        let dims = entry(bytes, "blk.2.ffn_gate.weight") + 4;
        bytes[dims..dims + 16].rotate_left(8);
    });
    let (expected, found) = (vec![96, 64], vec![64, 96]);
    assert!(
        matches!(&error, LoadError::Shape { name, expected: e, found: f }
            if name == "blk.2.ffn_gate.weight" && *e == expected && *f == found),
        "{error}"
    );
}

/// Puts a number that is none into the file, at this byte of a tensor.
fn put(path: &Path, name: &str, at: usize, number: &[u8]) {
    let offset = Gguf::open(path).unwrap().tensor(name).unwrap().offset as usize + at;
    let mut bytes = stdx::fs::read(path).unwrap();
    bytes[offset..offset + number.len()].copy_from_slice(number);
    stdx::fs::write(path, bytes).unwrap();
}

#[test]
fn weights_that_are_no_numbers_are_named_with_their_place() {
    /// Type of the matrices, tensor, byte in it, what is put there, its place.
    type Case<'a> = (DType, &'a str, usize, &'a [u8], &'a [usize]);
    let nan = f32::NAN.to_le_bytes();
    let cases: [Case<'_>; 5] = [
        (DType::F32, "output_norm.weight", 4 * 5, &nan, &[5]),
        (DType::F32, "token_embd.weight", 4 * (64 * 3 + 7), &nan, &[3, 7]),
        (
            DType::F32,
            "blk.1.ffn_gate_inp.weight",
            4 * (64 * 2),
            &nan,
            &[2, 0],
        ),
        // The second block of the tenth row of an expert that has 32; infinite.
        (
            DType::Q4_0,
            "blk.2.ffn_up_exps.weight",
            18 * (2 * (3 * 32 + 9) + 1),
            &[0, 0x7c],
            &[3, 9, 32],
        ),
        (DType::BF16, "blk.0.attn_q.weight", 2 * 64, &[0x80, 0xff], &[1, 0]),
    ];
    for (dtype, tensor, at, number, expected) in cases {
        let (dir, path) = file("tiny-olmoe", dtype);
        put(&path, tensor, at, number);
        let packed = dir.path().join("packed");
        for folder in [None, Some(packed.clone())] {
            let mut options = DecoderOptions::default();
            (options.pack.folder, options.pack.even_small) = (folder, true);
            let error = Decoder::open(&path, &options).err().expect("it is refused");
            assert!(
                matches!(&error, LoadError::NotFinite { name, place } if name == tensor && place == expected),
                "{tensor}: {error}"
            );
        }
        let left = stdx::fs::read_dir(&packed).unwrap();
        // Vectors are read from the model file, so the matrices may be packed.
        assert!(left.is_empty() || expected.len() == 1, "{tensor}: {left:?}");
    }
}

#[test]
fn a_type_without_kernels_is_named() {
    // i32 has the size of f32, so that nothing else in the file is wrong.
    let error = refusal("tiny-qwen2", |bytes| {
        let ty = entry(bytes, "blk.0.attn_norm.weight") + 4 + 8;
        assert_eq!(bytes[ty..ty + 4], [0; 4]);
        bytes[ty] = 26;
    });
    assert!(
        error
            .to_string()
            .contains("`blk.0.attn_norm.weight` has type i32"),
        "{error}"
    );
}

#[test]
fn a_packed_file_that_is_cut_short_is_an_error_of_the_step_and_made_anew() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, path) = file("tiny-llama", DType::Q4_0);
    let mut options = DecoderOptions::default();
    (options.pack.folder, options.pack.even_small) = (Some(dir.path().join("packed")), true);
    let decoder = Decoder::open(&path, &options).unwrap();
    let want = in_steps(&decoder, &[1, 2, 3], &[3]);
    let WeightsIn::PackedFile(packed) = decoder.weights_in().clone() else {
        panic!("{:?}", decoder.weights_in());
    };
    std::fs::set_permissions(&packed, std::fs::Permissions::from_mode(0o600)).unwrap();
    let cut = std::fs::OpenOptions::new().write(true).open(&packed).unwrap();
    cut.set_len(2 << 20).unwrap();
    let (mut cache, mut scratch) = (decoder.new_cache(), Scratch::default());
    for _ in 0..2 {
        let input = Input {
            tokens: &[1],
            cache: &mut cache,
            logits: WantedLogits::Last,
        };
        let error = decoder.forward(&mut [input], &mut scratch, None).unwrap_err();
        assert!(error.to_string().contains(&*packed.to_string_lossy()), "{error}");
        assert!(cache.is_empty());
    }
    let again = Decoder::open(&path, &options).unwrap();
    assert_eq!(in_steps(&again, &[1, 2, 3], &[3]), want);
}

#[test]
fn rows_keep_their_numbers_when_threads_share_them() {
    let pool = Pool::new(3);
    let mut rows = vec![0.0; 100 * 3];
    for_each_row(&pool, &mut rows, 3, |i, row| row.fill(i as f32));
    assert!(
        rows.chunks_exact(3)
            .enumerate()
            .all(|(i, row)| row == [i as f32; 3])
    );
    for_each_row(&pool, &mut [], 0, |_, _| unreachable!());
}
