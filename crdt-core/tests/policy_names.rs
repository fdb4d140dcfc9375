//! Names of scopes and subscriptions: no two things share one, and only what we spell is read.

use crdt_core::id::MemberId;
use crdt_core::limits::{
    NAME_BYTES_MAX, ROUTING_NAME_CHARS_MAX, SCOPE_BYTES_MAX, SCOPES_MAX, SUBSCRIPTION_ENTITIES_MAX,
};
use crdt_core::policy::{Policy, Scope, Standing, Subscription};
use crdt_core::schema::Schema;
use proptest::prelude::*;

fn territory(name: &str) -> Scope {
    Scope::Territory(name.to_owned())
}

#[test]
fn a_name_that_looks_like_another_scope_is_spelt_apart() {
    let spelt = [
        ("west", "territory:west"),
        ("west#finance", "territory:west%23finance"),
        ("a/b", "territory:a%2Fb"),
        ("a,b", "territory:a%2Cb"),
        ("%", "territory:%25"),
        ("%23", "territory:%2523"),
        ("team:blue", "territory:team:blue"),
        ("Zürich 北", "territory:Zürich 北"),
        ("a\nb\u{85}", "territory:a%0Ab%C2%85"),
    ];
    for (name, wanted) in spelt {
        assert_eq!(territory(name).to_string(), wanted);
        let subscription: Subscription = wanted.parse().unwrap();
        assert_eq!(
            (subscription.name(), subscription.scope()),
            (wanted.to_owned(), wanted.to_owned())
        );
    }
    assert_eq!(Scope::All.to_string(), "all");
    assert_eq!(Scope::Shared.to_string(), "shared");
    assert_eq!(Scope::Team("west".to_owned()).to_string(), "team:west");
}

#[test]
fn a_subscription_says_its_scope_section_and_entities() {
    let subscription: Subscription = "territory:a%2Fb#finance/account,case".parse().unwrap();
    assert_eq!(subscription.scope(), "territory:a%2Fb#finance");
    assert_eq!(subscription.section().as_str(), "finance");
    assert!(subscription.admits("case") && !subscription.admits("contact"));
    assert_eq!(subscription.entities().unwrap().len(), 2);
    let everything: Subscription = "shared".parse().unwrap();
    assert!(everything.section().is_main() && everything.entities().is_none());
    assert!(everything.admits("anything"));
}

#[test]
fn what_is_spelt_in_any_other_way_is_no_subscription() {
    let me = MemberId::from_source_key("member", "me");
    assert!(format!("owner:{me}").parse::<Subscription>().is_ok());
    let bad = [
        String::new(),
        "everything".to_owned(),
        "all:".to_owned(),
        "planet:mars".to_owned(),
        "owner:me".to_owned(),
        format!("owner:{}", me.to_string().to_uppercase()),
        "territory:%2f".to_owned(),
        "territory:%41".to_owned(),
        "territory:%".to_owned(),
        "territory:%2".to_owned(),
        "territory:%zz".to_owned(),
        "territory:%2z".to_owned(),
        "territory:%FF".to_owned(),
        "territory:a\nb".to_owned(),
        "team:%zz".to_owned(),
        "all#main".to_owned(),
        "all#".to_owned(),
        "all#A".to_owned(),
        "all#finance#main".to_owned(),
        "all/".to_owned(),
        "all/Case".to_owned(),
        "all/case,".to_owned(),
        "all/contact,case".to_owned(),
        "all/case,case".to_owned(),
        "all/case/contact".to_owned(),
        format!("territory:{}", "x".repeat(SCOPE_BYTES_MAX)),
    ];
    for name in bad {
        assert!(name.parse::<Subscription>().is_err(), "{name:?}");
    }
}

/// A schema of so many entities, with names as long as they may be, and a policy that lets one role read
/// them in its territories one by one.
fn wide(entities: usize) -> (Schema, Policy) {
    let name = |place: usize| format!("e{place:0>width$}", width = NAME_BYTES_MAX - 1);
    let names: Vec<String> = (0..entities).map(name).collect();
    let declared: Vec<String> =
        names.iter().map(|name| format!("[entity.{name}.fields]\nx = 'int'\n")).collect();
    let schema = Schema::parse(&format!("version = 1\n{}", declared.concat()), "s").unwrap();
    let list = format!("'{}'", names.join("', '"));
    let text = format!(
        "version = 1\ndefault_role = 'r'\n[[role.r.allow]]\nentities = [{list}]\n\
         on = ['territory']\nactions = ['read']\n"
    );
    let policy = Policy::parse(&text, "p", &schema).unwrap();
    (schema, policy)
}

