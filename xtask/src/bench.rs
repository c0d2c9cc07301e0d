//! `cargo xtask bench`: prepares the peer's build and the models, then hands over to the program in `bench/`.
//!
//! Not the measurement itself: that links a C++ engine and lives in its own workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{shell, test};

/// Debian packages that building the peer needs, by a file each brings.
const PACKAGES: &[(&str, &str)] = &[("cmake", "cmake"), ("clang", "clang"), ("g++", "g++")];
/// The peer is built for the machine that it runs on.
const NATIVE: &str = "native";
/// Room on the disk for a synthetic model and its packed form.
const SYNTH_BYTES: u64 = 16 << 30;

/// Options of `cargo xtask bench engine`.
#[derive(Debug, clap::Args)]
pub(crate) struct Engine {
    /// Write the result here
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Three repetitions instead of five, Q4_0 alone, without the long contexts and the many sequences
    #[arg(long)]
    pub(crate) quick: bool,
    /// Weight types of the synthetic OLMoE to measure, instead of Q4_0, Q4_K_M and Q8_0
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Measure these model files instead (`FILE=TYPE`)
    #[arg(long = "model")]
    pub(crate) models: Vec<String>,
    /// Repetitions
    #[arg(long)]
    pub(crate) repetitions: Option<usize>,
    /// Build llama.cpp for this processor (a name that GCC knows) instead of the one it runs on: some virtual
    /// machines name instructions that they do not run, such as AMX
    #[arg(long, value_name = "NAME", default_value = NATIVE)]
    pub(crate) peer_cpu: String,
}

impl Engine {
    /// Everything, with the result in this file.
    pub(crate) fn whole(json: PathBuf) -> Self {
        Self {
            json: Some(json),
            quick: false,
            types: Vec::new(),
            models: Vec::new(),
            repetitions: None,
            peer_cpu: NATIVE.to_owned(),
        }
    }
}

/// Builds, makes the models, measures.
pub(crate) fn engine(options: &Engine) -> Result<()> {
    let mut bench = program("engine", &options.peer_cpu)?;
    let mut models = options.models.clone();
    if models.is_empty() {
        let all: &[&str] = if options.quick {
            &["q4_0"]
        } else {
            &["q4_0", "q4_k_m", "q8_0"]
        };
        let given: Vec<&str> = options.types.iter().map(String::as_str).collect();
        models = default_models(if given.is_empty() { all } else { &given })?;
    }
    let repetitions = options.repetitions.unwrap_or(if options.quick { 3 } else { 5 });
    bench.args(["--repetitions", &repetitions.to_string()]);
    for model in &models {
        bench.args(["--model", model]);
    }
    if !options.quick {
        bench.arg("--deep");
    }
    run(bench, options.json.as_deref())
}

