//! `device list` and `revoke`.

use std::sync::Arc;

use crdt_core::id::{DeviceId, Lease, MemberId, ReplicaId};
use crdt_core::time::Timestamp;
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::store::{ReplicaRow, Store, write};

use crate::operator::{Operator, WORKSPACE, alone};

/// A replica that was here before the server was started, as its row says.
pub fn was_here(operator: &Operator, member: &str, n: u8) {
    let _alone = alone();
    let opened = SqliteStore::open(&operator.database(), SqliteOptions::default()).unwrap();
    let store: Arc<dyn Store> = Arc::new(opened);
    let row = ReplicaRow {
        id: ReplicaId([n; 12]),
        member: member.parse::<MemberId>().unwrap(),
        lease: Lease([1; 16]),
        previous_lease: None,
        scopes: Vec::new(),
        previous_scopes: Vec::new(),
        last_receipt: 0,
        is_met: true,
        last_seen: Timestamp::from_millis(1_800_000_000_000 + i64::from(n)),
        device: DeviceId([n; 16]),
        device_name: format!("Phone {n}"),
    };
    write(&*store, |tx| tx.put_replica(&row)).unwrap();
}

#[test]
fn devices_are_listed_and_shut_out_with_a_server_and_without() {
    for is_live in [false, true] {
        let mut operator = Operator::with_workspace();
        let (ada, ben) = (operator.add("Ada", "admin"), operator.add("Ben", "rep"));
        was_here(&operator, &ada, 1);
        was_here(&operator, &ben, 2);
        if is_live {
            operator.start();
        }
        let devices = operator.json(&["device", "list"]);
        assert_eq!(devices[0]["member_name"], "Ben");
        assert_eq!(devices[1]["name"], "Phone 1");
        let of_ada = operator.json(&["device", "list", "--member", &ada]);
        assert_eq!(of_ada.as_array().unwrap().len(), 1);
        let device = devices[0]["device"].as_str().unwrap();
        operator.on(&["device", "revoke", device]).ok();
        // Twice is as good as once.
        operator.on(&["device", "revoke", device]).ok();
        let table = operator.on(&["device", "list"]).ok();
        assert!(table.lines().nth(1).unwrap().ends_with("revoked"), "{table}");
        assert!(table.lines().nth(2).unwrap().ends_with("active"), "{table}");
        let audit = operator.on(&["audit", "export"]).ok();
        assert!(audit.contains("device_revoked") && audit.contains(device), "{audit}");
    }
}

#[test]
fn a_device_that_was_never_here_is_not_taken_for_one_that_is_shut_out() {
    for operator in Operator::with_and_without_a_server() {
        let error = operator.on(&["device", "revoke", &"ab".repeat(16)]).input_error();
        assert!(error.contains("device list"), "{error}");
        let error = operator.on(&["device", "revoke", "a phone"]);
        assert_eq!(error.status, 2);
        assert!(error.err.contains("32 hexadecimal digits"), "{error:?}");
    }
}

#[test]
fn a_device_that_was_shut_out_stays_out_when_an_older_copy_of_the_workspace_is_put_back() {
    let operator = Operator::with_workspace();
    let ada = operator.add("Ada", "admin");
    was_here(&operator, &ada, 1);
    let older = std::fs::read(operator.database()).unwrap();
    let device = DeviceId([1; 16]).to_string();
    operator.on(&["device", "revoke", &device]).ok();

    std::fs::write(operator.database(), older).unwrap();
    assert_eq!(operator.json(&["device", "list"])[0]["revoked"], true);
    let audit = operator.on(&["audit", "export"]).ok();
    assert!(audit.contains("device_revoked") && audit.contains(&device), "{audit}");
}

#[test]
fn a_workspace_whose_ledger_is_damaged_is_not_opened() {
    let operator = Operator::with_workspace();
    let ada = operator.add("Ada", "admin");
    was_here(&operator, &ada, 1);
    operator.on(&["device", "revoke", &DeviceId([1; 16]).to_string()]).ok();
    let ledger = operator.data().join("ledgers").join(format!("{WORKSPACE}.ledger"));
    let mut bytes = std::fs::read(&ledger).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&ledger, bytes).unwrap();
    let error = operator.on(&["device", "list"]).machine_error();
    assert!(error.contains("field.ledger is damaged at byte 0"), "{error}");
}
