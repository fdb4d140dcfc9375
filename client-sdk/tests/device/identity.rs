//! Who the user and the device are: a file belongs to one member, a device has one id, and what a server
//! says of either.

use client_sdk::engine::{Input, Nudge, Outward, SyncLoop};
use client_sdk::{Client, Config, Edits, StaticToken, StoreError, SyncErrorKind, SyncPhase};
use crdt_core::id::DeviceId;
use crdt_core::limits;
use crdt_core::protocol::{Goodbye, GoodbyeCode, Message, Welcome, decode_frame, encode_frame};

use crate::harness::{Device, NOON, member, welcome};

fn device_of(client: &Client) -> DeviceId {
    client.hello(String::new()).unwrap().device
}

#[test]
fn a_file_has_a_device_of_its_own_until_the_app_names_the_hardware() {
    let mut device = Device::new("ada");
    let own = device_of(&device.client);
    assert_ne!(own, device_of(&Device::new("bob").client));
    device.reopen().unwrap();
    assert_eq!(device_of(&device.client), own);
    device.client.become_new_replica().unwrap();
    assert_eq!(device_of(&device.client), own, "another replica, the same hardware");

    device.client.close();
    let phone = DeviceId([3; 16]);
    let name = "ä".repeat(limits::DEVICE_NAME_BYTES_MAX);
    let client = Client::open(device.config().device(phone, name)).unwrap();
    let hello = client.hello(String::new()).unwrap();
    assert_eq!(hello.device, phone);
    assert_eq!(hello.device_name.len(), limits::DEVICE_NAME_BYTES_MAX);
    // The longest name there is gets through.
    let sent = Message::Hello(Box::new(hello));
    assert_eq!(decode_frame(&encode_frame(&sent)).unwrap(), sent);
}

#[test]
fn another_member_does_not_get_at_the_file_and_its_edits_stay() {
    let mut device = Device::new("ada");
    let id = device.client.create("account", Edits::new().set("name", "Ada's")).unwrap();
    device.client.close();
    let mut theirs = device.config();
    theirs.member = member("bob");
    assert!(matches!(Client::open(theirs).map(drop), Err(StoreError::NotYours { what: "member" })));

    // Nor does another's token make the server's answer count.
    device.client = Client::open(device.config()).unwrap();
    let theirs = Welcome { member: member("bob"), ..welcome(&device, NOON) };
    let refused = device.client.apply_welcome(&theirs, 0);
    assert!(matches!(refused.map(drop), Err(StoreError::NotYours { what: "member" })));
    assert_eq!(device.client.hello(String::new()).unwrap().lease, None, "nothing was stored");
    assert_eq!(device.client.unsent().unwrap().batches, 1);
    assert_eq!(device.client.get(id).unwrap().unwrap().text("name"), Some("Ada's"));
}

/// A sync whose server answers the hello with this goodbye.
fn hear(client: &Client, code: GoodbyeCode) -> SyncLoop {
    let mut sync = SyncLoop::new(client);
    drop(sync.handle(0, Input::Start));
    greet(&mut sync, 1);
    let goodbye = Goodbye { code, text: "so it is".to_owned(), retry_after_ms: None };
    let frame = encode_frame(&Message::Goodbye(goodbye));
    drop(sync.handle(5, Input::FrameReceived(client_sdk::engine::ConnectionId(1), frame)));
    sync
}

fn greet(sync: &mut SyncLoop, now: u64) {
    let effects = sync.handle(now, Input::TokenReady(Ok("token".into())));
    let Some(Outward::Connect(id)) = effects.into_iter().find(|e| matches!(e, Outward::Connect(_)))
    else {
        panic!("a token leads to a connection")
    };
    let effects = sync.handle(now, Input::Connected(id));
    assert!(effects.iter().any(|effect| matches!(effect, Outward::Send(_))));
}

#[test]
fn a_revoked_device_keeps_nothing_and_says_so() {
    let device = Device::new("ada");
    device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let beside = |suffix: &str| {
        let mut path = device.path.clone().into_os_string();
        path.push(suffix);
        std::path::PathBuf::from(path)
    };
    let set_aside = [".damaged-1", ".damaged-1-wal", ".damaged-1.unsent.json"].map(beside);
    set_aside.iter().for_each(|path| std::fs::write(path, "Acme").unwrap());
    let sync = hear(&device.client, GoodbyeCode::DeviceRevoked);
    assert_eq!(sync.status().phase, SyncPhase::Revoked);
    let error = sync.status().last_error.unwrap();
    assert_eq!((error.kind, error.text.as_str()), (SyncErrorKind::Revoked, "so it is"));
    for path in set_aside.iter().chain([&device.path, &beside("-wal"), &beside("-shm")]) {
        assert!(!path.exists(), "{}", path.display());
    }
    assert!(matches!(device.client.unsent(), Err(StoreError::Closed)));
}

#[test]
fn a_disabled_member_keeps_the_data_and_goes_on_working_locally() {
    let device = Device::new("ada");
    device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let mut sync = hear(&device.client, GoodbyeCode::MemberDisabled);
    assert_eq!(sync.status().phase, SyncPhase::Disabled);
    assert_eq!(sync.status().last_error.unwrap().kind, SyncErrorKind::Disabled);
    device.client.create("account", Edits::new().set("name", "Globex")).unwrap();
    assert_eq!(device.client.unsent().unwrap().batches, 2);
    let effects = sync.handle(10, Input::Nudge(Nudge::Asked));
    assert!(effects.contains(&Outward::FetchToken), "the app may ask whether that has changed");
}

#[test]
fn a_config_names_the_device_and_says_nothing_of_tokens() {
    let config = Config::new("a.db", "acme", member("ada"))
        .server("wss://example.com", StaticToken::new("secret"))
        .device_name("Ada's phone");
    assert_eq!(config.device_name, "Ada's phone");
    assert!(!format!("{config:?}").contains("secret"));
}
