//! Output in a form that was asked for: JSON, a JSON schema, a regular expression or a grammar.
//!
//! The parsing is the llguidance library's (an Earley parser over a lexer of regular-expression derivatives); this
//! file gives it the tokens' bytes, and hostile input only within limits ([`limits`]) and on a stack that holds it.
//! What comes out is the set of tokens that may follow; choosing among them is the sampler's business. Forms of
//! tokens are free: any spelling of an allowed text is allowed, so a mask never forces the text through unlikely
//! tokens.

mod limits;
mod numbers;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{
    ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::token_set::TokenSet;
use crate::tokenizer::Tokenizer;
use numbers::Digits;

pub use limits::CONSTRAINT_BYTES_MAX;

/// Names that stand for one another may nest as deep as there are rules.
const STACK_BYTES: usize = 64 << 20;
/// The longest tokens the library's trie holds; longer ones are never allowed.
const TOKEN_BYTES_MAX: usize = 1000;
/// Bytes of all tokens together that its trie can number.
const VOCABULARY_BYTES_MAX: usize = 1 << 22;
/// Longest piece of the library's words in an error.
const REASON_CHARS_MAX: usize = 400;
/// First byte of what is no text for the library; it stands in no UTF-8 text.
const NO_TEXT: u8 = 0xFF;
/// White space between two parts of JSON: enough to indent, too little for a model to get lost in.
const WHITE_SPACE: &str = r"[\x20\x0A\x0D\x09]{1,20}";

/// The form that an output must have.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// Any JSON object.
    JsonObject,
    /// JSON for a schema.
    JsonSchema(Value),
    /// The whole output matches a regular expression (Rust's syntax: `\d` is any script's digit; nothing to look
    /// around).
    Regex(String),
    /// A context-free grammar in llguidance's dialect of Lark, beginning with the rule `start`.
    Grammar(String),
}

/// Why an output cannot be constrained so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConstraintError {
    /// Too long or too nested.
    #[error("the {what} has {found} {unit}; at most {limit} are taken")]
    TooLarge {
        /// Which kind of constraint.
        what: &'static str,
        /// What was counted.
        found: usize,
        /// What is counted.
        unit: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The compiler refuses it.
    #[error("the {what} is not accepted: {reason}")]
    Refused {
        /// Which kind of constraint.
        what: &'static str,
        /// The compiler's words.
        reason: String,
    },
    /// No grammar can work with this model's tokens.
    #[error("this model's vocabulary cannot be constrained: {reason}")]
    Vocabulary {
        /// Why.
        reason: String,
    },
    /// It was accepted, but a later step went beyond a limit.
    #[error("the output cannot be constrained any further: {reason}")]
    Step {
        /// The library's words.
        reason: String,
    },
    /// The system gives no thread to compile on.
    #[error("no thread to compile the grammar on; try again")]
    NoThread,
}

impl Constraint {
    /// What people call it.
    fn what(&self) -> &'static str {
        match self {
            Self::JsonObject | Self::JsonSchema(_) => "JSON schema",
            Self::Regex(_) => "regular expression",
            Self::Grammar(_) => "grammar",
        }
    }

    fn to_grammar(&self) -> Result<TopLevelGrammar, ConstraintError> {
        Ok(match self {
            Self::JsonObject => {
                TopLevelGrammar::from_json_schema(with_white_space(json!({"type": "object"})))
            }
            Self::JsonSchema(schema @ Value::Object(_)) => {
                let mut schema = with_white_space(schema.clone());
                numbers::move_bounds(&mut schema);
                TopLevelGrammar::from_json_schema(schema)
            }
            Self::JsonSchema(Value::Bool(true)) => {
                TopLevelGrammar::from_json_schema(with_white_space(json!({})))
            }
            Self::JsonSchema(_) => {
                return Err(ConstraintError::Refused {
                    what: self.what(),
                    reason: "a schema is a JSON object or `true`".to_owned(),
                });
            }
            Self::Regex(text) => TopLevelGrammar::from_regex(text),
            Self::Grammar(text) => TopLevelGrammar::from_lark(text.clone()),
        })
    }
}

/// Bounds the white space of a schema that does not choose its own.
fn with_white_space(mut schema: Value) -> Value {
    if let Value::Object(fields) = &mut schema {
        let options = fields
            .entry("x-guidance")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(options) = options
            && !options.contains_key("whitespace_flexible")
        {
            options
                .entry("whitespace_pattern")
                .or_insert_with(|| Value::String(WHITE_SPACE.to_owned()));
        }
    }
    schema
}

/// Compiles constraints for one vocabulary.
pub(crate) struct Compiler {
    factory: ParserFactory,
    vocabulary: TokEnv,
    /// Tokens that begin with a digit.
    leading_digits: Arc<TokenSet>,
    /// Held while one is compiled: many dear ones at once cost no more than one core.
    turn: Mutex<()>,
}

