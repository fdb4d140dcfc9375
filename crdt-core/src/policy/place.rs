//! Where a record stands: its scopes, from its own routing values and those of the records above it.

use std::collections::BTreeSet;

use super::scope::Scope;
use super::{Policy, Route};
use crate::id::{RecordId, Section};
use crate::limits::ROUTES_FOLLOWED_MAX;

/// The scopes that a record stands in, without section.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placement(Vec<Scope>);

impl Placement {
    /// A record in these scopes, and in [`Scope::All`] as every record.
    #[must_use]
    pub fn of(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().chain([Scope::All]).collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes)
    }

    /// The scopes, each once and in order.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether the record stands in this scope.
    #[must_use]
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }
}

impl Policy {
    /// Where the record of this route stands; `routes` looks up the records above it.
    ///
    /// A record whose parent exists is where its parent is, and in the scope of its own owner; any other is
    /// in the scopes of its own owner, territory and team. A parent that was merged stands for the record
    /// that survived; in a circle of mergers that is the one with the smallest id. Parents that lead in a
    /// circle, or further than [`ROUTES_FOLLOWED_MAX`] records, end there, as if the next did not exist.
    ///
    /// Being shared is not handed down: only the entities that the policy names are.
    ///
    /// # Errors
    /// Only those of `routes`.
    pub fn place<E>(
        &self,
        route: &Route,
        routes: &mut dyn FnMut(RecordId) -> Result<Option<Route>, E>,
    ) -> Result<Placement, E> {
        let mut scopes = Vec::with_capacity(4);
        if self.shared.contains(&route.entity) {
            scopes.push(Scope::Shared);
        }
        let mut climb = Climb { routes, left: ROUTES_FOLLOWED_MAX, passed: BTreeSet::new() };
        let mut top = route.clone();
        loop {
            scopes.extend(top.owner.map(Scope::Owner));
            match climb.parent_of(&top)? {
                Some(parent) => top = parent,
                None => break,
            }
        }
        scopes.extend(top.territory.map(Scope::Territory));
        scopes.extend(top.team.map(Scope::Team));
        Ok(Placement::of(scopes))
    }

    /// The names under which the index keeps a document of `section` whose record stands at `placement`:
    /// only kinds of scopes from which some rule lets that section be read.
    #[must_use]
    pub fn index_scopes(&self, placement: &Placement, section: &Section) -> Vec<String> {
        let read = |scope: &&Scope| {
            let sections = self.indexed.get(&scope.kind());
            sections.is_some_and(|sections| sections.holds(section.as_str()))
        };
        placement.scopes().filter(read).map(|scope| scope.name_in(section)).collect()
    }
}

/// The way up from a record, with an end.
struct Climb<'r, E> {
    routes: &'r mut dyn FnMut(RecordId) -> Result<Option<Route>, E>,
    left: usize,
    passed: BTreeSet<RecordId>,
}

impl<E> Climb<'_, E> {
    fn parent_of(&mut self, route: &Route) -> Result<Option<Route>, E> {
        let Some(parent) = route.parent else { return Ok(None) };
        let survivor = self.survivor_of(parent)?;
        Ok(survivor.filter(|(id, _)| self.passed.insert(*id)).map(|(_, route)| route))
    }

    /// The record that is left of `id` after mergers; nothing when there was no such record.
    fn survivor_of(&mut self, id: RecordId) -> Result<Option<(RecordId, Route)>, E> {
        let Some(route) = self.look_up(id)? else { return Ok(None) };
        let mut merged: Vec<(RecordId, Route)> = Vec::new();
        let mut here = (id, route);
        while let Some(next) = here.1.merged_into {
            if let Some(met_before) = merged.iter().position(|(id, _)| *id == next) {
                let circle = merged.split_off(met_before);
                return Ok(circle.into_iter().chain([here]).min_by_key(|(id, _)| *id));
            }
            let Some(route) = self.look_up(next)? else { break };
            merged.push(std::mem::replace(&mut here, (next, route)));
        }
        Ok(Some(here))
    }

    fn look_up(&mut self, id: RecordId) -> Result<Option<Route>, E> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        (self.routes)(id)
    }
}
