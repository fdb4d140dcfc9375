//! What can be done to a world: blocked links, cut connections, dead processes, wrong clocks.

use std::collections::BTreeSet;

use client_sdk::StoreError;
use client_sdk::engine::{Input, Nudge};
use crdt_core::id::BatchId;
use crdt_core::protocol::Page;
use rand::Rng as _;

use super::super::files::Files;
use super::super::network::{Blocked, Connection, Packet, Way, Wire};
use super::super::server::{Act, CrashPoint};
use super::super::tally::Fault;
use super::events::Event;
use super::{Device, Storage, World};

/// A device's file and account at one moment.
#[derive(Debug, Clone)]
pub struct Backup {
    files: Files,
    account: BTreeSet<BatchId>,
}

impl World {
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

    /// Copies a device with everything on it, as a phone's backup does onto a new phone; the copy runs.
    pub fn clone_device(&mut self, device: Device, name: &str) -> Device {
        let copy = self.new_device(self.at(device).member(), name);
        self.copies.insert(copy.0, device.0);
        Files::copy(self.at(device).path()).put_at(self.at(copy).path());
        self.ledger.put_back(copy.0, self.ledger.account(device.0));
        self.start_device(copy);
        copy
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
        self.ask_for_lost(device);
        self.check_account(device);
        self.give(device, Input::Start);
        Ok(())
    }

    /// Removes a device's app with everything on it, and installs it again.
    pub fn reinstall(&mut self, device: Device) {
        self.orphan(device);
        self.devices[device.0].uninstall();
        self.start_device(device);
    }

    /// Sets a device's wall clock so far ahead of the truth, milliseconds.
    pub fn set_clock(&mut self, device: Device, skew_ms: i64) {
        self.devices[device.0].clock.set_skew_ms(skew_ms);
    }

    /// The user gave a batch up.
    pub(in crate::harness) fn release(&mut self, device: Device, batch: BatchId) {
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

    /// Lets time pass on the server between the building of a page and the session's hearing of it, in which
    /// news come.
    pub fn build_slowly(&mut self) {
        self.server.build_slowly();
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

    /// Starts the server again; whoever does it sees to its disk first.
    pub fn start_server(&mut self) {
        if !self.server.is_running() {
            self.calm_disk(Storage::Server);
            self.server.start();
            self.act(vec![Act::RescopeSoon]);
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

    pub(super) fn orphan(&mut self, device: Device) {
        let Some(wire) = self.current.remove(&device.0) else { return };
        // The operating system ends the dead process's connection; the server hears of it later.
        let after = self.rng.random_range(1..5_000);
        let close = Event::Arrival { wire, way: Way::Up, packet: Packet::Close };
        self.schedule(after, close);
    }

    pub(super) fn server_died(&mut self, wires: &[Wire]) {
        for wire in wires {
            let Some(connection) = self.connections.remove(wire) else { continue };
            self.lose(&connection, *wire);
        }
    }

    pub(super) fn break_connection(&mut self, wire: Wire) {
        let Some(connection) = self.connections.remove(&wire) else { return };
        self.tally.count(Fault::Cut);
        self.lose(&connection, wire);
        // A server may take a long time to notice, so that a new session meets the old one.
        let after = self.rng.random_range(1..20_000);
        self.schedule(after, Event::Arrival { wire, way: Way::Up, packet: Packet::Close });
    }

    /// Tells a device that its connection is gone.
    pub(super) fn lose(&mut self, connection: &Connection, wire: Wire) {
        let Connection { device, id, .. } = *connection;
        if self.current.get(&device) == Some(&wire) {
            self.current.remove(&device);
            let life = self.devices[device].life();
            let after = self.rng.random_range(1..100);
            self.schedule(after, Event::Lost { device, life, id });
        }
    }
}
