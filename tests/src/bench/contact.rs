//! A contact of the workload as a record of the built-in entity `contact`.

use anyhow::{Context, Result};
use client_sdk::{Edits, MemberId, RecordId, Timestamp, Value};
use crdt_core::time::days_from_civil;
use serde_json::Value as Json;
use uuid::Uuid;

use super::workload::{Contact, FieldEdit};

/// The entity.
pub const ENTITY: &str = "contact";

/// The record's id: the workload's own UUID.
///
/// # Errors
/// When it is no UUID.
pub fn id(text: &str) -> Result<RecordId> {
    Ok(RecordId(Uuid::parse_str(text).with_context(|| format!("{text} is no UUID"))?))
}

/// Everything that the record is to say.
///
/// # Errors
/// When a time is not one.
pub fn edits(contact: &Contact) -> Result<Edits> {
    let set = |members: &[String]| Value::Set(members.to_vec());
    Ok(Edits::new()
        .set("first_name", contact.first_name.as_str())
        .set("last_name", contact.last_name.as_str())
        .set("company", contact.company.as_str())
        .set("title", contact.title.as_str())
        .set("emails", set(&contact.emails))
        .set("phones", set(&contact.phones))
        .set("address.street", contact.address.street.as_str())
        .set("address.city", contact.address.city.as_str())
        .set("address.zip", contact.address.zip.as_str())
        .set("address.country", contact.address.country.as_str())
        .set("tags", set(&contact.tags))
        .set("owner", MemberId::from_source_key("member", &contact.owner))
        .set("stage", contact.stage.as_str())
        .set("score", contact.score)
        .set("amount", contact.amount)
        .set("source_created_at", time(&contact.created_at)?)
        .set("source_updated_at", time(&contact.updated_at)?)
        .set("note", contact.note.as_str()))
}

/// The one field that an edit writes.
#[must_use]
pub fn field_edit(edit: &FieldEdit) -> Edits {
    match &edit.value {
        Json::String(text) => Edits::new().set(&edit.field, text.as_str()),
        other => Edits::new().set(&edit.field, other.as_i64()),
    }
}

/// Reads `2024-10-26T20:36:32.623Z`.
fn time(text: &str) -> Result<Timestamp> {
    let bad = || format!("{text} is no time");
    let parts: Vec<i64> = text
        .trim_end_matches('Z')
        .split(['-', 'T', ':', '.'])
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(bad)?;
    let &[year, month, day, hour, minute, second, milli] = &parts[..] else {
        anyhow::bail!(bad());
    };
    let days = days_from_civil(year, month, day).with_context(bad)?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Ok(Timestamp::from_millis(seconds * 1_000 + milli))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_millisecond_and_nonsense_is_refused() {
        let text = "2024-10-26T20:36:32.623Z";
        assert_eq!(time(text).unwrap().to_string(), text);
        for text in ["", "2024-10-26", "2024-13-26T20:36:32.623Z", "x-10-26T20:36:32.623Z"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
