//! What a document's properties state: front matter, or the properties of an office document.
//!
//! Only names that mean nothing else; an author is no owner.

use stdx::date::Date;

use super::Stated;
use super::written::date_at;

const FROM: [&str; 9] = [
    "validfrom",
    "effectivedate",
    "effectivefrom",
    "effective",
    "dateeffective",
    "inforcefrom",
    "시행일",
    "시행일자",
    "발효일",
];
const UNTIL: [&str; 11] = [
    "validuntil",
    "validto",
    "validthrough",
    "expires",
    "expirydate",
    "expirationdate",
    "expiry",
    "inforceuntil",
    "만료일",
    "만료일자",
    "유효기한",
];
const OWNER: [&str; 9] = [
    "owner",
    "documentowner",
    "policyowner",
    "manager",
    "담당부서",
    "소관부서",
    "관리부서",
    "주관부서",
    "문서책임자",
];
const REPLACES: [&str; 4] = ["replaces", "supersedes", "대체문서", "대체하는문서"];

/// What properties state, each a name and a value. A name that is there twice with different values states nothing.
pub(crate) fn of_properties(properties: &[(String, String)]) -> Stated {
    let values = |names: &[&str]| -> Vec<&str> {
        let named = properties
            .iter()
            .filter(|(name, _)| names.contains(&bare(name).as_str()));
        let mut values: Vec<&str> = named
            .map(|(_, value)| unquoted(value))
            .filter(|v| !v.is_empty())
            .collect();
        values.dedup();
        values
    };
    let date = |names: &[&str]| match values(names).as_slice() {
        [value] => whole_date(value),
        _ => None,
    };
    let owners = values(&OWNER);
    Stated {
        from: date(&FROM),
        until: date(&UNTIL),
        owner: owners.first().map(|owner| (*owner).to_owned()),
        replaces: values(&REPLACES).iter().flat_map(|value| listed(value)).collect(),
    }
    .sound()
}

/// A name without what people put between its words.
fn bare(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn unquoted(value: &str) -> &str {
    value.trim().trim_matches(['"', '\'']).trim()
}

/// A value that is a date and nothing else, except a time of day.
fn whole_date(value: &str) -> Option<Date> {
    let chars: Vec<char> = value.chars().collect();
    let (date, end) = date_at(&chars)?;
    let rest: String = chars[end..].iter().collect();
    let rest = rest.trim();
    (rest.is_empty() || rest.starts_with('T') || rest.contains(':')).then_some(date)
}

/// The entries of `[a, b]`, or the one value.
fn listed(value: &str) -> Vec<String> {
    match value.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.split(',').map(|entry| unquoted(entry).to_owned()).collect(),
        None => vec![value.to_owned()],
    }
}
