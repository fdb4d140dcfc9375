//! The first load of an empty device: indexes are built after the rows, and nobody can tell afterwards; also
//! when edits, questions and restarts come in between, and when the process is killed anywhere.

use std::path::Path;

use client_sdk::{Client, Edits, Paging, RecordId, Value};
use crdt_core::protocol::{Cursor, DocumentRef, Entry, Page, ScopeCursor};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use tests::harness::{files, replay_command};
use tests::standard::Stand;
use tests::standard::device::config;
use tests::standard::digest::{connect, fault};
use tests::vfs::Disk;

/// What another device wrote, as pages that catch up.
fn pages(folder: &Path, records: usize, count: usize) -> Vec<Page> {
    let ada = Client::open(config(&folder.join("ada.db"), "ada", None, 1)).unwrap();
    for number in 0..records {
        let edits = Edits::new()
            .set("name", format!("Account {}", number * 7_919 % records))
            .set("country", ["CH", "FR", "JP"][number % 3])
            .set("tags", Value::Set(vec![format!("t{}", number % 5), "all".to_owned()]));
        let account = ada.create("account", edits).unwrap();
        let edits = Edits::new().set("account", account).set("last_name", "Person");
        ada.create("contact", edits).unwrap();
    }
    let mut entries = Vec::new();
    let mut after = 0;
    while let Some(last) = ada.outbox(after, 64, usize::MAX).unwrap().into_iter().next() {
        after = last.number;
        for document in last.documents {
            let DocumentRef::Identity(identity) = document.document else { continue };
            let number = entries.len() as u64 + 1;
            let identity = Some(identity);
            entries.push(Entry::Changes { number, identity, changes: document.changes });
        }
    }
    let head = entries.len() as u64;
    let step = entries.len().div_ceil(count);
    let mut at = 0;
    let chunks = entries.chunks(step).map(|entries| {
        at += entries.len() as u64;
        let from = (at < head).then_some(0);
        let cursor = Cursor { position: at, from };
        let cursors = vec![ScopeCursor { scope: "all".to_owned(), cursor }];
        Page { cursors, entries: entries.to_vec(), authors: vec![], head, dropped: vec![] }
    });
    chunks.collect()
}

/// The same pages, as they come to a device that does not catch up.
fn plain(page: &Page) -> Page {
    let mut page = page.clone();
    page.cursors.iter_mut().for_each(|at| at.cursor.from = None);
    page
}

/// Every table with all its rows, and every index; but how full text lays out its words.
fn contents(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut found = Vec::new();
    let sql = "SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name";
    let mut objects = connection.prepare(sql).unwrap();
    let mut rows = objects.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let [kind, name, sql]: [String; 3] = [0, 1, 2].map(|place| row.get(place).unwrap());
        found.push(format!("{kind} {name} {sql}"));
        if kind != "table" || name.contains("_fts") {
            continue;
        }
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells = (0..columns).map(|place| format!("{:?}", row.get_ref(place).unwrap()));
            found.push(format!("{name}: {}", cells.collect::<Vec<_>>().join(" | ")));
        }
    }
    found
}

fn is_loading(path: &Path) -> bool {
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'loading')";
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn count(client: &Client, sql: &str) -> i64 {
    let rows = client.query(sql, &[], Paging::first(1)).unwrap();
    rows.rows[0][0].as_int().unwrap()
}

