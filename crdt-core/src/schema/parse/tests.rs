//! The promises of reading: what is declared arrives as types, and every refusal names its line.

use crate::limits::SCHEMA_BYTES_MAX;
use crate::record::Value;
use crate::schema::{FieldKind, MergeRule, Schema};

/// Problems of `text`, each as `line: what`.
fn refusals(text: &str) -> Vec<String> {
    match Schema::parse(text, "schema.toml") {
        Ok(_) => Vec::new(),
        Err(problems) => {
            problems.problems.iter().map(|p| format!("{}: {}", p.line, p.what)).collect()
        }
    }
}

/// Problems of entity `a` with these fields, which begin at line 3.
fn field_refusals(fields: &str) -> Vec<String> {
    refusals(&format!("version = 1\n[entity.a.fields]\n{fields}\n"))
}

/// Problems of entity `a` with a few fields and `settings`, which begin at line 10.
fn entity_refusals(settings: &str) -> Vec<String> {
    let fields = "name = 'string'\nprice = 'money'\ntags = { type = 'set', of = 'string' }\n\
                  up = { type = 'ref', to = 'b' }\n[entity.b.fields]\nx = 'int'\n";
    refusals(&format!("version = 1\n[entity.a.fields]\n{fields}[entity.a]\n{settings}\n"))
}

#[track_caller]
fn assert_refused(found: &[String], wanted: &[&str]) {
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.starts_with(wanted), "found {found:?}, wanted {wanted:?}");
    }
}

#[test]
fn fields_arrive_in_the_order_of_the_file_with_their_settings() {
    let text = "version = 1\n[entity.a.fields]\nzeta = 'int'\n\
        kind = { type = 'enum', values = ['x', 'y'], merge = { ranked = ['y'] }, required = true }\n\
        home = { type = 'group', section = 'private', parts = { zip = { type = 'string', pattern = '\\d+' } } }\n\
        mails = { type = 'set', of = 'email', max_chars = 80 }\n\
        share = { type = 'float', min = 0, max = 1.5, merge = 'max', label = 'Part' }\n\
        up = { type = 'ref', to = ['a', 'b'], hidden = true }\n[entity.b.fields.x]\ntype = 'text'\n";
    let schema = Schema::parse(text, "s").unwrap();
    let fields = &schema.entity("a").unwrap().fields;
    let keys: Vec<_> = fields.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(keys, ["zeta", "kind", "home.zip", "mails", "share", "up"]);
    let [zeta, kind, zip, mails, share, up] = fields.as_slice() else { panic!("six fields") };
    assert_eq!((zeta.label.as_str(), zeta.line, &zeta.merge), ("Zeta", 3, &MergeRule::Latest));
    assert_eq!(kind.kind, FieldKind::Enum(vec!["x".into(), "y".into()]));
    assert_eq!(kind.merge, MergeRule::Ranked(vec![Value::from("y")]));
    assert!(kind.validation.required && !zeta.validation.required);
    assert_eq!((zip.section.as_str(), zip.label.as_str()), ("private", "Home zip"));
    assert_eq!(zip.validation.pattern.as_ref().unwrap().as_str(), "\\d+");
    assert_eq!(mails.kind, FieldKind::Set(Box::new(FieldKind::Email)));
    assert_eq!(mails.validation.max_chars, Some(80));
    assert_eq!((share.validation.min, share.validation.max), (Some(0.0), Some(1.5)));
    assert_eq!((share.label.as_str(), &share.merge), ("Part", &MergeRule::Max));
    assert_eq!(up.kind, FieldKind::Ref(vec!["a".into(), "b".into()]));
    assert!(up.hidden);
}

