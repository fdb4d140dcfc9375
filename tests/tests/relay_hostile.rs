//! What devices claim that others wrote, after a restore: taken as far as it could have been so, and no further.

use client_sdk::Edits;
use crdt_core::id::{ActorId, DocumentId, MemberId, RecordId, ReplicaId};
use crdt_core::policy::SALES;
use crdt_core::protocol::{
    AuthorName, DocumentChanges, DocumentRef, Identity, Message, Relay, Relayed, SentChange,
    encode_frame,
};
use crdt_core::record::{Author, Cells, Edit, Scalar, Value};
use crdt_core::time::Timestamp;
use tests::harness::network::Packet;
use tests::harness::world::{Device, MemberChanges, World, whoever};

/// A sales organisation in the west and a rep in the east; an account of the west.
struct Cast {
    world: World,
    boss: Device,
    max: Device,
    eve: Device,
    ann: MemberId,
    ava: MemberId,
    head: MemberId,
    account: RecordId,
}

/// Everybody's devices, synced with a server that was restored a moment ago.
fn cast(seed: u64) -> Cast {
    let mut world = World::governed(seed, SALES);
    let ann = world.person("Ann", "rep", &["west"]);
    let manager = world.person("Max", "manager", &[]);
    let region = MemberChanges { region: Some("west".to_owned()), ..whoever("manager", &[]) };
    world.direct(manager, &region);
    let eastern = world.person("Eve", "rep", &["east"]);
    let ava = world.person("Ava", "auditor", &[]);
    let head = world.person("Boss", "admin", &[]);
    let max = world.device_of(manager, "max");
    let eve = world.device_of(eastern, "eve");
    let boss = world.device_of(head, "boss");
    world.settle();
    let edits = Edits::new().set("name", "Hooli").set("territory", "west");
    let account = world.create(max, "account", edits);
    world.settle();
    let backup = world.back_up_server();
    world.restore_server(&backup);
    world.settle();
    Cast { world, boss, max, eve, ann, ava, head, account }
}

/// What the server has of a document.
fn cells(world: &World, id: &DocumentId) -> Cells {
    let row = world.server().read(|tx| tx.find_document(id));
    row.map_or_else(Cells::default, |row| Cells::from_stored(&row.cells).unwrap())
}

/// Changes of one field each, the second on top of the first, as a replica that nobody knows would write them.
fn forged(world: &World, record: RecordId, field: &str, values: &[&str]) -> Vec<SentChange> {
    let mut cells = cells(world, &DocumentId::main(record));
    let author = Author { actor: ActorId::of(STRANGER, 0), time: NOW };
    let mut written = Vec::new();
    for value in values {
        let value = Scalar::Str((*value).to_owned());
        written.extend(author.write(&mut cells, &[Edit::Put { key: field.to_owned(), value }]));
    }
    written.iter().map(|(change, encoded)| SentChange::alone(change, &encoded.hash)).collect()
}

fn relay(record: RecordId, entity: &str, changes: Vec<SentChange>, author: MemberId) -> Packet {
    let identity = Identity { id: DocumentId::main(record), entity: entity.to_owned() };
    let document = DocumentChanges { document: DocumentRef::Identity(identity), changes };
    let author = AuthorName { replica: STRANGER, member: author, name: String::new() };
    let relay = Relay { documents: vec![document], authors: vec![author] };
    Packet::Frame(encode_frame(&Message::Relay(relay)))
}

/// What came of what everybody gave back together.
fn relayed(world: &mut World) -> Relayed {
    world.relay_status().relayed.iter().fold(Relayed::default(), |sum, row| Relayed {
        taken: sum.taken + row.relayed.taken,
        held: sum.held + row.relayed.held,
        parked: sum.parked + row.relayed.parked,
        refused: sum.refused + row.relayed.refused,
    })
}

fn country(world: &World, device: Device, account: RecordId) -> Option<String> {
    world.see(device, account).text("country").map(str::to_owned)
}

const STRANGER: ReplicaId = ReplicaId([0x5A; 12]);
const NOW: Timestamp = Timestamp::from_millis(1_600_000_000_000);

#[test]
fn what_its_author_may_write_is_taken_from_who_may_read_it_and_named_as_relayed() {
    let Cast { mut world, max, boss, ann, account, .. } = cast(720);
    let changes = forged(&world, account, "country", &["CH"]);
    world.inject(max, relay(account, "account", changes.clone(), ann));
    world.run_for(2_000);
    assert_eq!(country(&world, boss, account).as_deref(), Some("CH"));
    world.settle();
    world.inject(max, relay(account, "account", changes, ann));
    world.settle();
    let expected = Relayed { taken: 1, held: 1, parked: 0, refused: 0 };
    assert_eq!(relayed(&mut world), expected, "the same change is there once");
    assert_eq!(
        country(&world, max, account).as_deref(),
        Some("CH"),
        "the giver is sent it as well"
    );
}

