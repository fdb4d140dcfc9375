//! A device in memory, a server that follows a script, and a driver between them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crdt_core::id::{BatchId, Epoch, Lease, MemberId, ReplicaId};
use crdt_core::protocol::{
    Batch, Compare, Cursor, Hello, Lacking, Message, Outcome as Answer, Page, PageParts,
    PeerLimits, Receipt, Relay, ScopeCursor, VERSIONS, Welcome, decode_frame, encode_frame,
};
use crdt_core::time::Timestamp;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, tungstenite};

use crate::clock::SystemClock;
use crate::config::{TokenProvider, TokenProviderError, TokenReason};
use crate::driver::endpoint::{Endpoint, Stream};
use crate::driver::handle::SyncHandle;
use crate::driver::run::Wiring;
use crate::driver::slot::{Outcome, SyncSlot};
use crate::engine::{Counts, Device, RelayStep, StoreFailure, SyncLoop};
use crate::notify::{Changes, Hub};
use crate::status::SyncError;

/// The longest that anything here may take; only a failing test takes it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything around one driver.
pub(super) struct Bench {
    url: String,
    pub(super) device: MemoryDevice,
    pub(super) slot: Arc<SyncSlot>,
    hub: Hub,
    tokens: Arc<CountedTokens>,
}

impl Bench {
    /// A server that follows `script` on its first connection, and the thread that it runs on.
    pub(super) fn new<F>(script: impl FnMut(Peer) -> F + Send + 'static) -> (Self, JoinHandle<()>)
    where
        F: Future<Output = ()>,
    {
        Self::new_for(1, script)
    }

    /// The same for a number of connections, one after the other.
    pub(super) fn new_for<F>(
        connections: usize,
        script: impl FnMut(Peer) -> F + Send + 'static,
    ) -> (Self, JoinHandle<()>)
    where
        F: Future<Output = ()>,
    {
        let (port, served) = serve(connections, None, script);
        (Self::to(format!("ws://127.0.0.1:{port}")), served)
    }

    /// The same over TLS, for one connection; one without a handshake counts.
    pub(super) fn over_tls<F>(
        acceptor: TlsAcceptor,
        script: impl FnMut(Peer) -> F + Send + 'static,
    ) -> (Self, JoinHandle<()>)
    where
        F: Future<Output = ()>,
    {
        let (port, served) = serve(1, Some(acceptor), script);
        (Self::to(format!("wss://localhost:{port}")), served)
    }

    fn to(url: String) -> Self {
        Self {
            url,
            device: MemoryDevice::default(),
            slot: Arc::default(),
            hub: Hub::default(),
            tokens: Arc::default(),
        }
    }

    pub(super) fn start(&self) -> SyncHandle {
        self.start_trusting(&[])
    }

    pub(super) fn start_trusting(&self, roots: &[Vec<u8>]) -> SyncHandle {
        let (sync, wiring, stop) = self.wire(roots);
        SyncHandle::start(sync, wiring, stop).unwrap()
    }

    pub(super) fn start_on(&self, runtime: &Handle) -> SyncHandle {
        let (sync, wiring, stop) = self.wire(&[]);
        SyncHandle::start_on(runtime, sync, wiring, stop)
    }

    fn wire(&self, roots: &[Vec<u8>]) -> (SyncLoop, Wiring, oneshot::Sender<()>) {
        let (occupied, orders) = SyncSlot::occupy(&self.slot).unwrap();
        let (stop, stopped) = oneshot::channel();
        let wiring = Wiring {
            endpoint: Endpoint::new(&self.url, roots).unwrap(),
            tokens: Arc::clone(&self.tokens) as Arc<dyn TokenProvider>,
            clock: Arc::new(SystemClock::new()),
            edits: self.hub.subscribe(),
            orders,
            stop: stopped,
            occupied,
        };
        let device = Box::new(self.device.clone());
        (SyncLoop::over(device, Arc::clone(&self.slot), 7), wiring, stop)
    }

    /// Writes while sync runs, as a client does: first the batch, then the notice.
    pub(super) fn edit(&self, batch: Batch) {
        self.device.write(batch);
        self.hub.tell(&Changes { local: true, ..Changes::default() });
    }

    pub(super) fn wait(&self, enough: impl Fn(&Outcome) -> bool) -> Outcome {
        let outcome = self.slot.wait(PATIENCE, &enough);
        assert!(enough(&outcome), "{outcome:?}, {:?}", self.slot.status().borrow());
        outcome
    }

    pub(super) fn wait_for_error(&self) -> SyncError {
        let failed = |_: &Outcome| self.slot.status().borrow().last_error.is_some();
        self.wait(failed);
        self.slot.status().borrow().last_error.clone().unwrap()
    }

    /// Waits until the app was asked for so many tokens.
    pub(super) fn wait_for_tokens(&self, count: u32) {
        self.wait(|_| *self.tokens.0.lock().unwrap() >= count);
    }
}

/// Always the same token, counted.
#[derive(Default)]
struct CountedTokens(Mutex<u32>);

impl TokenProvider for CountedTokens {
    fn token(
        &self,
        _: TokenReason,
    ) -> BoxFuture<'static, Result<Option<String>, TokenProviderError>> {
        *self.0.lock().unwrap() += 1;
        Box::pin(async { Ok(Some("token".to_owned())) })
    }
}

