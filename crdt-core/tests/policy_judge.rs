//! Judging a whole deed: which questions it asks, at which place, and how its denials read.

use crdt_core::id::{ActorId, MemberId, Section};
use crdt_core::policy::{Action, Deed, Denial, Placement, Policy, RuleId, Scope, Standing, Why};
use crdt_core::record::{self, Change, DELETED, Op, Scalar, SeedKind, seed};
use crdt_core::schema::Schema;
use crdt_core::time::Timestamp;

/// Each rule stands on a line that its comment names.
const POLICY: &str = "version = 1
default_role = 'clerk'
[role.clerk]
allow = [
    { entities = ['account'], on = ['own'], actions = ['read'] }, # 5
    { entities = ['account'], on = ['own'], actions = ['create'], fields = ['name', 'billing'] }, # 6
    { entities = ['account'], on = ['own'], actions = ['update'], except = ['name', 'billing'] }, # 7
    { entities = ['account'], on = ['own'], actions = ['update'], sections = ['finance'] }, # 8
    { entities = ['account'], on = ['own'], actions = ['delete'] }, # 9
    { entities = ['account'], on = ['own', 'team'], actions = ['transfer'] }, # 10
    { entities = ['lead'], on = ['own'], actions = ['read', 'merge'] }, # 11
]
";

fn policy() -> Policy {
    Policy::parse(POLICY, "policy.toml", Schema::builtin()).unwrap()
}

fn clerk() -> Standing {
    let me = MemberId::from_source_key("member", "me");
    Standing { teams: ["blue".to_owned()].into(), ..Standing::unlisted(me) }
}

fn mine() -> Placement {
    Placement::of([Scope::Owner(clerk().member)])
}

fn of_team(name: &str) -> Placement {
    Placement::of([Scope::Team(name.to_owned())])
}

fn new_account(after: Placement) -> Deed {
    Deed::new("account".to_owned(), None, after)
}

fn edit_of(entity: &str) -> Deed {
    Deed::new(entity.to_owned(), Some(mine()), mine())
}

fn writing(mut deed: Deed, section: &str, fields: &[&str]) -> Deed {
    let section: Section = section.parse().unwrap();
    deed.writes.extend(fields.iter().map(|field| (section.clone(), (*field).to_owned())));
    deed
}

/// The lines of the rules that allow it.
#[track_caller]
fn lines(who: &Standing, deed: &Deed) -> Vec<usize> {
    let rules = policy().judge(who, deed).unwrap();
    assert!(rules.iter().all(|rule| rule.role == "clerk"));
    rules.iter().map(|rule| rule.line).collect()
}

