//! Places that callers share: a bounded number, of which no caller takes so many that the next one finds none.
//!
//! A caller may take a place if it then has no more than are left free, and its first one whenever there is one. So who
//! comes alone gets half of them, and of those who take all they can get each has in time the same part and leaves as
//! much free for whoever comes next. Knows nothing of what the places are for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

/// Why there was no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the queue is full for this caller ({own} of its requests are in it, {taken} in all)")]
pub struct NoPlace {
    /// Places that the caller has.
    pub own: usize,
    /// Places taken in all.
    pub taken: usize,
}

/// The places; clones share them.
#[derive(Debug, Clone)]
pub struct Places {
    n_max: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    n: usize,
    /// By caller; never 0.
    by: BTreeMap<u128, usize>,
}

impl Places {
    /// So many places, at least one.
    pub fn new(n_max: usize) -> Self {
        Self {
            n_max: n_max.max(1),
            taken: Arc::default(),
        }
    }

    /// Takes a place for a caller.
    ///
    /// # Errors
    /// When there is none, or none left for this caller.
    pub fn take(&self, caller: u128) -> Result<Place, NoPlace> {
        let mut taken = lock(&self.taken);
        let own = taken.by.get(&caller).copied().unwrap_or(0);
        let n_free = self.n_max.saturating_sub(taken.n);
        // What it would have, and what would be left.
        let leaves_enough = own + 1 < n_free;
        if n_free == 0 || own > 0 && !leaves_enough {
            return Err(NoPlace { own, taken: taken.n });
        }
        taken.n += 1;
        taken.by.insert(caller, own + 1);
        Ok(Place {
            caller,
            taken: Arc::clone(&self.taken),
        })
    }

    /// Places taken.
    pub fn n_taken(&self) -> usize {
        lock(&self.taken).n
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    // Nothing in here can panic half-way.
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place, given back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Place {
    caller: u128,
    taken: Arc<Mutex<Taken>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.n -= 1;
        let own = taken.by.remove(&self.caller).unwrap_or(0);
        if own > 1 {
            taken.by.insert(self.caller, own - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as a caller gets, and what it is told then.
    fn take_all(places: &Places, caller: u128) -> (Vec<Place>, NoPlace) {
        let mut got = Vec::new();
        loop {
            match places.take(caller) {
                Ok(place) => got.push(place),
                Err(refused) => return (got, refused),
            }
        }
    }

    #[test]
    fn whoever_floods_leaves_room_for_the_next_one() {
        let places = Places::new(64);
        let (first, refused) = take_all(&places, 1);
        assert_eq!((first.len(), refused), (32, NoPlace { own: 32, taken: 32 }));
        let (second, _) = take_all(&places, 2);
        let (third, _) = take_all(&places, 3);
        assert_eq!((second.len(), third.len()), (16, 8));
        // The first one's are done with one by one, and each takes what it can get: parts come to be equal.
        let mut held = [first, second, third];
        for _ in 0..100 {
            let most = held.iter_mut().max_by_key(|held| held.len()).unwrap();
            most.pop();
            for (held, caller) in held.iter_mut().zip(1..) {
                held.extend(places.take(caller).ok());
            }
        }
        let parts: Vec<usize> = held.iter().map(Vec::len).collect();
        assert!(parts.iter().all(|n| (15..=17).contains(n)), "{parts:?}");
        drop(held);
        assert_eq!(places.n_taken(), 0);
        assert_eq!(take_all(&places, 3).0.len(), 32);
    }

    #[test]
    fn the_last_place_is_for_somebody_who_has_none() {
        for n in 0..4 {
            let places = Places::new(n);
            let (mut held, _) = take_all(&places, 1);
            assert_eq!(held.len(), 1.max(n / 2), "{n}");
            for caller in 2.. {
                match places.take(caller) {
                    Ok(place) => held.push(place),
                    Err(refused) => {
                        assert_eq!((refused.own, refused.taken), (0, n.max(1)));
                        break;
                    }
                }
            }
        }
    }
}
