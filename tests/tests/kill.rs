//! The real server, killed with SIGKILL while devices push to it: nothing confirmed is lost, nothing is
//! applied twice, and it comes back on the same files.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use client_sdk::{Client, Config, Edits, Paging, StaticToken};
use crdt_core::id::{MemberId, RecordId};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tests::harness;
use tests::kills;
use tests::real_server::{RealServer, WORKSPACE};

const PATIENCE: Duration = Duration::from_secs(60);

fn device(server: &RealServer, folder: &Path, member: MemberId, token: &str, name: &str) -> Client {
    let config = Config::new(folder.join(name), WORKSPACE, member)
        .server(server.url(), StaticToken::new(token));
    Client::open(config).expect("a new file can be opened")
}

/// Waits until everything of `client` was answered, and everything new has come.
fn settle(client: &Client) {
    let report = client.sync_once(PATIENCE).expect("the server is back");
    assert!(report.caught_up, "not caught up within {PATIENCE:?}");
    assert!(client.unsent().expect("the device can be read").is_empty());
}

fn accounts(client: &Client) -> BTreeSet<RecordId> {
    let rows = client
        .query("SELECT \"_id\" FROM account", &[], Paging::first(Paging::LIMIT_MAX))
        .expect("the device can be read");
    let ids = rows.rows.iter().filter_map(|row| match row.first() {
        Some(crdt_core::record::Value::Bytes(bytes)) => RecordId::try_from(&bytes[..]).ok(),
        _ => None,
    });
    ids.collect()
}

#[test]
fn kills_at_seeded_moments_also_of_a_starting_server_lose_nothing_and_repeat_nothing() {
    let seed = kills::seed();
    let replay = harness::replay_command(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut server = RealServer::create();
    let (ada, ben) = (server.add_member("Ada"), server.add_member("Ben"));
    let (ada_token, ben_token) = (server.token(ada), server.token(ben));
    server.start_quietly();
    let writer = device(&server, folder.path(), ada, &ada_token, "writer.db");
    let counted = writer.create("account", Edits::new().set("name", "Counted")).unwrap();
    let syncing = writer.start_sync().unwrap();

    let mut made = BTreeSet::from([counted]);
    let mut visits = 0;
    let mut starts_left = kills::of_starts();
    for round in 0..kills::of_servers() {
        writer.retry_now();
        for edit in 0..random.random_range(1..8) {
            let name = format!("Account {round}.{edit}");
            made.insert(writer.create("account", Edits::new().set("name", name)).unwrap());
            writer.update(counted, Edits::new().increment("visits", 1)).unwrap();
            visits += 1;
            kills::pause(Duration::from_micros(random.random_range(0..6_000)));
        }
        kills::pause(Duration::from_micros(random.random_range(0..12_000)));
        server.kill();
        if round % 2 == 0 && starts_left > 0 {
            starts_left -= 1;
            server.start_and_kill(Duration::from_micros(random.random_range(0..40_000)));
        }
        server.start_quietly();
    }
    assert_eq!(starts_left, 0, "every kill that was planned was made");
    drop(syncing);
    settle(&writer);
    let reader = device(&server, folder.path(), ben, &ben_token, "reader.db");
    settle(&reader);
    for client in [&writer, &reader] {
        assert_eq!(accounts(client), made, "{replay}");
        let shown = client.get(counted).unwrap().and_then(|record| record.int("visits"));
        assert_eq!(shown, Some(visits), "{replay}");
        assert_eq!(client.disputes().unwrap().len(), 0, "{replay}");
    }
}

/// Runs the server up to a failpoint, with one device pushing one batch, and kills it there.
fn killed_at(failpoint: &str) -> (RealServer, Client, tempfile::TempDir, RecordId) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = RealServer::create();
    let ada = server.add_member("Ada");
    let token = server.token(ada);
    let stderr = server.start(Some(failpoint));
    let client = device(&server, folder.path(), ada, &token, "device.db");
    let edits = Edits::new().set("name", "Acme").increment("visits", 1);
    let account = client.create("account", edits).unwrap();
    let syncing = client.start_sync().unwrap();
    let reached = BufReader::new(stderr)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains(&format!("failpoint {failpoint}")));
    assert!(reached, "the server ended before it reached {failpoint}");
    assert_eq!(client.unsent().unwrap().batches, 1, "no receipt can have come");
    server.kill();
    drop(syncing);
    (server, client, folder, account)
}

#[test]
fn killed_between_commit_and_receipt_the_batch_is_in_once() {
    let (mut server, client, _folder, account) = killed_at("commit.before_receipts");
    let head = |server: &RealServer| {
        let file = rusqlite::Connection::open(server.database()).unwrap();
        file.query_row("SELECT head FROM log", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    // The member's own record came first.
    assert_eq!(head(&server), 2, "the commit was durable");
    server.start_quietly();
    settle(&client);
    assert_eq!(client.get(account).unwrap().and_then(|record| record.int("visits")), Some(1));
    assert_eq!(head(&server), 2, "the batch was not taken twice");
}

#[test]
fn killed_before_the_commit_the_batch_is_sent_again() {
    let (mut server, client, _folder, account) = killed_at("commit.before");
    server.start_quietly();
    settle(&client);
    assert_eq!(client.get(account).unwrap().and_then(|record| record.int("visits")), Some(1));
}
