//! A member's device in a load: it speaks the protocol and stores nothing but names, so that a thousand of
//! them fit into one process.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use crdt_core::id::{ActorId, BatchId, DeviceId, DocumentId, MemberId, RecordId, ReplicaId};
use crdt_core::protocol::{
    Ack, Batch, DocumentChanges, DocumentRef, Identity, Message, Outcome, Push, Receipt,
    SUBPROTOCOL, SentChange, Staged, decode_frame, encode_frame,
};
use crdt_core::record::{Author, Cells, Edit, Scalar};
use crdt_core::schema::Schema;
use futures_util::{SinkExt as _, StreamExt as _};
use rand::RngCore as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::harness::bare::Reader;

/// How long a member waits for an answer before the run has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where to connect, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The server.
    pub server: SocketAddr,
    /// The address that it sees; every address of 127.0.0.0/8 is this machine's.
    pub from: Ipv4Addr,
    /// What the system may keep for a socket that does not read, bytes.
    pub receive_buffer: Option<u32>,
}

impl Route {
    /// A connection.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn dial(&self) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(SocketAddr::new(IpAddr::V4(self.from), 0))?;
        let stream = socket.connect(self.server).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection that speaks WebSocket.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn upgrade(&self) -> Result<WebSocketStream<TcpStream>> {
        let mut request = "ws://localhost/v1/sync".into_client_request()?;
        let offer = SUBPROTOCOL.parse().context("the subprotocol is a header")?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", offer);
        // Small ones: ten thousand of these fit into one process.
        let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
        let stream = self.dial().await?;
        let (socket, _) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        Ok(socket)
    }
}

/// A member, on one device.
pub struct Member {
    member: MemberId,
    token: String,
    replica: ReplicaId,
    reader: Reader,
    batches: u64,
    /// The records that it edits, and what it wrote there; the first is the one at hand.
    records: VecDeque<(RecordId, Cells)>,
}

/// What a member hears.
#[derive(Debug)]
pub enum Heard {
    /// Answers to its batches.
    Receipts(Vec<Receipt>),
    /// A part of a page, which is acknowledged; how many entries a page has that is whole by now.
    Page(usize),
}

/// An open connection of a member.
pub struct Line {
    socket: WebSocketStream<TcpStream>,
    staged: Staged,
}

impl Member {
    /// A new device of a member.
    #[must_use]
    pub fn new(member: MemberId, token: String) -> Self {
        let mut replica = [0; 12];
        rand::rng().fill_bytes(&mut replica);
        let replica = ReplicaId(replica);
        Self {
            member,
            token,
            replica,
            reader: Reader::new(member, replica),
            batches: 0,
            records: VecDeque::from([(fresh_record(), Cells::default())]),
        }
    }

    /// Connects and is welcomed; how long that took.
    ///
    /// # Errors
    /// When the server cannot be reached or does not want this member now.
    pub async fn connect(&mut self, route: Route) -> Result<(Line, Duration)> {
        let begun = Instant::now();
        let connecting = async {
            let mut line = Line { socket: route.upgrade().await?, staged: Staged::default() };
            let mut hello = self.reader.hello(Schema::builtin().version());
            hello.token.clone_from(&self.token);
            let mut device = [0; 16];
            device[..12].copy_from_slice(&self.replica.0);
            hello.device = DeviceId(device);
            line.send(&Message::Hello(Box::new(hello))).await?;
            match line.message().await? {
                Message::Welcome(welcome) => self.reader.welcomed(&welcome),
                other => bail!("no welcome but {}: {other:?}", other.name()),
            }
            Ok(line)
        };
        let line =
            tokio::time::timeout(PATIENCE, connecting).await.context("no welcome came")??;
        Ok((line, begun.elapsed()))
    }

    /// From now on another record is edited: what was sent of the old one may have been lost.
    pub fn begin_anew(&mut self) {
        self.records[0] = (fresh_record(), Cells::default());
    }

    /// Turns to the next of so many records.
    pub fn turn(&mut self, count: usize) {
        if self.records.len() < count {
            self.records.push_front((fresh_record(), Cells::default()));
        } else {
            self.records.rotate_left(1);
        }
    }

    /// The next batch: one edit of its record, with a value of so many characters.
    pub fn write(&mut self, length: usize) -> Batch {
        let author =
            Author { actor: ActorId::of(self.replica, 0), time: sync_server::clock::now() };
        let text =
            |key: &str, value: String| Edit::Put { key: key.into(), value: Scalar::Str(value) };
        let mut edits = Vec::new();
        let (record, cells) = &mut self.records[0];
        if cells.heads().is_empty() {
            let by = Scalar::Bytes(self.member.as_bytes().to_vec());
            edits.push(Edit::Put { key: "owner".into(), value: by.clone() });
            edits.push(text("$entity", "account".to_owned()));
            edits.push(Edit::Put {
                key: "$created_at".into(),
                value: Scalar::Timestamp(author.time),
            });
            edits.push(Edit::Put { key: "$created_by".into(), value: by });
        }
        edits.push(text("name", noise(length)));
        let written = author.write(cells, &edits);
        let mut before = None;
        let changes = written.iter().map(|(change, encoded)| {
            let sent = SentChange::new(change, &encoded.hash, before.as_ref());
            before = Some(encoded.hash);
            sent
        });
        let id = DocumentId::main(*record);
        let document = DocumentRef::Identity(Identity { id, entity: "account".to_owned() });
        let documents = vec![DocumentChanges { document, changes: changes.collect() }];
        self.batches += 1;
        let mut id = [0; 16];
        rand::rng().fill_bytes(&mut id);
        Batch {
            id: BatchId(id),
            number: self.batches,
            schema_version: Schema::builtin().version(),
            policy_version: 0,
            documents,
        }
    }

