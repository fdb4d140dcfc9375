//! What the server takes in: many connections that push small batches, each with one change.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use crdt_core::protocol::{Batch, Outcome};
use rusqlite::TransactionBehavior;
use tokio::task::JoinSet;

use super::apart::{Apart, OWN};
use super::figure::{Figure, Latencies, Latency, Target, millis};
use super::floor::{self, Durability};
use super::loads::Loads;
use super::options::Options;
use super::report::Report;
use crate::load::member::{Line, Member};

const CONNECTIONS: usize = 100;
/// Batches of one connection in one run.
const BATCHES: usize = 200;
/// Records that one connection edits by turns.
const RECORDS: usize = 20;
/// What the server grants.
const IN_FLIGHT: usize = 16;
/// Changes of one transaction of the floor: what all connections together have under way.
const GROUP: usize = 1_000;

/// Runs it.
///
/// # Errors
/// When the server fails or refuses something.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let before = Loads::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let server = Apart::start(&options.folder, OWN, CONNECTIONS)?;
    let mut crowd = runtime.block_on(gather(&server))?;
    let (mut speed, mut floors, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    let mut receipts = Latencies::default();
    let count = (CONNECTIONS * BATCHES) as f64;
    for _ in 0..options.runs {
        let cpu_before = server.cpu_micros()?;
        let (back, took, latency) = runtime.block_on(push_all(crowd))?;
        crowd = back;
        cpu.push((server.cpu_micros()? - cpu_before) / count);
        speed.push(count / took.as_secs_f64());
        receipts.push(latency);
        floors.push(count / floor(&options.folder)?.as_secs_f64());
    }
    let [p50, p99] = receipts.figures("from push to receipt,", "ms", None);
    let figures = vec![
        Figure::new("durable, 100 connections", "changes/s", &speed)
            .floor(&floors)
            .target(Target::AtLeast(25_000.0)),
        p50,
        p99.target(Target::AtMost(50.0)),
        Figure::new("server's processor time", "µs/change", &cpu),
    ];
    report.add("intake of the server", figures, Loads::now().since(&before), Vec::new());
    Ok(())
}

async fn gather(server: &Apart) -> Result<Vec<(Member, Line)>> {
    let mut crowd = Vec::with_capacity(CONNECTIONS);
    for place in 0..CONNECTIONS {
        let mut member = server.device(place);
        let (mut line, _) = member.connect(server.route()).await?;
        for _ in 0..RECORDS {
            member.turn(RECORDS);
            member.push(&mut line).await?;
        }
        crowd.push((member, line));
    }
    Ok(crowd)
}

type Pushed = (Vec<(Member, Line)>, Duration, Latency);

/// Everybody pushes at once, as much as is granted.
async fn push_all(crowd: Vec<(Member, Line)>) -> Result<Pushed> {
    let written = crowd.into_iter().map(|(mut member, line)| {
        let batches: Vec<Batch> = (0..BATCHES)
            .map(|_| {
                member.turn(RECORDS);
                member.write(20)
            })
            .collect();
        (member, line, batches)
    });
    let written: Vec<_> = written.collect();
    let begin = Instant::now();
    let mut pushing = JoinSet::new();
    for (member, line, batches) in written {
        pushing.spawn(push(member, line, batches));
    }
    let (mut crowd, mut measured) = (Vec::new(), Vec::new());
    while let Some(done) = pushing.join_next().await {
        let (member, line, own) = done??;
        crowd.push((member, line));
        measured.extend(own);
    }
    Ok((crowd, begin.elapsed(), Latency::of(measured)))
}

async fn push(
    mut member: Member,
    mut line: Line,
    batches: Vec<Batch>,
) -> Result<(Member, Line, Vec<f64>)> {
    let mut sent = Vec::with_capacity(batches.len());
    let mut measured = Vec::with_capacity(batches.len());
    let first = batches.first().map_or(0, |batch| batch.number);
    let mut batches = batches.into_iter();
    let mut room = IN_FLIGHT;
    while measured.len() < BATCHES {
        let next: Vec<Batch> = batches.by_ref().take(room).collect();
        if !next.is_empty() {
            sent.extend(std::iter::repeat_n(Instant::now(), next.len()));
            line.push(next).await?;
        }
        let receipts = member.receipts(&mut line).await?;
        for receipt in &receipts {
            let accepted = matches!(receipt.outcome, Outcome::Accepted { .. });
            ensure!(accepted, "refused: {:?}", receipt.outcome);
            // Receipts have the numbers of the batches, as long as every batch was sent once.
            let place = usize::try_from(receipt.number - first)?;
            measured.push(millis(sent[place].elapsed()));
        }
        room = receipts.len();
    }
    Ok((member, line, measured))
}

/// What the server keeps of a change in any case, by bare SQLite, in large transactions.
fn floor(folder: &std::path::Path) -> Result<Duration> {
    let folder = tempfile::tempdir_in(folder)?;
    let mut connection = floor::open(&folder.path().join("floor.db"), Durability::Full)?;
    connection.execute_batch(
        "CREATE TABLE document (id INTEGER PRIMARY KEY, cells BLOB);
         CREATE TABLE change (position INTEGER PRIMARY KEY, bytes BLOB);
         CREATE TABLE receipt (id INTEGER PRIMARY KEY, bytes BLOB);",
    )?;
    let documents = (CONNECTIONS * RECORDS) as i64;
    for _ in 0..documents {
        connection.execute("INSERT INTO document (cells) VALUES (zeroblob(400))", [])?;
    }
    let begin = Instant::now();
    let mut written = 0_i64;
    while written < (CONNECTIONS * BATCHES) as i64 {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for _ in 0..GROUP {
            written += 1;
            let sql = "UPDATE document SET cells = randomblob(400) WHERE id = ?1";
            tx.prepare_cached(sql)?.execute([written % documents + 1])?;
            let sql = "INSERT INTO change (bytes) VALUES (randomblob(150))";
            tx.prepare_cached(sql)?.execute([])?;
            let sql = "INSERT INTO receipt (bytes) VALUES (randomblob(60))";
            tx.prepare_cached(sql)?.execute([])?;
        }
        tx.commit()?;
    }
    Ok(begin.elapsed())
}
