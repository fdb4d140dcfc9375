//! A real client against a server that follows a script: what an app sees of sync.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use client_sdk::engine::{Input, Nudge, Outward, SyncLoop};
use client_sdk::{
    Client, Config, Edits, MemberId, SeededEntropy, StartError, StaticToken, SyncErrorKind,
    SyncPhase, Timestamp, TokenProvider, TokenProviderError, TokenReason,
};
use crdt_core::id::{Epoch, Lease};
use crdt_core::protocol::{
    AcceptedDocument, Batch, Cursor, DocumentRef, Goodbye, GoodbyeCode, Message, Outcome, Page,
    PageParts, PeerLimits, Receipt, ScopeCursor, VERSIONS, Welcome, decode_frame, encode_frame,
};
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, tungstenite};

/// The longest that anything here may take; only a failing test takes it.
const PATIENCE: Duration = Duration::from_secs(30);

fn ada() -> MemberId {
    MemberId::from_source_key("member", "ada@example.com")
}

fn open(folder: &TempDir, url: &str) -> Client {
    let path = folder.path().join("fieldbook.db");
    let config = Config::new(path, "acme", ada()).server(url, StaticToken::new("token"));
    Client::open(config).unwrap()
}

fn account(client: &Client, name: &str) {
    client.create("account", Edits::new().set("name", name)).unwrap();
}

#[test]
fn one_run_sends_what_is_unsent_and_the_status_survives_a_restart() {
    let folder = TempDir::new().unwrap();
    let (url, served) = serve(1, accept_everything);
    let client = open(&folder, &url);
    account(&client, "Acme");
    assert_eq!(client.status().unsent_batches, 1);
    let report = client.sync_once(PATIENCE).unwrap();
    assert_eq!((report.uploaded, report.remaining, report.caught_up), (1, 0, true));
    served.join().unwrap();
    let status = client.status();
    assert_eq!((status.phase, status.unsent_batches), (SyncPhase::Stopped, 0));
    let last_synced = status.last_synced.expect("everything was synced");

    client.close();
    drop(client);
    let client = open(&folder, &url);
    assert_eq!(client.status().last_synced, Some(last_synced));
}

#[test]
fn an_edit_made_while_sync_runs_leaves_the_outbox_by_itself() {
    let folder = TempDir::new().unwrap();
    let (url, served) = serve(1, accept_everything);
    let client = open(&folder, &url);
    let handle = client.start_sync().unwrap();
    assert!(matches!(client.start_sync(), Err(StartError::AlreadyRunning)));
    account(&client, "Acme");
    account(&client, "Globex");
    let report = client.sync_once(PATIENCE).unwrap();
    assert_eq!(report.remaining, 0);
    assert!(client.unsent().unwrap().is_empty());
    handle.close();
    served.join().unwrap();
    assert_eq!(client.status().phase, SyncPhase::Stopped);
}

/// Gives tokens until it has none left, and notes what it was asked for.
#[derive(Clone, Default)]
struct Wallet(Arc<Mutex<(Vec<&'static str>, Vec<TokenReason>)>>);

impl TokenProvider for Wallet {
    fn token(
        &self,
        reason: TokenReason,
    ) -> BoxFuture<'static, Result<Option<String>, TokenProviderError>> {
        let mut wallet = self.0.lock().unwrap();
        wallet.1.push(reason);
        let token = wallet.0.pop().map(str::to_owned);
        Box::pin(async { Ok(token) })
    }
}

#[test]
fn a_refused_token_is_asked_for_anew_once_and_then_stops_sync_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let (url, served) = serve(2, |mut peer, _| async move {
        let code = GoodbyeCode::Unauthorized;
        let goodbye = Goodbye { code, text: "a forged token".into(), retry_after_ms: None };
        say(&mut peer, &Message::Goodbye(goodbye)).await;
        until_closed(&mut peer).await;
    });
    let wallet = Wallet::default();
    wallet.0.lock().unwrap().0 = vec!["worse", "bad"];
    let config = Config::new(folder.path().join("fieldbook.db"), "acme", ada());
    let client = Client::open(config.server(url, wallet.clone())).unwrap();
    let error = client.sync_once(PATIENCE).unwrap_err();
    assert_eq!((error.kind, error.text.as_str()), (SyncErrorKind::SignIn, "a forged token"));
    served.join().unwrap();
    assert_eq!(wallet.0.lock().unwrap().1, [TokenReason::Start, TokenReason::Refused]);
    account(&client, "Acme");
    assert_eq!(client.unsent().unwrap().batches, 1);
}

