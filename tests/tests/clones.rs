//! Device files that are copied, put back, moved or replayed: both copies keep working, every edit of both is
//! there exactly once, and an honest device is never taken for a copy.

use client_sdk::{Client, Config, Edits, RefusedKind, SeededEntropy, StoreError, SyncPhase};
use crdt_core::id::RecordId;
use crdt_core::policy::Policy;
use crdt_core::protocol::{Message, Push, encode_frame};
use crdt_core::record::Value;
use tests::harness::device::WORKSPACE;
use tests::harness::files::Files;
use tests::harness::network::{Packet, Way};
use tests::harness::world::{Device, World, whoever};

/// Ann's phone, Bob's phone and an account, all synced.
fn two_people(seed: u64) -> (World, Device, Device, RecordId) {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    (world, ann, bob, account)
}

/// A visit that is counted, and a tag that names it.
fn visit(world: &mut World, device: Device, account: RecordId, tag: &str, count: i64) {
    world.update(device, account, Edits::new().increment("visits", count).add("tags", tag));
}

/// Every device shows these visits and tags, and nobody has anything left to send or to settle.
fn assert_all_there(world: &World, account: RecordId, visits: i64, tags: &[&str]) {
    world.assert_converged();
    for device in world.everyone() {
        let name = &world.at(device).name;
        let seen = world.see(device, account);
        assert_eq!(seen.int("visits"), Some(visits), "{name} counts");
        let mut wanted: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        wanted.sort();
        assert_eq!(*seen.value("tags"), Value::Set(wanted), "{name} shows");
        assert_eq!(world.disputes(device), [], "{name} was refused something");
        let unsent = world.at(device).client().unsent().expect("a device can be read");
        assert_eq!(unsent.batches, 0, "{name} has something unsent");
    }
}

/// The name under which a device writes.
fn replica(world: &World, device: Device) -> String {
    let hello = world.at(device).client().hello(String::new()).expect("a device can be read");
    hello.replica.to_string()
}

/// Opens a copy of a device's file beside the simulation, as a stranger's program would.
fn stolen(world: &World, device: Device, folder: &std::path::Path) -> Client {
    let path = folder.join("stolen.db");
    Files::copy(world.at(device).path()).put_at(&path);
    let config = Config::new(&path, WORKSPACE, world.at(device).member());
    let config = config.clock(world.at(device).clock.clone()).entropy(SeededEntropy::new(77));
    Client::open(config).expect("a copy of the file opens")
}

/// The frame that pushes what a file has not sent.
fn push_of(client: &Client) -> Packet {
    let batches = client.outbox(0, 16, 1 << 20).expect("the copy can be read");
    assert!(!batches.is_empty(), "there is something to push");
    Packet::Frame(encode_frame(&Message::Push(Push { batches, receipt: 0 })))
}

#[test]
fn b1_two_copies_that_are_both_edited_offline_lose_nothing_and_double_nothing() {
    for seed in 7_100..7_110 {
        let (mut world, ann, _, account) = two_people(seed);
        world.offline(ann);
        // Written before the copy was made: both files hold it, unsent, under one name.
        visit(&mut world, ann, account, "before", 1);
        let copy = world.clone_device(ann, "ann's new phone");
        world.offline(copy);
        for round in 0..4 {
            visit(&mut world, ann, account, &format!("old {round}"), 10);
            visit(&mut world, copy, account, &format!("new {round}"), 100);
        }
        let (first, second) = if seed % 2 == 0 { (ann, copy) } else { (copy, ann) };
        world.online(first);
        world.run_for((seed % 5) * 200);
        world.online(second);
        world.settle();
        let tags =
            ["before", "old 0", "old 1", "old 2", "old 3", "new 0", "new 1", "new 2", "new 3"];
        assert_all_there(&world, account, 441, &tags);
        assert_ne!(replica(&world, ann), replica(&world, copy), "seed {seed}: one name for two");
    }
}

#[test]
fn b1_copies_that_go_on_being_used_stay_two_devices() {
    let (mut world, ann, _, account) = two_people(7_120);
    let copy = world.clone_device(ann, "ann's new phone");
    for round in 0..6 {
        visit(&mut world, ann, account, &format!("old {round}"), 1);
        visit(&mut world, copy, account, &format!("new {round}"), 10);
        world.settle();
    }
    let names = (replica(&world, ann), replica(&world, copy));
    visit(&mut world, copy, account, "last", 100);
    world.settle();
    let old = (0..6).map(|round| format!("old {round}"));
    let new = (0..6).map(|round| format!("new {round}"));
    let tags: Vec<String> = old.chain(new).chain(["last".to_owned()]).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    assert_all_there(&world, account, 166, &tags);
    assert_eq!((replica(&world, ann), replica(&world, copy)), names, "names settle down");
}

