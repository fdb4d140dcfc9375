//! Golden bytes: what was written once is read for ever, and written alike for ever. The files under
//! `golden/` serve clients in other languages as well.

use crdt_core::id::{
    ActorId, BatchId, ChangeHash, DeviceId, DocumentId, Epoch, Lease, MemberId, RecordId,
    RecordMark, ReplicaId,
};
use crdt_core::policy::Standing;
use crdt_core::protocol::{
    AcceptedDocument, Ack, AuthorName, Batch, Compare, Compared, Cursor, Dependencies,
    DocumentChanges, DocumentRef, Ended, Entry, EraseRecord, Erasure, Fetch, Goodbye, GoodbyeCode,
    Hello, Identity, Lack, Lacking, Message, NewToken, Outcome, Page, PagePart, PageParts,
    PeerLimits, Push, Receipt, Refusal, Relay, Relayed, ScopeCursor, SentChange, ShortReceipt,
    Staged, TokenTaken, Welcome, decode_frame, encode_frame,
};
use crdt_core::record::{
    Action, Author, Cells, Change, Edit, EncodedChange, Op, OpId, Reach, Scalar, SeedKind, seed,
};
use crdt_core::time::Timestamp;

/// Compares bytes with those of `golden/<name>.hex`.
fn assert_golden(name: &str, bytes: &[u8]) {
    let found = hex(bytes);
    let golden = golden(name);
    assert!(
        golden == found,
        "{name} was written as\n{golden}\nand is now\n{found}\n\
         A change of format needs a new version, a section in PROTOCOL.md, a reader for the old bytes, \
         and a new vector beside this one.",
    );
}

/// The bytes of `golden/<name>.hex`, as lines of 32 bytes.
fn golden(name: &str) -> String {
    let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("tests/golden/{name}.hex: {e}"))
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(32).map(|chunk| line(chunk) + "\n").collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn assert_message(name: &str, message: Message) {
    let frame = encode_frame(&message);
    assert_golden(name, &frame);
    assert_eq!(decode_frame(&frame), Ok(message), "{name}");
}

const TIME: Timestamp = Timestamp::from_millis(1_763_804_400_000);

fn actor() -> ActorId {
    ActorId::of(ReplicaId([0xA1; 12]), 1)
}

fn record() -> RecordId {
    RecordId::new(TIME, [7; 10])
}

fn member() -> MemberId {
    MemberId(record().0)
}

/// The first change of an account.
fn creation() -> (Cells, Change, EncodedChange) {
    let put = |key: &str, value| Edit::Put { key: key.to_owned(), value };
    let edits = [
        put("$entity", Scalar::Str("account".to_owned())),
        put("$created_at", Scalar::Timestamp(TIME)),
        put("$created_by", Scalar::Bytes(member().as_bytes().to_vec())),
        put("name", Scalar::Str("Ölmühle Nord".to_owned())),
        put("employees", Scalar::Int(12)),
        put("do_not_call", Scalar::Bool(false)),
        put("phone", Scalar::Null),
        Edit::add("tags/vip".to_owned()),
    ];
    let mut cells = Cells::default();
    let (change, encoded) =
        Author { actor: actor(), time: TIME }.write(&mut cells, &edits).remove(0);
    (cells, change, encoded)
}

/// A second member renames it.
fn edit(cells: &mut Cells) -> (Change, EncodedChange) {
    let author =
        Author { actor: ActorId::of(ReplicaId([0xB2; 12]), 0), time: TIME.plus_millis(60_000) };
    let value = Scalar::Str("Ölmühle Süd".to_owned());
    author.write(cells, &[Edit::Put { key: "name".to_owned(), value }]).remove(0)
}

fn receipts() -> Vec<Receipt> {
    let id = DocumentId { record: record(), section: "finance".parse().unwrap() };
    let documents = vec![AcceptedDocument { id: id.clone(), number: 300 }];
    let hashes = vec![ChangeHash([5; 32])];
    let refusal = Refusal {
        code: "unknown_field".to_owned(),
        text: "the entity has no field `shoe_size`".to_owned(),
        document: Some(id),
        field: Some("shoe_size".to_owned()),
        rule: Some("rep:12".to_owned()),
    };
    let receipt = |number, outcome| Receipt {
        number,
        batch: BatchId([number as u8; 16]),
        outcome,
        policy_version: 6,
        erased: Vec::new(),
    };
    vec![
        receipt(1, Outcome::Accepted { position: 9, documents: documents.clone() }),
        receipt(2, Outcome::Already { position: 8, documents, hashes }),
        receipt(3, Outcome::Refused { reasons: vec![refusal] }),
    ]
}

