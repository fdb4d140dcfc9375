//! Who the user is, over time: tokens that end, are refused or are taken away, and what a server may demand.

use crdt_core::protocol::{NewToken, TokenTaken};

use super::*;
use crate::config::TokenReason;

/// The server's clock at the welcome.
const SERVER_NOON: i64 = 1_700_000_000_000;

/// Live with a token that ends in so many milliseconds.
fn live_for(millis: i64) -> Rig {
    let mut rig = Rig::new(1);
    rig.give(Input::Start);
    rig.connect();
    let token_expires = Timestamp::from_millis(SERVER_NOON + millis);
    rig.receive(&Message::Welcome(Box::new(Welcome { token_expires, ..welcome(0) })));
    rig.outward.clear();
    rig
}

/// Time passes while the peer answers pings.
fn pass_alive(rig: &mut Rig, millis: u64) {
    for _ in 0..millis / 5_000 {
        rig.pass(5_000);
        rig.give(Input::Heard(rig.connection()));
    }
}

fn is_asked(rig: &mut Rig) -> bool {
    let asked = rig.outward.contains(&Outward::FetchToken);
    rig.outward.retain(|outward| *outward != Outward::FetchToken);
    asked
}

#[test]
fn an_open_session_outlives_its_token() {
    let mut rig = live_for(900_000);
    pass_alive(&mut rig, 770_000);
    assert!(!is_asked(&mut rig), "more than two minutes are left");
    pass_alive(&mut rig, 20_000);
    assert!(is_asked(&mut rig), "more than a minute is left");
    assert_eq!(rig.engine.token_reason(), TokenReason::Expiring);
    rig.sent();
    rig.give(Input::TokenReady(Ok("fresh".into())));
    assert_eq!(rig.sent(), [Message::Token(NewToken { token: "fresh".into() })]);

    let expires = Timestamp::from_millis(SERVER_NOON + 1_800_000);
    rig.receive(&Message::TokenTaken(TokenTaken { expires }));
    pass_alive(&mut rig, 880_000);
    assert!(!is_asked(&mut rig));
    pass_alive(&mut rig, 20_000);
    assert!(is_asked(&mut rig), "and so on");
    assert_eq!(rig.engine.phase(), SyncPhase::Live);
}

#[test]
fn an_app_without_a_fresh_token_is_asked_again_and_the_session_goes_on_meanwhile() {
    let mut rig = live_for(900_000);
    pass_alive(&mut rig, 785_000);
    assert!(is_asked(&mut rig));
    rig.give(Input::TokenReady(Err(TokenFailure::Unavailable("no network".into()))));
    assert_eq!(rig.engine.phase(), SyncPhase::Live);
    assert_eq!(rig.failure(), None);
    pass_alive(&mut rig, 10_000);
    assert!(!is_asked(&mut rig), "not at once");
    pass_alive(&mut rig, 10_000);
    assert!(is_asked(&mut rig));
    // An app that never answers is asked again as well.
    pass_alive(&mut rig, 35_000);
    assert!(is_asked(&mut rig));
    rig.receive(&farewell(GoodbyeCode::TokenExpired, None));
    assert_eq!(rig.failure().map(|(kind, _)| kind), Some(SyncErrorKind::SignIn));
    assert_eq!(rig.engine.phase(), SyncPhase::Offline);
    assert_eq!(rig.engine.token_reason(), TokenReason::Refused);
}

#[test]
fn a_token_that_ends_as_soon_as_the_last_one_is_not_renewed_in_a_loop() {
    let mut rig = live_for(30_000);
    let mut asked = 0;
    for _ in 0..60 {
        rig.pass(1_000);
        rig.give(Input::Heard(rig.connection()));
        if is_asked(&mut rig) {
            asked += 1;
            rig.give(Input::TokenReady(Ok("same".into())));
            let expires = Timestamp::from_millis(SERVER_NOON + 30_000);
            rig.receive(&Message::TokenTaken(TokenTaken { expires }));
        }
    }
    assert!((3..=5).contains(&asked), "asked {asked} times in a minute");
}

#[test]
fn whoever_signs_out_ends_the_session_and_sync_waits_for_the_app() {
    let mut rig = live_for(900_000);
    pass_alive(&mut rig, 785_000);
    assert!(is_asked(&mut rig));
    rig.give(Input::TokenReady(Err(TokenFailure::SignIn("nobody is signed in".into()))));
    assert_eq!(rig.engine.phase(), SyncPhase::NeedsAuth);
    assert_eq!(rig.goodbye(), Some(None));
    rig.pass(3_600_000);
    rig.give(Input::Nudge(Nudge::Network));
    assert!(!is_asked(&mut rig));
    rig.give(Input::Nudge(Nudge::Asked));
    assert!(is_asked(&mut rig));
    assert_eq!(rig.engine.token_reason(), TokenReason::Start);
}

