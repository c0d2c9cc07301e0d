//! Rows of the comparison: medians, ratios, shares of the roof; as a table and as JSON.
//!
//! A ratio above 1 is better for us, whatever the metric. The peer enters each row with the setting that is
//! best for that figure, except `load`, which counts with the setting that decodes best.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::peer;
use crate::quiet::OTHERS_MAX;
use crate::roofs::Roofs;
use crate::traffic::Traffic;
use crate::worker::{Measured, Which};

/// Everything one run found.
#[derive(Serialize)]
pub(crate) struct Report {
    schema: u32,
    machine: Machine,
    pub(crate) roofs: Vec<Roofs>,
    rows: Vec<Row>,
    /// Largest share of the machine that others took while an engine ran; see `quiet`.
    others_share_max: f64,
    /// Whether the ratios count: nobody else wanted the cores.
    quiet: bool,
}

#[derive(Serialize)]
struct Machine {
    cpu: String,
    flags: Vec<String>,
    huge_pages: String,
    threads: usize,
}

#[derive(Serialize)]
struct Row {
    model: String,
    model_sha: String,
    #[serde(rename = "type")]
    weight_type: String,
    metric: String,
    unit: &'static str,
    ours: Vec<f64>,
    peer: PeerRow,
    ratio: f64,
    /// The median of what ours reached of the roof that was measured right before and after it; none for `load` and `peak_memory`.
    roof_share: Option<f64>,
}

#[derive(Serialize)]
struct PeerRow {
    name: &'static str,
    version: &'static str,
    system_info: String,
    settings: &'static str,
    values: Vec<f64>,
    /// The other setting, so that the choice can be checked.
    others: BTreeMap<&'static str, Vec<f64>>,
}

/// All repetitions on one model.
pub(crate) struct ModelRun {
    name: String,
    sha: String,
    weight_type: String,
    traffic: Traffic,
    deep: bool,
    measured: Vec<(Which, Measured)>,
    /// The roofs right before and right after each of our repetitions.
    roofs: Vec<(Roofs, Roofs)>,
    /// Memory of several processes together, by engine.
    shared: Vec<(Which, f64)>,
}

/// Sequences decoded together.
const TOGETHER: usize = 8;

/// Repetitions after which a setting may be given up.
const LOSSES: usize = 2;

const SETTINGS: [(Which, &str); 2] = [
    (Which::PeerRepack, "CPU repack on"),
    (Which::PeerPlain, "CPU repack off"),
];

impl ModelRun {
    pub(crate) fn new(path: &Path, weight_type: &str, deep: bool) -> Result<Self> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        eprintln!("{name} ({weight_type})");
        // Hashing reads the whole file, which also makes the file cache warm.
        let sha = stdx::hash::sha256_file(path)?;
        let traffic = Traffic::of(path)?;
        Ok(Self {
            name,
            sha,
            weight_type: weight_type.to_owned(),
            traffic,
            deep,
            measured: Vec::new(),
            roofs: Vec::new(),
            shared: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, which: Which, measured: Measured) {
        self.measured.push((which, measured));
    }

    pub(crate) fn add_roofs(&mut self, before: Roofs, after: Roofs) {
        self.roofs.push((before, after));
    }

    /// The median share of the roof in each repetition, where one token costs so many bytes or products.
    fn roof_share(&self, ours: &[f64], roof: Roof, cost: f64) -> f64 {
        let reached = ours.iter().zip(&self.roofs);
        let shares: Vec<f64> = reached
            .map(|(value, (before, after))| value * cost * 2.0 / (roof.of(before) + roof.of(after)))
            .collect();
        median(&shares)
    }

    pub(crate) fn add_shared(&mut self, which: Which, bytes: f64) {
        self.shared.push((which, bytes));
    }

    pub(crate) fn vocabulary(&self) -> u64 {
        // OLMoE's embeddings have 24 rows more than its tokenizer has tokens; no other family is hurt.
        self.traffic.n_vocabulary.saturating_sub(24).max(1)
    }

    pub(crate) fn context_max(&self) -> usize {
        self.traffic.n_context
    }

    pub(crate) fn prefill_lengths(&self) -> &'static [usize] {
        if self.deep { &[512, 2048] } else { &[512] }
    }

