//! The file: one writer, formats, damage, a full disk, wiping, exports.

use client_sdk::{Client, EditError, Edits, Paging, SeededEntropy, StoreError, WipeMode};

use crate::harness::{Device, member};

#[test]
fn a_second_client_of_the_same_file_is_refused_until_the_first_is_closed() {
    let device = Device::new("ada");
    assert!(matches!(Client::open(device.config()), Err(StoreError::InUse { .. })));
    device.client.close();
    assert!(matches!(device.client.unsent(), Err(StoreError::Closed)));
    assert!(Client::open(device.config()).is_ok());
}

#[test]
fn a_file_of_a_newer_format_is_refused_and_left_as_it_is() {
    let device = Device::new("ada");
    device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    device.client.close();
    set_format(&device, 99);
    let before = std::fs::read(&device.path).unwrap();
    let refused = Client::open(device.config());
    assert!(matches!(refused, Err(StoreError::Newer { found: 99, .. })));
    assert_eq!(std::fs::read(&device.path).unwrap(), before);
}

/// The format's number stands in bytes 60 to 63 of a database file.
fn set_format(device: &Device, format: u32) {
    let mut bytes = std::fs::read(&device.path).unwrap();
    bytes[60..64].copy_from_slice(&format.to_be_bytes());
    std::fs::write(&device.path, bytes).unwrap();
}

#[test]
fn a_file_of_another_workspace_or_member_is_refused() {
    let device = Device::new("ada");
    device.client.close();
    let mut config = device.config();
    config.workspace = "other".to_owned();
    assert!(matches!(Client::open(config), Err(StoreError::NotYours { what: "workspace" })));
    let mut config = device.config();
    config.member = member("bob");
    assert!(matches!(Client::open(config), Err(StoreError::NotYours { what: "member" })));
}

#[test]
fn what_is_no_database_is_set_aside_and_reported() {
    let device = Device::new("ada");
    device.client.close();
    std::fs::write(&device.path, b"this is no database at all, and long enough to be read")
        .unwrap();
    let client = Client::open(device.config()).unwrap();
    let damaged = client.open_report().damaged.clone().unwrap();
    assert!(std::fs::read(&damaged.moved_to).unwrap().starts_with(b"this is no database"));
    client.create("account", Edits::new().set("name", "Acme")).unwrap();
}

#[test]
fn of_a_damaged_file_the_unsent_work_that_can_be_read_is_salvaged() {
    let device = Device::new("ada");
    for number in 0..40 {
        device
            .client
            .create("account", Edits::new().set("name", format!("Salvaged {number}")))
            .unwrap();
    }
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'account__by_name'";
    let rows = device.client.query(root, &[], Paging::first(1)).unwrap();
    let page = usize::try_from(rows.rows[0][0].as_int().unwrap()).unwrap();
    device.client.close();
    let mut bytes = std::fs::read(&device.path).unwrap();
    bytes[(page - 1) * 4_096..(page - 1) * 4_096 + 512].fill(0xA5);
    std::fs::write(&device.path, bytes).unwrap();

    let client = Client::open(device.config()).unwrap();
    let damaged = client.open_report().damaged.clone().unwrap();
    assert_eq!(damaged.salvaged_batches, 40);
    let salvage = std::fs::read_to_string(damaged.salvage.unwrap()).unwrap();
    assert!(salvage.contains("Salvaged 7") && salvage.contains("Salvaged 39"));
    assert_eq!((damaged.resent, damaged.disputed), (40, 0));
    assert_eq!(client.unsent().unwrap().batches, 40);
    assert!(client.accounting().unwrap().balances());
    let rows = client.query("SELECT count(*) FROM account", &[], Paging::first(1)).unwrap();
    assert_eq!(rows.rows[0][0].as_int(), Some(40));
}

#[test]
fn salvage_that_a_dying_process_left_undone_is_done_at_the_next_open() {
    let device = Device::new("ada");
    device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    device.client.close();
    // The file was moved and noted; its log was not, and there is no new file yet.
    let beside = |suffix: &str| device.path.with_file_name(format!("device.db{suffix}"));
    std::fs::rename(&device.path, beside(".damaged-1")).unwrap();
    std::fs::write(beside("-wal"), b"").unwrap();
    std::fs::write(beside(".salvage"), "device.db.damaged-1").unwrap();

    let client = Client::open(device.config()).unwrap();
    let damaged = client.open_report().damaged.clone().unwrap();
    assert_eq!((damaged.resent, damaged.disputed), (1, 0));
    assert!(!beside(".salvage").exists());
    client.close();
    let client = Client::open(device.config()).unwrap();
    assert_eq!(client.open_report().damaged, None, "it is told once");
    assert_eq!(client.unsent().unwrap().batches, 1);
}

