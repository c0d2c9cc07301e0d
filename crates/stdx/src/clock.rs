//! The time of day and elapsed time, behind one small type so that tests can hold it still.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::date::Date;

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

/// What day it is where this machine stands.
pub fn today() -> Date {
    let seconds = unix_s();
    let days = seconds
        .saturating_add(utc_offset_s(seconds))
        .div_euclid(SECONDS_A_DAY);
    // A clock beyond the year 9999 is wrong; any day will do as well as another then.
    Date::from_unix_days(days).unwrap_or_else(|| Date::from_unix_days(0).expect("1970 is in the calendar"))
}

const SECONDS_A_DAY: i64 = 86_400;

/// How far local time is ahead of UTC at that moment; 0 where the system does not know.
#[expect(unsafe_code, reason = "the local time zone is known to the C library alone")]
fn utc_offset_s(seconds: i64) -> i64 {
    let mut local = std::mem::MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call: the first to read, the second to write a `tm`.
    let filled = unsafe { libc::localtime_r(&raw const seconds, local.as_mut_ptr()) };
    if filled.is_null() {
        return 0;
    }
    // SAFETY: the call has filled the whole structure, as its result says.
    let local = unsafe { local.assume_init() };
    local.tm_gmtoff
}

/// The day as a store sees it: the machine's, until somebody holds it still.
#[derive(Debug)]
pub struct Today(AtomicI64);

/// No day is held.
const FOLLOWS: i64 = i64::MIN;

impl Default for Today {
    fn default() -> Self {
        Self(AtomicI64::new(FOLLOWS))
    }
}

impl Today {
    /// What day it is.
    pub fn get(&self) -> Date {
        Date::from_unix_days(self.0.load(Relaxed)).unwrap_or_else(today)
    }

    /// Holds the day still, for tests and for looking back; `None` lets it follow the machine again.
    pub fn hold(&self, day: Option<Date>) {
        self.0.store(day.map_or(FOLLOWS, Date::unix_days), Relaxed);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_is_held_stays_until_it_is_let_go() {
        let today = Today::default();
        let far = Date::new(2101, 1, 1);
        today.hold(far);
        assert_eq!(Some(today.get()), far);
        today.hold(None);
        assert!(Some(today.get()) < far);
    }

    #[test]
    fn local_time_is_within_a_day_of_utc() {
        let utc = unix_s().div_euclid(SECONDS_A_DAY);
        assert!((today().unix_days() - utc).abs() <= 1);
    }
}
