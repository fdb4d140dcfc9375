//! The engine as a loop over values: a store that answers at once, and a server that says what a test wants.

mod ending;
mod erasing;
mod hostile;
mod refusals;
mod session;
mod tokens;

use crdt_core::id::{BatchId, Epoch, Lease, MemberId, ReplicaId};
use crdt_core::protocol::{
    Batch, Cursor, Goodbye, GoodbyeCode, Hello, Message, Outcome, Page, PageParts, PeerLimits,
    Push, Receipt, Refusal, ScopeCursor, ShortReceipt, VERSIONS, Welcome, decode_frame,
    encode_frame,
};
use crdt_core::time::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::status::SyncErrorKind;

/// An engine with a store that answers at once, unless it is slow, and everything that it asked for.
struct Rig {
    engine: Engine,
    rng: StdRng,
    now: u64,
    store: FakeStore,
    /// What was asked of the world since it was last looked at.
    outward: Vec<Outward>,
    changes: Vec<StatusChange>,
    works: Vec<StoreWork>,
}

/// What a store would know.
#[derive(Default)]
struct FakeStore {
    unsent: Vec<Batch>,
    cursor: Cursor,
    exceptions: Vec<ScopeCursor>,
    receipt: u64,
    epoch: Option<Epoch>,
    /// Batches that are in the outbox again once the next receipts are stored.
    rewritten: Vec<Batch>,
    /// Numbers that the next page, receipts or welcome ask to be fetched.
    fetch: Vec<u64>,
    /// How often the database was made a replica of its own.
    renewals: u32,
    /// How often the database was removed.
    wipes: u32,
    /// Work that is not answered at once.
    pending: Option<StoreWork>,
    speed: Speed,
    failure: Option<StoreFailure>,
}

#[derive(Default, PartialEq)]
enum Speed {
    #[default]
    AtOnce,
    WhenTold,
}

impl Rig {
    fn new(seed: u64) -> Self {
        Self {
            engine: Engine::new(),
            rng: StdRng::seed_from_u64(seed),
            now: 1_000_000,
            store: FakeStore::default(),
            outward: Vec::new(),
            changes: Vec::new(),
            works: Vec::new(),
        }
    }

    /// Started and welcomed by a server whose log ends at `head`.
    fn live(head: u64) -> Self {
        let mut rig = Self::new(1);
        rig.give(Input::Start);
        rig.connect();
        rig.receive(&Message::Welcome(Box::new(welcome(head))));
        rig
    }

    fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.engine.handle(self.now, &mut self.rng, input) {
                match effect {
                    Effect::Outward(outward) => self.outward.push(outward),
                    Effect::Status(change) => self.changes.push(change),
                    Effect::Store(work) => {
                        assert_eq!(self.store.pending, None, "one piece of work at a time");
                        self.works.push(work.clone());
                        match self.store.speed {
                            Speed::AtOnce => inputs.insert(0, self.store.answer(work)),
                            Speed::WhenTold => self.store.pending = Some(work),
                        }
                    }
                }
            }
        }
    }

    /// The slow store answers.
    fn answer(&mut self) {
        let work = self.store.pending.take().expect("the engine asked the store for something");
        let answer = self.store.answer(work);
        self.give(answer);
    }

    /// Through token and connection up to the hello.
    fn connect(&mut self) {
        self.give(Input::TokenReady(Ok("token".into())));
        let connection = self.connection();
        self.give(Input::Connected(connection));
    }

    fn connection(&self) -> ConnectionId {
        ConnectionId(self.engine.last_connection)
    }

    fn receive(&mut self, message: &Message) {
        self.give(Input::FrameReceived(self.connection(), encode_frame(message)));
    }

    fn receive_page(&mut self, number: u64, page: &Page) {
        for part in PageParts::new(page).parts(number) {
            self.receive(&Message::Page(part));
        }
    }

    /// Time passes, with the ticks that were asked for.
    fn pass(&mut self, millis: u64) {
        let until = self.now + millis;
        while let Some(at) = self.engine.wake_at.filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.give(Input::Tick);
        }
        self.now = until;
    }

    /// The messages sent since the last look.
    fn sent(&mut self) -> Vec<Message> {
        let (sent, rest) = std::mem::take(&mut self.outward)
            .into_iter()
            .partition(|outward| matches!(outward, Outward::Send(_)));
        self.outward = rest;
        let frames: Vec<Outward> = sent;
        let decode = |outward: Outward| match outward {
            Outward::Send(frame) => decode_frame(&frame).expect("the engine sends good frames"),
            other => unreachable!("{other:?} was filtered out"),
        };
        frames.into_iter().map(decode).collect()
    }

    /// The numbers of the batches pushed since the last look, one list for each push.
    fn pushed(&mut self) -> Vec<Vec<u64>> {
        let numbers = |push: Push| push.batches.iter().map(|batch| batch.number).collect();
        let pushes = self.sent().into_iter().filter_map(|message| match message {
            Message::Push(push) => Some(push),
            _ => None,
        });
        pushes.map(numbers).collect()
    }

    /// What ended the connection since the last look.
    fn goodbye(&mut self) -> Option<Option<GoodbyeCode>> {
        std::mem::take(&mut self.outward).into_iter().find_map(|outward| match outward {
            Outward::Disconnect { goodbye } => Some(goodbye.map(|goodbye| goodbye.code)),
            _ => None,
        })
    }

    /// The kind of the last error, and in how many milliseconds the next attempt comes.
    fn failure(&self) -> Option<(SyncErrorKind, Option<u64>)> {
        self.changes.iter().rev().find_map(|change| match change {
            StatusChange::Failed { kind, retry_at, .. } => {
                Some((*kind, retry_at.map(|at| at.saturating_sub(self.now))))
            }
            StatusChange::Phase(_) | StatusChange::Synced => None,
        })
    }
}

