//! Counters in Prometheus' text format.
//!
//! Routes are labelled by their pattern, never by the address asked for, so that a stranger cannot grow the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use crate::state::App;
use crate::wire::{AskJson, StatusJson};

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS_S: [f64; 10] = [0.005, 0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

#[derive(Debug, Default, Clone)]
struct Histogram {
    counts: [u64; BUCKETS_S.len()],
    count: u64,
    sum_s: f64,
}

impl Histogram {
    fn observe(&mut self, s: f64) {
        self.count += 1;
        self.sum_s += s;
        for (bound, count) in BUCKETS_S.iter().zip(&mut self.counts) {
            if s <= *bound {
                *count += 1;
            }
        }
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, count) in BUCKETS_S.iter().zip(&self.counts) {
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", self.count);
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let _ = writeln!(out, "{name}_sum{braces} {}", self.sum_s);
        let _ = writeln!(out, "{name}_count{braces} {}", self.count);
    }
}

#[derive(Debug, Default)]
struct Table {
    requests: BTreeMap<(String, &'static str, u16), u64>,
    durations: BTreeMap<String, Histogram>,
    answers: BTreeMap<(&'static str, &'static str), u64>,
    answer_first: Histogram,
    answer_total: Histogram,
}

/// The counters of one server.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Table>);

impl Metrics {
    /// Counts a request once its headers are out.
    pub(crate) fn request(&self, route: &str, method: &axum::http::Method, status: u16, s: f64) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "DELETE" => "DELETE",
            _ => "other",
        };
        *table
            .requests
            .entry((route.to_owned(), method, status))
            .or_default() += 1;
        table.durations.entry(route.to_owned()).or_default().observe(s);
    }

    /// Counts an answered question.
    pub(crate) fn answer(&self, answer: &AskJson) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (answer.outcome.as_str(), answer.mode.as_str());
        *table.answers.entry(key).or_default() += 1;
        table.answer_first.observe(answer.ms.first / 1e3);
        table.answer_total.observe(answer.ms.total / 1e3);
    }

    /// All of it as text; `status` is the store's state now.
    pub(crate) fn render(&self, app: &App, status: Option<&StatusJson>) -> String {
        let mut out = String::with_capacity(4096);
        self.write_requests(&mut out);
        write_engine(&mut out, app);
        if let Some(status) = status {
            gauge(
                &mut out,
                "hanok_documents",
                "Documents in the store.",
                status.documents,
            );
            gauge(
                &mut out,
                "hanok_passages",
                "Passages in the store.",
                status.passages,
            );
            gauge(
                &mut out,
                "hanok_vectors",
                "Passages with a vector of the present embedder.",
                status.vectors,
            );
            gauge(
                &mut out,
                "hanok_ingest_queued",
                "Files queued by an ingest that was cut off.",
                status.queued,
            );
        }
        gauge(
            &mut out,
            "hanok_jobs_waiting",
            "Uploads and ingests waiting.",
            app.jobs.n_waiting(),
        );
        let ready = usize::from(app.generation().as_str() == "ready");
        gauge(
            &mut out,
            "hanok_generation_ready",
            "1 when the model has passed its self-test.",
            ready,
        );
        out
    }

    fn write_requests(&self, out: &mut String) {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        head(
            out,
            "hanok_http_requests_total",
            "HTTP requests by route pattern.",
            "counter",
        );
        for ((route, method, status), n) in &table.requests {
            let _ = writeln!(
                out,
                "hanok_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}} {n}"
            );
        }
        let name = "hanok_http_request_duration_seconds";
        head(out, name, "Time until the response's headers.", "histogram");
        for (route, histogram) in &table.durations {
            histogram.write(out, name, &format!("route=\"{route}\""));
        }
        head(
            out,
            "hanok_answers_total",
            "Answered questions by outcome and mode.",
            "counter",
        );
        for ((outcome, mode), n) in &table.answers {
            let _ = writeln!(
                out,
                "hanok_answers_total{{outcome=\"{outcome}\",mode=\"{mode}\"}} {n}"
            );
        }
        let refused: u64 = table
            .answers
            .iter()
            .filter(|((outcome, _), _)| *outcome == "refuse")
            .map(|(_, n)| n)
            .sum();
        counter(
            out,
            "hanok_refusals_total",
            "Questions the documents don't answer.",
            refused,
        );
        let name = "hanok_answer_first_seconds";
        head(
            out,
            name,
            "Time until the first sentence or the refusal.",
            "histogram",
        );
        table.answer_first.write(out, name, "");
        let name = "hanok_answer_seconds";
        head(out, name, "Time until the whole answer.", "histogram");
        table.answer_total.write(out, name, "");
    }
}

