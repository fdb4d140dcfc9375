//! W3: two devices edit without a network, then both connect; until they show the same.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use client_sdk::{Client, Paging, Rows};

use super::figure::{Figure, Target, millis};
use super::floor::{self, Durability, EditRows};
use super::loads::Loads;
use super::report::Report;
use super::stage::{PATIENCE, Stage, Wire, sync};
use super::w1::{Device, Devices};
use super::workload::{FieldEdit, Workload};
use super::{contact, values};

/// Runs it.
///
/// # Errors
/// When a device fails, or the devices do not agree.
pub fn run(
    stage: &Stage,
    workload: &Workload,
    devices: &Devices,
    report: &mut Report,
) -> Result<()> {
    let before = Loads::now();
    let Devices { pairs, base } = devices;
    let (mut took, mut bytes) = (Vec::new(), Vec::new());
    let (mut floor_took, mut floor_bytes) = (Vec::new(), Vec::new());
    let (mut took_whole, mut bytes_whole) = (Vec::new(), Vec::new());
    let mut notes = Vec::new();
    for (run, devices) in pairs.iter().enumerate() {
        let [a_device, b_device] = devices;
        sync(&a_device.client)?;
        sync(&b_device.client)?;
        let of_run = |edits: &[FieldEdit], run: usize| -> Vec<FieldEdit> {
            edits.iter().map(|edit| edit.of_run(run)).collect()
        };
        let (a, b) = (of_run(&workload.w3_a, run), of_run(&workload.w3_b, run));
        write(&a_device.client, &a)?;
        write(&b_device.client, &b)?;
        let floor = Floor::read(stage, base, [a_device, b_device], [&a, &b])?;
        let wire_before = stage.wire()?;
        took.push(millis(connect(&a_device.client, &b_device.client)?));
        let wire = stage.wire()?.since(&wire_before);
        let edits = (a.len() + b.len()) as f64;
        bytes.push(wire.bytes() / edits);
        floor_took.push(millis(floor.write(stage, &wire)?));
        floor_bytes.push(floor.bytes()? / edits);
        let kept = kept(&a_device.client, &a, &b)?;
        let whole = pairs.len() + run;
        write_whole(&a_device.client, &of_run(&workload.w3_a, whole))?;
        write_whole(&b_device.client, &of_run(&workload.w3_b, whole))?;
        let wire_before = stage.wire()?;
        took_whole.push(millis(connect(&a_device.client, &b_device.client)?));
        bytes_whole.push(stage.wire()?.since(&wire_before).bytes() / edits);
        notes = vec![
            kept,
            format!(
                "last run: {} batches in {} commits of the server, {} pages; {:.0} B up, {:.0} B \
                 down",
                wire.batches, wire.commits, wire.pages, wire.bytes_in, wire.bytes_out
            ),
        ];
    }
    let figures = vec![
        Figure::new("both devices show the same", "ms", &took)
            .floor(&floor_took)
            .target(Target::AtMost(150.0)),
        Figure::new("wire, up and down", "B/edit", &bytes)
            .floor(&floor_bytes)
            .target(Target::AtMost(90.0)),
        Figure::new("both show the same, 1,000 edits in a batch", "ms", &took_whole),
        Figure::new("wire, up and down", "B/edit", &bytes_whole)
            .floor(&floor_bytes)
            .target(Target::AtMost(32.0)),
    ];
    report.add("W3 merge of two devices", figures, Loads::now().since(&before), notes);
    Ok(())
}

fn write(client: &Client, edits: &[FieldEdit]) -> Result<()> {
    for edit in edits {
        client.update(contact::id(&edit.id)?, contact::field_edit(edit))?;
    }
    Ok(())
}

/// Writes all edits in one transaction: a full batch.
fn write_whole(client: &Client, edits: &[FieldEdit]) -> Result<()> {
    let ids = edits.iter().map(|edit| contact::id(&edit.id)).collect::<Result<Vec<_>>>()?;
    client.transaction(|transaction| {
        let mut all = ids.iter().zip(edits);
        all.try_for_each(|(id, edit)| transaction.update(*id, contact::field_edit(edit)))
    })?;
    Ok(())
}

