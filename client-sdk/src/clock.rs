//! Telling the time: the wall clock, which may be wrong, and a clock that only counts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crdt_core::time::Timestamp;

/// What the SDK knows of time. Replaceable, so that a test decides every moment.
pub trait Clock: Send + Sync {
    /// What the device believes the time is. May jump, may be wrong by years.
    fn wall(&self) -> Timestamp;

    /// Milliseconds that never go backwards within one [`boot`](Self::boot), and that count on while the
    /// device sleeps (`CLOCK_BOOTTIME`, `elapsedRealtime`, `mach_continuous_time`): edits are dated by it.
    fn monotonic_ms(&self) -> u64;

    /// Names the stretch of time over which [`monotonic_ms`](Self::monotonic_ms) counts.
    fn boot(&self) -> [u8; 16];
}

/// The operating system's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Instant,
    started_ms: u64,
    boot: [u8; 16],
}

impl SystemClock {
    /// Reads which boot this is, once. Where the system does not say, each process counts as a boot of its
    /// own.
    #[must_use]
    pub fn new() -> Self {
        let (boot, started_ms) = system_boot().unwrap_or_else(|| (process_boot(), 0));
        Self { started: Instant::now(), started_ms, boot }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis)
            }
        };
        Timestamp::from_millis(millis)
    }

    fn monotonic_ms(&self) -> u64 {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let awake = self.started_ms.saturating_add(passed);
        // The process's own clock stands still while the machine sleeps; the system's uptime does not. It
        // counts in steps of 10 ms, so it is heard only when it is ahead.
        if self.started_ms == 0 { awake } else { uptime_ms().map_or(awake, |up| up.max(awake)) }
    }

    fn boot(&self) -> [u8; 16] {
        self.boot
    }
}

/// The last contact with the server in this process: from then on the counting clock tells the time, so
/// that a wall clock which jumps in the middle of a session misdates nothing.
#[derive(Debug, Default)]
pub(crate) struct Contact(Mutex<Option<Heard>>);

#[derive(Debug, Clone, Copy)]
struct Heard {
    server: Timestamp,
    monotonic_ms: u64,
    boot: [u8; 16],
}

impl Contact {
    /// The server said what time it is.
    pub(crate) fn hear(&self, server: Timestamp, monotonic_ms: u64, boot: [u8; 16]) {
        *self.heard() = Some(Heard { server, monotonic_ms, boot });
    }

    /// The server's time now, when it was heard in this boot.
    pub(crate) fn now(&self, monotonic_ms: u64, boot: [u8; 16]) -> Option<Timestamp> {
        let heard = self.heard().filter(|heard| heard.boot == boot)?;
        let passed = i64::try_from(monotonic_ms.saturating_sub(heard.monotonic_ms)).ok()?;
        Some(heard.server.plus_millis(passed))
    }

    /// One value is written at once: what a panic of another holder leaves is whole.
    fn heard(&self) -> MutexGuard<'_, Option<Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Linux and Android: the boot's id, and the milliseconds since.
fn system_boot() -> Option<([u8; 16], u64)> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = uuid::Uuid::parse_str(id.trim()).ok()?;
    Some((id.into_bytes(), uptime_ms()?))
}

/// Linux and Android: milliseconds since the boot, sleep included.
fn uptime_ms() -> Option<u64> {
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, rest) = uptime.split_once('.')?;
    let hundredths: u64 = rest.split_whitespace().next()?.parse().ok()?;
    let seconds: u64 = seconds.parse().ok()?;
    Some(seconds.saturating_mul(1_000).saturating_add(hundredths.saturating_mul(10)))
}

fn process_boot() -> [u8; 16] {
    let mut boot = [0; 16];
    crate::config::Entropy::fill(&mut crate::config::SystemEntropy, &mut boot);
    boot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counting_clock_never_goes_back_and_keeps_its_boot() {
        let clock = SystemClock::new();
        let first = clock.monotonic_ms();
        assert!(clock.monotonic_ms() >= first);
        assert_eq!(clock.boot(), clock.boot());
        assert!(clock.wall().as_millis() > crdt_core::limits::EDIT_TIME_MS_MIN);
    }

    #[test]
    fn a_contact_tells_the_time_within_its_boot_only() {
        let contact = Contact::default();
        assert_eq!(contact.now(5, [1; 16]), None);
        contact.hear(Timestamp::from_millis(1_000), 5, [1; 16]);
        assert_eq!(contact.now(25, [1; 16]), Some(Timestamp::from_millis(1_020)));
        assert_eq!(contact.now(25, [2; 16]), None);
    }
}
