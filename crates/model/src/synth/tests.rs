//! Files that every reader here accepts, the same for the same seed.

use std::io::Cursor;

use weights::gguf::Gguf;

use super::*;
use crate::tokenizer::Tokenizer;

fn make(name: &str, dtype: impl Into<WeightType>, seed: u64) -> Vec<u8> {
    let dtype = dtype.into();
    synth(
        &Spec::by_name(name).unwrap(),
        &Options { dtype, seed },
        Vec::new(),
        &mut |_| {},
    )
    .unwrap()
}

fn parse(bytes: Vec<u8>) -> Gguf {
    let len = bytes.len() as u64;
    Gguf::parse(Cursor::new(bytes), len).unwrap()
}

#[test]
fn every_tiny_shape_is_read_back_as_it_was_described() {
    for name in Spec::NAMES.into_iter().filter(|name| name.starts_with("tiny")) {
        for dtype in DType::ALL {
            let spec = Spec::by_name(name).unwrap();
            if !spec.config.d_model.is_multiple_of(dtype.block_len()) {
                continue;
            }
            let file = parse(make(name, dtype, 1));
            assert_eq!(Config::from_gguf(&file).unwrap(), spec.config, "{name}");
            let tokenizer = Tokenizer::from_gguf(file.metadata()).unwrap();
            assert_eq!(tokenizer.vocab_size(), spec.config.vocab_size);
            assert_eq!(spec.config.end_ids(Some(&tokenizer)), [511]);
            let text = "The cat, 한국어!";
            let ids = tokenizer.encode(text);
            assert_eq!(tokenizer.decode(&ids, true), text);
        }
    }
}

#[test]
fn a_seed_gives_the_same_file_and_another_seed_another() {
    let first = make("tiny-olmoe", DType::Q4_0, 7);
    assert_eq!(first, make("tiny-olmoe", DType::Q4_0, 7));
    assert_ne!(first, make("tiny-olmoe", DType::Q4_0, 8));
}

#[test]
fn weights_have_the_scale_that_keeps_activations() {
    let file = parse(make("tiny-olmoe", DType::F32, 3));
    let deviation = |name: &str| {
        let info = file.tensor(name).unwrap();
        let mut bytes = vec![0; info.n_bytes as usize];
        file.read_tensor(info, &mut bytes).unwrap();
        let values: Vec<f32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt()
    };
    let close = |found: f32, expected: f32| (found / expected - 1.0).abs() < 0.05;
    assert!(close(deviation("token_embd.weight"), 1.0));
    assert!(close(deviation("blk.1.ffn_gate_exps.weight"), 0.125));
    assert!(close(deviation("blk.1.ffn_down_exps.weight"), 1.0 / 32f32.sqrt()));
    assert!(close(deviation("output.weight"), 0.25));
    assert!(deviation("output_norm.weight") < 0.1);
}

#[test]
fn the_released_olmoe_has_its_true_shape() {
    let spec = Spec::by_name("olmoe-1b-7b").unwrap();
    let n: u64 = tensors(&spec.config)
        .iter()
        .map(|tensor| tensor.dims.iter().product::<u64>())
        .sum();
    assert_eq!(n, 6_919_161_856);
    assert_eq!(spec.config.n_sampleable(), 50_280);
    let mut writer = Writer::new();
    vocabulary::describe(&mut writer, &spec.config);
    let bytes = writer.begin(Vec::new()).unwrap().finish().unwrap();
    let tokenizer = Tokenizer::from_gguf(parse(bytes).metadata()).unwrap();
    assert_eq!(
        (tokenizer.vocab_size(), tokenizer.end_ids()),
        (50_304, &[50_279][..])
    );
    assert_eq!(tokenizer.decode(&[300, 50_279, 50_303], true), " w300");
}

#[test]
fn progress_reaches_the_end() {
    let mut last = Progress {
        done_bytes: 0,
        total_bytes: 1,
    };
    let spec = Spec::by_name("tiny-qwen3moe").unwrap();
    let options = Options {
        dtype: DType::Q8_0.into(),
        seed: 0,
    };
    synth(&spec, &options, Vec::new(), &mut |progress| {
        assert!(progress.done_bytes > last.done_bytes);
        last = progress;
    })
    .unwrap();
    assert_eq!(last.done_bytes, last.total_bytes);
}

#[test]
fn unknown_names_are_refused_with_the_list() {
    assert!(
        Spec::by_name("gpt-5")
            .unwrap_err()
            .to_string()
            .contains("olmoe-1b-7b")
    );
    assert!(dtype_by_name("q9_9").unwrap_err().to_string().contains("q4_0"));
    assert_eq!(dtype_by_name("Q4_0").unwrap(), DType::Q4_0.into());
    assert_eq!(dtype_by_name("Q4_K_M").unwrap(), WeightType::Q4KM);
}

#[test]
fn the_mix_spends_more_bits_where_they_count() {
    let file = parse(make("tiny-olmoe-256", WeightType::Q4KM, 1));
    let ty = |name: &str| file.tensor(name).unwrap().ty;
    assert_eq!(ty("output.weight"), GgmlType::Q6_K);
    assert_eq!(ty("token_embd.weight"), GgmlType::Q4_K);
    assert_eq!(ty("blk.0.attn_norm.weight"), GgmlType::F32);
    assert_eq!(ty("blk.0.ffn_gate_inp.weight"), GgmlType::F32);
    for layer in 0..8 {
        let more = [0, 3, 6, 7].contains(&layer);
        let expected = if more { GgmlType::Q6_K } else { GgmlType::Q4_K };
        assert_eq!(ty(&format!("blk.{layer}.attn_v.weight")), expected);
        assert_eq!(ty(&format!("blk.{layer}.ffn_down_exps.weight")), expected);
        assert_eq!(ty(&format!("blk.{layer}.attn_q.weight")), GgmlType::Q4_K);
        assert_eq!(ty(&format!("blk.{layer}.ffn_up_exps.weight")), GgmlType::Q4_K);
    }
}

#[test]
fn a_shape_whose_rows_are_not_whole_blocks_is_refused() {
    let options = Options {
        dtype: DType::Q4_K.into(),
        seed: 0,
    };
    let spec = Spec::by_name("tiny-olmoe").unwrap();
    let error = synth(&spec, &options, Vec::new(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("token_embd.weight"), "{error}");
}

#[test]
fn pieces_of_a_large_tensor_differ_and_do_not_depend_on_threads() {
    let tensor = SynthTensor {
        name: "t".to_owned(),
        dims: vec![PIECE_ELEMENTS, 3],
        fill: Fill::Matrix(1.0),
    };
    let mut writer = Writer::new();
    writer.tensor("t", &tensor.dims, GgmlType::Q4_0).unwrap();
    let state = Progress {
        done_bytes: 0,
        total_bytes: 0,
    };
    let mut sink = Sink {
        body: writer.begin(Vec::new()).unwrap(),
        progress: &mut |_| {},
        state,
    };
    let job = Job {
        tensor: &tensor,
        dtype: DType::Q4_0,
        seed: 5,
    };
    fill(&job, &mut sink).unwrap();
    let file = parse(sink.body.finish().unwrap());
    let info = file.tensor("t").unwrap();
    let mut bytes = vec![0; info.n_bytes as usize];
    file.read_tensor(info, &mut bytes).unwrap();
    let pieces: Vec<Vec<u8>> = (0..3)
        .map(|index| job.piece(index, PIECE_ELEMENTS).unwrap())
        .collect();
    assert_eq!(bytes, pieces.concat());
    assert_ne!(pieces[0], pieces[1]);
}
