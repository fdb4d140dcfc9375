//! Bombs: small inputs that would cost much. Each is answered as stated, in less than 50 ms and 32 MB, and an
//! honest push goes through afterwards.

#[path = "support/shared.rs"]
mod support;

mod bombs {
    mod texts;
}

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crdt_core::id::{ActorId, ChangeHash, DocumentId, RecordId};
use crdt_core::limits;
use crdt_core::protocol::{
    Batch, Cursor, Dependencies, DocumentChanges, DocumentRef, Fetch, Hello, Identity, Message,
    NewToken, Outcome, Push, ScopeCursor, SentChange, encode_frame,
};
use crdt_core::record::{Action, Change, Edit, Op, OpId, Scalar};
use crdt_core::time::Timestamp;
use peak_alloc::PeakAlloc;
use sync_server::session::{Bounds, Effect, Greeted, Input, Session};
use sync_server::workspace::Submitted;

use support::device::{Device, put};
use support::world::{LIMITS, World, member};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// One bomb at a time; what other tests prepare meanwhile is counted too.
static ALONE: Mutex<()> = Mutex::new(());

/// A build for debugging takes some ten times as long as what is released.
const TIME_MAX: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
const MEMORY_MAX: usize = 32 << 20;
const TRIES: usize = 8;
const BOUNDS: Bounds =
    Bounds { peer: LIMITS, idle_timeout_ms: 60_000, handshake_timeout_ms: 10_000 };

/// Runs `work` and asserts what it costs: the least of a few times, since another process may have the core and
/// another test may take memory.
fn cheap<T>(work: impl Fn() -> T) -> T {
    cheap_after(|| (), |()| work())
}

fn cheap_after<S, T>(prepare: impl Fn() -> S, work: impl Fn(S) -> T) -> T {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut least, mut memory) = (Duration::MAX, usize::MAX);
    let mut last = None;
    for _ in 0..TRIES {
        let input = prepare();
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let begun = Instant::now();
        last = Some(work(input));
        least = least.min(begun.elapsed());
        memory = memory.min(HEAP.peak_usage().saturating_sub(before));
        if least < TIME_MAX && memory < MEMORY_MAX {
            break;
        }
    }
    assert!(least < TIME_MAX, "{least:?}");
    assert!(memory < MEMORY_MAX, "{memory} bytes");
    last.expect("it ran at least once")
}

/// A workspace with one account, and a device that is connected to it.
struct Target {
    world: World,
    device: Device,
    record: RecordId,
}

impl Target {
    fn new() -> Self {
        let mut world = World::new();
        let mut device = world.device(1);
        let (record, batch) = device.create("account", &[put("name", "Acme")]);
        world.accept(&mut device, batch);
        Self { world, device, record }
    }

    fn session(&mut self) -> Session {
        let mut session = Session::new(BOUNDS, 0);
        let hello = Message::Hello(Box::new(self.device.hello()));
        let greet = session.handle(0, Input::Frame(encode_frame(&hello)));
        assert!(matches!(greet[..], [Effect::Greet(_)]));
        let welcome = self.world.connect_with_welcome(&self.device);
        self.device.lease = Some(welcome.lease);
        let greeted = Greeted { welcome, expires_at: u64::MAX };
        let _welcome = session.handle(0, Input::Greeted(Ok(greeted)));
        let _nothing = session.handle(0, Input::PageBuilt(None));
        session
    }

    /// What the server says to a frame: `closed` with its reason, `refused` with its reason, or `taken`.
    fn answer(&mut self, frame: &[u8]) -> String {
        let sessions: Vec<Session> = (0..TRIES).map(|_| self.session()).collect();
        let (sessions, world) = (RefCell::new(sessions), RefCell::new(&mut self.world));
        let (replica, member) = (self.device.replica, self.device.member);
        let stored = Cell::new(self.device.receipt);
        let again = || (sessions.borrow_mut().pop().expect("one for each try"), frame.to_vec());
        let answer = cheap_after(again, |(mut session, frame)| {
            for effect in session.handle(1, Input::Frame(frame)) {
                match effect {
                    Effect::Close(goodbye) => {
                        return format!("closed {:?}: {}", goodbye.code, goodbye.text);
                    }
                    Effect::Submit(batches) => {
                        let submit = |batch| Submitted { replica, member, batch };
                        let batches: Vec<_> = batches.into_iter().map(submit).collect();
                        let workspace = &mut world.borrow_mut().workspace;
                        let committed = workspace.commit(World::now(), &batches).unwrap();
                        // The device has stored it, so that the next one depends on nothing refused.
                        let last = committed.receipts.iter().map(|(_, one)| one.number).max();
                        stored.set(stored.get().max(last.unwrap()));
                        workspace.acknowledge(&replica, stored.get()).unwrap();
                        let codes: BTreeSet<String> =
                            committed.receipts.iter().map(|(_, one)| said(&one.outcome)).collect();
                        return codes.into_iter().collect::<Vec<_>>().join(", ");
                    }
                    _ => {}
                }
            }
            "taken".to_owned()
        });
        self.device.receipt = stored.get();
        answer
    }

