//! The Debian FAQ: each heading is a question, the section under it (without the heading) its one right page.
//!
//! The same anchors in both languages make a third set: Korean questions to English sections. Sections of one short line
//! ("Debian ships both gnash and swfdec …") are left out of all three, as where the figures to be reached were measured.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use stdx::fs;

use super::html;
use super::set::{Page, Question, Set};

/// Where a section begins in the generated pages.
const SECTION: &str = "<div class=\"section\">";
/// Shorter texts are no passage, in either language.
const CHARS_MIN: usize = 60;

struct Section {
    /// Each section by itself: what stands under a heading begins with what it is about, as no page of a book does.
    document: String,
    anchor: String,
    question: String,
    text: String,
}

pub(super) fn sets(folder: &Path, faq: &Path) -> Result<Vec<Set>> {
    let english = sections(faq, ".en.html")?;
    let korean = sections(&faq.join("ko"), ".ko.html")?;
    if english.len() < 100 || korean.len() < 100 {
        bail!(
            "the FAQ in {} has another layout: {} and {} sections were found",
            faq.display(),
            english.len(),
            korean.len()
        );
    }
    let long = |sections: &[Section]| -> BTreeSet<String> {
        let long = sections.iter().filter(|s| s.text.chars().count() >= CHARS_MIN);
        long.map(|s| s.anchor.clone()).collect()
    };
    let both = &long(&english) & &long(&korean);
    let counts = |section: &Section| both.contains(&section.anchor);
    let (mut english, mut korean) = (english, korean);
    english.retain(counts);
    korean.retain(counts);
    Ok(vec![
        write(folder, "faq-en", &english, english.iter())?,
        write(
            folder,
            "faq-ko",
            &korean,
            korean.iter().filter(|s| is_korean(&s.question)),
        )?,
        write(
            folder,
            "faq-ko-en",
            &english,
            korean.iter().filter(|s| is_korean(&s.question)),
        )?,
    ])
}

pub(super) fn is_korean(text: &str) -> bool {
    text.chars().any(|c| ('가'..='힣').contains(&c))
}

fn write<'a>(
    folder: &Path,
    name: &str,
    sections: &[Section],
    asked: impl Iterator<Item = &'a Section>,
) -> Result<Set> {
    let page = |section: &Section| Page {
        id: section.anchor.clone(),
        document: section.document.clone(),
        text: section.text.clone(),
    };
    let question = |section: &Section| Question {
        id: section.anchor.clone(),
        question: section.question.clone(),
        pages: vec![section.anchor.clone()],
    };
    let pages: Vec<Page> = sections.iter().map(page).collect();
    let questions: Vec<Question> = asked.map(question).collect();
    Set::write(folder, name, &pages, &questions)
}

fn sections(folder: &Path, ending: &str) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    let mut files = fs::read_dir(folder)?;
    files.sort();
    for file in files {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(document) = name.strip_suffix(ending).filter(|name| *name != "index") else {
            continue;
        };
        let html = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
        let body = html.split("<div class=\"navfooter\">").next().unwrap_or_default();
        for (i, part) in body.split(SECTION).skip(1).enumerate() {
            sections.extend(section(format!("{document}-{}", i + 1), part));
        }
    }
    Ok(sections)
}

fn section(document: String, html: &str) -> Option<Section> {
    let anchor = html::between(html, "<a id=\"", "\"")?;
    let heading = html::between(html, "</a>", "</h")?;
    let (_, body) = html.split_once("</h")?;
    let (_, body) = body.split_once('>')?;
    let heading = html::text(heading);
    let number = |c: char| c.is_ascii_digit() || c == '.' || c == '절' || c.is_whitespace();
    let text = html::text(body);
    (!text.is_empty()).then(|| Section {
        document,
        anchor: anchor.to_owned(),
        question: heading.trim_start_matches(number).to_owned(),
        text,
    })
}
