//! The text encoder for dense retrieval: multilingual-e5-small (Wang et al. 2024) from an E5S1 file.
//!
//! A BERT with norms after each sum (Devlin et al. 2019), mean pooling over all tokens, unit length. Texts of a
//! batch lie one after another without padding. Not here: what is encoded, and the prefixes that E5 expects.

mod pieces;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use compute::{
    AlignedBytes, DType, FullAttention, Matrix, MatrixRef, Pool, Precision, attention_full, matmul,
    matmul_many, ops, quant,
};
use weights::Source as _;
use weights::e5s1::{E5s1, Header};

use crate::decoder::{add_bias, dtype_of, for_each_row, resize};
use crate::error::LoadError;
use crate::open::pool;

use pieces::PieceTokenizer;

/// Tokens of a text that are looked at, the special ones included; the model knows no further positions.
const TOKENS_MAX: usize = 512;
/// Tokens computed together: enough to read each weight rarely, little enough to stay in the cache.
const BATCH_TOKENS: usize = 1024;

/// A matrix with its bias.
struct Linear {
    matrix: Matrix,
    bias: Vec<f32>,
}

/// Weight and bias of a norm.
struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Layer {
    query: Linear,  // (D, D)
    key: Linear,    // (D, D)
    value: Linear,  // (D, D)
    output: Linear, // (D, D)
    attention_norm: LayerNorm,
    up: Linear,   // (F, D)
    down: Linear, // (D, F)
    output_norm: LayerNorm,
}

/// A text encoder for dense retrieval (multilingual-e5 in the E5S1 format).
pub struct TextEncoder {
    path: PathBuf,
    sha256: OnceLock<String>,
    tokenizer: PieceTokenizer,
    words: Matrix,       // (V, D)
    positions: Vec<f32>, // (positions, D), the only token type's vector added
    embedding_norm: LayerNorm,
    layers: Vec<Layer>,
    d_model: usize,
    n_heads: usize,
    n_positions: usize,
    norm_eps: f32,
    pool: Pool,
}