impl Compiler {
    /// Reads the bytes of all tokens below `n_sampleable`. Tokens of `end_ids` may follow where an output is
    /// complete; other special tokens never.
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        n_sampleable: usize,
        end_ids: &[u32],
    ) -> Result<Self, ConstraintError> {
        let refused = |reason: String| ConstraintError::Vocabulary { reason };
        let n_tokens = u32::try_from(n_sampleable).map_err(|error| refused(error.to_string()))?;
        let words: Vec<Vec<u8>> = (0..n_tokens).map(|id| word(tokenizer, id, end_ids)).collect();
        let n_bytes: usize = words.iter().map(Vec::len).sum();
        if n_bytes >= VOCABULARY_BYTES_MAX {
            let reason = format!("its tokens have {n_bytes} bytes, more than {VOCABULARY_BYTES_MAX}");
            return Err(refused(reason));
        }
        let ends: Vec<u32> = end_ids.iter().copied().filter(|&id| id < n_tokens).collect();
        let info = TokRxInfo::new(n_tokens, ends.first().copied().unwrap_or(INVALID_TOKEN));
        let mut trie = TokTrie::from(&info, &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| refused(reason(&error)))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            max_grammar_size: 100_000,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Self {
            factory,
            vocabulary: env,
            leading_digits: Arc::new(Digits::leading(&words)),
            turn: Mutex::default(),
        })
    }

    /// What bounds the digits of an output; only JSON's.
    fn digits(&self, constraint: &Constraint) -> Option<Digits> {
        let is_json = matches!(constraint, Constraint::JsonObject | Constraint::JsonSchema(_));
        is_json.then(|| Digits::new(Arc::clone(&self.vocabulary), Arc::clone(&self.leading_digits)))
    }

    /// Compiles a constraint and looks where it allows an output to begin.
    pub(crate) fn guide(&self, constraint: &Constraint) -> Result<Guide, ConstraintError> {
        limits::check(constraint)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let compile = || {
            let mut guide = Guide {
                matcher: Matcher::new(self.factory.create_parser(constraint.to_grammar()?)),
                next: TokenSet::default(),
                digits: self.digits(constraint),
            };
            let refused = |reason| ConstraintError::Refused {
                what: constraint.what(),
                reason,
            };
            if let Some(error) = guide.matcher.get_error() {
                return Err(refused(shortened(&error)));
            }
            guide.look().map_err(refused)?;
            Ok(guide)
        };
        thread::scope(|scope| {
            let builder = thread::Builder::new().stack_size(STACK_BYTES);
            let compiling = builder.spawn_scoped(scope, compile);
            let compiled = compiling.map_err(|_| ConstraintError::NoThread)?.join();
            compiled.unwrap_or_else(|_| {
                Err(ConstraintError::Refused {
                    what: constraint.what(),
                    reason: "the compiler met a bug in itself".to_owned(),
                })
            })
        })
    }
}

/// The bytes of a token as the library wants them; none for what may never stand in an output.
fn word(tokenizer: &Tokenizer, id: u32, end_ids: &[u32]) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id);
    if end_ids.contains(&id) {
        return [&[NO_TEXT], bytes].concat();
    }
    let never = tokenizer.is_special(id) || bytes.first() == Some(&NO_TEXT) || bytes.len() > TOKEN_BYTES_MAX;
    if never { Vec::new() } else { bytes.to_vec() }
}

/// One output on its way through a grammar.
pub struct Guide {
    matcher: Matcher,
    /// Tokens that may come next; only the end's when the output is complete.
    next: TokenSet,
    digits: Option<Digits>,
}

/// Independent of the one it is made from: nothing that either works out is shared.
impl Clone for Guide {
    fn clone(&self) -> Self {
        Self {
            matcher: self.matcher.deep_clone(),
            next: self.next.clone(),
            digits: self.digits.clone(),
        }
    }
}

impl Guide {
    /// The tokens that may come next; never empty.
    pub fn next(&self) -> &TokenSet {
        &self.next
    }

    /// Whether the output is complete and nothing may follow.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Takes the token that was chosen, which must be one of [`Self::next`].
    ///
    /// # Errors
    /// When the token is not allowed, or working out what may follow goes beyond a limit.
    pub fn accept(&mut self, id: u32) -> Result<(), ConstraintError> {
        let step = |reason| ConstraintError::Step { reason };
        self.matcher
            .consume_token(id)
            .map_err(|error| step(reason(&error)))?;
        if let Some(digits) = &mut self.digits {
            digits.read(id);
        }
        if !self.is_complete() {
            self.look().map_err(step)?;
        }
        Ok(())
    }

    /// Works out what may come next.
    fn look(&mut self) -> Result<(), String> {
        let mask = self
            .matcher
            .compute_mask_or_eos()
            .map_err(|error| reason(&error))?;
        let next = TokenSet::from_words(mask.into());
        self.next = match &self.digits {
            Some(digits) => digits.end(next),
            None => next,
        };
        if self.next.is_empty() && !self.is_complete() {
            return Err("no token of this vocabulary can follow".to_owned());
        }
        Ok(())
    }
}

impl std::fmt::Debug for Guide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guide")
            .field("is_complete", &self.is_complete())
            .finish_non_exhaustive()
    }
}

/// The library's words without its stack traces.
fn reason(error: &impl std::fmt::Display) -> String {
    shortened(&error.to_string())
}

fn shortened(text: &str) -> String {
    let text = text.split("<backtrace>").next().unwrap_or_default().trim();
    match text.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
