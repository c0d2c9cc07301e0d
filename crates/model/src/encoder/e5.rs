//! Embeddings: multilingual-e5-small (Wang et al. 2024) from an E5S1 file.
//!
//! Mean pooling over all tokens, unit length. Not here: the prefixes that E5 expects.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use compute::{AlignedBytes, DType, HEAD_DIM_MAX, Matrix, ops, quant};
use weights::e5s1::{E5s1, Header};

use crate::decoder::dtype_of;
use crate::error::LoadError;
use crate::finite;
use crate::open::pool;

use super::TOKENS_MAX;
use super::bert::{Bert, Layer, LayerNorm, Linear, Token};
use super::pieces::PieceTokenizer;

/// A text encoder for dense retrieval (multilingual-e5 in the E5S1 format).
pub struct TextEncoder {
    path: PathBuf,
    sha256: OnceLock<String>,
    tokenizer: PieceTokenizer,
    pub(super) bert: Bert,
    n_positions: usize,
}

impl TextEncoder {
    /// Loads an E5S1 file; `threads` 0 takes one per available core.
    ///
    /// # Errors
    /// When the file is unreadable, incomplete or contradicts itself.
    pub fn load(path: &Path, threads: usize) -> Result<Arc<Self>, LoadError> {
        let file = E5s1::open(path)?;
        let header = file.header().clone();
        let reader = Reader { file: &file };
        let (d, f) = (extent(header.d_model)?, extent(header.d_ff)?);
        let (v, n_positions) = (extent(header.vocab_size)?, extent(header.n_positions)?);
        check(&header, file.pieces().len())?;
        let layers: Result<Vec<Layer>, LoadError> =
            (0..header.n_layers).map(|i| reader.layer(i, d, f)).collect();
        let bert = Bert {
            words: reader.matrix("emb.word", v, d)?,
            positions: vec![reader.positions(n_positions, extent(header.n_types)?, d)?],
            embedding_norm: reader.norm("emb.ln", d)?,
            layers: layers?,
            d_model: d,
            n_heads: extent(header.n_heads)?,
            norm_eps: header.norm_eps,
            pool: pool(threads),
            turn: Mutex::default(),
        };
        Ok(Arc::new(Self {
            path: path.to_owned(),
            sha256: OnceLock::new(),
            tokenizer: PieceTokenizer::new(&file).map_err(|reason| LoadError::Encoder { reason })?,
            bert,
            n_positions: n_positions.min(TOKENS_MAX),
        }))
    }

    /// Width of a vector.
    pub fn dim(&self) -> usize {
        self.bert.d_model
    }

    /// SHA-256 of the file, computed when first asked for. Empty if the file cannot be read any more.
    pub fn sha256(&self) -> &str {
        self.sha256
            .get_or_init(|| stdx::hash::sha256_file(&self.path).unwrap_or_default())
    }

    /// Token ids of a text, `<s>` and `</s>` included, cut at the model's last position.
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, self.n_positions)
    }

    /// Unit-length vectors of texts; the caller adds "query: " or "passage: ".
    pub fn encode(&self, texts: &[&str]) -> Vec<Vec<f32>> {
        // E5 uses the first kind of token only.
        let of_text = |text: &&str| self.tokenize(text).into_iter().map(|id| Token { id, kind: 0 });
        let sequences: Vec<Vec<Token>> = texts.iter().map(|text| of_text(text).collect()).collect();
        let mut vectors = Vec::with_capacity(texts.len());
        self.bert.for_each(&sequences, |states| {
            let d = self.bert.d_model;
            let share = 1.0 / (states.len() / d) as f32;
            let mut mean = vec![0.0; d];
            for state in states.chunks_exact(d) {
                ops::axpy(share, state, &mut mean);
            }
            ops::l2_normalise(&mut mean);
            vectors.push(mean);
        });
        vectors
    }
}

/// Reads weights by the names of the format.
struct Reader<'a> {
    file: &'a E5s1,
}

