//! Drives one connection: socket and workspace on one side, the session's decisions on the other.

mod asking;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crdt_core::id::{DeviceId, Lease, MemberId};
use crdt_core::protocol::{EraseRecord, Goodbye, GoodbyeCode, Hello};
use crdt_core::time::Timestamp;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use rand::RngCore as _;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as Frame};

use crate::clock;
use crate::http::{self, Admission, WebSocket};
use crate::identity::Verifier;
use crate::quotas::{Asked, MemberSocket, Quotas};
use crate::session::{Bounds, BuiltPage, Effect, Greeted, Input, Renewed, Session};
use crate::store::StoreError;
use crate::telemetry::metrics::Metrics;
use crate::token::{Principal, TokenError};
use crate::workspace::{Comparison, Feed, Greeting};
use crate::workspaces::{Built, Event, Handle, Seat, Workspaces};

/// How often time passes for a session.
const TICK: Duration = Duration::from_secs(1);
/// How long a closed socket is read until the peer has closed too.
const LINGER: Duration = Duration::from_secs(2);
/// When to come back with a token that cannot be judged at present, milliseconds.
const TOKEN_RETRY_MS: u64 = 30_000;
/// When to come back to a workspace that does not answer, milliseconds.
const BUSY_RETRY_MS: u64 = 5_000;
/// When to come back to a workspace that cannot be opened, milliseconds.
const OPEN_RETRY_MS: u64 = 30_000;
/// How long a session outlives its token: what the token's verification allows for clocks that differ.
const EXPIRY_GRACE_MS: i64 = 30_000;

/// What connections share.
pub struct Shared {
    /// The workspaces.
    pub workspaces: Arc<Workspaces>,
    /// Judges tokens.
    pub verifier: Verifier,
    /// Bounds of every session.
    pub bounds: Bounds,
    /// A device that takes longer than this to read one message is too slow.
    pub write_timeout: Duration,
    /// What each member may use.
    pub quotas: Arc<Quotas>,
    /// Figures.
    pub metrics: Metrics,
    /// True once the server is stopping.
    pub stopping: watch::Receiver<bool>,
    /// Numbers sessions.
    pub sessions: AtomicU64,
}

/// A page under construction: the feed goes in and comes back.
type Build = BoxFuture<'static, Built>;

struct Connection {
    shared: Arc<Shared>,
    socket: WebSocket,
    /// Kept until nothing of the connection is left.
    admission: Admission,
    session: Session,
    started: Instant,
    place: Option<Place>,
    /// Nothing is read before this moment: the member asks for more than there is.
    read_from: Instant,
    ended: bool,
}

/// What a greeted connection has.
struct Place {
    seat: Seat,
    handle: Handle,
    head: watch::Receiver<u64>,
    feed: Option<Feed>,
    build: Option<Build>,
    /// Answers how far documents go, after a restore.
    comparison: Comparison,
    workspace: String,
    member: MemberId,
    device: DeviceId,
    quota: MemberSocket,
}

/// Serves one connection until it ends.
pub async fn serve(shared: Arc<Shared>, socket: WebSocket, admission: Admission) {
    let session = Session::new(shared.bounds, 0);
    let started = admission.since();
    let (place, read_from, ended) = (None, started, false);
    let mut connection =
        Connection { shared, socket, admission, session, started, place, read_from, ended };
    connection.run().await;
    if let Some(place) = connection.place.take() {
        place.seat.leave().await;
    }
}

impl Connection {
    async fn run(&mut self) {
        let mut tick = tokio::time::interval(TICK);
        let mut stopping = self.shared.stopping.clone();
        while !self.ended {
            let input = tokio::select! {
                frame = next_frame(&mut self.socket, self.read_from) => match self.frame(frame).await {
                    Some(input) => input,
                    None => return,
                },
                input = next_input(&mut self.place) => input,
                _ = tick.tick() => Input::Tick,
                () = told_to_stop(&mut stopping) => {
                    Input::End(Goodbye {
                        code: GoodbyeCode::Restart,
                        text: "the server is stopping".to_owned(),
                        retry_after_ms: Some(1_000 + rand::rng().next_u64() % 4_000),
                    })
                }
            };
            self.feed(input).await;
        }
    }

