//! The promises of a session, as loops over values: what it answers, what it refuses, and that nothing
//! follows a close.

#[path = "support/shared.rs"]
mod support;

use crdt_core::id::{BatchId, Epoch, Lease, MemberId, RecordId};
use crdt_core::limits;
use crdt_core::protocol::{
    Ack, Batch, Entry, EraseRecord, Erasure, Fetch, Goodbye, GoodbyeCode, Message, NewToken,
    Outcome, Page, PeerLimits, Push, Receipt, TokenTaken, Welcome, decode_frame, encode_frame,
};
use crdt_core::time::Timestamp;
use proptest::prelude::*;
use sync_server::session::{Bounds, BuiltPage, Effect, Greeted, Input, Renewed, Session};

use support::device::Device;

const PEER: PeerLimits = PeerLimits { batches_in_flight: 4, pages_in_flight: 3 };
const BOUNDS: Bounds = Bounds { peer: PEER, idle_timeout_ms: 60_000, handshake_timeout_ms: 10_000 };
const EXPIRES_AT: u64 = 1_000_000;

fn welcome() -> Box<Welcome> {
    Box::new(Welcome {
        version: 1,
        epoch: Epoch([7; 16]),
        lineage: Vec::new(),
        lease: Lease([1; 16]),
        receipts: Vec::new(),
        scopes: vec!["all".to_owned()],
        limits: PEER,
        server_time: Timestamp::from_millis(0),
        schema: None,
        backed_up_to: 0,
        head: 0,
        member: MemberId(Default::default()),
        member_name: String::new(),
        policy_version: 0,
        policy: None,
        standing: crdt_core::policy::Standing::unlisted(MemberId(Default::default())),
        token_expires: Timestamp::from_millis(4_000_000_000_000),
        recovery: crdt_core::protocol::Recovery::Unknown,
    })
}

fn greeted() -> Input {
    Input::Greeted(Ok(Greeted { welcome: welcome(), expires_at: EXPIRES_AT }))
}

fn frame(message: &Message) -> Input {
    Input::Frame(encode_frame(message))
}

fn hello() -> Input {
    let device = Device::new(1, MemberId(Default::default()));
    frame(&Message::Hello(Box::new(device.hello())))
}

fn batch(n: u8) -> Batch {
    let id = BatchId([n; 16]);
    Batch { id, number: 1, schema_version: 1, policy_version: 0, documents: Vec::new() }
}

fn push(batches: u8, receipt: u64) -> Input {
    frame(&Message::Push(Push { batches: (0..batches).map(batch).collect(), receipt }))
}

fn receipts(count: u8) -> Input {
    let receipt = |n: u8| Receipt {
        number: u64::from(n),
        batch: BatchId([n; 16]),
        outcome: Outcome::Refused { reasons: Vec::new() },
        policy_version: 0,
        erased: Vec::new(),
    };
    Input::Receipts((0..count).map(receipt).collect())
}

fn ack(page: u64) -> Input {
    frame(&Message::Ack(Ack { page, receipt: 0 }))
}

fn page() -> Input {
    let page = Page {
        cursors: Vec::new(),
        entries: Vec::new(),
        authors: Vec::new(),
        head: 1,
        dropped: Vec::new(),
    };
    Input::PageBuilt(Some(BuiltPage::new(&page, 0)))
}

