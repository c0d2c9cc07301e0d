//! What is refused before the library sees it.
//!
//! Its own limits count the work on its automata, but not all of it: how long an expression takes to put together
//! grows with the square of its length, and remainders of a large divisor are walked through one by one.

use serde_json::Value;

use super::{Constraint, ConstraintError};

/// Longest constraint in bytes; a schema counts as its JSON text.
pub const CONSTRAINT_BYTES_MAX: usize = 64 << 10;
/// Longest grammar.
const GRAMMAR_BYTES_MAX: usize = 16 << 10;
/// Longest regular expression, and longest text in a schema, which may be one.
const REGEX_BYTES_MAX: usize = 4 << 10;
/// Brackets that may open in one constraint: each may nest the one before, and the parsers recurse.
const BRACKETS_MAX: usize = 4096;
/// The least common multiple of all `multipleOf` in a schema, in units of the finest: an automaton has a state for
/// each remainder, and a schema may ask for several at once.
const MULTIPLE_MAX: u64 = 10_000;
/// Decimals of a `multipleOf`.
const DECIMALS_MAX: usize = 4;

/// Refuses what is too large or too dear.
pub(super) fn check(constraint: &Constraint) -> Result<(), ConstraintError> {
    let (text, limit) = match constraint {
        Constraint::JsonObject => return Ok(()),
        Constraint::JsonSchema(schema) => (schema.to_string(), CONSTRAINT_BYTES_MAX),
        Constraint::Regex(text) => (text.clone(), REGEX_BYTES_MAX),
        Constraint::Grammar(text) => (text.clone(), GRAMMAR_BYTES_MAX),
    };
    let what = constraint.what();
    let within = |found: usize, unit, limit| {
        let error = ConstraintError::TooLarge {
            what,
            found,
            unit,
            limit,
        };
        if found > limit { Err(error) } else { Ok(()) }
    };
    within(text.len(), "bytes", limit)?;
    let opens = |byte: &u8| matches!(byte, b'(' | b'[' | b'{');
    within(text.bytes().filter(opens).count(), "brackets", BRACKETS_MAX)?;
    let refused = |reason: String| ConstraintError::Refused { what, reason };
    match constraint {
        Constraint::JsonSchema(schema) => {
            let mut multiples = Vec::new();
            within(walk(schema, &mut multiples), "bytes in one text", REGEX_BYTES_MAX)?;
            check_multiples(&multiples).map_err(refused)
        }
        Constraint::Grammar(text) if text.contains("%json") => Err(refused(
            "schemas inside grammars are not supported: send the schema itself".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// The longest text in a schema; collects its `multipleOf` numbers.
fn walk(schema: &Value, multiples: &mut Vec<String>) -> usize {
    let mut longest = 0;
    // Not recursive: schemas nest as their sender pleases.
    let mut waiting = vec![schema];
    while let Some(value) = waiting.pop() {
        match value {
            Value::String(text) => longest = longest.max(text.len()),
            Value::Array(items) => waiting.extend(items),
            Value::Object(fields) => {
                for (key, value) in fields {
                    longest = longest.max(key.len());
                    if let ("multipleOf", Value::Number(number)) = (key.as_str(), value) {
                        multiples.push(number.to_string());
                    }
                    waiting.push(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    longest
}

/// The decimals of a number as it is written, without zeros at the end.
fn decimals(text: &str) -> &str {
    text.split_once('.')
        .map_or("", |(_, after)| after.trim_end_matches('0'))
}

/// Bounds the divisors that a schema's numbers may have together.
fn check_multiples(multiples: &[String]) -> Result<(), String> {
    let mut least = 1;
    // All in units of the last decimal that any of them has.
    let finest = multiples
        .iter()
        .map(|text| decimals(text).len())
        .max()
        .unwrap_or(0);
    for text in multiples {
        let refused = || {
            format!(
                "`multipleOf` {text} is too fine or too large: all of them together may come to {MULTIPLE_MAX} \
                 steps, with at most {DECIMALS_MAX} decimals"
            )
        };
        if finest > DECIMALS_MAX {
            return Err(refused());
        }
        let whole = text.split('.').next().unwrap_or_default();
        let digits = format!("{whole}{:0<finest$}", decimals(text));
        let n: u64 = digits.parse().map_err(|_| refused())?;
        least = common_multiple(least, n)
            .filter(|n| *n <= MULTIPLE_MAX)
            .ok_or_else(refused)?;
    }
    Ok(())
}

/// The least common multiple; `None` if it is too large to write, or one is zero.
fn common_multiple(a: u64, b: u64) -> Option<u64> {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let multiple = a.checked_div(divisor)?.checked_mul(b)?;
    (multiple > 0).then_some(multiple)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(constraint: &Constraint) -> String {
        check(constraint).unwrap_err().to_string()
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_parsed() {
        let long = refusal(&Constraint::Regex("a".repeat(REGEX_BYTES_MAX + 1)));
        assert!(long.contains("4097 bytes"), "{long}");
        let nested = refusal(&Constraint::Grammar("(".repeat(BRACKETS_MAX + 1)));
        assert!(nested.contains("4097 brackets"), "{nested}");
        let pattern = json!({"items": [{"pattern": "a?".repeat(REGEX_BYTES_MAX)}]});
        assert!(refusal(&Constraint::JsonSchema(pattern)).contains("bytes in one text"));
        let inside = Constraint::Grammar("start: %json {}".into());
        assert!(refusal(&inside).contains("send the schema itself"));
    }

    #[test]
    fn divisors_are_bounded_together() {
        let of = |values: &Value| {
            let parts = values.as_array().unwrap().iter();
            let parts: Vec<Value> = parts.map(|value| json!({"multipleOf": value})).collect();
            check(&Constraint::JsonSchema(json!({"allOf": parts})))
        };
        for fine in [
            json!([]),
            json!([5, 10, 0.01]),
            json!([0.25, 1.0]),
            json!([1000, 7]),
            json!([10_000]),
        ] {
            assert!(of(&fine).is_ok(), "{fine}");
        }
        for bad in [
            json!([9_999_991]),
            json!([997, 991]),
            json!([7, 11, 13, 17]),
            json!([0.000_01]),
            json!([1e-7]),
            json!([1e300]),
            json!([-5]),
            json!([0]),
            json!([1000, 0.001]),
        ] {
            let error = of(&bad).unwrap_err().to_string();
            assert!(error.contains("multipleOf"), "{bad}: {error}");
        }
        // A property of that name is no divisor.
        let named = json!({"properties": {"multipleOf": {"type": "integer"}}});
        assert!(check(&Constraint::JsonSchema(named)).is_ok());
    }
}
