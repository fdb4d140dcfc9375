//! The stage: a world, the devices in play, and what is wrong with them at present.

use std::collections::{BTreeMap, BTreeSet};

use client_sdk::SyncPhase;
use crdt_core::id::{DocumentId, RecordId};
use crdt_core::record::Value;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::plan::{Deed, Step};
use crate::harness::network::{Blocked, Dialect, Link, Way};
use crate::harness::server::CrashPoint;
use crate::harness::tally::Fault;
use crate::harness::world::{Backup, Device, ServerBackup, Storage, World};
use crate::vfs::Trouble;

/// What runs in the world beside the faults: users, and whoever governs them; and what must hold for them.
pub trait App {
    /// A user of a device that runs does something.
    fn operate(&mut self, stage: &mut Stage, device: Device, rng: &mut StdRng);

    /// Governs: roles, policy, schema, territories, erasure. Whether it was done.
    fn govern(&mut self, stage: &mut Stage, fault: Fault, rng: &mut StdRng) -> bool;

    /// The server was put back to an older state: says once more what was decided since.
    fn decide_again(&mut self, stage: &mut Stage);

    /// Checks what must hold after every step, also in the middle of every fault.
    fn check_step(&mut self, stage: &mut Stage, device: Device);

    /// Undoes what would keep devices from ever coming to rest: people that were switched off.
    fn make_peace(&mut self, stage: &mut Stage);

    /// Checks what must hold when everything has come to rest.
    fn check_rest(&mut self, stage: &mut Stage);
}

/// A world with devices in play.
pub struct Stage {
    /// The world.
    pub world: World,
    /// The devices in play.
    pub devices: Vec<Device>,
    /// Whether a device's file was copied or put back: then it may have what the server has in another form.
    pub files_were_copied: bool,
    /// Whether the server was put back to an older state: then what nobody holds any more is lost.
    pub server_was_restored: bool,
    /// Whether a clock has been wrong, or a link slow: then devices know the time less exactly.
    pub time_was_disturbed: bool,
    /// Devices that are never shut out or switched off.
    pub spared: BTreeSet<Device>,
    backups: BTreeMap<Device, Backup>,
    server_backup: Option<ServerBackup>,
    /// Devices whose disk fails, or has no room.
    troubled: BTreeSet<Device>,
    clones: usize,
}

/// How late the last frame of a slow link arrives, milliseconds.
const LATE_MS: u64 = 30_000;
/// How many copies of devices there may be in one world.
const CLONES_MAX: usize = 2;

impl Stage {
    /// The stage of a world whose devices are in play.
    #[must_use]
    pub fn new(world: World) -> Self {
        let devices = world.everyone().collect();
        Self {
            world,
            devices,
            files_were_copied: false,
            server_was_restored: false,
            time_was_disturbed: false,
            spared: BTreeSet::new(),
            backups: BTreeMap::new(),
            server_backup: None,
            troubled: BTreeSet::new(),
            clones: 0,
        }
    }

    /// Whether a device's disk fails at present, or has no room: then its user may be told so.
    #[must_use]
    pub fn is_troubled(&self, device: Device) -> bool {
        self.troubled.contains(&device)
    }

    /// Whether a device runs, so that its user can do something.
    #[must_use]
    pub fn is_usable(&self, device: Device) -> bool {
        self.world.at(device).is_running() && !self.world.is_shut_out(device)
    }

    /// Does a step.
    pub fn perform(&mut self, app: &mut impl App, step: &Step, rng: &mut StdRng) {
        let device = self.devices[step.device % self.devices.len()];
        match step.deed {
            Deed::Operate if self.is_usable(device) => app.operate(self, device, rng),
            Deed::Operate => {}
            Deed::Recover => self.recover(device),
            Deed::BackUp if rng.random_bool(0.4) => self.back_up_server(),
            Deed::BackUp => self.back_up(device),
            Deed::Rest => self.rest(app),
            Deed::Fault(fault) => self.strike(app, device, fault, rng),
        }
        self.world.run_for(step.pause_ms);
        app.check_step(self, device);
    }

    /// Ends every fault, waits until everything is at rest, and checks that it stays so.
    pub fn rest(&mut self, app: &mut impl App) {
        self.world.disarm_server();
        self.world.spare_power();
        self.world.calm_disk(Storage::Server);
        self.world.start_server();
        app.make_peace(self);
        for device in self.devices.clone() {
            self.recover(device);
            self.world.set_clock(device, 0);
        }
        if self.time_was_disturbed {
            self.ask_again();
        }
        self.world.settle();
        let mut shut_out = self.devices.clone();
        shut_out.retain(|device| self.world.is_shut_out(*device));
        if !shut_out.is_empty() {
            shut_out.into_iter().for_each(|device| self.world.readmit(device));
            self.world.settle();
        }
        app.check_rest(self);
    }

    /// Checks that nothing more is said for a while.
    ///
    /// # Panics
    /// When a frame is sent.
    pub fn stay_quiet(&mut self, ms: u64) {
        let before = self.world.frames_carried();
        self.world.run_for(ms);
        let said = self.world.frames_carried() - before;
        assert_eq!(said, 0, "{said} frames were sent although everything was at rest");
    }

