//! The page's words in every language, from one table, and the choice of the language.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, header};
use serde::Deserialize;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lang {
    En,
    Ko,
}

impl Lang {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ko => "ko",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::En => Self::Ko,
            Self::Ko => Self::En,
        }
    }

    pub(crate) fn parse(code: &str) -> Option<Self> {
        match code {
            "en" => Some(Self::En),
            "ko" => Some(Self::Ko),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Entry {
    en: String,
    ko: String,
}

/// The words of one language by key.
pub(crate) type Words = BTreeMap<String, String>;

static TABLE: LazyLock<(Words, Words)> = LazyLock::new(|| {
    let table: BTreeMap<String, Entry> = serde_json::from_str(include_str!("../../assets/strings.json"))
        .expect("the table is embedded and a test reads it");
    let en = table.iter().map(|(key, entry)| (key.clone(), entry.en.clone()));
    let ko = table.iter().map(|(key, entry)| (key.clone(), entry.ko.clone()));
    (en.collect(), ko.collect())
});

/// The words of a language.
pub(crate) fn words(lang: Lang) -> &'static Words {
    match lang {
        Lang::En => &TABLE.0,
        Lang::Ko => &TABLE.1,
    }
}

/// The language to answer in: asked for in the address, remembered, or preferred by the browser.
pub(crate) fn language(headers: &HeaderMap, query: Option<&str>) -> Lang {
    asked_for(query)
        .or_else(|| crate::guard::cookie(headers, COOKIE).and_then(Lang::parse))
        .or_else(|| {
            headers
                .get(header::ACCEPT_LANGUAGE)?
                .to_str()
                .ok()
                .and_then(preferred)
        })
        .unwrap_or(Lang::En)
}

/// Remembers the choice.
pub(crate) const COOKIE: &str = "hanok_lang";

/// The language in the address.
pub(crate) fn asked_for(query: Option<&str>) -> Option<Lang> {
    query?
        .split('&')
        .filter_map(|pair| pair.strip_prefix("lang="))
        .find_map(Lang::parse)
}

/// The best language of an `Accept-Language` (RFC 9110, 12.5.4) that the page speaks.
fn preferred(accept: &str) -> Option<Lang> {
    let weighed = accept.split(',').filter_map(|item| {
        let mut parts = item.split(';');
        let lang = Lang::parse(
            parts
                .next()?
                .trim()
                .split('-')
                .next()?
                .to_ascii_lowercase()
                .as_str(),
        )?;
        let weight = parts
            .find_map(|part| part.trim().strip_prefix("q="))
            .map_or(Some(1.0), |q| q.parse().ok())?;
        Some((lang, weight))
    });
    let mut best: Option<(Lang, f32)> = None;
    for (lang, weight) in weighed {
        if weight > best.map_or(0.0, |(_, w)| w) {
            best = Some((lang, weight));
        }
    }
    best.map(|(lang, _)| lang)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_say_everything_with_the_same_gaps() {
        for (key, en) in words(Lang::En) {
            let ko = &words(Lang::Ko)[key];
            assert!(!en.is_empty() && !ko.is_empty(), "{key}");
            // A word for one thing may do without the number.
            if !key.ends_with("_one") {
                for gap in ["{n}", "{first}", "{total}", "{from}", "{to}", "{of}"] {
                    assert_eq!(en.contains(gap), ko.contains(gap), "{key} {gap}");
                }
            }
        }
    }

    #[test]
    fn the_preferred_language_is_the_heaviest_known() {
        assert_eq!(preferred("ko-KR,ko;q=0.9,en;q=0.8"), Some(Lang::Ko));
        assert_eq!(preferred("fr, en;q=0.3, ko;q=0.7"), Some(Lang::Ko));
        assert_eq!(preferred("de"), None);
        assert_eq!(preferred(";;q=x,,"), None);
        assert_eq!(asked_for(Some("a=b&lang=ko")), Some(Lang::Ko));
        assert_eq!(asked_for(Some("lang=xx")), None);
    }
}
