//! A model's file or folder, opened: configuration and tensors, before any weight is read.
//!
//! Tells the two layouts apart by their contents; what the tensors are called follows from the layout.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use compute::{DType, KvDType, Pool, Precision};
use weights::Source;
use weights::gguf::Gguf;
use weights::safetensors::SafeTensors;

use crate::config::Config;
use crate::decoder::{Arithmetic, Decoder, Loader, Naming};
use crate::error::LoadError;
use crate::memory::{self, Available};
use crate::packed::{self, PackOptions, Packed, WeightsIn};

/// Context that is taken when the caller names none: more costs memory that few questions need.
pub(crate) const CONTEXT_DEFAULT_MAX: usize = 8192;
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

    /// Refuses what would not fit into `memory`: the kernel would end the process half way.
    fn check_memory(&self, options: &DecoderOptions, memory: Available) -> Result<(), LoadError> {
        let weight_bytes = self.weight_bytes();
        let context = self.context(options.context);
        let elements = memory::cache_elements(&self.config);
        let token_bytes = match (options.precision, options.kv) {
            (Precision::F32, _) | (_, KvDType::F32) => elements * 4,
            (_, KvDType::F16) => elements * 2,
            // A scale for every 32.
            (_, KvDType::Q8_0) => elements + elements / 8,
        };
        let cache_bytes = token_bytes.saturating_mul(context as u64);
        if weight_bytes.saturating_add(cache_bytes) <= memory.bytes {
            return Ok(());
        }
        let rest = memory.bytes.checked_sub(weight_bytes);
        let fits = rest.and_then(|rest| usize::try_from(rest / token_bytes.max(1)).ok());
        Err(LoadError::Memory {
            weight_bytes,
            cache_bytes,
            context,
            available_bytes: memory.bytes,
            limited_by: memory.limited_by,
            context_fits: fits.filter(|tokens| *tokens > 0),
        })
    }

    pub(crate) fn decoder(&self, options: &DecoderOptions) -> Result<Decoder, LoadError> {
        if let Some(memory) = Available::now() {
            self.check_memory(options, memory)?;
        }
        let packed = self.packed(options);
        let loader = Loader {
            packed: packed.as_ref().ok(),
            ..self.loader(options)
        };
        let arithmetic = Arithmetic {
            context: self.context(options.context),
            precision: options.precision,
            kv: options.kv,
            pool: Arc::new(pool(options.threads)),
            weights_in: match &packed {
                Ok(packed) => WeightsIn::PackedFile(packed.path().to_owned()),
                Err(reason) => WeightsIn::Memory(reason.clone()),
            },
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
            sink: None,
        }
    }

    /// The packed file, made first where it is missing; the error says why there is none.
    fn packed(&self, options: &DecoderOptions) -> Result<Packed, String> {
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

    /// A hash that changes when the weights do: of each file's name, length, time of change, first bytes (where its
    /// tables are) and samples. Hashing all of it would take longer than loading it.
    fn identity(&self) -> Result<String, stdx::fs::FsError> {
        let mut files = match self.path.is_dir() {
            true => stdx::fs::read_dir(&self.path)?,
            false => vec![self.path.clone()],
        };
        files.retain(|file| {
            file.extension()
                .is_some_and(|e| e == "safetensors" || e == "gguf")
        });
        if files.is_empty() {
            files.push(self.path.clone());
        }
        files.sort();
        let mut told = Vec::new();
        for file in &files {
            describe(file, &mut told)?;
        }
        Ok(stdx::hash::sha256_hex(&told))
    }
}

/// Appends what [`Opened::identity`] looks at in one file.
fn describe(path: &Path, told: &mut Vec<u8>) -> Result<(), stdx::fs::FsError> {
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
        read.map_err(|source| stdx::fs::FsError::new("read", path, source))?;
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
        let weights = Opened::open(&testkit::fixture_dir("olmoe"))
            .unwrap()
            .weight_bytes();
        // Three layers, four heads of 16, keys and values, two bytes each.
        let token = 3 * 4 * 16 * 2 * 2;
        assert!(refusal(weights + 512 * token, None).is_none());
        let error = refusal(weights + 100 * token, None).unwrap();
        assert!(
            matches!(error, LoadError::Memory { context: 512, context_fits: Some(100), cache_bytes, .. }
                if cache_bytes == 512 * token),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("a context of 512 tokens") && text.contains("free memory"),
            "{text}"
        );
        assert!(refusal(weights + 100 * token, Some(100)).is_none());
        assert!(refusal(weights + 100 * token, Some(101)).is_some());
        let error = refusal(weights - 1, Some(1)).unwrap();
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
}