#[test]
fn an_app_too_old_for_its_server_keeps_its_edits_and_exports_them() {
    let folder = TempDir::new().unwrap();
    let (url, served) = serve(1, |mut peer, _| async move {
        let text = "update the app".into();
        let goodbye = Goodbye { code: GoodbyeCode::Version, text, retry_after_ms: None };
        say(&mut peer, &Message::Goodbye(goodbye)).await;
        until_closed(&mut peer).await;
    });
    let client = open(&folder, &url);
    account(&client, "Acme");
    let error = client.sync_once(PATIENCE).unwrap_err();
    assert_eq!(
        (error.kind, error.text.as_str()),
        (SyncErrorKind::UpgradeRequired, "update the app")
    );
    served.join().unwrap();
    account(&client, "Globex");
    assert_eq!(client.unsent().unwrap().batches, 2);
    let path = folder.path().join("unsent.json");
    client.export_unsent(&path).unwrap();
    let exported = std::fs::read_to_string(path).unwrap();
    assert!(exported.contains("Acme") && exported.contains("Globex"), "{exported}");
}

#[test]
fn nobody_signed_in_is_no_reason_to_ask_a_server() {
    let folder = TempDir::new().unwrap();
    let config = Config::new(folder.path().join("fieldbook.db"), "acme", ada());
    let client = Client::open(config.server("ws://127.0.0.1:1", Wallet::default())).unwrap();
    let error = client.sync_once(PATIENCE).unwrap_err();
    assert_eq!((error.kind, error.text.as_str()), (SyncErrorKind::SignIn, "nobody is signed in"));
}

#[test]
fn a_client_without_a_server_works_and_says_why_it_does_not_sync() {
    let folder = TempDir::new().unwrap();
    let client = Client::open(Config::new(folder.path().join("a.db"), "acme", ada())).unwrap();
    assert!(matches!(client.start_sync(), Err(StartError::NoServer)));
    let error = client.sync_once(PATIENCE).unwrap_err();
    assert_eq!(error.kind, SyncErrorKind::Configuration);
    account(&client, "Acme");
}

#[test]
fn closing_the_client_ends_its_sync() {
    let folder = TempDir::new().unwrap();
    let (url, served) = serve(1, accept_everything);
    let client = open(&folder, &url);
    let handle = client.start_sync().unwrap();
    client.sync_once(PATIENCE).unwrap();
    client.close();
    served.join().unwrap();
    handle.close();
}

#[test]
fn the_same_seed_and_the_same_inputs_give_the_same_effects() {
    let run = || {
        let folder = TempDir::new().unwrap();
        let config = Config::new(folder.path().join("a.db"), "acme", ada());
        let client = Client::open(config.entropy(SeededEntropy::new(5))).unwrap();
        let mut sync = SyncLoop::new(&client);
        let mut effects = sync.handle(0, Input::Start);
        effects.extend(sync.handle(5, Input::TokenReady(Ok("token".into()))));
        let Some(Outward::Connect(id)) = effects.iter().find(|e| matches!(e, Outward::Connect(_)))
        else {
            panic!("a token leads to a connection")
        };
        let id = *id;
        effects.extend(sync.handle(9, Input::Connected(id)));
        let welcome = encode_frame(&Message::Welcome(Box::new(welcome(0))));
        effects.extend(sync.handle(20, Input::FrameReceived(id, welcome)));
        effects.extend(sync.handle(30, Input::Disconnected(id, "cut".into())));
        effects.extend(sync.handle(40, Input::Nudge(Nudge::Network)));
        assert_eq!(sync.status().phase, SyncPhase::Connecting);
        effects
    };
    assert_eq!(run(), run());
}

