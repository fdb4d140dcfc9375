//! Losing a scope: the device is told what to drop, page by page, and at last that the scope is gone.

use crdt_core::id::ReplicaId;
use crdt_core::protocol::{Cursor, Entry, Page, ScopeCursor};
use sync_server::workspace::Stride;

use super::territories::{scene, strides};
use crate::support::device::{Device, put};
use crate::support::world::{World, member};

fn left(page: &Page) -> usize {
    page.entries.iter().filter(|entry| matches!(entry, Entry::Left { .. })).count()
}

/// A rep of the west and the east with so many accounts of each.
fn held(stride: Stride, count: usize) -> (World, Device, Device) {
    let mut world = scene(stride);
    world.set(member(2), "rep", &["west", "east"]);
    let mut admin = world.device(1);
    for territory in ["west", "east"] {
        for _ in 0..count {
            let edits = [put("name", "Engines"), put("territory", territory)];
            let (_, batch) = admin.create("account", &edits);
            world.accept(&mut admin, batch);
        }
    }
    let mut rep = world.device_of(2, member(2));
    world.sync(&mut rep);
    assert_eq!(rep.documents.len(), 2 * count);
    (world, admin, rep)
}

#[test]
fn what_only_the_lost_scope_showed_leaves_and_the_rest_stays() {
    for stride in strides() {
        let (mut world, _, mut rep) = held(stride, 5);
        world.set(member(2), "rep", &["west"]);
        let mut feed = world.connect(&mut rep);
        assert_eq!(rep.lost.keys().collect::<Vec<_>>(), ["territory:east"]);
        let page = world.next_page(&mut feed, false).expect("it is said without being asked for");
        assert_eq!((left(&page), &page.dropped[..]), (5, &["territory:east".to_owned()][..]));
        rep.apply(page);
        world.drain(&mut rep, &mut feed);
        assert_eq!(rep.documents.len(), 5);
        world.assert_same(&rep);
        assert!(rep.stands_at(world.head()));
        assert_eq!(world.sync(&mut rep), 0, "nothing is said twice");
    }
}

#[test]
fn a_large_scope_leaves_in_bounded_pages_and_goes_on_where_it_was_cut() {
    let stride = Stride { catch_up: 7, ..Stride::default() };
    let (mut world, _, mut rep) = held(stride, 400);
    world.set(member(2), "rep", &["west"]);
    let mut pages = 0;
    let mut said = 0;
    // Every page ends the connection.
    while !rep.lost.is_empty() || pages == 0 {
        let mut feed = world.connect(&mut rep);
        let page = world.next_page(&mut feed, false).unwrap();
        assert!(left(&page) <= 7 * 17, "{} at once", left(&page));
        said += left(&page);
        if page.dropped.is_empty() {
            let [ScopeCursor { scope, .. }] = &page.cursors[..] else { panic!("{page:?}") };
            assert_eq!(scope, "territory:east", "it moves its own cursor and no other");
        }
        rep.apply(page);
        pages += 1;
        assert!(pages < 20, "it never ends");
    }
    assert!(pages > 3 && said < 410, "{pages} pages, {said} documents");
    world.sync(&mut rep);
    world.assert_same(&rep);
}

#[test]
fn a_scope_that_comes_back_before_it_is_dropped_is_whole_again() {
    let stride = Stride { catch_up: 3, ..Stride::default() };
    let (mut world, mut admin, mut rep) = held(stride, 120);
    world.set(member(2), "rep", &["west"]);
    let mut feed = world.connect(&mut rep);
    let page = world.next_page(&mut feed, false).unwrap();
    rep.apply(page);
    assert!(rep.documents.len() < 240 && !rep.lost.is_empty());
    let (_, batch) = admin.create("account", &[put("name", "New"), put("territory", "east")]);
    world.accept(&mut admin, batch);
    world.set(member(2), "rep", &["west", "east"]);
    world.sync(&mut rep);
    world.assert_same(&rep);
    assert_eq!(rep.documents.len(), 241);
}

#[test]
fn a_scope_that_comes_back_after_it_was_dropped_begins_again() {
    for stride in strides() {
        let (mut world, _, mut rep) = held(stride, 3);
        world.set(member(2), "rep", &["west"]);
        world.sync(&mut rep);
        world.set(member(2), "rep", &["west", "east"]);
        world.sync(&mut rep);
        assert_eq!(rep.documents.len(), 6);
        world.assert_same(&rep);
    }
}

#[test]
fn what_left_the_scope_before_it_was_lost_leaves_too() {
    for stride in strides() {
        let (mut world, mut admin, mut rep) = held(stride, 3);
        let accounts = crate::support::world::records_of(&world, "account");
        let batch = admin.edit(accounts[5], &[put("territory", "north")]);
        world.accept(&mut admin, batch);
        world.set(member(2), "rep", &["west"]);
        world.sync(&mut rep);
        assert_eq!(rep.documents.len(), 3);
        world.assert_same(&rep);
    }
}

#[test]
fn a_copy_that_counts_as_a_new_replica_drops_what_its_member_lost() {
    let (mut world, _, mut rep) = held(Stride::default(), 3);
    world.set(member(2), "rep", &["west"]);
    // It takes another replica id, and says which scopes it holds.
    rep.replica = ReplicaId([0xee; 12]);
    rep.lease = None;
    rep.receipt = 0;
    let cursor = rep.cursor;
    rep.exceptions.insert("territory:east".to_owned(), cursor);
    world.sync(&mut rep);
    assert_eq!(rep.documents.len(), 3);
    world.assert_same(&rep);
}

#[test]
fn a_device_that_names_scopes_which_its_member_never_had_learns_nothing() {
    let (mut world, mut admin, mut rep) = held(Stride::default(), 1);
    let (_, batch) = admin.create("account", &[put("name", "Far"), put("territory", "north")]);
    world.accept(&mut admin, batch);
    let names = ["territory:north", "all", "owner:x", "nonsense", "-territory:west", "all#finance"];
    for name in names {
        rep.lost.insert(name.to_owned(), Cursor::at(1));
    }
    let mut feed = world.connect(&mut rep);
    while let Some(page) = world.next_page(&mut feed, true) {
        assert!(page.dropped.is_empty() && left(&page) == 0, "{page:?}");
        let known = |cursor: &ScopeCursor| !names.contains(&cursor.scope.as_str());
        assert!(page.cursors.iter().all(known), "{page:?}");
        rep.apply(page);
    }
}
