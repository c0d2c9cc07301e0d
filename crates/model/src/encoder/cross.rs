//! A cross-encoder: question and passage read as one text, one score for the pair (Nogueira and Cho 2019).
//!
//! `BertForSequenceClassification` and `XLMRobertaForSequenceClassification` with one label, from a hub folder
//! (safetensors) or an ONNX export, quantised or not, with the `tokenizer.json` beside it. The first token's state goes
//! through a layer with tanh and becomes one number: the higher, the better the passage answers the question.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use compute::{AlignedBytes, DType, HEAD_DIM_MAX, Matrix, Precision, matmul, ops, quant};
use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

use crate::error::LoadError;
use crate::open::pool;

use super::TOKENS_MAX;
use super::bert::{Bert, Layer, LayerNorm, Linear, Token};
use super::checkpoint::Checkpoint;

/// Most layers: a sanity limit, the number is found by counting.
const LAYERS_MAX: usize = 1024;
/// A model that was trained on Korean has thousands of tokens with Hangul.
const HANGUL_TOKENS_MIN: usize = 500;
/// Longer questions are cut before they are tokenised.
const QUESTION_CHARS_MAX: usize = 2_000;
/// Positions of the RoBERTa family that no token has: those of padding and before it.
const ROBERTA_UNUSED: usize = 2;

/// What is used of `config.json`.
#[derive(Deserialize, Default)]
struct Config {
    num_attention_heads: Option<usize>,
    layer_norm_eps: Option<f32>,
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
}

/// Names of the parts that the two families call differently.
struct Names {
    encoder: &'static str,
    dense: &'static str,
    output: &'static str,
    unused_positions: usize,
    norm_eps: f32,
}

const BERT: Names = Names {
    encoder: "bert",
    dense: "bert.pooler.dense",
    output: "classifier",
    unused_positions: 0,
    norm_eps: 1e-12,
};
const ROBERTA: Names = Names {
    encoder: "roberta",
    dense: "classifier.dense",
    output: "classifier.out_proj",
    unused_positions: ROBERTA_UNUSED,
    norm_eps: 1e-5,
};

/// Scores passages for a question.
pub struct CrossEncoder {
    tokenizer: Tokenizer,
    knows_hangul: bool,
    bert: Bert,
    dense: Linear,    // (D, D)
    output: Vec<f32>, // (D)
    output_bias: f32,
}

impl CrossEncoder {
    /// Loads `path`: a hub folder, a `.onnx` file or a `.safetensors` file; `threads` 0 takes one per available core.
    /// `tokenizer.json` and `config.json` are looked for beside a file as `STEM.tokenizer.json` and under their own
    /// names; an ONNX export needs no configuration.
    ///
    /// # Errors
    /// When a file is missing, unreadable, incomplete or contradicts itself, or is of another kind.
    pub fn load(path: &Path, threads: usize) -> Result<Arc<Self>, LoadError> {
        let file = weights_in(path)?;
        let checkpoint = Checkpoint::open(&file)?;
        let word_vectors = |names: &Names| format!("{}.embeddings.word_embeddings.weight", names.encoder);
        let names = [BERT, ROBERTA]
            .into_iter()
            .find(|names| checkpoint.shape(&word_vectors(names)).is_some())
            .ok_or_else(|| refuse("it is neither a BERT nor an XLM-RoBERTa that scores pairs"))?;
        let config: Config = match beside(&file, "config.json") {
            Some(path) => serde_json::from_slice(&stdx::fs::read(&path)?)
                .map_err(|error| refuse(format!("`{}`: {error}", path.display())))?,
            None => Config::default(),
        };
        check(&config)?;
        let loader = Loader {
            checkpoint,
            names,
            config,
        };
        let bert = loader.bert(threads)?;
        let d = bert.d_model;
        let n_positions = bert.positions.first().map_or(0, |positions| positions.len() / d);
        let dense = loader.linear(loader.names.dense, d, d)?;
        let output = loader.names.output;
        let [output_bias] = loader.values(&format!("{output}.bias"), &[1])?[..] else {
            return Err(refuse("it gives more than one number for a pair"));
        };
        let tokenizer = tokenizer(&file, bert.words.rows(), n_positions.min(TOKENS_MAX))?;
        let has_hangul = |token: &&String| token.chars().any(|c| ('가'..='힣').contains(&c));
        let vocabulary = tokenizer.get_vocab(false);
        Ok(Arc::new(Self {
            knows_hangul: vocabulary.keys().filter(has_hangul).count() >= HANGUL_TOKENS_MIN,
            tokenizer,
            dense,
            output: loader.values(&format!("{output}.weight"), &[1, d])?,
            output_bias,
            bert,
        }))
    }

