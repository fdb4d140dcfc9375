//! The promises of reading: a good text arrives whole, and everything that is wrong names its file and line.

use crate::id::{MemberId, Section};
use crate::limits::{
    POLICY_BYTES_MAX, REGION_TERRITORIES_MAX, ROLE_RULES_MAX, ROLES_MAX, ROUTING_NAME_CHARS_MAX,
};
use crate::policy::{Action, Ask, Decision, OPEN, Placement, Policy, SALES, Scope, Standing};
use crate::schema::Schema;

/// Problems of `text`, each as `line: what`.
fn refusals(text: &str) -> Vec<String> {
    match Policy::parse(text, "policy.toml", Schema::builtin()) {
        Ok(_) => Vec::new(),
        Err(problems) => {
            let named = |line: &str| line.strip_prefix("policy.toml:").unwrap().to_owned();
            problems.to_string().lines().map(named).collect()
        }
    }
}

/// Problems of a policy with these settings, which begin at line 4.
fn refusals_beside_a_role(settings: &str) -> Vec<String> {
    refusals(&format!("version = 1\nrole.rep.label = 'Rep'\n\n{settings}\n"))
}

/// Problems of one rule with these settings, which begin at line 5.
fn rule_refusals(settings: &str) -> Vec<String> {
    refusals(&format!("version = 1\n[role.rep]\n\n[[role.rep.allow]]\n{settings}\n"))
}

/// Problems of a rule that lets accounts be updated everywhere, with these settings from line 8.
fn limited_refusals(settings: &str) -> Vec<String> {
    rule_refusals(&format!(
        "entities = ['account']\non = ['all']\nactions = ['update']\n{settings}"
    ))
}

#[track_caller]
fn assert_refused(found: &[String], wanted: &[&str]) {
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.starts_with(wanted), "found {found:?}, wanted {wanted:?}");
    }
}

#[test]
fn the_builtin_texts_have_no_problems() {
    for (text, file) in [(SALES, "sales.toml"), (OPEN, "open.toml")] {
        let parsed = Policy::parse(text, file, Schema::builtin());
        assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
    }
    let roles: Vec<_> = Policy::sales().roles().map(|(name, _)| name).collect();
    assert_eq!(roles, ["admin", "auditor", "manager", "rep", "support"]);
    assert_eq!(Policy::open().roles().collect::<Vec<_>>(), [("member", "Member")]);
    assert_eq!((Policy::open().version(), Policy::open().text()), (1, OPEN));
}

#[test]
fn the_open_policy_fits_every_schema() {
    for text in
        ["version = 1", "version = 1\n[entity.a.fields]\nx = { type = 'int', section = 's' }"]
    {
        let schema = Schema::parse(text, "s").unwrap();
        assert!(Policy::parse(OPEN, "open.toml", &schema).is_ok());
    }
}

#[test]
fn a_rule_is_named_by_its_role_and_the_line_where_it_begins() {
    let text = "version = 1\n[role.rep]\n\n[[role.rep.allow]]\nentities = ['lead']\non = ['own']\n\
                actions = ['read']\n\n[[role.rep.allow]]\nentities = '*'\non = ['own']\nactions = '*'\n";
    let policy = Policy::parse(text, "p", Schema::builtin()).unwrap();
    let me = MemberId::from_source_key("member", "me");
    let who = Standing { role: Some("rep".to_owned()), ..Standing::unlisted(me) };
    let placement = Placement::of([Scope::Owner(me)]);
    let rule = |action, entity| {
        let section = &Section::main();
        let ask = Ask { action, entity, section, field: None, placement: &placement };
        match policy.decide(&who, &ask) {
            Decision::Allow(rule) => rule.to_string(),
            Decision::Deny(denial) => denial.to_string(),
        }
    };
    assert_eq!(rule(Action::Read, "lead"), "role `rep`, rule of line 4");
    assert_eq!(rule(Action::Update, "lead"), "role `rep`, rule of line 9");
    assert_eq!(rule(Action::Read, "task"), "role `rep`, rule of line 9");
}

#[test]
fn a_role_is_called_by_its_label_or_by_its_name() {
    let text = "version = 1\n[role.field_rep]\n[role.rep]\nlabel = 'Representative'\n";
    let policy = Policy::parse(text, "p", Schema::builtin()).unwrap();
    let roles: Vec<_> = policy.roles().collect();
    assert_eq!(roles, [("field_rep", "Field rep"), ("rep", "Representative")]);
}

#[test]
fn a_text_that_is_no_policy_at_all_is_refused() {
    assert_refused(&refusals("version = 1\nrole = {"), &["2: not TOML: "]);
    assert_refused(&refusals("version = 1\nversion = 2"), &["2: not TOML: duplicate key"]);
    let long = format!("version = 1 # {}", "x".repeat(POLICY_BYTES_MAX));
    assert_refused(&refusals(&long), &["1: the policy takes 65550 bytes; at most 65536 are"]);
    assert_refused(
        &refusals(""),
        &["1: the policy has no `version`", "1: the policy has no roles"],
    );
}

