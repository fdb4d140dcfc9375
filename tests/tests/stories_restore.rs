//! Stories of a server that is restored from an old backup: devices give back what they hold.

use client_sdk::{Edits, SyncErrorKind};
use crdt_core::id::{MemberId, RecordId};
use crdt_core::policy::SALES;
use crdt_core::record::Value;
use sync_server::workspace::Stride;
use tests::harness::network::Way;
use tests::harness::world::{Device, World, whoever};

/// Two devices and an account with a visit, all synced.
fn two_devices(seed: u64) -> (World, Device, Device, RecordId) {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.update(ann, account, Edits::new().increment("visits", 1));
    world.settle();
    (world, ann, bob, account)
}

/// How many replicas a device knows: one more when a device was taken for a copy and wrote.
fn replicas(world: &World, device: Device) -> i64 {
    let sql = "SELECT count(*) FROM actor";
    let rows = world.at(device).client().query(sql, &[], Default::default()).unwrap();
    rows.rows[0][0].as_int().unwrap()
}

/// Everybody is back, shows the same, and nobody has to decide anything.
fn assert_whole(world: &World) {
    world.assert_converged();
    for device in world.everyone() {
        assert_eq!(world.disputes(device), [], "{}", world.at(device).name);
        assert!(world.at(device).client().unsent().unwrap().is_empty());
    }
}

#[test]
fn what_a_device_had_had_accepted_beyond_the_backup_comes_back_exactly_once() {
    let (mut world, ann, bob, account) = two_devices(601);
    let backup = world.back_up_server();
    world.update(ann, account, Edits::new().increment("visits", 10).set("country", "CH"));
    let contact = world.create(ann, "contact", Edits::new().set("last_name", "Hooper"));
    world.update(ann, contact, Edits::new().add("tags", "vip"));
    world.settle();
    let before = world.server().log().len();
    world.restore_server(&backup);
    assert_eq!(world.server().log().len(), before - 3, "the server lost three batches");
    let status = world.recovery();
    assert_eq!((status.lost, status.missing.len()), (3, 3));
    world.settle();
    assert_eq!(world.server().log().len(), before);
    assert_whole(&world);
    world.assert_all_see(account, "visits", Value::Counter(11));
    world.assert_all_see(account, "country", "CH");
    assert_eq!(world.see(bob, contact).text("last_name"), Some("Hooper"));
    let status = world.recovery();
    assert_eq!((status.lost, status.missing.len()), (3, 0));
    let returned: Vec<u64> = status.replicas.iter().map(|row| row.returned).collect();
    assert!(returned.contains(&3), "three came back from one device: {returned:?}");
    assert!(status.replicas.iter().all(|row| row.is_met));
}

#[test]
fn a_second_restore_from_a_still_older_backup_loses_nothing_either() {
    let (mut world, ann, bob, account) = two_devices(602);
    let oldest = world.back_up_server();
    world.update(ann, account, Edits::new().increment("visits", 10));
    world.settle();
    let older = world.back_up_server();
    world.update(bob, account, Edits::new().increment("visits", 100));
    world.settle();
    world.restore_server(&older);
    world.settle();
    world.update(ann, account, Edits::new().increment("visits", 1_000));
    world.settle();
    world.restore_server(&oldest);
    world.settle();
    assert_whole(&world);
    world.assert_all_see(account, "visits", Value::Counter(1_111));
    // And forward again, to one that is newer than what is served: nothing happens twice.
    world.restore_server(&older);
    world.settle();
    assert_whole(&world);
    world.assert_all_see(account, "visits", Value::Counter(1_111));
}

#[test]
fn a_device_that_missed_both_restores_goes_back_to_the_earlier_point() {
    let (mut world, ann, bob, account) = two_devices(603);
    let oldest = world.back_up_server();
    world.update(bob, account, Edits::new().increment("visits", 10));
    world.settle();
    let older = world.back_up_server();
    world.update(bob, account, Edits::new().increment("visits", 100));
    world.settle();
    world.offline(bob);
    for backup in [&older, &oldest] {
        world.restore_server(backup);
        world.update(ann, account, Edits::new().increment("visits", 1_000));
        world.settle_others(bob);
    }
    world.update(bob, account, Edits::new().increment("visits", 10_000));
    world.online(bob);
    world.settle();
    assert_whole(&world);
    world.assert_all_see(account, "visits", Value::Counter(12_111));
}

#[test]
fn a_restored_server_takes_no_honest_device_for_a_copy_also_when_welcomes_are_lost() {
    let (mut world, ann, bob, account) = two_devices(604);
    let known = replicas(&world, bob);
    let backup = world.back_up_server();
    for round in 0..3 {
        world.cut(ann);
        world.update(ann, account, Edits::new().increment("visits", 10));
        world.settle();
        if round == 1 {
            world.restore_server(&backup);
        }
    }
    world.restore_server(&backup);
    for _ in 0..4 {
        // The welcome of the new epoch is lost, and the lease in it.
        world.offline(ann);
        world.cut_after(ann, Way::Down, 20);
        world.online(ann);
        world.run_for(500);
    }
    world.at_mut(ann).link.cut = None;
    world.set(ann, account, "country", "CH");
    world.settle();
    assert_whole(&world);
    world.assert_all_see(account, "visits", Value::Counter(31));
    assert_eq!(replicas(&world, bob), known, "nobody got a new name");
}