    /// A change on the account, as the device would send it, made worse.
    fn change(&mut self, worse: impl FnOnce(&mut Change)) -> SentChange {
        let id = DocumentId::main(self.record);
        let mut cells = self.device.documents[&id].cells.clone();
        let author = self.device.author();
        let edits = [put("phone", "+49 30 1234567")];
        let (mut change, encoded) = author.write(&mut cells, &edits).remove(0);
        worse(&mut change);
        SentChange::new(&change, &encoded.hash, None)
    }

    fn batch(&mut self, changes: Vec<SentChange>) -> Batch {
        let id = DocumentId::main(self.record);
        let identity = Identity { id, entity: "account".to_owned() };
        let document = DocumentRef::Identity(identity);
        self.device.batch(vec![DocumentChanges { document, changes }])
    }

    fn bomb(&mut self, worse: impl FnOnce(&mut Change)) -> String {
        let change = self.change(worse);
        let batch = self.batch(vec![change]);
        self.answer(&push(vec![batch]))
    }

    /// An honest push goes through.
    fn assert_works(mut self) {
        let batch = self.device.edit(self.record, &[put("name", "Acme & Sons")]);
        self.world.accept(&mut self.device, batch);
    }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Already { .. } => "already".to_owned(),
        Outcome::Refused { reasons } => format!("refused {}", reasons[0].code),
    }
}

fn push(batches: Vec<Batch>) -> Vec<u8> {
    encode_frame(&Message::Push(Push { batches, receipt: 0 }))
}

fn put_op(key: &str, value: Scalar) -> Op {
    Op { key: key.to_owned(), action: Action::Put(value), preds: Vec::new() }
}

/// What an empty message of each kind may lead to: it says nothing, or what its sender may not say.
#[track_caller]
fn assert_bounded(answer: &str) {
    assert!(answer == "taken" || answer.starts_with("closed "), "{answer}");
}

#[track_caller]
fn assert_closed(answer: &str) {
    assert!(answer.starts_with("closed Protocol: "), "{answer}");
}

#[test]
fn a_message_larger_than_a_frame_is_refused_unread() {
    let mut target = Target::new();
    assert_closed(&target.answer(&vec![0; limits::FRAME_BYTES_MAX + 1]));
    target.assert_works();
}

/// A compressed frame of a token of four million letters.
fn deflated() -> Vec<u8> {
    encode_frame(&Message::Token(NewToken { token: "a".repeat(4_000_000) }))
}

#[test]
fn four_megabytes_in_one_kilobyte_are_inflated_once_and_refused() {
    let mut target = Target::new();
    let frame = deflated();
    assert!(frame.len() < 2_000);
    assert_closed(&target.answer(&frame));
    target.assert_works();
}

#[test]
fn a_compressed_frame_that_states_too_little_stops_there() {
    let mut target = Target::new();
    let mut frame = deflated();
    frame[1..5].copy_from_slice(&10_u32.to_le_bytes());
    assert_closed(&target.answer(&frame));
    target.assert_works();
}

