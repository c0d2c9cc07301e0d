//! Clauses: 제12조 제3항 제2호 가목, Article 12(3), § 4.2.1, Section 4.2.

use super::Named;
use super::cursor::Cursor;

/// Longer numbers number no clause.
const DIGITS_MAX: usize = 4;
/// Parts of a dotted number.
const PARTS_MAX: usize = 8;

/// Divisions above the article, each numbered on its own.
const DIVISIONS: &[(&str, char)] = &[("편", '편'), ("장", '장'), ("절", '절'), ("관", '관')];
const ARTICLE_WORDS: &[(&str, ())] = &[("article", ()), ("articles", ()), ("art.", ()), ("art", ())];
const SECTION_WORDS: &[(&str, ())] = &[
    ("section", ()),
    ("sections", ()),
    ("sec.", ()),
    ("sec", ()),
    ("clause", ()),
    ("clauses", ()),
];
const PARAGRAPH_WORDS: &[(&str, ())] = &[("paragraph", ()), ("paragraphs", ()), ("para.", ()), ("para", ())];
const CHAPTER_WORDS: &[(&str, ())] = &[("chapter", ()), ("ch.", ())];
/// What follows the number of a clause in Korean where it is dotted: "4.2.1절".
const DOTTED_UNITS: &str = "절항조호장";

/// A clause with as much of it as is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clause {
    division: Option<(char, u32)>,
    /// Its number, and the number behind 의 (0 without one).
    article: Option<(u32, u32)>,
    paragraph: Option<u32>,
    item: Option<u32>,
    sub_item: Option<char>,
}

impl Clause {
    pub(super) fn is_article(&self) -> bool {
        self.article.is_some()
    }

    /// The article that it belongs to.
    pub(super) fn article(&self) -> Self {
        Self {
            article: self.article,
            ..Self::default()
        }
    }

    pub(super) fn with_paragraph(mut self, n: u32) -> Self {
        self.paragraph = Some(n);
        self
    }

    /// Its index terms, the widest first, its own last.
    pub(super) fn terms(&self) -> Vec<String> {
        let mut terms = Vec::new();
        let mut path = "c:".to_owned();
        let mut step = |text: String| {
            path.push_str(&text);
            terms.push(path.clone());
        };
        if let Some((unit, n)) = self.division {
            step(format!("{unit}{n}"));
        }
        match self.article {
            Some((n, 0)) => step(format!("조{n}")),
            Some((n, of)) => step(format!("조{n}의{of}")),
            None => {}
        }
        if let Some(n) = self.paragraph {
            step(format!("항{n}"));
        }
        if let Some(n) = self.item {
            step(format!("호{n}"));
        }
        if let Some(c) = self.sub_item {
            step(format!("목{c}"));
        }
        terms
    }
}

/// A clause or a section's number that begins here.
pub(super) fn read(at: Cursor<'_>) -> Option<(Named, Cursor<'_>)> {
    korean(at)
        .map(|(clause, after)| (Named::Clause(clause), after))
        .or_else(|| section(at))
        .or_else(|| english(at).map(|(clause, after)| (Named::Clause(clause), after)))
}

fn korean(at: Cursor<'_>) -> Option<(Clause, Cursor<'_>)> {
    let led = at.eat('제');
    if led.is_none() && !at.may_begin_number() {
        return None;
    }
    let (number, after) = led.map_or(at, Cursor::space).digits(1, DIGITS_MAX)?;
    let unit = after.space();
    let mut clause = Clause::default();
    if let (Some(_), Some((division, end))) = (led, unit.eat_any(DIVISIONS)) {
        clause.division = Some((division, number));
        return Some((clause, end));
    }
    let mut end = if let Some(end) = unit.eat('조') {
        let branch = end.eat('의').and_then(|after| after.digits(1, DIGITS_MAX));
        clause.article = Some((number, branch.map_or(0, |(n, _)| n)));
        branch.map_or(end, |(_, after)| after)
    } else if let Some(end) = unit.eat('항') {
        clause.paragraph = Some(number);
        end
    } else {
        clause.item = Some(number);
        unit.eat('호')?
    };
    end = parts_behind(&mut clause, end);
    // Without 제, "12조" is money as often as not, and "3항" or "2호" (of a building) may be anything.
    let is_plain = led.is_some()
        || clause.article.is_some_and(|(_, branch)| branch > 0)
        || (clause.article.is_some() && (clause.paragraph.is_some() || clause.item.is_some()))
        || (clause.paragraph.is_some() && clause.item.is_some());
    is_plain.then_some((clause, end))
}

