//! `hanok knowledge quality`: the documents as a whole.

use std::fmt::Write as _;

use knowledge::Access;
use knowledge::quality::QualityOptions;
use server::wire::{
    DoubledJson, FindingsJson, GapJson, NamedJson, QualityJson, QuoteJson, StaleJson, StalenessJson,
    UnreadableJson,
};

use crate::answer::one_line;
use crate::args::QualityArgs;
use crate::exit::{Code, Result};
use crate::settings::Settings;
use crate::{house, print};

/// Findings of one kind that are shown; `--json` has more.
const SHOWN_MAX: usize = 20;

/// Runs the command; the exit code is 1 if anything was found.
pub(crate) fn run(args: &QualityArgs, settings: &Settings, json: bool) -> Result<Code> {
    let store = house::open(settings, Access::Read)?;
    let options = QualityOptions {
        stale_months: args.months,
    };
    let report = store
        .view(&settings.reader)
        .and_then(|view| view.quality(&options))
        .map_err(house::not_stored)?;
    let report = QualityJson::from(&report);
    if json {
        print::json(&report)?;
    } else {
        print::stdout(&in_words(&report))?;
    }
    Ok(if report.clean { Code::Done } else { Code::No })
}

fn in_words(report: &QualityJson) -> String {
    let mut text = format!("{} looked at\n", print::count(report.documents, "document"));
    if report.not_compared > 0 {
        let _ = writeln!(
            text,
            "{} not compared sentence by sentence: there are too many",
            print::count(report.not_compared, "document")
        );
    }
    section(
        &mut text,
        "different figures on the same",
        &report.contradictory,
        |pair| format!("{}\n  {}", quoted(&pair.first), quoted(&pair.second)),
    );
    section(&mut text, "out of date", &report.stale, stale);
    section(&mut text, "doubled", &report.doubled, doubled);
    section(&mut text, "unreadable", &report.unreadable, unreadable);
    section(&mut text, "without an owner", &report.without_owner, named);
    section(&mut text, "asked for in vain", &report.gaps, gap);
    if report.documents > 0 && !report.owners_named {
        text.push_str("\nno document names an owner\n");
    }
    if report.clean {
        text.push_str("nothing was found\n");
    }
    text
}

fn section<T>(text: &mut String, title: &str, findings: &FindingsJson<T>, say: impl Fn(&T) -> String) {
    if findings.n == 0 {
        return;
    }
    let _ = writeln!(text, "\n{title}: {}", findings.n);
    let shown = &findings.listed[..findings.listed.len().min(SHOWN_MAX)];
    for finding in shown {
        let _ = writeln!(text, "- {}", say(finding));
    }
    if findings.n > shown.len() {
        let _ = writeln!(
            text,
            "  and {} more (`--json` lists them)",
            findings.n - shown.len()
        );
    }
}

fn named(named: &NamedJson) -> String {
    format!("{} ({})", named.title, named.path)
}

fn quoted(quote: &QuoteJson) -> String {
    let page = quote
        .page
        .map(|page| format!(", page {page}"))
        .unwrap_or_default();
    format!(
        "{}{page}: “{}”  (hanok show {}@{} --span {}..{})",
        quote.document.title,
        one_line(&quote.quote),
        quote.document.document_id,
        quote.document.version,
        quote.start,
        quote.end
    )
}

fn stale(stale: &StaleJson) -> String {
    let day = stale.day.map(|day| day.0.to_string()).unwrap_or_default();
    let by = stale.by.as_ref().map(named).unwrap_or_default();
    let why = match stale.why {
        StalenessJson::Past => format!("in force until {day}"),
        StalenessJson::Unchanged => format!("unchanged since {day}"),
        StalenessJson::Replaced => format!("still in force beside the newer {by}"),
    };
    format!("{}: {why}", named(&stale.document))
}

fn doubled(doubled: &DoubledJson) -> String {
    let how = if doubled.similarity >= 1.0 {
        "the same text".to_owned()
    } else {
        format!(
            "nearly the same text, about {:.0} %",
            (doubled.similarity * 100.0).floor()
        )
    };
    let names: Vec<String> = doubled
        .documents
        .iter()
        .map(|one| format!("\n    {}", named(one)))
        .collect();
    format!("{how}:{}", names.concat())
}

fn unreadable(unreadable: &UnreadableJson) -> String {
    let pages: Vec<String> = unreadable.pages.iter().map(u32::to_string).collect();
    let pages = if pages.is_empty() {
        String::new()
    } else {
        format!(" (pages {})", pages.join(", "))
    };
    format!("{}: {}{pages}", unreadable.path, unreadable.reason)
}

fn gap(gap: &GapJson) -> String {
    let mut text = format!("{}: asked {}", gap.words.join(", "), print::count(gap.n, "time"));
    for question in &gap.questions {
        let _ = write!(text, "\n    “{}”", one_line(question));
    }
    for near in &gap.nearest {
        let _ = write!(text, "\n    near: {}", named(near));
    }
    text
}
