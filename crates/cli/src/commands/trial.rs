//! `hanok trial`: measures on given questions; the measuring itself is the room's.

use knowledge::SearchMode;
use knowledge::trial::{Rates, Trial, TrialReport};

use crate::args::{Mode, TrialRetrievalArgs};
use crate::exit::{Failure, Result};
use crate::settings::Settings;
use crate::{house, print};

/// Runs `trial retrieval`.
pub(crate) fn retrieval(args: &TrialRetrievalArgs, settings: &Settings, json: bool) -> Result<()> {
    let mode = SearchMode::from(args.mode);
    let embedder = if mode == SearchMode::Lexical {
        None
    } else {
        house::embedder(settings)?
    };
    if args.mode == Mode::Dense && embedder.is_none() {
        return Err(
            Failure::environment("a trial of vectors needs an embedding model, and none is here")
                .hint("`hanok pull e5` fetches one"),
        );
    }
    if args.mode == Mode::Hybrid && embedder.is_none() {
        print::stderr_line(
            "note: no embedding model is here, so only words are measured; `hanok pull e5` fetches one",
        );
    }
    let trial = Trial {
        pages: args.pages.clone(),
        questions: args.questions.clone(),
        mode,
    };
    let analysis = house::analysis(settings)?;
    let reranker = house::reranker(settings)?;
    let report = knowledge::trial::retrieval(&trial, embedder.as_deref(), reranker, analysis)
        .map_err(house::not_stored)?;
    if json {
        print::json(&report)
    } else {
        print::stdout(&table(&report))
    }
}

fn table(report: &TrialReport) -> String {
    let row = |name: &str, rates: Rates| {
        format!(
            "{name:<10} {:>6.3} {:>6.3} {:>6.3} {:>6.3}\n",
            rates.hit1, rates.hit5, rates.hit10, rates.mrr10
        )
    };
    format!(
        "{} questions; indexed in {:.1} s, median search {:.1} ms\n\n{:<10} {:>6} {:>6} {:>6} {:>6}\n{}{}",
        report.n,
        report.index_s,
        report.p50_ms,
        "",
        "hit@1",
        "hit@5",
        "hit@10",
        "mrr@10",
        row(report.mode, report.rates),
        row("baseline", report.baseline)
    )
}
