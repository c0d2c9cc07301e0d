//! Retrieval measured: pages and questions in, hit rates out, beside a plain baseline on the same data.
//!
//! Runs the real store in a folder of its own. The baseline is a BM25 of character pairs with nothing around it,
//! written here so that it shares no code with what it is compared to.

mod baseline;
mod data;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use stdx::clock::Stopwatch;
use stdx::{fs, rng};

use crate::Store;
use crate::access::Reader;
use crate::analysis::Analysis;
use crate::error::StoreError;
use crate::types::{Access, Embed, Rerank, SearchMode};
use crate::validity::AsOf;
use baseline::Baseline;
use data::{Page, Question};

/// Pages listed for each question.
const RANKED_MAX: usize = 10;
/// Passages looked at: several can lie on one page.
const HITS: usize = 50;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Lines of `{id, document, page, text}`; plain or gzip (by content). Without `page`, the text is the whole document.
    pub pages: PathBuf,
    /// Lines of `{id, question, pages: [id…]}`.
    pub questions: PathBuf,
    /// Which index answers.
    pub mode: SearchMode,
}

/// Rates in 0..1 over all questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rates {
    /// A right page is first.
    pub hit1: f64,
    /// A right page is among the first five.
    pub hit5: f64,
    /// A right page is among the first ten.
    pub hit10: f64,
    /// Mean of one over the first right page's rank, 0 beyond ten.
    pub mrr10: f64,
}

/// One question's outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// The question.
    pub id: String,
    /// The best pages, each once, best first.
    pub ranked: Vec<String>,
    /// 1-based rank of the first right page, if among them.
    pub gold_rank: Option<usize>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialReport {
    /// Version of this shape.
    pub schema: u32,
    /// "lexical", "dense" or "hybrid".
    pub mode: &'static str,
    /// Questions.
    pub n: usize,
    /// The store's rates.
    #[serde(flatten)]
    pub rates: Rates,
    /// A plain BM25 of character pairs (k1 1.2, b 0.75) over whole pages, in the same run.
    pub baseline: Rates,
    /// Question by question.
    pub items: Vec<Item>,
    /// The baseline's.
    pub baseline_items: Vec<Item>,
    /// Seconds to index the pages, vectors included.
    pub index_s: f64,
    /// Median milliseconds of one search.
    pub p50_ms: f64,
}

/// Runs a trial in a store of this analysis. `embedder` is needed for the dense mode; hybrid without one is lexical.
/// `reranker`, if there is one, orders what the store finds.
///
/// # Errors
/// [`StoreError::BadTrial`] for files in another layout; whatever keeps a store from working.
pub fn retrieval(
    trial: &Trial,
    embedder: Option<&dyn Embed>,
    reranker: Option<Arc<dyn Rerank>>,
    analysis: Analysis,
) -> Result<TrialReport, StoreError> {
    let folder = Folder::new()?;
    let store = Store::open_with(&folder.0, Access::Write, analysis)?;
    if let Some(reranker) = reranker {
        store.rerank_with(reranker);
    }
    retrieval_in(&store, trial, embedder)
}