#[test]
fn a_field_may_be_a_table_of_its_own() {
    let text = "version = 1\n[entity.a.fields.home]\ntype = 'group'\n[entity.a.fields.home.parts.zip]\ntype = 'string'\n";
    let schema = Schema::parse(text, "s").unwrap();
    assert_eq!(schema.entity("a").unwrap().fields[0].key, "home.zip");
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_lines() {
    let text = "version = 0\ncolour = 1\n[entity.a]\nsearch = ['nope']\n[entity.a.fields]\n\
                Name = 'string'\nx = 'strin'\ny = { type = 'int', required = 1 }\nz = { type = 'ref', to = 'c' }\n";
    let wanted = [
        "1: `version` must be 1 or more",
        "2: unknown key `colour` in the schema",
        "4: `search` names field `nope`, which does not exist",
        "6: field name \"Name\" must be",
        "7: unknown type `strin`; the types are string,",
        "8: `required` of field `y` must be true or false",
        "9: a ref names entity `c`, which does not exist",
    ];
    assert_refused(&refusals(text), &wanted);
    let shown = Schema::parse(text, "schema.toml").unwrap_err().to_string();
    assert_eq!(shown.lines().count(), wanted.len());
    assert!(shown.starts_with("schema.toml:1: `version` must"));
}

#[test]
fn text_that_is_no_toml_is_one_problem_with_its_line() {
    assert_refused(&refusals("version = 1\n[entity.a\n"), &["2: not TOML: "]);
    assert_refused(&refusals("version = 1\nversion = 2\n"), &["2: not TOML: duplicate key"]);
    assert_refused(&refusals("version = 1\n\n\nx = \"open\n"), &["4: not TOML: "]);
    assert_refused(&refusals(&format!("a = {}", "[".repeat(100_000))), &["1: not TOML: "]);
}

#[test]
fn the_text_is_bounded() {
    let large = format!("version = 1\n#{}", "x".repeat(SCHEMA_BYTES_MAX));
    assert_refused(&refusals(&large), &["1: the schema takes 524301 bytes; at most 524288"]);
}

#[test]
fn the_top_of_the_file_is_checked() {
    assert_refused(&refusals(""), &["1: the schema has no `version`"]);
    assert_refused(
        &refusals("version = '1'"),
        &["1: `version` of the schema must be a whole number"],
    );
    assert_refused(
        &refusals("version = 99999999999999999999"),
        &["1: `version` of the schema must be"],
    );
    assert_refused(
        &refusals("version = 1\nentity = 3"),
        &["2: `entity` of the schema must be a table"],
    );
    assert_refused(&refusals("version = 1\nentity.a = 3"), &["2: entity `a` must be a table"]);
}

#[test]
fn entity_names_are_names_and_not_those_of_the_store() {
    let named =
        |name: &str| refusals(&format!("version = 1\n[entity.'{name}'.fields]\nx = 'int'\n"));
    for bad in ["A", "1a", "a-b", "", "_a", &"a".repeat(65)] {
        assert_refused(
            &named(bad),
            &[&format!("2: entity name {bad:?} must be a lower case letter")],
        );
    }
    for kept in ["outbox", "conflict", "meta", "contact_fts", "sqlite_x"] {
        assert_refused(&named(kept), &[&format!("2: entity name `{kept}` is kept for a table")]);
    }
    assert_refused(&named("case"), &[]);
}

#[test]
fn an_entity_has_fields_and_no_unknown_keys() {
    assert_refused(&refusals("version = 1\n[entity.a]\n"), &["2: entity `a` has no fields"]);
    assert_refused(&entity_refusals("colour = 1"), &["10: unknown key `colour` in entity `a`"]);
    assert_refused(&entity_refusals("label = ' x'"), &["10: a label may not be blank"]);
}

#[test]
fn counts_are_bounded() {
    let fields: String = (0..301).map(|n| format!("f{n} = 'int'\n")).collect();
    assert_refused(&field_refusals(&fields), &["2: entity `a` has 301 fields; at most 300"]);
    let entities: String = (0..65).map(|n| format!("[entity.e{n}.fields]\nx = 'int'\n")).collect();
    let found = refusals(&format!("version = 1\n{entities}"));
    assert_refused(&found, &["2: the schema has 65 entities; at most 64"]);
    let values: Vec<String> = (0..501).map(|n| format!("'{n}'")).collect();
    let found =
        field_refusals(&format!("x = {{ type = 'enum', values = [{}] }}", values.join(",")));
    assert_refused(&found, &["3: the picklist has 501 values; at most 500"]);
}

#[test]
fn field_and_part_names_are_names() {
    assert_refused(&field_refusals("'a.b' = 'int'"), &["3: field name \"a.b\" must be"]);
    assert_refused(&field_refusals("'a/b' = 'int'"), &["3: field name \"a/b\" must be"]);
    assert_refused(&field_refusals("_id = 'int'"), &["3: field name \"_id\" must be"]);
    let part = "g = { type = 'group', parts = { Zip = 'string' } }";
    assert_refused(&field_refusals(part), &["3: field name \"Zip\" must be"]);
}

#[test]
fn types_are_known_and_declared() {
    assert_refused(&field_refusals("x = 3"), &["3: field `x` must be a type or a table"]);
    assert_refused(&field_refusals("x = { label = 'X' }"), &["3: field `x` has no `type`"]);
    assert_refused(
        &field_refusals("x = { type = 3 }"),
        &["3: `type` of field `x` must be a string"],
    );
    let nested =
        "g = { type = 'group', parts = { h = { type = 'group', parts = { i = 'int' } } } }";
    assert_refused(&field_refusals(nested), &["3: a group may not hold another group"]);
    assert_refused(&field_refusals("g = 'group'"), &["3: group `g` has no parts"]);
}

#[test]
fn a_setting_of_another_type_and_an_unknown_one_are_told_apart() {
    let found = field_refusals("x = { type = 'string', min = 1, colour = 2 }");
    let wanted =
        ["3: `min` does not apply to a string field", "3: unknown key `colour` in field `x`"];
    assert_refused(&found, &wanted);
    for (declaration, key) in [
        ("{ type = 'int', pattern = 'x' }", "pattern"),
        ("{ type = 'bool', values = ['x'] }", "values"),
        ("{ type = 'set', of = 'string', required = true }", "required"),
        ("{ type = 'counter', required = true }", "required"),
        ("{ type = 'text', pattern = 'x' }", "pattern"),
        ("{ type = 'date', max_chars = 3 }", "max_chars"),
        ("{ type = 'money', min = 3 }", "min"),
        ("{ type = 'string', to = 'a' }", "to"),
        ("{ type = 'group', parts = { y = 'int' }, required = true }", "required"),
    ] {
        let found = field_refusals(&format!("x = {declaration}"));
        assert_refused(&found, &[&format!("3: `{key}` does not apply to a")]);
    }
}

#[test]
fn picklists_references_and_sets_say_what_they_hold() {
    assert_refused(&field_refusals("x = 'enum'"), &["3: an enum needs `values`"]);
    assert_refused(
        &field_refusals("x = { type = 'enum', values = [] }"),
        &["3: an enum needs `values`"],
    );
    let twice = "x = { type = 'enum', values = ['p',\n'q',\n'p'] }";
    assert_refused(&field_refusals(twice), &["5: `values` lists `p` twice"]);
    let blank = "x = { type = 'enum', values = ['p', ' '] }";
    assert_refused(&field_refusals(blank), &["3: a picklist value may not be blank"]);
    let number = "x = { type = 'enum', values = ['p', 1] }";
    assert_refused(&field_refusals(number), &["3: `values` may only list strings"]);
    for bad in ["'ref'", "{ type = 'ref', to = [] }", "{ type = 'ref', to = 1 }"] {
        assert_refused(&field_refusals(&format!("x = {bad}")), &["3: a ref needs `to`"]);
    }
    let twice = "x = { type = 'ref', to = ['a', 'a'] }";
    assert_refused(&field_refusals(twice), &["3: `to` lists `a` twice"]);
    let unknown = "x = { type = 'ref', to = [\n'a',\n'nobody'] }";
    assert_refused(
        &field_refusals(unknown),
        &["5: a ref names entity `nobody`, which does not exist"],
    );
    for bad in ["'set'", "{ type = 'set', of = 'int' }", "{ type = 'set', of = 'text' }"] {
        assert_refused(&field_refusals(&format!("x = {bad}")), &["3: a set needs `of`"]);
    }
}

#[test]
fn columns_never_collide() {
    let group =
        "address_street = 'string'\naddress = { type = 'group', parts = { street = 'string' } }";
    let wanted =
        "4: field `address.street` needs column `address_street`, which field `address_street` has";
    assert_refused(&field_refusals(group), &[wanted]);
    let money = "price = 'money'\nprice_currency = 'string'";
    let wanted = "4: field `price_currency` needs column `price_currency`, which field `price` has";
    assert_refused(&field_refusals(money), &[wanted]);
    for kept in ["extra", "rowid", "oid", "rank"] {
        let found = field_refusals(&format!("{kept} = 'int'"));
        assert_refused(&found, &[&format!("3: column `{kept}` is kept for the store")]);
    }
    let long = format!("{} = 'money'", "m".repeat(60));
    assert_refused(&field_refusals(&long), &["3: column `mmm"]);
}

#[test]
fn merge_rules_fit_their_type() {
    for (declaration, wanted) in [
        ("{ type = 'string', merge = 'max' }", "a string field has no greatest or least value"),
        ("{ type = 'bool', merge = 'min' }", "a bool field has no greatest"),
        ("{ type = 'int', merge = 'newest' }", "`merge` must be latest, max, min, ask or"),
        ("{ type = 'int', merge = 3 }", "`merge` must be latest"),
        ("{ type = 'set', of = 'string', merge = 'latest' }", "a set field merges by itself"),
        ("{ type = 'counter', merge = 'max' }", "a counter field merges by itself"),
        ("{ type = 'text', merge = 'ask' }", "a text field merges by itself"),
        ("{ type = 'bool', merge = {} }", "`merge` needs `ranked`"),
        ("{ type = 'bool', merge = { ranked = [] } }", "`merge` needs `ranked`"),
        ("{ type = 'bool', merge = { ranked = [true, 1] } }", "`ranked` of a bool field may only"),
        ("{ type = 'bool', merge = { ranked = [true, true] } }", "`ranked` lists a value twice"),
        ("{ type = 'int', merge = { ranked = [1, 2] } }", "a int field cannot be ranked"),
        (
            "{ type = 'enum', values = ['p'], merge = { ranked = ['q'] } }",
            "`ranked` may only list values",
        ),
        (
            "{ type = 'enum', values = ['p'], merge = { ranked = [true] } }",
            "`ranked` may only list values",
        ),
        ("{ type = 'bool', merge = { ranked = [true], by = 1 } }", "unknown key `by` in `merge`"),
    ] {
        let found = field_refusals(&format!("x = {declaration}"));
        assert_refused(&found, &[&format!("3: {wanted}")]);
    }
}

#[test]
fn validation_is_checked_itself() {
    for (declaration, wanted) in [
        (
            "{ type = 'string', pattern = '(' }",
            "`pattern` is not a regular expression: unclosed group",
        ),
        (
            "{ type = 'string', pattern = '(?:a{1000}){1000}' }",
            "`pattern` is not a regular expression",
        ),
        ("{ type = 'string', max_chars = 0 }", "`max_chars` must be from 1 to 8192"),
        ("{ type = 'string', max_chars = 8193 }", "`max_chars` must be from 1 to 8192"),
        ("{ type = 'text', max_chars = 100_001 }", "`max_chars` must be from 1 to 100000"),
        ("{ type = 'set', of = 'string', max_chars = 319 }", "`max_chars` must be from 1 to 318"),
        ("{ type = 'int', min = 2, max = 1 }", "`min` is greater than `max`"),
        ("{ type = 'int', max = 1e300 }", "a bound must lie within"),
        ("{ type = 'float', min = nan }", "`min` of field `x` must be a finite number"),
        ("{ type = 'float', min = -inf }", "`min` of field `x` must be a finite number"),
        ("{ type = 'string', required = true, hidden = true }", "field `x` is hidden, so nobody"),
        ("{ type = 'string', section = 'Finance' }", "section name \"Finance\" must be"),
    ] {
        let found = field_refusals(&format!("x = {declaration}"));
        assert_refused(&found, &[&format!("3: {wanted}")]);
    }
    let long = format!("x = {{ type = 'string', pattern = '{}' }}", "a".repeat(513));
    assert_refused(&field_refusals(&long), &["3: a pattern may have at most 512 bytes"]);
    assert_refused(&field_refusals("x = { type = 'int', max = 0x10, min = 1_0 }"), &[]);
}

#[test]
fn aliases_name_one_field_only() {
    let clash = "x = 'int'\ny = { type = 'int', aliases = ['x'] }\nz = { type = 'int', aliases = ['old'] }\n\
                 w = { type = 'int', aliases = ['old', 'Bad', 'p_currency'] }\np = 'money'";
    let wanted = [
        "4: alias `x` is already a name of field `x`",
        "6: alias `old` is already a name of field `z`",
        "6: alias \"Bad\" must be a field name",
        "6: alias `p_currency` is already a name of field `p`",
    ];
    assert_refused(&field_refusals(clash), &wanted);
    let own = "g = { type = 'group', parts = { x = { type = 'int', aliases = ['g_x', 'h.x'] } } }";
    assert_refused(&field_refusals(own), &[]);
}

#[test]
fn indexes_name_columns_that_exist() {
    assert_refused(
        &entity_refusals("indexes = [['name', '_updated_at'], ['price_currency']]"),
        &[],
    );
    let bad = "indexes = [\n['nope'],\n[],\n['tags'],\n['name'],\n['name'],\n['name', 'name'],\n'name',\n[1]]";
    let wanted = [
        "11: an index names column `nope`, which does not exist",
        "12: an index has 1 to 8 columns",
        "13: column `tags` is a set and cannot be indexed",
        "15: index `name` is declared twice",
        "16: an index lists `name` twice",
        "16: index `name` is declared twice",
        "17: an index is a list of columns",
        "18: an index may only list strings",
        "18: an index has 1 to 8 columns",
    ];
    assert_refused(&entity_refusals(bad), &wanted);
}

#[test]
fn search_covers_words_alone() {
    assert_refused(&entity_refusals("search = ['name', 'tags']"), &[]);
    let bad = "search = ['price',\n'up', 'nope',\n'tags', 'tags', 7]";
    let wanted = [
        "10: `search` names field `price`, a money",
        "11: `search` names field `up`, a ref",
        "11: `search` names field `nope`, which does not exist",
        "12: `search` lists `tags` twice",
        "12: `search` may only list strings",
    ];
    let mut found = entity_refusals(bad);
    found.sort();
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    assert_refused(&found, &wanted);
}

#[test]
fn scopes_are_inherited_over_a_ref_in_main_and_never_in_a_circle() {
    assert_refused(&entity_refusals("inherits = 'up'"), &[]);
    assert_refused(
        &entity_refusals("inherits = 'name'"),
        &["10: `inherits` names field `name`, which is no ref"],
    );
    assert_refused(
        &entity_refusals("inherits = 'nope'"),
        &["10: `inherits` names field `nope`, which does not"],
    );
    let aside = "version = 1\n[entity.a]\ninherits = 'up'\n[entity.a.fields]\n\
                 up = { type = 'ref', to = 'b', section = 'side' }\n[entity.b.fields]\nx = 'int'\n";
    assert_refused(
        &refusals(aside),
        &["3: `inherits` names field `up`, which is not in section `main`"],
    );
    let entity = |name: &str, to: &str| {
        format!("[entity.{name}]\ninherits = 'up'\nfields.up = {{ type = 'ref', to = {to} }}\n")
    };
    let circle = [
        entity("a", "['d', 'b']"),
        entity("b", "'c'"),
        entity("c", "'a'"),
        entity("d", "'a'"),
        entity("e", "'a'"),
    ];
    let wanted = [
        "3: entity `a` inherits its own scopes in a circle",
        "6: entity `b` inherits",
        "9: entity `c` inherits",
        "12: entity `d` inherits",
    ];
    assert_refused(&refusals(&format!("version = 1\n{}", circle.concat())), &wanted);
    let itself = format!("version = 1\n{}", entity("a", "'a'"));
    assert_refused(&refusals(&itself), &["3: entity `a` inherits its own scopes"]);
}

#[test]
fn garbage_is_refused_without_a_panic() {
    let good = include_str!("../builtin.toml");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..300 {
        let mut bytes = good.as_bytes().to_vec();
        for _ in 0..8 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = b" \"'[]{}=.,\nax0_\\#"[(seed >> 20) as usize % 17];
        }
        let text = String::from_utf8(bytes).unwrap();
        if let Err(problems) = Schema::parse(&text, "s") {
            let lines = text.lines().count() + 1;
            assert!(problems.problems.iter().all(|p| (1..=lines).contains(&p.line)));
        }
    }
}
