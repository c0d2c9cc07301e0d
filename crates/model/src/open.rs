//! A model's file or folder, opened: configuration and tensors, before any weight is read.
//!
//! Tells the two layouts apart by their contents; what the tensors are called follows from the layout.

use std::path::Path;
use std::sync::Arc;

use compute::{DType, KvDType, Pool, Precision};
use weights::Source;
use weights::gguf::Gguf;
use weights::safetensors::SafeTensors;

use crate::config::Config;
use crate::decoder::{Arithmetic, Decoder, Loader, Naming};
use crate::error::LoadError;

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
}

impl Opened {
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        if !stdx::fs::metadata(path)?.is_dir() {
            let file = Gguf::open(path)?;
            let config = Config::from_gguf(&file)?;
            return Ok(Self {
                config,
                files: Files::Gguf(file),
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
        Ok(Self { config, files })
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

    pub(crate) fn decoder(&self, options: &DecoderOptions) -> Result<Decoder, LoadError> {
        let loader = Loader {
            source: self.source(),
            naming: match &self.files {
                Files::Gguf(_) => Naming::Gguf,
                Files::Folder(_) => Naming::HuggingFace,
            },
            recast: options.recast,
        };
        let own = self.config.context.min(CONTEXT_DEFAULT_MAX);
        let arithmetic = Arithmetic {
            context: options.context.unwrap_or(own),
            precision: options.precision,
            kv: options.kv,
            pool: Arc::new(pool(options.threads)),
        };
        Decoder::load(self.config.clone(), &loader, arithmetic)
    }
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
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let n = if threads == 0 { available() } else { threads };
    Pool::new(n.min(THREADS_MAX))
}
