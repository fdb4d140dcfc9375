//! What the corpus begins with: honest inputs of each target, made from nothing.

use crdt_core::id::{
    ActorId, BatchId, ChangeHash, DeviceId, DocumentId, Epoch, Lease, RecordId, Section,
};
use crdt_core::policy::Policy;
use crdt_core::protocol::{
    Ack, Batch, Cursor, DocumentChanges, DocumentRef, Entry, Fetch, Goodbye, GoodbyeCode, Hello,
    Identity, Message, NewToken, Outcome, Page, PageParts, Push, Receipt, Refusal, ScopeCursor,
    SentChange, ShortReceipt, VERSIONS, encode_frame,
};
use crdt_core::record::{Author, Change, Edit, EncodedChange, Scalar, SeedKind, seed};
use crdt_core::time::Timestamp;

use super::csv::SEPARATOR;
use super::scene::{SCENE, Scene, WRITER};

/// The honest inputs of a target, with a name for each.
#[must_use]
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let all = match target {
        "frames" => frames(),
        "message" => messages().iter().map(|(name, one)| (*name, encode_frame(one))).collect(),
        "change" => changes(),
        "document" => vec![("account", SCENE.document().save().expect("the scene is saved"))],
        "stored_row" => rows(),
        "token" => tokens(),
        "csv" => vec![("tables", tables().into_bytes())],
        "schema_policy" => texts(),
        _ => Vec::new(),
    };
    all.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

type Seeds = Vec<(&'static str, Vec<u8>)>;

fn step(stream: &mut Vec<u8>, message: &Message) {
    let frame = encode_frame(message);
    let Ok(length) = u16::try_from(frame.len()) else { return };
    stream.push(0);
    stream.extend(length.to_le_bytes());
    stream.extend(frame);
}

/// A session: a hello, then each message, with answers and pages between.
fn frames() -> Seeds {
    let mut all = Vec::new();
    let messages = messages();
    for (name, message) in &messages {
        let mut stream = Vec::new();
        step(&mut stream, &messages[0].1);
        stream.extend([0xb0, 0xa0, 0xc0]);
        step(&mut stream, message);
        stream.extend([0x9f, 0xb0, 0xd3]);
        all.push((*name, stream));
    }
    all
}

/// One message of each kind that a stranger may send; the hello is the first.
fn messages() -> Vec<(&'static str, Message)> {
    let receipts = vec![
        Receipt {
            number: 1,
            batch: BatchId([1; 16]),
            outcome: Outcome::Accepted { position: 9, documents: Vec::new() },
            policy_version: 2,
            erased: Vec::new(),
        },
        Receipt {
            number: 2,
            batch: BatchId([2; 16]),
            outcome: Outcome::Refused { reasons: vec![refusal()] },
            policy_version: 2,
            erased: Vec::new(),
        },
    ];
    let (first, encoded) = &SCENE.changes[0];
    let page = Page {
        entries: vec![
            Entry::Changes {
                number: 1,
                identity: Some(identity()),
                changes: vec![SentChange::new(first, &encoded.hash, None)],
            },
            Entry::Left { number: 4 },
        ],
        cursors: vec![ScopeCursor { scope: "all".to_owned(), cursor: Cursor::at(3) }],
        ..super::frames::empty_page()
    };
    let short = ShortReceipt { number: 3, batch_number: 2, position: 9, policy_version: 1 };
    let part = PageParts::new(&page).parts(1).next().expect("a page has a part");
    let goodbye =
        Goodbye { code: GoodbyeCode::Busy, text: "later".to_owned(), retry_after_ms: Some(5) };
    vec![
        ("hello", Message::Hello(Box::new(hello()))),
        ("push", Message::Push(push(next(), None))),
        ("receipts", Message::Receipts(receipts)),
        ("short-receipts", Message::ShortReceipts(vec![short])),
        ("page", Message::Page(part)),
        ("ack", Message::Ack(Ack { page: 1, receipt: 2 })),
        ("fetch", Message::Fetch(Fetch { documents: vec![1, 2, 300] })),
        ("token", Message::Token(NewToken { token: "a.b.c".to_owned() })),
        ("goodbye", Message::Goodbye(goodbye)),
    ]
}

fn refusal() -> Refusal {
    Refusal {
        code: "forbidden".to_owned(),
        text: "no".to_owned(),
        field: Some("name".to_owned()),
        rule: Some("rep".to_owned()),
        document: Some(identity().id),
    }
}

fn hello() -> Hello {
    Hello {
        versions: VERSIONS.to_vec(),
        token: "a token".to_owned(),
        replica: WRITER,
        lease: Some(Lease([1; 16])),
        epoch: Some(Epoch([2; 16])),
        receipt: 3,
        schema_version: 4,
        cursor: Cursor::at(5),
        exceptions: vec![ScopeCursor { scope: "own".to_owned(), cursor: Cursor::at(1) }],
        client: "fuzz".to_owned(),
        policy_version: 6,
        device: DeviceId([7; 16]),
        device_name: "a phone".to_owned(),
        left: 0,
        short_receipts: false,
    }
}

fn identity() -> Identity {
    let record = RecordId::new(Timestamp::from_millis(1_763_000_000_000), [5; 10]);
    Identity { id: DocumentId { record, section: Section::main() }, entity: "account".to_owned() }
}

/// What the writer does next.
fn next() -> Vec<(Change, EncodedChange)> {
    let time = Timestamp::from_millis(Scene::now().as_millis() - 1_000);
    let author = Author { actor: ActorId::of(WRITER, 0), time };
    let put = |key: &str, value| Edit::Put { key: key.to_owned(), value };
    author.write(
        &mut SCENE.cells.clone(),
        &[
            put("name", Scalar::Str("Acme International".to_owned())),
            put("year_established", Scalar::Int(1990)),
            Edit::Remove { key: "tags/vip".to_owned() },
        ],
    )
}

fn push(written: Vec<(Change, EncodedChange)>, before: Option<&ChangeHash>) -> Push {
    let sent =
        written.iter().map(|(change, encoded)| SentChange::new(change, &encoded.hash, before));
    let documents = vec![DocumentChanges {
        document: DocumentRef::Identity(identity()),
        changes: sent.collect(),
    }];
    let batch =
        Batch { id: BatchId([9; 16]), number: 1, schema_version: 1, policy_version: 1, documents };
    Push { batches: vec![batch], receipt: 1 }
}

/// The next change, each of the scene's own, and a seed.
fn changes() -> Seeds {
    let names = ["creation", "rival", "sector", "rename", "notes_seed", "notes"];
    let mut all = vec![("next", encode_frame(&Message::Push(push(next(), None))))];
    for (name, change) in names.into_iter().zip(&SCENE.changes) {
        all.push((name, encode_frame(&Message::Push(push(vec![change.clone()], None)))));
    }
    let counter = seed(SeedKind::Counter, "visits");
    let encoded = counter.encode();
    all.push(("visits_seed", encode_frame(&Message::Push(push(vec![(counter, encoded)], None)))));
    all
}

fn rows() -> Seeds {
    let row = |column: u8, bytes: Vec<u8>| [vec![column], bytes].concat();
    vec![
        ("cells", row(0, SCENE.cells.to_stored())),
        ("change", row(1, SCENE.changes[0].1.bytes.clone())),
        ("clock", row(2, SCENE.cells.clock().to_bytes())),
    ]
}

fn tokens() -> Seeds {
    let row = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    let header = "eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ";
    let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"EC","crv":"P-256","kid":"b","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    vec![
        ("unchanged", vec![0]),
        ("changed", vec![0, 9, 0, b'A']),
        ("text", row(1, &format!("{header}.eyJzdWIiOiJhIn0.AAAA"))),
        ("keys", row(2, jwks)),
        ("configuration", row(3, "listen = \"127.0.0.1:0\"\n[limits]\nmax_connections = 5\n")),
    ]
}

