//! Which tensors the new file has, and where each comes from.
//!
//! Of a folder: those that the decoder loads, by their GGUF names. Of a GGUF file: all it has. Types are chosen
//! elsewhere.

use std::collections::BTreeSet;

use weights::Source;
use weights::gguf::Gguf;

use super::ConvertError;
use crate::config::{Config, Family, NormPlacement, QkNorm};
use crate::decoder::{Global, Naming, Part};
use crate::error::LoadError;

/// A tensor to write.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    /// Its name in GGUF.
    pub(super) name: String,
    /// Extents, the fastest first.
    pub(super) dims: Vec<u64>,
    /// What it is made of, one below the other: one tensor, or one for each expert.
    pub(super) sources: Vec<String>,
    /// Rows of a head, where the rows of each head change places: GGUF's llama rotates neighbours.
    pub(super) interleaved_head: Option<usize>,
    /// Whether its type is chosen; norms, biases and routers are f32.
    pub(super) is_matrix: bool,
}

impl Planned {
    /// Elements of a row.
    pub(super) fn columns(&self) -> usize {
        extent(self.dims.first())
    }

    /// Rows of one matrix; 1 for a vector.
    pub(super) fn rows(&self) -> usize {
        extent(self.dims.get(1))
    }

    /// Matrices below each other: experts, else 1.
    pub(super) fn n_matrices(&self) -> usize {
        self.dims.iter().skip(2).map(|dim| extent(Some(dim))).product()
    }
}

fn extent(dim: Option<&u64>) -> usize {
    // Beyond this machine's address space nothing was opened.
    dim.map_or(1, |dim| usize::try_from(*dim).unwrap_or(usize::MAX))
}

/// All tensors of a GGUF file as they are.
pub(super) fn of_gguf(file: &Gguf) -> Vec<Planned> {
    let tensors = file.tensors().iter();
    tensors
        .map(|info| Planned {
            name: info.name.clone(),
            dims: info.dims.clone(),
            sources: vec![info.name.clone()],
            interleaved_head: None,
            is_matrix: info.dims.len() > 1 && !info.name.contains("ffn_gate_inp"),
        })
        .collect()
}

/// The tensors of a folder.
pub(super) fn of_folder(source: &dyn Source, config: &Config) -> Result<Vec<Planned>, ConvertError> {
    let is_sparse = matches!(config.family, Family::Olmoe | Family::Qwen3Moe);
    if config.sparse_layers.iter().any(|sparse| *sparse != is_sparse) {
        return Err(ConvertError::Inexpressible {
            what: "both dense and sparse layers",
        });
    }
    let mut list = List {
        source,
        config,
        planned: Vec::new(),
    };
    let (d, v) = (config.d_model, config.vocab_size);
    list.global(Global::Embedding, &[v, d])?;
    for layer in 0..config.n_layers {
        list.attention(layer)?;
        list.feed_forward(layer, is_sparse)?;
    }
    list.global(Global::Norm, &[d])?;
    if !config.tied_head {
        list.global(Global::Head, &[v, d])?;
    }
    Ok(list.planned)
}

/// A line about tensors of the folder that the new file does not have, if there are any.
pub(super) fn unused(source: &dyn Source, planned: &[Planned], config: &Config) -> Option<String> {
    let used: BTreeSet<&str> = planned
        .iter()
        .flat_map(|tensor| tensor.sources.iter().map(String::as_str))
        .collect();
    // Rotary frequencies are computed, and a tied head is the embedding once more.
    let known = |name: &str| {
        name.ends_with("rotary_emb.inv_freq")
            || (config.tied_head && name == Naming::HuggingFace.global(Global::Head))
    };
    let unused: Vec<&str> = source
        .names()
        .into_iter()
        .filter(|name| !used.contains(name) && !known(name))
        .collect();
    let first = unused.first()?;
    Some(format!(
        "{} tensors of the folder are of no use to the family {} and are left out, the first is `{first}`",
        unused.len(),
        config.family.gguf_name()
    ))
}

struct List<'a> {
    source: &'a dyn Source,
    config: &'a Config,
    planned: Vec<Planned>,
}