    /// The session's clock.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Runs an input through the session and carries its effects out.
    async fn feed(&mut self, input: Input) {
        let now = self.now();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            if matches!(input, Input::PageBuilt(Some(_))) {
                self.shared.metrics.pages_sent.increment(1);
            }
            for effect in self.session.handle(now, input) {
                if self.ended {
                    return;
                }
                inputs.extend(self.carry_out(effect).await);
            }
        }
        if !self.ended && self.flush().await.is_err() {
            self.ended = true;
        }
    }

    /// What happens seldom is boxed: a connection holds its largest future as long as it lives.
    async fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Greet(hello) => Some(Input::Greeted(Box::pin(self.greet_in_time(hello)).await)),
            Effect::VerifyToken(token) => match self.ask(Asked::Requests(1)) {
                Ok(()) => Some(Input::TokenVerified(Box::pin(self.renew(&token)).await)),
                Err(goodbye) => Some(Input::End(goodbye)),
            },
            Effect::Compare(compare) => match self.ask(Asked::Requests(1)) {
                Ok(()) => Box::pin(self.compare(compare)).await,
                Err(goodbye) => Some(Input::End(goodbye)),
            },
            Effect::Relay(relay) => Box::pin(self.relay(relay)).await.err().map(Input::End),
            Effect::Submit(batches) => self.submit(batches).await.err().map(Input::End),
            Effect::Acknowledge(receipt) => self.acknowledge(receipt).await.err().map(Input::End),
            Effect::ConfirmErasures(up_to) => match &self.place {
                Some(place) => {
                    Box::pin(place.seat.confirm_erasures(up_to)).await.err().map(Input::End)
                }
                None => None,
            },
            Effect::Erase(asked) => Box::pin(self.erase(asked)).await,
            Effect::BuildPage { flush } => {
                self.build(flush, Vec::new());
                None
            }
            Effect::BuildWhole(documents) => {
                if let Err(goodbye) = self.ask(Asked::Requests(1)) {
                    return Some(Input::End(goodbye));
                }
                self.build(false, documents);
                None
            }
            Effect::Send(frame) => {
                self.send(frame).await;
                None
            }
            Effect::Close(goodbye) => {
                tracing::info!(code = ?goodbye.code, text = %goodbye.text, "a connection ends");
                Box::pin(self.close()).await;
                None
            }
        }
    }

    /// Erases a record for the session's member, and says what became of it.
    async fn erase(&mut self, asked: EraseRecord) -> Option<Input> {
        if let Err(goodbye) = self.ask(Asked::Requests(1)) {
            return Some(Input::End(goodbye));
        }
        let answer = self.place.as_ref()?.seat.erase(asked).await;
        Some(match answer {
            Ok(Ok(erasure)) => Input::Erased(erasure),
            Ok(Err(error)) => {
                tracing::error!(%error, "a record could not be erased");
                Input::End(goodbye(GoodbyeCode::Internal, "the record could not be erased"))
            }
            Err(goodbye) => Input::End(goodbye),
        })
    }

    /// Who the bearer of a token is, on this device.
    async fn verify(&mut self, token: &str, device: DeviceId) -> Result<Principal, Goodbye> {
        let verified = self.shared.verifier.verify(token, clock::now()).await;
        let principal = verified.map_err(|error| token_goodbye(&error))?;
        if principal.device.is_some_and(|bound| bound != device) {
            return Err(goodbye(GoodbyeCode::Unauthorized, "the token is for another device"));
        }
        Ok(principal)
    }

    /// Judges a newer token for the open session: it has to be the same member's.
    async fn renew(&mut self, token: &str) -> Result<Renewed, Goodbye> {
        let place = self.place.as_ref();
        let held = place.map(|place| (place.workspace.clone(), place.member, place.device));
        let Some((workspace, member, device)) = held else {
            return Err(goodbye(GoodbyeCode::Protocol, "a token before the handshake"));
        };
        let principal = self.verify(token, device).await?;
        if (principal.workspace, principal.member) != (workspace, member) {
            let text = "the token is another member's or another workspace's";
            return Err(goodbye(GoodbyeCode::Unauthorized, text));
        }
        let (expires, expires_at) = (principal.expires, self.end_of(principal.expires));
        Ok(Renewed { expires, expires_at })
    }

    /// When a session ends whose token ends at `expires`, by the session's clock.
    fn end_of(&self, expires: Timestamp) -> u64 {
        let left = expires.plus_millis(EXPIRY_GRACE_MS).since(clock::now());
        self.now().saturating_add_signed(left.max(0))
    }

    /// The answer to a hello within what is left of the time for the handshake: behind a workspace that does
    /// not answer, connections must not pile up.
    async fn greet_in_time(&mut self, hello: Box<Hello>) -> Result<Greeted, Goodbye> {
        let budget_ms = self.shared.bounds.handshake_timeout_ms.saturating_sub(self.now());
        let greeting = self.greet(hello);
        let budget = Duration::from_millis(budget_ms);
        tokio::time::timeout(budget, greeting).await.unwrap_or_else(|_| {
            let text = "the workspace does not answer in time".to_owned();
            Err(Goodbye { code: GoodbyeCode::Busy, text, retry_after_ms: Some(BUSY_RETRY_MS) })
        })
    }

    async fn greet(&mut self, hello: Box<Hello>) -> Result<Greeted, Goodbye> {
        let device = hello.device;
        let principal = self.verify(&hello.token, device).await?;
        self.admission.end_handshake();
        let quota = self.shared.quotas.member_socket(&principal.workspace, principal.member);
        let quota = quota.map_err(|exceeded| self.send_away(exceeded))?;
        let shared = Arc::clone(&self.shared);
        let name = principal.workspace.clone();
        let opened = tokio::task::spawn_blocking(move || {
            shared.workspaces.exists(&name).then(|| shared.workspaces.open(&name))
        });
        let handle = match opened.await {
            Ok(Some(Ok(handle))) => handle,
            Ok(None) => {
                return Err(goodbye(GoodbyeCode::Unauthorized, "there is no such workspace here"));
            }
            Ok(Some(Err(error))) => {
                tracing::error!(%error, "a workspace cannot be opened");
                return Err(cannot_open());
            }
            Err(_) => return Err(cannot_open()),
        };
        let mut lease = [0; 16];
        rand::rng().fill_bytes(&mut lease);
        let number = self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        let greeted = handle.greet(hello, principal.member, Lease(lease), number).await;
        let (seat, greeting) = greeted?;
        let mut head = handle.head();
        head.mark_unchanged();
        let Greeting { mut welcome, feed } = *greeting;
        welcome.token_expires = principal.expires;
        self.place = Some(Place {
            seat,
            handle,
            head,
            comparison: feed.comparison(),
            feed: Some(feed),
            build: None,
            workspace: principal.workspace,
            member: principal.member,
            device,
            quota,
        });
        let expires_at = self.end_of(principal.expires);
        Ok(Greeted { welcome: Box::new(welcome), expires_at })
    }

    /// Builds the next page, of the documents that are wanted `whole` first when there are any.
    fn build(&mut self, flush: bool, whole: Vec<u64>) {
        let Some(place) = &mut self.place else { return };
        let Some(mut feed) = place.feed.take() else { return };
        let (store, pages) = (place.handle.store(), place.handle.pages());
        let head = *place.head.borrow();
        place.build = Some(Box::pin(async move {
            feed.want(&whole);
            pages.next(store, feed, head, flush).await
        }));
    }

    async fn frame(&mut self, frame: Option<Result<Frame, SocketError>>) -> Option<Input> {
        match frame? {
            Ok(Frame::Binary(bytes)) => {
                self.shared.metrics.frames_in.increment(1);
                self.shared.metrics.bytes_in.increment(bytes.len() as u64);
                match self.ask(Asked::Bytes(bytes.len())) {
                    Ok(()) => Some(Input::Frame(bytes.into())),
                    Err(goodbye) => Some(Input::End(goodbye)),
                }
            }
            Ok(Frame::Text(_)) => Some(Input::Text),
            Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_)) => Some(Input::Heard),
            Ok(Frame::Close(_)) => None,
            Err(error) => {
                Box::pin(self.refuse(&error)).await;
                None
            }
        }
    }

    /// Ends a connection whose frames break the WebSocket's own rules, with the code that says so.
    async fn refuse(&mut self, error: &SocketError) {
        use tokio_tungstenite::tungstenite::protocol::CloseFrame;
        let Some(code) = http::close_code(error) else { return };
        tracing::info!(%error, "a connection broke the rules of WebSocket");
        let reason = "see PROTOCOL.md".into();
        let close = self.socket.close(Some(CloseFrame { code, reason }));
        if tokio::time::timeout(LINGER, close).await.is_ok() {
            self.linger().await;
        }
    }

    async fn send(&mut self, frame: Vec<u8>) {
        self.shared.metrics.bytes_out.increment(frame.len() as u64);
        let sent =
            tokio::time::timeout(self.shared.write_timeout, self.socket.feed(Frame::binary(frame)))
                .await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.ended = true,
            Err(_) => {
                self.shared.metrics.slow_consumers_closed.increment(1);
                self.ended = true;
            }
        }
    }

    async fn flush(&mut self) -> Result<(), ()> {
        match tokio::time::timeout(self.shared.write_timeout, self.socket.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(()),
            Err(_) => {
                self.shared.metrics.slow_consumers_closed.increment(1);
                Err(())
            }
        }
    }

    async fn close(&mut self) {
        self.ended = true;
        if tokio::time::timeout(LINGER, self.socket.close(None)).await.is_ok() {
            self.linger().await;
        }
    }

    /// Reads until the peer has closed, so that what was sent last is not lost to a reset.
    async fn linger(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = tokio::time::timeout(LINGER, rest).await;
    }
}

