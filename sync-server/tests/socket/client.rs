//! A real server on a free port, and devices that talk to it over WebSocket.

use std::time::Duration;

use crdt_core::protocol::{
    Ack, Batch, Goodbye, Hello, Message, Page, Push, Receipt, SUBPROTOCOL, Staged, Welcome,
    decode_frame, encode_frame,
};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use sync_server::admin;
use sync_server::clock;
use sync_server::config::ServerConfig;
use sync_server::server::Server;
use sync_server::token::TokenKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message as Frame, Result as SocketResult};

use crate::support::device::Device;
use crate::support::world::{directory, member};

/// Longer than anything here takes: reaching it is the failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub struct Running {
    pub config: ServerConfig,
    pub address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    directory: tempfile::TempDir,
}

impl Running {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A server with one workspace of three members.
    pub async fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let directory = directory();
        let mut config = ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: directory.path().to_owned(),
            ..ServerConfig::default()
        };
        change(&mut config);
        admin::create_workspace(&config, "acme", admin::NewWorkspace::open()).unwrap();
        for n in 1..=3 {
            let name = format!("Member {n}");
            admin::add_member(&config, "acme", &name, Some(member(n))).unwrap();
        }
        Self::on(config, directory).await
    }

    async fn on(config: ServerConfig, directory: tempfile::TempDir) -> Self {
        let server = Server::bind(config.clone()).await.unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            stopped.await.unwrap_or_default();
        }));
        Self { config, address, stop, task, directory }
    }

    /// Stops the server and waits until it has stored what it was handed.
    pub async fn stop(self) -> (ServerConfig, tempfile::TempDir) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
        (self.config, self.directory)
    }

    /// Another server on the same data.
    pub async fn again((config, directory): (ServerConfig, tempfile::TempDir)) -> Self {
        Self::on(config, directory).await
    }

    /// A token of a member, minted so long ago, for so long.
    pub fn token(&self, n: u8, age: Duration, ttl: Duration) -> String {
        let key = TokenKey::open_or_create(&self.config.token_key()).unwrap();
        let age_ms = i64::try_from(age.as_millis()).unwrap();
        key.mint("acme", member(n), clock::now().plus_millis(-age_ms), ttl)
    }

    /// A token of a member of another workspace.
    pub fn token_of(&self, workspace: &str, n: u8) -> String {
        let key = TokenKey::open_or_create(&self.config.token_key()).unwrap();
        key.mint(workspace, member(n), clock::now(), Duration::from_secs(600))
    }

    /// A device with a good token.
    pub fn device(&self, replica: u8, n: u8) -> Device {
        let mut device = Device::new(replica, member(n));
        device.token = self.token(n, Duration::ZERO, Duration::from_secs(600));
        device.schema_version = crdt_core::schema::Schema::builtin().version();
        device
    }

    pub async fn connect(&self) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        Client::over(socket.connect(self.address).await.unwrap()).await
    }

    /// A connection into which little can be written while nobody reads it.
    pub async fn connect_narrow(&self) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        Client::over(socket.connect(self.address).await.unwrap()).await
    }

    /// A connected device that has stored its welcome.
    pub async fn join(&self, device: &mut Device) -> Client {
        let mut client = self.connect().await;
        client.greet(device).await;
        client
    }

    /// One of the server's numbers.
    pub async fn number(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

/// One connection.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    staged: Staged,
    /// Receipts that came while something else was waited for.
    pub receipts: Vec<Receipt>,
}

impl Client {
    async fn over(stream: TcpStream) -> Self {
        let mut request = "ws://localhost/v1/sync".into_client_request().unwrap();
        let offer = HeaderValue::from_static(SUBPROTOCOL);
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        Self { socket, staged: Staged::default(), receipts: Vec::new() }
    }

    pub async fn send_frame(&mut self, frame: Frame) {
        self.socket.send(frame).await.unwrap();
    }

    pub async fn send(&mut self, message: &Message) {
        self.send_frame(Frame::binary(encode_frame(message))).await;
    }

    pub async fn hello(&mut self, hello: Hello) {
        self.send(&Message::Hello(Box::new(hello))).await;
    }

    pub async fn greet(&mut self, device: &mut Device) -> Box<Welcome> {
        self.hello(device.hello()).await;
        match self.message().await {
            Message::Welcome(welcome) => {
                device.welcomed(&welcome);
                welcome
            }
            other => panic!("no welcome: {other:?}"),
        }
    }

    pub async fn push(&mut self, batches: Vec<Batch>) {
        self.send(&Message::Push(Push { batches, receipt: 0 })).await;
    }

    async fn frame(&mut self) -> Option<SocketResult<Frame>> {
        timeout(PATIENCE, self.socket.next()).await.unwrap()
    }

    /// The next message.
    pub async fn message(&mut self) -> Message {
        loop {
            match self.frame().await {
                Some(Ok(Frame::Binary(bytes))) => return decode_frame(&bytes).unwrap(),
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                other => panic!("no message: {other:?}"),
            }
        }
    }

    /// The next receipts; pages that come meanwhile are applied and acknowledged.
    pub async fn receipts(&mut self, device: &mut Device) -> Vec<Receipt> {
        loop {
            match self.message().await {
                Message::Receipts(receipts) => {
                    receipts.iter().for_each(|receipt| device.received(receipt));
                    return receipts;
                }
                other => {
                    self.take_page(device, other).await;
                }
            }
        }
    }

    /// Takes pages until the device has everything up to a position.
    pub async fn follow_to(&mut self, device: &mut Device, head: u64) {
        while !device.stands_at(head) {
            let message = self.message().await;
            if let Message::Receipts(receipts) = message {
                receipts.iter().for_each(|receipt| device.received(receipt));
                self.receipts.extend(receipts);
            } else {
                self.take_page(device, message).await;
            }
        }
    }

    /// Applies and acknowledges a page, when this part is its last.
    pub async fn take_page(&mut self, device: &mut Device, message: Message) -> Option<Page> {
        let Message::Page(part) = message else { panic!("no page: {message:?}") };
        let (number, page) = self.staged.take(part).unwrap()?;
        device.apply(page.clone());
        self.send(&Message::Ack(Ack { page: number, receipt: device.receipt })).await;
        Some(page)
    }

    /// Reads until the server says goodbye; keeps the receipts that come before.
    pub async fn goodbye(&mut self) -> Goodbye {
        loop {
            match self.message().await {
                Message::Goodbye(goodbye) => return goodbye,
                Message::Receipts(receipts) => self.receipts.extend(receipts),
                Message::Page(_) | Message::Welcome(_) => {}
                other => panic!("no goodbye: {other:?}"),
            }
        }
    }

    /// Reads until the server closes; gives its reason.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.frame().await {
                Some(Ok(Frame::Close(reason))) => return reason,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}
