//! What operators do with workspaces: the functions behind the command line.
//!
//! A command that is about one workspace asks the server that holds the data directory, over its
//! [`channel`]; when there is none it opens the workspace itself. Either way [`perform()`] does it.

pub mod audit;
pub mod backup;
pub mod channel;
mod erasure;
mod error;
mod perform;
pub mod recovery;
mod request;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crdt_core::id::{Epoch, MemberId, is_name};
use crdt_core::policy::{OPEN, Policy, SALES};
use crdt_core::protocol::PeerLimits;
use crdt_core::schema::Schema;
use rand::RngCore as _;

use crate::audit::{Act, append_act, sha256};
use crate::clock;
use crate::config::ServerConfig;
use crate::ledger::Ledger;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{self, StoreError};
use crate::workspace::Workspace;
use crate::workspaces::{Mark, Workspaces};

pub use erasure::{CertificateLines, ErasedLine, ErasedOnLine, HoldingsLines, SectionLine};
pub use error::{AdminError, Fault, FaultCode, with_causes};
pub use perform::perform;
pub use request::{
    AdminCall, AdminReply, AdminRequest, DeviceLine, ExplanationLine, ExplanationLines,
    MemberFields, MemberLine, Secret, SimulationLine, SimulationLines, parse_device,
};

/// What a workspace begins with: texts, and what problems call their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWorkspace {
    /// The schema; the built-in one when there is none.
    pub schema: Option<(String, String)>,
    /// The policy.
    pub policy: (String, String),
}

impl NewWorkspace {
    /// The built-in schema, open to every member.
    #[must_use]
    pub fn open() -> Self {
        Self { schema: None, policy: (OPEN.to_owned(), "open".to_owned()) }
    }
}

impl Default for NewWorkspace {
    /// The built-in schema, and the policy of a sales organisation.
    fn default() -> Self {
        Self { schema: None, policy: (SALES.to_owned(), "sales".to_owned()) }
    }
}

/// Makes a workspace.
///
/// # Errors
/// When the name, schema or policy is bad, the workspace exists, or the disk refuses.
pub fn create_workspace(
    config: &ServerConfig,
    name: &str,
    new: NewWorkspace,
) -> Result<(), AdminError> {
    if !is_name(name) {
        return Err(AdminError::BadName(name.chars().take(80).collect()));
    }
    let schema = match &new.schema {
        Some((text, file)) => Arc::new(Schema::parse(text, file)?),
        None => Arc::clone(Schema::builtin()),
    };
    let (text, file) = &new.policy;
    let policy = Policy::parse(text, file, &schema)?;
    let path = Workspaces::path(&config.data_dir, name);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let _turn = take_turn(config)?;
    if path.exists() {
        return Err(AdminError::Exists(name.to_owned()));
    }
    // It gets its name when it is whole: a workspace without its policy would be open to every member.
    let unfinished = folder.join(format!(".{name}.new"));
    forget(&unfinished)?;
    fill(&unfinished, &schema, &policy)?;
    std::fs::rename(&unfinished, &path).map_err(|source| failed(&path, source))?;
    forget(&unfinished)
}

/// Writes a new workspace's file, and closes it.
fn fill(path: &Path, schema: &Schema, policy: &Policy) -> Result<(), StoreError> {
    let mut epoch = [0; 16];
    rand::rng().fill_bytes(&mut epoch);
    SqliteStore::create(path, Epoch(epoch), schema.text())?;
    let opened = SqliteStore::open(path, SqliteOptions::default())?;
    let now = clock::now();
    store::write(&opened, |tx| {
        tx.put_policy(policy.text())?;
        let (version, digest) = (schema.version(), sha256(&[schema.text().as_bytes()]));
        append_act(tx, now, Act::SchemaPut { version, digest })?;
        let (version, digest) = (policy.version(), sha256(&[policy.text().as_bytes()]));
        append_act(tx, now, Act::PolicyPut { version, digest }).map(drop)
    })
}

/// Removes what an unfinished workspace may have left.
fn forget(unfinished: &Path) -> Result<(), AdminError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut path = unfinished.as_os_str().to_owned();
        path.push(suffix);
        remove(Path::new(&path))?;
    }
    remove(&unfinished.with_extension("lock"))
}