    /// Whether its vocabulary has Korean, and not just a few syllables.
    pub fn knows_hangul(&self) -> bool {
        self.knows_hangul
    }

    /// A score for each passage, in their order: logits, of either sign, comparable for one question only. `None` for a
    /// passage that the tokenizer cannot read.
    pub fn score(&self, question: &str, passages: &[&str]) -> Vec<Option<f32>> {
        let question: String = question.chars().take(QUESTION_CHARS_MAX).collect();
        let pairs: Vec<Option<Vec<Token>>> = passages.iter().map(|p| self.pair(&question, p)).collect();
        let sequences: Vec<Vec<Token>> = pairs.iter().flatten().cloned().collect();
        let mut firsts: Vec<f32> = Vec::with_capacity(sequences.len() * self.bert.d_model);
        self.bert
            .for_each(&sequences, |states| firsts.extend(&states[..self.bert.d_model]));
        let mut scores = self.classify(&firsts, sequences.len()).into_iter();
        pairs
            .iter()
            .map(|pair| {
                pair.as_ref()
                    .and_then(|_| scores.next())
                    .filter(|s| s.is_finite())
            })
            .collect()
    }

    fn pair(&self, question: &str, passage: &str) -> Option<Vec<Token>> {
        let encoding = self.tokenizer.encode((question, passage), true).ok()?;
        let n_kinds = self.bert.positions.len() as u32;
        let tokens = encoding.get_ids().iter().zip(encoding.get_type_ids());
        let tokens: Vec<Token> = tokens
            .map(|(&id, &kind)| Token {
                id,
                kind: kind.min(n_kinds - 1),
            })
            .collect();
        (!tokens.is_empty()).then_some(tokens)
    }

    /// output · tanh(dense · first + bias) + bias, for each first state.
    fn classify(&self, firsts: &[f32], n: usize) -> Vec<f32> {
        let mut inner = vec![0.0; firsts.len()];
        matmul(
            &self.bert.pool,
            self.dense.matrix.as_ref(),
            firsts,
            n,
            &mut inner,
            Precision::Native,
            &mut compute::Scratch::default(),
        );
        let of_row = |row: &mut [f32]| {
            ops::add(&self.dense.bias, row);
            row.iter_mut().for_each(|x| *x = x.tanh());
            ops::dot_f32(row, &self.output) + self.output_bias
        };
        inner.chunks_exact_mut(self.bert.d_model).map(of_row).collect()
    }
}

/// Reads weights by the hub's names.
struct Loader {
    checkpoint: Checkpoint,
    names: Names,
    config: Config,
}

