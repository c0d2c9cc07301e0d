//! Whether the machine was left alone while an engine ran.
//!
//! Not a detail: engines whose threads wait for each other by spinning fall to a tenth of their speed when
//! somebody else wants the same cores, so a ratio from a busy machine says nothing about the engines.

use anyhow::{Context as _, Result};

/// The largest share of the machine's processor time that others may take before a figure is doubtful.
pub(crate) const OTHERS_MAX: f64 = 0.05;

/// Processor time of the whole machine so far, in clock ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticks {
    busy: u64,
    total: u64,
}

impl Ticks {
    pub(crate) fn now() -> Result<Self> {
        Self::parse(&stdx::fs::read_to_string("/proc/stat")?).context("/proc/stat has no line `cpu`")
    }

    /// The first line: user, nice, system, idle, iowait, irq, softirq, steal (proc(5)).
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let numbers: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .filter_map(|n| n.parse().ok())
            .collect();
        let total: u64 = numbers.iter().sum();
        Some(Self {
            busy: total - numbers.get(3)? - numbers.get(4)?,
            total,
        })
    }

    /// Share of the machine, from 0 to 1, that went to others than a process which used `own` ticks since then.
    pub(crate) fn others_since(self, own: u64) -> Result<f64> {
        let now = Self::now()?;
        let busy = now.busy.saturating_sub(self.busy).saturating_sub(own);
        Ok(busy as f64 / now.total.saturating_sub(self.total).max(1) as f64)
    }
}

/// Processor time of this process so far, in clock ticks.
pub(crate) fn own_ticks() -> Result<u64> {
    let stat = stdx::fs::read_to_string("/proc/self/stat")?;
    // The name in brackets may hold spaces; user and system time are the 12th and 13th field after it.
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|f| f.parse::<u64>().ok())
            .context("short /proc/self/stat")
    };
    Ok(ticks(11)? + ticks(12)?)
}
