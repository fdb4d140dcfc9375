//! The policy engine against a naive model of it: whatever rules, members and records there are, both say the
//! same.

#[path = "support/policy_model.rs"]
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use crdt_core::id::{RecordId, Section};
use crdt_core::policy::{Action, Ask, Decision, Deed, Placement, Policy, Scope, Subscription};
use crdt_core::schema::Schema;
use model::{ENTITIES, FIELDS, MEMBERS, Model, Record, SCHEMA, SECTIONS};
use model::{member, model, questions, standing, world};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

/// The engine's placement of a record, and the model's.
fn both_places(
    policy: &Policy,
    model: &Model,
    world: &[Record],
    record: &Record,
) -> (Placement, BTreeSet<String>) {
    let mut routes = |id: RecordId| {
        let number = usize::from(id.as_bytes()[0]);
        Ok::<_, Infallible>(world.get(number).map(Record::route))
    };
    (policy.place(&record.route(), &mut routes).unwrap(), model.place(world, record))
}

fn as_words(placement: &Placement) -> BTreeSet<String> {
    let word = |scope: &Scope| match scope {
        Scope::All => "all".to_owned(),
        Scope::Shared => "shared".to_owned(),
        Scope::Owner(id) => {
            let name = MEMBERS.into_iter().find(|name| member(name) == *id).unwrap();
            format!("owner {name}")
        }
        Scope::Territory(name) => format!("territory {name}"),
        Scope::Team(name) => format!("team {name}"),
    };
    placement.scopes().map(word).collect()
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn schema() -> Schema {
    Schema::parse(SCHEMA, "schema.toml").unwrap()
}

proptest! {
    // 700 policies, each with 7 records and 8 questions about every one of them: 39,200 decisions.
    #![proptest_config(config(700))]

    #[test]
    fn the_engine_decides_as_the_model_does(
        model in model(), world in world(), who in standing(), questions in questions(),
    ) {
        let policy = Policy::parse(&model.text(), "p", &schema()).unwrap();
        for record in &world {
            let (placement, scopes) = both_places(&policy, &model, &world, record);
            prop_assert_eq!(as_words(&placement), scopes.clone());
            for question in &questions {
                let (action, entity, section, field) = *question;
                let section: Section = section.parse().unwrap();
                let ask = Ask { action, entity, section: &section, field, placement: &placement };
                let why = match policy.decide(&who, &ask) {
                    Decision::Allow(_) => None,
                    Decision::Deny(denial) => Some(denial.why),
                };
                prop_assert_eq!(why, model.denied(&who, "ada", *question, &scopes), "{:?}", question);
            }
        }
    }

    #[test]
    fn the_engine_judges_as_the_model_does(
        model in model(), world in world(), who in standing(),
        writes in vec(btree_set(select(&FIELDS[..]), 0..3), 7),
        dice in vec(any::<u8>(), 7),
    ) {
        let policy = Policy::parse(&model.text(), "p", &schema()).unwrap();
        for (place, record) in world.iter().enumerate() {
            let (after, after_words) = both_places(&policy, &model, &world, record);
            let moved = &world[usize::from(dice[place] >> 4) % world.len()];
            let (other, other_words) = both_places(&policy, &model, &world, moved);
            let before = match dice[place] & 3 {
                0 => None,
                1 => Some((other, other_words)),
                _ => Some((after.clone(), after_words.clone())),
            };
            let (before, before_words) = before.unzip();
            let mut deed = Deed::new(record.entity.to_owned(), before, after);
            deed.deletes = dice[place] & 4 == 4;
            deed.merges = dice[place] & 8 == 8;
            let sections = writes[place].iter().map(|(_, section, field)| {
                (section.parse().unwrap(), (*field).to_owned())
            });
            deed.writes = sections.collect();
            let judged = policy.judge(&who, &deed).err().unwrap_or_default();
            let denials: BTreeSet<_> = judged
                .into_iter()
                .map(|denial| {
                    assert_eq!(denial.entity, record.entity);
                    (denial.action, denial.section.to_string(), denial.field, denial.why)
                })
                .collect();
            let places = [before_words.as_ref(), Some(&after_words)];
            prop_assert_eq!(denials, model.judged(&who, "ada", &deed, record.entity, places));
        }
    }

    #[test]
    fn a_device_is_sent_exactly_the_documents_that_its_member_may_read(
        model in model(), world in world(), who in standing(),
    ) {
        let (schema, text) = (schema(), model.text());
        let policy = Policy::parse(&text, "p", &schema).unwrap();
        let subscriptions = policy.subscriptions(&who, &schema);
        let mut seen = BTreeMap::<String, BTreeSet<&str>>::new();
        for subscription in &subscriptions {
            let read = subscription.name().parse::<Subscription>();
            prop_assert_eq!(read.as_ref(), Ok(subscription));
            let admitted = ENTITIES.into_iter().filter(|name| subscription.admits(name));
            let twice = seen.insert(subscription.scope(), admitted.collect());
            prop_assert_eq!(twice, None, "one scope is subscribed to once");
        }
        for record in &world {
            let (placement, scopes) = both_places(&policy, &model, &world, record);
            for section in schema.entity(record.entity).unwrap().sections() {
                let names = policy.index_scopes(&placement, section);
                let sent = names.iter().any(|name| {
                    seen.get(name).is_some_and(|entities| entities.contains(record.entity))
                });
                let known = SECTIONS.into_iter().find(|name| *name == section.as_str()).unwrap();
                let question = (Action::Read, record.entity, known, None);
                let may_read = model.denied(&who, "ada", question, &scopes).is_none();
                prop_assert_eq!(sent, may_read, "{} {:?} {:?}", known, record, names);
            }
        }
    }
}
