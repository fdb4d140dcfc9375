//! How often somebody may try: a bucket for each, in a table of fixed size.
//!
//! A key is hashed onto a place of the table, so no crowd of keys can make it grow, and nobody can choose whom
//! to share a place with. Own code instead of a crate: it is two lines of arithmetic, and the time is an
//! argument.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Buckets of one size.
pub(crate) struct Buckets {
    /// For each place, when all that was taken there has been filled up again.
    full_at: Mutex<Vec<Duration>>,
    hasher: RandomState,
    /// The time in which one attempt is filled up.
    refill: Duration,
    /// What may be taken at once, as the time in which it is filled up.
    depth: Duration,
}

impl Buckets {
    /// Buckets of `burst` attempts each, of which one is filled up in every `refill`.
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        let full_at = Mutex::new(vec![Duration::ZERO; PLACES]);
        Self { full_at, hasher: RandomState::new(), refill, depth: refill * burst }
    }

    /// Takes one attempt, or says when to come back. `now` is of any clock that never goes back.
    pub(crate) fn take(&self, key: &impl Hash, now: Duration) -> Result<(), Duration> {
        let place = self.hasher.hash_one(key) % PLACES as u64;
        let place = usize::try_from(place).expect("it is below a usize");
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let after = full_at[place].max(now) + self.refill;
        let over = (after - now).saturating_sub(self.depth);
        if over > Duration::ZERO {
            return Err(over);
        }
        full_at[place] = after;
        Ok(())
    }
}

/// Places of a table: 256 KiB of them.
const PLACES: usize = 16 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_one_for_each_refill() {
        let buckets = Buckets::new(3, at(10));
        for _ in 0..3 {
            assert_eq!(buckets.take(&"ada", at(100)), Ok(()));
        }
        assert_eq!(buckets.take(&"ada", at(100)), Err(at(10)));
        assert_eq!(buckets.take(&"ada", at(104)), Err(at(6)), "being refused costs nothing");
        assert_eq!(buckets.take(&"ada", at(110)), Ok(()));
        assert_eq!(buckets.take(&"ada", at(110)), Err(at(10)));
        assert_eq!(buckets.take(&"ada", at(1_000)), Ok(()), "and never more than a burst");
    }

    #[test]
    fn one_key_costs_another_nothing() {
        let buckets = Buckets::new(1, at(10));
        assert_eq!(buckets.take(&1, at(0)), Ok(()));
        let refused = (2..200).filter(|key| buckets.take(key, at(0)).is_err()).count();
        assert!(refused < 20, "{refused} of 198 share a place");
    }
}
