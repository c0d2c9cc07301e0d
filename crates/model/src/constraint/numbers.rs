//! Numbers in JSON: bounds that mean what they say, and digits that come to an end.

use std::sync::Arc;

use llguidance::toktrie::TokEnv;
use serde_json::Value;

use crate::token_set::TokenSet;

/// Digits in a row after which a number goes on otherwise if it can: more than any 64-bit number has.
const DIGITS_MAX: usize = 20;
/// How far an exclusive bound is moved, at least, and as a part of it: both can be told from it in an f64.
const STEP: (f64, f64) = (1e-9, 1e-12);
/// Keywords whose fields are schemas, whatever their names.
const NAMED_SCHEMAS: [&str; 5] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
];
/// Keywords whose values are no schemas.
const VALUES: [&str; 4] = ["const", "enum", "default", "examples"];

/// Moves whole exclusive bounds of numbers inwards. The library (1.9) takes such a bound itself for inside where the other
/// bound is less than 1 away: `-12` for numbers between -12.5 and -12.
pub(super) fn move_bounds(schema: &mut Value) {
    // Not recursive: schemas nest as their sender pleases.
    let mut waiting = vec![(schema, false)];
    while let Some((value, are_named)) = waiting.pop() {
        match value {
            Value::Array(items) => waiting.extend(items.iter_mut().map(|item| (item, false))),
            Value::Object(fields) => {
                let is_integer = fields.get("type").is_some_and(|of| of == "integer");
                for (key, value) in fields {
                    let key = key.as_str();
                    match (key, &*value) {
                        _ if are_named => waiting.push((value, false)),
                        ("exclusiveMinimum", Value::Number(_)) if !is_integer => move_bound(value, 1.0),
                        ("exclusiveMaximum", Value::Number(_)) if !is_integer => move_bound(value, -1.0),
                        _ if VALUES.contains(&key) => {}
                        _ => waiting.push((value, NAMED_SCHEMAS.contains(&key))),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn move_bound(bound: &mut Value, direction: f64) {
    let whole = bound.as_f64().filter(|bound| bound.fract() == 0.0);
    if let Some(whole) = whole {
        *bound = Value::from(whole + direction * STEP.0.max(whole.abs() * STEP.1));
    }
}

/// Keeps an output's numbers from going on for ever: JSON bounds neither digits nor decimals, and a model may like
/// zeros.
#[derive(Clone)]
pub(super) struct Digits {
    vocabulary: TokEnv,
    /// Tokens that begin with a digit.
    leading: Arc<TokenSet>,
    in_text: bool,
    is_escaped: bool,
    n_in_row: usize,
}

impl Digits {
    pub(super) fn new(vocabulary: TokEnv, leading: Arc<TokenSet>) -> Self {
        Self {
            vocabulary,
            leading,
            in_text: false,
            is_escaped: false,
            n_in_row: 0,
        }
    }

    /// The tokens that begin with a digit.
    pub(super) fn leading(words: &[Vec<u8>]) -> TokenSet {
        let begins = |word: &Vec<u8>| word.first().is_some_and(u8::is_ascii_digit);
        TokenSet::of(
            (0..)
                .zip(words)
                .filter(|(_, word)| begins(word))
                .map(|(id, _)| id),
        )
    }

    /// Reads the token that an output goes on with.
    pub(super) fn read(&mut self, id: u32) {
        for byte in self.vocabulary.tok_trie().token(id) {
            match (self.in_text, byte) {
                (true, _) if self.is_escaped => self.is_escaped = false,
                (true, b'\\') => self.is_escaped = true,
                (_, b'"') => (self.in_text, self.n_in_row) = (!self.in_text, 0),
                (false, b'0'..=b'9') => self.n_in_row += 1,
                (false, _) => self.n_in_row = 0,
                (true, _) => {}
            }
        }
    }

    /// What may follow, without further digits where there are enough and something else may follow, too.
    pub(super) fn end(&self, next: TokenSet) -> TokenSet {
        if self.n_in_row < DIGITS_MAX {
            return next;
        }
        let others = next.without(&self.leading);
        if others.is_empty() { next } else { others }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_whole_exclusive_bounds_of_numbers_are_moved() {
        let mut schema = json!({
            "exclusiveMinimum": 0, "exclusiveMaximum": 2.5, "minimum": 1,
            "properties": {
                "const": {"type": "number", "exclusiveMaximum": -12},
                "exclusiveMinimum": {"type": "integer", "exclusiveMinimum": 3},
            },
            "const": {"exclusiveMinimum": 5},
            "anyOf": [{"exclusiveMinimum": true}, {"exclusiveMinimum": 1e15}],
        });
        move_bounds(&mut schema);
        let wanted = json!({
            "exclusiveMinimum": 1e-9, "exclusiveMaximum": 2.5, "minimum": 1,
            "properties": {
                "const": {"type": "number", "exclusiveMaximum": -12.000_000_001},
                "exclusiveMinimum": {"type": "integer", "exclusiveMinimum": 3},
            },
            "const": {"exclusiveMinimum": 5},
            "anyOf": [{"exclusiveMinimum": true}, {"exclusiveMinimum": 1_000_000_000_001_000.0}],
        });
        assert_eq!(schema, wanted);
    }
}
