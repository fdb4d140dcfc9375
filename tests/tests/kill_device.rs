//! A device's process, killed with SIGKILL at seeded moments, also while it opens its file: every edit that it
//! has confirmed is there afterwards, once, and reaches the server.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use client_sdk::{Client, Config, Paging, StaticToken};
use crdt_core::id::{MemberId, RecordId};
use crdt_core::record::Value;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tests::kills;
use tests::real_server::{RealServer, WORKSPACE};
use tests::{binaries, harness};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the process has confirmed.
#[derive(Default)]
struct Confirmed {
    /// The record that all rounds count on.
    counting: Option<RecordId>,
    made: BTreeSet<RecordId>,
    called: BTreeMap<RecordId, String>,
    visits: i64,
}

impl Confirmed {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["opened", _] => {}
            ["counting", record] => self.counting = Some(record.parse().unwrap()),
            ["made", record] => _ = self.made.insert(record.parse().unwrap()),
            ["called", record, name] => {
                self.called.insert(record.parse().unwrap(), name.to_owned());
            }
            ["visited"] => self.visits += 1,
            _ => panic!("the device says {line:?}"),
        }
    }
}

/// A device whose process comes and goes.
struct Pocket {
    file: PathBuf,
    url: String,
    token: String,
    member: MemberId,
}

impl Pocket {
    /// Starts the process; a thread reads what it says.
    fn start(&self, round: usize) -> (Child, mpsc::Receiver<String>) {
        let mut child = Command::new(binaries::path("edit_until_killed"))
            .arg(&self.file)
            .args([&self.url, &self.token, &self.member.to_string(), &round.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // What was written before the end can still be read; half a line confirms nothing.
            let mut reader = BufReader::new(stdout);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
                if sender.send(std::mem::take(&mut line).trim().to_owned()).is_err() {
                    return;
                }
            }
        });
        (child, lines)
    }

    fn open(&self) -> Client {
        let config = Config::new(&self.file, WORKSPACE, self.member)
            .server(&self.url, StaticToken::new(&self.token));
        Client::open(config).unwrap()
    }
}

/// Lets the process run until a seeded moment, kills it, and takes down what it has said.
fn run_and_kill(pocket: &Pocket, round: usize, random: &mut StdRng, confirmed: &mut Confirmed) {
    let (mut child, lines) = pocket.start(round);
    // A third of them while the file is opened, a third soon after an edit, a third anywhere between.
    let heard = match round % 3 {
        0 => 0,
        1 => random.random_range(2..30),
        _ => 1,
    };
    for _ in 0..heard {
        let line = lines.recv_timeout(PATIENCE).expect("the device goes on until it is killed");
        confirmed.hear(&line);
    }
    let until = [25_000, 1_500, 40_000][round % 3];
    kills::pause(Duration::from_micros(random.random_range(0..until)));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.iter().for_each(|line| confirmed.hear(&line));
}

fn check(client: &Client, confirmed: &Confirmed, kills: usize, replay: &str) {
    let sql = "SELECT \"_id\", source_id FROM account WHERE name <> 'Counted'";
    let found = client.query(sql, &[], Paging::first(Paging::LIMIT_MAX)).unwrap();
    let mut shown = BTreeMap::new();
    for row in &found.rows {
        let [Value::Bytes(id), called] = &row[..] else { panic!("{row:?}") };
        let called = match called {
            Value::Str(text) => Some(text.clone()),
            _ => None,
        };
        shown.insert(RecordId::try_from(&id[..]).unwrap(), called);
    }
    let lost: Vec<_> = confirmed.made.iter().filter(|id| !shown.contains_key(id)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}; {replay}");
    // What was written and not said any more is one edit for each kill at most.
    let unsaid = shown.len() - confirmed.made.len();
    for (record, name) in &confirmed.called {
        assert_eq!(shown[record].as_ref(), Some(name), "{replay}");
    }
    let counted = client.get(confirmed.counting.unwrap()).unwrap().unwrap();
    let visits = counted.int("visits").unwrap_or_default();
    let more = usize::try_from(visits - confirmed.visits).expect("no visit is lost");
    assert!(unsaid + more <= kills, "{unsaid} and {more} edits were never said; {replay}");
}

