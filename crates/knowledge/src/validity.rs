//! When a document holds, who owns it and what it replaces: from whom that is known, and which word counts.
//!
//! Stated by the store's file [`RULES_FILE`], by the document's properties, or by its own text, in this order. Nothing
//! is guessed: what can be read in two ways is not read at all. Whether a document is found is decided together with
//! who may read it, in the catalog.

use serde::{Deserialize, Serialize};
pub use stdx::date::Date;

mod properties;
mod rules;
#[cfg(test)]
mod tests;
mod text;
mod written;

pub(crate) use properties::of_properties;
pub use rules::RULES_FILE;
pub(crate) use rules::{Ruled, Rules};
pub(crate) use text::of_text;
pub(crate) use written::date_at;

/// Longer names of owners and of replaced documents are cut.
const NAME_CHARS_MAX: usize = 200;
/// More documents that one replaces are not listed.
const REPLACES_MAX: usize = 16;

/// The days on which a document holds, the first and the last included; open where nothing is stated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Validity {
    /// The first day.
    pub from: Option<Date>,
    /// The last day.
    pub until: Option<Date>,
}

impl Validity {
    /// Whether it holds on that day.
    pub fn holds_on(&self, day: Date) -> bool {
        self.from.is_none_or(|from| from <= day) && self.until.is_none_or(|until| day <= until)
    }
}

/// Which documents are looked for: those that hold on a day, or all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AsOf {
    /// The day; `None` is today.
    pub day: Option<Date>,
    /// Look also for what does not hold on that day.
    pub include_expired: bool,
}

impl AsOf {
    /// Whatever the day.
    pub const ANY: Self = Self {
        day: None,
        include_expired: true,
    };
}

/// What is stated of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stated {
    #[serde(default, with = "iso", skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Date>,
    #[serde(default, with = "iso", skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replaces: Vec<String>,
}

impl Stated {
    /// This, and for what it leaves open the other.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            from: self.from.or(other.from),
            until: self.until.or(other.until),
            owner: self.owner.or(other.owner),
            replaces: if self.replaces.is_empty() {
                other.replaces
            } else {
                self.replaces
            },
        }
        .sound()
    }

    /// Without dates that contradict each other, and with names of a sane length.
    pub(crate) fn sound(mut self) -> Self {
        if self
            .from
            .zip(self.until)
            .is_some_and(|(from, until)| until < from)
        {
            (self.from, self.until) = (None, None);
        }
        self.owner = self.owner.as_deref().and_then(name);
        self.replaces = self.replaces.iter().filter_map(|text| name(text)).collect();
        self.replaces.truncate(REPLACES_MAX);
        self
    }

    pub(crate) fn validity(&self) -> Validity {
        Validity {
            from: self.from,
            until: self.until,
        }
    }
}

/// A name on one line; `None` for nothing.
fn name(text: &str) -> Option<String> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().take(NAME_CHARS_MAX).collect();
    (!line.is_empty()).then_some(line)
}

/// Dates as 2024-03-01; what is none reads as no date.
mod iso {
    use serde::{Deserialize, Deserializer, Serializer};
    use stdx::date::Date;

    #[expect(clippy::ref_option, reason = "it is what serde hands over")]
    pub(super) fn serialize<S: Serializer>(date: &Option<Date>, to: S) -> Result<S::Ok, S::Error> {
        match date {
            Some(date) => to.collect_str(date),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Date>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        Ok(text.and_then(|text| text.parse().ok()))
    }
}
