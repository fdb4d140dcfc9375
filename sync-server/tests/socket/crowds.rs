//! Many devices at once, and one that never reads.

use std::time::Duration;

use crdt_core::protocol::Outcome;

use super::client::Running;
use crate::support::device::{Device, put};
use crate::support::random::Random;

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
        let batches = (0..5).map(|n| device.create("contact", &[put("last_name", &n.to_string())]).1);
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
        device.documents.iter().map(|(id, held)| (id.clone(), held.cells.clone())).collect::<Vec<_>>()
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
    let held = 24 * 60 * 8_000;
    let before = server.number("fieldbook_bytes_out_total").await;
    let mut stuck = server.device(2, 2);
    let mut narrow = server.connect_narrow().await;
    narrow.hello(stuck.hello()).await;
    // Meanwhile two others work, each answered as always, until the stuck one is gone.
    let mut reader = server.device(3, 3);
    let mut reading = server.join(&mut reader).await;
    reading.follow_to(&mut reader, positions).await;
    let page_bytes = server.number("fieldbook_bytes_out_total").await - before;
    while server.number("fieldbook_slow_consumers_closed_total").await == 0 {
        let (_, batch) = writer.create("contact", &[put("last_name", "Ada")]);
        writing.push(vec![batch]).await;
        writing.receipts(&mut writer).await;
        positions += 1;
        reading.follow_to(&mut reader, positions).await;
    }
    assert_eq!(server.number("fieldbook_slow_consumers_closed_total").await, 1);
    assert_eq!(reader.documents.len(), writer.documents.len());
    // The reader took everything, the stuck one what fits into the system's buffers and one frame more.
    let reader_bytes = u64::try_from(held / 2).unwrap();
    assert!(page_bytes > reader_bytes, "{page_bytes}");
    assert!(page_bytes < 2 * u64::try_from(held).unwrap() * 8 / 10, "{page_bytes} of {held}");
    // It may come back.
    drop(narrow);
    let mut back = server.join(&mut stuck).await;
    back.follow_to(&mut stuck, positions).await;
    assert_eq!(stuck.documents.len(), writer.documents.len());
}
