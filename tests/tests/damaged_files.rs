//! Damaged device files: found when they are opened or read, set aside, and reported; unsent work that can
//! still be read is brought into a fresh file and sent. Nothing is wrong in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::sync::OnceLock;

use client_sdk::{Client, Edits, Paging, StoreError, Value};
use crdt_core::id::{BatchId, RecordId};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use tests::harness::replay_command;
use tests::harness::world::{Device, World};
use tests::simulator::cores::on_every_core;
use tests::standard::device::{DeviceStep, config};
use tests::standard::digest::digest;
use tests::standard::truth::Truth;
use tests::standard::{Syncs, Tape, rehearse};
use tests::vfs::medium::Image;

/// Cases unless `FIELDBOOK_DAMAGED_FILES` says otherwise.
const CASES: u64 = 1_000;
const PAGE: usize = 4_096;

/// What befalls a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    /// Some bits of a file that was closed are others.
    Flips,
    /// A page of a file that was closed is half written.
    TornPage,
    /// A page of a file that was closed is gone.
    ZeroedPage,
    /// The end of the file is missing.
    Shorter,
    /// The app was killed, and the end of the log is missing.
    ShorterLog,
    /// The app was killed, and bits of the log are others.
    FlipsInLog,
    /// The app was killed, and a page of the database is gone.
    ZeroedPageOfKilled,
}

const DAMAGES: [Damage; 7] = [
    Damage::Flips,
    Damage::TornPage,
    Damage::ZeroedPage,
    Damage::Shorter,
    Damage::ShorterLog,
    Damage::FlipsInLog,
    Damage::ZeroedPageOfKilled,
];

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// The file was set aside when it was opened.
    AtOpen,
    /// Opening or reading gave an error that says so.
    AtRead,
    /// Nothing that the file says was touched.
    Harmless,
    /// The end of the log is lost, and the file is what it was before that was written.
    Older,
}

/// What befell a file, what came of it, and how many unsent batches could be read.
type Outcome = Result<(Damage, Found, usize), String>;

/// The file with unsent work, closed and killed, and what it says.
struct Fixture {
    tape: Tape<DeviceStep>,
    truth: Truth,
    killed: Image,
    closed: Image,
    says: u64,
    unsent: BTreeMap<BatchId, Unsent>,
}

/// An unsent batch as the sound file has it.
struct Unsent {
    number: i64,
    changes: BTreeMap<i64, Vec<u8>>,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let tape = rehearse(Syncs::Honest).device;
        let truth = Truth::of(&tape, tape.steps[0].ops.end, DeviceStep::is_durable);
        let mut replay = tape.recording.replay();
        let last = tape.steps.last().expect("the tape has steps");
        replay.advance_to(last.ops.end);
        let killed = replay.as_written();
        replay.advance_to(tape.recording.len());
        let closed = replay.as_written();
        let folder = tests::harness::files::folder();
        let path = put(folder.path(), &tape.path, &closed);
        let file = Connection::open(&path).expect("the sound file opens");
        let says = digest(&file).expect("the sound file can be read");
        let unsent = unsent(&file);
        assert!(unsent.len() >= 12, "there is unsent work");
        Fixture { tape, truth, killed, closed, says, unsent }
    })
}

/// Puts files into a folder; gives where the database is.
fn put(folder: &Path, from: &str, image: &Image) -> std::path::PathBuf {
    for (name, bytes) in image {
        let suffix = name.strip_prefix(from).unwrap_or_default();
        if let Some(bytes) = bytes {
            fs::write(folder.join(format!("device.db{suffix}")), bytes).expect("a folder");
        }
    }
    folder.join("device.db")
}

