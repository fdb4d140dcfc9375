//! What connections cost that say nothing: the server's memory, in a process of its own.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use super::apart::{Apart, OPEN};
use super::figure::{Figure, Target};
use super::loads::Loads;
use super::options::Options;
use super::report::Report;

const CONNECTIONS: usize = 10_000;
/// Connections that are made at a time.
const AT_ONCE: usize = 50;

/// Runs it once.
///
/// # Errors
/// When the server does not take a connection.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let before = Loads::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let server = Apart::start(&options.folder, OPEN, 1)?;
    let (empty, full) = runtime.block_on(async {
        // The first few make what all of them share.
        let mut lines = connect(&server, AT_ONCE).await?;
        let empty = server.memory_mb()?;
        while lines.len() < AT_ONCE + CONNECTIONS {
            lines.extend(connect(&server, AT_ONCE).await?);
        }
        // Pages that were sent are out by then, and what built them has ended.
        tokio::time::sleep(SETTLING).await;
        anyhow::Ok((empty, server.memory_mb()?))
    })?;
    runtime.shutdown_background();
    let each_kb = (full - empty) * 1e3 / CONNECTIONS as f64;
    let figures = vec![
        Figure::new("memory of one connection", "kB", &[each_kb]).target(Target::AtMost(10.0)),
        Figure::new("memory with 10,000 of them", "MB", &[full]).target(Target::AtMost(120.0)),
    ];
    report.add("idle connections", figures, Loads::now().since(&before), Vec::new());
    Ok(())
}

async fn connect(server: &Apart, count: usize) -> Result<Vec<crate::load::member::Line>> {
    let mut connecting = JoinSet::new();
    for _ in 0..count {
        let (mut device, route) = (server.device(0), server.route());
        connecting.spawn(async move { device.connect(route).await.map(|(line, _)| line) });
    }
    let mut lines = Vec::with_capacity(count);
    while let Some(line) = connecting.join_next().await {
        lines.push(line??);
    }
    Ok(lines)
}

const SETTLING: Duration = Duration::from_secs(2);