#[test]
fn b2_a_file_put_back_to_an_older_state_gets_its_own_edits_back_and_keeps_its_new_ones() {
    for seed in 7_200..7_206 {
        let (mut world, ann, _, account) = two_people(seed);
        world.offline(ann);
        visit(&mut world, ann, account, "unsent then", 1);
        let backup = world.back_up(ann);
        world.online(ann);
        visit(&mut world, ann, account, "sent after", 10);
        world.run_for(if seed % 2 == 0 { 10_000 } else { 120 });
        world.settle();
        world.crash_device(ann);
        world.restore(ann, &backup);
        world.start_device(ann);
        visit(&mut world, ann, account, "new", 100);
        world.settle();
        assert_all_there(&world, account, 111, &["unsent then", "sent after", "new"]);
    }
}

#[test]
fn b3_a_twin_that_was_not_detected_forks_the_actor_and_neither_edit_is_lost() {
    let (mut world, ann, bob, account) = two_people(7_300);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let twin = stolen(&world, ann, folder.path());
    twin.update(account, Edits::new().increment("visits", 1).add("tags", "twin")).unwrap();
    let before = replica(&world, ann);
    // The same actor and number, with other contents, over the connection of the file's owner.
    world.inject(ann, push_of(&twin));
    world.run_for(1_000);
    visit(&mut world, ann, account, "ann", 10);
    visit(&mut world, ann, account, "ann again", 100);
    world.settle();
    assert_ne!(replica(&world, ann), before, "the device goes on under another name");
    assert_eq!(world.see(bob, account).int("visits"), Some(111));
    assert_all_there(&world, account, 111, &["twin", "ann", "ann again"]);
}

#[test]
fn b4_a_batch_that_was_accepted_from_the_copy_is_not_applied_again_from_the_original() {
    let (mut world, ann, bob, account) = two_people(7_400);
    world.offline(ann);
    visit(&mut world, ann, account, "shared", 1);
    let copy = world.clone_device(ann, "ann's new phone");
    // The copy rewrites the shared batch under its own actors and is accepted; then the original comes.
    visit(&mut world, copy, account, "copy", 10);
    world.settle_others(ann);
    assert_eq!(world.see(bob, account).int("visits"), Some(11));
    visit(&mut world, ann, account, "original", 100);
    world.online(ann);
    world.settle();
    assert_all_there(&world, account, 111, &["shared", "copy", "original"]);
}

