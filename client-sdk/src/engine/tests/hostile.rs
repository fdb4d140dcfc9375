//! A server that breaks the protocol, and hosts that say things in any order.

use crdt_core::protocol::{Ack, PagePart};
use proptest::prelude::*;

use super::*;
use crate::config::TokenReason;

#[test]
fn whatever_the_server_may_not_send_ends_the_session_with_a_stated_reason() {
    let part =
        |page, part, last| PagePart { page, part, last, plain_size: 0, bytes: vec![0xff; 9] };
    let stranger = batch(77);
    let violations: Vec<(&str, Message)> = vec![
        ("a hello", Message::Hello(Box::new(FakeStore::default().hello(String::new())))),
        ("a second welcome", Message::Welcome(Box::new(welcome(0)))),
        ("a push", Message::Push(Push { batches: vec![batch(1)], receipt: 0 })),
        ("an acknowledgement", Message::Ack(Ack { page: 0, receipt: 0 })),
        ("a receipt for nothing", Message::Receipts(vec![accepted(1, &stranger)])),
        ("a receipt without number", Message::Receipts(vec![accepted(0, &batch(1))])),
        (
            "a receipt twice",
            Message::Receipts(vec![accepted(1, &batch(1)), accepted(2, &batch(1))]),
        ),
        ("a short receipt for nothing", Message::ShortReceipts(vec![short(1, 77)])),
        ("a short receipt without number", Message::ShortReceipts(vec![short(0, 1)])),
        ("a short receipt twice", Message::ShortReceipts(vec![short(1, 1), short(2, 1)])),
        ("a page out of order", Message::Page(part(2, 0, true))),
        ("a page that begins in the middle", Message::Page(part(1, 1, true))),
        ("a damaged page", Message::Page(part(1, 0, true))),
    ];
    for (what, message) in violations {
        let mut rig = Rig::live(0);
        rig.store.unsent = vec![batch(1)];
        rig.give(Input::Nudge(Nudge::Edited));
        rig.works.clear();
        rig.receive(&message);
        assert_eq!(rig.goodbye(), Some(Some(GoodbyeCode::Protocol)), "{what}");
        assert_eq!(rig.failure().map(|(kind, _)| kind), Some(SyncErrorKind::Protocol), "{what}");
        assert!(rig.works.is_empty(), "{what}: nothing of it is stored");
    }
}

#[test]
fn a_welcome_that_cannot_be_is_not_stored() {
    let twice = vec![accepted(3, &batch(1)), accepted(3, &batch(2))];
    let impossible = [
        Welcome { version: 99, ..welcome(0) },
        Welcome { receipts: twice, ..welcome(0) },
        Welcome { receipts: vec![accepted(0, &batch(1))], ..welcome(0) },
    ];
    for welcome in impossible {
        let mut rig = Rig::new(1);
        rig.give(Input::Start);
        rig.connect();
        rig.works.clear();
        rig.receive(&Message::Welcome(Box::new(welcome)));
        assert_eq!(rig.goodbye(), Some(Some(GoodbyeCode::Protocol)));
        assert!(rig.works.is_empty());
    }
}

#[test]
fn a_server_that_ignores_credit_is_left_before_it_fills_the_memory() {
    let mut rig = Rig::live(100);
    rig.store.speed = Speed::WhenTold;
    for number in 1..=2 {
        rig.receive_page(number, &page(Cursor::at(number), 100));
        assert_eq!(rig.goodbye(), None);
    }
    rig.receive_page(3, &page(Cursor::at(3), 100));
    assert_eq!(rig.goodbye(), Some(Some(GoodbyeCode::Protocol)));
}

#[test]
fn frames_that_are_none_end_the_session_and_those_of_an_ended_connection_change_nothing() {
    for frame in [&[][..], &[7], &[0, 0xff], &[1, 0, 0, 0, 255, 1], &vec![0; 2_000_000]] {
        let mut rig = Rig::live(0);
        let connection = rig.connection();
        rig.give(Input::FrameReceived(connection, frame.to_vec()));
        assert_eq!(rig.goodbye(), Some(Some(GoodbyeCode::Protocol)));
        rig.give(Input::FrameReceived(connection, frame.to_vec()));
        assert!(rig.outward.is_empty());
    }
}

#[test]
fn a_server_that_keeps_breaking_the_protocol_is_asked_seldom() {
    let mut waits = Vec::new();
    for seed in 0..200 {
        let mut rig = Rig::live(1);
        rig.rng = StdRng::seed_from_u64(seed);
        rig.receive_page(1, &page(Cursor::at(1), 1));
        rig.receive(&Message::Ack(Ack { page: 0, receipt: 0 }));
        waits.extend(rig.failure().and_then(|(_, wait)| wait));
    }
    assert!(waits.iter().sum::<u64>() / 200 > 10_000);
}