#[test]
fn a_bit_that_flipped_in_a_value_while_the_file_lay_closed_is_found() {
    let device = Device::new("ada");
    device.client.create("account", Edits::new().set("name", "Wrongly")).unwrap();
    device.client.close();
    let written = std::fs::metadata(&device.path).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&device.path).unwrap();
    let places = bytes.windows(7).enumerate().filter(|(_, found)| *found == b"Wrongly");
    let places: Vec<usize> = places.map(|(place, _)| place).collect();
    places.iter().for_each(|place| bytes[*place] = b'S');
    std::fs::write(&device.path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(&device.path).unwrap();
    file.set_modified(written).unwrap();

    let client = Client::open(device.config()).unwrap();
    assert!(client.open_report().damaged.is_some(), "{} places", places.len());
}

#[test]
fn on_a_full_device_an_edit_is_refused_whole_and_everything_else_goes_on() {
    let mut device = Device::new("ada");
    let id = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let rows =
        device.client.query("SELECT page_count FROM pragma_page_count", &[], Paging::first(1));
    let pages = u32::try_from(rows.unwrap().rows[0][0].as_int().unwrap()).unwrap();
    device.client.close();
    // Other random bytes than the first time: ids are not to come twice.
    let config = device.config().max_page_count(pages + 6).entropy(SeededEntropy::new(8));
    device.client = Client::open(config).unwrap();

    let long = "x".repeat(8_000);
    let mut stored = 0;
    let refused = loop {
        let edits = Edits::new().set("last_name", "Roe").set("note", long.as_str());
        match device.client.create("contact", edits) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, EditError::Store(StoreError::Full)), "{refused}");
    assert_eq!(device.client.unsent().unwrap().batches, stored + 1);
    assert_eq!(device.client.get(id).unwrap().unwrap().text("name"), Some("Acme"));

    // Space is freed, and the same edit is stored.
    device.reopen().unwrap();
    device
        .client
        .create("contact", Edits::new().set("last_name", "Roe").set("note", long))
        .unwrap();
    assert_eq!(device.client.unsent().unwrap().batches, stored + 2);
    assert!(device.client.verify().unwrap().differing.is_empty());
}

#[test]
fn wiping_tells_what_is_unsent_and_waits_for_a_yes() {
    let device = Device::new("ada");
    device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let Err(StoreError::Unsent(unsent)) = device.client.wipe(WipeMode::IfSent) else {
        panic!("unsent work was wiped");
    };
    assert_eq!((unsent.batches, unsent.records), (1, 1));
    assert!(device.path.exists());
    assert_eq!(device.client.wipe(WipeMode::Always).unwrap().batches, 1);
    assert!(!device.path.exists());
    assert!(matches!(device.client.unsent(), Err(StoreError::Closed)));
    assert!(Client::open(device.config()).unwrap().unsent().unwrap().is_empty());
}

#[test]
fn diagnostics_hold_nothing_of_a_record_and_the_export_of_unsent_work_holds_all() {
    let device = Device::new("ada");
    let edits = Edits::new().set("name", "Canary Ltd").set_text("notes", "Canary prose");
    device.client.create("account", edits.add("tags", "canary-tag")).unwrap();
    let path = device.path.with_extension("json");
    device.client.export_diagnostics(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.to_lowercase().contains("canary"), "{text}");
    assert!(text.contains("\"batches\":1"));
    device.client.export_unsent(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    for part in ["Canary Ltd", "Canary prose", "canary-tag"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn a_panic_in_a_transaction_leaves_nothing_behind() {
    let device = Device::new("ada");
    let client = device.client.clone();
    let panicked = std::thread::spawn(move || {
        client.transaction::<()>(|tx| {
            tx.create("account", Edits::new().set("name", "Acme"))?;
            panic!("the app fails in the middle");
        })
    });
    assert!(panicked.join().is_err());
    assert!(device.client.unsent().unwrap().is_empty());
    device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
}
