//! Stories of a server that is restored from an old backup: devices give back what others wrote.

use client_sdk::Edits;
use crdt_core::id::{MemberId, RecordId};
use crdt_core::policy::SALES;
use crdt_core::protocol::Recovery;
use crdt_core::record::Value;
use sync_server::workspace::Stride;
use tests::harness::world::{Device, MemberChanges, World, whoever};

/// A server that folds early.
const SHORT: Stride = Stride { followed_max: 6, follow: 3, catch_up: 2, burst_bytes: 3_000 };

/// Two devices and an account with a visit, all synced.
fn two_devices(seed: u64) -> (World, Device, Device, RecordId) {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.update(ann, account, Edits::new().increment("visits", 1));
    world.settle();
    (world, ann, bob, account)
}

/// Nobody has a dispute, and nothing waits on the server.
fn assert_at_rest(world: &mut World) {
    world.assert_converged();
    for device in world.everyone() {
        if world.at(device).is_running() {
            assert_eq!(world.disputes(device), [], "{}", world.at(device).name);
            let report = world.at(device).client().verify().unwrap();
            assert_eq!(report.differing, [], "{}", world.at(device).name);
        }
    }
    assert_eq!(world.relay_status().parked.changes, 0, "nothing waits");
}

#[test]
fn what_a_destroyed_phone_had_had_accepted_comes_back_from_who_holds_it() {
    let (mut world, ann, bob, account) = two_devices(701);
    let backup = world.back_up_server();
    world.update(ann, account, Edits::new().increment("visits", 10).set("country", "CH"));
    let contact = world.create(ann, "contact", Edits::new().set("last_name", "Hooper"));
    world.update(ann, contact, Edits::new().add("tags", "vip").set("account", account));
    world.settle();
    world.crash_device(ann);
    world.restore_server(&backup);
    world.settle();
    assert_at_rest(&mut world);
    let seen = world.see(bob, account);
    assert_eq!((seen.value("visits"), seen.text("country")), (&Value::Counter(11), Some("CH")));
    assert_eq!(world.see(bob, contact).text("last_name"), Some("Hooper"));
    let status = world.relay_status();
    assert_eq!(status.recovery, Recovery::Open);
    assert_eq!(status.relayed.len(), 1, "one device gave it back");
    assert_eq!(status.relayed[0].relayed.taken, 4, "three changes, and the first visit's set");
    assert_eq!(status.relayed[0].relayed.refused, 0);
    let fresh = world.device("fresh");
    world.settle();
    assert_eq!(world.see(fresh, account).value("visits"), &Value::Counter(11));
}

#[test]
fn what_was_given_back_and_then_brought_by_its_author_is_there_once() {
    let (mut world, ann, bob, account) = two_devices(702);
    let backup = world.back_up_server();
    world.update(ann, account, Edits::new().increment("visits", 10));
    world.update(ann, account, Edits::new().increment("visits", 100).set("country", "CH"));
    world.settle();
    world.offline(ann);
    world.restore_server(&backup);
    world.settle_others(ann);
    assert_eq!(world.see(bob, account).value("visits"), &Value::Counter(111));
    world.online(ann);
    world.settle();
    assert_at_rest(&mut world);
    world.assert_all_see(account, "visits", Value::Counter(111));
}

#[test]
fn an_own_edit_that_builds_on_a_lost_one_of_somebody_else_comes_back_with_it() {
    let (mut world, ann, bob, account) = two_devices(703);
    let backup = world.back_up_server();
    for (device, country, visits) in
        [(ann, "CH", 10), (bob, "AT", 100), (ann, "IT", 1_000), (bob, "FR", 10_000)]
    {
        let edits = Edits::new().set("country", country).increment("visits", visits);
        world.update(device, account, edits);
        world.settle();
    }
    world.crash_device(ann);
    world.restore_server(&backup);
    world.update(bob, account, Edits::new().set("phone", "+1 555 0100"));
    world.settle();
    assert_at_rest(&mut world);
    let seen = world.see(bob, account);
    assert_eq!((seen.value("visits"), seen.text("country")), (&Value::Counter(11_111), Some("FR")));
    assert_eq!(world.conflicts(bob, account), [], "each had seen the one before");
}

#[test]
fn a_second_restore_from_a_still_older_backup_works_too() {
    let (mut world, ann, bob, account) = two_devices(704);
    let oldest = world.back_up_server();
    world.update(ann, account, Edits::new().increment("visits", 10));
    world.settle();
    let older = world.back_up_server();
    world.update(ann, account, Edits::new().increment("visits", 100));
    world.settle();
    world.crash_device(ann);
    world.restore_server(&older);
    world.settle();
    world.update(bob, account, Edits::new().increment("visits", 1_000));
    world.settle();
    world.restore_server(&oldest);
    world.settle();
    assert_at_rest(&mut world);
    assert_eq!(world.see(bob, account).value("visits"), &Value::Counter(1_111));
}

