//! What the latest commits changed, in memory: a device that none of it concerns passes over it unread.
//! What is not known here is read from the storage.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{PoisonError, RwLock};

use crdt_core::id::ReplicaId;

/// Commits that are kept: devices that stand further back read the log.
const KEPT_MAX: usize = 64;
/// Documents of all of them: bounds what is kept of large ones.
const DOCUMENTS_MAX: usize = 10_000;

/// The latest commits of one workspace.
#[derive(Debug, Default)]
pub struct Recent(RwLock<VecDeque<Stretch>>);

/// What one commit changed.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    /// The log's head before it, and after it.
    after: u64,
    up_to: u64,
    documents: Vec<Touched>,
    by_scope: BTreeMap<String, BTreeSet<ReplicaId>>,
    by_replica: BTreeMap<ReplicaId, Vec<usize>>,
}

/// A document that a commit changed, and that stands in the scopes in which it stood before.
#[derive(Debug)]
pub(super) struct Touched {
    pub(super) entity: String,
    pub(super) scopes: Vec<String>,
    /// Whose batches changed it.
    pub(super) by: BTreeSet<ReplicaId>,
}

impl Stretch {
    /// The documents that the positions after one and up to another changed.
    pub(super) fn new(after: u64, up_to: u64, documents: Vec<Touched>) -> Self {
        let mut stretch = Self { after, up_to, ..Self::default() };
        for (place, document) in documents.iter().enumerate() {
            for scope in &document.scopes {
                let writers = stretch.by_scope.entry(scope.clone()).or_default();
                writers.extend(document.by.iter().copied());
            }
            for replica in &document.by {
                stretch.by_replica.entry(*replica).or_default().push(place);
            }
        }
        Self { documents, ..stretch }
    }

    /// Whether nothing of it is to be sent to a replica: others wrote in none of its scopes, and what it wrote
    /// itself it may also read.
    fn says_nothing_to<'a>(
        &self,
        replica: &ReplicaId,
        mut scopes: impl Iterator<Item = &'a String>,
        shows: impl Fn(&str, &[String]) -> bool,
    ) -> bool {
        let others_wrote = |scope: &String| {
            let writers = self.by_scope.get(scope);
            writers.is_some_and(|writers| writers.iter().any(|writer| writer != replica))
        };
        if scopes.any(others_wrote) {
            return false;
        }
        let own = self.by_replica.get(replica).into_iter().flatten();
        own.map(|place| &self.documents[*place]).all(|own| shows(&own.entity, &own.scopes))
    }
}

impl Recent {
    /// Keeps what a commit changed.
    pub(super) fn put(&self, stretch: Stretch) {
        let mut stretches = self.0.write().unwrap_or_else(PoisonError::into_inner);
        stretches.push_back(stretch);
        let mut documents: usize = stretches.iter().map(|kept| kept.documents.len()).sum();
        while stretches.len() > KEPT_MAX || documents > DOCUMENTS_MAX {
            let Some(gone) = stretches.pop_front() else { break };
            documents -= gone.documents.len();
        }
    }

    /// Whether it is known that nothing after a position and up to another is to be sent to a replica that
    /// watches these scopes; `shows` says whether it may read a document of an entity in some scopes.
    pub(super) fn says_nothing<'a>(
        &self,
        (after, up_to): (u64, u64),
        replica: &ReplicaId,
        scopes: impl Iterator<Item = &'a String> + Clone,
        shows: impl Fn(&str, &[String]) -> bool,
    ) -> bool {
        let stretches = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut at = up_to;
        // From the end: a device follows the last commit most often. Steps that are missing are not known.
        for stretch in stretches.iter().rev().skip_while(|stretch| stretch.up_to > up_to) {
            if stretch.up_to != at || !stretch.says_nothing_to(replica, scopes.clone(), &shows) {
                return false;
            }
            at = stretch.after;
            if at <= after {
                return true;
            }
        }
        false
    }
}