fn unsent(file: &Connection) -> BTreeMap<BatchId, Unsent> {
    let mut batches = file.prepare("SELECT number, batch FROM outbox WHERE state = 0").unwrap();
    let rows = batches.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(i64, Vec<u8>)> = rows.map(Result::unwrap).collect();
    let changes = |number: i64| {
        let mut changes = file.prepare("SELECT id, bytes FROM change WHERE batch = ?1").unwrap();
        let rows = changes.query_map([number], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let named = rows.into_iter().map(|(number, batch)| {
        let batch = BatchId::try_from(&batch[..]).unwrap();
        (batch, Unsent { number, changes: changes(number) })
    });
    named.collect()
}

/// Damages the files at `path`; nobody has them open. Rot leaves no trace in the times of a file.
fn damage(path: &Path, how: Damage, rng: &mut StdRng) {
    let log = matches!(how, Damage::ShorterLog | Damage::FlipsInLog);
    let victim = if log { path.with_extension("db-wal") } else { path.to_owned() };
    let written = fs::metadata(&victim).unwrap().modified().unwrap();
    let mut bytes = fs::read(&victim).unwrap();
    match how {
        Damage::Flips | Damage::FlipsInLog => {
            for _ in 0..rng.random_range(1..=8) {
                let place = rng.random_range(0..bytes.len());
                bytes[place] ^= 1 << rng.random_range(0..8);
            }
        }
        Damage::TornPage => {
            let page = rng.random_range(0..bytes.len() / PAGE) * PAGE;
            let from = page + 512 * rng.random_range(1..8);
            bytes[from..page + PAGE].iter_mut().for_each(|byte| *byte = rng.random());
        }
        Damage::ZeroedPage | Damage::ZeroedPageOfKilled => {
            let page = rng.random_range(0..bytes.len() / PAGE) * PAGE;
            bytes[page..page + PAGE].fill(0);
        }
        Damage::Shorter | Damage::ShorterLog => bytes.truncate(rng.random_range(0..bytes.len())),
    }
    fs::write(&victim, &bytes).unwrap();
    File::options().write(true).open(&victim).unwrap().set_modified(written).unwrap();
}

/// One case: the file is damaged and opened, and what comes of it is compared with what it said.
fn case(seed: u64) -> Outcome {
    let fixture = fixture();
    let mut rng = StdRng::seed_from_u64(seed);
    // Not one of the seeds that the rehearsal drew ids from.
    let entropy = 1_000_000 + 2 * seed;
    let how = DAMAGES[usize::try_from(seed).unwrap_or(0) % DAMAGES.len()];
    let was_killed =
        matches!(how, Damage::ShorterLog | Damage::FlipsInLog | Damage::ZeroedPageOfKilled);
    let image = if was_killed { &fixture.killed } else { &fixture.closed };
    let folder = tests::harness::files::folder();
    let path = put(folder.path(), &fixture.tape.path, image);
    if !was_killed {
        Client::open(config(&path, "ada", None, entropy)).map_err(text)?.close();
    }
    damage(&path, how, &mut rng);
    let before = fs::read(&path).map_err(text)?;
    let client = match Client::open(config(&path, "ada", None, entropy + 1)) {
        Ok(client) => client,
        Err(error) => return says_so(&error).map(|()| (how, Found::AtRead, 0)),
    };
    let found = match client.open_report().damaged.clone() {
        Some(damaged) => {
            let aside = fs::read(&damaged.moved_to).map_err(text)?;
            // Reading it may fold its log in; nothing of a file that was closed is touched.
            if !was_killed && aside != before {
                return Err("the file that was set aside was changed".to_owned());
            }
            let kept = salvaged(&client, &damaged.moved_to)?;
            return Ok((how, Found::AtOpen, kept));
        }
        None => read_everything(&client, &path, was_killed)?,
    };
    Ok((how, found, 0))
}

fn says_so(error: &StoreError) -> Result<(), String> {
    match error {
        StoreError::Corrupt(_)
        | StoreError::Malformed(_)
        | StoreError::Cells(_)
        | StoreError::Change(_)
        | StoreError::Document(_)
        | StoreError::Io(_) => Ok(()),
        other => Err(format!("the error does not say that the file is damaged: {other:?}")),
    }
}

/// A damaged value is shown and nothing says so.
const SILENT: &str = "wrong in silence";
/// Known and not mended: a flipped bit of about one file in a thousand (seed 657) is told by nothing. RELIABILITY.md
/// says so.
const SILENT_MAX: usize = 2;

/// The file opened without a word: then it says what it said, or what it said before, or reading it tells.
fn read_everything(client: &Client, path: &Path, was_killed: bool) -> Result<Found, String> {
    let fixture = fixture();
    let Ok(says) = Connection::open(path).and_then(|file| digest(&file)) else {
        return Ok(Found::AtRead);
    };
    if says == fixture.says {
        return Ok(Found::Harmless);
    }
    if was_killed && fixture.truth.is_known(says) {
        return Ok(Found::Older);
    }
    match client.verify() {
        Err(error) => says_so(&error).map(|()| Found::AtRead),
        Ok(report) if !report.differing.is_empty() => Ok(Found::AtRead),
        Ok(_) => Err(SILENT.to_owned()),
    }
}

/// Every unsent batch that lies in readable pages is in the new file: on its way, or a dispute. Gives how many.
fn salvaged(client: &Client, aside: &Path) -> Result<usize, String> {
    let fixture = fixture();
    let held: BTreeSet<BatchId> = ["outbox WHERE state = 0", "dispute"]
        .iter()
        .flat_map(|table| batches(client, table))
        .collect();
    let file = Connection::open(aside).map_err(text)?;
    let mut kept = 0;
    for (batch, unsent) in &fixture.unsent {
        if is_readable(&file, batch, unsent) {
            kept += 1;
            if !held.contains(batch) {
                return Err(format!("batch {} can be read and is lost", unsent.number));
            }
        }
    }
    if !client.accounting().map_err(text)?.balances() {
        return Err("the account does not balance".to_owned());
    }
    let verified = client.verify().map_err(text)?;
    if !verified.differing.is_empty() {
        return Err(format!("salvaged cells differ from history: {:?}", verified.differing));
    }
    client.create("account", Edits::new().set("name", "Next")).map_err(text)?;
    Ok(kept)
}

fn batches(client: &Client, table: &str) -> BTreeSet<BatchId> {
    let sql = format!("SELECT batch FROM {table}");
    let rows = client.query(&sql, &[], Paging::first(1_000)).expect("public tables").rows;
    let ids = rows.into_iter().filter_map(|row| match &row[0] {
        Value::Bytes(bytes) => BatchId::try_from(&bytes[..]).ok(),
        _ => None,
    });
    ids.collect()
}

/// Whether a batch and all of its changes can be read as they were.
fn is_readable(file: &Connection, batch: &BatchId, unsent: &Unsent) -> bool {
    let sql = "SELECT batch, state FROM outbox WHERE number = ?1";
    let row: Result<(Vec<u8>, i64), _> =
        file.query_row(sql, [unsent.number], |row| Ok((row.get(0)?, row.get(1)?)));
    if row.ok() != Some((batch.0.to_vec(), 0)) {
        return false;
    }
    unsent.changes.iter().all(|(id, bytes)| {
        let sql = "SELECT bytes FROM change WHERE id = ?1 AND batch = ?2 AND state = 0";
        let found: Result<Vec<u8>, _> = file.query_row(sql, (id, unsent.number), |row| row.get(0));
        found.is_ok_and(|found| found == *bytes)
    })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[test]
fn damage_is_found_set_aside_and_what_can_be_read_of_unsent_work_is_salvaged() {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    let seeds: Vec<u64> = match number("FIELDBOOK_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("FIELDBOOK_DAMAGED_FILES").unwrap_or(CASES)).collect(),
    };
    let (mut counts, mut kept, mut wrong) = (BTreeMap::new(), 0, Vec::new());
    for (seed, done) in on_every_core(&seeds, |seed| (*seed, case(*seed))) {
        match done {
            Ok((how, found, batches)) => {
                *counts.entry((how, found)).or_insert(0) += 1;
                kept += batches;
            }
            Err(problem) => wrong.push((seed, problem)),
        }
    }
    println!("{} files, {kept} batches salvaged: {counts:?}", seeds.len());
    let silent = wrong.iter().filter(|(_, problem)| problem == SILENT).count();
    if seeds.len() > 1 && silent <= SILENT_MAX {
        wrong.retain(|(_, problem)| problem != SILENT);
    }
    if let Some((seed, problem)) = wrong.first() {
        for (seed, problem) in wrong.iter().take(20) {
            eprintln!("seed {seed}: {problem}");
        }
        panic!("{} cases; seed {seed}: {problem}\n{}", wrong.len(), replay_command(*seed));
    }
    if seeds.len() as u64 >= CASES {
        let found = |found| counts.iter().filter(|((_, f), _)| *f == found).map(|(_, n)| n).sum();
        let (at_open, older): (i32, i32) = (found(Found::AtOpen), found(Found::Older));
        assert!(at_open > 400 && older > 100 && kept > 2_000, "{counts:?}, {kept} salvaged");
    }
}

// ------------------------------------------------------------------------------------- with a server

/// A device with work that was not sent, whose file is damaged at one page while it is off.
fn damaged_device(seed: u64) -> (World, Device, Vec<RecordId>) {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let shared = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    world.offline(ann);
    let mut made = Vec::new();
    for number in 0..20 {
        let edits = Edits::new().set("name", format!("Offline {number}"));
        made.push(world.create(ann, "account", edits));
        world.update(ann, shared, Edits::new().increment("visits", 1));
    }
    world.set(bob, shared, "country", "meanwhile");
    world.settle_others(ann);
    world.crash_device(ann);
    let path = world.at(ann).path().to_owned();
    // Opening and closing it folds the log in, so that the damage is not mended from there.
    let file = Connection::open(&path).unwrap();
    file.pragma_update(None, "journal_mode", "delete").unwrap();
    let root: u32 = file
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'account__by_name'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(file);
    let mut bytes = fs::read(&path).unwrap();
    let end = root as usize * PAGE;
    bytes[end - PAGE..end].fill(0);
    fs::write(&path, bytes).unwrap();
    made.push(shared);
    (world, ann, made)
}

#[test]
fn salvaged_work_is_sent_under_another_name_and_everybody_gets_it() {
    for seed in 801..804 {
        let (mut world, ann, made) = damaged_device(seed);
        world.start_device(ann);
        let report = world.at(ann).client().open_report().clone();
        let damaged = report.damaged.expect("the damage is reported");
        assert_eq!((damaged.resent, damaged.disputed), (40, 0), "seed {seed}");
        world.online(ann);
        world.settle();
        world.assert_converged();
        for (number, id) in made.iter().take(20).enumerate() {
            world.assert_all_see(*id, "name", format!("Offline {number}").as_str());
        }
        world.assert_all_see(made[20], "visits", Value::Counter(20));
        world.assert_all_see(made[20], "country", "meanwhile");
    }
}
