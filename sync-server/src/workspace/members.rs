//! The directory's management: members added and changed by whoever operates the workspace, as batches of the
//! server's own in the log.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{MemberId, RecordId};
use crdt_core::protocol::{Outcome, Refusal};
use crdt_core::record::Value;
use crdt_core::time::Timestamp;

use super::author::{Writing, batch_id};
use super::{Committed, Workspace, directory};
use crate::store::access::MemberRow;
use crate::store::{self, StoreError};

/// What a member's record is to say; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberChanges {
    /// The name, for people.
    pub name: Option<String>,
    /// The role; empty for none.
    pub role: Option<String>,
    /// All territories; empty for none.
    pub territories: Option<BTreeSet<String>>,
    /// All teams; empty for none.
    pub teams: Option<BTreeSet<String>>,
    /// The region; empty for none.
    pub region: Option<String>,
    /// The address; empty for none.
    pub email: Option<String>,
    /// Whether the member may do anything at all.
    pub active: Option<bool>,
}

/// A member cannot be added or changed; nothing is.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The directory has no such member.
    #[error("there is no member {0}")]
    NoSuchMember(MemberId),
    /// The directory has the member already.
    #[error("there is a member {0} already")]
    Exists(MemberId),
    /// Nobody can have this id.
    #[error("{0} is the server's own id")]
    Reserved(MemberId),
    /// The schema has no entity `member`, or refuses a value.
    #[error("{}", said(.0))]
    Refused(Vec<Refusal>),
    /// The storage fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn said(reasons: &[Refusal]) -> String {
    let texts: Vec<&str> = reasons.iter().map(|reason| reason.text.as_str()).collect();
    texts.join("; ")
}

impl Workspace {
    /// Everybody of the directory, in the order of ids.
    pub fn members(&self) -> impl Iterator<Item = &MemberRow> {
        self.rules.directory.rows()
    }

    /// Whether anybody may give roles.
    #[must_use]
    pub fn has_administrator(&self) -> bool {
        self.rules.directory.has_administrator(&self.rules.policy, &BTreeMap::new())
    }

    /// Adds a member, with a record of the entity `member`.
    ///
    /// # Errors
    /// When there is one of this id, the schema refuses a value, or the storage fails.
    pub fn add_member(
        &mut self,
        now: Timestamp,
        id: MemberId,
        name: &str,
        changes: &MemberChanges,
    ) -> Result<Committed, MemberError> {
        if id == directory::SERVER {
            return Err(MemberError::Reserved(id));
        }
        if self.rules.directory.get(&id).is_some() {
            return Err(MemberError::Exists(id));
        }
        let changes = MemberChanges { name: Some(name.to_owned()), ..changes.clone() };
        self.write_member(now, id, &changes)
    }

    /// Changes what the directory says of a member. One without a record is given one.
    ///
    /// # Errors
    /// When there is no such member, the schema refuses a value, or the storage fails.
    pub fn set_member(
        &mut self,
        now: Timestamp,
        id: MemberId,
        changes: &MemberChanges,
    ) -> Result<Committed, MemberError> {
        let row = self.rules.directory.get(&id).ok_or(MemberError::NoSuchMember(id))?;
        let mut changes = changes.clone();
        if !row.has_record {
            changes.name.get_or_insert_with(|| row.name.clone());
        }
        self.write_member(now, id, &changes)
    }

    fn write_member(
        &mut self,
        now: Timestamp,
        id: MemberId,
        changes: &MemberChanges,
    ) -> Result<Committed, MemberError> {
        let schema = std::sync::Arc::clone(&self.rules.schema);
        let Some(entity) = schema.entity(directory::ENTITY) else {
            return Err(MemberError::Refused(vec![no_directory()]));
        };
        let values = values(changes);
        for (key, value) in &values {
            check(entity, key, value)?;
        }
        let batch = store::read(&*self.store, |tx| {
            let writing = Writing { entity, record: id.into(), values: values.clone() };
            let documents = self.rules.write(tx, now, &writing)?;
            if documents.is_empty() {
                return Ok(None);
            }
            let record: RecordId = id.into();
            let key = format!("{record}/{}", tx.head()?);
            Ok(Some(self.rules.own_batch(batch_id(tx, "member", &key)?, documents)))
        })?;
        let Some(batch) = batch else {
            return Ok(Committed { head: self.head()?, ..Committed::default() });
        };
        let committed = self.commit(now, &[batch])?;
        match &committed.own {
            Some(Outcome::Refused { reasons }) => Err(MemberError::Refused(reasons.clone())),
            _ => Ok(committed),
        }
    }
}

/// The fields that the changes set. A member's one territory or team moves into the set of all of them.
fn values(changes: &MemberChanges) -> BTreeMap<String, Value> {
    let text = |text: &String| match text.is_empty() {
        true => Value::Null,
        false => Value::Str(text.clone()),
    };
    let mut values = BTreeMap::new();
    let texts = [
        ("name", &changes.name),
        ("role", &changes.role),
        ("region", &changes.region),
        ("email", &changes.email),
    ];
    for (key, value) in texts {
        values.extend(value.as_ref().map(|value| (key.to_owned(), text(value))));
    }
    let sets =
        [("territory", "territories", &changes.territories), ("team", "teams", &changes.teams)];
    for (one, all, names) in sets {
        if let Some(names) = names {
            values.insert(one.to_owned(), Value::Null);
            values.insert(all.to_owned(), Value::Set(names.iter().cloned().collect()));
        }
    }
    values.extend(changes.active.map(|active| ("active".to_owned(), Value::Bool(active))));
    values
}

/// Whether the schema takes a value: what the door would say, before anything is written.
fn check(entity: &crdt_core::schema::Entity, key: &str, value: &Value) -> Result<(), MemberError> {
    let refused = |text: String| {
        MemberError::Refused(vec![Refusal {
            code: "invalid".to_owned(),
            text,
            document: None,
            field: Some(key.to_owned()),
            rule: None,
        }])
    };
    let Some(field) = entity.field(key) else {
        return if value.is_null() {
            Ok(())
        } else {
            Err(refused(format!("the entity `member` has no field `{key}`")))
        };
    };
    let checked = match value {
        Value::Set(members) => members.iter().try_for_each(|member| field.check_member(member)),
        value => field.check(value),
    };
    checked.map_err(|violation| refused(format!("the field `{key}`: {violation}")))
}

fn no_directory() -> Refusal {
    Refusal {
        code: "unknown_entity".to_owned(),
        text: "the workspace's schema has no entity `member`".to_owned(),
        document: None,
        field: None,
        rule: None,
    }
}