fn remove(path: &Path) -> Result<(), AdminError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(path: &Path, source: std::io::Error) -> AdminError {
    AdminError::Io { path: path.display().to_string(), source }
}

/// Commands that work on the data directory themselves take turns; a crashed one's turn is over.
fn take_turn(config: &ServerConfig) -> Result<File, AdminError> {
    let path = config.data_dir.join("commands.lock");
    let file = File::create(&path).map_err(|source| failed(&path, source))?;
    file.lock().map_err(|source| failed(&path, source))?;
    Ok(file)
}

/// Asks a workspace: the server that holds it, or the workspace itself when no server runs.
///
/// # Errors
/// When there is no such workspace, the request cannot be done, or the machine fails. Nothing has changed
/// then, except where the error says that nobody knows.
pub fn ask(
    config: &ServerConfig,
    workspace: &str,
    request: AdminRequest,
) -> Result<AdminReply, AdminError> {
    let path = existing(config, workspace)?;
    let call = AdminCall { workspace: workspace.to_owned(), request };
    if let Some(reply) = channel::ask(&config.data_dir, &call)? {
        return Ok(reply);
    }
    let _turn = take_turn(config)?;
    // A server may have come while another command had its turn.
    if let Some(reply) = channel::ask(&config.data_dir, &call)? {
        return Ok(reply);
    }
    let options =
        SqliteOptions { max_page_count: config.storage.max_page_count, ..SqliteOptions::default() };
    let opened = SqliteStore::open(&path, options).map_err(|error| match error {
        StoreError::InUse => AdminError::Channel(
            "a server has this workspace open and no admin channel; stop it first".to_owned(),
        ),
        error => error.into(),
    })?;
    let ledger = Ledger::path(&config.data_dir, &call.workspace);
    let ledger = Ledger::open(&ledger).map_err(StoreError::from)?;
    let opened = Workspace::open(Arc::new(opened), peer_limits(config))?;
    let mut workspace = opened.with_ledger(clock::now(), ledger)?;
    if Mark::of(&config.data_dir, &call.workspace).is_beyond(&*workspace.store())? {
        workspace.halt()?;
    }
    perform(&mut workspace, clock::now(), call.request)
}

/// Adds a member to a workspace's directory under the policy's default role, or renames it, and gives its
/// id. No server has the workspace open.
///
/// # Errors
/// When there is no such workspace or its storage fails.
pub fn add_member(
    config: &ServerConfig,
    workspace: &str,
    name: &str,
    id: Option<MemberId>,
) -> Result<MemberId, AdminError> {
    let path = existing(config, workspace)?;
    let id = id.unwrap_or_else(new_member);
    let options =
        SqliteOptions { max_page_count: config.storage.max_page_count, ..SqliteOptions::default() };
    let opened = SqliteStore::open(&path, options)?;
    store::write(&opened, |tx| tx.put_member(&id, name))?;
    Ok(id)
}

/// An id for a new member.
fn new_member() -> MemberId {
    let mut random = [0; 10];
    rand::rng().fill_bytes(&mut random);
    MemberId(crdt_core::id::RecordId::new(clock::now(), random).0)
}

/// The file of a workspace that exists.
pub(crate) fn existing(config: &ServerConfig, workspace: &str) -> Result<PathBuf, AdminError> {
    let path = Workspaces::path(&config.data_dir, workspace);
    if is_name(workspace) && path.exists() {
        Ok(path)
    } else {
        Err(AdminError::NoSuchWorkspace(workspace.chars().take(80).collect()))
    }
}

/// The names of the workspaces of a data directory, in order.
///
/// # Errors
/// When the directory cannot be read.
pub fn list_workspaces(config: &ServerConfig) -> Result<Vec<String>, AdminError> {
    let folder = config.data_dir.join("workspaces");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(&folder, error))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "db") && is_name(stem) {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The limits that a server grants to each connection.
#[must_use]
pub fn peer_limits(config: &ServerConfig) -> PeerLimits {
    PeerLimits {
        batches_in_flight: u32::try_from(config.limits.batches_in_flight).unwrap_or(u32::MAX),
        pages_in_flight: u32::try_from(config.limits.pages_in_flight).unwrap_or(u32::MAX),
    }
}
