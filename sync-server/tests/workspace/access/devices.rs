//! Devices are listed, and one that is revoked is out.

use crdt_core::protocol::GoodbyeCode;

use crate::support::device::Device;
use crate::support::sales::{ADMIN, REP_WEST, device, office};
use crate::support::world::{World, member};

#[test]
fn devices_are_listed_with_whose_they_are_and_what_they_call_themselves() {
    let mut world = office();
    let rep = device(&mut world, REP_WEST);
    let devices = world.workspace.devices().unwrap();
    let [listed] = &devices[..] else { panic!("the server's own is none: {devices:?}") };
    assert_eq!((listed.device, listed.member), (rep.device, member(REP_WEST)));
    assert_eq!((listed.name.as_str(), listed.replica), ("device 2", rep.replica));
    assert_eq!(listed.revoked_at, None);
}

#[test]
fn a_revoked_device_is_told_to_wipe_whatever_it_calls_itself() {
    let mut world = office();
    let mut rep = device(&mut world, REP_WEST);
    let replicas = world.workspace.revoke_device(World::now(), rep.device).unwrap();
    assert_eq!(replicas, [rep.replica].into());
    assert_eq!(world.workspace.take_aftermath().revoked, replicas);
    assert_eq!(world.refusal_of(&rep).code, GoodbyeCode::DeviceRevoked);
    assert_eq!(world.workspace.devices().unwrap()[0].revoked_at, Some(World::now()));
    // The file says that it is on another device now.
    let honest = rep.device;
    rep.device.0[0] ^= 1;
    assert_eq!(world.refusal_of(&rep).code, GoodbyeCode::DeviceRevoked);
    // A new file on the revoked device, whoever signs in there.
    let mut fresh = Device::new(77, member(ADMIN));
    fresh.device = honest;
    assert_eq!(world.refusal_of(&fresh).code, GoodbyeCode::DeviceRevoked);
    // The member goes on elsewhere.
    let mut other = Device::new(78, member(REP_WEST));
    world.connect(&mut other);
}

#[test]
fn a_device_that_was_never_here_can_be_revoked_before_it_comes() {
    let mut world = office();
    let fresh = Device::new(77, member(ADMIN));
    assert!(world.workspace.revoke_device(World::now(), fresh.device).unwrap().is_empty());
    assert_eq!(world.refusal_of(&fresh).code, GoodbyeCode::DeviceRevoked);
}
