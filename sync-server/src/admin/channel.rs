//! The admin channel: a socket in the data directory, over which commands reach the server that holds it.
//!
//! JSON lines: one request and one answer on each connection. Only the server's own user (and root) is
//! heard: the socket has mode 600, and who connects is asked of the operating system besides.

#[cfg(unix)]
mod client;
#[cfg(unix)]
mod listen;

use std::fs::{File, TryLockError};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::error::{AdminError, Fault};
use super::request::{AdminCall, AdminReply, AdminRequest};

#[cfg(unix)]
pub(super) use client::ask;
#[cfg(unix)]
use listen::AdminSocket;

/// The largest request, bytes: a policy or a schema with its escapes.
const REQUEST_BYTES_MAX: u64 = 1024 * 1024;
/// The largest answer, bytes: a list of some ten thousand members or devices.
const REPLY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long either side waits for the other's line.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a simulation or an erasure may take: it walks through everything that is stored.
const WALK_TIMEOUT: Duration = Duration::from_secs(600);

/// The line that answers a request.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Ok(AdminReply),
    Failed(Fault),
}

/// How long an answer may take.
const fn patience(call: &AdminCall) -> Duration {
    match call.request {
        AdminRequest::Simulate { .. } | AdminRequest::Erase { .. } => WALK_TIMEOUT,
        AdminRequest::Recovery | AdminRequest::CloseRecovery => WALK_TIMEOUT,
        AdminRequest::AddMember { .. }
        | AdminRequest::SetMember { .. }
        | AdminRequest::SetActive { .. }
        | AdminRequest::ListMembers
        | AdminRequest::SetPassword { .. }
        | AdminRequest::ListDevices { .. }
        | AdminRequest::RevokeDevice { .. }
        | AdminRequest::PreviewErasure { .. }
        | AdminRequest::ShowErasure { .. }
        | AdminRequest::CheckPolicy { .. }
        | AdminRequest::SetPolicy { .. }
        | AdminRequest::ShowPolicy
        | AdminRequest::NoteBackup { .. }
        | AdminRequest::ConfirmRestore { .. }
        | AdminRequest::Explain { .. } => TIMEOUT,
    }
}

/// The socket of a data directory.
#[must_use]
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

/// A server's hold on its data directory, and the channel over which commands reach it there.
pub struct AdminChannel {
    #[cfg(unix)]
    socket: Option<AdminSocket>,
    lock: File,
}

/// A server cannot hold the data directory.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Two servers would judge twice.
    #[error("another server holds the data directory {0}; stop it first")]
    Held(String),
    /// The lock's file cannot be made.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Holds a data directory: no server can run in it until the value is dropped.
///
/// # Errors
/// When a server holds it, or it cannot be written.
pub(super) fn hold(data_dir: &Path) -> Result<File, HoldError> {
    let path = data_dir.join("server.lock");
    let failed = |source| HoldError::Io { path: path.display().to_string(), source };
    let lock = File::create(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(HoldError::Held(data_dir.display().to_string())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl AdminChannel {
    /// Takes the data directory and listens in it. Where no socket can be made the server runs without
    /// one: commands need it stopped then, and say so.
    ///
    /// # Errors
    /// When another server holds the directory, or it cannot be written.
    pub fn open(data_dir: &Path) -> Result<Self, HoldError> {
        let lock = hold(data_dir)?;
        #[cfg(unix)]
        let socket = AdminSocket::bind(data_dir)
            .inspect_err(|error| tracing::warn!(%error, "no admin channel: commands need the server stopped"))
            .ok();
        Ok(Self {
            #[cfg(unix)]
            socket,
            lock,
        })
    }

    /// Answers commands with `perform` until `stop`; what was begun is finished first. The data directory
    /// is held until the value that is given back is dropped.
    #[must_use]
    pub async fn serve<F, A>(self, perform: F, stop: watch::Receiver<bool>) -> File
    where
        F: Fn(AdminCall) -> A + Send + Sync + 'static,
        A: Future<Output = Result<AdminReply, AdminError>> + Send,
    {
        #[cfg(unix)]
        if let Some(socket) = self.socket {
            socket.serve(perform, stop).await;
        }
        #[cfg(not(unix))]
        drop((perform, stop));
        self.lock
    }
}

/// Asks the server that holds the data directory; nothing when there is none. Elsewhere than on Unix no
/// server can be asked, and a command that meets one says so when it opens the workspace.
///
/// # Errors
/// When the server fails the request or cannot be reached.
#[cfg(not(unix))]
pub(super) fn ask(_: &Path, _: &AdminCall) -> Result<Option<AdminReply>, AdminError> {
    Ok(None)
}
