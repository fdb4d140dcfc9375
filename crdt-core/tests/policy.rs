//! The built-in policies as stories: what a rep, a manager, support, an administrator and an auditor may.

use std::convert::Infallible;

use crdt_core::id::{MemberId, RecordId, Section};
use crdt_core::policy::{
    Action, Ask, Decision, Deed, Placement, Policy, Route, SALES, Scope, Standing, Why,
};
use crdt_core::schema::Schema;

/// What a rep and a manager work with.
const CUSTOMERS: [&str; 9] =
    ["account", "contact", "lead", "opportunity", "line_item", "activity", "task", "case", "note"];

fn member(name: &str) -> MemberId {
    MemberId::from_source_key("member", name)
}

fn with_role(role: &str) -> Standing {
    Standing { role: Some(role.to_owned()), ..Standing::unlisted(member("me")) }
}

/// Of the territory `west`, in the region `americas`, which the policy does not name.
fn in_west(role: &str) -> Standing {
    Standing {
        territories: ["west".to_owned()].into(),
        teams: ["blue".to_owned()].into(),
        region: Some("west".to_owned()),
        ..with_role(role)
    }
}

fn territory(name: &str) -> Placement {
    Placement::of([Scope::Owner(member("somebody")), Scope::Territory(name.to_owned())])
}

fn owned_by(name: &str) -> Placement {
    Placement::of([Scope::Owner(member(name))])
}

fn shared() -> Placement {
    Placement::of([Scope::Shared])
}

/// Asks about a record as a whole, or about a field of a section.
#[derive(Clone, Copy)]
struct About<'a> {
    entity: &'a str,
    section: &'a str,
    field: Option<&'a str>,
}

fn whole(entity: &str) -> About<'_> {
    About { entity, section: "main", field: None }
}

fn credit_limit() -> About<'static> {
    About { entity: "account", section: "finance", field: Some("credit_limit") }
}

/// Nothing when the built-in policy allows it, else the reason.
fn denied(who: &Standing, action: Action, about: About<'_>, at: &Placement) -> Option<Why> {
    let section: Section = about.section.parse().unwrap();
    let About { entity, field, .. } = about;
    let ask = Ask { action, entity, section: &section, field, placement: at };
    match Policy::sales().decide(who, &ask) {
        Decision::Allow(rule) => {
            assert_eq!(Some(rule.role.as_str()), who.role.as_deref());
            None
        }
        Decision::Deny(denial) => Some(denial.why),
    }
}

#[track_caller]
fn assert_may_exactly(who: &Standing, entity: &str, at: &Placement, actions: &[Action]) {
    for action in Action::ALL {
        let allowed = denied(who, action, whole(entity), at).is_none();
        assert_eq!(allowed, actions.contains(&action), "{action} of {entity}");
    }
}

const EDITING: [Action; 4] = [Action::Read, Action::Create, Action::Update, Action::Delete];
const MANAGING: [Action; 6] =
    [Action::Read, Action::Create, Action::Update, Action::Delete, Action::Transfer, Action::Merge];
const WORKING: [Action; 5] =
    [Action::Read, Action::Create, Action::Update, Action::Delete, Action::Transfer];

#[test]
fn a_rep_works_with_own_records_and_those_of_the_territory_and_with_no_others() {
    let rep = in_west("rep");
    for entity in CUSTOMERS {
        let actions =
            if ["activity", "task"].contains(&entity) { &WORKING[..] } else { &EDITING[..] };
        for at in [territory("west"), owned_by("me")] {
            assert_may_exactly(&rep, entity, &at, actions);
        }
        let team = Placement::of([Scope::Team("blue".to_owned())]);
        for at in [territory("east"), owned_by("somebody"), team, shared(), Placement::of([])] {
            assert_may_exactly(&rep, entity, &at, &[]);
            assert_eq!(denied(&rep, Action::Read, whole(entity), &at), Some(Why::NotInScope));
        }
    }
}

#[test]
fn a_rep_sees_nothing_of_the_finance_section_and_cannot_write_it() {
    let rep = in_west("rep");
    for action in [Action::Read, Action::Create, Action::Update] {
        let why = denied(&rep, action, credit_limit(), &owned_by("me"));
        assert_eq!(why, Some(Why::SectionNotGranted), "{action}");
    }
    let finance: Vec<String> = Policy::sales()
        .subscriptions(&rep, Schema::builtin())
        .iter()
        .filter(|subscription| !subscription.section().is_main())
        .map(|subscription| subscription.name())
        .collect();
    assert_eq!(finance, Vec::<String>::new());
}