/// The next frame, read not before a moment. Waiting and reading can both be given up and begun again.
async fn next_frame(
    socket: &mut WebSocket,
    read_from: Instant,
) -> Option<Result<Frame, SocketError>> {
    if read_from > Instant::now() {
        tokio::time::sleep_until(read_from.into()).await;
    }
    socket.next().await
}

async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending().await
    }
}

/// What the workspace has for a greeted connection: an event, a page, or a longer log.
async fn next_input(place: &mut Option<Place>) -> Input {
    let Some(Place { seat, head, feed, build, .. }) = place else {
        return std::future::pending().await;
    };
    tokio::select! {
        event = seat.events.recv() => match event {
            Some(Event::Receipts(receipts)) => Input::Receipts(receipts),
            Some(Event::Relayed(relayed)) => Input::Relayed(relayed),
            Some(Event::End(goodbye)) => Input::End(goodbye),
            None => Input::End(goodbye(GoodbyeCode::SlowConsumer, "too slow to take what is sent")),
        },
        page = built(feed, build) => match page {
            Ok(page) => Input::PageBuilt(page),
            Err(error) => {
                tracing::error!(%error, "a page could not be built");
                Input::End(goodbye(GoodbyeCode::Internal, "a page could not be built"))
            }
        },
        Ok(()) = head.changed() => Input::HeadMoved,
    }
}

