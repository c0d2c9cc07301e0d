//! The project's own commands: `cargo xtask test`, `parity`, `bench`, `dist`, and the single checks.
//!
//! Nothing here ships. Exit codes: 0 all is well, 1 a check failed.
#![expect(
    clippy::print_stdout,
    reason = "a program for developers, whose output is text on the terminal"
)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod dist;
mod lexer;
mod licences;
mod parity;
mod parity_step;
mod quality;
mod scale;
mod shell;
mod system;
mod test;
mod tidy;
mod walls;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Cli {
    /// Format, lint, test, check: everything that must hold
    Test(test::Options),
    /// Compare with reference outputs: families, types, tokenizers
    Parity(parity::ParityArgs),
    /// Compare speed and memory with other engines
    #[command(subcommand)]
    Bench(Bench),
    /// Pack one archive that installs without a network
    Dist(dist::Options),
    /// Tests of the whole program: privacy, unpack, full-disk, kill, memory
    System(system::Options),
    /// Which crate knows nothing of which
    Walls,
    /// Module docs, lengths, links, sizes
    Tidy,
    /// Licences, bans and sources of all dependencies
    Licences,
    /// The part of a system test that runs inside a namespace
    #[command(hide = true)]
    Inside(system::Inside),
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Our engine and llama.cpp in one run
    Engine(bench::Engine),
    /// What both engines say about the same tokens, and who is nearer to exact arithmetic
    Agree(bench::Agree),
    /// Whether llama.cpp reads what `hanok convert` writes, and computes the same with it
    Convert(bench::Convert),
    /// What our engine does for many at once and for text that repeats
    Service(bench::Service),
    /// A model larger than its memory, beside llama.cpp (root, Linux)
    Budget(bench::Budget),
    /// How well documents are found, in English and Korean, beside plain BM25
    Retrieval(quality::Options),
    /// How fast searches are, and how much memory they take, up to a million passages
    Knowledge(scale::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<bool> {
    match cli {
        Cli::Test(options) => return test::run(&options),
        Cli::Parity(args) => return parity::run(&args),
        Cli::Bench(Bench::Engine(options)) => bench::engine(&options)?,
        Cli::Bench(Bench::Agree(options)) => bench::agree(&options)?,
        Cli::Bench(Bench::Convert(options)) => bench::convert(&options)?,
        Cli::Bench(Bench::Service(options)) => bench::service(&options)?,
        Cli::Bench(Bench::Budget(options)) => bench::budget(&options)?,
        Cli::Bench(Bench::Retrieval(options)) => return quality::run(&options),
        Cli::Bench(Bench::Knowledge(options)) => return scale::run(&options),
        Cli::Dist(options) => dist::run(&options)?,
        Cli::System(options) => system::run(&options)?,
        Cli::Walls => walls::run()?,
        Cli::Tidy => tidy::run()?,
        Cli::Licences => licences::run()?,
        Cli::Inside(options) => system::inside(&options)?,
    }
    Ok(true)
}
