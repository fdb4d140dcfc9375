//! What a batch does to one record, and whether its author may: the server refuses by it, the SDK warns by
//! it.

use std::collections::BTreeSet;

use super::evaluate::denial;
use super::route::MERGED_INTO;
use super::{Action, Ask, Denial, Placement, Policy, RuleId, Standing, Why};
use crate::id::Section;
use crate::planted::{Bug, planted};
use crate::record::{Change, DELETED};
use crate::schema::Entity;

/// What a batch does to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// The record's entity.
    pub entity: String,
    /// Where it stood before the batch; nothing when the batch makes it.
    pub before: Option<Placement>,
    /// Where it stands after the batch.
    pub after: Placement,
    /// The fields that are written, by section. A set's members are writes of the set.
    pub writes: BTreeSet<(Section, String)>,
    /// Whether it is deleted or restored.
    pub deletes: bool,
    /// Whether it is merged into another.
    pub merges: bool,
}

impl Deed {
    /// A deed that does nothing yet, beyond making or moving the record.
    #[must_use]
    pub const fn new(entity: String, before: Option<Placement>, after: Placement) -> Self {
        Self { entity, before, after, writes: BTreeSet::new(), deletes: false, merges: false }
    }

    /// Adds what a change of the record's document of `section` does. Keys that `entity` does not know
    /// count as fields of their own.
    pub fn note(&mut self, section: &Section, change: &Change, entity: &Entity) {
        for op in &change.ops {
            match op.key.as_str() {
                DELETED => self.deletes = true,
                MERGED_INTO => self.merges = true,
                // The other keys of ours are what every first change of a record says.
                key if key.starts_with('$') => {}
                key => {
                    let field = entity.field_of_key(key).map_or(key, |(field, _)| &field.key);
                    self.writes.insert((section.clone(), field.to_owned()));
                }
            }
        }
    }

    /// Everything that has to be allowed, besides reading the record.
    fn questions<'a>(&'a self, main: &'a Section) -> Vec<Ask<'a>> {
        let stands = self.stands().unwrap_or(&self.after);
        let written = if self.before.is_some() { Action::Update } else { Action::Create };
        let ask = |action| self.ask(action, main, stands);
        let fields = self.writes.iter().map(|(section, field)| Ask {
            section,
            field: Some(field),
            ..ask(written)
        });
        let mut questions: Vec<Ask<'a>> = fields.collect();
        if self.before.is_none() {
            questions.push(ask(Action::Create));
        }
        if self.deletes {
            questions.push(ask(Action::Delete));
        }
        if self.merges {
            questions.push(ask(Action::Merge));
        }
        if *stands != self.after {
            questions.push(ask(Action::Transfer));
            questions.push(self.ask(Action::Transfer, main, &self.after));
        }
        questions
    }

    /// Where a record stands that is there already.
    fn stands(&self) -> Option<&Placement> {
        let before = self.before.as_ref()?;
        Some(if planted(Bug::AfterOnly) { &self.after } else { before })
    }

    /// A question about the record as a whole.
    fn ask<'a>(&'a self, action: Action, main: &'a Section, placement: &'a Placement) -> Ask<'a> {
        Ask { action, entity: &self.entity, section: main, field: None, placement }
    }
}

impl Policy {
    /// Whether a member may do this: the rules that allow it, or everything that is denied.
    ///
    /// A new record is judged by where it comes to stand; one that exists by where it stood, and when it
    /// moves, moving it is judged at both places. Of a record that the member may not read nothing is said
    /// but that: [`Why::NotInScope`].
    ///
    /// # Errors
    /// Everything that is denied, at least one thing.
    pub fn judge(&self, who: &Standing, deed: &Deed) -> Result<Vec<RuleId>, Vec<Denial>> {
        let main = Section::main();
        let role = self.role_in_force(who);
        let grant = |ask: &Ask<'_>| role.and_then(|(_, role)| self.grant(role, who, ask));
        if let Some(before) = deed.stands() {
            let read = deed.ask(Action::Read, &main, before);
            if grant(&read).is_err() {
                return Err(vec![denial(&read, Why::NotInScope)]);
            }
        }
        let mut lines = BTreeSet::new();
        let mut denials = Vec::new();
        for ask in deed.questions(&main) {
            match grant(&ask) {
                Ok(rule) => _ = lines.insert(rule.line),
                Err(why) => denials.push(denial(&ask, why)),
            }
        }
        // Where a move is denied at both of its ends for one reason, that is one denial.
        denials.dedup();
        match role {
            Ok((name, _)) if denials.is_empty() => {
                Ok(lines.into_iter().map(|line| RuleId { role: name.to_owned(), line }).collect())
            }
            _ => Err(denials),
        }
    }
}
