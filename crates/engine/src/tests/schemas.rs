//! Random JSON schemas with bounded texts, and a plain checker of their values.
//!
//! The checker knows exactly the keywords that the generator uses.

use serde_json::{Map, Value, json};
use stdx::rng::Rng;

/// Makes schemas; the same seed makes the same.
pub(super) struct Schemas {
    rng: Rng,
}

impl Schemas {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed) }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    /// A schema whose longest value has at most `n_bytes_max` bytes.
    pub(super) fn next(&mut self, n_bytes_max: usize) -> Value {
        loop {
            let depth = self.below(4);
            let flexible = self.below(5) == 0;
            let mut schema = self.any(depth);
            let white_space = if flexible { 20 } else { 0 };
            if longest(&schema, white_space) > n_bytes_max {
                continue;
            }
            if !flexible {
                schema["x-guidance"] = json!({"whitespace_flexible": false});
            }
            return schema;
        }
    }

    fn any(&mut self, depth: u64) -> Value {
        let n_kinds = if depth == 0 { 5 } else { 8 };
        match self.below(n_kinds) {
            0 => self.string(),
            1 => self.integer(),
            2 => json!({"type": "boolean"}),
            3 => self.choice(),
            4 => json!({"type": "null"}),
            5 => self.array(depth - 1),
            _ => self.object(depth - 1),
        }
    }

    fn string(&mut self) -> Value {
        let low = self.below(4);
        json!({"type": "string", "minLength": low, "maxLength": low + self.below(6)})
    }

    fn integer(&mut self) -> Value {
        let low = self.below(3000) as i64 - 1500;
        json!({"type": "integer", "minimum": low, "maximum": low + self.below(2000) as i64})
    }

    fn choice(&mut self) -> Value {
        let all = [
            json!("red"),
            json!("초록"),
            json!("a\"b\\"),
            json!(7),
            json!(null),
            json!(true),
            json!(""),
        ];
        let n = 1 + self.below(4) as usize;
        let start = self.below(4) as usize;
        json!({"enum": all[start..start + n]})
    }

    fn array(&mut self, depth: u64) -> Value {
        let low = self.below(3);
        json!({"type": "array", "items": self.any(depth), "minItems": low, "maxItems": low + self.below(3)})
    }

    fn object(&mut self, depth: u64) -> Value {
        let names = ["name", "n", "list of", "이름", "flag", "quote\""];
        let mut properties = Map::new();
        for _ in 0..1 + self.below(4) {
            let name = names[self.below(names.len() as u64) as usize];
            properties.insert(name.to_owned(), self.any(depth));
        }
        let required: Vec<String> = properties
            .keys()
            .filter(|_| self.rng.next_u64().is_multiple_of(2))
            .cloned()
            .collect();
        json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        })
    }
}

/// Bytes of the longest value, with so many of white space wherever some may stand.
fn longest(schema: &Value, white_space: usize) -> usize {
    let number = |key: &str| schema[key].as_i64().unwrap_or_default() as usize;
    let own = match schema["type"].as_str() {
        // A control character is written with six bytes.
        Some("string") => 2 + 6 * number("maxLength"),
        Some("array") => 2 + number("maxItems") * (1 + longest(&schema["items"], white_space) + white_space),
        Some("object") => {
            let properties = schema["properties"].as_object().unwrap();
            let property = |(key, value): (&String, &Value)| {
                key.len() + 6 + longest(value, white_space) + 3 * white_space
            };
            2 + properties.iter().map(property).sum::<usize>()
        }
        Some(_) => 6,
        None => 12,
    };
    own + 2 * white_space
}

/// What is wrong with a value, if anything.
pub(super) fn fault(schema: &Value, value: &Value) -> Option<String> {
    let wrong = |what: &str| Some(format!("{value} {what} for {schema}"));
    let within = |n: i64, low: &str, high: &str| {
        schema[low].as_i64().is_some_and(|low| n >= low)
            && schema[high].as_i64().is_some_and(|high| n <= high)
    };
    if let Some(choices) = schema["enum"].as_array() {
        return if choices.contains(value) {
            None
        } else {
            wrong("is no choice")
        };
    }
    match (schema["type"].as_str(), value) {
        (Some("null"), Value::Null) | (Some("boolean"), Value::Bool(_)) => None,
        (Some("string"), Value::String(text)) => {
            let n = text.chars().count() as i64;
            if within(n, "minLength", "maxLength") {
                None
            } else {
                wrong("has a wrong length")
            }
        }
        (Some("integer"), Value::Number(number)) => match number.as_i64() {
            Some(n) if within(n, "minimum", "maximum") => None,
            _ => wrong("is out of bounds"),
        },
        (Some("array"), Value::Array(items)) => {
            if !within(items.len() as i64, "minItems", "maxItems") {
                return wrong("has a wrong number of items");
            }
            items.iter().find_map(|item| fault(&schema["items"], item))
        }
        (Some("object"), Value::Object(fields)) => {
            let required = schema["required"].as_array().unwrap();
            if required
                .iter()
                .any(|name| !fields.contains_key(name.as_str().unwrap()))
            {
                return wrong("lacks a field");
            }
            fields
                .iter()
                .find_map(|(name, value)| match schema["properties"].get(name) {
                    Some(schema) => fault(schema, value),
                    None => Some(format!("{name} is unknown in {schema}")),
                })
        }
        _ => wrong("has a wrong type"),
    }
}

#[test]
fn the_checker_tells_good_from_bad() {
    let schema = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {
            "a": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer", "minimum": 0, "maximum": 9}},
            "b": {"type": "string", "minLength": 1, "maxLength": 2},
            "c": {"enum": ["x", 1]},
        },
    });
    assert_eq!(fault(&schema, &json!({"a": [1, 9], "b": "한국", "c": 1})), None);
    for bad in [
        json!({}),
        json!({"a": []}),
        json!({"a": [10]}),
        json!({"a": [1.5]}),
        json!({"a": [1], "b": "abc"}),
        json!({"a": [1], "c": "y"}),
        json!({"a": [1], "d": 1}),
        json!([1]),
    ] {
        assert!(fault(&schema, &bad).is_some(), "{bad}");
    }
}