#[test]
fn what_the_first_load_leaves_is_what_pages_leave_that_keep_every_index() {
    for seed in 0..12 {
        let folder = files::folder();
        let mut rng = StdRng::seed_from_u64(seed);
        let pages = pages(folder.path(), rng.random_range(8..60), rng.random_range(2..9));
        let paths = ["loaded.db", "kept.db"].map(|name| folder.path().join(name));
        let open = |path: &Path, opening| Client::open(config(path, "bob", None, opening)).unwrap();
        let mut clients = paths.each_ref().map(|path| open(path, 2));
        let own: Vec<RecordId> = clients
            .iter()
            .map(|client| client.create("account", Edits::new().set("name", "Own")).unwrap())
            .collect();
        let mut loaded = false;
        for (place, page) in pages.iter().enumerate() {
            clients[0].apply_page(page).unwrap();
            clients[1].apply_page(&plain(page)).unwrap();
            loaded |= is_loading(&paths[0]);
            assert!(!is_loading(&paths[1]), "it does not catch up, {}", replay_command(seed));
            match rng.random_range(0..6) {
                0 => clients.iter().zip(&own).for_each(|(client, own)| {
                    let edits = Edits::new().set("name", format!("Own {place}"));
                    client.update(*own, edits).unwrap();
                }),
                1 => {
                    let asked = "SELECT count(*) FROM account WHERE name >= 'Account 2'";
                    let [a, b] = clients.each_ref().map(|client| count(client, asked));
                    assert_eq!(a, b, "{}", replay_command(seed));
                    let member = "SELECT count(*) FROM account__tags WHERE member = 't1'";
                    let [a, b] = clients.each_ref().map(|client| count(client, member));
                    assert_eq!(a, b, "{}", replay_command(seed));
                }
                2 => {
                    let hits = clients.each_ref().map(|client| {
                        let hits = client.search("account", "acc", 500).unwrap();
                        hits.into_iter().map(|hit| hit.id).collect::<Vec<_>>()
                    });
                    assert_eq!(hits[0].len(), hits[1].len(), "{}", replay_command(seed));
                }
                3 => clients.iter().for_each(|client| while client.idle_work().unwrap() {}),
                4 => {
                    clients.iter().for_each(Client::close);
                    clients = paths.each_ref().map(|path| open(path, 3 + place as u64));
                    assert!(!is_loading(&paths[0]), "opening builds, {}", replay_command(seed));
                }
                _ => {}
            }
        }
        assert!(loaded, "the first load was never under way, {}", replay_command(seed));
        clients.iter().for_each(|client| while client.idle_work().unwrap() {});
        clients.iter().for_each(Client::close);
        let [loaded, kept] = paths.each_ref().map(|path| contents(path));
        let differing = loaded.iter().zip(&kept).find(|(a, b)| a != b);
        assert_eq!(differing, None, "{}", replay_command(seed));
        assert_eq!(loaded.len(), kept.len(), "{}", replay_command(seed));
    }
}

#[test]
fn a_first_load_that_is_killed_anywhere_goes_on_and_ends_with_everything() {
    let folder = files::folder();
    let pages = pages(folder.path(), 30, 4);
    let path = folder.path().join("bob.db");
    let disk = Disk::new();
    disk.record();
    let client = Client::open(config(&path, "bob", Some(&disk), 2)).unwrap();
    let own = client.create("account", Edits::new().set("name", "Own")).unwrap();
    let confirmed = disk.recorded();
    for page in &pages {
        client.apply_page(page).unwrap();
    }
    while client.idle_work().unwrap() {}
    let recording = disk.recording();
    client.close();
    let whole = ["account", "contact", "account__tags"]
        .map(|table| count_in(&folder.path().join("ada.db"), table));
    let indexes = indexes(&Connection::open(folder.path().join("ada.db")).unwrap());
    let stand = Stand::new();
    let mut replay = recording.replay();
    let mut interrupted = 0;
    for ops in confirmed..=recording.len() {
        replay.advance_to(ops);
        let seed = ops as u64;
        let context = || format!("killed behind operation {ops}, {}", replay_command(seed));
        let image = replay.after_power_cut(&mut StdRng::seed_from_u64(seed));
        let here = stand.put(&path.display().to_string(), &image);
        let connection = connect(stand.disk(), &here).unwrap();
        interrupted += usize::from(self::indexes(&connection) != indexes);
        drop(connection);
        let client = Client::open(config(&here, "bob", Some(stand.disk()), seed)).unwrap();
        assert_eq!(client.open_report().damaged, None, "{}", context());
        let connection = connect(stand.disk(), &here).unwrap();
        assert_eq!(self::indexes(&connection), indexes, "{}", context());
        assert!(client.get(own).unwrap().is_some(), "{}", context());
        let at = client.hello(String::new()).unwrap().exceptions;
        let at = at.first().map_or(0, |at| at.cursor.position);
        for page in pages.iter().filter(|page| page.cursors[0].cursor.position > at) {
            client.apply_page(page).unwrap();
        }
        assert_eq!(self::indexes(&connection), indexes, "{}", context());
        assert_eq!(fault(&connection).unwrap(), None, "{}", context());
        let found = ["account", "contact", "account__tags"]
            .map(|table| count(&client, &format!("SELECT count(*) FROM {table}")));
        assert_eq!(found, [whole[0] + 1, whole[1], whole[2]], "{}", context());
        assert_eq!(client.search("account", "acc", 500).unwrap().len(), 30, "{}", context());
        client.close();
    }
    assert!(interrupted > 10, "only {interrupted} kills fell into the load");
}

fn count_in(path: &Path, table: &str) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn indexes(connection: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'index' ORDER BY name";
    let mut statement = connection.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}
