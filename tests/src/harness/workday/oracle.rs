//! What must hold on a workday: at every step each edit is in exactly one place, and in the evening everybody has
//! what the model says, everything that was accepted and nothing that was refused.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::record::Value;

use super::{Mark, Workday};
use crate::harness::survey::{self, Fields};

impl Workday {
    /// The accounting law, on every device that runs.
    pub(super) fn check_accounts(&self) {
        for device in self.devices.iter().copied() {
            let at = self.world.at(device);
            if !at.is_running() {
                continue;
            }
            let accounting = at.client().accounting().expect("a device can be read");
            assert!(accounting.balances(), "{}: {accounting:?}", at.name);
            self.world.check_account(device);
        }
    }

    pub(super) fn check_rest(&mut self) {
        self.check_accounts();
        let (model, said) = survey::model_of(self.world.server(), &self.policy, &self.members);
        let server_says = self.world.said_by_server();
        for device in self.devices.clone() {
            let at = self.world.at(device);
            let unsent = at.client().unsent().expect("a device can be read");
            assert_eq!(unsent.batches, 0, "{} has a queue", at.name);
            let accounting = at.client().accounting().expect("a device can be read");
            assert_eq!(accounting.pending, 0, "{}: {accounting:?}", at.name);
            let visible = model.visible(at.member());
            let shows = |id: &DocumentId| visible.contains(&(id.record, id.section.to_string()));
            self.world.assert_shows_of(&server_says, device, &shows);
            self.ran.disputed += self.world.disputes(device).len();
        }
        self.check_marks(&said);
    }

    /// What was accepted is there once, and what was refused is nowhere.
    fn check_marks(&self, said: &BTreeMap<RecordId, Fields>) {
        let log = self.world.server().log();
        let mut visits: BTreeMap<RecordId, i64> = BTreeMap::new();
        for (batch, marks) in &self.promised {
            let accepted = log.contains_key(batch);
            for mark in marks {
                match mark {
                    Mark::Visits(record, count) if accepted => {
                        *visits.entry(*record).or_default() += count;
                    }
                    Mark::Visits(..) => {}
                    Mark::Tag(record, tag) => {
                        let there = has_tag(said.get(record), tag);
                        assert_eq!(there, accepted, "{tag} of batch {batch}");
                    }
                    // A later amount takes its place.
                    Mark::Amount(record, amount) => {
                        let there = said.get(record).is_some_and(|fields| has(fields, amount));
                        assert!(accepted || !there, "{amount} of batch {batch} was refused");
                    }
                }
            }
        }
        let accounts = self.records.iter().filter(|(_, entity)| *entity == "account");
        for (record, _) in accounts {
            let Some(fields) = said.get(record) else { continue };
            let shown = match fields.get("visits") {
                Some(Value::Counter(count)) => *count,
                _ => 0,
            };
            let wanted = visits.get(record).copied().unwrap_or(0);
            assert_eq!(shown, wanted, "visits of {record}");
        }
    }
}

fn has_tag(fields: Option<&Fields>, tag: &str) -> bool {
    match fields.and_then(|fields| fields.get("tags")) {
        Some(Value::Set(tags)) => tags.iter().any(|one| one == tag),
        _ => false,
    }
}

fn has(fields: &Fields, amount: &str) -> bool {
    let amounts = fields.values().filter_map(|value| match value {
        Value::Str(text) => Some(text.as_str()),
        _ => None,
    });
    amounts.collect::<BTreeSet<_>>().contains(amount)
}