type Peer = WebSocketStream<TcpStream>;

/// Welcomes, accepts every batch, and shows an empty page for each, until the client leaves.
async fn accept_everything(mut peer: Peer, _connection: usize) {
    let mut position = 0;
    while let Some(message) = hear(&mut peer).await {
        match message {
            Message::Hello(hello) => {
                assert_eq!(hello.token, "token");
                say(&mut peer, &Message::Welcome(Box::new(welcome(0)))).await;
            }
            Message::Push(push) => {
                for batch in &push.batches {
                    position += 1;
                    say(&mut peer, &Message::Receipts(vec![accepted(position, batch)])).await;
                    let cursors =
                        vec![ScopeCursor { scope: String::new(), cursor: Cursor::at(position) }];
                    let page = Page {
                        cursors,
                        entries: vec![],
                        authors: vec![],
                        head: position,
                        dropped: vec![],
                    };
                    for part in PageParts::new(&page).parts(position) {
                        say(&mut peer, &Message::Page(part)).await;
                    }
                }
            }
            Message::Ack(_) => {}
            other => panic!("the client sent {}", other.name()),
        }
    }
}

fn accepted(position: u64, batch: &Batch) -> Receipt {
    let documents = (1..).zip(&batch.documents).filter_map(|(place, changed)| {
        let DocumentRef::Identity(identity) = &changed.document else { return None };
        Some(AcceptedDocument { id: identity.id.clone(), number: position * 100 + place })
    });
    let outcome = Outcome::Accepted { position, documents: documents.collect() };
    Receipt { number: position, batch: batch.id, outcome, policy_version: 1, erased: Vec::new() }
}

fn welcome(head: u64) -> Welcome {
    Welcome {
        version: VERSIONS[0],
        epoch: Epoch([1; 16]),
        lineage: Vec::new(),
        lease: Lease([2; 16]),
        receipts: Vec::new(),
        scopes: Vec::new(),
        limits: PeerLimits { batches_in_flight: 4, pages_in_flight: 4 },
        server_time: Timestamp::from_millis(1_700_000_000_000),
        schema: None,
        backed_up_to: 0,
        head,
        member: ada(),
        member_name: "Ada".into(),
        policy_version: 1,
        policy: None,
        standing: crdt_core::policy::Standing::unlisted(ada()),
        token_expires: Timestamp::from_millis(4_000_000_000_000),
        recovery: crdt_core::protocol::Recovery::Unknown,
    }
}

/// The next message; nothing when the client has left.
async fn hear(peer: &mut Peer) -> Option<Message> {
    loop {
        match peer.next().await? {
            Ok(tungstenite::Message::Binary(frame)) => return Some(decode_frame(&frame).unwrap()),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// The client may have left meanwhile, which `hear` will notice.
async fn say(peer: &mut Peer, message: &Message) {
    drop(peer.send(tungstenite::Message::binary(encode_frame(message))).await);
}

async fn until_closed(peer: &mut Peer) {
    while hear(peer).await.is_some() {}
}

/// Serves so many connections on a thread of its own; gives the address.
fn serve<F: Future<Output = ()>>(
    connections: usize,
    mut script: impl FnMut(Peer, usize) -> F + Send + 'static,
) -> (String, JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let work = async move || {
        let listener = TcpListener::from_std(listener).unwrap();
        for connection in 0..connections {
            let (tcp, _) = listener.accept().await.unwrap();
            script(accept_hdr_async(tcp, agree).await.unwrap(), connection).await;
        }
    };
    let served = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, work()).await.unwrap() });
    });
    (url, served)
}

#[expect(clippy::result_large_err, reason = "the library's signature")]
fn agree(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let subprotocol = HeaderValue::from_static("fieldbook.v1");
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    Ok(response)
}
