//! `hanok search`: passages without an answer; `hanok suggest`: what a question may become.

use std::fmt::Write as _;

use knowledge::{Access, SearchMode};
use server::local::{Call, Outcome};
use server::wire::{AsOfJson, HitJson, SearchJson, SearchModeJson, SuggestionsJson};

use crate::answer::one_line;
use crate::args::{Mode, SearchArgs, SuggestArgs};
use crate::exit::{Failure, Result};
use crate::settings::Settings;
use crate::{house, print};

/// Characters of a passage that are shown.
const SHOWN_CHARS: usize = 240;

/// Runs the command.
pub(crate) fn run(args: &SearchArgs, settings: &Settings, json: bool) -> Result<()> {
    if args.question.trim().is_empty() {
        return Err(Failure::misuse("there is nothing to look for").hint("hanok search \"…\""));
    }
    let call = Call::Search {
        question: args.question.clone(),
        k: usize::from(args.k),
        mode: args.mode.into(),
        as_of: args.as_of.into(),
    };
    let found = match house::served(settings, call) {
        Some(outcome) => match outcome? {
            Outcome::Search(found) => found,
            other => return Err(house::unexpected(&other)),
        },
        None => search(args, settings)?,
    };
    if json {
        return print::json(&found);
    }
    if found.hits.is_empty() {
        return print::line("nothing was found");
    }
    let lines: Vec<String> = found.hits.iter().enumerate().map(shown).collect();
    print::line(&lines.join("\n"))
}

fn search(args: &SearchArgs, settings: &Settings) -> Result<SearchJson> {
    let store = house::open(settings, Access::Read)?;
    let wants_vectors = match args.mode {
        Mode::Lexical => false,
        Mode::Dense => true,
        Mode::Hybrid => house::status(&store).is_ok_and(|status| status.vectors > 0),
    };
    let embedder = if wants_vectors {
        house::embedder(settings)?
    } else {
        None
    };
    house::use_reranker(settings, &store)?;
    if args.mode == Mode::Dense && embedder.is_none() {
        return Err(
            Failure::environment("searching by vectors needs an embedding model, and none is here")
                .hint("`hanok pull e5` fetches one; `--mode lexical` searches by words"),
        );
    }
    let as_of: AsOfJson = args.as_of.into();
    let view = store
        .view_as_of(&settings.reader, as_of.into())
        .map_err(house::not_stored)?;
    let hits = view.search(
        &args.question,
        usize::from(args.k),
        args.mode.into(),
        embedder.as_deref(),
    );
    hits.map(|hits| SearchJson::from(hits.as_slice()))
        .map_err(house::not_stored)
}

/// Runs `suggest`.
pub(crate) fn suggest(args: &SuggestArgs, settings: &Settings, json: bool) -> Result<()> {
    let call = Call::Suggest {
        beginning: args.beginning.clone(),
        k: usize::from(args.k),
    };
    let found = match house::served(settings, call) {
        Some(outcome) => match outcome? {
            Outcome::Suggest(found) => found,
            other => return Err(house::unexpected(&other)),
        },
        None => {
            let store = house::open(settings, Access::Read)?;
            let view = store.view(&settings.reader).map_err(house::not_stored)?;
            let found = view.suggest(&args.beginning, usize::from(args.k));
            SuggestionsJson::from(found.map_err(house::not_stored)?)
        }
    };
    if json {
        return print::json(&found);
    }
    if found.suggestions.is_empty() {
        return print::line("no title or heading goes on like this");
    }
    let lines: Vec<&str> = found.suggestions.iter().map(|s| s.text.as_str()).collect();
    print::line(&lines.join("\n"))
}

fn shown((i, hit): (usize, &HitJson)) -> String {
    let page = hit.page.map(|page| format!(", page {page}")).unwrap_or_default();
    let mut text = format!("{}. {}{page}  ({:.4})\n", i + 1, hit.title, hit.score);
    if let Some(said) = print::not_in_force(&hit.validity, false) {
        let _ = writeln!(text, "   {said}");
    }
    if !hit.heading_path.is_empty() {
        let _ = writeln!(text, "   {}", hit.heading_path.join(" › "));
    }
    let line = one_line(&hit.text);
    let cut: String = line.chars().take(SHOWN_CHARS).collect();
    let more = if cut.len() < line.len() { " …" } else { "" };
    let _ = write!(
        text,
        "   {cut}{more}\n   {}  (hanok show {}@{} --span {}..{})",
        hit.path, hit.document_id, hit.version, hit.start, hit.end
    );
    for place in &hit.alike_places {
        let _ = write!(
            text,
            "\n   nearly the same: {}  (hanok show {}@{} --span {}..{})",
            place.path, place.document_id, place.version, place.start, place.end
        );
    }
    text
}

impl From<Mode> for SearchMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Lexical => Self::Lexical,
            Mode::Dense => Self::Dense,
            Mode::Hybrid => Self::Hybrid,
        }
    }
}

impl From<Mode> for SearchModeJson {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Lexical => Self::Lexical,
            Mode::Dense => Self::Dense,
            Mode::Hybrid => Self::Hybrid,
        }
    }
}
