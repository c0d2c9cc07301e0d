//! Days and validity on the wire.

use knowledge::{AsOf, Date, Validity};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A day, as 2024-03-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateJson(pub Date);

impl Serialize for DateJson {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DateJson {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Which documents are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOfJson {
    /// Those that hold on this day; today if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<DateJson>,
    /// Also those that do not hold.
    #[serde(default)]
    pub include_expired: bool,
}

impl From<AsOfJson> for AsOf {
    fn from(as_of: AsOfJson) -> Self {
        Self {
            day: as_of.day.map(|day| day.0),
            include_expired: as_of.include_expired,
        }
    }
}

/// When a document holds, as fields of what names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidityJson {
    /// Its first day, or null.
    #[serde(default)]
    pub valid_from: Option<DateJson>,
    /// Its last day, or null.
    #[serde(default)]
    pub valid_until: Option<DateJson>,
    /// Whether it holds today.
    #[serde(default = "yes")]
    pub holds: bool,
}

fn yes() -> bool {
    true
}

impl ValidityJson {
    pub(crate) fn of(validity: Validity, holds: bool) -> Self {
        Self {
            valid_from: validity.from.map(DateJson),
            valid_until: validity.until.map(DateJson),
            holds,
        }
    }
}

impl From<ValidityJson> for Validity {
    fn from(validity: ValidityJson) -> Self {
        Self {
            from: validity.valid_from.map(|day| day.0),
            until: validity.valid_until.map(|day| day.0),
        }
    }
}
