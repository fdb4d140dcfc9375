//! The promises of the upgraded socket: what fits goes through, what does not is answered with its reason.

use super::*;

#[tokio::test]
async fn compression_of_the_socket_is_never_agreed_to() {
    let server = Server::plain().await;
    let mut stream = server.connect().await;
    let request = handshake(&["Sec-WebSocket-Extensions: permessage-deflate"]);
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.starts_with("http/1.1 101") && !answer.contains("extensions"), "{answer}");
}

#[tokio::test]
async fn an_upgraded_socket_carries_frames_up_to_the_limit_both_ways() {
    let server = Server::plain().await;
    let mut socket = server.sync().await;
    for size in [0, 1, 5_000, crdt_core::limits::FRAME_BYTES_MAX] {
        let message = Message::Binary(Bytes::from(vec![7; size]));
        socket.send(message.clone()).await.unwrap();
        assert_eq!(next(&mut socket).await.unwrap(), message);
    }
    assert!(server.metrics.render().contains("fieldbook_connections 1"));
}

#[tokio::test]
async fn a_frame_beyond_the_limit_is_answered_with_too_big_before_it_is_read() {
    let server = Server::plain().await;
    let mut socket = server.sync().await;
    // The header alone: a masked binary frame of 2^40 bytes.
    let header = [0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    socket.get_mut().write_all(&header).await.unwrap();
    let Ok(Message::Close(Some(frame))) = next(&mut socket).await else { panic!("no close frame") };
    assert_eq!(frame.code, CloseCode::Size);
}

#[tokio::test]
async fn a_message_in_fragments_beyond_the_limit_is_answered_with_too_big() {
    let server = Server::plain().await;
    let mut socket = server.sync().await;
    let size = u64::try_from(crdt_core::limits::FRAME_BYTES_MAX / 2 + 1).unwrap();
    for first_byte in [0x02, 0x00] {
        let mut frame = vec![first_byte, 0xff];
        frame.extend(size.to_be_bytes());
        frame.extend([0; 4]);
        frame.resize(frame.len() + usize::try_from(size).unwrap(), 7);
        socket.get_mut().write_all(&frame).await.unwrap();
    }
    let Ok(Message::Close(Some(frame))) = next(&mut socket).await else { panic!("no close frame") };
    assert_eq!(frame.code, CloseCode::Size);
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_answered_with_their_reason() {
    let server = Server::plain().await;
    for (bytes, code) in [
        (&[0x82, 0x01, 7][..], CloseCode::Protocol),
        (&[0xc2, 0x81, 1, 2, 3, 4, 7], CloseCode::Protocol),
        (&[0x83, 0x81, 1, 2, 3, 4, 7], CloseCode::Protocol),
        (&[0x80, 0x81, 1, 2, 3, 4, 7], CloseCode::Protocol),
        (&[&[0x89, 0xfe, 0, 126][..], &[0; 130]].concat(), CloseCode::Protocol),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], CloseCode::Invalid),
    ] {
        let mut socket = server.sync().await;
        socket.get_mut().write_all(bytes).await.unwrap();
        let Ok(Message::Close(Some(frame))) = next(&mut socket).await else {
            panic!("no close frame for {bytes:x?}")
        };
        assert_eq!(frame.code, code, "{bytes:x?}");
    }
}
