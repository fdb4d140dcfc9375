//! One device and another: what they push and get, and how each wrong beginning ends.

use std::time::Duration;

use crdt_core::protocol::{GoodbyeCode, Outcome};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::client::Running;
use crate::support::device::put;

#[tokio::test]
async fn what_one_device_pushes_comes_to_the_other_as_a_page() {
    let server = Running::start().await;
    let (mut one, mut two) = (server.device(1, 1), server.device(2, 2));
    let mut first = server.join(&mut one).await;
    let mut second = server.join(&mut two).await;
    let (record, batch) = one.create("contact", &[put("last_name", "Ada")]);
    first.push(vec![batch]).await;
    let receipts = first.receipts(&mut one).await;
    assert!(matches!(receipts[0].outcome, Outcome::Accepted { position: 1, .. }));
    second.follow_to(&mut two, 1).await;
    let id = crdt_core::id::DocumentId::main(record);
    assert_eq!(two.documents[&id].cells, one.documents[&id].cells);
    let batch = two.edit(record, &[put("title", "Countess")]);
    second.push(vec![batch]).await;
    first.follow_to(&mut one, 2).await;
    assert_eq!(two.documents[&id].cells, one.documents[&id].cells);
    server.stop().await;
}

#[tokio::test]
async fn a_token_that_does_not_fit_ends_the_handshake() {
    let server = Running::start().await;
    let hour = Duration::from_secs(3_600);
    let mut forged = server.token(1, Duration::ZERO, hour);
    forged.replace_range(forged.len() - 6.., "AAAAAA");
    for (token, code) in [
        (String::new(), GoodbyeCode::Unauthorized),
        (forged, GoodbyeCode::Unauthorized),
        (server.token(9, Duration::ZERO, hour), GoodbyeCode::Unauthorized),
        (server.token(1, 2 * hour, hour), GoodbyeCode::TokenExpired),
    ] {
        let mut device = server.device(1, 1);
        device.token = token;
        let mut client = server.connect().await;
        client.hello(device.hello()).await;
        assert_eq!(client.goodbye().await.code, code);
        client.closed().await;
    }
    server.join(&mut server.device(1, 1)).await;
}

#[tokio::test]
async fn a_token_that_expires_on_the_open_socket_ends_the_session() {
    let server = Running::start().await;
    let mut device = server.device(1, 1);
    // What is left is the grace of clocks that differ, less most of it.
    device.token = server.token(1, Duration::from_secs(31), Duration::from_secs(4));
    let mut client = server.join(&mut device).await;
    assert_eq!(client.goodbye().await.code, GoodbyeCode::TokenExpired);
}

#[tokio::test]
async fn a_version_of_the_future_is_asked_to_come_back_updated() {
    let server = Running::start().await;
    let device = server.device(1, 1);
    let mut hello = device.hello();
    hello.versions = vec![7];
    let mut client = server.connect().await;
    client.hello(hello).await;
    assert_eq!(client.goodbye().await.code, GoodbyeCode::Version);
}

#[tokio::test]
async fn text_and_garbage_are_answered_with_a_goodbye() {
    let server = Running::start().await;
    for frame in [Frame::text("hello"), Frame::binary(vec![9, 9, 9])] {
        let mut client = server.connect().await;
        client.send_frame(frame).await;
        assert_eq!(client.goodbye().await.code, GoodbyeCode::Protocol);
        client.closed().await;
    }
}

#[tokio::test]
async fn a_frame_beyond_the_limit_is_closed_as_too_big() {
    let server = Running::with(|config| config.limits.frame_bytes = 4_096).await;
    let mut device = server.device(1, 1);
    let mut client = server.join(&mut device).await;
    client.send_frame(Frame::binary(vec![0; 5_000])).await;
    let reason = client.closed().await.expect("the close says why");
    assert_eq!(reason.code, CloseCode::Size);
}

#[tokio::test]
async fn who_says_nothing_after_connecting_is_sent_away() {
    let server = Running::with(|config| {
        config.limits.handshake_timeout = Duration::from_millis(300);
    })
    .await;
    let mut client = server.connect().await;
    assert_eq!(client.goodbye().await.code, GoodbyeCode::Timeout);
}

#[tokio::test]
async fn a_second_session_of_a_replica_ends_the_first() {
    let server = Running::start().await;
    let mut device = server.device(1, 1);
    let mut first = server.join(&mut device).await;
    let mut second = server.join(&mut device).await;
    assert_eq!(first.goodbye().await.code, GoodbyeCode::Superseded);
    let (_, batch) = device.create("contact", &[put("last_name", "Ada")]);
    second.push(vec![batch]).await;
    assert_eq!(second.receipts(&mut device).await.len(), 1);
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_keeps_the_receipts_of_what_it_was_handed() {
    let server = Running::start().await;
    let mut device = server.device(1, 1);
    let mut client = server.join(&mut device).await;
    let mut batches = Vec::new();
    for n in 0..16 {
        batches.push(device.create("contact", &[put("last_name", &n.to_string())]).1);
    }
    client.push(batches).await;
    let (goodbye, data) = tokio::join!(client.goodbye(), server.stop());
    assert_eq!(goodbye.code, GoodbyeCode::Restart);
    assert!(goodbye.retry_after_ms.is_some_and(|ms| (1_000..=5_000).contains(&ms)));
    let seen = std::mem::take(&mut client.receipts);
    let server = Running::again(data).await;
    let mut again = server.connect().await;
    let welcome = again.greet(&mut device).await;
    // The push was read before the stop or it was not; what is in the log is answered.
    assert_eq!(welcome.receipts.len() as u64, welcome.head);
    assert!(welcome.receipts.starts_with(&seen), "{seen:?}");
    assert!(welcome.head == 0 || welcome.head == 16, "{}", welcome.head);
    server.stop().await;
}

#[tokio::test]
async fn an_up_to_date_device_reconnects_in_one_round_trip_and_below_a_kilobyte() {
    let server = Running::start().await;
    let mut device = server.device(1, 1);
    let mut client = server.join(&mut device).await;
    let (_, batch) = device.create("contact", &[put("last_name", "Ada")]);
    client.push(vec![batch]).await;
    client.receipts(&mut device).await;
    client.follow_to(&mut device, 1).await;
    let before = server.number("fieldbook_bytes_out_total").await;
    let welcome = server.connect().await.greet(&mut device).await;
    assert_eq!((welcome.receipts.len(), welcome.schema), (0, None));
    let bytes = server.number("fieldbook_bytes_out_total").await - before;
    assert!(bytes < 700, "{bytes} bytes for nothing new (and a goodbye to the old session)");
}
