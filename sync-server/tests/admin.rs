//! What an operator does on a live server is felt by its sessions at once.

#[path = "socket/client.rs"]
#[allow(dead_code, reason = "the tests of sockets use the rest of it")]
mod client;
#[path = "support/shared.rs"]
mod support;

use crdt_core::policy::SALES;
use crdt_core::protocol::{Goodbye, GoodbyeCode, Outcome};
use sync_server::admin::{self, AdminError, AdminReply, AdminRequest, FaultCode, MemberFields};
use sync_server::config::ServerConfig;

use client::Running;
use support::device::{Device, put};
use support::world::member;

/// Asks as a command does, beside the server's own threads.
async fn ask(config: &ServerConfig, request: AdminRequest) -> Result<AdminReply, AdminError> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || admin::ask(&config, "acme", request)).await.unwrap()
}

async fn done(server: &Running, request: AdminRequest) {
    ask(&server.config, request).await.unwrap();
}

/// How a device's next handshake ends.
async fn turned_away(server: &Running, device: &Device) -> Goodbye {
    let mut client = server.connect().await;
    client.hello(device.hello()).await;
    client.goodbye().await
}

#[tokio::test]
async fn a_revoked_device_is_told_to_wipe_now_and_at_every_later_contact() {
    let server = Running::start().await;
    let (mut lost, mut kept) = (server.device(1, 1), server.device(2, 1));
    let mut lost_client = server.join(&mut lost).await;
    let mut kept_client = server.join(&mut kept).await;
    done(&server, AdminRequest::RevokeDevice { device: lost.device }).await;
    assert_eq!(lost_client.goodbye().await.code, GoodbyeCode::DeviceRevoked);
    assert_eq!(turned_away(&server, &lost).await.code, GoodbyeCode::DeviceRevoked);
    // The member's other device works on.
    let (_, batch) = kept.create("contact", &[put("last_name", "Ada")]);
    kept_client.push(vec![batch]).await;
    let receipts = kept_client.receipts(&mut kept).await;
    assert!(matches!(receipts[0].outcome, Outcome::Accepted { .. }));
}

#[tokio::test]
async fn a_member_who_is_shut_out_is_out_until_let_in_again() {
    let server = Running::start().await;
    let (mut one, mut two) = (server.device(1, 1), server.device(2, 2));
    let mut first = server.join(&mut one).await;
    let mut second = server.join(&mut two).await;
    done(&server, AdminRequest::SetActive { id: member(1), active: false }).await;
    assert_eq!(first.goodbye().await.code, GoodbyeCode::AccessChanged);
    assert_eq!(turned_away(&server, &one).await.code, GoodbyeCode::MemberDisabled);
    let (_, batch) = two.create("contact", &[put("last_name", "Ada")]);
    second.push(vec![batch]).await;
    second.receipts(&mut two).await;
    done(&server, AdminRequest::SetActive { id: member(1), active: true }).await;
    server.join(&mut one).await;
}

#[tokio::test]
async fn a_policy_that_is_put_in_force_comes_with_the_next_welcome() {
    let server = Running::start().await;
    let mut device = server.device(1, 1);
    let mut client = server.join(&mut device).await;
    let line = SALES.lines().find(|line| line.starts_with("version")).unwrap();
    let text = SALES.replacen(line, "version = 41", 1);
    let file = "policy.toml".to_owned();
    done(&server, AdminRequest::SetPolicy { text: text.clone(), file }).await;
    assert_eq!(client.goodbye().await.code, GoodbyeCode::AccessChanged);
    let mut client = server.connect().await;
    let welcome = client.greet(&mut device).await;
    assert_eq!((welcome.policy_version, welcome.policy), (41, Some(text)));
    // A role that is given then comes with the welcome after it.
    let fields = MemberFields { role: Some("rep".to_owned()), ..MemberFields::default() };
    done(&server, AdminRequest::SetMember { id: member(1), fields }).await;
    assert_eq!(client.goodbye().await.code, GoodbyeCode::AccessChanged);
    let welcome = server.connect().await.greet(&mut device).await;
    assert_eq!(welcome.standing.role.as_deref(), Some("rep"));
}

#[tokio::test]
async fn the_same_request_has_the_same_answer_when_the_server_has_stopped() {
    let server = Running::start().await;
    let nobody = AdminRequest::SetActive { id: member(77), active: false };
    let before = ask(&server.config, AdminRequest::ListMembers).await.unwrap();
    let refused = ask(&server.config, nobody.clone()).await.unwrap_err();
    assert!(matches!(&refused, AdminError::Remote(_)));
    let (config, _directory) = server.stop().await;
    assert!(!admin::channel::socket_path(&config.data_dir).exists());
    assert_eq!(ask(&config, AdminRequest::ListMembers).await.unwrap(), before);
    let alone = ask(&config, nobody).await.unwrap_err();
    assert_eq!((alone.code(), alone.to_string()), (FaultCode::NoSuchMember, refused.to_string()));
}
