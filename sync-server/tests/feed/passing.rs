//! What a device passes over unread, since memory knows that none of it is for it, and what it does not.

use sync_server::session::BuiltPage;
use sync_server::workspace::Feed;

use crate::support::device::{Device, put};
use crate::support::sales::{self, ADMIN, REP_EAST, REP_WEST};
use crate::support::world::World;

/// A server with an administrator, who writes, and a rep of the west, whose feed is at rest.
fn at_rest() -> (World, Device, Device, Feed) {
    let mut world = sales::office();
    let admin = sales::device(&mut world, ADMIN);
    let mut west = sales::device(&mut world, REP_WEST);
    let feed = world.connect(&mut west);
    (world, admin, west, feed)
}

/// Passes over what came; the page that says so.
fn pass_over(world: &World, feed: &mut Feed, flush: bool) -> Option<Option<BuiltPage>> {
    feed.pass_over(&world.workspace.recent(), world.head(), flush)
}

#[test]
fn what_others_write_elsewhere_is_passed_over_as_reading_it_would() {
    for flush in [false, true] {
        let (mut world, mut admin, _, mut feed) = at_rest();
        for _ in 0..5 {
            let record = sales::account(&mut world, &mut admin, "east");
            let batch = admin.edit(record, &[put("name", "Turbines")]);
            world.accept(&mut admin, batch);
        }
        let mut read = feed.clone();
        let page = world.next_page(&mut read, flush);
        assert_eq!(page.is_some(), flush);
        let page = page.map(|page| BuiltPage::new(&page, read.erased_up_to()));
        assert_eq!(pass_over(&world, &mut feed, flush), Some(page));
        assert_eq!(feed, read);
    }
}

#[test]
fn what_a_device_wrote_itself_is_passed_over() {
    let (mut world, _, mut west, mut feed) = at_rest();
    let (record, batch) = west.create("account", &[put("name", "Own"), put("territory", "west")]);
    world.accept(&mut west, batch);
    let batch = west.edit(record, &[put("name", "Mine")]);
    world.accept(&mut west, batch);
    assert_eq!(pass_over(&world, &mut feed, false), Some(None));
    assert_eq!(world.next_page(&mut feed, false), None);
}

#[test]
fn what_somebody_else_writes_in_a_scope_of_the_device_is_read() {
    let (mut world, mut admin, _, mut feed) = at_rest();
    sales::account(&mut world, &mut admin, "east");
    sales::account(&mut world, &mut admin, "west");
    sales::account(&mut world, &mut admin, "east");
    assert_eq!(pass_over(&world, &mut feed, true), None);
    assert!(world.next_page(&mut feed, false).is_some());
}

#[test]
fn what_came_into_another_scope_is_read() {
    let (mut world, mut admin, mut west, _) = at_rest();
    let record = sales::account(&mut world, &mut admin, "west");
    world.sync(&mut west);
    let mut feed = world.connect(&mut west);
    let batch = admin.edit(record, &[put("territory", "east")]);
    world.accept(&mut admin, batch);
    assert_eq!(pass_over(&world, &mut feed, true), None, "it has left this device");
    let page = world.next_page(&mut feed, false).unwrap();
    west.apply(page);
    world.assert_same(&west);
}

#[test]
fn what_is_not_known_is_read() {
    let (world, mut admin, _, mut feed) = at_rest();
    let mut world = world;
    sales::account(&mut world, &mut admin, "east");
    let mut world = world.reopen(Default::default());
    sales::account(&mut world, &mut admin, "east");
    assert_eq!(pass_over(&world, &mut feed, true), None, "memory begins in the middle");
    // A device that stands behind what memory lost passes over the rest.
    assert_eq!(world.next_page(&mut feed, false), None);
    sales::account(&mut world, &mut admin, "east");
    assert_eq!(pass_over(&world, &mut feed, false), Some(None));
}

#[test]
fn what_moves_away_behind_a_devices_own_edit_is_read() {
    let (mut world, mut admin, _, _) = at_rest();
    let mut east = sales::device(&mut world, REP_EAST);
    let record = sales::account(&mut world, &mut admin, "east");
    world.sync(&mut east);
    let mut feed = world.connect(&mut east);
    let batch = east.edit(record, &[put("name", "Gone")]);
    world.accept(&mut east, batch);
    assert_eq!(pass_over(&world, &mut feed, false), Some(None));
    let batch = admin.edit(record, &[put("territory", "west")]);
    world.accept(&mut admin, batch);
    assert_eq!(pass_over(&world, &mut feed, false), None);
}