#[test]
fn a_device_killed_at_seeded_moments_has_every_edit_that_it_confirmed() {
    let seed = kills::seed();
    let replay = harness::replay_command(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut server = RealServer::create();
    let (ada, ben) = (server.add_member("Ada"), server.add_member("Ben"));
    let (token, ben_token) = (server.token(ada), server.token(ben));
    server.start_quietly();
    let file = folder.path().join("device.db");
    let pocket = Pocket { file, url: server.url(), token, member: ada };
    let mut confirmed = Confirmed::default();

    let kills = kills::of_devices();
    for round in 0..kills {
        run_and_kill(&pocket, round, &mut random, &mut confirmed);
        if random.random_ratio(1, 8) {
            server.kill();
            server.start_quietly();
        }
    }

    assert!(confirmed.visits > 0, "it never came as far as editing; {replay}");
    let client = pocket.open();
    assert_eq!(client.open_report().damaged, None, "{replay}");
    check(&client, &confirmed, kills, &replay);
    settle(&client);
    assert!(client.accounting().unwrap().balances(), "{replay}");
    assert_eq!(client.disputes().unwrap().len(), 0, "{replay}");
    assert!(client.verify().unwrap().differing.is_empty(), "{replay}");
    let ben_file = folder.path().join("ben.db");
    let reader = Pocket { file: ben_file, url: server.url(), token: ben_token, member: ben }.open();
    settle(&reader);
    for client in [&client, &reader] {
        check(client, &confirmed, kills, &replay);
    }
    println!("{kills} kills, {} records, {} visits", confirmed.made.len(), confirmed.visits);
}

fn settle(client: &Client) {
    let report = client.sync_once(PATIENCE).expect("the server is there");
    assert!(report.caught_up && client.unsent().unwrap().is_empty(), "{report:?}");
}

/// Far above what it takes: the promise is two seconds, and what it took is printed.
const RESTART_MAX: Duration = Duration::from_secs(20);

fn fill(server: &RealServer, folder: &Path, member: MemberId, token: &str) {
    let file = folder.join("filler.db");
    let (url, token) = (server.url(), token.to_owned());
    let client = Pocket { file, url, token, member }.open();
    for hundred in 0..kills::RECORDS / 500 {
        let write = |tx: &mut client_sdk::Transaction<'_, '_>| {
            for n in 0..500 {
                let name = format!("Account {hundred}.{n}");
                tx.create("account", client_sdk::Edits::new().set("name", name))?;
            }
            Ok(())
        };
        client.transaction(write).unwrap();
    }
    settle(&client);
}

#[test]
fn after_a_kill_server_and_device_with_10_000_records_are_back_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = RealServer::create();
    let ada = server.add_member("Ada");
    let token = server.token(ada);
    server.start_quietly();
    fill(&server, folder.path(), ada, &token);
    let file = folder.path().join("device.db");
    let pocket = Pocket { file, url: server.url(), token, member: ada };
    settle(&pocket.open());
    // Both are killed while they work.
    let (mut child, lines) = pocket.start(0);
    let mut confirmed = Confirmed::default();
    (0..40).for_each(|_| confirmed.hear(&lines.recv_timeout(PATIENCE).unwrap()));
    server.kill();
    child.kill().unwrap();
    child.wait().unwrap();

    let begun = std::time::Instant::now();
    server.start_quietly();
    let listens = begun.elapsed();
    let begun = std::time::Instant::now();
    let client = pocket.open();
    let opened = begun.elapsed();
    settle(&client);
    let synced = begun.elapsed();

    println!(
        "{} records: the server listens after {listens:?}; the device is open after {opened:?} \
         and synced after {synced:?}",
        kills::RECORDS
    );
    assert!(listens < RESTART_MAX && synced < RESTART_MAX);
    let count = client.query("SELECT count(*) FROM account", &[], Paging::first(1)).unwrap();
    let [Value::Int(count)] = count.rows[0][..] else { panic!() };
    assert!(count >= kills::RECORDS as i64 + confirmed.made.len() as i64);
}