/// Connects both until they show the same; gives how long after the start the last change came.
fn connect(a: &Client, b: &Client) -> Result<Duration> {
    let (of_a, of_b) = (a.watch(), b.watch());
    let begin = Instant::now();
    let (sync_a, sync_b) = (a.start_sync()?, b.start_sync()?);
    let mut last = begin;
    let mut checked = begin;
    loop {
        let changed = of_a.wait(TICK).is_some() | of_b.take().is_some();
        let now = Instant::now();
        ensure!(now - begin < PATIENCE, "the devices do not agree");
        if changed {
            last = now;
        } else if now - last > QUIET && last > checked {
            // Comparing takes a few milliseconds, and is not what is measured.
            checked = last;
            if a.unsent()?.is_empty() && b.unsent()?.is_empty() && shown(a)? == shown(b)? {
                break;
            }
        }
    }
    sync_a.close();
    sync_b.close();
    Ok(last - begin)
}

/// How often the devices are looked at.
const TICK: Duration = Duration::from_millis(1);
/// How long nothing must have changed before they are compared.
const QUIET: Duration = Duration::from_millis(15);

/// What a device shows of the records that were edited.
fn shown(client: &Client) -> Result<Rows> {
    let sql = "SELECT _id, title, company, _updated_at, _updated_by FROM contact
               WHERE title GLOB '[AB]-title *' OR company GLOB 'B-company *' ORDER BY _id";
    Ok(client.query(sql, &[], Paging::default())?)
}

/// Of the records that both edited in different fields: how many show both edits.
fn kept(client: &Client, a: &[FieldEdit], b: &[FieldEdit]) -> Result<String> {
    let (mut both, mut kept) = (0, 0);
    for company in b.iter().filter(|edit| edit.field == "company") {
        let title = a.iter().find(|edit| edit.id == company.id).context("A edited it too")?;
        let record = client.get(contact::id(&company.id)?)?.context("it is on the device")?;
        let says = |edit: &FieldEdit| record.text(&edit.field) == edit.value.as_str();
        both += 1;
        kept += usize::from(says(company) && says(title));
    }
    ensure!(client.disputes()?.is_empty(), "the server refused an edit");
    ensure!(kept == both, "only {kept} of {both} records kept both edits");
    Ok(format!("both edits kept in {kept} of {both} records that were edited in two fields"))
}

/// The rows of both devices' edits, and copies of the databases as they were before connecting.
struct Floor {
    a: Vec<EditRows>,
    b: Vec<EditRows>,
}

const SERVER: &str = "w3-floor-server.db";
const DEVICE_A: &str = "w3-floor-a.db";
const DEVICE_B: &str = "w3-floor-b.db";

impl Floor {
    fn read(
        stage: &Stage,
        base: &Path,
        [a, b]: [&Device; 2],
        [of_a, of_b]: [&[FieldEdit]; 2],
    ) -> Result<Self> {
        floor::copy(base, &stage.path(SERVER))?;
        floor::copy(&a.path, &stage.path(DEVICE_A))?;
        floor::copy(&b.path, &stage.path(DEVICE_B))?;
        Ok(Self { a: EditRows::read(&a.path, of_a)?, b: EditRows::read(&b.path, of_b)? })
    }

    /// Writes what server and devices wrote, one after the other, in as many transactions.
    fn write(&self, stage: &Stage, wire: &Wire) -> Result<Duration> {
        let both: Vec<&EditRows> = self.a.iter().chain(&self.b).collect();
        let server = stage.path(SERVER);
        let mut connection = floor::open(&server, Durability::Full)?;
        let mut took =
            floor::in_commits(&mut connection, &both, wire.commits as usize, EditRows::accept)?;
        drop(connection);
        floor::remove(&server);
        let pages = (wire.pages as usize).div_ceil(2);
        took += device(&stage.path(DEVICE_A), &self.a, &self.b, pages)?;
        took += device(&stage.path(DEVICE_B), &self.b, &self.a, pages)?;
        Ok(took)
    }

    /// The least that goes over the wire: each edit up once and down once.
    fn bytes(&self) -> Result<f64> {
        let mut total = 0;
        for edits in [&self.a, &self.b] {
            let rows: Vec<Vec<u8>> =
                edits.iter().zip(1..).map(|(edit, number)| edit.minimal(number)).collect();
            total += 2 * values::compressed(&rows, edits.len().max(1))?;
        }
        Ok(total as f64)
    }
}

/// A device stores the answers to its own edits with FULL, and the other's edits.
fn device(path: &Path, own: &[EditRows], other: &[EditRows], pages: usize) -> Result<Duration> {
    let (own, other): (Vec<&EditRows>, Vec<&EditRows>) =
        (own.iter().collect(), other.iter().collect());
    let mut connection = floor::open(path, Durability::Full)?;
    let mut took = floor::in_commits(&mut connection, &own, pages, EditRows::acknowledge)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    took += floor::in_commits(&mut connection, &other, pages, EditRows::receive)?;
    drop(connection);
    floor::remove(path);
    Ok(took)
}
