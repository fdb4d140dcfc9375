//! Keeping keys fresh: what is decided when, without a network.

use super::super::cache::{Cache, Found, Pace};
use super::super::jwks::KeySet;
use super::material::{Signer, all_algorithms, jwks};

const PACE: Pace = Pace { ttl_ms: 600_000, gap_ms: 60_000, stale_ms: 86_400_000 };

fn set(kids: &[&'static str]) -> KeySet {
    let signers: Vec<Signer> = kids.iter().map(|kid| Signer::ed(kid)).collect();
    let text = jwks(&signers.iter().collect::<Vec<_>>());
    KeySet::parse(text.as_bytes(), &all_algorithms()).unwrap().0
}

fn answered(now: u64, kids: &[&'static str]) -> Cache {
    let mut cache = Cache::new(PACE);
    assert_eq!(cache.due_at(), 0, "the first question is due at once");
    assert!(cache.begin(now));
    cache.finish(now, Some(set(kids)));
    cache
}

#[test]
fn a_known_key_never_waits_not_even_while_the_issuer_is_asked() {
    let mut cache = answered(0, &["old"]);
    assert!(cache.begin(600_000));
    assert!(matches!(cache.find("old", 600_000), Found::Key(_)));
    assert!(matches!(cache.find("new", 600_000), Found::AskFor), "an answer is on its way");
}

#[test]
fn an_unknown_key_is_asked_for_at_most_once_a_minute() {
    let mut cache = answered(0, &["old"]);
    assert!(matches!(cache.find("new", 59_999), Found::Unknown));
    assert!(!cache.begin(59_999));
    assert!(matches!(cache.find("new", 60_000), Found::AskFor));
    assert!(cache.begin(60_000) && !cache.begin(60_000));
    cache.finish(60_500, Some(set(&["new"])));
    assert!(matches!(cache.find("new", 60_500), Found::Key(_)));
    assert!(matches!(cache.find("old", 60_500), Found::Unknown), "a withdrawn key is gone");
}

#[test]
fn keys_are_asked_for_again_when_they_are_old_and_more_often_while_that_fails() {
    let mut cache = answered(0, &["old"]);
    assert_eq!(cache.due_at(), 600_000);
    assert!(cache.begin(600_000));
    cache.finish(605_000, None);
    assert_eq!(cache.due_at(), 660_000);
    assert!(cache.begin(660_000));
    cache.finish(660_001, Some(set(&["old"])));
    assert_eq!(cache.due_at(), 1_260_001);
}

#[test]
fn keys_outlive_a_silent_issuer_for_a_day_and_no_longer() {
    let mut cache = answered(0, &["old"]);
    for minute in 10..1_440 {
        assert!(cache.begin(minute * 60_000));
        cache.finish(minute * 60_000, None);
        assert!(matches!(cache.find("old", minute * 60_000), Found::Key(_)));
    }
    assert!(matches!(cache.find("old", 86_399_999), Found::Key(_)));
    assert!(matches!(cache.find("old", 86_400_000), Found::AskFor));
    assert!(cache.begin(86_400_000));
    cache.finish(86_400_001, None);
    assert!(matches!(cache.find("old", 86_400_001), Found::NoKeys));
}

#[test]
fn without_any_keys_a_token_waits_for_the_first_answer() {
    let mut cache = Cache::new(PACE);
    assert!(matches!(cache.find("any", 0), Found::AskFor));
    assert!(cache.begin(0));
    cache.finish(5_000, None);
    assert!(matches!(cache.find("any", 5_000), Found::NoKeys));
}
