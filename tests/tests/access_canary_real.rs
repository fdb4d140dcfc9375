//! Canaries in the real program: with its log at debug level, the server writes no customer's words, no password
//! and no token into its log or its numbers, and no device's files hold what its member may not see.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use client_sdk::{Client, Config, DeviceId, Edits, Money, StaticToken};
use crdt_core::id::MemberId;
use crdt_core::schema::Schema;
use serde_json::{Value, json};
use tests::binaries;

const PATIENCE: Duration = Duration::from_secs(60);

/// Words that stand in one place each, and whose files hold them at the end of the day: exactly these. None
/// begins as another does, so that an index cannot hide one behind the other.
const WORDS: [(&str, &[&str]); 12] = [
    ("quokka_terms_of_west", &["admin", "manager"]),
    ("wombat_deal_of_west", &["admin", "manager"]),
    // The whole dollars of a credit limit.
    ("7391846", &["admin", "manager"]),
    ("ibex_note_of_west", &["admin", "manager", "rep_west"]),
    ("lemur_country_of_east", &["admin", "rep_east"]),
    ("jackal_terms_of_east", &["admin"]),
    ("ocelot_note_of_east", &["admin", "rep_east"]),
    ("tapir_notes_of_what_moved_east", &["admin", "rep_east"]),
    ("gibbon_name_of_elsewhere", &["stranger"]),
    ("vicuna_terms_of_elsewhere", &["stranger"]),
    // A forbidden edit is its author's dispute; one that came too late is kept beside its record as well.
    ("marmot_of_a_forbidden_edit", &["rep_west"]),
    ("narwhal_of_a_late_edit", &["admin", "rep_west"]),
];
const PASSWORD: &str = "a pangolin of a password";
const WRONG_PASSWORD: &str = "an axolotl of a password";

/// A folder with the data, the devices and the server's log; and the server.
struct Office {
    folder: tempfile::TempDir,
    server: Child,
    address: String,
    /// Its standard output, when it has ended.
    said: mpsc::Receiver<String>,
    /// Passwords and tokens.
    secrets: Vec<String>,
}

