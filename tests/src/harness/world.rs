//! The world: one queue of events in order of time, from which one is taken at a time. One seed decides all.

mod access;
mod accounts;
mod dialects;
mod erasing;
mod events;
mod faults;
mod inspection;
mod restoring;
mod storage;
mod wiretap;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client_sdk::engine::{ConnectionId, Input, Nudge};
use client_sdk::{EditError, SyncPhase, Transaction};
use crdt_core::id::{Epoch, MemberId};
use crdt_core::protocol::Page;
use crdt_core::schema::Schema;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sync_server::workspace::Stride;

use super::device::SimDevice;
use super::files;
use super::ledger::Ledger;
use super::network::{Connection, Packet, Wire};
use super::server::SimServer;
use super::tally::{Fault, Tally};
use super::time::WorldTime;
use super::trace::Trace;
pub use access::{MemberChanges, whoever};
use events::Event;

pub use faults::Backup;
pub use restoring::ServerBackup;
pub use storage::Storage;
pub use wiretap::holds;

use crate::simulator::attempt::keep_trace;
use crate::vfs::Disk;

/// A device's place in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device(pub usize);

/// A simulation.
pub struct World {
    pub(super) seed: u64,
    time: WorldTime,
    rng: StdRng,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    folder: tempfile::TempDir,
    pub(super) server: SimServer,
    pub(super) devices: Vec<SimDevice>,
    members: u64,
    connections: BTreeMap<Wire, Connection>,
    /// Which connection each device has at present.
    current: BTreeMap<usize, Wire>,
    /// The connection that each device asked for last.
    attempts: BTreeMap<usize, ConnectionId>,
    wires: u64,
    carried: u64,
    trace: Trace,
    tally: Tally,
    ledger: Ledger,
    tamper: Option<Tamper>,
    wiretap: Option<wiretap::Wiretap>,
    inspector: Option<inspection::Inspector>,
    /// Devices that lose their power with the next page.
    doomed: BTreeSet<usize>,
    /// Devices that were shut out: they come to rest by having removed their files.
    shut_out: BTreeSet<usize>,
    /// The server's log since it was put back.
    epoch: Option<Epoch>,
    /// Of which device each copy is one.
    copies: BTreeMap<usize, usize>,
    /// Frames that were sent either way; pings are none.
    frames: u64,
    /// The schema that every app comes with, when it is not the built-in one.
    app_schema: Option<Arc<Schema>>,
    erasures: erasing::Erasures,
    /// Whether anybody has ever asked for an erasure.
    was_asked_to_erase: bool,
}

/// Changes pages on their way to a device.
type Tamper = Box<dyn FnMut(Device, &mut Page)>;

/// How long a user takes for an edit.
const EDIT_MS: u64 = 100;
/// Silence after which everything counts as quiet: longer than a tick of the server's.
const QUIET_MS: u64 = 2_500;
/// In which everything must have become quiet after the last fault.
const SETTLE_MS_MAX: u64 = 120_000;

