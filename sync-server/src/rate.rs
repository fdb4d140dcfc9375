//! How often something may be done: the arithmetic of a bucket, and a table of buckets of fixed size.
//!
//! Own code instead of a crate: it is two lines of arithmetic, and the time is an argument.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The size of a bucket, and how fast it is filled up again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// The time in which one is filled up.
    refill: Duration,
    /// What may be taken at once, as the time in which it is filled up.
    depth: Duration,
}

/// What is left of one bucket: the moment at which all that was taken has been filled up again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Level(Duration);

impl Rate {
    /// `burst` at once, of which one is filled up in every `refill`.
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        Self { refill, depth: refill.saturating_mul(burst) }
    }

    /// Takes `amount`, though it may not be there yet: gives the time after which it will be. A `debt` of
    /// more than so much is not made; then nothing is taken.
    ///
    /// # Errors
    /// The time after which the amount would be there, when that is more than `debt`.
    pub(crate) fn take(
        &self,
        level: &mut Level,
        amount: u32,
        now: Duration,
        debt: Duration,
    ) -> Result<Duration, Duration> {
        let after = level.0.max(now).saturating_add(self.refill.saturating_mul(amount));
        let over = (after - now).saturating_sub(self.depth);
        if over > debt {
            return Err(over);
        }
        level.0 = after;
        Ok(over)
    }
}

impl Level {
    /// Whether nothing is missing.
    pub(crate) fn is_full(self, now: Duration) -> bool {
        self.0 <= now
    }
}

/// A bucket for each key, all of one size. A key is hashed onto a place of the table, so no crowd of keys can
/// make it grow, and nobody can choose whom to share a place with.
pub(crate) struct Buckets {
    rate: Rate,
    levels: Mutex<Vec<Level>>,
    hasher: RandomState,
}

impl Buckets {
    /// Buckets of `burst` attempts each, of which one is filled up in every `refill`.
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        let levels = Mutex::new(vec![Level::default(); PLACES]);
        Self { rate: Rate::new(burst, refill), levels, hasher: RandomState::new() }
    }

    /// Takes one attempt, or says when to come back. `now` is of any clock that never goes back.
    pub(crate) fn take(&self, key: &impl Hash, now: Duration) -> Result<(), Duration> {
        let place = self.hasher.hash_one(key) % PLACES as u64;
        let place = usize::try_from(place).expect("it is below a usize");
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        self.rate.take(&mut levels[place], 1, now, Duration::ZERO).map(drop)
    }
}

/// What is counted as one address: whoever has one IPv6 address has the 2⁶⁴ around it.
pub(crate) fn neighbourhood(address: IpAddr) -> [u8; 8] {
    let mut start = [0; 8];
    match address.to_canonical() {
        IpAddr::V4(address) => start[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => start.copy_from_slice(&address.octets()[..8]),
    }
    start
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

    #[test]
    fn a_debt_is_made_up_to_its_bound_and_has_to_be_waited_for() {
        let rate = Rate::new(10, at(1));
        let mut level = Level::default();
        assert_eq!(rate.take(&mut level, 10, at(100), at(5)), Ok(at(0)));
        assert_eq!(rate.take(&mut level, 4, at(100), at(5)), Ok(at(4)));
        assert_eq!(rate.take(&mut level, 2, at(100), at(5)), Err(at(6)));
        assert_eq!(rate.take(&mut level, 1, at(100), at(5)), Ok(at(5)), "a refusal took nothing");
        assert!(!level.is_full(at(114)) && level.is_full(at(115)));
        assert!(rate.take(&mut level, u32::MAX, at(100), at(5)).is_err());
    }
}