    /// What came late may have told somebody that they are switched off who is not any more. The device waits
    /// for its user, who tries once more.
    fn ask_again(&mut self) {
        self.world.run_for(LATE_MS);
        for device in self.devices.clone() {
            if self.world.at(device).sync().status().phase == SyncPhase::Disabled {
                self.world.online(device);
            }
        }
    }

    fn back_up(&mut self, device: Device) {
        if !self.world.is_shut_out(device) {
            self.backups.insert(device, self.world.back_up(device));
        }
    }

    fn back_up_server(&mut self) {
        if self.world.server().is_running() {
            self.server_backup = Some(self.world.back_up_server());
        }
    }

    /// A device is well again, and the server's disk with it.
    fn recover(&mut self, device: Device) {
        self.world.calm_disk(Storage::Server);
        if self.troubled.remove(&device) {
            self.world.calm_disk(Storage::Device(device));
        }
        let at = self.world.at_mut(device);
        at.link = Link { blocked: at.link.blocked, ..Link::default() };
        // A session goes on renewing the short token that it began with.
        let is_expiring = at.token_life_ms().is_some();
        at.set_token_life_ms(None);
        if is_expiring {
            self.world.cut(device);
        }
        if !self.world.at(device).is_running() {
            self.world.start_device(device);
        }
        self.world.online(device);
    }

    // Long because it is one arm for each kind of fault.
    fn strike(&mut self, app: &mut impl App, device: Device, fault: Fault, rng: &mut StdRng) {
        if self.world.is_shut_out(device) {
            return;
        }
        // What has to do with files needs a disk that works.
        let needs_disk = matches!(
            fault,
            Fault::Clone | Fault::DeviceRestore | Fault::DeviceCrash | Fault::Revocation
        );
        // So does what an operator does to the server.
        let needs_server = matches!(
            fault,
            Fault::Revocation
                | Fault::RoleChange
                | Fault::PolicyChange
                | Fault::SchemaChange
                | Fault::MergeRuleChange
                | Fault::Erasure
                | Fault::ServerRestart
                | Fault::ServerRestore
        );
        if needs_server {
            self.world.calm_disk(Storage::Server);
        }
        if needs_disk && self.troubled.remove(&device) {
            self.world.calm_disk(Storage::Device(device));
        }
        let way = if rng.random() { Way::Up } else { Way::Down };
        match fault {
            Fault::Partition => self.world.block(device, Blocked::Both),
            Fault::OneWayPartition => {
                let blocked = if way == Way::Up { Blocked::Up } else { Blocked::Down };
                self.world.block(device, blocked);
            }
            Fault::Delay => self.delay(device, rng),
            Fault::Duplicate => self.world.at_mut(device).link.duplicate = Some(way),
            Fault::Cut if rng.random_bool(0.3) => self.world.cut(device),
            Fault::Cut => self.world.cut_after(device, way, rng.random_range(0..3_000)),
            Fault::SlowReader => {
                self.time_was_disturbed = true;
                let reads = rng.random_range(1..60);
                self.world.at_mut(device).link.reads_per_second = Some(reads);
            }
            Fault::ServerCrash if way == Way::Up => {
                self.world.crash_server_at(CrashPoint::BeforeCommit);
            }
            Fault::ServerCrash => self.world.crash_server_at(CrashPoint::BeforeReceipts),
            Fault::ServerRestart => self.world.restart_server(),
            Fault::DeviceCrash => self.crash(device, rng),
            Fault::PowerCut if way == Way::Up => self.world.cut_power_at_next_page(device),
            Fault::PowerCut if self.is_usable(device) => {
                self.time_was_disturbed = true;
                self.world.power_off(device);
            }
            Fault::PowerCut => {}
            Fault::ServerPowerCut => {
                self.world.power_off_server();
                if rng.random_bool(0.7) {
                    self.world.calm_disk(Storage::Server);
                    self.world.start_server();
                }
            }
            Fault::IoError => {
                let trouble = [Trouble::WriteError, Trouble::SyncError];
                let trouble = trouble[usize::from(way == Way::Up)];
                self.trouble(device, trouble, rng);
            }
            Fault::DiskFull => self.trouble(device, Trouble::Full, rng),
            Fault::ServerRestore => {
                if let Some(backup) = &self.server_backup {
                    let backup = backup.clone();
                    self.server_was_restored = true;
                    self.world.restore_server(&backup);
                    app.decide_again(self);
                }
            }
            Fault::Clone => self.copy(device),
            Fault::DeviceRestore => self.put_back(device),
            Fault::TokenExpiry => {
                self.world.count(fault);
                let life_ms = rng.random_range(200..40_000);
                self.world.at_mut(device).set_token_life_ms(Some(life_ms));
                self.world.cut(device);
            }
            Fault::Revocation => self.shut_out(device),
            Fault::OlderDevice => self.speak(device, Dialect::OlderDevice, fault),
            Fault::NewerDevice => self.speak(device, Dialect::NewerDevice, fault),
            Fault::NewerServer => self.speak(device, Dialect::NewerServer, fault),
            Fault::SmallClockJump => self.jump(device, rng.random_range(-100_000..100_000), fault),
            Fault::LargeClockJump => {
                let skew = if rng.random() { 31_536_000_000 } else { 20_000_000 };
                self.jump(device, if rng.random() { skew } else { -skew }, fault);
            }
            Fault::RoleChange
            | Fault::PolicyChange
            | Fault::TerritoryMove
            | Fault::SchemaChange
            | Fault::MergeRuleChange
            | Fault::Erasure => {
                if app.govern(self, fault, rng) {
                    self.world.count(fault);
                }
            }
            // It follows from what users do.
            Fault::Refusal => {}
        }
    }