impl World {
    /// A world with a server that has the built-in schema, and no devices.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_stride(seed, Stride::default())
    }

    /// A world whose server reads its log with another stride: a short one makes devices that are little
    /// behind catch up by index, and documents fold early.
    #[must_use]
    pub fn with_stride(seed: u64, stride: Stride) -> Self {
        Self::founded(seed, stride, Schema::builtin().text())
    }

    /// A world whose server and apps begin with a schema of their own.
    ///
    /// # Panics
    /// When the text is no schema.
    #[must_use]
    pub fn with_schema(seed: u64, stride: Stride, schema: &str) -> Self {
        let parsed = Schema::parse(schema, "schema.toml").expect("the schema is sound");
        let mut world = Self::founded(seed, stride, schema);
        world.app_schema = Some(Arc::new(parsed));
        world
    }

    fn founded(seed: u64, stride: Stride, schema: &str) -> Self {
        let folder = files::folder();
        let server = SimServer::create(folder.path(), seed, stride, schema);
        Self {
            seed,
            time: WorldTime::default(),
            rng: StdRng::seed_from_u64(seed),
            queue: BTreeMap::new(),
            sequence: 0,
            folder,
            server,
            devices: Vec::new(),
            members: 0,
            connections: BTreeMap::new(),
            current: BTreeMap::new(),
            attempts: BTreeMap::new(),
            wires: 0,
            carried: 0,
            trace: Trace::default(),
            tally: Tally::default(),
            ledger: Ledger::default(),
            tamper: None,
            wiretap: None,
            inspector: None,
            doomed: BTreeSet::new(),
            shut_out: BTreeSet::new(),
            epoch: None,
            copies: BTreeMap::new(),
            frames: 0,
            app_schema: None,
            erasures: erasing::Erasures::new(),
            was_asked_to_erase: false,
        }
    }

    /// Adds a person to the workspace.
    pub fn member(&mut self, name: &str) -> MemberId {
        self.members += 1;
        let member = MemberId::from_source_key("simulated member", &self.members.to_string());
        self.server.put_member(&member, name);
        member
    }

    /// Adds a device of a new member's; it runs and syncs.
    pub fn device(&mut self, name: &str) -> Device {
        let member = self.member(name);
        self.device_of(member, name)
    }

    /// Adds a device of a member's; it runs and syncs.
    pub fn device_of(&mut self, member: MemberId, name: &str) -> Device {
        let device = self.new_device(member, name);
        self.start_device(device);
        device
    }

    /// Adds a device of a member's that runs and has no network.
    pub fn device_of_offline(&mut self, member: MemberId, name: &str) -> Device {
        let device = self.new_device(member, name);
        self.offline(device);
        self.start_device(device);
        device
    }

    /// Adds a device of a new member's whose app came with a schema of its own.
    ///
    /// # Panics
    /// When the text is no schema.
    pub fn device_with_schema(&mut self, name: &str, schema: &str) -> Device {
        let member = self.member(name);
        self.device_of_with_schema(member, name, schema)
    }

    /// Adds a device of a member's whose app came with a schema of its own.
    ///
    /// # Panics
    /// When the text is no schema.
    pub fn device_of_with_schema(&mut self, member: MemberId, name: &str, schema: &str) -> Device {
        let device = self.new_device(member, name);
        let schema = Schema::parse(schema, "the app's schema").expect("the app's schema is sound");
        self.devices[device.0].set_schema(Arc::new(schema));
        self.start_device(device);
        device
    }

    fn new_device(&mut self, member: MemberId, name: &str) -> Device {
        let place = self.devices.len();
        let (folder, time) = (self.folder.path(), &self.time);
        let mut device = SimDevice::new(folder, place, name, member, self.seed, time);
        if let Some(schema) = &self.app_schema {
            device.set_schema(Arc::clone(schema));
        }
        self.devices.push(device);
        Device(place)
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The world's time.
    #[must_use]
    pub const fn time(&self) -> &WorldTime {
        &self.time
    }

    /// A device.
    #[must_use]
    pub fn at(&self, device: Device) -> &SimDevice {
        &self.devices[device.0]
    }

    /// A device, to change its link or limits.
    pub fn at_mut(&mut self, device: Device) -> &mut SimDevice {
        &mut self.devices[device.0]
    }

    /// Every device.
    pub fn everyone(&self) -> impl Iterator<Item = Device> + use<> {
        (0..self.devices.len()).map(Device)
    }

    /// The server.
    #[must_use]
    pub const fn server(&self) -> &SimServer {
        &self.server
    }

    /// How often each fault has struck.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(crate) fn count(&mut self, fault: Fault) {
        self.tally.count(fault);
    }

    /// The batches that devices confirmed.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How many of the server's documents are folded.
    #[must_use]
    pub fn folded(&self) -> usize {
        self.server.read(|tx| {
            let (mut folded, mut last) = (0, 0);
            while let Some(number) = tx.document_after(last)? {
                let row = tx.document(number)?;
                folded += usize::from(row.is_some_and(|row| row.folded_to > 0));
                last = number;
            }
            Ok(folded)
        })
    }

    /// The bytes of all the frames that were sent either way.
    #[must_use]
    pub const fn bytes_carried(&self) -> u64 {
        self.carried
    }

    /// How many frames were sent either way.
    #[must_use]
    pub const fn frames_carried(&self) -> u64 {
        self.frames
    }

    /// A number that two runs of one seed have in common.
    #[must_use]
    pub const fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Runs one local transaction. The user takes a tenth of a second for it, in which others go on: more
    /// than the error with which devices know the time.
    ///
    /// # Errors
    /// Those of the transaction.
    pub fn edit<T>(
        &mut self,
        device: Device,
        work: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        self.run_for(EDIT_MS);
        self.edit_now(device, work)
    }

    /// Runs one local transaction, in no time.
    ///
    /// # Errors
    /// Those of the transaction.
    pub fn edit_now<T>(
        &mut self,
        device: Device,
        work: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        let done = self.at(device).client().transaction(work)?;
        self.written(device);
        Ok(done)
    }

    /// As [`World::edit`], for a user who sends also what the policy on the device denies.
    ///
    /// # Errors
    /// Those of the transaction.
    pub fn insist<T>(
        &mut self,
        device: Device,
        work: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        self.run_for(EDIT_MS);
        self.insist_now(device, work)
    }

    /// As [`World::insist`], in no time.
    ///
    /// # Errors
    /// Those of the transaction.
    pub fn insist_now<T>(
        &mut self,
        device: Device,
        work: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        let done = self.at(device).client().transaction_allowing_dispute(work)?;
        self.written(device);
        Ok(done)
    }

    /// Notes that a device wrote something by another way than [`World::edit`], and wakes its sync loop.
    pub fn written(&mut self, device: Device) {
        self.ledger.confirm(device.0, self.devices[device.0].client());
        self.give(device, Input::Nudge(Nudge::Edited));
    }

    /// Takes one event; whether there was one.
    pub fn step(&mut self) -> bool {
        let Some(((at, _), event)) = self.queue.pop_first() else { return false };
        self.time.set(at.max(self.time.now()));
        let payload: &[u8] = match &event {
            Event::Arrival { packet: Packet::Frame(bytes), .. } => bytes,
            _ => &[],
        };
        match event.is_idle() {
            true => self.trace.note_idle(at, &event.name()),
            false => self.trace.note(at, &event.name(), payload),
        }
        self.happen(event);
        true
    }

    /// Lets time pass.
    pub fn run_for(&mut self, ms: u64) {
        let until = self.time.now() + ms;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= until) {
            self.step();
        }
        self.time.set(until);
    }

    /// Lets time pass until every running device is synced and nothing is under way.
    ///
    /// # Panics
    /// When that takes more than two simulated minutes.
    pub fn settle(&mut self) {
        self.settle_watched(|_| {});
    }

    /// As [`World::settle`], while one device stays away.
    ///
    /// # Panics
    /// When that takes more than two simulated minutes.
    pub fn settle_others(&mut self, away: Device) {
        let deadline = self.time.now() + SETTLE_MS_MAX;
        let others: Vec<Device> = self.everyone().filter(|device| *device != away).collect();
        while !others.iter().all(|device| self.at(*device).sync().is_synced()) {
            assert!(self.step(), "{}: nothing is going to happen any more", self.standing());
            assert!(self.time.now() < deadline, "not quiet in time: {}", self.standing());
        }
        self.run_for(QUIET_MS);
    }

    /// As [`World::settle`]; `watch` is called after every event.
    ///
    /// # Panics
    /// When that takes more than two simulated minutes.
    pub fn settle_watched(&mut self, mut watch: impl FnMut(&Self)) {
        let deadline = self.time.now() + SETTLE_MS_MAX;
        let mut quiet_since = self.time.now();
        while self.time.now() < quiet_since + QUIET_MS {
            let idle = self.queue.first_key_value().is_some_and(|(_, event)| event.is_idle());
            assert!(self.step(), "{}: nothing is going to happen any more", self.standing());
            if !idle || !self.is_synced() {
                quiet_since = self.time.now();
            }
            watch(self);
            assert!(
                self.time.now() < deadline,
                "not quiet after {SETTLE_MS_MAX} ms: {}",
                self.standing()
            );
        }
    }

    /// Whether every running device is synced.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        let running = self.devices.iter().enumerate().filter(|(_, device)| device.is_running());
        running.clone().all(|(place, device)| match self.is_shut_out(Device(place)) {
            true => device.sync().status().phase == SyncPhase::Revoked,
            false => device.sync().is_synced(),
        })
    }

    fn standing(&self) -> String {
        let of = |device: &SimDevice| match device.is_running() {
            true => {
                let status = device.sync().status();
                format!("{} {:?} {:?}", device.name, status.phase, status.last_error)
            }
            false => format!("{} dead", device.name),
        };
        self.devices.iter().map(of).collect::<Vec<_>>().join(", ")
    }
}

impl Drop for World {
    /// A failed simulation says how to see it again. Nothing is closed: the files go with the world.
    fn drop(&mut self) {
        self.devices.iter().map(SimDevice::disk).for_each(Disk::orphan);
        self.server.disk().orphan();
        if std::thread::panicking() && !keep_trace(self.trace.lines()) {
            eprintln!("the last events:");
            self.trace.lines().for_each(|line| eprintln!("  {line}"));
            eprintln!("{}", super::replay_command(self.seed));
        }
    }
}