#[test]
fn many_entities_are_spread_over_several_names_that_each_fit_the_wire() {
    let (schema, policy) = wide(2 * SUBSCRIPTION_ENTITIES_MAX + 1);
    let territory = "\u{85}".repeat(ROUTING_NAME_CHARS_MAX);
    let who = Standing {
        territories: [territory].into(),
        ..Standing::unlisted(MemberId::from_source_key("member", "me"))
    };
    let subscriptions = policy.subscriptions(&who, &schema);
    assert_eq!(subscriptions.len(), 3);
    for entity in schema.entities() {
        let admitting = subscriptions.iter().filter(|s| s.admits(&entity.name)).count();
        assert_eq!(admitting, 1);
    }
    for subscription in subscriptions {
        assert!(subscription.name().len() <= SCOPE_BYTES_MAX);
        assert_eq!(subscription.name().parse(), Ok(subscription));
    }
}

#[test]
fn nobody_has_more_subscriptions_than_the_wire_carries() {
    let (schema, policy) = wide(1);
    let who = Standing {
        territories: (0..=SCOPES_MAX).map(|place| format!("t{place:05}")).collect(),
        ..Standing::unlisted(MemberId::from_source_key("member", "me"))
    };
    assert_eq!(policy.subscriptions(&who, &schema).len(), SCOPES_MAX);
}

#[test]
fn what_the_scope_of_all_brings_is_not_subscribed_to_again() {
    let text = "version = 1\ndefault_role = 'r'\nrole.r.allow = [\n\
                { entities = ['account', 'case'], on = ['all'], actions = ['read'] },\n\
                { entities = ['case'], on = ['own'], actions = ['read'] },\n\
                { entities = ['case', 'task'], on = ['team'], actions = ['read'] },\n\
                { entities = '*', on = ['territory'], actions = ['read'] },\n\
                { entities = ['account', 'task'], on = ['own'], actions = ['read'], sections = '*' }]";
    let policy = Policy::parse(text, "p", Schema::builtin()).unwrap();
    let me = MemberId::from_source_key("member", "me");
    let names = |who: &Standing| -> Vec<String> {
        policy.subscriptions(who, Schema::builtin()).iter().map(Subscription::name).collect()
    };
    let mut who = Standing {
        territories: ["west".to_owned()].into(),
        teams: ["blue".to_owned()].into(),
        ..Standing::unlisted(me)
    };
    let wanted = [
        "all/account,case".to_owned(),
        format!("owner:{me}/account,case,task"),
        "territory:west".to_owned(),
        "team:blue/case,task".to_owned(),
        format!("owner:{me}#finance/account"),
    ];
    assert_eq!(names(&who), wanted);

    let text = text.replace("['case', 'task'], on = ['team']", "['case'], on = ['team']");
    let policy = Policy::parse(&text, "p", Schema::builtin()).unwrap();
    who.territories.clear();
    let left: Vec<String> =
        policy.subscriptions(&who, Schema::builtin()).iter().map(Subscription::name).collect();
    assert_eq!(left, [&wanted[0], &wanted[1], &wanted[4]].map(String::clone));
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c%#/,:2356F]{0,6}",
        "\\PC{0,8}",
        proptest::collection::vec(any::<char>(), 0..6).prop_map(String::from_iter),
    ]
}

fn scopes() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::All),
        Just(Scope::Shared),
        (0..3_u8).prop_map(|n| Scope::Owner(MemberId::from_source_key("m", &n.to_string()))),
        names().prop_map(Scope::Territory),
        names().prop_map(Scope::Team),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn two_scopes_never_share_a_name(one in scopes(), other in scopes()) {
        prop_assert_eq!(one == other, one.to_string() == other.to_string());
    }

    #[test]
    fn no_scope_is_named_like_one_of_another_section_or_of_some_entities(scope in scopes()) {
        let name = scope.to_string();
        prop_assert!(!name.contains(['#', '/', ',']) && !name.contains(char::is_control));
        for suffix in ["", "#finance", "/account,case", "#finance/case"] {
            let spelt = format!("{name}{suffix}");
            let subscription: Subscription = spelt.parse().unwrap();
            prop_assert_eq!(subscription.name(), spelt);
            let place = suffix.split('/').next().unwrap();
            prop_assert_eq!(subscription.scope(), format!("{name}{place}"));
        }
    }

    #[test]
    fn reading_hostile_names_never_panics_and_takes_only_what_we_spell(name in "\\PC{0,40}|[a-z:%#/,0-9]{0,30}") {
        if let Ok(subscription) = name.parse::<Subscription>() {
            prop_assert_eq!(subscription.name(), name);
        }
    }
}
