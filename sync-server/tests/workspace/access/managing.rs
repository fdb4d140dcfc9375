//! The directory: members added, changed and shut out, by the operator and over the log.

use crdt_core::id::MemberId;
use crdt_core::protocol::GoodbyeCode;
use crdt_core::record::{Edit, Scalar};
use sync_server::store::sqlite::SqliteOptions;
use sync_server::workspace::{MemberChanges, MemberError, SERVER};

use crate::support::device::put;
use crate::support::sales::{
    ADMIN, MANAGER_WEST, NOBODY, REP_EAST, REP_WEST, account, codes, device, office, refusals,
};
use crate::support::world::{World, member};

fn row(world: &World, id: MemberId) -> sync_server::store::access::MemberRow {
    world.workspace.members().find(|row| row.standing.member == id).unwrap().clone()
}

#[test]
fn a_member_is_a_record_in_the_log_and_a_row_of_the_directory() {
    let mut world = office();
    let new = member(50);
    let changes = MemberChanges {
        role: Some("rep".to_owned()),
        teams: Some(["blue".to_owned()].into()),
        email: Some("ada@example.com".to_owned()),
        ..MemberChanges::default()
    };
    let head = world.head();
    world.workspace.add_member(World::now(), new, "Ada", &changes).unwrap();
    assert_eq!(world.head(), head + 1);
    let added = row(&world, new);
    assert_eq!((added.name.as_str(), added.has_record), ("Ada", true));
    assert_eq!(added.standing.role.as_deref(), Some("rep"));
    assert_eq!(added.standing.teams, ["blue".to_owned()].into());
    // Colleagues hear of it like of any record, and of who wrote it.
    let rep = device(&mut world, REP_WEST);
    let id = crdt_core::id::DocumentId::main(new.into());
    assert!(rep.documents.contains_key(&id));
    let world = world.reopen(SqliteOptions::default());
    assert_eq!(row(&world, new), added, "also after opening again");
}

#[test]
fn what_cannot_be_said_of_a_member_is_refused_and_changes_nothing() {
    let mut world = office();
    let now = World::now();
    let before = row(&world, member(REP_WEST));
    let refused = |world: &mut World, changes: MemberChanges| {
        let set = world.workspace.set_member(now, member(REP_WEST), &changes);
        assert!(matches!(set, Err(MemberError::Refused(_))), "{set:?}");
    };
    let role = Some("emperor".to_owned());
    refused(&mut world, MemberChanges { role, ..MemberChanges::default() });
    let name = Some(String::new());
    refused(&mut world, MemberChanges { name, ..MemberChanges::default() });
    let long = Some(["x".repeat(101)].into());
    refused(&mut world, MemberChanges { territories: long, ..MemberChanges::default() });
    assert_eq!(row(&world, member(REP_WEST)), before);
    let nobody = MemberChanges::default();
    let set = world.workspace.set_member(now, member(99), &nobody);
    assert!(matches!(set, Err(MemberError::NoSuchMember(_))));
    let add = world.workspace.add_member(now, member(ADMIN), "Again", &nobody);
    assert!(matches!(add, Err(MemberError::Exists(_))));
    let add = world.workspace.add_member(now, SERVER, "The server", &nobody);
    assert!(matches!(add, Err(MemberError::Reserved(_))));
}

#[test]
fn a_change_of_standing_is_told_and_one_of_the_name_is_not() {
    let mut world = office();
    let changed = world.set(member(REP_WEST), "rep", &["west", "north"]);
    assert_eq!(changed.access_changed, [member(REP_WEST)].into());
    assert_eq!(world.workspace.take_aftermath().access_changed.len(), 8, "everybody was set up");
    let name = Some("Renamed".to_owned());
    let changed =
        world.change(member(REP_WEST), &MemberChanges { name, ..MemberChanges::default() });
    assert!(changed.access_changed.is_empty());
    let again = world.set(member(REP_WEST), "rep", &["west", "north"]);
    assert!(again.access_changed.is_empty() && again.own.is_none(), "it said so already");
}

#[test]
fn a_member_who_is_switched_off_is_out_at_once_and_comes_back_with_everything() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut rep = device(&mut world, REP_WEST);
    let off = MemberChanges { active: Some(false), ..MemberChanges::default() };
    assert_eq!(world.change(member(REP_WEST), &off).access_changed.len(), 1);
    let batch = rep.edit(account, &[put("phone", "555 0100")]);
    assert_eq!(codes(&mut world, &mut rep, batch.clone()), ["out_of_scope"]);
    let (_, new) = rep.create("lead", &[put("last_name", "Bea")]);
    let refused = refusals(&mut world, &mut rep, new);
    assert!(refused[0].text.contains("switched off"), "{}", refused[0].text);
    assert_eq!(world.refusal_of(&rep).code, GoodbyeCode::MemberDisabled);
    let on = MemberChanges { active: Some(true), ..MemberChanges::default() };
    world.change(member(REP_WEST), &on);
    world.connect(&mut rep);
    let mut again = batch;
    again.id.0[0] ^= 1;
    world.accept(&mut rep, again);
}

#[test]
fn an_administrators_device_manages_members_over_the_log() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let record = member(NOBODY).into();
    let batch = admin.edit(record, &[put("role", "rep"), put("territory", "west")]);
    let committed = world.commit(&[(&admin, batch)]).unwrap();
    assert_eq!(committed.access_changed, [member(NOBODY)].into());
    assert_eq!(row(&world, member(NOBODY)).standing.role.as_deref(), Some("rep"));
    let mut fresh = device(&mut world, NOBODY);
    let (_, batch) = fresh.create("account", &[put("name", "x"), put("territory", "west")]);
    world.accept(&mut fresh, batch);
    // Nobody else may, least of all for themselves.
    for n in [REP_WEST, MANAGER_WEST] {
        let mut other = device(&mut world, n);
        let batch = other.edit(member(n).into(), &[put("role", "admin")]);
        assert_eq!(codes(&mut world, &mut other, batch), ["forbidden"]);
    }
}

#[test]
fn the_last_administrator_stays() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let record = member(ADMIN).into();
    let fresh = admin.clone();
    let off = Edit::Put { key: "active".to_owned(), value: Scalar::Bool(false) };
    for edit in [put("role", "rep"), off] {
        let batch = admin.edit(record, &[edit]);
        assert_eq!(refusals(&mut world, &mut admin, batch)[0].code, "last_admin");
        world.workspace.acknowledge(&admin.replica, u64::MAX >> 11).unwrap();
        // The device takes its edit back.
        admin.documents.clone_from(&fresh.documents);
    }
    // With another one there is no such duty.
    world.set(member(REP_EAST), "admin", &[]);
    let batch = admin.edit(record, &[put("role", "rep")]);
    world.accept(&mut admin, batch);
    assert!(world.workspace.has_administrator());
    // The operator needs nobody's leave.
    world.set(member(REP_EAST), "rep", &[]);
    assert!(!world.workspace.has_administrator());
}

#[test]
fn nobody_connects_as_the_servers_own_replica() {
    let mut world = office();
    let replicas = sync_server::store::read(&*world.store, |tx| tx.replicas()).unwrap();
    let server = replicas.iter().find(|row| row.member == SERVER).unwrap();
    let mut thief = crate::support::device::Device::new(9, member(ADMIN));
    thief.replica = server.id;
    assert_eq!(world.refusal_of(&thief).code, GoodbyeCode::ReplicaTaken);
}
