//! A good session: handshake, pushes, receipts, pages, acknowledgements.

use crdt_core::id::{ActorId, DocumentId, RecordId};
use crdt_core::limits;
use crdt_core::protocol::{Ack, DocumentChanges, DocumentRef, Entry, Fetch, Identity, SentChange};
use crdt_core::record::{Author, Cells, Edit, Scalar};

use super::*;

#[test]
fn a_session_begins_with_token_connection_hello_and_a_stored_welcome() {
    let mut rig = Rig::new(1);
    rig.give(Input::Start);
    assert_eq!(rig.outward[0], Outward::FetchToken);
    rig.give(Input::TokenReady(Ok("secret".into())));
    assert!(rig.outward.contains(&Outward::Connect(ConnectionId(1))));
    rig.give(Input::Connected(ConnectionId(1)));
    let [Message::Hello(hello)] = &rig.sent()[..] else { panic!("only a hello is sent") };
    assert_eq!(hello.token, "secret");
    rig.now += 80;
    rig.receive(&Message::Welcome(Box::new(welcome(0))));
    let Some(StoreWork::StoreWelcome { round_trip_ms, .. }) = rig.works.get(1) else {
        panic!("the welcome is stored before anything else")
    };
    assert_eq!(*round_trip_ms, 80);
    assert_eq!(rig.engine.phase(), SyncPhase::Live);
    assert_eq!(rig.changes.last(), Some(&StatusChange::Synced));
    assert!(rig.engine.is_synced());
}

#[test]
fn nothing_is_pushed_before_the_welcome_is_stored() {
    let mut rig = Rig::new(1);
    rig.store.unsent = vec![batch(1)];
    rig.give(Input::Start);
    rig.connect();
    rig.store.speed = Speed::WhenTold;
    rig.receive(&Message::Welcome(Box::new(welcome(0))));
    rig.give(Input::Nudge(Nudge::Edited));
    assert!(rig.pushed().is_empty());
    rig.answer();
    assert!(rig.pushed().is_empty());
    rig.answer();
    assert_eq!(rig.pushed(), [[1]]);
}

#[test]
fn batches_go_out_in_order_and_never_more_than_the_server_takes() {
    let mut rig = Rig::new(1);
    rig.store.unsent = (1..=10).map(batch).collect();
    let all = rig.store.unsent.clone();
    rig.give(Input::Start);
    rig.connect();
    rig.receive(&Message::Welcome(Box::new(welcome(0))));
    assert_eq!(rig.pushed(), [[1, 2, 3, 4]]);
    rig.receive(&Message::Receipts(vec![accepted(1, &all[0]), accepted(2, &all[1])]));
    assert_eq!(rig.pushed(), [[5, 6]]);
    rig.receive(&Message::Receipts((3..=6).map(|n| accepted(n, &all[n as usize - 1])).collect()));
    assert_eq!(rig.pushed(), [[7, 8, 9, 10]]);
    assert!(!rig.engine.is_synced());
    rig.receive(&Message::Receipts((7..=10).map(|n| accepted(n, &all[n as usize - 1])).collect()));
    assert!(rig.store.unsent.is_empty());
    assert!(rig.engine.is_synced());
    assert_eq!(rig.engine.progress(), Progress { uploaded: 10, downloaded: 0 });
    assert_eq!(rig.sent(), [Message::Ack(Ack { page: 0, receipt: 10 })]);
}

#[test]
fn our_own_limit_holds_where_the_server_would_take_more() {
    let mut rig = Rig::new(1);
    rig.store.unsent = (1..=200).map(batch).collect();
    rig.give(Input::Start);
    rig.connect();
    let limits = PeerLimits { batches_in_flight: u32::MAX, pages_in_flight: 4 };
    rig.receive(&Message::Welcome(Box::new(Welcome { limits, ..welcome(0) })));
    let pushed: usize = rig.pushed().iter().map(Vec::len).sum();
    assert_eq!(pushed, limits::BATCHES_IN_FLIGHT_MAX);
}

/// A batch nearly as large as one may be.
fn heavy(number: u64) -> Batch {
    let author = Author { actor: ActorId([1; 16]), time: Timestamp::from_millis(0) };
    let value = Scalar::Str("x".repeat(limits::BATCH_BYTES_MAX - 1_000));
    let edit = Edit::Put { key: "name".into(), value };
    let written = author.write(&mut Cells::default(), &[edit]);
    let changes = written.iter().map(|(change, encoded)| SentChange::alone(change, &encoded.hash));
    let documents =
        vec![DocumentChanges { document: DocumentRef::Number(1), changes: changes.collect() }];
    Batch { documents, ..batch(number) }
}