impl Loader {
    fn bert(&self, threads: usize) -> Result<Bert, LoadError> {
        let prefix = self.names.encoder;
        let embeddings = format!("{prefix}.embeddings");
        let words = format!("{embeddings}.word_embeddings.weight");
        let (v, d) = self.extents(&words)?;
        let values = self.values(&words, &[v, d])?;
        let stated = self.config.num_attention_heads;
        let n_heads = stated
            .or_else(|| self.checkpoint.n_heads(prefix, d))
            .ok_or_else(|| refuse("how many attention heads it has stands in no config.json beside it"))?;
        if n_heads == 0 || d == 0 || !d.is_multiple_of(n_heads) {
            return Err(refuse("the attention heads do not divide the width"));
        }
        if d / n_heads > HEAD_DIM_MAX {
            let found = d / n_heads;
            return Err(refuse(format!(
                "its attention heads have {found} elements, and at most {HEAD_DIM_MAX} are supported"
            )));
        }
        let has_layer = |i: &usize| {
            let name = format!("{prefix}.encoder.layer.{i}.attention.self.query.bias");
            self.checkpoint.shape(&name).is_some()
        };
        let layers: Result<Vec<Layer>, LoadError> = (0..LAYERS_MAX)
            .take_while(has_layer)
            .map(|i| self.layer(i, d))
            .collect();
        let layers = layers?;
        if layers.is_empty() {
            return Err(refuse("it has no layers by the names that are known"));
        }
        Ok(Bert {
            words: matrix(DType::F16, v, d, &values)?,
            positions: self.positions(&embeddings, d)?,
            embedding_norm: self.norm(&format!("{embeddings}.LayerNorm"), d)?,
            layers,
            d_model: d,
            n_heads,
            norm_eps: self.config.layer_norm_eps.unwrap_or(self.names.norm_eps),
            pool: pool(threads),
            turn: Mutex::default(),
        })
    }

    /// Position vectors for each kind of token, the kind's own vector added.
    fn positions(&self, embeddings: &str, d: usize) -> Result<Vec<Vec<f32>>, LoadError> {
        let name = format!("{embeddings}.position_embeddings.weight");
        let (n, _) = self.extents(&name)?;
        let mut positions = self.values(&name, &[n, d])?;
        positions.drain(..(self.names.unused_positions * d).min(positions.len()));
        if positions.len() < 4 * d {
            return Err(refuse("there are too few positions"));
        }
        let name = format!("{embeddings}.token_type_embeddings.weight");
        let (n_kinds, _) = self.extents(&name)?;
        let kinds = self.values(&name, &[n_kinds, d])?;
        let of_kind = |kind: &[f32]| {
            let mut positions = positions.clone();
            positions
                .chunks_exact_mut(d)
                .for_each(|position| ops::add(kind, position));
            positions
        };
        // Question and passage: there are no further kinds.
        let all: Vec<Vec<f32>> = kinds.chunks_exact(d).take(2).map(of_kind).collect();
        if all.is_empty() {
            return Err(refuse("there are no token types"));
        }
        Ok(all)
    }

    fn layer(&self, index: usize, d: usize) -> Result<Layer, LoadError> {
        let stem = format!("{}.encoder.layer.{index}", self.names.encoder);
        let linear = |part: &str, rows, cols| self.linear(&format!("{stem}.{part}"), rows, cols);
        let up = format!("{stem}.intermediate.dense.weight");
        let (f, _) = self.extents(&up)?;
        Ok(Layer {
            query: linear("attention.self.query", d, d)?,
            key: linear("attention.self.key", d, d)?,
            value: linear("attention.self.value", d, d)?,
            output: linear("attention.output.dense", d, d)?,
            attention_norm: self.norm(&format!("{stem}.attention.output.LayerNorm"), d)?,
            up: linear("intermediate.dense", f, d)?,
            down: linear("output.dense", d, f)?,
            output_norm: self.norm(&format!("{stem}.output.LayerNorm"), d)?,
        })
    }

    fn linear(&self, stem: &str, rows: usize, cols: usize) -> Result<Linear, LoadError> {
        let values = self.values(&format!("{stem}.weight"), &[rows, cols])?;
        // Activations are rounded to eight bits too; what does not divide into blocks is left as it is.
        let dtype = if cols.is_multiple_of(DType::Q8_0.block_len()) {
            DType::Q8_0
        } else {
            DType::F32
        };
        Ok(Linear {
            matrix: matrix(dtype, rows, cols, &values)?,
            bias: self.values(&format!("{stem}.bias"), &[rows])?,
        })
    }

