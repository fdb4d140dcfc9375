//! How sync stands: one value that an app can show, watch and read again after a restart.

use crdt_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Counts;

/// How sync stands. Local work never depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncStatus {
    /// What sync is doing.
    pub phase: SyncPhase,
    /// Records with edits that the server has not answered.
    pub unsent_records: u64,
    /// Batches that the server has not answered.
    pub unsent_batches: u64,
    /// What these batches occupy, bytes.
    pub unsent_bytes: u64,
    /// When the oldest of them was written.
    pub oldest_unsent: Option<Timestamp>,
    /// When everything was last sent and everything new had come; kept in the database.
    pub last_synced: Option<Timestamp>,
    /// What went wrong last, until the next time that all is synced; kept in the database.
    pub last_error: Option<SyncError>,
    /// Records that could not be read as they came and were set aside; all others keep syncing.
    pub broken_records: u64,
    /// Refused batches that wait for the user.
    pub disputes: u64,
    /// What the server's last welcome granted.
    pub access: AccessStatus,
}

/// What this member was granted, as the last welcome said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessStatus {
    /// The policy in force; 0 before the first welcome.
    pub policy_version: u64,
    /// Why this build cannot use that policy: it then advises nothing and leaves judging to the server.
    pub policy_problem: Option<String>,
    /// Scopes that were gained and have not come whole yet.
    pub scopes_gained: Vec<String>,
    /// Scopes that were lost and whose records are still being removed.
    pub scopes_lost: Vec<String>,
    /// When the session's token ends, by the server's clock.
    pub token_expires: Option<Timestamp>,
}

impl SyncStatus {
    /// Shows what was counted.
    pub(crate) fn take(&mut self, counts: &Counts) {
        self.unsent_records = counts.unsent.records;
        self.unsent_batches = counts.unsent.batches;
        self.unsent_bytes = counts.unsent.bytes;
        self.oldest_unsent = counts.unsent.oldest;
        self.broken_records = counts.broken_records;
        self.disputes = counts.disputes;
        self.access.clone_from(&counts.access);
    }
}

/// What sync is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SyncPhase {
    /// Not started, or stopped by the app.
    #[default]
    Stopped,
    /// No connection; the next attempt comes by itself.
    Offline,
    /// Under way to the server.
    Connecting,
    /// Connected; what came so far may be partial.
    CatchingUp,
    /// Connected, and everything has come.
    Live,
    /// The user has to sign in: there is no token, or the server does not take it.
    NeedsAuth,
    /// The member is switched off at the server: sync has stopped, and what is on the device stays.
    Disabled,
    /// The device was revoked: its database was removed, as the server demanded.
    Revoked,
    /// The server speaks no version that this build speaks: the app is to be updated.
    UpgradeRequired,
    /// The server does not take this database as it is; starting sync again asks anew.
    Refused(RefusedKind),
}

/// Why the server does not take this database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedKind {
    /// Another copy of this database connected after it.
    LeaseOutdated,
    /// Another member owns the replica.
    ReplicaTaken,
    /// The server does not know the log that this database follows.
    UnknownEpoch,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct SyncError {
    /// For programs.
    pub kind: SyncErrorKind,
    /// For logs and people; never contents of a record.
    pub text: String,
    /// When it happened.
    pub at: Timestamp,
    /// When the next attempt comes; nothing when it waits for somebody.
    pub retry_at: Option<Timestamp>,
}

/// What went wrong, by who can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SyncErrorKind {
    /// No connection, or it broke. Nobody has to act.
    Network,
    /// The server's certificate is not one to trust: a wrong clock, a captive portal, a wrong server.
    Tls,
    /// The server was not heard for too long.
    Timeout,
    /// The server cannot serve at present. Nobody on this side has to act.
    ServerBusy,
    /// Another connection of this database took over.
    Superseded,
    /// One side broke the protocol. A fault to report.
    Protocol,
    /// The user has to sign in.
    SignIn,
    /// The app could not get a token at present.
    TokenUnavailable,
    /// The member is switched off at the server.
    Disabled,
    /// The device was revoked, and its database removed.
    Revoked,
    /// The app is to be updated.
    UpgradeRequired,
    /// The database is a copy, or of another member, or not one that the server can continue.
    Refused,
    /// The device is full: room has to be made.
    DeviceFull,
    /// The device's database cannot be read or written.
    DeviceStore,
    /// The configuration names no server, or none that can be connected to.
    Configuration,
}