#[test]
fn a_copy_made_before_the_restore_is_told_from_its_original_after_it() {
    let (mut world, ann, bob, account) = two_devices(605);
    let backup = world.back_up_server();
    world.update(ann, account, Edits::new().increment("visits", 10));
    world.settle();
    world.all_offline();
    let copy = world.clone_device(ann, "ann's new phone");
    world.offline(copy);
    world.update(ann, account, Edits::new().increment("visits", 100));
    world.update(copy, account, Edits::new().increment("visits", 1_000));
    world.restore_server(&backup);
    for device in [ann, bob, copy] {
        world.online(device);
        world.run_for(5_000);
    }
    world.settle();
    assert_whole(&world);
    world.assert_all_see(account, "visits", Value::Counter(1_111));
}

#[test]
fn a_replica_that_the_backup_is_older_than_gives_back_its_work_as_itself() {
    let (mut world, _, bob, account) = two_devices(606);
    let member = world.member("cyd");
    let backup = world.back_up_server();
    let cyd = world.device_of(member, "cyd");
    world.settle();
    world.update(cyd, account, Edits::new().increment("visits", 10).set("country", "CH"));
    world.settle();
    let known = replicas(&world, bob);
    world.restore_server(&backup);
    world.settle();
    assert_whole(&world);
    world.assert_all_see(account, "visits", Value::Counter(11));
    assert_eq!(replicas(&world, bob), known);
}

#[test]
fn a_device_that_catches_up_meanwhile_misses_nothing() {
    let stride = Stride { followed_max: 3, catch_up: 2, ..Stride::default() };
    let mut world = World::with_stride(607, stride);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.update(ann, account, Edits::new().increment("visits", 1));
    world.settle();
    world.offline(bob);
    for round in 0..40 {
        world.create(ann, "account", Edits::new().set("name", format!("Account {round}")));
    }
    world.settle_others(bob);
    let backup = world.back_up_server();
    for _ in 0..10 {
        world.update(ann, account, Edits::new().increment("visits", 1));
    }
    world.settle_others(bob);
    // Bob is stopped in the middle of what he catches up with.
    world.cut_after(bob, Way::Down, 1_500);
    world.online(bob);
    world.run_for(3_000);
    world.offline(bob);
    world.at_mut(bob).link.cut = None;
    world.restore_server(&backup);
    world.online(bob);
    world.settle();
    assert_whole(&world);
    world.assert_all_see(account, "visits", Value::Counter(11));
}

/// An administrator's device, and that of a rep in the west.
fn west(seed: u64) -> (World, Device, Device, MemberId) {
    let mut world = World::governed(seed, SALES);
    let boss = world.person("Boss", "admin", &[]);
    let rep = world.person("Ann", "rep", &["west"]);
    let boss = world.device_of(boss, "boss");
    let ann = world.device_of(rep, "ann");
    (world, boss, ann, rep)
}

#[test]
fn what_left_a_device_after_the_backup_is_shown_again_and_what_it_gained_is_not() {
    let (mut world, boss, ann, rep) = west(608);
    world.settle();
    let account = |world: &mut World, name: &str, territory: &str| {
        world.create(boss, "account", Edits::new().set("name", name).set("territory", territory))
    };
    let west = account(&mut world, "Hooli", "west");
    let east = account(&mut world, "Initech", "east");
    world.settle();
    let backup = world.back_up_server();
    // The operator moves Ann to the east: a change that no device holds.
    world.direct(rep, &whoever("rep", &["east"]));
    world.settle();
    assert!(world.find(ann, west).is_none());
    assert!(world.find(ann, east).is_some());
    world.restore_server(&backup);
    world.settle();
    assert!(world.find(ann, west).is_some(), "it had left, and is hers again");
    assert!(world.find(ann, east).is_none(), "it was hers, and is no longer");
    world.settle();
}

#[test]
fn what_a_policy_took_away_after_the_backup_is_shown_again_though_no_position_says_so() {
    let (mut world, boss, ann, _) = west(621);
    let edits = Edits::new().set("name", "Hooli").set("territory", "west");
    let west = world.create(boss, "account", edits);
    world.settle();
    let backup = world.back_up_server();
    let territory = "on = [\"own\", \"territory\"]\nactions = [\"read\", \"create\"";
    assert!(SALES.contains(territory));
    let stricter = SALES.replacen("version = 1", "version = 2", 1);
    let stricter = stricter.replacen(territory, &territory.replace(", \"territory\"", ""), 1);
    let head = world.server().read(|tx| tx.head());
    world.put_policy(&stricter);
    world.settle();
    assert!(world.find(ann, west).is_none());
    assert_eq!(world.server().read(|tx| tx.head()), head, "nothing moved");
    world.restore_server(&backup);
    world.settle();
    assert!(world.find(ann, west).is_some());
    world.assert_shows(boss, &|_| true);
    world.assert_shows(ann, &|id| id.section.is_main());
}

