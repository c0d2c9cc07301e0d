//! A model's file or folder, opened: configuration and tensors, before any weight is read.
//!
//! Tells the two layouts apart by their contents; what the tensors are called follows from the layout.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use compute::{DType, KvDType, Pool, Precision};
use serde_json::Value;
use stdx::fs::FsError;
use weights::Source;
use weights::gguf::Gguf;
use weights::safetensors::{INDEX_NAME, SINGLE_NAME, SafeTensors};

use crate::config::Config;
use crate::decoder::{Arithmetic, Decoder, Loader, Naming};
use crate::error::LoadError;
use crate::memory::{self, Available};
use crate::packed::{self, PackOptions, Packed, WeightsIn};
use crate::residency::{self, EXPERTS_MIN, Pieces};

/// Context that is taken when the caller names none: more costs memory that few questions need.
pub(crate) const CONTEXT_DEFAULT_MAX: usize = 8192;
/// Bytes that a memory budget leaves for all besides weights, keys and values, at least: more than
/// [`memory::working_bytes`] of most models, since a budget must not be exceeded.
const WORKING_BYTES: u64 = 256 << 20;
/// Threads at most, whatever the caller asks for.
const THREADS_MAX: usize = 256;
/// The configuration of a checkpoint folder.
pub(crate) const CONFIG_FILE: &str = "config.json";

/// How a decoder is to run.
#[derive(Debug, Clone, Default)]
pub struct DecoderOptions {
    /// Threads; 0 takes one per available core.
    pub threads: usize,
    /// Arithmetic of the matrix products.
    pub precision: Precision,
    /// Context in tokens; `None` takes the model's own, at most 8192.
    pub context: Option<usize>,
    /// How keys and values are kept; with [`Precision::F32`] always as f32.
    pub kv: KvDType,
    /// Re-encode every matrix but routers in this type; matrices whose rows are not whole blocks stay as they are.
    pub recast: Option<DType>,
    /// Whether and where weights are kept in a packed file.
    pub pack: PackOptions,
    /// Bytes that the process may take with one full context; experts that do not fit are read from the packed file
    /// when they are needed. `None` keeps all in memory.
    pub memory_budget: Option<u64>,
}

/// The two layouts.
pub(crate) enum Files {
    /// One GGUF file.
    Gguf(Gguf),
    /// A folder with `config.json` and safetensors.
    Folder(SafeTensors),
}

/// A model whose weights have not been read yet.
pub(crate) struct Opened {
    pub(crate) config: Config,
    pub(crate) files: Files,
    path: PathBuf,
}

