//! What must hold in the organisation: at every step each edit is in exactly one place; at rest everybody has what
//! the model says and no more, every field reads what it must, everything that was accepted is there once, and
//! nothing that was refused.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{BatchId, DocumentId, RecordId};
use crdt_core::record::{Live, Scalar, Value};

use super::Organisation;
use super::edits::spelt;
use super::governing::Rule;
use super::marks::{Mark, Place, Put};
use crate::harness::survey::{self, Fields};
use crate::harness::tally::Fault;
use crate::simulator::stage::Stage;

pub(super) fn check_rest(organisation: &mut Organisation, stage: &mut Stage) {
    let (model, said) = {
        let governed = organisation.governed.borrow();
        survey::model_of(stage.world.server(), &governed.policy, &governed.members)
    };
    let server_says = stage.world.said_by_server();
    for device in stage.devices.iter().copied() {
        stage.check_settled(device);
        let visible = model.visible(stage.world.at(device).member());
        let shows = |id: &DocumentId| visible.contains(&(id.record, id.section.to_string()));
        stage.world.assert_shows_of(&server_says, device, &shows);
    }
    for record in &organisation.erased {
        assert!(!said.contains_key(record), "{record} was erased, and the server has it");
    }
    check_refusals(organisation, stage);
    check_marks(organisation, stage, &said);
    check_values(organisation, stage, &said);
}

/// Nobody is refused anything without a reason that stands in the schedule.
fn check_refusals(organisation: &mut Organisation, stage: &mut Stage) {
    for device in stage.devices.clone() {
        for dispute in stage.world.disputes(device) {
            for reason in &dispute.reasons {
                let is_just = match reason.code.as_str() {
                    "invalid" => organisation.lenient.is_some(),
                    "unknown_dependency" => stage.files_were_copied || stage.server_was_restored,
                    "depends_on_refused" | "forbidden" | "out_of_scope" => true,
                    // What was to restore the record was refused.
                    "deleted" => reason.record.is_some_and(|id| organisation.deleted.contains(&id)),
                    _ => false,
                };
                let name = &stage.world.at(device).name;
                assert!(is_just, "{name} was refused unjustly: {reason:?} in {dispute:?}");
            }
            organisation.ran.disputed += 1;
            stage.world.count(Fault::Refusal);
        }
    }
}

/// What was accepted is there once, and what was refused is nowhere.
fn check_marks(organisation: &Organisation, stage: &Stage, said: &BTreeMap<RecordId, Fields>) {
    let log = stage.world.server().log();
    let mut visits: BTreeMap<RecordId, i64> = BTreeMap::new();
    let mut written: BTreeMap<RecordId, usize> = BTreeMap::new();
    // What a server that was put back has lost, and somebody may have given back.
    let mut visits_lost: BTreeMap<RecordId, i64> = BTreeMap::new();
    let mut written_lost: BTreeMap<RecordId, usize> = BTreeMap::new();
    for (batch, marks) in organisation.promises.iter() {
        let accepted = log.contains_key(batch);
        let lost = stage.world.is_lost(batch);
        for mark in marks {
            match mark {
                Mark::Visits(record, count) if accepted => {
                    *visits.entry(*record).or_default() += count;
                }
                Mark::Token(record, token) if accepted => {
                    *written.entry(*record).or_default() += token.len();
                }
                Mark::Visits(record, count) if lost => {
                    *visits_lost.entry(*record).or_default() += count;
                }
                Mark::Token(record, token) if lost => {
                    *written_lost.entry(*record).or_default() += token.len();
                }
                Mark::Visits(..) | Mark::Token(..) | Mark::Put(_) => {}
                Mark::Tag(..) if lost => {}
                Mark::Tag(record, _) if organisation.erased.contains(record) => {}
                Mark::Tag(record, tag) => {
                    let there = has_tag(said.get(record), tag);
                    assert_eq!(there, accepted, "{tag} of batch {batch} in {record}");
                }
            }
        }
    }
    let accounts = organisation.records.iter().filter(|(_, entity)| *entity == "account");
    for (record, _) in accounts {
        let Some(fields) = said.get(record) else { continue };
        let shown = match fields.get("visits") {
            Some(Value::Counter(count)) => *count,
            _ => 0,
        };
        let wanted = visits.get(record).copied().unwrap_or(0);
        let most = wanted + visits_lost.get(record).copied().unwrap_or(0);
        assert!((wanted..=most).contains(&shown), "visits of {record}: {shown}, not {wanted}");
        let notes = match fields.get("notes") {
            Some(Value::Text(text)) => text.as_str(),
            _ => "",
        };
        // Tokens may be written into one another, so their characters are counted.
        let wanted = written.get(record).copied().unwrap_or(0);
        let most = wanted + written_lost.get(record).copied().unwrap_or(0);
        assert!((wanted..=most).contains(&notes.len()), "notes of {record}: {notes}, not {wanted}");
    }
}

