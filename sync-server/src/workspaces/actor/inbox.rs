//! What waits for a workspace's thread, and what of it can be put in line while a commit is under way.

use std::collections::BTreeMap;

use crdt_core::id::ReplicaId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::Session;
use crate::workspace::Submitted;
use crate::workspaces::handle::{Command, HandIn, Handed};
use crate::workspaces::turns::Turns;

/// The commands of connections and operators, in their order.
pub(super) struct Inbox {
    commands: mpsc::Receiver<Command>,
    /// The first one that needs more than a place in the line.
    held: Option<Command>,
}

impl Inbox {
    pub(super) fn new(commands: mpsc::Receiver<Command>) -> Self {
        Self { commands, held: None }
    }

    /// The next command; waits for it, and gives nothing once every handle is gone.
    pub(super) fn next(&mut self) -> Option<Command> {
        self.held.take().or_else(|| self.commands.blocking_recv())
    }

    /// The next command, if it is there.
    pub(super) fn next_now(&mut self) -> Result<Command, TryRecvError> {
        match self.held.take() {
            Some(command) => Ok(command),
            None => self.commands.try_recv(),
        }
    }

    /// Puts in line what was handed in, up to the first command that needs more than that.
    pub(super) fn hand_in(&mut self, turns: &mut Turns, sessions: &BTreeMap<ReplicaId, Session>) {
        while self.held.is_none() && !turns.is_full() {
            match self.commands.try_recv() {
                Ok(Command::HandIn(handed_in)) => put(handed_in, turns, sessions),
                Ok(other) => self.held = Some(other),
                Err(_) => return,
            }
        }
    }

    /// Whether a command waits that needs more than a place in the line.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }
}

/// Puts in line what a session handed in, when it is still its replica's.
pub(super) fn put(handed_in: HandIn, turns: &mut Turns, sessions: &BTreeMap<ReplicaId, Session>) {
    let HandIn { session, replica, what } = handed_in;
    if !is_current(sessions, session, &replica) {
        return;
    }
    match what {
        Handed::Stored(receipt) => turns.put_stored(replica, receipt),
        Handed::Batches(member, batches) => {
            let submit = |batch| Submitted { replica, member, batch };
            batches.into_iter().map(submit).for_each(|one| turns.put(one));
        }
    }
}

/// Whether a replica's session is this one.
pub(super) fn is_current(
    sessions: &BTreeMap<ReplicaId, Session>,
    session: u64,
    replica: &ReplicaId,
) -> bool {
    sessions.get(replica).is_some_and(|current| current.number == session)
}
