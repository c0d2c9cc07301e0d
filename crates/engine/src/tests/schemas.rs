//! Random JSON schemas with bounded texts, and a plain checker of their values.
//!
//! The checker knows exactly the keywords that the generator uses.

use std::net::Ipv4Addr;

use serde_json::{Map, Number, Value, json};
use stdx::rng::Rng;

/// Every keyword that the generator uses, and every type.
pub(super) const KEYWORDS: [&str; 27] = [
    "$defs",
    "$ref",
    "additionalProperties",
    "anyOf",
    "array",
    "boolean",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "integer",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "multipleOf",
    "null",
    "number",
    "object",
    "pattern",
    "properties",
    "required",
    "string",
];
/// Twenty digits, a point, twenty decimals, and those of the token that goes beyond.
const NUMBER_BYTES: usize = 80;
/// Ranges of characters in patterns, no two with a character in common.
const RANGES: [&str; 4] = ["a-f", "0-9", "가-힣", "A-Z"];

/// Makes schemas; the same seed makes the same.
pub(super) struct Schemas {
    rng: Rng,
    /// `$defs` of the schema that is being made. Each refers to earlier ones alone, so no text is without end.
    definitions: Map<String, Value>,
}

impl Schemas {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            definitions: Map::new(),
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    /// A schema whose longest value has at most `n_bytes_max` bytes.
    pub(super) fn next(&mut self, n_bytes_max: usize) -> Value {
        loop {
            let depth = self.below(4);
            let flexible = self.below(5) == 0;
            let mut schema = self.any(depth);
            let definitions = std::mem::take(&mut self.definitions);
            if !definitions.is_empty() {
                schema["$defs"] = Value::Object(definitions);
            }
            let white_space = if flexible { 20 } else { 0 };
            if longest(&schema, &schema, white_space) > n_bytes_max {
                continue;
            }
            if !flexible {
                schema["x-guidance"] = json!({"whitespace_flexible": false});
            }
            return schema;
        }
    }

    fn any(&mut self, depth: u64) -> Value {
        let n_kinds = if depth == 0 { 9 } else { 14 };
        match self.below(n_kinds) {
            0 => self.string(),
            1 => self.integer(),
            2 => json!({"type": "boolean"}),
            3 => self.choice(),
            4 => json!({"type": "null"}),
            5 => self.number(),
            6 => self.constant(),
            7 => self.pattern(),
            8 => json!({"type": "string", "format": self.one_of(&["date", "ipv4", "uuid"])}),
            9 => self.array(depth - 1),
            10 => self.options(depth - 1),
            11 => self.reference(depth - 1),
            _ => self.object(depth - 1),
        }
    }

    fn string(&mut self) -> Value {
        let low = self.below(4);
        json!({"type": "string", "minLength": low, "maxLength": low + self.below(6)})
    }

    fn integer(&mut self) -> Value {
        let low = self.below(3000) as i64 - 1500;
        let high = low + self.below(2000) as i64;
        if self.below(3) > 0 {
            return json!({"type": "integer", "minimum": low, "maximum": high});
        }
        let step = self.one_of(&[2, 3, 10]);
        json!({"type": "integer", "minimum": low, "maximum": high + step, "multipleOf": step})
    }

