//! A survey: the reference model of what a simulated server has at this moment, read from what its records say
//! and not from its indexes.

use std::collections::BTreeMap;

use crdt_core::id::{DocumentId, MemberId, RecordId};
use crdt_core::record::{Cells, Live, Scalar, Value, hydrate};

use super::server::SimServer;
use crate::model::policy::Policy;
use crate::model::{Member, Model, Record, facts};

/// What the server says of one record, over all of its sections.
pub type Fields = BTreeMap<String, Value>;

/// The model of what the server has now, and what its records say; what is kept of refused edits is not among
/// the latter.
///
/// # Panics
/// When the server cannot be read.
#[must_use]
pub fn model_of(
    server: &SimServer,
    policy: &Policy,
    members: &BTreeMap<MemberId, Member>,
) -> (Model, BTreeMap<RecordId, Fields>) {
    let mut model = Model::new(policy.clone());
    model.members = members.clone();
    let mut said: BTreeMap<RecordId, Fields> = BTreeMap::new();
    let schema = server.schema();
    for (id, entity, cells) in documents(server) {
        let fields = hydrate(&cells, schema.entity(&entity).expect("the schema has the entity"));
        let new = || Record::new(id.record, &entity, MemberId(id.record.0));
        let record = model.records.entry(id.record).or_insert_with(new);
        record.sections.insert(id.section.to_string());
        if id.section.is_main() {
            route(record, &fields, &cells);
        }
        if entity != "kept_edit" {
            said.entry(id.record).or_default().extend(fields);
        }
    }
    (model, said)
}

pub(crate) fn documents(server: &SimServer) -> Vec<(DocumentId, String, Cells)> {
    server.read(|tx| {
        let mut documents = Vec::new();
        let mut last = 0;
        while let Some(number) = tx.document_after(last)? {
            last = number;
            let Some(row) = tx.document(number)? else { continue };
            let cells = Cells::from_stored(&row.cells).expect("stored cells can be read");
            documents.push((row.id, row.entity, cells));
        }
        Ok(documents)
    })
}

/// Takes over what a record says of where it belongs.
fn route(record: &mut Record, fields: &Fields, cells: &Cells) {
    let facts = facts::of(&record.entity);
    let text = |key: &str| match fields.get(key) {
        Some(Value::Str(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let link = |key: &str| match fields.get(key) {
        Some(Value::Bytes(bytes)) => RecordId::try_from(&bytes[..]).ok(),
        _ => None,
    };
    record.owner = link("owner").map(|owner| MemberId(owner.0));
    record.territory = text("territory");
    record.team = text("team");
    record.parent = facts.parent.and_then(|(field, _)| link(field));
    let creator = cells.live("$created_by").first().and_then(|op| match &op.value {
        Live::Scalar(Scalar::Bytes(bytes)) => RecordId::try_from(&bytes[..]).ok(),
        _ => None,
    });
    record.creator = MemberId(creator.expect("every record has a creator").0);
}