/// A device whose store is this.
#[derive(Clone, Default)]
pub(super) struct MemoryDevice(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    unsent: Vec<Batch>,
    cursor: Cursor,
    receipt: u64,
    epoch: Option<Epoch>,
    last_synced: Option<Timestamp>,
}

impl MemoryDevice {
    pub(super) fn write(&self, batch: Batch) {
        self.0.lock().unwrap().unsent.push(batch);
    }

    pub(super) fn is_welcomed(&self) -> bool {
        self.0.lock().unwrap().epoch.is_some()
    }

    pub(super) fn remembers_sync(&self) -> bool {
        self.0.lock().unwrap().last_synced.is_some()
    }
}

impl Device for MemoryDevice {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    fn hello(&self, token: String) -> Result<Hello, StoreFailure> {
        let memory = self.0.lock().unwrap();
        Ok(Hello {
            versions: VERSIONS.to_vec(),
            token,
            replica: ReplicaId([1; 12]),
            lease: None,
            epoch: memory.epoch,
            receipt: memory.receipt,
            schema_version: 1,
            cursor: memory.cursor,
            exceptions: Vec::new(),
            client: "test".into(),
            policy_version: 0,
            device: crdt_core::id::DeviceId([7; 16]),
            device_name: String::new(),
            left: 0,
            short_receipts: true,
        })
    }

    fn store_welcome(&self, welcome: &Welcome, _: u64) -> Result<Vec<u64>, StoreFailure> {
        self.0.lock().unwrap().epoch = Some(welcome.epoch);
        Ok(Vec::new())
    }

    fn store_receipts(
        &self,
        receipts: &[Receipt],
        _: &BTreeSet<BatchId>,
    ) -> Result<Vec<u64>, StoreFailure> {
        let mut memory = self.0.lock().unwrap();
        for receipt in receipts {
            memory.receipt = receipt.number;
            memory.unsent.retain(|batch| batch.id != receipt.batch);
        }
        Ok(Vec::new())
    }

    fn store_page(&self, page: Page) -> Result<Vec<u64>, StoreFailure> {
        self.0.lock().unwrap().cursor = page.cursors[0].cursor;
        Ok(Vec::new())
    }

    fn renew_replica(&self) -> Result<(), StoreFailure> {
        Ok(())
    }

    fn wipe(&self) -> Result<(), StoreFailure> {
        Ok(())
    }

    fn outbox(&self, after: u64, batches: usize, _: usize) -> Result<Vec<Batch>, StoreFailure> {
        let memory = self.0.lock().unwrap();
        let rest = memory.unsent.iter().filter(|batch| batch.number > after);
        Ok(rest.take(batches).cloned().collect())
    }

    fn next_relay(&self, _: &BTreeSet<BatchId>) -> Result<RelayStep, StoreFailure> {
        Ok(RelayStep::Done)
    }

    fn store_lacking(&self, _: &Compare, _: &Lacking) -> Result<Vec<Relay>, StoreFailure> {
        Ok(Vec::new())
    }

    fn store_relayed(&self, _: &Compare) -> Result<(), StoreFailure> {
        Ok(())
    }

    fn counts(&self) -> Result<Counts, StoreFailure> {
        Ok(Counts::default())
    }