/// A session that has been greeted and whose first page had nothing to say.
fn live() -> Session {
    let mut session = Session::new(BOUNDS, 0);
    assert!(matches!(session.handle(0, hello())[..], [Effect::Greet(_)]));
    let effects = session.handle(0, greeted());
    let [Effect::Send(frame), Effect::BuildPage { flush: true }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(matches!(decode_frame(frame), Ok(Message::Welcome(_))));
    assert!(session.handle(0, Input::PageBuilt(None)).is_empty());
    session
}

/// The effects are a goodbye with this code and nothing else.
#[track_caller]
fn assert_closes(session: &Session, effects: &[Effect], code: GoodbyeCode) {
    let [Effect::Send(frame), Effect::Close(goodbye)] = effects else { panic!("{effects:?}") };
    assert_eq!(goodbye.code, code);
    assert_eq!(decode_frame(frame), Ok(Message::Goodbye(goodbye.clone())));
    assert!(session.is_closed());
}

#[test]
fn nothing_but_a_hello_comes_first() {
    for input in [push(1, 0), ack(0), frame(&Message::Fetch(Fetch { documents: vec![1] }))] {
        let mut session = Session::new(BOUNDS, 0);
        let effects = session.handle(1, input);
        assert_closes(&session, &effects, GoodbyeCode::Protocol);
    }
}

#[test]
fn a_second_hello_and_what_only_a_server_says_end_the_session() {
    let from_server =
        [frame(&Message::Welcome(welcome())), frame(&Message::Receipts(Vec::new())), hello()];
    for input in from_server {
        let mut session = live();
        let effects = session.handle(1, input);
        assert_closes(&session, &effects, GoodbyeCode::Protocol);
    }
    let mut greeting = Session::new(BOUNDS, 0);
    assert_eq!(greeting.handle(0, hello()).len(), 1);
    let effects = greeting.handle(0, hello());
    assert_closes(&greeting, &effects, GoodbyeCode::Protocol);
    assert!(greeting.handle(0, greeted()).is_empty(), "the judgement comes too late");
}

fn token() -> Input {
    frame(&Message::Token(NewToken { token: "a newer one".to_owned() }))
}

#[test]
fn a_newer_token_moves_the_end_of_the_session() {
    let mut session = live();
    let effects = session.handle(10, token());
    assert!(matches!(&effects[..], [Effect::VerifyToken(token)] if token == "a newer one"));
    let expires = Timestamp::from_millis(1_800_000_000_000);
    let renewed = Renewed { expires, expires_at: 2 * EXPIRES_AT };
    let effects = session.handle(20, Input::TokenVerified(Ok(renewed)));
    let [Effect::Send(frame)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(decode_frame(frame), Ok(Message::TokenTaken(TokenTaken { expires })));
    assert!(session.handle(EXPIRES_AT, Input::Heard).is_empty());
    assert!(session.handle(EXPIRES_AT + 1, Input::Tick).is_empty(), "the old end has passed");
    assert!(session.handle(2 * EXPIRES_AT, Input::Heard).is_empty());
    let effects = session.handle(2 * EXPIRES_AT, Input::Tick);
    assert_closes(&session, &effects, GoodbyeCode::TokenExpired);
}

#[test]
fn a_bad_token_on_an_open_session_ends_it() {
    let mut session = live();
    assert_eq!(session.handle(10, token()).len(), 1);
    let (code, text) = (GoodbyeCode::Unauthorized, "somebody else's".to_owned());
    let goodbye = Goodbye { code, text, retry_after_ms: None };
    let effects = session.handle(20, Input::TokenVerified(Err(goodbye)));
    assert_closes(&session, &effects, code);
}

#[test]
fn tokens_are_judged_one_at_a_time_and_only_after_the_handshake() {
    let mut session = live();
    assert_eq!(session.handle(10, token()).len(), 1);
    let effects = session.handle(11, token());
    assert_closes(&session, &effects, GoodbyeCode::Protocol);
    let mut session = Session::new(BOUNDS, 0);
    let effects = session.handle(0, token());
    assert_closes(&session, &effects, GoodbyeCode::Protocol);
    let mut greeting = Session::new(BOUNDS, 0);
    assert_eq!(greeting.handle(0, hello()).len(), 1);
    let effects = greeting.handle(0, token());
    assert_closes(&greeting, &effects, GoodbyeCode::Protocol);
    let mut session = live();
    let taken = TokenTaken { expires: Timestamp::from_millis(0) };
    let effects = session.handle(1, frame(&Message::TokenTaken(taken)));
    assert_closes(&session, &effects, GoodbyeCode::Protocol);
}

#[test]
fn a_refused_hello_is_told_why() {
    let mut session = Session::new(BOUNDS, 0);
    assert_eq!(session.handle(0, hello()).len(), 1);
    let code = GoodbyeCode::LeaseOutdated;
    let goodbye = Goodbye { code, text: "a copy".to_owned(), retry_after_ms: None };
    let effects = session.handle(0, Input::Greeted(Err(goodbye)));
    assert_closes(&session, &effects, code);
}

#[test]
fn batches_are_handed_on_up_to_what_was_granted() {
    let mut session = live();
    let effects = session.handle(1, push(3, 7));
    let [Effect::Acknowledge(7), Effect::Submit(batches)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(batches.len(), 3);
    assert_eq!(session.handle(1, push(1, 0)).len(), 1);
    let [Effect::Send(sent)] = &session.handle(1, receipts(2))[..] else { panic!() };
    assert!(matches!(decode_frame(sent), Ok(Message::Receipts(list)) if list.len() == 2));
    assert_eq!(session.handle(1, push(2, 0)).len(), 1);
    let effects = session.handle(1, push(1, 0));
    assert_closes(&session, &effects, GoodbyeCode::Protocol);
}

#[test]
fn an_acknowledgement_of_a_page_that_was_never_sent_ends_the_session() {
    let mut session = live();
    assert!(session.handle(1, ack(0)).is_empty());
    let effects = session.handle(1, ack(1));
    assert_closes(&session, &effects, GoodbyeCode::Protocol);
}

#[test]
fn frames_that_are_none_end_the_session() {
    let oversize = vec![0; limits::FRAME_BYTES_MAX + 1];
    let bomb = [&[1, 0xff, 0xff, 0xff, 0xff][..], &[0; 40]].concat();
    for bytes in [vec![], vec![9, 9, 9], vec![0, 0xff, 0xff], oversize, bomb] {
        for mut session in [Session::new(BOUNDS, 0), live()] {
            let effects = session.handle(1, Input::Frame(bytes.clone()));
            assert_closes(&session, &effects, GoodbyeCode::Protocol);
        }
    }
    let mut session = live();
    let effects = session.handle(1, Input::Text);
    assert_closes(&session, &effects, GoodbyeCode::Protocol);
}

#[test]
fn who_says_no_hello_in_time_is_sent_away() {
    let mut session = Session::new(BOUNDS, 500);
    assert!(session.handle(500 + BOUNDS.handshake_timeout_ms, Input::Tick).is_empty());
    let effects = session.handle(501 + BOUNDS.handshake_timeout_ms, Input::Tick);
    assert_closes(&session, &effects, GoodbyeCode::Timeout);
}

#[test]
fn who_is_silent_for_too_long_is_sent_away_and_a_ping_is_enough() {
    let mut session = live();
    assert!(session.handle(50_000, Input::Heard).is_empty());
    assert!(session.handle(110_000, Input::Tick).is_empty());
    let effects = session.handle(110_001, Input::Tick);
    assert_closes(&session, &effects, GoodbyeCode::Timeout);
}

#[test]
fn a_token_that_expires_ends_the_session() {
    let mut session = live();
    assert!(session.handle(EXPIRES_AT - 1, Input::Heard).is_empty());
    assert!(session.handle(EXPIRES_AT - 1, Input::Tick).is_empty());
    let effects = session.handle(EXPIRES_AT, Input::Tick);
    assert_closes(&session, &effects, GoodbyeCode::TokenExpired);
}

#[test]
fn a_goodbye_ends_the_session_without_an_answer() {
    let code = GoodbyeCode::Unknown(77);
    let goodbye = Goodbye { code, text: String::new(), retry_after_ms: None };
    for mut session in [Session::new(BOUNDS, 0), live()] {
        let effects = session.handle(1, frame(&Message::Goodbye(goodbye.clone())));
        assert!(matches!(&effects[..], [Effect::Close(said)] if *said == goodbye), "{effects:?}");
        assert!(session.handle(1, frame(&Message::Goodbye(goodbye.clone()))).is_empty());
        assert!(session.handle(1, Input::End(goodbye.clone())).is_empty());
    }
}

#[test]
fn a_page_is_built_when_the_log_grows_and_one_at_a_time() {
    let mut session = live();
    let built = |effects: &[Effect]| matches!(effects, [Effect::BuildPage { flush: false }]);
    assert!(built(&session.handle(1, Input::HeadMoved)));
    assert!(session.handle(1, Input::HeadMoved).is_empty(), "one is under construction");
    assert!(built(&session.handle(1, Input::PageBuilt(None))), "the log grew meanwhile");
    assert!(session.handle(1, Input::PageBuilt(None)).is_empty());
    assert!(session.handle(1, page()).is_empty(), "nobody asked for this one");
}

#[test]
fn cursors_alone_are_said_once_when_it_is_quiet() {
    let mut session = live();
    assert!(session.handle(1, Input::Tick).is_empty(), "nothing has moved");
    assert_eq!(session.handle(2, Input::HeadMoved).len(), 1);
    assert!(session.handle(2, Input::PageBuilt(None)).is_empty());
    let effects = session.handle(3, Input::Tick);
    assert!(matches!(effects[..], [Effect::BuildPage { flush: true }]), "{effects:?}");
    assert!(session.handle(3, Input::PageBuilt(None)).is_empty());
    assert!(session.handle(4, Input::Tick).is_empty());
}

#[test]
fn a_device_that_never_acknowledges_gets_no_more_pages_than_it_has_credit_for() {
    let mut session = live();
    let (mut sent, mut asked, mut peak) = (0, 0, 0);
    for now in 1..1_000 {
        let mut effects = session.handle(now, Input::HeadMoved);
        effects.extend(session.handle(now, Input::Tick));
        while !effects.is_empty() {
            let mut next = Vec::new();
            for effect in effects {
                match effect {
                    Effect::BuildPage { .. } => {
                        asked += 1;
                        next.extend(session.handle(now, page()));
                    }
                    Effect::Send(frame) => {
                        sent += 1;
                        peak += frame.len();
                    }
                    other => panic!("{other:?}"),
                }
            }
            effects = next;
        }
    }
    assert_eq!((sent, asked), (3, 3), "three pages in flight were granted");
    assert!(peak < 300, "{peak} bytes wait for a device that never acknowledges");
    let effects = session.handle(1_000, ack(2));
    assert!(matches!(effects[..], [Effect::BuildPage { .. }]), "credit comes back");
}

fn page_with_erasure(up_to: u64) -> Input {
    let mark = RecordId::from_source_key("contact", "1").mark();
    let page = Page {
        cursors: Vec::new(),
        entries: vec![Entry::Erased { mark }],
        authors: Vec::new(),
        head: 1,
        dropped: Vec::new(),
    };
    Input::PageBuilt(Some(BuiltPage::new(&page, up_to)))
}

#[test]
fn an_erasure_is_confirmed_once_its_page_is_acknowledged_and_not_before() {
    let mut session = live();
    for built in [page(), page_with_erasure(7), page_with_erasure(9)] {
        drop(session.handle(1, Input::HeadMoved));
        drop(session.handle(1, built));
    }
    let confirmed = |effects: Vec<Effect>| {
        let told = effects.into_iter().filter_map(|effect| match effect {
            Effect::ConfirmErasures(up_to) => Some(up_to),
            _ => None,
        });
        told.collect::<Vec<u64>>()
    };
    assert_eq!(confirmed(session.handle(2, ack(1))), [0_u64; 0], "that page told of none");
    assert_eq!(confirmed(session.handle(2, ack(2))), [7]);
    assert_eq!(confirmed(session.handle(2, ack(2))), [0_u64; 0]);
    assert_eq!(confirmed(session.handle(2, ack(3))), [9]);
}

#[test]
fn an_erasure_is_handed_on_and_answered_and_not_too_many_at_once() {
    let record = RecordId::from_source_key("contact", "1");
    let erase = |request| frame(&Message::Erase(EraseRecord { request, record }));
    let mut session = live();
    let effects = session.handle(1, erase(5));
    let [Effect::Erase(asked)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*asked, EraseRecord { request: 5, record });
    let answer = Erasure { request: 5, outcome: Ok(3) };
    let effects = session.handle(1, Input::Erased(answer.clone()));
    let [Effect::Send(sent)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(decode_frame(sent), Ok(Message::Erasure(answer)));

    let mut closing = (0..100).map(|request| session.handle(2, erase(request)));
    let closing = closing.find(|effects| !matches!(effects[..], [Effect::Erase(_)]));
    assert_closes(&session, &closing.expect("there is a bound"), GoodbyeCode::Protocol);

    // Before the handshake, and from the wrong side.
    let mut session = Session::new(BOUNDS, 0);
    let effects = session.handle(1, erase(1));
    assert_closes(&session, &effects, GoodbyeCode::Protocol);
    let mut session = live();
    let answer = Message::Erasure(Erasure { request: 1, outcome: Ok(1) });
    let effects = session.handle(1, frame(&answer));
    assert_closes(&session, &effects, GoodbyeCode::Protocol);
}

#[test]
fn what_is_fetched_comes_first_and_is_bounded() {
    let mut session = live();
    let fetch = |count| frame(&Message::Fetch(Fetch { documents: (1..=count).collect() }));
    let effects = session.handle(1, fetch(2));
    assert!(matches!(&effects[..], [Effect::BuildWhole(list)] if *list == [1, 2]), "{effects:?}");
    for _ in 0..5 {
        assert!(session.handle(1, fetch(1_500)).is_empty());
    }
    let effects = session.handle(1, Input::PageBuilt(None));
    let [Effect::BuildWhole(list)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(list.len(), limits::PAGE_ENTRIES_MAX);
}

fn any_input() -> impl Strategy<Value = u8> {
    0..16_u8
}

fn input_of(kind: u8, bytes: &[u8]) -> Input {
    let n = bytes.first().copied().unwrap_or(0);
    match kind {
        0 | 1 => hello(),
        2 | 3 => greeted(),
        4 => push(n % 6, u64::from(n)),
        5 => ack(u64::from(n % 6)),
        6 => frame(&Message::Fetch(Fetch { documents: vec![u64::from(n)] })),
        7 => receipts(n % 4),
        8 => Input::HeadMoved,
        9 | 10 => page(),
        11 => Input::PageBuilt(None),
        12 => Input::Tick,
        13 => Input::Heard,
        14 if n < 8 => Input::Text,
        14 => Input::HeadMoved,
        _ if n < 32 => Input::Frame(bytes.to_vec()),
        _ => Input::Tick,
    }
}

proptest! {
    #[test]
    fn whatever_comes_nothing_panics_and_nothing_follows_a_close(
        steps in prop::collection::vec(
            (any_input(), prop::collection::vec(any::<u8>(), 0..20), 0..5_000_u64),
            0..120,
        )
    ) {
        let mut session = Session::new(BOUNDS, 0);
        let (mut now, mut closed) = (0, false);
        let (mut sent, mut acked, mut waiting) = (0_u64, 0_u64, 0_usize);
        for (kind, bytes, later) in steps {
            now += later;
            if kind == 5 && !closed {
                acked = acked.max(u64::from(bytes.first().copied().unwrap_or(0) % 6));
            }
            if kind == 7 {
                let answered = usize::from(bytes.first().copied().unwrap_or(0) % 4);
                waiting = waiting.saturating_sub(answered);
            }
            let effects = session.handle(now, input_of(kind, &bytes));
            prop_assert!(!closed || effects.is_empty(), "{effects:?} after a close");
            for (place, effect) in effects.iter().enumerate() {
                match effect {
                    Effect::Close(_) => {
                        closed = true;
                        prop_assert_eq!(place + 1, effects.len());
                    }
                    Effect::Send(frame) => {
                        let message = decode_frame(frame).unwrap();
                        if matches!(message, Message::Page(_)) {
                            sent += 1;
                            let credit = u64::from(PEER.pages_in_flight);
                            prop_assert!(sent <= acked + credit, "{sent} sent, {acked} acknowledged");
                        }
                    }
                    Effect::Submit(batches) => {
                        waiting += batches.len();
                        prop_assert!(waiting <= PEER.batches_in_flight as usize, "{waiting} batches");
                    }
                    Effect::Greet(_)
                    | Effect::VerifyToken(_)
                    | Effect::Compare(_)
                    | Effect::Relay(_)
                    | Effect::Acknowledge(_)
                    | Effect::ConfirmErasures(_)
                    | Effect::Erase(_)
                    | Effect::BuildPage { .. }
                    | Effect::BuildWhole(_) => {}
                }
            }
            prop_assert_eq!(closed, session.is_closed());
        }
    }

    #[test]
    fn garbage_in_a_frame_only_ever_ends_the_session(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut session = live();
        let effects = session.handle(1, Input::Frame(bytes.clone()));
        if decode_frame(&bytes).is_err() {
            let closes =
                matches!(&effects[..], [Effect::Send(_), Effect::Close(g)] if g.code == GoodbyeCode::Protocol);
            prop_assert!(closes, "{:?}", effects);
        }
    }
}