#[test]
fn who_may_not_read_a_record_gives_nothing_of_it_back() {
    let Cast { mut world, eve, boss, ann, account, .. } = cast(721);
    let changes = forged(&world, account, "country", &["CH"]);
    world.inject(eve, relay(account, "account", changes, ann));
    world.settle();
    assert_eq!(relayed(&mut world), Relayed { refused: 1, ..Relayed::default() });
    assert_eq!(country(&world, boss, account), None);
}

#[test]
fn a_change_that_its_author_may_not_make_is_refused_whoever_brings_it() {
    let Cast { mut world, max, boss, ava, account, .. } = cast(722);
    let changes = forged(&world, account, "country", &["CH"]);
    world.inject(max, relay(account, "account", changes, ava));
    world.settle();
    assert_eq!(relayed(&mut world), Relayed { refused: 1, ..Relayed::default() });
    assert_eq!(country(&world, boss, account), None);
}

#[test]
fn nobody_gains_rights_by_what_others_are_said_to_have_written() {
    let Cast { mut world, max, head, ann, .. } = cast(723);
    let record = RecordId(ann.0);
    let changes = forged(&world, record, "role", &["admin"]);
    world.inject(max, relay(record, "member", changes, head));
    world.settle();
    assert_eq!(relayed(&mut world), Relayed { refused: 1, ..Relayed::default() });
    let role = cells(&world, &DocumentId::main(record));
    let role = role.live("role").iter().map(|op| format!("{:?}", op.value)).collect::<String>();
    assert!(role.contains("rep"), "{role}");
}

#[test]
fn an_author_of_whom_nothing_is_said_is_nobody() {
    let Cast { mut world, max, boss, account, .. } = cast(724);
    let changes = forged(&world, account, "country", &["CH"]);
    let identity = Identity { id: DocumentId::main(account), entity: "account".to_owned() };
    let document = DocumentChanges { document: DocumentRef::Identity(identity), changes };
    let relay = Relay { documents: vec![document], authors: Vec::new() };
    world.inject(max, Packet::Frame(encode_frame(&Message::Relay(relay))));
    world.settle();
    assert_eq!(relayed(&mut world), Relayed { refused: 1, ..Relayed::default() });
    assert_eq!(country(&world, boss, account), None);
}

#[test]
fn what_misses_something_waits_until_another_device_brings_it() {
    let Cast { mut world, max, boss, ann, account, .. } = cast(725);
    let mut changes = forged(&world, account, "country", &["CH", "AT", "IT"]);
    let first = changes.remove(0);
    world.inject(max, relay(account, "account", changes, ann));
    world.settle();
    assert_eq!(relayed(&mut world), Relayed { parked: 2, ..Relayed::default() });
    assert_eq!(country(&world, boss, account), None);
    world.restart_server();
    world.settle();
    assert_eq!(world.relay_status().parked.changes, 2, "what waits is durable");
    world.inject(boss, relay(account, "account", vec![first], ann));
    world.settle();
    assert_eq!(world.relay_status().parked.changes, 0);
    for device in [max, boss] {
        assert_eq!(country(&world, device, account).as_deref(), Some("IT"));
    }
    assert_eq!(world.conflicts(boss, account), []);
}

#[test]
fn once_it_has_ended_nothing_is_taken_and_what_waits_is_dropped() {
    let Cast { mut world, max, boss, ann, account, .. } = cast(726);
    let mut changes = forged(&world, account, "country", &["CH", "AT"]);
    let second = changes.remove(1);
    world.inject(max, relay(account, "account", vec![second], ann));
    world.settle();
    assert_eq!(world.relay_status().parked.changes, 1);
    world.close_relay();
    assert_eq!(world.relay_status().parked.changes, 0);
    world.inject(max, relay(account, "account", changes, ann));
    world.settle();
    assert_eq!(relayed(&mut world).taken, 0);
    assert_eq!(country(&world, boss, account), None);
}

#[test]
fn a_server_that_was_never_restored_takes_nothing_from_others() {
    let mut world = World::new(727);
    let ann = world.device("ann");
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    let member = world.at(ann).member();
    let changes = forged(&world, account, "country", &["CH"]);
    world.inject(ann, relay(account, "account", changes, member));
    world.settle();
    assert_eq!(world.see(ann, account).value("country"), &Value::Null);
    world.assert_converged();
}