impl Opened {
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        if !stdx::fs::metadata(path)?.is_dir() {
            let file = Gguf::open(path)?;
            let config = Config::from_gguf(&file)?;
            return Ok(Self {
                config,
                files: Files::Gguf(file),
                path: path.to_owned(),
            });
        }
        let config_path = path.join(CONFIG_FILE);
        if stdx::fs::metadata(&config_path).is_err() {
            return Err(LoadError::NotAModel {
                path: path.to_owned(),
            });
        }
        let config = Config::from_json(&stdx::fs::read_to_string(&config_path)?)?;
        let files = Files::Folder(SafeTensors::open(path)?);
        Ok(Self {
            config,
            files,
            path: path.to_owned(),
        })
    }

    pub(crate) fn source(&self) -> &dyn Source {
        match &self.files {
            Files::Gguf(file) => file,
            Files::Folder(tensors) => tensors,
        }
    }

    /// The files with weights: all parts of a split model; of a folder whose index names shards, those.
    pub(crate) fn weight_files(&self) -> Vec<PathBuf> {
        if let Files::Gguf(file) = &self.files {
            return file.paths().to_vec();
        }
        let index = stdx::fs::read_to_string(self.path.join(INDEX_NAME)).ok();
        let index: Option<Value> = index.and_then(|text| serde_json::from_str(&text).ok());
        let shards = index.as_ref().and_then(|index| index["weight_map"].as_object());
        let Some(shards) = shards else {
            return vec![self.path.join(SINGLE_NAME)];
        };
        // The folder was opened, so the names have been checked to lie within it.
        let mut files: Vec<PathBuf> = shards
            .values()
            .filter_map(|name| Some(self.path.join(name.as_str()?)))
            .collect();
        files.sort();
        files.dedup();
        files
    }

    /// Elements of all tensors.
    pub(crate) fn n_parameters(&self) -> u64 {
        let source = self.source();
        let tensors = source.names().into_iter().filter_map(|name| source.tensor(name));
        tensors.map(|tensor| tensor.shape.iter().product::<u64>()).sum()
    }

    /// Bytes of all tensors as they are stored, which is what they take in memory.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let source = self.source();
        let tensors = source.names().into_iter().filter_map(|name| source.tensor(name));
        tensors.map(|tensor| tensor.n_bytes).sum()
    }

    /// The context in force when the caller wants `context` tokens.
    pub(crate) fn context(&self, context: Option<usize>) -> usize {
        let own = self.config.context;
        context.map_or(own.min(CONTEXT_DEFAULT_MAX), |wanted| wanted.min(own))
    }

    /// Bytes of keys and values that one token adds.
    fn token_bytes(&self, options: &DecoderOptions) -> u64 {
        let elements = memory::cache_elements(&self.config);
        match (options.precision, options.kv) {
            (Precision::F32, _) | (_, KvDType::F32) => elements * 4,
            (_, KvDType::F16) => elements * 2,
            // A scale for every 32.
            (_, KvDType::Q8_0) => elements + elements / 8,
        }
    }

    /// How many experts to keep in memory so that the process takes no more than `budget`; `None` if all fit.
    fn experts_within(
        &self,
        budget: u64,
        options: &DecoderOptions,
        loader: &Loader<'_>,
        packed: &Result<Packed, String>,
    ) -> Result<Option<usize>, LoadError> {
        let (context, token_bytes) = (self.context(options.context), self.token_bytes(options));
        let cache_bytes = token_bytes.saturating_mul(context as u64);
        let working_bytes = WORKING_BYTES.max(memory::working_bytes(&self.config));
        let others = cache_bytes.saturating_add(working_bytes);
        if self.weight_bytes().saturating_add(others) <= budget {
            return Ok(None);
        }
        let config = &self.config;
        let sparse: Vec<usize> = (0..config.n_layers)
            .filter(|layer| config.is_sparse_layer(*layer))
            .collect();
        if sparse.is_empty() {
            let reason = "it is a dense model, which needs all weights for every token".to_owned();
            return Err(LoadError::NotOnDemand { reason });
        }
        if let Err(reason) = packed {
            let reason = reason.clone();
            return Err(LoadError::NotOnDemand { reason });
        }
        let pieces: Result<Vec<Pieces>, LoadError> =
            sparse.iter().map(|layer| loader.pieces(config, *layer)).collect();
        let pieces = pieces?;
        let slot_bytes = residency::slot_bytes(&pieces) as u64;
        let of_all = pieces
            .iter()
            .flatten()
            .map(|piece| piece.length * config.n_experts);
        let fixed = self.weight_bytes().saturating_sub(of_all.sum::<usize>() as u64);
        let least = fixed + EXPERTS_MIN as u64 * slot_bytes;
        let needed_bytes = least.saturating_add(others);
        if needed_bytes > budget {
            let left = budget.saturating_sub(least.saturating_add(working_bytes)) / token_bytes.max(1);
            return Err(LoadError::Budget {
                budget_bytes: budget,
                needed_bytes,
                cache_bytes,
                context,
                context_fits: usize::try_from(left).ok().filter(|tokens| *tokens > 0),
            });
        }
        let n_slots = (budget - fixed - others) / slot_bytes;
        let n_all = sparse.len() * config.n_experts;
        Ok(Some(
            usize::try_from(n_slots)
                .map_or(n_all, |n| n.min(n_all))
                .max(EXPERTS_MIN),
        ))
    }

    /// Refuses what would not fit into `memory`: the kernel would end the process half way.
    ///
    /// Counted is what one sequence of full length needs for certain: weights, its keys and values, working memory.
    /// More is taken only when it is used: what is kept of prompts is a quarter of the free memory at most and makes room
    /// for running sequences; each further sequence takes what its text fills.
    fn check_memory(&self, options: &DecoderOptions, memory: Available) -> Result<(), LoadError> {
        let weight_bytes = self.weight_bytes();
        let context = self.context(options.context);
        let token_bytes = self.token_bytes(options);
        let cache_bytes = token_bytes.saturating_mul(context as u64);
        let fixed_bytes = memory::working_bytes(&self.config);
        let rotation_bytes = memory::rotation_bytes(&self.config);
        let working_bytes = memory::working_bytes_with(&self.config, context);
        let needed_bytes = weight_bytes
            .saturating_add(cache_bytes)
            .saturating_add(working_bytes);
        if needed_bytes <= memory.bytes {
            return Ok(());
        }
        let rest = memory.bytes.checked_sub(weight_bytes.saturating_add(fixed_bytes));
        let per_token = token_bytes.saturating_add(rotation_bytes).max(1);
        let fits = rest.and_then(|rest| usize::try_from(rest / per_token).ok());
        Err(LoadError::Memory {
            weight_bytes,
            cache_bytes,
            working_bytes,
            context,
            available_bytes: memory.bytes,
            limited_by: memory.limited_by,
            context_fits: fits.filter(|tokens| *tokens > 0),
        })
    }

    pub(crate) fn decoder(&self, options: &DecoderOptions) -> Result<Decoder, LoadError> {
        let available = Available::now();
        if let (Some(memory), None) = (available, options.memory_budget) {
            self.check_memory(options, memory)?;
        }
        let packed = self.packed(options);
        let loader = Loader {
            packed: packed.as_ref().ok(),
            ..self.loader(options)
        };
        let n_kept = match options.memory_budget {
            None => None,
            Some(budget) => {
                let budget = available.map_or(budget, |memory| budget.min(memory.bytes));
                self.experts_within(budget, options, &loader, &packed)?
            }
        };
        self.keeping(options, &packed, n_kept)
    }

    /// The decoder with all weights in memory, or with so many experts.
    pub(crate) fn keeping(
        &self,
        options: &DecoderOptions,
        packed: &Result<Packed, String>,
        n_kept: Option<usize>,
    ) -> Result<Decoder, LoadError> {
        let loader = Loader {
            packed: packed.as_ref().ok(),
            on_demand: n_kept.is_some(),
            ..self.loader(options)
        };
        let arithmetic = Arithmetic {
            context: self.context(options.context),
            precision: options.precision,
            kv: options.kv,
            pool: Arc::new(pool(options.threads)),
            weights_in: match packed {
                Ok(packed) => WeightsIn::PackedFile(packed.path().to_owned()),
                Err(reason) => WeightsIn::Memory(reason.clone()),
            },
            mapped: packed.as_ref().ok().map(Packed::map),
            on_demand: packed
                .as_ref()
                .ok()
                .map(|packed| packed.path().to_owned())
                .zip(n_kept),
        };
        Decoder::load(self.config.clone(), &loader, arithmetic)
    }

    fn loader(&self, options: &DecoderOptions) -> Loader<'_> {
        Loader {
            source: self.source(),
            naming: match &self.files {
                Files::Gguf(_) => Naming::Gguf,
                Files::Folder(_) => Naming::HuggingFace,
            },
            recast: options.recast,
            packed: None,
            on_demand: false,
            sink: None,
        }
    }

    /// A hash that changes when the weights do: of the name, length, time of change, first bytes (where its tables are)
    /// and samples of each file that holds some, all parts of a split model included. Hashing all of it would take longer
    /// than loading it.
    pub(crate) fn identity(&self) -> Result<String, FsError> {
        let mut told = Vec::new();
        for file in self.weight_files() {
            describe(&file, &mut told)?;
        }
        Ok(stdx::hash::sha256_hex(&told))
    }

    /// The packed file, made first where it is missing; the error says why there is none.
    pub(crate) fn packed(&self, options: &DecoderOptions) -> Result<Packed, String> {
        if options.recast.is_some() {
            return Err("re-encoded weights are never packed".into());
        }
        if options.pack.folder.is_none() {
            return Err("no folder for packed files is set".into());
        }
        let source = stdx::fs::canonicalize(&self.path).map_err(|error| error.to_string())?;
        let identity = self.identity().map_err(|error| error.to_string())?;
        packed::open_or_make(&options.pack, &identity, &source, self.weight_bytes(), |writer| {
            let loader = Loader {
                sink: Some(writer),
                ..self.loader(options)
            };
            Decoder::pack(&self.config, &loader).map_err(|error| error.to_string())
        })
    }
}

