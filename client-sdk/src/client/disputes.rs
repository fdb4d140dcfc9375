//! Disputes: refused edits, and what their user does with them; and the accounting of every edit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crdt_core::id::{BatchId, RecordId};

use super::Client;
use crate::accounting::{Accounting, Whereabouts};
use crate::dispute::Dispute;
use crate::edits::Edits;
use crate::error::{EditError, StoreError};
use crate::notify::Subscription;
use crate::store::accounting::{self, Decision};
use crate::store::{Durability, Session, dispute};
use crate::transaction::Transaction;

/// Tells how many disputes are open, whenever one comes or goes. Dropping it ends that.
pub struct DisputeWatch {
    client: Client,
    subscription: Subscription,
}

impl Client {
    /// Refused batches that wait for their user, in the order in which they came.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn disputes(&self) -> Result<Vec<Dispute>, StoreError> {
        self.read(dispute::list)
    }

    /// How many disputes wait for their user.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn dispute_count(&self) -> Result<u64, StoreError> {
        self.read(dispute::count)
    }

    /// Watches how many disputes are open. ([`watch`](Self::watch) names the table `dispute` as well.)
    #[must_use]
    pub fn watch_disputes(&self) -> DisputeWatch {
        DisputeWatch { client: self.clone(), subscription: self.watch() }
    }

    /// How many edits were confirmed on this device, and where they are.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn accounting(&self) -> Result<Accounting, StoreError> {
        self.read(accounting::of)
    }

    /// Where the edit of a batch is; nothing when this file never wrote it, or has forgotten it long after it
    /// was accepted.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn whereabouts(&self, batch: &BatchId) -> Result<Option<Whereabouts>, StoreError> {
        self.read(|connection| accounting::whereabouts(connection, batch))
    }

    /// Gives a refused batch up: what it tried is forgotten.
    ///
    /// # Errors
    /// When there is no such dispute, or the store cannot write.
    pub fn discard(&self, dispute: i64) -> Result<(), EditError> {
        self.write(Durability::Full, |session| {
            let found = self.take_dispute(session, dispute)?;
            let now = self.stamp(session).time;
            accounting::resolve(&session.tx, &found.batch, Decision::Discarded, now)?;
            Ok(())
        })
    }

    /// Tries a refused batch once more, as a new one: its values are written over what the records say now.
    /// Prose that others wrote meanwhile stays. Gives the new batch; nothing when the records say it all.
    ///
    /// # Errors
    /// When there is no such dispute, or the edits break a rule on this device; the dispute then stays.
    pub fn resend(&self, dispute: i64) -> Result<Option<BatchId>, EditError> {
        self.write(Durability::Full, |session| {
            self.try_anew(session, dispute, BTreeMap::new(), Decision::Resent)
        })
    }

    /// Tries a refused batch once more with changes: the fields that `edits` names are written as they say,
    /// all others as the batch tried. A field that is to be left alone is set to its
    /// [old](crate::Tried::old) value. Gives the new batch; nothing when the records say it all.
    ///
    /// # Errors
    /// As [`resend`](Self::resend); also when `edits` name a record that the dispute is not about.
    pub fn amend(
        &self,
        dispute: i64,
        edits: impl IntoIterator<Item = (RecordId, Edits)>,
    ) -> Result<Option<BatchId>, EditError> {
        let edits = edits.into_iter().collect();
        self.write(Durability::Full, |session| {
            self.try_anew(session, dispute, edits, Decision::Amended)
        })
    }

    fn try_anew(
        &self,
        session: &mut Session<'_>,
        dispute: i64,
        mut edits: BTreeMap<RecordId, Edits>,
        decision: impl FnOnce(Option<BatchId>) -> Decision,
    ) -> Result<Option<BatchId>, EditError> {
        let found = self.take_dispute(session, dispute)?;
        let schema = session.schema();
        let stamp = self.stamp(session);
        let entropy = Arc::clone(&self.inner.config.entropy);
        let mut transaction = Transaction::new(session, stamp, entropy);
        for tried in &found.tried {
            let unknown = || EditError::UnknownEntity { entity: tried.entity.clone() };
            let entity = schema.entity(&tried.entity).ok_or_else(unknown)?;
            let amendment = edits.remove(&tried.record).unwrap_or_default();
            transaction.try_again(tried, entity, amendment)?;
        }
        if let Some(stranger) = edits.into_keys().next() {
            return Err(EditError::UnknownRecord(stranger));
        }
        let successor = transaction.finish()?;
        accounting::resolve(&session.tx, &found.batch, decision(successor), stamp.time)?;
        Ok(successor)
    }

    /// The dispute, out of the table: its records no longer show as disputed.
    fn take_dispute(&self, session: &mut Session<'_>, id: i64) -> Result<Dispute, EditError> {
        let found = dispute::by_id(&session.tx, id)?.ok_or(EditError::NoSuchDispute(id))?;
        dispute::withdraw(session, &found)?;
        Ok(found)
    }
}

impl DisputeWatch {
    /// Waits until disputes change; gives how many are open. Nothing once the client is closed.
    pub async fn next(&mut self) -> Option<u64> {
        loop {
            let changes = self.subscription.next().await?;
            if changes.tables.contains(TABLE) {
                return self.client.dispute_count().ok();
            }
        }
    }

    /// As [`next`](Self::next), on a thread without a runtime: each notice of anything is waited for at most
    /// `patience`.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> Option<u64> {
        loop {
            let changes = self.subscription.wait(patience)?;
            if changes.tables.contains(TABLE) {
                return self.client.dispute_count().ok();
            }
        }
    }
}

const TABLE: &str = "dispute";
