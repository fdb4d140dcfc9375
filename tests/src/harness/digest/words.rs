//! Full text: a word of a row finds the row, and nothing but rows that have such a word.

use std::collections::{BTreeMap, BTreeSet};

use client_sdk::{Client, Paging};
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use crdt_core::schema::{Entity, Schema};

/// The rows that have each word.
type Words = BTreeMap<String, BTreeSet<RecordId>>;

/// Searches for every word that a device's rows have; says what is wrong, if anything is.
pub(super) fn fault(client: &Client, schema: &Schema) -> Option<String> {
    let searchable = schema.entities().filter(|entity| !entity.search.is_empty());
    searchable.into_iter().find_map(|entity| fault_in(client, entity))
}

fn fault_in(client: &Client, entity: &Entity) -> Option<String> {
    let words = words_of_rows(client, entity);
    for word in words.keys() {
        let beginning = words.range(word.clone()..).take_while(|(one, _)| one.starts_with(word));
        let wanted: BTreeSet<RecordId> = beginning.flat_map(|(_, ids)| ids).copied().collect();
        let hits =
            client.search(&entity.name, word, Paging::LIMIT_MAX).expect("a device can be searched");
        let found: BTreeSet<RecordId> = hits.into_iter().map(|hit| hit.id).collect();
        if found != wanted {
            let name = &entity.name;
            return Some(format!("full text of {name}: {word} finds {found:?}, not {wanted:?}"));
        }
    }
    None
}

fn words_of_rows(client: &Client, entity: &Entity) -> Words {
    let columns = entity.search.iter().filter_map(|key| entity.field(key));
    let columns: Vec<String> = columns.map(|field| format!("\"{}\"", field.column)).collect();
    let sql = format!("SELECT _id, {} FROM \"{}\"", columns.join(", "), entity.name);
    let found =
        client.query(&sql, &[], Paging::first(Paging::LIMIT_MAX)).expect("a device can be read");
    let mut words = Words::new();
    for row in found.rows {
        let mut values = row.into_iter();
        let Some(Value::Bytes(id)) = values.next() else { panic!("a row has no id") };
        let id = RecordId::try_from(&id[..]).expect("a row's id is a record's");
        let texts = values.filter_map(|value| value.as_str().map(str::to_lowercase));
        let split = |text: String| {
            let parts = text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned);
            parts.filter(|word| !word.is_empty()).collect::<Vec<_>>()
        };
        for word in texts.flat_map(split) {
            words.entry(word).or_default().insert(id);
        }
    }
    words
}