impl List<'_> {
    fn global(&mut self, global: Global, shape: &[usize]) -> Result<(), ConvertError> {
        let source = Naming::HuggingFace.global(global).to_owned();
        self.add(Naming::Gguf.global(global).to_owned(), vec![source], shape)
    }

    /// A layer's weight with the ending `.weight` or `.bias`.
    fn part(&mut self, layer: usize, part: Part, ending: &str, shape: &[usize]) -> Result<(), ConvertError> {
        let name = |naming: Naming| format!("{}.{ending}", naming.stem(layer, part));
        self.add(name(Naming::Gguf), vec![name(Naming::HuggingFace)], shape)
    }

    fn norm(&mut self, layer: usize, part: Part, len: usize) -> Result<(), ConvertError> {
        self.part(layer, part, "weight", &[len])
    }

    fn matrix(&mut self, layer: usize, part: Part, shape: [usize; 2]) -> Result<(), ConvertError> {
        self.part(layer, part, "weight", &shape)
    }

    fn attention(&mut self, layer: usize) -> Result<(), ConvertError> {
        let config = self.config;
        let (d, d_query, d_key) = (config.d_model, config.q_width(), config.kv_width());
        match config.norm_placement {
            NormPlacement::Pre => self.norm(layer, Part::AttentionNorm, d)?,
            NormPlacement::Post => self.norm(layer, Part::AttentionPostNorm, d)?,
        }
        for (part, width) in [(Part::Query, d_query), (Part::Key, d_key), (Part::Value, d_key)] {
            self.matrix(layer, part, [width, d])?;
            let interleaved = config.family == Family::Llama && part != Part::Value;
            if let Some(last) = self.planned.last_mut().filter(|_| interleaved) {
                last.interleaved_head = Some(config.head_dim);
            }
            if config.attention_bias {
                self.part(layer, part, "bias", &[width])?;
            }
        }
        self.matrix(layer, Part::Output, [d, d_query])?;
        let (query_norm, key_norm) = match config.qk_norm {
            QkNorm::None => return Ok(()),
            QkNorm::WholeProjection => (d_query, d_key),
            QkNorm::PerHead => (config.head_dim, config.head_dim),
        };
        self.norm(layer, Part::QueryNorm, query_norm)?;
        self.norm(layer, Part::KeyNorm, key_norm)
    }

    fn feed_forward(&mut self, layer: usize, is_sparse: bool) -> Result<(), ConvertError> {
        let config = self.config;
        let d = config.d_model;
        match config.norm_placement {
            NormPlacement::Pre => self.norm(layer, Part::FeedForwardNorm, d)?,
            NormPlacement::Post => self.norm(layer, Part::FeedForwardPostNorm, d)?,
        }
        if !is_sparse {
            let f = config.d_ff;
            self.matrix(layer, Part::Gate, [f, d])?;
            self.matrix(layer, Part::Up, [f, d])?;
            return self.matrix(layer, Part::Down, [d, f]);
        }
        let (e, f) = (config.n_experts, config.d_ff_expert);
        self.matrix(layer, Part::Router, [e, d])?;
        if let Some(router) = self.planned.last_mut() {
            router.is_matrix = false;
        }
        self.experts(layer, Part::ExpertGate, [e, f, d])?;
        self.experts(layer, Part::ExpertUp, [e, f, d])?;
        self.experts(layer, Part::ExpertDown, [e, d, f])
    }

    fn experts(&mut self, layer: usize, part: Part, shape: [usize; 3]) -> Result<(), ConvertError> {
        let name = format!("{}.weight", Naming::Gguf.stem(layer, part));
        let sources = (0..shape[0]).filter_map(|expert| Naming::HuggingFace.expert(layer, part, expert));
        self.add(name, sources.collect(), &shape)
    }

    /// Adds a tensor of `shape` (rows first), whose sources are there and have the shape of a part.
    fn add(&mut self, name: String, sources: Vec<String>, shape: &[usize]) -> Result<(), ConvertError> {
        let of_source: Vec<u64> = shape
            .iter()
            .skip(usize::from(shape.len() == 3))
            .map(|e| *e as u64)
            .collect();
        for source in &sources {
            let found = self
                .source
                .tensor(source)
                .ok_or_else(|| LoadError::MissingTensor { name: source.clone() })?;
            if found.shape != of_source {
                return Err(ConvertError::Load(LoadError::Shape {
                    name: source.clone(),
                    expected: of_source,
                    found: found.shape,
                }));
            }
        }
        self.planned.push(Planned {
            name,
            dims: shape.iter().rev().map(|e| *e as u64).collect(),
            sources,
            interleaved_head: None,
            is_matrix: shape.len() > 1,
        });
        Ok(())
    }
}