    fn remember(
        &self,
        last_synced: Option<Timestamp>,
        _: Option<&SyncError>,
    ) -> Result<(), StoreFailure> {
        self.0.lock().unwrap().last_synced = last_synced;
        Ok(())
    }
}

/// The server's end of one connection.
pub(super) struct Peer {
    pub(super) socket: WebSocketStream<Box<dyn Stream>>,
}

impl Peer {
    pub(super) async fn hear(&mut self) -> Message {
        loop {
            let next = self.socket.next().await.expect("the client still talks");
            if let tungstenite::Message::Binary(frame) = next.expect("the client's frames are good")
            {
                return decode_frame(&frame).expect("the client sends good messages");
            }
        }
    }

    pub(super) async fn say(&mut self, message: Message) {
        let frame = tungstenite::Message::binary(encode_frame(&message));
        self.socket.send(frame).await.expect("the client still listens");
    }

    pub(super) async fn say_page(&mut self, number: u64, page: &Page) {
        for part in PageParts::new(page).parts(number) {
            self.say(Message::Page(part)).await;
        }
    }
}

/// Serves so many connections; gives the port.
fn serve<F>(
    connections: usize,
    acceptor: Option<TlsAcceptor>,
    mut script: impl FnMut(Peer) -> F + Send + 'static,
) -> (u16, JoinHandle<()>)
where
    F: Future<Output = ()>,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let work = async move || {
        let listener = TcpListener::from_std(listener).unwrap();
        for _ in 0..connections {
            let (tcp, _) = listener.accept().await.unwrap();
            let stream: Box<dyn Stream> = match &acceptor {
                None => Box::new(tcp),
                Some(acceptor) => {
                    // A client that does not trust the certificate goes away.
                    let Ok(tls) = acceptor.accept(tcp).await else { continue };
                    Box::new(tls)
                }
            };
            let Ok(socket) = accept_hdr_async(stream, agree).await else { continue };
            script(Peer { socket }).await;
        }
    };
    let served = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, work()).await.unwrap() });
    });
    (port, served)
}

#[expect(clippy::result_large_err, reason = "the library's signature")]
fn agree(
    request: &Request,
    mut response: Response,
) -> Result<Response, tungstenite::handshake::server::ErrorResponse> {
    assert_eq!(request.uri().path(), "/v1/sync");
    let subprotocol = &request.headers()[header::SEC_WEBSOCKET_PROTOCOL];
    assert_eq!(subprotocol, "fieldbook.v1");
    let subprotocol = HeaderValue::from_static("fieldbook.v1");
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    Ok(response)
}

/// A certificate for this machine that nobody else trusts, and a server that shows it.
pub(super) fn certificate() -> (Vec<u8>, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (certificate.to_vec(), TlsAcceptor::from(Arc::new(config)))
}

pub(super) fn welcome(head: u64) -> Welcome {
    Welcome {
        version: VERSIONS[0],
        epoch: Epoch([1; 16]),
        lineage: Vec::new(),
        lease: Lease([2; 16]),
        receipts: Vec::new(),
        scopes: Vec::new(),
        limits: PeerLimits { batches_in_flight: 4, pages_in_flight: 2 },
        server_time: Timestamp::from_millis(1_700_000_000_000),
        schema: None,
        backed_up_to: 0,
        head,
        member: MemberId::from_source_key("member", "maria"),
        member_name: "Maria".into(),
        policy_version: 1,
        policy: None,
        standing: crdt_core::policy::Standing::unlisted(MemberId::from_source_key(
            "member", "maria",
        )),
        token_expires: Timestamp::from_millis(4_000_000_000_000),
        recovery: crdt_core::protocol::Recovery::Unknown,
    }
}

pub(super) fn batch(number: u64) -> Batch {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let id = BatchId(id);
    Batch { id, number, schema_version: 1, policy_version: 1, documents: Vec::new() }
}

pub(super) fn accepted(number: u64, batch: &Batch) -> Receipt {
    let outcome = Answer::Accepted { position: number, documents: Vec::new() };
    Receipt { number, batch: batch.id, outcome, policy_version: 1, erased: Vec::new() }
}

pub(super) fn page(position: u64) -> Page {
    let cursor = Cursor::at(position);
    let cursors = vec![ScopeCursor { scope: String::new(), cursor }];
    Page { cursors, entries: Vec::new(), authors: Vec::new(), head: position, dropped: Vec::new() }
}
