//! Finding the scopes of records again: after a parent has moved, or when another policy is in force. In
//! bounded steps between commits, each in one transaction, so that honest batches never wait for long.

use crdt_core::id::RecordId;
use crdt_core::time::Timestamp;

use super::directory::SERVER;
use super::{Workspace, author, routes};
use crate::failpoint;
use crate::store::access::{Follower, Rescope};
use crate::store::{self, BatchRow, StoreError, Write};

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescoping {
    /// Records were looked at; there may be more.
    Step {
        /// How many.
        records: usize,
        /// How many of their documents came into other scopes.
        moved: usize,
    },
    /// The queue is empty.
    Idle,
}

/// Records of one step: what a batch that comes meanwhile waits for.
pub const RECORDS_PER_STEP: usize = 500;
/// Mergers that are followed from a record whose route changed: beyond, a parent counts as missing anyway.
const HOPS_MAX: u32 = 16;

impl Workspace {
    /// One step of finding scopes again. What moves gets a position of its own, in the server's name, and is
    /// told to devices like any other; a step that moves nothing takes none.
    ///
    /// # Errors
    /// When the storage fails: then the step is as if it had not begun, and is done again.
    pub fn rescope_step(&mut self, now: Timestamp) -> Result<Rescoping, StoreError> {
        if !self.is_rescoping {
            return Ok(Rescoping::Idle);
        }
        let store = self.store();
        let step = store::write(&*store, |tx| {
            let Some(next) = tx.next_rescope()? else { return Ok(Rescoping::Idle) };
            let step = self.step(tx, now, &next)?;
            failpoint::hit(failpoint::RESCOPE);
            Ok(step)
        })?;
        self.is_rescoping = step != Rescoping::Idle;
        Ok(step)
    }

    fn step(
        &self,
        tx: &mut dyn Write,
        now: Timestamp,
        next: &Rescope,
    ) -> Result<Rescoping, StoreError> {
        let followers: Vec<Follower> = match &next.of {
            Some(record) => tx.followers(record, next.after, RECORDS_PER_STEP)?,
            None => {
                let records = tx.records_after(next.after, RECORDS_PER_STEP)?;
                records.into_iter().map(Follower::Child).collect()
            }
        };
        let last = followers.last().map(|follower| follower.record());
        let is_last_step = followers.len() < RECORDS_PER_STEP;
        tx.advance_rescope(next.of, last.filter(|_| !is_last_step))?;
        let position = tx.head()? + 1;
        let records = followers.len();
        let mut moved = 0;
        for follower in followers {
            match follower {
                Follower::Child(record) => {
                    moved += self.place_again(tx, &record, position)?;
                    // Of every record in turn, those that follow come by themselves. Otherwise they come also
                    // after one whose own documents stay: theirs may be of a section that moves.
                    if next.of.is_some() && tx.is_followed(&record)? {
                        tx.queue_rescope(&Rescope::of(Some(record), next.hops))?;
                    }
                }
                Follower::Merged(record) if next.hops < HOPS_MAX => {
                    if tx.is_followed(&record)? {
                        tx.queue_rescope(&Rescope::of(Some(record), next.hops + 1))?;
                    }
                }
                Follower::Merged(_) => {}
            }
        }
        if moved > 0 {
            tx.append_batch(&BatchRow {
                position,
                id: author::batch_id(tx, "rescope", &position.to_string())?,
                replica: self.rules.server,
                member: SERVER,
                received_at: now,
            })?;
        }
        Ok(Rescoping::Step { records, moved })
    }

    /// Puts a record's documents into the scopes where they belong now; how many came into others.
    fn place_again(
        &self,
        tx: &mut dyn Write,
        record: &RecordId,
        position: u64,
    ) -> Result<usize, StoreError> {
        let Some(route) = tx.route(record)? else { return Ok(0) };
        let placement = routes::place(tx, &self.rules.policy, &route)?;
        let mut moved = 0;
        for (number, id) in tx.documents_of(record)? {
            let scopes = self.rules.policy.index_scopes(&placement, &id.section);
            moved += usize::from(rescope(tx, number, position, &scopes)?);
        }
        Ok(moved)
    }
}

/// Puts a document into the scopes that it is to be in, and takes it out of the others; whether any changed.
pub(super) fn rescope(
    tx: &mut dyn Write,
    document: u64,
    position: u64,
    scopes: &[String],
) -> Result<bool, StoreError> {
    let before = tx.scopes_of(document)?;
    let mut changed = false;
    for place in before.iter().filter(|place| !scopes.contains(&place.scope)) {
        tx.leave(&place.scope, document, position)?;
        changed = true;
    }
    for scope in scopes.iter().filter(|scope| !before.iter().any(|p| p.scope == **scope)) {
        tx.enter(scope, document, position)?;
        changed = true;
    }
    Ok(changed)
}
