//! Hostile pushes on their whole way: frame, session, workspace, commit. Nothing panics, a session that is sent
//! garbage ends with a goodbye, and every document that the workspace accepted loads and equals its cells.
//!
//! `FIELDBOOK_CASES=25` pushes half a million. `FIELDBOOK_HOSTILE_SEED=n` pushes those of one seed.

#[path = "support/shared.rs"]
mod support;

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../../crdt-core/tests/support/history.rs"]
mod history;
#[path = "../../crdt-core/tests/support/mutation.rs"]
mod mutation;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crdt_core::id::{BatchId, ChangeHash, DocumentId, MemberId, RecordId, ReplicaId};
use crdt_core::limits;
use crdt_core::protocol::{
    Batch, DocumentChanges, DocumentRef, Identity, Message, Outcome, Push, Receipt, SentChange,
    Welcome, encode_frame,
};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Cells, Change, Document};
use crdt_core::time::Timestamp;
use history::History;
use history::random::{Random, cases};
use peak_alloc::PeakAlloc;
use sync_server::session::{Bounds, Effect, Greeted, Input, Session};
use sync_server::store;
use sync_server::workspace::Submitted;

use support::device::Device;
use support::world::{LIMITS, World};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Pushes of one run.
const PUSHES: usize = 20_000;
/// The longest that one push may take, far above what any takes, since its commit waits for a disk.
const TIME_MAX: Duration = Duration::from_secs(2);
/// The most memory that a push may use beyond what is there before it, database cache included.
const MEMORY_MAX: usize = 32 << 20;
const BOUNDS: Bounds =
    Bounds { peer: LIMITS, idle_timeout_ms: 60_000, handshake_timeout_ms: 10_000 };

#[derive(Default)]
struct Tally {
    pushed: usize,
    garbage: usize,
    others: usize,
    answers: BTreeMap<String, usize>,
    slowest: Duration,
    documents: usize,
}

/// Says how to try a seed again, when it panics.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("FIELDBOOK_HOSTILE_SEED={seed} cargo test -p sync-server --test hostile");
        }
    }
}

#[test]
fn no_mutated_push_panics_costs_much_or_leaves_a_document_that_cannot_be_read() {
    let only = std::env::var("FIELDBOOK_HOSTILE_SEED").ok().map(|seed| seed.parse().unwrap());
    let mut stage = Stage::new();
    let mut tally = Tally::default();
    stage.push_seed(u64::MAX, &mut Tally::default());
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let mut seed: u64 = only.unwrap_or(0);
    while tally.pushed < PUSHES * cases() {
        stage.push_seed(seed, &mut tally);
        seed += 1;
        if only.is_some() {
            return;
        }
    }
    let memory = HEAP.peak_usage().saturating_sub(before);
    let Tally { pushed, garbage, others, answers, slowest, documents } = tally;
    println!(
        "{pushed} pushes, {garbage} of them garbage, {others} other messages, {documents} documents read back, slowest \
         {slowest:?}, {} KiB, {answers:?}",
        memory >> 10
    );
    assert!(others < pushed / 100, "{others} of {pushed} frames were no pushes any more");
    assert!(garbage > pushed / 20, "too few frames were garbage");
    assert!(answers.get("accepted").is_some_and(|accepted| *accepted > pushed / 50));
    assert!(answers.len() >= 15, "too few reasons: {answers:?}");
    assert!(documents > 50, "{documents} documents mean nothing");
    assert!(memory < MEMORY_MAX, "{memory} bytes");
}

