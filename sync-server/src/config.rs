//! The server's configuration: what each part means and its default. A `ServerConfig` that was loaded is
//! within bounds.
//!
//! Layers, later ones win: defaults, the file, environment variables `FIELDBOOK__SECTION__KEY`, flags.
//! Every problem of every layer is reported at once, each with the place it came from. The keys, their
//! bounds and their spelling are in `config/setting.rs`.

mod given;
mod issuer;
mod problem;
mod setting;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crdt_core::limits;

pub use self::issuer::{IssuerConfig, KeySource, KeyUrl, WorkspaceRule};
pub use self::problem::{ConfigProblems, Fault, Problem, Source};

use self::given::Assignment;
use self::setting::{Draft, SETTINGS};

/// Everything an operator decides about one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where the one port listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The folder that holds the workspaces' databases and the token key.
    pub data_dir: PathBuf,
    /// Web pages that may open a socket, compared byte for byte with the `Origin` header. Requests without
    /// that header do not come from a web page and are not concerned.
    pub allowed_origins: Vec<String>,
    /// How long open connections may take to end after a stop signal.
    pub drain_timeout: Duration,
    /// What one peer, and all of them together, may use.
    pub limits: Limits,
    /// TLS, unless something in front of the server ends it.
    pub tls: Option<TlsFiles>,
    /// Logs on standard error.
    pub log: Log,
    /// Tokens that this server mints.
    pub token: TokenSettings,
    /// Identity providers whose tokens are taken as well, by their names here.
    pub issuers: Vec<IssuerConfig>,
    /// Members who sign in with a password of this server.
    pub accounts: AccountSettings,
    /// Databases of workspaces.
    pub storage: Storage,
}

/// What one peer, and all of them together, may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open sync connections of the whole server; the next one is answered 503.
    pub max_connections: usize,
    /// Open sockets whose device has not said who it is; the next one takes the place of the oldest of the
    /// address that has most of them.
    pub max_handshakes: usize,
    /// From accepting a connection to its hello: TLS, headers and upgrade included.
    pub handshake_timeout: Duration,
    /// A connection that has sent nothing for this long, not even a ping, is closed.
    pub idle_timeout: Duration,
    /// The largest message that is read, in bytes.
    pub frame_bytes: usize,
    /// Batches received and not yet answered, per connection.
    pub batches_in_flight: usize,
    /// Pages sent and not yet acknowledged, per connection.
    pub pages_in_flight: usize,
    /// Open sockets of one address, upgraded or not; a proxy that is trusted is not counted.
    pub sockets_per_address: usize,
    /// Attempts at a sync connection from one address, per minute.
    pub connects_per_minute: u32,
    /// Open sync connections of one member, on all devices.
    pub sockets_per_member: usize,
    /// Batches, acknowledgements, fetches and tokens of one member, per minute; five minutes' worth at once.
    pub requests_per_minute: u32,
    /// What one member may send, in MiB per hour; all of it at once.
    pub megabytes_per_hour: u32,
}

/// The two PEM files that TLS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and the chain above it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Logs on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// How a line is spelled.
    pub format: LogFormat,
}

/// The least important lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed and somebody has to act.
    Error,
    /// Something is odd and may need somebody.
    Warn,
    /// What an operator wants to read afterwards.
    Info,
    /// Why a connection ended.
    Debug,
    /// Everything.
    Trace,
}

/// How a log line is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Tokens that this server mints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// How long a token is valid when its maker does not say.
    pub ttl: Duration,
}

/// Members who sign in with a password of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSettings {
    /// How long an access token is valid.
    pub access_ttl: Duration,
    /// How long a device that does not come back stays signed in.
    pub refresh_ttl: Duration,
    /// How often one address may try a password, per minute; 0 switches signing in off.
    pub attempts_per_minute: u32,
    /// Addresses of what stands in front of the server, whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

/// Databases of workspaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The most pages that one workspace's database may have; without it the disk is the bound.
    pub max_page_count: Option<u32>,
}

/// What the command line sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8640)),
            data_dir: PathBuf::from("data"),
            allowed_origins: Vec::new(),
            drain_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            tls: None,
            log: Log { level: LogLevel::Info, format: LogFormat::Text },
            token: TokenSettings { ttl: Duration::from_secs(24 * 60 * 60) },
            issuers: Vec::new(),
            accounts: AccountSettings::default(),
            storage: Storage { max_page_count: None },
        }
    }
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self {
            access_ttl: Duration::from_secs(15 * 60),
            refresh_ttl: Duration::from_secs(90 * 24 * 60 * 60),
            // An office of forty behind one address signs in within a minute.
            attempts_per_minute: 60,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            // All devices that come back after a restart have ten seconds each; a socket costs 20 KiB.
            max_handshakes: 4_096,
            handshake_timeout: Duration::from_secs(10),
            // Devices ping every 25 seconds: two may be lost.
            idle_timeout: Duration::from_secs(60),
            frame_bytes: limits::FRAME_BYTES_MAX,
            batches_in_flight: limits::BATCHES_IN_FLIGHT_MAX,
            pages_in_flight: limits::PAGES_IN_FLIGHT_MAX,
            // A network operator's gateway, or an office, is one address.
            sockets_per_address: 2_000,
            // All of those come back within a minute after a restart.
            connects_per_minute: 3_000,
            // A person has three devices; a program that writes for many has more.
            sockets_per_member: 64,
            // A person makes ten edits a minute. An import sends a thousand records in each batch.
            requests_per_minute: 1_200,
            megabytes_per_hour: 1_024,
        }
    }
}

impl ServerConfig {
    /// The configuration out of all layers. Environment variables without the prefix `FIELDBOOK__` are
    /// not looked at; unknown ones with it are a problem, since a typing error would otherwise pass.
    ///
    /// # Errors
    /// Every problem of every layer.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        flags: Flags,
    ) -> Result<Self, ConfigProblems> {
        let mut problems = Vec::new();
        let mut assignments = Vec::new();
        if let Some(path) = path {
            given::from_file(path, &mut assignments, &mut problems);
        }
        given::from_environment(env, &mut assignments);
        given::from_flags(flags, &mut assignments);
        assemble(assignments, problems)
    }

    /// The configuration that the text of one file means, without environment and flags; `name` is how
    /// problems call it.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(text: &str, name: &Path) -> Result<Self, ConfigProblems> {
        let mut problems = Vec::new();
        let mut assignments = Vec::new();
        given::from_text(text, name, &mut assignments, &mut problems);
        assemble(assignments, problems)
    }

    /// The file of the key that signs tokens.
    #[must_use]
    pub fn token_key(&self) -> PathBuf {
        self.data_dir.join("token-key.pem")
    }
}

fn assemble(
    assignments: Vec<Assignment>,
    mut problems: Vec<Problem>,
) -> Result<ServerConfig, ConfigProblems> {
    let mut draft = Draft::default();
    for Assignment { key, given, source } in assignments {
        let applied = match SETTINGS.iter().find(|setting| setting.key == key) {
            Some(setting) => (setting.set)(&mut draft, &given),
            None => draft.set_issuer(&key, &given, &source).unwrap_or(Err(setting::unknown(&key))),
        };
        match applied {
            Ok(()) => draft.set_by(&key, source),
            Err(fault) => problems.push(Problem { source, key: Some(key), fault }),
        }
    }
    draft.finish(problems)
}

#[cfg(test)]
mod tests;
