//! What the server's cells say, spelt as a device's tables must show it: the rules of the projection written
//! a second time, so that a fault in one of them shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::record::{Cells, DELETED, Live, LiveOp, Money, Scalar, Value};
use crdt_core::schema::{Entity, Field, FieldKind, MergeRule, Schema};
use sync_server::store::{DocumentRow, Read, StoreError};

use super::super::server::SimServer;
use super::{Picture, cell_place, conflict_place, document_place, hex};
use crate::model::merge;

/// What a server's documents say at one moment, read once for all who are compared with it.
pub struct Said<'s> {
    server: &'s SimServer,
    schema: Arc<Schema>,
    records: BTreeMap<RecordId, Vec<Document>>,
}

/// A document of the server's.
struct Document {
    row: DocumentRow,
    cells: Cells,
    spelt: String,
}

impl<'s> Said<'s> {
    pub(super) fn by(server: &'s SimServer) -> Self {
        let records = server.read(|tx| {
            let mut records: BTreeMap<_, Vec<Document>> = BTreeMap::new();
            let mut last = 0;
            while let Some(number) = tx.document_after(last)? {
                last = number;
                let Some(row) = tx.document(number)? else { continue };
                let cells = Cells::from_stored(&row.cells).expect("the server's cells can be read");
                let spelt = format!("{cells:?}");
                let document = Document { row, cells, spelt };
                records.entry(document.row.id.record).or_default().push(document);
            }
            Ok(records)
        });
        Self { server, schema: server.schema(), records }
    }

    /// What some of the documents say.
    pub(super) fn picture(&self, is_visible: &dyn Fn(&DocumentId) -> bool) -> Picture {
        self.server.read(|tx| {
            let mut picture = Picture::default();
            for documents in self.records.values() {
                let seen = documents.iter().filter(|document| is_visible(&document.row.id));
                record(tx, &self.schema, &seen.collect::<Vec<_>>(), &mut picture)?;
            }
            Ok(picture)
        })
    }
}

fn record(
    tx: &dyn Read,
    schema: &Schema,
    documents: &[&Document],
    picture: &mut Picture,
) -> Result<(), StoreError> {
    let Some(Document { row, .. }) = documents.first() else { return Ok(()) };
    let entity = schema.entity(&row.entity).expect("the server takes entities of its schema only");
    let id = row.id.record.as_bytes();
    let main = documents.iter().find(|document| document.row.id.section.is_main());
    let main = main.map(|document| &document.cells);
    let deleted = main.is_some_and(|main| !main.live(DELETED).is_empty());
    let mut last = None;
    for Document { row, cells, spelt } in documents {
        let place = |what| document_place(id, row.id.section.as_str(), what);
        picture.put(place("number"), row.number.to_string());
        picture.put(place("cells"), spelt.clone());
        last = last.max(cells.last_edit());
        conflicts(tx, entity, (row, cells, deleted), picture)?;
        if !deleted && main.is_some() {
            fields(entity, row, cells, picture);
        }
    }
    // A section alone is no row.
    let Some(main) = main else { return Ok(()) };
    if deleted {
        return Ok(());
    }
    let mut put = |column, value| picture.put(cell_place(&entity.name, id, column), value);
    put("_id", hex(id));
    if let Some(Scalar::Timestamp(at)) = system(main, "$created_at") {
        put("_created_at", at.as_millis().to_string());
    }
    if let Some(Scalar::Bytes(by)) = system(main, "$created_by") {
        put("_created_by", hex(by));
    }
    if let Some(last) = last {
        put("_updated_at", last.time.as_millis().to_string());
        if let Some(replica) = tx.replica(&last.op.actor.replica())? {
            put("_updated_by", hex(replica.member.as_bytes()));
        }
    }
    Ok(())
}

fn system<'a>(cells: &'a Cells, key: &str) -> Option<&'a Scalar> {
    match &cells.live(key).last()?.value {
        Live::Scalar(scalar) => Some(scalar),
        Live::Text(_) => None,
    }
}