/// Buffers of a batch.
#[derive(Default)]
struct Buffers {
    x: Vec<f32>,         // (T, D)
    query: Vec<f32>,     // (T, D)
    key: Vec<f32>,       // (T, D)
    value: Vec<f32>,     // (T, D)
    attended: Vec<f32>,  // (T, D)
    projected: Vec<f32>, // (T, D)
    inner: Vec<f32>,     // (T, F)
    compute: compute::Scratch,
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
        Ok(Arc::new(Self {
            path: path.to_owned(),
            sha256: OnceLock::new(),
            tokenizer: PieceTokenizer::new(&file).map_err(|reason| LoadError::Encoder { reason })?,
            words: reader.matrix("emb.word", v, d)?,
            positions: reader.positions(n_positions, extent(header.n_types)?, d)?,
            embedding_norm: reader.norm("emb.ln", d)?,
            layers: layers?,
            d_model: d,
            n_heads: extent(header.n_heads)?,
            n_positions: n_positions.min(TOKENS_MAX),
            norm_eps: header.norm_eps,
            pool: pool(threads),
        }))
    }

    /// Width of a vector.
    pub fn dim(&self) -> usize {
        self.d_model
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
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| self.tokenize(text)).collect();
        let mut vectors = Vec::with_capacity(texts.len());
        let mut buffers = Buffers::default();
        let mut start = 0;
        while start < ids.len() {
            let mut end = start + 1;
            let mut n_tokens = ids[start].len();
            while end < ids.len() && n_tokens + ids[end].len() <= BATCH_TOKENS {
                n_tokens += ids[end].len();
                end += 1;
            }
            self.encode_batch(&ids[start..end], &mut buffers, &mut vectors);
            start = end;
        }
        vectors
    }

    fn encode_batch(&self, ids: &[Vec<u32>], buffers: &mut Buffers, vectors: &mut Vec<Vec<f32>>) {
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        self.embed(ids, buffers);
        for layer in &self.layers {
            self.attend(layer, &lengths, buffers);
            self.feed_forward(layer, buffers);
        }
        let mut rest = &buffers.x[..];
        for n in lengths {
            let (states, later) = rest.split_at(n * self.d_model);
            rest = later;
            let mut mean = vec![0.0; self.d_model];
            for state in states.chunks_exact(self.d_model) {
                ops::axpy(1.0 / n as f32, state, &mut mean);
            }
            ops::l2_normalise(&mut mean);
            vectors.push(mean);
        }
    }

    /// x = norm(word + position + type).
    fn embed(&self, ids: &[Vec<u32>], buffers: &mut Buffers) {
        let d = self.d_model;
        let tokens: Vec<(usize, u32)> = ids
            .iter()
            .flat_map(|ids| ids.iter().copied().enumerate())
            .collect();
        let Buffers { x, projected, .. } = buffers;
        resize(x, tokens.len() * d);
        resize(projected, tokens.len() * d);
        for_each_row(&self.pool, projected, d, |i, sum| {
            let (position, id) = tokens[i];
            self.words.row_f32(id as usize, sum);
            ops::add(&self.positions[position * d..(position + 1) * d], sum);
        });
        self.normalise(&self.embedding_norm, projected, x);
    }

    /// x = norm(x + output(attention(x))).
    fn attend(&self, layer: &Layer, lengths: &[usize], buffers: &mut Buffers) {
        let Buffers {
            x,
            query,
            key,
            value,
            attended,
            projected,
            compute,
            ..
        } = buffers;
        let (d, n) = (self.d_model, x.len() / self.d_model);
        for buffer in [
            &mut *query,
            &mut *key,
            &mut *value,
            &mut *attended,
            &mut *projected,
        ] {
            resize(buffer, n * d);
        }
        let mut products: [(MatrixRef<'_>, &mut [f32]); 3] = [
            (layer.query.matrix.as_ref(), &mut *query),
            (layer.key.matrix.as_ref(), &mut *key),
            (layer.value.matrix.as_ref(), &mut *value),
        ];
        matmul_many(&self.pool, &mut products, x, n, Precision::Native, compute);
        add_bias(Some(&layer.query.bias), query);
        add_bias(Some(&layer.key.bias), key);
        add_bias(Some(&layer.value.bias), value);
        let head_dim = d / self.n_heads;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let input = FullAttention {
            q: query,
            k: key,
            v: value,
            lengths,
            n_heads: self.n_heads,
            head_dim,
            scale,
        };
        attention_full(&self.pool, &input, attended);
        matmul(
            &self.pool,
            layer.output.matrix.as_ref(),
            attended,
            n,
            projected,
            Precision::Native,
            compute,
        );
        self.add_and_normalise(projected, &layer.output.bias, &layer.attention_norm, x);
    }

    /// x = norm(x + down(gelu(up(x)))).
    fn feed_forward(&self, layer: &Layer, buffers: &mut Buffers) {
        let Buffers {
            x,
            projected,
            inner,
            compute,
            ..
        } = buffers;
        let (n, f) = (x.len() / self.d_model, layer.up.matrix.rows());
        resize(inner, n * f);
        matmul(
            &self.pool,
            layer.up.matrix.as_ref(),
            x,
            n,
            inner,
            Precision::Native,
            compute,
        );
        for_each_row(&self.pool, inner, f, |_, row| {
            ops::add(&layer.up.bias, row);
            ops::gelu_erf(row);
        });
        matmul(
            &self.pool,
            layer.down.matrix.as_ref(),
            inner,
            n,
            projected,
            Precision::Native,
            compute,
        );
        self.add_and_normalise(projected, &layer.down.bias, &layer.output_norm, x);
    }

    /// x = norm(x + projected + bias).
    fn add_and_normalise(&self, projected: &mut [f32], bias: &[f32], norm: &LayerNorm, x: &mut [f32]) {
        let d = self.d_model;
        for_each_row(&self.pool, projected, d, |i, sum| {
            ops::add(&x[i * d..(i + 1) * d], sum);
            ops::add(bias, sum);
        });
        self.normalise(norm, projected, x);
    }

    /// x = norm(sum).
    fn normalise(&self, norm: &LayerNorm, sum: &[f32], x: &mut [f32]) {
        let d = self.d_model;
        for_each_row(&self.pool, x, d, |i, x| {
            ops::layer_norm(
                &sum[i * d..(i + 1) * d],
                &norm.weight,
                &norm.bias,
                self.norm_eps,
                x,
            );
        });
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
        let (dtype, bytes) = self.read(name, rows * cols)?;
        Matrix::new(dtype, rows, cols, bytes).map_err(|source| LoadError::Matrix {
            name: name.to_owned(),
            source,
        })
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let (dtype, bytes) = self.read(name, len)?;
        let mut values = vec![0.0; len];
        quant::dequantise(dtype, &bytes, &mut values)?;
        Ok(values)
    }

    fn read(&self, name: &str, n_elements: usize) -> Result<(DType, AlignedBytes), LoadError> {
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
        self.file.read(name, &mut bytes)?;
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

#[cfg(test)]
mod tests;
