//! A real server in this process, on a loopback port, with its files in a folder that ends with it; and the
//! devices of its members.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use client_sdk::{Client, Config, StaticToken, SyncPhase};
use crdt_core::id::MemberId;
use sync_server::admin;
use sync_server::config::{Limits, ServerConfig};
use sync_server::server::Server;
use sync_server::telemetry::metrics::{
    BATCHES_ACCEPTED, BYTES_IN, BYTES_OUT, COMMIT_SECONDS, FRAMES_IN, Metrics, PAGES_SENT,
};
use sync_server::token::TokenKey;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The workspace of the benchmark.
pub const WORKSPACE: &str = "bench";
/// Whoever imports.
pub const IMPORTER: &str = "Importer";
/// How long anything may take before the benchmark gives up.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A server and its members.
pub struct Stage {
    runtime: Runtime,
    key: TokenKey,
    url: String,
    metrics: Metrics,
    stop: Option<oneshot::Sender<()>>,
    done: Option<JoinHandle<()>>,
    folder: TempDir,
}

/// What the server has counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire {
    /// Bytes of messages from devices.
    pub bytes_in: f64,
    /// Bytes of messages to devices.
    pub bytes_out: f64,
    /// Messages from devices.
    pub frames_in: f64,
    /// Pages to devices.
    pub pages: f64,
    /// Batches accepted.
    pub batches: f64,
    /// Storage transactions.
    pub commits: f64,
}

impl Stage {
    /// Starts the server, with its data below `folder`; each of `devices` devices has a member of its own.
    ///
    /// # Errors
    /// When the folder cannot be written or no port is free.
    pub fn start(folder: &Path, devices: usize) -> Result<Self> {
        let folder = tempfile::tempdir_in(folder)?;
        // What is measured is the server, not its patience with one member.
        let limits = Limits { requests_per_minute: 1_000_000, ..Limits::default() };
        let config = ServerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: folder.path().join("server"),
            limits,
            ..ServerConfig::default()
        };
        admin::create_workspace(&config, WORKSPACE, admin::NewWorkspace::open())?;
        let names = (0..devices).map(owner).chain([IMPORTER.to_owned()]);
        for name in names {
            admin::add_member(&config, WORKSPACE, &name, Some(member(&name)))?;
        }
        let key = TokenKey::open_or_create(&config.token_key())?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let server = runtime.block_on(Server::bind(config))?;
        let url = format!("ws://{}", server.local_addr()?);
        let metrics = server.metrics();
        let (stop, stopped) = oneshot::channel::<()>();
        let done = runtime.spawn(server.run(async {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        }));
        Ok(Self { runtime, key, url, metrics, stop: Some(stop), done: Some(done), folder })
    }

    /// The runtime of the server.
    #[must_use]
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Where a file of this name lies.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Opens a device of a member that syncs with the server.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub fn device(&self, file: &str, name: &str) -> Result<Client> {
        let config = Config::new(self.path(file), WORKSPACE, member(name))
            .member_name(name)
            .server(&self.url, StaticToken::new(self.token(name)));
        Ok(Client::open(config)?)
    }

    /// Where the server listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A token of a member, for a day.
    #[must_use]
    pub fn token(&self, name: &str) -> String {
        let now = sync_server::clock::now();
        self.key.mint(WORKSPACE, member(name), now, Duration::from_secs(24 * 3_600))
    }

    /// Opens the file of a device without a network.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn offline(&self, path: &Path, name: &str) -> Result<Client> {
        Ok(Client::open(Config::new(path, WORKSPACE, member(name)).member_name(name))?)
    }

    /// Waits until a device that syncs has everything.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn wait_until_live(&self, client: &Client) -> Result<()> {
        self.runtime.block_on(live(client))
    }

    /// What the server has counted so far.
    ///
    /// # Errors
    /// When its page of numbers lacks one.
    pub fn wire(&self) -> Result<Wire> {
        let page = self.metrics.render();
        let number = |name: &str| {
            let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value = value.with_context(|| format!("the server does not count {name}"))?;
            value.parse::<f64>().with_context(|| format!("{name} is {value}"))
        };
        Ok(Wire {
            bytes_in: number(BYTES_IN)?,
            bytes_out: number(BYTES_OUT)?,
            frames_in: number(FRAMES_IN)?,
            pages: number(PAGES_SENT)?,
            batches: number(BATCHES_ACCEPTED)?,
            commits: number(&format!("{COMMIT_SECONDS}_count"))?,
        })
    }
}

impl Wire {
    /// Since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            bytes_in: self.bytes_in - before.bytes_in,
            bytes_out: self.bytes_out - before.bytes_out,
            frames_in: self.frames_in - before.frames_in,
            pages: self.pages - before.pages,
            batches: self.batches - before.batches,
            commits: self.commits - before.commits,
        }
    }

    /// In both directions.
    #[must_use]
    pub fn bytes(&self) -> f64 {
        self.bytes_in + self.bytes_out
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(done) = self.done.take() {
            // A server that ended with a panic has said so.
            let _ = self.runtime.block_on(done);
        }
    }
}

/// Resolves when a device that syncs has everything.
///
/// # Errors
/// When it takes too long.
pub async fn live(client: &Client) -> Result<()> {
    let mut status = client.watch_status();
    let live = status.wait_for(|status| status.phase == SyncPhase::Live);
    let found = tokio::time::timeout(PATIENCE, live).await.map(|found| found.map(drop));
    let last = || client.status().last_error.map_or_else(String::new, |error| error.text);
    Ok(found.with_context(|| format!("the device is not up to date: {}", last()))??)
}

/// Syncs a device until everything is sent and everything new has come.
///
/// # Errors
/// When the server cannot be reached, refuses, or takes too long.
pub fn sync(client: &Client) -> Result<()> {
    let report = client.sync_once(PATIENCE)?;
    ensure!(report.caught_up && report.remaining == 0, "the device did not finish: {report:?}");
    Ok(())
}

/// The name of whoever has a device: what the server grants to a member in a minute is for one run.
#[must_use]
pub fn owner(device: usize) -> String {
    format!("Rep {device}")
}

/// The id of a member.
#[must_use]
pub fn member(name: &str) -> MemberId {
    MemberId::from_source_key("member", name)
}
