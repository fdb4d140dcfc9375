//! Canaries: every field that somebody may not see holds a known string. After a day of edits, conflicts,
//! refusals and changed rights, a device's rows, search, conflicts, history, every byte of its files and every
//! frame that it was sent hold exactly those strings that the model lets its member see.

use std::collections::{BTreeMap, BTreeSet};

use client_sdk::Edits;
use crdt_core::id::{MemberId, RecordId};
use crdt_core::record::Money;
use crdt_core::schema::Schema;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tests::harness::survey;
use tests::harness::world::{Device, MemberChanges, World};
use tests::model::policy::Policy;
use tests::model::{Member, Model, random};

/// Days.
const SEEDS: u64 = 6;
/// Questions that one run asks at least of each way.
const PROBES_MIN: usize = 200;

/// A day in an organisation under a random policy.
struct Day {
    seed: u64,
    world: World,
    rng: StdRng,
    policy: Policy,
    members: BTreeMap<MemberId, Member>,
    boss: Device,
    second: Device,
    devices: Vec<Device>,
    records: Vec<(RecordId, &'static str)>,
    /// What was ever to be seen by a member.
    ever: BTreeSet<(MemberId, RecordId, &'static str)>,
    /// Questions by way, and how many were answered with yes.
    asked: BTreeMap<&'static str, [usize; 2]>,
}

/// The built-in schema with words in the section `finance`, one of them searched.
fn schema_with_words() -> String {
    let mut text = Schema::builtin().text().to_owned();
    let words = "terms = { type = \"string\", section = \"finance\", max_chars = 200 }\n\
                 deal = { type = \"text\", section = \"finance\" }\n";
    for (before, after) in [
        ("version = 1\n", "version = 2\n".to_owned()),
        ("credit_limit = {", format!("{words}credit_limit = {{")),
        ("commission = {", format!("{words}commission = {{")),
        (
            "\"tags\", \"notes\"]\n\n[entity.account.fields]",
            "\"tags\", \"notes\", \"terms\"]\n\n[entity.account.fields]".to_owned(),
        ),
    ] {
        assert!(text.contains(before), "the built-in schema has changed: {before}");
        text = text.replacen(before, &after, 1);
    }
    text
}

/// One word that stands in one place only.
fn canary(seed: u64, record: RecordId, section: &str, kind: &str) -> String {
    let name = format!("{seed}/{record}/{section}/{kind}");
    let id = RecordId::from_source_key("canary", &name).to_string();
    format!("canary{}", id.replace('-', ""))
}

/// The canaries that stand in some bytes.
fn words(bytes: &[u8]) -> BTreeSet<String> {
    let starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"canary"));
    let whole = starts.filter_map(|at| bytes.get(at..at + "canary".len() + 32));
    whole.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

impl Day {
    fn begin(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0xca_4a47);
        let mut world = World::new(seed);
        world.put_schema(&schema_with_words());
        let policy = random::policy(&mut rng, 2);
        world.put_policy(&policy.to_toml());
        world.listen();
        let mut members = BTreeMap::new();
        let mut add = |world: &mut World, name: &str, rng: &mut StdRng| {
            let id = world.person(name, random::BOSS, &[]);
            let mut member = Member { active: true, ..random::member(rng, id) };
            if name == "boss" {
                member.role = Some(random::BOSS.to_owned());
            }
            direct(world, &member);
            members.insert(id, member);
            id
        };
        let boss = add(&mut world, "boss", &mut rng);
        let others: Vec<MemberId> =
            (0..5).map(|n| add(&mut world, &format!("member {n}"), &mut rng)).collect();
        let first = world.device_of(boss, "boss");
        let second = world.device_of(boss, "boss-tablet");
        let devices = others
            .iter()
            .enumerate()
            .map(|(n, member)| world.device_of(*member, &format!("phone-{n}")))
            .collect();
        world.settle();
        let (records, ever, asked) = Default::default();
        Self {
            seed,
            world,
            rng,
            policy,
            members,
            boss: first,
            second,
            devices,
            records,
            ever,
            asked,
        }
    }