/// Every operation that travels, in one change.
fn every_operation() -> Change {
    let other = OpId { counter: 9, actor: ActorId([0xB2; 16]) };
    let op = |key: &str, action| Op { key: key.to_owned(), action, preds: vec![other] };
    let put = |key: &str, value| op(key, Action::Put(value));
    Change {
        actor: actor(),
        seq: 3,
        start_op: 12,
        time: TIME.plus_millis(5),
        deps: Vec::new(),
        ops: vec![
            put("a", Scalar::Null),
            put("b", Scalar::Bool(true)),
            put("c", Scalar::Int(-5)),
            put("d", Scalar::Float(0.5)),
            put("e", Scalar::Str("x".to_owned())),
            put("f", Scalar::Timestamp(TIME)),
            put("g", Scalar::Bytes(vec![1, 2])),
            put("tags/vip", Scalar::Bool(true)),
            op("tags/old", Action::Remove),
            op("visits", Action::Increment(-2)),
            op("notes", Action::Insert { after: None, text: "hi".to_owned() }),
            op("notes", Action::Insert { after: Some(other), text: "日".to_owned() }),
            op("notes", Action::Erase { from: other, count: 4 }),
        ],
    }
}

fn page() -> Page {
    let (mut cells, first, encoded) = creation();
    let (second, again) = edit(&mut cells);
    let identity = Identity { id: DocumentId::main(record()), entity: "account".to_owned() };
    let changes = vec![
        SentChange::new(&first, &encoded.hash, None),
        SentChange::new(&second, &again.hash, Some(&encoded.hash)),
    ];
    let snapshot = vec![0x85, 0x6f, 0x4a, 0x83];
    Page {
        cursors: vec![ScopeCursor {
            scope: "territory:west".to_owned(),
            cursor: Cursor { position: 40, from: Some(12) },
        }],
        entries: vec![
            Entry::Changes { number: 7, identity: None, changes },
            Entry::Document { number: 8, identity, snapshot, changes: Vec::new() },
            Entry::Left { number: 9 },
            Entry::Erased { mark: RecordMark(*record().as_bytes()) },
        ],
        authors: vec![AuthorName {
            replica: ReplicaId([0xA1; 12]),
            member: member(),
            name: "Ada".to_owned(),
        }],
        head: 41,
        dropped: vec!["territory:north".to_owned()],
    }
}

fn standing() -> Standing {
    Standing {
        member: member(),
        role: Some("rep".to_owned()),
        territories: ["north".to_owned(), "west".to_owned()].into(),
        teams: ["inside".to_owned()].into(),
        region: Some("americas".to_owned()),
        active: true,
    }
}

#[test]
fn seeds_have_the_hash_that_every_replica_builds() {
    for (kind, field, name) in [
        (SeedKind::Counter, "visits", "seed-counter-visits"),
        (SeedKind::Text, "notes", "seed-text-notes"),
    ] {
        let encoded = seed(kind, field).encode();
        assert_golden(name, &encoded.bytes);
        assert_golden(&format!("{name}-hash"), &encoded.hash.0);
    }
}

#[test]
fn changes_and_cells_are_stored_as_they_always_were() {
    let (mut cells, first, encoded) = creation();
    assert_golden("change-create", &encoded.bytes);
    assert_golden("change-create-hash", &encoded.hash.0);
    let (second, again) = edit(&mut cells);
    assert_golden("change-edit", &again.bytes);
    assert_golden("change-edit-hash", &again.hash.0);
    assert_golden("cells-dense", &cells.to_stored());
    assert_eq!(Cells::from_stored(&cells.to_stored()), Ok(cells.clone()));
    assert_eq!(Cells::from_stored(&bytes(&golden("cells"))), Ok(cells.clone()), "the first form");
    assert_eq!(Change::from_stored(&encoded.bytes, &encoded.hash, &cells), Ok(first));
    assert_eq!(Change::from_stored(&again.bytes, &again.hash, &cells), Ok(second));
}