impl Reader<'_> {
    fn layer(&self, index: u64, d: usize, f: usize) -> Result<Layer, LoadError> {
        let linear = |part: &str, rows, cols| self.linear(&format!("l{index}.{part}"), rows, cols);
        Ok(Layer {
            query: linear("q", d, d)?,
            key: linear("k", d, d)?,
            value: linear("v", d, d)?,
            output: linear("ao", d, d)?,
            attention_norm: self.norm(&format!("l{index}.aln"), d)?,
            up: linear("fi", f, d)?,
            down: linear("fo", d, f)?,
            output_norm: self.norm(&format!("l{index}.oln"), d)?,
        })
    }

    fn linear(&self, stem: &str, rows: usize, cols: usize) -> Result<Linear, LoadError> {
        Ok(Linear {
            matrix: self.matrix(&format!("{stem}.w"), rows, cols)?,
            bias: self.vector(&format!("{stem}.b"), rows)?,
        })
    }

    fn norm(&self, stem: &str, d: usize) -> Result<LayerNorm, LoadError> {
        Ok(LayerNorm {
            weight: self.vector(&format!("{stem}.w"), d)?,
            bias: self.vector(&format!("{stem}.b"), d)?,
        })
    }

    /// Position vectors, the first token type's added: E5 uses no other.
    fn positions(&self, n_positions: usize, n_types: usize, d: usize) -> Result<Vec<f32>, LoadError> {
        let mut positions = self.vector("emb.pos", n_positions * d)?;
        let types = self.vector("emb.type", n_types * d)?;
        for position in positions.chunks_exact_mut(d) {
            ops::add(&types[..d], position);
        }
        Ok(positions)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix, LoadError> {
        let (dtype, bytes) = self.read(name, &[rows, cols])?;
        Matrix::new(dtype, rows, cols, bytes).map_err(|source| LoadError::Matrix {
            name: name.to_owned(),
            source,
        })
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let (dtype, bytes) = self.read(name, &[len])?;
        let mut values = vec![0.0; len];
        quant::dequantise(dtype, &bytes, &mut values)?;
        Ok(values)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<(DType, AlignedBytes), LoadError> {
        let n_elements: usize = shape.iter().product();
        let info = self.file.tensor(name).ok_or_else(|| LoadError::MissingTensor {
            name: name.to_owned(),
        })?;
        let dtype = dtype_of(info.ty).ok_or_else(|| LoadError::UnsupportedType {
            name: name.to_owned(),
            ty: info.ty.name(),
        })?;
        if info.n_elements != n_elements as u64 {
            let (expected, found) = (vec![n_elements as u64], vec![info.n_elements]);
            return Err(LoadError::Shape {
                name: name.to_owned(),
                expected,
                found,
            });
        }
        let n_bytes = usize::try_from(info.n_bytes).map_err(|_| LoadError::TooLarge {
            name: name.to_owned(),
            n_bytes: info.n_bytes,
        })?;
        let mut bytes = AlignedBytes::zeroed(n_bytes);
        finite::read(self.file, name, dtype, shape, &mut bytes)?;
        Ok((dtype, bytes))
    }
}

/// The extents that nothing else checks.
fn check(header: &Header, n_pieces: usize) -> Result<(), LoadError> {
    let refuse = |reason: &str| {
        Err(LoadError::Encoder {
            reason: reason.to_owned(),
        })
    };
    if header.n_heads == 0 || header.d_model == 0 || !header.d_model.is_multiple_of(header.n_heads) {
        return refuse("the attention heads do not divide the width");
    }
    if header.d_model / header.n_heads > HEAD_DIM_MAX as u64 {
        return refuse(&format!(
            "its attention heads have more than {HEAD_DIM_MAX} elements, which is not supported"
        ));
    }
    if (n_pieces as u64) > header.vocab_size {
        return refuse("there are more pieces than word vectors");
    }
    if header.n_types == 0 || header.n_positions < 2 {
        return refuse("there are no token types or too few positions");
    }
    let special = [header.bos, header.eos, header.pad, header.unk];
    if special.iter().any(|&id| id as usize >= n_pieces) {
        return refuse("a special token is not among the pieces");
    }
    Ok(())
}

fn extent(value: u64) -> Result<usize, LoadError> {
    usize::try_from(value).map_err(|_| LoadError::Encoder {
        reason: format!("{value} is too large"),
    })
}