    fn norm(&self, stem: &str, d: usize) -> Result<LayerNorm, LoadError> {
        Ok(LayerNorm {
            weight: self.values(&format!("{stem}.weight"), &[d])?,
            bias: self.values(&format!("{stem}.bias"), &[d])?,
        })
    }

    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        self.checkpoint.values(name, shape)
    }

    /// Rows and columns of a matrix.
    fn extents(&self, name: &str) -> Result<(usize, usize), LoadError> {
        let shape = self
            .checkpoint
            .shape(name)
            .ok_or_else(|| LoadError::MissingTensor {
                name: name.to_owned(),
            })?;
        match shape[..] {
            [rows, cols] => Ok((rows as usize, cols as usize)),
            _ => Err(LoadError::Shape {
                name: name.to_owned(),
                expected: vec![0, 0],
                found: shape,
            }),
        }
    }
}

fn refuse(reason: impl Into<String>) -> LoadError {
    LoadError::Encoder {
        reason: reason.into(),
    }
}

fn check(config: &Config) -> Result<(), LoadError> {
    if let Some(other) = config.hidden_act.as_deref().filter(|act| *act != "gelu") {
        return Err(refuse(format!(
            "it needs the activation `{other}`, and only gelu is supported"
        )));
    }
    if let Some(other) = config
        .position_embedding_type
        .as_deref()
        .filter(|kind| *kind != "absolute")
    {
        return Err(refuse(format!(
            "its positions are `{other}`, and only absolute ones are supported"
        )));
    }
    Ok(())
}

fn matrix(dtype: DType, rows: usize, cols: usize, values: &[f32]) -> Result<Matrix, LoadError> {
    let encoded = quant::quantise(dtype, values)?;
    let mut bytes = AlignedBytes::zeroed(encoded.len());
    bytes.copy_from_slice(&encoded);
    Matrix::new(dtype, rows, cols, bytes).map_err(|source| LoadError::Matrix {
        name: "a matrix".to_owned(),
        source,
    })
}

/// The file with the weights: `path` itself, or that in the folder.
fn weights_in(path: &Path) -> Result<PathBuf, LoadError> {
    let is_folder = stdx::fs::metadata(path)?.is_dir();
    if !is_folder {
        return Ok(path.to_owned());
    }
    ["model.safetensors", "model.onnx", "onnx/model.onnx"]
        .into_iter()
        .map(|name| path.join(name))
        .find(|file| stdx::fs::metadata(file).is_ok())
        .ok_or_else(|| {
            refuse(format!(
                "`{}` has no model.safetensors and no model.onnx",
                path.display()
            ))
        })
}

/// `STEM.name`, or `name` in the folder of `file`, or in the one above where exports have a folder of their own.
fn beside(file: &Path, name: &str) -> Option<PathBuf> {
    let folder = file.parent()?;
    let stem = file.file_stem()?.to_string_lossy();
    let is_export = folder.file_name().is_some_and(|name| name == "onnx");
    let above = folder
        .parent()
        .filter(|_| is_export)
        .map(|above| above.join(name));
    [folder.join(format!("{stem}.{name}")), folder.join(name)]
        .into_iter()
        .chain(above)
        .find(|path| stdx::fs::metadata(path).is_ok())
}

fn tokenizer(file: &Path, n_words: usize, n_tokens_max: usize) -> Result<Tokenizer, LoadError> {
    let path = beside(file, "tokenizer.json")
        .ok_or_else(|| refuse(format!("there is no tokenizer.json beside `{}`", file.display())))?;
    let wrong = |error: String| refuse(format!("`{}`: {error}", path.display()));
    let mut tokenizer =
        Tokenizer::from_bytes(stdx::fs::read(&path)?).map_err(|error| wrong(error.to_string()))?;
    let ids = tokenizer.get_vocab(true);
    if ids.values().any(|&id| id as usize >= n_words) {
        return Err(wrong("it has tokens without a word vector".to_owned()));
    }
    let truncation = TruncationParams {
        max_length: n_tokens_max,
        ..TruncationParams::default()
    };
    tokenizer
        .with_padding(None)
        .with_truncation(Some(truncation))
        .map_err(|error| wrong(error.to_string()))?;
    // What spells a special token in a document is only text.
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}
