//! A loaded model: decoder, tokenizer and chat template together, shared by everybody who generates.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use compute::{KvDType, Precision};
use weights::safetensors::INDEX_NAME;

use crate::cache::KvCache;
use crate::constraint::{Compiler, Constraint, ConstraintError, Guide};
use crate::decoder::{Decoder, Input, RouterStatistics, Scratch, WantedLogits};
use crate::error::{ForwardError, LoadError};
use crate::open::{DecoderOptions, Files, Opened};
use crate::packed::PackOptions;
use crate::residency::ResidencyStats;
use crate::template::{ChatTemplate, TemplateError};
use crate::tokenizer::Tokenizer;

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// An end-of-sequence token, or a grammar after which nothing may follow.
    EndOfSequence,
    /// One of the stop texts.
    StopText,
    /// The limit of new tokens or the end of the context.
    Length,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// "system", "user" or "assistant".
    pub role: String,
    /// Its text.
    pub content: String,
}

/// Options of [`Model::load`].
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Threads; 0 takes one per available core.
    pub threads: usize,
    /// f32 arithmetic on dequantised weights instead of the native integer kernels.
    pub precision: Precision,
    /// Context in tokens, never more than the model's own; `None` takes that, at most 8192.
    pub context: Option<usize>,
    /// Whether and where weights are kept in a packed file.
    pub pack: PackOptions,
    /// How keys and values are kept; with [`Precision::F32`] always as f32.
    pub kv: KvDType,
    /// Bytes that the process may take with one full context; experts that do not fit are read from the packed file
    /// when they are needed. `None` keeps all in memory.
    pub memory_budget: Option<u64>,
}

/// A loaded model. Shared between threads; what belongs to one sequence lies in its [`KvCache`].
pub struct Model {
    path: PathBuf,
    name: String,
    sha256: OnceLock<String>,
    /// Of the weights; see `Opened::identity`.
    identity: String,
    languages: Vec<String>,
    n_parameters: u64,
    decoder: Decoder,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    end_ids: Vec<u32>,
    /// Made when the first constraint comes: it reads the whole vocabulary.
    compiler: OnceLock<Result<Compiler, ConstraintError>>,
}

impl Model {
    /// Loads a GGUF file, or a folder with `config.json`, safetensors and `tokenizer.json`.
    ///
    /// # Errors
    /// When the files are unreadable, incomplete or of a kind that is not supported.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Arc<Self>, LoadError> {
        let opened = Opened::open(path)?;
        let described = Described::read(path, &opened)?;
        let decoder = opened.decoder(&DecoderOptions {
            threads: options.threads,
            precision: options.precision,
            context: options.context,
            kv: options.kv,
            recast: None,
            pack: options.pack.clone(),
            memory_budget: options.memory_budget,
        })?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            name: described.name,
            sha256: OnceLock::new(),
            identity: opened.identity()?,
            languages: described.languages,
            n_parameters: opened.n_parameters(),
            end_ids: opened.config.end_ids(Some(&described.tokenizer)),
            decoder,
            tokenizer: described.tokenizer,
            template: described.template,
            compiler: OnceLock::new(),
        }))
    }

    /// The model's name: `general.name`, else the file's stem.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the file, computed when first asked for; of a folder, of its safetensors file or its index.
    /// Empty if the file cannot be read any more.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| {
            let index = self.path.join(INDEX_NAME);
            let file = match (self.path.is_dir(), index.is_file()) {
                (false, _) => self.path.clone(),
                (true, true) => index,
                (true, false) => self.path.join(weights::safetensors::SINGLE_NAME),
            };
            stdx::hash::sha256_file(file).unwrap_or_default()
        })
    }

    /// Languages the file declares (`general.languages`), as ISO 639-1; empty when it declares none.
    pub fn languages(&self) -> &[String] {
        &self.languages
    }

    /// Context in tokens.
    pub fn context(&self) -> usize {
        self.decoder.context()
    }

    /// Parameters.
    pub fn n_parameters(&self) -> u64 {
        self.n_parameters
    }

    /// Token ids of a text, no special tokens added; text that looks like a special token stays text.
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode_plain(text)
    }

    /// Token ids of a rendered chat prompt: special tokens in it are recognised, but not those that were part of a
    /// message.
    pub fn tokenize_prompt(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode_prompt(text)
    }

    /// Text of token ids, special tokens left out.
    pub fn detokenize(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, true)
    }

    /// Renders the chat template with a generation prompt at the end.
    ///
    /// # Errors
    /// When the model has no chat template or the template refuses the messages.
    pub fn render_chat(&self, messages: &[ChatMessage]) -> Result<String, TemplateError> {
        let template = self.template.as_ref().ok_or(TemplateError::Absent)?;
        template.render(messages, &self.tokenizer)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The decoder.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Bytes that a token stands for; none for special tokens.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        if self.tokenizer.is_special(id) {
            &[]
        } else {
            self.tokenizer.token_bytes(id)
        }
    }

    /// Whether a token ends a text.
    pub fn is_end_of_sequence(&self, id: u32) -> bool {
        self.end_ids.contains(&id)
    }

    /// Tokens below this id may be chosen; the rest are padding.
    pub fn n_sampleable(&self) -> usize {
        let n_tokens = self.tokenizer.vocab_size();
        self.decoder.config().n_sampleable().min(n_tokens).max(1)
    }

    /// Compiles a constraint for one output.
    ///
    /// # Errors
    /// When it is too large, the compiler refuses it, or this model's tokens cannot be constrained.
    pub fn guide(&self, constraint: &Constraint) -> Result<Guide, ConstraintError> {
        let compiler = self
            .compiler
            .get_or_init(|| Compiler::new(&self.tokenizer, self.n_sampleable(), &self.end_ids));
        compiler.as_ref().map_err(Clone::clone)?.guide(constraint)
    }

    /// An empty cache for a new sequence.
    pub fn new_cache(&self) -> KvCache {
        self.decoder.new_cache()
    }

    /// One step of one or more sequences; the logits lie in `scratch`.
    ///
    /// # Errors
    /// When tokens are unknown or don't fit the context; then nothing has changed.
    pub fn forward(&self, inputs: &mut [Input<'_>], scratch: &mut Scratch) -> Result<(), ForwardError> {
        self.decoder.forward(inputs, scratch, None)
    }

    /// A hash of all that keys and values depend on besides the tokens: weights, configuration, arithmetic, type.
    pub fn kv_identity(&self) -> [u8; 32] {
        kv_identity(&self.identity, &self.decoder)
    }

    /// How the experts that are read on demand fare; `None` where all weights are in memory.
    pub fn residency(&self) -> Option<ResidencyStats> {
        self.decoder.residency()
    }

    /// How often each expert was chosen since loading.
    pub fn router_statistics(&self) -> &RouterStatistics {
        self.decoder.router_statistics()
    }
}

