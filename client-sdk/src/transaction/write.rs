//! Writing a checked plan to a record's documents, in memory: through cells, and through the loaded document
//! for prose alone.

use crdt_core::id::Section;
use crdt_core::limits;
use crdt_core::planted::{Bug, planted};
use crdt_core::record::document::{Purpose, is_seeded};
use crdt_core::record::{
    Author, Cells, Change, Deletion, DocumentError, Edit, EncodedChange, Live, Scalar, SeedKind,
    Splice, Value, seed,
};
use crdt_core::schema::{Entity, Field};
use rusqlite::Connection;

use super::plan::{Plan, SectionPlan, TextEdit};
use super::{HeldRecord, invalid};
use crate::edits::difference;
use crate::error::EditError;
use crate::store::document::{Held, Wanted};

/// Who writes, and against which rules.
pub(super) struct Writing<'a> {
    pub(super) connection: &'a Connection,
    pub(super) entity: &'a Entity,
    pub(super) author: Author,
}

impl Writing<'_> {
    /// Writes the plan. When it fails, `record` is to be thrown away.
    pub(super) fn write(&self, record: &mut HeldRecord, plan: Plan) -> Result<(), EditError> {
        let id = record.id;
        let mut sections: Vec<(Section, SectionPlan)> = plan.sections.into_iter().collect();
        sections.sort_by_key(|(section, _)| !section.is_main());
        for (section, mut plan) in sections {
            let new = !record.documents.contains_key(&section);
            let held = record.documents.entry(section.clone()).or_default();
            if !section.is_main() && held.cells.is_empty() {
                self.open_section(&section, &mut plan);
            }
            self.write_section(held, plan)?;
            if held.cells.key_count() > limits::DOCUMENT_KEYS_MAX {
                return Err(EditError::RecordFull(id));
            }
            if new && held.cells.is_empty() {
                record.documents.remove(&section);
            }
        }
        Ok(())
    }

    /// A document never begins with a seed: where nothing else is written first, a field that may be unset
    /// is written as unset.
    fn open_section(&self, section: &Section, plan: &mut SectionPlan) {
        let writes = plan.edits.iter().any(|edit| !matches!(edit, Edit::Remove { .. }));
        if writes || plan.seeds.is_empty() {
            return;
        }
        let may_be_unset = |field: &&Field| {
            field.section == *section && field.kind.is_replaced() && !field.validation.required
        };
        if let Some(field) = self.entity.fields.iter().find(may_be_unset) {
            plan.edits.insert(0, Edit::Put { key: field.key.clone(), value: Scalar::Null });
        }
    }

    fn write_section(&self, held: &mut Held, plan: SectionPlan) -> Result<(), EditError> {
        let before = held.cells.clone();
        let edits: Vec<Edit> =
            plan.edits.into_iter().filter(|edit| says_something(&held.cells, edit)).collect();
        let written = self.author.write(&mut held.cells, &edits);
        held.wrote(&before, written);
        let seeds: Vec<_> = plan
            .seeds
            .iter()
            .filter_map(|(kind, field)| plant(&mut held.cells, *kind, field))
            .collect();
        held.wrote(&before, seeds);
        let written = self.author.write(&mut held.cells, &plan.increments);
        held.wrote(&before, written);
        if plan.texts.is_empty() { Ok(()) } else { self.write_texts(held, before, plan.texts) }
    }

    fn write_texts(
        &self,
        held: &mut Held,
        before: Cells,
        texts: Vec<(String, TextEdit)>,
    ) -> Result<(), EditError> {
        let mut document = held
            .load(self.connection, Purpose::Text, Wanted::Everything)
            .map_err(EditError::Store)?;
        for (field, edit) in texts {
            let says = text_of(&held.cells, &field);
            let Some(splice) = splice_of(&field, &says, edit)? else { continue };
            self.check_text(&field, &says, &splice)?;
            let written = self
                .author
                .write_text(&mut held.cells, &mut document, &[splice])
                .map_err(text_error)?;
            held.wrote(&before, written);
        }
        Ok(())
    }

    fn check_text(&self, key: &str, says: &str, splice: &Splice) -> Result<(), EditError> {
        let Some(field) = self.entity.field(key) else { return Ok(()) };
        let mut next: Vec<char> = says.chars().collect();
        next.splice(splice.at..splice.at + splice.delete, splice.insert.chars());
        let next: String = next.into_iter().collect();
        field.check(&Value::Text(next)).map_err(|violation| invalid(field, violation))
    }
}

/// Whether a put differs from what the field says alone. A present member is added again on purpose: it
/// then survives a concurrent removal.
fn says_something(cells: &Cells, edit: &Edit) -> bool {
    let Edit::Put { key, value } = edit else { return true };
    if key.contains('/') || Deletion::of(cells).is_some() {
        return true;
    }
    match cells.live(key) {
        [] => !matches!(value, Scalar::Null) || cells.is_empty(),
        [only] => only.value != Live::Scalar(value.clone()),
        _ => true,
    }
}

/// The field's seed, applied, unless it is in.
fn plant(cells: &mut Cells, kind: SeedKind, field: &str) -> Option<(Change, EncodedChange)> {
    if is_seeded(cells, kind, field) && !planted(Bug::SeedRepeated) {
        return None;
    }
    let change = seed(kind, field);
    let encoded = change.encode();
    cells.apply(&change, encoded.hash);
    Some((change, encoded))
}

fn text_of(cells: &Cells, field: &str) -> String {
    let texts = cells.live(field).iter().rev().find_map(|op| match &op.value {
        Live::Text(contents) => Some(contents.clone()),
        Live::Scalar(_) => None,
    });
    texts.unwrap_or_default()
}

fn splice_of(field: &str, says: &str, edit: TextEdit) -> Result<Option<Splice>, EditError> {
    let (at, delete, insert) = match edit {
        TextEdit::Splice { at, delete, insert } => (at, delete, insert),
        TextEdit::Say(text) => match difference(says, &text) {
            Some(splice) => splice,
            None => return Ok(None),
        },
    };
    let length = says.chars().count();
    if at.checked_add(delete).is_none_or(|end| end > length) {
        return Err(EditError::NoSuchPlace { field: field.to_owned() });
    }
    Ok(Some(Splice { field: field.to_owned(), at, delete, insert }))
}

fn text_error(error: DocumentError) -> EditError {
    match error {
        DocumentError::NoSuchPlace { field } => EditError::NoSuchPlace { field },
        other => EditError::Store(other.into()),
    }
}
