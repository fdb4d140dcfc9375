//! What the directory says of a member: role, territories, teams.

use std::collections::BTreeSet;

use super::route::{member_names, scalar, text};
use super::scope::routing_name;
use crate::id::MemberId;
use crate::record::{Cells, Deletion, Scalar};
use crate::schema::Entity;

/// What the directory says of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Who.
    pub member: MemberId,
    /// The role that the entry names, whether or not the policy has it.
    pub role: Option<String>,
    /// The territories of the scope `territory`.
    pub territories: BTreeSet<String>,
    /// The teams of the scope `team`.
    pub teams: BTreeSet<String>,
    /// The region whose territories are the scope `region`.
    pub region: Option<String>,
    /// Whether the member may do anything at all.
    pub active: bool,
}

impl Standing {
    /// A member without an entry: active, with whatever role the policy gives by default.
    #[must_use]
    pub const fn unlisted(member: MemberId) -> Self {
        Self {
            member,
            role: None,
            territories: BTreeSet::new(),
            teams: BTreeSet::new(),
            region: None,
            active: true,
        }
    }

    /// What the `main` cells of the member's record say; `entity` is `member` of the schema. Who is deleted
    /// is not active; who is not said to be switched off is.
    #[must_use]
    pub fn of(member: MemberId, entity: &Entity, cells: &Cells) -> Self {
        let named = |field, set| {
            let one = text(entity, cells, field).as_deref().and_then(routing_name);
            one.into_iter().chain(member_names(entity, cells, set)).collect()
        };
        let switched_off = scalar(entity, cells, "active") == Some(&Scalar::Bool(false));
        Self {
            member,
            role: text(entity, cells, "role"),
            territories: named("territory", "territories"),
            teams: named("team", "teams"),
            region: text(entity, cells, "region").as_deref().and_then(routing_name),
            active: !switched_off && Deletion::of(cells).is_none(),
        }
    }
}
