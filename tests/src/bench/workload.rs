//! The records and edits of the benchmark: read from the workload's files, or generated as they were.

mod generate;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use generate::SEED;

/// Everything that the workloads read, of one N.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The records.
    pub contacts: Vec<Contact>,
    /// Single-field edits on one device.
    pub w2: Vec<FieldEdit>,
    /// Edits of device A while both are offline.
    pub w3_a: Vec<FieldEdit>,
    /// Edits of device B while both are offline.
    pub w3_b: Vec<FieldEdit>,
    /// Live edits, one after the other.
    pub w4: Vec<FieldEdit>,
    /// Questions to the local tables.
    pub w7: Vec<Question>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the workload's files")]
pub struct Contact {
    pub id: String,
    pub first_name: String,
    pub last_name: String,
    pub company: String,
    pub title: String,
    pub emails: Vec<String>,
    pub phones: Vec<String>,
    pub address: Address,
    pub tags: Vec<String>,
    pub owner: String,
    pub stage: String,
    pub score: i64,
    pub amount: i64,
    pub created_at: String,
    pub updated_at: String,
    pub note: String,
}

/// Where somebody lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the workload's files")]
pub struct Address {
    pub street: String,
    pub city: String,
    pub zip: String,
    pub country: String,
}

/// One value for one field of one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldEdit {
    /// The record.
    pub id: String,
    /// The field.
    pub field: String,
    /// Its new value: a string or a whole number.
    pub value: Json,
}

/// A question to the local tables; answered by one page of records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Question {
    /// Of one stage and at least so many points, the best first.
    Filter {
        /// The stage.
        stage: String,
        /// The least score.
        #[serde(rename = "minScore")]
        min_score: i64,
        /// By what to order.
        order: String,
        /// Rows of the page.
        limit: usize,
    },
    /// Those whose last name begins so, in order of names.
    Prefix {
        /// The field.
        field: String,
        /// How it begins.
        prefix: String,
        /// By what to order.
        order: String,
        /// Rows of the page.
        limit: usize,
    },
}

impl Workload {
    /// Reads the files of `n` records from a folder.
    ///
    /// # Errors
    /// When a file is missing or says something else.
    pub fn read(folder: &Path, n: usize) -> Result<Self> {
        let contacts: Vec<Contact> = lines(&folder.join(format!("contacts-{n}.jsonl")))?;
        ensure!(contacts.len() == n, "contacts-{n}.jsonl holds {} records", contacts.len());
        Ok(Self {
            contacts,
            w2: lines(&folder.join(format!("w2-{n}.jsonl")))?,
            w3_a: lines(&folder.join(format!("w3-{n}-a.jsonl")))?,
            w3_b: lines(&folder.join(format!("w3-{n}-b.jsonl")))?,
            w4: lines(&folder.join(format!("w4-{n}.jsonl")))?,
            w7: lines(&folder.join(format!("w7-{n}.jsonl")))?,
        })
    }

    /// Those of the W2 edits that give a field another value than it has: the others write nothing.
    #[must_use]
    pub fn w2_that_write(&self) -> Vec<FieldEdit> {
        let mut now: BTreeMap<(&str, &str), Json> = BTreeMap::new();
        for contact in &self.contacts {
            now.insert((&contact.id, "stage"), contact.stage.clone().into());
            now.insert((&contact.id, "score"), contact.score.into());
        }
        let writes = self.w2.iter().filter(|edit| {
            let before = now.insert((&edit.id, &edit.field), edit.value.clone());
            before.as_ref() != Some(&edit.value)
        });
        writes.cloned().collect()
    }
}

impl FieldEdit {
    /// The same edit with another text, so that a further run writes something again.
    #[must_use]
    pub fn of_run(&self, run: usize) -> Self {
        let value = match &self.value {
            Json::String(text) if run > 0 => Json::from(format!("{text} run {}", run + 1)),
            other => other.clone(),
        };
        Self { value, ..self.clone() }
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let parsed = text.lines().enumerate().map(|(number, line)| {
        serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), number + 1))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_to_the_value_that_a_field_has_is_left_out() {
        let mut workload = Workload::generate(300);
        let edit = |value: &str| FieldEdit {
            id: workload.contacts[0].id.clone(),
            field: "stage".to_owned(),
            value: value.into(),
        };
        assert_eq!(workload.contacts[0].stage, "lost");
        workload.w2 = vec![edit("lost"), edit("won"), edit("won"), edit("lost")];
        let values: Vec<Json> =
            workload.w2_that_write().into_iter().map(|edit| edit.value).collect();
        assert_eq!(values, ["won", "lost"]);
    }

    #[test]
    fn a_file_that_is_missing_or_damaged_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Workload::read(folder.path(), 300).unwrap_err();
        assert!(format!("{error:#}").contains("contacts-300.jsonl"));
        fs::write(folder.path().join("contacts-300.jsonl"), "{}\n").unwrap();
        let error = Workload::read(folder.path(), 300).unwrap_err();
        assert!(format!("{error:#}").contains("contacts-300.jsonl:1"), "{error:#}");
    }
}
