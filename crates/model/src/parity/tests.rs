//! Agreement of every family, and that disagreement is noticed.

use super::*;

fn check(name: &str, compute: Option<Precision>) {
    let options = Options {
        compute,
        model: None,
        threads: 2,
    };
    for row in rows(&testkit::fixture_dir(name), &options).unwrap() {
        assert!(row.pass, "{row:#?}");
    }
}

#[test]
fn every_family_agrees_with_the_reference_in_f32() {
    for name in testkit::CHECKPOINTS {
        check(name, Some(Precision::F32));
    }
}

#[test]
fn native_kernels_agree_with_f32_for_every_family_and_type() {
    for name in testkit::CHECKPOINTS {
        check(name, Some(Precision::Native));
    }
}

#[test]
fn stored_blocks_dequantise_bit_for_bit() {
    check("quant", None);
}

#[test]
fn the_small_model_agrees_in_both_arithmetics() {
    let Some(model) = testkit::need_model(testkit::SMOLLM2_FILE) else {
        return;
    };
    let options = Options {
        compute: None,
        model: Some(model),
        threads: 2,
    };
    let rows = rows(&testkit::fixture_dir("smollm2"), &options).unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert!(row.pass, "{row:#?}");
    }
}

#[test]
fn a_tokenizer_folder_is_compared() {
    let Some(dir) = testkit::need_data("fixtures/olmoe-tokenizer") else {
        return;
    };
    let rows = rows(&dir, &Options::default()).unwrap();
    assert!(rows.iter().all(|row| row.pass), "{rows:#?}");
}

#[test]
fn a_wrong_expectation_fails_the_row() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "expected.safetensors"] {
        let bytes = stdx::fs::read(testkit::fixture_dir("llama").join(file)).unwrap();
        stdx::fs::write(dir.path().join(file), bytes).unwrap();
    }
    let path = dir.path().join("expected.safetensors");
    let mut bytes = stdx::fs::read(&path).unwrap();
    // The last tensor of the file is `logits`: spoil its last value.
    let n = bytes.len();
    bytes[n - 4..].copy_from_slice(&1e3f32.to_le_bytes());
    stdx::fs::write(&path, bytes).unwrap();
    let options = Options {
        compute: Some(Precision::F32),
        ..Options::default()
    };
    let rows = rows(dir.path(), &options).unwrap();
    assert!(rows.iter().any(|row| !row.pass));
}

#[test]
fn a_folder_with_nothing_to_compare_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = rows(dir.path(), &Options::default()).unwrap_err();
    assert!(matches!(error, ParityError::UnknownKind { .. }));
}
