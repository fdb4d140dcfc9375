//! What a record's edits come to, by section: everything is checked here, before anything is written.

use std::collections::BTreeMap;

use crdt_core::id::Section;
use crdt_core::limits;
use crdt_core::record::{Edit, SeedKind, Value, scalar_for};
use crdt_core::schema::{Entity, Field, FieldKind, Violation};

use super::{Edits, HeldRecord, Step, invalid, unknown};
use crate::error::EditError;

/// What is to be written to each section of a record.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) sections: BTreeMap<Section, SectionPlan>,
}

/// What is to be written to one document.
#[derive(Debug, Default)]
pub(super) struct SectionPlan {
    /// Puts, members, deletions.
    pub(super) edits: Vec<Edit>,
    /// Counters and texts whose seed must be in.
    pub(super) seeds: Vec<(SeedKind, String)>,
    /// Increments, after the seeds.
    pub(super) increments: Vec<Edit>,
    /// Edits of prose, after the seeds.
    pub(super) texts: Vec<(String, TextEdit)>,
}

/// An edit of prose.
#[derive(Debug, Clone)]
pub(super) enum TextEdit {
    Splice { at: usize, delete: usize, insert: String },
    Say(String),
}

impl Plan {
    /// Checks edits against the entity's rules.
    pub(super) fn new(
        entity: &Entity,
        record: &HeldRecord,
        edits: &Edits,
    ) -> Result<Self, EditError> {
        let mut plan = Self::default();
        for (name, step) in edits.steps() {
            let field = entity.field(name).ok_or_else(|| unknown(entity, name))?;
            plan.step(field, record, step)?;
        }
        Ok(plan)
    }

    /// Puts what every record starts with in front, and checks that what is required is there.
    pub(super) fn begin(&mut self, entity: &Entity, creation: [Edit; 3]) -> Result<(), EditError> {
        let main = self.sections.entry(Section::main()).or_default();
        let required = |key: &str| entity.field(key).is_some_and(|field| field.validation.required);
        for field in entity.fields.iter().filter(|f| f.validation.required && f.section.is_main()) {
            let given = main
                .edits
                .iter()
                .any(|edit| matches!(edit, Edit::Put { key, .. } if *key == field.key));
            if !given {
                return Err(invalid(field, Violation::Required));
            }
        }
        // The first change holds what is required, wherever a large one is cut.
        main.edits.sort_by_key(|edit| !matches!(edit, Edit::Put { key, .. } if required(key)));
        main.edits.splice(0..0, creation);
        Ok(())
    }

    pub(super) fn edit(&mut self, section: &Section, edit: Edit) {
        self.sections.entry(section.clone()).or_default().edits.push(edit);
    }

    fn step(&mut self, field: &Field, record: &HeldRecord, step: &Step) -> Result<(), EditError> {
        let wrong =
            || EditError::WrongOperation { field: field.key.clone(), kind: field.kind.name() };
        let section = self.sections.entry(field.section.clone()).or_default();
        match (&field.kind, step) {
            (FieldKind::Set(_), Step::Add(member)) => {
                field.check_member(member).map_err(|violation| invalid(field, violation))?;
                section.edits.push(Edit::add(format!("{}/{member}", field.key)));
            }
            (FieldKind::Set(_), Step::Remove(member)) => {
                field.check_member_type(member).map_err(|violation| invalid(field, violation))?;
                section.edits.push(Edit::Remove { key: format!("{}/{member}", field.key) });
            }
            (FieldKind::Set(_), Step::Set(Value::Set(members))) => {
                section.make_members(field, record, members)?;
            }
            (FieldKind::Set(_), Step::Set(Value::Null)) => {
                section.make_members(field, record, &[])?;
            }
            (FieldKind::Counter, Step::Increment(by)) => {
                if by.unsigned_abs() > limits::INCREMENT_MAX.unsigned_abs() {
                    return Err(EditError::IncrementTooLarge { field: field.key.clone() });
                }
                section.seeds.push((SeedKind::Counter, field.key.clone()));
                section.increments.push(Edit::Increment { key: field.key.clone(), by: *by });
            }
            (FieldKind::Text, Step::Splice { at, delete, insert }) => {
                let (at, delete, insert) = (*at, *delete, insert.clone());
                section.text(field, TextEdit::Splice { at, delete, insert });
            }
            (FieldKind::Text, Step::SetText(text)) => {
                section.text(field, TextEdit::Say(text.clone()));
            }
            (FieldKind::Text, Step::Set(Value::Str(text) | Value::Text(text))) => {
                section.text(field, TextEdit::Say(text.clone()));
            }
            (FieldKind::Text, Step::Set(Value::Null)) => {
                section.text(field, TextEdit::Say(String::new()));
            }
            (kind, Step::Set(value)) if kind.is_replaced() => {
                field.check(value).map_err(|violation| invalid(field, violation))?;
                let value =
                    scalar_for(field, value).map_err(|violation| invalid(field, violation))?;
                section.edits.push(Edit::Put { key: field.key.clone(), value });
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

impl SectionPlan {
    fn text(&mut self, field: &Field, edit: TextEdit) {
        self.seeds.push((SeedKind::Text, field.key.clone()));
        self.texts.push((field.key.clone(), edit));
    }

    /// Makes a set have just these members.
    fn make_members(
        &mut self,
        field: &Field,
        record: &HeldRecord,
        members: &[String],
    ) -> Result<(), EditError> {
        let held = record.documents.get(&field.section);
        let present: Vec<&str> =
            held.map(|held| held.cells.members(&field.key).collect()).unwrap_or_default();
        for member in members.iter().filter(|member| !present.contains(&member.as_str())) {
            field.check_member(member).map_err(|violation| invalid(field, violation))?;
            self.edits.push(Edit::add(format!("{}/{member}", field.key)));
        }
        for member in present.iter().filter(|p| !members.iter().any(|member| member == *p)) {
            self.edits.push(Edit::Remove { key: format!("{}/{member}", field.key) });
        }
        Ok(())
    }
}