fn fields(entity: &Entity, row: &DocumentRow, cells: &Cells, picture: &mut Picture) {
    let id = row.id.record.as_bytes();
    for field in entity.fields.iter().filter(|field| field.section == row.id.section) {
        for (column, shown) in columns(field, &value(field, cells)) {
            picture.put(cell_place(&entity.name, id, &column), shown);
        }
    }
}

/// What a field shows.
fn value(field: &Field, cells: &Cells) -> Value {
    if let FieldKind::Set(_) = field.kind {
        let member = |key: &str| Some(key.strip_prefix(&field.key)?.strip_prefix('/')?.to_owned());
        let members: Vec<String> = cells.keys().filter_map(|(key, _)| member(key)).collect();
        return if members.is_empty() { Value::Null } else { Value::Set(members) };
    }
    match merge::shown(&field.merge, cells.live(&field.key)).map(|op| &op.value) {
        None => Value::Null,
        Some(Live::Text(contents)) => Value::Text(contents.clone()),
        Some(Live::Scalar(scalar)) => scalar.clone().into(),
    }
}

/// The columns of a field that are not null, and what they show.
fn columns(field: &Field, value: &Value) -> Vec<(String, String)> {
    let column = field.column.clone();
    let shown = match (&field.kind, value) {
        (_, Value::Null) => return Vec::new(),
        (FieldKind::Money, Value::Str(text)) => {
            let money: Money = text.parse().expect("the door takes money in its one spelling");
            return vec![
                (column, money.minor().to_string()),
                (format!("{}_currency", field.column), money.currency().to_owned()),
            ];
        }
        (_, Value::Bool(truth)) => i64::from(*truth).to_string(),
        (_, Value::Int(number) | Value::Counter(number)) => number.to_string(),
        (_, Value::Float(number)) => format!("{number:?}"),
        (_, Value::Str(text) | Value::Text(text)) => text.clone(),
        (_, Value::Timestamp(time)) => time.as_millis().to_string(),
        (_, Value::Bytes(bytes)) => hex(bytes),
        (_, Value::Set(members)) => {
            let list = serde_json::Value::from(members.as_slice()).to_string();
            return vec![(format!("{column} members"), list.clone()), (column, list)];
        }
        (_, other) => panic!("a {} is not a value of a column", other.kind()),
    };
    vec![(column, shown)]
}

fn conflicts(
    tx: &dyn Read,
    entity: &Entity,
    (row, cells, deleted): (&DocumentRow, &Cells, bool),
    picture: &mut Picture,
) -> Result<(), StoreError> {
    let place =
        |field: &str| conflict_place(row.id.record.as_bytes(), row.id.section.as_str(), field);
    let unseen = merge::unseen_by_deleters(cells);
    if !unseen.is_empty() {
        let unseen: Result<Vec<String>, StoreError> =
            unseen.into_iter().map(|(key, op)| show(tx, key, op)).collect();
        picture.put(place(DELETED), format!("open=1 {}", unseen?.join(", ")));
    }
    if deleted {
        return Ok(());
    }
    for (key, live) in cells.keys() {
        let Some((field, None)) = entity.field_of_key(key) else { continue };
        let Some(contenders) = merge::conflict(&field.merge, live) else { continue };
        let contenders: Result<Vec<String>, StoreError> =
            contenders.into_iter().map(|op| show(tx, key, op)).collect();
        let open = i64::from(field.merge == MergeRule::Ask);
        picture.put(place(key), format!("open={open} {}", contenders?.join(", ")));
    }
    Ok(())
}

fn show(tx: &dyn Read, key: &str, op: &LiveOp) -> Result<String, StoreError> {
    let actor = op.id.actor;
    let replica = tx.replica(&actor.replica())?;
    let member = replica.map_or("null".to_owned(), |replica| replica.member.to_string());
    Ok([key.to_owned(), actor.to_string(), member, op.time.as_millis().to_string()].join(" "))
}