impl FakeStore {
    fn answer(&mut self, work: StoreWork) -> Input {
        if let Some(failure) = self.failure.take() {
            return Input::StoreFailed(failure);
        }
        match work {
            StoreWork::PrepareHello { token } => Input::HelloReady(Box::new(self.hello(token))),
            StoreWork::StoreWelcome { welcome, .. } => {
                self.epoch = Some(welcome.epoch);
                self.store(&welcome.receipts);
                let fetch = std::mem::take(&mut self.fetch);
                let exceptions = self.exceptions.clone();
                Input::WelcomeStored { cursor: self.cursor, exceptions, fetch }
            }
            StoreWork::StoreReceipts { receipts, .. } => {
                self.store(&receipts);
                Input::ReceiptsStored { fetch: std::mem::take(&mut self.fetch) }
            }
            StoreWork::StorePage { number, page } => {
                self.cursor = page.cursors.last().map_or(self.cursor, |at| at.cursor);
                Input::PageStored { number, fetch: std::mem::take(&mut self.fetch) }
            }
            StoreWork::RenewReplica => {
                self.renewals += 1;
                Input::ReplicaRenewed
            }
            StoreWork::Wipe => {
                self.wipes += 1;
                Input::Wiped
            }
            StoreWork::ReadOutbox { after, batches, .. } => {
                let rest = self.unsent.iter().filter(|batch| batch.number > after);
                Input::OutboxRead(rest.take(batches).cloned().collect())
            }
            StoreWork::ReadRelay { .. } => Input::RelayRead(RelayStep::Done),
            StoreWork::StoreLacking { .. } => Input::LackingStored(Vec::new()),
            StoreWork::StoreRelayed { .. } => Input::RelayedStored,
        }
    }

    fn store(&mut self, receipts: &[Receipt]) {
        for receipt in receipts {
            self.receipt = receipt.number;
            self.unsent.retain(|batch| batch.id != receipt.batch);
        }
        self.unsent.append(&mut self.rewritten);
    }

    fn hello(&self, token: String) -> Hello {
        Hello {
            versions: VERSIONS.to_vec(),
            token,
            replica: ReplicaId([1; 12]),
            lease: None,
            epoch: self.epoch,
            receipt: self.receipt,
            schema_version: 1,
            cursor: self.cursor,
            exceptions: self.exceptions.clone(),
            client: "test".into(),
            policy_version: 0,
            device: crdt_core::id::DeviceId([7; 16]),
            device_name: String::new(),
            left: 0,
            short_receipts: true,
        }
    }
}

fn welcome(head: u64) -> Welcome {
    Welcome {
        version: VERSIONS[0],
        epoch: Epoch([1; 16]),
        lineage: Vec::new(),
        lease: Lease([2; 16]),
        receipts: Vec::new(),
        scopes: vec!["territory:west".into()],
        limits: PeerLimits { batches_in_flight: 4, pages_in_flight: 2 },
        server_time: Timestamp::from_millis(1_700_000_000_000),
        schema: None,
        backed_up_to: 0,
        head,
        member: MemberId::from_source_key("member", "maria"),
        member_name: "Maria".into(),
        policy_version: 1,
        policy: None,
        standing: crdt_core::policy::Standing::unlisted(MemberId::from_source_key(
            "member", "maria",
        )),
        token_expires: Timestamp::from_millis(4_000_000_000_000),
        recovery: crdt_core::protocol::Recovery::Unknown,
    }
}

fn batch(number: u64) -> Batch {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Batch { id: BatchId(id), number, schema_version: 1, policy_version: 1, documents: Vec::new() }
}

fn accepted(number: u64, batch: &Batch) -> Receipt {
    let outcome = Outcome::Accepted { position: number, documents: Vec::new() };
    Receipt { number, batch: batch.id, outcome, policy_version: 1, erased: Vec::new() }
}

fn short(number: u64, batch_number: u64) -> ShortReceipt {
    ShortReceipt { number, batch_number, position: number, policy_version: 1 }
}

fn refused(number: u64, batch: &Batch) -> Receipt {
    let reason = Refusal {
        code: "forbidden".into(),
        text: "not yours".into(),
        document: None,
        field: None,
        rule: None,
    };
    Receipt {
        number,
        batch: batch.id,
        outcome: Outcome::Refused { reasons: vec![reason] },
        policy_version: 1,
        erased: Vec::new(),
    }
}

fn page(cursor: Cursor, head: u64) -> Page {
    let cursors = vec![ScopeCursor { scope: String::new(), cursor }];
    Page { cursors, entries: Vec::new(), authors: Vec::new(), head, dropped: Vec::new() }
}

fn farewell(code: GoodbyeCode, retry_after_ms: Option<u64>) -> Message {
    Message::Goodbye(Goodbye { code, text: "why".into(), retry_after_ms })
}
