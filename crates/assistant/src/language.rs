//! Which language a question is asked in, and the few sentences the assistant says itself.
//!
//! Not a language identifier for documents: two languages are spoken here, and Hangul decides.

use knowledge::edition::Newer;
use knowledge::{Date, Hit, Validity};

/// A language of questions and interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English, and whatever else is written in Latin letters.
    English,
    /// Korean.
    Korean,
}

impl Language {
    /// The language of `text`: Korean as soon as a fifth of its letters are Hangul, since Korean
    /// questions carry product names and acronyms in Latin letters.
    pub fn of(text: &str) -> Self {
        let letters = text.chars().filter(|c| c.is_alphabetic()).count();
        let hangul = text.chars().filter(|&c| is_hangul(c)).count();
        if hangul * 5 >= letters.max(1) {
            Self::Korean
        } else {
            Self::English
        }
    }

    /// ISO 639-1 code.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }
}

/// A Hangul syllable or letter.
pub(crate) fn is_hangul(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{11FF}' | '\u{3130}'..='\u{318F}' | '\u{AC00}'..='\u{D7A3}')
}

/// Why a question is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RefusalCause {
    /// There are no documents at all.
    NoDocuments,
    /// The question names nothing to look for.
    NothingToFind,
    /// No passage shares a content word with the question.
    NothingFound,
    /// The best passage leaves out what the question is about.
    Missing(Vec<String>),
}

impl RefusalCause {
    /// One or two sentences for the reader.
    pub(crate) fn say(&self, language: Language) -> String {
        match (language, self) {
            (Language::English, Self::NoDocuments) => {
                "There are no documents yet, so there is nothing to answer from.".into()
            }
            (Language::Korean, Self::NoDocuments) => {
                "아직 등록된 문서가 없어 답할 근거가 없습니다.".into()
            }
            (Language::English, Self::NothingToFind) => {
                "The question names nothing that could be looked up. Please ask with the words the documents would use.".into()
            }
            (Language::Korean, Self::NothingToFind) => {
                "질문에서 찾아볼 낱말을 알 수 없습니다. 문서에 나올 만한 낱말로 다시 물어봐 주세요.".into()
            }
            (Language::English, Self::NothingFound) => {
                "The documents don't tell. None of them speaks of this.".into()
            }
            (Language::Korean, Self::NothingFound) => {
                "문서에서 답을 찾을 수 없습니다. 이 주제를 다루는 문서가 없습니다.".into()
            }
            (Language::English, Self::Missing(words)) => {
                format!(
                    "The documents don't tell. Even the nearest passage says nothing of {}.",
                    list(words)
                )
            }
            (Language::Korean, Self::Missing(words)) => {
                format!(
                    "문서에서 답을 찾을 수 없습니다. 가장 가까운 부분에도 다음 내용이 없습니다: {}.",
                    list(words)
                )
            }
        }
    }
}

/// What is said beside a partial answer.
pub(crate) fn say_partial(language: Language, missing: &[String]) -> String {
    match (language, missing.is_empty()) {
        (Language::English, true) => "The documents answer this only in part.".into(),
        (Language::Korean, true) => "문서에는 일부만 나와 있습니다.".into(),
        (Language::English, false) => {
            format!(
                "The documents answer this only in part: nothing was found on {}.",
                list(missing)
            )
        }
        (Language::Korean, false) => {
            format!("문서에는 일부만 나와 있습니다. 찾지 못한 것: {}.", list(missing))
        }
    }
}

/// What is said beside sources that contradict each other.
pub(crate) fn say_conflict(language: Language) -> &'static str {
    match language {
        Language::English => "The documents give different figures; both are quoted.",
        Language::Korean => "문서마다 값이 다릅니다. 각각을 그대로 인용했습니다.",
    }
}

/// Two editions of a document that contradict each other.
pub(crate) struct Editions<'a> {
    /// Why the one is newer.
    pub(crate) newer: Newer,
    pub(crate) new: &'a Hit,
    pub(crate) old: &'a Hit,
    /// What is not followed.
    pub(crate) old_says: &'a str,
}