/// What is denied, each as a sentence.
#[track_caller]
fn denials(who: &Standing, deed: &Deed) -> Vec<String> {
    policy().judge(who, deed).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_new_record_is_judged_by_where_it_comes_to_stand() {
    let deed = |after| writing(new_account(after), "main", &["name", "billing.city"]);
    assert_eq!(lines(&clerk(), &deed(mine())), [6]);
    let scope = "is in no scope where a rule of the role allows it";
    assert_eq!(
        denials(&clerk(), &deed(of_team("blue"))),
        [
            format!("create of field `billing.city` of `account` is denied: the record {scope}"),
            format!("create of field `name` of `account` is denied: the record {scope}"),
            format!("create of `account` is denied: the record {scope}"),
        ]
    );
}

#[test]
fn a_new_record_with_nothing_written_still_needs_create() {
    assert_eq!(lines(&clerk(), &new_account(mine())), [6]);
    let lead = Deed::new("lead".to_owned(), None, mine());
    let denied = denials(&clerk(), &lead);
    assert_eq!(denied, ["create of `lead` is denied: no rule of the role allows it"]);
}

#[test]
fn each_field_of_a_new_record_is_judged_by_the_rules_for_creating() {
    let deed = writing(new_account(mine()), "main", &["name", "phone"]);
    let deed = writing(deed, "finance", &["credit_limit"]);
    assert_eq!(
        denials(&clerk(), &deed),
        [
            "create of field `credit_limit` of `account` in section `finance` is denied: no rule of the role \
             allows it in this section",
            "create of field `phone` of `account` is denied: no rule of the role allows it for this field",
        ]
    );
}

#[test]
fn an_edit_names_every_rule_that_it_needed_and_every_field_that_it_may_not_write() {
    let deed = writing(edit_of("account"), "main", &["phone", "tags"]);
    assert_eq!(lines(&clerk(), &deed), [7]);
    let mut deed = writing(deed, "finance", &["credit_limit"]);
    deed.deletes = true;
    assert_eq!(lines(&clerk(), &deed), [7, 8, 9]);
    let deed = writing(deed, "main", &["name", "billing.city"]);
    assert_eq!(
        denials(&clerk(), &deed),
        [
            "update of field `billing.city` of `account` is denied: no rule of the role allows it for this field",
            "update of field `name` of `account` is denied: no rule of the role allows it for this field",
        ]
    );
}

#[test]
fn a_deed_that_does_nothing_needs_no_rule_but_reading() {
    assert_eq!(lines(&clerk(), &edit_of("account")), Vec::<usize>::new());
}

#[test]
fn deleting_and_merging_are_asked_for_by_themselves() {
    let mut deed = edit_of("lead");
    deed.merges = true;
    assert_eq!(lines(&clerk(), &deed), [11]);
    deed.deletes = true;
    let denied = denials(&clerk(), &deed);
    assert_eq!(denied, ["delete of `lead` is denied: no rule of the role allows it"]);
    let mut deed = new_account(mine());
    (deed.deletes, deed.merges) = (true, true);
    let denied = denials(&clerk(), &deed);
    assert_eq!(denied, ["merge of `account` is denied: no rule of the role allows it"]);
}

#[test]
fn a_move_is_judged_at_both_ends() {
    let moved = |to| Deed::new("account".to_owned(), Some(mine()), to);
    assert_eq!(lines(&clerk(), &moved(of_team("blue"))), [10]);
    let denied = policy().judge(&clerk(), &moved(of_team("red"))).unwrap_err();
    let [Denial { action: Action::Transfer, why: Why::NotInScope, .. }] = &denied[..] else {
        panic!("{denied:?}")
    };
    let lead = Deed::new("lead".to_owned(), Some(mine()), of_team("blue"));
    let denied = denials(&clerk(), &lead);
    assert_eq!(denied, ["transfer of `lead` is denied: no rule of the role allows it"]);
}

#[test]
fn of_a_record_that_may_not_be_read_nothing_else_is_said() {
    let unreadable = [
        (clerk(), Deed::new("account".to_owned(), Some(of_team("blue")), mine())),
        (clerk(), edit_of("task")),
        (Standing { active: false, ..clerk() }, edit_of("account")),
    ];
    for (who, deed) in unreadable {
        let mut deed = writing(deed, "finance", &["credit_limit"]);
        deed.deletes = true;
        let denial = Denial {
            action: Action::Read,
            entity: deed.entity.clone(),
            section: Section::main(),
            field: None,
            why: Why::NotInScope,
        };
        assert_eq!(policy().judge(&who, &deed), Err(vec![denial]));
    }
}

#[test]
fn without_a_role_or_when_switched_off_a_new_record_is_denied_for_that_reason() {
    let off = Standing { active: false, ..clerk() };
    let denied = denials(&off, &new_account(mine()));
    assert_eq!(denied, ["create of `account` is denied: the member is switched off"]);
    let without = Policy::sales().judge(&clerk(), &new_account(mine())).unwrap_err();
    assert_eq!(without[0].to_string(), "create of `account` is denied: the member has no role");
}

#[test]
fn a_rule_that_allows_several_things_is_named_once() {
    let rules =
        policy().judge(&clerk(), &writing(edit_of("account"), "main", &["phone", "sector"]));
    assert_eq!(rules, Ok(vec![RuleId { role: "clerk".to_owned(), line: 7 }]));
}

#[test]
fn a_change_is_noted_as_the_fields_that_it_writes() {
    let op = |key: &str, action| Op { key: key.to_owned(), action, preds: Vec::new() };
    let put = |key: &str| op(key, record::Action::Put(Scalar::Bool(true)));
    let change = Change {
        actor: ActorId([1; 16]),
        seq: 1,
        start_op: 1,
        time: Timestamp::from_millis(1),
        deps: Vec::new(),
        ops: vec![
            put("$entity"),
            put("$created_at"),
            put("$created_by"),
            put("billing.city"),
            put("tags/vip"),
            put("tags/a/b"),
            put("from_a_newer_schema"),
            op("visits", record::Action::Increment(1)),
        ],
    };
    let account = Schema::builtin().entity("account").unwrap();
    let mut deed = new_account(mine());
    deed.note(&Section::main(), &change, account);
    deed.note(&Section::main(), &seed(SeedKind::Text, "notes"), account);
    let finance: Section = "finance".parse().unwrap();
    deed.note(&finance, &Change { ops: vec![put("credit_limit")], ..change.clone() }, account);
    let written: Vec<String> =
        deed.writes.iter().map(|(section, field)| format!("{section}.{field}")).collect();
    let wanted = "finance.credit_limit main.billing.city main.from_a_newer_schema main.notes main.tags \
                  main.visits";
    assert_eq!(written.join(" "), wanted);
    assert!(!deed.deletes && !deed.merges);

    let mut deed = edit_of("account");
    let restored = op(DELETED, record::Action::Remove);
    deed.note(&Section::main(), &Change { ops: vec![restored], ..change.clone() }, account);
    assert!(deed.deletes && !deed.merges && deed.writes.is_empty());
    deed.note(&Section::main(), &Change { ops: vec![put("$merged_into")], ..change }, account);
    assert!(deed.merges && deed.writes.is_empty());
}

#[test]
fn words_of_decisions_are_read_as_they_are_written() {
    for action in Action::ALL {
        assert_eq!(action.to_string().parse(), Ok(action));
    }
    for why in Why::ALL {
        assert_eq!(why.as_str().parse(), Ok(why));
    }
    assert!("all".parse::<Action>().is_err() && "".parse::<Why>().is_err());
}