#[test]
fn the_first_messages_of_a_session_are_written_as_they_always_were() {
    let hello = Hello {
        versions: vec![1],
        token: "e30.e30.e30".to_owned(),
        replica: ReplicaId([0xA1; 12]),
        lease: Some(Lease([2; 16])),
        epoch: Some(Epoch([3; 16])),
        receipt: 5,
        schema_version: 1,
        cursor: Cursor::at(4_000),
        exceptions: page().cursors,
        client: "field-day/0.1.0".to_owned(),
        policy_version: 6,
        device: DeviceId([0xD1; 16]),
        device_name: "Ada's phone".to_owned(),
        left: 0,
        short_receipts: false,
    };
    assert_message("hello", Message::Hello(Box::new(hello.clone())));
    let new =
        Hello { lease: None, epoch: None, cursor: Cursor::at(0), exceptions: vec![], ..hello };
    assert_message("hello-new", Message::Hello(Box::new(new)));
    let welcome = Welcome {
        version: 1,
        epoch: Epoch([3; 16]),
        lineage: vec![Ended { epoch: Epoch([1; 16]), last: 900, documents: 0 }],
        lease: Lease([4; 16]),
        receipts: receipts(),
        scopes: vec!["territory:west".to_owned(), "territory:west#finance".to_owned()],
        limits: PeerLimits { batches_in_flight: 16, pages_in_flight: 4 },
        server_time: TIME,
        schema: Some("version = 2\n".to_owned()),
        backed_up_to: 3_900,
        head: 4_010,
        member: member(),
        member_name: "Ada".to_owned(),
        policy_version: 6,
        policy: Some("version = 6\n".to_owned()),
        standing: standing(),
        token_expires: TIME.plus_millis(900_000),
        recovery: crdt_core::protocol::Recovery::Unknown,
    };
    assert_message("welcome", Message::Welcome(Box::new(welcome)));
}

#[test]
fn pushes_and_receipts_are_written_as_they_always_were() {
    let (mut cells, first, encoded) = creation();
    let (second, again) = edit(&mut cells);
    let counter = seed(SeedKind::Counter, "visits");
    let identity = Identity { id: DocumentId::main(record()), entity: "account".to_owned() };
    let long = SentChange {
        change: every_operation(),
        deps: Dependencies::Long(vec![ChangeHash([9; 32])]),
        claim: vec![1, 2, 3, 4],
    };
    let batch = |n: u8, document, changes| Batch {
        id: BatchId([n; 16]),
        number: u64::from(n),
        schema_version: 1,
        policy_version: 6,
        documents: vec![DocumentChanges { document, changes }],
    };
    let created = vec![
        SentChange::new(&first, &encoded.hash, None),
        SentChange::new(&counter, &counter.encode().hash, None),
        SentChange::new(&second, &again.hash, Some(&encoded.hash)),
    ];
    let push = Push {
        batches: vec![
            batch(1, DocumentRef::Identity(identity), created),
            batch(2, DocumentRef::Number(300), vec![long]),
        ],
        receipt: 5,
    };
    assert_message("push", Message::Push(push));
    assert_message("receipts", Message::Receipts(receipts()));
    assert_golden("receipt-stored", &receipts()[1].to_stored());
}

#[test]
fn pages_are_written_as_they_always_were() {
    let parts: Vec<PagePart> = PageParts::new(&page()).parts(2).collect();
    assert_eq!(parts.len(), 1);
    assert_message("page", Message::Page(parts[0].clone()));
    assert_eq!(Staged::default().take(parts[0].clone()), Ok(Some((2, page()))));
}

#[test]
fn the_small_messages_are_written_as_they_always_were() {
    assert_message("ack", Message::Ack(Ack { page: 3, receipt: 300 }));
    assert_message("fetch", Message::Fetch(Fetch { documents: vec![1, 300, 70_000] }));
    assert_message("token", Message::Token(NewToken { token: "e30.e30.e30".to_owned() }));
    assert_message("token-taken", Message::TokenTaken(TokenTaken { expires: TIME }));
    let code = GoodbyeCode::TokenExpired;
    let text = "the token has expired".to_owned();
    assert_message(
        "goodbye",
        Message::Goodbye(Goodbye { code, text, retry_after_ms: Some(1_000) }),
    );
}