/// A workspace, and the session of the one who attacks it.
struct Stage {
    world: World,
    session: Option<Session>,
    batches: u64,
    records: u64,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new();
        world.workspace.put_member(&attacker(), "Eve").unwrap();
        Self { world, session: None, batches: 0, records: 0 }
    }

    /// Pushes the changes of one history, each after sixteen mutations of it.
    fn push_seed(&mut self, seed: u64, tally: &mut Tally) {
        let replay = Replay(seed);
        let history = History::of_seed(["account", "opportunity"][seed as usize % 2], 3, 25, seed);
        let welcomes: BTreeMap<ReplicaId, Box<Welcome>> = history
            .replicas
            .iter()
            .map(|replica| (replica.actor.replica(), self.greet(replica.actor.replica())))
            .collect();
        self.records += 1;
        let mut random = Random::new(seed ^ 0xBAD);
        let record = record(self.records);
        for (change, encoded) in &history.changes {
            let owner = change.actor.replica();
            let sender = if welcomes.contains_key(&owner) { owner } else { first(&welcomes) };
            for _ in 0..16 {
                let mutated = mutation::mutate(change, &history, &mut random);
                let claim = mutated_claim(&mutated, &encoded.hash.0, &mut random);
                let frame = self.frame(&history, record, &mutated, claim);
                let frame = if random.once_in(5) { damaged(frame, &mut random) } else { frame };
                self.push(sender, &welcomes, frame, tally);
            }
            let frame =
                self.frame_of(&history, record, SentChange::new(change, &encoded.hash, None));
            self.push(sender, &welcomes, frame, tally);
        }
        self.read_back(record, tally);
        drop(replay);
    }

    fn greet(&mut self, replica: ReplicaId) -> Box<Welcome> {
        let mut device = Device::new(1, attacker());
        device.replica = replica;
        self.world.connect_with_welcome(&device)
    }

    fn frame(
        &mut self,
        history: &History,
        record: RecordId,
        change: &Change,
        claim: Vec<u8>,
    ) -> Vec<u8> {
        let sent = SentChange::new(change, &ChangeHash([0; 32]), None);
        self.frame_of(history, record, SentChange { claim, ..sent })
    }

    fn frame_of(&mut self, history: &History, record: RecordId, sent: SentChange) -> Vec<u8> {
        self.batches += 1;
        let id = DocumentId { record, section: history.section.clone() };
        let identity = Identity { id, entity: history.entity.name.clone() };
        let document = DocumentRef::Identity(identity);
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.batches.to_be_bytes());
        let batch = Batch {
            id: BatchId(id),
            number: self.batches,
            schema_version: self.world.workspace.schema().version(),
            policy_version: 0,
            documents: vec![DocumentChanges { document, changes: vec![sent] }],
        };
        encode_frame(&Message::Push(Push { batches: vec![batch], receipt: 0 }))
    }

    /// One frame through the session into the workspace; the receipts go back.
    fn push(
        &mut self,
        sender: ReplicaId,
        welcomes: &BTreeMap<ReplicaId, Box<Welcome>>,
        frame: Vec<u8>,
        tally: &mut Tally,
    ) {
        tally.pushed += 1;
        let begun = Instant::now();
        let mut session = match self.session.take() {
            Some(session) => session,
            None => greeted(welcomes[&sender].clone()),
        };
        let mut became_another = false;
        for effect in session.handle(1, Input::Frame(frame)) {
            match effect {
                Effect::Submit(batches) => {
                    let receipts = self.commit(sender, batches);
                    receipts.iter().for_each(|receipt| tally.count(&receipt.outcome));
                    for answer in session.handle(1, Input::Receipts(receipts)) {
                        assert!(matches!(answer, Effect::Send(_) | Effect::BuildPage { .. }));
                    }
                    let _nothing = session.handle(1, Input::PageBuilt(None));
                }
                Effect::Close(_) => tally.garbage += 1,
                Effect::Send(_) | Effect::Acknowledge(_) => {}
                // A bit of its tag makes another message of a frame: what that asks for is not done here.
                _ => became_another = true,
            }
        }
        tally.others += usize::from(became_another);
        if !session.is_closed() && !became_another {
            self.session = Some(session);
        }
        tally.slowest = tally.slowest.max(begun.elapsed());
        assert!(begun.elapsed() < TIME_MAX, "{:?}", begun.elapsed());
    }

    fn commit(&mut self, replica: ReplicaId, batches: Vec<Batch>) -> Vec<Receipt> {
        let member = attacker();
        let submitted: Vec<Submitted> =
            batches.into_iter().map(|batch| Submitted { replica, member, batch }).collect();
        // The time moves on with the pushes, or the budget for loading documents would refuse most.
        let minute = i64::try_from(self.batches).unwrap() * 1_000;
        let now = Timestamp::from_millis(history::BEGIN_MS + 3_600_000 + minute);
        let committed = self.world.workspace.commit(now, &submitted).unwrap();
        committed.receipts.into_iter().map(|(_, receipt)| receipt).collect()
    }

    /// Every document of the record loads and says what its cells say.
    fn read_back(&self, record: RecordId, tally: &mut Tally) {
        let id = DocumentId::main(record);
        let Some(row) = store::read(&*self.world.store, |tx| tx.find_document(&id)).unwrap() else {
            return;
        };
        let (snapshot, changes) = store::read(&*self.world.store, |tx| {
            Ok((tx.snapshot(row.number)?, tx.changes_after(row.number, 0)?))
        })
        .unwrap();
        let bytes = changes.iter().filter_map(|change| change.bytes.as_deref());
        let document = Document::load(Purpose::Verify, snapshot.as_deref(), bytes).unwrap();
        assert_eq!(document.cells().unwrap(), Cells::from_stored(&row.cells).unwrap());
        tally.documents += 1;
    }
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        let answer = match outcome {
            Outcome::Accepted { .. } => "accepted".to_owned(),
            Outcome::Already { .. } => "already".to_owned(),
            Outcome::Refused { reasons } => reasons[0].code.clone(),
        };
        *self.answers.entry(answer).or_default() += 1;
    }
}

