//! A server inside the program, for the examples and the demo: one workspace, its policy and its members.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use client_sdk::{Client, Config, StaticToken};
use crdt_core::id::MemberId;
use crdt_core::policy;
use sync_server::admin::{self, AdminReply, AdminRequest, MemberFields, NewWorkspace};
use sync_server::audit::Summary;
use sync_server::config::ServerConfig;
use sync_server::server::Server;
use sync_server::telemetry::metrics::Metrics;
use sync_server::token::TokenKey;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// The workspace of the examples.
pub const WORKSPACE: &str = "field";

const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// A member as the directory has it.
#[derive(Debug, Clone)]
pub struct Seat {
    id: MemberId,
    fields: MemberFields,
}

impl Seat {
    /// A member without a role.
    #[must_use]
    pub fn new(id: MemberId, name: &str) -> Self {
        Self { id, fields: MemberFields { name: Some(name.to_owned()), ..MemberFields::default() } }
    }

    /// Gives the member a role of the policy.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.fields.role = Some(role.to_owned());
        self
    }

    /// Gives the member a territory.
    #[must_use]
    pub fn territory(mut self, territory: &str) -> Self {
        self.fields.territories.get_or_insert_default().push(territory.to_owned());
        self
    }

    /// Gives the member a region.
    #[must_use]
    pub fn region(mut self, region: &str) -> Self {
        self.fields.region = Some(region.to_owned());
        self
    }
}

/// A server and its members.
pub struct Stage {
    runtime: Runtime,
    config: ServerConfig,
    key: TokenKey,
    url: String,
    metrics: Metrics,
    stop: Option<oneshot::Sender<()>>,
    done: Option<tokio::task::JoinHandle<()>>,
}

impl Stage {
    /// Starts a server on a free loopback port, with its data below `folder` and these members, who may do
    /// everything.
    ///
    /// # Errors
    /// When the folder cannot be written or no port is free.
    pub fn start(folder: &Path, members: &[&str]) -> Result<Self> {
        let seats: Vec<Seat> = members.iter().map(|name| Seat::new(member(name), name)).collect();
        Self::under(policy::OPEN, folder, &seats)
    }

    /// As [`Stage::start`], under a policy, with members as the directory has them.
    ///
    /// # Errors
    /// As [`Stage::start`], and when the policy is not a good one.
    pub fn under(policy: &str, folder: &Path, seats: &[Seat]) -> Result<Self> {
        let config = ServerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: folder.join("server"),
            ..ServerConfig::default()
        };
        let policy = (policy.to_owned(), "the example's policy".to_owned());
        admin::create_workspace(&config, WORKSPACE, NewWorkspace { schema: None, policy })?;
        for Seat { id, fields } in seats {
            let request = AdminRequest::AddMember { id: Some(*id), fields: fields.clone() };
            admin::ask(&config, WORKSPACE, request)?;
        }
        let key = TokenKey::open_or_create(&config.token_key())?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let server = runtime.block_on(Server::bind(config.clone()))?;
        let url = format!("ws://{}", server.local_addr()?);
        let metrics = server.metrics();
        let (stop, stopped) = oneshot::channel::<()>();
        let done = runtime.spawn(server.run(async {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        }));
        Ok(Self { runtime, config, key, url, metrics, stop: Some(stop), done: Some(done) })
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
    /// Asks the running server what an operator asks on the command line.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn ask(&self, request: AdminRequest) -> Result<AdminReply> {
        Ok(admin::ask(&self.config, WORKSPACE, request)?)
    }

    /// Verifies the server's audit; nothing when it is broken.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn audit(&self) -> Result<Option<Summary>> {
        Ok(admin::audit::verify(&self.config, WORKSPACE, None)?.ok())
    }

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
