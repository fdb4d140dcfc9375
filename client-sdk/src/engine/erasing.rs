//! Erasures that the app has asked for: sent while a session is open, answered once each.

use std::collections::BTreeSet;

use crdt_core::id::RecordId;
use crdt_core::protocol::{EraseRecord, Erasure, Message, Refusal};

use super::{Engine, Outward, Phase, Turn};

/// Why a record was not erased, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EraseFailure {
    /// There is no session with the server: nothing was asked.
    Offline,
    /// As many erasures as may be under way at once are: nothing was asked.
    Busy,
    /// The session ended before the answer came: it may have been erased.
    Interrupted,
    /// The server refuses.
    Refused(Refusal),
}

/// Erasures that were asked for and are not answered, by the numbers of their requests.
#[derive(Debug, Default)]
pub(super) struct Erasing {
    asked: BTreeSet<u64>,
}

impl Engine {
    /// The app asks for an erasure.
    pub(super) fn erase(&mut self, turn: &mut Turn<'_>, request: u64, record: RecordId) {
        let failure = match &self.phase {
            Phase::Live { .. } if self.erasing.asked.len() < AT_ONCE => {
                self.erasing.asked.insert(request);
                return turn.send(&Message::Erase(EraseRecord { request, record }));
            }
            Phase::Live { .. } => EraseFailure::Busy,
            Phase::Stopped
            | Phase::Waiting { .. }
            | Phase::Halted(_)
            | Phase::Renewing
            | Phase::Wiping
            | Phase::FetchingToken { .. }
            | Phase::Connecting { .. }
            | Phase::Greeting { .. }
            | Phase::Welcoming { .. } => EraseFailure::Offline,
        };
        turn.outward(Outward::ErasureAnswered { request, answer: Err(failure) });
    }

    /// The server answers one.
    pub(super) fn erasure_answered(
        &mut self,
        turn: &mut Turn<'_>,
        erasure: Erasure,
    ) -> Result<(), String> {
        let Erasure { request, outcome } = erasure;
        if !self.erasing.asked.remove(&request) {
            return Err("the server answered an erasure that nobody asked for".to_owned());
        }
        let answer = outcome.map_err(EraseFailure::Refused);
        turn.outward(Outward::ErasureAnswered { request, answer });
        Ok(())
    }

    /// What a session that has ended leaves unanswered.
    pub(super) fn settle_erasures(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.phase, Phase::Live { .. }) {
            return;
        }
        for request in std::mem::take(&mut self.erasing.asked) {
            let answer = Err(EraseFailure::Interrupted);
            turn.outward(Outward::ErasureAnswered { request, answer });
        }
    }
}

/// Erasures that may be under way at once: the server takes twice as many.
const AT_ONCE: usize = 4;