/// Appends what [`Opened::identity`] looks at in one file.
fn describe(path: &Path, told: &mut Vec<u8>) -> Result<(), FsError> {
    const HEAD_BYTES: u64 = 64 << 10;
    const SAMPLES: u64 = 64;
    const SAMPLE_BYTES: u64 = 256;
    let metadata = stdx::fs::metadata(path)?;
    let changed = metadata
        .modified()
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let n_bytes = metadata.len();
    told.extend(format!("{name} {n_bytes} {changed:?}\n").into_bytes());
    let mut file = stdx::fs::open(path)?;
    let starts = (1..=SAMPLES).map(|i| (n_bytes / (SAMPLES + 1) * i, SAMPLE_BYTES));
    for (start, length) in std::iter::once((0, HEAD_BYTES)).chain(starts) {
        let read = file
            .seek(SeekFrom::Start(start))
            .and_then(|_| (&mut file).take(length).read_to_end(told));
        read.map_err(|source| FsError::new("read", path, source))?;
    }
    Ok(())
}

impl Decoder {
    /// Opens a GGUF file or a checkpoint folder and reads its weights; no tokenizer is needed.
    ///
    /// # Errors
    /// When the files are unreadable, incomplete or of a kind that is not supported.
    pub fn open(path: &Path, options: &DecoderOptions) -> Result<Self, LoadError> {
        Opened::open(path)?.decoder(options)
    }
}

