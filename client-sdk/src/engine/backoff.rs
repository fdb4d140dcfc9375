//! How long to wait before the next attempt: full jitter, so that devices cut off together come back apart.

use rand::{Rng, RngCore};

/// The most that the first wait may be, milliseconds.
pub(super) const CEILING_FIRST_MS: u64 = 1_000;
/// The most that any wait may be, milliseconds, unless the server asks for more.
pub(super) const CEILING_LAST_MS: u64 = 60_000;
/// What a server may ask for at most, milliseconds: an hour; more would be indistinguishable from never.
pub(super) const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

/// The most that the wait before attempt `attempt` (from 0) may be, milliseconds.
pub(super) fn ceiling_ms(attempt: u32) -> u64 {
    // 2^6 seconds exceed the last ceiling, and shifting further could overflow.
    (CEILING_FIRST_MS << attempt.min(6)).min(CEILING_LAST_MS)
}

/// A wait before attempt `attempt` (from 0), milliseconds; on top of what the server asked for.
pub(super) fn delay_ms(attempt: u32, retry_after_ms: Option<u64>, rng: &mut dyn RngCore) -> u64 {
    let asked = retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX);
    asked + rng.random_range(1..=ceiling_ms(attempt))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_are_spread_over_the_whole_range() {
        for attempt in 0..40 {
            let ceiling = ceiling_ms(attempt);
            assert_eq!(ceiling, 60_000.min(1_000 * 2_u64.saturating_pow(attempt)));
            let mut rng = StdRng::seed_from_u64(u64::from(attempt));
            let waits: Vec<u64> = (0..1_000).map(|_| delay_ms(attempt, None, &mut rng)).collect();
            assert!(waits.iter().all(|wait| (1..=ceiling).contains(wait)));
            assert!(waits.iter().any(|wait| *wait < ceiling / 10));
            assert!(waits.iter().any(|wait| *wait > ceiling / 10 * 9));
        }
    }

    #[test]
    fn a_server_is_never_asked_before_it_wants_and_cannot_put_it_off_for_ever() {
        for seed in 0..1_000 {
            let mut rng = StdRng::seed_from_u64(seed);
            assert!(delay_ms(0, Some(5_000), &mut rng) > 5_000);
            let longest = RETRY_AFTER_MS_MAX + CEILING_LAST_MS;
            assert!(delay_ms(u32::MAX, Some(u64::MAX), &mut rng) <= longest);
        }
    }
}
