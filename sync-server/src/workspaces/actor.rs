//! The thread of a workspace: it judges what is handed in as groups, in turns, and finds scopes again and
//! folds when there is nothing else to do.

mod inbox;
mod taking;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crdt_core::id::{MemberId, ReplicaId};
use crdt_core::protocol::{Batch, Goodbye, GoodbyeCode, Receipt};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};

use self::inbox::Inbox;
use super::aside::Aside;
use super::handle::{Command, Event, STORAGE_FAILED, goodbye, storage_goodbye};
use super::mark::Mark;
use super::suspects::{Deed, Suspects};
use super::turns::{Group, Turns};
use crate::clock;
use crate::failpoint;
use crate::store::StoreError;
use crate::telemetry::metrics::Metrics;
use crate::workspace::{
    Aftermath, Folding, OpenError, RelayedBy, Rescoping, Scrubbing, Submitted, Workspace,
};

/// When to come back after the budget for loading documents is used up, milliseconds: it is one of a minute.
const BUSY_RETRY_MS: u64 = 60_000;
/// When to come back after a panic, milliseconds: the workspace is open again by then.
const PANIC_RETRY_MS: u64 = 2_000;
/// When to come back after a hello that panics each time, milliseconds: after the next release, at best.
const GIVEN_UP_RETRY_MS: u64 = 3_600_000;
/// Commands that are taken before the next group is judged.
const COMMANDS_MAX: usize = 256;
/// Devices whose stored receipts wait to be noted with a commit.
const NOTED_MAX: usize = 256;
/// Batches that a commit judges before it ends early.
const JUDGED_MIN: usize = 16;
/// Batches that are then left of it at least: fewer take no longer than another commit.
const LEFT_MIN: usize = 32;
/// Sessions that may come back all at once.
const CROWD: usize = 16;

/// A connection of the workspace's.
struct Session {
    number: u64,
    member: MemberId,
    events: mpsc::Sender<Event>,
}

/// The thread of one workspace.
pub(super) struct Actor {
    workspace: Workspace,
    inbox: Inbox,
    head: watch::Sender<u64>,
    sessions: BTreeMap<ReplicaId, Session>,
    /// What was handed in and is not judged.
    turns: Turns,
    mark: Mark,
    metrics: Metrics,
    suspects: Suspects,
    aside: Aside,
    /// Whether the storage has failed since memory was last read from it.
    memory: Memory,
}

/// Whether a commit ends early for those who hand in little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    MakesWay,
    Finishes,
}

/// Whether what memory keeps is what the storage has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Sound,
    InDoubt,
}

impl Actor {
    pub(super) fn new(
        workspace: Workspace,
        inbox: mpsc::Receiver<Command>,
        head: watch::Sender<u64>,
        mark: Mark,
        metrics: Metrics,
        aside: Aside,
    ) -> Self {
        let (sessions, turns) = (BTreeMap::new(), Turns::default());
        let (suspects, memory) = (Suspects::default(), Memory::Sound);
        let inbox = Inbox::new(inbox);
        Self { workspace, inbox, head, sessions, turns, mark, metrics, suspects, aside, memory }
    }