#[test]
fn a_refused_token_is_replaced_once_and_then_somebody_has_to_sign_in() {
    for code in [GoodbyeCode::Unauthorized, GoodbyeCode::TokenExpired] {
        let mut rig = Rig::new(3);
        rig.give(Input::Start);
        assert_eq!(rig.engine.token_reason(), TokenReason::Start);
        rig.connect();
        rig.receive(&farewell(code, None));
        assert_eq!(rig.engine.phase(), SyncPhase::Offline);
        rig.outward.clear();
        rig.pass(1_000);
        assert!(is_asked(&mut rig), "{code:?}");
        assert_eq!(rig.engine.token_reason(), TokenReason::Refused);
        rig.connect();
        rig.receive(&farewell(code, None));
        assert_eq!(rig.engine.phase(), SyncPhase::NeedsAuth, "{code:?}");
        rig.pass(86_400_000);
        assert!(!is_asked(&mut rig), "nobody hammers at the server");
        // The user has signed in: the count begins anew.
        rig.give(Input::Nudge(Nudge::Asked));
        rig.connect();
        rig.receive(&Message::Welcome(Box::new(welcome(0))));
        assert_eq!(rig.engine.phase(), SyncPhase::Live);
    }
}

#[test]
fn a_server_that_answers_http_with_unauthorized_is_treated_alike() {
    let mut rig = Rig::new(4);
    rig.give(Input::Start);
    for phase in [SyncPhase::Offline, SyncPhase::NeedsAuth] {
        rig.give(Input::TokenReady(Ok("token".into())));
        let kind = SyncErrorKind::SignIn;
        let failure = ConnectFailure { kind, text: "401".into(), retry_after_ms: None };
        rig.give(Input::ConnectFailed(rig.connection(), failure));
        assert_eq!(rig.engine.phase(), phase);
        rig.pass(1_000);
    }
}

#[test]
fn changed_access_is_heard_of_at_once_and_is_no_error() {
    let mut rig = Rig::live(0);
    rig.outward.clear();
    rig.changes.clear();
    rig.receive(&farewell(GoodbyeCode::AccessChanged, None));
    rig.pass(0);
    assert!(is_asked(&mut rig), "at once");
    assert_eq!(rig.failure(), None);

    let mut rig = Rig::live(0);
    rig.outward.clear();
    rig.receive(&farewell(GoodbyeCode::AccessChanged, Some(700)));
    rig.pass(699);
    assert!(!is_asked(&mut rig), "a server with many devices spreads them");
    rig.pass(1);
    assert!(is_asked(&mut rig));
}

#[test]
fn a_server_that_sends_a_device_away_again_and_again_is_asked_more_and_more_seldom() {
    let mut rig = Rig::new(5);
    rig.give(Input::Start);
    let mut last = 0;
    for _ in 0..12 {
        rig.connect();
        rig.receive(&Message::Welcome(Box::new(welcome(9))));
        rig.receive(&farewell(GoodbyeCode::AccessChanged, None));
        let before = rig.now;
        while !is_asked(&mut rig) {
            rig.pass(100);
        }
        last = last.max(rig.now - before);
    }
    assert!(last > 5_000, "the longest wait was {last} ms");
}

#[test]
fn a_disabled_member_stops_and_comes_back_when_the_app_asks() {
    let mut rig = Rig::live(0);
    rig.receive(&farewell(GoodbyeCode::MemberDisabled, None));
    assert_eq!(rig.engine.phase(), SyncPhase::Disabled);
    assert_eq!(rig.store.wipes, 0, "the data stays");
    rig.outward.clear();
    rig.pass(86_400_000);
    assert!(!is_asked(&mut rig));
    rig.give(Input::Nudge(Nudge::Asked));
    assert!(is_asked(&mut rig));
}

#[test]
fn a_revoked_device_is_wiped_whatever_is_unsent_and_stays_so() {
    for welcomed in [true, false] {
        let mut rig = if welcomed { Rig::live(0) } else { Rig::new(1) };
        rig.store.unsent = vec![batch(1)];
        rig.give(Input::Start);
        if !welcomed {
            rig.connect();
        }
        rig.receive(&farewell(GoodbyeCode::DeviceRevoked, None));
        assert_eq!((rig.store.wipes, rig.engine.phase()), (1, SyncPhase::Revoked));
        assert_eq!(rig.failure(), Some((SyncErrorKind::Revoked, None)));
        for input in [Input::Nudge(Nudge::Asked), Input::Nudge(Nudge::Network), Input::Stop] {
            rig.give(input);
            assert_eq!(rig.engine.phase(), SyncPhase::Revoked);
        }
    }
}

#[test]
fn a_device_that_could_not_be_wiped_hears_of_it_again() {
    let mut rig = Rig::live(0);
    let text = "the file is locked".to_owned();
    rig.store.failure = Some(StoreFailure { kind: SyncErrorKind::DeviceStore, text });
    rig.receive(&farewell(GoodbyeCode::DeviceRevoked, None));
    assert_eq!(rig.engine.phase(), SyncPhase::Offline);
    rig.pass(60_000);
    rig.connect();
    rig.receive(&farewell(GoodbyeCode::DeviceRevoked, None));
    assert_eq!((rig.store.wipes, rig.engine.phase()), (1, SyncPhase::Revoked));
}

#[test]
fn a_busy_server_is_given_the_time_that_it_asks_for() {
    let mut rig = Rig::live(0);
    rig.receive(&farewell(GoodbyeCode::RateLimited, Some(30_000)));
    rig.outward.clear();
    rig.pass(30_000);
    assert!(!is_asked(&mut rig));
    rig.pass(1_001);
    assert!(is_asked(&mut rig));
}
