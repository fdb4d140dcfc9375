//! One connection as a state machine: frames and events in, effects out. No socket, clock or storage.

mod in_flight;

use std::collections::VecDeque;
use std::sync::Arc;

use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{
    Ack, Batch, Compare, Entry, EraseRecord, Erasure, FrameError, Goodbye, GoodbyeCode, Hello,
    Lacking, Message, NewToken, Page, PageParts, PeerLimits, Receipt, Relay, Relayed, TokenTaken,
    Welcome, decode_frame, encode_frame, plain_len,
};
use crdt_core::time::Timestamp;

use in_flight::InFlight;

/// What can happen to a connection.
#[derive(Debug)]
pub enum Input {
    /// A binary message came.
    Frame(Vec<u8>),
    /// Something else came that shows the peer is there: a ping, a pong.
    Heard,
    /// A text message came: there are none in this protocol.
    Text,
    /// The handshake was judged.
    Greeted(Result<Greeted, Goodbye>),
    /// A newer token was judged.
    TokenVerified(Result<Renewed, Goodbye>),
    /// Batches of this session were answered and are durable.
    Receipts(Vec<Receipt>),
    /// Documents were compared.
    Compared(Lacking),
    /// What the device gave back was judged, and is durable.
    Relayed(Relayed),
    /// The log has grown.
    HeadMoved,
    /// A page was built, or there was nothing to send.
    PageBuilt(Option<BuiltPage>),
    /// A record was erased, or was not.
    Erased(Erasure),
    /// Time has passed.
    Tick,
    /// The connection must end.
    End(Goodbye),
}

/// A page that was built, encoded.
#[derive(Debug, PartialEq, Eq)]
pub struct BuiltPage {
    parts: Arc<PageParts>,
    /// The device knows of everything erased up to here once the page is stored; nothing when the page tells
    /// of no erasure.
    erased_up_to: Option<u64>,
}

impl BuiltPage {
    /// Encodes a page; `erased_up_to` is how far its feed has told of erasures.
    #[must_use]
    pub fn new(page: &Page, erased_up_to: u64) -> Self {
        let tells = page.entries.iter().any(|entry| matches!(entry, Entry::Erased { .. }));
        let erased_up_to = tells.then_some(erased_up_to);
        Self { parts: Arc::new(PageParts::new(page)), erased_up_to }
    }

    /// One that others are sent as well; it tells of no erasure.
    #[must_use]
    pub const fn shared(parts: Arc<PageParts>) -> Self {
        Self { parts, erased_up_to: None }
    }
}

/// A handshake that was judged good.
#[derive(Debug)]
pub struct Greeted {
    /// The answer to send.
    pub welcome: Box<Welcome>,
    /// When the token ends, by the session's clock.
    pub expires_at: u64,
}

/// A newer token of the same member, judged good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// When it ends, by the server's clock.
    pub expires: Timestamp,
    /// When the session ends with it, by the session's clock.
    pub expires_at: u64,
}

/// What a connection asks its driver for.
#[derive(Debug)]
pub enum Effect {
    /// Judge the handshake, then feed [`Input::Greeted`].
    Greet(Box<Hello>),
    /// Judge a newer token, then feed [`Input::TokenVerified`].
    VerifyToken(String),
    /// Hand batches to the workspace.
    Submit(Vec<Batch>),
    /// Say what the server lacks of these documents, then feed [`Input::Compared`].
    Compare(Compare),
    /// Hand changes of others to the workspace.
    Relay(Relay),
    /// The device has stored its receipts up to here.
    Acknowledge(u64),
    /// The device has removed what was erased up to here.
    ConfirmErasures(u64),
    /// Erase a record, if the member may; then feed [`Input::Erased`].
    Erase(EraseRecord),
    /// Build the next page, then feed [`Input::PageBuilt`]. Without `flush` one without entries is left out.
    BuildPage {
        /// Whether cursors alone are worth a page.
        flush: bool,
    },
    /// Build a page that begins with these documents, whole; then feed [`Input::PageBuilt`].
    BuildWhole(Vec<u64>),
    /// Send a binary message.
    Send(Vec<u8>),
    /// Send a goodbye and close. Nothing follows.
    Close(Goodbye),
}

/// Bounds of a session.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What is granted to the device.
    pub peer: PeerLimits,
    /// Silence after which the connection ends, milliseconds.
    pub idle_timeout_ms: u64,
    /// Time for the hello since the connection was accepted, milliseconds.
    pub handshake_timeout_ms: u64,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    bounds: Bounds,
    phase: Phase,
    heard_at: u64,
}