    /// Serves until every handle is gone. A panic ends the workspace's sessions, and nobody else's, and the
    /// workspace begins anew from its file.
    pub(super) fn run(mut self, open: &dyn Fn() -> Result<Workspace, OpenError>) {
        // Nothing of the workspace is looked at again after a panic, and the storage has rolled back.
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            self.metrics.workspace_panics.increment(1);
            let deeds = self.suspects.panicked();
            tracing::error!(?deeds, "a workspace panicked; it begins anew from its file");
            let replicas: Vec<ReplicaId> = self.sessions.keys().copied().collect();
            for replica in replicas {
                let text = "the server failed in this workspace; it begins anew";
                self.end(&replica, goodbye(GoodbyeCode::Internal, text, Some(PANIC_RETRY_MS)));
            }
            self.turns.clear();
            match open() {
                Ok(workspace) => (self.workspace, self.memory) = (workspace, Memory::Sound),
                Err(error) => {
                    return tracing::error!(%error, "the workspace cannot be opened again");
                }
            }
            self.workspace.set_poisoned(self.suspects.poisoned());
            // What was committed just before may not have been announced.
            self.announce();
        }
    }

    fn serve(&mut self) {
        loop {
            if self.turns.is_empty() {
                let Some(first) = self.next_command() else { break };
                self.take(first);
            }
            // Hellos and operators are served at once, and whatever is handed in waits for its turn.
            for _ in 0..COMMANDS_MAX {
                if self.turns.is_full() {
                    break;
                }
                let Ok(command) = self.inbox.next_now() else { break };
                self.take(command);
            }
            let group = self.turns.take();
            self.judge(group, Manners::MakesWay);
            self.write_stored(NOTED_MAX);
            self.mark.note(&*self.workspace.store());
            // Also while batches keep coming, so that nobody waits for ever for what they may see.
            self.rescope();
        }
        self.write_stored(0);
        self.mark.write(&*self.workspace.store());
    }

    /// Judges what waits of a replica, before anything else is done for it.
    fn judge_all_of(&mut self, replica: ReplicaId) {
        while let Some(group) = self.turns.take_of(replica) {
            self.judge(group, Manners::Finishes);
        }
    }

    fn judge(&mut self, group: Group, manners: Manners) {
        for (replica, receipt) in group.stored {
            self.workspace.note_stored(replica, receipt);
        }
        self.commit(group.batches, manners);
    }

    /// Writes which receipts devices have stored, when more than `allowed` of them said so since a commit. It
    /// goes with a commit otherwise: alone it would cost as much as one, and hold up the next.
    fn write_stored(&mut self, allowed: usize) {
        if self.workspace.noted() > allowed
            && self.recover().is_ok()
            && let Err(error) = self.workspace.write_stored()
        {
            tracing::error!(%error, "which receipts were stored could not be noted");
            self.failed(&error);
        }
    }

    /// The next command; finds scopes again and folds while there is none.
    fn next_command(&mut self) -> Option<Command> {
        loop {
            match self.inbox.next_now() {
                Ok(command) => return Some(command),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            if self.rescope() || self.scrub() {
                continue;
            }
            if self.suspects.is_given_up(Deed::Fold) {
                return self.inbox.next();
            }
            self.suspects.begin([Deed::Fold]);
            let folded = self.workspace.fold_one();
            self.suspects.done();
            match folded {
                Ok(Folding::Folded { .. } | Folding::Looked) => {}
                Ok(Folding::Idle) => return self.inbox.next(),
                Err(error) => {
                    tracing::error!(%error, "a document could not be folded; it stays as it is");
                    self.failed(&error);
                    return self.inbox.next();
                }
            }
        }
    }

    /// One step of finding scopes again; whether there may be more.
    fn rescope(&mut self) -> bool {
        if self.suspects.is_given_up(Deed::Rescope) || self.recover().is_err() {
            return false;
        }
        self.suspects.begin([Deed::Rescope]);
        let step = self.workspace.rescope_step(clock::now());
        self.suspects.done();
        match step {
            Ok(Rescoping::Step { .. }) => {
                self.announce();
                true
            }
            Ok(Rescoping::Idle) => false,
            Err(error) => {
                tracing::error!(%error, "scopes could not be found again; the step is done later");
                self.failed(&error);
                false
            }
        }
    }

    /// Removes the traces of what was erased; whether it did.
    fn scrub(&mut self) -> bool {
        let begun = std::time::Instant::now();
        match self.workspace.scrub(clock::now()) {
            Ok(Scrubbing::Done) => {
                let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(took_ms, "the traces of erased records were removed");
                true
            }
            Ok(Scrubbing::Idle | Scrubbing::Busy) => false,
            Err(error) => {
                tracing::error!(%error, "traces of erased records could not be removed; later");
                false
            }
        }
    }

    /// Tells connections how far the log goes.
    fn announce(&mut self) {
        match self.workspace.head() {
            Ok(now) => {
                self.head.send_if_modified(|head| std::mem::replace(head, now) != now);
            }
            Err(error) => tracing::error!(%error, "the log's head could not be read"),
        }
    }

    /// After a failure of the storage nothing that was under way is answered, and whoever is connected is
    /// told so: they come back to what the storage has once it works again.
    fn failed(&mut self, error: &StoreError) {
        if !error.is_distrust() {
            return;
        }
        self.memory = Memory::InDoubt;
        for replica in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.end(&replica, storage_goodbye(error));
        }
        // Also what devices handed in that have left since: something before it may be lost.
        self.turns.clear();
    }

    /// Reads from the storage what memory has of it, when that is in doubt; the goodbye while it cannot.
    fn recover(&mut self) -> Result<(), Goodbye> {
        if self.memory == Memory::Sound {
            return Ok(());
        }
        self.workspace.reload().map_err(|error| {
            tracing::error!(%error, "the storage still fails");
            goodbye(GoodbyeCode::Internal, STORAGE_FAILED, Some(5_000))
        })?;
        self.memory = Memory::Sound;
        self.announce();
        Ok(())
    }

    /// Ends the sessions of those who may see something else now, and of devices that were revoked.
    fn after(&mut self) {
        let Aftermath { access_changed, revoked, everyone } = self.workspace.take_aftermath();
        if let Some(unserved) = everyone {
            for replica in self.sessions.keys().copied().collect::<Vec<_>>() {
                self.end(&replica, unserved.goodbye());
            }
        }
        for replica in &revoked {
            let text = "this device was revoked; what it holds of the workspace is to be wiped";
            self.end(replica, goodbye(GoodbyeCode::DeviceRevoked, text, None));
        }
        let of_member = |session: &&Session| access_changed.contains(&session.member);
        let count = self.sessions.values().filter(of_member).count();
        let changed = self.sessions.iter().filter(|(_, session)| of_member(session));
        let changed: Vec<(ReplicaId, u64)> =
            changed.map(|(replica, session)| (*replica, session.number)).collect();
        for (replica, session) in changed {
            // A crowd comes back spread over a second.
            let retry = (count > CROWD).then_some(session % 1_000);
            let text = "what you may see or do has changed; come back and hear what it is now";
            self.end(&replica, goodbye(GoodbyeCode::AccessChanged, text, retry.or(Some(0))));
        }
    }

    fn commit(&mut self, group: Vec<Submitted>, manners: Manners) {
        let suspect = |one: &Submitted| self.suspects.is_suspect(Deed::Batch(one.batch.id));
        if !group.iter().any(suspect) {
            return self.commit_group(group, manners);
        }
        // One by one, so that the next panic names its batch.
        for mut submitted in group {
            if self.suspects.is_given_up(Deed::Batch(submitted.batch.id)) {
                self.set_aside(&mut submitted.batch);
            }
            self.commit_group(vec![submitted], Manners::Finishes);
        }
    }

    /// Keeps the bytes of a batch that is about to be refused, and takes out of it what panics.
    fn set_aside(&mut self, batch: &mut Batch) {
        self.metrics.batches_poisoned.increment(1);
        if let Err(error) = self.aside.keep(batch) {
            tracing::error!(%error, batch = %batch.id, "a batch that panics could not be kept");
        }
        tracing::error!(batch = %batch.id, "refused a batch on which judging panicked twice");
        batch.documents.iter_mut().for_each(|document| document.changes.clear());
    }

    fn commit_group(&mut self, mut group: Vec<Submitted>, manners: Manners) {
        if group.is_empty() || self.recover().is_err() {
            return;
        }
        let Err(error) = self.try_commit(&mut group, manners) else { return };
        let mut by_replica: BTreeMap<ReplicaId, Vec<Submitted>> = BTreeMap::new();
        for submitted in group {
            by_replica.entry(submitted.replica).or_default().push(submitted);
        }
        let hopeless = matches!(error, StoreError::Full) || error.is_distrust();
        if by_replica.len() == 1 || hopeless {
            for replica in by_replica.keys() {
                self.end(replica, storage_goodbye(&error));
            }
            return self.failed(&error);
        }
        // One damaged document ends the sessions that touch it, and not everybody's who came with them.
        for (replica, mut group) in by_replica {
            if let Err(error) = self.try_commit(&mut group, Manners::Finishes) {
                self.end(&replica, storage_goodbye(&error));
                self.failed(&error);
            }
            if self.memory == Memory::InDoubt {
                return;
            }
        }
    }

    /// Commits a group, or the first of it when others press; the rest waits on then.
    fn try_commit(
        &mut self,
        group: &mut Vec<Submitted>,
        manners: Manners,
    ) -> Result<(), StoreError> {
        let begun = std::time::Instant::now();
        failpoint::hit(failpoint::COMMIT_BEFORE);
        self.suspects.begin(group.iter().map(|submitted| Deed::Batch(submitted.batch.id)));
        let Self { workspace, inbox, turns, sessions, .. } = self;
        let mut is_enough = |judged| {
            manners == Manners::MakesWay && {
                inbox.hand_in(turns, sessions);
                let is_long = judged >= JUDGED_MIN && group.len() - judged >= LEFT_MIN;
                is_long && (turns.are_pressing() || inbox.is_held())
            }
        };
        let committed = workspace.commit_until(clock::now(), group, &mut is_enough);
        let committed = committed.inspect_err(|error| {
            tracing::error!(%error, "a commit failed; nothing of it is answered");
        });
        self.suspects.done();
        let committed = committed?;
        // Before any session ends: what waits of it is forgotten with it.
        self.turns.judged(group.drain(committed.judged..));
        failpoint::hit(failpoint::COMMIT_BEFORE_RECEIPTS);
        self.metrics.commit_took(begun.elapsed());
        self.metrics.batches_accepted.increment(committed.accepted);
        self.metrics.batches_refused.increment(committed.refused);
        self.deliver(committed.receipts);
        self.put_off(committed.put_off);
        self.after();
        self.head
            .send_if_modified(|head| std::mem::replace(head, committed.head) != committed.head);
        Ok(())
    }

    /// Takes what a device gives back, and answers it.
    fn relay(&mut self, by: &RelayedBy) {
        let deed = Deed::Relay(by.replica);
        if self.suspects.is_given_up(deed) {
            let text = "the server fails on what this device gives back";
            let given_up = goodbye(GoodbyeCode::Internal, text, Some(GIVEN_UP_RETRY_MS));
            return self.end(&by.replica, given_up);
        }
        if self.recover().is_err() {
            return;
        }
        self.suspects.begin([deed]);
        let taken = self.workspace.relay(clock::now(), by);
        self.suspects.done();
        let (relayed, committed) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(%error, "what a device gave back could not be stored");
                self.end(&by.replica, storage_goodbye(&error));
                return self.failed(&error);
            }
        };
        self.put_off(committed.put_off);
        let session = self.sessions.get(&by.replica);
        let event = Event::Relayed(relayed);
        if session.is_some_and(|session| session.events.try_send(event).is_err()) {
            self.sessions.remove(&by.replica);
        }
        self.after();
        self.head
            .send_if_modified(|head| std::mem::replace(head, committed.head) != committed.head);
    }

    fn put_off(&mut self, replicas: impl IntoIterator<Item = ReplicaId>) {
        for replica in replicas {
            let text = "too many changes whose documents had to be loaded";
            self.end(&replica, goodbye(GoodbyeCode::Busy, text, Some(BUSY_RETRY_MS)));
        }
    }

    fn deliver(&mut self, receipts: Vec<(ReplicaId, Receipt)>) {
        let mut by_replica: BTreeMap<ReplicaId, Vec<Receipt>> = BTreeMap::new();
        for (replica, receipt) in receipts {
            by_replica.entry(replica).or_default().push(receipt);
        }
        for (replica, receipts) in by_replica {
            let Some(session) = self.sessions.get(&replica) else { continue };
            // A connection that does not take its events is not waited for: it resumes from its cursor.
            if session.events.try_send(Event::Receipts(receipts)).is_err() {
                self.sessions.remove(&replica);
            }
        }
    }

    /// Ends a session. What waits of it is forgotten, and never judged without what it may build on: the
    /// device sends it again.
    fn end(&mut self, replica: &ReplicaId, goodbye: Goodbye) {
        self.turns.forget(*replica);
        if let Some(session) = self.sessions.remove(replica) {
            // When its queue is full, closing the queue ends the connection as well.
            let _ = session.events.try_send(Event::End(goodbye));
        }
    }
}
