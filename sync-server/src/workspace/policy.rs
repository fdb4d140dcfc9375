//! Another policy: put in force without an outage, or only tried, to see what it would change for whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use crdt_core::id::{MemberId, Section};
use crdt_core::policy::{Placement, Policy, PolicyProblems, Subscription};
use crdt_core::time::Timestamp;

use super::{Workspace, routes};
use crate::audit::{self, Act};
use crate::store::access::Rescope;
use crate::store::{self, StoreError};

/// A policy cannot be put in force; the one before stays.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Its text has problems.
    #[error(transparent)]
    Problems(#[from] PolicyProblems),
    /// Devices and receipts tell policies apart by their versions.
    #[error(
        "the policy's version is {given}; it must be greater than {in_force}, which is in force"
    )]
    NotNewer {
        /// The version that was given.
        given: u64,
        /// The version in force.
        in_force: u64,
    },
    /// The storage fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a policy would change for one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDelta {
    /// Who.
    pub member: MemberId,
    /// The member's name.
    pub name: String,
    /// Records that the member would see anew.
    pub records_gained: u64,
    /// Records that the member would no longer see.
    pub records_lost: u64,
    /// Bytes of the documents gained.
    pub bytes_gained: u64,
    /// Bytes of the documents lost.
    pub bytes_lost: u64,
}

/// Documents that no policy tells apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    entity: String,
    section: Section,
    now: Placement,
    then: Placement,
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    documents: u64,
    bytes: u64,
}

impl Workspace {
    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.rules.policy
    }

    /// Puts a policy in force, from the next batch on. The sessions of everybody end, so that their devices
    /// hear what they may see now; the scopes of all records are found again in steps.
    ///
    /// # Errors
    /// When the text has problems, its version is not greater, or the storage fails.
    pub fn set_policy(
        &mut self,
        now: Timestamp,
        text: &str,
        file: &str,
    ) -> Result<Arc<Policy>, PolicyError> {
        let policy = Arc::new(Policy::parse(text, file, &self.rules.schema)?);
        let in_force = self.rules.policy.version();
        // One that no device has heard of need not be told apart from the first that is put.
        let is_known = store::read(&*self.store, |tx| {
            Ok(tx.log()?.policy.is_some() || !tx.replicas()?.is_empty())
        })?;
        if is_known && policy.version() <= in_force {
            return Err(PolicyError::NotNewer { given: policy.version(), in_force });
        }
        store::write(&*self.store, |tx| {
            tx.put_policy(text)?;
            let (version, digest) = (policy.version(), audit::sha256(&[text.as_bytes()]));
            audit::append_act(tx, now, Act::PolicyPut { version, digest })?;
            tx.queue_rescope(&Rescope::of(None, 0))
        })?;
        self.rules.policy = Arc::clone(&policy);
        self.is_rescoping = true;
        let everybody = self.rules.directory.rows().map(|row| row.standing.member);
        self.aftermath.access_changed.extend(everybody);
        Ok(policy)
    }

    /// What a policy would change for each member, in the order of ids. Nothing is changed.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn simulate(&self, policy: &Policy) -> Result<Vec<MemberDelta>, StoreError> {
        let kinds = self.kinds(policy)?;
        let (schema, in_force) = (&self.rules.schema, &self.rules.policy);
        let delta = |row: &store::access::MemberRow| {
            let now = in_force.subscriptions(&row.standing, schema);
            let then = policy.subscriptions(&row.standing, schema);
            let mut delta = MemberDelta {
                member: row.standing.member,
                name: row.name.clone(),
                records_gained: 0,
                records_lost: 0,
                bytes_gained: 0,
                bytes_lost: 0,
            };
            for (kind, size) in &kinds {
                let sees = shows(in_force, &now, kind, &kind.now);
                let will_see = shows(policy, &then, kind, &kind.then);
                let records = if kind.section.is_main() { size.documents } else { 0 };
                if will_see && !sees {
                    delta.records_gained += records;
                    delta.bytes_gained += size.bytes;
                } else if sees && !will_see {
                    delta.records_lost += records;
                    delta.bytes_lost += size.bytes;
                }
            }
            delta
        };
        Ok(self.rules.directory.rows().map(delta).collect())
    }

    /// Every document, by what the two policies tell apart.
    fn kinds(&self, policy: &Policy) -> Result<BTreeMap<Kind, Size>, StoreError> {
        store::read(&*self.store, |tx| {
            let mut kinds: BTreeMap<Kind, Size> = BTreeMap::new();
            let mut after = 0;
            loop {
                let documents = tx.document_sizes(after, DOCUMENTS_AT_ONCE)?;
                let Some(last) = documents.last() else { return Ok(kinds) };
                after = last.number;
                for document in documents {
                    let Some(route) = tx.route(&document.id.record)? else { continue };
                    let kind = Kind {
                        section: document.id.section,
                        now: routes::place(tx, &self.rules.policy, &route)?,
                        then: routes::place(tx, policy, &route)?,
                        entity: route.entity,
                    };
                    let size = kinds.entry(kind).or_default();
                    size.documents += 1;
                    size.bytes += document.bytes;
                }
            }
        })
    }
}

/// Whether some of these subscriptions bring documents of this kind.
fn shows(
    policy: &Policy,
    subscriptions: &[Subscription],
    kind: &Kind,
    placement: &Placement,
) -> bool {
    let scopes = policy.index_scopes(placement, &kind.section);
    subscriptions.iter().any(|s| {
        *s.section() == kind.section && s.admits(&kind.entity) && scopes.contains(&s.scope())
    })
}

/// Documents that are read at a time.
const DOCUMENTS_AT_ONCE: usize = 1_000;
