//! Which words of a sentence say what it is about: nouns, numerals, stems of verbs; not particles, endings, punctuation.
//! Latin words and digits are left out as well: they are whole terms of the analyser, which does not take `B2B` apart.
//!
//! By the tags of the Sejong corpus, which mecab-ko-dic has. What it knows as a compound or as an inflected form is taken
//! in the parts that it names, so that 계약서에 and 계약 have one in common.

/// Nouns (common and proper), numerals, roots, verbs and adjectives, words in Han, and Hangul that no dictionary knows.
const CONTENT: [&str; 8] = ["NNG", "NNP", "NR", "XR", "VV", "VA", "SH", "UNKNOWN"];
/// Where the features say of what form a word is, and of which parts.
const FORM: usize = 4;
const PARTS: usize = 7;
/// Forms that have parts.
const WITH_PARTS: [&str; 3] = ["Compound", "Inflect", "Preanalysis"];

/// Visits what a word says: its spelling, or those of its parts.
pub(crate) fn each<'a>(surface: &'a str, features: &'a str, mut visit: impl FnMut(&'a str)) {
    let mut fields = features.split(',');
    let part_of_speech = fields.next().unwrap_or_default();
    let form = fields.nth(FORM - 1).unwrap_or_default();
    let parts = fields.nth(PARTS - FORM - 1).unwrap_or_default();
    if WITH_PARTS.contains(&form) && parts.contains('/') {
        for part in parts.split('+') {
            let mut fields = part.split('/');
            if let (Some(word), Some(tag)) = (fields.next(), fields.next())
                && is_content(tag)
                && !word.is_empty()
            {
                visit(word);
            }
        }
        return;
    }
    // The form that is written stands for several at once: the first says what it is of.
    if part_of_speech.split('+').next().is_some_and(is_content) {
        visit(surface);
    }
}

fn is_content(tag: &str) -> bool {
    CONTENT.contains(&tag)
}
