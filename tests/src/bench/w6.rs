//! W6: one device edits, and many others are connected that see the record.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

use super::apart::{Apart, OPEN};
use super::figure::{Figure, Latencies, Latency, Target, millis};
use super::loads::Loads;
use super::options::Options;
use super::report::Report;
use crate::load::member::{Heard, Line, Member, PATIENCE};

/// Edits of one run.
const EDITS: usize = 100;
/// What one edit occupies on the wire, about, bytes.
const EDIT_BYTES: usize = 150;

/// Runs it with a hundred and with five hundred others.
///
/// # Errors
/// When the server fails, or a device does not hear of an edit.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let before = Loads::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = Vec::new();
    for (receivers, p50_ms, p99_ms) in [(100, 3.0, 15.0), (500, 15.0, 60.0)] {
        let server = Apart::start(&options.folder, OPEN, 2)?;
        let (mut own, mut floors) = (Latencies::default(), Latencies::default());
        let mut cpu = Vec::new();
        let mut crowd = runtime.block_on(Crowd::gather(&server, receivers))?;
        // The first time is for nobody's figures.
        runtime.block_on(crowd.edits())?;
        for _ in 0..options.runs {
            let cpu_before = server.cpu_micros()?;
            own.push(runtime.block_on(crowd.edits())?);
            cpu.push((server.cpu_micros()? - cpu_before) / (EDITS * receivers) as f64);
            floors.push(floor(&runtime, receivers)?);
        }
        let name = format!("edit until {receivers} others have it,");
        let [p50, p99] = own.figures(&name, "ms", Some(&floors));
        figures.push(p50.target(Target::AtMost(p50_ms)));
        figures.push(p99.target(Target::AtMost(p99_ms)));
        figures.push(Figure::new("server's processor time, each of them", "µs", &cpu));
    }
    report.add("W6 one writes, many read", figures, Loads::now().since(&before), Vec::new());
    Ok(())
}

/// One who writes and many who read.
struct Crowd {
    writer: Member,
    line: Line,
    receivers: usize,
    arrivals: mpsc::UnboundedReceiver<Instant>,
    reading: JoinSet<Result<()>>,
}

impl Crowd {
    async fn gather(server: &Apart, receivers: usize) -> Result<Self> {
        let mut writer = server.device(0);
        let (mut line, _) = writer.connect(server.route()).await?;
        // The record is there before anybody comes.
        writer.push(&mut line).await?;
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let mut reading = JoinSet::new();
        for _ in 0..receivers {
            let mut reader = server.device(1);
            let (line, _) = reader.connect(server.route()).await?;
            reading.spawn(read(reader, line, arrived.clone()));
        }
        let mut crowd_has = 0;
        while crowd_has < receivers {
            arrivals.recv().await.context("they read")?;
            crowd_has += 1;
        }
        Ok(Self { writer, line, receivers, arrivals, reading })
    }

    /// Edits one after the other; how long each took to come to each.
    async fn edits(&mut self) -> Result<Latency> {
        let mut measured = Vec::with_capacity(EDITS * self.receivers);
        for _ in 0..EDITS {
            let batch = self.writer.write(20);
            let begin = Instant::now();
            self.line.push(vec![batch]).await?;
            for _ in 0..self.receivers {
                let arrived = tokio::select! {
                    arrived = tokio::time::timeout(PATIENCE, self.arrivals.recv()) => arrived?,
                    Some(ended) = self.reading.join_next() => bail!("one does not read: {ended:?}"),
                };
                let arrived = arrived.context("they read")?;
                measured.push(millis(arrived.saturating_duration_since(begin)));
            }
            // The answer to the edit, which came meanwhile.
            self.writer.receipts(&mut self.line).await?;
        }
        Ok(Latency::of(measured))
    }
}

/// Reads and acknowledges, and says when something came.
async fn read(
    mut reader: Member,
    mut line: Line,
    arrived: mpsc::UnboundedSender<Instant>,
) -> Result<()> {
    loop {
        if let Heard::Page(1..) = reader.hear(&mut line).await? {
            arrived.send(Instant::now())?;
        }
    }
}

/// The same bytes to as many sockets, and nothing else.
fn floor(runtime: &Runtime, receivers: usize) -> Result<Latency> {
    let (say, _) = broadcast::channel::<Message>(16);
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for _ in 0..receivers {
            let stream = tokio::net::TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (accepted, _) = listener.accept().await?;
            accepted.set_nodelay(true)?;
            let mut said = say.subscribe();
            tasks.spawn(async move {
                let Ok(mut socket) = accept_async(accepted).await else { return };
                while let Ok(message) = said.recv().await {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
            let (mut socket, _) = client_async(format!("ws://{address}/"), stream).await?;
            let arrived = arrived.clone();
            tasks.spawn(async move {
                while let Some(Ok(_)) = socket.next().await {
                    // Whoever measures may be done.
                    let _ = arrived.send(Instant::now());
                }
            });
        }
        let mut measured = Vec::with_capacity(EDITS * receivers);
        for _ in 0..EDITS {
            let begin = Instant::now();
            say.send(Message::binary(vec![7; EDIT_BYTES]))?;
            for _ in 0..receivers {
                let arrived = arrivals.recv().await.context("they read")?;
                measured.push(millis(arrived.saturating_duration_since(begin)));
            }
        }
        tasks.shutdown().await;
        Ok(Latency::of(measured))
    })
}
