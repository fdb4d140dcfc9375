//! `member`: the directory, over the channel and without it.

use crate::operator::Operator;

#[test]
fn members_are_added_changed_and_listed_with_a_server_and_without() {
    for operator in Operator::with_and_without_a_server() {
        let admin = operator.add("Ada", "admin");
        let rep = operator
            .on(&["member", "add", "--name", "Ben", "--role", "rep", "--territory", "west"])
            .ok();
        let rep = rep.trim();
        operator.on(&["member", "set", rep, "--territory", "north", "--territory", "east"]).ok();
        operator.on(&["member", "set", rep, "--team", "key", "--region", "americas"]).ok();
        let members = operator.json(&["member", "list"]);
        assert_eq!(members[0]["id"], *admin);
        assert_eq!(members[0]["role"], "admin");
        assert_eq!(members[1]["name"], "Ben");
        assert_eq!(members[1]["territories"], serde_json::json!(["east", "north"]));
        assert_eq!(members[1]["region"], "americas");
        let table = operator.on(&["member", "list"]).ok();
        assert!(table.starts_with("id ") && table.contains("east north"), "{table}");
        operator.on(&["member", "set", rep, "--territory", ""]).ok();
        assert_eq!(operator.json(&["member", "list"])[1]["territories"], serde_json::json!([]));
        operator.on(&["member", "disable", rep]).ok();
        assert_eq!(operator.json(&["member", "list"])[1]["active"], false);
        operator.on(&["member", "enable", rep]).ok();
        assert_eq!(operator.json(&["member", "list"])[1]["active"], true);
    }
}

#[test]
fn a_workspace_without_an_administrator_is_pointed_out_and_not_refused() {
    let operator = Operator::with_workspace();
    let said = operator.on(&["member", "add", "--name", "Ben", "--role", "rep"]);
    assert!(said.err.contains("warning: no member may administer"), "{said:?}");
    assert!(said.err.contains("--role admin"), "{said:?}");
    let id = said.ok();
    let said = operator.on(&["member", "set", id.trim(), "--role", "admin"]);
    assert_eq!(said.err, "");
    let said = operator.on(&["member", "add", "--name", "Cyd", "--role", "rep"]);
    assert_eq!(said.err, "");
}

#[test]
fn the_last_administrator_stays_also_for_the_operator_or_comes_back() {
    // The operator is above the directory: nothing stops it, and it can undo what it did.
    let operator = Operator::with_workspace();
    let ada = operator.add("Ada", "admin");
    operator.on(&["member", "disable", &ada]).ok();
    operator.on(&["member", "enable", &ada]).ok();
    assert_eq!(operator.json(&["member", "list"])[0]["active"], true);
}

#[test]
fn what_cannot_be_is_said_with_what_to_do_by_a_server_too() {
    for operator in Operator::with_and_without_a_server() {
        let error =
            operator.on(&["member", "add", "--name", "Ben", "--role", "king"]).input_error();
        assert!(error.contains("no role `king`") && error.contains("rep"), "{error}");
        let nobody = "018f0000-0000-7000-8000-000000000001";
        let error = operator.on(&["member", "set", nobody, "--role", "rep"]).input_error();
        assert!(error.contains(nobody) && error.contains("member list"), "{error}");
        let error = operator.on(&["member", "disable", nobody]).input_error();
        assert!(error.contains("no member"), "{error}");
        let error = operator.on(&["member", "add", "--role", "rep"]).input_error();
        assert!(error.contains("--name"), "{error}");
        operator.on(&["member", "add", "--name", "Ben", "--role", "rep", "--id", nobody]).ok();
        let again = ["member", "add", "--name", "Ben", "--role", "rep", "--id", nobody];
        let error = operator.on(&again).input_error();
        assert!(error.contains("already"), "{error}");
        assert_eq!(operator.on(&["member", "set", nobody]).status, 2);
        let error =
            operator.on(&["member", "set", nobody, "--email", "not an address"]).input_error();
        assert!(error.contains("email"), "{error}");
        assert_eq!(operator.json(&["member", "list"]).as_array().unwrap().len(), 1);
    }
}

#[test]
fn an_identity_names_the_same_member_everywhere() {
    let [one, other] = Operator::with_and_without_a_server();
    let add = ["member", "add", "--name", "Ada", "--role", "admin"];
    let identity = ["--identity", "https://id.example.com|ada"];
    let ids: Vec<String> = [one, other]
        .iter()
        .map(|operator| operator.on(&[&add[..], &identity].concat()).ok())
        .collect();
    assert_eq!(ids[0], ids[1]);
    let operator = Operator::with_workspace();
    assert_eq!(operator.on(&[&add[..], &["--identity", "nobody"]].concat()).status, 2);
}

#[test]
fn passwords_come_from_standard_input_and_are_never_shown() {
    for operator in Operator::with_and_without_a_server() {
        let added = operator.feed(
            &[
                "member",
                "add",
                "--name",
                "Ada",
                "--role",
                "admin",
                "--login",
                "ada",
                "--password-stdin",
            ],
            "correct horse battery\n",
        );
        let ada = added.ok();
        let password = ["member", "password", ada.trim(), "--login", "ada", "--password-stdin"];
        operator.feed(&password, "another horse battery\r\n").ok();
        let said = operator.feed(&password, "short\n");
        assert!(!format!("{said:?}").contains("short\""), "{said:?}");
        let error = said.input_error();
        assert!(error.contains("password"), "{error}");
        assert!(operator.feed(&password, "\n").input_error().contains("standard input"));
        let ben = operator.add("Ben", "rep");
        let taken = ["member", "password", &ben, "--login", "ADA", "--password-stdin"];
        assert!(operator.feed(&taken, "correct horse battery\n").input_error().contains("login"));
        let audit = operator.on(&["audit", "export"]).ok();
        assert_eq!(audit.matches("password_set").count(), 2, "{audit}");
        assert!(!audit.contains("horse"));
    }
}