/// Anything that can happen, sensible or not.
fn any_input() -> impl Strategy<Value = Input> {
    let connection = (0..4_u64).prop_map(ConnectionId);
    let number = 0..4_u64;
    let kind = Just(SyncErrorKind::Network);
    prop_oneof![
        Just(Input::Start),
        Just(Input::Stop),
        prop_oneof![Just(Nudge::Edited), Just(Nudge::Network), Just(Nudge::Asked)]
            .prop_map(Input::Nudge),
        Just(Input::TokenReady(Ok("token".into()))),
        Just(Input::TokenReady(Err(TokenFailure::Unavailable("later".into())))),
        Just(Input::TokenReady(Err(TokenFailure::SignIn("signed out".into())))),
        connection.clone().prop_map(Input::Connected),
        (connection.clone(), kind, proptest::option::of(any::<u64>())).prop_map(
            |(connection, kind, retry_after_ms)| {
                let text = String::new();
                Input::ConnectFailed(connection, ConnectFailure { kind, text, retry_after_ms })
            }
        ),
        (connection.clone(), any_frame()).prop_map(|(c, frame)| Input::FrameReceived(c, frame)),
        connection.clone().prop_map(Input::Heard),
        connection.prop_map(|connection| Input::Disconnected(connection, String::new())),
        Just(Input::Tick),
        Just(Input::HelloReady(Box::new(FakeStore::default().hello(String::new())))),
        any_cursor().prop_map(|cursor| Input::WelcomeStored {
            cursor,
            exceptions: Vec::new(),
            fetch: vec![1],
        }),
        Just(Input::ReceiptsStored { fetch: vec![1, 2] }),
        Just(Input::ReplicaRenewed),
        Just(Input::Wiped),
        number.clone().prop_map(|number| Input::PageStored { number, fetch: vec![3] }),
        proptest::collection::vec(number.prop_map(batch), 0..4).prop_map(Input::OutboxRead),
        kind.prop_map(|kind| Input::StoreFailed(StoreFailure { kind, text: String::new() })),
    ]
}

fn any_cursor() -> impl Strategy<Value = Cursor> {
    (0..4_u64, proptest::option::of(0..4_u64)).prop_map(|(position, from)| {
        let from = from.filter(|from| *from <= position);
        Cursor { position, from }
    })
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let number = 0..4_u64;
    let code = prop_oneof![
        Just(GoodbyeCode::Restart),
        Just(GoodbyeCode::TokenExpired),
        Just(GoodbyeCode::LeaseOutdated),
        Just(GoodbyeCode::AccessChanged),
        Just(GoodbyeCode::DeviceRevoked),
        Just(GoodbyeCode::MemberDisabled),
        Just(GoodbyeCode::Unauthorized),
        Just(GoodbyeCode::UnknownEpoch)
    ];
    let message = prop_oneof![
        4 => number.clone().prop_map(|head| Message::Welcome(Box::new(welcome(head)))),
        1 => (any::<i64>(), any::<i64>()).prop_map(|(time, ends)| {
            let (server_time, token_expires) =
                (Timestamp::from_millis(time), Timestamp::from_millis(ends));
            Message::Welcome(Box::new(Welcome { server_time, token_expires, ..welcome(1) }))
        }),
        1 => any::<i64>().prop_map(|ends| {
            let expires = Timestamp::from_millis(ends);
            Message::TokenTaken(TokenTaken { expires })
        }),
        2 => (number.clone(), number.clone())
            .prop_map(|(number, of)| Message::Receipts(vec![accepted(number, &batch(of))])),
        1 => (number.clone(), number.clone())
            .prop_map(|(number, of)| Message::Receipts(vec![refused(number, &batch(of))])),
        2 => (number.clone(), number.clone())
            .prop_map(|(number, of)| Message::ShortReceipts(vec![short(number, of)])),
        4 => (number.clone(), any_cursor()).prop_map(|(number, cursor)| {
            let parts: Vec<PagePart> = PageParts::new(&page(cursor, 3)).parts(number).collect();
            Message::Page(parts[0].clone())
        }),
        1 => number.prop_map(|page| Message::Ack(Ack { page, receipt: 0 })),
        1 => (code, proptest::option::of(any::<u64>())).prop_map(|(c, after)| farewell(c, after)),
    ];
    prop_oneof![
        12 => message.prop_map(|message| encode_frame(&message)),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Gives an input, and remembers whether this session's welcome is stored.
fn give(engine: &mut Engine, rng: &mut StdRng, now: u64, input: Input, stored: &mut bool) {
    let storing = engine.jobs.is_storing_welcome();
    let welcomes = storing && matches!(input, Input::WelcomeStored { .. });
    let mut works = 0;
    if welcomes {
        *stored = true;
    }
    for effect in engine.handle(now, rng, input) {
        match effect {
            Effect::Outward(Outward::Send(frame)) => {
                let message = decode_frame(&frame).expect("the engine sends good frames");
                assert!(*stored || !matches!(message, Message::Push(_)), "pushed before welcome");
            }
            Effect::Outward(Outward::Disconnect { .. }) => *stored = false,
            // An open session that needs a fresh token goes on.
            Effect::Outward(Outward::FetchToken) => {
                *stored &= engine.token_reason() == TokenReason::Expiring;
            }
            Effect::Outward(Outward::WakeAt(at)) => assert!(at >= now),
            Effect::Store(_) => works += 1,
            Effect::Outward(
                Outward::Connect(_) | Outward::Ping | Outward::ErasureAnswered { .. },
            )
            | Effect::Status(_) => {}
        }
    }
    assert!(works <= 1, "one piece of work at a time");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_order_of_inputs_panics_or_pushes_before_the_welcome_is_stored(
        inputs in proptest::collection::vec((any_input(), 0..40_000_u64), 0..80),
        seed in any::<u64>(),
        begins_live in any::<bool>(),
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut engine = Engine::new();
        let mut stored = false;
        let mut now = 0;
        if begins_live {
            let hello = Box::new(FakeStore::default().hello(String::new()));
            let welcome = encode_frame(&Message::Welcome(Box::new(welcome(3))));
            for input in [
                Input::Start,
                Input::TokenReady(Ok("token".into())),
                Input::Connected(ConnectionId(1)),
                Input::HelloReady(hello),
                Input::FrameReceived(ConnectionId(1), welcome),
            ] {
                give(&mut engine, &mut rng, now, input, &mut stored);
            }
        }
        for (input, passed) in inputs {
            now += passed;
            give(&mut engine, &mut rng, now, input, &mut stored);
        }
    }
}
