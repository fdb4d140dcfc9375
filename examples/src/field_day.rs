//! Field day: three reps and their manager work offline for two days and meet again.
//!
//! Everything is real: a server on a loopback port, a database file for each device, the sales pipeline of
//! [`crate::import`]. The plan of what everyone does comes from a seed; what should come of it comes from a
//! small oracle that shares no code with the engine.

mod act;
mod cast;
mod digest;
mod oracle;
mod plan;
mod telling;
mod verdict;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use client_sdk::{Client, Paging};
use crdt_core::id::MemberId;
use crdt_core::record::Value;
use crdt_core::record::document::{self, Purpose};
use crdt_core::schema::Schema;
use serde::Serialize;

use crate::import::{Import, Kind, Report};
use act::{import, perform};
use cast::{Cast, Person};
use oracle::Oracle;
use plan::Deed;
pub use telling::{Audience, Teller};
use world::{Device, Traffic, World};

/// What a run is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Varies the edits.
    pub seed: u64,
    /// Where the databases go; a temporary folder that is removed when nothing is said.
    pub keep: Option<PathBuf>,
    /// Who reads.
    pub audience: Audience,
    /// Imports the same input once more before anybody goes offline: it must change nothing.
    pub import_twice: bool,
    /// Changes one cell of one device before they are compared: the comparison must notice.
    pub flip_one_cell: bool,
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Records by entity, as every device holds them.
    pub records: BTreeMap<String, u64>,
    /// What became of the rows that were read.
    pub report: ReportJson,
    /// Records that the import wrote; none when everything was there before.
    pub imported_records: usize,
    /// Records that a second import wrote, when one was asked for.
    pub imported_again: Option<usize>,
    /// Edits made offline.
    pub edits: usize,
    /// Fields in conflict.
    pub conflicts: usize,
    /// Conflicts that wait for a person.
    pub open_conflicts: usize,
    /// What differs from what was expected.
    pub surprises: Vec<String>,
    /// What each device shows, as a digest.
    pub digests: BTreeMap<String, String>,
    /// Whether all devices show the same and what was expected.
    pub converged: bool,
    /// Documents that were loaded for text.
    pub document_loads_for_text: u64,
    /// Documents that were loaded for anything else.
    pub document_loads_outside_text: u64,
    /// What each step took.
    pub steps: Vec<Step>,
}

/// One step's cost.
#[derive(Debug, Serialize)]
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub milliseconds: u64,
    /// Bytes from devices to the server.
    pub bytes_up: u64,
    /// Bytes from the server to devices.
    pub bytes_down: u64,
}

/// The report of an import, for JSON.
#[derive(Debug, Serialize)]
pub struct ReportJson {
    /// Rows read.
    pub rows: u64,
    /// Rows that became records as they were.
    pub imported: u64,
    /// Rows that became records after a repair.
    pub repaired: u64,
    /// Rows that became records with a gap.
    pub with_gap: u64,
    /// Rows that were refused.
    pub refused: u64,
    /// The same by file.
    pub files: BTreeMap<String, [u64; 5]>,
    /// Managers, who have no row of their own.
    pub managers: u64,
}

impl From<&Report> for ReportJson {
    fn from(report: &Report) -> Self {
        let total = report.total();
        let counts =
            |f: &crate::import::FileReport| [f.rows, f.imported, f.repaired, f.with_gap, f.refused];
        Self {
            rows: total.rows,
            imported: total.imported,
            repaired: total.repaired,
            with_gap: total.with_gap,
            refused: total.refused,
            files: report.files.iter().map(|file| (file.file.to_string(), counts(file))).collect(),
            managers: report.managers,
        }
    }
}

