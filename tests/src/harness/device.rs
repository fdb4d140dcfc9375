//! A device in the simulation: the real client on a real file, with the simulation's clock and randomness.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client_sdk::engine::{Input, Outward, SyncLoop};
use client_sdk::{Client, Clock as _, Config, SeededEntropy, StoreError};
use crdt_core::id::{DeviceId, MemberId};
use crdt_core::schema::Schema;
use rand::rngs::StdRng;

use super::files::Files;
use super::images;
use super::network::Link;
use super::time::{SimClock, WorldTime};
use crate::vfs::Disk;

/// The workspace of every simulation.
pub const WORKSPACE: &str = "field";

/// A device.
pub struct SimDevice {
    /// Its name in traces.
    pub name: String,
    /// Its link to the server.
    pub link: Link,
    /// Its clocks.
    pub clock: Arc<SimClock>,
    /// Whose tokens it sends, when they are not its user's.
    pub speaks_as: Option<MemberId>,
    member: MemberId,
    path: PathBuf,
    disk: Disk,
    seed: u64,
    life: u64,
    hardware: DeviceId,
    max_page_count: Option<u32>,
    token_life_ms: Option<u64>,
    schema: Option<Arc<Schema>>,
    running: Option<Running>,
}

struct Running {
    client: Client,
    sync: SyncLoop,
}

impl SimDevice {
    pub(super) fn new(
        folder: &Path,
        place: usize,
        name: &str,
        member: MemberId,
        seed: u64,
        time: &WorldTime,
    ) -> Self {
        let number = u8::try_from(place).expect("a simulation has few devices");
        let mut hardware = [number; 16];
        hardware[..8].copy_from_slice(&seed.to_be_bytes());
        Self {
            name: name.to_owned(),
            link: Link::default(),
            clock: Arc::new(SimClock::new(time.clone(), number)),
            speaks_as: None,
            member,
            path: folder.join(format!("{name}.db")),
            disk: Disk::new(),
            seed: seed ^ (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            life: 0,
            hardware: DeviceId(hardware),
            max_page_count: None,
            token_life_ms: None,
            schema: None,
            running: None,
        }
    }

    /// Opens the file as a process that has just started does.
    pub(super) fn open(&mut self) -> Result<(), StoreError> {
        assert!(self.running.is_none(), "{} runs already", self.name);
        self.life += 1;
        let seed = self.seed.wrapping_add(self.life);
        let mut config = Config::new(&self.path, WORKSPACE, self.member)
            .member_name(self.name.clone())
            .clock(Arc::<SimClock>::clone(&self.clock))
            .entropy(SeededEntropy::new(seed));
        config.device = Some(self.hardware);
        config.vfs = Some(self.disk.name());
        config.max_page_count = self.max_page_count;
        config.schema = self.schema.clone();
        if !self.path.exists() && self.max_page_count.is_none() {
            images::put_device(&self.path, self.schema.as_ref().unwrap_or(Schema::builtin()));
        }
        let client = Client::open(config)?;
        let sync = SyncLoop::new(&client);
        self.running = Some(Running { client, sync });
        Ok(())
    }

    /// Its client.
    ///
    /// # Panics
    /// When the device does not run.
    #[must_use]
    pub fn client(&self) -> &Client {
        let running = self.running.as_ref();
        &running.unwrap_or_else(|| panic!("{} does not run", self.name)).client
    }

    /// Its sync loop.
    ///
    /// # Panics
    /// When the device does not run.
    #[must_use]
    pub fn sync(&self) -> &SyncLoop {
        let running = self.running.as_ref();
        &running.unwrap_or_else(|| panic!("{} does not run", self.name)).sync
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Removes its file, as who removes the app does. To the server it is another device then: one that was
    /// shut out stays so.
    pub(super) fn uninstall(&mut self) {
        self.running = None;
        self.hardware.0[14] = self.hardware.0[14].wrapping_add(1);
        Files::none(&self.path).put_back();
    }

    /// Counts its starts.
    pub(super) fn life(&self) -> u64 {
        self.life
    }

    /// Its user.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// Its database.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bounds the size of the database from the next start, pages.
    pub fn set_max_page_count(&mut self, pages: Option<u32>) {
        self.max_page_count = pages;
    }

    /// The schema that the app came with, from the next start; the built-in one unless set.
    pub fn set_schema(&mut self, schema: Arc<Schema>) {
        self.schema = Some(schema);
    }

    /// Bounds how long the tokens last that the app gets from now on; nothing for longer than the simulation.
    pub fn set_token_life_ms(&mut self, life_ms: Option<u64>) {
        self.token_life_ms = life_ms;
    }

    /// How long the tokens last that the app gets, when that is bounded.
    #[must_use]
    pub fn token_life_ms(&self) -> Option<u64> {
        self.token_life_ms
    }

    /// The token that its app gets.
    pub(super) fn token(&self, now: u64) -> String {
        let member = self.speaks_as.unwrap_or(self.member);
        match self.token_life_ms {
            Some(life_ms) => format!("{member} {}", now + life_ms),
            None => member.to_string(),
        }
    }

    /// Gives an input to the sync loop.
    pub(super) fn handle(&mut self, input: Input) -> Vec<Outward> {
        let now = self.clock.monotonic_ms();
        self.running.as_mut().map_or_else(Vec::new, |running| running.sync.handle(now, input))
    }

    /// Dies: what is on disk stays as it is, nothing is closed.
    pub(super) fn die(&mut self) {
        self.disk.orphan();
        self.running = None;
    }

    /// Loses its power: what was not synced may be lost.
    pub(super) fn lose_power(&mut self, rng: &mut StdRng) {
        self.disk.power_off(rng);
        self.running = None;
    }

    /// The disk that its database is on.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Dies with the files as they were at an earlier moment: the power went, and the disk had not yet
    /// written what came after.
    pub(super) fn die_with(&mut self, files: &Files) {
        if self.running.take().is_some() {
            files.put_back();
        }
    }
}