#[test]
fn what_was_disputed_after_the_backup_stays_disputed() {
    let mut world = World::governed(609, SALES);
    let boss = world.person("Boss", "admin", &[]);
    let auditor = world.person("Ava", "auditor", &[]);
    let boss = world.device_of(boss, "boss");
    let ava = world.device_of(auditor, "ava");
    world.settle();
    let account = world.create(boss, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    let backup = world.back_up_server();
    let refused = Edits::new().set("name", "Mine");
    world.insist(ava, |tx| tx.update(account, refused)).unwrap();
    world.update(boss, account, Edits::new().increment("visits", 1));
    world.settle();
    let before = world.disputes(ava);
    assert_eq!(before.len(), 1);
    world.restore_server(&backup);
    world.settle();
    world.assert_converged();
    assert_eq!(world.disputes(ava), before);
    world.assert_all_see(account, "name", "Hooli");
    world.assert_all_see(account, "visits", Value::Counter(1));
}

#[test]
fn a_server_that_was_put_back_in_silence_serves_nobody_until_its_operator_speaks() {
    let (mut world, ann, bob, account) = two_devices(610);
    let cyd = world.device("cyd");
    world.settle();
    let backup = world.back_up_server();
    for device in [ann, bob] {
        world.update(device, account, Edits::new().increment("visits", 10));
    }
    world.settle();
    world.all_offline();
    world.put_server_back(&backup);
    for device in [ann, bob] {
        world.online(device);
    }
    world.run_for(10_000);
    // Two members' devices have said that they stand further: from now on nobody is served.
    assert!(world.recovery().is_halted);
    assert_eq!(world.recovery().ahead.len(), 2);
    let before = world.server().log().len();
    world.online(cyd);
    world.update(cyd, account, Edits::new().increment("visits", 100));
    world.run_for(30_000);
    assert_eq!(world.server().log().len(), before, "nothing is acknowledged");
    let error = world.at(cyd).sync().status().last_error;
    assert_eq!(error.map(|error| error.kind), Some(SyncErrorKind::Refused));
    // Also after the server was started again.
    world.restart_server();
    world.run_for(30_000);
    assert!(world.recovery().is_halted);
    assert_eq!(world.server().log().len(), before);
    world.confirm_restore();
    world.settle();
    assert!(!world.recovery().is_halted);
    assert_whole(&world);
    world.assert_all_see(account, "visits", Value::Counter(121));
}

#[test]
fn one_member_who_claims_to_be_further_stops_nobody_else() {
    let (mut world, ann, bob, account) = two_devices(611);
    let backup = world.back_up_server();
    world.update(ann, account, Edits::new().increment("visits", 10));
    world.run_for(5_000);
    world.offline(ann);
    world.offline(bob);
    world.put_server_back(&backup);
    world.crash_device(bob);
    world.reinstall(bob);
    world.online(ann);
    world.online(bob);
    world.run_for(10_000);
    let status = world.recovery();
    assert!(!status.is_halted);
    assert_eq!(status.ahead.len(), 1);
    for round in 0..5 {
        world.set(bob, account, "country", format!("{round}").as_str());
    }
    world.run_for(5_000);
    // The log has grown past Ann's place. Hers was another log: she is not served from it.
    assert!(world.server().log().len() as u64 > status.ahead[0].position);
    world.run_for(130_000);
    let error = world.at(ann).sync().status().last_error;
    assert_eq!(error.map(|error| error.kind), Some(SyncErrorKind::Refused));
    world.confirm_restore();
    world.settle();
    world.assert_all_see(account, "visits", Value::Counter(11));
    world.assert_all_see(account, "country", "4");
    world.assert_converged();
}

#[test]
fn what_a_backup_holds_devices_need_not_keep() {
    let (mut world, ann, bob, account) = two_devices(612);
    let kept = |world: &World| {
        let sql = "SELECT count(*) FROM outbox WHERE state = 1";
        let rows = world.at(ann).client().query(sql, &[], Default::default()).unwrap();
        rows.rows[0][0].as_int().unwrap()
    };
    assert!(kept(&world) > 0);
    let backup = world.back_up_server();
    world.note_backup(&backup);
    world.update(ann, account, Edits::new().increment("visits", 10));
    world.cut(ann);
    world.settle();
    while world.at(ann).client().idle_work().unwrap() {}
    assert_eq!(kept(&world), 1, "only what is newer than the backup");
    world.restore_server(&backup);
    world.settle();
    assert_whole(&world);
    assert_eq!(world.see(bob, account).value("visits"), &Value::Counter(11));
}
