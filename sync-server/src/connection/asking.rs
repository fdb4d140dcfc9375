//! What a session asks of its workspace, within what its member may use of the server.

use std::time::Instant;

use crdt_core::protocol::{Batch, Compare, Goodbye, GoodbyeCode, Relay};

use super::{Connection, goodbye};
use crate::quotas::{Asked, Exceeded};
use crate::session::Input;
use crate::store;

/// Changes that are given back and count as one batch: those of one edit are about so many.
const CHANGES_PER_REQUEST: usize = 16;

impl Connection {
    /// Takes from the member's quota; what is missing for a moment is waited for before more is read.
    pub(super) fn ask(&mut self, asked: Asked) -> Result<(), Goodbye> {
        let Some(place) = &self.place else { return Ok(()) };
        match place.quota.take(asked) {
            Ok(wait) if wait.is_zero() => {}
            Ok(wait) => self.read_from = self.read_from.max(Instant::now() + wait),
            Err(exceeded) => return Err(self.send_away(exceeded)),
        }
        Ok(())
    }

    pub(super) fn send_away(&self, exceeded: Exceeded) -> Goodbye {
        self.shared.metrics.rate_limited.increment(1);
        let text = "this member uses more than one member may; come back later".to_owned();
        let retry_after = u64::try_from(exceeded.retry_after.as_millis()).unwrap_or(u64::MAX);
        Goodbye { code: GoodbyeCode::RateLimited, text, retry_after_ms: Some(retry_after) }
    }

    pub(super) async fn submit(&mut self, batches: Vec<Batch>) -> Result<(), Goodbye> {
        self.ask(Asked::Requests(batches.len()))?;
        match &self.place {
            Some(place) => place.seat.submit(batches).await,
            None => Ok(()),
        }
    }

    pub(super) async fn relay(&mut self, relay: Relay) -> Result<(), Goodbye> {
        let changes: usize = relay.documents.iter().map(|document| document.changes.len()).sum();
        self.ask(Asked::Requests(1 + changes / CHANGES_PER_REQUEST))?;
        match &self.place {
            Some(place) => place.seat.relay(relay).await,
            None => Ok(()),
        }
    }

    pub(super) async fn acknowledge(&mut self, receipt: u64) -> Result<(), Goodbye> {
        self.ask(Asked::Requests(1))?;
        match &self.place {
            Some(place) => place.seat.acknowledge(receipt).await,
            None => Ok(()),
        }
    }

    /// Reads what the server lacks of documents, beside its writer.
    pub(super) async fn compare(&mut self, compare: Compare) -> Option<Input> {
        let place = self.place.as_ref()?;
        let (store, comparison) = (place.handle.store(), place.comparison.clone());
        let work = move || store::read(&*store, |tx| comparison.answer(tx, &compare));
        let failed = "documents could not be compared";
        Some(match tokio::task::spawn_blocking(work).await {
            Ok(Ok(lacking)) => Input::Compared(lacking),
            Ok(Err(error)) => {
                tracing::error!(%error, failed);
                Input::End(goodbye(GoodbyeCode::Internal, failed))
            }
            Err(_) => Input::End(goodbye(GoodbyeCode::Internal, failed)),
        })
    }
}
