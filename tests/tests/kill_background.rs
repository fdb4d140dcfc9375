//! The real server, killed while it works on its own: folding, finding scopes again, being backed up. It goes on
//! where it was, and nobody sees a difference.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use client_sdk::{Client, Config, Edits, Paging, StaticToken, Transaction};
use crdt_core::id::MemberId;
use crdt_core::limits::{FOLD_CHANGES_MIN, FOLLOWED_BATCHES_MAX};
use crdt_core::record::Value;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sync_server::store::sqlite::backup;
use tests::load::member::{Member, Route};
use tests::real_server::{RealServer, WORKSPACE};
use tests::{binaries, harness, kills};

const PATIENCE: Duration = Duration::from_secs(60);

fn device(server: &RealServer, file: &Path, member: MemberId, token: &str) -> Client {
    let config = Config::new(file, WORKSPACE, member).server(server.url(), StaticToken::new(token));
    Client::open(config).unwrap()
}

fn settle(client: &Client) {
    let report = client.sync_once(PATIENCE).expect("the server is there");
    assert!(report.caught_up && client.unsent().unwrap().is_empty(), "{report:?}");
}

/// Waits until the server stands at its failpoint; what else it says is read on by a thread.
fn reaches(stderr: ChildStderr, failpoint: &str) {
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let wanted = format!("failpoint {failpoint}");
    assert!(lines.any(|line| line.contains(&wanted)), "the server ended before {failpoint}");
}

fn in_file(server: &RealServer, sql: &str) -> i64 {
    let file = rusqlite::Connection::open(server.database()).unwrap();
    file.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Asks again and again, since nothing tells when the server has nothing left to do.
fn comes_true(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE);
        kills::pause(Duration::from_millis(20));
    }
}

/// Pushes edits of one record until the server has gone, or so many are in.
async fn push_edits(member: &mut Member, route: Route, count: u64) -> u64 {
    let mut answered = 0;
    let Ok((mut line, _)) = member.connect(route).await else { return 0 };
    while answered < count && member.send(&mut line, 16, 20).await.is_ok() {
        let target = answered + 16;
        while answered < target {
            let Ok(receipts) = member.receipts(&mut line).await else { return answered };
            answered += receipts.len() as u64;
        }
    }
    answered
}

