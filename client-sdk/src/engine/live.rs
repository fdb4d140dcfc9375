//! A session after its welcome: pushes, receipts, pages and acknowledgements.
//!
//! It decides what goes into the store's queue and what is sent; how the session ends is the parent's work.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::BatchId;
use crdt_core::limits;
use crdt_core::protocol::{
    Ack, Batch, Entry, Fetch, Message, PagePart, Push, Receipt, ShortReceipt, Staged, Welcome,
};

use super::giving::Giving;
use super::jobs::{Job, Jobs, Rewriting};
use super::standing::Standing;
use super::{ConnectionId, Input};

/// A session after its welcome.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) connection: ConnectionId,
    /// When the welcome came.
    pub(super) since: u64,
    /// Nothing before the welcome is stored, since it decides how batches are stamped.
    standing: Option<Standing>,
    /// The log's last position, as far as is known.
    head: u64,
    batches_max: usize,
    pages_max: u64,
    staged: Staged,
    page: Marks,
    receipt: Marks,
    in_flight: BTreeMap<BatchId, InFlight>,
    outbox: Outbox,
    /// Whether batches may still be written anew, once what is under way is answered.
    rewriting: Rewriting,
    /// What is given back since the server was restored.
    pub(super) giving: Giving,
    /// What was asked for and has not come: nothing is asked for twice at once. Whether to ask again for what
    /// came and could not be applied is for the store to say.
    fetched: BTreeSet<u64>,
}

/// How far something has come; each at most the one before.
#[derive(Debug, Default, Clone, Copy)]
struct Marks {
    received: u64,
    stored: u64,
    acknowledged: u64,
}

/// A batch that was sent and whose answer is not stored yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InFlight {
    number: u64,
    bytes: usize,
    answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    Received,
}

/// What is known of the outbox.
#[derive(Debug, Clone, Copy)]
struct Outbox {
    /// Up to here everything was sent in this session, or answered.
    sent: u64,
    knowledge: Knowledge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// There may be more to send.
    Unread,
    /// It is being read.
    Reading,
    /// It is being read, and may have changed since.
    ReadingStale,
    /// Nothing more is to be sent until something changes.
    Dry,
}

impl Live {
    /// Begins a session. The welcome goes first into the store's queue, then uploads, then what comes.
    pub(super) fn begin(
        connection: ConnectionId,
        now: u64,
        welcome: &Welcome,
        receipt: u64,
    ) -> Self {
        let receipt_last = welcome.receipts.last().map_or(receipt, |receipt| receipt.number);
        let batches = usize::try_from(welcome.limits.batches_in_flight).unwrap_or(usize::MAX);
        Self {
            connection,
            since: now,
            standing: None,
            head: welcome.head,
            batches_max: batches.clamp(1, limits::BATCHES_IN_FLIGHT_MAX),
            pages_max: u64::from(welcome.limits.pages_in_flight).clamp(1, PAGES_HELD_MAX),
            staged: Staged::default(),
            page: Marks::default(),
            receipt: Marks { received: receipt_last, stored: receipt, acknowledged: receipt },
            in_flight: BTreeMap::new(),
            outbox: Outbox { sent: 0, knowledge: Knowledge::Unread },
            rewriting: Rewriting::None,
            giving: Giving::begin(welcome),
            fetched: BTreeSet::new(),
        }
    }

    /// A batch was added to the outbox.
    pub(super) fn edited(&mut self) {
        self.outbox.knowledge = match self.outbox.knowledge {
            Knowledge::Unread | Knowledge::Dry => Knowledge::Unread,
            Knowledge::Reading | Knowledge::ReadingStale => Knowledge::ReadingStale,
        };
    }

    /// A part of a page came.
    pub(super) fn take_part(&mut self, part: PagePart, jobs: &mut Jobs) -> Result<(), String> {
        if part.page != self.page.received + 1 {
            return Err(format!("page {} came after page {}", part.page, self.page.received));
        }
        if self.page.received - self.page.acknowledged >= self.pages_max {
            return Err(format!("more than {} pages are not acknowledged", self.pages_max));
        }
        let taken = self.staged.take(part).map_err(|error| error.to_string())?;
        if let Some((number, page)) = taken {
            self.page.received = number;
            for number in page.entries.iter().filter_map(Entry::number) {
                self.fetched.remove(&number);
            }
            jobs.store_page(number, page);
        }
        Ok(())
    }

