//! The way of one question: retrieve, gate, then write or quote, and say what stands.

use knowledge::{Hit, SearchMode, StoreStatus, View};
use stdx::clock::Stopwatch;
use unicode_normalization::UnicodeNormalization as _;

use crate::evidence::{Evidence, Verdict, judge, nearest, weigh};
use crate::generate::{Progress, REPLY_TOKENS_MAX, Writer, Written};
use crate::language::{self, Language, RefusalCause};
use crate::sources::{self, SourceSentence};
use crate::words::{self, Asks, Word};
use crate::{
    Answer, Ask, AskError, AskEvent, Assistant, Citation, Mode, Outcome, Refusal, Sentence, Timing, Usage,
    Wanted, conflict, extract, prompt,
};

/// Characters of a question at most.
pub(crate) const QUESTION_CHARS_MAX: usize = 4000;
/// Passages looked at.
const HITS_MAX: usize = 8;
/// Documents named beside a refusal.
const NEAREST_MAX: usize = 3;

/// Answers `ask`; see [`Assistant::ask`].
pub(crate) fn ask(
    assistant: &Assistant,
    ask: &Ask,
    on_event: &mut dyn FnMut(AskEvent) -> Wanted,
) -> Result<Answer, AskError> {
    let question: String = ask.question.trim().nfc().collect();
    check(&question)?;
    let view = assistant.store().view_as_of(&ask.reader, ask.as_of)?;
    let mut run = Run::start(assistant, &view, Language::of(&question), on_event);
    let status = view.status()?;
    let subject = Subject::of(&question, ask);
    if let Some(cause) = run.refusal_before_search(&status, &subject)? {
        return Ok(run.refuse(&cause, Vec::new(), Vec::new()));
    }
    let hits = assistant.search(&view, &subject.query, HITS_MAX, SearchMode::Hybrid)?;
    run.retrieved(hits.len())?;
    let mut evidence = run.gate(&status, &subject, hits)?;
    if evidence.verdict == Verdict::NotEnough {
        let missing = match evidence.missing.is_empty() {
            true => subject.named(),
            false => evidence.missing.clone(),
        };
        let cause = match evidence.missing.is_empty() {
            true => RefusalCause::NothingFound,
            false => RefusalCause::Missing(evidence.missing.clone()),
        };
        return Ok(run.refuse(&cause, missing, nearest(&evidence.candidates, NEAREST_MAX)));
    }
    evidence.add_neighbours(&view)?;
    let sentences = sources::sentences(&view, &evidence, subject.asks);
    let found = Found {
        evidence,
        sentences,
        asks: subject.asks,
        missing: subject.named(),
    };
    run.answer(ask, &question, &status, found)
}

fn check(question: &str) -> Result<(), AskError> {
    let chars = question.chars().count();
    match chars {
        0 => Err(AskError::EmptyQuestion),
        _ if chars > QUESTION_CHARS_MAX => Err(AskError::QuestionTooLong {
            chars,
            max: QUESTION_CHARS_MAX,
        }),
        _ => Ok(()),
    }
}

/// What the question is about, its leaning on the conversation resolved.
struct Subject {
    query: String,
    words: Vec<Word>,
    from_history: Vec<Word>,
    asks: Asks,
}

impl Subject {
    fn of(question: &str, ask: &Ask) -> Self {
        let words = words::content_words(question);
        let asks = words::asks_for(question);
        let before = ask
            .history
            .last()
            .map(|turn| turn.question.trim())
            .filter(|q| !q.is_empty());
        match before {
            Some(before) if words::leans_on_history(question, &words) => Self {
                query: format!("{before}\n{question}"),
                words,
                from_history: words::content_words(before),
                asks,
            },
            _ => Self {
                query: question.to_owned(),
                words,
                from_history: Vec::new(),
                asks,
            },
        }
    }
}

impl Subject {
    /// The words that the question is about.
    fn named(&self) -> Vec<String> {
        let words = self.words.iter().filter(|word| !word.light);
        words.map(|word| word.text.clone()).collect()
    }
}

/// What the documents hold on the question.
struct Found {
    evidence: Evidence,
    sentences: Vec<SourceSentence>,
    asks: Asks,
    /// The question's own words, for a refusal after all.
    missing: Vec<String>,
}

impl Found {
    /// Without the passages of a document, in the order that they had.
    fn without(&mut self, view: &View<'_>, document_id: &str) {
        self.evidence
            .candidates
            .retain(|candidate| candidate.hit.document_id != document_id);
        self.sentences = sources::sentences(view, &self.evidence, self.asks);
    }
}

