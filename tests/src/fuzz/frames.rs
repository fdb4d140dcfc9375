//! A stream of frames → the server's session. Whatever comes, it hands on no more than it granted, says goodbye
//! at most once, and nothing follows.

use std::collections::BTreeMap;

use crdt_core::id::{Epoch, Lease, MemberId};
use crdt_core::protocol::{
    Batch, Erasure, Goodbye, GoodbyeCode, Outcome, Page, PeerLimits, Receipt, Recovery, Welcome,
};
use crdt_core::time::Timestamp;
use sync_server::session::{Bounds, BuiltPage, Effect, Greeted, Input, Renewed, Session};

const PEER: PeerLimits = PeerLimits { batches_in_flight: 16, pages_in_flight: 4 };
const BOUNDS: Bounds = Bounds { peer: PEER, idle_timeout_ms: 60_000, handshake_timeout_ms: 10_000 };
/// Effects of one input: a page has at most so many parts, and little follows besides.
const EFFECTS_MAX: usize = 64;

/// The input is a list of steps: a byte that says which, and for a frame its length and its bytes.
pub(super) fn run(bytes: &[u8]) {
    let mut driver = Driver::new();
    let mut rest = bytes;
    while let Some((&step, after)) = rest.split_first() {
        rest = after;
        match step {
            0..=0x7f => {
                let Some((length, after)) = rest.split_first_chunk::<2>() else { break };
                let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
                let (frame, after) = after.split_at(length);
                rest = after;
                driver.feed(Input::Frame(frame.to_vec()));
            }
            0x80..=0x9f => driver.answer(usize::from(step & 0x1f)),
            0xa0..=0xaf => driver.feed(Input::HeadMoved),
            0xb0..=0xbf => driver.feed(Input::PageBuilt(None)),
            0xc0..=0xcf => {
                driver.feed(Input::PageBuilt(Some(BuiltPage::new(&empty_page(), 0))));
            }
            0xd0..=0xdf => {
                driver.now += u64::from(step & 0xf) * 1_000;
                driver.feed(Input::Tick);
            }
            0xe0..=0xef => driver.feed(Input::Heard),
            0xf0..=0xfe => driver.feed(Input::Text),
            0xff => driver.feed(Input::End(goodbye())),
        }
    }
}

struct Driver {
    session: Session,
    now: u64,
    in_flight: Vec<Batch>,
    pages_sent: u64,
    closed: bool,
    answers: BTreeMap<&'static str, u32>,
}

impl Driver {
    fn new() -> Self {
        let session = Session::new(BOUNDS, 0);
        let (in_flight, answers) = (Vec::new(), BTreeMap::new());
        Self { session, now: 0, in_flight, pages_sent: 0, closed: false, answers }
    }

    /// Receipts for the oldest batches in flight.
    fn answer(&mut self, count: usize) {
        let count = count.min(self.in_flight.len());
        let receipts = self.in_flight.drain(..count).enumerate().map(|(at, batch)| Receipt {
            number: at as u64 + 1,
            batch: batch.id,
            outcome: Outcome::Refused { reasons: Vec::new() },
            policy_version: 0,
            erased: Vec::new(),
        });
        let receipts: Vec<Receipt> = receipts.collect();
        if !receipts.is_empty() {
            self.feed(Input::Receipts(receipts));
        }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        let mut effects = 0;
        while let Some(input) = inputs.pop() {
            for effect in self.session.handle(self.now, input) {
                effects += 1;
                assert!(effects <= EFFECTS_MAX, "effects without end");
                inputs.extend(self.carry_out(effect));
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        assert!(!self.closed, "something follows a close: {effect:?}");
        match effect {
            Effect::Greet(hello) => {
                *self.answers.entry("greeted").or_default() += 1;
                assert_eq!(self.answers["greeted"], 1, "greeted twice");
                let greeted = Greeted { welcome: welcome(), expires_at: 600_000 };
                Some(Input::Greeted(if hello.token.is_empty() {
                    Err(goodbye())
                } else {
                    Ok(greeted)
                }))
            }
            Effect::VerifyToken(_) => {
                let expires = Timestamp::from_millis(0);
                Some(Input::TokenVerified(Ok(Renewed { expires, expires_at: self.now + 600_000 })))
            }
            Effect::Submit(batches) => {
                assert!(self.answers.contains_key("greeted"), "batches before the handshake");
                self.in_flight.extend(batches);
                assert!(self.in_flight.len() <= PEER.batches_in_flight as usize, "above the grant");
                None
            }
            Effect::Acknowledge(receipt) => {
                assert!(receipt > 0);
                None
            }
            Effect::ConfirmErasures(_) => panic!("no page told of an erasure"),
            Effect::Erase(asked) => {
                assert!(self.answers.contains_key("greeted"), "an erasure before the handshake");
                let outcome = Ok(1);
                Some(Input::Erased(Erasure { request: asked.request, outcome }))
            }
            Effect::Compare(_) | Effect::Relay(_) | Effect::BuildPage { .. } => None,
            Effect::BuildWhole(documents) => {
                assert!(documents.len() <= crdt_core::limits::PAGE_ENTRIES_MAX);
                None
            }
            Effect::Send(_) => {
                self.pages_sent += 1;
                None
            }
            Effect::Close(_) => {
                self.closed = true;
                assert!(self.session.is_closed());
                None
            }
        }
    }
}

/// A page that says nothing.
pub(super) fn empty_page() -> Page {
    let (cursors, entries, authors, dropped) = Default::default();
    Page { cursors, entries, authors, head: 0, dropped }
}

fn goodbye() -> Goodbye {
    Goodbye { code: GoodbyeCode::Restart, text: String::new(), retry_after_ms: None }
}

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
        recovery: Recovery::default(),
    })
}
