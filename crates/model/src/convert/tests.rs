//! A converted model computes what the folder computes, and what is missing or wrong is named.

use std::path::PathBuf;

use compute::Precision;
use weights::gguf::Gguf;

use super::*;
use crate::cache::KvCache;
use crate::config::Config;
use crate::decoder::{Decoder, Input, Scratch, WantedLogits};
use crate::error::LoadError;
use crate::language_model::{LoadOptions, Model};
use crate::open::DecoderOptions;

fn options(dtype: DType) -> Options {
    Options {
        dtype,
        rules: Vec::new(),
        importance: None,
        without_tokenizer: true,
        threads: 3,
    }
}

fn run(input: &Path, output: &Path, options: &Options) -> Result<Report, ConvertError> {
    convert(input, output, options, &mut |_| ControlFlow::Continue(()))
}

fn decoder(path: &Path) -> Decoder {
    let options = DecoderOptions {
        precision: Precision::F32,
        threads: 1,
        ..DecoderOptions::default()
    };
    Decoder::open(path, &options).unwrap()
}

fn logits(decoder: &Decoder) -> Vec<f32> {
    let tokens: Vec<u32> = (0..24u32).map(|i| i * 53 % 512).collect();
    let mut cache: KvCache = decoder.new_cache();
    let mut scratch = Scratch::default();
    let input = Input {
        tokens: &tokens,
        cache: &mut cache,
        logits: WantedLogits::All,
    };
    decoder.forward(&mut [input], &mut scratch, None).unwrap();
    (0..tokens.len())
        .flat_map(|row| scratch.logits(row).to_vec())
        .collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A copy of a committed checkpoint with other files added.
fn folder(checkpoint: &str, files: &[(&str, String)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("Tiny-1.5");
    stdx::fs::create_dir_all(&folder).unwrap();
    for file in ["config.json", "model.safetensors", "generation_config.json"] {
        let bytes = stdx::fs::read(testkit::fixture_dir(checkpoint).join(file)).unwrap();
        stdx::fs::write(folder.join(file), bytes).unwrap();
    }
    for (name, text) in files {
        stdx::fs::write(folder.join(name), text).unwrap();
    }
    (dir, folder)
}

/// Every byte, two merges, an end token of a chat and one of a text, a word of the user's.
fn tokenizer_json() -> String {
    let chars = crate::tokenizer::chars_of_bytes().into_iter().map(String::from);
    let vocab: serde_json::Map<_, _> = chars
        .chain(["ab".to_owned(), "abc".to_owned()])
        .zip(0..)
        .map(|(token, id)| (token, serde_json::json!(id)))
        .collect();
    let added = |id: u32, content: &str, special: bool| {
        serde_json::json!({"id": id, "content": content, "special": special, "normalized": false,
                           "single_word": false, "lstrip": false, "rstrip": false})
    };
    serde_json::json!({
        "added_tokens": [added(258, "<|im_end|>", true), added(260, "<|endoftext|>", true), added(261, "  ", false)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"], "ab c"]},
    })
    .to_string()
}

#[test]
fn every_family_computes_the_same_as_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    for name in testkit::CHECKPOINTS {
        let folder = testkit::fixture_dir(name);
        let output = dir.path().join(format!("{name}.gguf"));
        let report = run(&folder, &output, &options(DType::F32)).unwrap();
        assert_eq!(report.tensors.keys().copied().collect::<Vec<_>>(), ["f32"]);
        assert!(report.fallbacks.is_empty());
        let (ours, theirs) = (decoder(&folder), decoder(&output));
        let config = Config {
            rope_style: ours.config().rope_style,
            ..theirs.config().clone()
        };
        assert_eq!(config, *ours.config(), "{name}");
        let difference = largest_difference(&logits(&ours), &logits(&theirs));
        assert!(difference <= 1e-5, "{name}: {difference}");
    }
}

#[test]
fn a_file_is_converted_to_another_type_and_stays_close() {
    let dir = tempfile::tempdir().unwrap();
    let (wide, narrow) = (dir.path().join("wide.gguf"), dir.path().join("narrow.gguf"));
    let mut last = Progress {
        done_bytes: 0,
        total_bytes: 0,
    };
    // A router that a rounding turns around changes a token's logits, so experts differ more.
    for (name, bound) in [("olmoe", 0.3), ("llama", 0.1), ("qwen2", 0.1)] {
        run(&testkit::fixture_dir(name), &wide, &options(DType::F32)).unwrap();
        let report = convert(&wide, &narrow, &options(DType::Q8_0), &mut |progress| {
            last = progress;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(last.done_bytes, last.total_bytes);
        assert!(
            report.tensors["q8_0"] > 10 && report.tensors["f32"] > 5,
            "{report:?}"
        );
        assert_eq!(report.bytes, stdx::fs::metadata(&narrow).unwrap().len());
        assert!(report.bytes < stdx::fs::metadata(&wide).unwrap().len() / 3);
        let (exact, rounded) = (logits(&decoder(&wide)), logits(&decoder(&narrow)));
        let rms = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
        let difference =
            rms(&mut exact.iter().zip(&rounded).map(|(a, b)| a - b)) / rms(&mut exact.iter().copied());
        assert!(difference > 0.0 && difference < bound, "{name}: {difference}");
        let file = Gguf::open(&narrow).unwrap();
        assert_eq!(file.metadata().u32("general.file_type").unwrap(), 7);
    }
}

#[test]
fn the_same_type_copies_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = ["1.gguf", "2.gguf"].map(|name| dir.path().join(name));
    run(&testkit::fixture_dir("olmoe"), &first, &options(DType::Q4_0)).unwrap();
    let report = run(&first, &second, &options(DType::Q4_0)).unwrap();
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    assert!(stdx::fs::read(&first).unwrap() == stdx::fs::read(&second).unwrap());
    let report = run(&first, &second, &options(DType::F16)).unwrap();
    assert!(
        report.notes[0].contains("quantised already"),
        "{:?}",
        report.notes
    );
}

#[test]
fn rules_choose_types_and_rows_that_do_not_fit_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.gguf");
    let mut given = options(DType::Q4_0);
    given.rules = ["ffn_down_exps=q8_0", "blk.1.*=f16", "token_embd=q4_1"]
        .map(|rule| Rule::parse(rule).unwrap())
        .to_vec();
    run(&testkit::fixture_dir("olmoe"), &output, &given).unwrap();
    let file = Gguf::open(&output).unwrap();
    let ty = |name: &str| file.tensor(name).unwrap().ty.name();
    assert_eq!(ty("blk.0.ffn_down_exps.weight"), "q8_0");
    assert_eq!(ty("blk.1.ffn_down_exps.weight"), "f16");
    assert_eq!(ty("blk.1.ffn_gate_inp.weight"), "f32");
    assert_eq!(ty("blk.1.attn_norm.weight"), "f32");
    assert_eq!(ty("blk.2.attn_q.weight"), "q4_0");
    assert_eq!(ty("token_embd.weight"), "q4_1");
    given.rules = vec![Rule::parse("ffn_dwon=q8_0").unwrap()];
    let error = run(&testkit::fixture_dir("olmoe"), &output, &given).unwrap_err();
    assert!(error.to_string().contains("ffn_dwon"), "{error}");
}

#[test]
fn the_tokenizer_and_the_template_come_along() {
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let tokenizer_config = serde_json::json!({
        "eos_token": {"content": "<|im_end|>"}, "bos_token": null, "pad_token": "<|endoftext|>",
        "add_bos_token": false, "chat_template": template,
    });
    let (dir, folder) = folder(
        "olmoe",
        &[
            ("tokenizer.json", tokenizer_json()),
            ("tokenizer_config.json", tokenizer_config.to_string()),
            (
                "generation_config.json",
                r#"{"eos_token_id": [258, 260]}"#.to_owned(),
            ),
        ],
    );
    let output = dir.path().join("out.gguf");
    let mut given = options(DType::F32);
    given.without_tokenizer = false;
    run(&folder, &output, &given).unwrap();
    let file = Gguf::open(&output).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.text("tokenizer.ggml.pre").unwrap(), "olmo");
    assert_eq!(metadata.text("tokenizer.chat_template").unwrap(), template);
    assert_eq!(metadata.text("general.name").unwrap(), "Tiny-1.5");
    for (key, id) in [("eos", 258), ("eot", 0), ("eom", 260), ("padding", 260)] {
        let key = format!("tokenizer.ggml.{key}_token_id");
        assert_eq!(metadata.u32(&key).unwrap(), id, "{key}");
    }
    let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap();
    assert_eq!((tokens.len(), tokens[259].as_str()), (512, "[PAD259]"));
    let types = metadata
        .opt_integers("tokenizer.ggml.token_type")
        .unwrap()
        .unwrap();
    assert_eq!(types[256..263], [1, 1, 3, 5, 3, 4, 5]);
    let [ours, theirs] = [&folder, &output].map(|path| Model::load(path, &LoadOptions::default()).unwrap());
    let text = "abc ab<|im_end|>  한국";
    assert_eq!(ours.tokenizer().encode(text), theirs.tokenizer().encode(text));
    assert!(theirs.is_end_of_sequence(258) && theirs.is_end_of_sequence(260));
}

#[test]
fn what_llama_cpp_does_not_compute_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.gguf");
    let notes = |folder: &Path| {
        let report = run(folder, &output, &options(DType::F32)).unwrap();
        let about_others = report
            .notes
            .into_iter()
            .filter(|note| note.contains("llama.cpp does not"));
        about_others.collect::<Vec<_>>()
    };
    for name in testkit::CHECKPOINTS {
        let said = notes(&testkit::fixture_dir(name));
        if name == "olmoe-gqa-renorm" {
            for part in ["router", "clipped", "shares keys"] {
                assert!(said.iter().any(|note| note.contains(part)), "{part}: {said:?}");
            }
        } else {
            assert!(said.is_empty(), "{name}: {said:?}");
        }
    }
    let (_dir, tied) = folder("olmo2", &[]);
    let config = stdx::fs::read_to_string(tied.join("config.json")).unwrap();
    let config = config.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    stdx::fs::write(tied.join("config.json"), config).unwrap();
    assert!(notes(&tied)[0].contains("as the head"));
}

