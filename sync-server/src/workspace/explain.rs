//! Saying why: what a member may do with a record, by which rule, and what is missing where it may not.

use std::collections::BTreeMap;

use crdt_core::id::{MemberId, RecordId, Section};
use crdt_core::policy::{Action, Ask, Decision, Placement, Standing};
use crdt_core::schema::Entity;

use super::{Workspace, routes};
use crate::store::{self, StoreError};

/// What a member may do with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What the directory says of the member.
    pub standing: Standing,
    /// The role by which the member is judged; nothing when the policy gives it none.
    pub role: Option<String>,
    /// The version of the policy in force.
    pub policy_version: u64,
    /// The record's entity.
    pub entity: String,
    /// The scopes that the record stands in.
    pub scopes: Vec<String>,
    /// The member's subscriptions that bring something of it.
    pub shown_by: Vec<String>,
    /// One for each action, and for each section where it has any.
    pub questions: Vec<Question>,
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What would be done.
    pub action: Action,
    /// In which section.
    pub section: Section,
    /// The answer for the section as a whole.
    pub decision: Decision,
    /// The fields that are treated differently.
    pub fields: Vec<(String, Decision)>,
}

impl Workspace {
    /// What a member may do with a record; nothing when there is no such record.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn explain(
        &self,
        member: MemberId,
        record: RecordId,
    ) -> Result<Option<Explanation>, StoreError> {
        let policy = &self.rules.policy;
        let found = store::read(&*self.store, |tx| {
            let Some(route) = tx.route(&record)? else { return Ok(None) };
            Ok(Some((routes::place(tx, policy, &route)?, route)))
        })?;
        let Some((placement, route)) = found else { return Ok(None) };
        let standing = self.rules.directory.standing(member);
        let entity = self.rules.schema.entity(&route.entity);
        let questions = entity.map(|entity| self.questions(&standing, entity, &placement));
        let subscriptions = policy.subscriptions(&standing, &self.rules.schema);
        let shown_by = subscriptions.iter().filter(|subscription| {
            let scopes = policy.index_scopes(&placement, subscription.section());
            subscription.admits(&route.entity) && scopes.contains(&subscription.scope())
        });
        Ok(Some(Explanation {
            role: policy.role_of(&standing).map(str::to_owned),
            policy_version: policy.version(),
            scopes: placement.scopes().map(ToString::to_string).collect(),
            shown_by: shown_by.map(|subscription| subscription.name()).collect(),
            questions: questions.unwrap_or_default(),
            entity: route.entity,
            standing,
        }))
    }

    fn questions(&self, who: &Standing, entity: &Entity, placement: &Placement) -> Vec<Question> {
        let mut questions = Vec::new();
        for action in Action::ALL {
            let in_sections = matches!(action, Action::Read | Action::Create | Action::Update);
            for section in entity.sections().filter(|s| in_sections || s.is_main()) {
                let ask = |field| Ask { action, entity: &entity.name, section, field, placement };
                let decide = |field| self.rules.policy.decide(who, &ask(field));
                let mut fields: BTreeMap<&str, Decision> = BTreeMap::new();
                if matches!(action, Action::Create | Action::Update) {
                    let here = entity.fields.iter().filter(|field| field.section == *section);
                    fields.extend(here.map(|field| (field.key.as_str(), decide(Some(&field.key)))));
                }
                let decision = decide(None);
                fields.retain(|_, of_field| !is_same(&decision, of_field));
                questions.push(Question {
                    action,
                    section: section.clone(),
                    decision,
                    fields: fields.into_iter().map(|(key, d)| (key.to_owned(), d)).collect(),
                });
            }
        }
        questions
    }
}

/// Whether two answers are for the same reason, whatever field they are about.
fn is_same(one: &Decision, other: &Decision) -> bool {
    match (one, other) {
        (Decision::Allow(one), Decision::Allow(other)) => one == other,
        (Decision::Deny(one), Decision::Deny(other)) => one.why == other.why,
        (Decision::Allow(_), Decision::Deny(_)) | (Decision::Deny(_), Decision::Allow(_)) => false,
    }
}