#[test]
fn a_rep_does_not_hand_over_customers_but_passes_work_around_in_the_territory() {
    let rep = in_west("rep");
    let moved = |entity: &str, before, after| {
        let mut deed = Deed::new(entity.to_owned(), Some(before), after);
        deed.writes.insert((Section::main(), "owner".to_owned()));
        Policy::sales().judge(&rep, &deed).map(|rules| rules.len()).map_err(|denials| {
            denials.iter().map(|denial| (denial.action, denial.why)).collect::<Vec<_>>()
        })
    };
    let to = |name: &str| {
        Placement::of([Scope::Owner(member(name)), Scope::Territory("west".to_owned())])
    };
    assert_eq!(
        moved("account", to("me"), to("somebody")),
        Err(vec![(Action::Transfer, Why::NotGranted)])
    );
    assert_eq!(moved("task", to("me"), to("somebody")), Ok(2));
    assert_eq!(
        moved("task", to("me"), territory("east")),
        Err(vec![(Action::Transfer, Why::NotInScope)])
    );
}

#[test]
fn a_rep_reads_products_and_colleagues_and_changes_neither() {
    for role in ["rep", "manager", "support"] {
        let who = in_west(role);
        for entity in ["product", "member"] {
            assert_may_exactly(&who, entity, &shared(), &[Action::Read]);
        }
    }
}

#[test]
fn a_rep_sees_no_kept_edits_and_a_manager_decides_those_of_the_region() {
    let at = territory("west");
    assert_may_exactly(&in_west("rep"), "kept_edit", &at, &[]);
    assert_may_exactly(&in_west("manager"), "kept_edit", &at, &[Action::Read, Action::Update]);
    assert_may_exactly(&in_west("manager"), "kept_edit", &territory("east"), &[]);
    let hidden = About { entity: "kept_edit", section: "finance", field: None };
    assert_eq!(denied(&in_west("manager"), Action::Read, hidden, &at), None);
}

#[test]
fn a_manager_does_everything_but_erase_in_the_region_and_in_own_records() {
    let manager = in_west("manager");
    for entity in CUSTOMERS {
        for at in [territory("west"), owned_by("me")] {
            assert_may_exactly(&manager, entity, &at, &MANAGING);
        }
        for at in [territory("east"), owned_by("somebody"), shared()] {
            assert_may_exactly(&manager, entity, &at, &[]);
        }
    }
    assert_eq!(denied(&manager, Action::Update, credit_limit(), &territory("west")), None);
    let elsewhere = denied(&manager, Action::Update, credit_limit(), &territory("east"));
    assert_eq!(elsewhere, Some(Why::NotInScope));
}

#[test]
fn support_works_on_every_case_and_only_looks_at_customers() {
    let support = with_role("support");
    let anywhere = territory("east");
    let cases = [Action::Read, Action::Create, Action::Update];
    assert_may_exactly(&support, "case", &anywhere, &cases);
    for entity in ["account", "contact"] {
        assert_may_exactly(&support, entity, &anywhere, &[Action::Read]);
    }
    for entity in ["activity", "task", "note"] {
        assert_may_exactly(&support, entity, &owned_by("me"), &EDITING);
        assert_may_exactly(&support, entity, &anywhere, &[]);
    }
    for entity in ["lead", "opportunity", "line_item", "kept_edit"] {
        assert_may_exactly(&support, entity, &owned_by("me"), &[]);
    }
    let finance = denied(&support, Action::Read, credit_limit(), &anywhere);
    assert_eq!(finance, Some(Why::SectionNotGranted));
}

#[test]
fn an_administrator_does_everything_and_an_auditor_reads_everything() {
    for entity in Schema::builtin().entities() {
        for section in entity.sections() {
            let about = About { entity: &entity.name, section: section.as_str(), field: None };
            for action in Action::ALL {
                let at = Placement::of([]);
                assert_eq!(denied(&with_role("admin"), action, about, &at), None);
                let why = (action != Action::Read).then_some(Why::NotGranted);
                assert_eq!(denied(&with_role("auditor"), action, about, &at), why);
            }
        }
    }
    let policy = Policy::sales();
    for role in ["admin", "auditor"] {
        let subscriptions = policy.subscriptions(&with_role(role), Schema::builtin());
        let names: Vec<String> = subscriptions.iter().map(|s| s.name()).collect();
        assert_eq!(names, ["all", "all#finance"], "{role}");
    }
}

#[test]
fn only_administrators_give_out_roles() {
    let policy = Policy::sales();
    assert!(policy.is_administrator(&with_role("admin")));
    assert!(!policy.is_administrator(&Standing { active: false, ..with_role("admin") }));
    for role in ["rep", "manager", "support", "auditor", "ghost"] {
        assert!(!policy.is_administrator(&in_west(role)), "{role}");
    }
    assert!(Policy::open().is_administrator(&Standing::unlisted(member("me"))));
}

