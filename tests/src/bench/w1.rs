//! W1: a fresh device pulls everything until each record is durable and can be queried and searched. Before
//! it, the import that gives the server something to pull.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use client_sdk::{Client, EditError, Edits, Paging, RecordId};

use super::figure::{Figure, Target, millis};
use super::floor::{self, Durability};
use super::loads::Loads;
use super::replay::{Indexes, Tables};
use super::report::Report;
use super::stage::{IMPORTER, PATIENCE, Stage, owner, sync};
use super::workload::Workload;
use super::{alone, contact, values};

/// What W1 leaves for the other workloads.
pub struct Devices {
    /// Two devices for each run; none is syncing.
    pub pairs: Vec<[Device; 2]>,
    /// A copy of a device that has everything and has written nothing.
    pub base: PathBuf,
}

/// A device that has everything.
pub struct Device {
    /// Its client.
    pub client: Client,
    /// Its file.
    pub path: PathBuf,
}

/// How many devices pull, for so many pairs.
#[must_use]
pub const fn devices(pairs: usize) -> usize {
    2 * pairs
}

/// Records of one batch of the import.
const IMPORT_STEP: usize = 500;
/// Records of one transaction, and of one compressed piece, of the floor.
const FLOOR_STEP: usize = 1_000;
/// What a fresh device holds of the records.
const PULLED: [&str; 7] = [
    "document",
    "_snapshot",
    "change",
    "contact",
    "contact__emails",
    "contact__phones",
    "contact__tags",
];
/// What an import writes.
const IMPORTED: [&str; 7] = [
    "document",
    "change",
    "outbox",
    "contact",
    "contact__emails",
    "contact__phones",
    "contact__tags",
];

/// Runs it.
///
/// # Errors
/// When a device fails or does not show what was imported.
pub fn run(
    stage: &Stage,
    workload: &Workload,
    runs: usize,
    report: &mut Report,
) -> Result<Devices> {
    let before = Loads::now();
    let mut figures = import(stage, workload)?;
    let (devices, pulls) = pull_all(stage, workload, runs)?;
    let loads = Loads::now().since(&before);
    figures.extend(pull_figures(stage, workload, &pulls, &devices.base)?);
    let alone = alone::pull(stage, "alone.db", IMPORTER)?;
    let memory = Figure::new("peak memory of the device", "MB", &[alone.peak_mb]);
    figures.push(memory.target(Target::AtMost(60.0)));
    let note = "the peak is of one more device, in a process of its own";
    report.add("W1 import, then first sync", figures, loads, vec![note.to_owned()]);
    Ok(devices)
}

/// What it leaves for the others, and no figures.
///
/// # Errors
/// When a device fails or does not show what was imported.
pub fn prepare(stage: &Stage, workload: &Workload, pairs: usize) -> Result<Devices> {
    fill(stage, workload)?;
    Ok(pull_all(stage, workload, pairs)?.0)
}

/// Gives the server every record.
///
/// # Errors
/// When the device that writes them fails.
pub fn fill(stage: &Stage, workload: &Workload) -> Result<()> {
    let (loader, _) = write_all(stage, workload)?;
    sync(&loader)?;
    loader.close();
    Ok(())
}

/// Two fresh devices for each run that pull everything, one after the other.
fn pull_all(stage: &Stage, workload: &Workload, runs: usize) -> Result<(Devices, Vec<Pull>)> {
    let (mut pulls, mut pairs) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let mut fresh = |number: usize| {
            let file = format!("device-{number}.db");
            let client = stage.device(&file, &owner(number))?;
            pulls.push(pull(stage, workload, &client)?);
            anyhow::Ok(Device { client, path: stage.path(&file) })
        };
        pairs.push([fresh(2 * run)?, fresh(2 * run + 1)?]);
    }
    let base = stage.path("base.db");
    floor::copy(&pairs[0][0].path, &base)?;
    Ok((Devices { pairs, base }, pulls))
}

/// A device that has written every record and sent none; how long that took.
fn write_all(stage: &Stage, workload: &Workload) -> Result<(Client, Duration)> {
    let loader = stage.device("loader.db", IMPORTER)?;
    let records: Vec<(RecordId, Edits)> = workload
        .contacts
        .iter()
        .map(|contact| Ok((contact::id(&contact.id)?, contact::edits(contact)?)))
        .collect::<Result<_>>()?;
    let begin = Instant::now();
    for batch in records.chunks(IMPORT_STEP) {
        create(&loader, batch)?;
    }
    let took = begin.elapsed();
    Ok((loader, took))
}