    /// Sends one edit and waits for its receipt; how long that took.
    ///
    /// # Errors
    /// When the edit is refused or the connection ends.
    pub async fn push(&mut self, line: &mut Line) -> Result<Duration> {
        let batch = self.write(20);
        let number = batch.number;
        let begun = Instant::now();
        line.push(vec![batch]).await?;
        let answered = async {
            loop {
                let receipts = line.next(&mut self.reader).await?;
                let Some(receipt) = receipts.iter().find(|receipt| receipt.number == number) else {
                    continue;
                };
                let Outcome::Accepted { .. } = &receipt.outcome else {
                    bail!("refused: {:?}", receipt.outcome)
                };
                return Ok(begun.elapsed());
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.context("no receipt came")?
    }

    /// Reads what comes for so long.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn read_for(&mut self, line: &mut Line, duration: Duration) -> Result<()> {
        let reading = async {
            loop {
                line.next(&mut self.reader).await?;
            }
        };
        tokio::time::timeout(duration, reading).await.unwrap_or(Ok(()))
    }

    /// Sends batches without waiting for an answer.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn send(&mut self, line: &mut Line, count: usize, length: usize) -> Result<()> {
        let batches = (0..count).map(|_| self.write(length)).collect();
        line.push(batches).await
    }

    /// Sends new records, each in a batch of its own, without waiting for an answer.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn send_records(
        &mut self,
        line: &mut Line,
        count: usize,
        length: usize,
    ) -> Result<()> {
        let mut batches = Vec::new();
        for _ in 0..count {
            self.begin_anew();
            batches.push(self.write(length));
        }
        line.push(batches).await
    }

    /// Receipts; pages that come before them are acknowledged.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn receipts(&mut self, line: &mut Line) -> Result<Vec<Receipt>> {
        loop {
            let receipts = line.next(&mut self.reader).await?;
            if !receipts.is_empty() {
                return Ok(receipts);
            }
        }
    }

    /// What comes next.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn hear(&mut self, line: &mut Line) -> Result<Heard> {
        line.hear(&mut self.reader).await
    }
}

impl Line {
    /// Sends batches without waiting for an answer.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn push(&mut self, batches: Vec<Batch>) -> Result<()> {
        self.send(&Message::Push(Push { batches, receipt: 0 })).await
    }

    async fn send(&mut self, message: &Message) -> Result<()> {
        Ok(self.socket.send(Frame::binary(encode_frame(message))).await?)
    }

    /// Shows that somebody is there, and reads nothing.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn ping(&mut self) -> Result<()> {
        Ok(self.socket.send(Frame::Ping(Vec::new().into())).await?)
    }

    async fn message(&mut self) -> Result<Message> {
        loop {
            match self.socket.next().await {
                Some(Ok(Frame::Binary(bytes))) => return Ok(decode_frame(&bytes)?),
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                Some(Ok(other)) => bail!("the connection ended: {other:?}"),
                Some(Err(error)) => return Err(error.into()),
                None => bail!("the connection ended"),
            }
        }
    }

    /// Takes the next message in; gives the receipts in it.
    async fn next(&mut self, reader: &mut Reader) -> Result<Vec<Receipt>> {
        match self.hear(reader).await? {
            Heard::Receipts(receipts) => Ok(receipts),
            Heard::Page(_) => Ok(Vec::new()),
        }
    }

    async fn hear(&mut self, reader: &mut Reader) -> Result<Heard> {
        match self.message().await? {
            Message::Receipts(receipts) => {
                receipts.iter().for_each(|receipt| reader.answered(receipt));
                Ok(Heard::Receipts(receipts))
            }
            Message::Page(part) => {
                let Some((number, page)) = self.staged.take(part)? else {
                    return Ok(Heard::Page(0));
                };
                reader.take(&page);
                self.send(&Message::Ack(Ack { page: number, receipt: 0 })).await?;
                Ok(Heard::Page(page.entries.len()))
            }
            Message::Goodbye(goodbye) => bail!("sent away: {goodbye:?}"),
            other => bail!("a {} is not expected here", other.name()),
        }
    }
}

fn fresh_record() -> RecordId {
    let mut random = [0; 10];
    rand::rng().fill_bytes(&mut random);
    RecordId::new(sync_server::clock::now(), random)
}

/// Text that hardly compresses.
fn noise(length: usize) -> String {
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| char::from(b'0' + byte % 64)).collect()
}
