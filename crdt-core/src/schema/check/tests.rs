//! The promises of value checks: what each type takes, what it refuses, and what a refusal says.

use super::*;
use crate::schema::Schema;
use crate::time::Timestamp;

/// The field that `declaration` declares.
fn field(declaration: &str) -> Field {
    let text = format!("version = 1\n[entity.thing.fields]\nf = {declaration}\n");
    let schema = Schema::parse(&text, "s").unwrap();
    schema.entity("thing").unwrap().field("f").unwrap().clone()
}

fn one_value_of_each_kind() -> Vec<Value> {
    vec![
        Value::Bool(true),
        Value::Int(1),
        Value::Float(1.5),
        Value::Str("2026-11-22".into()),
        Value::Timestamp(Timestamp::from_millis(1)),
        Value::Bytes(vec![7; 16]),
        Value::Counter(1),
        Value::Text("prose".into()),
        Value::Set(vec!["one".into()]),
    ]
}

#[test]
fn each_type_takes_its_own_values_and_refuses_every_other() {
    let cases = [
        ("'string'", "string"),
        ("'email'", "string"),
        ("'phone'", "string"),
        ("'url'", "string"),
        ("{ type = 'enum', values = ['a'] }", "string"),
        ("'int'", "int"),
        ("'float'", "int float"),
        ("'bool'", "bool"),
        ("'timestamp'", "timestamp"),
        ("'date'", "string"),
        ("{ type = 'ref', to = 'thing' }", "bytes"),
        ("{ type = 'set', of = 'string' }", "set"),
        ("'counter'", "counter"),
        ("'text'", "text"),
    ];
    for (declaration, takes) in cases {
        let field = field(declaration);
        for value in one_value_of_each_kind() {
            let result = field.check_type(&value);
            if takes.split(' ').any(|kind| kind == value.kind()) {
                assert_eq!(result, Ok(()), "{declaration} {value:?}");
            } else {
                let wrong = Violation::WrongType { expected: field.kind.name(), got: value.kind() };
                assert_eq!(result, Err(wrong), "{declaration} {value:?}");
            }
        }
        let unset = field.check(&Value::Null);
        assert_eq!(unset.is_ok(), field.kind.is_replaced(), "{declaration}");
    }
}

#[test]
fn required_refuses_unset_and_blank_but_receiving_takes_them() {
    let name = field("{ type = 'string', required = true }");
    for blank in [Value::Null, Value::from(""), Value::from(" \t")] {
        assert_eq!(name.check(&blank), Err(Violation::Required));
        assert_eq!(name.check_type(&blank), Ok(()));
    }
    assert_eq!(name.check(&Value::from("Acme")), Ok(()));
    let active = field("{ type = 'bool', required = true }");
    assert_eq!(active.check(&Value::Bool(false)), Ok(()));
}

#[test]
fn dates_have_one_spelling_and_exist() {
    let due = field("'date'");
    for good in ["2026-11-22", "2024-02-29", "0000-01-01", "9999-12-31"] {
        assert_eq!(due.check_type(&Value::from(good)), Ok(()), "{good}");
    }
    for bad in [
        "2026-02-29",
        "2026-13-01",
        "2026-1-01",
        "2026-11-22 ",
        "26-11-22",
        "2026/11/22",
        "+026-11-22",
        "2026-+1-22",
        "2026-11-+2",
        "",
        "2026-11-é",
        "20é6-1-22",
        "2026-11-22T00:00:00Z",
    ] {
        assert_eq!(due.check_type(&Value::from(bad)), Err(Violation::BadDate), "{bad}");
    }
}

#[test]
fn money_is_checked_in_its_one_spelling() {
    let price = field("'money'");
    assert_eq!(price.check(&Value::from("1250.00 USD")), Ok(()));
    let short = price.check_type(&Value::from("1250 USD"));
    let decimals = MoneyError::Decimals { currency: "USD".into(), expected: 2 };
    assert_eq!(short, Err(Violation::BadMoney(decimals)));
    assert_eq!(price.check_type(&Value::from("")), Err(Violation::BadMoney(MoneyError::Shape)));
}

