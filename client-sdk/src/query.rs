//! Questions to the local tables: plain SQL that only reads, and full text.

use crdt_core::id::RecordId;
use crdt_core::record::Value;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::error::QueryError;
use crate::plain::bytes_text;

/// Which part of an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paging {
    /// The most rows to give; at most [`Paging::LIMIT_MAX`].
    pub limit: usize,
    /// How many rows to skip. Where lists are long, name the last row seen in the statement instead.
    pub offset: usize,
}

impl Paging {
    /// The most rows of one answer.
    pub const LIMIT_MAX: usize = 10_000;

    /// The first `limit` rows.
    #[must_use]
    pub const fn first(limit: usize) -> Self {
        Self { limit, offset: 0 }
    }
}

impl Default for Paging {
    fn default() -> Self {
        Self::first(Self::LIMIT_MAX)
    }
}

/// The rows that a statement gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows: blobs are `Bytes`, texts `Str`.
    pub rows: Vec<Vec<Value>>,
    /// Whether there are more.
    pub more: bool,
}

impl Rows {
    /// Each row as a typed value, by the names of the columns: 16-byte blobs are UUID strings.
    ///
    /// # Errors
    /// When a row does not fit.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<Vec<T>, QueryError> {
        let typed = self.rows.iter().map(|row| {
            let pairs = self.columns.iter().zip(row);
            let object: Map<String, Json> =
                pairs.map(|(name, value)| (name.clone(), plain(value))).collect();
            serde_json::from_value(Json::Object(object))
                .map_err(|error| QueryError::Shape(error.to_string()))
        });
        typed.collect()
    }
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Bytes(bytes) => Json::from(bytes_text(bytes)),
        other => crate::plain::to_plain(other),
    }
}

/// A record found by full text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The record.
    pub id: RecordId,
    /// How well it fits; greater is better.
    pub score: f64,
}