    fn number(&mut self) -> Value {
        let low = self.below(400) as f64 / 4.0 - 50.0;
        let high = low + 0.5 + self.below(100) as f64 / 4.0;
        if self.below(2) == 0 {
            return json!({"type": "number", "minimum": low, "maximum": high});
        }
        json!({"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high})
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

    fn constant(&mut self) -> Value {
        let value = self.one_of(&[
            json!("파랑\n"),
            json!(-12),
            json!(2.5),
            json!(-0.25),
            json!(null),
            json!(false),
            json!([1, "a", []]),
            json!({"k": [true], "이름": {}}),
        ]);
        json!({"const": value})
    }

    /// Runs of different kinds of characters.
    fn pattern(&mut self) -> Value {
        let start = self.below(4) as usize;
        let mut pattern = "^".to_owned();
        for n in 0..=self.below(3) as usize {
            let low = self.below(3);
            let high = low.max(1) + self.below(3);
            pattern += &format!("[{}]{{{low},{high}}}", RANGES[(start + n) % RANGES.len()]);
        }
        json!({"type": "string", "pattern": pattern + "$"})
    }

    fn array(&mut self, depth: u64) -> Value {
        let low = self.below(3);
        json!({"type": "array", "items": self.any(depth), "minItems": low, "maxItems": low + self.below(3)})
    }

    fn options(&mut self, depth: u64) -> Value {
        let options: Vec<Value> = (0..2 + self.below(2)).map(|_| self.any(depth)).collect();
        json!({"anyOf": options})
    }

    /// A definition, new or used before.
    fn reference(&mut self, depth: u64) -> Value {
        let known: Vec<String> = self.definitions.keys().cloned().collect();
        let name = if known.is_empty() || self.below(2) == 0 {
            let definition = self.any(depth);
            let name = format!("d{}", self.definitions.len());
            self.definitions.insert(name.clone(), definition);
            name
        } else {
            self.one_of(&known)
        };
        json!({"$ref": format!("#/$defs/{name}")})
    }

    fn object(&mut self, depth: u64) -> Value {
        let names = ["name", "n", "list of", "이름", "flag", "quote\""];
        let mut properties = Map::new();
        for _ in 0..1 + self.below(4) {
            let name = self.one_of(&names);
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

/// The schema that `schema`, a part of `root`, stands for.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|path| path.strip_prefix('#')) {
        Some(path) => resolved(root, root.pointer(path).unwrap()),
        None => schema,
    }
}

/// Bytes of the longest value, with so many of white space wherever some may stand.
fn longest(root: &Value, schema: &Value, white_space: usize) -> usize {
    let schema = resolved(root, schema);
    let part = |schema: &Value| longest(root, schema, white_space);
    let number = |key: &str| schema[key].as_i64().unwrap_or_default() as usize;
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().map(part).max().unwrap();
    }
    let own = match schema["type"].as_str() {
        // A control character is written with six bytes.
        Some("string") => match (schema["pattern"].as_str(), schema["format"].as_str()) {
            (Some(pattern), _) => 2 + 6 * runs(pattern).map(|(_, _, high)| high).sum::<usize>(),
            (_, Some(_)) => 2 + 36,
            _ => 2 + 6 * number("maxLength"),
        },
        Some("array") => 2 + number("maxItems") * (1 + part(&schema["items"]) + white_space),
        Some("object") => {
            let properties = schema["properties"].as_object().unwrap();
            let property = |(key, value): (&String, &Value)| key.len() + 6 + part(value) + 3 * white_space;
            2 + properties.iter().map(property).sum::<usize>()
        }
        Some("number") => NUMBER_BYTES,
        Some(_) => 6,
        // White space may stand in a constant too.
        None => 24 + 12 * white_space,
    };
    own + 2 * white_space
}

/// What is wrong with a value, if anything.
pub(super) fn fault(schema: &Value, value: &Value) -> Option<String> {
    fault_in(schema, schema, value)
}

fn fault_in(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    let schema = resolved(root, schema);
    let unless = |holds: bool, what: &str| (!holds).then(|| format!("{value} {what} for {schema}"));
    let within = |n: usize, low: &str, high: &str| {
        let bound = |key: &str| schema[key].as_u64().unwrap() as usize;
        (bound(low)..=bound(high)).contains(&n)
    };
    if let Some(choices) = schema["enum"].as_array() {
        return unless(choices.contains(value), "is no choice");
    }
    if let Some(constant) = schema.get("const") {
        return unless(constant == value, "is not the constant");
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let fits = |option: &Value| fault_in(root, option, value).is_none();
        return unless(options.iter().any(fits), "fits no option");
    }
    match (schema["type"].as_str(), value) {
        (Some("null"), Value::Null) | (Some("boolean"), Value::Bool(_)) => None,
        (Some("string"), Value::String(text)) => {
            let fits = match (schema["pattern"].as_str(), schema["format"].as_str()) {
                (Some(pattern), _) => matches(pattern, text),
                (_, Some(format)) => has_format(format, text),
                _ => within(text.chars().count(), "minLength", "maxLength"),
            };
            unless(fits, "is no such text")
        }
        (Some("integer" | "number"), Value::Number(number)) => {
            unless(is_within(schema, number), "is out of bounds")
        }
        (Some("array"), Value::Array(items)) => unless(
            within(items.len(), "minItems", "maxItems"),
            "has a wrong number of items",
        )
        .or_else(|| {
            let mut items = items.iter();
            items.find_map(|item| fault_in(root, &schema["items"], item))
        }),
        (Some("object"), Value::Object(fields)) => {
            let mut required = schema["required"].as_array().unwrap().iter();
            let has_all = required.all(|name| fields.contains_key(name.as_str().unwrap()));
            unless(has_all, "lacks a field").or_else(|| {
                let mut fields = fields.iter();
                fields.find_map(|(name, value)| match schema["properties"].get(name) {
                    Some(schema) => fault_in(root, schema, value),
                    None => Some(format!("{name} is unknown in {schema}")),
                })
            })
        }
        _ => unless(false, "has a wrong type"),
    }
}

/// Whether a number is within bounds, and whole and a multiple where it must be.
fn is_within(schema: &Value, number: &Number) -> bool {
    let Some(n) = number.as_f64() else {
        return false;
    };
    let holds =
        |key: &str, test: fn(f64, f64) -> bool| schema[key].as_f64().is_none_or(|bound| test(n, bound));
    // `-0` is an integer, though it is read as a number with a point.
    (schema["type"] == "number" || n.fract() == 0.0)
        && holds("minimum", |n, bound| n >= bound)
        && holds("maximum", |n, bound| n <= bound)
        && holds("exclusiveMinimum", |n, bound| n > bound)
        && holds("exclusiveMaximum", |n, bound| n < bound)
        && holds("multipleOf", |n, step| n % step == 0.0)
}

/// The runs of one of the generator's patterns: a range of characters, and how many at least and at most.
fn runs(pattern: &str) -> impl Iterator<Item = (std::ops::RangeInclusive<char>, usize, usize)> {
    let pattern = pattern.strip_prefix('^').unwrap().strip_suffix('$').unwrap();
    pattern.split_inclusive('}').map(|run| {
        let (range, counts) = run.split_once(']').unwrap();
        let range: Vec<char> = range.chars().collect();
        let (low, high) = counts.trim_matches(['{', '}']).split_once(',').unwrap();
        (range[1]..=range[3], low.parse().unwrap(), high.parse().unwrap())
    })
}

/// Whether a text consists of the runs: neighbours have no character in common, so each takes all that it can.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = text.chars().peekable();
    let all = runs(pattern).all(|(range, low, high)| {
        let n = (0..high)
            .take_while(|_| rest.next_if(|c| range.contains(c)).is_some())
            .count();
        n >= low
    });
    all && rest.next().is_none()
}

fn has_format(format: &str, text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let all = |part: &str, is: fn(&u8) -> bool, n: usize| part.len() == n && part.bytes().all(|c| is(&c));
    match (format, parts.as_slice()) {
        ("date", [year, month, day]) => {
            let n_days = match *month {
                "02" => 29,
                "04" | "06" | "09" | "11" => 30,
                _ => 31,
            };
            let two = |part: &str, max: u32| {
                all(part, u8::is_ascii_digit, 2) && part.parse().is_ok_and(|n| (1..=max).contains(&n))
            };
            all(year, u8::is_ascii_digit, 4) && two(month, 12) && two(day, n_days)
        }
        ("ipv4", _) => text.parse::<Ipv4Addr>().is_ok(),
        ("uuid", _) => {
            let lengths = [8, 4, 4, 4, 12];
            let mut both = parts.iter().zip(lengths);
            parts.len() == lengths.len() && both.all(|(part, n)| all(part, u8::is_ascii_hexdigit, n))
        }
        _ => false,
    }
}

#[test]
fn the_checker_knows_every_keyword() {
    let cases = [
        (
            json!({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/d0"}], "$defs": {"d0": {"const": [1]}}}),
            vec![json!(null), json!([1])],
            vec![json!([2]), json!(1), json!([])],
        ),
        (
            json!({"type": "number", "exclusiveMinimum": -0.5, "exclusiveMaximum": 2.0}),
            vec![json!(-0.25), json!(0), json!(1.999)],
            vec![json!(-0.5), json!(2), json!("1")],
        ),
        (
            json!({"type": "integer", "minimum": -6, "maximum": 9, "multipleOf": 3}),
            vec![json!(-6), json!(-0.0), json!(9)],
            vec![json!(-9), json!(4), json!(4.5)],
        ),
        (
            json!({"type": "string", "pattern": "^[가-힣]{1,2}[0-9]{0,2}$"}),
            vec![json!("가"), json!("힣가99")],
            vec![json!(""), json!("가1가"), json!("9"), json!("가나다")],
        ),
        (
            json!({"type": "string", "format": "date"}),
            vec![json!("2024-02-29"), json!("0000-12-31")],
            vec![
                json!("2024-02-30"),
                json!("2024-13-01"),
                json!("24-01-01"),
                json!("2024-00-10"),
            ],
        ),
        (
            json!({"type": "string", "format": "ipv4"}),
            vec![json!("0.0.0.0"), json!("255.1.20.3")],
            vec![json!("256.0.0.1"), json!("1.2.3"), json!("01.2.3.4")],
        ),
        (
            json!({"type": "string", "format": "uuid"}),
            vec![json!("0123abcd-0123-0123-0123-0123456789AB")],
            vec![json!("0123abcd-0123-0123-0123-0123456789AG"), json!("0123abcd")],
        ),
    ];
    for (schema, good, bad) in cases {
        for value in good {
            assert_eq!(fault(&schema, &value), None);
        }
        for value in bad {
            assert!(fault(&schema, &value).is_some(), "{value} for {schema}");
        }
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