#[test]
fn prose_and_folded_histories_come_back_as_they_were() {
    let mut world = World::with_stride(705, SHORT);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    let backup = world.back_up_server();
    for turn in 0..90 {
        let edits = Edits::new().set("country", format!("{turn}")).increment("visits", 1);
        world.edit_now(ann, |tx| tx.update(account, edits)).unwrap();
        if turn % 9 == 0 {
            let typed = Edits::new().splice("notes", 0, 0, format!("{turn} "));
            world.edit_now(ann, |tx| tx.update(account, typed)).unwrap();
        }
    }
    world.settle();
    while world.at(bob).client().idle_work().unwrap() {}
    world.crash_device(ann);
    world.restore_server(&backup);
    world.settle();
    assert_at_rest(&mut world);
    let seen = world.see(bob, account);
    assert_eq!(seen.value("visits"), &Value::Counter(90));
    assert_eq!(seen.text("notes"), Some("81 72 63 54 45 36 27 18 9 0 "));
}

#[test]
fn once_the_operator_has_ended_it_devices_end_with_what_the_server_has() {
    let (mut world, ann, bob, account) = two_devices(706);
    let backup = world.back_up_server();
    world.set(ann, account, "country", "CH");
    let lost = world.create(ann, "contact", Edits::new().set("last_name", "Lost"));
    world.settle();
    world.update(bob, account, Edits::new().set("phone", "+1 555 0100").increment("visits", 10));
    world.settle();
    world.offline(bob);
    world.update(bob, account, Edits::new().set("country", "FR").increment("visits", 100));
    world.crash_device(ann);
    world.restore_server(&backup);
    world.close_relay();
    world.online(bob);
    world.settle();
    assert_at_rest(&mut world);
    let seen = world.see(bob, account);
    assert_eq!(seen.value("visits"), &Value::Counter(111), "own edits come back, written anew");
    assert_eq!((seen.text("phone"), seen.text("country")), (Some("+1 555 0100"), Some("FR")));
    assert_eq!(world.find(bob, lost), None, "nobody who wrote it is left");
    assert_eq!(world.relay_status().recovery, Recovery::Closed);
}

/// A sales organisation in the west.
struct Cast {
    world: World,
    ann: Device,
    rep: MemberId,
    max: Device,
    boss: Device,
    account: RecordId,
}

fn cast(seed: u64) -> Cast {
    let mut world = World::governed(seed, SALES);
    let rep = world.person("Ann", "rep", &["west"]);
    let manager = world.person("Max", "manager", &[]);
    let region = MemberChanges { region: Some("west".to_owned()), ..whoever("manager", &[]) };
    world.direct(manager, &region);
    let administrator = world.person("Boss", "admin", &[]);
    let ann = world.device_of(rep, "ann");
    let max = world.device_of(manager, "max");
    let boss = world.device_of(administrator, "boss");
    world.settle();
    let edits = Edits::new().set("name", "Hooli").set("territory", "west");
    let account = world.create(max, "account", edits);
    world.settle();
    Cast { world, ann, rep, max, boss, account }
}

#[test]
fn what_its_author_may_not_write_any_more_is_not_taken_and_own_edits_on_it_stay() {
    let Cast { mut world, ann, rep, max, boss, account } = cast(710);
    world.direct(rep, &whoever("rep", &["east"]));
    world.settle();
    let backup = world.back_up_server();
    world.direct(rep, &whoever("rep", &["west"]));
    world.settle();
    world.set(ann, account, "country", "CH");
    world.settle();
    world.update(max, account, Edits::new().set("phone", "+1 555 0100").increment("visits", 5));
    world.settle();
    world.crash_device(ann);
    world.restore_server(&backup);
    world.settle();
    world.assert_shows(boss, &|_| true);
    let status = world.relay_status();
    assert!(status.relayed.iter().map(|row| row.relayed.refused).sum::<u64>() > 0, "{status:?}");
    for device in [max, boss] {
        let seen = world.see(device, account);
        assert_eq!(seen.text("country"), None, "its author stands elsewhere");
        assert_eq!(
            (seen.text("phone"), seen.value("visits")),
            (Some("+1 555 0100"), &Value::Counter(5))
        );
        assert_eq!(world.disputes(device), []);
    }
}

#[test]
fn what_was_granted_after_the_backup_leaves_for_good_whether_it_held_anything_or_not() {
    for held in [true, false] {
        let Cast { mut world, ann, rep, max, boss, .. } = cast(711);
        let backup = world.back_up_server();
        world.direct(rep, &whoever("rep", &["west", "north"]));
        let north = held.then(|| {
            let edits = Edits::new().set("name", "Initech").set("territory", "north");
            world.create(max, "account", edits)
        });
        world.settle();
        world.restore_server(&backup);
        world.settle();
        let lost = "SELECT count(*) FROM scope WHERE standing = 2";
        let rows = world.at(ann).client().query(lost, &[], Default::default()).unwrap();
        assert_eq!(rows.rows[0][0].as_int(), Some(0), "held: {held}");
        if let Some(north) = north {
            assert_eq!(world.find(ann, north), None, "the server does not grant it any more");
            assert!(world.find(boss, north).is_some(), "given back by who may see it");
        }
    }
}
