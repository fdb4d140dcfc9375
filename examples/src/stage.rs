//! A server inside the program, for the small examples: one workspace, two members, a token for each.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use client_sdk::{Client, Config, StaticToken};
use crdt_core::id::MemberId;
use sync_server::admin;
use sync_server::config::ServerConfig;
use sync_server::server::Server;
use sync_server::token::TokenKey;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// The workspace of the examples.
pub const WORKSPACE: &str = "field";

/// A server and its members.
pub struct Stage {
    runtime: Runtime,
    key: TokenKey,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    done: Option<tokio::task::JoinHandle<()>>,
}

impl Stage {
    /// Starts a server on a free loopback port, with its data below `folder` and these members.
    ///
    /// # Errors
    /// When the folder cannot be written or no port is free.
    pub fn start(folder: &Path, members: &[&str]) -> Result<Self> {
        let config = ServerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: folder.join("server"),
            ..ServerConfig::default()
        };
        admin::create_workspace(&config, WORKSPACE, None)?;
        for name in members {
            admin::add_member(&config, WORKSPACE, name, Some(member(name)))?;
        }
        let key = TokenKey::open_or_create(&config.token_key())?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let server = runtime.block_on(Server::bind(config))?;
        let url = format!("ws://{}", server.local_addr()?);
        let (stop, stopped) = oneshot::channel::<()>();
        let done = runtime.spawn(server.run(async {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        }));
        Ok(Self { runtime, key, url, stop: Some(stop), done: Some(done) })
    }

    /// Opens a member's device below `folder`.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn device(&self, folder: &Path, name: &str) -> Result<Client> {
        let now = sync_server::clock::now();
        let token = self.key.mint(WORKSPACE, member(name), now, Duration::from_secs(3_600));
        let path = folder.join(format!("{}.db", name.to_lowercase()));
        let config = Config::new(path, WORKSPACE, member(name))
            .member_name(name)
            .server(&self.url, StaticToken::new(token));
        Ok(Client::open(config)?)
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

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(done) = self.done.take() {
            // A server that ended with a panic has said so.
            let _ = self.runtime.block_on(done);
        }
    }
}

/// The id of a member of the examples.
#[must_use]
pub fn member(name: &str) -> MemberId {
    MemberId::from_source_key("member", name)
}
