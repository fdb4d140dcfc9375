//! How often the tests kill processes, and how they wait for the moment.

use std::sync::mpsc;
use std::time::Duration;

/// How many kills there are in all when nobody says otherwise; `FIELDBOOK_KILLS` does.
const KILLS: usize = 100;
/// Records of the restart that is measured.
pub const RECORDS: usize = 10_000;

/// The seed of the run: `FIELDBOOK_SEED`, or always the same.
#[must_use]
pub fn seed() -> u64 {
    std::env::var("FIELDBOOK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

/// Kills of a server that works.
#[must_use]
pub fn of_servers() -> usize {
    all() / 2
}

/// Kills of a server that has just been killed and is starting.
#[must_use]
pub fn of_starts() -> usize {
    all() / 10
}

/// Kills of a device.
#[must_use]
pub fn of_devices() -> usize {
    all() - of_servers() - of_starts()
}

fn all() -> usize {
    std::env::var("FIELDBOOK_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS)
}

/// Waits without holding anything: the moment is part of the schedule, not a wait for something.
pub fn pause(duration: Duration) {
    let (_keep, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(duration);
}