/// Options of `cargo xtask bench agree`.
#[derive(Debug, clap::Args)]
pub(crate) struct Agree {
    /// Model files; without any: the synthetic OLMoE in Q8_0, a small dense model in every type, which is held to the
    /// error budget, and SmolLM2
    models: Vec<PathBuf>,
    /// Tokens of each text
    #[arg(long, default_value_t = 512)]
    tokens: usize,
    /// Without the synthetic OLMoE, which has 7 GB
    #[arg(long)]
    quick: bool,
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

/// All types of weights.
const TYPES: [&str; 13] = [
    "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0", "q3_k", "q2_k",
];

/// Builds, makes the models, compares; an error if a type of weights is outside the error budget.
pub(crate) fn agree(options: &Agree) -> Result<()> {
    let mut bench = program("agree", NATIVE)?;
    bench
        .args(["--tokens", &options.tokens.to_string()])
        .args(&options.models);
    if options.models.is_empty() {
        if !options.quick {
            bench.arg(synthetic("olmoe-1b-7b", "q8_0")?);
        }
        for weight_type in TYPES {
            bench
                .arg("--budget")
                .arg(synthetic("tiny-llama-256", weight_type)?);
        }
    }
    let result = run(bench, options.json.as_deref());
    // A trained model on a text that does not change.
    if let (true, Some(smollm2)) = (options.models.is_empty(), smollm2()) {
        let mut bench = program("agree", NATIVE)?;
        bench.args(["--tokens", "1024", "--text"]);
        bench.arg(shell::root().join("LICENSE")).arg(smollm2);
        run(bench, None)?;
    }
    result
}

/// Options of `cargo xtask bench convert`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Convert {
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Builds; converts small models of every family and has llama.cpp read them.
pub(crate) fn convert(options: &Convert) -> Result<()> {
    let mut bench = program("convert", NATIVE)?;
    bench
        .arg("--fixtures")
        .arg(shell::root().join("crates/testkit/fixtures"));
    bench
        .arg("--folder")
        .arg(test::target_dir().join("bench-convert"));
    let shared = match std::env::var_os("HANOK_TEST_DATA") {
        Some(data) => PathBuf::from(data),
        None => shell::root().join("../shared"),
    };
    let tokenizer = shared.join("fixtures/olmoe-tokenizer/tokenizer.json");
    if tokenizer.is_file() {
        bench.arg("--tokenizer").arg(tokenizer);
    }
    run(bench, options.json.as_deref())
}

/// Options of `cargo xtask bench service`.
#[derive(Debug, clap::Args)]
pub(crate) struct Service {
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Builds, makes the model, measures.
pub(crate) fn service(options: &Service) -> Result<()> {
    let mut bench = program("service", NATIVE)?;
    bench.arg("--model").arg(synthetic("olmoe-1b-7b", "q4_0")?);
    if let Some(smollm2) = smollm2() {
        bench.arg("--text-model").arg(smollm2);
    }
    run(bench, options.json.as_deref())
}

/// Options of `cargo xtask bench budget`.
#[derive(Debug, clap::Args)]
pub(crate) struct Budget {
    /// Memory of each engine, in MiB
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Builds, makes the model, measures.
pub(crate) fn budget(options: &Budget) -> Result<()> {
    let mut bench = program("budget", NATIVE)?;
    bench.arg("--model").arg(synthetic("olmoe-1b-7b", "q4_0")?);
    bench.args(["--mib", &options.mib.to_string()]);
    run(bench, options.json.as_deref())
}

/// The program in `bench/`, built, to be told what `of` its measurements to make.
fn program(of: &str, peer_cpu: &str) -> Result<Command> {
    install_compilers()?;
    build(peer_cpu)?;
    let mut bench = Command::new(shell::root().join("bench/target/release/hanok-bench"));
    bench.arg(of);
    Ok(bench)
}

/// Runs it; the result goes to `json` too.
fn run(mut bench: Command, json: Option<&Path>) -> Result<()> {
    if let Some(path) = json {
        bench.arg("--json").arg(path);
    }
    shell::run(&mut bench)
}

/// The small trained model, where the tests have fetched it.
fn smollm2() -> Option<PathBuf> {
    let path = test::models_dir().join("SmolLM2-135M-Instruct.Q4_1.gguf");
    path.is_file().then_some(path)
}

fn install_compilers() -> Result<()> {
    let mut missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| shell::which(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !has_libclang() {
        missing.push("libclang-dev");
    }
    shell::apt_install(&missing)
}

/// Whether the library that reads C headers is there: under any of LLVM's version folders.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let folders = stdx::fs::read_dir("/usr/lib").unwrap_or_default();
    let llvm = folders.iter().filter(|f| {
        f.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("llvm-"))
    });
    llvm.map(|folder| folder.join("lib")).any(|folder| {
        let files = stdx::fs::read_dir(folder).unwrap_or_default();
        files.iter().any(|f| {
            f.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("libclang.so"))
        })
    })
}

/// Six minutes the first time: the peer is C++.
fn build(peer_cpu: &str) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo
        .current_dir(shell::root().join("bench"))
        .args(["build", "--release", "--locked", "--target-dir", "target"])
        // The peer's build looks for `target-cpu=` in the compiler's flags and then builds all of llama.cpp for
        // that processor (`native`: AVX-512, VNNI, BF16, whatever this machine has). Our own crates must be measured as they ship,
        // with kernels chosen at run time, so the words stand where the Rust compiler ignores them.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("-Cmetadata=target-cpu={peer_cpu}"),
        )
        .env("LLAMA_LIB_PROFILE", "Release");
    shell::run(&mut cargo)
}

/// SmolLM2 where it is, and OLMoE-1B-7B of true shape with random weights of these types.
fn default_models(types: &[&str]) -> Result<Vec<String>> {
    let mut models = Vec::new();
    match smollm2() {
        Some(path) => models.push(format!("{}=Q4_1", path.display())),
        None => println!("SmolLM2 is not measured: `cargo xtask test` fetches it"),
    }
    for weight_type in types {
        let olmoe = synthetic("olmoe-1b-7b", weight_type)?;
        models.push(format!("{}={}", olmoe.display(), weight_type.to_uppercase()));
    }
    Ok(models)
}

/// A model of this shape with random weights, made where it is missing.
fn synthetic(shape: &str, weight_type: &str) -> Result<PathBuf> {
    let weight_type = weight_type.to_lowercase();
    let folder = test::target_dir().join("bench-models");
    stdx::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{shape}.{weight_type}.gguf"));
    if !path.is_file() {
        synthesise(&path, shape, &weight_type)?;
    }
    Ok(path)
}

fn synthesise(path: &Path, shape: &str, weight_type: &str) -> Result<()> {
    let folder = path.parent().context("the model lies in a folder")?;
    let free = stdx::fs::free_bytes(folder)?;
    if free < SYNTH_BYTES {
        bail!(
            "{} has {free} bytes free; a synthetic OLMoE needs {SYNTH_BYTES}",
            folder.display()
        );
    }
    let hanok = test::build_release()?;
    // Under another name until it is whole.
    let partial = path.with_extension("partial");
    shell::run(
        Command::new(hanok)
            .args(["synth", shape, "--type", weight_type])
            .arg(&partial),
    )?;
    stdx::fs::rename(&partial, path)?;
    Ok(())
}
