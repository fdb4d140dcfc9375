//! Who may go on from where: leases, members, epochs and cursors.

use crdt_core::id::{Epoch, Lease, ReplicaId};
use crdt_core::protocol::{Cursor, GoodbyeCode, ScopeCursor};
use crdt_core::record::{SeedKind, seed};

use crate::support::device::{Device, put};
use crate::support::world::{World, member};

#[test]
fn the_welcome_says_who_and_where_and_brings_the_schema_only_when_it_is_another() {
    let mut world = World::new();
    let mut device = Device::new(1, member(2));
    let lease = world.lease();
    let greeting = world.workspace.hello(World::now(), lease, member(2), &device.hello()).unwrap();
    let welcome = greeting.welcome;
    assert_eq!((welcome.version, welcome.lease, welcome.head), (1, lease, 0));
    assert_eq!((welcome.member, welcome.member_name.as_str()), (member(2), "Member 2"));
    assert_eq!(welcome.epoch, Epoch([7; 16]));
    assert_eq!(welcome.scopes, ["all", "all#finance"]);
    assert_eq!(welcome.schema.as_deref(), Some(world.workspace.schema().text()));
    device.welcomed(&welcome);
    device.schema_version = world.workspace.schema().version();
    let lease = world.lease();
    let greeting = world.workspace.hello(World::now(), lease, member(2), &device.hello()).unwrap();
    assert_eq!(greeting.welcome.schema, None);
}

#[test]
fn a_lease_is_good_until_its_successor_has_been_shown() {
    let mut world = World::new();
    let mut device = world.device(1);
    let copy = device.clone();
    // The welcome with the new lease is lost: the device shows the one before.
    let lease = world.lease();
    world.workspace.hello(World::now(), lease, device.member, &device.hello()).unwrap();
    world.connect(&mut device);
    world.connect(&mut device);
    // By now a newer lease has been shown: the copy is one.
    assert_eq!(world.refusal_of(&copy).code, GoodbyeCode::LeaseOutdated);
    let mut forged = device.clone();
    forged.lease = Some(Lease([99; 16]));
    assert_eq!(world.refusal_of(&forged).code, GoodbyeCode::LeaseOutdated);
    forged.lease = None;
    assert_eq!(world.refusal_of(&forged).code, GoodbyeCode::LeaseOutdated);
    world.connect(&mut device);
}

#[test]
fn a_device_whose_first_welcome_was_lost_says_hello_again() {
    let mut world = World::new();
    let mut device = Device::new(1, member(1));
    let lease = world.lease();
    world.workspace.hello(World::now(), lease, device.member, &device.hello()).unwrap();
    world.connect(&mut device);
    world.connect(&mut device);
}

#[test]
fn a_refused_hello_leaves_the_lease_as_it_was() {
    let mut world = World::new();
    let mut device = world.device(1);
    let mut ahead = device.clone();
    ahead.cursor = Cursor::at(5);
    ahead.exceptions.clear();
    assert_eq!(world.refusal_of(&ahead).code, GoodbyeCode::CursorAhead);
    world.connect(&mut device);
}

#[test]
fn what_no_honest_device_says_is_told_apart() {
    let mut world = World::new();
    let mut device = world.device(1);
    let (_, batch) = device.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut device, batch);
    let refused = |world: &mut World, how: &dyn Fn(&mut Device)| {
        let mut changed = device.clone();
        how(&mut changed);
        world.refusal_of(&changed).code
    };
    let scope = |cursor| ("all".to_owned(), cursor);
    type Lie<'a> = &'a dyn Fn(&mut Device);
    let lies: [(GoodbyeCode, Lie<'_>); 9] = [
        (GoodbyeCode::ReplicaTaken, &|d| d.member = member(2)),
        (GoodbyeCode::Unauthorized, &|d| d.member = member(9)),
        (GoodbyeCode::UnknownEpoch, &|d| d.epoch = Some(Epoch([1; 16]))),
        (GoodbyeCode::CursorAhead, &|d| d.cursor = Cursor::at(2)),
        (GoodbyeCode::CursorAhead, &|d| d.exceptions.extend([scope(Cursor::at(2))])),
        (GoodbyeCode::CursorAhead, &|d| d.cursor = Cursor::at(u64::MAX)),
        (GoodbyeCode::Protocol, &|d| d.cursor = Cursor { position: 0, from: Some(u64::MAX) }),
        (GoodbyeCode::Protocol, &|d| d.receipt = u64::MAX),
        (GoodbyeCode::Protocol, &|d| {
            let actor = seed(SeedKind::Counter, "visits").actor;
            d.replica = ReplicaId::try_from(&actor.0[..12]).unwrap();
        }),
    ];
    for (code, how) in lies {
        assert_eq!(refused(&mut world, how), code);
    }
    world.connect(&mut device);
}

#[test]
fn no_version_in_common_asks_for_an_update() {
    let mut world = World::new();
    let device = Device::new(1, member(1));
    for versions in [vec![], vec![0, 2, u32::MAX]] {
        let mut hello = device.hello();
        hello.versions = versions;
        let lease = world.lease();
        let greeted = world.workspace.hello(World::now(), lease, device.member, &hello);
        let Err(sync_server::workspace::HelloError::Refused(goodbye)) = greeted else { panic!() };
        assert_eq!(goodbye.code, GoodbyeCode::Version);
    }
    let mut hello = device.hello();
    hello.versions = vec![9, 1];
    hello.exceptions = vec![ScopeCursor { scope: "elsewhere".into(), cursor: Cursor::default() }];
    let lease = world.lease();
    assert!(world.workspace.hello(World::now(), lease, device.member, &hello).is_ok());
}

#[test]
fn receipt_numbers_go_on_above_what_a_device_has_seen() {
    let mut world = World::new();
    let mut device = Device::new(1, member(1));
    device.receipt = 40;
    world.connect(&mut device);
    let (_, batch) = device.create("contact", &[put("last_name", "Ada")]);
    assert_eq!(world.push(&mut device, batch).number, 41);
}
