//! `policy`, `explain` and `simulate`.

use crdt_core::policy::{OPEN, SALES};

use crate::operator::Operator;

/// A text with another version.
fn version(text: &str, version: u64) -> String {
    let line = text.lines().find(|line| line.starts_with("version")).unwrap();
    text.replacen(line, &format!("version = {version}"), 1)
}

#[test]
fn a_policy_is_checked_put_in_force_and_shown_with_a_server_and_without() {
    for operator in Operator::with_and_without_a_server() {
        let newer = operator.file("newer.toml", &version(SALES, 7));
        operator.run(&["policy", "check", &newer]).ok();
        operator.on(&["policy", "check", &newer]).ok();
        assert_eq!(operator.on(&["policy", "set", &newer]).ok(), "policy version 7 is in force\n");
        assert_eq!(operator.on(&["policy", "show"]).ok().trim(), version(SALES, 7).trim());
        let error = operator.on(&["policy", "set", &newer]).input_error();
        assert!(error.contains("greater than 7"), "{error}");
        let audit = operator.on(&["audit", "export", "--format", "csv"]).ok();
        assert!(audit.contains("policy_put") && audit.contains("version 7"), "{audit}");
        operator.on(&["audit", "verify"]).ok();
    }
}

#[test]
fn every_problem_of_a_policy_is_said_with_its_line_and_the_old_one_stays() {
    for operator in Operator::with_and_without_a_server() {
        let before = operator.on(&["policy", "show"]).ok();
        let text = "version = 9\n[role.rep]\n[[role.rep.allow]]\nentities = [\"spaceship\"]\non = [\"moon\"]\nactions = [\"read\"]\n";
        let bad = operator.file("bad.toml", text);
        for command in [&["policy", "check", &bad], &["policy", "set", &bad]] {
            let error = operator.on(command).input_error();
            assert!(error.contains("bad.toml:4") && error.contains("bad.toml:5"), "{error}");
        }
        assert!(operator.run(&["policy", "check", &bad]).input_error().contains("bad.toml:4"));
        assert_eq!(operator.on(&["simulate", &bad]).status, 2);
        assert!(operator.on(&["policy", "set", "nowhere.toml"]).input_error().contains("nowhere"));
        assert_eq!(operator.on(&["policy", "show"]).ok(), before);
    }
}

#[test]
fn explaining_names_the_rule_that_grants_and_what_is_missing_where_none_does() {
    for operator in Operator::with_and_without_a_server() {
        let admin = operator.add("Ada", "admin");
        let rep = operator.add("Ben", "rep");
        let json = operator.json(&["explain", &admin, &rep]);
        assert_eq!((&json["role"], &json["entity"]), (&"admin".into(), &"member".into()));
        let lines = json["lines"].as_array().unwrap();
        let update = lines.iter().find(|l| l["action"] == "update" && l["section"] == "main");
        assert_eq!(update.unwrap()["allowed"], true);
        assert!(update.unwrap()["because"].as_str().unwrap().contains("rule of line"));
        let text = operator.on(&["explain", &rep, &admin]).ok();
        assert!(text.starts_with("role:     rep\n") && text.contains("denied"), "{text}");
        let nobody = "018f0000-0000-7000-8000-000000000001";
        let error = operator.on(&["explain", nobody, &rep]).input_error();
        assert!(error.contains("no member"), "{error}");
        let error = operator.on(&["explain", &rep, nobody]).input_error();
        assert!(error.contains("no record"), "{error}");
        assert_eq!(operator.on(&["explain", "ada", &rep]).status, 2);
    }
}

#[test]
fn a_simulation_says_what_each_member_would_gain_and_changes_nothing() {
    for operator in Operator::with_and_without_a_server() {
        operator.add("Ada", "admin");
        let before = operator.on(&["policy", "show"]).ok();
        let open = operator.file("open.toml", &version(OPEN, 8));
        let json = operator.json(&["simulate", &open]);
        assert_eq!(json["to"], 8);
        assert_eq!(json["members"][0]["name"], "Ada");
        let text = operator.on(&["simulate", &open]).ok();
        assert!(text.contains("policy version") && text.contains("Ada"), "{text}");
        assert_eq!(operator.on(&["policy", "show"]).ok(), before);
    }
}