/// What is said when the newer of two editions is followed.
pub(crate) fn say_newer(language: Language, editions: &Editions<'_>) -> String {
    let (new, old) = (
        named(editions.new, editions.old),
        named(editions.old, editions.new),
    );
    let old_says: String = editions.old_says.split_whitespace().collect::<Vec<_>>().join(" ");
    match (language, editions.newer) {
        (Language::English, Newer::From(day)) => {
            format!("Two editions differ; this follows {new}, in force since {day}. {old} says: “{old_says}”")
        }
        (Language::English, Newer::Replaces) => {
            format!(
                "Two editions differ; this follows {new}, which replaces {old}. That one says: “{old_says}”"
            )
        }
        (Language::English, Newer::Named) => {
            format!("Two editions differ; this follows the newer by name, {new}. {old} says: “{old_says}”")
        }
        (Language::Korean, Newer::From(day)) => {
            format!("두 판의 내용이 달라 {day}부터 시행된 {new}에 따릅니다. {old}의 내용: “{old_says}”")
        }
        (Language::Korean, Newer::Replaces) => {
            format!("두 판의 내용이 달라 대체한 문서인 {new}에 따릅니다. 대체된 {old}의 내용: “{old_says}”")
        }
        (Language::Korean, Newer::Named) => {
            format!("두 판의 내용이 달라 이름이 더 새로운 {new}에 따릅니다. {old}의 내용: “{old_says}”")
        }
    }
}

/// A document's title, with its file where another has the same title.
fn named(hit: &Hit, other: &Hit) -> String {
    let file = hit.path.rsplit('/').next().unwrap_or_default();
    if hit.title == other.title && file != hit.title {
        format!("“{}” ({file})", hit.title)
    } else {
        format!("“{}”", hit.title)
    }
}

/// What is said beside a source that does not hold.
pub(crate) fn say_not_in_force(language: Language, title: &str, validity: Validity, today: Date) -> String {
    match (
        language,
        validity.from.filter(|from| *from > today),
        validity.until,
    ) {
        (Language::English, Some(from), _) => format!("“{title}” is not in force yet: it holds from {from}."),
        (Language::Korean, Some(from), _) => {
            format!("“{title}” 문서는 아직 시행 전입니다: {from}부터 시행됩니다.")
        }
        (Language::English, None, Some(until)) => {
            format!("“{title}” is no longer in force: it held until {until}.")
        }
        (Language::Korean, None, Some(until)) => {
            format!("“{title}” 문서는 더 이상 유효하지 않습니다: {until}까지 유효했습니다.")
        }
        (Language::English, None, None) => format!("“{title}” is not in force."),
        (Language::Korean, None, None) => format!("“{title}” 문서는 유효하지 않습니다."),
    }
}

/// What is said when whole passages had to be left out of the prompt.
pub(crate) fn say_budget(language: Language, used: usize, found: usize) -> String {
    match language {
        Language::English => format!("{used} of {found} passages fitted the model's context."),
        Language::Korean => format!("찾은 {found}개 구절 가운데 {used}개만 모델에 담을 수 있었습니다."),
    }
}

fn list(words: &[String]) -> String {
    const SHOWN_MAX: usize = 4;
    let shown: Vec<String> = words.iter().take(SHOWN_MAX).map(|w| format!("“{w}”")).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_korean_question_with_latin_names_is_korean() {
        assert_eq!(
            Language::of("HelpNow AI를 도입하면 비용은 얼마인가요?"),
            Language::Korean
        );
        assert_eq!(
            Language::of("What does 계약서 mean in this agreement, and who signs it?"),
            Language::English
        );
        assert_eq!(Language::of("1234 ???"), Language::English);
    }

    #[test]
    fn refusals_speak_the_language_of_the_question() {
        let cause = RefusalCause::Missing(vec!["연봉".into()]);
        assert!(cause.say(Language::Korean).contains("찾을 수 없습니다"));
        assert!(cause.say(Language::English).contains("don't tell"));
    }
}
