//! `hanok synth`: a model file of a known shape with random weights, for measurements.

use model::synth::{Options, Spec, dtype_by_name, synth};
use serde::Serialize;
use stdx::fs;
use weights::gguf::NewFile;

use crate::args::SynthArgs;
use crate::exit::{Failure, OrFail, Result};
use crate::interrupt;
use crate::print::{self, Counts, Progress};

#[derive(Serialize)]
struct SynthJson<'a> {
    schema: u32,
    shape: &'a str,
    r#type: &'a str,
    file: String,
    bytes: u64,
    sha256: String,
}

/// Runs the command.
pub(crate) fn run(args: &SynthArgs, json: bool) -> Result<()> {
    let spec = Spec::by_name(&args.shape).or_misuse()?;
    let options = Options {
        dtype: dtype_by_name(&args.dtype).or_misuse()?,
        seed: args.seed,
    };
    interrupt::install();
    write(&spec, &options, &args.file)?;
    let bytes = fs::metadata(&args.file).or_environment()?.len();
    let sha256 = stdx::hash::sha256_file(&args.file).or_environment()?;
    if json {
        return print::json(&SynthJson {
            schema: 1,
            shape: &args.shape,
            r#type: options.dtype.name(),
            file: args.file.display().to_string(),
            bytes,
            sha256,
        });
    }
    print::line(&format!(
        "{} with random weights: {}, SHA-256 {sha256}\n  {}",
        args.shape,
        print::bytes(bytes),
        args.file.display()
    ))
}

fn write(spec: &Spec, options: &Options, path: &std::path::Path) -> Result<()> {
    let mut file = NewFile::create(path).or_environment()?;
    let bar = Progress::start("writing", 0, Counts::Bytes);
    let made = synth(spec, options, Stoppable(&mut file), &mut |progress| {
        bar.set_total(progress.total_bytes);
        bar.set(progress.done_bytes);
    })
    .map(|_| ());
    if interrupt::asked() {
        bar.clear();
        return Err(Failure::interrupted("stopped: the unfinished file was removed"));
    }
    match made {
        Ok(()) => {
            bar.finish("done");
            file.commit().or_environment()
        }
        Err(error) => {
            bar.clear();
            Err(Failure::environment(crate::exit::chain(&error))
                .hint("is there room for the file, and may it be written?"))
        }
    }
}

/// A writer that fails once Ctrl-C was pressed, because the maker of weights has no other ear for it.
struct Stoppable<W>(W);

impl<W: std::io::Write> std::io::Write for Stoppable<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if interrupt::asked() {
            return Err(std::io::Error::other("stopped"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
