//! An operator's commands while the workspace serves: they are in force at once, and sessions are told.

use crdt_core::id::Lease;
use crdt_core::policy::SALES;
use crdt_core::protocol::{Goodbye, GoodbyeCode, Outcome};
use sync_server::clock;
use sync_server::store::sqlite::SqliteOptions;
use sync_server::telemetry::metrics::Metrics;
use sync_server::workspace::MemberChanges;
use sync_server::workspaces::{Event, Handle, Seat, Workspaces};

use super::client::Running;
use crate::support::device::{Device, put};
use crate::support::world::{LIMITS, member};

/// The workspaces of a data directory whose server has stopped.
async fn workspaces() -> (Workspaces, [Device; 2], tempfile::TempDir) {
    let server = Running::start().await;
    let devices = [server.device(1, 1), server.device(2, 2)];
    let (config, directory) = server.stop().await;
    let options = SqliteOptions::default();
    let workspaces = Workspaces::new(config.data_dir, options, LIMITS, Metrics::new());
    (workspaces, devices, directory)
}

async fn sit(handle: &Handle, device: &mut Device, session: u8) -> Result<Seat, Goodbye> {
    let hello = Box::new(device.hello());
    let lease = Lease([session; 16]);
    let (seat, greeting) = handle.greet(hello, device.member, lease, u64::from(session)).await?;
    device.welcomed(&greeting.welcome);
    Ok(seat)
}

#[tokio::test]
async fn a_session_ends_after_its_receipts_when_what_its_member_may_do_has_changed() {
    let (workspaces, [mut one, mut two], _directory) = workspaces().await;
    let handle = workspaces.open("acme").unwrap();
    let mut first = sit(&handle, &mut one, 1).await.unwrap();
    let mut second = sit(&handle, &mut two, 2).await.unwrap();
    let (_, batch) = one.create("contact", &[put("last_name", "Ada")]);
    first.submit(vec![batch]).await.unwrap();
    let changes = MemberChanges { role: Some("rep".to_owned()), ..MemberChanges::default() };
    let set = handle
        .run(move |workspace| workspace.set_member(clock::now(), member(1), &changes).map(drop))
        .await
        .unwrap();
    set.unwrap();
    let Some(Event::Receipts(receipts)) = first.events.recv().await else { panic!("no receipt") };
    assert!(matches!(receipts[0].outcome, Outcome::Accepted { .. }));
    let Some(Event::End(goodbye)) = first.events.recv().await else { panic!("not ended") };
    assert_eq!((goodbye.code, goodbye.retry_after_ms), (GoodbyeCode::AccessChanged, Some(0)));
    // The other one goes on.
    let (_, batch) = two.create("contact", &[put("last_name", "Bea")]);
    second.submit(vec![batch]).await.unwrap();
    assert!(matches!(second.events.recv().await, Some(Event::Receipts(_))));
    drop((first, second, handle));
    tokio::task::spawn_blocking(move || workspaces.stop()).await.unwrap();
}

#[tokio::test]
async fn another_policy_ends_every_session_and_takes_no_restart() {
    let (workspaces, [mut one, mut two], _directory) = workspaces().await;
    let handle = workspaces.open("acme").unwrap();
    let mut first = sit(&handle, &mut one, 1).await.unwrap();
    let mut second = sit(&handle, &mut two, 2).await.unwrap();
    let (_, batch) = one.create("account", &[put("name", "Engines"), put("territory", "west")]);
    first.submit(vec![batch]).await.unwrap();
    assert!(matches!(first.events.recv().await, Some(Event::Receipts(_))));
    let text = SALES.replace("version = 1", "version = 2");
    let put_policy = move |workspace: &mut sync_server::workspace::Workspace| {
        workspace.set_policy(clock::now(), &text, "policy.toml").map(drop)
    };
    handle.run(put_policy).await.unwrap().unwrap();
    for seat in [&mut first, &mut second] {
        let Some(Event::End(goodbye)) = seat.events.recv().await else { panic!("not ended") };
        assert_eq!(goodbye.code, GoodbyeCode::AccessChanged);
    }
    // Neither has a role of the new policy.
    let mut again = sit(&handle, &mut one, 3).await.unwrap();
    assert!(one.scopes.is_empty() && one.policy_version == 2);
    let (_, batch) = one.create("account", &[put("name", "More")]);
    again.submit(vec![batch]).await.unwrap();
    let Some(Event::Receipts(receipts)) = again.events.recv().await else { panic!("no receipt") };
    assert!(matches!(receipts[0].outcome, Outcome::Refused { .. }));
    assert_eq!(receipts[0].policy_version, 2);
    drop((first, second, again, handle));
    tokio::task::spawn_blocking(move || workspaces.stop()).await.unwrap();
}