/// Tells the whole story.
///
/// # Errors
/// When the stage cannot be built or a device refuses what it should take; what is shown at the end is in
/// the outcome and no error.
pub fn run(options: &Options, input: &Import) -> Result<Outcome> {
    let teller = Teller::new(options.audience);
    let temporary;
    let folder = match &options.keep {
        Some(folder) => folder.clone(),
        None => {
            temporary = tempfile::tempdir()?;
            temporary.path().to_owned()
        }
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut present = std::fs::read_dir(&folder)?;
    anyhow::ensure!(
        present.next().is_none(),
        "{} is not empty: name a new folder",
        folder.display()
    );
    let cast = Cast::choose(input)?;
    let world = World::start(&folder, &members(input))?;
    let mut stage = Stage { teller, world, cast, steps: Vec::new(), at: (0, Traffic::default()) };
    stage.tell_report(&input.report);
    let devices = stage.devices()?;
    let imported_records = stage.fill(&devices, input)?;
    let imported_again = match options.import_twice {
        true => Some(import(&devices[stage.cast.manager()].client, &input.records, &stage.teller)?),
        false => None,
    };
    let deeds = stage.offline(options.seed, &devices, input)?;
    stage.meet(&devices)?;
    if options.flip_one_cell {
        flip(&devices[0])?;
    }
    stage.judge(options, input, &devices, &deeds, (imported_records, imported_again))
}

/// Everybody who may own something is in the server's directory.
fn members(input: &Import) -> Vec<(MemberId, String)> {
    let members = input.records.iter().filter(|record| record.entity == "member");
    members
        .map(|record| {
            let name = record.field("name").and_then(Value::as_str).unwrap_or_default();
            (MemberId(record.id.0), name.to_owned())
        })
        .collect()
}

struct Stage {
    teller: Teller,
    world: World,
    cast: Cast,
    steps: Vec<Step>,
    at: (u64, Traffic),
}

impl Stage {
    /// Notes what happened since the last step.
    fn step(&mut self, name: &'static str) {
        let (ms, traffic) = (self.teller.elapsed_ms(), self.world.traffic());
        let (ms_before, before) = self.at;
        self.at = (ms, traffic);
        self.steps.push(Step {
            name,
            milliseconds: ms - ms_before,
            bytes_up: traffic.up - before.up,
            bytes_down: traffic.down - before.down,
        });
    }

    fn tell_report(&self, report: &Report) {
        let total = report.total();
        self.teller.chapter("The pipeline");
        self.teller.line(&format!(
            "  {} rows read: {} imported, {} repaired, {} with a gap, {} refused",
            total.rows, total.imported, total.repaired, total.with_gap, total.refused
        ));
        for (file, kind, column, count) in report.tallies() {
            let word = match kind {
                Kind::Repair => "repaired",
                Kind::Gap => "missing",
                Kind::Refusal => "refused",
            };
            self.teller.line(&format!("    {file}: {count} × `{column}` {word}"));
        }
        for note in report.notes.iter().filter(|note| note.kind == Kind::Refusal) {
            self.teller.line(&format!("    {note}"));
        }
    }

    fn devices(&self) -> Result<Vec<Device>> {
        let names = ["rep-1", "rep-2", "rep-3", "manager"];
        self.cast
            .people
            .iter()
            .zip(names)
            .map(|(person, name)| self.world.device(person, name))
            .collect()
    }

    /// The manager imports and sends; everybody else gets it.
    fn fill(&mut self, devices: &[Device], input: &Import) -> Result<usize> {
        self.teller.chapter("Before the field day");
        let manager = &devices[self.cast.manager()];
        let name = &manager.person.name;
        let written = import(&manager.client, &input.records, &self.teller)?;
        self.step("import on one device");
        self.teller.line(&format!("  {name} imports {written} records, offline"));
        self.world.sync(manager)?;
        self.step("send the import");
        for (place, device) in devices.iter().enumerate() {
            self.world.sync(device)?;
            device.client.idle_work()?;
            self.teller.progress("devices", place + 1, devices.len());
        }
        self.step("first sync of the others");
        let step = &self.steps[self.steps.len() - 1];
        self.teller.line(&format!(
            "  three reps get them: {} ms, {} kB",
            step.milliseconds,
            step.bytes_down / 1_000
        ));
        Ok(written)
    }

    fn offline(&mut self, seed: u64, devices: &[Device], input: &Import) -> Result<Vec<Deed>> {
        self.teller.chapter("Two days without a network");
        let now = crdt_core::time::Timestamp::from_millis(now_ms());
        let deeds = plan::plan(seed, &self.cast, &input.records, now);
        perform(devices, &deeds)?;
        self.step("work offline");
        let rows = devices.iter().enumerate().map(|(who, device)| row_of(who, device, &deeds));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let head = ["who", "is", "edits", "records", "created", "unsent"];
        telling::table(&head, &rows).iter().for_each(|line| self.teller.line(line));
        Ok(deeds)
    }

    /// Everybody connects, twice: the first gets the last one's edits in the second round.
    fn meet(&mut self, devices: &[Device]) -> Result<()> {
        self.teller.chapter("Back in the network");
        for device in devices.iter().chain(devices) {
            self.world.sync(device)?;
        }
        self.step("reconnect and merge");
        let step = &self.steps[self.steps.len() - 1];
        self.teller.line(&format!(
            "  everybody synced: {} ms, {} kB up, {} kB down",
            step.milliseconds,
            step.bytes_up / 1_000,
            step.bytes_down / 1_000
        ));
        Ok(())
    }

    fn judge(
        mut self,
        options: &Options,
        input: &Import,
        devices: &[Device],
        deeds: &[Deed],
        (imported_records, imported_again): (usize, Option<usize>),
    ) -> Result<Outcome> {
        let oracle = Oracle::new(deeds);
        let schema = Schema::builtin();
        let mut digests = BTreeMap::new();
        let mut surprises = Vec::new();
        let (mut conflicts, mut open_conflicts) = (0, 0);
        for device in devices {
            let verdict = verdict::check(device, &oracle)?;
            (conflicts, open_conflicts) = (verdict.conflicts, verdict.open);
            surprises.extend(verdict.surprises);
            digests.insert(device.person.name.clone(), digest::digest(&device.client, schema)?);
        }
        self.step("compare");
        let mut different = digests.values();
        let first = different.next();
        let same = different.all(|digest| Some(digest) == first);
        let outcome = Outcome {
            seed: options.seed,
            records: counts(&devices[0].client, schema)?,
            report: ReportJson::from(&input.report),
            imported_records,
            imported_again,
            edits: deeds.len(),
            conflicts,
            open_conflicts,
            converged: same && surprises.is_empty(),
            surprises,
            digests,
            document_loads_for_text: document::loads(Purpose::Text),
            document_loads_outside_text: document::loads_outside_text(),
            steps: std::mem::take(&mut self.steps),
        };
        self.tell_outcome(&oracle, &outcome);
        self.world.stop();
        Ok(outcome)
    }

    fn tell_outcome(&self, oracle: &Oracle, outcome: &Outcome) {
        self.teller.chapter("Who disagreed, and what each field's rule decided");
        let mut rows = Vec::new();
        for ((id, field), expected) in oracle.fields.iter().filter(|(_, e)| e.is_conflict()) {
            if oracle.deleted.contains_key(id) {
                continue;
            }
            let tried = expected.tried.iter().map(|(who, value)| {
                format!(
                    "{}: {}",
                    first_name(&self.cast.people[*who]),
                    value.as_str().unwrap_or("?")
                )
            });
            rows.push(vec![
                format!("{} {field}", expected.entity),
                tried.collect::<Vec<_>>().join(", "),
                expected.rule.to_owned(),
                expected.value.as_str().unwrap_or("?").to_owned(),
            ]);
        }
        for edited in oracle.deleted.values().filter(|edited| **edited) {
            debug_assert!(*edited, "only records that somebody edited are told");
            rows.push(vec![
                "opportunity".to_owned(),
                "deleted by one, edited by another".to_owned(),
                "delete".to_owned(),
                "deleted; offers to restore it with the edit".to_owned(),
            ]);
        }
        let head = ["field", "what they wrote", "rule", "shown"];
        telling::table(&head, &rows).iter().for_each(|line| self.teller.line(line));
        let alone = oracle.fields.values().filter(|expected| !expected.is_conflict()).count();
        self.teller.line(&format!(
            "  {alone} other fields merged by themselves, {} records are new",
            oracle.created.len()
        ));
        self.teller.chapter("What every step cost");
        let rows: Vec<Vec<String>> = outcome
            .steps
            .iter()
            .map(|step| {
                vec![
                    step.name.to_owned(),
                    format!("{} ms", step.milliseconds),
                    format!("{} B", step.bytes_up),
                    format!("{} B", step.bytes_down),
                ]
            })
            .collect();
        telling::table(&["step", "time", "up", "down"], &rows)
            .iter()
            .for_each(|line| self.teller.line(line));
        self.teller.chapter("What the devices show");
        for (name, digest) in &outcome.digests {
            self.teller.line(&format!("  {name:<24} {}", &digest[..16]));
        }
        for surprise in &outcome.surprises {
            self.teller.line(&format!("  NOT AS EXPECTED  {surprise}"));
        }
        self.teller.line(match outcome.converged {
            true => "  All devices show identical rows and open conflicts, as expected.",
            false => "  The devices do NOT show the same, or not what was expected.",
        });
    }
}

fn row_of(who: usize, device: &Device, deeds: &[Deed]) -> Result<Vec<String>> {
    let own: Vec<&Deed> = deeds.iter().filter(|deed| deed.who == who).collect();
    let records: std::collections::BTreeSet<_> = own.iter().map(|deed| deed.record).collect();
    let created = own.iter().filter(|deed| matches!(deed.act, plan::Act::Create(_))).count();
    let unsent = device.client.unsent()?;
    Ok(vec![
        device.person.name.clone(),
        device.person.role.to_owned(),
        own.len().to_string(),
        records.len().to_string(),
        created.to_string(),
        format!("{} batches, {} B", unsent.batches, unsent.bytes),
    ])
}

fn first_name(person: &Person) -> &str {
    person.name.split(' ').next().unwrap_or(&person.name)
}

fn counts(client: &Client, schema: &Schema) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for entity in schema.entities() {
        let sql = format!("SELECT count(*) FROM \"{}\"", entity.name);
        let rows = client.query(&sql, &[], Paging::first(1))?;
        let count =
            rows.rows.first().and_then(|row| row.first()).and_then(Value::as_int).unwrap_or(0);
        if count > 0 {
            counts.insert(entity.name.clone(), u64::try_from(count).unwrap_or(0));
        }
    }
    Ok(counts)
}

/// Changes one cell behind the client's back.
fn flip(device: &Device) -> Result<()> {
    let connection = rusqlite::Connection::open(&device.path)?;
    let changed = connection.execute(
        "UPDATE account SET employees = coalesce(employees, 0) + 1 WHERE _row = (SELECT min(_row) FROM account)",
        [],
    )?;
    anyhow::ensure!(changed == 1, "there is no account to change");
    Ok(())
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
