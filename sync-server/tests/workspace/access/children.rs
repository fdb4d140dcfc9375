//! Children follow their parents into other scopes: in bounded steps, while honest batches go on.

use std::collections::BTreeSet;

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::record::{Edit, Scalar};
use sync_server::store::sqlite::SqliteOptions;
use sync_server::store::{self};
use sync_server::workspace::{RECORDS_PER_STEP, Rescoping};

use crate::support::device::{Device, put};
use crate::support::sales::{
    ADMIN, MANAGER_WEST, REP_EAST, REP_WEST, account, device, office, reference,
};
use crate::support::world::World;

/// The scopes of a record's `main` document, without those of owners and of everybody.
fn territories(world: &World, record: RecordId) -> BTreeSet<String> {
    let places = store::read(&*world.store, |tx| {
        let row = tx.find_document(&DocumentId::main(record))?.unwrap();
        tx.scopes_of(row.number)
    });
    let scopes = places.unwrap().into_iter().map(|place| place.scope);
    scopes.filter(|scope| scope.starts_with("territory:")).collect()
}

/// Contacts of an account, many in one batch.
fn contacts(world: &mut World, admin: &mut Device, parent: RecordId, count: usize) {
    let mut left = count;
    while left > 0 {
        let now = left.min(400);
        let parts = (0..now)
            .flat_map(|_| {
                let edits = [put("last_name", "Ada"), reference("account", parent)];
                admin.create("contact", &edits).1.documents
            })
            .collect();
        let batch = admin.batch(parts);
        world.accept(admin, batch);
        left -= now;
    }
}

#[test]
fn an_account_with_ten_thousand_children_moves_in_bounded_steps_and_others_go_on() {
    const CHILDREN: usize = 10_000;
    let mut world = office();
    let mut admin = world.device(ADMIN);
    let parent = account(&mut world, &mut admin, "west");
    contacts(&mut world, &mut admin, parent, CHILDREN);
    let other = account(&mut world, &mut admin, "west");
    let batch = admin.edit(parent, &[put("territory", "east")]);
    let moved_at = world.accept(&mut admin, batch);
    assert_eq!(territories(&world, parent), ["territory:east".to_owned()].into(), "at once");
    let (mut steps, mut moved) = (0, 0);
    loop {
        match world.workspace.rescope_step(World::now()).unwrap() {
            Rescoping::Idle => break,
            Rescoping::Step { records, moved: now } => {
                assert!(records <= RECORDS_PER_STEP, "{records} records in one step");
                moved += now;
            }
        }
        steps += 1;
        // An honest batch between any two steps, and it has its own position.
        let batch = admin.edit(other, &[put("website", &format!("https://{steps}.example"))]);
        assert_eq!(world.accept(&mut admin, batch), world.head());
    }
    assert_eq!((moved, steps), (CHILDREN, CHILDREN / RECORDS_PER_STEP + 1));
    assert!(world.head() >= moved_at + (CHILDREN / RECORDS_PER_STEP) as u64 * 2);
    let mut east = device(&mut world, REP_EAST);
    assert_eq!(east.documents.values().filter(|held| held.entity == "contact").count(), CHILDREN);
    world.assert_same(&east);
    assert_eq!(world.sync(&mut east), 0);
}

#[test]
fn children_leave_one_device_and_come_whole_to_the_other_while_both_follow_the_log() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let parent = account(&mut world, &mut admin, "west");
    contacts(&mut world, &mut admin, parent, 5);
    let mut west = world.device_of(REP_WEST, crate::support::world::member(REP_WEST));
    let mut east = world.device_of(REP_EAST, crate::support::world::member(REP_EAST));
    let (mut to_west, mut to_east) = (world.connect(&mut west), world.connect(&mut east));
    world.drain(&mut west, &mut to_west);
    world.drain(&mut east, &mut to_east);
    let before = (west.documents.len(), east.documents.len());
    let batch = admin.edit(parent, &[put("territory", "east")]);
    world.accept(&mut admin, batch);
    world.drain(&mut west, &mut to_west);
    world.drain(&mut east, &mut to_east);
    assert_eq!((west.documents.len(), east.documents.len()), (before.0 - 1, before.1 + 1));
    world.settle();
    world.drain(&mut west, &mut to_west);
    world.drain(&mut east, &mut to_east);
    assert_eq!((west.documents.len(), east.documents.len()), (before.0 - 6, before.1 + 6));
    world.assert_same(&west);
    world.assert_same(&east);
}

