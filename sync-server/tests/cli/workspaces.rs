//! `workspace create` and `list`.

use crate::operator::Operator;

#[test]
fn a_new_workspace_has_the_sales_policy_unless_told_otherwise() {
    let operator = Operator::new();
    operator.run(&["workspace", "create", "field"]).ok();
    operator.run(&["workspace", "create", "club", "--policy", "open"]).ok();
    assert_eq!(operator.run(&["workspace", "list"]).ok(), "club\nfield\n");
    let json = operator.run(&["workspace", "list", "--json"]).ok();
    assert!(json.contains("\"field\""), "{json}");
    let shown = operator.run(&["policy", "show", "--workspace", "field"]).ok();
    assert!(shown.contains("[role.rep]"), "{shown}");
    let shown = operator.run(&["policy", "show", "--workspace", "club"]).ok();
    assert!(shown.contains("[role.member]"), "{shown}");
}

#[test]
fn what_is_wrong_with_a_policy_or_a_name_is_said_and_nothing_is_made() {
    let operator = Operator::new();
    let policy = operator.file("mine.toml", "version = 1\nsurprise = true\n");
    let error = operator.run(&["workspace", "create", "field", "--policy", &policy]).input_error();
    assert!(error.contains("mine.toml:2"), "{error}");
    assert_eq!(operator.run(&["workspace", "create", "Field"]).status, 2);
    assert_eq!(operator.run(&["workspace", "list"]).ok(), "");
    operator.run(&["workspace", "create", "field"]).ok();
    let error = operator.run(&["workspace", "create", "field"]).input_error();
    assert!(error.contains("exists already"), "{error}");
    let error = operator.run(&["member", "list", "--workspace", "other"]).input_error();
    assert!(error.contains("sync-server workspace create other"), "{error}");
}

#[test]
fn a_workspace_that_a_crash_left_unfinished_is_none_and_can_be_made() {
    let operator = Operator::new();
    operator.run(&["workspace", "create", "first"]).ok();
    let folder = operator.data().join("workspaces");
    std::fs::write(folder.join(".field.new"), "half").unwrap();
    assert_eq!(operator.run(&["workspace", "list"]).ok(), "first\n");
    operator.run(&["workspace", "create", "field"]).ok();
    let mut left: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["field.db", "first.db"]);
}

#[test]
fn every_command_explains_itself() {
    let operator = Operator::new();
    for command in [
        &["workspace"][..],
        &["workspace", "create"],
        &["member", "add"],
        &["member", "set"],
        &["member", "password"],
        &["device", "revoke"],
        &["policy", "check"],
        &["policy", "set"],
        &["explain"],
        &["simulate"],
        &["audit", "verify"],
        &["audit", "export"],
        &["audit", "head"],
        &["token"],
    ] {
        let help = operator.run(&[command, &["--help"]].concat()).ok();
        assert!(help.contains("Usage:") && help.lines().count() < 45, "{help}");
    }
}
