//! W8: a record with a long past. What reading, editing and receiving it costs a device that has folded its past,
//! beside a record with none; and what that past occupies.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use client_sdk::{Client, Edits, RecordId};

use super::contact;
use super::figure::{Figure, Latencies, Latency, Target, micros, millis};
use super::floor;
use super::loads::Loads;
use super::report::Report;
use super::stage::{Stage, sync};
use super::w1::Device;
use super::workload::Workload;

/// Past edits of the one record.
const PAST: usize = 10_000;
/// How many of them are made in one transaction: each is a change of its own.
const STEP: usize = 500;
/// How often each record is read in a run.
const READS: usize = 1_000;
/// How often each is edited.
const EDITS: usize = 200;

/// Runs it: `a` makes the past, `b` receives it.
///
/// # Errors
/// When a device fails, or B does not show what A wrote.
pub fn run(
    stage: &Stage,
    workload: &Workload,
    [a, b]: [&Device; 2],
    runs: usize,
    report: &mut Report,
) -> Result<()> {
    let before = Loads::now();
    let [long, plain] = [0, 1].map(|place| workload.contacts.get(place).map(|one| &one.id));
    let long = contact::id(long.context("there are contacts")?)?;
    let plain = contact::id(plain.context("there are contacts")?)?;
    settle(&b.client)?;
    let without = size(stage, &b.path)?;
    let mut score = Score::default();
    make_past(&a.client, long, &mut score)?;
    sync(&a.client)?;
    sync(&b.client)?;
    settle(&b.client)?;
    let occupied = (size(stage, &b.path)? - without) / PAST as f64;
    let mut reads = [Latencies::default(), Latencies::default()];
    let mut edits = [Latencies::default(), Latencies::default()];
    let mut pages = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        for (place, id) in [long, plain].into_iter().enumerate() {
            reads[place].push(read(&b.client, id)?);
            edits[place].push(edit(&b.client, id, &mut score)?);
            sync(&b.client)?;
            sync(&a.client)?;
            pages[place].push(receive([&a.client, &b.client], id, &mut score)?);
        }
    }
    let target = Target::TimesFloor(1.5);
    let [read, _] = reads[0].figures("read, with 10,000 past edits,", "µs", Some(&reads[1]));
    let [edit, _] = edits[0].figures("edited,", "µs", Some(&edits[1]));
    let received = Figure::new("200 edits of it received", "ms", &pages[0]).floor(&pages[1]);
    let figures = vec![
        read.target(target),
        edit.target(target),
        received.target(target),
        Figure::new("occupied by a past edit", "B", &[occupied]).target(Target::AtMost(10.0)),
    ];
    let note = "the floor is the same with a record that has no past".to_owned();
    report.add("W8 a long past", figures, Loads::now().since(&before), vec![note]);
    Ok(())
}

/// Values that differ from one edit to the next.
#[derive(Debug, Clone, Copy, Default)]
struct Score(i64);

impl Score {
    fn next(&mut self) -> Edits {
        self.0 += 1;
        Edits::new().set("score", self.0 % 100)
    }
}

fn make_past(client: &Client, id: RecordId, score: &mut Score) -> Result<()> {
    for _ in 0..PAST / STEP {
        client.transaction(|transaction| {
            (0..STEP).try_for_each(|_| transaction.update(id, score.next()))
        })?;
    }
    Ok(())
}

/// Does what waits for a quiet moment.
fn settle(client: &Client) -> Result<()> {
    while client.idle_work()? {}
    Ok(())
}

/// What a device's file occupies once nothing in it is free, bytes.
fn size(stage: &Stage, file: &Path) -> Result<f64> {
    let copied = stage.path("w8-copy.db");
    floor::copy(file, &copied)?;
    rusqlite::Connection::open(&copied)?.execute_batch("VACUUM")?;
    let size = std::fs::metadata(&copied)?.len();
    floor::remove(&copied);
    Ok(size as f64)
}

fn read(client: &Client, id: RecordId) -> Result<Latency> {
    let mut measured = Vec::with_capacity(READS);
    for _ in 0..READS {
        let begin = Instant::now();
        let found = client.get(id)?;
        measured.push(micros(begin.elapsed()));
        ensure!(found.is_some(), "the record is not there");
    }
    Ok(Latency::of(measured))
}

fn edit(client: &Client, id: RecordId, score: &mut Score) -> Result<Latency> {
    let mut measured = Vec::with_capacity(EDITS);
    for _ in 0..EDITS {
        let edits = score.next();
        let begin = Instant::now();
        client.update(id, edits)?;
        measured.push(micros(begin.elapsed()));
    }
    Ok(Latency::of(measured))
}

/// A edits it; how long B takes to have it all.
fn receive([a, b]: [&Client; 2], id: RecordId, score: &mut Score) -> Result<f64> {
    for _ in 0..EDITS {
        a.update(id, score.next())?;
    }
    sync(a)?;
    let begin = Instant::now();
    sync(b)?;
    let took = millis(begin.elapsed());
    let shown = |client: &Client| -> Result<_> {
        Ok(client.get(id)?.context("the record is there")?.int("score"))
    };
    ensure!(shown(a)? == shown(b)?, "B does not show what A wrote");
    Ok(took)
}
