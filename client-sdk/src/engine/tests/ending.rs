//! How sessions end, and what comes after.

use super::*;
use crate::engine::backoff::ceiling_ms;
use crate::status::RefusedKind;

#[test]
fn attempts_that_fail_wait_longer_and_longer_up_to_a_minute() {
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        rig.give(Input::Start);
        for attempt in 0..12 {
            rig.give(Input::TokenReady(Ok("token".into())));
            let kind = SyncErrorKind::Network;
            let failure = ConnectFailure { kind, text: "refused".into(), retry_after_ms: None };
            rig.give(Input::ConnectFailed(rig.connection(), failure));
            let (_, wait) = rig.failure().expect("a failed attempt is reported");
            let wait = wait.expect("another attempt follows");
            assert!((1..=ceiling_ms(attempt)).contains(&wait), "seed {seed}: {wait} ms");
            assert_eq!(rig.engine.phase(), SyncPhase::Offline);
            rig.outward.clear();
            rig.pass(wait - 1);
            assert!(!rig.outward.contains(&Outward::FetchToken));
            rig.pass(1);
            assert!(rig.outward.contains(&Outward::FetchToken));
        }
    }
}

#[test]
fn an_attempt_that_hangs_is_made_anew_when_the_network_changes() {
    let mut rig = Rig::new(1);
    rig.give(Input::Start);
    rig.give(Input::TokenReady(Ok("token".into())));
    let first = rig.connection();
    rig.outward.clear();
    rig.pass(1_000);
    rig.give(Input::Nudge(Nudge::Network));
    assert_eq!(rig.outward, [], "a young attempt may come from the new network");
    rig.pass(5_000);
    rig.give(Input::Nudge(Nudge::Network));
    assert!(rig.outward.contains(&Outward::Disconnect { goodbye: None }));
    rig.give(Input::TokenReady(Ok("token".into())));
    assert_ne!(rig.connection(), first);
    // The old attempt's outcome is nobody's business any more.
    rig.give(Input::Connected(first));
    assert!(rig.sent().is_empty());
}

#[test]
fn an_alarm_that_rings_early_is_set_again_and_no_attempt_is_missed() {
    let mut rig = Rig::live(1);
    rig.give(Input::Disconnected(rig.connection(), "cut".into()));
    let at = rig.engine.wake_at.expect("there is another attempt");
    rig.now = at - 1;
    rig.outward.clear();
    rig.give(Input::Tick);
    assert_eq!(rig.outward, [Outward::WakeAt(at)]);
    rig.pass(1);
    assert!(rig.outward.contains(&Outward::FetchToken));
}

#[test]
fn a_page_that_catches_up_or_a_stable_minute_makes_the_next_wait_short() {
    for good in [true, false] {
        let mut rig = Rig::live(1);
        rig.engine.attempt = 9;
        if good {
            rig.receive_page(1, &page(Cursor::at(1), 1));
        } else {
            rig.pass(59_000);
            rig.give(Input::Heard(rig.connection()));
            assert_eq!(rig.engine.attempt, 9);
            rig.pass(2_000);
        }
        rig.give(Input::Disconnected(rig.connection(), "cut".into()));
        let wait = rig.failure().and_then(|(_, wait)| wait);
        if good {
            assert!(wait.is_some_and(|wait| wait <= 1_000));
        } else {
            assert_eq!(rig.engine.attempt, 1, "one attempt since the good session");
        }
    }
}

#[test]
fn each_goodbye_has_its_consequence() {
    use GoodbyeCode as Code;
    let halts = [
        (Code::Version, SyncPhase::UpgradeRequired, SyncErrorKind::UpgradeRequired),
        (Code::MemberDisabled, SyncPhase::Disabled, SyncErrorKind::Disabled),
        (Code::ReplicaTaken, SyncPhase::Refused(RefusedKind::ReplicaTaken), SyncErrorKind::Refused),
        (Code::UnknownEpoch, SyncPhase::Refused(RefusedKind::UnknownEpoch), SyncErrorKind::Refused),
    ];
    for (code, phase, kind) in halts {
        for welcomed in [true, false] {
            let mut rig = if welcomed { Rig::live(0) } else { Rig::new(1) };
            rig.give(Input::Start);
            if !welcomed {
                rig.connect();
            }
            rig.receive(&farewell(code, None));
            assert_eq!(rig.engine.phase(), phase);
            assert_eq!(rig.failure(), Some((kind, None)));
            assert_eq!(rig.goodbye(), Some(None));
            rig.pass(3_600_000);
            rig.give(Input::Nudge(Nudge::Network));
            rig.give(Input::Nudge(Nudge::Edited));
            assert_eq!(rig.engine.phase(), phase, "{code:?} waits for somebody");
        }
    }
    let waits = [
        (Code::Protocol, SyncErrorKind::Protocol),
        (Code::TokenExpired, SyncErrorKind::SignIn),
        (Code::Unauthorized, SyncErrorKind::SignIn),
        (Code::RateLimited, SyncErrorKind::ServerBusy),
        (Code::Busy, SyncErrorKind::ServerBusy),
        (Code::Superseded, SyncErrorKind::Superseded),
        (Code::SlowConsumer, SyncErrorKind::ServerBusy),
        (Code::Timeout, SyncErrorKind::Timeout),
        (Code::Restart, SyncErrorKind::ServerBusy),
        (Code::StorageFull, SyncErrorKind::ServerBusy),
        (Code::Internal, SyncErrorKind::ServerBusy),
        (Code::Unknown(99), SyncErrorKind::ServerBusy),
    ];
    for (code, kind) in waits {
        let mut rig = Rig::live(0);
        rig.receive(&farewell(code, None));
        assert_eq!(rig.engine.phase(), SyncPhase::Offline);
        assert_eq!(rig.failure().map(|(kind, _)| kind), Some(kind), "{code:?}");
        rig.pass(61_000);
        assert!(rig.outward.contains(&Outward::FetchToken), "{code:?}");
    }
}

