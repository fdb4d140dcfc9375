//! The driver over real sockets on this machine, with a device in memory.

mod bench;

use crdt_core::limits;
use crdt_core::protocol::{Goodbye, GoodbyeCode, Message};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite;

use crate::engine::Nudge;
use crate::status::{SyncErrorKind, SyncPhase};
use bench::{Bench, Peer, accepted, batch, certificate, page, welcome};

#[test]
fn edits_reach_the_server_pages_reach_the_device_and_the_end_leaves_nothing_running() {
    let (bench, served) = Bench::new(|mut peer: Peer| async move {
        let Message::Hello(hello) = peer.hear().await else { panic!("a hello comes first") };
        assert_eq!(hello.token, "token");
        peer.say(Message::Welcome(Box::new(welcome(7)))).await;
        let Message::Push(push) = peer.hear().await else { panic!("the upload comes first") };
        peer.say(Message::Receipts(vec![accepted(1, &push.batches[0])])).await;
        peer.say_page(1, &page(7)).await;
        let mut page_acknowledged = 0;
        while page_acknowledged == 0 {
            let Message::Ack(ack) = peer.hear().await else { panic!("only acknowledgements") };
            page_acknowledged = ack.page;
        }
        assert!(matches!(peer.socket.next().await, Some(Ok(tungstenite::Message::Close(_)))));
    });
    bench.device.write(batch(1));
    let handle = bench.start();
    let outcome = bench.wait(|outcome| outcome.synced);
    assert_eq!((outcome.progress.uploaded, outcome.synced), (1, true));
    assert_eq!(bench.slot.status().borrow().phase, SyncPhase::Live);
    assert!(bench.slot.status().borrow().last_synced.is_some());
    handle.close();
    served.join().unwrap();
    assert_eq!(bench.slot.status().borrow().phase, SyncPhase::Stopped);
    assert!(bench.device.remembers_sync(), "the time of the last sync survives a restart");
}

#[test]
fn an_edit_made_while_sync_runs_is_sent_at_once() {
    let (bench, served) = Bench::new(|mut peer: Peer| async move {
        peer.hear().await;
        peer.say(Message::Welcome(Box::new(welcome(0)))).await;
        let Message::Push(push) = peer.hear().await else { panic!("only an edit is to be sent") };
        peer.say(Message::Receipts(vec![accepted(1, &push.batches[0])])).await;
        while peer.socket.next().await.is_some_and(|next| next.is_ok()) {}
    });
    let handle = bench.start();
    bench.wait(|outcome| outcome.synced);
    bench.edit(batch(1));
    bench.wait(|outcome| outcome.progress.uploaded == 1 && outcome.synced);
    handle.close();
    served.join().unwrap();
}

#[test]
fn a_private_authority_is_trusted_when_it_is_given_and_no_token_goes_to_others() {
    let (certificate, acceptor) = certificate();
    let (trusting, served) = Bench::over_tls(acceptor.clone(), |mut peer: Peer| async move {
        assert!(matches!(peer.hear().await, Message::Hello(_)));
        peer.say(Message::Welcome(Box::new(welcome(0)))).await;
        while peer.socket.next().await.is_some_and(|next| next.is_ok()) {}
    });
    let handle = trusting.start_trusting(&[certificate]);
    trusting.wait(|outcome| outcome.synced);
    handle.close();
    served.join().unwrap();

    let (wary, served) = Bench::over_tls(acceptor, |_: Peer| async move {
        panic!("a stranger gets no WebSocket, let alone a token");
    });
    let handle = wary.start();
    let error = wary.wait_for_error();
    assert_eq!(error.kind, SyncErrorKind::Tls, "{error}");
    handle.close();
    served.join().unwrap();
}

#[test]
fn what_is_larger_than_a_frame_or_is_text_ends_the_connection_and_stores_nothing() {
    let large = tungstenite::Message::binary(vec![0_u8; 2 * limits::FRAME_BYTES_MAX]);
    for wrong in [large, tungstenite::Message::text("{}")] {
        let (bench, served) = Bench::new(move |mut peer: Peer| {
            let wrong = wrong.clone();
            async move {
                peer.hear().await;
                // The client may cut the connection while this is still being written.
                let _cut = peer.socket.send(wrong).await;
                while peer.socket.next().await.is_some_and(|next| next.is_ok()) {}
            }
        });
        let handle = bench.start();
        assert_eq!(bench.wait_for_error().kind, SyncErrorKind::Network);
        handle.close();
        served.join().unwrap();
        assert!(!bench.device.is_welcomed());
    }
}

#[test]
fn a_goodbye_is_heard_and_the_app_s_wish_ends_the_wait() {
    let (bench, served) = Bench::new_for(2, |mut peer: Peer| async move {
        peer.hear().await;
        let text = "restarting".to_owned();
        let retry_after_ms = Some(3_600_000);
        let goodbye = Goodbye { code: GoodbyeCode::Restart, text, retry_after_ms };
        peer.say(Message::Goodbye(goodbye)).await;
        while peer.socket.next().await.is_some_and(|next| next.is_ok()) {}
    });
    let handle = bench.start();
    let first = bench.wait_for_error();
    assert_eq!((first.kind, first.text.as_str()), (SyncErrorKind::ServerBusy, "restarting"));
    assert!(first.retry_at.is_some_and(|at| at.since(first.at) >= 3_600_000));
    bench.slot.nudge(Nudge::Asked);
    bench.wait_for_tokens(2);
    served.join().unwrap();
    handle.close();
}

#[test]
fn a_server_that_is_not_there_is_waited_for_and_stopping_does_not_wait() {
    let (bench, served) = Bench::new_for(0, |_: Peer| async {});
    served.join().unwrap();
    let handle = bench.start();
    assert_eq!(bench.wait_for_error().kind, SyncErrorKind::Network);
    assert_eq!(bench.slot.outcome().phase, SyncPhase::Offline);
    handle.close();
}

#[test]
fn sync_runs_on_the_app_s_runtime_as_well() {
    let (bench, served) = Bench::new(|mut peer: Peer| async move {
        peer.hear().await;
        peer.say(Message::Welcome(Box::new(welcome(0)))).await;
        while peer.socket.next().await.is_some_and(|next| next.is_ok()) {}
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = bench.start_on(runtime.handle());
    bench.wait(|outcome| outcome.synced);
    runtime.block_on(handle.stopped());
    served.join().unwrap();
}
