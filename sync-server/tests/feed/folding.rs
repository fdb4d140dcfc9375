//! Folding: old changes become a snapshot, and nobody notices.

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::limits::FOLD_CHANGES_MIN;
use crdt_core::protocol::{Entry, Outcome};
use sync_server::store;
use sync_server::workspace::{Folding, Stride};

use crate::support::device::{Device, put};
use crate::support::world::World;

const STRIDE: Stride =
    Stride { followed_max: 10, follow: 256, catch_up: 500, burst_bytes: 8 << 20 };

fn edited(times: u64) -> (World, Device, RecordId) {
    let mut world = World::new().with_stride(STRIDE);
    let mut device = world.device(1);
    let (record, batch) = device.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut device, batch);
    for n in 0..times {
        let batch = device.edit(record, &[put("title", &format!("the title number {n}"))]);
        world.accept(&mut device, batch);
    }
    (world, device, record)
}

fn fold_all(world: &mut World) -> usize {
    let mut folded = 0;
    loop {
        match world.workspace.fold_one().unwrap() {
            Folding::Folded { .. } => folded += 1,
            Folding::Looked => {}
            Folding::Idle => return folded,
        }
    }
}

#[test]
fn only_a_long_tail_that_outgrows_its_snapshot_is_folded() {
    let (mut world, _, _) = edited(FOLD_CHANGES_MIN + 8);
    assert_eq!(fold_all(&mut world), 0, "too few of its changes lie behind the last positions");
    let (mut world, mut device, record) = edited(FOLD_CHANGES_MIN + 20);
    assert_eq!(fold_all(&mut world), 1);
    assert_eq!(fold_all(&mut world), 0, "nothing is folded twice");
    let batch = device.edit(record, &[put("title", "one more")]);
    world.accept(&mut device, batch);
    assert_eq!(fold_all(&mut world), 0);
}

#[test]
fn folding_changes_neither_positions_nor_contents_nor_the_index() {
    let (mut world, mut device, record) = edited(100);
    let id = DocumentId::main(record);
    let splice = device.splice(record, "journal", 0, "prose");
    world.accept(&mut device, splice);
    for n in 0..100 {
        let batch = device.edit(record, &[put("company", &n.to_string())]);
        world.accept(&mut device, batch);
    }
    let rows = |world: &World| store::read(&*world.store, |tx| tx.changes_after(1, 0)).unwrap();
    let (head, cells, before) = (world.head(), world.cells(&id), rows(&world));
    assert!(fold_all(&mut world) > 0);
    assert_eq!((head, cells), (world.head(), world.cells(&id)));
    let after = rows(&world);
    let bare = |rows: &[store::ChangeRow]| {
        rows.iter().map(|row| store::ChangeRow { bytes: None, ..row.clone() }).collect::<Vec<_>>()
    };
    assert_eq!(bare(&before), bare(&after));
    let kept = after.iter().filter(|row| row.bytes.is_some()).count();
    assert!(kept >= 10, "the last positions keep their changes");
    assert!(kept < 80, "{kept} changes are left");
}

#[test]
fn devices_new_old_and_stale_go_on_after_folding() {
    let (mut world, mut device, record) = edited(10);
    let mut stale = world.device(2);
    world.sync(&mut stale);
    for n in 0..100 {
        let batch = device.edit(record, &[put("title", &format!("title {n}"))]);
        world.accept(&mut device, batch);
    }
    assert_eq!(fold_all(&mut world), 1);
    // An edit whose dependency is folded and whose predecessor was replaced: the slow door.
    let late = stale.edit(record, &[put("title", "late")]);
    let committed = world.commit(&[(&stale, late)]).unwrap();
    assert_eq!((committed.accepted, committed.slow_doors), (1, 1));
    let prose = device.splice(record, "journal", 0, "prose");
    world.accept(&mut device, prose);
    let mut new = world.device(3);
    let mut feed = world.connect(&mut new);
    let page = world.next_page(&mut feed, true).unwrap();
    let whole =
        |entry: &Entry| matches!(entry, Entry::Document { snapshot, .. } if !snapshot.is_empty());
    assert!(page.entries.iter().any(whole), "a new device gets the snapshot");
    let mut authors: Vec<_> = page.authors.iter().map(|author| author.replica).collect();
    authors.sort_unstable();
    assert_eq!(authors, [device.replica, stale.replica], "and who wrote it");
    new.apply(page);
    for device in [&mut new, &mut stale, &mut device] {
        world.sync(device);
        world.assert_same(device);
    }
    let batch = new.edit(record, &[put("title", "newest")]);
    let receipt = world.push(&mut new, batch);
    assert!(matches!(receipt.outcome, Outcome::Accepted { .. }), "{:?}", receipt.outcome);
}

#[test]
fn a_device_near_the_head_gets_changes_although_older_ones_were_folded() {
    let (mut world, mut device, record) = edited(100);
    let mut near = world.device(2);
    world.sync(&mut near);
    for n in 0..5 {
        let batch = device.edit(record, &[put("title", &n.to_string())]);
        world.accept(&mut device, batch);
    }
    assert_eq!(fold_all(&mut world), 1);
    let mut feed = world.connect(&mut near);
    let page = world.next_page(&mut feed, true).unwrap();
    let [Entry::Changes { identity: None, changes, .. }] = &page.entries[..] else {
        panic!("{:?}", page.entries)
    };
    assert_eq!(changes.len(), 5);
    near.apply(page);
    world.assert_same(&near);
}

#[test]
fn a_damaged_document_is_left_as_it_is_and_others_are_folded() {
    let (mut world, mut device, record) = edited(100);
    let id = DocumentId::main(record);
    let cells = world.cells(&id).unwrap();
    let (other, batch) = device.create("contact", &[put("last_name", "Bea")]);
    world.accept(&mut device, batch);
    for n in 0..100 {
        let batch = device.edit(other, &[put("title", &format!("the title number {n}"))]);
        world.accept(&mut device, batch);
    }
    store::write(&*world.store, |tx| {
        let other = tx.document(2)?.unwrap();
        tx.set_cells(1, &other.cells)
    })
    .unwrap();
    let mut folded = Vec::new();
    let mut failures = 0;
    loop {
        match world.workspace.fold_one() {
            Ok(Folding::Folded { document }) => folded.push(document),
            Ok(Folding::Looked) => {}
            Ok(Folding::Idle) => break,
            Err(_) => failures += 1,
        }
    }
    assert_eq!(folded, [2]);
    assert!(failures > 0);
    let rows = store::read(&*world.store, |tx| tx.changes_after(1, 0)).unwrap();
    assert!(rows.iter().all(|row| row.bytes.is_some()), "no byte of it is gone");
    store::write(&*world.store, |tx| tx.set_cells(1, &cells.to_stored())).unwrap();
    let mut new = world.device(3);
    world.sync(&mut new);
    world.assert_same(&new);
}
