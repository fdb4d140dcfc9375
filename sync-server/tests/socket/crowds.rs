//! Many devices at once, and one that never reads.

use std::time::Duration;

use crdt_core::id::{DocumentId, Lease};
use crdt_core::protocol::{GoodbyeCode, Outcome};
use sync_server::store;
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::telemetry::metrics::Metrics;
use sync_server::workspaces::{Event, Seat, Workspaces};

use super::client::Running;
use crate::support::device::{Device, put};
use crate::support::random::Random;
use crate::support::world::LIMITS;

/// Text that hardly compresses.
fn noise(random: &mut Random, length: usize) -> String {
    let alphabet = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-";
    (0..length).map(|_| char::from(alphabet[random.below(64)])).collect()
}

#[tokio::test]
async fn many_devices_that_push_at_once_all_end_with_the_same() {
    let server = Running::start().await;
    let mut devices: Vec<Device> = (1..=12).map(|n| server.device(n, 1 + n % 3)).collect();
    let mut clients = Vec::new();
    for device in &mut devices {
        clients.push(server.join(device).await);
    }
    for (device, client) in devices.iter_mut().zip(&mut clients) {
        let batches =
            (0..5).map(|n| device.create("contact", &[put("last_name", &n.to_string())]).1);
        client.push(batches.collect()).await;
    }
    for (device, client) in devices.iter_mut().zip(&mut clients) {
        client.follow_to(device, 60).await;
        let mut receipts = std::mem::take(&mut client.receipts);
        while receipts.len() < 5 {
            receipts.extend(client.receipts(device).await);
        }
        assert!(receipts.iter().all(|r| matches!(r.outcome, Outcome::Accepted { .. })));
    }
    let cells = |device: &Device| {
        device
            .documents
            .iter()
            .map(|(id, held)| (id.clone(), held.cells.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(devices[0].documents.len(), 60);
    for device in &devices[1..] {
        assert_eq!(cells(device), cells(&devices[0]));
    }
}

#[tokio::test]
async fn a_device_that_never_reads_is_cut_off_and_nobody_else_notices() {
    let server = Running::with(|config| {
        config.limits.idle_timeout = Duration::from_secs(4);
        // With the usual credit all that is in flight would fit into the buffers of the system.
        config.limits.pages_in_flight = 1_000;
    })
    .await;
    let mut random = Random::new(1);
    let mut writer = server.device(1, 1);
    let mut writing = server.join(&mut writer).await;
    let mut positions = 0;
    for _ in 0..24 {
        let parts = (0..60).flat_map(|_| {
            writer.create("contact", &[put("note", &noise(&mut random, 8_000))]).1.documents
        });
        let parts = parts.collect();
        let batch = writer.batch(parts);
        writing.push(vec![batch]).await;
        writing.receipts(&mut writer).await;
        positions += 1;
    }
    let bytes_out = "fieldbook_bytes_out_total";
    let before = server.number(bytes_out).await;
    let mut reader = server.device(3, 3);
    let mut reading = server.join(&mut reader).await;
    reading.follow_to(&mut reader, positions).await;
    let all_bytes = server.number(bytes_out).await - before;
    let mut stuck = server.device(2, 2);
    let mut narrow = server.connect_narrow().await;
    narrow.hello(stuck.hello()).await;
    // Meanwhile the others work, each answered as always, until the stuck one is gone.
    let before = server.number(bytes_out).await;
    while server.number("fieldbook_slow_consumers_closed_total").await == 0 {
        let (_, batch) = writer.create("contact", &[put("last_name", "Ada")]);
        writing.push(vec![batch]).await;
        writing.receipts(&mut writer).await;
        positions += 1;
        reading.follow_to(&mut reader, positions).await;
    }
    assert_eq!(reader.documents.len(), writer.documents.len());
    // What was written for it is what the system's buffers take and one page; a page of the others' is tiny.
    let others = 4_000 * (positions - 24);
    let stuck_bytes = (server.number(bytes_out).await - before).saturating_sub(others);
    assert!(stuck_bytes < all_bytes * 3 / 4, "{stuck_bytes} of {all_bytes} bytes wait");
    // It may come back.
    drop(narrow);
    let mut back = server.join(&mut stuck).await;
    back.follow_to(&mut stuck, positions).await;
    assert_eq!(stuck.documents.len(), writer.documents.len());
}

async fn sit(workspaces: &Workspaces, device: &mut Device, session: u8) -> Seat {
    let handle = workspaces.open("acme").unwrap();
    let lease = Lease([session; 16]);
    let hello = Box::new(device.hello());
    let greeted = handle.greet(hello, device.member, lease, u64::from(session)).await;
    let Ok((seat, greeting)) = greeted else { panic!("not greeted") };
    device.welcomed(&greeting.welcome);
    seat
}

#[tokio::test]
async fn a_damaged_document_ends_the_session_that_touches_it_and_no_other() {
    let server = Running::start().await;
    let (mut one, mut two) = (server.device(1, 1), server.device(2, 2));
    let (config, _directory) = server.stop().await;
    let options = SqliteOptions::default();
    let workspaces = Workspaces::new(config.data_dir.clone(), options, LIMITS, Metrics::new());
    let mut first = sit(&workspaces, &mut one, 1).await;
    let mut second = sit(&workspaces, &mut two, 2).await;
    let (record, batch) = one.create("contact", &[put("last_name", "Ada")]);
    first.submit(vec![batch]).await.unwrap();
    let Some(Event::Receipts(receipts)) = first.events.recv().await else { panic!() };
    one.received(&receipts[0]);
    let damage = workspaces.open("acme").unwrap().store();
    store::write(&*damage, |tx| tx.set_cells(1, b"damaged")).unwrap();
    let touching = one.edit(record, &[put("title", "x")]);
    let (_, other) = two.create("contact", &[put("last_name", "Bea")]);
    // Both are handed in before either is waited for: most often they share a commit.
    first.submit(vec![touching]).await.unwrap();
    second.submit(vec![other]).await.unwrap();
    let Some(Event::Receipts(receipts)) = second.events.recv().await else { panic!("no receipt") };
    assert!(matches!(receipts[0].outcome, Outcome::Accepted { position: 2, .. }));
    let Some(Event::End(goodbye)) = first.events.recv().await else { panic!("not ended") };
    assert_eq!(goodbye.code, GoodbyeCode::Internal);
}

#[tokio::test]
async fn a_workspace_folds_long_histories_while_nobody_waits_for_it() {
    let server = Running::start().await;
    let mut device = server.device(1, 1);
    let mut client = server.join(&mut device).await;
    let (record, batch) = device.create("contact", &[put("last_name", "Ada")]);
    client.push(vec![batch]).await;
    client.receipts(&mut device).await;
    let edits = crdt_core::limits::FOLLOWED_BATCHES_MAX + crdt_core::limits::FOLD_CHANGES_MIN + 64;
    for round in 0..edits / 16 {
        let batches =
            (0..16).map(|n| device.edit(record, &[put("title", &format!("{round} {n}"))]));
        client.push(batches.collect()).await;
        let mut answered = 0;
        while answered < 16 {
            answered += client.receipts(&mut device).await.len();
        }
    }
    let (config, directory) = server.stop().await;
    let path = Workspaces::path(&config.data_dir, "acme");
    let opened = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    let row = store::read(&opened, |tx| tx.find_document(&DocumentId::main(record))).unwrap();
    let row = row.unwrap();
    assert!(row.folded_to > 0, "nothing was folded");
    drop(opened);
    let server = Running::again((config, directory)).await;
    let mut new = server.device(2, 2);
    let mut client = server.join(&mut new).await;
    client.follow_to(&mut new, edits / 16 * 16 + 1).await;
    let cells = |device: &Device| device.documents[&DocumentId::main(record)].cells.clone();
    assert_eq!(cells(&new), cells(&device));
}

#[tokio::test]
async fn who_hands_in_little_and_who_says_hello_come_before_who_hands_in_much() {
    const MUCH: u64 = 640;
    let server = Running::start().await;
    let (mut much, mut little, mut new) =
        (server.device(1, 1), server.device(2, 2), server.device(3, 3));
    let (config, _directory) = server.stop().await;
    let options = SqliteOptions::default();
    let workspaces = Workspaces::new(config.data_dir.clone(), options, LIMITS, Metrics::new());
    let flooding = sit(&workspaces, &mut much, 1).await;
    let mut working = sit(&workspaces, &mut little, 2).await;
    // The workspace's thread is held while all of this is handed in.
    let handle = workspaces.open("acme").unwrap();
    let (go, held) = std::sync::mpsc::channel();
    let holding = handle.clone();
    let holds = tokio::spawn(async move { holding.run(move |_| held.recv().unwrap()).await });
    tokio::task::yield_now().await;
    for _ in 0..MUCH / 16 {
        let batches = (0..16).map(|n| much.create("contact", &[put("title", &n.to_string())]).1);
        flooding.submit(batches.collect()).await.unwrap();
    }
    working.submit(vec![little.create("contact", &[put("title", "one")]).1]).await.unwrap();
    let (hello, member) = (Box::new(new.hello()), new.member);
    let greeting = handle.clone();
    let greeted =
        tokio::spawn(async move { greeting.greet(hello, member, Lease([3; 16]), 3).await });
    // It is in the line once a command behind it is.
    tokio::task::yield_now().await;
    let last = much.create("contact", &[put("title", "last")]).1;
    flooding.submit(vec![last]).await.unwrap();
    go.send(()).unwrap();
    holds.await.unwrap().unwrap();
    let Some(Event::Receipts(receipts)) = working.events.recv().await else { panic!("no receipt") };
    let Outcome::Accepted { position, .. } = receipts[0].outcome else { panic!("not accepted") };
    assert!(position <= MUCH / 2, "its turn came at {position} of {MUCH}");
    let Ok((_seat, greeting)) = greeted.await.unwrap() else { panic!("not greeted") };
    assert_eq!(greeting.welcome.head, 0, "it was greeted before any of them was judged");
    new.welcomed(&greeting.welcome);
    // Nothing of it is lost.
    let mut head = handle.head();
    head.wait_for(|head| *head == MUCH + 2).await.unwrap();
}
