//! What should come of the deeds, worked out from the plan alone: a small model that shares no code with
//! the engine. It knows the rule of each field that the story uses, and nothing of changes or cells.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::RecordId;
use crdt_core::record::Value;
use crdt_core::time::Timestamp;

use super::plan::{Act, Deed};

/// What one field of one record should show, and what should be told about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The record's entity.
    pub entity: &'static str,
    /// The value shown.
    pub value: Value,
    /// Everybody's last word, by place in the cast.
    pub tried: BTreeMap<usize, Value>,
    /// How competing values are decided.
    pub rule: &'static str,
}

impl Expected {
    /// Whether people disagree.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        let mut values = self.tried.values();
        let first = values.next();
        values.any(|value| Some(value) != first)
    }
}

/// What should come of all deeds.
#[derive(Debug, Default)]
pub struct Oracle {
    /// By record and field.
    pub fields: BTreeMap<(RecordId, &'static str), Expected>,
    /// The tags of a record that somebody tagged.
    pub tags: BTreeMap<RecordId, BTreeSet<&'static str>>,
    /// How often a record was visited.
    pub visits: BTreeMap<RecordId, i64>,
    /// The sentences that a record's notes hold, in any order.
    pub notes: BTreeMap<RecordId, Vec<String>>,
    /// Deleted records, and whether somebody edited one without knowing.
    pub deleted: BTreeMap<RecordId, bool>,
    /// Records that were created offline.
    pub created: Vec<RecordId>,
}

/// Everybody's last word on a field, by place in the cast, and when it was said.
type Words = BTreeMap<usize, (Timestamp, Value)>;

impl Oracle {
    /// Works out what should come of the deeds.
    #[must_use]
    pub fn new(deeds: &[Deed]) -> Self {
        let mut oracle = Self::default();
        let mut said: BTreeMap<(RecordId, &'static str), Words> = BTreeMap::new();
        let mut entities = BTreeMap::new();
        for deed in deeds {
            entities.insert(deed.record, deed.entity);
            match &deed.act {
                Act::Create(fields) => {
                    oracle.created.push(deed.record);
                    for (field, value) in fields {
                        let word = (deed.at, value.clone());
                        said.entry((deed.record, *field)).or_default().insert(deed.who, word);
                    }
                }
                Act::Set(field, value) => {
                    let word = (deed.at, value.clone());
                    said.entry((deed.record, *field)).or_default().insert(deed.who, word);
                }
                Act::Tag(_) | Act::Untag(_) => {}
                Act::Visit => *oracle.visits.entry(deed.record).or_default() += 1,
                Act::Note(text) => {
                    oracle.notes.entry(deed.record).or_default().push(text.clone());
                }
                Act::Delete => {
                    let others = deeds.iter().any(|d| d.record == deed.record && d.who != deed.who);
                    oracle.deleted.insert(deed.record, others);
                }
            }
        }
        oracle.tags = tags(deeds);
        for ((record, field), words) in said {
            let rule = rule_of(field);
            let expected = Expected {
                entity: entities[&record],
                value: decide(rule, field, words.values()),
                tried: words.into_iter().map(|(who, (_, value))| (who, value)).collect(),
                rule,
            };
            oracle.fields.insert((record, field), expected);
        }
        oracle
    }
}

/// A tag is there when somebody's last word on it was to add it: an addition that the remover had not seen
/// survives the removal.
fn tags(deeds: &[Deed]) -> BTreeMap<RecordId, BTreeSet<&'static str>> {
    let mut last: BTreeMap<(RecordId, &'static str, usize), bool> = BTreeMap::new();
    for deed in deeds {
        match deed.act {
            Act::Tag(tag) => last.insert((deed.record, tag, deed.who), true),
            Act::Untag(tag) => last.insert((deed.record, tag, deed.who), false),
            _ => continue,
        };
    }
    let mut tags: BTreeMap<RecordId, BTreeSet<&'static str>> = BTreeMap::new();
    for ((record, tag, _), added) in last {
        let set = tags.entry(record).or_default();
        if added {
            set.insert(tag);
        }
    }
    tags
}

fn rule_of(field: &str) -> &'static str {
    match field {
        "stage" | "health" => "ranked",
        "forecast" => "max",
        "engage_date" => "min",
        "close_date" | "amount" => "ask",
        _ => "latest",
    }
}

fn decide<'a>(
    rule: &str,
    field: &str,
    words: impl Iterator<Item = &'a (Timestamp, Value)> + Clone,
) -> Value {
    let best = match rule {
        "ranked" => words.min_by_key(|(_, value)| place(field, value)),
        "max" => words.max_by_key(|(_, value)| cents(value)),
        "min" => words.min_by_key(|(_, value)| value.as_str().map(str::to_owned)),
        _ => words.max_by_key(|(at, _)| *at),
    };
    best.map_or(Value::Null, |(_, value)| value.clone())
}

fn place(field: &str, value: &Value) -> usize {
    let order: &[&str] = match field {
        "stage" => &["won", "lost", "engaging", "prospecting"],
        _ => &["critical", "at_risk", "good"],
    };
    order.iter().position(|word| value.as_str() == Some(word)).unwrap_or(order.len())
}

/// `24000.00 USD` → 2400000.
fn cents(value: &Value) -> i64 {
    let digits: String = value
        .as_str()
        .unwrap_or_default()
        .chars()
        .take_while(|c| *c != ' ')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(0)
}