/// One question on its way.
struct Run<'a> {
    assistant: &'a Assistant,
    view: &'a View<'a>,
    language: Language,
    on_event: &'a mut dyn FnMut(AskEvent) -> Wanted,
    watch: Stopwatch,
    timing: Timing,
    usage: Usage,
    sentences: Vec<Sentence>,
    citations: Vec<Citation>,
    notes: Vec<String>,
}

impl<'a> Run<'a> {
    fn start(
        assistant: &'a Assistant,
        view: &'a View<'a>,
        language: Language,
        on_event: &'a mut dyn FnMut(AskEvent) -> Wanted,
    ) -> Self {
        Self {
            assistant,
            view,
            language,
            on_event,
            watch: Stopwatch::start(),
            timing: Timing::default(),
            usage: Usage::default(),
            sentences: Vec::new(),
            citations: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn refusal_before_search(
        &self,
        status: &StoreStatus,
        subject: &Subject,
    ) -> Result<Option<RefusalCause>, AskError> {
        // There may be some that do not hold now.
        if status.documents == 0 && self.view.documents()?.is_empty() {
            return Ok(Some(RefusalCause::NoDocuments));
        }
        let nothing = subject.words.is_empty() && subject.from_history.is_empty();
        Ok(nothing.then_some(RefusalCause::NothingToFind))
    }

    fn retrieved(&mut self, passages: usize) -> Result<(), AskError> {
        self.timing.retrieve = self.watch.ms();
        self.tell(AskEvent::Retrieved { passages })
    }

    fn tell(&mut self, event: AskEvent) -> Result<(), AskError> {
        match (self.on_event)(event) {
            Wanted::Yes => Ok(()),
            Wanted::No => Err(AskError::Cancelled),
        }
    }

    fn gate(&self, status: &StoreStatus, subject: &Subject, hits: Vec<Hit>) -> Result<Evidence, AskError> {
        let sought = weigh(self.view, status, &subject.words, &subject.from_history)?;
        Ok(judge(self.view, sought, hits))
    }

    fn refuse(
        mut self,
        cause: &RefusalCause,
        missing: Vec<String>,
        nearest: Vec<crate::NearDocument>,
    ) -> Answer {
        let reason = cause.say(self.language);
        self.timing.first = self.watch.ms();
        let mut answer = self.finish(Outcome::Refuse, Mode::Extractive);
        answer.refusal = Some(Refusal {
            reason,
            missing,
            nearest,
        });
        answer
    }

    fn answer(
        mut self,
        ask: &Ask,
        question: &str,
        status: &StoreStatus,
        mut found: Found,
    ) -> Result<Answer, AskError> {
        if let Some((a, b)) = self.settle_editions(question, &mut found) {
            self.notes.push(language::say_conflict(self.language).to_owned());
            self.quote(&found, &[a..a + 1, b..b + 1])?;
            return Ok(self.finish(Outcome::Conflict, Mode::Extractive));
        }
        let found = &found;
        let outcome = match found.evidence.verdict {
            Verdict::Enough => Outcome::Answer,
            Verdict::Partial | Verdict::NotEnough => {
                self.notes
                    .push(language::say_partial(self.language, &found.evidence.missing));
                Outcome::Hedge
            }
        };
        if !ask.extractive {
            self.write(ask, question, status, found)?;
        }
        if !self.sentences.is_empty() {
            return Ok(self.finish(outcome, Mode::Generated));
        }
        self.quote(found, &extract::choose(&found.evidence, &found.sentences))?;
        if self.sentences.is_empty() {
            let near = nearest(&found.evidence.candidates, NEAREST_MAX);
            return Ok(self.refuse(&RefusalCause::NothingFound, found.missing.clone(), near));
        }
        Ok(self.finish(outcome, Mode::Extractive))
    }

    /// Of editions that contradict each other only the newest stays, and that is said, or the one that is asked for;
    /// returns two sentences whose
    /// contradiction cannot be settled so.
    fn settle_editions(&mut self, question: &str, found: &mut Found) -> Option<(usize, usize)> {
        // Every round takes a document out, and there are few.
        for _ in 0..HITS_MAX {
            let conflict = conflict::find(&found.evidence, &found.sentences, found.asks, question)?;
            let hit = |i: usize| {
                found.evidence.candidates[found.sentences[i].candidate]
                    .hit
                    .clone()
            };
            let Some(lead) = conflict.lead else {
                return Some((conflict.first, conflict.second));
            };
            let (new, old) = (hit(conflict.first), hit(conflict.second));
            if let conflict::Lead::Newer(newer) = lead {
                let said = language::Editions {
                    newer,
                    new: &new,
                    old: &old,
                    old_says: &found.sentences[conflict.second].text,
                };
                self.notes.push(language::say_newer(self.language, &said));
            }
            found.without(self.view, &old.document_id);
        }
        None
    }

    /// Lets the model write, where there is one that speaks the question's language.
    fn write(
        &mut self,
        ask: &Ask,
        question: &str,
        status: &StoreStatus,
        found: &Found,
    ) -> Result<(), AskError> {
        let Some(engine) = self.assistant.engine() else {
            return Ok(());
        };
        let speaks = engine.model().languages();
        if !speaks.is_empty() && !speaks.iter().any(|code| code == self.language.code()) {
            return Ok(());
        }
        let Some(prompt) = prompt::build(engine, &found.evidence, question, self.language, REPLY_TOKENS_MAX)
        else {
            return Ok(());
        };
        let n_passages = prompt.n_passages;
        let in_prompt = found.sentences.partition_point(|s| s.candidate < n_passages);
        let owner = engine::Owner {
            caller: ask.caller,
            partition: crate::partition_of(&ask.reader),
        };
        let writer = Writer {
            view: self.view,
            owner,
            status,
            evidence: &found.evidence,
            sentences: &found.sentences[..in_prompt],
        };
        let mut usage = Usage::default();
        let mut cancelled = false;
        let written = writer.run(engine, prompt, &mut usage, &mut |progress| {
            let told = match progress {
                Progress::Tokens(tokens) => self.tell(AskEvent::Writing { tokens }),
                Progress::Verified(text, run) => self.show(found, text, run).map(|_| ()),
            };
            cancelled |= told.is_err();
            if told.is_ok() { Wanted::Yes } else { Wanted::No }
        });
        self.usage = usage;
        match written {
            _ if cancelled => Err(AskError::Cancelled),
            Written::Cancelled => Err(AskError::Cancelled),
            Written::Failed(reason) => {
                tracing::warn!(reason, "the model did not answer; quoting instead");
                Ok(())
            }
            Written::Done => {
                if !self.sentences.is_empty() && n_passages < found.evidence.candidates.len().min(4) {
                    let note =
                        language::say_budget(self.language, n_passages, found.evidence.candidates.len());
                    self.notes.push(note);
                }
                Ok(())
            }
        }
    }

    /// Quotes runs of source sentences as they stand.
    fn quote(&mut self, found: &Found, runs: &[std::ops::Range<usize>]) -> Result<(), AskError> {
        for run in runs {
            for index in run.clone() {
                let text = &found.sentences[index].text;
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                self.show(found, &text, index..index + 1)?;
            }
        }
        Ok(())
    }

    /// Shows a sentence with its citation; one that cannot be cited character for character is left out.
    fn show(&mut self, found: &Found, text: &str, run: std::ops::Range<usize>) -> Result<(), AskError> {
        let Some(citation) = sources::cite(self.view, &found.evidence, &found.sentences[run]) else {
            return Ok(());
        };
        if self.sentences.is_empty() {
            self.timing.first = self.watch.ms();
        }
        let known = self.citations.iter().position(|c| *c == citation);
        let index = known.unwrap_or(self.citations.len());
        let new_citations = if known.is_none() {
            vec![citation]
        } else {
            Vec::new()
        };
        self.citations.extend(new_citations.iter().cloned());
        let sentence = Sentence {
            text: text.to_owned(),
            citations: vec![index],
        };
        self.sentences.push(sentence.clone());
        self.tell(AskEvent::Sentence {
            sentence,
            new_citations,
        })
    }

    fn finish(mut self, outcome: Outcome, mode: Mode) -> Answer {
        let today = self.view.today();
        for citation in self.citations.iter().filter(|citation| !citation.holds) {
            let note = language::say_not_in_force(self.language, &citation.title, citation.validity, today);
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        self.timing.total = self.watch.ms();
        Answer {
            outcome,
            mode,
            language: self.language,
            sentences: self.sentences,
            citations: self.citations,
            refusal: None,
            usage: self.usage,
            timing: self.timing,
            notes: self.notes,
        }
    }
}
