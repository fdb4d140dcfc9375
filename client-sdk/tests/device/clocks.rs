//! Clocks that are wrong: edits keep their order in time, whatever the device believed.

use client_sdk::{Edits, RecordId, Timestamp};

use crate::harness::{Device, NOON, Relay, welcome};
use crate::records::LOADS;

const YEAR: i64 = 365 * 24 * 3_600_000;
const HOUR: u64 = 3_600_000;

fn time_of(device: &Device, id: RecordId) -> Timestamp {
    device.client.get(id).unwrap().unwrap().updated_at().unwrap()
}

fn edit(device: &Device) -> RecordId {
    device.client.create("account", Edits::new().set("name", "Acme")).unwrap()
}

#[test]
fn edits_of_a_wrong_clock_are_stamped_again_exactly_within_the_same_boot() {
    let _alone = LOADS.lock().unwrap();
    let device = Device::new("ada");
    let mut relay = Relay::default();
    device.hands.set_wall(NOON - 3 * YEAR);
    let edits = Edits::new().set("name", "Acme").set_text("notes", "prose").increment("visits", 1);
    let id = device.client.create("account", edits).unwrap();
    device.hands.pass(HOUR);
    device
        .client
        .update(id, Edits::new().set("phone", "123 4567").splice("notes", 5, 0, "!"))
        .unwrap();
    let before = device.client.outbox(0, 9, usize::MAX).unwrap();
    device.hands.pass(HOUR);

    let applied = device.client.apply_welcome(&welcome(&device, NOON), 0).unwrap();
    assert_eq!(applied.restamped, 2);
    let after = device.client.outbox(0, 9, usize::MAX).unwrap();
    let ids = |batches: &[crdt_core::protocol::Batch]| {
        batches.iter().map(|batch| batch.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&before), ids(&after));
    let times: Vec<i64> =
        after.iter().map(|batch| batch.documents[0].changes[0].change.time.as_millis()).collect();
    assert_eq!(times, [NOON - 2 * HOUR as i64, NOON - HOUR as i64]);
    assert_eq!(time_of(&device, id), Timestamp::from_millis(NOON - HOUR as i64));
    let record = device.client.get(id).unwrap().unwrap();
    assert_eq!(record.text("notes"), Some("prose!"));
    assert!(device.client.verify().unwrap().differing.is_empty());

    relay.accept_all(&device);
    let bob = Device::new("bob");
    relay.give_all(&bob);
    assert_eq!(bob.client.get(id).unwrap().unwrap().values(), record.values());
    // From now on the clock is corrected as it is read.
    device.client.update(id, Edits::new().set("phone", "765 4321")).unwrap();
    assert_eq!(time_of(&device, id), Timestamp::from_millis(NOON));
    assert_eq!(device.client.apply_welcome(&welcome(&device, NOON), 0).unwrap().restamped, 0);
}

#[test]
fn a_clock_that_is_a_minute_off_is_left_alone() {
    let device = Device::new("ada");
    device.hands.set_wall(NOON - 60_000);
    edit(&device);
    assert_eq!(device.client.apply_welcome(&welcome(&device, NOON), 0).unwrap().restamped, 0);
}

#[test]
fn edits_of_another_boot_are_never_later_than_now() {
    let device = Device::new("ada");
    device.hands.set_wall(NOON + YEAR);
    let id = edit(&device);
    device.hands.reboot();
    device.hands.set_wall(NOON);
    assert_eq!(device.client.apply_welcome(&welcome(&device, NOON), 0).unwrap().restamped, 1);
    assert_eq!(time_of(&device, id), Timestamp::from_millis(NOON));
}

#[test]
fn a_clock_that_was_never_set_gives_the_earliest_time_that_an_edit_may_have() {
    let device = Device::new("ada");
    device.hands.set_wall(0);
    let id = edit(&device);
    let earliest = Timestamp::from_millis(crdt_core::limits::EDIT_TIME_MS_MIN);
    assert_eq!(time_of(&device, id), earliest);
    device.client.apply_welcome(&welcome(&device, NOON), 0).unwrap();
    assert_eq!(time_of(&device, id), Timestamp::from_millis(NOON));
}

#[test]
fn a_welcome_is_kept_and_named_in_the_next_hello() {
    let mut device = Device::new("ada");
    let mut given = welcome(&device, NOON);
    given.member_name = "Ada Lovelace".to_owned();
    device.client.apply_welcome(&given, 10).unwrap();
    let id = edit(&device);
    device.reopen().unwrap();
    let hello = device.client.hello("token".to_owned()).unwrap();
    assert_eq!((hello.lease, hello.epoch), (Some(given.lease), Some(given.epoch)));
    assert_eq!(hello.token, "token");
    let record = device.client.get(id).unwrap().unwrap();
    assert_eq!(record.updated_by_name(), Some("Ada Lovelace"));
    given.member = crate::harness::member("bob");
    assert!(device.client.apply_welcome(&given, 10).is_err());
}
