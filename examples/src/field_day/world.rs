//! The stage: a real server on a free loopback port, and a device with a database file for each person.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use client_sdk::{Client, Clock, Config, StaticToken, SystemClock};
use crdt_core::id::MemberId;
use crdt_core::time::Timestamp;
use sync_server::admin;
use sync_server::config::ServerConfig;
use sync_server::server::Server;
use sync_server::telemetry::metrics::{BYTES_IN, BYTES_OUT, Metrics};
use sync_server::token::TokenKey;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::cast::Person;

const WORKSPACE: &str = "field_day";
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// How long one device may take to sync once.
const PATIENCE: Duration = Duration::from_secs(120);

/// The stage.
pub struct World {
    runtime: Runtime,
    server: Option<Running>,
    metrics: Metrics,
    url: String,
    key: TokenKey,
    folder: PathBuf,
}

struct Running {
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

/// One person's device.
pub struct Device {
    /// Whose it is.
    pub person: Person,
    /// Its client.
    pub client: Client,
    /// Its database file.
    pub path: PathBuf,
    clock: Arc<StoryClock>,
}

/// Bytes over the network, as the server counts them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// From devices.
    pub up: u64,
    /// To devices.
    pub down: u64,
}

/// The system's clock, ahead of itself by as much as the story is told faster than it happens. It never goes
/// back.
struct StoryClock {
    system: SystemClock,
    ahead_ms: AtomicU64,
}

impl StoryClock {
    fn ahead(&self) -> u64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }
}

impl Clock for StoryClock {
    fn wall(&self) -> Timestamp {
        self.system.wall().plus_millis(i64::try_from(self.ahead()).unwrap_or(i64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        self.system.monotonic_ms().saturating_add(self.ahead())
    }

    fn boot(&self) -> [u8; 16] {
        self.system.boot()
    }
}

impl World {
    /// Starts a server whose data lies in `folder`, with these members in its directory.
    ///
    /// # Errors
    /// When the folder cannot be written or no port is free.
    pub fn start(folder: &Path, members: &[(MemberId, String)]) -> Result<Self> {
        let config = ServerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: folder.join("server"),
            ..ServerConfig::default()
        };
        admin::create_workspace(&config, WORKSPACE, None)?;
        for (id, name) in members {
            admin::add_member(&config, WORKSPACE, name, Some(*id))?;
        }
        let key = TokenKey::open_or_create(&config.token_key())?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let server = runtime.block_on(Server::bind(config))?;
        let url = format!("ws://{}", server.local_addr()?);
        let metrics = server.metrics();
        let (stop, stopped) = oneshot::channel();
        let done = runtime.spawn(server.run(async {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        }));
        let server = Some(Running { stop, done });
        Ok(Self { runtime, server, metrics, url, key, folder: folder.to_owned() })
    }

    /// Opens a device for a person.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn device(&self, person: &Person, name: &str) -> Result<Device> {
        let path = self.folder.join(format!("{name}.db"));
        let clock =
            Arc::new(StoryClock { system: SystemClock::new(), ahead_ms: AtomicU64::new(0) });
        let token = self.key.mint(WORKSPACE, person.member, clock.system.wall(), TOKEN_LIFE);
        let config = Config::new(&path, WORKSPACE, person.member)
            .member_name(&person.name)
            .server(&self.url, StaticToken::new(token))
            .clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let client = Client::open(config).with_context(|| format!("opening {}", path.display()))?;
        Ok(Device { person: person.clone(), client, path, clock })
    }

    /// Connects a device until everything is sent and everything new has come.
    ///
    /// # Errors
    /// When that takes too long or the server refuses.
    pub fn sync(&self, device: &Device) -> Result<()> {
        let report = device.client.sync_once(PATIENCE)?;
        if !report.caught_up || report.remaining > 0 {
            bail!("{}'s device could not sync within {} s", device.person.name, PATIENCE.as_secs());
        }
        Ok(())
    }

    /// What went over the network so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let text = self.metrics.render();
        let figure = |name: &str| {
            text.lines()
                .filter_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
                .sum::<f64>()
        };
        // Counts of bytes are whole numbers far below 2^53.
        Traffic { up: figure(BYTES_IN) as u64, down: figure(BYTES_OUT) as u64 }
    }

    /// Stops the server after what it was handed.
    pub fn stop(&mut self) {
        if let Some(Running { stop, done }) = self.server.take() {
            // A server that has ended by itself needs no word.
            let _ = stop.send(());
            let _ = self.runtime.block_on(done);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Device {
    /// Moves the device's clock on to a moment of the story.
    pub fn advance_clock(&self, to: Timestamp) {
        let ahead = u64::try_from(to.since(self.clock.system.wall())).unwrap_or(0);
        self.clock.ahead_ms.fetch_max(ahead, Ordering::Relaxed);
    }
}