    fn delay(&mut self, device: Device, rng: &mut StdRng) {
        self.world.count(Fault::Delay);
        self.time_was_disturbed = true;
        let link = &mut self.world.at_mut(device).link;
        link.latency_ms_min = rng.random_range(200..1_500);
        link.latency_ms_max = link.latency_ms_min + rng.random_range(0..4_000);
    }

    fn crash(&mut self, device: Device, rng: &mut StdRng) {
        if self.world.at(device).is_running() {
            self.world.crash_device(device);
            if rng.random_bool(0.3) {
                self.time_was_disturbed = true;
                self.world.at(device).clock.reboot();
            }
        }
    }

    /// A disk begins to fail, or has no room: most often a device's, at times the server's.
    fn trouble(&mut self, device: Device, trouble: Trouble, rng: &mut StdRng) {
        let on_server = rng.random_bool(0.3) && self.world.server().is_running();
        let storage = if on_server { Storage::Server } else { Storage::Device(device) };
        if !on_server {
            if !self.is_usable(device) {
                return;
            }
            self.troubled.insert(device);
        }
        match trouble {
            Trouble::Full => self.world.fill_disk(storage),
            other => self.world.fail_io(storage, other, rng.random_range(0..12)),
        }
    }

    fn copy(&mut self, device: Device) {
        if self.clones < CLONES_MAX && self.is_usable(device) {
            self.world.count(Fault::Clone);
            self.clones += 1;
            let name = format!("{}-copy-{}", self.world.at(device).name, self.clones);
            let copy = self.world.clone_device(device, &name);
            self.files_were_copied = true;
            self.devices.push(copy);
        }
    }

    fn put_back(&mut self, device: Device) {
        let Some(backup) = self.backups.get(&device) else { return };
        if self.world.at(device).is_running() {
            self.world.crash_device(device);
        }
        self.world.restore(device, backup);
        self.world.start_device(device);
        self.files_were_copied = true;
    }

    fn shut_out(&mut self, device: Device) {
        let running = self.world.server().is_running() && self.is_usable(device);
        if running && !self.spared.contains(&device) {
            self.world.count(Fault::Revocation);
            self.world.shut_out(device);
            self.backups.remove(&device);
        }
    }

    fn speak(&mut self, device: Device, dialect: Dialect, fault: Fault) {
        self.world.count(fault);
        self.world.at_mut(device).link.dialect = dialect;
        self.world.cut(device);
    }

    fn jump(&mut self, device: Device, skew_ms: i64, fault: Fault) {
        self.world.count(fault);
        self.time_was_disturbed = true;
        self.world.set_clock(device, skew_ms);
    }
}

/// What must hold on every device, whatever the app is.
impl Stage {
    /// Checks that every edit that a device has confirmed is in exactly one place.
    ///
    /// # Panics
    /// When one is not.
    pub fn check_account(&self, device: Device) {
        if self.is_usable(device) {
            let at = self.world.at(device);
            let accounting = at.client().accounting().expect("a device can be read");
            assert!(accounting.balances(), "{}: {accounting:?}", at.name);
            self.world.check_account(device);
        }
    }

    /// Checks that a device has nothing left to send or to settle.
    ///
    /// # Panics
    /// When it has.
    pub fn check_settled(&self, device: Device) {
        self.check_account(device);
        let at = self.world.at(device);
        let accounting = at.client().accounting().expect("a device can be read");
        assert_eq!(accounting.pending, 0, "{} has a queue: {accounting:?}", at.name);
        let unsent = at.client().unsent().expect("a device can be read");
        assert_eq!(unsent.batches, 0, "{} has a queue", at.name);
    }

    /// The documents that a device holds.
    ///
    /// # Panics
    /// When the device cannot be read.
    #[must_use]
    pub fn documents_of(&self, device: Device) -> BTreeSet<DocumentId> {
        let sql = "SELECT record, section FROM document";
        let rows = self.world.at(device).client().query(sql, &[], Default::default());
        let rows = rows.expect("a device can be read").rows.into_iter();
        let documents = rows.map(|row| match &row[..] {
            [Value::Bytes(record), Value::Str(section)] => DocumentId {
                record: RecordId::try_from(&record[..]).expect("a record's id has 16 bytes"),
                section: section.parse().expect("a section's name is one"),
            },
            other => panic!("{other:?} is no document"),
        });
        documents.collect()
    }
}
