//! Three devices do anything in any order, with refusals, wrong clocks and copied files: in the end all of
//! them show the same, and what they show is what the documents say.

use client_sdk::{Edits, Paging, RecordId, Value};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::harness::{Device, NOON, Relay, welcome};
use crate::records::LOADS;

const SEEDS: std::ops::Range<u64> = 0..12;
const STEPS: usize = 120;

struct World {
    rng: StdRng,
    relay: Relay,
    devices: Vec<Device>,
    records: Vec<RecordId>,
}

#[test]
fn devices_that_hold_the_same_changes_show_the_same_rows() {
    let _alone = LOADS.lock().unwrap();
    for seed in SEEDS {
        println!("seed {seed}");
        let mut world = World {
            rng: StdRng::seed_from_u64(seed),
            relay: Relay::default(),
            devices: ["ada", "bob", "eve"].map(Device::new).into(),
            records: Vec::new(),
        };
        for _ in 0..STEPS {
            world.step();
            for device in &world.devices {
                let sums = device.client.accounting().unwrap();
                assert!(sums.balances(), "{sums:?}");
            }
        }
        world.settle();
    }
}

impl World {
    fn step(&mut self) {
        let place = self.rng.random_range(0..self.devices.len());
        self.devices[place].hands.pass(self.rng.random_range(1..5_000));
        match self.rng.random_range(0..20) {
            0 | 1 => self.create(place),
            2..=9 => self.edit(place),
            10 => self.delete_or_restore(place),
            11 | 12 => self.relay.accept_all(&self.devices[place]),
            13..=15 => self.relay.give_all(&self.devices[place]),
            16 => self.refuse(place),
            17 => self.answer_dispute(place),
            18 => self.connect_with_a_wrong_clock(place),
            _ => {
                let device = &self.devices[place];
                device.client.become_new_replica().unwrap();
                device.client.idle_work().unwrap();
            }
        }
    }

    fn create(&mut self, place: usize) {
        let edits =
            Edits::new().set("name", "New").set("commission", "1.00 USD").add("tags", "new");
        self.records.push(self.devices[place].client.create("opportunity", edits).unwrap());
    }

    fn edit(&mut self, place: usize) {
        let Some(id) = self.records.choose(&mut self.rng).copied() else { return };
        let number = self.rng.random_range(0..100_i64);
        let tag = ["hot", "cold", "new"].choose(&mut self.rng).copied().unwrap();
        let edits = Edits::new();
        let edits = match self.rng.random_range(0..8) {
            0 => edits.set("name", format!("Name {number}")),
            1 => edits.set("amount", format!("{number}.00 USD")).unset("next_step"),
            2 => edits.set("commission", format!("{number}.00 EUR")).set("probability", number),
            3 => edits.add("tags", tag),
            4 => edits.remove("tags", tag).set("stage", "won"),
            5 => edits.set_text("description", format!("{tag} {number}")),
            6 => edits.splice("description", 0, 0, format!("{tag} ")).set("forecast", "5.00 USD"),
            _ => edits.set("close_date", format!("2026-01-{:02}", number % 28 + 1)),
        };
        // The record may not be here, or be deleted: then nothing happens.
        let client = &self.devices[place].client;
        let _refused =
            if self.rng.random_bool(0.1) { client.undo(id) } else { client.update(id, edits) };
    }

    fn delete_or_restore(&mut self, place: usize) {
        let Some(id) = self.records.choose(&mut self.rng).copied() else { return };
        let client = &self.devices[place].client;
        let _refused = client.delete(id).or_else(|_| client.restore(id));
    }

    fn refuse(&mut self, place: usize) {
        let device = &self.devices[place];
        let batches = device.client.outbox(0, 64, usize::MAX).unwrap();
        let Some(batch) = batches.choose(&mut self.rng) else { return };
        let receipt = self.relay.refuse(device, batch.id, "forbidden");
        device.client.apply_receipts(&[receipt]).unwrap();
    }

    fn answer_dispute(&mut self, place: usize) {
        let client = &self.devices[place].client;
        let Some(dispute) = client.disputes().unwrap().first().map(|dispute| dispute.id) else {
            return;
        };
        if client.resend(dispute).is_err() {
            client.discard(dispute).unwrap();
        }
    }

    fn connect_with_a_wrong_clock(&mut self, place: usize) {
        let device = &self.devices[place];
        let hours = self.rng.random_range(-2_000..2_000_i64);
        device.hands.set_wall(NOON + hours * 3_600_000);
        if self.rng.random_bool(0.3) {
            device.hands.reboot();
        }
        let given = welcome(device, NOON + self.rng.random_range(0..1_000_000));
        device.client.apply_welcome(&given, 40).unwrap();
    }

    /// Everything is sent and received; what is in dispute is given up.
    fn settle(&mut self) {
        for device in &self.devices {
            for dispute in device.client.disputes().unwrap() {
                device.client.discard(dispute.id).unwrap();
            }
            while !device.client.unsent().unwrap().is_empty() {
                self.relay.accept_all(device);
            }
        }
        for device in &self.devices {
            self.relay.give_all(device);
            assert_eq!(device.client.verify().unwrap().differing, []);
        }
        let first = shown(&self.devices[0]);
        for other in &self.devices[1..] {
            assert_eq!(shown(other), first);
        }
    }
}

fn shown(device: &Device) -> (Vec<Vec<Value>>, Vec<client_sdk::FieldConflict>) {
    let sql = "SELECT _id, name, amount, commission, commission_currency, probability, tags, stage,
                      description, forecast, close_date, next_step, _created_by, _updated_at,
                      _updated_by, _sync_state, extra FROM opportunity ORDER BY _id";
    let rows = device.client.query(sql, &[], Paging::default()).unwrap().rows;
    let mut conflicts = device.client.conflicts(None).unwrap();
    conflicts.sort_by(|a, b| (a.record, &a.field).cmp(&(b.record, &b.field)));
    (rows, conflicts)
}
