//! Bombs on the wire itself: slow, endless and empty input. Each ends as stated while an honest device goes on.

use std::time::{Duration, Instant};

use crdt_core::protocol::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Client, Running};
use crate::support::device::{Device, put};

const UPGRADE: &str = "GET /v1/sync HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: fieldbook.v1\r\n\r\n";
/// Longer than anything here takes: reaching it is the failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that waits for nobody for long, and an honest device on it.
async fn server() -> (Running, Client, Device) {
    let server = Running::with(|config| {
        config.limits.idle_timeout = Duration::from_secs(2);
        config.limits.handshake_timeout = Duration::from_secs(2);
    })
    .await;
    let mut device = server.device(1, 1);
    let client = server.join(&mut device).await;
    (server, client, device)
}

/// The honest device pushes once a beat until `attack` is over; every push is accepted.
async fn meanwhile<T>(
    client: &mut Client,
    device: &mut Device,
    attack: impl Future<Output = T>,
) -> T {
    let mut attack = std::pin::pin!(attack);
    let mut beat = tokio::time::interval(Duration::from_millis(200));
    let begun = Instant::now();
    loop {
        tokio::select! {
            done = &mut attack => return done,
            _ = beat.tick() => {
                assert!(begun.elapsed() < PATIENCE, "the attacker was never cut off");
                let (_, batch) = device.create("contact", &[put("last_name", "Ada")]);
                client.push(vec![batch]).await;
                let receipts = client.receipts(device).await;
                assert!(matches!(receipts[0].outcome, Outcome::Accepted { .. }));
            }
        }
    }
}

/// An upgraded socket, without the library that would keep its rules.
async fn raw(server: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}

/// Writes `bytes` again and again, a beat between, until the server has closed.
async fn drip(stream: TcpStream, bytes: &[u8], every: Duration) {
    let (mut reader, mut writer) = stream.into_split();
    let mut beat = tokio::time::interval(every);
    let mut rest = Vec::new();
    let closed = async {
        // A reset says the same as an end.
        let _end = reader.read_to_end(&mut rest).await;
    };
    let mut closed = std::pin::pin!(closed);
    loop {
        tokio::select! {
            () = &mut closed => return,
            _ = beat.tick() => {
                if writer.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_handshake_that_drips_is_cut_at_the_deadline() {
    let (server, mut client, mut device) = server().await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let attack = drip(stream, b"X", Duration::from_millis(100));
    meanwhile(&mut client, &mut device, attack).await;
}

#[tokio::test]
async fn a_frame_that_drips_is_cut_as_silence() {
    let (server, mut client, mut device) = server().await;
    let mut stream = raw(&server).await;
    // The header of a masked binary frame of a megabyte, and then a byte at a time.
    stream.write_all(&[0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4]).await.unwrap();
    let attack = drip(stream, &[7], Duration::from_millis(100));
    meanwhile(&mut client, &mut device, attack).await;
}

#[tokio::test]
async fn fragments_without_end_and_without_content_are_cut_as_silence() {
    let (server, mut client, mut device) = server().await;
    let mut stream = raw(&server).await;
    // A message begins, empty; then nothing but empty continuations that never finish it, many at a time.
    stream.write_all(&[0x02, 0x80, 1, 2, 3, 4]).await.unwrap();
    let many = [0x00, 0x80, 1, 2, 3, 4].repeat(200);
    let attack = drip(stream, &many, Duration::from_millis(20));
    meanwhile(&mut client, &mut device, attack).await;
}

#[tokio::test]
async fn fragments_that_add_up_are_closed_as_too_big() {
    let (server, mut client, mut device) = server().await;
    let mut stream = raw(&server).await;
    stream.write_all(&[0x02, 0x80, 1, 2, 3, 4]).await.unwrap();
    let mut fragment = vec![0x00, 0xfe, 0xff, 0xff, 0, 0, 0, 0];
    fragment.resize(8 + 0xffff, 7);
    let attack = drip(stream, &fragment, Duration::from_millis(10));
    meanwhile(&mut client, &mut device, attack).await;
}

#[tokio::test]
async fn text_before_the_upgrade_without_end_is_cut() {
    let (server, mut client, mut device) = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /v1/sync HTTP/1.1\r\n").await.unwrap();
    let header = format!("X-More: {}\r\n", "x".repeat(900));
    let attack = drip(stream, header.as_bytes(), Duration::from_millis(5));
    meanwhile(&mut client, &mut device, attack).await;
}
