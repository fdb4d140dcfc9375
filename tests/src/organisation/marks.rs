//! Marks: what each confirmed batch has left exactly once where it is accepted, and nowhere where it is not; and
//! which value of a field must win, from what each writer had seen. Nothing here knows an engine.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{BatchId, RecordId};

/// One thing that a batch does.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    /// Adds a tag that nobody else writes.
    Tag(RecordId, String),
    /// Counts so many visits.
    Visits(RecordId, i64),
    /// Writes a token into the account's prose.
    Token(RecordId, String),
    /// Puts a value into a field.
    Put(Put),
}

/// A value in a field that nobody else writes there.
#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) record: RecordId,
    pub(super) field: &'static str,
    pub(super) value: String,
    /// The values that the writer saw there, all of which this one replaces.
    pub(super) covers: BTreeSet<String>,
    /// When it was written, milliseconds of the world.
    pub(super) at: u64,
}

/// What was promised, by batch.
#[derive(Debug, Default)]
pub(super) struct Promises(BTreeMap<BatchId, Vec<Mark>>);

/// A field of a record.
pub(super) type Place = (RecordId, &'static str);

impl Promises {
    pub(super) fn insert(&mut self, batch: BatchId, marks: Vec<Mark>) {
        self.0.insert(batch, marks);
    }

    pub(super) fn remove(&mut self, batch: &BatchId) -> Option<Vec<Mark>> {
        self.0.remove(batch)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&BatchId, &Vec<Mark>)> {
        self.0.iter()
    }

    /// Whether somebody has put this value there.
    pub(super) fn has_put(&self, record: RecordId, field: &str, value: &str) -> bool {
        let mut marks = self.0.values().flatten();
        marks.any(|mark| match mark {
            Mark::Put(put) => put.record == record && put.field == field && put.value == value,
            _ => false,
        })
    }

    /// The values that must be live in each field, with when each was written: those of accepted batches that
    /// no value of an accepted batch replaces. Who had seen a value that was never accepted replaces what that
    /// one replaced.
    pub(super) fn live(
        &self,
        is_accepted: impl Fn(&BatchId) -> bool,
    ) -> BTreeMap<Place, BTreeMap<String, u64>> {
        let mut accepted: BTreeMap<Place, Vec<&Put>> = BTreeMap::new();
        let mut fallen: BTreeMap<(Place, &str), &Put> = BTreeMap::new();
        for (batch, marks) in &self.0 {
            for mark in marks {
                let Mark::Put(put) = mark else { continue };
                let place = (put.record, put.field);
                if is_accepted(batch) {
                    accepted.entry(place).or_default().push(put);
                } else {
                    fallen.insert((place, &put.value), put);
                }
            }
        }
        let live = |(place, puts): (Place, Vec<&Put>)| {
            let mut values: BTreeMap<String, u64> =
                puts.iter().map(|put| (put.value.clone(), put.at)).collect();
            for put in &puts {
                for covered in replaced(put, place, &fallen) {
                    values.remove(covered);
                }
            }
            (place, values)
        };
        accepted.into_iter().map(live).collect()
    }
}

/// What a value replaces once everything that was never accepted is left out.
fn replaced<'a>(
    put: &'a Put,
    place: Place,
    fallen: &BTreeMap<(Place, &str), &'a Put>,
) -> BTreeSet<&'a str> {
    let mut replaced = BTreeSet::new();
    let mut waiting: Vec<&'a str> = put.covers.iter().map(String::as_str).collect();
    while let Some(value) = waiting.pop() {
        if replaced.insert(value)
            && let Some(fallen) = fallen.get(&(place, value))
        {
            waiting.extend(fallen.covers.iter().map(String::as_str));
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: &str, covers: &[&str], at: u64) -> Mark {
        Mark::Put(Put {
            record: RecordId::from_source_key("record", "a"),
            field: "country",
            value: value.to_owned(),
            covers: covers.iter().map(|value| (*value).to_owned()).collect(),
            at,
        })
    }

    fn live(marks: Vec<(u8, Mark)>, refused: &[u8]) -> Vec<String> {
        let mut promises = Promises::default();
        for (number, mark) in marks {
            promises.insert(BatchId([number; 16]), vec![mark]);
        }
        let live = promises.live(|batch| !refused.contains(&batch.0[0]));
        live.into_values().flat_map(BTreeMap::into_keys).collect()
    }

    #[test]
    fn a_value_replaces_what_its_writer_saw_and_nothing_else() {
        let marks = vec![(1, put("a", &[], 1)), (2, put("b", &["a"], 2)), (3, put("c", &["a"], 3))];
        assert_eq!(live(marks, &[]), ["b", "c"]);
    }

    #[test]
    fn a_value_on_top_of_a_refused_one_replaces_what_that_one_replaced() {
        let marks = vec![(1, put("a", &[], 1)), (2, put("b", &["a"], 2)), (3, put("c", &["b"], 3))];
        assert_eq!(live(marks.clone(), &[2]), ["c"]);
        assert_eq!(live(marks, &[3]), ["b"]);
    }
}
