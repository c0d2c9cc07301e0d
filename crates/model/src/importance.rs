//! Importance of columns: the mean square of what each matrix is multiplied by, on a text.
//!
//! A quantiser that knows it rounds those weights more carefully that meet large activations. The file is a GGUF file
//! as llama.cpp's `llama-imatrix` writes it: for each matrix `NAME.in_sum2` (sums of squares, one row for each
//! expert) and `NAME.counts` (tokens that were summed, one for each expert), both f32. Not here: quantising.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use thiserror::Error;
use weights::gguf::{Array, GgmlType, Gguf, GgufError, NewFile, TensorInfo, Writer};

use crate::decoder::{Decoder, Input, LinearInput, Probe, Scratch, WantedLogits};
use crate::error::ForwardError;

/// Ending of the sums' names.
const SUMS: &str = ".in_sum2";
/// Ending of the counts' names.
const COUNTS: &str = ".counts";
/// Most bytes of one tensor of sums: far beyond any real one.
const MAX_SUMS_BYTES: u64 = 1 << 30;

/// Why importance could not be gathered, read or written.
#[derive(Debug, Error)]
pub enum ImportanceError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file system refused.
    #[error(transparent)]
    Fs(#[from] stdx::fs::FsError),
    /// The model refused a step.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A GGUF file without sums.
    #[error("the file holds no importance (no tensors called `…{SUMS}`); make one with `hanok importance`")]
    Empty,
    /// Sums without counts, of another type or shape, or with numbers that cannot be.
    #[error("the importance of `{tensor}` cannot be used: {reason}; make the file again")]
    Invalid {
        /// The matrix.
        tensor: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Too little text.
    #[error("the text has {found} tokens, fewer than the {needed} of one chunk; give a longer text")]
    TooShort {
        /// Tokens.
        found: usize,
        /// Tokens of a chunk.
        needed: usize,
    },
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Sums of one matrix, or of a stack of experts.
#[derive(Debug, Clone, PartialEq)]
struct Sums {
    n_columns: usize,
    squares: Vec<f64>, // (E, columns)
    counts: Vec<f64>,  // (E)
}

/// How much each column of each matrix matters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Importance {
    matrices: BTreeMap<String, Sums>,
    n_chunks: u32,
    chunk_tokens: u32,
}

impl Importance {
    /// Runs `tokens` through the model in chunks of `chunk_tokens`, each with an empty past, as many as are whole.
    /// `progress` sees how many chunks are done and how many there are.
    ///
    /// # Errors
    /// When there is not one whole chunk, or a chunk does not fit the model's context.
    pub fn gather(
        decoder: &Decoder,
        tokens: &[u32],
        chunk_tokens: usize,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Self, ImportanceError> {
        let chunk_tokens = chunk_tokens.clamp(1, decoder.context());
        let chunks = tokens.chunks_exact(chunk_tokens);
        let n_chunks = chunks.len();
        if n_chunks == 0 {
            return Err(ImportanceError::TooShort {
                found: tokens.len(),
                needed: chunk_tokens,
            });
        }
        let mut gatherer = Gatherer {
            n_experts: decoder.config().n_experts,
            matrices: BTreeMap::new(),
        };
        let mut scratch = Scratch::default();
        for (done, chunk) in chunks.enumerate() {
            if progress(done, n_chunks).is_break() {
                return Err(ImportanceError::Stopped);
            }
            let input = Input {
                tokens: chunk,
                cache: &mut decoder.new_cache(),
                logits: WantedLogits::None,
            };
            decoder.forward(&mut [input], &mut scratch, Some(&mut gatherer))?;
        }
        // Far below 32 bits: a text of so many chunks does not fit memory.
        Ok(Self {
            matrices: gatherer.matrices,
            n_chunks: u32::try_from(n_chunks).unwrap_or(u32::MAX),
            chunk_tokens: u32::try_from(chunk_tokens).unwrap_or(u32::MAX),
        })
    }

    /// Matrices that have sums.
    pub fn n_matrices(&self) -> usize {
        self.matrices.len()
    }

    /// Experts, over all layers and matrices, that no token of the text was routed to.
    pub fn n_unseen_experts(&self) -> usize {
        let counts = self.matrices.values().flat_map(|sums| &sums.counts);
        counts.filter(|count| **count == 0.0).count()
    }

    /// Columns and matrices of a tensor's sums, if it has some.
    pub(crate) fn shape(&self, tensor: &str) -> Option<(usize, usize)> {
        let sums = self.matrices.get(tensor)?;
        Some((sums.n_columns, sums.counts.len()))
    }

    /// The mean square of each column of one matrix of a tensor; 1 everywhere for an expert without tokens.
    pub(crate) fn columns(&self, tensor: &str, matrix: usize) -> Option<Vec<f32>> {
        let sums = self.matrices.get(tensor)?;
        let count = *sums.counts.get(matrix)?;
        let squares = sums.squares.chunks_exact(sums.n_columns.max(1)).nth(matrix)?;
        Some(if count > 0.0 {
            squares.iter().map(|square| (square / count) as f32).collect()
        } else {
            vec![1.0; sums.n_columns]
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is no well-formed GGUF file or holds something else.
    pub fn open(path: &Path) -> Result<Self, ImportanceError> {
        let file = Gguf::open(path)?;
        let mut matrices = BTreeMap::new();
        for info in file.tensors() {
            let Some(name) = info.name.strip_suffix(SUMS) else {
                continue;
            };
            matrices.insert(name.to_owned(), read_sums(&file, name, info)?);
        }
        if matrices.is_empty() {
            return Err(ImportanceError::Empty);
        }
        let number = |key| file.metadata().opt_u32(key);
        Ok(Self {
            matrices,
            n_chunks: number("imatrix.chunk_count")?.unwrap_or(0),
            chunk_tokens: number("imatrix.chunk_size")?.unwrap_or(0),
        })
    }

    /// Writes a file; `dataset` says what the text was.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path, dataset: &str) -> Result<(), ImportanceError> {
        let mut writer = Writer::new();
        writer
            .set("general.type", "imatrix")
            .set("imatrix.datasets", Array::Text(vec![dataset.to_owned()]))
            .set("imatrix.chunk_count", self.n_chunks)
            .set("imatrix.chunk_size", self.chunk_tokens);
        for (name, sums) in &self.matrices {
            let (columns, n) = (sums.n_columns as u64, sums.counts.len() as u64);
            writer.tensor(&format!("{name}{SUMS}"), &[columns, n], GgmlType::F32)?;
            writer.tensor(&format!("{name}{COUNTS}"), &[1, n], GgmlType::F32)?;
        }
        let mut body = writer.begin(NewFile::create(path)?)?;
        for sums in self.matrices.values() {
            body.write(&f32_bytes(&sums.squares))?;
            body.write(&f32_bytes(&sums.counts))?;
        }
        Ok(body.finish()?.commit()?)
    }
}

fn f32_bytes(values: &[f64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| (*value as f32).to_le_bytes())
        .collect()
}

fn read_sums(file: &Gguf, name: &str, info: &TensorInfo) -> Result<Sums, ImportanceError> {
    let invalid = |reason| ImportanceError::Invalid {
        tensor: name.to_owned(),
        reason,
    };
    let n_columns = info.dims.first().copied().unwrap_or(1);
    let counts = file
        .tensor(&format!("{name}{COUNTS}"))
        .ok_or_else(|| invalid("its counts are missing"))?;
    if counts.n_elements().checked_mul(n_columns) != Some(info.n_elements()) {
        return Err(invalid("sums and counts have different shapes"));
    }
    let read = |info: &TensorInfo| -> Result<Vec<f64>, ImportanceError> {
        if info.ty != GgmlType::F32 || info.n_bytes > MAX_SUMS_BYTES {
            return Err(invalid("it is not f32 or too large"));
        }
        let mut bytes = vec![0; info.n_bytes as usize];
        file.read_tensor(info, &mut bytes)?;
        let values = bytes.as_chunks::<4>().0.iter();
        let values: Vec<f64> = values.map(|b| f64::from(f32::from_le_bytes(*b))).collect();
        if values.iter().any(|value| !value.is_finite() || *value < 0.0) {
            return Err(invalid("a number in it is negative or not finite"));
        }
        Ok(values)
    };
    Ok(Sums {
        n_columns: n_columns as usize,
        squares: read(info)?,
        counts: read(counts)?,
    })
}

/// Sums up what it sees.
struct Gatherer {
    n_experts: usize,
    matrices: BTreeMap<String, Sums>,
}

impl Probe for Gatherer {
    fn hidden(&mut self, _index: usize, _states: &[f32]) {}

    fn router(&mut self, _layer: usize, _logits: &[f32]) {}

    fn input(&mut self, layer: usize, of: LinearInput, rows: &[f32], n_rows: usize) {
        if n_rows == 0 {
            return;
        }
        let n_columns = rows.len() / n_rows;
        let (stems, expert): (&[&str], Option<usize>) = match of {
            LinearInput::Attention => (&["attn_q", "attn_k", "attn_v"], None),
            LinearInput::AttentionOutput => (&["attn_output"], None),
            LinearInput::FeedForward => (&["ffn_gate", "ffn_up"], None),
            LinearInput::FeedForwardOutput => (&["ffn_down"], None),
            LinearInput::Router => (&["ffn_gate_inp"], None),
            LinearInput::Expert(expert) => (&["ffn_gate_exps", "ffn_up_exps"], Some(expert)),
            LinearInput::ExpertOutput(expert) => (&["ffn_down_exps"], Some(expert)),
        };
        let n_matrices = expert.map_or(1, |_| self.n_experts);
        let matrix = expert.unwrap_or(0);
        for stem in stems {
            let sums = self
                .matrices
                .entry(format!("blk.{layer}.{stem}.weight"))
                .or_insert_with(|| Sums {
                    n_columns,
                    squares: vec![0.0; n_columns * n_matrices],
                    counts: vec![0.0; n_matrices],
                });
            let squares = &mut sums.squares[matrix * n_columns..(matrix + 1) * n_columns];
            for row in rows.chunks_exact(n_columns) {
                for (square, x) in squares.iter_mut().zip(row) {
                    *square += f64::from(x * x);
                }
            }
            sums.counts[matrix] += n_rows as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::DecoderOptions;
    use crate::synth::{self, Spec};

    fn decoder(name: &str) -> Decoder {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        let options = synth::Options {
            dtype: compute::DType::F32.into(),
            seed: 3,
        };
        let bytes = synth::synth(&Spec::by_name(name).unwrap(), &options, Vec::new(), &mut |_| {}).unwrap();
        stdx::fs::write(&path, bytes).unwrap();
        Decoder::open(&path, &DecoderOptions::default()).unwrap()
    }

    fn gather(decoder: &Decoder, tokens: &[u32], chunk: usize) -> Result<Importance, ImportanceError> {
        Importance::gather(decoder, tokens, chunk, &mut |_, _| ControlFlow::Continue(()))
    }

    #[test]
    fn every_matrix_of_a_dense_model_is_seen_once_for_each_token() {
        let decoder = decoder("tiny-qwen2");
        let found = gather(&decoder, &[1; 25], 10).unwrap();
        assert_eq!(found.n_matrices(), 3 * 7);
        for (name, sums) in &found.matrices {
            assert_eq!(sums.counts, [20.0], "{name}: two whole chunks");
            assert!(sums.squares.iter().sum::<f64>() > 0.0, "{name}");
        }
        assert_eq!(found.shape("blk.2.ffn_down.weight"), Some((96, 1)));
        assert_eq!(found.columns("blk.0.attn_q.weight", 0).unwrap().len(), 64);
        assert!(matches!(
            gather(&decoder, &[1; 9], 10),
            Err(ImportanceError::TooShort { found: 9, needed: 10 })
        ));
    }

    #[test]
    fn each_expert_counts_the_tokens_routed_to_it() {
        let decoder = decoder("tiny-olmoe");
        let tokens: Vec<u32> = (0..40).collect();
        let found = gather(&decoder, &tokens, 20).unwrap();
        // Steps of one token take another way through the experts.
        let one_by_one = gather(&decoder, &tokens, 1).unwrap();
        for layer in 0..3 {
            for stem in ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"] {
                let name = format!("blk.{layer}.{stem}.weight");
                for found in [&found, &one_by_one] {
                    let counts = &found.matrices[&name].counts;
                    assert_eq!((counts.len(), counts.iter().sum::<f64>()), (16, 40.0 * 4.0));
                }
            }
            assert_eq!(
                found.matrices[&format!("blk.{layer}.ffn_gate_inp.weight")].counts,
                [40.0]
            );
        }
        let all = found.matrices["blk.0.ffn_gate_exps.weight"]
            .squares
            .iter()
            .sum::<f64>();
        let router = found.matrices["blk.0.ffn_gate_inp.weight"]
            .squares
            .iter()
            .sum::<f64>();
        assert!(
            (all / (4.0 * router) - 1.0).abs() < 1e-6,
            "four experts read each row"
        );
    }

    #[test]
    fn what_is_written_is_read_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("imatrix.gguf");
        let sums = Sums {
            n_columns: 2,
            squares: vec![2.0, 4.0, 0.0, 0.0],
            counts: vec![2.0, 0.0],
        };
        let importance = Importance {
            matrices: BTreeMap::from([("blk.0.ffn_up_exps.weight".to_owned(), sums)]),
            n_chunks: 1,
            chunk_tokens: 2,
        };
        importance.write(&path, "a text").unwrap();
        let read = Importance::open(&path).unwrap();
        assert_eq!(read, importance);
        assert_eq!(read.columns("blk.0.ffn_up_exps.weight", 0).unwrap(), [1.0, 2.0]);
        assert_eq!(read.columns("blk.0.ffn_up_exps.weight", 1).unwrap(), [1.0, 1.0]);
        assert_eq!((read.n_unseen_experts(), read.columns("x", 0)), (1, None));
        let mut bytes = stdx::fs::read(&path).unwrap();
        let at = bytes.windows(7).position(|window| window == b".counts").unwrap();
        bytes[at] = b'_';
        stdx::fs::write(&path, bytes).unwrap();
        let error = Importance::open(&path).unwrap_err().to_string();
        assert!(error.contains("counts are missing"), "{error}");
    }
}