#[derive(Debug)]
enum Phase {
    /// Waiting for the hello.
    New { since: u64 },
    /// The hello is being judged.
    Greeting { short_receipts: bool },
    /// Exchanging.
    Live(Live),
    /// Over.
    Closed,
}

#[derive(Debug, Default)]
struct Live {
    in_flight: InFlight,
    /// The device takes short receipts.
    short_receipts: bool,
    last_page: u64,
    acked_page: u64,
    /// The last receipt that the device has said it stored.
    stored_receipt: u64,
    /// The page under construction, by what it is built for.
    building: Option<Due>,
    /// What the next page is due for.
    due: Option<Due>,
    /// Cursors may have moved without a page that says so.
    unsaid: bool,
    wanted: VecDeque<u64>,
    /// Pages that tell of erasures and are not acknowledged, each with how far they tell.
    erasures: VecDeque<(u64, u64)>,
    /// Erasures that are asked for and not answered.
    erasing: usize,
    expires_at: u64,
    /// A newer token is being judged.
    verifying: bool,
    /// Documents are being compared, or changes of others judged: one at a time.
    recovering: bool,
}

impl Session {
    /// A connection that has just been made.
    #[must_use]
    pub fn new(bounds: Bounds, now: u64) -> Self {
        Self { bounds, phase: Phase::New { since: now }, heard_at: now }
    }

