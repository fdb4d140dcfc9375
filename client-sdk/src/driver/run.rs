//! The loop between engine and world: waits for whatever happens first, lets the engine decide, acts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crdt_core::protocol::{Goodbye, Message, encode_frame};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, spawn_blocking};

use super::endpoint::{Endpoint, Socket};
use super::erase::Errand;
use super::link::{Link, Stuck};
use super::slot::{Occupied, Orders};
use crate::clock::Clock;
use crate::config::{TokenProvider, TokenProviderError, TokenReason};
use crate::engine::{
    ConnectFailure, ConnectionId, EraseFailure, Input, Nudge, Outward, SyncLoop, TokenFailure,
};
use crate::notify::Subscription;

/// What a sync runs with.
pub(super) struct Wiring {
    pub(super) endpoint: Endpoint,
    pub(super) tokens: Arc<dyn TokenProvider>,
    pub(super) clock: Arc<dyn Clock>,
    /// Says when there is something new to send, and when the client is closed.
    pub(super) edits: Subscription,
    /// What the app says.
    pub(super) orders: Orders,
    /// Resolves, or is dropped, when sync is no longer wanted.
    pub(super) stop: oneshot::Receiver<()>,
    /// Held until nothing of the sync is left.
    pub(super) occupied: Occupied,
}

/// Runs until it is told to stop or the client is closed.
pub(super) async fn run(mut sync: SyncLoop, wiring: Wiring) {
    let Wiring { endpoint, tokens, clock, edits, orders, stop, occupied } = wiring;
    let signals = Signals { edits, orders, stop };
    let mut world = World::new(endpoint, tokens, Arc::clone(&clock), signals);
    let mut inputs = vec![Input::Start];
    loop {
        let stops = inputs.iter().any(|input| matches!(input, Input::Stop));
        let now = clock.monotonic_ms();
        let decided = with_store(sync, move |sync| -> Vec<Outward> {
            inputs.into_iter().flat_map(|input| sync.handle(now, input)).collect()
        });
        let Some((back, outward)) = decided.await else { break };
        sync = back;
        let reason = sync.token_reason();
        outward.into_iter().for_each(|one| world.act(one, reason));
        if stops {
            break;
        }
        inputs = match tokio::time::timeout(QUIET, world.next()).await {
            Ok(inputs) => inputs,
            Err(_) => {
                let Some((back, ())) = with_store(sync, |sync| sync.quiet()).await else { break };
                sync = back;
                world.next().await
            }
        };
    }
    world.leave().await;
    drop(occupied);
}

/// Does what may wait for the disk on a thread of its own: meanwhile the socket is still read, into a bounded
/// queue. Nothing comes back when it panicked.
async fn with_store<T: Send + 'static>(
    mut sync: SyncLoop,
    work: impl FnOnce(&mut SyncLoop) -> T + Send + 'static,
) -> Option<(SyncLoop, T)> {
    let working = spawn_blocking(move || {
        let done = work(&mut sync);
        (sync, done)
    });
    match working.await {
        Ok(done) => Some(done),
        Err(fault) => {
            tracing::error!(%fault, "sync has ended by a fault of its own");
            None
        }
    }
}

/// What comes from the app.
struct Signals {
    edits: Subscription,
    orders: Orders,
    stop: oneshot::Receiver<()>,
}

/// Everything outside: the connection, the app's token, the alarm.
struct World {
    endpoint: Endpoint,
    tokens: Arc<dyn TokenProvider>,
    clock: Arc<dyn Clock>,
    signals: Signals,
    token: Option<BoxFuture<'static, Result<Option<String>, TokenProviderError>>>,
    attempt: Option<Attempt>,
    link: Option<(ConnectionId, Link)>,
    events: mpsc::Receiver<Input>,
    events_sender: mpsc::Sender<Input>,
    wake_at: Option<u64>,
    /// What could not be sent is noticed at the next step.
    stuck: Option<ConnectionId>,
    /// Who waits for the answer to an erasure, by the number of the request.
    erasing: BTreeMap<u64, oneshot::Sender<Result<u64, EraseFailure>>>,
    last_request: u64,
    /// Connections that are saying goodbye.
    leaving: JoinSet<()>,
}

/// A connection being made.
struct Attempt {
    id: ConnectionId,
    connecting: BoxFuture<'static, Result<Socket, ConnectFailure>>,
}

impl World {
    fn new(
        endpoint: Endpoint,
        tokens: Arc<dyn TokenProvider>,
        clock: Arc<dyn Clock>,
        signals: Signals,
    ) -> Self {
        let (events_sender, events) = mpsc::channel(EVENTS_MAX);
        Self {
            endpoint,
            tokens,
            clock,
            signals,
            token: None,
            attempt: None,
            link: None,
            events,
            events_sender,
            wake_at: None,
            stuck: None,
            erasing: BTreeMap::new(),
            last_request: 0,
            leaving: JoinSet::new(),
        }
    }

