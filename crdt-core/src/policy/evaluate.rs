//! One question to the policy and its answer: pure, the same on the server and on the device.

use super::rule::{Reach, Role, Rule};
use super::scope::Scope;
use super::{Action, Denial, Placement, Policy, RuleId, Standing, Why};
use crate::id::Section;

/// One question: may a member do this to a record that stands there?
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What is to be done.
    pub action: Action,
    /// The record's entity.
    pub entity: &'a str,
    /// The section that it is done in; `main` for what concerns the record as a whole.
    pub section: &'a Section,
    /// The field's key, for `create` and `update`; nothing asks whether there is any field at all. Other
    /// actions have no fields.
    pub field: Option<&'a str>,
    /// Where the record stands.
    pub placement: &'a Placement,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The first rule that allows it.
    Allow(RuleId),
    /// What is missing.
    Deny(Denial),
}

impl Decision {
    /// Whether it is allowed.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

impl Policy {
    /// Answers one question.
    #[must_use]
    pub fn decide(&self, who: &Standing, ask: &Ask<'_>) -> Decision {
        let granted = self.role_in_force(who).and_then(|(name, role)| {
            self.grant(role, who, ask).map(|rule| RuleId { role: name.to_owned(), line: rule.line })
        });
        match granted {
            Ok(rule) => Decision::Allow(rule),
            Err(why) => Decision::Deny(denial(ask, why)),
        }
    }

    /// The name and the rules of the member's role.
    pub(super) fn role_in_force(&self, who: &Standing) -> Result<(&str, &Role), Why> {
        if !who.active {
            return Err(Why::Inactive);
        }
        self.named_role(who).ok_or(Why::NoRole)
    }

    /// The first rule of `role` that allows what is asked; else how near the nearest came.
    pub(super) fn grant<'p>(
        &self,
        role: &'p Role,
        who: &Standing,
        ask: &Ask<'_>,
    ) -> Result<&'p Rule, Why> {
        let mut nearest = Why::NotGranted;
        for rule in role.rules_for(ask.entity, ask.action) {
            let missing = if !rule.sections.holds(ask.section.as_str()) {
                Why::SectionNotGranted
            } else if !reaches_field(rule, ask) {
                Why::FieldNotGranted
            } else if !rule.on.iter().any(|reach| self.holds(*reach, who, ask.placement)) {
                Why::NotInScope
            } else {
                return Ok(rule);
            };
            nearest = nearest.max(missing);
        }
        Err(nearest)
    }

    /// Whether a record that stands at `placement` is one of those that `reach` means for this member.
    fn holds(&self, reach: Reach, who: &Standing, placement: &Placement) -> bool {
        placement.scopes().any(|scope| match (reach, scope) {
            (Reach::All, Scope::All) | (Reach::Shared, Scope::Shared) => true,
            (Reach::Own, Scope::Owner(owner)) => *owner == who.member,
            (Reach::Territory, Scope::Territory(name)) => who.territories.contains(name),
            (Reach::Team, Scope::Team(name)) => who.teams.contains(name),
            (Reach::Region, Scope::Territory(name)) => {
                who.region.as_ref().is_some_and(|region| self.is_in_region(name, region))
            }
            _ => false,
        })
    }

    /// A region that the policy does not name has one territory, of its own name.
    fn is_in_region(&self, territory: &str, region: &str) -> bool {
        match self.regions.get(region) {
            Some(territories) => territories.contains(territory),
            None => territory == region,
        }
    }
}

fn reaches_field(rule: &Rule, ask: &Ask<'_>) -> bool {
    match ask.field {
        Some(field) if ask.action.has_fields() => rule.fields.reach(field),
        _ => true,
    }
}

/// That what was asked is denied.
pub(super) fn denial(ask: &Ask<'_>, why: Why) -> Denial {
    Denial {
        action: ask.action,
        entity: ask.entity.to_owned(),
        section: ask.section.clone(),
        field: ask.field.map(str::to_owned),
        why,
    }
}
