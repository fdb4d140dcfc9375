//! `backup`, `restore` and `recovery`.

use std::path::PathBuf;

use rusqlite::Connection;

use crate::operator::{Operator, WORKSPACE};

/// A path in the operator's folder; whether something is there is the test's business.
fn path(operator: &Operator, name: &str) -> String {
    operator.data().join(name).display().to_string()
}

/// What lies beside the workspace's file.
fn kept_aside(operator: &Operator) -> Vec<PathBuf> {
    let files = std::fs::read_dir(operator.database().parent().unwrap()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut kept: Vec<PathBuf> =
        files.filter(|path| path.to_string_lossy().contains(".replaced-")).collect();
    kept.sort();
    kept
}

fn names(operator: &Operator) -> Vec<String> {
    let members = operator.json(&["member", "list"]);
    let members = members.as_array().unwrap().iter();
    members.map(|line| line["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_backup_is_made_beside_a_server_and_without_one_and_overwrites_nothing() {
    for operator in Operator::with_and_without_a_server() {
        operator.add("Ada", "admin");
        let file = path(&operator, "monday.backup");
        let made = operator.json(&["backup", &file]);
        assert_eq!(made["position"], 1, "{made}");
        let recovery = operator.json(&["recovery"]);
        assert_eq!(recovery["backup"]["position"], 1, "devices are told of it: {recovery}");
        assert!(recovery["restored"].is_null());
        let bytes = std::fs::read(&file).unwrap();
        let again = operator.on(&["backup", &file]).input_error();
        assert!(again.contains("overwrites nothing"), "{again}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
        let head = operator.on(&["audit", "head"]).ok();
        assert_eq!(made["audit"].as_str(), Some(head.trim()));
        let nowhere = path(&operator, "no/such/folder/file");
        assert!(operator.on(&["backup", &nowhere]).machine_error().contains("no/such/folder"));
    }
}

#[test]
fn a_restored_workspace_goes_on_in_a_new_epoch_and_keeps_what_it_replaced() {
    let mut operator = Operator::with_workspace();
    operator.add("Ada", "admin");
    let file = path(&operator, "monday.backup");
    operator.on(&["backup", &file]).ok();
    let before = operator.json(&["recovery"]);
    let ben = operator.add("Ben", "rep");
    operator.on(&["member", "disable", &ben]).ok();
    assert_eq!(names(&operator), ["Ada", "Ben"]);
    operator.start();
    let refused = operator.on(&["restore", &file]).machine_error();
    assert!(refused.contains("stop it first"), "{refused}");
    operator.crash();
    let restored = operator.json(&["restore", &file]);
    assert_eq!(restored["restored"]["position"], 1, "{restored}");
    assert_eq!(restored["restored"]["ended"], 3);
    assert_eq!(restored["restored"]["lost"], 2);
    assert_eq!(names(&operator), ["Ada"]);
    let after = operator.json(&["recovery"]);
    assert_ne!(after["epoch"], before["epoch"]);
    assert_eq!((&after["lost"], &after["returned"]), (&2.into(), &0.into()), "{after}");
    let positions: Vec<u64> = after["missing"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["position"].as_u64().unwrap())
        .collect();
    assert_eq!(positions, [2, 3], "what is missing is listed, not hidden");
    let said = operator.on(&["recovery"]).ok();
    assert!(said.contains("restored to 1") && said.contains("0 of 2 lost batches"), "{said}");
    assert_eq!(after["restored"]["open"], true);
    let closed = operator.json(&["recovery", "--close"]);
    assert_eq!(closed["restored"]["open"], false);
    // The audit says so itself, and is sound over it.
    operator.on(&["audit", "verify"]).ok();
    let audit = operator.on(&["audit", "export"]).ok();
    assert!(audit.lines().last().unwrap().contains("\"restored\""), "{audit}");
    // What was replaced can be put back in turn: nothing is lost by trying.
    let kept = kept_aside(&operator);
    assert_eq!(kept.len(), 1);
    operator.on(&["restore", &kept[0].display().to_string()]).ok();
    assert_eq!(names(&operator), ["Ada", "Ben"]);
    assert_eq!(operator.json(&["recovery"])["lost"], 0);
    operator.start();
    assert_eq!(names(&operator), ["Ada", "Ben"]);
}

#[test]
fn a_device_that_was_shut_out_after_the_backup_stays_shut_out() {
    let operator = Operator::with_workspace();
    let ada = operator.add("Ada", "admin");
    super::devices::was_here(&operator, &ada, 1);
    let file = path(&operator, "monday.backup");
    operator.on(&["backup", &file]).ok();
    let devices = operator.json(&["device", "list"]);
    let device = devices[0]["device"].as_str().unwrap();
    operator.on(&["device", "revoke", device]).ok();
    operator.on(&["restore", &file]).ok();
    // In the file itself, before any server has opened it.
    let connection = Connection::open(operator.database()).unwrap();
    let revoked: i64 =
        connection.query_row("SELECT count(*) FROM revoked", [], |row| row.get(0)).unwrap();
    assert_eq!(revoked, 1);
    drop(connection);
    assert_eq!(operator.json(&["device", "list"])[0]["revoked"], true);
    let recovery = operator.json(&["recovery"]);
    assert_eq!(recovery["devices"][0]["seen_since"], false, "{recovery}");
}

#[test]
fn what_is_no_sound_backup_is_refused_and_the_workspace_is_as_it_was() {
    let operator = Operator::with_workspace();
    operator.add("Ada", "admin");
    let good = path(&operator, "good.backup");
    operator.on(&["backup", &good]).ok();
    let before = std::fs::read(operator.database()).unwrap();
    let bytes = std::fs::read(&good).unwrap();
    let mut torn = bytes.clone();
    torn.truncate(bytes.len() / 2);
    let mut flipped = bytes;
    let middle = flipped.len() / 2;
    // Two pages, so that the beginning of one is among it: what a page leaves free tells nothing.
    flipped[middle..middle + 8_192].fill(0xff);
    for (name, content) in [("torn", torn), ("flipped", flipped), ("text", b"hello".to_vec())] {
        std::fs::write(operator.data().join(name), content).unwrap();
        let said = operator.on(&["restore", &path(&operator, name)]);
        assert_ne!(said.status, 0, "{name}: {said:?}");
    }
    // An audit from which somebody took an entry.
    let forged = path(&operator, "forged");
    std::fs::copy(&good, &forged).unwrap();
    let connection = Connection::open(&forged).unwrap();
    connection.execute("UPDATE audit SET entry = x'0102' WHERE n = 2", []).unwrap();
    drop(connection);
    let said = operator.on(&["restore", &forged]).machine_error();
    assert!(said.contains("entry 2 was tampered with"), "{said}");
    assert!(operator.on(&["restore", &path(&operator, "nothing")]).status != 0);
    assert_eq!(std::fs::read(operator.database()).unwrap(), before);
    assert_eq!(kept_aside(&operator), Vec::<PathBuf>::new());
    let left: Vec<String> = std::fs::read_dir(operator.database().parent().unwrap())
        .unwrap()
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("restore"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "nothing unfinished stays");
    assert_eq!(names(&operator), ["Ada"]);
}

#[test]
fn a_workspace_whose_file_is_gone_or_destroyed_is_restored_all_the_same() {
    for is_gone in [true, false] {
        let operator = Operator::with_workspace();
        operator.add("Ada", "admin");
        let file = path(&operator, "monday.backup");
        operator.on(&["backup", &file]).ok();
        for suffix in ["-wal", "-shm"] {
            let part = format!("{}{suffix}", operator.database().display());
            // Closed databases have none.
            let _ = std::fs::remove_file(part);
        }
        if is_gone {
            std::fs::remove_file(operator.database()).unwrap();
        } else {
            std::fs::write(operator.database(), [7; 20_000]).unwrap();
        }
        let said = operator.on(&["restore", &file]);
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(said.err.contains("cannot be read"), !is_gone, "{said:?}");
        assert_eq!(names(&operator), ["Ada"]);
        assert_eq!(operator.json(&["recovery"])["restored"]["position"], 1);
        assert_eq!(kept_aside(&operator).len(), usize::from(!is_gone));
    }
}

#[test]
fn a_file_that_was_put_back_by_other_means_goes_on_when_the_operator_says_so() {
    for is_live in [false, true] {
        let mut operator = Operator::with_workspace();
        operator.add("Ada", "admin");
        if is_live {
            operator.start();
        }
        let before = operator.json(&["recovery"])["epoch"].clone();
        let confirmed = operator.json(&["restore", "--confirm", "--common", "1"]);
        assert_eq!(confirmed["restored"]["position"], 1);
        let after = operator.json(&["recovery"]);
        assert_ne!(after["epoch"], before);
        assert_eq!(after["restored"]["position"], 1);
        // The server's own writing goes on under a name of its own.
        operator.add("Ben", "rep");
        assert_eq!(names(&operator), ["Ada", "Ben"]);
        assert_eq!(operator.on(&["restore", "--confirm", "file"]).status, 2);
        assert_eq!(operator.on(&["restore"]).status, 2);
        operator.on(&["audit", "verify"]).ok();
    }
    let operator = Operator::new();
    assert!(operator.on(&["restore", "--confirm"]).input_error().contains(WORKSPACE));
}

#[test]
fn a_server_notices_by_itself_that_its_file_was_put_back_and_waits_for_its_operator() {
    let mut operator = Operator::with_workspace();
    operator.add("Ada", "admin");
    let file = path(&operator, "monday.backup");
    operator.on(&["backup", &file]).ok();
    operator.start();
    operator.add("Ben", "rep");
    assert_eq!(operator.json(&["recovery"])["halted"], false);
    operator.crash();
    for suffix in ["-wal", "-shm"] {
        // A crash leaves them; whoever copies a file over the database removes them.
        let _ = std::fs::remove_file(format!("{}{suffix}", operator.database().display()));
    }
    std::fs::copy(&file, operator.database()).unwrap();
    operator.start();
    assert_eq!(operator.json(&["recovery"])["halted"], true);
    assert!(operator.on(&["recovery"]).ok().starts_with("NOBODY IS SERVED"));
    operator.json(&["restore", "--confirm", "--common", "1"]);
    assert_eq!(operator.json(&["recovery"])["halted"], false);
    operator.crash();
    operator.start();
    assert_eq!(operator.json(&["recovery"])["halted"], false, "that was the log before");
}
