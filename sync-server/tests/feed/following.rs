//! Following the log, catching up by index, and what is wanted whole.

use crdt_core::id::DocumentId;
use crdt_core::limits;
use crdt_core::protocol::{Cursor, Entry, Page, ScopeCursor};
use sync_server::workspace::Stride;

use crate::support::device::{Device, put};
use crate::support::world::World;

fn changed(page: &Page) -> Vec<u64> {
    let numbers = page.entries.iter().map(|entry| match entry {
        Entry::Changes { number, .. } | Entry::Document { number, .. } => *number,
        Entry::Left { .. } | Entry::Erased { .. } => panic!("nothing left"),
    });
    numbers.collect()
}

fn all_at(position: u64) -> Vec<ScopeCursor> {
    vec![ScopeCursor { scope: String::new(), cursor: Cursor::at(position) }]
}

/// A device that has one batch of somebody else's, and knows it.
fn caught_up(world: &mut World) -> (Device, Device) {
    let (mut one, mut two) = (world.device(1), world.device(2));
    let (_, batch) = one.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut one, batch);
    world.sync(&mut one);
    world.sync(&mut two);
    assert!(one.stands_at(1) && two.stands_at(1));
    (one, two)
}

#[test]
fn following_never_splits_a_batch() {
    let mut world = World::new();
    let (mut one, mut two) = caught_up(&mut world);
    let mut feed = world.connect(&mut two);
    let long = "x".repeat(8_000);
    let per_batch = 50;
    for _ in 0..3 {
        let parts =
            (0..per_batch).flat_map(|_| one.create("contact", &[put("note", &long)]).1.documents);
        let parts = parts.collect();
        let batch = one.batch(parts);
        world.accept(&mut one, batch);
    }
    // One batch is larger than a page aims to be: it comes whole, and the next one in a page of its own.
    for position in 2..=4 {
        let page = world.next_page(&mut feed, false).unwrap();
        assert_eq!(changed(&page).len(), per_batch);
        assert_eq!(page.cursors, all_at(position));
        assert_eq!(page.head, 4);
        two.apply(page);
    }
    assert_eq!(world.next_page(&mut feed, true), None);
    world.assert_same(&two);
}

#[test]
fn own_changes_are_stepped_over_and_only_a_flush_says_how_far() {
    let mut world = World::new();
    let (mut one, _) = caught_up(&mut world);
    let mut feed = world.connect(&mut one);
    for n in 0..5 {
        let (_, batch) = one.create("contact", &[put("last_name", &n.to_string())]);
        world.accept(&mut one, batch);
    }
    assert_eq!(world.next_page(&mut feed, false), None);
    let page = world.next_page(&mut feed, true).unwrap();
    assert_eq!((page.entries.len(), page.cursors.clone()), (0, all_at(6)));
    one.apply(page);
    assert_eq!(world.next_page(&mut feed, true), None, "what was said is not said again");
    let mut feed = world.connect(&mut one);
    assert_eq!(world.next_page(&mut feed, true), None, "one round trip and nothing to say");
}

#[test]
fn a_workspace_without_anything_has_nothing_to_say() {
    let mut world = World::new();
    let mut device = Device::new(1, crate::support::world::member(1));
    let mut feed = world.connect(&mut device);
    assert_eq!(world.next_page(&mut feed, true), None);
}

#[test]
fn a_new_device_gets_everything_and_its_own_changes_too() {
    let mut world = World::new();
    let mut one = world.device(1);
    for n in 0..5 {
        let (_, batch) = one.create("contact", &[put("last_name", &n.to_string())]);
        world.accept(&mut one, batch);
    }
    // Its database was lost, and with it what it wrote itself.
    let mut again = one.clone();
    again.documents.clear();
    world.sync(&mut again);
    world.assert_same(&again);
    assert!(again.stands_at(5));
}

#[test]
fn authors_come_once_with_the_first_page_that_needs_them() {
    let mut world = World::new();
    let (mut one, mut two) = caught_up(&mut world);
    let mut feed = world.connect(&mut two);
    let mut authors = Vec::new();
    for n in 0..2 {
        let (_, batch) = one.create("contact", &[put("last_name", &n.to_string())]);
        world.accept(&mut one, batch);
        authors.push(world.next_page(&mut feed, false).unwrap().authors);
    }
    assert_eq!((authors[0].len(), authors[1].len()), (1, 0));
    assert_eq!(authors[0][0].replica, one.replica);
    assert_eq!(authors[0][0].name, "Member 1");
}

