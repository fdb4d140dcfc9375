//! The directory: what the records of entity `member` say of each member, in memory as judging needs it.

use std::collections::BTreeMap;

use crdt_core::id::{DocumentId, Epoch, MemberId, RecordId, ReplicaId};
use crdt_core::policy::{Policy, Standing};
use crdt_core::record::{Cells, Value, hydrate};
use crdt_core::schema::{Entity, Schema};
use uuid::Uuid;

use crate::store::access::MemberRow;
use crate::store::{Read, StoreError};

/// Who writes what the server itself writes. No person has this id.
pub const SERVER: MemberId = MemberId(Uuid::nil());
/// What devices call that.
pub(super) const SERVER_NAME: &str = "Fieldbook server";
/// The entity of the directory.
pub(super) const ENTITY: &str = "member";

/// The server's own replica. It follows from the log's epoch: a log that was put back to an older state has a
/// new epoch, so that no number of the server's own changes is ever given twice.
pub(super) fn server_replica(epoch: Epoch) -> ReplicaId {
    let name = RecordId::from_source_key("server replica", &epoch.to_string());
    let mut bytes = [0; 12];
    bytes.copy_from_slice(&name.as_bytes()[..12]);
    ReplicaId(bytes)
}

/// Every member.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    members: BTreeMap<MemberId, MemberRow>,
}

impl Directory {
    pub(super) fn load(tx: &dyn Read) -> Result<Self, StoreError> {
        let members = tx.members()?.into_iter().map(|row| (row.standing.member, row));
        Ok(Self { members: members.collect() })
    }

    pub(super) fn get(&self, member: &MemberId) -> Option<&MemberRow> {
        self.members.get(member)
    }

    /// What the directory says of a member, also of one that it does not list.
    pub(super) fn standing(&self, member: MemberId) -> Standing {
        let listed = self.members.get(&member).map(|row| row.standing.clone());
        listed.unwrap_or_else(|| Standing::unlisted(member))
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &MemberRow> {
        self.members.values()
    }

    pub(super) fn take(&mut self, rows: BTreeMap<MemberId, MemberRow>) {
        self.members.extend(rows);
    }

    /// Whether anybody may give roles, once these members have changed.
    pub(super) fn has_administrator(
        &self,
        policy: &Policy,
        changed: &BTreeMap<MemberId, MemberRow>,
    ) -> bool {
        let unchanged = self.members.iter().filter(|(id, _)| !changed.contains_key(*id));
        let mut rows = unchanged.map(|(_, row)| row).chain(changed.values());
        rows.any(|row| policy.is_administrator(&row.standing))
    }
}

/// What a member's record says; nothing when the document is no member's `main`.
pub(super) fn row_of(
    schema: &Schema,
    id: &DocumentId,
    entity: &str,
    cells: &Cells,
) -> Option<MemberRow> {
    if entity != ENTITY || !id.section.is_main() {
        return None;
    }
    let entity: &Entity = schema.entity(ENTITY)?;
    let name = match hydrate(cells, entity).remove("name") {
        Some(Value::Str(name)) => name,
        _ => String::new(),
    };
    let standing = Standing::of(MemberId(id.record.0), entity, cells);
    Some(MemberRow { name, standing, has_record: true })
}
