//! What a device is sent: its subscriptions, by the scopes of the index. Whether a document is among that is
//! decided here, by the index and the subscriptions' entities alone.

use std::collections::BTreeMap;

use crdt_core::policy::Subscription;

use crate::store::{Read, StoreError};

/// The subscriptions of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Watched {
    by_name: BTreeMap<String, Subscription>,
    /// The names of those that read a scope.
    by_scope: BTreeMap<String, Vec<String>>,
}

/// A subscription that shows a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) subscription: String,
    /// When the document entered the scope.
    pub(super) entered: u64,
}

impl Watched {
    pub(super) fn new(subscriptions: &[Subscription]) -> Self {
        let mut watched = Self::default();
        for subscription in subscriptions {
            let name = subscription.name();
            watched.by_scope.entry(subscription.scope()).or_default().push(name.clone());
            watched.by_name.insert(name, subscription.clone());
        }
        watched
    }

    pub(super) fn get(&self, name: &str) -> Option<&Subscription> {
        self.by_name.get(name)
    }

    /// The scopes that are watched.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &String> + Clone {
        self.by_scope.keys()
    }

    /// Whether any subscription shows a document of an entity that stands in these scopes.
    pub(super) fn shows_in(&self, entity: &str, scopes: &[String]) -> bool {
        let names = scopes.iter().filter_map(|scope| self.by_scope.get(scope)).flatten();
        names.into_iter().any(|name| self.by_name[name].admits(entity))
    }

    /// The subscriptions that show a document.
    pub(super) fn showing(&self, tx: &dyn Read, document: u64) -> Result<Vec<Shown>, StoreError> {
        let mut shown = Vec::new();
        for place in tx.scopes_of(document)? {
            for subscription in self.admitting(tx, &place.scope, document)? {
                shown.push(Shown { subscription, entered: place.entered });
            }
        }
        Ok(shown)
    }

    /// Whether any subscription shows a document.
    pub(super) fn shows(&self, tx: &dyn Read, document: u64) -> Result<bool, StoreError> {
        Ok(!self.showing(tx, document)?.is_empty())
    }

    /// The subscriptions of a scope that take a document of this entity.
    pub(super) fn admitting(
        &self,
        tx: &dyn Read,
        scope: &str,
        document: u64,
    ) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for name in self.by_scope.get(scope).into_iter().flatten() {
            if admits(tx, &self.by_name[name], document)? {
                names.push(name.clone());
            }
        }
        Ok(names)
    }
}

/// Whether a subscription takes a document of its scope.
pub(super) fn admits(
    tx: &dyn Read,
    subscription: &Subscription,
    document: u64,
) -> Result<bool, StoreError> {
    if subscription.entities().is_none() {
        return Ok(true);
    }
    Ok(tx.entity_of(document)?.is_some_and(|entity| subscription.admits(&entity)))
}