async fn built(
    feed: &mut Option<Feed>,
    build: &mut Option<Build>,
) -> Result<Option<BuiltPage>, StoreError> {
    let Some(running) = build else { return std::future::pending().await };
    let (current, page) = running.await;
    *build = None;
    *feed = Some(current);
    page
}

/// What a device is told of a bad token. While an issuer's keys cannot be had, nothing is wrong with it.
fn token_goodbye(error: &TokenError) -> Goodbye {
    let text = error.to_string();
    match error {
        TokenError::Expired { .. } => goodbye(GoodbyeCode::TokenExpired, &text),
        error if error.is_temporary() => {
            Goodbye { code: GoodbyeCode::Busy, text, retry_after_ms: Some(TOKEN_RETRY_MS) }
        }
        _ => goodbye(GoodbyeCode::Unauthorized, &text),
    }
}

/// The workspace is here and does not open: its operator has to act, and its members' work waits.
fn cannot_open() -> Goodbye {
    let text = "the workspace cannot be opened".to_owned();
    Goodbye { code: GoodbyeCode::Internal, text, retry_after_ms: Some(OPEN_RETRY_MS) }
}

fn goodbye(code: GoodbyeCode, text: &str) -> Goodbye {
    Goodbye { code, text: text.to_owned(), retry_after_ms: None }
}
