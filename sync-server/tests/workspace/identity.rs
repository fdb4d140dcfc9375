//! What is sent twice is there once, and receipts are kept until the device has them.

use crdt_core::id::DocumentId;
use crdt_core::protocol::Outcome;

use crate::support::device::put;
use crate::support::world::World;

#[test]
fn the_same_batch_again_is_answered_with_what_it_became() {
    let mut world = World::new();
    let mut device = world.device(1);
    let (record, batch) = device.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut device, batch.clone());
    let (_, other) = device.create("contact", &[put("last_name", "Bea")]);
    world.accept(&mut device, other);
    let again = world.push(&mut device, batch);
    let Outcome::Already { position, documents, hashes } = again.outcome else {
        panic!("{:?}", again.outcome)
    };
    assert_eq!((position, again.number, world.head()), (1, 3, 2));
    let id = DocumentId::main(record);
    assert_eq!((documents[0].id.clone(), documents[0].number), (id.clone(), 1));
    assert_eq!(hashes, device.documents[&id].cells.heads());
}

#[test]
fn the_same_batch_twice_in_one_commit_is_accepted_once() {
    let mut world = World::new();
    let mut device = world.device(1);
    let (record, batch) = device.create("contact", &[put("last_name", "Ada")]);
    let committed = world.commit(&[(&device, batch.clone()), (&device, batch)]).unwrap();
    assert_eq!((committed.accepted, committed.head), (1, 1));
    let Outcome::Already { position: 1, documents, hashes } = &committed.receipts[1].1.outcome
    else {
        panic!("{:?}", committed.receipts[1].1.outcome)
    };
    assert_eq!(documents[0].number, 1);
    assert_eq!(hashes, device.documents[&DocumentId::main(record)].cells.heads());
}

#[test]
fn a_batch_id_counts_also_when_its_changes_were_written_again() {
    let mut world = World::new();
    let mut device = world.device(1);
    let (record, batch) = device.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut device, batch);
    let first = device.edit(record, &[put("title", "x")]);
    let mut copy = device.clone();
    copy.incarnation = 1;
    world.accept(&mut device, first.clone());
    let mut again = copy.edit(record, &[put("title", "y")]);
    again.id = first.id;
    let outcome = world.push(&mut copy, again).outcome;
    assert!(matches!(outcome, Outcome::Already { position: 2, .. }), "{outcome:?}");
    assert_eq!(world.head(), 2);
}

#[test]
fn changes_that_are_here_already_are_no_fault_under_another_batch_id() {
    let mut world = World::new();
    let mut device = world.device(1);
    let (_, batch) = device.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut device, batch.clone());
    let mut renamed = batch;
    renamed.id.0[0] ^= 1;
    assert_eq!(world.accept(&mut device, renamed), 2);
    let mut other = world.device(2);
    world.sync(&mut other);
    world.assert_same(&other);
}

#[test]
fn a_receipt_that_was_lost_comes_with_the_next_welcome() {
    let mut world = World::new();
    let mut device = world.device(1);
    let (_, batch) = device.create("contact", &[put("last_name", "Ada")]);
    let (_, second) = device.create("contact", &[put("stage", "nowhere")]);
    let committed = world.commit(&[(&device, batch), (&device, second)]).unwrap();
    let sent: Vec<_> = committed.receipts.into_iter().map(|(_, receipt)| receipt).collect();
    let lease = world.lease();
    let greeting =
        world.workspace.hello(World::now(), lease, device.member, &device.hello()).unwrap();
    assert_eq!(greeting.welcome.receipts, sent);
    device.welcomed(&greeting.welcome);
    assert_eq!(device.receipt, 2);
    let lease = world.lease();
    let greeting =
        world.workspace.hello(World::now(), lease, device.member, &device.hello()).unwrap();
    assert_eq!(greeting.welcome.receipts, [], "what is acknowledged is dropped");
}

#[test]
fn acknowledged_receipts_are_dropped_and_with_them_the_marks_of_refusals() {
    let mut world = World::new();
    let mut device = world.device(1);
    let (record, batch) = device.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut device, batch);
    let bad = device.edit(record, &[put("stage", "nowhere")]);
    world.refuse(&mut device, bad);
    world.workspace.acknowledge(&device.replica, 2).unwrap();
    let follows = device.edit(record, &[put("title", "x")]);
    assert_eq!(world.refuse(&mut device, follows).code, "unknown_dependency");
    world.workspace.acknowledge(&device.replica, u64::MAX).unwrap();
    let (_, next) = device.create("contact", &[put("last_name", "Bea")]);
    let receipt = world.push(&mut device, next);
    assert_eq!(receipt.number, 4, "numbers go on whatever was dropped");
}