    /// Records with canaries in every place that a value can stand in.
    fn populate(&mut self) {
        let mut accounts = Vec::new();
        for place in 0..12 {
            let entity = ["account", "account", "opportunity"][place % 3];
            let mut edits = Edits::new().set("name", format!("Record {place}"));
            if entity == "account" || self.rng.random_bool(0.3) {
                edits = match random::TERRITORIES.choose(&mut self.rng) {
                    Some(name) if self.rng.random_bool(0.7) => edits.set("territory", *name),
                    _ => edits.set("team", *random::TEAMS.choose(&mut self.rng).unwrap()),
                };
            } else if let Some(account) = accounts.choose(&mut self.rng) {
                edits = edits.set("account", *account);
            }
            let owner = *self.members.keys().nth(self.rng.random_range(0..6)).unwrap();
            let record =
                self.world.create(self.boss, entity, edits.set("owner", RecordId::from(owner)));
            if entity == "account" {
                accounts.push(record);
            }
            self.records.push((record, entity));
        }
        let words = |kind: &'static str| {
            move |seed, record| {
                (canary(seed, record, "main", kind), canary(seed, record, "finance", kind))
            }
        };
        for (record, _) in self.records.clone() {
            let (main, finance) = words("old")(self.seed, record);
            self.world.update(
                self.boss,
                record,
                Edits::new().set("name", main).set("terms", finance),
            );
            let (main, finance) = words("now")(self.seed, record);
            self.world.update(
                self.boss,
                record,
                Edits::new().set("name", main).set("terms", finance),
            );
            let (main, finance) = words("prose")(self.seed, record);
            let prose = match self.entity(record) {
                "account" => Edits::new().set_text("notes", main),
                _ => Edits::new().set_text("description", main),
            };
            self.world.update(self.boss, record, prose.set_text("deal", finance));
        }
        self.world.settle();
        self.conflict();
    }

    /// Two values of one field, in each section, by two devices that did not know of each other.
    fn conflict(&mut self) {
        for device in [self.boss, self.second] {
            self.world.offline(device);
        }
        for (record, _) in self.records.clone() {
            for (device, kind) in [(self.boss, "one"), (self.second, "two")] {
                let main = canary(self.seed, record, "main", kind);
                let finance = canary(self.seed, record, "finance", kind);
                let edits = match self.entity(record) {
                    "account" => Edits::new().set("country", &main[..]),
                    _ => Edits::new().set("next_step", &main[..]),
                };
                self.world.update(device, record, edits.set("terms", finance));
            }
        }
        for device in [self.boss, self.second] {
            self.world.online(device);
        }
        self.world.settle();
    }

    fn entity(&self, record: RecordId) -> &'static str {
        let found = self.records.iter().find(|(id, _)| *id == record);
        found.map_or("", |(_, entity)| entity)
    }

    /// Everybody tries to write everything, also what the device advises against.
    fn try_everything(&mut self) {
        for device in self.devices.clone() {
            for (record, entity) in self.records.clone() {
                let amount = if entity == "account" { "credit_limit" } else { "commission" };
                let price = Money::from_minor(7, "USD").expect("USD is a currency");
                let edits = Edits::new().add("tags", "tried").set(amount, price);
                // Who does not have the record cannot even name it to the device.
                let _tried = self.world.insist(device, |tx| tx.update(record, edits));
            }
        }
        self.world.settle();
    }

    /// Everybody gets another role and other places.
    fn change_people(&mut self) {
        for device in self.devices.clone() {
            let id = self.world.at(device).member();
            let member = Member { active: true, ..random::member(&mut self.rng, id) };
            direct(&mut self.world, &member);
            self.members.insert(id, member);
        }
        self.world.settle();
    }

    fn model(&self) -> Model {
        survey::model_of(self.world.server(), &self.policy, &self.members).0
    }

    /// Asks every device about every place.
    fn probe(&mut self) {
        let model = self.model();
        for device in self.devices.clone() {
            self.probe_bytes(device, &model);
            let who = self.world.at(device).member();
            for (record, entity) in self.records.clone() {
                let main = model.sees(who, &model.records[&record], "main");
                for section in ["main", "finance"] {
                    let sees = model.sees(who, &model.records[&record], section);
                    self.probe_shown(device, (record, entity), section, [sees, main]);
                }
            }
        }
    }

    /// What stands in files and frames, the history included.
    fn probe_bytes(&mut self, device: Device, model: &Model) {
        let who = self.world.at(device).member();
        let name = self.world.at(device).name.clone();
        let kept: BTreeSet<String> =
            self.world.files_of(device).values().flat_map(|bytes| words(bytes)).collect();
        let heard = words(self.world.heard(device));
        for (record, _) in self.records.clone() {
            for section in ["main", "finance"] {
                let sees = model.sees(who, &model.records[&record], section);
                if sees {
                    self.ever.insert((who, record, section));
                }
                let ever = self.ever.contains(&(who, record, section));
                for kind in ["old", "now", "prose", "one", "two"] {
                    let word = canary(self.seed, record, section, kind);
                    let told = format!("seed {}: {name}: {section} {kind} of {record}", self.seed);
                    assert_eq!(kept.contains(&word), sees, "{told} in a file");
                    assert_eq!(heard.contains(&word), ever, "{told} in a frame");
                    self.count("history", sees);
                    self.count("frames", ever);
                }
            }
        }
    }

    /// What the app is shown.
    fn probe_shown(
        &mut self,
        device: Device,
        (record, entity): (RecordId, &str),
        section: &'static str,
        [sees, sees_main]: [bool; 2],
    ) {
        let client = self.world.at(device).client();
        let field = match (section, entity) {
            ("finance", _) => "terms",
            (_, "account") => "country",
            _ => "next_step",
        };
        let conflicts = client.conflicts(Some(record)).unwrap();
        let shown = conflicts.iter().any(|conflict| conflict.field == field);
        assert_eq!(shown, sees, "seed {}: a conflict of {section} of {record}", self.seed);
        let of = |kind| canary(self.seed, record, section, kind);
        // Of the two values of the conflict one is shown; the name is what it was.
        let words = if section == "main" { vec![of("now")] } else { vec![of("one"), of("two")] };
        let searched = entity == "account" || section == "main";
        let found = words.iter().any(|word| !client.search(entity, word, 5).unwrap().is_empty());
        // Without `main` there is no row that could be found.
        assert_eq!(
            found,
            sees && sees_main && searched,
            "seed {}: {section} of {record} by search",
            self.seed
        );
        self.count("conflict", sees);
        self.count("search", found);
    }

    fn count(&mut self, way: &'static str, sees: bool) {
        self.asked.entry(way).or_default()[usize::from(sees)] += 1;
    }
}

