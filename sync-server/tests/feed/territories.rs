//! Scopes that follow a field, members who have different ones, and sections that only some may see.

use std::sync::{Arc, Mutex};

use crdt_core::id::{DocumentId, MemberId};
use crdt_core::protocol::{Entry, ScopeCursor};
use crdt_core::record::{Cells, Live, Scalar};
use crdt_core::schema::Schema;
use sync_server::access::Access;
use sync_server::store::sqlite::SqliteOptions;
use sync_server::workspace::Stride;

use crate::support::device::put;
use crate::support::world::{World, member};

/// Accounts live in the scope of their territory; each member has the scopes given here.
#[derive(Default)]
pub struct Territories {
    members: Mutex<Vec<(MemberId, Vec<String>)>>,
}

impl Territories {
    /// Grants a member exactly these scopes.
    pub fn grant(&self, member: MemberId, scopes: &[&str]) {
        let mut members = self.members.lock().unwrap();
        members.retain(|(known, _)| *known != member);
        members.push((member, scopes.iter().map(|scope| (*scope).to_owned()).collect()));
    }

    pub fn world(self: &Arc<Self>, stride: Stride) -> World {
        let access: Arc<dyn Access> = Arc::clone(self) as _;
        let schema = Schema::builtin().text();
        World::with(access, schema, SqliteOptions::default()).with_stride(stride)
    }
}

impl Access for Territories {
    fn scopes_of_document(&self, id: &DocumentId, _: &str, cells: &Cells) -> Vec<String> {
        if !id.section.is_main() {
            return vec![format!("all#{}", id.section)];
        }
        let live = cells.live("territory").iter().max_by_key(|op| (op.time, op.id));
        match live.map(|op| &op.value) {
            Some(Live::Scalar(Scalar::Str(name))) => name.split('+').map(str::to_owned).collect(),
            _ => vec!["none".to_owned()],
        }
    }

    fn moves(&self, id: &DocumentId, _: &str) -> bool {
        id.section.is_main()
    }

    fn scopes_of_member(&self, member: &MemberId, _: &[String]) -> Vec<String> {
        let members = self.members.lock().unwrap();
        let granted = members.iter().find(|(known, _)| known == member);
        granted.map(|(_, scopes)| scopes.clone()).unwrap_or_default()
    }
}

fn scene(stride: Stride) -> (Arc<Territories>, World) {
    let access = Arc::new(Territories::default());
    access.grant(member(1), &["west", "east", "none", "all#finance"]);
    access.grant(member(2), &["west"]);
    access.grant(member(3), &["east", "all#finance"]);
    let world = access.world(stride);
    (access, world)
}

fn strides() -> [Stride; 3] {
    let short = Stride { followed_max: 1, follow: 1, catch_up: 1, ..Stride::default() };
    [Stride::default(), short, Stride { burst_bytes: 1, ..short }]
}

#[test]
fn a_record_that_moves_leaves_one_device_and_comes_whole_to_the_other() {
    for stride in strides() {
        let (_, mut world) = scene(stride);
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
        let (access, mut world) = scene(stride);
        access.grant(member(2), &["west", "north"]);
        let mut admin = world.device(1);
        let mut rep = world.device_of(2, member(2));
        let (record, batch) =
            admin.create("account", &[put("name", "Engines"), put("territory", "north+west")]);
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
        let (_, mut world) = scene(stride);
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
    for stride in strides() {
        let (access, mut world) = scene(stride);
        let mut admin = world.device(1);
        let mut rep = world.device_of(2, member(2));
        for territory in ["west", "east", "east"] {
            let edits = [put("name", "Engines"), put("territory", territory)];
            let (_, batch) = admin.create("account", &edits);
            world.accept(&mut admin, batch);
        }
        world.sync(&mut rep);
        assert_eq!(rep.documents.len(), 1);
        access.grant(member(2), &["west", "east"]);
        // The welcome comes and no page: the device knows that it has nothing of the new scope.
        world.connect(&mut rep);
        assert_eq!(rep.exceptions.keys().collect::<Vec<_>>(), ["east"]);
        world.sync(&mut rep);
        world.assert_same(&rep);
        assert_eq!(rep.documents.len(), 3);
        assert!(rep.stands_at(3));
    }
}

#[test]
fn a_member_without_scopes_gets_nothing_and_knows_that_it_has_everything() {
    let (access, mut world) = scene(Stride::default());
    access.grant(member(2), &[]);
    let mut admin = world.device(1);
    let (_, batch) = admin.create("account", &[put("name", "Engines")]);
    world.accept(&mut admin, batch);
    let mut rep = world.device_of(2, member(2));
    assert_eq!(world.sync(&mut rep), 1);
    assert_eq!((rep.documents.len(), rep.stands_at(1)), (0, true));
    assert_eq!(world.sync(&mut rep), 0);
}

#[test]
fn scopes_that_caught_up_at_different_positions_come_together_although_the_log_grows() {
    let (_, mut world) =
        scene(Stride { followed_max: 4, follow: 2, catch_up: 2, ..Stride::default() });
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
