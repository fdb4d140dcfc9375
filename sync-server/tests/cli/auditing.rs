//! `audit`: everything that operators do leaves an entry, and nobody takes one away unnoticed.

use rusqlite::Connection;

use crate::operator::Operator;

#[test]
fn every_command_that_changes_something_leaves_an_entry_and_the_chain_stays_sound() {
    for operator in Operator::with_and_without_a_server() {
        let ada = operator.add("Ada", "admin");
        operator.on(&["member", "set", &ada, "--region", "americas"]).ok();
        let ben = operator.add("Ben", "rep");
        operator.on(&["member", "disable", &ben]).ok();
        operator.on(&["member", "enable", &ben]).ok();
        let acts: Vec<String> = operator
            .on(&["audit", "export"])
            .ok()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|line| line["batch"].is_null())
            .map(|line| line["what"].as_str().unwrap().to_owned())
            .collect();
        let expected = [
            "schema_put",
            "policy_put",
            "member_added",
            "member_set",
            "member_added",
            "member_disabled",
            "member_enabled",
        ];
        assert_eq!(acts, expected);
        let sound = operator.on(&["audit", "verify"]).ok();
        assert!(sound.starts_with("OK: "), "{sound}");
        assert_eq!(operator.json(&["audit", "verify"])["sound"], true);
    }
}

#[test]
fn values_are_not_in_the_audit() {
    let operator = Operator::with_workspace();
    operator
        .on(&[
            "member",
            "add",
            "--name",
            "Canary Person",
            "--role",
            "rep",
            "--email",
            "canary@example.com",
            "--territory",
            "canary",
        ])
        .ok();
    for format in ["jsonl", "csv"] {
        let text = operator.on(&["audit", "export", "--format", format]).ok();
        assert!(text.contains("territories") && !text.to_lowercase().contains("canary"), "{text}");
    }
}

#[test]
fn a_saved_head_finds_what_the_chain_alone_cannot() {
    let operator = Operator::with_workspace();
    operator.add("Ada", "admin");
    let head = operator.on(&["audit", "head"]).ok();
    let head = head.trim();
    operator.on(&["audit", "verify", "--head", head]).ok();
    operator.add("Ben", "rep");
    operator.on(&["audit", "verify", "--head", head]).ok();
    let newer = operator.on(&["audit", "head"]).ok();
    let entries: i64 = newer.trim().split_once('@').unwrap().1.parse().unwrap();
    let connection = Connection::open(operator.database()).unwrap();
    connection.execute("DELETE FROM audit WHERE n = ?1", [entries]).unwrap();
    let said = operator.on(&["audit", "verify"]);
    assert!(said.out.contains(&format!("names entry {entries}")), "{said:?}");
    assert_eq!(said.status, 1);
    let sql =
        "UPDATE audit_head SET (n, hash) = (SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1)";
    connection.execute(sql, []).unwrap();
    operator.on(&["audit", "verify"]).ok();
    let said = operator.on(&["audit", "verify", "--head", newer.trim()]);
    assert!(said.out.contains("NOT SOUND: the audit was truncated"), "{said:?}");
    assert_eq!(said.status, 1);
    let json = operator.on(&["audit", "verify", "--json", "--head", newer.trim()]);
    assert!(json.status == 1 && json.out.contains("\"sound\": false"), "{json:?}");
    assert_eq!(operator.on(&["audit", "verify", "--head", "nonsense"]).status, 2);
}

#[test]
fn a_tampered_entry_is_named_while_the_server_runs() {
    let mut operator = Operator::with_workspace();
    operator.start();
    operator.add("Ada", "admin");
    let connection = Connection::open(operator.database()).unwrap();
    connection.execute("UPDATE audit SET entry = x'0102' WHERE n = 2", []).unwrap();
    let said = operator.on(&["audit", "verify"]);
    assert_eq!(said.out, "NOT SOUND: entry 2 was tampered with\n");
    assert_eq!(said.machine_error(), "");
    assert!(operator.on(&["audit", "export"]).machine_error().contains("entry 2"));
    assert_eq!(operator.on(&["audit", "export", "--from", "3"]).status, 0);
}
