//! Issuers in the configuration: what they mean, and every way to get one wrong.

use super::*;
use crate::token::{Algorithm, Audience, Start};

const GOOD: &str = "[issuer.main]\niss = 'https://id.example/'\naudience = 'crm'\n\
                    jwks_url = 'https://id.example/keys?v=1'\nworkspace = 'acme'\n";

fn issuer(text: &str) -> IssuerConfig {
    load(text, &[], Flags::default()).unwrap().issuers.remove(0)
}

#[test]
fn an_issuer_needs_four_keys_and_the_rest_is_strict_by_default() {
    let issuer = issuer(GOOD);
    assert_eq!((issuer.name.as_str(), issuer.iss.as_str()), ("main", "https://id.example/"));
    assert_eq!(issuer.audience_rule, Audience::Only);
    assert_eq!(issuer.algorithms.into_iter().collect::<Vec<_>>(), Algorithm::ALL);
    assert_eq!(issuer.workspace, WorkspaceRule::Fixed("acme".to_owned()));
    assert_eq!((issuer.start, issuer.leeway), (Start::Nbf, Duration::from_secs(30)));
    assert_eq!(issuer.lifetime_max, Duration::from_secs(3_600));
    let KeySource::Url(url) = issuer.keys else { panic!("a file") };
    assert_eq!((url.host(), url.port(), url.path()), ("id.example", 443, "/keys?v=1"));
}

#[test]
fn an_issuer_can_be_set_from_the_environment_and_an_environment_wins() {
    let env = [
        ("FIELDBOOK__ISSUER__MAIN__AUDIENCE", "other"),
        ("FIELDBOOK__ISSUER__MAIN__ALGORITHMS", "ES256, EdDSA"),
        ("FIELDBOOK__ISSUER__MAIN__LEEWAY_S", "0"),
        ("FIELDBOOK__ISSUER__MAIN__START_CLAIM", "iat"),
        ("FIELDBOOK__ISSUER__MAIN__AUDIENCE_RULE", "among"),
    ];
    let issuer = load(GOOD, &env, Flags::default()).unwrap().issuers.remove(0);
    assert_eq!(issuer.audience, "other");
    assert_eq!(issuer.algorithms.len(), 2);
    assert_eq!(issuer.leeway, Duration::ZERO);
    assert_eq!((issuer.start, issuer.audience_rule), (Start::Iat, Audience::Among));
}

#[test]
fn all_that_an_issuer_lacks_is_reported_at_once() {
    assert_eq!(
        problems_of("\n[issuer.main]\n"),
        [
            "server.toml:2: `issuer.main` has no iss",
            "server.toml:2: `issuer.main` has no audience",
            "server.toml:2: `issuer.main` has no jwks_url or jwks_file",
            "server.toml:2: `issuer.main` has no workspace or workspace_claim",
        ]
    );
}

#[test]
fn a_key_with_a_bad_value_is_not_reported_as_missing_as_well() {
    let text = "[issuer.main]\niss = 'a'\naudience = 'b'\njwks_url = 'ftp://a'\nworkspace = 'A'\n";
    let problems = problems_of(text);
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn two_issuers_must_differ_and_none_may_be_this_server() {
    let other = GOOD.replace("issuer.main", "issuer.other");
    let problems = problems_of(&format!("{GOOD}{other}"));
    assert_eq!(
        problems,
        [
            "server.toml:7: `issuer.other` has the same iss as issuer.main; tokens could not be told apart"
        ]
    );
    let ours = GOOD.replace("https://id.example/'\naud", "fieldbook'\naud");
    assert!(problems_of(&ours)[0].contains("somebody else's"), "{:?}", problems_of(&ours));
}

#[test]
fn keys_that_exclude_each_other_and_bad_values_are_refused() {
    for (line, expected) in [
        ("jwks_file = 'keys.json'", "has both jwks_file and jwks_url"),
        ("workspace_claim = 'org'", "has both workspace and workspace_claim"),
        ("leeway_s = 31", "must be between 0 and 30, not 31"),
        ("max_lifetime_s = 86401", "must be between 60 and 86400"),
        ("algorithms = ['RS256', 'HS256']", "not \"HS256\""),
        ("algorithms = ['none']", "not \"none\""),
        ("algorithms = ['rs256']", "not \"rs256\""),
        ("algorithms = []", "must be some of RS256, ES256, EdDSA"),
        ("audience_rule = 'any'", "must be one of only, among"),
        ("start_claim = 'exp'", "must be one of nbf, iat"),
        ("jwksurl = 'x'", "unknown key; did you mean jwks_url?"),
        ("secret = 'x'", "unknown key"),
    ] {
        let problems = problems_of(&format!("{GOOD}{line}\n"));
        assert_eq!(problems.len(), 1, "{line}: {problems:?}");
        assert!(problems[0].contains(expected), "{line}: {}", problems[0]);
    }
    for text in ["issuer = 5", "[issuer]\nmain = 'x'", "[issuer.'Ma in']\niss = 'a'"] {
        assert!(!problems_of(text).is_empty(), "{text}");
    }
}

#[test]
fn keys_come_over_tls_or_from_this_machine_only() {
    for good in [
        "https://id.example/keys",
        "https://id.example:8443",
        "http://localhost:8080/keys",
        "http://127.0.0.1/keys",
        "http://127.9.9.9/keys",
        "http://[::1]:80/keys",
    ] {
        assert!(good.parse::<KeyUrl>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "keys.json",
        "/keys",
        "http://id.example/keys",
        "http://10.0.0.1/keys",
        "http://localhost.evil.example/keys",
        "http://127.0.0.1.evil.example/keys",
        "http://[::2]/keys",
        "http://localhost@evil.example/keys",
        "https://user:password@id.example/keys",
        "file:///etc/passwd",
        "ftp://id.example/keys",
        "https://",
        "https:///keys",
        "HTTPS:/id.example",
        "https://id.example/\nkeys",
    ] {
        assert!(bad.parse::<KeyUrl>().is_err(), "{bad}");
    }
    assert!(format!("https://id.example/{}", "k".repeat(2_048)).parse::<KeyUrl>().is_err());
}