fn attacker() -> MemberId {
    MemberId(uuid::Uuid::from_bytes([7; 16]))
}

fn record(n: u64) -> RecordId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    RecordId::new(Timestamp::from_millis(history::BEGIN_MS), random)
}

fn first(welcomes: &BTreeMap<ReplicaId, Box<Welcome>>) -> ReplicaId {
    *welcomes.keys().next().expect("a history has replicas")
}

fn greeted(welcome: Box<Welcome>) -> Session {
    let mut session = Session::new(BOUNDS, 0);
    let hello = Device::new(1, attacker()).hello();
    let effects = session.handle(0, Input::Frame(encode_frame(&Message::Hello(Box::new(hello)))));
    assert!(matches!(effects[..], [Effect::Greet(_)]));
    let _welcome = session.handle(0, Input::Greeted(Ok(Greeted { welcome, expires_at: u64::MAX })));
    let _no_page = session.handle(0, Input::PageBuilt(None));
    session
}

/// What a sender that encodes honestly would claim; now and then something else.
fn mutated_claim(change: &Change, honest: &[u8], random: &mut Random) -> Vec<u8> {
    if random.once_in(8) {
        return honest[..random.below(6)].to_vec();
    }
    // What is refused for its size alone nobody encodes: it may stand for billions of operations.
    if change.op_count() > limits::CHANGE_OPS_MAX as u64 {
        return Vec::new();
    }
    let encoded = std::panic::catch_unwind(|| change.encode().hash.0);
    encoded.map_or_else(|_| Vec::new(), |hash| hash[..limits::HASH_CLAIM_BYTES].to_vec())
}

/// A frame with some bytes changed, cut or doubled.
fn damaged(mut frame: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        let at = random.below(frame.len());
        match random.below(4) {
            0 => frame.truncate(at.max(1)),
            1 => frame.insert(at, random.next() as u8),
            2 => frame.extend_from_within(at..),
            _ => frame[at] ^= 1 << random.below(8),
        }
    }
    frame
}