/// "제3항 제2호 가목" behind an article, each with or without 제 and spaces.
fn parts_behind<'a>(clause: &mut Clause, mut end: Cursor<'a>) -> Cursor<'a> {
    let numbered = |at: Cursor<'a>, unit: char| {
        let at = at.space();
        let (n, after) = at.eat('제').unwrap_or(at).space().digits(1, DIGITS_MAX)?;
        Some((n, after.space().eat(unit)?))
    };
    if clause.article.is_some()
        && let Some((n, after)) = numbered(end, '항')
    {
        clause.paragraph = Some(n);
        end = after;
    }
    if clause.item.is_none()
        && let Some((n, after)) = numbered(end, '호')
    {
        clause.item = Some(n);
        end = after;
    }
    if clause.item.is_some()
        && let Some((letter, after)) = end.space().eat_if(|c| ('가'..='하').contains(&c))
        && let Some(after) = after.eat('목')
    {
        clause.sub_item = Some(letter);
        end = after;
    }
    end
}

/// "Article 12(3)", "Art. 12, paragraph 3", "paragraph 3 of Article 12", "Chapter 3".
fn english(at: Cursor<'_>) -> Option<(Clause, Cursor<'_>)> {
    if !at.is_latin() || at.is_in_word() {
        return None;
    }
    if let Some(((), after)) = at.eat_word(CHAPTER_WORDS) {
        let (n, end) = after.space().digits(1, DIGITS_MAX)?;
        let division = Some(('장', n));
        return Some((
            Clause {
                division,
                ..Clause::default()
            },
            end,
        ));
    }
    if let Some(((), after)) = at.eat_word(PARAGRAPH_WORDS) {
        let (n, end) = after.space().digits(1, DIGITS_MAX)?;
        let clause = Clause::default().with_paragraph(n);
        let of = end
            .eat_str(" of article ")
            .and_then(|at| at.digits(1, DIGITS_MAX));
        return Some(match of {
            Some((article, end)) => (
                Clause {
                    article: Some((article, 0)),
                    ..clause
                },
                end,
            ),
            None => (clause, end),
        });
    }
    let ((), after) = at.eat_word(ARTICLE_WORDS)?;
    let (n, end) = after.space().digits(1, DIGITS_MAX)?;
    let mut clause = Clause {
        article: Some((n, 0)),
        ..Clause::default()
    };
    let end = paragraph_behind(end).map_or(end, |(n, end)| {
        clause.paragraph = Some(n);
        end
    });
    Some((clause, end))
}

fn paragraph_behind(at: Cursor<'_>) -> Option<(u32, Cursor<'_>)> {
    if let Some(open) = at.space().eat('(') {
        let (n, after) = open.digits(1, DIGITS_MAX)?;
        return Some((n, after.eat(')')?));
    }
    let at = at.eat(',').unwrap_or(at).space();
    let ((), after) = at.eat_word(PARAGRAPH_WORDS)?;
    after.space().digits(1, DIGITS_MAX)
}

/// "§ 4.2.1", "Section 4.2", "4.2.1절", and "4.2.1" by itself.
fn section(at: Cursor<'_>) -> Option<(Named, Cursor<'_>)> {
    if let Some(after) = at.eat('§') {
        let after = after.eat('§').unwrap_or(after);
        let (path, _, end) = dotted(after.space())?;
        return Some((Named::Section(path), end));
    }
    if let Some(((), after)) = at.eat_word(SECTION_WORDS) {
        let (path, _, end) = dotted(after.space())?;
        return Some((Named::Section(path), end));
    }
    let led = at.eat('제');
    if led.is_none() && !at.may_begin_number() {
        return None;
    }
    let (path, n_parts, end) = dotted(led.unwrap_or(at))?;
    if n_parts >= 2
        && let Some((_, end)) = end.space().eat_if(|c| DOTTED_UNITS.contains(c))
    {
        return Some((Named::Section(path), end));
    }
    (n_parts >= 3 && led.is_none() && end.may_end_number()).then_some((Named::Section(path), end))
}

/// Numbers with points between them.
fn dotted(at: Cursor<'_>) -> Option<(String, usize, Cursor<'_>)> {
    let (_, mut end) = at.digits(1, DIGITS_MAX)?;
    let mut n_parts = 1;
    while let Some((_, after)) = end.eat('.').and_then(|after| after.digits(1, DIGITS_MAX)) {
        n_parts += 1;
        end = after;
    }
    (n_parts <= PARTS_MAX).then(|| (at.until(end).iter().collect(), n_parts, end))
}