#[test]
fn a_member_without_a_role_sees_nothing_and_may_do_nothing() {
    let policy = Policy::sales();
    for role in [None, Some("ghost".to_owned())] {
        let who = Standing { role, ..in_west("rep") };
        assert_eq!(policy.role_of(&who), None);
        assert_eq!(policy.subscriptions(&who, Schema::builtin()), []);
        let why = denied(&who, Action::Read, whole("product"), &shared());
        assert_eq!(why, Some(Why::NoRole));
    }
}

#[test]
fn a_member_who_is_switched_off_sees_nothing_and_may_do_nothing() {
    let who = Standing { active: false, ..in_west("admin") };
    assert_eq!(Policy::sales().role_of(&who), Some("admin"));
    assert_eq!(Policy::sales().subscriptions(&who, Schema::builtin()), []);
    let why = denied(&who, Action::Read, whole("product"), &shared());
    assert_eq!(why, Some(Why::Inactive));
}

#[test]
fn under_the_open_policy_everybody_is_a_member_and_may_do_everything() {
    let policy = Policy::open();
    let who = Standing { role: Some("rep".to_owned()), ..Standing::unlisted(member("me")) };
    assert_eq!(policy.role_of(&who), Some("member"));
    let names: Vec<_> =
        policy.subscriptions(&who, Schema::builtin()).iter().map(|s| s.name()).collect();
    assert_eq!(names, ["all", "all#finance"]);
    let deed = Deed::new("custom".to_owned(), Some(owned_by("a")), owned_by("b"));
    let rules = policy.judge(&who, &deed).unwrap();
    assert_eq!(rules[0].to_string(), "role `member`, rule of line 9");
}

#[test]
fn a_rep_subscribes_to_own_records_and_the_territory_and_is_shown_what_is_shared() {
    let names: Vec<String> = Policy::sales()
        .subscriptions(&in_west("rep"), Schema::builtin())
        .iter()
        .map(|subscription| subscription.name())
        .collect();
    let customers = "account,activity,case,contact,lead,line_item,note,opportunity,task";
    let wanted = [
        "shared/member,product".to_owned(),
        format!("owner:{}/{customers}", member("me")),
        format!("territory:west/{customers}"),
    ];
    assert_eq!(names, wanted);
}

#[test]
fn a_manager_subscribes_to_finance_where_the_region_has_it() {
    let names: Vec<String> = Policy::sales()
        .subscriptions(&in_west("manager"), Schema::builtin())
        .iter()
        .filter(|subscription| subscription.section().as_str() == "finance")
        .map(|subscription| subscription.name())
        .collect();
    let with_finance = "account,kept_edit,line_item,opportunity";
    let wanted = [
        format!("owner:{}#finance/{with_finance}", member("me")),
        format!("territory:west#finance/{with_finance}"),
    ];
    assert_eq!(names, wanted);
}

#[test]
fn the_region_of_a_manager_is_made_of_the_territories_that_the_policy_names() {
    let text = SALES.replace("# [regions]\n# americas", "[regions]\namericas");
    let policy = Policy::parse(&text, "policy.toml", Schema::builtin()).unwrap();
    let manager = Standing { region: Some("americas".to_owned()), ..with_role("manager") };
    let names: Vec<String> = policy
        .subscriptions(&manager, Schema::builtin())
        .iter()
        .map(|subscription| subscription.scope())
        .filter(|scope| scope.starts_with("territory") && !scope.contains('#'))
        .collect();
    assert_eq!(names, ["territory:central", "territory:east", "territory:west"]);
    let may = |at: &Placement| {
        let section = Section::main();
        let (action, entity) = (Action::Merge, "account");
        policy.decide(
            &manager,
            &Ask { action, entity, section: &section, field: None, placement: at },
        )
    };
    assert!(may(&territory("east")).is_allowed());
    assert!(!may(&territory("americas")).is_allowed() && !may(&territory("north")).is_allowed());
}

#[test]
fn a_contact_follows_its_account_into_another_territory() {
    let account = RecordId::from_source_key("account", "acme");
    let contact = Route { entity: "contact".to_owned(), parent: Some(account), ..Route::default() };
    let stands_with = |territory: &str| {
        let of_account = Route {
            entity: "account".to_owned(),
            territory: Some(territory.to_owned()),
            ..Route::default()
        };
        let mut routes = |id| Ok::<_, Infallible>((id == account).then(|| of_account.clone()));
        Policy::sales().place(&contact, &mut routes).unwrap()
    };
    let rep = in_west("rep");
    assert_eq!(denied(&rep, Action::Read, whole("contact"), &stands_with("west")), None);
    let gone = denied(&rep, Action::Read, whole("contact"), &stands_with("east"));
    assert_eq!(gone, Some(Why::NotInScope));
}
