//! Typed key-value pairs and the getters whose errors name key and expected type.
//!
//! Not the meaning of any key.

use std::collections::BTreeMap;

use super::GgufError;

/// A list of values of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Unsigned, 8 bits.
    U8(Vec<u8>),
    /// Signed, 8 bits.
    I8(Vec<i8>),
    /// Unsigned, 16 bits.
    U16(Vec<u16>),
    /// Signed, 16 bits.
    I16(Vec<i16>),
    /// Unsigned, 32 bits.
    U32(Vec<u32>),
    /// Signed, 32 bits.
    I32(Vec<i32>),
    /// Floating, 32 bits.
    F32(Vec<f32>),
    /// Truth values.
    Bool(Vec<bool>),
    /// Texts.
    Text(Vec<String>),
    /// Lists.
    Array(Vec<Array>),
    /// Unsigned, 64 bits.
    U64(Vec<u64>),
    /// Signed, 64 bits.
    I64(Vec<i64>),
    /// Floating, 64 bits.
    F64(Vec<f64>),
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::Text(v) => v.len(),
            Self::Array(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as signed integers; `None` if they are no integers or one does not fit.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        fn all<T: Copy + TryInto<i64>>(values: &[T]) -> Option<Vec<i64>> {
            values.iter().map(|value| (*value).try_into().ok()).collect()
        }
        match self {
            Self::U8(v) => all(v),
            Self::I8(v) => all(v),
            Self::U16(v) => all(v),
            Self::I16(v) => all(v),
            Self::U32(v) => all(v),
            Self::I32(v) => all(v),
            Self::U64(v) => all(v),
            Self::I64(v) => all(v),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::Text(_) | Self::Array(_) => None,
        }
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Unsigned, 8 bits.
    U8(u8),
    /// Signed, 8 bits.
    I8(i8),
    /// Unsigned, 16 bits.
    U16(u16),
    /// Signed, 16 bits.
    I16(i16),
    /// Unsigned, 32 bits.
    U32(u32),
    /// Signed, 32 bits.
    I32(i32),
    /// Floating, 32 bits.
    F32(f32),
    /// Truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// List.
    Array(Array),
    /// Unsigned, 64 bits.
    U64(u64),
    /// Signed, 64 bits.
    I64(i64),
    /// Floating, 64 bits.
    F64(f64),
}

impl Value {
    /// The type's name for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "a u8",
            Self::I8(_) => "an i8",
            Self::U16(_) => "a u16",
            Self::I16(_) => "an i16",
            Self::U32(_) => "a u32",
            Self::I32(_) => "an i32",
            Self::F32(_) => "an f32",
            Self::Bool(_) => "a truth value",
            Self::Text(_) => "a text",
            Self::Array(_) => "a list",
            Self::U64(_) => "a u64",
            Self::I64(_) => "an i64",
            Self::F64(_) => "an f64",
        }
    }

    /// Any integer type's value if it is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::Text(_) | Self::Array(_) => None,
        }
    }

    /// A floating value, narrowed to 32 bits.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($ty:ty => $variant:ident),* $(,)?) => {
        $(impl From<$ty> for Value {
            fn from(value: $ty) -> Self {
                Self::$variant(value)
            }
        })*
    };
}

from!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, bool => Bool,
      String => Text, Array => Array, u64 => U64, i64 => I64, f64 => F64);

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// The key-value pairs of a file, sorted by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Value>);

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident, $optional:ident -> $ty:ty, $expected:literal, $pick:expr;)*) => {
        $(
            $(#[$doc])*
            pub fn $optional(&self, key: &str) -> Result<Option<$ty>, GgufError> {
                let pick: fn(&Value) -> Option<$ty> = $pick;
                let Some(value) = self.0.get(key) else { return Ok(None) };
                pick(value).map(Some).ok_or_else(|| GgufError::WrongType {
                    key: key.to_owned(),
                    expected: $expected,
                    found: value.type_name(),
                })
            }

            #[doc = concat!("As [`Self::", stringify!($optional), "`], but an absent key is an error.")]
            pub fn $name(&self, key: &str) -> Result<$ty, GgufError> {
                self.$optional(key)?.ok_or_else(|| GgufError::MissingKey { key: key.to_owned(), expected: $expected })
            }
        )*
    };
}

impl Metadata {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Sets a key and returns what it held.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        self.0.insert(key.into(), value.into())
    }

    /// All pairs, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    getters! {
        /// Any integer type, not negative.
        u64, opt_u64 -> u64, "an integer that is not negative", Value::as_u64;
        /// Any integer type that fits 32 bits unsigned.
        u32, opt_u32 -> u32, "an integer of 32 bits that is not negative",
            |value| value.as_u64().and_then(|v| v.try_into().ok());
        /// A floating value.
        f32, opt_f32 -> f32, "a floating number", Value::as_f32;
        /// A truth value.
        bool, opt_bool -> bool, "a truth value", |value| match value {
            Value::Bool(v) => Some(*v),
            _ => None,
        };
    }

    /// A text, if the key is there.
    pub fn opt_text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(key, "a text", other)),
        }
    }

    /// As [`Self::opt_text`], but an absent key is an error.
    pub fn text(&self, key: &str) -> Result<&str, GgufError> {
        self.opt_text(key)?.ok_or_else(|| missing(key, "a text"))
    }

    /// A list of texts, if the key is there.
    pub fn opt_texts(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Text(texts))) => Ok(Some(texts)),
            // An empty list has whatever element type its writer felt like.
            Some(Value::Array(array)) if array.is_empty() => Ok(Some(&[])),
            Some(other) => Err(wrong(key, "a list of texts", other)),
        }
    }

    /// As [`Self::opt_texts`], but an absent key is an error.
    pub fn texts(&self, key: &str) -> Result<&[String], GgufError> {
        self.opt_texts(key)?
            .ok_or_else(|| missing(key, "a list of texts"))
    }

    /// A list of integers of any type, if the key is there.
    pub fn opt_integers(&self, key: &str) -> Result<Option<Vec<i64>>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) if array.is_empty() => Ok(Some(Vec::new())),
            Some(value @ Value::Array(array)) => array
                .to_i64()
                .map(Some)
                .ok_or_else(|| wrong(key, "a list of integers", value)),
            Some(other) => Err(wrong(key, "a list of integers", other)),
        }
    }
}

fn wrong(key: &str, expected: &'static str, found: &Value) -> GgufError {
    GgufError::WrongType {
        key: key.to_owned(),
        expected,
        found: found.type_name(),
    }
}

fn missing(key: &str, expected: &'static str) -> GgufError {
    GgufError::MissingKey {
        key: key.to_owned(),
        expected,
    }
}