fn tables() -> String {
    use examples::import::{FILES, headers};
    let rows = |file: &str| match file {
        "accounts.csv" => (headers::ACCOUNTS, "Acme,retail,1996,1100.04,2822,United States,\n"),
        "products.csv" => (headers::PRODUCTS, "GTX,GTX,550\n"),
        "sales_teams.csv" => (headers::TEAMS, "Anna Snelling,Dustin Brinkmann,Central\n"),
        _ => {
            (headers::PIPELINE, "1C1I7A6R,Anna Snelling,GTX,Acme,Won,2016-10-20,2017-03-01,1054\n")
        }
    };
    let table = |file: &str| {
        let (header, row) = rows(file);
        format!("{}\n{row}", header.join(","))
    };
    FILES.map(table).join(SEPARATOR)
}

fn texts() -> Seeds {
    let schema = "version = 1\n[entity.visit]\nlabel = \"Visit\"\n[entity.visit.fields]\n\
        name = { type = \"string\", required = true, max_chars = 20, pattern = \"^[a-z]+$\" }\n\
        owner = { type = \"ref\", to = \"visit\" }\n\
        state = { type = \"enum\", values = [\"a\", \"b\"], merge = { ranked = [\"a\", \"b\"] } }\n";
    let row = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    // The whole of the built-in policy is large; its beginning says most of what one can say.
    vec![("schema", row(0, schema)), ("policy", row(1, Policy::sales().text()))]
}
