//! Conversion: a hub folder, or a GGUF file of other weight types, to one GGUF file that llama.cpp reads too.
//!
//! Everything is checked before the first byte is written: that every tensor is there, of the right shape and of a
//! type that can be read, and that the tokenizer means the same in the new file. Then the tensors are read,
//! re-encoded and written some rows at a time, so memory is small whatever the model's size. The output appears
//! under its name when it is complete. Not here: how a block is quantised (that is compute).

mod encode;
mod error;
pub(crate) mod keys;
mod plan;
mod recipe;
mod tokenizer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use compute::DType;
use weights::gguf::{GgmlType, NewFile, Writer};

use crate::importance::Importance;
use crate::open::{Files, Opened};

pub use error::ConvertError;
pub use recipe::{Rule, dtype_by_name};

use encode::Encoder;
use plan::Planned;
use recipe::Typed;

/// How to convert.
#[derive(Debug, Clone)]
pub struct Options {
    /// Type of most matrices; see [`Rule`] for exceptions. Norms, biases and routers are f32 always.
    pub dtype: DType,
    /// Exceptions by tensor name; of several that match, the last counts.
    pub rules: Vec<Rule>,
    /// Which columns matter, for types whose quantiser can use that.
    pub importance: Option<Importance>,
    /// Convert a folder even though it has no tokenizer: the file then computes, but cannot read text.
    pub without_tokenizer: bool,
    /// Threads; 0 takes one per available core.
    pub threads: usize,
}

/// Bytes of tensor data written so far, and of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Written.
    pub done_bytes: u64,
    /// In the end.
    pub total_bytes: u64,
}

/// A matrix that has another type than asked for, because its rows are not whole blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// Its name.
    pub tensor: String,
    /// Its columns.
    pub columns: u64,
    /// The type asked for.
    pub wanted: DType,
    /// The type taken.
    pub taken: DType,
}

/// What came of a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Length of the file.
    pub bytes: u64,
    /// Tensors by type name.
    pub tensors: BTreeMap<&'static str, u64>,
    /// Matrices that got another type than asked for.
    pub fallbacks: Vec<Fallback>,
    /// What the user should know: nothing here stopped the conversion.
    pub notes: Vec<String>,
}