#[test]
fn what_a_folder_lacks_is_named() {
    let (dir, folder) = folder("qwen3", &[]);
    let output = dir.path().join("out.gguf");
    let mut given = options(DType::F32);
    given.without_tokenizer = false;
    let error = run(&folder, &output, &given).unwrap_err();
    assert!(
        matches!(&error, ConvertError::NoTokenizer { path } if path.ends_with("tokenizer.json")),
        "{error}"
    );
    let config = stdx::fs::read_to_string(folder.join("config.json")).unwrap();
    stdx::fs::write(
        folder.join("config.json"),
        config.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4"),
    )
    .unwrap();
    let error = run(&folder, &output, &options(DType::F32)).unwrap_err();
    assert!(
        matches!(&error, ConvertError::Load(LoadError::MissingTensor { name }) if name.contains("layers.3.")),
        "{error}"
    );
    stdx::fs::write(
        folder.join("config.json"),
        config.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2"),
    )
    .unwrap();
    let report = run(&folder, &output, &options(DType::F32)).unwrap();
    let says = |part: &str| report.notes.iter().any(|note| note.contains(part));
    assert!(
        says("model.layers.2.") && says("no tokenizer"),
        "{:?}",
        report.notes
    );
    stdx::fs::remove_file(folder.join("model.safetensors")).unwrap();
    let error = run(&folder, &output, &options(DType::F32)).unwrap_err();
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    stdx::fs::remove_file(folder.join("config.json")).unwrap();
    let error = run(&folder, &output, &options(DType::F32)).unwrap_err();
    assert!(error.to_string().contains("config.json"), "{error}");
}

