//! The time of day and elapsed time, behind one small type so that tests can hold it still.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 if the machine's clock stands before it.
pub fn unix_ms() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Seconds since the Unix epoch.
pub fn unix_s() -> i64 {
    unix_ms() / 1000
}

/// A started stopwatch.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the start, with the fraction.
    pub fn ms(&self) -> f64 {
        self.0.elapsed().as_secs_f64() * 1e3
    }

    /// Seconds since the start, with the fraction.
    pub fn s(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
