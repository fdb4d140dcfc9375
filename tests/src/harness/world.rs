//! The world: one queue of events in order of time, from which one is taken at a time. One seed decides all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client_sdk::engine::{ConnectFailure, ConnectionId, Input, Nudge, Outward};
use client_sdk::{EditError, StoreError, SyncErrorKind, Transaction};
use crdt_core::id::{BatchId, MemberId};
use crdt_core::protocol::{Message, Page, PageParts, Staged, decode_frame, encode_frame};
use crdt_core::schema::Schema;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use sync_server::workspace::Stride;

use super::device::SimDevice;
use super::files::{self, Files};
use super::ledger::{Held, Ledger};
use super::network::{Blocked, Connection, Packet, Way, Wire};
use super::server::{Act, CrashPoint, Moment, SimServer};
use super::tally::{Fault, Tally};
use super::time::WorldTime;
use super::trace::Trace;

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
    wires: u64,
    carried: u64,
    trace: Trace,
    tally: Tally,
    ledger: Ledger,
    tamper: Option<Tamper>,
    /// Devices that lose their power with the next page.
    doomed: BTreeSet<usize>,
}

/// A device's file and account at one moment.
#[derive(Debug, Clone)]
pub struct Backup {
    files: Files,
    account: BTreeSet<BatchId>,
}

/// Changes pages on their way to a device.
type Tamper = Box<dyn FnMut(Device, &mut Page)>;

/// What is going to happen.
#[derive(Debug)]
enum Event {
    /// The app has its token.
    Token { device: usize, life: u64 },
    /// A device's connection attempt reaches the server.
    Attempt { device: usize, life: u64, id: ConnectionId },
    /// The attempt's outcome reaches the device.
    Attempted { device: usize, life: u64, id: ConnectionId, failed: bool },
    /// A packet arrives.
    Arrival { wire: Wire, way: Way, packet: Packet },
    /// A device notices that its connection is gone.
    Lost { device: usize, life: u64, id: ConnectionId },
    /// A device wanted to be woken.
    Wake { device: usize, life: u64 },
    /// The server commits what has been handed in.
    Commit { life: u64 },
    /// The server builds a page.
    Build { life: u64, wire: Wire },
    /// Time passes for a session of the server's.
    ServerTick { life: u64, wire: Wire },
    /// The server comes back.
    ServerStart,
}

impl Event {
    /// Whether it belongs to the passing of time alone.
    fn is_idle(&self) -> bool {
        matches!(self, Self::Wake { .. } | Self::ServerTick { .. })
    }

    fn name(&self) -> String {
        match self {
            Self::Token { device, .. } => format!("token for {device}"),
            Self::Attempt { device, .. } => format!("attempt of {device}"),
            Self::Attempted { device, failed, .. } => format!("attempted {device} failed={failed}"),
            Self::Arrival { wire, way, .. } => format!("arrival {} {way:?}", wire.0),
            Self::Lost { device, .. } => format!("lost by {device}"),
            Self::Wake { device, .. } => format!("wake {device}"),
            Self::Commit { .. } => "commit".to_owned(),
            Self::Build { wire, .. } => format!("build {}", wire.0),
            Self::ServerTick { wire, .. } => format!("tick {}", wire.0),
            Self::ServerStart => "server starts".to_owned(),
        }
    }
}