/// A pool of so many threads; 0 takes one per available core.
pub(crate) fn pool(threads: usize) -> Pool {
    Pool::new(n_threads(threads))
}

/// So many threads, within what is sensible; 0 stands for one per available core.
pub(crate) fn n_threads(threads: usize) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let n = if threads == 0 { available() } else { threads };
    n.min(THREADS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::Spec;

    fn refusal(available: u64, context: Option<usize>) -> Option<LoadError> {
        let opened = Opened::open(&testkit::fixture_dir("olmoe")).unwrap();
        let options = DecoderOptions {
            context,
            ..DecoderOptions::default()
        };
        let memory = Available {
            bytes: available,
            limited_by: "free memory",
        };
        opened.check_memory(&options, memory).err()
    }

    #[test]
    fn a_model_that_does_not_fit_is_refused_with_the_numbers_and_what_would_fit() {
        let opened = Opened::open(&testkit::fixture_dir("olmoe")).unwrap();
        let (weights, working) = (opened.weight_bytes(), memory::working_bytes(&opened.config));
        // Three layers, four heads of 16, keys and values, two bytes each; and a rotation of 16.
        let (token, rotation) = (3 * 4 * 16 * 2 * 2, 16 * 4);
        let with = |n: u64| weights + working + n * (token + rotation);
        assert!(refusal(with(512), None).is_none());
        let error = refusal(with(100), None).unwrap();
        assert!(
            matches!(error, LoadError::Memory { context: 512, context_fits: Some(100), cache_bytes, working_bytes, .. }
                if cache_bytes == 512 * token && working_bytes == working + 512 * rotation),
            "{error}"
        );
        let parts = [
            weights + working + 512 * (token + rotation),
            weights,
            512 * token,
            working + 512 * rotation,
            with(100),
        ];
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(&memory::shown(part)), "{part} in: {text}");
        }
        assert!(
            text.contains("a context of 512 tokens") && text.contains("free memory"),
            "{text}"
        );
        assert!(refusal(with(100), Some(100)).is_none());
        assert!(refusal(with(100), Some(101)).is_some());
        // Weights and a context alone are not enough.
        assert!(refusal(weights + 512 * token, None).is_some());
        let error = refusal(with(0), Some(1)).unwrap();
        assert!(
            matches!(
                error,
                LoadError::Memory {
                    context_fits: None,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn working_memory_is_about_what_was_measured() {
        // OLMoE-1B-7B takes 0.14 GB besides its file and a full context (docs/performance.md).
        let spec = Spec::by_name("olmoe-1b-7b").unwrap();
        let large = memory::working_bytes(&spec.config);
        assert!((100_000_000..200_000_000).contains(&large), "{large}");
        let opened = Opened::open(&testkit::fixture_dir("llama")).unwrap();
        let small = memory::working_bytes(&opened.config);
        assert!(small < 20_000_000, "{small}");
    }
}