#[test]
fn a_stop_between_two_steps_loses_nothing() {
    let mut world = office();
    let mut admin = world.device(ADMIN);
    let parent = account(&mut world, &mut admin, "west");
    contacts(&mut world, &mut admin, parent, 1_200);
    let batch = admin.edit(parent, &[put("territory", "east")]);
    world.accept(&mut admin, batch);
    let step = world.workspace.rescope_step(World::now()).unwrap();
    assert_eq!(step, Rescoping::Step { records: 500, moved: 500 });
    let mut world = world.reopen(SqliteOptions::default());
    assert_eq!(world.settle().len(), 2, "it goes on where it was");
    let mut west = device(&mut world, REP_WEST);
    assert!(west.documents.values().all(|held| held.entity == "member"));
    world.sync(&mut west);
}

#[test]
fn a_parent_that_moves_again_meanwhile_takes_all_of_them_along() {
    let mut world = office();
    let mut admin = world.device(ADMIN);
    let parent = account(&mut world, &mut admin, "west");
    contacts(&mut world, &mut admin, parent, 1_200);
    for territory in ["east", "north"] {
        let batch = admin.edit(parent, &[put("territory", territory)]);
        world.accept(&mut admin, batch);
        world.workspace.rescope_step(World::now()).unwrap();
    }
    world.settle();
    let records = crate::support::world::records_of(&world, "contact");
    assert_eq!(records.len(), 1_200);
    let north = BTreeSet::from(["territory:north".to_owned()]);
    assert!(records.iter().all(|record| territories(&world, *record) == north));
}

#[test]
fn grandchildren_follow_and_a_parent_that_comes_late_is_found() {
    let mut world = office();
    let mut admin = world.device(ADMIN);
    // The opportunity and its line item come before the account that they are about.
    let (parent, late) = admin.create("account", &[put("name", "A"), put("territory", "west")]);
    let (deal, batch) =
        admin.create("opportunity", &[put("name", "Deal"), reference("account", parent)]);
    world.accept(&mut admin, batch);
    let (item, batch) = admin.create("line_item", &[reference("opportunity", deal)]);
    world.accept(&mut admin, batch);
    assert!(territories(&world, item).is_empty());
    world.accept(&mut admin, late);
    world.settle();
    for territory in ["west", "east"] {
        let batch = admin.edit(parent, &[put("territory", territory)]);
        world.accept(&mut admin, batch);
        world.settle();
        let wanted = BTreeSet::from([format!("territory:{territory}")]);
        for record in [parent, deal, item] {
            assert_eq!(territories(&world, record), wanted);
        }
    }
}

fn merge(world: &mut World, device: &mut Device, from: RecordId, into: RecordId) {
    let value = Scalar::Bytes(into.as_bytes().to_vec());
    let batch = device.edit(from, &[Edit::Put { key: "$merged_into".to_owned(), value }]);
    world.accept(device, batch);
    world.settle();
}

#[test]
fn children_of_a_merged_record_follow_the_one_that_is_left_and_circles_end() {
    let mut world = office();
    let mut admin = world.device(ADMIN);
    let west = account(&mut world, &mut admin, "west");
    let east = account(&mut world, &mut admin, "east");
    contacts(&mut world, &mut admin, west, 1);
    let contact = crate::support::world::records_of(&world, "contact")[0];
    merge(&mut world, &mut admin, west, east);
    assert_eq!(territories(&world, contact), ["territory:east".to_owned()].into());
    let batch = admin.edit(east, &[put("territory", "north")]);
    world.accept(&mut admin, batch);
    world.settle();
    assert_eq!(territories(&world, contact), ["territory:north".to_owned()].into());
    // A circle: the smallest id is left.
    merge(&mut world, &mut admin, east, west);
    assert!(west < east);
    assert_eq!(territories(&world, contact), ["territory:west".to_owned()].into());
}

#[test]
fn a_section_moves_with_its_record() {
    let mut world = office();
    let mut admin = world.device(ADMIN);
    let record = account(&mut world, &mut admin, "west");
    let mut manager = device(&mut world, MANAGER_WEST);
    let has_finance = |device: &Device| {
        device.documents.keys().any(|id| id.record == record && !id.section.is_main())
    };
    assert!(has_finance(&manager));
    let batch = admin.edit(record, &[put("territory", "east")]);
    world.accept(&mut admin, batch);
    world.sync(&mut manager);
    assert!(!has_finance(&manager));
    world.assert_same(&manager);
    // A manager who comes with the new territory gets it, though nobody has changed it since.
    let mut theirs = device(&mut world, crate::support::sales::MANAGER_EAST);
    assert!(has_finance(&theirs));
    world.sync(&mut theirs);
}
