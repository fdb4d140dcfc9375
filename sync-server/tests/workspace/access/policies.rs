//! Policies put in force while the workspace serves, tried before, and explained.

use crdt_core::id::Section;
use crdt_core::policy::{Action, Decision, Policy, SALES, Why};
use crdt_core::schema::Schema;
use sync_server::store::sqlite::SqliteOptions;
use sync_server::workspace::PolicyError;

use crate::support::device::{Device, put};
use crate::support::sales::{
    ADMIN, MANAGER_WEST, NOBODY, REP_EAST, REP_WEST, account, codes, device, office,
};
use crate::support::world::{World, member};

/// The sales policy's next version, with a rep's finance section as the member may see it.
fn open_books() -> String {
    let text = SALES.replace("version = 1", "version = 2");
    let rule = "actions = [\"read\", \"create\", \"update\", \"delete\"]\n\n# Work is passed";
    assert!(text.contains(rule));
    text.replace(rule, &rule.replace("\n\n#", "\nsections = \"*\"\n\n#"))
}

#[test]
fn a_new_policy_is_in_force_at_once_and_is_told_to_devices() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut rep = device(&mut world, REP_WEST);
    let batch = rep.edit_section(account, "finance", &[put("credit_limit", "1.00 USD")]);
    assert_eq!(codes(&mut world, &mut rep, batch), ["forbidden"]);
    drop(world.workspace.take_aftermath());
    world.workspace.set_policy(World::now(), &open_books(), "policy.toml").unwrap();
    let told = world.workspace.take_aftermath().access_changed;
    assert_eq!(told.len(), world.workspace.members().count(), "everybody hears of it");
    world.settle();
    let mut rep = world.device_of(90, member(REP_WEST));
    let lease = world.lease();
    let greeting = world.workspace.hello(
        World::now(),
        lease,
        rep.member,
        &Device::new(91, rep.member).hello(),
    );
    let welcome = greeting.unwrap().welcome;
    assert_eq!((welcome.policy_version, welcome.policy), (2, Some(open_books())));
    assert_eq!(welcome.standing.role.as_deref(), Some("rep"));
    world.sync(&mut rep);
    let batch = rep.edit_section(account, "finance", &[put("credit_limit", "1.00 USD")]);
    let receipt = world.push(&mut rep, batch);
    assert_eq!(receipt.policy_version, 2);
    assert!(matches!(receipt.outcome, crdt_core::protocol::Outcome::Accepted { .. }));
    let world = world.reopen(SqliteOptions::default());
    assert_eq!(world.workspace.policy().version(), 2);
}

#[test]
fn a_device_that_knows_the_policy_is_not_sent_it_again() {
    let mut world = office();
    let rep = device(&mut world, REP_WEST);
    let lease = world.lease();
    let greeting = world.workspace.hello(World::now(), lease, rep.member, &rep.hello()).unwrap();
    assert_eq!((greeting.welcome.policy_version, greeting.welcome.policy), (1, None));
}

#[test]
fn a_policy_with_problems_or_without_a_greater_version_is_refused() {
    let mut world = office();
    let set = world.workspace.set_policy(World::now(), SALES, "policy.toml");
    assert!(matches!(set, Err(PolicyError::NotNewer { given: 1, in_force: 1 })), "{:?}", set.err());
    let broken = open_books().replace("\"line_item\"", "\"line_items\"");
    let set = world.workspace.set_policy(World::now(), &broken, "mine.toml");
    let Err(PolicyError::Problems(problems)) = set else { panic!() };
    assert!(problems.to_string().contains("mine.toml:"), "{problems}");
    assert_eq!(world.workspace.policy().version(), 1);
}

#[test]
fn what_a_policy_would_change_is_what_it_changes() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    for _ in 0..3 {
        account(&mut world, &mut admin, "west");
    }
    let text = open_books().replace("on = [\"own\", \"region\"]", "on = [\"own\"]");
    let policy = Policy::parse(&text, "policy.toml", Schema::builtin()).unwrap();
    let deltas = world.workspace.simulate(&policy).unwrap();
    let of = |n: u8| deltas.iter().find(|delta| delta.member == member(n)).unwrap();
    assert_eq!(deltas.len(), world.workspace.members().count());
    assert_eq!((of(REP_WEST).records_gained, of(REP_WEST).records_lost), (0, 0));
    assert!(of(REP_WEST).bytes_gained > 0, "the finance sections");
    assert_eq!((of(MANAGER_WEST).records_gained, of(MANAGER_WEST).records_lost), (0, 3));
    for n in [ADMIN, REP_EAST, NOBODY] {
        let delta = of(n);
        assert_eq!((delta.bytes_gained, delta.bytes_lost), (0, 0), "{}", delta.name);
    }
    let mut manager = device(&mut world, MANAGER_WEST);
    let before = manager.documents.len();
    world.workspace.set_policy(World::now(), &text, "policy.toml").unwrap();
    world.settle();
    world.sync(&mut manager);
    world.assert_same(&manager);
    assert_eq!(manager.documents.len(), before - 6, "three records, each with its section");
}

#[test]
fn an_explanation_names_the_rule_or_what_is_missing() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let record = account(&mut world, &mut admin, "west");
    let explain = |n: u8| world.workspace.explain(member(n), record).unwrap().unwrap();
    let rep = explain(REP_WEST);
    assert_eq!((rep.role.as_deref(), rep.entity.as_str()), (Some("rep"), "account"));
    assert!(rep.scopes.contains(&"territory:west".to_owned()));
    assert!(rep.shown_by.iter().any(|name| name.starts_with("territory:west")));
    let decision = |of: &sync_server::workspace::Explanation, action, section: &str| {
        let section: Section = section.parse().unwrap();
        let mut questions = of.questions.iter();
        let found = questions.find(|q| q.action == action && q.section == section);
        found.unwrap().decision.clone()
    };
    let Decision::Allow(rule) = decision(&rep, Action::Update, "main") else { panic!() };
    assert!(SALES.lines().nth(rule.line - 1).unwrap().contains("[[role.rep.allow]]"));
    let why = |of, action, section| match decision(of, action, section) {
        Decision::Deny(denial) => denial.why,
        Decision::Allow(rule) => panic!("{rule}"),
    };
    assert_eq!(why(&rep, Action::Update, "finance"), Why::SectionNotGranted);
    assert_eq!(why(&rep, Action::Erase, "main"), Why::NotGranted);
    let east = explain(REP_EAST);
    assert!(east.shown_by.is_empty());
    assert_eq!(why(&east, Action::Read, "main"), Why::NotInScope);
    assert_eq!(why(&explain(NOBODY), Action::Read, "main"), Why::NoRole);
    let missing = crdt_core::id::RecordId::new(World::now(), [1; 10]);
    assert_eq!(world.workspace.explain(member(ADMIN), missing).unwrap(), None);
}
