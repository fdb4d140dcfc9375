//! Advice: the server's policy, asked on the device. What it denies is refused before it is stored, with the
//! server's own reasons, and sent anyway when the user insists.

use client_sdk::{AccessStatus, EditError, Edits, NotKnown, Permission, QueryError, RecordId};
use crdt_core::policy::{Action, Denial, OPEN, SALES, Standing, Why};
use crdt_core::protocol::Welcome;

use crate::harness::{Device, NOON, Relay, member, welcome};

/// What a server says to this device's user as a member with a role and territories.
fn granting(device: &Device, role: &str, territories: &[&str]) -> Welcome {
    let standing = Standing {
        role: Some(role.to_owned()),
        territories: territories.iter().map(|&name| name.to_owned()).collect(),
        ..Standing::unlisted(device.client.member())
    };
    Welcome { policy: Some(SALES.to_owned()), standing, ..welcome(device, NOON) }
}

/// A device whose user is a rep of the west, and the server.
fn rep() -> (Device, Relay) {
    let device = Device::new("bob");
    device.client.apply_welcome(&granting(&device, "rep", &["west"]), 0).unwrap();
    (device, Relay::default())
}

/// A record that somebody else made, on the server and on the device; others are named by others.
fn made(
    relay: &mut Relay,
    device: &Device,
    author: &'static str,
    entity: &str,
    edits: Edits,
) -> RecordId {
    let author = Device::new(author);
    relay.give_all(&author);
    let id = author.client.create(entity, edits).unwrap();
    relay.accept_all(&author);
    relay.give_all(device);
    id
}

fn made_by_ada(relay: &mut Relay, device: &Device, entity: &str, edits: Edits) -> RecordId {
    made(relay, device, "ada", entity, edits)
}

fn made_by_eve(relay: &mut Relay, device: &Device, entity: &str, edits: Edits) -> RecordId {
    made(relay, device, "eve", entity, edits)
}

fn account(territory: &str) -> Edits {
    Edits::new().set("name", "Acme").set("territory", territory)
}

fn why(permission: &Permission) -> Option<Why> {
    match permission {
        Permission::Denied(denial) => Some(denial.why),
        _ => None,
    }
}

