//! The commands and what they share: where the data is, which workspace, how to answer.

mod audit;
mod backup;
mod device;
mod erase;
mod explain;
mod failure;
mod member;
mod policy;
mod table;
mod token;
mod workspace;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use crdt_core::id::{MemberId, RecordId, is_name};
use serde::Serialize;
use sync_server::admin::{self, AdminReply, AdminRequest};
use sync_server::config::{Flags, ServerConfig};

pub(crate) use failure::{Failure, machine};

/// Fieldbook's sync server.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the configuration and the data are.
#[derive(Args)]
pub(crate) struct Place {
    /// The configuration file; without one, everything has its default
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder with the data; wins over file and environment
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
}

/// Which workspace a command is about.
#[derive(Args)]
pub(crate) struct Target {
    /// The workspace
    #[arg(long, short, value_parser = workspace_name)]
    workspace: String,
}

/// How a command answers.
#[derive(Args, Clone, Copy)]
pub(crate) struct Output {
    /// Answer with JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve until SIGTERM or SIGINT; prints `listening on ADDRESS` when ready
    Serve {
        /// The address and port; wins over file and environment
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Say everything that is wrong with the configuration
    CheckConfig,
    /// Make and list workspaces
    #[command(subcommand)]
    Workspace(workspace::WorkspaceCommand),
    /// Say who belongs to a workspace, and what they are
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// List devices and shut them out
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Check, show and change who may see and do what
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Say what a member may do with a record, and by which rules
    Explain {
        #[command(flatten)]
        target: Target,
        /// The member's id
        member: MemberId,
        /// The record's id
        record: RecordId,
        #[command(flatten)]
        output: Output,
    },
    /// Say what a policy would change for each member, before it is put in force
    Simulate {
        #[command(flatten)]
        target: Target,
        /// The policy
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Copy a workspace to a new file, beside a running server or without one, and look at the copy
    Backup {
        #[command(flatten)]
        target: Target,
        /// The file; it must not exist
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Put a workspace back to a backup, while no server runs: devices then give back what is newer
    Restore {
        #[command(flatten)]
        target: Target,
        /// The backup
        #[arg(required_unless_present = "confirm", conflicts_with = "confirm")]
        file: Option<PathBuf>,
        /// The workspace's file was put back by other means: go on with it
        #[arg(long)]
        confirm: bool,
        /// With `--confirm`: up to where its log is what devices know; everything is compared without it
        #[arg(long, value_name = "POSITION", default_value_t = 0, requires = "confirm")]
        common: u64,
        #[command(flatten)]
        output: Output,
    },
    /// Say how far a workspace has come back since it was restored, and what is still missing
    Recovery {
        #[command(flatten)]
        target: Target,
        /// From now on devices give back only their own work, and what still waits is dropped
        #[arg(long)]
        close: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Erase a record for good: its history, its search words, on the server and on every device
    Erase {
        #[command(flatten)]
        target: Target,
        /// The record's id
        record: RecordId,
        /// Do it; without this, say what would be erased
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Show the certificate of an erasure: what was erased where, and which devices have confirmed
    Erasure {
        #[command(flatten)]
        target: Target,
        /// The record's id
        record: RecordId,
        #[command(flatten)]
        output: Output,
    },
    /// Verify, read and anchor the record of who did what
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Print a token with which a member's device connects
    Token(token::TokenCommand),
}

/// Runs every command but those that serve or only look at the configuration.
pub(crate) fn run(place: Place, command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve { listen } => crate::serve(load(place, listen)?),
        Command::CheckConfig => crate::check(&load(place, None)?),
        Command::Workspace(command) => workspace::run(&load(place, None)?, command),
        Command::Member(command) => member::run(&load(place, None)?, command),
        Command::Device(command) => device::run(&load(place, None)?, command),
        Command::Policy(command) => policy::run(&load(place, None)?, command),
        Command::Explain { target, member, record, output } => {
            explain::explain(&load(place, None)?, &target, member, record, output)
        }
        Command::Simulate { target, file, output } => {
            explain::simulate(&load(place, None)?, &target, &file, output)
        }
        Command::Backup { target, file, output } => {
            backup::back_up(&load(place, None)?, &target, &file, output)
        }
        Command::Restore { target, file, common, output, .. } => match file {
            Some(file) => backup::restore(&load(place, None)?, &target, &file, output),
            None => backup::confirm(&load(place, None)?, &target, common, output),
        },
        Command::Recovery { target, close, output } => {
            backup::recovery(&load(place, None)?, &target, close, output)
        }
        Command::Erase { target, record, yes, output } => {
            erase::erase(&load(place, None)?, &target, record, yes, output)
        }
        Command::Erasure { target, record, output } => {
            erase::certificate(&load(place, None)?, &target, record, output)
        }
        Command::Audit(command) => audit::run(&load(place, None)?, command),
        Command::Token(command) => token::run(&load(place, None)?, &command),
    }
}

fn load(place: Place, listen: Option<String>) -> Result<ServerConfig, Failure> {
    let env = std::env::vars_os().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    });
    let flags = Flags { listen, data_dir: place.data_dir };
    Ok(ServerConfig::load(place.config.as_deref(), env, flags)?)
}

/// Asks a workspace: its server, or itself when none runs.
fn ask(
    config: &ServerConfig,
    target: &Target,
    request: AdminRequest,
) -> Result<AdminReply, Failure> {
    Ok(admin::ask(config, &target.workspace, request)?)
}

/// An answer of another kind than the request asks for.
fn unexpected(reply: &AdminReply) -> Failure {
    let kind = match reply {
        AdminReply::Done => "done",
        AdminReply::Added { .. } => "added",
        AdminReply::Members(_) => "members",
        AdminReply::Devices(_) => "devices",
        AdminReply::Holdings(_) => "holdings",
        AdminReply::Erasure(_) => "erasure",
        AdminReply::Policy { .. } => "policy",
        AdminReply::Explanation(_) => "explanation",
        AdminReply::Simulation(_) => "simulation",
        AdminReply::Noted(_) => "noted",
        AdminReply::Recovery(_) => "recovery",
        AdminReply::Restored(_) => "restored",
    };
    let text = format!("the server answered something else ({kind}); is it the same version?");
    Failure::Machine(text)
}

/// A file that a command names, and how problems call it.
fn read_file(path: &Path) -> Result<(String, String), Failure> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Input(format!("{file} cannot be read: {error}")))?;
    Ok((text, file))
}

/// Says a line on standard output.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    finished(writeln!(io::stdout(), "{text}"))
}

/// What writing to standard output came to: a reader that has seen enough is no failure.
fn finished(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(machine),
    }
}

fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    say(&serde_json::to_string_pretty(value).map_err(machine)?)
}

/// Tells the person at the terminal something that is no failure.
fn warn(text: &str) {
    // When standard error is closed there is nobody left to tell.
    writeln!(io::stderr(), "warning: {text}").unwrap_or_default();
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
