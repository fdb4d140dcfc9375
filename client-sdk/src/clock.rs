//! Telling the time: the wall clock, which may be wrong, and a clock that only counts.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crdt_core::time::Timestamp;

/// What the SDK knows of time. Replaceable, so that a test decides every moment.
pub trait Clock: Send + Sync {
    /// What the device believes the time is. May jump, may be wrong by years.
    fn wall(&self) -> Timestamp;

    /// Milliseconds that never go backwards within one [`boot`](Self::boot).
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
        self.started_ms.saturating_add(passed)
    }

    fn boot(&self) -> [u8; 16] {
        self.boot
    }
}

/// Linux and Android: the boot's id, and the milliseconds since.
fn system_boot() -> Option<([u8; 16], u64)> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = uuid::Uuid::parse_str(id.trim()).ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, rest) = uptime.split_once('.')?;
    let hundredths: u64 = rest.split_whitespace().next()?.parse().ok()?;
    let seconds: u64 = seconds.parse().ok()?;
    Some((id.into_bytes(), seconds.saturating_mul(1_000).saturating_add(hundredths * 10)))
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
}
