//! Whatever happens between two pages, a device ends with what the server has: also when records move with
//! their parents, and when members gain and lose what they may see.

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::protocol::Outcome;
use crdt_core::record::{Edit, Scalar};
use sync_server::workspace::{Feed, Stride};

use super::territories::{ROLES, scene};
use crate::support::device::{Device, put};
use crate::support::random::{Random, cases};
use crate::support::world::{World, member, policy_of};

const PLACES: [&str; 4] = ["west", "east", "north", "nowhere"];
const GRANTS: [&[&str]; 5] = [&[], &["west"], &["west", "east"], &["north"], &["east", "north"]];

struct Play {
    random: Random,
    world: World,
    writer: Device,
    records: Vec<RecordId>,
    /// Contacts of those.
    children: Vec<RecordId>,
    devices: Vec<(Device, Option<Feed>)>,
    /// Whether prose is written, too.
    prose: bool,
    policy_version: u64,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let stride = Stride {
            followed_max: [2, 10, 1_000][random.below(3)],
            follow: 1 + random.below(4),
            catch_up: 1 + random.below(4),
            burst_bytes: [1, 600, 8 << 20][random.below(3)],
        };
        let mut world = scene(stride);
        world.set(member(2), "rep", &["west", "east"]);
        world.set(member(3), "finance", &["north"]);
        let writer = world.device_of(9, member(1));
        let devices = (1..=3).map(|n| (world.device_of(n, member(n)), None)).collect();
        let (records, children) = (Vec::new(), Vec::new());
        let prose = seed.is_multiple_of(2);
        Self { random, world, writer, records, children, devices, prose, policy_version: 2 }
    }

    fn step(&mut self) {
        match self.random.below(14) {
            0..5 => self.write(),
            5 => self.write_elsewhere(),
            6 => {
                let place = self.random.below(3);
                self.reconnect(place);
            }
            7 => self.write_child(),
            8 => _ = self.world.workspace.rescope_step(World::now()).unwrap(),
            9 if self.random.below(2) == 0 => self.regrant(),
            10 if self.random.below(8) == 0 => self.replace_policy(),
            _ => {
                let place = self.random.below(3);
                let flush = self.random.below(2) == 0;
                self.page(place, flush);
            }
        }
    }

    /// The connection breaks, and the device comes back.
    fn reconnect(&mut self, place: usize) {
        let (device, feed) = &mut self.devices[place];
        *feed = Some(self.world.connect(device));
    }

    /// Somebody may see something else; the sessions of that member end.
    fn regrant(&mut self) {
        let place = 1 + self.random.below(2);
        let role = *self.random.pick(&["rep", "finance"]);
        let territories = *self.random.pick(&GRANTS);
        let id = member(u8::try_from(place + 1).unwrap());
        if self.world.set(id, role, territories).access_changed.contains(&id) {
            self.devices[place].1 = None;
        }
    }

    /// A policy by which everybody has the finance section of their territories, or the one before again.
    fn replace_policy(&mut self) {
        self.policy_version += 1;
        let mut text = policy_of(self.policy_version, ROLES);
        if self.policy_version.is_multiple_of(2) {
            text = text
                .replace("[\"all\"]\nactions = [\"read\"", "[\"territory\"]\nactions = [\"read\"");
        }
        self.world.workspace.set_policy(World::now(), &text, "policy.toml").unwrap();
        self.devices.iter_mut().for_each(|(_, feed)| *feed = None);
        let (writer, world) = (&mut self.writer, &mut self.world);
        world.sync(writer);
    }

    /// A contact comes to an account, or to another one than before.
    fn write_child(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let parent = *self.random.pick(&self.records);
        let bytes = Scalar::Bytes(parent.as_bytes().to_vec());
        let account = Edit::Put { key: "account".to_owned(), value: bytes };
        let batch = if self.children.is_empty() || self.random.below(2) == 0 {
            let edits = [put("last_name", "Ada"), account];
            let (child, batch) = self.writer.create("contact", &edits);
            self.children.push(child);
            batch
        } else {
            let child = *self.random.pick(&self.children);
            self.writer.edit(child, &[account])
        };
        self.world.accept(&mut self.writer, batch);
    }

    fn page(&mut self, place: usize, flush: bool) {
        let (device, feed) = &mut self.devices[place];
        let page = feed.as_mut().and_then(|feed| self.world.next_page(feed, flush));
        if let Some(page) = page {
            device.apply(page);
        }
    }

    fn write(&mut self) {
        let writer = &mut self.writer;
        let place = *self.random.pick(&PLACES);
        let batch = if self.records.is_empty() || self.random.below(4) == 0 {
            let edits = [put("name", "Engines"), put("territory", place)];
            let (record, batch) = writer.create("account", &edits);
            self.records.push(record);
            batch
        } else {
            let record = *self.random.pick(&self.records);
            match self.random.below(5) {
                0 => writer.edit(record, &[put("territory", place)]),
                1 => writer.edit_section(record, "finance", &[put("credit_limit", "9.00 USD")]),
                2 => writer.increment(record, "visits", 1),
                3 if self.prose => writer.splice(record, "notes", 0, "a word "),
                _ => {
                    let other = *self.random.pick(&self.records);
                    let mut parts = Vec::new();
                    for record in [record, other] {
                        let id = DocumentId::main(record);
                        parts.push(writer.write(&id, "account", &[put("country", place)]));
                    }
                    writer.batch(parts)
                }
            }
        };
        self.world.accept(writer, batch);
    }

    /// One of the devices edits what it has and sends it at once; what is refused it takes back.
    fn write_elsewhere(&mut self) {
        let place = self.random.below(3);
        let (device, _) = &mut self.devices[place];
        let mut known = Vec::new();
        let accounts = device.documents.iter().filter(|(_, held)| held.entity == "account");
        known.extend(accounts.map(|(id, _)| id).filter(|id| id.section.is_main()).cloned());
        if known.is_empty() {
            return;
        }
        let id = self.random.pick(&known).clone();
        let before = device.documents[&id].clone();
        let batch = device.edit(id.record, &[put("website", "https://example.com")]);
        if let Outcome::Refused { .. } = self.world.push(device, batch).outcome {
            device.documents.insert(id, before);
        }
    }

    fn finish(mut self) {
        self.world.settle();
        for (device, _) in &mut self.devices {
            self.world.sync(device);
            self.world.assert_same(device);
            assert!(device.stands_at(self.world.head()));
            assert_eq!(self.world.sync(device), 0, "there is nothing left to say");
        }
    }
}

#[test]
fn a_device_ends_with_what_the_server_has_whatever_happens_between_pages() {
    for seed in 0..24 * cases() as u64 {
        // Shown when this one fails: the seed is the schedule.
        eprintln!("schedule {seed}");
        let mut play = Play::new(seed);
        for _ in 0..120 {
            play.step();
        }
        play.finish();
    }
}