/// Runs a trial in an empty store.
pub(crate) fn retrieval_in(
    store: &Store,
    trial: &Trial,
    embedder: Option<&dyn Embed>,
) -> Result<TrialReport, StoreError> {
    let pages: Vec<Page> = data::read(&trial.pages)?;
    let questions: Vec<Question> = data::read(&trial.questions)?;
    data::check(trial, &pages, &questions)?;
    let watch = Stopwatch::start();
    for (document, pages) in by_document(&pages) {
        store.ingest_pages(document, &pages)?;
    }
    store.finish_pages()?;
    if let (Some(embedder), false) = (embedder, trial.mode == SearchMode::Lexical) {
        while store.embed_pending(embedder, usize::MAX)? > 0 {}
    }
    let index_s = watch.s();
    // The pages of a trial are all looked at, whatever they say of their days.
    let view = store.view_as_of(&Reader::keeper(), AsOf::ANY)?;
    let ids: BTreeMap<(&str, Option<u32>), &str> = pages
        .iter()
        .map(|p| ((p.document.as_str(), p.page), p.id.as_str()))
        .collect();
    let mut items = Vec::with_capacity(questions.len());
    let mut times = Vec::with_capacity(questions.len());
    for question in &questions {
        let watch = Stopwatch::start();
        let hits = view.search(&question.question, HITS, trial.mode, embedder)?;
        times.push(watch.ms());
        // What is nearly the same counts where it would stand by itself: behind the one that is listed.
        let places = hits.iter().flat_map(|hit| {
            let alike = hit.alike.iter().map(|place| (place.path.as_str(), place.page));
            std::iter::once((hit.path.as_str(), hit.page)).chain(alike)
        });
        let found = places.filter_map(|place| ids.get(&place));
        items.push(item(question, found.map(|id| (*id).to_owned())));
    }
    let plain = Baseline::new(&pages);
    let plain_items: Vec<Item> = questions
        .iter()
        .map(|q| item(q, plain.rank(&q.question).into_iter()))
        .collect();
    Ok(TrialReport {
        schema: 1,
        mode: mode_name(trial.mode),
        n: questions.len(),
        rates: rates(&items),
        baseline: rates(&plain_items),
        items,
        baseline_items: plain_items,
        index_s,
        p50_ms: median(times),
    })
}

fn mode_name(mode: SearchMode) -> &'static str {
    match mode {
        SearchMode::Lexical => "lexical",
        SearchMode::Dense => "dense",
        SearchMode::Hybrid => "hybrid",
    }
}

/// A page's number, if there are pages, and its text.
type PageText<'a> = (Option<u32>, &'a str);

/// Documents in order of their first page, each with its pages in order.
fn by_document(pages: &[Page]) -> Vec<(&str, Vec<PageText<'_>>)> {
    let mut documents: BTreeMap<&str, Vec<PageText<'_>>> = BTreeMap::new();
    for page in pages {
        documents
            .entry(&page.document)
            .or_default()
            .push((page.page, &page.text));
    }
    for pages in documents.values_mut() {
        pages.sort_by_key(|(page, _)| *page);
    }
    documents.into_iter().collect()
}

fn item(question: &Question, found: impl Iterator<Item = String>) -> Item {
    let mut ranked: Vec<String> = Vec::with_capacity(RANKED_MAX);
    for id in found {
        if ranked.len() < RANKED_MAX && !ranked.contains(&id) {
            ranked.push(id);
        }
    }
    let gold_rank = ranked
        .iter()
        .position(|id| question.pages.contains(id))
        .map(|i| i + 1);
    Item {
        id: question.id.clone(),
        ranked,
        gold_rank,
    }
}

fn rates(items: &[Item]) -> Rates {
    let n = items.len().max(1) as f64;
    let within = |limit| {
        items
            .iter()
            .filter(|i| i.gold_rank.is_some_and(|r| r <= limit))
            .count() as f64
            / n
    };
    let reciprocal: f64 = items
        .iter()
        .filter_map(|i| i.gold_rank)
        .map(|rank| 1.0 / rank as f64)
        .sum();
    Rates {
        hit1: within(1),
        hit5: within(5),
        hit10: within(10),
        mrr10: reciprocal / n,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A folder that is removed with its contents.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, StoreError> {
        let path = std::env::temp_dir().join(format!("hanok-trial-{}", rng::secret_hex(8)?));
        fs::create_dir_all(&path).map_err(StoreError::file)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a trial's folder was left behind");
        }
    }
}

/// The error for a line of `path`; line 0 is the whole file.
fn bad(path: &Path, line: usize, what: impl Into<String>) -> StoreError {
    StoreError::BadTrial {
        path: path.to_owned(),
        line,
        what: what.into(),
    }
}

#[cfg(test)]
mod tests;
