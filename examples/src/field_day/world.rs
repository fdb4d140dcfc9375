//! The stage: a real server on a free loopback port, and a device with a database file for each person.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use client_sdk::{Client, Clock, SystemClock};
use crdt_core::policy::OPEN;
use crdt_core::time::Timestamp;
use sync_server::telemetry::metrics::{BYTES_IN, BYTES_OUT};

use super::cast::Person;
use super::proof::Audit;
use crate::stage::{Seat, Stage};

/// How long one device may take to sync once.
const PATIENCE: Duration = Duration::from_secs(120);

/// The stage.
pub struct World {
    stage: Stage,
    folder: PathBuf,
}

/// One person's device.
pub struct Device {
    /// Whose it is.
    pub person: Person,
    /// Its client.
    pub client: Client,
    /// Its database file.
    pub path: PathBuf,
    clock: Arc<StoryClock>,
}

/// Bytes over the network, as the server counts them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// From devices.
    pub up: u64,
    /// To devices.
    pub down: u64,
}

/// The system's clock, ahead of itself by as much as the story is told faster than it happens. It never goes
/// back.
struct StoryClock {
    system: SystemClock,
    ahead_ms: AtomicU64,
}

impl StoryClock {
    fn ahead(&self) -> u64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }
}

impl Clock for StoryClock {
    fn wall(&self) -> Timestamp {
        self.system.wall().plus_millis(i64::try_from(self.ahead()).unwrap_or(i64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        self.system.monotonic_ms().saturating_add(self.ahead())
    }

    fn boot(&self) -> [u8; 16] {
        self.system.boot()
    }
}

impl World {
    /// Starts a server whose data lies in `folder`, under a policy. Nobody is in its directory but whoever
    /// runs the workspace; the others come with the import.
    ///
    /// # Errors
    /// When the folder cannot be written or no port is free.
    pub fn start(folder: &Path, policy: &str, office: &Person) -> Result<Self> {
        let seat = Seat::new(office.member, &office.name);
        // A policy that lets everybody do everything knows no such role.
        let seat = if policy == OPEN { seat } else { seat.role(office.role.as_str()) };
        let stage = Stage::under(policy, folder, &[seat])?;
        Ok(Self { stage, folder: folder.to_owned() })
    }

    /// Opens a device for a person.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn device(&self, person: &Person, name: &str) -> Result<Device> {
        let path = self.folder.join(format!("{name}.db"));
        let clock =
            Arc::new(StoryClock { system: SystemClock::new(), ahead_ms: AtomicU64::new(0) });
        let config = self.stage.config(&path, person.member, &person.name);
        let config = config.clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let client = Client::open(config).with_context(|| format!("opening {}", path.display()))?;
        Ok(Device { person: person.clone(), client, path, clock })
    }

    /// Connects a device until everything is sent and everything new has come.
    ///
    /// # Errors
    /// When that takes too long or the server refuses.
    pub fn sync(&self, device: &Device) -> Result<()> {
        let report = device.client.sync_once(PATIENCE)?;
        if !report.caught_up || report.remaining > 0 {
            bail!("{}'s device could not sync within {} s", device.person.name, PATIENCE.as_secs());
        }
        Ok(())
    }

    /// What went over the network so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let text = self.stage.metrics().render();
        let figure = |name: &str| {
            text.lines()
                .filter_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
                .sum::<f64>()
        };
        // Counts of bytes are whole numbers far below 2^53.
        Traffic { up: figure(BYTES_IN) as u64, down: figure(BYTES_OUT) as u64 }
    }

    /// Stops the server after what it was handed, and verifies its audit; nothing when that is broken.
    ///
    /// # Errors
    /// When the server's files cannot be read.
    pub fn audit(&mut self) -> Result<Option<Audit>> {
        self.stage.stop();
        let summary = self.stage.audit()?;
        Ok(summary.map(|summary| Audit {
            entries: summary.head.number,
            accepted: summary.accepted,
            refused: summary.refused,
        }))
    }
}

impl Device {
    /// Moves the device's clock on to a moment of the story.
    pub fn advance_clock(&self, to: Timestamp) {
        let ahead = u64::try_from(to.since(self.clock.system.wall())).unwrap_or(0);
        self.clock.ahead_ms.fetch_max(ahead, Ordering::Relaxed);
    }
}
