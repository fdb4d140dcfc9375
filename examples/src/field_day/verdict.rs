//! Compares what devices show with what the oracle expects, and with one another.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use client_sdk::Client;
use crdt_core::id::RecordId;
use crdt_core::record::Value;

use super::oracle::Oracle;
use super::sight::Sight;
use super::world::Device;

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What differs from the oracle, one sentence each; no values of records.
    pub surprises: Vec<String>,
    /// Fields in conflict as the devices list them, and how many of them are open.
    pub conflicts: usize,
    /// Conflicts that wait for a person.
    pub open: usize,
}

/// Checks one device against the oracle, as far as its person may see.
///
/// # Errors
/// When the device cannot be read.
pub fn check(device: &Device, oracle: &Oracle, sight: &Sight) -> Result<Verdict> {
    let client = &device.client;
    let mut verdict = Verdict::default();
    let name = &device.person.name;
    let sees = |id: &RecordId| sight.sees(&device.person, *id);
    let mut surprise = |what: String| verdict.surprises.push(format!("{name}: {what}"));
    for ((id, field), expected) in &oracle.fields {
        if oracle.deleted.contains_key(id) || !sees(id) {
            continue;
        }
        let shown = client.get(*id)?.map_or(Value::Null, |record| record.value(field).clone());
        if shown != expected.value {
            surprise(format!("{} {id}: `{field}` does not show what it should", expected.entity));
        }
    }
    for (id, tags) in oracle.tags.iter().filter(|(id, _)| sees(id)) {
        let wanted: BTreeSet<&str> = tags.iter().copied().collect();
        let record = client.get(*id)?;
        let shown = record.as_ref().map_or(&[][..], |record| record.members("tags"));
        let shown: BTreeSet<&str> = shown.iter().map(String::as_str).collect();
        if shown != wanted {
            surprise(format!("account {id}: the tags are not those that should be there"));
        }
    }
    for (id, visits) in oracle.visits.iter().filter(|(id, _)| sees(id)) {
        let shown = client.get(*id)?.and_then(|record| record.int("visits"));
        if shown != Some(*visits) {
            surprise(format!("account {id}: {shown:?} visits instead of {visits}"));
        }
    }
    for (id, notes) in oracle.notes.iter().filter(|(id, _)| sees(id)) {
        let record = client.get(*id)?;
        let shown = record.as_ref().and_then(|record| record.text("notes")).unwrap_or("");
        let whole = notes.iter().all(|note| shown.contains(note.as_str()));
        if !whole || shown.len() != notes.iter().map(String::len).sum::<usize>() {
            surprise(format!("account {id}: the notes do not hold what was written"));
        }
    }
    for id in oracle.deleted.keys() {
        let record = client.get(*id)?;
        if record.is_some_and(|record| record.deleted()) != sees(id) {
            surprise(format!("opportunity {id}: should be deleted, for those who may see it"));
        }
    }
    let found = conflicts(client)?;
    verdict.conflicts = found.len();
    verdict.open = found.values().filter(|open| **open).count();
    let mut expected = expected_conflicts(oracle);
    expected.retain(|(id, _), _| sees(id));
    if found != expected {
        let missing = expected.keys().filter(|key| !found.contains_key(*key)).count();
        let extra = found.keys().filter(|key| !expected.contains_key(*key)).count();
        let text =
            format!("{name}: of the conflicts {missing} are missing and {extra} are too many");
        verdict.surprises.push(text);
    }
    Ok(verdict)
}

/// Conflicts by record and field, and whether each is open.
fn conflicts(client: &Client) -> Result<BTreeMap<(RecordId, String), bool>> {
    let found = client.conflicts(None)?;
    Ok(found
        .into_iter()
        .map(|conflict| ((conflict.record, conflict.field), conflict.open))
        .collect())
}

fn expected_conflicts(oracle: &Oracle) -> BTreeMap<(RecordId, String), bool> {
    let mut expected = BTreeMap::new();
    for ((id, field), field_expected) in &oracle.fields {
        if field_expected.is_conflict() && !oracle.deleted.contains_key(id) {
            expected.insert((*id, (*field).to_owned()), field_expected.rule == "ask");
        }
    }
    for (id, edited) in &oracle.deleted {
        if *edited {
            expected.insert((*id, "$deleted".to_owned()), true);
        }
    }
    expected
}
