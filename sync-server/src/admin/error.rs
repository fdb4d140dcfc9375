//! Why a command failed: typed, and the same whether it failed here or in the server that was asked.

use std::error::Error;
use std::fmt::Write as _;

use crdt_core::schema::SchemaProblems;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;
use crate::workspace::OpenError;

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
    /// The schema or the policy is not a good one.
    #[error("{0}")]
    Problems(#[from] SchemaProblems),
    /// The request cannot be done as it was made.
    #[error("{text}")]
    Refused {
        /// What kind of refusal it is.
        code: FaultCode,
        /// What is wrong, and what to do.
        text: String,
    },
    /// The server that was asked says so.
    #[error("{}", .0.text)]
    Remote(Fault),
    /// A server holds the data directory and cannot be asked.
    #[error("{0}")]
    Channel(String),
    /// A file or directory cannot be made.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The storage fails, or another process has it open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The workspace cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// A failed request as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind of failure it is.
    pub code: FaultCode,
    /// What is wrong, and what to do.
    pub text: String,
}

/// What kind of failure a request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultCode {
    /// The request is not one that this version knows.
    BadRequest,
    /// There is no workspace of that name.
    NoSuchWorkspace,
    /// There is no such member.
    NoSuchMember,
    /// The member is there already.
    MemberExists,
    /// There is no such record.
    NoSuchRecord,
    /// There is no such device.
    NoSuchDevice,
    /// The schema or the policy has problems.
    Problems,
    /// The change would break a rule of the workspace.
    Refused,
    /// The machine, not the request.
    Machine,
}

impl AdminError {
    /// A refusal of the request itself.
    pub(crate) fn refused(code: FaultCode, text: impl Into<String>) -> Self {
        Self::Refused { code, text: text.into() }
    }

    /// The server stops, or the workspace's thread has failed.
    pub(crate) fn stopping() -> Self {
        let text =
            "the server is stopping; look whether the command took effect before repeating it";
        Self::Channel(text.to_owned())
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn code(&self) -> FaultCode {
        match self {
            Self::BadName(_) | Self::Exists(_) => FaultCode::BadRequest,
            Self::NoSuchWorkspace(_) => FaultCode::NoSuchWorkspace,
            Self::Problems(_) => FaultCode::Problems,
            Self::Refused { code, .. } => *code,
            Self::Remote(fault) => fault.code,
            Self::Channel(_) | Self::Io { .. } | Self::Store(_) | Self::Open(_) => {
                FaultCode::Machine
            }
        }
    }

    /// Whether the command itself was wrong, and not the machine.
    #[must_use]
    pub const fn is_bad_input(&self) -> bool {
        !matches!(self.code(), FaultCode::Machine)
    }
}

impl From<AdminError> for Fault {
    fn from(error: AdminError) -> Self {
        Self { code: error.code(), text: with_causes(&error) }
    }
}

/// An error with its causes, which `thiserror` leaves to whoever prints.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
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
