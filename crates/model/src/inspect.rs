//! What a model file says about itself, without its weights: shape, types, tokenizer, template, needs.
//!
//! Numbers are facts of the file. What depends on the machine (speed, free memory) is for the caller to add.

mod conditions;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weights::gguf::Metadata;

use crate::config::Config;
use crate::error::LoadError;
use crate::memory;
use crate::open::{Files, Opened};
use crate::template::ChatTemplate;
use crate::tokenizer::{Tokenizer, TokenizerError};

pub use conditions::{Condition, ConditionKind};

/// Elements of a q8_0 block and its bytes.
const Q8_0_BLOCK: (u64, u64) = (32, 34);

/// Tensors of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub tensors: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The tokenizer, or why there is none that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerFacts {
    /// "gpt2" is byte-level BPE; as the file names it.
    pub kind: String,
    /// The splitting as GGUF names it; a folder's has no name.
    pub splitting: Option<String>,
    /// Tokens.
    pub n_tokens: usize,
    /// Why it cannot be used, if so.
    pub unusable: Option<String>,
}

/// The chat template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFacts {
    /// Length in bytes.
    pub bytes: usize,
    /// SHA-256 of its text.
    pub sha256: String,
    /// Conditions that look at what messages say: a template can treat chosen words in another way.
    pub conditions: Vec<Condition>,
}

/// A model as its files describe it.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// The name in the file, else the file's or folder's.
    pub name: String,
    /// The configuration.
    pub config: Config,
    /// The files that hold weights.
    pub files: Vec<PathBuf>,
    /// Elements of all tensors.
    pub n_parameters: u64,
    /// Elements that work on one token: all but the experts not chosen, and one row of an embedding of its own.
    pub n_active: u64,
    /// Tensors by type name.
    pub types: BTreeMap<&'static str, Share>,
    /// Bytes of all weights.
    pub weight_bytes: u64,
    /// Bytes that are read for one token besides keys and values.
    pub token_bytes: u64,
    /// The tokenizer; `None` if the files have none.
    pub tokenizer: Option<TokenizerFacts>,
    /// The file's own chat template; `None` if it has none.
    pub template: Option<TemplateFacts>,
    /// Tokens that end a text, with their text where the tokenizer is there.
    pub end_tokens: Vec<(u32, Option<String>)>,
}

impl Inspection {
    /// Looks at a GGUF file or a folder.
    ///
    /// # Errors
    /// When it is no model, or of a kind that is not supported.
    pub fn of(path: &Path) -> Result<Self, LoadError> {
        let opened = Opened::open(path)?;
        let config = opened.config.clone();
        let sizes = Sizes::of(&opened);
        let (tokenizer, facts) = match tokenizer(path, &opened) {
            None => (None, None),
            Some((found, facts)) => (found, Some(facts)),
        };
        let ends = config.end_ids(tokenizer.as_ref());
        let text = |id: u32| Some(tokenizer.as_ref()?.decode(&[id], false));
        Ok(Self {
            name: name(path, &opened),
            files: opened.weight_files(),
            n_parameters: opened.n_parameters(),
            n_active: sizes.n_active,
            types: sizes.types,
            weight_bytes: opened.weight_bytes(),
            token_bytes: sizes.token_bytes,
            tokenizer: facts,
            template: template(path, &opened)?.map(|source| TemplateFacts {
                bytes: source.len(),
                sha256: stdx::hash::sha256_hex(source.as_bytes()),
                conditions: conditions::on_content(&source),
            }),
            end_tokens: ends.into_iter().map(|id| (id, text(id))).collect(),
            config,
        })
    }

    /// The context taken when the caller wants `context` tokens; `None` takes the default.
    pub fn context(&self, context: Option<usize>) -> usize {
        let own = self.config.context;
        context.map_or(own.min(crate::open::CONTEXT_DEFAULT_MAX), |wanted| {
            wanted.min(own)
        })
    }

    /// Bytes that a process takes for so many tokens besides weights, keys and values.
    pub fn working_bytes(&self, context: usize) -> u64 {
        memory::working_bytes_with(&self.config, context)
    }

    /// Bytes of keys and values of so many tokens: in f16, and in q8_0.
    pub fn cache_bytes(&self, context: usize) -> (u64, u64) {
        let elements = memory::cache_elements(&self.config).saturating_mul(context as u64);
        let (block, bytes) = Q8_0_BLOCK;
        (
            elements.saturating_mul(2),
            elements.div_ceil(block).saturating_mul(bytes),
        )
    }
}

/// Sums over the tensor table.
#[derive(Default)]
struct Sizes {
    types: BTreeMap<&'static str, Share>,
    n_active: u64,
    token_bytes: u64,
}

impl Sizes {
    fn of(opened: &Opened) -> Self {
        let (config, source) = (&opened.config, opened.source());
        let mut sizes = Self::default();
        let tensors = source.names().into_iter().filter_map(|name| source.tensor(name));
        for tensor in tensors {
            let share = sizes.types.entry(tensor.ty.name()).or_default();
            share.tensors += 1;
            share.bytes += tensor.n_bytes;
            let n_elements: u64 = tensor.shape.iter().product();
            // Experts that were not chosen rest, and of an embedding of its own one row is read.
            let (used, of) = if tensor.name.contains("_exps.") || tensor.name.contains(".experts.") {
                (config.n_experts_used as u64, config.n_experts.max(1) as u64)
            } else if !config.tied_head && is_embedding(&tensor.name) {
                (1, config.vocab_size.max(1) as u64)
            } else {
                (1, 1)
            };
            sizes.n_active += part(n_elements, used, of);
            sizes.token_bytes += part(tensor.n_bytes, used, of);
        }
        sizes
    }
}

