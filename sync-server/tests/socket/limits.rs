//! What one member and one address may use: who wants more is told when to come back, and loses nothing.

use std::time::{Duration, Instant};

use crdt_core::protocol::{GoodbyeCode, Message, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Running;
use crate::support::device::put;

const HANDSHAKE: &str = "GET /v1/sync HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: fieldbook.v1\r\n";

/// The head of what the server answers to a handshake.
async fn answer(server: &Running, more: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(format!("{HANDSHAKE}{more}\r\n").as_bytes()).await.unwrap();
    let mut bytes = vec![0; 12];
    stream.read_exact(&mut bytes).await.unwrap();
    if bytes.ends_with(b"429") {
        stream.read_to_end(&mut bytes).await.unwrap();
    }
    String::from_utf8(bytes).unwrap().to_lowercase()
}

#[tokio::test]
async fn a_member_who_pushes_too_much_is_slowed_down_then_sent_away_and_every_edit_arrives() {
    let server = Running::with(|config| config.limits.requests_per_minute = 60).await;
    let mut device = server.device(1, 1);
    let mut client = server.join(&mut device).await;
    let mut answered = 0;
    loop {
        let batches = (0..4).map(|_| device.create("contact", &[put("last_name", "Ada")]).1);
        let begun = Instant::now();
        client.push(batches.collect()).await;
        let mut left = 4;
        while left > 0 {
            left -= client.receipts(&mut device).await.len();
        }
        answered += 4;
        if begun.elapsed() > Duration::from_secs(1) {
            break;
        }
        assert!(answered < 310, "five minutes' worth go in at once, and not more");
    }
    assert!(answered > 100, "{answered}");
    // A second device of the same member asks for more than the member has left.
    let mut other = server.device(2, 1);
    let mut second = server.join(&mut other).await;
    let more: Vec<_> =
        (0..16).map(|n| other.create("contact", &[put("last_name", &n.to_string())]).1).collect();
    second.push(more.clone()).await;
    let goodbye = second.goodbye().await;
    assert_eq!(goodbye.code, GoodbyeCode::RateLimited);
    let retry = goodbye.retry_after_ms.unwrap();
    assert!((5_000..=20_000).contains(&retry), "{retry}");
    assert_eq!(server.number("fieldbook_rate_limited_total").await, 1);
    // Another member does not notice.
    let mut bea = server.device(3, 2);
    let mut third = server.join(&mut bea).await;
    let (_, batch) = bea.create("contact", &[put("last_name", "Bea")]);
    third.push(vec![batch]).await;
    assert!(matches!(third.receipts(&mut bea).await[0].outcome, Outcome::Accepted { .. }));
    // What was refused to be read is taken when it comes again: nothing of it was judged.
    let (config, directory) = server.stop().await;
    let server = Running::again((config, directory)).await;
    let mut again = server.join(&mut other).await;
    again.push(more).await;
    let mut accepted = 0;
    while accepted < 16 {
        let receipts = again.receipts(&mut other).await;
        assert!(receipts.iter().all(|r| matches!(r.outcome, Outcome::Accepted { .. })));
        accepted += receipts.len();
    }
}

#[tokio::test]
async fn a_member_has_so_many_sockets_and_gets_another_once_one_has_gone() {
    let server = Running::with(|config| config.limits.sockets_per_member = 2).await;
    let mut devices: Vec<_> = (1..=3).map(|n| server.device(n, 1)).collect();
    let mut first = server.join(&mut devices[0]).await;
    let _second = server.join(&mut devices[1]).await;
    let mut refused = server.connect().await;
    refused.hello(devices[2].hello()).await;
    let goodbye = refused.goodbye().await;
    assert_eq!((goodbye.code, goodbye.retry_after_ms), (GoodbyeCode::RateLimited, Some(30_000)));
    let mut other = server.device(4, 2);
    server.join(&mut other).await;
    first.send_frame(tokio_tungstenite::tungstenite::Message::Close(None)).await;
    first.closed().await;
    let begun = Instant::now();
    loop {
        let mut client = server.connect().await;
        client.hello(devices[2].hello()).await;
        match client.message().await {
            Message::Welcome(_) => break,
            Message::Goodbye(_) => assert!(begun.elapsed() < Duration::from_secs(20)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_address_has_so_many_connections_whatever_a_stranger_claims() {
    let server = Running::with(|config| config.limits.sockets_per_address = 2).await;
    let _first = server.connect().await;
    let _second = server.connect().await;
    for claim in ["", "X-Forwarded-For: 203.0.113.9\r\n"] {
        let refused = answer(&server, claim).await;
        assert!(
            refused.starts_with("http/1.1 429") && refused.contains("retry-after: "),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_those_behind_it_are_counted() {
    let server = Running::with(|config| {
        config.limits.connects_per_minute = 2;
        config.accounts.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let expected =
        [(1, "101"), (1, "101"), (1, "429"), (2, "101"), (2, "101"), (2, "429"), (1, "429")];
    for (address, status) in expected {
        let got = answer(&server, &format!("X-Forwarded-For: 203.0.113.{address}\r\n")).await;
        assert!(got.starts_with(&format!("http/1.1 {status}")), "{address}: {got}");
    }
}

#[tokio::test]
async fn half_open_sockets_of_one_address_leave_room_for_others() {
    let server = Running::with(|config| config.limits.sockets_per_address = 4).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(TcpStream::connect(server.address).await.unwrap());
    }
    // The last ones are closed at once, without a byte.
    let mut byte = [0];
    let last = tokio::time::timeout(Duration::from_secs(20), held[199].read(&mut byte)).await;
    assert!(matches!(last.unwrap(), Ok(0) | Err(_)));
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = other.connect(server.address).await.unwrap();
    stream.write_all(format!("{HANDSHAKE}\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
}

#[tokio::test]
async fn the_time_for_the_handshake_is_one_from_the_first_byte_to_the_hello() {
    let server = Running::with(|config| {
        config.limits.handshake_timeout = Duration::from_secs(4);
    })
    .await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let begun = Instant::now();
    // Most of the time goes into the headers, so little is left for the hello.
    let request = format!("{HANDSHAKE}\r\n");
    let mut beat = tokio::time::interval(Duration::from_millis(800));
    for part in request.as_bytes().chunks(request.len() / 5 + 1) {
        beat.tick().await;
        stream.write_all(part).await.unwrap();
    }
    let mut read = Vec::new();
    while !read.windows(7).any(|seen| seen == b"timeout" || seen == b"no hell") {
        let mut bytes = [0; 1_024];
        let length = stream.read(&mut bytes).await.unwrap();
        assert!(length > 0, "closed without a goodbye");
        read.extend(&bytes[..length]);
    }
    assert!(read.starts_with(b"HTTP/1.1 101"));
    // Two budgets, one after the other, would be 7.2 seconds at the least.
    assert!(begun.elapsed() < Duration::from_millis(7_000), "{:?}", begun.elapsed());
}