#[test]
fn a_server_that_asks_for_time_gets_it_also_when_the_network_comes_back() {
    let mut rig = Rig::live(0);
    rig.receive(&farewell(GoodbyeCode::Restart, Some(30_000)));
    rig.outward.clear();
    rig.pass(30_000);
    rig.give(Input::Nudge(Nudge::Network));
    assert!(!rig.outward.contains(&Outward::FetchToken));
    rig.give(Input::Nudge(Nudge::Asked));
    assert!(rig.outward.contains(&Outward::FetchToken), "a person who asks is not made to wait");
}

#[test]
fn a_network_that_comes_back_ends_the_wait() {
    let mut rig = Rig::live(0);
    rig.give(Input::Disconnected(rig.connection(), "cut".into()));
    rig.outward.clear();
    rig.give(Input::Nudge(Nudge::Edited));
    assert!(rig.outward.is_empty(), "an edit says nothing about the network");
    rig.give(Input::Nudge(Nudge::Network));
    assert!(rig.outward.contains(&Outward::FetchToken));
}

#[test]
fn a_user_who_has_signed_in_is_tried_again_and_a_refused_database_only_after_a_restart() {
    let mut rig = Rig::new(1);
    rig.give(Input::Start);
    rig.give(Input::TokenReady(Err(TokenFailure::SignIn("signed out".into()))));
    assert_eq!(rig.engine.phase(), SyncPhase::NeedsAuth);
    rig.outward.clear();
    rig.give(Input::Nudge(Nudge::Asked));
    assert!(rig.outward.contains(&Outward::FetchToken));

    let mut rig = Rig::live(0);
    rig.receive(&farewell(GoodbyeCode::ReplicaTaken, None));
    rig.outward.clear();
    rig.give(Input::Nudge(Nudge::Asked));
    assert!(rig.outward.is_empty());
    rig.give(Input::Stop);
    rig.give(Input::Start);
    assert!(rig.outward.contains(&Outward::FetchToken));
}

#[test]
fn a_copy_becomes_a_replica_of_its_own_and_is_refused_when_no_new_name_helps() {
    let mut rig = Rig::live(0);
    for renewals in 1..=2 {
        rig.receive(&farewell(GoodbyeCode::LeaseOutdated, None));
        assert_eq!(rig.store.renewals, renewals);
        assert_eq!(rig.failure(), Some((SyncErrorKind::Refused, None)));
        rig.pass(1_000);
        rig.connect();
        rig.receive(&Message::Welcome(Box::new(welcome(0))));
        assert_eq!(rig.engine.phase(), SyncPhase::Live, "a welcome shows that it helped");
    }
    // It may have been copied again under its new name.
    for renewals in 3..=5 {
        rig.receive(&farewell(GoodbyeCode::LeaseOutdated, None));
        assert_eq!(rig.store.renewals, renewals);
        rig.pass(1_000);
        rig.connect();
    }
    rig.receive(&farewell(GoodbyeCode::LeaseOutdated, None));
    assert_eq!(rig.store.renewals, 5);
    assert_eq!(rig.engine.phase(), SyncPhase::Refused(RefusedKind::LeaseOutdated));
}