#[tokio::test]
async fn a_revoked_device_is_out_at_once_and_stays_out() {
    let (workspaces, [mut one, mut two], _directory) = workspaces().await;
    let handle = workspaces.open("acme").unwrap();
    let mut first = sit(&handle, &mut one, 1).await.unwrap();
    let second = sit(&handle, &mut two, 2).await.unwrap();
    let device = one.device;
    handle
        .run(move |workspace| workspace.revoke_device(clock::now(), device))
        .await
        .unwrap()
        .unwrap();
    let Some(Event::End(goodbye)) = first.events.recv().await else { panic!("not ended") };
    assert_eq!(goodbye.code, GoodbyeCode::DeviceRevoked);
    // What it still pushes is not answered, let alone accepted.
    let (_, batch) = one.create("contact", &[put("last_name", "Ada")]);
    first.submit(vec![batch]).await.unwrap();
    assert!(first.events.recv().await.is_none());
    let head = handle.run(|workspace| workspace.head()).await.unwrap().unwrap();
    assert_eq!(head, 0);
    let Err(goodbye) = sit(&handle, &mut one, 3).await else { panic!("let in") };
    assert_eq!(goodbye.code, GoodbyeCode::DeviceRevoked);
    drop((first, second, handle));
    tokio::task::spawn_blocking(move || workspaces.stop()).await.unwrap();
}

#[tokio::test]
async fn children_follow_their_parent_while_nobody_asks_and_devices_are_told() {
    let server = Running::start().await;
    let (mut one, mut two) = (server.device(1, 1), server.device(2, 2));
    let mut first = server.join(&mut one).await;
    let (account, batch) = one.create("account", &[put("name", "Engines")]);
    first.push(vec![batch]).await;
    first.receipts(&mut one).await;
    let parent = crate::support::sales::reference("account", account);
    let (_, batch) = one.create("contact", &[put("last_name", "Ada"), parent]);
    first.push(vec![batch]).await;
    first.receipts(&mut one).await;
    let mut second = server.join(&mut two).await;
    second.follow_to(&mut two, 2).await;
    let (config, directory) = server.stop().await;
    // A policy by which only owners see anything: member 2 loses both records.
    let text = "version = 9\ndefault_role = \"m\"\n[role.m]\n[[role.m.allow]]\nentities = \"*\"\n\
                on = [\"own\"]\nactions = \"*\"\nsections = \"*\"\n";
    let options = SqliteOptions::default();
    let offline = Workspaces::new(config.data_dir.clone(), options, LIMITS, Metrics::new());
    let handle = offline.open("acme").unwrap();
    handle
        .run(move |workspace| workspace.set_policy(clock::now(), text, "policy.toml").map(drop))
        .await
        .unwrap()
        .unwrap();
    drop(handle);
    tokio::task::spawn_blocking(move || offline.stop()).await.unwrap();
    let server = Running::again((config, directory)).await;
    let mut second = server.join(&mut two).await;
    while !two.lost.is_empty() || !two.documents.is_empty() {
        let message = second.message().await;
        second.take_page(&mut two, message).await;
    }
    assert_eq!(two.scopes.len(), 2, "own records and their finance sections: {:?}", two.scopes);
    server.stop().await;
}
