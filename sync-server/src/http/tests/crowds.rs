//! Sockets that say nothing: they make room for those who speak.

use super::*;

fn places(max_handshakes: usize) -> ServerConfig {
    let mut config = ServerConfig::default();
    config.limits.max_handshakes = max_handshakes;
    // Nobody is cut for being slow here.
    config.limits.handshake_timeout = Duration::from_secs(100);
    config
}

async fn is_cut(stream: &mut TcpStream) -> bool {
    timeout(PATIENCE, stream.read(&mut [0; 1])).await.is_ok_and(|read| !matches!(read, Ok(1..)))
}

#[tokio::test]
async fn a_full_house_of_silent_sockets_makes_room_for_who_speaks() {
    let server = Server::start(places(3), None).await;
    let mut silent = Vec::new();
    for request in ["", "GET /v1/sync HTTP/1.1\r\nHost: local", ""] {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    for _ in 0..2 {
        assert!(server.get("/livez").await.starts_with("HTTP/1.1 200"));
    }
    let mut socket = server.sync().await;
    let message = Message::Binary(Bytes::from_static(b"here"));
    socket.send(message.clone()).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap(), message);
    // Each newcomer has cost the oldest its place.
    assert!(is_cut(&mut silent[0]).await);
    let cut = server.metrics.render();
    let cut = cut.lines().find_map(|line| line.strip_prefix("fieldbook_handshakes_cut_total "));
    assert!((1..=3).contains(&cut.unwrap().parse::<u32>().unwrap()), "{cut:?}");
}

#[tokio::test]
async fn who_is_upgraded_and_says_no_hello_holds_no_place_for_ever() {
    let server = Server::start(places(1), None).await;
    let mut first = server.sync().await;
    let mut second = server.sync().await;
    let cut = timeout(PATIENCE, first.next()).await.unwrap();
    assert!(!matches!(cut, Some(Ok(_))), "{cut:?}");
    let message = Message::Binary(Bytes::from_static(b"here"));
    second.send(message.clone()).await.unwrap();
    assert_eq!(next(&mut second).await.unwrap(), message);
}