    /// Receipts came.
    pub(super) fn take_receipts(
        &mut self,
        receipts: Vec<Receipt>,
        jobs: &mut Jobs,
    ) -> Result<(), String> {
        for receipt in &receipts {
            if receipt.number <= self.receipt.received {
                let last = self.receipt.received;
                return Err(format!("receipt {} came after receipt {last}", receipt.number));
            }
            self.receipt.received = receipt.number;
            let sent = self.in_flight.get_mut(&receipt.batch);
            let Some(sent) = sent.filter(|sent| sent.answer == Answer::Awaited) else {
                return Err(format!("receipt {} is for nothing that was sent", receipt.number));
            };
            sent.answer = Answer::Received;
        }
        if !receipts.is_empty() {
            jobs.store_receipts(receipts);
        }
        Ok(())
    }

    /// Short receipts came.
    pub(super) fn take_short_receipts(
        &mut self,
        receipts: &[ShortReceipt],
        jobs: &mut Jobs,
    ) -> Result<(), String> {
        let whole = receipts.iter().map(|receipt| {
            let mut sent = self.in_flight.iter();
            match sent.find(|(_, sent)| sent.number == receipt.batch_number) {
                Some((batch, _)) => Ok(receipt.of(*batch)),
                None => Err(format!("receipt {} is for nothing that was sent", receipt.number)),
            }
        });
        let whole = whole.collect::<Result<Vec<_>, _>>()?;
        self.take_receipts(whole, jobs)
    }

    /// The batches under way beside those that are answered by `receipts`.
    pub(super) fn in_flight_beside(&self, receipts: &[Receipt]) -> BTreeSet<BatchId> {
        let mut others: BTreeSet<BatchId> = self.in_flight.keys().copied().collect();
        for receipt in receipts {
            others.remove(&receipt.batch);
        }
        others
    }

    /// The welcome is stored.
    pub(super) fn welcome_stored(&mut self, standing: Standing, fetch: &[u64]) -> Vec<Message> {
        self.standing = Some(standing);
        self.receipt.stored = self.receipt.received;
        self.fetch(fetch)
    }

    /// Receipts or a page are stored.
    pub(super) fn stored(&mut self, job: Job, fetch: &[u64]) -> Vec<Message> {
        match job {
            Job::Receipts { last, batches, rewriting } => {
                self.receipt.stored = last;
                for batch in batches {
                    self.in_flight.remove(&batch);
                }
                if rewriting == Rewriting::Some {
                    self.rewriting = rewriting;
                }
                if self.rewriting == Rewriting::Some {
                    // Batches that depended on it are written anew, under numbers that were sent before: at
                    // the latest with the answer to the last that is under way.
                    self.outbox.sent = 0;
                    self.edited();
                }
                if self.in_flight.is_empty() {
                    self.rewriting = Rewriting::None;
                }
            }
            Job::Page { number, cursors, head, dropped, .. } => {
                self.page.stored = number;
                self.head = self.head.max(head);
                if let Some(standing) = &mut self.standing {
                    standing.move_to(&cursors);
                    standing.drop_scopes(&dropped);
                }
            }
            Job::Hello
            | Job::Welcome
            | Job::Renewal
            | Job::Wipe
            | Job::Outbox
            | Job::Relay
            | Job::Lacking
            | Job::Relayed => return Vec::new(),
        }
        self.unlock();
        self.giving.stored();
        self.fetch(fetch)
    }

    /// The store has done its part of giving back what the server lost.
    pub(super) fn given(&mut self, input: Input) -> Option<Message> {
        self.unlock();
        match input {
            Input::RelayRead(step) => self.giving.read(step),
            Input::LackingStored(relays) => self.giving.lacking_stored(relays),
            _ => {
                self.giving.noted();
                None
            }
        }
    }

    /// Batches may go out now that waited for what they build on: under numbers that were passed over.
    fn unlock(&mut self) {
        if !self.giving.is_done() {
            self.outbox.sent = 0;
            self.edited();
        }
    }

