//! The server goes away while a herd of devices pushes to it, killed or asked to stop, and all of them come back at
//! once: everything arrives, once. `FIELDBOOK_HERD=200` makes the herd larger.

use std::path::Path;
use std::time::{Duration, Instant};

use client_sdk::{Client, Config, Edits, Paging, StaticToken};
use crdt_core::id::MemberId;
use crdt_core::record::Value;
use sync_server::admin;
use sync_server::config::ServerConfig;
use tests::real_server::{RealServer, WORKSPACE};

const DEVICES: usize = 40;
const MEMBERS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);

/// How the server goes away.
#[derive(Debug, Clone, Copy)]
enum End {
    Killed,
    AskedToStop,
}

fn members(server: &RealServer) -> Vec<(MemberId, String)> {
    let config = ServerConfig { data_dir: server.data().to_owned(), ..ServerConfig::default() };
    (0..MEMBERS)
        .map(|n| {
            let name = format!("Member {n}");
            let id = admin::add_member(&config, WORKSPACE, &name, None).unwrap();
            (id, server.token(id))
        })
        .collect()
}

fn device(
    server: &RealServer,
    folder: &Path,
    n: usize,
    (member, token): &(MemberId, String),
) -> Client {
    let config = Config::new(folder.join(format!("{n}.db")), WORKSPACE, *member)
        .server(server.url(), StaticToken::new(token));
    Client::open(config).unwrap()
}

fn number(client: &Client, sql: &str) -> i64 {
    let found = client.query(sql, &[], Paging::first(1)).unwrap();
    let [Value::Int(number)] = found.rows[0][..] else { panic!("{:?}", found.rows) };
    number
}

fn goes_away_and_all_come_back(devices: usize, end: End) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let mut server = RealServer::create();
    let members = members(&server);
    server.start_quietly();
    let clients: Vec<Client> =
        (0..devices).map(|n| device(&server, folder.path(), n, &members[n % MEMBERS])).collect();
    let counted = clients[0].create("account", Edits::new().set("name", "Counted")).unwrap();
    let all: Vec<_> = clients.iter().map(|client| client.start_sync().unwrap()).collect();
    clients[0].sync_once(PATIENCE).unwrap();
    for (n, client) in clients.iter().enumerate() {
        for edit in 0..2 {
            let name = format!("Account {n}.{edit}");
            client.create("account", Edits::new().set("name", name)).unwrap();
        }
    }
    // In the middle of that.
    match end {
        End::Killed => server.kill(),
        End::AskedToStop => server.terminate(),
    }
    for client in &clients {
        client.create("account", Edits::new().set("name", "Meanwhile")).unwrap();
    }
    server.start_quietly();
    let begun = Instant::now();
    for client in &clients {
        let report = client.sync_once(PATIENCE).unwrap();
        assert!(report.caught_up && client.unsent().unwrap().is_empty(), "{report:?}");
    }
    let took = begun.elapsed();
    drop(all);
    // A new session of each: what the last has sent comes to the first.
    let expected = 1 + 3 * i64::try_from(devices).unwrap();
    for client in &clients {
        client.sync_once(PATIENCE).unwrap();
        assert_eq!(number(client, "SELECT count(*) FROM account"), expected, "{end:?}");
        assert_eq!(client.disputes().unwrap().len(), 0);
        assert!(client.get(counted).unwrap().is_some());
    }
    took
}

#[test]
fn everybody_comes_back_at_once_after_a_crash_and_all_are_synced() {
    let given = std::env::var("FIELDBOOK_HERD").ok().map(|count| count.parse().unwrap());
    let devices = given.unwrap_or(DEVICES);
    let took = goes_away_and_all_come_back(devices, End::Killed);
    println!("{devices} devices were synced again after {took:?}");
}

#[test]
fn a_server_that_is_asked_to_stop_during_pushes_loses_nothing_and_repeats_nothing() {
    let took = goes_away_and_all_come_back(10, End::AskedToStop);
    println!("10 devices were synced again after {took:?}");
}