#[test]
fn a_stopped_or_refused_conversion_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.gguf");
    let input = testkit::fixture_dir("olmo2");
    let stopped = convert(&input, &output, &options(DType::F32), &mut |_| {
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(ConvertError::Stopped)));
    assert!(stdx::fs::read_dir(dir.path()).unwrap().is_empty());
    run(&input, &output, &options(DType::F32)).unwrap();
    let error = run(&output, &output, &options(DType::Q8_0)).unwrap_err();
    assert!(matches!(error, ConvertError::OwnInput { .. }), "{error}");
}

#[test]
fn a_weight_that_is_no_number_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, broken, output] = ["1.gguf", "2.gguf", "3.gguf"].map(|name| dir.path().join(name));
    run(&testkit::fixture_dir("llama"), &whole, &options(DType::F32)).unwrap();
    let file = Gguf::open(&whole).unwrap();
    let at = file.tensor("blk.1.ffn_up.weight").unwrap().offset as usize;
    let mut bytes = stdx::fs::read(&whole).unwrap();
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    stdx::fs::write(&broken, bytes).unwrap();
    let error = run(&broken, &output, &options(DType::Q8_0)).unwrap_err();
    assert!(error.to_string().contains("blk.1.ffn_up.weight"), "{error}");
    assert!(stdx::fs::metadata(&output).is_err());
}

