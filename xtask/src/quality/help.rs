//! LibreOffice's help: each entry of the keyword index that people keep is a question, the pages that it names are
//! right.
//!
//! The keywords that the pages themselves carry as metadata are left out of their text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail};
use stdx::fs;

use super::faq::is_korean;
use super::html;
use super::set::{Page, Question, Set};

pub(super) fn sets(folder: &Path, help: &Path) -> Result<Vec<Set>> {
    Ok(vec![
        set(folder, "help-en", &help.join("en-US"), "en-US/", |_, _| true)?,
        // Most of the Korean help is not translated: only pages that mostly are, and keywords that are.
        set(folder, "help-ko", &help.join("ko"), "ko/", |keyword, text| {
            is_korean(keyword) && is_mostly_korean(text)
        })?,
    ])
}

fn is_mostly_korean(text: &str) -> bool {
    let hangul = text.chars().filter(|c| ('가'..='힣').contains(c)).count();
    let latin = text.chars().filter(char::is_ascii_alphabetic).count();
    hangul > latin
}

fn set(
    folder: &Path,
    name: &str,
    help: &Path,
    prefix: &str,
    counts: impl Fn(&str, &str) -> bool,
) -> Result<Set> {
    let index = String::from_utf8_lossy(&fs::read(help.join("bookmarks.js"))?).into_owned();
    let mut pages: BTreeMap<String, String> = BTreeMap::new();
    let mut asked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in index.lines() {
        let (Some(url), Some(keyword)) = (
            html::between(line, "url:\"", "\""),
            html::between(line, "text:\"", "\"}"),
        ) else {
            continue;
        };
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let Some(path) = path.strip_prefix(prefix) else {
            continue;
        };
        if !pages.contains_key(path) {
            pages.insert(path.to_owned(), page_text(&help.join(path))?);
        }
        let keyword = html::entities(&keyword.replace("\\\"", "\"").replace(" -- ", " "));
        let keyword = keyword.split_whitespace().collect::<Vec<_>>().join(" ");
        if counts(&keyword, &pages[path]) {
            asked.entry(keyword).or_default().insert(path.to_owned());
        }
    }
    if asked.len() < 500 {
        bail!("the index in {} has another layout", help.display());
    }
    let of_question = |(i, (question, right)): (usize, (String, BTreeSet<String>))| Question {
        id: i.to_string(),
        question,
        pages: right.into_iter().collect(),
    };
    let questions: Vec<Question> = asked.into_iter().enumerate().map(of_question).collect();
    let is_korean_set = prefix == "ko/";
    let of_page = |(path, text): (String, String)| Page {
        id: path.clone(),
        document: path,
        text,
    };
    let pages: Vec<Page> = pages
        .into_iter()
        .filter(|(_, text)| !is_korean_set || is_mostly_korean(text))
        .map(of_page)
        .collect();
    Set::write(folder, name, &pages, &questions)
}

/// Title and body of a page, without its index entries, its links to others and its footer.
fn page_text(file: &Path) -> Result<String> {
    let html = String::from_utf8_lossy(&fs::read(file)?).into_owned();
    let body = html
        .split_once("<div id=\"DisplayArea\"")
        .and_then(|(_, body)| body.split_once('>'))
        .map_or(html.as_str(), |(_, body)| body);
    let body = body.split("<div id=\"SearchFrame\">").next().unwrap_or_default();
    let body = body
        .split("<div class=\"relatedtopics\">")
        .next()
        .unwrap_or_default();
    Ok(html::text(body))
}
