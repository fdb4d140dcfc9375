//! Scopes that follow a field, members who have different ones, and sections that only some may see.

use crdt_core::protocol::{Entry, ScopeCursor};
use sync_server::workspace::Stride;

use crate::support::device::put;
use crate::support::world::{World, member};

/// Reps have the records of their territories and teams, `finance` the finance sections everywhere.
pub const ROLES: &str = r#"
[role.rep]
[[role.rep.allow]]
entities = "*"
on = ["territory", "team"]
actions = "*"

[role.finance]
[[role.finance.allow]]
entities = "*"
on = ["territory"]
actions = "*"
[[role.finance.allow]]
entities = "*"
on = ["all"]
actions = ["read", "create", "update"]
sections = ["finance"]
"#;

/// An administrator, a rep of the west, and somebody of the east who knows the money.
pub fn scene(stride: Stride) -> World {
    let mut world = World::with_roles(ROLES).with_stride(stride);
    world.set(member(1), "admin", &[]);
    world.set(member(2), "rep", &["west"]);
    world.set(member(3), "finance", &["east"]);
    world
}

pub fn strides() -> [Stride; 3] {
    let short = Stride { followed_max: 1, follow: 1, catch_up: 1, ..Stride::default() };
    [Stride::default(), short, Stride { burst_bytes: 1, ..short }]
}

#[test]
fn a_record_that_moves_leaves_one_device_and_comes_whole_to_the_other() {
    for stride in strides() {
        let mut world = scene(stride);
        let mut admin = world.device(1);
        let mut west = world.device_of(2, member(2));
        let mut east = world.device_of(3, member(3));
        let (record, batch) =
            admin.create("account", &[put("name", "Engines"), put("territory", "west")]);
        world.accept(&mut admin, batch);
        for n in 0..3 {
            let batch = admin.edit(record, &[put("website", &format!("https://{n}.example"))]);
            world.accept(&mut admin, batch);
        }
        world.sync(&mut west);
        world.sync(&mut east);
        assert_eq!((west.documents.len(), east.documents.len()), (1, 0));
        let batch = admin.edit(record, &[put("territory", "east")]);
        world.accept(&mut admin, batch);
        world.sync(&mut west);
        world.sync(&mut east);
        assert_eq!((west.documents.len(), east.documents.len()), (0, 1));
        world.assert_same(&west);
        world.assert_same(&east);
        // And back, with an edit on the way.
        let batch = admin.edit(record, &[put("name", "Analytical Engines")]);
        world.accept(&mut admin, batch);
        let batch = admin.edit(record, &[put("territory", "west")]);
        world.accept(&mut admin, batch);
        for device in [&mut west, &mut east, &mut admin] {
            world.sync(device);
            world.assert_same(device);
        }
        assert_eq!((west.documents.len(), east.documents.len()), (1, 0));
    }
}

#[test]
fn a_record_that_leaves_one_of_two_scopes_stays_with_who_has_the_other() {
    for stride in strides() {
        let mut world = scene(stride);
        let blue = sync_server::workspace::MemberChanges {
            teams: Some(["blue".to_owned()].into()),
            ..Default::default()
        };
        world.change(member(2), &blue);
        let mut admin = world.device(1);
        let mut rep = world.device_of(2, member(2));
        let edits = [put("last_name", "Engines"), put("team", "blue"), put("territory", "west")];
        let (record, batch) = admin.create("lead", &edits);
        world.accept(&mut admin, batch);
        world.sync(&mut rep);
        let batch = admin.edit(record, &[put("territory", "north")]);
        world.accept(&mut admin, batch);
        let mut feed = world.connect(&mut rep);
        while let Some(page) = world.next_page(&mut feed, true) {
            assert!(!page.entries.iter().any(|entry| matches!(entry, Entry::Left { .. })));
            rep.apply(page);
        }
        world.assert_same(&rep);
        assert_eq!(rep.documents.len(), 1);
    }
}

#[test]
fn a_section_goes_only_to_those_who_have_its_scope() {
    for stride in strides() {
        let mut world = scene(stride);
        let mut admin = world.device(1);
        let mut west = world.device_of(2, member(2));
        let mut finance = world.device_of(3, member(3));
        let (record, batch) =
            admin.create("account", &[put("name", "Engines"), put("territory", "west")]);
        world.accept(&mut admin, batch);
        let batch = admin.edit_section(record, "finance", &[put("credit_limit", "9.00 USD")]);
        world.accept(&mut admin, batch);
        for device in [&mut west, &mut finance] {
            world.sync(device);
            world.assert_same(device);
        }
        let names = |device: &crate::support::device::Device| {
            device.documents.keys().map(|id| id.section.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&west), ["main"]);
        assert_eq!(names(&finance), ["finance"]);
    }
}