#[test]
fn importance_of_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.gguf");
    let gather = |name: &str| {
        let decoder = decoder(&testkit::fixture_dir(name));
        let tokens: Vec<u32> = (0..64).collect();
        Importance::gather(&decoder, &tokens, 32, &mut |_, _| ControlFlow::Continue(())).unwrap()
    };
    let mut given = options(DType::Q4_0);
    given.importance = Some(gather("olmoe"));
    let report = run(&testkit::fixture_dir("olmoe"), &output, &given).unwrap();
    // Embedding and head.
    let said = report
        .notes
        .iter()
        .any(|note| note.starts_with("2 matrices have no importance"));
    assert!(said, "{:?}", report.notes);
    let error = run(&testkit::fixture_dir("qwen3"), &output, &given).unwrap_err();
    assert!(matches!(error, ConvertError::Importance { .. }), "{error}");
}

/// The file and the same model in three parts beside it.
fn olmoe_in_parts(folder: &Path) -> (PathBuf, Vec<PathBuf>) {
    let whole = folder.join("whole.gguf");
    run(&testkit::fixture_dir("olmoe"), &whole, &options(DType::F32)).unwrap();
    let file = Gguf::open(&whole).unwrap();
    let (n, n_tensors) = (3, file.tensors().len());
    let paths: Vec<PathBuf> = (1..=n)
        .map(|number| folder.join(format!("p-{number:05}-of-{n:05}.gguf")))
        .collect();
    for (number, (path, infos)) in paths
        .iter()
        .zip(file.tensors().chunks(n_tensors.div_ceil(n)))
        .enumerate()
    {
        let mut writer = Writer::new();
        if number == 0 {
            keys::copied(&mut writer, file.metadata());
        }
        writer
            .set("split.no", number as u16)
            .set("split.count", n as u16)
            .set("split.tensors.count", n_tensors as i32);
        for info in infos {
            writer.tensor(&info.name, &info.dims, info.ty).unwrap();
        }
        let mut body = writer.begin(Vec::new()).unwrap();
        for info in infos {
            let mut bytes = vec![0; info.n_bytes as usize];
            file.read_tensor(info, &mut bytes).unwrap();
            body.write(&bytes).unwrap();
        }
        stdx::fs::write(path, body.finish().unwrap()).unwrap();
    }
    (whole, paths)
}

#[test]
fn a_part_that_is_replaced_makes_another_packed_file() {
    let dir = tempfile::tempdir().unwrap();
    let (_, paths) = olmoe_in_parts(dir.path());
    let mut packing = DecoderOptions {
        precision: Precision::F32,
        threads: 1,
        ..DecoderOptions::default()
    };
    (packing.pack.folder, packing.pack.even_small) = (Some(dir.path().join("packed")), true);
    let packed = || {
        // Whichever part is named.
        let found = [0, 1, 2].map(|part| logits(&Decoder::open(&paths[part], &packing).unwrap()));
        assert!(found[0] == found[1] && found[1] == found[2]);
        found[0].clone()
    };
    let before = packed();
    for path in &paths[1..] {
        let mut bytes = stdx::fs::read(path).unwrap();
        // Signs of some weights.
        (60_003..61_000).step_by(4).for_each(|at| bytes[at] ^= 0x80);
        stdx::fs::write(path, bytes).unwrap();
        let expected = logits(&decoder(path));
        assert!(expected != before);
        assert!(packed() == expected, "the old weights were used");
    }
}

#[test]
fn an_olmoe_in_parts_loads_like_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, paths) = olmoe_in_parts(dir.path());
    let expected = logits(&decoder(&whole));
    for path in &paths {
        assert_eq!(logits(&decoder(path)), expected);
    }
    // And back into one.
    let again = dir.path().join("again.gguf");
    run(&paths[1], &again, &options(DType::F32)).unwrap();
    assert!(stdx::fs::read(&again).unwrap() == stdx::fs::read(&whole).unwrap());
    let error = run(&paths[1], &paths[2], &options(DType::F32)).unwrap_err();
    assert!(matches!(error, ConvertError::OwnInput { .. }), "{error}");
}