#[test]
fn killed_while_it_folds_the_server_has_every_change_and_folds_again() {
    let mut server = RealServer::create();
    let ada = server.add_member("Ada");
    let token = server.token(ada);
    let stderr = server.start(Some("fold"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut member = Member::new(ada, token.clone());
    let route = Route { server: server.address(), from: Ipv4Addr::LOCALHOST, receive_buffer: None };
    let wanted = FOLLOWED_BATCHES_MAX + 2 * FOLD_CHANGES_MIN;
    let pushing =
        std::thread::spawn(move || runtime.block_on(push_edits(&mut member, route, wanted)));
    reaches(stderr, "fold");
    server.kill();
    let answered = pushing.join().unwrap();
    let changes = "SELECT count(*) FROM change WHERE document = (SELECT max(number) FROM document)";
    let whole = format!("{changes} AND bytes IS NOT NULL");
    let kept = in_file(&server, changes);
    assert_eq!(in_file(&server, &whole), kept, "the fold was not committed");
    assert!(kept >= i64::try_from(answered).unwrap() && answered > FOLLOWED_BATCHES_MAX);

    server.start_quietly();
    let folder = tempfile::tempdir().unwrap();
    let reader = device(&server, &folder.path().join("reader.db"), ada, &token);
    settle(&reader);
    comes_true(|| in_file(&server, &whole) < kept);
    let fresh = device(&server, &folder.path().join("fresh.db"), ada, &token);
    settle(&fresh);
    let name = |client: &Client| {
        let rows = client.query("SELECT name FROM account", &[], Paging::first(2)).unwrap().rows;
        assert_eq!(rows.len(), 1);
        rows
    };
    assert_eq!(name(&fresh), name(&reader));
    assert_eq!(in_file(&server, changes), kept, "the index of changes keeps them all");
}

#[test]
fn killed_while_records_follow_their_account_all_of_them_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = RealServer::under("sales");
    let mut people = Vec::new();
    for (name, role) in [
        ("Olga", ["--role", "admin"].as_slice()),
        ("Wes", &["--role", "rep", "--territory", "west"]),
        ("Eve", &["--role", "rep", "--territory", "east"]),
    ] {
        let add = ["member", "add", "--workspace", WORKSPACE, "--name", name];
        let id: MemberId = server.command(&[&add, role].concat()).trim().parse().unwrap();
        people.push((id, server.token(id)));
    }
    let stderr = server.start(Some("rescope"));
    let [olga, wes, eve] = [0, 1, 2].map(|n| {
        let (member, token) = &people[n];
        device(&server, &folder.path().join(format!("{n}.db")), *member, token)
    });
    let account = Edits::new().set("name", "Acme").set("territory", "west");
    let account = olga.create("account", account).unwrap();
    let contacts = |tx: &mut Transaction<'_, '_>| {
        for n in 0..CONTACTS {
            let contact = Edits::new().set("last_name", format!("{n}")).set("account", account);
            tx.create("contact", contact)?;
        }
        Ok(())
    };
    olga.transaction(contacts).unwrap();
    settle(&olga);
    settle(&wes);
    assert_eq!(count(&wes), CONTACTS);
    olga.update(account, Edits::new().set("territory", "east")).unwrap();
    let syncing = olga.start_sync().unwrap();
    reaches(stderr, "rescope");
    server.kill();
    drop(syncing);

    server.start_quietly();
    settle(&olga);
    comes_true(|| {
        settle(&eve);
        settle(&wes);
        (count(&eve), count(&wes)) == (CONTACTS, 0)
    });
    assert_eq!(in_file(&server, "SELECT count(*) FROM rescope"), 0);
    assert_eq!(olga.disputes().unwrap().len(), 0);
}

/// More than one step takes.
const CONTACTS: i64 = 620;

fn count(client: &Client) -> i64 {
    let found = client.query("SELECT count(*) FROM contact", &[], Paging::first(1)).unwrap();
    let [Value::Int(count)] = found.rows[0][..] else { panic!("{:?}", found.rows) };
    count
}

#[test]
fn a_backup_during_which_the_server_or_the_command_is_killed_is_whole_or_none() {
    let seed = kills::seed();
    let replay = harness::replay_command(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut server = RealServer::create();
    let ada = server.add_member("Ada");
    let token = server.token(ada);
    server.start_quietly();
    let writer = device(&server, &folder.path().join("writer.db"), ada, &token);
    let syncing = writer.start_sync().unwrap();
    let mut made = BTreeSet::new();
    let mut whole = 0;
    for round in 0..8 {
        for edit in 0..20 {
            let name = format!("Account {round}.{edit}");
            made.insert(writer.create("account", Edits::new().set("name", name)).unwrap());
        }
        let file = folder.path().join(format!("{round}.backup"));
        let mut command = Command::new(binaries::path("sync-server"))
            .args(["backup", "--workspace", WORKSPACE])
            .arg(&file)
            .arg("--data-dir")
            .arg(server.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        kills::pause(Duration::from_micros(random.random_range(0..60_000)));
        if round % 2 == 0 {
            server.kill();
        } else {
            command.kill().unwrap();
        }
        // A backup that was made is sound, whether or not the server lived to hear of it.
        let ended = command.wait().unwrap();
        let sound = backup::check(&file);
        assert!(sound.is_ok() || !ended.success(), "{sound:?}; {replay}");
        whole += usize::from(sound.is_ok());
        if round % 2 == 0 {
            server.start_quietly();
        }
        writer.retry_now();
    }
    drop(syncing);
    let last = folder.path().join("last.backup");
    server.command(&["backup", "--workspace", WORKSPACE, &last.display().to_string()]);
    assert!(backup::check(&last).is_ok(), "{replay}");
    println!("{whole} of 8 backups are whole");
    settle(&writer);
    let reader = device(&server, &folder.path().join("reader.db"), ada, &token);
    settle(&reader);
    for client in [&writer, &reader] {
        let sql = "SELECT count(*) FROM account";
        let found = client.query(sql, &[], Paging::first(1)).unwrap();
        assert_eq!(found.rows[0], [Value::Int(made.len() as i64)], "{replay}");
    }
}
