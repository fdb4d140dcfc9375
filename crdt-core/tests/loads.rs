//! Everything but prose goes by cells: no document is loaded. Alone in its binary, since the count is of the
//! whole process.

use crdt_core::id::{ActorId, ReplicaId, Section};
use crdt_core::record::document::{Purpose, loads, loads_outside_text};
use crdt_core::record::{
    Author, Cells, Change, DELETED, Door, Edit, EncodedChange, History, Judgement, Known, Scalar,
    SeedKind, Situation, Value, conflict, hydrate, judge, reconcile, seed,
};
use crdt_core::schema::{Entity, Schema};
use crdt_core::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

fn author(replica: u8) -> Author {
    Author { actor: ActorId::of(ReplicaId([replica; 12]), 0), time: NOW }
}

fn account() -> &'static Entity {
    Schema::builtin().entity("account").unwrap()
}

fn put(key: &str, value: Scalar) -> Edit {
    Edit::Put { key: key.to_owned(), value }
}

fn words(text: &str) -> Scalar {
    Scalar::Str(text.to_owned())
}

/// What the server does with a change that saw everything.
fn admit(cells: &Cells, change: &Change, encoded: &EncodedChange) -> Cells {
    let situation = Situation {
        entity: account(),
        section: &Section::main(),
        cells,
        past: &if change.as_seed().is_some() { Known::default() } else { Known::heads(cells) },
        sender: change.actor.replica(),
        now: NOW,
        history: History::Current,
    };
    match judge(change, &encoded.hash.0[..4], &situation).unwrap() {
        Judgement::Admitted(admitted) => {
            assert_eq!(admitted.door, Door::Fast);
            admitted.cells
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_document_is_loaded_to_create_edit_receive_judge_delete_or_read() {
    let (mut mine, mut server) = (Cells::default(), Cells::default());
    let first = [
        put("$entity", words("account")),
        put("$created_at", Scalar::Timestamp(NOW)),
        put("$created_by", Scalar::Bytes(vec![1; 16])),
        put("name", words("Acme")),
    ];
    let mut written = author(1).write(&mut mine, &first);
    let visits = seed(SeedKind::Counter, "visits");
    let encoded = visits.encode();
    mine.apply(&visits, encoded.hash);
    written.push((visits, encoded));
    let increment = Edit::Increment { key: "visits".to_owned(), by: 3 };
    let tag = Edit::add("tags/vip".to_owned());
    written.extend(author(1).write(&mut mine, &[increment, tag, put("sector", words("retail"))]));
    let mut theirs = Cells::default();
    for (change, encoded) in &written {
        server = admit(&server, change, encoded);
        theirs.apply(change, encoded.hash);
    }
    assert_eq!(theirs, mine);
    assert_eq!(server, mine);

    let wanted = [("sector".to_owned(), Value::from("medical"))].into();
    let edits = reconcile(&theirs, account(), &wanted).unwrap();
    let (change, encoded) = author(2).write(&mut theirs, &edits).remove(0);
    let here = author(1).write(&mut mine, &[put("sector", words("energy"))]).remove(0);
    server = admit(&server, &change, &encoded);
    theirs.apply(&here.0, here.1.hash);
    mine.apply(&change, encoded.hash);
    assert_eq!(theirs, mine);
    let sector = &account().field("sector").unwrap().merge;
    assert_eq!(conflict(sector, mine.live("sector")).unwrap().contenders.len(), 2);
    assert_eq!(hydrate(&mine, account())["visits"], Value::Counter(3));

    let deletion = put(DELETED, Scalar::Bytes(server.clock().to_bytes()));
    let (change, encoded) = author(2).write(&mut server.clone(), &[deletion]).remove(0);
    server = admit(&server, &change, &encoded);
    assert_eq!(Cells::from_stored(&server.to_stored()).unwrap(), server);

    assert_eq!(loads_outside_text(), 0);
    assert_eq!(loads(Purpose::Text), 0);
}
