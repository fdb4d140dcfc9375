//! W5: a device that is up to date connects, and nothing is new.

use std::time::Instant;

use anyhow::Result;
use client_sdk::{Client, SyncHandle};

use super::echo::Echo;
use super::figure::{Figure, Target, millis};
use super::loads::Loads;
use super::report::Report;
use super::stage::{Stage, sync};

/// Runs it, five times as often as the others: one takes milliseconds.
///
/// # Errors
/// When the device fails.
pub fn run(
    stage: &Stage,
    device: &Client,
    records: usize,
    runs: usize,
    report: &mut Report,
) -> Result<()> {
    let before = Loads::now();
    sync(device)?;
    let echo = Echo::start(stage.runtime())?;
    let (mut took, mut floors) = (Vec::new(), Vec::new());
    let (mut up, mut down, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs * 5 {
        let wire_before = stage.wire()?;
        let (millis_taken, handle) = reconnect(stage, device)?;
        took.push(millis_taken);
        let asked = stage.wire()?.since(&wire_before).frames_in;
        // Its goodbye counts too: the whole session is paid for.
        drop(handle);
        let wire = stage.wire()?.since(&wire_before);
        up.push(wire.bytes_in);
        down.push(wire.bytes_out);
        messages.push(asked);
        let begin = Instant::now();
        echo.connect()?.round_trip(down.last().map_or(0, |bytes| *bytes as usize))?;
        floors.push(millis(begin.elapsed()));
    }
    let figures = vec![
        Figure::new(format!("up to date again, {records} records"), "ms", &took)
            .floor(&floors)
            .target(Target::AtMost(20.0)),
        Figure::new("wire up, whole session", "B", &up).target(Target::AtMost(1_000.0)),
        Figure::new("wire down, whole session", "B", &down).target(Target::AtMost(1_000.0)),
        Figure::new("messages of the device until then", "count", &messages)
            .floor(&[1.0])
            .target(Target::AtMost(1.0)),
    ];
    report.add("W5 reconnect with nothing new", figures, Loads::now().since(&before), Vec::new());
    Ok(())
}

/// How long a device takes until it is up to date again, ms; it syncs until the handle is dropped.
pub(super) fn reconnect(stage: &Stage, device: &Client) -> Result<(f64, SyncHandle)> {
    let begin = Instant::now();
    let handle = device.start_sync()?;
    stage.wait_until_live(device)?;
    Ok((millis(begin.elapsed()), handle))
}
