//! How text becomes terms of the word index: by the analyser alone, or by it and by the morphemes of a dictionary.
//!
//! The analyser's terms are always there, so that a dictionary only adds: whatever is found without one is found with it.
//! An index says by name which analysis made it, and is made anew when another one is in force.

use std::sync::Arc;

use tantivy::tokenizer::{Token, Tokenizer};

use crate::analyser::{ANALYSER_VERSION, Analyser, Tokens, fold};
use crate::dictionary::{Dictionary, content, sentences};

/// Changes whenever the same text and dictionary may give other morphemes; an index made with another version is rebuilt.
const MORPHEMES_VERSION: u32 = 1;
/// What stands in the name of an analysis with a dictionary, and of no other.
const WITH_MORPHEMES: &str = " morphemes ";
/// What the name of an index ends with to which documents were added by another analysis than its own.
const IN_PART: &str = " in part";
/// Name of the maker of morphemes inside the index.
pub(crate) const MORPHEMES_NAME: &str = "morphemes";

/// How text becomes terms.
#[derive(Debug, Clone)]
pub struct Analysis {
    name: String,
    dictionary: Option<Arc<Dictionary>>,
}

impl Default for Analysis {
    /// Without a dictionary.
    fn default() -> Self {
        Self {
            name: ANALYSER_VERSION.to_string(),
            dictionary: None,
        }
    }
}

impl Analysis {
    /// With the morphemes of a dictionary beside the analyser's terms.
    pub fn with_dictionary(dictionary: Dictionary) -> Self {
        let sha256 = dictionary.sha256();
        Self {
            name: format!("{ANALYSER_VERSION}{WITH_MORPHEMES}{MORPHEMES_VERSION} {sha256}"),
            dictionary: Some(Arc::new(dictionary)),
        }
    }

    /// What tells its terms from any other's.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a dictionary.
    pub(crate) fn has_morphemes(&self) -> bool {
        self.dictionary.is_some()
    }

    /// The morphemes of a text that say what it is about, in order; none without a dictionary.
    pub(crate) fn morphemes(&self, text: &str) -> Vec<String> {
        let folded: String = fold(text).into_iter().collect();
        self.morphemes_of_folded(&folded)
    }

    /// Those of text that [`fold`] has gone over.
    pub(crate) fn morphemes_of_folded(&self, folded: &str) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(dictionary) = &self.dictionary {
            for sentence in sentences(folded) {
                for morpheme in dictionary.morphemes(sentence) {
                    let surface = &sentence[morpheme.start..morpheme.end];
                    content::each(surface, morpheme.features, |word| {
                        found.extend(Analyser::whole(word));
                    });
                }
            }
        }
        found
    }

    /// What an index by this analysis is called, or by which name goes on one that `found` made, when documents are added
    /// by this one. Such documents have no morphemes, so that the index is as it should be for nobody any more.
    pub(crate) fn name_when_added_to(&self, found: &str) -> String {
        if found == self.name || !has_morphemes(found) || found.ends_with(IN_PART) {
            found.to_owned()
        } else {
            format!("{found}{IN_PART}")
        }
    }
}

/// Whether an index of this name has fields for morphemes.
pub(crate) fn has_morphemes(name: &str) -> bool {
    name.contains(WITH_MORPHEMES)
}

/// Gives an index the morphemes of its texts; `None` for one that another analysis made.
#[derive(Clone)]
pub(crate) struct MorphemeTokenizer {
    analysis: Option<Arc<Analysis>>,
    tokens: Vec<Token>,
}

impl MorphemeTokenizer {
    pub(crate) fn new(analysis: Option<Arc<Analysis>>) -> Self {
        Self {
            analysis,
            tokens: Vec::new(),
        }
    }
}

impl Tokenizer for MorphemeTokenizer {
    type TokenStream<'a> = Tokens<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Tokens<'a> {
        self.tokens.clear();
        if let Some(analysis) = &self.analysis {
            let morphemes = analysis.morphemes(text).into_iter().enumerate();
            self.tokens.extend(morphemes.map(|(position, text)| Token {
                offset_from: 0,
                offset_to: 0,
                position,
                text,
                position_length: 1,
            }));
        }
        Tokens::new(&mut self.tokens)
    }
}