#[test]
fn a_scope_that_a_member_is_granted_later_comes_from_its_beginning() {
    let mut world = scene(Stride::default());
    let mut admin = world.device(1);
    let mut rep = world.device_of(2, member(2));
    for territory in ["west", "east", "east"] {
        let edits = [put("name", "Engines"), put("territory", territory)];
        let (_, batch) = admin.create("account", &edits);
        world.accept(&mut admin, batch);
    }
    world.sync(&mut rep);
    assert_eq!(rep.documents.len(), 1);
    world.set(member(2), "rep", &["west", "east"]);
    // The welcome comes and no page: the device knows that it has nothing of the new scope.
    world.connect(&mut rep);
    assert_eq!(rep.exceptions.keys().collect::<Vec<_>>(), ["territory:east"]);
    world.sync(&mut rep);
    world.assert_same(&rep);
    assert_eq!(rep.documents.len(), 3);
    assert!(rep.stands_at(world.head()));
}

#[test]
fn a_member_without_scopes_gets_nothing_and_knows_that_it_has_everything() {
    let mut world = scene(Stride::default());
    world.set(member(2), "", &[]);
    let mut admin = world.device(1);
    let (_, batch) = admin.create("account", &[put("name", "Engines")]);
    world.accept(&mut admin, batch);
    let mut rep = world.device_of(2, member(2));
    assert!(rep.scopes.is_empty());
    assert_eq!(world.sync(&mut rep), 1);
    assert_eq!((rep.documents.len(), rep.stands_at(world.head())), (0, true));
    assert_eq!(world.sync(&mut rep), 0);
}

#[test]
fn scopes_that_caught_up_at_different_positions_come_together_although_the_log_grows() {
    let stride = Stride { followed_max: 4, follow: 2, catch_up: 2, ..Stride::default() };
    let mut world = scene(stride);
    let mut admin = world.device(1);
    let mut rep = world.device_of(3, member(3));
    let write = |world: &mut World, admin: &mut crate::support::device::Device| {
        let edits = [put("name", "Engines"), put("territory", "east")];
        let (record, batch) = admin.create("account", &edits);
        world.accept(admin, batch);
        let batch = admin.edit_section(record, "finance", &[put("credit_limit", "9.00 USD")]);
        world.accept(admin, batch);
    };
    for _ in 0..10 {
        write(&mut world, &mut admin);
    }
    let mut feed = world.connect(&mut rep);
    let mut pages = 0;
    // Something is written between any two pages.
    while !rep.exceptions.is_empty() || rep.cursor.position == 0 {
        let page = world.next_page(&mut feed, true).unwrap();
        let partial = |at: &ScopeCursor| at.cursor.from.is_some();
        assert!(pages < 6, "still apart after {pages} pages: {:?}", page.cursors);
        assert!(!page.cursors.iter().any(partial) || page.entries.len() <= 1_000);
        rep.apply(page);
        pages += 1;
        write(&mut world, &mut admin);
    }
    world.drain(&mut rep, &mut feed);
    world.assert_same(&rep);
}

/// Clerks (`support`) take down customers of every territory and read those of their own.
const CLERKS: &str = r#"
[role.support]
[[role.support.allow]]
entities = "*"
on = ["territory"]
actions = "*"
[[role.support.allow]]
entities = "*"
on = ["all"]
actions = ["create"]
"#;

#[test]
fn what_a_device_made_and_may_not_read_leaves_it_however_far_behind_it_is() {
    for stride in strides() {
        let mut world = World::with_roles(CLERKS).with_stride(stride);
        world.set(member(1), "admin", &[]);
        world.set(member(2), "support", &["west"]);
        let mut admin = world.device(1);
        let mut clerk = world.device_of(2, member(2));
        // Before the first page, and again far behind the log's end.
        for round in 1..=2 {
            for territory in ["west", "east", "west", "east", "east"] {
                let edits = [put("name", "Engines"), put("territory", territory)];
                let (_, batch) = clerk.create("account", &edits);
                world.accept(&mut clerk, batch);
                let (_, batch) = admin.create("account", &edits);
                world.accept(&mut admin, batch);
            }
            assert_eq!(clerk.documents.len(), 4 * (round - 1) + 5);
            world.sync(&mut clerk);
            world.assert_same(&clerk);
            assert_eq!(clerk.documents.len(), 4 * round, "{stride:?}");
            assert!(clerk.stands_at(world.head()));
        }
    }
}