#[test]
fn batches_under_way_are_counted_in_bytes_as_well() {
    let mut rig = Rig::new(1);
    rig.store.unsent = (1..=40).map(heavy).collect();
    let all = rig.store.unsent.clone();
    rig.give(Input::Start);
    rig.connect();
    let limits = PeerLimits { batches_in_flight: 64, pages_in_flight: 4 };
    rig.receive(&Message::Welcome(Box::new(Welcome { limits, ..welcome(0) })));
    let fit = (limits::BYTES_IN_FLIGHT_MAX / limits::BATCH_BYTES_MAX) as u64;
    assert_eq!(rig.pushed().concat(), (1..=fit).collect::<Vec<_>>());
    for number in 1..=40 {
        assert!(!rig.engine.is_synced());
        rig.receive(&Message::Receipts(vec![accepted(number, &all[number as usize - 1])]));
        let next = Some(number + fit).filter(|next| *next <= 40);
        assert_eq!(rig.pushed().concat(), Vec::from_iter(next), "as many as have been answered");
    }
    assert!(rig.engine.is_synced());
}

#[test]
fn an_edit_made_while_the_outbox_is_read_is_not_forgotten() {
    let mut rig = Rig::live(0);
    rig.store.speed = Speed::WhenTold;
    rig.give(Input::Nudge(Nudge::Edited));
    let Some(StoreWork::ReadOutbox { .. }) = rig.store.pending.take() else {
        panic!("an edit makes the engine read the outbox")
    };
    rig.store.unsent = vec![batch(1)];
    rig.give(Input::Nudge(Nudge::Edited));
    rig.give(Input::OutboxRead(Vec::new()));
    rig.answer();
    assert_eq!(rig.pushed(), [[1]]);
}

#[test]
fn batches_written_anew_after_a_refusal_are_sent_again_under_their_numbers() {
    let mut rig = Rig::new(1);
    rig.store.unsent = (1..=3).map(batch).collect();
    let all = rig.store.unsent.clone();
    rig.give(Input::Start);
    rig.connect();
    rig.receive(&Message::Welcome(Box::new(welcome(0))));
    assert_eq!(rig.pushed(), [[1, 2, 3]]);
    rig.receive(&Message::Receipts(vec![refused(1, &all[0])]));
    assert!(rig.pushed().is_empty(), "the answers to the others are still to come");
    // The third depended on the first: once its answer is stored, it is in the outbox again.
    rig.store.rewritten = vec![batch(3)];
    rig.receive(&Message::Receipts(vec![refused(2, &all[2])]));
    assert_eq!(rig.pushed(), [[3]]);
    rig.receive(&Message::Receipts(vec![accepted(3, &all[1]), accepted(4, &all[2])]));
    assert!(rig.engine.is_synced());
}

#[test]
fn short_receipts_answer_the_batches_of_their_numbers() {
    let mut rig = Rig::new(1);
    rig.store.unsent = (11..=13).map(batch).collect();
    rig.give(Input::Start);
    rig.connect();
    rig.receive(&Message::Welcome(Box::new(welcome(0))));
    assert_eq!(rig.pushed(), [[11, 12, 13]]);
    rig.works.clear();
    rig.receive(&Message::ShortReceipts(vec![short(1, 11), short(2, 12)]));
    let whole = vec![short(1, 11).of(batch(11).id), short(2, 12).of(batch(12).id)];
    assert!(
        matches!(&rig.works[0], StoreWork::StoreReceipts { receipts, .. } if *receipts == whole)
    );
    assert!(!rig.engine.is_synced());
    rig.receive(&Message::Receipts(vec![accepted(3, &batch(13))]));
    assert!(rig.engine.is_synced());
}

#[test]
fn a_page_is_acknowledged_once_it_is_stored_and_not_before() {
    let mut rig = Rig::live(5);
    assert_eq!(rig.engine.phase(), SyncPhase::CatchingUp);
    rig.sent();
    rig.store.speed = Speed::WhenTold;
    rig.receive_page(1, &page(Cursor { position: 3, from: Some(0) }, 5));
    rig.receive_page(2, &page(Cursor::at(5), 5));
    assert!(rig.sent().is_empty());
    rig.answer();
    assert_eq!(rig.sent(), [Message::Ack(Ack { page: 1, receipt: 0 })]);
    assert_eq!(rig.engine.phase(), SyncPhase::CatchingUp);
    rig.answer();
    assert_eq!(rig.sent(), [Message::Ack(Ack { page: 2, receipt: 0 })]);
    assert_eq!(rig.engine.phase(), SyncPhase::Live);
    assert!(rig.engine.is_synced());
}

