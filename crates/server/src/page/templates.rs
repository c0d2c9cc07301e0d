//! The templates, embedded; everything in them is escaped, for documents are hostile.

use minijinja::value::Serde;
use minijinja::{Environment, Error, Value, context};
use serde::Serialize;
use std::collections::BTreeMap;

use super::strings::{Lang, words};

/// Templates by name; the ending makes minijinja escape.
const TEMPLATES: [(&str, &str); 8] = [
    ("base.html", include_str!("../../templates/base.html")),
    ("answer.html", include_str!("../../templates/answer.html")),
    ("home.html", include_str!("../../templates/home.html")),
    ("documents.html", include_str!("../../templates/documents.html")),
    ("document.html", include_str!("../../templates/document.html")),
    ("quality.html", include_str!("../../templates/quality.html")),
    ("login.html", include_str!("../../templates/login.html")),
    ("error.html", include_str!("../../templates/error.html")),
];

/// Renders pages.
pub(crate) struct Templates(Environment<'static>);

impl Templates {
    pub(crate) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Chainable);
        environment.add_filter("fill", |text: String, n: Value| {
            text.replace("{n}", &n.to_string())
        });
        environment.add_filter("percent", |share: f64| format!("{:.0}", (share * 100.0).floor()));
        environment.add_filter("filename", |path: String| {
            path.rsplit('/').next().unwrap_or_default().to_owned()
        });
        environment.add_filter("urlencode", |text: String| crate::guard::percent_encode(&text));
        environment.add_function("plural", plural);
        environment.add_function("seconds", |ms: f64| format!("{:.1}", ms / 1e3));
        for (name, source) in TEMPLATES {
            environment
                .add_template(name, source)
                .expect("the templates are embedded and a test parses them");
        }
        Self(environment)
    }

    /// Renders a page with the words of a language.
    pub(crate) fn render(&self, name: &str, lang: Lang, values: Value) -> Result<String, Error> {
        let shared = context! {
            lang => lang.code(),
            other => lang.other().code(),
            t => value(words(lang)),
            v => crate::assets::VERSION.clone(),
        };
        self.0.get_template(name)?.render(context! { ..values, ..shared })
    }
}

/// The word for a count: `key_one` for one where there is one.
fn plural(table: Value, key: String, n: u64) -> Result<String, Error> {
    let one = if n == 1 {
        table.get_attr(&format!("{key}_one"))?
    } else {
        Value::UNDEFINED
    };
    let text = if one.is_undefined() {
        table.get_attr(&key)?
    } else {
        one
    };
    Ok(text.to_string().replace("{n}", &n.to_string()))
}

/// A wire type as a template's value.
pub(crate) fn value(serialised: impl Serialize) -> Value {
    Value::from(Serde(serialised))
}

/// Values of a page by name.
pub(crate) type Context = BTreeMap<&'static str, Value>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_renders_in_both_languages_and_escapes() {
        let templates = Templates::new();
        for lang in [Lang::En, Lang::Ko] {
            for (name, _) in TEMPLATES {
                templates.render(name, lang, context! {}).unwrap();
            }
        }
        let hostile = "<script>alert(1)</script>\"'&";
        let page = templates
            .render("error.html", Lang::En, context! { message => hostile })
            .unwrap();
        assert!(!page.contains("<script>alert"), "{page}");
    }

    #[test]
    fn the_words_in_the_page_cannot_close_their_element() {
        let page = Templates::new()
            .render("home.html", Lang::En, context! { script => true })
            .unwrap();
        let json = page
            .split(r#"id="strings">"#)
            .nth(1)
            .unwrap()
            .split("</script>")
            .next()
            .unwrap();
        let words: BTreeMap<String, String> = serde_json::from_str(json).unwrap();
        assert_eq!(words["ask"], "Ask");
    }

    #[test]
    fn one_thing_is_not_many() {
        let t = value(words(Lang::En));
        let say = |n| plural(t.clone(), "pages".into(), n);
        assert_eq!(say(1).unwrap(), "1 page");
        assert_eq!(say(2).unwrap(), "2 pages");
    }
}
