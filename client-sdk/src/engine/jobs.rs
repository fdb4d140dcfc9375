//! The store's queue: one piece of work at a time, in order.
//!
//! A page must never be stored after one that failed, since its cursors would cover what was not stored. So
//! the next piece of work is handed out only when the one before is answered, and a session that ends takes
//! what is still waiting with it.

use std::collections::{BTreeSet, VecDeque};

use crdt_core::id::BatchId;
use crdt_core::protocol::{Compare, Lacking, Outcome, Page, Receipt, ScopeCursor, Welcome};

use super::StoreWork;

/// What the engine has to remember of a piece of work until it is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Job {
    Hello,
    Welcome,
    Renewal,
    Wipe,
    Receipts {
        last: u64,
        batches: Vec<BatchId>,
        rewriting: Rewriting,
    },
    Page {
        number: u64,
        cursors: Vec<ScopeCursor>,
        head: u64,
        entries: u64,
        dropped: Vec<String>,
    },
    Outbox,
    /// What is to be given back next.
    Relay,
    /// What the server lacks.
    Lacking,
    /// What was given back.
    Relayed,
}

/// Whether batches that were sent may be written anew, and are then to be sent again: one was refused, or
/// accepted in another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rewriting {
    None,
    Some,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    running: Option<Running>,
    waiting: VecDeque<StoreWork>,
}

#[derive(Debug)]
struct Running {
    job: Job,
    session: Session,
}

/// For which session a piece of work is done.
#[derive(Debug, PartialEq, Eq)]
enum Session {
    Present,
    /// Its answer concerns nobody.
    Ended,
}

impl Jobs {
    pub(super) fn prepare_hello(&mut self, token: String) {
        self.waiting.push_back(StoreWork::PrepareHello { token });
    }

    pub(super) fn store_welcome(&mut self, welcome: Box<Welcome>, round_trip_ms: u64) {
        self.waiting.push_back(StoreWork::StoreWelcome { welcome, round_trip_ms });
    }

    pub(super) fn renew_replica(&mut self) {
        self.waiting.push_back(StoreWork::RenewReplica);
    }

    pub(super) fn wipe(&mut self) {
        self.waiting.push_back(StoreWork::Wipe);
    }

    /// Receipts that wait together are stored together: each transaction costs a sync of the disk.
    pub(super) fn store_receipts(&mut self, receipts: Vec<Receipt>) {
        if let Some(StoreWork::StoreReceipts { receipts: last, .. }) = self.waiting.back_mut() {
            last.extend(receipts);
        } else {
            let in_flight = BTreeSet::new();
            self.waiting.push_back(StoreWork::StoreReceipts { receipts, in_flight });
        }
    }

    pub(super) fn store_page(&mut self, number: u64, page: Page) {
        self.waiting.push_back(StoreWork::StorePage { number, page });
    }

    pub(super) fn read_outbox(&mut self, after: u64, batches: usize, bytes: usize) {
        self.waiting.push_back(StoreWork::ReadOutbox { after, batches, bytes });
    }

    pub(super) fn read_relay(&mut self) {
        self.waiting.push_back(StoreWork::ReadRelay { in_flight: BTreeSet::new() });
    }

    pub(super) fn store_lacking(&mut self, compare: Compare, lacking: Lacking) {
        self.waiting.push_back(StoreWork::StoreLacking { compare, lacking });
    }

    pub(super) fn store_relayed(&mut self, compare: Compare) {
        self.waiting.push_back(StoreWork::StoreRelayed { compare });
    }

    /// The next piece of work, when the store is free.
    pub(super) fn next(&mut self) -> Option<StoreWork> {
        if self.running.is_some() {
            return None;
        }
        let work = self.waiting.pop_front()?;
        self.running = Some(Running { job: Job::of(&work), session: Session::Present });
        Some(work)
    }

    /// The store answered: what it had been asked, when that is what `expected` describes and still
    /// concerns somebody.
    pub(super) fn answered(&mut self, expected: impl Fn(&Job) -> bool) -> Option<Job> {
        let running = self.running.take_if(|running| expected(&running.job))?;
        (running.session == Session::Present).then_some(running.job)
    }

    /// The session has ended.
    pub(super) fn abandon(&mut self) {
        self.waiting.clear();
        if let Some(running) = &mut self.running {
            running.session = Session::Ended;
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }

    #[cfg(test)]
    pub(super) fn is_storing_welcome(&self) -> bool {
        let present = |running: &&Running| running.session == Session::Present;
        self.running.as_ref().filter(present).is_some_and(|running| running.job == Job::Welcome)
    }
}

impl Job {
    fn of(work: &StoreWork) -> Self {
        match work {
            StoreWork::PrepareHello { .. } => Self::Hello,
            StoreWork::StoreWelcome { .. } => Self::Welcome,
            StoreWork::StoreReceipts { receipts, .. } => Self::Receipts {
                last: receipts.last().map_or(0, |receipt| receipt.number),
                batches: receipts.iter().map(|receipt| receipt.batch).collect(),
                rewriting: Rewriting::after(receipts),
            },
            StoreWork::StorePage { number, page } => Self::Page {
                number: *number,
                cursors: page.cursors.clone(),
                head: page.head,
                entries: page.entries.len() as u64,
                dropped: page.dropped.clone(),
            },
            StoreWork::RenewReplica => Self::Renewal,
            StoreWork::Wipe => Self::Wipe,
            StoreWork::ReadOutbox { .. } => Self::Outbox,
            StoreWork::ReadRelay { .. } => Self::Relay,
            StoreWork::StoreLacking { .. } => Self::Lacking,
            StoreWork::StoreRelayed { .. } => Self::Relayed,
        }
    }
}

impl Rewriting {
    fn after(receipts: &[Receipt]) -> Self {
        let rewrites = |receipt: &Receipt| match receipt.outcome {
            Outcome::Refused { .. } | Outcome::Already { .. } => true,
            Outcome::Accepted { .. } => false,
        };
        if receipts.iter().any(rewrites) { Self::Some } else { Self::None }
    }
}
