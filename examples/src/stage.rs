//! A server inside the program, for the examples and the demo: one workspace and its members.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use client_sdk::{Client, Config, StaticToken};
use crdt_core::id::MemberId;
use sync_server::admin;
use sync_server::config::ServerConfig;
use sync_server::server::Server;
use sync_server::telemetry::metrics::Metrics;
use sync_server::token::TokenKey;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// The workspace of the examples.
pub const WORKSPACE: &str = "field";

const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// A server and its members.
pub struct Stage {
    runtime: Runtime,
    key: TokenKey,
    url: String,
    metrics: Metrics,
    stop: Option<oneshot::Sender<()>>,
    done: Option<tokio::task::JoinHandle<()>>,
}

impl Stage {
    /// Starts a server on a free loopback port, with its data below `folder` and these members.
    ///
    /// # Errors
    /// When the folder cannot be written or no port is free.
    pub fn start(folder: &Path, members: &[&str]) -> Result<Self> {
        let members: Vec<_> =
            members.iter().map(|name| (member(name), (*name).to_owned())).collect();
        Self::with_members(folder, &members)
    }

    /// As [`Stage::start`], with members whose ids are known.
    ///
    /// # Errors
    /// As [`Stage::start`].
    pub fn with_members(folder: &Path, members: &[(MemberId, String)]) -> Result<Self> {
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
        let (stop, stopped) = oneshot::channel::<()>();
        let done = runtime.spawn(server.run(async {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        }));
        Ok(Self { runtime, key, url, metrics, stop: Some(stop), done: Some(done) })
    }

    /// Opens a member's device below `folder`.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn device(&self, folder: &Path, name: &str) -> Result<Client> {
        let path = folder.join(format!("{}.db", name.to_lowercase()));
        let config = self.config(&path, member(name), name);
        Ok(Client::open(config)?)
    }

    /// What a member's device is opened with.
    #[must_use]
    pub fn config(&self, path: &Path, member: MemberId, name: &str) -> Config {
        let token = self.key.mint(WORKSPACE, member, sync_server::clock::now(), TOKEN_LIFE);
        Config::new(path, WORKSPACE, member)
            .member_name(name)
            .server(&self.url, StaticToken::new(token))
    }

    /// The server's figures.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Syncs a device until everything is sent and everything new has come.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub fn sync(&self, client: &Client) -> Result<()> {
        let report = client.sync_once(Duration::from_secs(30))?;
        anyhow::ensure!(report.caught_up, "the device is not caught up");
        Ok(())
    }
}

impl Stage {
    /// Stops the server after what it was handed.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(done) = self.done.take() {
            // A server that ended with a panic has said so.
            let _ = self.runtime.block_on(done);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The id of a member of the examples.
#[must_use]
pub fn member(name: &str) -> MemberId {
    MemberId::from_source_key("member", name)
}