impl Office {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("schema.toml"), schema_with_words()).unwrap();
        for name in ["field", "elsewhere"] {
            let create = format!("workspace create {name} --policy sales --schema schema.toml");
            run(folder.path(), &create, "");
        }
        let mut server = program(folder.path(), "serve --listen 127.0.0.1:0")
            .env("FIELDBOOK__LOG__LEVEL", "debug")
            .env_remove("FIELDBOOK_FAILPOINT")
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("it starts").to_owned();
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || {
            stdout.read_to_string(&mut line).expect("a pipe can be read");
            // Nobody waits for it any more when the test has failed.
            let _ = sender.send(line);
        });
        let secrets = [PASSWORD, WRONG_PASSWORD].map(str::to_owned).into();
        Self { folder, server, address, said, secrets }
    }

    /// Asks the server to end; everything that it has said.
    fn stop(&self) -> String {
        let terminate = format!("kill -TERM {}", self.server.id());
        assert!(Command::new("sh").args(["-c", &terminate]).status().unwrap().success());
        let said = self.said.recv_timeout(PATIENCE).expect("it ends when it is asked to");
        said + &fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn command(&self, line: &str, input: &str) -> String {
        run(self.folder.path(), line, input)
    }

    /// Counts a token among the secrets, as a whole and without the header that all have in common.
    fn hide(&mut self, token: String) -> String {
        self.secrets.extend(token.split('.').skip(1).map(str::to_owned));
        self.secrets.push(token.clone());
        token
    }

    /// A member as the directory has it, and a device; the manager's signs in with a password.
    fn device(&mut self, name: &str, workspace: &str, place: &str) -> Client {
        let add = format!("member add --workspace {workspace} --name {name} --role {place}");
        let id: MemberId = self.command(&add, "").parse().unwrap();
        let token = self.command(&format!("token --workspace {workspace} --member {id}"), "");
        let minted = self.hide(token);
        let token = if name == "manager" { self.sign_in(id) } else { minted };
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let config = Config::new(folder.join("device.db"), workspace, id)
            .device(DeviceId([7; 16]), name)
            .server(format!("ws://{}", self.address), StaticToken::new(token));
        Client::open(config).unwrap()
    }

    /// Says a request to the port and gives all that comes back.
    fn ask(&self, request: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = "Host: localhost\r\nConnection: close\r\nContent-Type: application/json";
        let length = body.len();
        let text =
            format!("{request} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}");
        // At once: nonsense is answered, and the connection closed, before a second part is read.
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Signs somebody in with a password, and fails to in three ways; a token.
    fn sign_in(&mut self, id: MemberId) -> String {
        let set = format!("member password --workspace field {id} --login mia --password-stdin");
        self.command(&set, PASSWORD);
        let login = |password: &str| {
            let device = "07".repeat(16);
            json!({ "workspace": "field", "login": "mia", "password": password, "device": device })
                .to_string()
        };
        let mut answers = [login(WRONG_PASSWORD), format!("{{\"{PASSWORD}"), login(PASSWORD)]
            .map(|body| self.ask("POST /v1/login", &body));
        let starts = ["HTTP/1.1 401", "HTTP/1.1 400", "HTTP/1.1 200"];
        assert!(answers.iter().zip(starts).all(|(answer, start)| answer.starts_with(start)));
        assert!(self.ask(PASSWORD, "").starts_with("HTTP/1.1 400"));
        let body = answers[2].split_off(answers[2].find('{').expect("an answer has a body"));
        let tokens: Value = serde_json::from_str(&body).unwrap();
        self.hide(tokens["refresh_token"].as_str().unwrap().to_owned());
        self.hide(tokens["access_token"].as_str().unwrap().to_owned())
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn program(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(binaries::path("sync-server"));
    command.current_dir(folder).args(["--data-dir", "data"]).args(line.split(' '));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Runs a command on a text; gives its output.
fn run(folder: &Path, line: &str, input: &str) -> String {
    let mut child = program(folder, line).spawn().unwrap();
    // What reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{line}: {}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The built-in schema with a word and prose in the section `finance` of accounts.
fn schema_with_words() -> String {
    let limit = "credit_limit = {";
    let words = "terms = { type = \"string\", section = \"finance\", max_chars = 200 }\n\
                 deal = { type = \"text\", section = \"finance\" }\n";
    let text = Schema::builtin().text().replacen("version = 1\n", "version = 2\n", 1);
    assert!(text.contains(limit), "the built-in schema has changed");
    text.replacen(limit, &format!("{words}{limit}"), 1)
}

/// Syncs until everything is sent and everything new has come, and `done` holds.
fn settle(client: &Client, done: impl Fn(&Client) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(client.sync_once(PATIENCE).unwrap().caught_up);
        if client.unsent().unwrap().is_empty() && done(client) {
            return;
        }
        assert!(Instant::now() < until, "{} does not settle", client.config().path.display());
    }
}

/// Everybody writes, also what is refused, and everything has arrived; devices by their names.
fn day(office: &mut Office) -> [(&'static str, Client); 5] {
    let devices = [
        ("admin", "field", "admin"),
        ("manager", "field", "manager --region west"),
        ("rep_west", "field", "rep --territory west"),
        ("rep_east", "field", "rep --territory east"),
        ("stranger", "elsewhere", "admin"),
    ]
    .map(|(name, workspace, place)| (name, office.device(name, workspace, place)));
    let [admin, _, rep_west, _, stranger] = devices.each_ref().map(|(_, client)| client);
    let settle_all = || devices.iter().for_each(|(_, client)| settle(client, |_| true));
    settle_all();
    let new = |name: &str| Edits::new().set("name", name);
    let note = |territory: &str, body: &str| {
        let edits = Edits::new().set("territory", territory).set_text("body", body);
        admin.create("note", edits).unwrap()
    };
    let limit = Money::from_minor(739_184_625, "USD").expect("USD is a currency");
    let finance = Edits::new().set("terms", "quokka_terms_of_west").set("credit_limit", limit);
    let west = admin.create("account", new("West").set("territory", "west")).unwrap();
    admin.update(west, finance.set_text("deal", "wombat_deal_of_west")).unwrap();
    note("west", "ibex_note_of_west");
    let east = new("East").set("territory", "east").set("terms", "jackal_terms_of_east");
    admin.create("account", east.set("country", "lemur_country_of_east")).unwrap();
    note("east", "ocelot_note_of_east");
    let moving = new("Moving").set("territory", "west");
    let moved = moving.set_text("notes", "tapir_notes_of_what_moved_east");
    let moved = admin.create("account", moved).unwrap();
    let elsewhere = new("gibbon_name_of_elsewhere").set("terms", "vicuna_terms_of_elsewhere");
    stranger.create("account", elsewhere).unwrap();
    settle_all();
    // A forbidden edit, sent anyway, and one of a record that has moved away meanwhile.
    let forbidden = || Edits::new().set("terms", "marmot_of_a_forbidden_edit");
    rep_west.update(west, forbidden()).unwrap_err();
    rep_west.transaction_allowing_dispute(|tx| tx.update(west, forbidden())).unwrap();
    rep_west.update(moved, Edits::new().set("country", "narwhal_of_a_late_edit")).unwrap();
    admin.update(moved, Edits::new().set("territory", "east")).unwrap();
    settle_all();
    settle(rep_west, |client| client.disputes().unwrap().len() == 2);
    for (name, client) in &devices {
        let has_it = ["admin", "rep_east"].contains(name);
        settle(client, |client| client.get(moved).unwrap().is_some() == has_it);
    }
    devices
}

/// All bytes of a folder's files.
fn bytes_of(folder: &Path) -> String {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let bytes: Vec<Vec<u8>> = paths.map(|path| fs::read(path).unwrap()).collect();
    String::from_utf8_lossy(&bytes.concat()).into_owned()
}

#[test]
fn the_real_program_tells_nobody_what_is_not_theirs() {
    let mut office = Office::open();
    let devices = day(&mut office);
    let secret = office.secrets.last().expect("tokens are secrets").clone();
    office.ask(&format!("GET /v1/sync?token={secret}"), "");
    let pages = ["/metrics", "/livez", "/readyz", "/healthz"];
    let numbers = pages.map(|path| office.ask(&format!("GET {path}"), "")).concat();
    let log = office.stop();
    // What is known to be said is found: everything was caught, from the first line to the last.
    let known = ["listening on ", "signed in", "refused a login", "DEBUG", "asked to stop"];
    assert!(known.iter().all(|known| log.contains(known)), "{log}");
    assert!(numbers.contains("fieldbook_batches_refused_total 2"), "{numbers}");
    let secrets: Vec<&str> = office.secrets.iter().map(String::as_str).collect();
    for word in WORDS.map(|(word, _)| word).iter().chain(&secrets) {
        // As it is, and as a list of bytes is shown.
        let bytes = format!("{:?}", word.as_bytes());
        for spelling in [word, bytes.trim_matches(['[', ']'])] {
            assert!(!log.contains(spelling), "{word} in the log:\n{log}");
            assert!(!numbers.contains(spelling), "{word} in the numbers:\n{numbers}");
        }
    }
    for (name, _) in &devices {
        let folder = office.folder.path().join(name);
        assert!(folder.join("device.db-wal").exists(), "the log of {name} is read as well");
        let bytes = bytes_of(&folder);
        for (word, holders) in WORDS {
            assert_eq!(bytes.contains(word), holders.contains(name), "{word}, files of {name}");
        }
        assert!(!secrets.iter().any(|secret| bytes.contains(secret)), "a secret of {name}");
    }
    let kept = bytes_of(&office.folder.path().join("data/workspaces"));
    assert!(kept.contains("mia"), "the account is there, without its password");
    assert!(!secrets.iter().any(|secret| kept.contains(secret)), "a secret at the server");
}
