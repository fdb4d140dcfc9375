//! A device in a process of its own: this very program, started with `--pull`. What memory a first sync takes is
//! its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use client_sdk::{Client, Config, StaticToken};
use serde::{Deserialize, Serialize};

use super::figure::millis;
use super::machine;
use super::stage::{Stage, WORKSPACE, live, member};

/// The argument that makes the program a device.
pub const PULL: &str = "--pull";

/// What a first sync took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pulled {
    /// Until everything could be queried and searched, ms.
    pub searchable_ms: f64,
    /// The most memory that the process ever held, MB.
    pub peak_mb: f64,
}

/// Lets a fresh device of a member pull everything into `file` of the stage.
///
/// # Errors
/// When the device cannot be started, or does not finish.
pub fn pull(stage: &Stage, file: &str, name: &str) -> Result<Pulled> {
    let output = Command::new(std::env::current_exe()?)
        .arg(PULL)
        .arg(stage.path(file))
        .args([stage.url(), &stage.token(name), name])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the device ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Is such a device; what it prints.
///
/// # Errors
/// When an argument is missing, or the device does not finish.
pub fn run(arguments: &[String]) -> Result<String> {
    let [path, url, token, name] = arguments else { bail!("{PULL} PATH URL TOKEN NAME") };
    let config = Config::new(Path::new(path), WORKSPACE, member(name))
        .member_name(name)
        .server(url, StaticToken::new(token));
    let client = Client::open(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begin = Instant::now();
    let handle = client.start_sync()?;
    runtime.block_on(live(&client))?;
    while client.idle_work()? {}
    let searchable_ms = millis(begin.elapsed());
    drop(handle);
    client.close();
    let peak_mb = machine::peak_memory_mb().context("the system does not tell")?;
    Ok(serde_json::to_string(&Pulled { searchable_ms, peak_mb })?)
}