fn write_engine(out: &mut String, app: &App) {
    let Some(engine) = app.assistant.engine() else {
        return;
    };
    let stats = engine.stats();
    gauge(
        out,
        "hanok_engine_running",
        "Sequences that take turns now.",
        stats.running,
    );
    gauge(
        out,
        "hanok_engine_waiting",
        "Requests in the engine's queue.",
        stats.waiting,
    );
    let all = [
        (
            "hanok_prompt_tokens_total",
            "Prompt tokens processed.",
            stats.prompt_tokens_total,
        ),
        (
            "hanok_cached_prompt_tokens_total",
            "Prompt tokens that were in memory already.",
            stats.cached_tokens_total,
        ),
        (
            "hanok_generation_tokens_total",
            "Tokens generated.",
            stats.generation_tokens_total,
        ),
        (
            "hanok_generations_finished_total",
            "Generations that reached their end.",
            stats.finished_total,
        ),
        (
            "hanok_generations_cancelled_total",
            "Generations dropped by their caller.",
            stats.cancelled_total,
        ),
        (
            "hanok_guessed_tokens_total",
            "Tokens guessed ahead from the text so far.",
            stats.guessed_total,
        ),
        (
            "hanok_guessed_right_tokens_total",
            "Guesses that were right, each a step saved.",
            stats.guessed_right_total,
        ),
    ];
    counters(out, &all);
    if let Some(residency) = engine.model().residency() {
        write_residency(out, residency);
    }
    write_router(out, &engine.router_statistics());
}

/// Of a model with a memory budget.
fn write_residency(out: &mut String, residency: model::ResidencyStats) {
    let all = [
        (
            "hanok_experts_needed_total",
            "Experts needed, once a step and layer.",
            residency.needed,
        ),
        (
            "hanok_experts_hit_total",
            "Experts that were in memory or being read when they were needed.",
            residency.hits,
        ),
        (
            "hanok_experts_read_bytes_total",
            "Bytes of experts read from the disk.",
            residency.bytes_read,
        ),
    ];
    counters(out, &all);
}

/// Two numbers a layer; the counts of each expert are at `/api/router`.
fn write_router(out: &mut String, router: &engine::RouterStatistics) {
    if router.layers.is_empty() {
        return;
    }
    let name = "hanok_router_used_share";
    head(
        out,
        name,
        "Share of a layer's experts that were ever chosen.",
        "gauge",
    );
    for layer in &router.layers {
        let _ = writeln!(out, "{name}{{layer=\"{}\"}} {}", layer.layer, layer.used_share());
    }
    let name = "hanok_router_entropy_bits";
    head(out, name, "Entropy of a layer's choices of experts.", "gauge");
    for layer in &router.layers {
        let _ = writeln!(
            out,
            "{name}{{layer=\"{}\"}} {}",
            layer.layer,
            layer.entropy_bits()
        );
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Counters by name, with what they count.
fn counters(out: &mut String, all: &[(&str, &str, u64)]) {
    for (name, help, value) in all {
        counter(out, name, help, *value);
    }
}

fn counter(out: &mut String, name: &str, help: &str, value: u64) {
    head(out, name, help, "counter");
    let _ = writeln!(out, "{name} {value}");
}

fn gauge(out: &mut String, name: &str, help: &str, value: usize) {
    head(out, name, help, "gauge");
    let _ = writeln!(out, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_end_with_infinity() {
        let mut histogram = Histogram::default();
        for s in [0.001, 0.5, 1000.0] {
            histogram.observe(s);
        }
        let mut out = String::new();
        histogram.write(&mut out, "x", "route=\"/\"");
        assert!(out.starts_with("x_bucket{route=\"/\",le=\"0.005\"} 1\n"), "{out}");
        assert!(out.contains("x_bucket{route=\"/\",le=\"1\"} 2\n"), "{out}");
        assert!(
            out.contains("le=\"+Inf\"} 3\nx_sum{route=\"/\"} 1000.501\nx_count{route=\"/\"} 3\n"),
            "{out}"
        );
    }
}
