//! Pages that many devices are sent alike, and what a device passes over unread.

use crdt_core::protocol::Entry;
use sync_server::session::BuiltPage;
use sync_server::store;
use sync_server::workspace::{Feed, Slice};

use crate::support::device::{Device, put};
use crate::support::sales::{self, ADMIN, REP_EAST, REP_WEST};
use crate::support::world::{World, member};

/// Three devices that have everything, the first of which has written it.
fn together() -> (World, [Device; 3], [Feed; 3]) {
    let mut world = World::new();
    let mut devices = [world.device(1), world.device(2), world.device(3)];
    let (_, batch) = devices[0].create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut devices[0], batch);
    devices.iter_mut().for_each(|device| _ = world.sync(device));
    let feeds = devices.each_mut().map(|device| world.connect(device));
    (world, devices, feeds)
}

fn head(world: &World) -> u64 {
    world.workspace.head().unwrap()
}

/// What comes next where a feed stands.
fn slice(world: &World, feed: &Feed) -> Slice {
    store::read(&*world.store, |tx| Slice::read(feed, tx)).unwrap()
}

/// What a feed would be sent alone.
fn alone(world: &World, feed: &Feed, flush: bool) -> (Feed, Option<BuiltPage>) {
    let mut feed = feed.clone();
    let page = world.next_page(&mut feed, flush);
    let page = page.map(|page| BuiltPage::new(&page, feed.erased_up_to()));
    (feed, page)
}

#[test]
fn whoever_stands_at_one_place_is_sent_what_each_would_be_sent_alone() {
    let (mut world, [mut one, ..], [_, mut second, mut third]) = together();
    for n in 0..3 {
        let (_, batch) = one.create("contact", &[put("last_name", &n.to_string())]);
        world.accept(&mut one, batch);
        assert!(second.spot(head(&world)).is_some(), "it stands where others may stand");
        assert_eq!(second.spot(head(&world)), third.spot(head(&world)));
        let slice = slice(&world, &second);
        for feed in [&mut second, &mut third] {
            let (expected, page) = alone(&world, feed, false);
            assert!(page.is_some());
            assert_eq!(feed.take(&slice, false), Some(page));
            assert_eq!(*feed, expected, "it is left where its own page would leave it");
        }
    }
}

#[test]
fn whoever_wrote_something_is_sent_a_page_of_its_own() {
    let (mut world, [mut one, ..], [mut first, mut second, _]) = together();
    let (_, batch) = one.create("contact", &[put("last_name", "Grace")]);
    world.accept(&mut one, batch);
    assert_eq!(first.spot(head(&world)), second.spot(head(&world)));
    let slice = slice(&world, &second);
    assert_eq!(first.take(&slice, false), None, "it would be sent its own changes");
    assert!(matches!(second.take(&slice, false), Some(Some(_))));
}

#[test]
fn devices_that_are_granted_something_else_do_not_stand_together() {
    let mut world = sales::office();
    let mut west = sales::device(&mut world, REP_WEST);
    let mut east = sales::device(&mut world, REP_EAST);
    let (west, east) = (world.connect(&mut west), world.connect(&mut east));
    let mut admin = sales::device(&mut world, ADMIN);
    sales::account(&mut world, &mut admin, "west");
    let head = head(&world);
    assert!(west.spot(head).is_some() && east.spot(head).is_some());
    assert_ne!(west.spot(head), east.spot(head));
}

#[test]
fn a_device_that_sees_little_of_a_long_log_is_sent_just_that() {
    let mut world = sales::office();
    let mut admin = sales::device(&mut world, ADMIN);
    let mut west = sales::device(&mut world, REP_WEST);
    let mut feed = world.connect(&mut west);
    for n in 0..40 {
        let territory = if n == 20 { "west" } else { "east" };
        sales::account(&mut world, &mut admin, territory);
    }
    // What moves away again before it is looked at is not told of.
    let moved = sales::account(&mut world, &mut admin, "west");
    let batch = admin.edit(moved, &[put("territory", "east")]);
    world.accept(&mut admin, batch);
    let page = world.next_page(&mut feed, false).unwrap();
    let is_change =
        |entry: &&Entry| matches!(entry, Entry::Changes { .. } | Entry::Document { .. });
    assert_eq!(page.entries.iter().filter(is_change).count(), 1);
    assert_eq!(page.cursors[0].cursor.position, head(&world), "it has passed over all of it");
    west.apply(page);
    world.assert_same(&west);
}

#[test]
fn own_batches_are_stepped_over_among_many_others() {
    let mut world = sales::office();
    let mut admin = sales::device(&mut world, ADMIN);
    let mut west = sales::device(&mut world, REP_WEST);
    let mut feed = world.connect(&mut west);
    for _ in 0..20 {
        sales::account(&mut world, &mut admin, "east");
        let edits = [put("name", "Own"), put("territory", "west")];
        let (_, batch) = west.create("account", &edits);
        world.accept(&mut west, batch);
    }
    assert_eq!(world.next_page(&mut feed, false), None, "it has all of them");
    let page = world.next_page(&mut feed, true).unwrap();
    assert_eq!(page.cursors[0].cursor.position, head(&world));
    west.apply(page);
    world.assert_same(&west);
}

/// A scope that holds much that a member does not read is no reason to pass over what it does read.
#[test]
fn what_is_read_of_a_crowded_scope_is_found_behind_what_is_not() {
    let mut world = World::with_roles(CONTACTS_ALONE);
    world.set(member(1), "admin", &[]);
    world.set(member(2), "support", &[]);
    let mut admin = world.device(1);
    let mut reader = world.device_of(2, member(2));
    world.sync(&mut reader);
    let mut feed = world.connect(&mut reader);
    for _ in 0..12 {
        let (_, batch) = admin.create("account", &[put("name", "Engines")]);
        world.accept(&mut admin, batch);
    }
    let (_, batch) = admin.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut admin, batch);
    let page = world.next_page(&mut feed, false).unwrap();
    assert_eq!(page.entries.len(), 1);
    reader.apply(page);
    world.assert_same(&reader);
}

const CONTACTS_ALONE: &str = r#"
[role.support]
[[role.support.allow]]
entities = ["contact"]
on = ["all"]
actions = "*"
"#;
