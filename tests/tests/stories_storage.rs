//! Stories of storage: full disks, broken records and damaged files stop nothing but themselves.

use client_sdk::{EditError, Edits, StoreError, SyncErrorKind, SyncPhase};
use crdt_core::id::RecordId;
use crdt_core::protocol::{Entry, Page};
use tests::harness::world::{Device, World};

/// Two devices and an account, all synced.
fn two_devices(seed: u64) -> (World, Device, Device, RecordId) {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    (world, ann, bob, account)
}

/// Restarts a device whose database may grow no further than it has, or without a bound.
fn bound(world: &mut World, device: Device, pages: Option<u32>) {
    world.crash_device(device);
    world.at_mut(device).set_max_page_count(pages);
    world.start_device(device);
}

fn filler(number: usize) -> Edits {
    Edits::new().set("last_name", format!("Orr {number}")).set("note", "so full ".repeat(900))
}

#[test]
fn a_full_device_says_so_keeps_what_it_has_and_goes_on_once_there_is_room() {
    let (mut world, ann, _, account) = two_devices(701);
    world.offline(ann);
    bound(&mut world, ann, Some(1));
    let mut made = 0;
    let error = loop {
        match world.edit(ann, |tx| tx.create("contact", filler(made))) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 1_000, "the database never got full");
    };
    assert!(matches!(error, EditError::Store(StoreError::Full)), "{error:?}");
    world.check_account(ann);
    assert_eq!(world.at(ann).client().unsent().unwrap().batches, made as u64);
    assert_eq!(world.see(ann, account).text("name"), Some("Hooli"), "reads go on");

    bound(&mut world, ann, None);
    world.create(ann, "contact", filler(made));
    world.all_online();
    world.assert_converged();
}

#[test]
fn a_device_too_full_for_a_page_asks_for_it_again_once_there_is_room() {
    let (mut world, ann, bob, _) = two_devices(702);
    bound(&mut world, bob, Some(1));
    for number in 0..100 {
        world.create(ann, "contact", filler(number));
    }
    world.settle_others(bob);
    world.run_for(30_000);
    let status = world.at(bob).sync().status();
    assert_eq!(status.last_error.map(|error| error.kind), Some(SyncErrorKind::DeviceFull));
    assert_ne!(status.phase, SyncPhase::Live);
    bound(&mut world, bob, None);
    world.settle();
    world.assert_converged();
}

#[test]
fn a_full_server_says_so_and_takes_everything_once_there_is_room() {
    let (mut world, ann, bob, account) = two_devices(703);
    world.bound_server(Some(1));
    for number in 0..150 {
        world.create(ann, "contact", filler(number));
    }
    world.set(bob, account, "country", "1");
    world.run_for(60_000);
    world.check_account(ann);
    let status = world.at(ann).sync().status();
    assert_eq!(status.last_error.map(|error| error.kind), Some(SyncErrorKind::ServerBusy));
    assert!(world.at(ann).client().unsent().unwrap().batches > 0);
    assert!(world.disputes(ann).is_empty(), "a full server refuses nothing");

    world.bound_server(None);
    world.settle();
    world.assert_converged();
}

/// Takes the last change out of every entry of one document: it can never be applied.
fn break_document(victim: u64) -> impl FnMut(Device, &mut Page) {
    move |_, page| {
        for entry in &mut page.entries {
            if let Entry::Changes { number, changes, .. } = entry
                && *number == victim
                && changes.len() > 1
            {
                changes.remove(0);
            }
        }
    }
}

#[test]
fn a_broken_record_is_set_aside_and_every_other_record_goes_on() {
    let mut world = World::new(704);
    let ann = world.device("ann");
    let broken = world.create(ann, "account", Edits::new().set("name", "Broken"));
    world.settle();
    for number in 0..5 {
        world.set(ann, broken, "country", format!("{number}"));
    }
    world.settle();
    world.tamper_with_pages(break_document(1));
    let bob = world.device("bob");
    let sound = world.create(ann, "account", Edits::new().set("name", "Sound"));
    world.settle();
    world.set(ann, sound, "country", "1");
    world.settle();
    assert_eq!(world.see(bob, sound).text("country"), Some("1"));
    assert!(world.find(bob, broken).is_none());
    assert_eq!(world.at(bob).sync().status().broken_records, 1);
}

#[test]
fn a_record_that_came_broken_once_is_fetched_again_and_whole() {
    let (mut world, ann, bob, account) = two_devices(705);
    world.offline(bob);
    for number in 0..5 {
        world.set(ann, account, "country", format!("{number}"));
    }
    world.settle_others(bob);
    let mut left = 1;
    let mut break_it = break_document(1);
    world.tamper_with_pages(move |device, page| {
        if device == bob && left > 0 && !page.entries.is_empty() {
            left -= 1;
            break_it(device, page);
        }
    });
    world.online(bob);
    world.settle();
    world.assert_converged();
    assert_eq!(world.at(bob).sync().status().broken_records, 0);
    world.assert_all_see(account, "country", "4");
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_one_syncs() {
    let (mut world, ann, bob, account) = two_devices(706);
    world.crash_device(bob);
    let path = world.at(bob).path().to_owned();
    // Opening and closing it folds the WAL in, so that the damage is not mended from there.
    rusqlite::Connection::open(&path)
        .unwrap()
        .pragma_update(None, "journal_mode", "delete")
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..100].fill(0x5a);
    std::fs::write(&path, &bytes).unwrap();
    world.forget(bob);
    world.start_device(bob);
    let report = world.at(bob).client().open_report().clone();
    let damaged = report.damaged.expect("the damage is reported");
    assert_eq!(std::fs::read(damaged.moved_to).unwrap(), bytes, "nothing of it is deleted");
    assert!(world.find(bob, account).is_none());
    world.set(ann, account, "country", "1");
    world.settle();
    world.assert_converged();
    assert_eq!(world.see(bob, account).text("country"), Some("1"));
}
