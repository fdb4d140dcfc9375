//! The policy as the device holds it, and what it says of a record or of a whole transaction.

use std::sync::Mutex;

use crdt_core::id::{MemberId, RecordId, Section};
use crdt_core::policy::{
    Action, Ask, Deed, Denial, Placement, Policy, Route, Scope, Standing, Subscription,
};
use crdt_core::schema::{Entity, Schema};
use rusqlite::Connection;

use super::routes::{Known, Lookup, route_of};
use super::{NotKnown, Permission};
use crate::error::{EditError, StoreError};
use crate::notify::Changes;
use crate::store::document::HeldRecord;
use crate::store::meta::Grant;
use crate::store::{State, lock};

/// What was granted, parsed; replaced at each welcome.
#[derive(Debug)]
pub(crate) struct Access {
    held: Held,
    known: Mutex<Known>,
}

#[derive(Debug)]
enum Held {
    Usable(Box<Usable>),
    /// Nothing to go by; of a policy that cannot be read, its problem.
    Unusable(NotKnown, Option<String>),
}

/// A policy, and whom it is asked about.
#[derive(Debug)]
struct Usable {
    policy: Policy,
    standing: Standing,
    /// The scopes whose `main` documents are sent to the member.
    granted: Vec<(Subscription, Scope)>,
}

/// Where a record stands: one placement when that is known, else each that it may have.
pub(super) type Places = Vec<Placement>;

/// A record that a transaction has read or written.
pub(crate) struct Judged<'a> {
    pub(crate) id: RecordId,
    /// Nothing when the transaction makes it.
    pub(crate) before: Option<&'a HeldRecord>,
    pub(crate) now: &'a HeldRecord,
}

impl Access {
    /// What the file says was granted.
    pub(crate) fn read(connection: &Connection, state: &State) -> Result<Self, StoreError> {
        let grant = Grant::read(connection, state.meta.member)?;
        Ok(Self { held: Held::of(grant, &state.schema), known: Mutex::default() })
    }

    /// Why the policy in force cannot be used.
    pub(super) fn problem(&self) -> Option<&str> {
        match &self.held {
            Held::Usable(_) => None,
            Held::Unusable(_, problem) => problem.as_deref(),
        }
    }

    /// Forgets what is known of records that changed. Called before the change is committed, by whoever may
    /// write: nobody learns an old route in between.
    pub(crate) fn forget(&self, changes: &Changes) {
        lock(&self.known).forget(changes);
    }

    /// Where a record stands that is on the device.
    pub(super) fn places(
        &self,
        connection: &Connection,
        schema: &Schema,
        entity: &Entity,
        record: &HeldRecord,
    ) -> Result<Places, StoreError> {
        let (Held::Usable(usable), Some(main)) = (&self.held, record.main()) else {
            return Ok(Vec::new());
        };
        // It is not the writer who asks: nothing is learnt.
        let mut lookup = Lookup::new(connection, schema, &|_| None, None);
        usable.places(&Route::of(entity, &main.cells), &mut lookup)
    }

    pub(super) fn decide(
        &self,
        places: &[Placement],
        action: Action,
        entity: &Entity,
        section: &Section,
        field: Option<&str>,
    ) -> Permission {
        let usable = match &self.held {
            Held::Usable(usable) => usable,
            Held::Unusable(why, _) => return Permission::Unknown(*why),
        };
        let mut nearest: Option<Denial> = None;
        for placement in places {
            let ask = Ask { action, entity: &entity.name, section, field, placement };
            match usable.policy.decide(&usable.standing, &ask).into() {
                Permission::Denied(denial) => {
                    if nearest.as_ref().is_none_or(|nearest| nearest.why < denial.why) {
                        nearest = Some(denial);
                    }
                }
                allowed => return allowed,
            }
        }
        nearest.map_or(Permission::Unknown(NotKnown::NoPolicy), Permission::Denied)
    }

    pub(super) fn can_create(
        &self,
        member: MemberId,
        entity: &Entity,
        section: &Section,
        field: Option<&str>,
    ) -> Permission {
        let route = Route { owner: Some(member), entity: entity.name.clone(), ..Route::default() };
        let places = match &self.held {
            Held::Usable(usable) => vec![usable.alone(&route)],
            Held::Unusable(..) => Vec::new(),
        };
        self.decide(&places, Action::Create, entity, section, field)
    }

    /// Judges a transaction as the server judges its batch; `records` are in the order of their ids.
    pub(crate) fn judge(
        &self,
        connection: &Connection,
        schema: &Schema,
        records: &[Judged<'_>],
    ) -> Result<(), EditError> {
        let Held::Usable(usable) = &self.held else { return Ok(()) };
        let mut known = lock(&self.known);
        let mut denials = usable.denials(connection, schema, records, &mut known)?;
        drop(known);
        denials.sort_unstable();
        denials.dedup();
        if denials.is_empty() { Ok(()) } else { Err(EditError::Forbidden { denials }) }
    }
}

impl Held {
    fn of(grant: Grant, schema: &Schema) -> Self {
        let (Some((_, text)), Some(standing)) = (grant.policy, grant.standing) else {
            return Self::Unusable(NotKnown::NoPolicy, None);
        };
        let policy = match Policy::parse(&text, "the server's policy", schema) {
            Ok(policy) => policy,
            Err(problems) => {
                return Self::Unusable(NotKnown::PolicyUnreadable, Some(problems.to_string()));
            }
        };
        let main = |subscription: &Subscription| subscription.section().is_main();
        let granted = policy.subscriptions(&standing, schema).into_iter().filter(main);
        let granted = granted.filter_map(|one| scope_of(&one).map(|scope| (one, scope))).collect();
        Self::Usable(Box::new(Usable { policy, standing, granted }))
    }
}

impl Usable {
    /// Where a record of this route stands; each place where it may stand when one above it is not here.
    fn places(&self, route: &Route, lookup: &mut Lookup<'_>) -> Result<Places, StoreError> {
        let placement = self.policy.place(route, &mut |id| lookup.route(id))?;
        if !lookup.is_missing() {
            return Ok(vec![placement]);
        }
        let with =
            |scope: &Scope| Placement::of(placement.scopes().cloned().chain([scope.clone()]));
        let granted = self.granted.iter().filter(|(one, _)| one.admits(&route.entity));
        let mut places: Places = granted.map(|(_, scope)| with(scope)).collect();
        places.push(placement);
        Ok(places)
    }

