//! Permission probes: random policies, people and records; what a client that asks nobody may push, and what a
//! device is sent, each compared with the reference model. One seed decides everything.

mod population;
mod pushing;
mod sight;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{MemberId, RecordId};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use sync_server::workspace::Stride;

use super::bare::{Bare, Hand, Reader};
use super::files;
use crate::model::policy::{Act, Policy};
use crate::model::{Model, random, sales};

/// How often each kind of question was asked, and how often it was answered with yes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, Asked>);

/// How often one kind of question was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Answered with yes.
    pub allowed: u64,
    /// Answered with no.
    pub denied: u64,
}

/// A workspace under question.
struct Probes {
    seed: u64,
    rng: StdRng,
    bare: Bare,
    model: Model,
    boss: Hand,
    hands: Vec<Hand>,
    readers: Vec<Reader>,
    records_made: u64,
    deleted: BTreeSet<RecordId>,
    counts: Counts,
    _folder: tempfile::TempDir,
}

/// Members beside the one who may do everything.
const MEMBERS: u8 = 7;
/// Records at the beginning.
const RECORDS: usize = 36;
/// Rounds; before each, the policy, the people or the records change.
const ROUNDS: u64 = 6;
/// Batches pushed in a round.
const PUSHES: usize = 130;

impl Counts {
    fn count(&mut self, kind: &str, allowed: bool) {
        let asked = self.0.entry(kind.to_owned()).or_default();
        *if allowed { &mut asked.allowed } else { &mut asked.denied } += 1;
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (kind, asked) in &other.0 {
            let sum = self.0.entry(kind.clone()).or_default();
            sum.allowed += asked.allowed;
            sum.denied += asked.denied;
        }
    }

    /// All questions.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().map(|asked| asked.allowed + asked.denied).sum()
    }

    /// Each kind with its numbers.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, Asked)> {
        self.0.iter().map(|(kind, asked)| (kind.as_str(), *asked))
    }
}

/// Asks everything that a seed has to ask.
///
/// # Panics
/// When an answer differs from the model's; the message names the seed.
#[must_use]
pub fn run(seed: u64) -> Counts {
    let mut probes = Probes::begin(seed);
    for round in 1..=ROUNDS {
        probes.change_something(round);
        probes.look_all();
        for push in 0..PUSHES {
            probes.push_something();
            if push % 45 == 44 {
                probes.look_all();
            }
        }
    }
    probes.look_all();
    std::mem::take(&mut probes.counts)
}

impl Probes {
    fn begin(seed: u64) -> Self {
        let folder = files::folder();
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9) ^ 0x00ac_ce55);
        // Every other server lets devices catch up by index, in small steps.
        let short = Stride { followed_max: 6, follow: 3, catch_up: 2, burst_bytes: 3_000 };
        let stride = if seed.is_multiple_of(2) { short } else { Stride::default() };
        let mut bare = Bare::create(folder.path(), stride);
        let policy =
            if seed.is_multiple_of(4) { sales_with_regions() } else { random::policy(&mut rng, 2) };
        let id = |n: u8| MemberId::from_source_key("probed member", &n.to_string());
        for n in 0..=MEMBERS {
            bare.add_member(id(n));
        }
        let boss = bare.hand(id(0), 0);
        let hands = (1..=MEMBERS).map(|n| bare.hand(id(n), n)).collect();
        let readers = (1..=MEMBERS).map(|n| Reader::numbered(id(n), n)).collect();
        let mut probes = Self {
            seed,
            rng,
            bare,
            model: Model::new(policy),
            boss,
            hands,
            readers,
            records_made: 0,
            deleted: BTreeSet::new(),
            counts: Counts::default(),
            _folder: folder,
        };
        probes.populate(RECORDS);
        let text = probes.model.policy.to_toml();
        probes.bare.put_policy(&text);
        probes
    }

    /// The workspace goes on being lived in.
    fn change_something(&mut self, round: u64) {
        match round % 3 {
            0 => self.change_policy(),
            1 => self.change_people(),
            _ => self.move_records(),
        }
        self.bare.settle();
    }

    fn change_policy(&mut self) {
        let version = self.model.policy.version + 1;
        let mut policy = if self.seed.is_multiple_of(4) && self.rng.random_bool(0.5) {
            sales_with_regions()
        } else {
            random::policy(&mut self.rng, version)
        };
        policy.version = version;
        self.bare.put_policy(&policy.to_toml());
        self.model.policy = policy;
    }

    fn someone(&mut self) -> usize {
        self.rng.random_range(0..self.hands.len())
    }

    /// A record that somebody could write.
    fn some_record(&mut self) -> RecordId {
        let known: Vec<RecordId> = self.model.records.keys().copied().collect();
        *known.choose(&mut self.rng).expect("a workspace has records")
    }

    /// Some record of an entity.
    fn some_of(&mut self, entity: &str) -> Option<RecordId> {
        let records = self.model.records.values().filter(|record| record.entity == entity);
        let ids: Vec<RecordId> = records.map(|record| record.id).collect();
        ids.choose(&mut self.rng).copied()
    }

    fn fail(&self, what: &str) -> ! {
        let policy = self.model.policy.to_toml();
        panic!("seed {}: {what}\n{}\n{policy}", self.seed, super::replay_command(self.seed));
    }
}

fn sales_with_regions() -> Policy {
    let mut policy = sales::policy();
    policy.version = 2;
    let left = ["west", "a/b,c"].map(str::to_owned);
    policy.regions.insert("left".to_owned(), left.into());
    policy
}

/// The word for an act.
fn word(act: Act) -> &'static str {
    Act::ALL.iter().find(|(known, _)| *known == act).map_or("", |(_, word)| word)
}
