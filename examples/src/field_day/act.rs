//! Doing what the plan says, through the SDK, on each person's own device.

use std::collections::BTreeMap;

use anyhow::Result;
use client_sdk::{Client, EditError, Edits};
use crdt_core::record::Value;

use super::plan::{Act, Deed};
use super::telling::Teller;
use super::world::Device;
use crate::import::ImportRecord;

/// Records of one import transaction.
const IMPORT_BATCH: usize = 500;

/// Imports records in batches; a record that is there with the same values is left alone. Gives how many
/// records were written.
///
/// # Errors
/// When the device refuses a batch; those before it are in.
pub fn import(client: &Client, records: &[ImportRecord], teller: &Teller) -> Result<usize> {
    let mut written = 0;
    for (place, batch) in records.chunks(IMPORT_BATCH).enumerate() {
        written += client.transaction(|tx| {
            let mut written = 0;
            for record in batch {
                let edits = match tx.get(record.id)? {
                    None => {
                        tx.create_with_id(record.id, record.entity, all_fields(record))?;
                        written += 1;
                        continue;
                    }
                    Some(present) => changed_fields(record, present.values()),
                };
                if !edits.is_empty() {
                    tx.update(record.id, edits)?;
                    written += 1;
                }
            }
            Ok::<_, EditError>(written)
        })?;
        teller.progress(
            "records",
            (place * IMPORT_BATCH + batch.len()).min(records.len()),
            records.len(),
        );
    }
    Ok(written)
}

fn all_fields(record: &ImportRecord) -> Edits {
    changed_fields(record, &BTreeMap::new())
}

fn changed_fields(record: &ImportRecord, present: &BTreeMap<String, Value>) -> Edits {
    let mut edits = Edits::new();
    for (field, value) in &record.fields {
        let is_there = present.get(*field).unwrap_or(&Value::Null) == value;
        if !is_there {
            edits = edits.set(*field, value.clone());
        }
    }
    for (set, members) in &record.sets {
        let there = match present.get(*set) {
            Some(Value::Set(there)) => there.as_slice(),
            _ => &[],
        };
        for member in members.iter().filter(|member| !there.contains(member)) {
            edits = edits.add(*set, member);
        }
    }
    edits
}

/// Does every deed on its person's device, at its moment.
///
/// # Errors
/// When a device refuses one.
pub fn perform(devices: &[Device], deeds: &[Deed]) -> Result<()> {
    for deed in deeds {
        let device = &devices[deed.who];
        device.advance_clock(deed.at);
        let client = &device.client;
        match &deed.act {
            Act::Create(fields) => {
                let edits = fields
                    .iter()
                    .fold(Edits::new(), |edits, (field, value)| edits.set(*field, value.clone()));
                client
                    .transaction(|tx| tx.create_with_id(deed.record, deed.entity, edits.clone()))?;
            }
            Act::Set(field, value) => {
                client.update(deed.record, Edits::new().set(*field, value.clone()))?
            }
            Act::Tag(tag) => client.update(deed.record, Edits::new().add("tags", *tag))?,
            Act::Untag(tag) => client.update(deed.record, Edits::new().remove("tags", *tag))?,
            Act::Visit => client.update(deed.record, Edits::new().increment("visits", 1))?,
            Act::Note(text) => {
                let record = client.get(deed.record)?;
                let notes = record.as_ref().and_then(|record| record.text("notes"));
                let length = notes.map_or(0, |text| text.chars().count());
                client.update(deed.record, Edits::new().splice("notes", length, 0, text))?;
            }
            Act::Delete => client.delete(deed.record)?,
        }
    }
    Ok(())
}