#[test]
fn a_page_larger_than_a_frame_is_stored_as_one() {
    let mut rig = Rig::live(7);
    let mut snapshot = vec![0; 3 * limits::PAGE_PART_BYTES];
    rig.rng.fill_bytes(&mut snapshot);
    let id = DocumentId::main(RecordId::from_source_key("test", "large"));
    let identity = Identity { id, entity: "note".into() };
    let document = Entry::Document { number: 1, identity, snapshot, changes: Vec::new() };
    let large = Page { entries: vec![document], ..page(Cursor::at(7), 7) };
    let parts: Vec<_> = PageParts::new(&large).parts(1).collect();
    assert!(parts.len() > 1);
    rig.works.clear();
    for part in parts {
        assert!(rig.works.is_empty());
        rig.receive(&Message::Page(part));
    }
    assert!(matches!(&rig.works[..], [StoreWork::StorePage { number: 1, page }] if *page == large));
    assert_eq!(rig.engine.progress().downloaded, 1);
}

#[test]
fn receipts_that_come_while_the_store_is_busy_are_stored_together() {
    let mut rig = Rig::new(1);
    rig.store.unsent = (1..=4).map(batch).collect();
    let all = rig.store.unsent.clone();
    rig.give(Input::Start);
    rig.connect();
    rig.receive(&Message::Welcome(Box::new(welcome(1))));
    rig.store.speed = Speed::WhenTold;
    rig.receive_page(1, &page(Cursor::at(1), 1));
    for (number, batch) in (1..).zip(&all) {
        rig.receive(&Message::Receipts(vec![accepted(number, batch)]));
    }
    rig.works.clear();
    rig.answer();
    assert!(
        matches!(&rig.works[..], [StoreWork::StoreReceipts { receipts, .. }] if receipts.len() == 4)
    );
}

#[test]
fn a_broken_document_is_asked_for_once_until_it_has_come() {
    let mut rig = Rig::live(9);
    rig.sent();
    rig.store.fetch = vec![7, 8];
    rig.receive_page(1, &page(Cursor::at(5), 9));
    let fetch = Message::Fetch(Fetch { documents: vec![7, 8] });
    assert!(rig.sent().contains(&fetch));
    rig.store.fetch = vec![7];
    rig.receive_page(2, &page(Cursor::at(9), 9));
    assert_eq!(rig.sent(), [Message::Ack(Ack { page: 2, receipt: 0 })]);

    rig.store.fetch = Vec::new();
    let came = Page { entries: vec![Entry::Left { number: 7 }], ..page(Cursor::at(9), 9) };
    rig.receive_page(3, &came);
    assert_eq!(rig.sent(), [Message::Ack(Ack { page: 3, receipt: 0 })]);
    // A later change of it does not fit.
    rig.store.fetch = vec![7];
    rig.receive_page(4, &page(Cursor::at(10), 10));
    assert!(rig.sent().contains(&Message::Fetch(Fetch { documents: vec![7] })));
}

#[test]
fn receipts_of_the_welcome_are_acknowledged_without_a_push() {
    let mut rig = Rig::new(1);
    rig.store.unsent = vec![batch(1)];
    let receipts = vec![accepted(4, &batch(1))];
    rig.give(Input::Start);
    rig.connect();
    rig.sent();
    rig.receive(&Message::Welcome(Box::new(Welcome { receipts, ..welcome(0) })));
    assert_eq!(rig.sent(), [Message::Ack(Ack { page: 0, receipt: 4 })]);
}

#[test]
fn an_edit_in_a_quiet_session_is_sent_and_reported_as_synced_once_answered() {
    let mut rig = Rig::live(0);
    rig.changes.clear();
    rig.store.unsent = vec![batch(1)];
    rig.give(Input::Nudge(Nudge::Edited));
    assert_eq!(rig.pushed(), [[1]]);
    assert!(rig.changes.is_empty());
    rig.receive(&Message::Receipts(vec![accepted(1, &batch(1))]));
    assert_eq!(rig.changes, [StatusChange::Synced]);
}
