//! Governing: what the directory, the policy and the schema say, as the organisation has told the server.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::MemberId;
use crdt_core::schema::Schema;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};

use super::{SCHEMA, TERRITORIES};
use crate::harness::world::{MemberChanges, World};
use crate::model::policy::{Policy, Those};
use crate::model::{Member, random, sales};

/// What an organisation has decided about people, rights and fields.
pub(super) struct Organisation {
    pub(super) policy: Policy,
    pub(super) members: BTreeMap<MemberId, Member>,
    /// How the field `score` merges at present.
    pub(super) score_rule: Rule,
    /// Entries of pages that were compared with the model.
    pub(super) inspected: u64,
    extra_fields: usize,
    schema_version: u64,
}

/// How a field's winner is found among values that were written without knowing of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The one that was written last.
    Latest,
    /// The greatest.
    Max,
    /// The smallest.
    Min,
}

impl Organisation {
    /// A sales organisation whose policy the server has.
    pub(super) fn found(world: &mut World) -> Self {
        let policy = sales_with_regions(2);
        world.put_policy(&policy.to_toml());
        Self {
            policy,
            members: BTreeMap::new(),
            score_rule: Rule::Latest,
            inspected: 0,
            extra_fields: 0,
            schema_version: 1,
        }
    }

    /// Tells the directory what it is to say of a person.
    pub(super) fn direct(&mut self, world: &mut World, member: &Member) {
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
        self.members.insert(member.id, member.clone());
    }

    /// Somebody but the administrator gets another role or other territories, or is switched off or on.
    pub(super) fn change_person(&mut self, world: &mut World, rng: &mut StdRng) {
        let others = self.members.values().filter(|member| member.role.as_deref() != Some("admin"));
        let mut member = others.choose(rng).expect("there are others").clone();
        match rng.random_range(0..4) {
            0 => {
                let role = ["rep", "manager", "support", "auditor"].choose(rng);
                member.role = role.map(|role| (*role).to_owned());
            }
            1 => member.active = !member.active,
            2 => {
                let region = ["left", "east", "none"].choose(rng);
                member.region = region.map(|region| (*region).to_owned());
            }
            _ => {
                let count = rng.random_range(0..3);
                let some = TERRITORIES.into_iter().choose_multiple(rng, count);
                member.territories = some.into_iter().map(str::to_owned).collect();
            }
        }
        self.direct(world, &member);
    }

    /// Another policy: the organisation's own, or any other.
    pub(super) fn change_policy(&mut self, world: &mut World, rng: &mut StdRng) {
        let version = self.policy.version + 1;
        self.policy = if rng.random_bool(0.6) {
            sales_with_regions(version)
        } else {
            restricted(random::policy(rng, version))
        };
        world.put_policy(&self.policy.to_toml());
    }

    /// Accounts get one more field.
    pub(super) fn add_field(&mut self, world: &mut World) {
        self.extra_fields += 1;
        self.put_schema(world);
    }

    /// The field `score` merges by another rule.
    pub(super) fn change_merge_rule(&mut self, world: &mut World, rng: &mut StdRng) {
        let rules = [Rule::Latest, Rule::Max, Rule::Min];
        let others = rules.into_iter().filter(|rule| *rule != self.score_rule);
        self.score_rule = others.choose(rng).expect("there are other rules");
        self.put_schema(world);
    }

    /// Says everything once more to a server that was put back to an older state.
    pub(super) fn decide_again(&mut self, world: &mut World) {
        self.put_schema(world);
        self.policy.version += 1;
        world.put_policy(&self.policy.to_toml());
        for member in self.members.clone().into_values() {
            self.direct(world, &member);
        }
    }

    fn put_schema(&mut self, world: &mut World) {
        self.schema_version += 1;
        let score = match self.score_rule {
            Rule::Latest => "score = \"int\"\n",
            Rule::Max => "score = { type = \"int\", merge = \"max\" }\n",
            Rule::Min => "score = { type = \"int\", merge = \"min\" }\n",
        };
        let extra = (0..self.extra_fields).map(|number| format!("extra_{number} = \"string\"\n"));
        let version = format!("version = {}", self.schema_version);
        let text = SCHEMA.replacen("version = 1", &version, 1);
        let fields = format!("{score}{}", extra.collect::<String>());
        world.put_schema(&text.replacen("score = \"int\"\n", &fields, 1));
    }
}

fn sales_with_regions(version: u64) -> Policy {
    let mut policy = sales::policy();
    policy.version = version;
    policy.regions.insert("left".to_owned(), ["west", "north"].map(str::to_owned).into());
    restricted(policy)
}

/// The same policy as far as it speaks of the organisation's entities and their fields.
fn restricted(mut policy: Policy) -> Policy {
    let schema = Schema::parse(SCHEMA, "schema.toml").expect("the schema is sound");
    let entities: BTreeSet<&str> = schema.entities().map(|entity| entity.name.as_str()).collect();
    policy.shared.retain(|entity| entities.contains(entity.as_str()));
    for rules in policy.roles.values_mut() {
        for rule in rules.iter_mut() {
            keep(&mut rule.entities, |name| entities.contains(name));
            let about = schema.entities().filter(|entity| rule.entities.has(&entity.name));
            let fields = about.flat_map(|entity| &entity.fields);
            let keys: BTreeSet<&str> = fields
                .filter(|field| rule.sections.has(field.section.as_str()))
                .map(|field| field.key.as_str())
                .collect();
            let sections = schema
                .entities()
                .filter(|entity| rule.entities.has(&entity.name))
                .flat_map(|entity| entity.sections())
                .map(|section| section.as_str().to_owned())
                .collect::<BTreeSet<_>>();
            keep(&mut rule.sections, |name| sections.contains(name));
            keep(&mut rule.fields, |name| keys.contains(name));
        }
        rules.retain(|rule| !is_nothing(&rule.entities) && !is_nothing(&rule.sections));
        rules.retain(|rule| !matches!(&rule.fields, Those::Only(names) if names.is_empty()));
    }
    policy
}

fn keep(those: &mut Those, is_there: impl Fn(&str) -> bool) {
    match those {
        Those::All => {}
        Those::Only(names) | Those::Except(names) => names.retain(|name| is_there(name)),
    }
    if matches!(those, Those::Except(names) if names.is_empty()) {
        *those = Those::All;
    }
}

fn is_nothing(those: &Those) -> bool {
    matches!(those, Those::Only(names) if names.is_empty())
}