#[test]
fn an_expired_token_is_replaced_at_once_and_two_in_a_row_need_the_user() {
    let mut rig = Rig::live(0);
    rig.receive(&farewell(GoodbyeCode::TokenExpired, None));
    rig.pass(1_000);
    rig.connect();
    rig.receive(&farewell(GoodbyeCode::TokenExpired, None));
    assert_eq!(rig.engine.phase(), SyncPhase::NeedsAuth);

    // A welcome in between shows that the provider gives good tokens.
    let mut rig = Rig::live(0);
    for _ in 0..5 {
        rig.receive(&farewell(GoodbyeCode::TokenExpired, None));
        assert_eq!(rig.engine.phase(), SyncPhase::Offline);
        rig.pass(61_000);
        rig.connect();
        rig.receive(&Message::Welcome(Box::new(welcome(0))));
    }
}

#[test]
fn a_silent_peer_is_pinged_twice_and_then_left() {
    let mut rig = Rig::live(0);
    rig.outward.clear();
    rig.pass(74_999);
    let pings = rig.outward.iter().filter(|outward| **outward == Outward::Ping).count();
    assert_eq!(pings, 2);
    assert_eq!(rig.engine.phase(), SyncPhase::Live);
    rig.pass(1);
    assert_eq!(rig.engine.phase(), SyncPhase::Offline);
    assert_eq!(rig.goodbye(), Some(Some(GoodbyeCode::Timeout)));
}

#[test]
fn a_peer_that_answers_pings_is_kept_for_ever() {
    let mut rig = Rig::live(0);
    for _ in 0..500 {
        rig.outward.clear();
        rig.pass(25_000);
        assert_eq!(rig.outward.iter().filter(|o| **o == Outward::Ping).count(), 1);
        rig.give(Input::Heard(rig.connection()));
    }
    assert_eq!(rig.engine.phase(), SyncPhase::Live);
}

#[test]
fn after_a_change_of_network_one_missed_ping_is_enough() {
    let mut rig = Rig::live(0);
    rig.outward.clear();
    rig.give(Input::Nudge(Nudge::Network));
    assert!(rig.outward.contains(&Outward::Ping));
    rig.pass(25_000);
    assert_eq!(rig.engine.phase(), SyncPhase::Offline);
}

#[test]
fn whatever_does_not_come_in_time_ends_the_attempt() {
    let prepare: [fn(&mut Rig); 4] = [
        |_| {},
        |rig| rig.give(Input::TokenReady(Ok("token".into()))),
        |rig| {
            rig.store.speed = Speed::WhenTold;
            rig.connect();
        },
        Rig::connect,
    ];
    for prepare in prepare {
        let mut rig = Rig::new(1);
        rig.give(Input::Start);
        prepare(&mut rig);
        assert_eq!(rig.engine.phase(), SyncPhase::Connecting);
        rig.pass(30_000);
        assert_eq!(rig.failure().map(|(kind, _)| kind), Some(SyncErrorKind::Timeout));
    }
}

#[test]
fn a_store_that_fails_ends_the_session_and_nothing_after_the_failure_is_stored() {
    let mut rig = Rig::live(9);
    rig.store.speed = Speed::WhenTold;
    rig.receive_page(1, &page(Cursor::at(4), 9));
    rig.receive_page(2, &page(Cursor::at(9), 9));
    rig.works.clear();
    let kind = SyncErrorKind::DeviceFull;
    rig.store.failure = Some(StoreFailure { kind, text: "full".into() });
    rig.answer();
    assert_eq!(rig.failure().map(|(kind, _)| kind), Some(kind));
    assert_eq!(rig.goodbye(), Some(Some(GoodbyeCode::Internal)));
    assert!(rig.works.is_empty(), "the second page's cursors would cover the first page");
    assert_eq!(rig.store.cursor, Cursor::default());
}

#[test]
fn work_of_an_ended_session_is_finished_before_the_next_hello_is_made() {
    let mut rig = Rig::live(9);
    rig.store.speed = Speed::WhenTold;
    rig.receive_page(1, &page(Cursor::at(4), 9));
    let late = rig.store.pending.take().expect("the page is being stored");
    rig.give(Input::Stop);
    rig.give(Input::Start);
    rig.works.clear();
    rig.connect();
    assert!(rig.works.is_empty(), "its hello would name a cursor that is about to move");
    let answer = rig.store.answer(late);
    rig.give(answer);
    rig.answer();
    let sent = rig.sent();
    let Some(Message::Hello(hello)) = sent.last() else { panic!("the hello is sent") };
    assert_eq!(hello.cursor, Cursor::at(4));
}

#[test]
fn stopping_ends_everything_at_once() {
    let mut rig = Rig::live(9);
    rig.give(Input::Stop);
    assert_eq!(rig.goodbye(), Some(None));
    assert_eq!(rig.engine.phase(), SyncPhase::Stopped);
    let connection = rig.connection();
    rig.outward.clear();
    rig.receive_page(1, &page(Cursor::at(4), 9));
    rig.give(Input::Disconnected(connection, "closed".into()));
    rig.pass(3_600_000);
    assert!(rig.outward.is_empty());
}
