//! Seeded schedules of edits, restores of the server and devices that are gone for good: what any device still
//! holds comes back once, and everybody agrees.

use client_sdk::Edits;
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sync_server::workspace::Stride;

use super::replay_command;
use super::world::{Device, ServerBackup, World};

/// Acts of one schedule.
const ACTS: usize = 60;
/// Increments that differ in one bit each, up to the largest that one may be.
const BITS_MAX: u32 = 38;

/// What a schedule did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ran {
    /// Restores of the server.
    pub restores: usize,
    /// Changes that the server took from others than their authors.
    pub taken: u64,
}

/// Runs the schedule of a seed.
///
/// # Panics
/// When something that a device holds is lost or is there twice, or two differ at rest.
#[must_use]
pub fn run(seed: u64) -> Ran {
    let mut schedule = Schedule::begin(seed);
    for _ in 0..ACTS {
        schedule.act();
    }
    Ran { restores: schedule.restores, taken: schedule.end() }
}

struct Schedule {
    world: World,
    rng: StdRng,
    accounts: Vec<RecordId>,
    /// Devices that are not gone.
    alive: Vec<Device>,
    backups: Vec<ServerBackup>,
    restores: usize,
    /// By account: the bits that were counted in all, and those that live devices wrote.
    counted: Vec<i64>,
    own: Vec<i64>,
    next_bit: u32,
}

impl Schedule {
    fn begin(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7e1a_7ed0);
        let short = Stride { followed_max: 6, follow: 3, catch_up: 2, burst_bytes: 3_000 };
        let stride = if seed.is_multiple_of(2) { short } else { Stride::default() };
        let mut world = World::with_stride(seed, stride);
        let names = ["ann", "bob", "cleo", "dan"];
        let alive: Vec<Device> = names.into_iter().map(|name| world.device(name)).collect();
        let mut accounts = Vec::new();
        for name in ["Hooli", "Acme"] {
            let device = alive[rng.random_range(0..alive.len())];
            accounts.push(world.create(device, "account", Edits::new().set("name", name)));
        }
        world.settle();
        let backups = vec![world.back_up_server()];
        let (counted, own) = (vec![0; accounts.len()], vec![0; accounts.len()]);
        Self { world, rng, accounts, alive, backups, restores: 0, counted, own, next_bit: 0 }
    }

    fn act(&mut self) {
        let device = self.alive[self.rng.random_range(0..self.alive.len())];
        match self.rng.random_range(0..100) {
            0..55 => self.edit(device),
            55..62 => {
                let made =
                    self.world.create(device, "contact", Edits::new().set("last_name", "New"));
                self.world.update(device, made, Edits::new().add("tags", "vip"));
            }
            62..72 => self.world.offline(device),
            72..84 => self.world.online(device),
            84..88 => self.backups.push(self.world.back_up_server()),
            88..90 => self.rest(device),
            90..94 if self.restores < 3 => self.restore(),
            94..96 if self.alive.len() > 2 => self.destroy(device),
            96 => self.world.cut(device),
            97 => {
                self.world.crash_device(device);
                self.world.start_device(device);
            }
            98 => self.world.restart_server(),
            _ => {
                let ms = self.rng.random_range(100..4_000);
                self.world.run_for(ms);
            }
        }
    }

    fn edit(&mut self, device: Device) {
        let place = self.rng.random_range(0..self.accounts.len());
        let account = self.accounts[place];
        if self.world.find(device, account).is_none() {
            return;
        }
        let mut edits = Edits::new().set("country", format!("{}", self.rng.random_range(0..90)));
        match self.rng.random_range(0..8) {
            0 | 1 => edits = edits.add("tags", format!("t{}", self.rng.random_range(0..3))),
            2 => edits = edits.remove("tags", format!("t{}", self.rng.random_range(0..3))),
            3 => edits = edits.splice("notes", 0, 0, format!("{} ", self.next_bit)),
            _ if self.next_bit < BITS_MAX => {
                let bit = 1_i64 << self.next_bit;
                self.next_bit += 1;
                self.counted[place] |= bit;
                edits = edits.increment("visits", bit);
            }
            _ => {}
        }
        self.world.update(device, account, edits);
    }

    /// The device does what it does when nobody uses it.
    fn rest(&mut self, device: Device) {
        let client = self.world.at(device).client();
        while client.idle_work().expect("the file can be written") {}
    }

    fn restore(&mut self) {
        self.restores += 1;
        let place = self.rng.random_range(0..self.backups.len());
        let backup = self.backups[place].clone();
        self.world.restore_server(&backup);
    }

    /// A device is gone with everything on it. What it wrote counts no further than others show it.
    fn destroy(&mut self, device: Device) {
        self.world.crash_device(device);
        self.alive.retain(|other| *other != device);
    }

    fn visits(&self, device: Device, place: usize) -> i64 {
        let seen = self.world.find(device, self.accounts[place]);
        match seen.as_ref().map(|record| record.value("visits")) {
            Some(Value::Counter(visits)) => *visits,
            _ => 0,
        }
    }

    /// Everybody comes back, and all that live devices show is there once.
    fn end(mut self) -> u64 {
        for place in 0..self.accounts.len() {
            self.own[place] =
                self.alive.iter().map(|device| self.visits(*device, place)).fold(0, |a, b| a | b);
        }
        for device in self.alive.clone() {
            self.world.online(device);
        }
        self.world.settle();
        self.world.assert_converged();
        for (place, (own, counted)) in self.own.iter().zip(&self.counted).enumerate() {
            let seen = self.visits(self.alive[0], place);
            let command = replay_command(self.world.seed());
            assert_eq!(seen & own, *own, "lost: {:b}\n{command}", own & !seen);
            assert_eq!(seen & !counted, 0, "twice: {:b}\n{command}", seen & !counted);
        }
        for device in &self.alive {
            let disputes = self.world.disputes(*device);
            assert_eq!(disputes, [], "{}", replay_command(self.world.seed()));
        }
        if self.restores == 0 {
            return 0;
        }
        let status = self.world.relay_status();
        assert_eq!(status.parked.changes, 0, "seed {}", self.world.seed());
        status.relayed.iter().map(|row| row.relayed.taken).sum()
    }
}
