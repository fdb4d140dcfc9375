//! What operators do to a data directory while no server has the workspace open.

use std::path::Path;

use crdt_core::id::{Epoch, MemberId, is_name};
use crdt_core::protocol::PeerLimits;
use crdt_core::schema::{Schema, SchemaProblems};
use rand::RngCore as _;

use crate::config::ServerConfig;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{self, StoreError};
use crate::workspaces::Workspaces;

/// A command failed; nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The name is not one.
    #[error("`{0}` is not a workspace name: a lower case letter, then letters, digits and `_`")]
    BadName(String),
    /// There is one already.
    #[error("workspace `{0}` exists already")]
    Exists(String),
    /// There is none.
    #[error("there is no workspace `{0}`; create it with `sync-server workspace create {0}`")]
    NoSuchWorkspace(String),
    /// The schema is not a good one.
    #[error("{0}")]
    Schema(#[from] SchemaProblems),
    /// A file or directory cannot be made.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The storage fails, or a server has it open.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AdminError {
    /// Whether the command itself was wrong, and not the machine.
    #[must_use]
    pub const fn is_bad_input(&self) -> bool {
        match self {
            Self::BadName(_) | Self::Exists(_) | Self::NoSuchWorkspace(_) | Self::Schema(_) => true,
            Self::Io { .. } | Self::Store(_) => false,
        }
    }
}

/// Makes a workspace with the built-in schema or the given one (its text and its file's name).
///
/// # Errors
/// When the name or schema is bad, the workspace exists, or the disk refuses.
pub fn create_workspace(
    config: &ServerConfig,
    name: &str,
    schema: Option<(&str, &str)>,
) -> Result<(), AdminError> {
    if !is_name(name) {
        return Err(AdminError::BadName(name.chars().take(80).collect()));
    }
    let text = match schema {
        Some((text, file)) => Schema::parse(text, file)?.text().to_owned(),
        None => Schema::builtin().text().to_owned(),
    };
    let path = Workspaces::path(&config.data_dir, name);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .map_err(|source| AdminError::Io { path: folder.display().to_string(), source })?;
    if path.exists() {
        return Err(AdminError::Exists(name.to_owned()));
    }
    let mut epoch = [0; 16];
    rand::rng().fill_bytes(&mut epoch);
    Ok(SqliteStore::create(&path, Epoch(epoch), &text)?)
}

/// Adds a member to a workspace's directory, or renames it, and gives its id.
///
/// # Errors
/// When there is no such workspace or its storage fails.
pub fn add_member(
    config: &ServerConfig,
    workspace: &str,
    name: &str,
    id: Option<MemberId>,
) -> Result<MemberId, AdminError> {
    let path = Workspaces::path(&config.data_dir, workspace);
    if !is_name(workspace) || !path.exists() {
        return Err(AdminError::NoSuchWorkspace(workspace.chars().take(80).collect()));
    }
    let id = id.unwrap_or_else(|| {
        let mut random = [0; 10];
        rand::rng().fill_bytes(&mut random);
        MemberId(crdt_core::id::RecordId::new(crate::clock::now(), random).0)
    });
    let options = SqliteOptions { max_page_count: config.storage.max_page_count };
    let opened = SqliteStore::open(&path, options)?;
    store::write(&opened, |tx| tx.put_member(&id, name))?;
    Ok(id)
}

/// The limits that a server grants to each connection.
#[must_use]
pub fn peer_limits(config: &ServerConfig) -> PeerLimits {
    PeerLimits {
        batches_in_flight: u32::try_from(config.limits.batches_in_flight).unwrap_or(u32::MAX),
        pages_in_flight: u32::try_from(config.limits.pages_in_flight).unwrap_or(u32::MAX),
    }
}