    pub(crate) fn decode_contexts(&self) -> &'static [usize] {
        if self.deep { &[128, 3500] } else { &[128] }
    }

    pub(crate) fn n_together(&self) -> usize {
        if self.deep { TOGETHER } else { 0 }
    }

    /// Whether a setting of the peer is behind the other in every long measurement, so that more of them would be a
    /// waste of an hour.
    pub(crate) fn is_out_of_the_race(&self, which: Which) -> bool {
        let other = match which {
            Which::Ours => return false,
            Which::PeerRepack => Which::PeerPlain,
            Which::PeerPlain => Which::PeerRepack,
        };
        let loses = |value: &dyn Fn(&Measured) -> Option<f64>| {
            let (a, b) = (self.values(which, value), self.values(other, value));
            a.len() >= LOSSES && b.len() >= LOSSES && median(&a) < median(&b)
        };
        self.deep
            && loses(&|m| m.together)
            && loses(&|m| m.prefill.get(1).copied())
            && loses(&|m| m.decode.get(1).copied())
    }

    fn values(&self, which: Which, value: impl Fn(&Measured) -> Option<f64>) -> Vec<f64> {
        let of_it = self.measured.iter().filter(|(w, _)| *w == which);
        of_it.filter_map(|(_, m)| value(m)).collect()
    }

    fn best_decoder(&self) -> Which {
        let decode = |which| median(&self.values(which, |m| m.decode.first().copied()));
        if decode(Which::PeerRepack) >= decode(Which::PeerPlain) {
            Which::PeerRepack
        } else {
            Which::PeerPlain
        }
    }
}

/// Where a metric's figures come from.
enum Value<'a> {
    /// Each repetition.
    Of(Box<dyn Fn(&Measured) -> Option<f64> + 'a>),
    /// The one run of several processes.
    Shared,
}

/// What the machine can do at most.
#[derive(Clone, Copy)]
enum Roof {
    /// Bytes read.
    Reading,
    /// int8 products.
    Products,
}

impl Roof {
    fn of(self, roofs: &Roofs) -> f64 {
        match self {
            Self::Reading => roofs.read_gb_s * 1e9,
            Self::Products => roofs.int8_gmac_s * 1e9,
        }
    }
}

/// One metric: how to read it and what bounds it.
struct Metric<'a> {
    name: String,
    unit: &'static str,
    more_is_better: bool,
    value: Value<'a>,
    /// What bounds it, and how much of that a token costs.
    roof: Option<(Roof, f64)>,
    /// The peer's setting, where it is not simply the better one.
    setting: Option<Which>,
}