fn direct(world: &mut World, member: &Member) {
    let text = |value: &Option<String>| Some(value.clone().unwrap_or_default());
    let changes = MemberChanges {
        role: text(&member.role),
        territories: Some(member.territories.clone()),
        teams: Some(member.teams.clone()),
        region: text(&member.region),
        active: Some(member.active),
        ..MemberChanges::default()
    };
    world.direct(member.id, &changes);
}

#[test]
fn no_device_shows_holds_or_is_sent_what_its_member_may_not_see() {
    let mut asked: BTreeMap<&'static str, [usize; 2]> = BTreeMap::new();
    let seed = std::env::var("FIELDBOOK_SEED").ok().and_then(|text| text.parse().ok());
    let seeds: Vec<u64> = seed.map_or_else(|| (1..=SEEDS).collect(), |seed| vec![seed]);
    for seed in &seeds {
        let mut day = Day::begin(*seed);
        day.populate();
        day.probe();
        day.try_everything();
        for _ in 0..2 {
            day.change_people();
            day.probe();
        }
        // The administrator's device has everything: the scan finds what is there.
        let files = day.world.files_of(day.boss);
        let kept: BTreeSet<String> = files.values().flat_map(|bytes| words(bytes)).collect();
        assert!(kept.len() >= 12 * 10, "{} words", kept.len());
        for (way, [no, yes]) in day.asked {
            let sum = asked.entry(way).or_default();
            (sum[0], sum[1]) = (sum[0] + no, sum[1] + yes);
        }
    }
    println!("{asked:?}");
    for (way, [no, yes]) in asked.iter().filter(|_| seeds.len() as u64 >= SEEDS) {
        assert!(no + yes >= PROBES_MIN && *yes > 0 && *no > 0, "{way}: {no} and {yes}");
    }
}