fn import(stage: &Stage, workload: &Workload) -> Result<Vec<Figure>> {
    let (loader, imported) = write_all(stage, workload)?;
    let tables = Tables::read(&stage.path("loader.db"), &IMPORTED)?;
    let path = stage.path("import-floor.db");
    let floor = tables.insert(&path, IMPORT_STEP, Durability::Full, Indexes::Kept)?;
    floor::remove(&path);
    let before = stage.wire()?;
    let begin = Instant::now();
    sync(&loader)?;
    let sent = begin.elapsed();
    let wire = stage.wire()?.since(&before);
    let count = workload.contacts.len() as f64;
    loader.close();
    Ok(vec![
        Figure::new("import on one device", "ms", &[millis(imported)]).floor(&[millis(floor)]),
        Figure::new("the same as a speed", "records/s", &[count / imported.as_secs_f64()])
            .floor(&[count / floor.as_secs_f64()])
            .target(Target::AtLeast(25_000.0)),
        Figure::new("upload of the import", "ms", &[millis(sent)]),
        Figure::new("upload, wire", "B/record", &[wire.bytes() / count]),
    ])
}

/// One batch; two when it is too large for one.
fn create(client: &Client, records: &[(RecordId, Edits)]) -> Result<(), EditError> {
    let created = client.transaction(|tx| {
        records
            .iter()
            .try_for_each(|(id, edits)| tx.create_with_id(*id, contact::ENTITY, edits.clone()))
    });
    match created {
        Err(EditError::BatchTooLarge { .. }) if records.len() > 1 => {
            let (first, second) = records.split_at(records.len() / 2);
            create(client, first)?;
            create(client, second)
        }
        other => other,
    }
}

struct Pull {
    first_page: Duration,
    caught_up: Duration,
    searchable: Duration,
    bytes: f64,
}

fn pull(stage: &Stage, workload: &Workload, client: &Client) -> Result<Pull> {
    let before = stage.wire()?;
    let seen = client.watch();
    let begin = Instant::now();
    let handle = client.start_sync()?;
    let first_page = loop {
        let changes = seen.wait(PATIENCE).context("nothing comes")?;
        if changes.tables.contains(contact::ENTITY) {
            break begin.elapsed();
        }
    };
    stage.wait_until_live(client)?;
    let caught_up = begin.elapsed();
    while client.idle_work()? {}
    let searchable = begin.elapsed();
    drop(handle);
    let bytes = stage.wire()?.since(&before).bytes_out;
    let count = client.query("SELECT count(*) FROM contact", &[], Paging::first(1))?;
    let count = count.rows[0][0].as_int().and_then(|count| usize::try_from(count).ok());
    ensure!(count == Some(workload.contacts.len()), "the device shows {count:?} records");
    let first = &workload.contacts[0];
    let mail = client.search(contact::ENTITY, &first.emails[0], 1)?;
    let id = contact::id(&first.id)?;
    ensure!(mail.first().map(|hit| hit.id) == Some(id), "the first record is not found");
    Ok(Pull { first_page, caught_up, searchable, bytes })
}

fn pull_figures(
    stage: &Stage,
    workload: &Workload,
    pulls: &[Pull],
    base: &Path,
) -> Result<Vec<Figure>> {
    let count = workload.contacts.len() as f64;
    let tables = Tables::read(base, &PULLED)?;
    let mut floors = Vec::new();
    for _ in pulls {
        let path = stage.path("pull-floor.db");
        let took = tables.insert(&path, FLOOR_STEP, Durability::Normal, Indexes::Afterwards)?;
        floors.push(millis(took));
        floor::remove(&path);
    }
    let rows: Vec<Vec<u8>> = workload.contacts.iter().map(values::row).collect::<Result<_>>()?;
    let least = values::compressed(&rows, FLOOR_STEP)? as f64 / count;
    let of = |value: fn(&Pull) -> Duration| -> Vec<f64> {
        pulls.iter().map(|pull| millis(value(pull))).collect()
    };
    let searchable = of(|pull| pull.searchable);
    let speed = |millis: &[f64]| -> Vec<f64> { millis.iter().map(|ms| count / ms * 1e3).collect() };
    let bytes: Vec<f64> = pulls.iter().map(|pull| pull.bytes / count).collect();
    Ok(vec![
        Figure::new("first page can be queried", "ms", &of(|pull| pull.first_page))
            .target(Target::AtMost(100.0)),
        Figure::new("all can be queried", "ms", &of(|pull| pull.caught_up)),
        Figure::new("all can be queried and searched", "ms", &searchable)
            .floor(&floors)
            .target(Target::TimesFloor(1.5)),
        Figure::new("the same as a speed", "records/s", &speed(&searchable))
            .floor(&speed(&floors))
            .target(Target::AtLeast(50_000.0)),
        Figure::new("first sync, wire", "B/record", &bytes)
            .floor(&[least])
            .target(Target::AtMost(240.0)),
    ])
}