#[test]
fn a_compressed_frame_that_states_four_gigabytes_is_refused_before_inflating() {
    let mut target = Target::new();
    let mut frame = deflated();
    frame[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_closed(&target.answer(&frame));
    target.assert_works();
}

/// The numbers of the messages, and some that none has.
const FIELDS: std::ops::RangeInclusive<u8> = 1..=15;

#[test]
fn half_a_million_empty_fields_are_skipped_or_refused() {
    let mut target = Target::new();
    for field in FIELDS {
        let mut frame = vec![0];
        frame.extend([field << 3 | 2, 0].repeat(500_000));
        assert_bounded(&target.answer(&frame));
    }
    target.assert_works();
}

#[test]
fn messages_nested_a_thousand_deep_are_skipped_or_refused() {
    let mut target = Target::new();
    for field in FIELDS {
        let mut nested: Vec<u8> = Vec::new();
        for _ in 0..1_700 {
            let mut length = nested.len();
            let mut outer = vec![field << 3 | 2];
            while length >= 0x80 {
                outer.push(length as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.extend(&nested);
            nested = outer;
        }
        assert_bounded(&target.answer(&[&[0], &nested[..]].concat()));
    }
    target.assert_works();
}

#[test]
fn a_hello_with_a_hundred_thousand_scopes_is_refused() {
    let hello = |count: usize| Hello {
        exceptions: (0..count)
            .map(|n| ScopeCursor { scope: n.to_string(), cursor: Cursor::default() })
            .collect(),
        ..Device::new(1, member(1)).hello()
    };
    let frame = encode_frame(&Message::Hello(Box::new(hello(100_000))));
    let effects = cheap(|| Session::new(BOUNDS, 0).handle(0, Input::Frame(frame.clone())));
    assert!(matches!(effects[..], [Effect::Send(_), Effect::Close(_)]), "{effects:?}");
}

#[test]
fn a_fetch_of_more_documents_than_a_page_holds_is_bounded() {
    let mut target = Target::new();
    let fetch = Fetch { documents: (0..400_000).collect() };
    let answer = target.answer(&encode_frame(&Message::Fetch(fetch)));
    assert!(answer.starts_with("closed ") || answer == "taken", "{answer}");
    target.assert_works();
}

#[test]
fn more_batches_than_were_granted_end_the_session() {
    let mut target = Target::new();
    let change = target.change(|_| {});
    let batches = (0..60).map(|_| target.batch(vec![change.clone()])).collect();
    assert_closed(&target.answer(&push(batches)));
    target.assert_works();
}

#[test]
fn a_change_of_more_operations_than_one_may_hold_is_refused() {
    let mut target = Target::new();
    let answer = target.bomb(|change| {
        change.ops = (0..=limits::CHANGE_OPS_MAX)
            .map(|n| put_op(&format!("tags/{n}"), Scalar::Bool(true)))
            .collect();
    });
    assert_closed(&answer);
    target.assert_works();
}

#[test]
fn an_erasure_of_four_billion_characters_in_twenty_bytes_is_refused() {
    let mut target = Target::new();
    let answer = target.bomb(|change| {
        let from = OpId { counter: 1, actor: change.actor };
        let action = Action::Erase { from, count: u32::MAX };
        change.ops = vec![Op { key: "notes".to_owned(), action, preds: Vec::new() }];
    });
    assert_eq!(answer, "refused too_many");
    target.assert_works();
}

#[test]
fn dependencies_without_end_are_refused() {
    let mut target = Target::new();
    let mut sent = target.change(|_| {});
    sent.deps = Dependencies::Long(
        (0..20_000_u32)
            .map(|n| {
                let mut hash = [0; 32];
                hash[..4].copy_from_slice(&n.to_be_bytes());
                ChangeHash(hash)
            })
            .collect(),
    );
    let batch = target.batch(vec![sent]);
    assert_closed(&target.answer(&push(vec![batch])));
    target.assert_works();
}

#[test]
fn predecessors_without_end_are_refused() {
    let mut target = Target::new();
    let answer = target.bomb(|change| {
        let actor = change.actor;
        change.ops[0].preds = (1..50_000).map(|counter| OpId { counter, actor }).collect();
    });
    assert!(answer.starts_with("closed Protocol") || answer == "refused not_canonical", "{answer}");
    target.assert_works();
}

#[test]
fn actors_without_end_are_refused() {
    let mut target = Target::new();
    let answer = target.bomb(|change| {
        change.ops[0].preds = (0..30_000_u32)
            .map(|n| {
                let mut actor = [0; 16];
                actor[..4].copy_from_slice(&n.to_be_bytes());
                OpId { counter: 1, actor: ActorId(actor) }
            })
            .collect();
    });
    assert!(answer.starts_with("closed Protocol") || answer == "refused not_canonical", "{answer}");
    target.assert_works();
}

#[test]
fn a_key_of_half_a_megabyte_is_refused() {
    let mut target = Target::new();
    let key = format!("tags/{}", "k".repeat(400_000));
    let answer = target.bomb(|change| change.ops = vec![put_op(&key, Scalar::Bool(true))]);
    assert!(answer.starts_with("closed Protocol") || answer.starts_with("refused "), "{answer}");
    target.assert_works();
}

#[test]
fn a_value_of_half_a_megabyte_is_refused() {
    let mut target = Target::new();
    let value = Scalar::Str("v".repeat(500_000));
    let answer = target.bomb(|change| change.ops = vec![put_op("phone", value)]);
    assert!(answer.starts_with("refused "), "{answer}");
    target.assert_works();
}

#[test]
fn numbers_at_the_end_of_their_range_are_refused() {
    let mut target = Target::new();
    for (worse, reason) in [
        (Box::new(|change: &mut Change| change.seq = 0) as Box<dyn FnOnce(&mut Change)>, "seq_gap"),
        (Box::new(|change: &mut Change| change.seq = u64::MAX), "seq_gap"),
        (Box::new(|change: &mut Change| change.start_op = u64::from(u32::MAX)), "start_op"),
        (Box::new(|change: &mut Change| change.start_op = u64::MAX), "start_op"),
        (
            Box::new(|change: &mut Change| change.time = Timestamp::from_millis(i64::MIN)),
            "clock_unset",
        ),
        (
            Box::new(|change: &mut Change| change.time = Timestamp::from_millis(i64::MAX)),
            "clock_ahead",
        ),
    ] {
        let answer = target.bomb(worse);
        assert!(
            answer == format!("refused {reason}") || answer.starts_with("closed Protocol"),
            "{reason}: {answer}"
        );
    }
    target.assert_works();
}

#[test]
fn an_increment_beyond_its_bound_is_refused_before_a_total_can_overflow() {
    let mut target = Target::new();
    let batch = target.device.increment(target.record, "visits", 1);
    target.world.accept(&mut target.device, batch);
    for by in [limits::INCREMENT_MAX + 1, i64::MAX, i64::MIN] {
        let answer = target.bomb(|change| {
            let seed = crdt_core::record::seed(crdt_core::record::SeedKind::Counter, "visits");
            let pred = OpId { counter: 1, actor: seed.actor };
            let action = Action::Increment(by);
            change.ops = vec![Op { key: "visits".to_owned(), action, preds: vec![pred] }];
        });
        assert_eq!(answer, "refused wrong_operation", "{by}");
    }
    let batch = target.device.increment(target.record, "visits", limits::INCREMENT_MAX);
    target.world.accept(&mut target.device, batch);
    target.assert_works();
}

#[test]
fn orphans_are_refused_and_not_kept() {
    let mut target = Target::new();
    let rows = |target: &Target| target.world.head();
    let before = rows(&target);
    for n in 0..16_u8 {
        let answer = target.bomb(|change| change.deps = vec![ChangeHash([n; 32])]);
        assert_eq!(answer, "refused unknown_dependency");
    }
    assert_eq!(rows(&target), before);
    target.assert_works();
}

#[test]
fn a_batch_of_more_changes_than_one_may_hold_is_refused() {
    let mut target = Target::new();
    let change = target.change(|_| {});
    let batch = target.batch(vec![change; 4_000]);
    let answer = target.answer(&push(vec![batch]));
    assert!(answer.starts_with("closed Protocol") || answer == "refused too_many", "{answer}");
    target.assert_works();
}

#[test]
fn a_batch_of_more_documents_than_one_may_touch_is_refused() {
    let mut target = Target::new();
    let change = target.change(|_| {});
    let documents = (0..4_000)
        .map(|n| DocumentChanges {
            document: DocumentRef::Number(n),
            changes: vec![change.clone()],
        })
        .collect();
    let batch = target.device.batch(documents);
    let answer = target.answer(&push(vec![batch]));
    assert!(answer.starts_with("closed Protocol") || answer == "refused too_many", "{answer}");
    target.assert_works();
}

#[test]
fn a_document_takes_so_many_keys_and_no_more() {
    let mut target = Target::new();
    let mut last = String::new();
    for round in 0..3 {
        let tags: Vec<Edit> = (0..300).map(|n| Edit::add(format!("tags/{round} {n}"))).collect();
        let batch = target.device.edit(target.record, &tags);
        last = target.answer(&push(vec![batch]));
        if last != "accepted" && last != "already" {
            break;
        }
    }
    assert_eq!(last, "refused document_full");
}