/// Converts the folder or file `input` to the GGUF file `output`. `progress` is called after every piece; its
/// [`ControlFlow::Break`] ends the work and leaves no file.
///
/// # Errors
/// When the input is incomplete or of a kind that is not supported, a rule matches nothing, or the output cannot be
/// written.
pub fn convert(
    input: &Path,
    output: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Report, ConvertError> {
    let opened = Opened::open(input)?;
    refuse_own_input(input, output, &opened)?;
    let mut notes = Vec::new();
    let mut writer = Writer::new();
    let tensors = match &opened.files {
        Files::Folder(_) => {
            keys::general(&mut writer, input, &opened.config);
            keys::configuration(&mut writer, &opened.config);
            keys::beyond_others(&opened.config, &mut notes);
            if options.without_tokenizer {
                tokenizer::none(&mut writer, &opened.config, &mut notes);
            } else {
                tokenizer::describe(&mut writer, input, &opened.config, &mut notes)?;
            }
            let tensors = plan::of_folder(opened.source(), &opened.config)?;
            notes.extend(plan::unused(opened.source(), &tensors, &opened.config));
            tensors
        }
        Files::Gguf(file) => {
            keys::copied(&mut writer, file.metadata());
            plan::of_gguf(file)
        }
    };
    keys::types(&mut writer, options.dtype);
    let (typed, fallbacks) = recipe::types(&tensors, &opened.config, options)?;
    check_importance(&typed, options, &mut notes)?;
    note_requantised(opened.source(), &typed, &mut notes);
    for (tensor, dtype) in &typed {
        writer.tensor(&tensor.name, &tensor.dims, ggml(*dtype)?)?;
    }
    let total_bytes = writer.tensors().iter().map(|info| info.n_bytes).sum();
    write(&opened, output, writer, &typed, options, &mut |done_bytes| {
        progress(Progress {
            done_bytes,
            total_bytes,
        })
    })?;
    let mut counts = BTreeMap::new();
    for (_, dtype) in &typed {
        *counts.entry(dtype.name()).or_insert(0) += 1;
    }
    Ok(Report {
        bytes: stdx::fs::metadata(output)?.len(),
        tensors: counts,
        fallbacks,
        notes,
    })
}

fn write(
    opened: &Opened,
    output: &Path,
    writer: Writer,
    typed: &[Typed],
    options: &Options,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(), ConvertError> {
    let mut body = writer.begin(NewFile::create(output)?)?;
    let encoder = Encoder {
        source: opened.source(),
        importance: options.importance.as_ref(),
        threads: crate::open::n_threads(options.threads),
    };
    let mut done = 0;
    for (tensor, dtype) in typed {
        encoder.tensor(tensor, *dtype, &mut |bytes| {
            body.write(bytes)?;
            done += bytes.len() as u64;
            match progress(done) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(ConvertError::Stopped),
            }
        })?;
    }
    Ok(body.finish()?.commit()?)
}

/// The type as files name it.
fn ggml(dtype: DType) -> Result<GgmlType, ConvertError> {
    GgmlType::from_name(dtype.name()).ok_or_else(|| ConvertError::Type {
        found: dtype.name().to_owned(),
        known: recipe::known(),
    })
}

/// Writing over the file that is being read would lose it when something goes wrong.
fn refuse_own_input(input: &Path, output: &Path, opened: &Opened) -> Result<(), ConvertError> {
    let Ok(output_path) = stdx::fs::canonicalize(output) else {
        return Ok(());
    };
    let parts = match &opened.files {
        Files::Gguf(file) => file.paths(),
        Files::Folder(_) => &[],
    };
    let is_read = |path: &Path| stdx::fs::canonicalize(path).is_ok_and(|path| path == output_path);
    if is_read(input) || parts.iter().any(|part| is_read(part)) {
        return Err(ConvertError::OwnInput {
            path: output.to_owned(),
        });
    }
    Ok(())
}

/// Refuses weights of another model; says how many matrices have none.
fn check_importance(typed: &[Typed], options: &Options, notes: &mut Vec<String>) -> Result<(), ConvertError> {
    let Some(importance) = &options.importance else {
        return Ok(());
    };
    let mut without = 0;
    for (tensor, _) in typed.iter().filter(|(tensor, _)| tensor.is_matrix) {
        match importance.shape(&tensor.name) {
            None => without += 1,
            Some((columns, matrices)) if (columns, matrices) == (tensor.columns(), tensor.n_matrices()) => {}
            Some((columns, matrices)) => {
                return Err(ConvertError::Importance {
                    tensor: tensor.name.clone(),
                    found: (columns, matrices),
                    expected: (tensor.columns(), tensor.n_matrices()),
                });
            }
        }
    }
    if without > 0 {
        notes.push(format!(
            "{without} matrices have no importance in the given file and are quantised without it"
        ));
    }
    Ok(())
}

/// What was rounded once does not get better by being written in a wider type.
fn note_requantised(source: &dyn weights::Source, typed: &[Typed], notes: &mut Vec<String>) {
    let is_rounded = |tensor: &Planned, dtype: DType| {
        let found = tensor.sources.first().and_then(|name| source.tensor(name));
        found.is_some_and(|found| found.ty.block_len() > 1 && found.ty.name() != dtype.name())
    };
    let n = typed
        .iter()
        .filter(|(tensor, dtype)| is_rounded(tensor, *dtype))
        .count();
    if n > 0 {
        notes.push(format!(
            "{n} tensors were quantised already; what that lost stays lost: convert the original for best quality"
        ));
    }
}
