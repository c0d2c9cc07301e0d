//! Reading fields of a JSON object by hand, so that every complaint names its field.
//!
//! A `null` is the same as an absent field. Unknown fields are ignored: clients send many.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// The fields of one object.
pub(crate) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(crate) fn of(value: &'a Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(ApiError::bad_request("a JSON object is expected")),
        }
    }

    /// The field unless absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&'a str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(name, "a string")),
        }
    }

    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong(name, "true or false")),
        }
    }

    /// The items of a list; none if absent.
    pub(crate) fn list(&self, name: &'static str) -> Result<&'a [Value], ApiError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(wrong(name, "a list")),
        }
    }

    /// A number within bounds, both included.
    pub(crate) fn number(&self, name: &'static str, low: f64, high: f64) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value.as_f64().ok_or_else(|| wrong(name, "a number"))?;
        if !(low..=high).contains(&number) {
            let message = format!("`{name}` is {number}; it must lie between {low} and {high}");
            return Err(ApiError::bad_field(name, message));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "bounded above, and a sampling parameter needs no more"
        )]
        Ok(Some(number as f32))
    }

    /// A whole number within bounds, both included.
    pub(crate) fn whole(&self, name: &'static str, low: u64, high: u64) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value
            .as_u64()
            .ok_or_else(|| wrong(name, &format!("a whole number from {low} to {high}")))?;
        if !(low..=high).contains(&number) {
            let message = format!("`{name}` is {number}; it must lie between {low} and {high}");
            return Err(ApiError::bad_field(name, message));
        }
        Ok(Some(number))
    }

    /// Any integer, as bits: OpenAI's seeds may be negative.
    pub(crate) fn seed(&self, name: &'static str) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let signed = value.as_i64().map(i64::cast_unsigned);
        let seed = value
            .as_u64()
            .or(signed)
            .ok_or_else(|| wrong(name, "an integer of 64 bits"))?;
        Ok(Some(seed))
    }

    /// Refuses a field that would change the answer but is not supported, unless it says what happens anyway.
    pub(crate) fn refuse(
        &self,
        name: &'static str,
        harmless: impl Fn(&Value) -> bool,
    ) -> Result<(), ApiError> {
        match self.get(name) {
            Some(value) if !harmless(value) => {
                let mut error =
                    ApiError::bad_field(name, format!("`{name}` is not supported with this value"));
                error.code = Some("unsupported_parameter");
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

fn wrong(name: &'static str, expected: &str) -> ApiError {
    ApiError::bad_field(name, format!("`{name}` must be {expected}"))
}
