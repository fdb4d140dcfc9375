//! A record's routing values: what decides the scopes that it stands in.

use super::scope::routing_name;
use crate::id::{MemberId, RecordId};
use crate::record::{Cells, Live, Scalar, winner};
use crate::schema::{Entity, Field, FieldKind, MergeRule};

/// A record's routing values, from its `main` cells; where values compete, those that win.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// The record's entity.
    pub entity: String,
    /// Who owns it.
    pub owner: Option<MemberId>,
    /// Its territory.
    pub territory: Option<String>,
    /// Its team.
    pub team: Option<String>,
    /// The record whose scopes it follows.
    pub parent: Option<RecordId>,
    /// The record that it was merged into.
    pub merged_into: Option<RecordId>,
}

impl Route {
    /// Reads the fields `owner` (a ref to `member`), `territory`, `team`, and the one that `entity` inherits
    /// through.
    ///
    /// While `owner` is unset, whoever created the record owns it. That also holds for entities without such
    /// a field, unless they inherit: a line item belongs to nobody but its opportunity's people.
    #[must_use]
    pub fn of(entity: &Entity, cells: &Cells) -> Self {
        let owner_field = field(entity, "owner").filter(|field| refers_to_member(field));
        let owner = owner_field.and_then(|field| record(live(cells, &field.merge, &field.key)?));
        let falls_to_creator = owner_field.is_some() || entity.inherits.is_none();
        let creator = || {
            let written = live(cells, &MergeRule::Latest, CREATED_BY)?;
            record(written).filter(|_| falls_to_creator)
        };
        let parent = entity.inherits.as_deref().and_then(|key| scalar(entity, cells, key));
        Self {
            entity: entity.name.clone(),
            owner: owner.or_else(creator).map(|record| MemberId(record.0)),
            territory: text(entity, cells, "territory").as_deref().and_then(routing_name),
            team: text(entity, cells, "team").as_deref().and_then(routing_name),
            parent: parent.and_then(record),
            merged_into: live(cells, &MergeRule::Latest, MERGED_INTO).and_then(record),
        }
    }
}

/// What a field of `main` says, if it is set and not a text.
pub(super) fn scalar<'c>(entity: &Entity, cells: &'c Cells, key: &str) -> Option<&'c Scalar> {
    let field = field(entity, key)?;
    live(cells, &field.merge, &field.key)
}

/// What a string field of `main` says.
pub(super) fn text(entity: &Entity, cells: &Cells, key: &str) -> Option<String> {
    match scalar(entity, cells, key)? {
        Scalar::Str(text) => Some(text.clone()),
        _ => None,
    }
}

/// The members of a set of `main` that can be names of territories or teams.
pub(super) fn member_names(entity: &Entity, cells: &Cells, key: &str) -> Vec<String> {
    let set = field(entity, key).filter(|field| field.kind.is_set());
    set.map_or_else(Vec::new, |set| cells.members(&set.key).filter_map(routing_name).collect())
}

fn field<'e>(entity: &'e Entity, key: &str) -> Option<&'e Field> {
    entity.field(key).filter(|field| field.key == key && field.section.is_main())
}

fn refers_to_member(field: &Field) -> bool {
    matches!(&field.kind, FieldKind::Ref(targets) if targets.iter().any(|name| name == MEMBER))
}

fn live<'c>(cells: &'c Cells, rule: &MergeRule, key: &str) -> Option<&'c Scalar> {
    match &winner(rule, cells.live(key))?.value {
        Live::Scalar(scalar) => Some(scalar),
        Live::Text(_) => None,
    }
}

fn record(scalar: &Scalar) -> Option<RecordId> {
    match scalar {
        Scalar::Bytes(bytes) => RecordId::try_from(bytes.as_slice()).ok(),
        _ => None,
    }
}

/// The entity of the directory.
pub(super) const MEMBER: &str = "member";
/// Who created a record: written by its first change.
const CREATED_BY: &str = "$created_by";
/// The record that this one was merged into.
pub(super) const MERGED_INTO: &str = "$merged_into";
