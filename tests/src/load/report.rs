//! What a load has shown.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sync_server::config::Limits;

use super::crowd::Tally;
use super::options::Options;

/// What honest members have waited for.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// From the first packet to the welcome.
    pub connects: Vec<Duration>,
    /// From an edit to its receipt.
    pub pushes: Vec<Duration>,
}

impl Measured {
    pub(super) fn add(&mut self, other: Self) {
        self.connects.extend(other.connects);
        self.pushes.extend(other.pushes);
    }

    pub(super) fn sorted(mut self) -> Self {
        self.connects.sort_unstable();
        self.pushes.sort_unstable();
        self
    }
}

/// What a process takes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident now, bytes.
    pub now: u64,
    /// The most that was resident so far, bytes.
    pub peak: u64,
}

impl Memory {
    /// Of a process, as the system tells.
    ///
    /// # Errors
    /// Where there is no `/proc`, or no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let bytes = |name: &str| -> Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            let number = number.with_context(|| format!("the system does not tell {name}"))?;
            Ok(number.trim().parse::<u64>()? * 1_024)
        };
        Ok(Self { now: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
    }
}

/// What a load has shown.
#[derive(Debug)]
pub struct Report {
    /// How large it was.
    pub options: Options,
    /// The server's limits.
    pub limits: Limits,
    /// Without the crowd.
    pub quiet: Measured,
    /// Among the crowd.
    pub loaded: Measured,
    /// Among the crowd, once its flooders have used up what a member may send at once.
    pub spent: Option<Measured>,
    /// The server's memory before the crowd came.
    pub memory_before: Memory,
    /// The server's memory with the crowd.
    pub memory: Memory,
    /// Half-open sockets, deaf devices and flooders at the end of the work.
    pub open: (u64, u64, u64),
    /// What the crowd has seen.
    pub tally: Arc<Tally>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { half_open, deaf, flooders, honest, .. } = &self.options;
        writeln!(
            f,
            "{honest} honest members; {half_open} half open, {deaf} deaf, {flooders} flooding"
        )?;
        let slowed = self.spent.iter().map(|spent| ("slowed", spent));
        for (crowd, loaded) in std::iter::once(("loaded", &self.loaded)).chain(slowed) {
            row(f, "connect", &self.quiet.connects, crowd, &loaded.connects)?;
            row(f, "push", &self.quiet.pushes, crowd, &loaded.pushes)?;
        }
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        let (before, after) = (self.memory_before, self.memory);
        let (was, is, peak) = (mib(before.now), mib(after.now), mib(after.peak));
        writeln!(
            f,
            "server memory: {was:.0} MiB quiet, {is:.0} MiB loaded, {peak:.0} MiB at most"
        )?;
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let (open, deaf, flooding) = self.open;
        let tally = &self.tally;
        writeln!(f, "half open: {open} at the end, cut {} times", count(&tally.half_open_cut))?;
        writeln!(f, "deaf: {deaf} at the end, cut {} times", count(&tally.deaf_cut))?;
        writeln!(
            f,
            "flooders: {flooding} at the end, cut {} times, {} batches answered",
            count(&tally.flooders_cut),
            count(&tally.flooded)
        )?;
        writeln!(f, "attempts that were not answered: {}", count(&tally.refused))
    }
}

fn row(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    quiet: &[Duration],
    crowd: &str,
    loaded: &[Duration],
) -> fmt::Result {
    let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    for (label, share) in [("p50", 0.50), ("p99", 0.99)] {
        let (before, among) = (ms(percentile(quiet, share)), ms(percentile(loaded, share)));
        let ratio = among / before.max(0.001);
        writeln!(
            f,
            "{name} {label}: quiet {before:.1} ms ({}), {crowd} {among:.1} ms ({}), ratio {ratio:.2}",
            quiet.len(),
            loaded.len()
        )?;
    }
    Ok(())
}

/// A percentile of sorted durations; zero when there are none.
#[must_use]
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}