/// `n * used / of`; tensors can be too long for the product in 64 bits.
fn part(n: u64, used: u64, of: u64) -> u64 {
    let exact = u128::from(n) * u128::from(used) / u128::from(of.max(1));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

fn is_embedding(name: &str) -> bool {
    matches!(name, "token_embd.weight" | "model.embed_tokens.weight")
}

fn name(path: &Path, opened: &Opened) -> String {
    if let Files::Gguf(file) = &opened.files
        && let Ok(Some(name)) = file.metadata().opt_text("general.name")
        && !name.is_empty()
    {
        return name.to_owned();
    }
    let path = stdx::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn tokenizer(path: &Path, opened: &Opened) -> Option<(Option<Tokenizer>, TokenizerFacts)> {
    let (found, kind, splitting, n_tokens) = match &opened.files {
        Files::Gguf(file) => {
            let metadata = file.metadata();
            let kind = metadata
                .opt_text("tokenizer.ggml.model")
                .ok()
                .flatten()?
                .to_owned();
            if kind == "none" {
                return None;
            }
            (
                Tokenizer::from_gguf(metadata),
                kind,
                splitting(metadata),
                n_tokens(metadata),
            )
        }
        Files::Folder(_) => {
            let json = path.join("tokenizer.json");
            stdx::fs::metadata(&json).ok()?;
            (
                Tokenizer::from_json_file(json),
                "tokenizer.json".to_owned(),
                None,
                0,
            )
        }
    };
    let found: Result<Tokenizer, TokenizerError> = found;
    let unusable = found.as_ref().err().map(ToString::to_string);
    let found = found.ok();
    let facts = TokenizerFacts {
        kind,
        splitting,
        n_tokens: found.as_ref().map_or(n_tokens, Tokenizer::vocab_size),
        unusable,
    };
    Some((found, facts))
}

fn splitting(metadata: &Metadata) -> Option<String> {
    let name = metadata.opt_text("tokenizer.ggml.pre").ok().flatten();
    name.map(str::to_owned)
}

fn n_tokens(metadata: &Metadata) -> usize {
    let tokens = metadata.opt_texts("tokenizer.ggml.tokens").ok().flatten();
    tokens.map_or(0, <[String]>::len)
}

/// The files' own template; one that Hanok would take from the family instead does not count.
fn template(path: &Path, opened: &Opened) -> Result<Option<String>, LoadError> {
    match &opened.files {
        Files::Gguf(file) => {
            let text = file.metadata().opt_text("tokenizer.chat_template")?;
            Ok(text.filter(|text| !text.is_empty()).map(str::to_owned))
        }
        Files::Folder(_) => {
            let own = stdx::fs::metadata(path.join("chat_template.jinja")).is_ok()
                || stdx::fs::read_to_string(path.join("tokenizer_config.json"))
                    .is_ok_and(|text| text.contains("\"chat_template\""));
            let template = if own {
                ChatTemplate::from_folder(path)?
            } else {
                None
            };
            Ok(template.map(|template| template.source().to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{self, Spec};

    #[test]
    fn a_file_is_described_without_its_weights() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        let options = synth::Options {
            dtype: compute::DType::Q8_0.into(),
            seed: 1,
        };
        let spec = Spec::by_name("tiny-olmoe").unwrap();
        let bytes = synth::synth(&spec, &options, Vec::new(), &mut |_| {}).unwrap();
        stdx::fs::write(&path, &bytes).unwrap();
        let found = Inspection::of(&path).unwrap();
        assert_eq!(found.config, spec.config);
        assert_eq!(found.files, std::slice::from_ref(&path));
        assert_eq!(found.types.keys().copied().collect::<Vec<_>>(), ["f32", "q8_0"]);
        assert_eq!(
            found.types.values().map(|share| share.bytes).sum::<u64>(),
            found.weight_bytes
        );
        // Of each layer's experts a quarter works on a token, of the embedding one row.
        let experts = 3 * 3 * 16 * 64 * 32;
        let embedding = 512 * 64;
        assert_eq!(
            found.n_active,
            found.n_parameters - experts * 3 / 4 - embedding + 64
        );
        assert!(found.token_bytes < found.weight_bytes / 2);
        assert_eq!(found.context(None), 512);
        // Three layers, four heads of 16, keys and values.
        assert_eq!(found.cache_bytes(10), (10 * 384 * 2, 10 * 384 / 32 * 34));
        let tokenizer = found.tokenizer.unwrap();
        assert_eq!((tokenizer.kind.as_str(), tokenizer.n_tokens), ("gpt2", 512));
        assert_eq!(tokenizer.splitting.as_deref(), Some("olmo"));
        assert_eq!(tokenizer.unusable, None);
        assert_eq!(found.end_tokens, [(511, Some("<|endoftext|>".to_owned()))]);
        let template = found.template.expect("synthetic files have a chat template");
        assert_eq!(template.conditions, []);
    }

    #[test]
    fn a_folder_is_described_too() {
        let found = Inspection::of(&testkit::fixture_dir("qwen3moe")).unwrap();
        assert_eq!(found.name, "qwen3moe");
        let weights = testkit::fixture_dir("qwen3moe").join("model.safetensors");
        assert_eq!(found.files, [weights]);
        assert_eq!((found.tokenizer, found.template), (None, None));
        assert!(found.n_active < found.n_parameters / 2);
        assert_eq!(found.end_tokens, [(0, None)]);
    }
}
