//! A server in a process of its own: this very program, started with `--serve`. What it takes is its own.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sync_server::admin::{self, NewWorkspace};
use sync_server::config::{Limits, ServerConfig};
use sync_server::server;
use sync_server::token::TokenKey;
use tempfile::TempDir;

use super::stage::{WORKSPACE, member};
use crate::load::member::{Member, Route};
use crate::load::report::Memory;

/// The argument that makes the program a server.
pub const SERVE: &str = "--serve";

/// Everybody sees everything.
pub const OPEN: &str = crdt_core::policy::OPEN;
/// Everybody sees what is their own.
pub const OWN: &str = r#"
version = 1
default_role = "clerk"

[role.clerk]
label = "Clerk"

[[role.clerk.allow]]
entities = ["account"]
on = ["own"]
actions = ["read", "create", "update"]
"#;

/// A server with members, until it is dropped.
pub struct Apart {
    child: Child,
    address: SocketAddr,
    key: TokenKey,
    _folder: TempDir,
}

impl Apart {
    /// Starts it below `folder`, with so many members under a policy.
    ///
    /// # Errors
    /// When the folder cannot be written, or the server does not start.
    pub fn start(folder: &Path, policy: &str, members: usize) -> Result<Self> {
        let folder = tempfile::tempdir_in(folder)?;
        let config = config(folder.path());
        let policy = (policy.to_owned(), "policy.toml".to_owned());
        admin::create_workspace(&config, WORKSPACE, NewWorkspace { schema: None, policy })?;
        for place in 0..members {
            let name = name(place);
            admin::add_member(&config, WORKSPACE, &name, Some(member(&name)))?;
        }
        let key = TokenKey::open_or_create(&config.token_key())?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(SERVE)
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").context("it listens")?;
        Ok(Self { child, address: address.parse()?, key, _folder: folder })
    }

    /// A light device of a member.
    #[must_use]
    pub fn device(&self, place: usize) -> Member {
        let member = member(&name(place));
        let now = sync_server::clock::now();
        Member::new(member, self.key.mint(WORKSPACE, member, now, Duration::from_secs(3_600)))
    }

    /// The way to it.
    #[must_use]
    pub const fn route(&self) -> Route {
        Route { server: self.address, from: Ipv4Addr::LOCALHOST, receive_buffer: None }
    }

    /// What memory it holds now, MB.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn memory_mb(&self) -> Result<f64> {
        Ok(Memory::of(self.child.id())?.now as f64 / 1e6)
    }

    /// The time that processors have worked for it, µs.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn cpu_micros(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The program's name is in parentheses and may hold anything.
        let (_, rest) = text.rsplit_once(") ").context("the name has an end")?;
        let ticks = |place: usize| -> Result<f64> {
            Ok(rest.split(' ').nth(place).context("user and system time are there")?.parse()?)
        };
        Ok((ticks(11)? + ticks(12)?) * TICK_MICROS)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves a data directory that was prepared, until the process is killed.
///
/// # Errors
/// When its argument is missing, or it cannot be served.
pub fn run(arguments: &[String]) -> Result<String> {
    let [folder] = arguments else { bail!("{SERVE} DIR") };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let serving = server::serve(config(Path::new(folder)), std::future::pending());
    runtime.block_on(serving)?;
    Ok(String::new())
}

/// What is measured is the server, not its patience with one member, or with one address.
fn config(folder: &Path) -> ServerConfig {
    let limits = Limits {
        max_connections: SOCKETS,
        sockets_per_address: SOCKETS,
        sockets_per_member: SOCKETS,
        connects_per_minute: 1_000_000,
        requests_per_minute: 60_000_000,
        megabytes_per_hour: 1_000_000,
        idle_timeout: Duration::from_secs(900),
        ..Limits::default()
    };
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    ServerConfig { listen, data_dir: folder.join("server"), limits, ..ServerConfig::default() }
}

fn name(place: usize) -> String {
    format!("light {place}")
}

const SOCKETS: usize = 20_000;
/// What the system counts processor time in, µs: a hundredth of a second on Linux.
const TICK_MICROS: f64 = 10_000.0;