#[test]
fn numbers_stay_finite_and_in_range() {
    let share = field("{ type = 'float', min = 0, max = 1.5 }");
    for good in [0.0, 1.5] {
        assert_eq!(share.check(&Value::Float(good)), Ok(()));
    }
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(share.check_type(&Value::Float(bad)), Err(Violation::NotANumber));
    }
    let outside = Violation::OutOfRange { min: Some(0.0), max: Some(1.5) };
    for bad in [Value::Float(-0.1), Value::Float(1.6), Value::Int(2)] {
        assert_eq!(share.check(&bad), Err(outside.clone()));
        assert_eq!(share.check_type(&bad), Ok(()));
    }
    assert_eq!(outside.to_string(), "is out of range (0 to 1.5)");
    let count = field("{ type = 'int', min = 1 }");
    assert!(count.check(&Value::Int(0)).is_err());
    assert_eq!(count.check(&Value::Int(i64::MAX)), Ok(()));
}

#[test]
fn sizes_are_bounded_at_writing_and_at_receiving() {
    let note = field("{ type = 'string', max_chars = 3 }");
    assert_eq!(note.check(&Value::from("äöü")), Ok(()));
    assert_eq!(note.check(&Value::from("äöüß")), Err(Violation::TooLong { limit: 3, got: 4 }));
    let large = Value::Str("x".repeat(VALUE_BYTES_MAX + 1));
    let too_large = Violation::TooLarge { limit: VALUE_BYTES_MAX, got: VALUE_BYTES_MAX + 1 };
    assert_eq!(note.check_type(&large), Err(too_large));
    assert_eq!(note.check_type(&Value::Str("x".repeat(VALUE_BYTES_MAX))), Ok(()));
    assert_eq!(note.check_type(&Value::from("a\0b")), Err(Violation::Nul));
    let prose = field("'text'");
    assert_eq!(prose.check_type(&Value::Text("ä".repeat(TEXT_CHARS_MAX))), Ok(()));
    assert!(prose.check_type(&Value::Text("ä".repeat(TEXT_CHARS_MAX + 1))).is_err());
    assert_eq!(prose.check_type(&Value::Text("\0".into())), Err(Violation::Nul));
}

#[test]
fn a_reference_is_sixteen_bytes() {
    let owner = field("{ type = 'ref', to = 'thing' }");
    assert_eq!(owner.check(&Value::Bytes(vec![0; 16])), Ok(()));
    for length in [0, 15, 17] {
        assert_eq!(owner.check_type(&Value::Bytes(vec![0; length])), Err(Violation::BadReference));
    }
}

#[test]
fn emails_are_real_enough_to_send_to() {
    let email = field("'email'");
    for good in ["a@b", "first.last+tag@mail.example.org", "ünï@exämple.de", "o'neil@x.ie"] {
        assert_eq!(email.check(&Value::from(good)), Ok(()), "{good}");
    }
    let long = format!("{}@b.c", "a".repeat(260));
    for bad in [
        "", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b c", "a@.b", "a@b.", "a@b..c", "a@b\n",
        &long,
    ] {
        assert_eq!(email.check(&Value::from(bad)), Err(Violation::BadEmail), "{bad}");
        assert_eq!(email.check_type(&Value::from(bad)), Ok(()), "{bad}");
    }
}

#[test]
fn phones_take_what_people_type() {
    let phone = field("'phone'");
    for good in [
        "112",
        "+49 (0)30 1234-567",
        "001-380-203-1075x8112",
        "(555) 123.4567 ext. 9",
        "030/123",
        "555 1234 EXT 12",
        " 555 1234 ",
    ] {
        assert_eq!(phone.check(&Value::from(good)), Ok(()), "{good}");
    }
    for bad in [
        "",
        "12",
        "x12",
        "call me",
        "555-CALL",
        "555 1234 x",
        "555 1234 xx1",
        "555;1234",
        "1234567890123456789012345678901",
    ] {
        assert_eq!(phone.check(&Value::from(bad)), Err(Violation::BadPhone), "{bad}");
    }
}