/// How long a user takes for an edit.
const EDIT_MS: u64 = 100;
/// Silence after which everything counts as quiet: longer than a tick of the server's.
const QUIET_MS: u64 = 2_500;
/// In which everything must have become quiet after the last fault.
const SETTLE_MS_MAX: u64 = 120_000;
/// How long a device waits for a connection that nobody answers.
const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// How often time passes for a session of the server's.
const SERVER_TICK_MS: u64 = 1_000;

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
        let folder = files::folder();
        let server = SimServer::create(folder.path(), seed, stride);
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
            wires: 0,
            carried: 0,
            trace: Trace::default(),
            tally: Tally::default(),
            ledger: Ledger::default(),
            tamper: None,
            doomed: BTreeSet::new(),
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

    /// Adds a device of a new member's whose app came with a schema of its own.
    ///
    /// # Panics
    /// When the text is no schema.
    pub fn device_with_schema(&mut self, name: &str, schema: &str) -> Device {
        let member = self.member(name);
        let device = self.new_device(member, name);
        let schema = Schema::parse(schema, "the app's schema").expect("the app's schema is sound");
        self.devices[device.0].set_schema(Arc::new(schema));
        self.start_device(device);
        device
    }

    fn new_device(&mut self, member: MemberId, name: &str) -> Device {
        let place = self.devices.len();
        let (folder, time) = (self.folder.path(), &self.time);
        self.devices.push(SimDevice::new(folder, place, name, member, self.seed, time));
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

    pub(super) fn count(&mut self, fault: Fault) {
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
            let mut folded = 0;
            for number in 1.. {
                let Some(row) = tx.document(number)? else { break };
                folded += usize::from(row.snapshot.is_some());
            }
            Ok(folded)
        })
    }

    /// The bytes of all the frames that were sent either way.
    #[must_use]
    pub const fn bytes_carried(&self) -> u64 {
        self.carried
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
        self.trace.note(at, &event.name(), payload);
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
        let running = self.devices.iter().filter(|device| device.is_running());
        running.clone().all(|device| device.sync().is_synced())
    }

    fn standing(&self) -> String {
        let of = |device: &SimDevice| match device.is_running() {
            true => format!("{} {:?}", device.name, device.sync().status().phase),
            false => format!("{} dead", device.name),
        };
        self.devices.iter().map(of).collect::<Vec<_>>().join(", ")
    }

    // ------------------------------------------------------------------------------------- faults

    /// Changes every page that fits one frame on its way to a device: a server with a fault.
    pub fn tamper_with_pages(&mut self, tamper: impl FnMut(Device, &mut Page) + 'static) {
        self.tamper = Some(Box::new(tamper));
    }

    /// Sends the server something in the name of a device, on its present connection.
    pub fn inject(&mut self, device: Device, packet: Packet) {
        self.send_up(device.0, packet);
    }

    /// Takes a device's network away.
    pub fn offline(&mut self, device: Device) {
        self.block(device, Blocked::Both);
    }

    /// Gives a device its network back.
    pub fn online(&mut self, device: Device) {
        self.block(device, Blocked::Nothing);
        self.give(device, Input::Nudge(Nudge::Network));
        self.give(device, Input::Nudge(Nudge::Asked));
    }

    /// Blocks ways of a device's link, or frees them.
    pub fn block(&mut self, device: Device, blocked: Blocked) {
        self.tally.count_blocked(blocked);
        self.devices[device.0].link.blocked = blocked;
        let Some(wire) = self.current.get(&device.0).copied() else { return };
        for way in [Way::Up, Way::Down] {
            if !blocked.blocks(way) {
                let released = self.connections.get_mut(&wire).map(|c| c.release(way));
                for packet in released.unwrap_or_default() {
                    self.send(wire, way, packet);
                }
            }
        }
    }

    /// Cuts a device's connection once so many more bytes went one way.
    pub fn cut_after(&mut self, device: Device, way: Way, bytes: usize) {
        self.devices[device.0].link.cut = Some((way, bytes));
    }

    /// Breaks a device's connection now; frames under way are lost.
    pub fn cut(&mut self, device: Device) {
        if let Some(wire) = self.current.get(&device.0).copied() {
            self.break_connection(wire);
        }
    }

    /// Kills a device's process; the file is as the process left it.
    pub fn crash_device(&mut self, device: Device) {
        self.tally.count(Fault::DeviceCrash);
        self.devices[device.0].die();
        self.orphan(device);
    }

    /// The power of a device goes: its file is as it was at an earlier moment.
    pub fn cut_power(&mut self, device: Device, files: &Files) {
        self.devices[device.0].die_with(files);
        self.devices[device.0].clock.reboot();
        self.orphan(device);
    }

    /// Lets a device lose its power right after it has stored the next page: pages are not synced to the
    /// disk, so that one is lost.
    pub fn cut_power_at_next_page(&mut self, device: Device) {
        self.doomed.insert(device.0);
    }

    /// Copies the file of a device; between two events nobody writes to it.
    #[must_use]
    pub fn back_up(&self, device: Device) -> Backup {
        let files = Files::copy(self.at(device).path());
        Backup { files, account: self.ledger.account(device.0) }
    }

    /// Puts a device that does not run back to an older state of its file.
    pub fn restore(&mut self, device: Device, backup: &Backup) {
        assert!(!self.at(device).is_running(), "a process would go on with what it remembers");
        self.tally.count(Fault::DeviceRestore);
        backup.files.put_back();
        self.ledger.put_back(device.0, backup.account.clone());
    }

    /// Starts a device's process again.
    ///
    /// # Panics
    /// When the file cannot be opened.
    pub fn start_device(&mut self, device: Device) {
        self.try_start_device(device).expect("the device's file can be opened");
    }

    /// Starts a device's process again, if its file lets it.
    ///
    /// # Errors
    /// The store's reason.
    pub fn try_start_device(&mut self, device: Device) -> Result<(), StoreError> {
        self.devices[device.0].open()?;
        self.check_account(device);
        self.give(device, Input::Start);
        Ok(())
    }

    /// Sets a device's wall clock so far ahead of the truth, milliseconds.
    pub fn set_clock(&mut self, device: Device, skew_ms: i64) {
        self.devices[device.0].clock.set_skew_ms(skew_ms);
    }

    /// The user gave a batch up.
    pub(super) fn release(&mut self, device: Device, batch: BatchId) {
        self.ledger.release(device.0, batch);
    }

    /// Forgets what a device confirmed: its file is replaced by another.
    pub fn forget(&mut self, device: Device) {
        self.ledger.forget(device.0);
    }

    /// The batch that a device confirmed last.
    #[must_use]
    pub fn last_batch(&self, device: Device) -> Option<BatchId> {
        self.ledger.last(device.0)
    }

    /// Takes back what [`World::cut_power_at_next_page`] asked for.
    pub fn spare_power(&mut self) {
        self.doomed.clear();
    }

    /// Kills the server, and starts it again at once.
    pub fn restart_server(&mut self) {
        self.tally.count(Fault::ServerRestart);
        self.stop_server();
        self.start_server();
    }

    /// Takes back what [`World::crash_server_at`] asked for.
    pub fn disarm_server(&mut self) {
        self.server.disarm();
    }

    /// Lets the server die when it commits next, and come back after a while.
    pub fn crash_server_at(&mut self, point: CrashPoint) {
        self.server.arm(point);
    }

    /// Kills the server now. It stays away until [`World::start_server`].
    pub fn stop_server(&mut self) {
        let wires = self.server.die();
        self.server_died(&wires);
    }

    /// Starts the server again.
    pub fn start_server(&mut self) {
        if !self.server.is_running() {
            self.server.start();
        }
    }

    /// Bounds the size of the server's database, and starts it anew.
    pub fn bound_server(&mut self, pages: Option<u32>) {
        self.stop_server();
        self.server.set_max_page_count(pages);
        self.start_server();
    }

    /// Puts another schema in force, and starts the server anew.
    pub fn put_schema(&mut self, text: &str) {
        self.tally.count(Fault::SchemaChange);
        self.server.put_schema(text);
        self.stop_server();
        self.start_server();
    }

    fn orphan(&mut self, device: Device) {
        let Some(wire) = self.current.remove(&device.0) else { return };
        // The operating system ends the dead process's connection; the server hears of it later.
        let after = self.rng.random_range(1..5_000);
        let close = Event::Arrival { wire, way: Way::Up, packet: Packet::Close };
        self.schedule(after, close);
    }

    fn server_died(&mut self, wires: &[Wire]) {
        for wire in wires {
            let Some(connection) = self.connections.remove(wire) else { continue };
            self.lose(&connection, *wire);
        }
    }

    fn break_connection(&mut self, wire: Wire) {
        let Some(connection) = self.connections.remove(&wire) else { return };
        self.tally.count(Fault::Cut);
        self.lose(&connection, wire);
        // A server may take a long time to notice, so that a new session meets the old one.
        let after = self.rng.random_range(1..20_000);
        self.schedule(after, Event::Arrival { wire, way: Way::Up, packet: Packet::Close });
    }

    /// Tells a device that its connection is gone.
    fn lose(&mut self, connection: &Connection, wire: Wire) {
        let Connection { device, id, .. } = *connection;
        if self.current.get(&device) == Some(&wire) {
            self.current.remove(&device);
            let life = self.devices[device].life();
            let after = self.rng.random_range(1..100);
            self.schedule(after, Event::Lost { device, life, id });
        }
    }

    // ------------------------------------------------------------------------------------- events

    fn schedule(&mut self, after: u64, event: Event) {
        self.schedule_at(self.time.now() + after, event);
    }

    fn schedule_at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn moment(&self) -> Moment {
        Moment { now: self.time.now(), wall: self.time.true_wall() }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Token { device, life } => {
                let token = self.devices[device].member().to_string();
                self.give_life(device, life, Input::TokenReady(Ok(token)));
            }
            Event::Attempt { device, life, id } => self.attempt(device, life, id),
            Event::Attempted { device, life, id, failed: false } => {
                self.give_life(device, life, Input::Connected(id));
            }
            Event::Attempted { device, life, id, failed: true } => {
                let failure = ConnectFailure {
                    kind: SyncErrorKind::Network,
                    text: "nobody answers".to_owned(),
                    retry_after_ms: None,
                };
                self.give_life(device, life, Input::ConnectFailed(id, failure));
            }
            Event::Arrival { wire, way: Way::Up, packet } => self.arrive_up(wire, packet),
            Event::Arrival { wire, way: Way::Down, packet } => self.arrive_down(wire, packet),
            Event::Lost { device, life, id } => {
                let input = Input::Disconnected(id, "the connection broke".to_owned());
                self.give_life(device, life, input);
            }
            Event::Wake { device, life } => self.give_life(device, life, Input::Tick),
            Event::Commit { life } if life == self.server.life() => {
                let acts = self.server.commit(self.moment());
                self.act(acts);
            }
            Event::Build { life, wire } if life == self.server.life() => {
                let acts = self.server.build(self.moment(), wire);
                self.act(acts);
            }
            Event::ServerTick { life, wire } if life == self.server.life() => {
                if let Some(acts) = self.server.tick(self.moment(), wire) {
                    self.schedule(SERVER_TICK_MS, Event::ServerTick { life, wire });
                    self.act(acts);
                }
            }
            // They were meant for a server that has died since.
            Event::Commit { .. } | Event::Build { .. } | Event::ServerTick { .. } => {}
            Event::ServerStart => self.start_server(),
        }
    }

    fn attempt(&mut self, device: usize, life: u64, id: ConnectionId) {
        let blocked = self.devices[device].link.blocked != Blocked::Nothing;
        if blocked {
            let failed = Event::Attempted { device, life, id, failed: true };
            return self.schedule(CONNECT_TIMEOUT_MS, failed);
        }
        let after = self.latency(device);
        let failed = !self.server.is_running();
        self.schedule(after, Event::Attempted { device, life, id, failed });
        if failed || life != self.devices[device].life() {
            return;
        }
        self.wires += 1;
        let wire = Wire(self.wires);
        self.connections.insert(wire, Connection::new(device, id));
        self.current.insert(device, wire);
        self.server.accept(wire, self.time.now());
        let tick = Event::ServerTick { life: self.server.life(), wire };
        self.schedule(SERVER_TICK_MS, tick);
    }

    fn arrive_up(&mut self, wire: Wire, packet: Packet) {
        let closes = packet == Packet::Close;
        let pings = packet == Packet::Ping;
        if !self.server.serves(wire) {
            return;
        }
        let acts = self.server.take(self.moment(), wire, packet);
        if closes {
            self.connections.remove(&wire);
        }
        if pings {
            self.send(wire, Way::Down, Packet::Ping);
        }
        self.act(acts);
    }

    fn arrive_down(&mut self, wire: Wire, packet: Packet) {
        let Some(connection) = self.connections.get(&wire) else { return };
        let (device, id) = (connection.device, connection.id);
        if self.current.get(&device) != Some(&wire) {
            return;
        }
        let input = match packet {
            Packet::Frame(frame) => Input::FrameReceived(id, self.tampered(Device(device), frame)),
            Packet::Ping | Packet::Text => Input::Heard(id),
            Packet::Close => {
                self.connections.remove(&wire);
                self.current.remove(&device);
                Input::Disconnected(id, "the server closed the connection".to_owned())
            }
        };
        let page = matches!(&input, Input::FrameReceived(_, frame) if is_page(frame));
        let doomed = page && self.doomed.remove(&device);
        let files = doomed.then(|| Files::copy(self.devices[device].path()));
        self.give(Device(device), input);
        if let Some(files) = files {
            self.tally.count(Fault::PowerCut);
            return self.cut_power(Device(device), &files);
        }
        self.check_account(Device(device));
    }

    fn tampered(&mut self, device: Device, frame: Vec<u8>) -> Vec<u8> {
        let Some(tamper) = &mut self.tamper else { return frame };
        let Ok(Message::Page(part)) = decode_frame(&frame) else { return frame };
        match Staged::default().take(part) {
            Ok(Some((number, mut page))) => {
                tamper(device, &mut page);
                let mut parts = PageParts::new(&page).parts(number).collect::<Vec<_>>();
                assert_eq!(parts.len(), 1, "a tampered page still fits one frame");
                encode_frame(&Message::Page(parts.remove(0)))
            }
            Ok(None) | Err(_) => frame,
        }
    }

    fn give_life(&mut self, device: usize, life: u64, input: Input) {
        if life == self.devices[device].life() {
            self.give(Device(device), input);
        }
    }

    /// Gives an input to a device's sync loop, and does what it asks for.
    pub(super) fn give(&mut self, device: Device, input: Input) {
        let outward = self.devices[device.0].handle(input);
        for outward in outward {
            self.carry_out(device.0, outward);
        }
    }

    fn carry_out(&mut self, device: usize, outward: Outward) {
        let life = self.devices[device].life();
        match outward {
            Outward::FetchToken => self.schedule(1, Event::Token { device, life }),
            Outward::Connect(id) => {
                let after = self.latency(device);
                self.schedule(after, Event::Attempt { device, life, id });
            }
            Outward::Send(frame) => self.send_up(device, Packet::Frame(frame)),
            Outward::Ping => self.send_up(device, Packet::Ping),
            Outward::Disconnect { goodbye } => {
                if let Some(goodbye) = goodbye {
                    let frame = encode_frame(&Message::Goodbye(goodbye));
                    self.send_up(device, Packet::Frame(frame));
                }
                self.send_up(device, Packet::Close);
                self.current.remove(&device);
            }
            Outward::WakeAt(at) => {
                let at = self.devices[device].clock.world_at(at).max(self.time.now());
                self.schedule_at(at, Event::Wake { device, life });
            }
        }
    }

    fn send_up(&mut self, device: usize, packet: Packet) {
        if let Some(wire) = self.current.get(&device).copied() {
            self.send(wire, Way::Up, packet);
        }
    }

    fn send(&mut self, wire: Wire, way: Way, packet: Packet) {
        let Some(connection) = self.connections.get_mut(&wire) else { return };
        let link = &mut self.devices[connection.device].link;
        if link.blocked.blocks(way) || connection.holds(way) {
            return connection.hold(way, packet);
        }
        if link.cuts(way, &packet) {
            return self.break_connection(wire);
        }
        self.carried += packet.byte_len() as u64;
        let latency = self.rng.random_range(link.latency_ms_min..=link.latency_ms_max);
        let at = connection.arrival(way, self.time.now(), latency);
        self.schedule_at(at, Event::Arrival { wire, way, packet });
    }

    fn latency(&mut self, device: usize) -> u64 {
        let link = &self.devices[device].link;
        self.rng.random_range(link.latency_ms_min..=link.latency_ms_max)
    }

    fn act(&mut self, acts: Vec<Act>) {
        let life = self.server.life();
        for act in acts {
            match act {
                Act::Send(wire, frame) => self.send(wire, Way::Down, Packet::Frame(frame)),
                Act::Close(wire) => self.send(wire, Way::Down, Packet::Close),
                Act::CommitSoon => {
                    let after = self.rng.random_range(0..8);
                    self.schedule(after, Event::Commit { life });
                }
                Act::BuildSoon(wire) => {
                    let after = self.rng.random_range(0..5);
                    self.schedule(after, Event::Build { life, wire });
                }
                Act::Died(wires) => {
                    self.tally.count(Fault::ServerCrash);
                    self.server_died(&wires);
                    let after = self.rng.random_range(10..3_000);
                    self.schedule(after, Event::ServerStart);
                }
            }
        }
    }

    /// Checks that a device's confirmed batches are each in one place.
    ///
    /// # Panics
    /// When one is not.
    pub fn check_account(&self, device: Device) {
        let at = self.at(device);
        let held = Held::by(at.client(), at.sync().is_synced());
        if let Some(fault) = self.ledger.fault(device.0, &held, self.server.log()) {
            panic!("{}: {fault}", self.at(device).name);
        }
    }
}

fn is_page(frame: &[u8]) -> bool {
    matches!(decode_frame(frame), Ok(Message::Page(_)))
}

impl Drop for World {
    /// A failed simulation says how to see it again.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the last events:");
            self.trace.lines().for_each(|line| eprintln!("  {line}"));
            eprintln!("{}", super::replay_command(self.seed));
        }
    }
}
