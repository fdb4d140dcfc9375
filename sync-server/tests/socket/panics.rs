//! A panic in one workspace: it begins anew from its file, whoever caused it is found, nobody else is harmed.

use crdt_core::protocol::{GoodbyeCode, Message, Outcome, decode_frame};
use sync_server::admin;
use sync_server::failpoint;

use super::client::{Client, Running};
use crate::support::device::{Device, put};
use crate::support::world::refusal;

/// A device of a good member joins, and has an edit accepted.
async fn works(server: &Running, replica: u8) {
    let mut device = server.device(replica, 2);
    let mut client = server.join(&mut device).await;
    let (_, batch) = device.create("contact", &[put("last_name", "Ada")]);
    client.push(vec![batch]).await;
    let receipts = client.receipts(&mut device).await;
    assert!(matches!(receipts[0].outcome, Outcome::Accepted { .. }), "{receipts:?}");
}

/// Ends with the goodbye of a workspace that failed, with a time to come back.
async fn assert_sent_away(client: &mut Client) {
    let goodbye = client.goodbye().await;
    assert_eq!(goodbye.code, GoodbyeCode::Internal);
    assert!(goodbye.retry_after_ms.is_some_and(|wait| wait > 0), "{goodbye:?}");
}

#[tokio::test]
async fn a_batch_that_panics_twice_is_refused_and_kept_and_everybody_elses_goes_in() {
    let server = Running::start().await;
    let (mut bad, mut good) = (server.device(101, 1), server.device(102, 2));
    let (_, poison) = bad.create("contact", &[put("last_name", "Eve")]);
    failpoint::arm_panic(failpoint::JUDGE, poison.id);
    let (_, fine) = good.create("contact", &[put("last_name", "Bea")]);
    for round in 0..2 {
        let mut first = server.join(&mut bad).await;
        let mut second = server.join(&mut good).await;
        first.push(vec![poison.clone()]).await;
        assert_sent_away(&mut first).await;
        assert_sent_away(&mut second).await;
        assert_eq!(server.number("fieldbook_workspace_panics_total").await, round + 1);
        works(&server, 110 + u8::try_from(round).unwrap()).await;
    }
    let mut first = server.join(&mut bad).await;
    let mut second = server.join(&mut good).await;
    first.push(vec![poison.clone()]).await;
    second.push(vec![fine]).await;
    let refused = first.receipts(&mut bad).await.remove(0);
    assert_eq!(refusal(refused.outcome).code, "poison");
    let accepted = second.receipts(&mut good).await.remove(0);
    assert!(matches!(accepted.outcome, Outcome::Accepted { .. }));
    assert_eq!(server.number("fieldbook_batches_poisoned_total").await, 1);
    let kept = server.config.data_dir.join("poison/acme").join(format!("{}.push", poison.id));
    let Ok(Message::Push(push)) = decode_frame(&std::fs::read(kept).unwrap()) else { panic!() };
    assert_eq!(push.batches, [poison]);
    let (_, next) = bad.create("contact", &[put("last_name", "Eve again")]);
    first.push(vec![next]).await;
    let receipts = first.receipts(&mut bad).await;
    assert!(matches!(receipts[0].outcome, Outcome::Accepted { .. }), "the sender goes on");
}

#[tokio::test]
async fn batches_that_shared_a_commit_with_a_panic_are_accepted_when_they_come_again() {
    let server = Running::start().await;
    let mut device = server.device(103, 1);
    let batches: Vec<_> =
        (0..4).map(|n| device.create("contact", &[put("last_name", &n.to_string())]).1).collect();
    failpoint::arm_panic(failpoint::JUDGE, batches[2].id);
    for _ in 0..2 {
        let mut client = server.join(&mut device).await;
        client.push(batches.clone()).await;
        assert_sent_away(&mut client).await;
    }
    let mut client = server.join(&mut device).await;
    client.push(batches).await;
    let mut receipts = Vec::new();
    while receipts.len() < 4 {
        receipts.extend(client.receipts(&mut device).await);
    }
    // The first two were accepted one by one before the second panic, and are known.
    let answers: Vec<&str> = receipts
        .iter()
        .map(|receipt| match receipt.outcome {
            Outcome::Accepted { .. } => "accepted",
            Outcome::Already { .. } => "already",
            Outcome::Refused { .. } => "refused",
        })
        .collect();
    assert_eq!(answers, ["already", "already", "refused", "accepted"]);
}

#[tokio::test]
async fn a_panic_in_one_workspace_is_not_noticed_in_another() {
    let server = Running::with(|config| {
        admin::create_workspace(config, "other", admin::NewWorkspace::open()).unwrap();
        admin::add_member(config, "other", "Member 2", Some(crate::support::world::member(2)))
            .unwrap();
    })
    .await;
    let mut bystander = server.device(104, 2);
    bystander.token = server.token_of("other", 2);
    let mut other = server.join(&mut bystander).await;
    let mut bad: Device = server.device(105, 1);
    let (_, poison) = bad.create("contact", &[put("last_name", "Eve")]);
    failpoint::arm_panic(failpoint::JUDGE, poison.id);
    let mut first = server.join(&mut bad).await;
    first.push(vec![poison]).await;
    assert_sent_away(&mut first).await;
    let (_, batch) = bystander.create("contact", &[put("last_name", "Cay")]);
    other.push(vec![batch]).await;
    let receipts = other.receipts(&mut bystander).await;
    assert!(matches!(receipts[0].outcome, Outcome::Accepted { .. }));
}

#[tokio::test]
async fn a_device_whose_hello_panics_is_not_let_in_again_and_others_are() {
    let server = Running::start().await;
    let device = server.device(106, 1);
    failpoint::arm_panic(failpoint::HELLO, device.replica);
    for bystander in [120, 121] {
        let mut client = server.connect().await;
        client.hello(device.hello()).await;
        assert_eq!(client.goodbye().await.code, GoodbyeCode::Restart);
        works(&server, bystander).await;
    }
    let mut client = server.connect().await;
    client.hello(device.hello()).await;
    assert_sent_away(&mut client).await;
    assert_eq!(server.number("fieldbook_workspace_panics_total").await, 2);
    works(&server, 122).await;
}