    /// Does one thing that the engine asked for. Nothing here waits.
    fn act(&mut self, outward: Outward, reason: TokenReason) {
        match outward {
            Outward::FetchToken => self.token = Some(self.tokens.token(reason)),
            Outward::Connect(id) => {
                let connecting = Box::pin(self.endpoint.clone().connect());
                self.attempt = Some(Attempt { id, connecting });
            }
            Outward::Send(frame) => self.on_link(|link| link.send(frame)),
            Outward::Ping => self.on_link(Link::ping),
            Outward::Disconnect { goodbye } => {
                self.attempt = None;
                self.hang_up(goodbye);
            }
            Outward::WakeAt(at) => self.wake_at = Some(at),
            Outward::ErasureAnswered { request, answer } => {
                if let Some(reply) = self.erasing.remove(&request) {
                    // Who asked may have gone.
                    let _ = reply.send(answer);
                }
            }
        }
    }

    fn on_link(&mut self, act: impl FnOnce(&Link) -> Result<(), Stuck>) {
        // Without a connection its end is on the way to the engine.
        let Some((id, link)) = &self.link else { return };
        if act(link) == Err(Stuck) {
            self.stuck = Some(*id);
        }
    }

    fn hang_up(&mut self, goodbye: Option<Goodbye>) {
        if let Some((_, link)) = self.link.take() {
            let last = goodbye.map(|goodbye| encode_frame(&Message::Goodbye(goodbye)));
            self.leaving.spawn(link.close(last));
        }
    }

    /// Waits for whatever happens first, and takes what else has happened by then.
    async fn next(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        if let Some(id) = self.stuck.take() {
            inputs.push(Input::Disconnected(id, "the connection takes nothing any more".into()));
        }
        while inputs.is_empty() {
            inputs.extend(self.happens().await);
            while let Ok(event) = self.events.try_recv() {
                inputs.push(event);
            }
        }
        let link = self.link.as_ref().map(|(id, _)| *id);
        let ended =
            |input: &Input| matches!(input, Input::Disconnected(id, _) if Some(*id) == link);
        if inputs.iter().any(ended) {
            self.hang_up(None);
        }
        inputs
    }

    /// One thing that happens; nothing when it does not concern the engine.
    async fn happens(&mut self) -> Option<Input> {
        let Signals { edits, orders, stop } = &mut self.signals;
        let alarm = self.wake_at.map(|at| at.saturating_sub(self.clock.monotonic_ms()));
        tokio::select! {
            biased;
            // What comes from the network stands last: it could come without end, and is taken along with
            // whatever else happens.
            _ = stop => Some(Input::Stop),
            token = pending_or(self.token.as_mut()) => {
                self.token = None;
                Some(Input::TokenReady(token_or_why_not(token)))
            }
            made = pending_or(self.attempt.as_mut().map(|attempt| &mut attempt.connecting)) => {
                let id = self.attempt.take()?.id;
                Some(match made {
                    Ok(socket) => {
                        self.link = Some((id, Link::open(id, socket, self.events_sender.clone())));
                        Input::Connected(id)
                    }
                    Err(failure) => Input::ConnectFailed(id, failure),
                })
            }
            Some(nudge) = orders.nudges.recv() => Some(Input::Nudge(nudge)),
            Some(errand) = orders.errands.recv() => Some(self.erase(errand)),
            changes = edits.next() => match changes {
                None => Some(Input::Stop),
                Some(changes) => changes.local.then_some(Input::Nudge(Nudge::Edited)),
            },
            () = sleep(alarm) => {
                self.wake_at = None;
                Some(Input::Tick)
            }
            Some(_) = self.leaving.join_next() => None,
            Some(event) = self.events.recv() => Some(event),
        }
    }

    fn erase(&mut self, errand: Errand) -> Input {
        self.last_request += 1;
        self.erasing.insert(self.last_request, errand.reply);
        Input::Erase { request: self.last_request, record: errand.record }
    }

    /// Ends what is left, within the time that a goodbye may take.
    async fn leave(mut self) {
        self.hang_up(None);
        while self.leaving.join_next().await.is_some() {}
    }
}

/// The future when there is one; otherwise it never resolves.
async fn pending_or<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep(millis: Option<u64>) {
    match millis {
        Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        None => std::future::pending().await,
    }
}

fn token_or_why_not(
    given: Result<Option<String>, TokenProviderError>,
) -> Result<String, TokenFailure> {
    match given {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(TokenFailure::SignIn("nobody is signed in".to_owned())),
        Err(error @ TokenProviderError::Unavailable(_)) => {
            Err(TokenFailure::Unavailable(error.to_string()))
        }
    }
}

/// After so long without anything to do the moment counts as quiet.
const QUIET: Duration = Duration::from_millis(100);
/// Frames read ahead of the store: each may take a megabyte.
const EVENTS_MAX: usize = 8;