#[test]
fn the_version_is_a_whole_number_from_one() {
    let with = |version| refusals(&format!("version = {version}\nrole.rep.label = 'Rep'"));
    assert_refused(&with("0"), &["1: `version` must be 1 or more"]);
    assert_refused(&with("-1"), &["1: `version` must be 1 or more"]);
    assert_refused(&with("'1'"), &["1: `version` of the policy must be a whole number"]);
    assert_refused(&with("3"), &[]);
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand() {
    assert_refused(&refusals_beside_a_role("x = 1"), &["4: unknown key `x` in the policy"]);
    assert_refused(
        &refusals_beside_a_role("role.rep.deny = []"),
        &["4: unknown key `deny` in role `rep`"],
    );
    assert_refused(
        &limited_refusals("field = ['name']"),
        &["8: unknown key `field` in a rule of role `rep`"],
    );
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    let cases = [
        ("role = 1", "4: `role` of the policy must be a table"),
        ("regions = 1", "4: `regions` of the policy must be a table"),
        ("shared = 'product'", "4: `shared` of the policy must be a list"),
        ("default_role = 1", "4: `default_role` of the policy must be a string"),
    ];
    for (settings, wanted) in cases {
        let found = refusals(&format!("version = 1\n\n\n{settings}\n"));
        assert!(found.iter().any(|found| found.starts_with(wanted)), "{found:#?}");
    }
    assert_refused(&refusals_beside_a_role("role.x = 1"), &["4: role `x` must be a table"]);
    assert_refused(
        &refusals_beside_a_role("role.x.allow = 1"),
        &["4: `allow` of role `x` must be a list"],
    );
    assert_refused(
        &refusals_beside_a_role("role.x.allow = [1]"),
        &["4: `allow` of role `x` may only list tables"],
    );
    assert_refused(
        &refusals_beside_a_role("regions.x = 1"),
        &["4: `x` of `regions` must be a list"],
    );
    assert_refused(
        &rule_refusals("entities = 1\non = 'all'\nactions = [1]"),
        &[
            "5: `entities` of a rule of role `rep` must be a list",
            "6: `on` of a rule of role `rep` must be a list",
            "7: `actions` may only list strings",
        ],
    );
}

#[test]
fn roles_have_names_labels_and_limits() {
    assert_refused(
        &refusals_beside_a_role("role.'A b'.label = 'x'"),
        &["4: role name \"A b\" must"],
    );
    assert_refused(&refusals_beside_a_role("role.x.label = ' '"), &["4: a label may not be blank"]);
    assert_refused(
        &refusals_beside_a_role("default_role = 'boss'"),
        &["4: `default_role` names role `boss`, which does not exist"],
    );
    let roles: String = (0..=ROLES_MAX).map(|n| format!("role.r{n}.label = 'R'\n")).collect();
    assert_refused(
        &refusals(&format!("version = 1\n{roles}")),
        &["1: the policy has 65 roles; at most 64 are allowed"],
    );
    let rule = "{ entities = '*', on = ['all'], actions = '*' },\n";
    let rules = |count| format!("role.x.allow = [\n{}]", rule.repeat(count));
    assert_refused(&refusals_beside_a_role(&rules(ROLE_RULES_MAX)), &[]);
    assert_refused(
        &refusals_beside_a_role(&rules(ROLE_RULES_MAX + 1)),
        &["4: role `x` has 257 rules; at most 256 are allowed"],
    );
}

#[test]
fn shared_entities_exist_and_are_named_once() {
    assert_refused(&refusals_beside_a_role("shared = ['product']"), &[]);
    assert_refused(&refusals_beside_a_role("shared = []"), &["4: `shared` is an empty list"]);
    assert_refused(
        &refusals_beside_a_role("shared = ['product',\n'product',\n'ghost']"),
        &["5: `shared` lists `product` twice", "6: `shared` names entity `ghost`, which does not"],
    );
}

#[test]
fn regions_and_territories_have_names_that_fit_a_scope() {
    let fitting = "x".repeat(ROUTING_NAME_CHARS_MAX);
    assert_refused(
        &refusals_beside_a_role(&format!("regions.'a #/,%b' = ['{fitting}', 'ü']")),
        &[],
    );
    let bad = [String::new(), format!("{fitting}x"), "a\\u0007".to_owned()];
    for name in bad {
        assert_refused(
            &refusals_beside_a_role(&format!("regions.x = [\n\"{name}\"]")),
            &["5: the name of a territory has 1 to 100 characters and no control characters"],
        );
        assert_refused(
            &refusals_beside_a_role(&format!("[regions]\n\"{name}\" = ['west']")),
            &["5: the name of a region has 1 to 100 characters and no control characters"],
        );
    }
    assert_refused(&refusals_beside_a_role("regions.x = []"), &["4: `x` is an empty list"]);
    assert_refused(
        &refusals_beside_a_role("regions.x = ['west', 'west']"),
        &["4: `x` lists `west` twice"],
    );
    let many: String = (0..=REGION_TERRITORIES_MAX).map(|n| format!("'t{n}',")).collect();
    assert_refused(
        &refusals_beside_a_role(&format!("regions.x = [{many}]")),
        &["4: region `x` has 257 territories; at most 256 are allowed"],
    );
}

#[test]
fn a_rule_says_what_on_whose_records_and_of_which_entities() {
    assert_refused(
        &rule_refusals(""),
        &["4: a rule needs `entities`", "4: a rule needs `on`", "4: a rule needs `actions`"],
    );
    assert_refused(
        &rule_refusals("entities = []\non = []\nactions = []\nsections = []\nfields = []"),
        &[
            "5: `entities` is an empty list",
            "6: `on` is an empty list",
            "7: `actions` is an empty list",
            "8: `sections` is an empty list",
            "9: `fields` only limits create and update",
            "9: `fields` is an empty list",
        ],
    );
    assert_refused(
        &rule_refusals(
            "entities = ['account',\n'ghost', 'account']\non = ['mine',\n'own', 'own']\n\
             actions = ['read',\n'see', 'read']",
        ),
        &[
            "6: `entities` lists `account` twice",
            "6: a rule names entity `ghost`, which does not exist",
            "7: unknown word `mine` in `on`; the words are own, territory, team, region, shared, all",
            "8: `on` lists `own` twice",
            "10: `actions` lists `read` twice",
            "10: unknown word `see` in `actions`; the words are read, create, update, delete,",
        ],
    );
    assert_refused(
        &rule_refusals("entities = ['*']\non = ['*']\nactions = ['*']"),
        &["5: a rule names entity `*`", "6: unknown word `*` in `on`", "7: unknown word `*` in"],
    );
    assert_refused(&rule_refusals("entities = '*'\non = ['all']\nactions = '*'"), &[]);
}

#[test]
fn sections_are_those_of_the_rules_entities() {
    assert_refused(&limited_refusals("sections = ['main', 'finance']"), &[]);
    assert_refused(&limited_refusals("sections = '*'"), &[]);
    assert_refused(
        &limited_refusals("sections = ['main',\n'health']"),
        &["9: no entity of the rule has a section `health`"],
    );
    let of_tasks = "entities = ['task']\non = ['all']\nactions = '*'\nsections = ['finance']";
    assert_refused(&rule_refusals(of_tasks), &["8: no entity of the rule has a section `finance`"]);
    let of_none =
        "entities = ['ghost']\non = ['all']\nactions = '*'\nsections = ['x']\nfields = ['y']";
    assert_refused(&rule_refusals(of_none), &["5: a rule names entity `ghost`"]);
}

#[test]
fn fields_are_those_of_the_rules_entities_and_sections() {
    for good in ["fields = ['name', 'billing', 'shipping.zip', 'tags']", "except = ['name']"] {
        assert_refused(&limited_refusals(good), &[]);
    }
    assert_refused(&limited_refusals("sections = '*'\nfields = ['credit_limit']"), &[]);
    for key in ["fields", "except"] {
        assert_refused(
            &limited_refusals(&format!(
                "{key} = ['name',\n'name', 'nope',\n'credit_limit', 'tags/x']"
            )),
            &[
                &format!("9: `{key}` lists `name` twice"),
                &format!("9: `{key}` names field `nope`, which no entity of the rule has"),
                &format!("10: `{key}` names field `credit_limit`, which is in none of the rule's"),
                &format!("10: `{key}` names field `tags/x`, which no entity"),
            ],
        );
        assert_refused(
            &rule_refusals(&format!(
                "entities = ['account']\non = ['all']\nactions = ['read', 'delete']\n{key} = ['name']"
            )),
            &[&format!("8: `{key}` only limits create and update; the rule has neither")],
        );
    }
    assert_refused(
        &limited_refusals("fields = ['name']\nexcept = ['phone']"),
        &["9: a rule has `fields` or `except`, not both"],
    );
}

#[test]
fn everything_is_reported_at_once_in_the_order_of_lines() {
    let text =
        "version = 0\nshared = ['ghost']\nx = 1\n[role.rep]\n[[role.rep.allow]]\non = ['all']\n";
    let problems = Policy::parse(text, "next.toml", Schema::builtin()).unwrap_err();
    let wanted = "next.toml:1: `version` must be 1 or more\n\
                  next.toml:2: `shared` names entity `ghost`, which does not exist\n\
                  next.toml:3: unknown key `x` in the policy\n\
                  next.toml:5: a rule needs `entities`\n\
                  next.toml:5: a rule needs `actions`";
    assert_eq!(problems.to_string(), wanted);
}

#[test]
fn garbage_is_refused_without_a_panic() {
    let whole = SALES.as_bytes();
    for cut in (0..whole.len()).step_by(7) {
        let mut text = whole.to_vec();
        text[cut] = b"[]={}\"'\n.#9"[cut % 11];
        for bytes in [&text[..], &whole[..cut]] {
            let text = String::from_utf8_lossy(bytes);
            let parsed = Policy::parse(&text, "p", Schema::builtin());
            assert!(parsed.is_ok() || !parsed.unwrap_err().problems.is_empty());
        }
    }
}
