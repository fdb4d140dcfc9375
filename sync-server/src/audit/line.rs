//! From a batch and its answer to what an entry says of them: names, never values.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DocumentId, MemberId, RecordId, Section, is_name};
use crdt_core::protocol::{Batch, DocumentChanges, DocumentRef, Outcome, Refusal};
use crdt_core::schema::{Entity, Schema};
use crdt_core::time::Timestamp;

use super::{Act, Judged, ReasonLine, RecordLine, UNKNOWN_FIELD, Verdict};

/// Records that one entry lists; it counts the others.
pub const RECORDS_MAX: usize = 256;
/// Reasons of a refusal that one entry lists; it counts the others.
pub const REFUSALS_MAX: usize = 256;

impl Judged {
    /// What an entry says of an answered batch. `name` knows a document's id and entity by its number;
    /// `rules` gives what allowed each record.
    ///
    /// # Errors
    /// Those of `name`.
    pub fn of<E>(
        schema: &Schema,
        batch: &Batch,
        outcome: &Outcome,
        rules: &BTreeMap<RecordId, Vec<String>>,
        name: impl FnMut(u64) -> Result<Option<(DocumentId, String)>, E>,
    ) -> Result<Self, E> {
        let (records, more_records) = record_lines(schema, batch, name, rules)?;
        let verdict = match outcome {
            Outcome::Accepted { position, .. } => Verdict::Accepted { position: *position },
            Outcome::Already { position, .. } => Verdict::Already { position: *position },
            Outcome::Refused { reasons } => {
                let (reasons, more) = refusal_lines(reasons);
                Verdict::Refused { reasons, more }
            }
        };
        let edited_at = edited_at(batch);
        Ok(Self { batch: batch.id, edited_at, verdict, records, more_records })
    }
}

/// The administrative acts in an accepted batch: the members that it adds or changes. `is_active` knows whether
/// a member may work after it.
#[must_use]
pub fn member_acts(judged: &Judged, is_active: impl Fn(MemberId) -> bool) -> Vec<Act> {
    if !matches!(judged.verdict, Verdict::Accepted { .. }) {
        return Vec::new();
    }
    let members = judged.records.iter().filter(|line| line.entity.as_deref() == Some("member"));
    let act = |line: &RecordLine| {
        let member = MemberId(line.record?.0);
        let fields: Vec<String> = line.fields.values().flatten().cloned().collect();
        let has = |name: &str| fields.iter().any(|field| field == name);
        Some(if has("$entity") {
            Act::MemberAdded { member, fields }
        } else if !has("active") && !has("$deleted") {
            Act::MemberSet { member, fields }
        } else if is_active(member) {
            Act::MemberEnabled { member }
        } else {
            Act::MemberDisabled { member }
        })
    };
    members.filter_map(act).collect()
}

/// When the user made the batch: the latest time of its changes. Seeds have none.
fn edited_at(batch: &Batch) -> Option<Timestamp> {
    let changes = batch.documents.iter().flat_map(|document| &document.changes);
    let made = changes.filter(|sent| sent.change.as_seed().is_none());
    made.map(|sent| sent.change.time).max()
}

/// The records that a batch touches, in the order of its documents, and how many more than are listed.
/// `name` knows a document's id and entity by its number; `rules` gives what allowed each record.
fn record_lines<E>(
    schema: &Schema,
    batch: &Batch,
    mut name: impl FnMut(u64) -> Result<Option<(DocumentId, String)>, E>,
    rules: &BTreeMap<RecordId, Vec<String>>,
) -> Result<(Vec<RecordLine>, u64), E> {
    let mut lines: Vec<RecordLine> = Vec::new();
    let mut places: BTreeMap<RecordId, usize> = BTreeMap::new();
    let mut more: BTreeSet<RecordId> = BTreeSet::new();
    let mut more_unknown = 0;
    for document in &batch.documents {
        let named = match &document.document {
            DocumentRef::Identity(identity) => Some((identity.id.clone(), identity.entity.clone())),
            DocumentRef::Number(number) => name(*number)?,
        };
        let Some((id, entity)) = named else {
            if lines.len() < RECORDS_MAX {
                lines.push(unknown(document));
            } else {
                more_unknown += 1;
            }
            continue;
        };
        let place = match places.get(&id.record) {
            Some(place) => *place,
            None if lines.len() == RECORDS_MAX => {
                more.insert(id.record);
                continue;
            }
            None => {
                lines.push(RecordLine {
                    record: Some(id.record),
                    entity: Some(cut(&entity)),
                    fields: BTreeMap::new(),
                    rules: rules.get(&id.record).cloned().unwrap_or_default(),
                });
                places.insert(id.record, lines.len() - 1);
                lines.len() - 1
            }
        };
        let fields = field_names(schema.entity(&entity), document);
        lines[place].fields.insert(id.section, fields);
    }
    Ok((lines, more.len() as u64 + more_unknown))
}

/// A document that nothing is known of.
fn unknown(document: &DocumentChanges) -> RecordLine {
    let fields = BTreeMap::from([(Section::main(), field_names(None, document))]);
    RecordLine { record: None, entity: None, fields, rules: Vec::new() }
}

/// The fields that a document's changes write: a set under its own name, since its keys hold its members.
fn field_names(entity: Option<&Entity>, document: &DocumentChanges) -> Vec<String> {
    let ops = document.changes.iter().flat_map(|sent| &sent.change.ops);
    let names: BTreeSet<&str> = ops.map(|op| field_name(entity, &op.key)).collect();
    names.into_iter().map(str::to_owned).collect()
}

fn field_name<'a>(entity: Option<&'a Entity>, key: &str) -> &'a str {
    const SYSTEM: [&str; 5] = ["$entity", "$created_at", "$created_by", "$deleted", "$merged_into"];
    if let Some(system) = SYSTEM.iter().find(|system| **system == key) {
        return system;
    }
    let field = entity.and_then(|entity| entity.field_of_key(key));
    field.map_or(UNKNOWN_FIELD, |(field, _)| &field.key)
}

/// A name as it is, anything else as unknown: an entity that the schema lacks is the sender's free text.
fn cut(entity: &str) -> String {
    if is_name(entity) { entity.to_owned() } else { UNKNOWN_FIELD.to_owned() }
}

/// What an entry says of a refusal's reasons, and how many more there are. The field of a reason is a document
/// key: of a set's only the name stays, and what the schema does not know is [`UNKNOWN_FIELD`].
fn refusal_lines(reasons: &[Refusal]) -> (Vec<ReasonLine>, u64) {
    let line = |refusal: &Refusal| ReasonLine {
        code: refusal.code.clone(),
        record: refusal.document.as_ref().map(|id| id.record),
        section: refusal.document.as_ref().map(|id| id.section.clone()),
        field: refusal.field.as_deref().map(spelled),
        rule: refusal.rule.clone(),
    };
    let lines: Vec<ReasonLine> = reasons.iter().take(REFUSALS_MAX).map(line).collect();
    let more = (reasons.len() - lines.len()) as u64;
    (lines, more)
}

/// A field's name without the member of a set: `tags/Gold` is `tags`, `address.city` stays.
fn spelled(key: &str) -> String {
    let name = key.split('/').next().unwrap_or_default();
    let plain = name.strip_prefix('$').unwrap_or(name);
    if plain.split('.').all(is_name) { name.to_owned() } else { UNKNOWN_FIELD.to_owned() }
}