fn denials<T: std::fmt::Debug>(result: Result<T, EditError>) -> Vec<Denial> {
    match result {
        Err(EditError::Forbidden { denials }) => denials,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_form_learns_offline_what_may_be_written_and_why_the_rest_may_not() {
    let (mut device, mut relay) = rep();
    let west = made_by_ada(&mut relay, &device, "account", account("west"));
    let east = made_by_eve(&mut relay, &device, "account", account("east"));
    device.reopen().unwrap();
    let can = |action, id, field| device.client.can(action, id, field).unwrap();

    let Permission::Allowed { rule } = can(Action::Update, west, Some("phone")) else {
        panic!("a rep may write a phone number of the territory")
    };
    assert_eq!(rule.role, "rep");
    let limit = can(Action::Update, west, Some("credit_limit"));
    assert_eq!(why(&limit), Some(Why::SectionNotGranted));
    assert!(!limit.is_offered());
    assert_eq!(why(&can(Action::Transfer, west, None)), Some(Why::NotGranted));
    assert_eq!(why(&can(Action::Update, east, Some("phone"))), Some(Why::NotInScope));
    assert!(can(Action::Delete, west, None).is_offered());

    let fields = device.client.permissions(west).unwrap();
    assert_eq!(fields.len(), device.client.schema().entity("account").unwrap().fields.len());
    let greyed: Vec<&str> = fields
        .iter()
        .filter(|(_, permission)| !permission.is_offered())
        .map(|(field, _)| field.as_str())
        .collect();
    assert_eq!(greyed, ["credit_limit", "payment_terms_days"]);
}

#[test]
fn making_records_is_asked_for_by_entity_and_field() {
    let (device, _) = rep();
    let can = |entity, field| device.client.can_create(entity, field).unwrap();
    assert!(matches!(can("account", None), Permission::Allowed { .. }));
    assert!(matches!(can("account", Some("tags")), Permission::Allowed { .. }));
    assert_eq!(why(&can("account", Some("credit_limit"))), Some(Why::SectionNotGranted));
    assert_eq!(why(&can("product", None)), Some(Why::NotGranted));
}

#[test]
fn what_is_not_there_cannot_be_asked_about() {
    let (device, _) = rep();
    let id = device.client.create("account", account("west")).unwrap();
    let nobody = RecordId::from_source_key("account", "nobody");
    let asked = device.client.can(Action::Read, nobody, None);
    assert!(matches!(asked, Err(QueryError::UnknownRecord(id)) if id == nobody));
    let asked = device.client.can(Action::Update, id, Some("colour"));
    assert!(matches!(asked, Err(QueryError::UnknownField { field, .. }) if field == "colour"));
    let asked = device.client.can_create("spaceship", None);
    assert!(matches!(asked, Err(QueryError::UnknownEntity { entity }) if entity == "spaceship"));
}

#[test]
fn a_forbidden_transaction_is_refused_with_every_reason_and_leaves_nothing() {
    let (device, mut relay) = rep();
    let west = made_by_ada(&mut relay, &device, "account", account("west"));
    let east = made_by_eve(&mut relay, &device, "account", account("east"));
    let attempt = device.client.transaction(|tx| {
        tx.update(west, Edits::new().set("phone", "123 4567").set("payment_terms_days", 60))?;
        tx.update(east, Edits::new().set("phone", "123 4567"))?;
        tx.create("product", Edits::new().set("name", "Free lunch"))
    });
    let told: Vec<(Action, Why, Option<String>)> =
        denials(attempt).into_iter().map(|d| (d.action, d.why, d.field)).collect();
    assert!(told.contains(&(
        Action::Update,
        Why::SectionNotGranted,
        Some("payment_terms_days".to_owned())
    )));
    assert!(told.contains(&(Action::Read, Why::NotInScope, None)));
    assert!(told.contains(&(Action::Create, Why::NotGranted, None)));
    assert!(device.client.unsent().unwrap().is_empty());
    assert!(device.client.get(west).unwrap().unwrap().value("phone").is_null());
    assert!(device.client.watch().take().is_none());
}

#[test]
fn a_user_who_insists_sends_it_and_the_server_decides() {
    let (device, mut relay) = rep();
    let west = made_by_ada(&mut relay, &device, "account", account("west"));
    let raise = || Edits::new().set("payment_terms_days", 60);
    denials(device.client.update(west, raise()));
    device.client.transaction_allowing_dispute(|tx| tx.update(west, raise())).unwrap();
    let sent = device.client.outbox(0, 9, usize::MAX).unwrap();
    assert_eq!((sent.len(), sent[0].policy_version), (1, 1));
    let refused = relay.refuse(&device, sent[0].id, "forbidden");
    device.client.apply_receipts(&[refused]).unwrap();
    assert_eq!(device.client.disputes().unwrap().len(), 1);
}

#[test]
fn whoever_makes_a_record_owns_it_until_it_has_an_owner() {
    let (device, _) = rep();
    let mine = device.client.create("account", Edits::new().set("name", "Mine")).unwrap();
    device.client.update(mine, Edits::new().set("phone", "123 4567")).unwrap();
    // Giving it away would put it out of reach.
    let away = Edits::new().set("owner", RecordId::from(member("ada")));
    let told = denials(device.client.update(mine, away));
    assert_eq!((told[0].action, told[0].why), (Action::Transfer, Why::NotGranted));
    // A record that is new may belong to anybody whom the member may make records for.
    device.client.create("account", account("west")).unwrap();
    let elsewhere = account("east").set("owner", RecordId::from(member("ada")));
    let told = denials(device.client.create("account", elsewhere));
    assert!(told.iter().all(|d| (d.action, d.why) == (Action::Create, Why::NotInScope)));
}

#[test]
fn children_are_where_their_parent_is_also_when_it_moves() {
    let (device, mut relay) = rep();
    let west = made_by_ada(&mut relay, &device, "account", account("west"));
    let person = Edits::new().set("last_name", "Roe").set("account", west);
    let person = made_by_eve(&mut relay, &device, "contact", person);
    let call = |number: &str| Edits::new().add("phones", number);
    device.client.update(person, call("123 4567")).unwrap();
    relay.accept_all(&device);

    // Somebody moves the account; the contact has not changed.
    let max = Device::new("max");
    relay.give_all(&max);
    max.client.update(west, Edits::new().set("territory", "east")).unwrap();
    relay.accept_all(&max);
    relay.give_all(&device);
    let told = denials(device.client.update(person, call("765 4321")));
    assert_eq!((told[0].action, told[0].why), (Action::Read, Why::NotInScope));
    let asked = device.client.can(Action::Update, person, Some("phones")).unwrap();
    assert_eq!(why(&asked), Some(Why::NotInScope));
}

#[test]
fn a_move_of_an_account_is_judged_for_what_hangs_on_it_in_the_same_transaction() {
    let device = Device::new("bob");
    let mut relay = Relay::default();
    let welcome = granting(&device, "manager", &[]);
    let standing = Standing { region: Some("west".to_owned()), ..welcome.standing.clone() };
    device.client.apply_welcome(&Welcome { standing, ..welcome }, 0).unwrap();
    let west = made_by_ada(&mut relay, &device, "account", account("west"));
    let person = Edits::new().set("last_name", "Roe").set("account", west);
    let person = made_by_eve(&mut relay, &device, "contact", person);
    let both = |territory: &str| {
        device.client.transaction(|tx| {
            tx.update(person, Edits::new().add("phones", "123 4567"))?;
            tx.update(west, Edits::new().set("territory", territory))
        })
    };
    let told = denials(both("east"));
    let moved: Vec<&str> = told
        .iter()
        .filter(|denial| (denial.action, denial.why) == (Action::Transfer, Why::NotInScope))
        .map(|denial| denial.entity.as_str())
        .collect();
    assert_eq!(moved, ["account", "contact"]);
    both("west").unwrap();
}

#[test]
fn a_record_whose_parent_is_elsewhere_is_taken_to_stand_where_it_could_have_come_from() {
    let (device, mut relay) = rep();
    let absent = RecordId::from_source_key("account", "absent");
    let person = Edits::new().set("last_name", "Roe").set("account", absent);
    let person = made_by_eve(&mut relay, &device, "contact", person);
    assert!(device.client.can(Action::Update, person, Some("title")).unwrap().is_offered());
    device.client.update(person, Edits::new().set("title", "Buyer")).unwrap();
    // Whoever has no scope that contacts come from is told so.
    device.client.apply_welcome(&granting(&device, "auditor", &[]), 0).unwrap();
    denials(device.client.update(person, Edits::new().set("title", "Seller")));
}

#[test]
fn a_policy_that_this_build_cannot_read_is_kept_reported_and_not_used() {
    let (mut device, mut relay) = rep();
    let east = made_by_eve(&mut relay, &device, "account", account("east"));
    let newer = format!("{SALES}\n[role.rep.telepathy]\nrange = 7\n");
    let newer =
        Welcome { policy: Some(newer), policy_version: 8, ..granting(&device, "rep", &["west"]) };
    device.client.apply_welcome(&newer, 0).unwrap();
    for _ in 0..2 {
        let asked = device.client.can(Action::Update, east, Some("phone")).unwrap();
        assert_eq!(asked, Permission::Unknown(NotKnown::PolicyUnreadable));
        let AccessStatus { policy_version, policy_problem, .. } = device.client.status().access;
        assert_eq!(policy_version, 8);
        assert!(policy_problem.is_some_and(|problem| problem.contains("telepathy")));
        assert_eq!(device.client.hello(String::new()).unwrap().policy_version, 8);
        device.reopen().unwrap();
    }
    device.client.update(east, Edits::new().set("phone", "123 4567")).unwrap();
}

#[test]
fn a_policy_that_is_in_force_and_did_not_come_is_asked_for() {
    let (device, _) = rep();
    assert_eq!(device.client.hello(String::new()).unwrap().policy_version, 1);
    let silent = Welcome { policy: None, ..granting(&device, "rep", &["west"]) };
    device.client.apply_welcome(&silent, 0).unwrap();
    assert_eq!(device.client.hello(String::new()).unwrap().policy_version, 1, "it is the same");
    let other = Welcome { policy_version: 2, ..silent };
    device.client.apply_welcome(&other, 0).unwrap();
    assert_eq!(device.client.hello(String::new()).unwrap().policy_version, 0);
    let asked = device.client.can_create("product", None).unwrap();
    assert_eq!(asked, Permission::Unknown(NotKnown::NoPolicy));
}

#[test]
fn a_new_standing_counts_from_its_welcome_on() {
    let (device, _) = rep();
    let product = || Edits::new().set("name", "Ladder");
    denials(device.client.create("product", product()));
    device.client.apply_welcome(&granting(&device, "admin", &[]), 0).unwrap();
    let ladder = device.client.create("product", product()).unwrap();
    let mut off = granting(&device, "admin", &[]);
    off.standing.active = false;
    device.client.apply_welcome(&off, 0).unwrap();
    let asked = device.client.can(Action::Update, ladder, Some("name")).unwrap();
    assert_eq!(why(&asked), Some(Why::Inactive));
}

#[test]
fn where_everybody_may_do_everything_nothing_is_denied() {
    let device = Device::new("bob");
    let open = Welcome { policy: Some(OPEN.to_owned()), ..welcome(&device, NOON) };
    device.client.apply_welcome(&open, 0).unwrap();
    let id = device.client.create("account", account("west").set("payment_terms_days", 9)).unwrap();
    device.client.update(id, account("east")).unwrap();
    device.client.delete(id).unwrap();
    device.client.restore(id).unwrap();
}
