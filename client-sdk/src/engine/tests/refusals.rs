//! Refusals while other batches are under way: the store is told which, and what it writes anew is sent.

use super::*;

/// The batches that the store was told to be under way with the last receipts.
fn in_flight(rig: &Rig) -> Vec<u64> {
    let last = rig.works.iter().rev().find_map(|work| match work {
        StoreWork::StoreReceipts { in_flight, .. } => Some(in_flight),
        _ => None,
    });
    let number = |id: &BatchId| u64::from_be_bytes(id.0[..8].try_into().unwrap());
    last.into_iter().flatten().map(number).collect()
}

/// Live, with these batches pushed.
fn pushed(batches: std::ops::RangeInclusive<u64>) -> (Rig, Vec<Batch>) {
    let mut rig = Rig::new(1);
    rig.store.unsent = batches.map(batch).collect();
    let all = rig.store.unsent.clone();
    rig.give(Input::Start);
    rig.connect();
    rig.receive(&Message::Welcome(Box::new(welcome(0))));
    assert!(!rig.pushed().is_empty());
    (rig, all)
}

#[test]
fn receipts_are_stored_with_what_is_under_way_beside_them() {
    let (mut rig, all) = pushed(1..=3);
    rig.receive(&Message::Receipts(vec![refused(1, &all[0])]));
    assert_eq!(in_flight(&rig), [2, 3]);
    rig.receive(&Message::Receipts(vec![accepted(2, &all[1])]));
    assert_eq!(in_flight(&rig), [3]);
    rig.receive(&Message::Receipts(vec![accepted(3, &all[2])]));
    assert!(in_flight(&rig).is_empty());
    assert!(rig.engine.is_synced());
}

#[test]
fn an_answer_that_waits_for_the_store_counts_as_under_way_until_it_is_stored() {
    let (mut rig, all) = pushed(1..=3);
    rig.store.speed = Speed::WhenTold;
    rig.receive_page(1, &page(Cursor::at(0), 0));
    rig.receive(&Message::Receipts(vec![refused(1, &all[0])]));
    rig.receive_page(2, &page(Cursor::at(0), 0));
    rig.receive(&Message::Receipts(vec![accepted(2, &all[1])]));
    rig.answer();
    assert_eq!(in_flight(&rig), [2, 3], "the second answer is not stored yet");
}

#[test]
fn what_is_written_anew_with_the_last_answer_is_sent_though_that_answer_is_no_refusal() {
    let (mut rig, all) = pushed(1..=3);
    rig.receive(&Message::Receipts(vec![refused(1, &all[0])]));
    rig.receive(&Message::Receipts(vec![refused(2, &all[1])]));
    assert!(rig.pushed().is_empty(), "the store withholds the second while the third is under way");
    rig.store.rewritten = vec![all[1].clone()];
    rig.receive(&Message::Receipts(vec![accepted(3, &all[2])]));
    assert_eq!(rig.pushed(), [[2]]);
    assert!(!rig.engine.is_synced());
    rig.receive(&Message::Receipts(vec![accepted(4, &all[1])]));
    assert!(rig.engine.is_synced());
}

#[test]
fn a_replica_whose_name_somebody_else_used_gets_one_of_its_own_and_comes_back() {
    let (mut rig, all) = pushed(1..=2);
    let text = "another copy writes under its name".to_owned();
    rig.store.failure = Some(StoreFailure { kind: SyncErrorKind::Refused, text });
    rig.receive(&Message::Receipts(vec![refused(1, &all[0])]));
    assert_eq!(rig.store.renewals, 1);
    assert!(rig.goodbye().is_some(), "the session ends: it spoke for the old name");
    rig.pass(60_000);
    rig.connect();
    rig.receive(&Message::Welcome(Box::new(welcome(0))));
    assert_eq!(rig.pushed(), [[1, 2]]);
}