fn has_tag(fields: Option<&Fields>, tag: &str) -> bool {
    match fields.and_then(|fields| fields.get("tags")) {
        Some(Value::Set(tags)) => tags.iter().any(|one| one == tag),
        _ => false,
    }
}

/// Every field that users put values into has the values that must be live, and shows the one that must win.
fn check_values(organisation: &mut Organisation, stage: &Stage, said: &BTreeMap<RecordId, Fields>) {
    let log = stage.world.server().log();
    let wanted = organisation.promises.live(|batch| log.contains_key(batch));
    let found = live_values(stage);
    let puts = || organisation.promises.iter().flat_map(|(batch, marks)| puts_of(batch, marks));
    let lost = puts().filter(|(batch, _)| stage.world.is_lost(batch));
    let uncertain: BTreeSet<Place> = lost.map(|(_, put)| (put.record, put.field)).collect();
    let was_lost = |place: Place, value: &String| {
        let mut puts = puts().filter(|(_, put)| (put.record, put.field) == place);
        puts.any(|(batch, put)| put.value == *value && stage.world.was_lost(batch))
    };
    let score = organisation.governed.borrow().score_rule;
    for (place, values) in wanted {
        let (record, field) = place;
        if uncertain.contains(&place) {
            continue;
        }
        let Some(fields) = said.get(&record) else { continue };
        let live = found.get(&(record, field.to_owned())).cloned().unwrap_or_default();
        let names: Vec<String> = values.keys().cloned().collect();
        let mut beside = live.iter().filter(|value| !names.contains(value));
        let came_back_late = beside.all(|value| was_lost(place, value));
        if live != names && (stage.files_were_copied || came_back_late) {
            // A copy writes anew what it had not sent; where the server had that already, what it wrote on top
            // stands beside it instead of replacing it. So does what was written on top of a value that a
            // restored server had not got back yet. Nothing that must be live may be missing.
            let missing = names.iter().find(|name| !live.contains(name));
            assert_eq!(missing, None, "what is live in {field} of {record}: {live:?}");
            continue;
        }
        assert_eq!(live, names, "what is live in {field} of {record}");
        let shown = fields.get(field).map(spelt).unwrap_or_default();
        if let Some(winner) = winner(place, &values, score, !stage.time_was_disturbed) {
            assert_eq!(shown, winner, "{field} of {record}, of {values:?}");
            organisation.ran.compared += 1;
        }
    }
}

fn puts_of<'a>(
    batch: &'a BatchId,
    marks: &'a [Mark],
) -> impl Iterator<Item = (&'a BatchId, &'a Put)> {
    marks.iter().filter_map(move |mark| match mark {
        Mark::Put(put) => Some((batch, put)),
        _ => None,
    })
}

/// The value that must win, where that can be told from outside.
fn winner(
    (_, field): Place,
    values: &BTreeMap<String, u64>,
    score: Rule,
    clocks_are_right: bool,
) -> Option<String> {
    let rule = match field {
        "score" => score,
        "best" | "forecast" => Rule::Max,
        "least" | "due" | "grade" => Rule::Min,
        _ => Rule::Latest,
    };
    // Money and whole numbers by size, days and grades by their spelling.
    let size = |value: &String| {
        let digits: String = value.chars().filter(char::is_ascii_digit).collect();
        digits.parse::<u64>().expect("what is compared by size has digits")
    };
    match rule {
        Rule::Max => values.keys().max_by_key(|value| size(value)).cloned(),
        Rule::Min => values.keys().min_by_key(|value| size(value)).cloned(),
        Rule::Latest => {
            let mut by_time: Vec<(u64, &String)> =
                values.iter().map(|(value, at)| (*at, value)).collect();
            by_time.sort();
            let (last, value) = by_time.pop()?;
            let is_clear = by_time.pop().is_none_or(|(before, _)| last > before + CLOCK_ERROR_MS);
            (is_clear && (clocks_are_right || values.len() == 1)).then(|| value.clone())
        }
    }
}

/// The live values of every field on the server, spelt as the marks spell them, in their order.
fn live_values(stage: &Stage) -> BTreeMap<(RecordId, String), Vec<String>> {
    let mut found: BTreeMap<(RecordId, String), Vec<String>> = BTreeMap::new();
    for (id, _, cells) in survey::documents(stage.world.server()) {
        for (key, live) in cells.keys() {
            let values = live.iter().filter_map(|op| match &op.value {
                Live::Scalar(Scalar::Int(number)) => Some(number.to_string()),
                Live::Scalar(Scalar::Str(text)) => Some(text.clone()),
                _ => None,
            });
            let mut values: Vec<String> = values.collect();
            values.sort();
            found.insert((id.record, key.to_owned()), values);
        }
    }
    found
}

/// How far apart two edits must be for their order to be certain, milliseconds: devices measure the time over links
/// that take up to 60 ms.
const CLOCK_ERROR_MS: u64 = 200;