    /// Takes an input in; `now` is a monotonic clock in milliseconds. The effects are to be carried out in
    /// their order.
    #[must_use]
    pub fn handle(&mut self, now: u64, input: Input) -> Vec<Effect> {
        match input {
            Input::Frame(frame) => {
                self.heard_at = now;
                match decode_frame(&frame) {
                    Ok(message) => self.message(message, plain_len(&frame)),
                    Err(error) => self.misbehaved(&error),
                }
            }
            Input::Heard => {
                self.heard_at = now;
                Vec::new()
            }
            Input::Text => {
                self.close(GoodbyeCode::Protocol, "text frames are not part of the protocol")
            }
            Input::Greeted(greeted) => self.greeted(greeted),
            Input::TokenVerified(verified) => self.token_verified(verified),
            Input::Receipts(receipts) => self.receipts(receipts),
            Input::Compared(lacking) => self.recovered(Message::Lacking(lacking)),
            Input::Relayed(relayed) => self.recovered(Message::Relayed(relayed)),
            Input::HeadMoved => self.build(Some(Due::Entries)),
            Input::PageBuilt(page) => self.page_built(page),
            Input::Erased(erasure) => self.erased(erasure),
            Input::Tick => self.tick(now),
            Input::End(goodbye) => self.end(goodbye),
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    fn message(&mut self, message: Message, bytes: usize) -> Vec<Effect> {
        let name = message.name();
        match (message, &mut self.phase) {
            (_, Phase::Closed) => Vec::new(),
            (Message::Hello(hello), Phase::New { .. }) => {
                self.phase = Phase::Greeting { short_receipts: hello.short_receipts };
                vec![Effect::Greet(hello)]
            }
            (Message::Push(push), Phase::Live(live)) => {
                let limit = self.bounds.peer.batches_in_flight as usize;
                if let Err(text) = live.in_flight.push(&push.batches, bytes, limit) {
                    return self.close(GoodbyeCode::Protocol, text);
                }
                let mut effects = live.acknowledge(push.receipt);
                if !push.batches.is_empty() {
                    effects.push(Effect::Submit(push.batches));
                }
                effects
            }
            (Message::Ack(ack), Phase::Live(_)) => self.acked(ack),
            (Message::Fetch(fetch), Phase::Live(live)) => {
                live.wanted.extend(fetch.documents);
                live.wanted.truncate(crdt_core::limits::PAGE_ENTRIES_MAX);
                self.build(Some(Due::Entries))
            }
            (Message::Token(NewToken { token }), Phase::Live(live)) => {
                if std::mem::replace(&mut live.verifying, true) {
                    return self.close(GoodbyeCode::Protocol, "a token while one is being judged");
                }
                vec![Effect::VerifyToken(token)]
            }
            (Message::Compare(compare), Phase::Live(live)) => {
                let busy = std::mem::replace(&mut live.recovering, true);
                self.recover(busy, Effect::Compare(compare))
            }
            (Message::Relay(relay), Phase::Live(live)) => {
                let busy = std::mem::replace(&mut live.recovering, true);
                self.recover(busy, Effect::Relay(relay))
            }
            (Message::Erase(erase), Phase::Live(live)) => {
                live.erasing += 1;
                let fits = live.erasing <= ERASURES_IN_FLIGHT_MAX;
                self.erase(fits, erase)
            }
            (Message::Goodbye(goodbye), _) => {
                self.phase = Phase::Closed;
                vec![Effect::Close(goodbye)]
            }
            (
                Message::Hello(_)
                | Message::Welcome(_)
                | Message::Push(_)
                | Message::Receipts(_)
                | Message::ShortReceipts(_)
                | Message::Page(_)
                | Message::Ack(_)
                | Message::Fetch(_)
                | Message::Token(_)
                | Message::TokenTaken(_)
                | Message::Compare(_)
                | Message::Lacking(_)
                | Message::Relay(_)
                | Message::Relayed(_)
                | Message::Erase(_)
                | Message::Erasure(_),
                _,
            ) => self.close(GoodbyeCode::Protocol, &format!("{name} is not expected here")),
        }
    }

    fn recover(&mut self, busy: bool, effect: Effect) -> Vec<Effect> {
        if busy {
            let text = "more is given back before what was given is answered";
            return self.close(GoodbyeCode::Protocol, text);
        }
        vec![effect]
    }

    fn recovered(&mut self, message: Message) -> Vec<Effect> {
        let Phase::Live(live) = &mut self.phase else { return Vec::new() };
        live.recovering = false;
        vec![Effect::Send(encode_frame(&message))]
    }

    fn acked(&mut self, ack: Ack) -> Vec<Effect> {
        let Phase::Live(live) = &mut self.phase else { return Vec::new() };
        if ack.page > live.last_page {
            return self.close(GoodbyeCode::Protocol, "acknowledged a page that was not sent");
        }
        live.acked_page = live.acked_page.max(ack.page);
        let mut effects = Vec::new();
        let mut told = None;
        while let Some((_, up_to)) = live.erasures.front().filter(|(page, _)| *page <= ack.page) {
            told = Some(*up_to);
            live.erasures.pop_front();
        }
        effects.extend(told.map(Effect::ConfirmErasures));
        effects.extend(live.acknowledge(ack.receipt));
        effects.extend(self.build(None));
        effects
    }

    fn greeted(&mut self, greeted: Result<Greeted, Goodbye>) -> Vec<Effect> {
        match (greeted, &self.phase) {
            (Err(goodbye), _) => self.end(goodbye),
            (Ok(_), Phase::New { .. } | Phase::Live(_) | Phase::Closed) => Vec::new(),
            (Ok(greeted), Phase::Greeting { short_receipts }) => {
                let (expires_at, short_receipts) = (greeted.expires_at, *short_receipts);
                self.phase = Phase::Live(Live {
                    short_receipts,
                    building: Some(Due::Cursors),
                    expires_at,
                    ..Live::default()
                });
                vec![
                    Effect::Send(encode_frame(&Message::Welcome(greeted.welcome))),
                    Effect::BuildPage { flush: true },
                ]
            }
        }
    }

    /// A good token moves the session's end; one that is not ends it at once: its bearer may have changed.
    fn token_verified(&mut self, verified: Result<Renewed, Goodbye>) -> Vec<Effect> {
        let Phase::Live(live) = &mut self.phase else { return Vec::new() };
        match verified {
            Ok(Renewed { expires, expires_at }) => {
                live.verifying = false;
                live.expires_at = expires_at;
                vec![Effect::Send(encode_frame(&Message::TokenTaken(TokenTaken { expires })))]
            }
            Err(goodbye) => self.end(goodbye),
        }
    }

    fn receipts(&mut self, receipts: Vec<Receipt>) -> Vec<Effect> {
        let Phase::Live(live) = &mut self.phase else { return Vec::new() };
        let messages = live.in_flight.answered(receipts, live.short_receipts);
        let mut effects: Vec<Effect> =
            messages.iter().map(|message| Effect::Send(encode_frame(message))).collect();
        if live.in_flight.is_empty() {
            // A device that has pushed all it had waits for its cursors to pass its own batches.
            effects.extend(self.build(Some(Due::Cursors)));
        }
        effects
    }

    /// Asks for the next page when one is due, there is credit, and none is under construction.
    fn build(&mut self, why: Option<Due>) -> Vec<Effect> {
        let credit = u64::from(self.bounds.peer.pages_in_flight);
        let Phase::Live(live) = &mut self.phase else { return Vec::new() };
        if live.building.is_some() && planted(Bug::NewsMissed) {
            return Vec::new();
        }
        live.due = live.due.max(why);
        if live.building.is_some() || live.last_page - live.acked_page >= credit {
            return Vec::new();
        }
        if !live.wanted.is_empty() {
            live.building = Some(Due::Entries);
            live.due = live.due.max(Some(Due::Entries));
            return vec![Effect::BuildWhole(live.wanted.drain(..).collect())];
        }
        let Some(due) = live.due.take() else { return Vec::new() };
        let flush = due == Due::Cursors;
        live.building = Some(due);
        live.unsaid = !flush;
        vec![Effect::BuildPage { flush }]
    }

    fn erase(&mut self, fits: bool, asked: EraseRecord) -> Vec<Effect> {
        match fits {
            true => vec![Effect::Erase(asked)],
            false => self.close(GoodbyeCode::Protocol, "more erasures at once than fit"),
        }
    }

    fn erased(&mut self, erasure: Erasure) -> Vec<Effect> {
        let Phase::Live(live) = &mut self.phase else { return Vec::new() };
        live.erasing = live.erasing.saturating_sub(1);
        vec![Effect::Send(encode_frame(&Message::Erasure(erasure)))]
    }

    fn page_built(&mut self, page: Option<BuiltPage>) -> Vec<Effect> {
        let Phase::Live(live) = &mut self.phase else { return Vec::new() };
        let Some(built_for) = live.building.take() else { return Vec::new() };
        let Some(page) = page else { return self.build(None) };
        live.last_page += 1;
        live.erasures.extend(page.erased_up_to.map(|up_to| (live.last_page, up_to)));
        let parts = page.parts.parts(live.last_page);
        let mut effects: Vec<Effect> =
            parts.map(|part| Effect::Send(encode_frame(&Message::Page(part)))).collect();
        // There may be more behind a page; the build that finds nothing ends the chain.
        effects.extend(self.build(Some(built_for)));
        effects
    }

    fn tick(&mut self, now: u64) -> Vec<Effect> {
        match &self.phase {
            Phase::New { since }
                if now.saturating_sub(*since) > self.bounds.handshake_timeout_ms =>
            {
                self.close(GoodbyeCode::Timeout, "no hello came in time")
            }
            Phase::Live(live) if now >= live.expires_at => self
                .close(GoodbyeCode::TokenExpired, "the token has expired; connect with a new one"),
            Phase::Live(_) if now.saturating_sub(self.heard_at) > self.bounds.idle_timeout_ms => {
                self.close(GoodbyeCode::Timeout, "nothing was heard for too long")
            }
            Phase::Live(live) => {
                let due = live.unsaid.then_some(Due::Cursors);
                self.build(due)
            }
            Phase::New { .. } | Phase::Greeting { .. } | Phase::Closed => Vec::new(),
        }
    }

    fn misbehaved(&mut self, error: &FrameError) -> Vec<Effect> {
        self.close(GoodbyeCode::Protocol, &error.to_string())
    }

    fn close(&mut self, code: GoodbyeCode, text: &str) -> Vec<Effect> {
        self.end(Goodbye { code, text: text.to_owned(), retry_after_ms: None })
    }

    fn end(&mut self, goodbye: Goodbye) -> Vec<Effect> {
        if self.is_closed() {
            return Vec::new();
        }
        self.phase = Phase::Closed;
        let frame = encode_frame(&Message::Goodbye(goodbye.clone()));
        vec![Effect::Send(frame), Effect::Close(goodbye)]
    }
}

/// Erasures that one session may ask for before the first is answered: people ask for one at a time.
const ERASURES_IN_FLIGHT_MAX: usize = 8;

impl Live {
    /// Passes on which receipts are stored, unless that was said before: each time costs a transaction.
    fn acknowledge(&mut self, receipt: u64) -> Vec<Effect> {
        if receipt <= self.stored_receipt {
            return Vec::new();
        }
        self.stored_receipt = receipt;
        vec![Effect::Acknowledge(receipt)]
    }
}

/// What a page is due for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The log has grown, or something was fetched.
    Entries,
    /// The cursors alone are worth a page.
    Cursors,
}