#[test]
fn a_device_far_behind_catches_up_by_index_and_ends_whole() {
    let stride = Stride { followed_max: 8, follow: 3, catch_up: 4, ..Stride::default() };
    let mut world = World::new().with_stride(stride);
    let (mut one, mut two) = caught_up(&mut world);
    let (record, batch) = one.create("contact", &[put("last_name", "Bea")]);
    world.accept(&mut one, batch);
    let long = "x".repeat(8_000);
    for n in 0..60 {
        let batch = one.edit(record, &[put("title", &n.to_string())]);
        world.accept(&mut one, batch);
        let (_, batch) = one.create("contact", &[put("note", &long)]);
        world.accept(&mut one, batch);
    }
    let mut feed = world.connect(&mut two);
    let first = world.next_page(&mut feed, false).unwrap();
    let [ScopeCursor { scope, cursor: Cursor { position, from: Some(1) } }] = &first.cursors[..]
    else {
        panic!("not catching up: {:?}", first.cursors)
    };
    assert!(scope == "all" && *position < 122, "{position}");
    two.apply(first);
    world.drain(&mut two, &mut feed);
    assert!(two.stands_at(122));
    world.assert_same(&two);
}

#[test]
fn what_is_wanted_comes_whole_as_much_as_fits_and_only_what_is_visible() {
    let mut world = World::new();
    let (mut one, mut two) = caught_up(&mut world);
    let long = "x".repeat(8_000);
    for _ in 0..60 {
        let (_, batch) = one.create("contact", &[put("note", &long)]);
        world.accept(&mut one, batch);
    }
    let mut feed = world.connect(&mut two);
    world.drain(&mut two, &mut feed);
    let wanted: Vec<u64> = [0, u64::MAX].into_iter().chain(1..=61).chain([62]).collect();
    feed.want(&wanted);
    let mut entries = Vec::new();
    while let Some(page) = world.next_page(&mut feed, false) {
        assert!(page.entries.len() < 40, "one page has {} entries", page.entries.len());
        entries.extend(page.entries);
    }
    let whole = entries.iter().filter(|entry| {
        matches!(entry, Entry::Changes { identity: Some(_), changes, .. } if changes.len() == 1)
    });
    assert_eq!(whole.count(), 61);
    let gone = entries.iter().filter_map(|entry| match entry {
        Entry::Left { number } => Some(*number),
        _ => None,
    });
    assert_eq!(gone.collect::<Vec<_>>(), [u64::MAX, 62]);
    feed.want(&vec![1; 3 * limits::PAGE_ENTRIES_MAX]);
    let page = world.next_page(&mut feed, false).unwrap();
    assert_eq!(page.entries.len(), 1, "one document is sent once in a page");
}

#[test]
fn a_device_told_one_place_in_every_scope_says_it_again_and_gets_nothing() {
    let mut world = World::new();
    let (mut one, mut two) = caught_up(&mut world);
    let (record, batch) = one.create("account", &[put("name", "Engines")]);
    world.accept(&mut one, batch);
    let batch = one.edit_section(record, "finance", &[put("credit_limit", "5.00 USD")]);
    world.accept(&mut one, batch);
    assert_eq!(world.sync(&mut two), 1, "one page brings both sections");
    assert!(two.stands_at(3) && two.exceptions.is_empty());
    assert_eq!(world.sync(&mut two), 0);
    let finance = DocumentId { record, section: "finance".parse().unwrap() };
    assert!(two.documents.contains_key(&finance));
}

#[test]
fn one_batch_over_documents_that_are_too_large_together_is_cut_and_all_of_it_comes() {
    for followed_max in [1, 1_000] {
        let stride = Stride { followed_max, burst_bytes: 60_000, ..Stride::default() };
        let mut world = World::new().with_stride(stride);
        let (mut one, mut two) = caught_up(&mut world);
        let long = "x".repeat(8_000);
        for _ in 0..2 {
            let parts = (0..30)
                .flat_map(|_| one.create("contact", &[put("note", &long)]).1.documents)
                .collect();
            let batch = one.batch(parts);
            world.accept(&mut one, batch);
        }
        let mut feed = world.connect(&mut two);
        let mut pages = 0;
        while let Some(page) = world.next_page(&mut feed, true) {
            assert!(page.entries.len() <= 9, "{} entries of 8 kB each", page.entries.len());
            two.apply(page);
            pages += 1;
            if pages == 3 {
                // Where a position was cut is the session's to know: the next begins it again.
                feed = world.connect(&mut two);
            }
        }
        assert!(pages > 6 && two.stands_at(3), "{pages}");
        world.assert_same(&two);
    }
}
