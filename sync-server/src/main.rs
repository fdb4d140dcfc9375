//! The command line of the server: reads arguments and configuration, calls the library, and says on the
//! exit status who has to act: 0 nobody, 2 whoever typed this, 1 whoever runs the machine.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use crdt_core::id::{MemberId, is_name};
use crdt_core::time::Timestamp;
use sync_server::config::{ConfigProblems, Flags, ServerConfig};
use sync_server::tls::{Acceptor, TlsError};
use sync_server::token::{TTL_S_MAX, TokenKey};
use sync_server::{admin, server, telemetry};

/// Fieldbook's sync server.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where the configuration and the data are.
#[derive(Args)]
struct Place {
    /// The configuration file; without one, everything has its default
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder with the data; wins over file and environment
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT; prints `listening on ADDRESS` when ready
    Serve {
        /// The address and port; wins over file and environment
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Say everything that is wrong with the configuration
    CheckConfig,
    /// Make workspaces
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Make members of a workspace
    #[command(subcommand)]
    Member(MemberCommand),
    /// Print a token with which a member's device connects
    Token {
        /// The workspace
        #[arg(long, value_parser = workspace_name)]
        workspace: String,
        /// The member's id, as `member add` printed it
        #[arg(long, value_name = "UUID")]
        member: MemberId,
        /// How long it is valid; without it, as configured
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=TTL_S_MAX))]
        ttl: Option<u64>,
    },
}

#[derive(Subcommand)]
enum WorkspaceCommand {
    /// Make a new workspace
    Create {
        /// Its name: lower case letters, digits and `_`
        #[arg(value_parser = workspace_name)]
        name: String,
        /// Its schema; without one, the built-in CRM
        #[arg(long, value_name = "FILE")]
        schema: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum MemberCommand {
    /// Add a member and print its id
    Add {
        /// The workspace
        #[arg(long, value_parser = workspace_name)]
        workspace: String,
        /// The member's name, for people to read
        #[arg(long)]
        name: String,
        /// The member's id; without it, a new one
        #[arg(long, value_name = "UUID")]
        id: Option<MemberId>,
    },
}

/// Why a command failed, by who has to act.
enum Failure {
    /// Whoever typed the command or wrote the files that it names.
    Input(String),
    /// Whoever runs the machine.
    Machine(String),
}

fn main() -> ExitCode {
    let Cli { place, command } = Cli::parse();
    let (status, text) = match run(place, command) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Input(text)) => (2, text),
        Err(Failure::Machine(text)) => (1, text),
    };
    // When standard error is closed there is nobody left to tell; the status still says it.
    writeln!(io::stderr(), "error: {text}").unwrap_or_default();
    ExitCode::from(status)
}

fn run(place: Place, command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve { listen } => serve(load(place, listen)?),
        Command::CheckConfig => check(&load(place, None)?),
        Command::Workspace(WorkspaceCommand::Create { name, schema }) => {
            create_workspace(&load(place, None)?, &name, schema.as_deref())
        }
        Command::Member(MemberCommand::Add { workspace, name, id }) => {
            let config = load(place, None)?;
            say(&admin::add_member(&config, &workspace, &name, id)?.to_string())
        }
        Command::Token { workspace, member, ttl } => {
            let config = load(place, None)?;
            let key = TokenKey::open_or_create(&config.token_key()).map_err(machine)?;
            let ttl = ttl.map_or(config.token.ttl, Duration::from_secs);
            say(&key.mint(&workspace, member, now(), ttl))
        }
    }
}

fn load(place: Place, listen: Option<String>) -> Result<ServerConfig, Failure> {
    let env = std::env::vars_os().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    });
    let flags = Flags { listen, data_dir: place.data_dir };
    Ok(ServerConfig::load(place.config.as_deref(), env, flags)?)
}

fn serve(config: ServerConfig) -> Result<(), Failure> {
    telemetry::init_logs(config.log).map_err(machine)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(machine)?;
    runtime.block_on(async {
        // Listened for before anything is opened, so that no signal falls between.
        let stop = stop_signal().map_err(machine)?;
        server::serve(config, stop).await.map_err(machine)
    })
}

fn check(config: &ServerConfig) -> Result<(), Failure> {
    if let Some(files) = &config.tls {
        Acceptor::from_files(&files.cert, &files.key)?;
    }
    say("the configuration is fine")
}

fn create_workspace(
    config: &ServerConfig,
    name: &str,
    schema: Option<&Path>,
) -> Result<(), Failure> {
    let Some(path) = schema else { return Ok(admin::create_workspace(config, name, None)?) };
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Input(format!("{file} cannot be read: {error}")))?;
    Ok(admin::create_workspace(config, name, Some((&text, &file)))?)
}

fn workspace_name(text: &str) -> Result<String, &'static str> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "a workspace's name is a lower case letter, then up to 63 lower case letters, digits and _",
        )
    }
}

/// Ends with the first SIGTERM or SIGINT.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
    })
}

/// Ends with Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "Ctrl-C cannot be heard");
            std::future::pending::<()>().await;
        }
    })
}

fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(machine)
}

/// An error with its causes, which `thiserror` leaves to whoever prints.
fn machine(error: impl Error) -> Failure {
    Failure::Machine(with_causes(&error))
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Many messages already end with their cause.
        if !text.ends_with(&said) {
            write!(text, ": {said}").unwrap_or_default();
        }
        cause = error.source();
    }
    text
}

impl From<ConfigProblems> for Failure {
    fn from(problems: ConfigProblems) -> Self {
        Self::Input(format!("the configuration has to be corrected\n{problems}"))
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Input(with_causes(&error))
    }
}

impl From<admin::AdminError> for Failure {
    fn from(error: admin::AdminError) -> Self {
        let text = with_causes(&error);
        if error.is_bad_input() { Self::Input(text) } else { Self::Machine(text) }
    }
}
