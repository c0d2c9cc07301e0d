//! Where tests find their data: committed fixtures, shared data, model files.
//!
//! Not a place for test logic. Data that is committed lies beside this crate ([`fixture_dir`]); larger data and
//! model files are found through two variables, so that a checkout alone still builds and passes:
//!
//! - `HANOK_TEST_DATA`: a folder with `fixtures/` and `data/`. Where it is set, everything must be there: a
//!   skipped test then fails.
//! - `HANOK_TEST_MODELS`: a folder with the model files.

pub mod mecab;
pub mod postgres;

use std::env;
use std::ffi::OsString;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

/// Names the folder that holds `fixtures/` and `data/`.
pub const DATA_VARIABLE: &str = "HANOK_TEST_DATA";
/// Names the folder that holds the model files.
pub const MODELS_VARIABLE: &str = "HANOK_TEST_MODELS";
/// The small model that generates in tests.
pub const SMOLLM2_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// The multilingual text encoder.
pub const E5_FILE: &str = "e5-small-q4.bin";
/// The cross-encoder for English.
pub const RERANKER_FILE: &str = "ms-marco-MiniLM-L-12-v2.onnx";
/// The committed folders with a tiny checkpoint each.
pub const CHECKPOINTS: [&str; 7] = [
    "llama",
    "olmo2",
    "olmoe",
    "olmoe-gqa-renorm",
    "qwen2",
    "qwen3",
    "qwen3moe",
];

/// A committed fixture folder: one of [`CHECKPOINTS`], `quant` or `smollm2`.
pub fn fixture_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A committed folder with an encoder of random weights: `xlm-roberta`.
pub fn encoder_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("encoders").join(name)
}

/// Shared data under `HANOK_TEST_DATA`, for instance `fixtures/olmoe-tokenizer`; `None` (after a line that says
/// `SKIPPED:`) where it is absent, which the caller answers with `return`.
///
/// # Panics
/// When `HANOK_TEST_DATA` is set and the data is not there.
pub fn need_data(relative: &str) -> Option<PathBuf> {
    let wanted = Wanted {
        variable: DATA_VARIABLE,
        folder: env::var_os(DATA_VARIABLE),
        relative,
    };
    resolve(&wanted, env::var_os(DATA_VARIABLE).is_some())
}

/// A model file under `HANOK_TEST_MODELS`, by its file name; `None` as for [`need_data`].
///
/// # Panics
/// When `HANOK_TEST_DATA` is set and the file is not there.
pub fn need_model(file: &str) -> Option<PathBuf> {
    let wanted = Wanted {
        variable: MODELS_VARIABLE,
        folder: env::var_os(MODELS_VARIABLE),
        relative: file,
    };
    resolve(&wanted, env::var_os(DATA_VARIABLE).is_some())
}

/// Set for the long run of the tests (`cargo xtask test --long`), in which they try as much as is promised.
pub const LONG_VARIABLE: &str = "HANOK_TEST_LONG";

/// How many cases a test tries: few with every change, all of them in the long run.
pub fn cases(few: usize, all: usize) -> usize {
    if env::var_os(LONG_VARIABLE).is_some_and(|value| !value.is_empty()) {
        all
    } else {
        few
    }
}

/// What is kept of a fuzz target's corpus (`fuzz/kept/TARGET.zip`), for tests to go through.
///
/// # Panics
/// When it is not there, is no archive, or is empty.
pub fn kept_corpus(target: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/kept")
        .join(format!("{target}.zip"));
    let packed = stdx::fs::read(&path).expect("what is kept of a corpus");
    let mut archive = zip::ZipArchive::new(Cursor::new(packed)).expect("an archive of our own making");
    let n = archive.len();
    assert!(n > 0, "nothing is kept of `{target}`");
    let read = |nth| {
        let mut bytes = Vec::new();
        let mut file = archive.by_index(nth).expect("an entry of our own making");
        file.read_to_end(&mut bytes).expect("an entry of our own making");
        bytes
    };
    (0..n).map(read).collect()
}

/// Prints a line of what a test tried, for the log that is kept.
#[expect(clippy::print_stderr, reason = "the log of a test")]
pub fn log(line: &str) {
    eprintln!("{line}");
}

/// Something a test needs: `relative` inside the folder that `variable` names.
struct Wanted<'a> {
    variable: &'a str,
    folder: Option<OsString>,
    relative: &'a str,
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn resolve(wanted: &Wanted<'_>, strict: bool) -> Option<PathBuf> {
    let Wanted {
        variable,
        folder,
        relative,
    } = wanted;
    let missing = match folder {
        None => format!("`{relative}` is needed, but {variable} is not set"),
        Some(folder) => {
            let path = Path::new(folder).join(relative);
            if path.exists() {
                return Some(path);
            }
            format!("`{}` ({variable}) does not exist", path.display())
        }
    };
    assert!(
        !strict,
        "{DATA_VARIABLE} is set, so nothing may be skipped: {missing}"
    );
    eprintln!("SKIPPED: {missing}");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted<'a>(folder: Option<&str>, relative: &'a str) -> Wanted<'a> {
        Wanted {
            variable: "X",
            folder: folder.map(OsString::from),
            relative,
        }
    }

    #[test]
    fn every_committed_checkpoint_is_complete() {
        for name in CHECKPOINTS {
            for file in ["config.json", "model.safetensors", "expected.safetensors"] {
                assert!(fixture_dir(name).join(file).is_file(), "{name}/{file}");
            }
        }
    }

    #[test]
    fn finds_what_is_there_and_skips_what_is_not() {
        let here = env!("CARGO_MANIFEST_DIR");
        assert!(resolve(&wanted(Some(here), "fixtures/quant"), true).is_some());
        assert_eq!(resolve(&wanted(Some(here), "no/such"), false), None);
        assert_eq!(resolve(&wanted(None, "fixtures"), false), None);
    }

    #[test]
    #[should_panic(expected = "nothing may be skipped")]
    fn a_skip_fails_where_everything_must_be_there() {
        let _ = resolve(&wanted(None, "fixtures"), true);
    }
}