#[test]
fn what_follows_a_restore_is_written_as_it_always_was() {
    let (mut cells, first, encoded) = creation();
    let (second, again) = edit(&mut cells);
    let identity = Identity { id: DocumentId::main(record()), entity: "account".to_owned() };
    let reach = Reach::of(&cells);
    let lack = Lack { number: 7, from: [(second.actor, 1)].into(), parted: false };
    let parted = Lack { number: 8, from: [].into(), parted: true };
    let lacking = Lacking { documents: vec![lack, parted, Lack::default()] };
    let changes =
        vec![SentChange::alone(&first, &encoded.hash), SentChange::alone(&second, &again.hash)];
    let document = DocumentRef::Identity(identity.clone());
    let author =
        AuthorName { replica: first.actor.replica(), member: member(), name: "Ada".to_owned() };
    let relay =
        Relay { documents: vec![DocumentChanges { document, changes }], authors: vec![author] };
    let compare = Compare { documents: vec![Compared { identity, reach }] };
    assert_message("compare", Message::Compare(compare));
    assert_message("lacking", Message::Lacking(lacking));
    assert_golden("relay-stored", &relay.to_stored());
    assert_message("relay", Message::Relay(relay));
    let relayed = Relayed { taken: 2, held: 1, parked: 300, refused: 4 };
    assert_message("relayed", Message::Relayed(relayed));
}

#[test]
fn erasures_are_asked_for_and_answered_as_they_always_were() {
    let erase = EraseRecord { request: 3, record: record() };
    assert_message("erase", Message::Erase(erase));
    let done = Erasure { request: 3, outcome: Ok(300) };
    assert_message("erasure", Message::Erasure(done));
    let refusal = Refusal {
        code: "forbidden".to_owned(),
        text: "the policy does not allow it".to_owned(),
        document: Some(DocumentId::main(record())),
        field: None,
        rule: Some("role `rep` of policy 6".to_owned()),
    };
    let refused = Erasure { request: 4, outcome: Err(refusal) };
    assert_message("erasure-refused", Message::Erasure(refused));
    let receipt = Receipt { erased: vec![record(), record()], ..receipts().remove(0) };
    assert_message("receipts-erased", Message::Receipts(vec![receipt]));
}

#[test]
fn short_receipts_are_what_they_always_were() {
    let short = |number| ShortReceipt {
        number,
        batch_number: number + 8,
        position: number + 296,
        policy_version: 6,
    };
    assert_message("short-receipts", Message::ShortReceipts(vec![short(4), short(5)]));
    let batch = BatchId([4; 16]);
    assert_eq!(
        short(4).of(batch),
        Receipt { number: 4, batch, outcome: accepted(300), policy_version: 6, erased: Vec::new() }
    );
}

fn accepted(position: u64) -> Outcome {
    Outcome::Accepted { position, documents: Vec::new() }
}

#[test]
fn a_mark_is_what_it_always_was_and_tells_nothing_of_its_record() {
    assert_golden("record-mark", record().mark().as_bytes());
    assert_ne!(record().mark(), RecordId::new(TIME, [8; 10]).mark());
}

#[test]
fn every_goodbye_has_its_number() {
    use GoodbyeCode as G;
    let codes = [
        G::Protocol,
        G::Version,
        G::Unauthorized,
        G::TokenExpired,
        G::Superseded,
        G::LeaseOutdated,
        G::ReplicaTaken,
        G::CursorAhead,
        G::UnknownEpoch,
        G::SlowConsumer,
        G::Timeout,
        G::Restart,
        G::StorageFull,
        G::Internal,
        G::Busy,
        G::AccessChanged,
        G::DeviceRevoked,
        G::MemberDisabled,
        G::RateLimited,
    ];
    for (place, code) in codes.into_iter().enumerate() {
        let goodbye = Goodbye { code, text: String::new(), retry_after_ms: None };
        let frame = encode_frame(&Message::Goodbye(goodbye));
        assert_eq!(frame, [0, 8 << 3 | 2, 2, 1 << 3, place as u8 + 1]);
    }
}

/// How zstd packs is not ours to fix; that a packed frame of today is read is.
#[test]
fn a_compressed_frame_of_today_is_read_for_ever() {
    let digits = golden("compressed-goodbye").replace('\n', "");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let frame: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    let text = "a server that says much ".repeat(60);
    let goodbye = Goodbye { code: GoodbyeCode::Restart, text, retry_after_ms: None };
    assert_eq!(frame[0], 1);
    assert_eq!(decode_frame(&frame), Ok(Message::Goodbye(goodbye)));
}
