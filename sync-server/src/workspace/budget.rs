//! What a member may use up within a while, so that nobody costs the others more than that.

use std::collections::BTreeMap;

use crdt_core::id::MemberId;
use crdt_core::time::Timestamp;

/// So much for each member, again and again.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    limit: u32,
    window_ms: i64,
    window: i64,
    used: BTreeMap<MemberId, u32>,
}

impl Budget {
    /// `limit` within each stretch of `window_ms` milliseconds.
    pub(super) const fn new(limit: u32, window_ms: i64) -> Self {
        Self { limit, window_ms, window: 0, used: BTreeMap::new() }
    }

    /// Takes one, if there is one left.
    pub(super) fn take(&mut self, now: Timestamp, member: MemberId) -> bool {
        let window = now.as_millis().div_euclid(self.window_ms);
        if window != self.window {
            self.window = window;
            self.used.clear();
        }
        let used = self.used.entry(member).or_insert(0);
        *used = used.saturating_add(1);
        *used <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_a_budget_of_its_own_that_comes_back_with_the_next_window() {
        let (ada, ben) =
            (MemberId::from_source_key("m", "ada"), MemberId::from_source_key("m", "ben"));
        let now = Timestamp::from_millis(1_800_000_000_000);
        let mut budget = Budget::new(100, 60_000);
        assert!((0..100).all(|_| budget.take(now, ada)));
        assert!(!budget.take(now, ada));
        assert!(budget.take(now, ben));
        assert!(budget.take(now.plus_millis(60_000), ada));
    }
}