impl Report {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            schema: 1,
            machine: Machine::here(threads),
            roofs: Vec::new(),
            rows: Vec::new(),
            others_share_max: 0.0,
            quiet: true,
        }
    }

    /// Turns a model's repetitions into rows.
    pub(crate) fn add(&mut self, run: &ModelRun) -> Result<()> {
        let others = run.measured.iter().map(|(_, m)| m.others);
        self.others_share_max = others.fold(self.others_share_max, f64::max);
        self.quiet = self.others_share_max <= OTHERS_MAX;
        for metric in Self::metrics(run) {
            let values = |which| match &metric.value {
                Value::Of(value) => run.values(which, value),
                Value::Shared => run
                    .shared
                    .iter()
                    .filter(|(w, _)| *w == which)
                    .map(|(_, bytes)| *bytes)
                    .collect(),
            };
            let ours = values(Which::Ours);
            let peers: Vec<(Which, &str, Vec<f64>)> = SETTINGS
                .iter()
                .map(|(which, settings)| (*which, *settings, values(*which)))
                .collect();
            let better = |a: &&(Which, &str, Vec<f64>), b: &&(Which, &str, Vec<f64>)| {
                let order = median(&a.2).total_cmp(&median(&b.2));
                if metric.more_is_better {
                    order
                } else {
                    order.reverse()
                }
            };
            let chosen = match metric.setting {
                Some(which) => peers.iter().find(|p| p.0 == which),
                None => peers.iter().max_by(better),
            };
            let Some((which, settings, values)) = chosen.cloned() else {
                continue;
            };
            let (a, b) = (median(&ours), median(&values));
            let others = peers
                .iter()
                .filter(|p| p.0 != which)
                .map(|p| (p.1, p.2.clone()))
                .collect();
            self.rows.push(Row {
                model: run.name.clone(),
                model_sha: run.sha.clone(),
                weight_type: run.weight_type.clone(),
                metric: metric.name,
                unit: metric.unit,
                ratio: if metric.more_is_better { a / b } else { b / a },
                roof_share: metric.roof.map(|(roof, cost)| run.roof_share(&ours, roof, cost)),
                ours,
                peer: PeerRow {
                    name: "llama.cpp",
                    version: peer::VERSION,
                    system_info: peer::Peer::system_info(),
                    settings,
                    values,
                    others,
                },
            });
        }
        Ok(())
    }

    fn metrics<'a>(run: &'a ModelRun) -> Vec<Metric<'a>> {
        let mut metrics = Vec::new();
        for (i, &context) in run.decode_contexts().iter().enumerate() {
            let bytes = run.traffic.weight_bytes + run.traffic.kv_bytes_per_context * context as f64;
            metrics.push(Metric {
                name: if context == 128 {
                    "decode".to_owned()
                } else {
                    format!("decode{context}")
                },
                unit: "tokens/s",
                more_is_better: true,
                value: Value::Of(Box::new(move |m| m.decode.get(i).copied())),
                roof: Some((Roof::Reading, bytes)),
                setting: None,
            });
        }
        if run.n_together() > 0 {
            metrics.push(Metric {
                name: format!("decode{TOGETHER}"),
                unit: "tokens/s",
                more_is_better: true,
                value: Value::Of(Box::new(|m| m.together)),
                roof: Some((
                    Roof::Reading,
                    run.traffic.step_bytes(TOGETHER, 128) / TOGETHER as f64,
                )),
                setting: None,
            });
        }
        for (i, &length) in run.prefill_lengths().iter().enumerate() {
            // The output head is needed for the last token alone.
            let head = run.traffic.macs - run.traffic.macs_without_head;
            let macs = run.traffic.macs_without_head + head / length as f64;
            metrics.push(Metric {
                name: format!("prefill{length}"),
                unit: "tokens/s",
                more_is_better: true,
                value: Value::Of(Box::new(move |m| m.prefill.get(i).copied())),
                roof: Some((Roof::Products, macs)),
                setting: None,
            });
        }
        let less = |name: &str, unit, value: fn(&Measured) -> f64, setting| Metric {
            name: name.to_owned(),
            unit,
            more_is_better: false,
            value: Value::Of(Box::new(move |m| Some(value(m)))),
            roof: None,
            setting,
        };
        metrics.push(less("load", "s", |m| m.load_s, Some(run.best_decoder())));
        metrics.push(less("peak_memory", "bytes", |m| m.peak_bytes, None));
        if !run.shared.is_empty() {
            metrics.push(Metric {
                name: "six_processes".to_owned(),
                value: Value::Shared,
                ..less("", "bytes", |_| 0.0, None)
            });
        }
        metrics
    }

    pub(crate) fn print(&self) {
        let of = |value: fn(&Roofs) -> f64| median(&self.roofs.iter().map(value).collect::<Vec<_>>());
        println!("{}, {} threads", self.machine.cpu, self.machine.threads);
        println!(
            "roofs: read {:.1} GB/s, int8 {:.0} GMAC/s ({})\n",
            of(|r| r.read_gb_s),
            of(|r| r.int8_gmac_s),
            self.roofs.first().map_or("none", |r| r.int8_kernel)
        );
        if !self.quiet {
            println!(
                "THE MACHINE WAS BUSY: others took up to {:.0} % of it while an engine ran, so no ratio below counts.\n",
                self.others_share_max * 100.0
            );
        }
        println!("| model | type | metric | ours | llama.cpp | its setting | ratio | roof share |");
        println!("|---|---|---|---|---|---|---|---|");
        for row in &self.rows {
            let scale = if row.unit == "bytes" { 1e-9 } else { 1.0 };
            let unit = if row.unit == "bytes" { "GB" } else { row.unit };
            println!(
                "| {} | {} | {} | {:.2} {unit} | {:.2} {unit} | {} | {:.2} | {} |",
                row.model,
                row.weight_type,
                row.metric,
                median(&row.ours) * scale,
                median(&row.peer.values) * scale,
                row.peer.settings,
                row.ratio,
                row.roof_share
                    .map_or("".to_owned(), |share| format!("{:.0} %", share * 100.0)),
            );
        }
    }
}

impl Machine {
    fn here(threads: usize) -> Self {
        let info = stdx::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or_default();
            line.split_once(':')
                .map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let known = ["avx", "fma", "f16c", "amx", "sse4", "asimd", "i8mm", "sve"];
        let flags = [field("flags"), field("Features")].concat();
        let flags = flags
            .split_whitespace()
            .filter(|flag| known.iter().any(|k| flag.starts_with(k)));
        let pages = stdx::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            cpu: field("model name"),
            flags: flags.map(str::to_owned).collect(),
            huge_pages: pages.unwrap_or_default().trim().to_owned(),
            threads,
        }
    }
}

/// One repetition in a line.
pub(crate) fn line(measured: &Measured) -> String {
    let list = |values: &[f64]| {
        values
            .iter()
            .map(|v| format!("{v:.1}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!(
        "load {:.2} s, prefill {} tokens/s, decode {} tokens/s, together {:.1} tokens/s, peak {:.2} GB, others took {:.0} %",
        measured.load_s,
        list(&measured.prefill),
        list(&measured.decode),
        measured.together.unwrap_or(0.0),
        measured.peak_bytes / 1e9,
        measured.others * 100.0
    )
}

/// The middle value; the mean of the two middle ones of an even number; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}
