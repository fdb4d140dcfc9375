//! Simulated time: one counter for the world, and for each device a wall clock that may be wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client_sdk::Clock;
use crdt_core::time::Timestamp;

/// The world's true time when a simulation begins: 2026-11-22.
pub const WORLD_BEGINS_MS: i64 = 1_795_305_600_000;

/// Milliseconds since the world began. It moves only when an event happens.
#[derive(Debug, Clone, Default)]
pub struct WorldTime(Arc<AtomicU64>);

impl WorldTime {
    /// Milliseconds since the world began.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// What a right wall clock shows.
    #[must_use]
    pub fn true_wall(&self) -> Timestamp {
        Timestamp::from_millis(WORLD_BEGINS_MS + self.now().cast_signed())
    }

    pub(super) fn set(&self, now: u64) {
        assert!(now >= self.now(), "time goes forward");
        self.0.store(now, Ordering::Relaxed);
    }
}

/// A device's clocks.
#[derive(Debug)]
pub struct SimClock {
    world: WorldTime,
    own: Mutex<Own>,
}

#[derive(Debug, Clone, Copy)]
struct Own {
    /// How far the wall clock is ahead of the truth.
    skew_ms: i64,
    booted_at: u64,
    boots: u64,
    device: u8,
}

impl SimClock {
    pub(super) fn new(world: WorldTime, device: u8) -> Self {
        let own = Own { skew_ms: 0, booted_at: world.now(), boots: 1, device };
        Self { world, own: Mutex::new(own) }
    }

    /// How far the wall clock is ahead of the truth, milliseconds.
    #[must_use]
    pub fn skew_ms(&self) -> i64 {
        self.own().skew_ms
    }

    /// Sets how far the wall clock is ahead of the truth: a jump.
    pub fn set_skew_ms(&self, skew_ms: i64) {
        self.own().skew_ms = skew_ms;
    }

    /// The device was switched off and on: another boot, and the counting clock begins anew.
    pub fn reboot(&self) {
        let mut own = self.own();
        own.boots += 1;
        own.booted_at = self.world.now();
    }

    /// The world's time at which the counting clock of this boot shows `monotonic_ms`.
    pub(super) fn world_at(&self, monotonic_ms: u64) -> u64 {
        self.own().booted_at.saturating_add(monotonic_ms)
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        self.world.true_wall().plus_millis(self.skew_ms())
    }

    fn monotonic_ms(&self) -> u64 {
        self.world.now() - self.own().booted_at
    }

    fn boot(&self) -> [u8; 16] {
        let own = self.own();
        let mut boot = [own.device; 16];
        boot[..8].copy_from_slice(&own.boots.to_be_bytes());
        boot
    }
}