#[test]
fn web_addresses_have_a_scheme_and_a_host() {
    let url = field("'url'");
    for good in
        ["http://a", "HTTPS://www.example.org:8080/a?b#c", "https://u:p@host/x", "http://[::1]:80/"]
    {
        assert_eq!(url.check(&Value::from(good)), Ok(()), "{good}");
    }
    for bad in [
        "",
        "www.example.org",
        "ftp://a",
        "http://",
        "http:///x",
        "http://:80",
        "http://a b",
        "javascript:alert(1)",
        "http://?q",
        "https://u@",
    ] {
        assert_eq!(url.check(&Value::from(bad)), Err(Violation::BadUrl), "{bad}");
    }
}

#[test]
fn a_picklist_takes_its_values_alone_and_its_refusal_names_them() {
    let stage = field("{ type = 'enum', values = ['won', 'lost'] }");
    assert_eq!(stage.check(&Value::from("won")), Ok(()));
    for bad in ["Won", "", "w"] {
        let refusal = stage.check(&Value::from(bad)).unwrap_err();
        assert_eq!(refusal.to_string(), "is not in the picklist (won, lost)");
        assert_eq!(stage.check_type(&Value::from(bad)), Ok(()));
    }
    let many = Violation::NotInPicklist { allowed: (0..500).map(|n| n.to_string()).collect() };
    assert!(many.to_string().ends_with("10, 11 and 488 more)"));
}

#[test]
fn a_pattern_has_to_match_the_whole_value() {
    let zip = field("{ type = 'string', pattern = '[0-9]{5}' }");
    assert_eq!(zip.check(&Value::from("12345")), Ok(()));
    for bad in ["123456", "x12345", ""] {
        let refusal = Violation::Pattern { pattern: "[0-9]{5}".into() };
        assert_eq!(zip.check(&Value::from(bad)), Err(refusal));
    }
}

#[test]
fn members_are_checked_like_values_and_fit_into_a_key() {
    let emails = field("{ type = 'set', of = 'email', max_chars = 12 }");
    assert_eq!(emails.check_member("a@b.c"), Ok(()));
    assert_eq!(emails.check_member("nobody"), Err(Violation::BadEmail));
    assert_eq!(emails.check_member_type("nobody"), Ok(()));
    let long = Violation::TooLong { limit: 12, got: 13 };
    assert_eq!(emails.check_member("abcdefgh@ijkl"), Err(long));
    for blank in ["", "  "] {
        assert_eq!(emails.check_member_type(blank), Err(Violation::BadMember));
    }
    let most = emails.member_bytes_max();
    assert_eq!("f".len() + "/".len() + most, KEY_BYTES_MAX);
    assert_eq!(emails.check_member_type(&"x".repeat(most)), Ok(()));
    let too_large = Violation::TooLarge { limit: most, got: most + 1 };
    assert_eq!(emails.check_member_type(&"x".repeat(most + 1)), Err(too_large));
    let whole = Value::Set(vec!["a@b.c".into(), "nobody".into()]);
    assert_eq!(emails.check(&whole), Err(Violation::BadEmail));
    assert_eq!(emails.check_type(&whole), Ok(()));
}

#[test]
fn only_a_set_has_members() {
    let wrong = Violation::WrongType { expected: "string", got: "set" };
    assert_eq!(field("'string'").check_member("x"), Err(wrong));
}

#[test]
fn a_set_of_a_picklist_takes_its_values_alone() {
    let channels = field("{ type = 'set', of = 'enum', values = ['mail', 'phone'] }");
    assert_eq!(channels.check_member("mail"), Ok(()));
    assert!(matches!(channels.check_member("fax"), Err(Violation::NotInPicklist { .. })));
}

#[test]
fn a_refusal_never_repeats_the_value() {
    let secret = "S3CRET";
    let declarations = [
        "'email'",
        "'phone'",
        "'url'",
        "'date'",
        "'money'",
        "'int'",
        "'text'",
        "{ type = 'enum', values = ['a'] }",
        "{ type = 'string', max_chars = 2 }",
        "{ type = 'string', pattern = 'a' }",
    ];
    for declaration in declarations {
        let refusal = field(declaration).check(&Value::from(secret)).unwrap_err().to_string();
        assert!(!refusal.contains(secret), "{refusal}");
    }
}