#[test]
fn b5_two_images_of_one_file_that_never_connected_become_two_replicas() {
    let mut world = World::new(7_500);
    let bob = world.device("bob");
    let account = world.create(bob, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    let member = world.member("ann");
    // Installed where there was no network: neither file has ever had a lease.
    let ann = world.device_of_offline(member, "ann's image");
    let twin = world.clone_device(ann, "the same image");
    world.offline(twin);
    for device in [ann, twin] {
        let name = world.at(device).name.clone();
        world.create(device, "task", Edits::new().set("subject", name));
    }
    world.online(ann);
    world.online(twin);
    world.settle();
    visit(&mut world, ann, account, "image", 1);
    visit(&mut world, twin, account, "twin", 10);
    world.settle();
    assert_all_there(&world, account, 11, &["image", "twin"]);
    assert_ne!(replica(&world, ann), replica(&world, twin));
    let sql = "SELECT count(*) FROM task";
    let tasks = world.at(bob).client().query(sql, &[], Default::default()).unwrap();
    assert_eq!(tasks.rows[0][0].as_int(), Some(2), "both tasks arrived");
}

#[test]
fn b6_an_app_that_was_installed_again_is_a_new_device_of_its_member() {
    let (mut world, ann, _, account) = two_people(7_600);
    visit(&mut world, ann, account, "old", 1);
    world.settle();
    let before = replica(&world, ann);
    world.offline(ann);
    world.forget(ann);
    world.reinstall(ann);
    world.online(ann);
    visit_when_there(&mut world, ann, account, "new", 10);
    world.settle();
    assert_ne!(replica(&world, ann), before);
    assert_all_there(&world, account, 11, &["old", "new"]);
}

/// As [`visit`], once the record has come.
fn visit_when_there(world: &mut World, device: Device, account: RecordId, tag: &str, count: i64) {
    world.settle();
    visit(world, device, account, tag, count);
}

#[test]
fn b7_another_member_cannot_open_the_file_and_its_edits_stay_and_go_out_later() {
    let (mut world, ann, bob, account) = two_people(7_700);
    world.offline(ann);
    visit(&mut world, ann, account, "ann's", 1);
    world.crash_device(ann);
    let config = Config::new(world.at(ann).path(), WORKSPACE, world.at(bob).member());
    match Client::open(config) {
        Err(StoreError::NotYours { what }) => assert_eq!(what, "member"),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("bob has opened ann's file"),
    }
    world.start_device(ann);
    world.online(ann);
    world.settle();
    assert_all_there(&world, account, 1, &["ann's"]);
}

#[test]
fn b7_a_file_that_connects_with_another_members_token_is_told_so_and_sends_nothing() {
    let (mut world, ann, bob, account) = two_people(7_710);
    world.offline(ann);
    visit(&mut world, ann, account, "ann's", 1);
    world.cut(ann);
    world.at_mut(ann).speaks_as = Some(world.at(bob).member());
    world.online(ann);
    world.run_for(30_000);
    let phase = world.at(ann).sync().status().phase;
    assert_eq!(phase, SyncPhase::Refused(RefusedKind::ReplicaTaken));
    assert_eq!(world.see(bob, account).int("visits"), None, "nothing was taken");
    world.at_mut(ann).speaks_as = None;
    world.crash_device(ann);
    world.start_device(ann);
    world.settle();
    assert_all_there(&world, account, 1, &["ann's"]);
}

#[test]
fn b8_changes_pushed_under_another_members_actor_are_refused_and_change_nothing() {
    let (mut world, ann, bob, account) = two_people(7_800);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let stolen = stolen(&world, ann, folder.path());
    stolen.update(account, Edits::new().increment("visits", 1).set("country", "forged")).unwrap();
    let frame = push_of(&stolen);
    for _ in 0..3 {
        world.inject(bob, frame.clone());
        world.run_for(1_000);
    }
    visit(&mut world, ann, account, "ann's", 10);
    visit(&mut world, bob, account, "bob's", 100);
    world.settle();
    assert_eq!(*world.see(bob, account).value("country"), Value::Null);
    world.assert_converged();
    assert_eq!(world.see(ann, account).int("visits"), Some(110), "the forged visit does not count");
    assert_eq!(world.disputes(ann), [], "ann's own edits are not in the forger's way");
}

#[test]
fn b8_an_accepted_batch_that_somebody_else_replays_is_not_applied_again() {
    let (mut world, ann, bob, account) = two_people(7_810);
    world.offline(ann);
    visit(&mut world, ann, account, "ann's", 1);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let frame = push_of(&stolen(&world, ann, folder.path()));
    world.online(ann);
    world.settle();
    for _ in 0..3 {
        world.inject(bob, frame.clone());
        world.run_for(1_000);
    }
    world.settle();
    assert_all_there(&world, account, 1, &["ann's"]);
}

#[test]
fn a_copy_that_becomes_a_replica_of_its_own_drops_what_its_member_may_not_have_any_more() {
    let mut world = World::governed(7_820, Policy::sales().text());
    let boss = world.person("boss", "admin", &[]);
    let boss = world.device_of(boss, "boss");
    let eve = world.person("eve", "rep", &["east"]);
    let phone = world.device_of(eve, "eve");
    let edits = Edits::new().set("name", "Hooli").set("territory", "east");
    let account = world.create(boss, "account", edits);
    world.settle();
    assert!(world.find(phone, account).is_some(), "the phone has it while it may");
    let copy = world.clone_device(phone, "eve's new phone");
    world.offline(copy);
    // The original gets a newer lease, so that the copy is known as one when it comes.
    world.cut(phone);
    world.settle_others(copy);
    world.direct(eve, &whoever("rep", &[]));
    world.online(copy);
    world.settle();
    for device in [phone, copy] {
        let name = &world.at(device).name;
        assert!(world.find(device, account).is_none(), "{name} kept an account of the east");
    }
}

#[test]
fn a_welcome_that_is_lost_does_not_make_an_honest_device_look_like_a_copy() {
    for seed in 7_900..7_905 {
        let (mut world, ann, _, account) = two_people(seed);
        let before = replica(&world, ann);
        for round in 0..5 {
            world.offline(ann);
            visit(&mut world, ann, account, &format!("{round}"), 1);
            // The first bytes of the answer arrive, the lease in it does not.
            world.cut_after(ann, Way::Down, 20);
            world.online(ann);
            world.run_for(200 * (seed % 5) + 100);
        }
        world.at_mut(ann).link.cut = None;
        world.online(ann);
        world.settle();
        assert_eq!(replica(&world, ann), before, "seed {seed}");
        assert_all_there(&world, account, 5, &["0", "1", "2", "3", "4"]);
    }
}

#[test]
fn a_power_cut_at_any_moment_around_the_welcome_does_not_make_a_device_look_like_a_copy() {
    for moment in 0..40 {
        let (mut world, ann, _, account) = two_people(7_950);
        let before = replica(&world, ann);
        world.offline(ann);
        visit(&mut world, ann, account, "offline", 1);
        world.online(ann);
        for _ in 0..moment {
            world.step();
        }
        // The lease is stored durably before anything is sent under it.
        let disk = Files::copy(world.at(ann).path());
        world.cut_power(ann, &disk);
        world.start_device(ann);
        world.settle();
        assert_eq!(replica(&world, ann), before, "after {moment} steps");
        assert_all_there(&world, account, 1, &["offline"]);
    }
}
