//! Seeded schedules with a server that is put back to random older backups, twice: every accepted batch that a
//! living device holds is back, nothing is there twice, and everybody converges.

use client_sdk::Edits;
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sync_server::workspace::Stride;

use super::world::{Device, ServerBackup, World};

const DEVICES: usize = 4;
const STEPS: usize = 60;
const RESTORES: usize = 2;

/// Runs the schedule of a seed; how many batches the server had lost.
///
/// # Panics
/// When one of them is not back, or is there twice, or two devices differ at rest.
#[must_use]
pub fn run(seed: u64) -> u64 {
    Schedule::new(seed).run()
}

struct Schedule {
    world: World,
    rng: StdRng,
    devices: Vec<Device>,
    accounts: Vec<RecordId>,
    /// What was counted on each account.
    visits: Vec<i64>,
    backups: Vec<ServerBackup>,
    /// Batches that the server had lost.
    lost: u64,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let stride = Stride { followed_max: 8, follow: 3, catch_up: 2, ..Stride::default() };
        let mut world = World::with_stride(seed, stride);
        let devices: Vec<Device> =
            (0..DEVICES).map(|n| world.device(&format!("device {n}"))).collect();
        world.settle();
        let accounts: Vec<RecordId> = (0..3)
            .map(|n| {
                let edits = Edits::new().set("name", format!("Account {n}"));
                world.create(devices[n % DEVICES], "account", edits)
            })
            .collect();
        world.settle();
        let backups = vec![world.back_up_server()];
        let rng = StdRng::seed_from_u64(seed ^ 0x7e57);
        let visits = vec![0; accounts.len()];
        Self { world, rng, devices, accounts, visits, backups, lost: 0 }
    }

    fn step(&mut self) {
        let device = self.devices[self.rng.random_range(0..self.devices.len())];
        match self.rng.random_range(0..20) {
            0 => self.world.offline(device),
            1 | 2 => self.world.online(device),
            3 => self.world.cut(device),
            4 if self.world.at(device).is_running() => self.world.crash_device(device),
            5 => self.world.restart_server(),
            6 | 7 => self.backups.push(self.world.back_up_server()),
            8 => {
                let n = self.visits.len();
                let edits = Edits::new().set("name", format!("Account {n}"));
                let edits = edits.increment("visits", 1);
                self.wake(device);
                self.accounts.push(self.world.create(device, "account", edits));
                self.visits.push(1);
            }
            _ => self.edit(device),
        }
        let pause = self.rng.random_range(0..3_000);
        self.world.run_for(pause);
    }

    /// Starts a device that was killed.
    fn wake(&mut self, device: Device) {
        if !self.world.at(device).is_running() {
            self.world.start_device(device);
        }
    }

    fn edit(&mut self, device: Device) {
        self.wake(device);
        let place = self.rng.random_range(0..self.accounts.len());
        let account = self.accounts[place];
        if self.world.find(device, account).is_none() {
            return;
        }
        let by = self.rng.random_range(1..1_000);
        let city = format!("{by}");
        let edits = Edits::new().increment("visits", by).set("country", city.as_str());
        self.world.update(device, account, edits.add("tags", city.as_str()));
        self.visits[place] += by;
    }

    fn restore(&mut self) {
        let place = self.rng.random_range(0..self.backups.len());
        let backup = self.backups[place].clone();
        self.world.restore_server(&backup);
        self.lost += self.world.recovery().lost;
    }

    fn run(mut self) -> u64 {
        let mut restores: Vec<usize> =
            (0..RESTORES).map(|_| self.rng.random_range(STEPS / 4..STEPS)).collect();
        restores.sort_unstable();
        for step in 0..STEPS {
            self.step();
            while restores.first() == Some(&step) {
                restores.remove(0);
                self.restore();
            }
        }
        for device in self.devices.clone() {
            self.wake(device);
        }
        self.world.all_online();
        self.world.settle();
        self.world.assert_converged();
        for device in self.devices.clone() {
            assert_eq!(self.world.disputes(device), [], "nobody has to decide anything");
        }
        for (account, visits) in self.accounts.iter().zip(&self.visits) {
            // Every count is there, and none twice.
            self.world.assert_all_see(*account, "visits", Value::Counter(*visits));
        }
        let missing = self.world.recovery().missing;
        assert_eq!(missing, [], "every device lives, so everything is back");
        self.lost
    }
}