    /// The outbox was read: what comes next and fits.
    pub(super) fn outbox_read(&mut self, batches: Vec<Batch>) -> Vec<Message> {
        let stale = self.outbox.knowledge == Knowledge::ReadingStale;
        let mut fresh = Vec::new();
        let before = self.outbox.sent;
        for batch in batches.into_iter().filter(|batch| batch.number > before) {
            if self.in_flight.contains_key(&batch.id) {
                self.outbox.sent = batch.number;
                continue;
            }
            if self.room() == 0 {
                break;
            }
            self.outbox.sent = batch.number;
            let bytes = batch.byte_len();
            let sent = InFlight { number: batch.number, bytes, answer: Answer::Awaited };
            self.in_flight.insert(batch.id, sent);
            fresh.push((batch, bytes));
        }
        // Only a read that finds nothing says that there is nothing.
        let more = stale || self.outbox.sent > before;
        self.outbox.knowledge = if more { Knowledge::Unread } else { Knowledge::Dry };
        self.pushes(fresh)
    }

    /// What follows from all that has happened: reading on, and acknowledging what is stored.
    pub(super) fn settle(&mut self, jobs: &mut Jobs) -> Option<Message> {
        if self.standing.is_some() {
            self.giving.settle(jobs);
        }
        let room = self.room();
        if self.outbox.knowledge == Knowledge::Unread && room > 0 {
            let after = self.outbox.sent;
            // After a refusal the outbox is read again from its beginning, over what is under way.
            let passed = self.in_flight.values().filter(|sent| sent.number > after).count();
            jobs.read_outbox(after, room + passed, PUSH_BYTES);
            self.outbox.knowledge = Knowledge::Reading;
        }
        // A push says which receipts are stored as well, so they wait for one that may follow.
        let quiet = self.outbox.knowledge == Knowledge::Dry && self.in_flight.is_empty();
        let receipts_wait = self.receipt.stored > self.receipt.acknowledged && quiet;
        if self.page.stored > self.page.acknowledged || receipts_wait {
            self.page.acknowledged = self.page.stored;
            self.receipt.acknowledged = self.receipt.stored;
            return Some(Message::Ack(Ack {
                page: self.page.stored,
                receipt: self.receipt.stored,
            }));
        }
        None
    }

    /// Whether everything new has come.
    pub(super) fn is_caught_up(&self) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.reaches(self.head))
    }

    /// Whether everything was sent and answered as well.
    pub(super) fn is_synced(&self) -> bool {
        let sent = self.outbox.knowledge == Knowledge::Dry && self.in_flight.is_empty();
        self.is_caught_up() && sent && self.giving.is_done()
    }

    /// How many batches more may be under way, however large they are.
    fn room(&self) -> usize {
        let bytes: usize = self.in_flight.values().map(|sent| sent.bytes).sum();
        if bytes + limits::BATCH_BYTES_MAX > limits::BYTES_IN_FLIGHT_MAX {
            return 0;
        }
        self.batches_max.saturating_sub(self.in_flight.len())
    }

    fn fetch(&mut self, documents: &[u64]) -> Vec<Message> {
        let fetched = &mut self.fetched;
        let new: Vec<u64> =
            documents.iter().copied().filter(|number| fetched.insert(*number)).collect();
        let messages = new.chunks(limits::PAGE_ENTRIES_MAX);
        messages.map(|some| Message::Fetch(Fetch { documents: some.to_vec() })).collect()
    }

    fn pushes(&mut self, batches: Vec<(Batch, usize)>) -> Vec<Message> {
        let mut pushes: Vec<(usize, Push)> = Vec::new();
        for (batch, size) in batches {
            match pushes.last_mut() {
                Some((bytes, push)) if *bytes + size <= PUSH_BYTES => {
                    *bytes += size;
                    push.batches.push(batch);
                }
                _ => {
                    let receipt = self.receipt.stored;
                    self.receipt.acknowledged = receipt;
                    pushes.push((size, Push { batches: vec![batch], receipt }));
                }
            }
        }
        pushes.into_iter().map(|(_, push)| Message::Push(push)).collect()
    }
}

/// What a push aims for, bytes before compression: half a frame, so that the largest batch still fits one.
const PUSH_BYTES: usize = limits::FRAME_BYTES_MAX / 2;
/// Pages that may be held until they are stored, whatever the server says: each may take
/// [`limits::PAGE_BYTES_MAX`].
const PAGES_HELD_MAX: u64 = 16;

const _: () = assert!(limits::BATCH_BYTES_MAX <= PUSH_BYTES);
const _: () = assert!(limits::BATCHES_IN_FLIGHT_MAX <= limits::PUSH_BATCHES_MAX);
const _: () = assert!(limits::PAGES_IN_FLIGHT_MAX as u64 <= PAGES_HELD_MAX);
