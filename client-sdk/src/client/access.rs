//! What this member may do, asked of the server's own policy on the device: to grey out a field, and to
//! judge a transaction before it is stored. The server judges again, and its word counts.

mod routes;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;

use crdt_core::id::{RecordId, Section};
use crdt_core::policy::{Action, Decision, Denial, RuleId};
use crdt_core::schema::Entity;

use super::Client;
use crate::error::{QueryError, StoreError};
use crate::status::AccessStatus;
use crate::store::document::HeldRecord;
use crate::store::meta::Grant;
use crate::store::scope;
pub(crate) use verdict::{Access, Judged};

/// What the policy says to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// The server would take it.
    Allowed {
        /// The rule that allows it.
        rule: RuleId,
    },
    /// The server would refuse it, for this reason.
    Denied(Denial),
    /// The device cannot tell: to be offered, and left to the server.
    Unknown(NotKnown),
}

/// Why the device cannot tell what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotKnown {
    /// No server has said yet what is allowed.
    NoPolicy,
    /// The policy in force is none that this build can read: see
    /// [`AccessStatus::policy_problem`](crate::AccessStatus::policy_problem).
    PolicyUnreadable,
}

impl Permission {
    /// Whether a form offers it: it is allowed, or nobody here can tell.
    #[must_use]
    pub const fn is_offered(&self) -> bool {
        matches!(self, Self::Allowed { .. } | Self::Unknown(_))
    }
}

impl From<Decision> for Permission {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow(rule) => Self::Allowed { rule },
            Decision::Deny(denial) => Self::Denied(denial),
        }
    }
}

impl Client {
    /// Whether this member may do something to a record: to one field of it, or to it as a whole. Answered
    /// on the device, by the policy and with the reasons that the server would give, as far as is known here.
    ///
    /// A record follows its parent's scopes. Where the parent is not on this device, the record is taken to
    /// stand where that is best for the member, among the scopes that may have brought it here: the server,
    /// which sees the parent, may still refuse.
    ///
    /// ```
    /// use client_sdk::{Client, Config, Edits, MemberId, NotKnown, Permission};
    /// use crdt_core::policy::Action;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("fieldbook.db");
    /// let me = MemberId::from_source_key("member", "ada@example.com");
    /// let client = Client::open(Config::new(path, "acme", me))?;
    /// let acme = client.create("account", Edits::new().set("name", "Acme"))?;
    ///
    /// // Before the first contact with a server nobody has said what is allowed.
    /// let may = client.can(Action::Update, acme, Some("credit_limit"))?;
    /// assert_eq!(may, Permission::Unknown(NotKnown::NoPolicy));
    /// assert!(may.is_offered());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the record is not on this device, its entity has no such field, or the store cannot be read.
    pub fn can(
        &self,
        action: Action,
        record: RecordId,
        field: Option<&str>,
    ) -> Result<Permission, QueryError> {
        self.with_record(record, |entity, asker| {
            let (section, field) = place_of(entity, field)?;
            Ok(asker(action, &section, field.as_deref()))
        })
    }

    /// For each field of a record whether this member may write it, so that a form greys out the others;
    /// otherwise as [`can`](Self::can).
    ///
    /// # Errors
    /// When the record is not on this device, or the store cannot be read.
    pub fn permissions(
        &self,
        record: RecordId,
    ) -> Result<BTreeMap<String, Permission>, QueryError> {
        self.with_record(record, |entity, asker| {
            let of = |field: &crdt_core::schema::Field| {
                (field.key.clone(), asker(Action::Update, &field.section, Some(&field.key)))
            };
            Ok(entity.fields.iter().map(of).collect())
        })
    }

    /// Whether this member may make a record of an entity, and write a field of it at once. It is asked for
    /// a record that says nothing of where it belongs, so that it is its creator's; one that names a parent,
    /// an owner or a territory is judged when it is made.
    ///
    /// # Errors
    /// When there is no such entity or field, or the store cannot be read.
    pub fn can_create(&self, entity: &str, field: Option<&str>) -> Result<Permission, QueryError> {
        let schema = self.schema();
        let unknown = || QueryError::UnknownEntity { entity: entity.to_owned() };
        let entity = schema.entity(entity).ok_or_else(unknown)?;
        let (section, field) = place_of(entity, field)?;
        Ok(self.access().can_create(self.member(), entity, &section, field.as_deref()))
    }

    /// Asks about a record that is here.
    fn with_record<T>(
        &self,
        id: RecordId,
        ask: impl FnOnce(
            &Entity,
            &dyn Fn(Action, &Section, Option<&str>) -> Permission,
        ) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let (schema, access) = (self.schema(), self.access());
        self.inner.store.read(|connection| {
            let held = HeldRecord::read_cells(connection, id)?;
            let held = held.filter(|held| held.main().is_some());
            let held = held.ok_or(QueryError::UnknownRecord(id))?;
            let unknown = || QueryError::UnknownEntity { entity: held.entity.clone() };
            let entity = schema.entity(&held.entity).ok_or_else(unknown)?;
            let places = access.places(connection, &schema, entity, &held)?;
            ask(entity, &|action, section, field| {
                access.decide(&places, action, entity, section, field)
            })
        })
    }

    /// What was granted last.
    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.inner.access.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Takes what was granted anew, as the welcome's own transaction read it.
    pub(super) fn adopt_access(&self, access: Access) {
        let mut slot = self.inner.access.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *slot = Arc::new(access);
    }

    /// What there is to show of it.
    pub(crate) fn access_status(&self) -> Result<AccessStatus, StoreError> {
        let meta = self.inner.store.state().meta;
        let ((scopes_gained, scopes_lost), grant) = self.read(|connection| {
            Ok((scope::unsettled(connection)?, Grant::read(connection, meta.member)?))
        })?;
        Ok(AccessStatus {
            policy_version: meta.policy_version,
            policy_problem: self.access().problem().map(str::to_owned),
            scopes_gained,
            scopes_lost,
            token_expires: grant.token_expires,
        })
    }
}

/// Where a question is put: the section and key of a field; `main` for the record as a whole.
fn place_of(entity: &Entity, field: Option<&str>) -> Result<(Section, Option<String>), QueryError> {
    let Some(name) = field else { return Ok((Section::main(), None)) };
    let unknown =
        || QueryError::UnknownField { entity: entity.name.clone(), field: name.to_owned() };
    let field = entity.field(name).ok_or_else(unknown)?;
    Ok((field.section.clone(), Some(field.key.clone())))
}