    /// Where a record stands that follows no other.
    fn alone(&self, route: &Route) -> Placement {
        let nobody = &mut |_| Ok::<_, std::convert::Infallible>(None);
        match self.policy.place(route, nobody) {
            Ok(placement) => placement,
            Err(never) => match never {},
        }
    }

    fn denials(
        &self,
        connection: &Connection,
        schema: &Schema,
        records: &[Judged<'_>],
        known: &mut Known,
    ) -> Result<Vec<Denial>, StoreError> {
        let moves = records.iter().any(|record| record.is_moved(schema));
        let mut denials = Vec::new();
        for judged in records.iter().filter(|judged| judged.is_written()) {
            let Some(entity) = schema.entity(&judged.now.entity) else { continue };
            let mut places = |record: &HeldRecord, end: End| {
                let found = |id: RecordId| {
                    let place = records.binary_search_by_key(&id, |judged| judged.id).ok()?;
                    Some(records[place].at(end))
                };
                let mut lookup = Lookup::new(connection, schema, &found, Some(&mut *known));
                let route = route_of(entity, record);
                route.map(|route| self.places(&route, &mut lookup)).transpose()
            };
            let before = judged.before.map(|record| places(record, End::Before)).transpose()?;
            let before = before.flatten();
            let after = match &before {
                Some(before) if !moves => before.clone(),
                _ => match places(judged.now, End::After)? {
                    Some(after) => after,
                    None => continue,
                },
            };
            denials.extend(self.denials_of(judged, entity, before.as_deref(), &after));
        }
        Ok(denials)
    }

    /// What is denied wherever the record stands best for the member.
    fn denials_of(
        &self,
        judged: &Judged<'_>,
        entity: &Entity,
        before: Option<&[Placement]>,
        after: &[Placement],
    ) -> Vec<Denial> {
        let mut mildest: Option<Vec<Denial>> = None;
        // Both ends may be unknown, for the same reason: then they list the same places in the same order.
        let count = before.map_or(1, <[_]>::len).max(after.len());
        for place in 0..count {
            let before = before.map(|before| before[place % before.len()].clone());
            let mut deed =
                Deed::new(entity.name.clone(), before, after[place % after.len()].clone());
            for (section, held) in &judged.now.documents {
                held.fresh.iter().for_each(|fresh| deed.note(section, &fresh.change, entity));
            }
            match self.policy.judge(&self.standing, &deed) {
                Ok(_) => return Vec::new(),
                Err(denials) => {
                    if mildest.as_ref().is_none_or(|mildest| denials.len() < mildest.len()) {
                        mildest = Some(denials);
                    }
                }
            }
        }
        mildest.unwrap_or_default()
    }
}

/// An end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Before,
    After,
}

impl<'a> Judged<'a> {
    fn is_written(&self) -> bool {
        self.now.documents.values().any(|held| !held.fresh.is_empty())
    }

    const fn at(&self, end: End) -> Option<&'a HeldRecord> {
        match end {
            End::Before => self.before,
            End::After => Some(self.now),
        }
    }

    /// Whether the transaction gives an existing record another route.
    fn is_moved(&self, schema: &Schema) -> bool {
        let main = self.now.documents.get(&Section::main());
        let (Some(before), Some(main)) = (self.before, main) else { return false };
        let Some(entity) = schema.entity(&self.now.entity) else { return false };
        let mut ops = main.fresh.iter().flat_map(|fresh| &fresh.change.ops);
        // Few edits write such a key: the routes need not be read for the others.
        ops.any(|op| is_routing_key(entity, &op.key))
            && route_of(entity, before) != route_of(entity, self.now)
    }
}

/// Whether a key decides where a record stands. More of them than do is no fault, fewer would be.
fn is_routing_key(entity: &Entity, key: &str) -> bool {
    key.starts_with('$')
        || matches!(key, "owner" | "territory" | "team")
        || entity.inherits.as_deref() == Some(key)
}

/// The scope of a subscription to `main` documents.
fn scope_of(subscription: &Subscription) -> Option<Scope> {
    let name = subscription.scope();
    let (kind, name) = name.split_once(':').unwrap_or((name.as_str(), ""));
    Some(match kind {
        "all" => Scope::All,
        "shared" => Scope::Shared,
        "owner" => Scope::Owner(name.parse().ok()?),
        "territory" => Scope::Territory(plain(name)?),
        "team" => Scope::Team(plain(name)?),
        _ => return None,
    })
}

/// A name as it was before its reserved characters were escaped.
fn plain(escaped: &str) -> Option<String> {
    let mut parts = escaped.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part[2..].bytes());
    }
    String::from_utf8(bytes).ok()
}