/// As [`Model::kv_identity`], with weights of this identity.
fn kv_identity(weights: &str, decoder: &Decoder) -> [u8; 32] {
    let (cache, level) = (decoder.new_cache(), compute::Isa::active().level());
    // All of the configuration: a folder has it in a file of its own, which may change while the weights do not.
    let told = format!(
        "{weights} {} {} {} {:?} {:?}",
        cache.dtype().name(),
        cache.block_bytes(),
        level.name(),
        decoder.precision(),
        decoder.config()
    );
    stdx::hash::sha256(told.as_bytes())
}

/// What a file says besides weights.
struct Described {
    name: String,
    languages: Vec<String>,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

impl Described {
    fn read(path: &Path, opened: &Opened) -> Result<Self, LoadError> {
        match &opened.files {
            Files::Gguf(file) => {
                let metadata = file.metadata();
                let name = metadata.opt_text("general.name")?.filter(|name| !name.is_empty());
                Ok(Self {
                    name: name.map_or_else(|| text_of(path.file_stem()), str::to_owned),
                    languages: metadata
                        .opt_texts("general.languages")?
                        .unwrap_or_default()
                        .to_vec(),
                    tokenizer: Tokenizer::from_gguf(metadata)?,
                    template: ChatTemplate::from_gguf(metadata)?,
                })
            }
            Files::Folder(_) => Ok(Self {
                // Whole, because names of models have dots; resolved, because `.` is no name.
                name: text_of(stdx::fs::canonicalize(path)?.file_name()),
                languages: Vec::new(),
                tokenizer: Tokenizer::from_json_file(path.join("tokenizer.json"))?,
                template: ChatTemplate::from_folder(path)?,
            }),
        }
    }
}

fn text_of(name: Option<&OsStr>) -> String {
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// One sequence on its own: a model, its cache and its buffers.
pub struct Session {
    model: Arc<Model>,
    cache: KvCache,
    scratch: Scratch,
}

impl Session {
    /// A sequence without a past.
    pub fn new(model: Arc<Model>) -> Self {
        Self {
            cache: model.new_cache(),
            scratch: Scratch::default(),
            model,
        }
    }

    /// Tokens processed.
    pub fn n_tokens(&self) -> usize {
        self.cache.len()
    }

    /// Appends tokens and returns the logits after the last of them.
    ///
    /// # Errors
    /// When tokens are unknown or don't fit the context; then nothing has changed.
    pub fn forward(&mut self, tokens: &[u32]) -> Result<&[f32], ForwardError> {
        let input = Input {
            tokens,
            cache: &mut self.cache,
            logits: WantedLogits::Last,
        };
        self.model.forward(&mut [input], &mut self.scratch)?;
        Ok(self.scratch.logits(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::WeightsIn;
    use crate::synth::{self, Spec};

    fn is_shared<T: Send + Sync>(_: &T) {}

    #[test]
    fn a_synthetic_file_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        let options = synth::Options {
            dtype: compute::DType::Q4_0.into(),
            seed: 1,
        };
        let spec = Spec::by_name("tiny-olmoe").unwrap();
        stdx::fs::write(
            &path,
            synth::synth(&spec, &options, Vec::new(), &mut |_| {}).unwrap(),
        )
        .unwrap();
        let model = Model::load(
            &path,
            &LoadOptions {
                context: Some(100),
                threads: 1,
                ..Default::default()
            },
        )
        .unwrap();
        is_shared(&model);
        assert!(model.name().contains("tiny-olmoe"), "{}", model.name());
        assert_eq!(model.context(), 100);
        assert_eq!(model.sha256(), stdx::hash::sha256_file(&path).unwrap());
        assert!(model.n_parameters() > 100_000);
        let mut session = Session::new(Arc::clone(&model));
        assert_eq!(session.forward(&[1, 2, 3]).unwrap().len(), 512);
        assert_eq!(session.n_tokens(), 3);
        let chosen: u64 = model.router_statistics().layer(0).iter().sum();
        assert_eq!(chosen, 3 * 4, "four experts for each token");
    }

    #[test]
    fn packed_weights_give_the_same_logits_and_follow_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        let write = |seed| {
            let options = synth::Options {
                dtype: compute::DType::Q4_0.into(),
                seed,
            };
            let spec = Spec::by_name("tiny-olmoe").unwrap();
            let bytes = synth::synth(&spec, &options, Vec::new(), &mut |_| {}).unwrap();
            stdx::fs::write(&path, bytes).unwrap();
        };
        let packing = LoadOptions {
            threads: 1,
            pack: PackOptions {
                folder: Some(dir.path().join("packed")),
                even_small: true,
                ..PackOptions::default()
            },
            ..LoadOptions::default()
        };
        let logits = |options: &LoadOptions| {
            let model = Model::load(&path, options).unwrap();
            let mut session = Session::new(Arc::clone(&model));
            let logits = session.forward(&[1, 2, 3]).unwrap().to_vec();
            (model.decoder().weights_in().clone(), logits)
        };
        for seed in [1, 2] {
            write(seed);
            let (own, want) = logits(&LoadOptions::default());
            assert!(matches!(own, WeightsIn::Memory(_)));
            for _ in 0..2 {
                let (packed, got) = logits(&packing);
                assert!(matches!(packed, WeightsIn::PackedFile(_)), "{packed:?}");
                assert_eq!(got, want);
            }
        }
        let left = stdx::fs::read_dir(dir.path().join("packed")).unwrap();
        assert_eq!(left.len(), 1, "the file of the first version is gone: {left:?}");
    }

    #[test]
    fn keys_and_values_are_of_another_kind_when_the_configuration_changes() {
        let dir = tempfile::tempdir().unwrap();
        let from = testkit::fixture_dir("olmoe-gqa-renorm");
        let weights = stdx::fs::read(from.join("model.safetensors")).unwrap();
        stdx::fs::write(dir.path().join("model.safetensors"), weights).unwrap();
        let text = stdx::fs::read_to_string(from.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let identity = |key: &str, value: serde_json::Value| {
            let mut config = config.clone();
            config[key] = value;
            stdx::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
            let opened = Opened::open(dir.path()).unwrap();
            let decoder = opened.decoder(&DecoderOptions::default()).unwrap();
            kv_identity(&opened.identity().unwrap(), &decoder)
        };
        let same = || identity("initializer_range", 0.5.into());
        let mut all = vec![
            same(),
            identity(
                "rope_parameters",
                serde_json::json!({"rope_theta": 20_000.0, "rope_type": "default"}),
            ),
            identity("clip_qkv", 3.0.into()),
            identity("rms_norm_eps", 1e-4.into()),
            identity("norm_topk_prob", false.into()),
            identity("num_experts_per_tok", 3.into()),
        ];
        assert_eq!(all[0], same());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn a_hub_folder_is_a_model_too() {
        let Some(tokenizer) = testkit::need_data("fixtures/olmoe-tokenizer/tokenizer.json") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("Tiny-2.5");
        stdx::fs::create_dir_all(&folder).unwrap();
        for file in ["config.json", "model.safetensors"] {
            let bytes = stdx::fs::read(testkit::fixture_dir("olmoe").join(file)).unwrap();
            stdx::fs::write(folder.join(file), bytes).unwrap();
        }
        stdx::fs::write(folder.join("tokenizer.json"), stdx::fs::read(tokenizer).unwrap()).unwrap();
        let model = Model::load(&folder, &LoadOptions::default()).unwrap();
        assert_eq!(model.name(), "Tiny-2.5");
        assert_eq!(model.n_sampleable(), 512);
        assert_eq!(
            model.detokenize(&model.tokenize("Hello, world!")),
            "Hello, world!"
        );
    }
}
