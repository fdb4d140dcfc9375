//! Asking the server for the erasure of a record, by the sync that runs.

use crdt_core::id::RecordId;
use crdt_core::policy::{Action, Denial};
use tokio::sync::oneshot;

use crate::client::{Client, Permission};
use crate::engine::EraseFailure;
use crate::error::{QueryError, StoreError};

/// What a sync that runs is asked.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(super) record: RecordId,
    pub(super) reply: oneshot::Sender<Result<u64, EraseFailure>>,
}

/// A record was not erased, as far as is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// There is no session with the server at present; erasing cannot wait for one.
    #[error("a record can only be erased while the device is online")]
    Offline,
    /// The policy denies it, and the server would refuse it for the same reason: it was not asked.
    #[error("the policy denies it: {0}")]
    Forbidden(Denial),
    /// The server refuses.
    #[error("{text}")]
    Refused {
        /// A stable word: `forbidden`, or `out_of_scope` for what the member may not see.
        code: String,
        /// A sentence.
        text: String,
        /// The rule of the policy that decided, when one did.
        rule: Option<String>,
    },
    /// Several erasures are under way; ask again once one of them is answered.
    #[error("too many records are being erased at once")]
    Busy,
    /// The connection ended before the answer came: the record may have been erased. To ask again is safe.
    #[error("the connection ended before the server answered")]
    Interrupted,
    /// The database cannot answer.
    #[error(transparent)]
    Store(StoreError),
}

impl Client {
    /// Erases a record for good, for members whose policy grants `erase`: its sections, its history, its words
    /// in search, on the server and on every device, and whatever was kept of it. Nothing brings it back.
    /// Records that name it stay, and go on naming its id.
    ///
    /// The server does it at once and gives the position in its log; this device and the others follow with
    /// their next page, and [`Changes::erased`](field@crate::Changes::erased) names the record. Devices that are
    /// away follow when they come back, and whatever they still send about it is taken out. Erasing what was
    /// erased before succeeds.
    ///
    /// ```no_run
    /// # async fn forget(client: &client_sdk::Client, contact: client_sdk::RecordId) {
    /// use client_sdk::EraseError;
    ///
    /// match client.erase(contact).await {
    ///     Ok(_) => println!("forgotten"),
    ///     Err(EraseError::Offline) => println!("go online first"),
    ///     Err(EraseError::Forbidden(denial)) => println!("ask an administrator: {denial}"),
    ///     Err(error) => println!("try again: {error}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// When sync does not run or is offline, when the policy denies it, when the server refuses it, or when
    /// the connection ends before it has answered.
    pub async fn erase(&self, record: RecordId) -> Result<u64, EraseError> {
        match self.can(Action::Erase, record, None) {
            Ok(Permission::Denied(denial)) => return Err(EraseError::Forbidden(denial)),
            Err(QueryError::Store(error)) => return Err(EraseError::Store(error)),
            // What is not on this device, or not clear to it, the server judges.
            Ok(Permission::Allowed { .. } | Permission::Unknown(_)) | Err(_) => {}
        }
        let (reply, answer) = oneshot::channel();
        self.sync().send(Errand { record, reply })?;
        match answer.await.unwrap_or(Err(EraseFailure::Interrupted)) {
            Ok(position) => Ok(position),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl From<EraseFailure> for EraseError {
    fn from(failure: EraseFailure) -> Self {
        match failure {
            EraseFailure::Offline => Self::Offline,
            EraseFailure::Busy => Self::Busy,
            EraseFailure::Interrupted => Self::Interrupted,
            EraseFailure::Refused(refusal) => {
                Self::Refused { code: refusal.code, text: refusal.text, rule: refusal.rule }
            }
        }
    }
}
