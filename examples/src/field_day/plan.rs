//! What everyone does while offline: decided from a seed, as data, before anybody does it.

use crdt_core::id::RecordId;
use crdt_core::record::{Money, Value};
use crdt_core::time::Timestamp;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use super::cast::Cast;
use super::scenes::Scenes;
use super::sight::Sight;
use crate::import::ImportRecord;

/// Someone's edit of one record at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Deed {
    /// Whose device: a place in the cast.
    pub who: usize,
    /// When.
    pub at: Timestamp,
    /// Which record.
    pub record: RecordId,
    /// Its entity.
    pub entity: &'static str,
    /// What is done to it.
    pub act: Act,
}

/// What is done to a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Creates it with these fields.
    Create(Vec<(&'static str, Value)>),
    /// Sets a field.
    Set(&'static str, Value),
    /// Adds a tag.
    Tag(&'static str),
    /// Takes a tag away.
    Untag(&'static str),
    /// Counts a visit.
    Visit,
    /// Writes at the end of the account's notes.
    Note(String),
    /// Deletes the record.
    Delete,
}

/// One hour, milliseconds.
const HOUR: i64 = 3_600_000;
/// Two working days offline.
const OFFLINE_HOURS: i64 = 48;
/// Own opportunities that each rep works on.
const OWN_DEALS: usize = 12;

/// What people work on: the records of their territory that no other part of the story needs.
struct Desk<'a> {
    cast: &'a Cast,
    /// Deals of the first rep on which people meet.
    shared: Vec<&'a ImportRecord>,
    /// Open deals of each rep that nobody else touches.
    own: [Vec<&'a ImportRecord>; Cast::REPS.end],
    accounts: Vec<&'a ImportRecord>,
}

impl<'a> Desk<'a> {
    fn of(cast: &'a Cast, sight: &Sight, scenes: &Scenes, records: &'a [ImportRecord]) -> Self {
        let mut own = [0, 1, 2].map(|rep| {
            let mut own: Vec<&ImportRecord> =
                cast.open_deals(rep, records).filter(|deal| !scenes.need(deal)).collect();
            own.sort_by_key(|deal| deal.id);
            own
        });
        let near = |deal: &&&ImportRecord| sight.stands_in(deal.id, &cast.territory);
        let shared: Vec<&ImportRecord> =
            own[0].iter().filter(near).take(SHARED_DEALS).copied().collect();
        own[0].retain(|deal| !shared.contains(deal));
        let accounts = cast.accounts(records).filter(|account| !scenes.need(account)).collect();
        Self { cast, shared, own, accounts }
    }
}

/// Everything that happens offline, in the order of time.
#[must_use]
pub fn plan(
    seed: u64,
    cast: &Cast,
    sight: &Sight,
    scenes: &Scenes,
    records: &[ImportRecord],
    now: Timestamp,
) -> Vec<Deed> {
    let mut planner = Planner {
        random: StdRng::seed_from_u64(seed),
        began: now.plus_millis(-OFFLINE_HOURS * HOUR),
        deeds: Vec::new(),
    };
    let desk = Desk::of(cast, sight, scenes, records);
    for rep in Cast::REPS {
        planner.own_deals(rep, &desk);
        planner.visit(rep, &desk);
    }
    planner.shared(&desk);
    let mut deeds = planner.deeds;
    deeds.sort_by_key(|deed| deed.at);
    // The story's hours decide the order; the clocks stay near the real one, so that server and devices agree.
    let mut at = now;
    for deed in &mut deeds {
        deed.at = at;
        at = at.plus_millis(APART_MS);
    }
    deeds
}

/// Between two deeds, milliseconds: more than two devices' measures of the server's clock can differ by.
const APART_MS: i64 = 50;

struct Planner {
    random: StdRng,
    began: Timestamp,
    deeds: Vec<Deed>,
}

impl Planner {
    fn hour(&mut self, from: i64, to: i64) -> Timestamp {
        self.began.plus_millis(self.random.random_range(from * HOUR..to * HOUR))
    }

    fn push(&mut self, who: usize, at: Timestamp, record: &ImportRecord, act: Act) {
        self.deeds.push(Deed { who, at, record: record.id, entity: record.entity, act });
    }

    /// A rep moves their own open deals on: nobody else touches these.
    fn own_deals(&mut self, rep: usize, desk: &Desk<'_>) {
        let mut own = desk.own[rep].clone();
        own.shuffle(&mut self.random);
        for deal in own.into_iter().take(OWN_DEALS) {
            let at = self.hour(1, OFFLINE_HOURS - 1);
            let stage = ["won", "lost"].choose(&mut self.random).copied().unwrap_or("won");
            self.push(rep, at, deal, Act::Set("stage", stage.into()));
            self.push(rep, at.plus_millis(60_000), deal, Act::Set("probability", 100.into()));
            let amount = usd(self.random.random_range(50_000..3_000_000));
            self.push(rep, at.plus_millis(90_000), deal, Act::Set("forecast", amount));
        }
    }

    /// A rep visits a customer, meets somebody new and logs it: three records that refer to each other.
    fn visit(&mut self, rep: usize, desk: &Desk<'_>) {
        let Some(account) = desk.accounts.choose(&mut self.random).copied() else { return };
        let at = self.hour(2, OFFLINE_HOURS - 2);
        let owner = Value::from(desk.cast.people[rep].member);
        let first = ["Ada", "Noor", "Emil", "Ruth"].choose(&mut self.random).copied();
        let contact = ImportRecord {
            entity: "contact",
            id: self.new_id(at),
            fields: vec![
                ("first_name", first.unwrap_or("Ada").into()),
                ("last_name", "Newcomer".into()),
                ("account", account.id.into()),
                ("owner", owner.clone()),
            ],
            sets: Vec::new(),
        };
        self.push(rep, at, &contact, Act::Create(contact.fields.clone()));
        let id = self.new_id(at);
        let fields = vec![
            ("kind", "visit".into()),
            ("subject", "Met on site".into()),
            ("account", account.id.into()),
            ("contact", contact.id.into()),
            ("owner", owner),
        ];
        let activity = ImportRecord { entity: "activity", id, fields, sets: Vec::new() };
        self.push(rep, at.plus_millis(1_000), &activity, Act::Create(activity.fields.clone()));
        self.push(rep, at.plus_millis(2_000), account, Act::Visit);
    }

    fn new_id(&mut self, at: Timestamp) -> RecordId {
        let mut random = [0; 10];
        self.random.fill_bytes(&mut random);
        RecordId::new(at, random)
    }

    /// Where people meet on one record: one scene for each merge rule, and the special cases.
    fn shared(&mut self, desk: &Desk<'_>) {
        let [a, b, c, manager] = [0, 1, 2, Cast::MANAGER];
        let mut accounts = desk.accounts.clone();
        accounts.shuffle(&mut self.random);
        let (Some(deals), Some(accounts)) = (desk.shared.get(..SHARED_DEALS), accounts.get(..4))
        else {
            return;
        };
        let early = |planner: &mut Self| planner.hour(3, 20);
        let late = |planner: &mut Self| planner.hour(24, 45);

        // latest: many edits early lose against one late edit.
        for digit in 0..8 {
            let at = early(self);
            self.push(a, at, accounts[0], Act::Set("phone", format!("+1 555 010{digit}").into()));
        }
        let at = late(self);
        self.push(b, at, accounts[0], Act::Set("phone", "+1 555 0199".into()));
        // Different fields of one record merge by themselves.
        let at = late(self);
        self.push(c, at, accounts[0], Act::Set("website", "https://www.example.com".into()));
        // ranked: the worse health wins, although it was noted earlier.
        let at = early(self);
        self.push(b, at, accounts[1], Act::Set("health", "critical".into()));
        let at = late(self);
        self.push(c, at, accounts[1], Act::Set("health", "good".into()));
        // ranked: a deal that one rep knows to be won.
        let at = early(self);
        self.push(a, at, deals[0], Act::Set("stage", "won".into()));
        let at = late(self);
        self.push(manager, at, deals[0], Act::Set("stage", "lost".into()));
        // max and min.
        let at = early(self);
        self.push(a, at, deals[1], Act::Set("forecast", usd(2_400_000)));
        let at = late(self);
        self.push(manager, at, deals[1], Act::Set("forecast", usd(1_900_000)));
        let at = late(self);
        self.push(a, at, deals[1], Act::Set("engage_date", "2026-03-02".into()));
        let at = early(self);
        self.push(b, at, deals[1], Act::Set("engage_date", "2026-02-14".into()));
        // ask: shown as the latest, and stays open until a person decides.
        let at = early(self);
        self.push(a, at, deals[2], Act::Set("close_date", "2026-12-18".into()));
        let at = late(self);
        self.push(manager, at, deals[2], Act::Set("close_date", "2027-01-29".into()));
        self.tags_and_prose(accounts);
        // Deleted by one, edited by another who did not know.
        let at = early(self);
        self.push(manager, at, deals[3], Act::Delete);
        let at = late(self);
        self.push(a, at, deals[3], Act::Set("next_step", "Send the revised quote".into()));
    }

    fn tags_and_prose(&mut self, accounts: &[&ImportRecord]) {
        let [a, b, c] = [0, 1, 2];
        let (first, second) = (self.hour(3, 20), self.hour(24, 45));
        self.push(a, first, accounts[2], Act::Tag("key_customer"));
        self.push(a, first.plus_millis(5_000), accounts[2], Act::Untag("key_customer"));
        self.push(b, second, accounts[2], Act::Tag("key_customer"));
        let (first, second) = (self.hour(3, 20), self.hour(24, 45));
        self.push(b, first, accounts[3], Act::Note("Wants a demo for the whole team. ".to_owned()));
        self.push(c, second, accounts[3], Act::Note("Budget is approved. ".to_owned()));
        for who in [a, b, c] {
            let at = self.hour(5, 40);
            self.push(who, at, accounts[3], Act::Visit);
        }
    }
}

/// Deals of the first rep on which people meet.
const SHARED_DEALS: usize = 4;

fn usd(minor: i64) -> Value {
    Money::from_minor(minor, "USD").map_or(Value::Null, Value::from)
}
