//! One connection: a task that reads and one that writes, both ended with it.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::Message;

use super::endpoint::Socket;
use crate::engine::{ConnectionId, Input};

/// One open connection. Dropping it cuts it.
pub(super) struct Link {
    outgoing: mpsc::Sender<Outgoing>,
    tasks: JoinSet<()>,
}

enum Outgoing {
    Frame(Vec<u8>),
    Ping,
}

impl Link {
    /// Begins to read and write; what happens goes to `events`. While that is full nothing is read, so that
    /// a store that cannot follow slows the server down instead of filling the memory.
    pub(super) fn open(id: ConnectionId, socket: Socket, events: mpsc::Sender<Input>) -> Self {
        let (sink, stream) = socket.split();
        let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(read(id, stream, events.clone()));
        tasks.spawn(write(id, sink, queue, events));
        Self { outgoing, tasks }
    }

    /// Sends one message, in order.
    ///
    /// # Errors
    /// When the connection is over, or takes nothing any more.
    pub(super) fn send(&self, frame: Vec<u8>) -> Result<(), Stuck> {
        self.outgoing.try_send(Outgoing::Frame(frame)).map_err(|_| Stuck)
    }

    /// Pings the peer.
    ///
    /// # Errors
    /// When the connection is over, or takes nothing any more.
    pub(super) fn ping(&self) -> Result<(), Stuck> {
        self.outgoing.try_send(Outgoing::Ping).map_err(|_| Stuck)
    }

    /// Sends what is waiting and a last message, closes, and waits a moment for the peer to have it.
    pub(super) async fn close(self, last: Option<Vec<u8>>) {
        let Self { outgoing, mut tasks } = self;
        if let Some(frame) = last {
            // A connection that takes nothing any more needs no reason for its end.
            let _stuck = outgoing.try_send(Outgoing::Frame(frame));
        }
        drop(outgoing);
        let both = async { while tasks.join_next().await.is_some() {} };
        // Whoever does not answer in time is cut off by dropping the tasks.
        let _late = tokio::time::timeout(CLOSE_TIMEOUT, both).await;
    }
}

/// The connection takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stuck;

async fn read(id: ConnectionId, mut stream: SplitStream<Socket>, events: mpsc::Sender<Input>) {
    while let Ok(place) = events.reserve().await {
        let over = |text: String| Input::Disconnected(id, text);
        let input = match stream.next().await {
            Some(Ok(Message::Binary(frame))) => Input::FrameReceived(id, frame.into()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Input::Heard(id),
            Some(Ok(Message::Close(frame))) => {
                let reason = frame.map_or_else(String::new, |frame| frame.to_string());
                over(format!("the server closed the connection {reason}"))
            }
            Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                over("the server sent a message that is not binary".to_owned())
            }
            Some(Err(error)) => over(error.to_string()),
            None => over("the connection ended".to_owned()),
        };
        let ended = matches!(input, Input::Disconnected(..));
        place.send(input);
        if ended {
            return drain(stream).await;
        }
    }
}

/// Lets the library answer the peer's close.
async fn drain(mut stream: SplitStream<Socket>) {
    while let Some(Ok(_)) = stream.next().await {}
}

async fn write(
    id: ConnectionId,
    mut sink: SplitSink<Socket, Message>,
    mut queue: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<Input>,
) {
    if let Err(error) = write_all(&mut sink, &mut queue).await {
        // When nobody listens any more, the driver has ended, and with it the connection.
        let _unheard = events.send(Input::Disconnected(id, error.to_string())).await;
    }
}

/// Writes until the queue is closed, flushing once for what waits together; then closes.
async fn write_all(
    sink: &mut SplitSink<Socket, Message>,
    queue: &mut mpsc::Receiver<Outgoing>,
) -> Result<(), tungstenite::Error> {
    while let Some(first) = queue.recv().await {
        sink.feed(first.into()).await?;
        while let Ok(next) = queue.try_recv() {
            sink.feed(next.into()).await?;
        }
        sink.flush().await?;
    }
    sink.close().await
}

impl From<Outgoing> for Message {
    fn from(outgoing: Outgoing) -> Self {
        match outgoing {
            Outgoing::Frame(frame) => Self::binary(frame),
            Outgoing::Ping => Self::Ping(Vec::new().into()),
        }
    }
}

/// Messages that wait to be written; the engine never has more under way than pushes, acknowledgements and
/// fetches within the limits, so a full queue means a peer that takes nothing.
const OUTGOING_MAX: usize = 256;
/// How long a peer may take to confirm the end.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
