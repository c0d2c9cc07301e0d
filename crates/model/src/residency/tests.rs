//! Experts read on demand against experts in memory, and what happens when they cannot be read.

use std::path::Path;

use compute::DType;

use super::*;
use crate::decoder::{Input, Scratch, WantedLogits};
use crate::error::{ForwardError, LoadError};
use crate::open::{DecoderOptions, Opened};
use crate::packed::PackOptions;
use crate::synth::{self, Spec};
use crate::{Decoder, WeightsIn};

/// Three layers of sixteen experts, four for each token.
fn synthetic(folder: &Path) -> (Opened, DecoderOptions) {
    let path = folder.join("tiny.gguf");
    let options = synth::Options {
        dtype: DType::Q4_0.into(),
        seed: 5,
    };
    let spec = Spec::by_name("tiny-olmoe").unwrap();
    stdx::fs::write(
        &path,
        synth::synth(&spec, &options, Vec::new(), &mut |_| {}).unwrap(),
    )
    .unwrap();
    let options = DecoderOptions {
        threads: 2,
        pack: PackOptions {
            folder: Some(folder.join("packed")),
            even_small: true,
            ..PackOptions::default()
        },
        ..DecoderOptions::default()
    };
    (Opened::open(&path).unwrap(), options)
}

fn keeping(opened: &Opened, options: &DecoderOptions, n_kept: Option<usize>) -> Decoder {
    let packed = opened.packed(options);
    assert!(packed.is_ok(), "{:?}", packed.err());
    opened.keeping(options, &packed, n_kept).unwrap()
}

/// Logits after each token, the text cut into these pieces.
fn logits(decoder: &Decoder, pieces: &[usize]) -> Result<Vec<f32>, ForwardError> {
    let (mut cache, mut scratch) = (decoder.new_cache(), Scratch::default());
    let text: Vec<u32> = (0..pieces.iter().sum::<usize>() as u32)
        .map(|i| i * 37 % 500)
        .collect();
    let (mut rest, mut all) = (&text[..], Vec::new());
    for n in pieces {
        let (tokens, later) = rest.split_at(*n);
        rest = later;
        let input = Input {
            tokens,
            cache: &mut cache,
            logits: WantedLogits::All,
        };
        decoder.forward(&mut [input], &mut scratch, None)?;
        for row in 0..*n {
            all.extend_from_slice(scratch.logits(row));
        }
    }
    Ok(all)
}

#[test]
fn experts_read_on_demand_say_what_experts_in_memory_say() {
    let folder = tempfile::tempdir().unwrap();
    let (opened, options) = synthetic(folder.path());
    let pieces: Vec<usize> = [40].into_iter().chain([1; 60]).chain([3, 9, 1, 1]).collect();
    let want = logits(&keeping(&opened, &options, None), &pieces).unwrap();
    for n_kept in [EXPERTS_MIN, 30, 48] {
        let decoder = keeping(&opened, &options, Some(n_kept));
        assert_eq!(logits(&decoder, &pieces).unwrap(), want, "{n_kept} kept");
        let stats = decoder.residency().unwrap();
        assert!(stats.hits > 0 && stats.hits < stats.needed, "{stats:?}");
        assert_eq!(stats.bytes_total, 48 * 3 * 64 * 32 * 18 / 32);
        if n_kept == 48 {
            // Whole blocks are read: up to two more for each of the three parts.
            let most = stats.bytes_total + 48 * 3 * 2 * DIRECT_ALIGN as u64;
            assert!(stats.bytes_read <= most, "each is read once: {stats:?}");
        }
        assert!(matches!(decoder.weights_in(), WeightsIn::PackedFile(_)));
        // A second text in the same memory.
        assert_eq!(logits(&decoder, &pieces).unwrap(), want);
    }
}

#[test]
fn several_at_once_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let (opened, options) = synthetic(folder.path());
    let pieces: Vec<usize> = [20].into_iter().chain([1; 20]).collect();
    let want = logits(&keeping(&opened, &options, None), &pieces).unwrap();
    let decoder = keeping(&opened, &options, Some(EXPERTS_MIN));
    thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| logits(&decoder, &pieces).unwrap()))
            .collect();
        for run in runs {
            assert_eq!(run.join().unwrap(), want);
        }
    });
}

#[test]
fn a_file_that_is_cut_off_is_an_error_of_the_step_and_not_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (opened, options) = synthetic(folder.path());
    let decoder = keeping(&opened, &options, Some(EXPERTS_MIN));
    let want = logits(&decoder, &[10]).unwrap();
    let WeightsIn::PackedFile(path) = decoder.weights_in().clone() else {
        panic!("the weights are in a packed file");
    };
    // The experts of the last layers lie behind the first huge page.
    let whole = stdx::fs::read(&path).unwrap();
    let torn = Opened::open(&folder.path().join("tiny.gguf")).unwrap();
    let other = folder.path().join("torn");
    stdx::fs::write(&other, &whole[..(2 << 20) + 100_000]).unwrap();
    let packed = torn.packed(&options).unwrap();
    let spoilt = spoil(&torn, &options, packed, other.clone());
    for _ in 0..2 {
        let error = logits(&spoilt, &[10]).unwrap_err();
        assert!(
            matches!(&error, ForwardError::Weights { reason } if reason.contains("cut off")),
            "{error}"
        );
    }
    // Once the file is whole again, so are the answers.
    stdx::fs::write(&other, &whole).unwrap();
    assert_eq!(logits(&spoilt, &[10]).unwrap(), want);
}

/// A decoder whose experts are in another file.
fn spoil(opened: &Opened, options: &DecoderOptions, packed: crate::packed::Packed, file: PathBuf) -> Decoder {
    let decoder = opened.keeping(options, &Ok(packed), Some(EXPERTS_MIN)).unwrap();
    decoder.with_experts_in(file)
}

#[test]
fn budgets_are_kept_or_refused_with_what_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let (opened, mut options) = synthetic(folder.path());
    // The whole of it fits.
    options.memory_budget = Some(1 << 30);
    assert!(opened.decoder(&options).unwrap().residency().is_none());
    options.memory_budget = Some(200 << 20);
    let error = opened.decoder(&options).err().unwrap();
    let LoadError::Budget {
        needed_bytes,
        context_fits,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(context_fits, None);
    // Blocks of the disk are larger than this model's experts, so all of it would need less.
    assert!(needed_bytes > 256 << 20, "{needed_bytes}");
    options.pack.folder = None;
    let error = opened.decoder(&options).err().unwrap().to_string();
    assert!(error.contains("no folder for packed files"), "{error}");
    let dense = Opened::open(&testkit::fixture_dir("llama")).unwrap();
    let error = dense.decoder(&options).err().unwrap().to_string();
    assert!(error.contains("dense model"), "{error}");
}
