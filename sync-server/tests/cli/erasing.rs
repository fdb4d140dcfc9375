//! `erase` and `erasure`: with a server that holds the data, and without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crdt_core::id::{ActorId, BatchId, DocumentId, Lease, MemberId, RecordId, ReplicaId};
use crdt_core::policy::Route;
use crdt_core::protocol::PeerLimits;
use crdt_core::record::{Author, Cells, Clock, Edit, Scalar};
use crdt_core::time::Timestamp;
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::store::{BatchRow, ChangeRow, DocumentRow, ReplicaRow, Store, Write, write};
use sync_server::workspace::Workspace;

use crate::operator::{Operator, WORKSPACE, alone};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const CANARY: &str = "canary-of-somebody-who-wants-to-be-forgotten";
const WRITER: ReplicaId = ReplicaId([3; 12]);

fn subject() -> RecordId {
    RecordId::from_source_key("contact", "subject")
}

/// A contact with a value in each of two sections, and a replica that was here, as a server left them.
fn fill(operator: &Operator, member: &str) {
    let _alone = alone();
    let opened = SqliteStore::open(&operator.database(), SqliteOptions::default()).unwrap();
    let store: Arc<dyn Store> = Arc::new(opened);
    let member: MemberId = member.parse().unwrap();
    write(&*store, |tx| {
        let row = ReplicaRow {
            id: WRITER,
            member,
            lease: Lease([1; 16]),
            previous_lease: None,
            scopes: Vec::new(),
            previous_scopes: Vec::new(),
            last_receipt: 0,
            is_met: true,
            last_seen: NOW,
            device: crdt_core::id::DeviceId([4; 16]),
            device_name: "Phone".to_owned(),
        };
        tx.put_replica(&row)?;
        for (number, section) in (1..).zip(["main", "finance"]) {
            document(tx, member, number, section)?;
        }
        let entity = "contact".to_owned();
        let (owner, territory, team) = (None, Some("west".to_owned()), None);
        let route = Route { entity, owner, territory, team, parent: None, merged_into: None };
        tx.put_route(&subject(), &route)
    })
    .unwrap();
}

fn document(
    tx: &mut dyn Write,
    member: MemberId,
    n: u8,
    section: &str,
) -> Result<(), sync_server::store::StoreError> {
    let id = DocumentId { record: subject(), section: section.parse().unwrap() };
    let mut cells = Cells::default();
    let edit = Edit::Put { key: "note".to_owned(), value: Scalar::Str(CANARY.to_owned()) };
    let author = Author { actor: ActorId::of(WRITER, 0), time: NOW };
    let (change, encoded) = author.write(&mut cells, &[edit]).remove(0);
    let (entity, position) = ("contact".to_owned(), tx.head()? + 1);
    let batch = BatchId([n; 16]);
    let (replica, received_at) = (WRITER, NOW);
    tx.append_batch(&BatchRow { position, id: batch, replica, member, received_at })?;
    let stored = cells.to_stored();
    let row = DocumentRow { number: 0, id, entity, cells: stored, folded_to: 0 };
    let document = tx.create_document(&row)?;
    tx.enter("territory:west", document, position)?;
    tx.append_change(&ChangeRow {
        document,
        position,
        hash: encoded.hash,
        actor: change.actor,
        seq: change.seq,
        max_op: change.max_op(),
        clock: Clock::default(),
        bytes: Some(encoded.bytes),
    })
}

/// The files of the data directory in which the canary stands.
fn files_with_canary(operator: &Operator) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![operator.data().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn a_record_is_erased_once_it_is_meant_with_a_server_and_without() {
    for is_live in [false, true] {
        let mut operator = Operator::with_workspace();
        let ada = operator.add("Ada", "admin");
        fill(&operator, &ada);
        if is_live {
            operator.start();
        }
        let record = subject().to_string();
        assert!(!files_with_canary(&operator).is_empty(), "what is searched for can be found");

        let asked = operator.on(&["erase", &record]).input_error();
        for told in ["contact", "section main", "section finance", "1 changes", "--yes"] {
            assert!(asked.contains(told), "{told}: {asked}");
        }
        let error = operator.on(&["erasure", &record]).input_error();
        assert!(error.contains("was not erased"), "{error}");
        assert!(!files_with_canary(&operator).is_empty(), "asking erases nothing");

        let told = operator.on(&["erase", &record, "--yes"]).ok();
        assert!(told.contains("by the operator: 2 documents, 2 changes"), "{told}");
        assert!(
            told.contains("0 of 1 replicas have confirmed") && told.contains("not yet"),
            "{told}"
        );
        assert_eq!(files_with_canary(&operator), Vec::<String>::new());

        let certificate = operator.json(&["erasure", &record]);
        assert_eq!(certificate["erased"]["entity"], "contact");
        assert_eq!(certificate["erased"]["documents"], 2);
        assert_eq!(certificate["on_ledger"], true);
        assert_eq!(certificate["complete"], false);
        assert!(
            certificate["erased"]["scrubbed_at"].is_number()
                || certificate["erased"]["scrubbed_at"].is_string()
        );
        assert_eq!(certificate["devices"][0]["name"], "Phone");
        // Twice is as good as once, and says when it was.
        let again = operator.json(&["erase", &record, "--yes"]);
        assert_eq!(again["erased"]["position"], certificate["erased"]["position"]);
        let audit = operator.on(&["audit", "export"]).ok();
        assert!(audit.contains("record_erased") && audit.contains(&record), "{audit}");
        operator.on(&["audit", "verify"]).ok();
    }
}

#[test]
fn what_does_not_exist_and_members_are_not_erased() {
    for operator in Operator::with_and_without_a_server() {
        let ada = operator.add("Ada", "admin");
        let nothing = subject().to_string();
        let error = operator.on(&["erase", &nothing, "--yes"]).input_error();
        assert!(error.contains("there is no record"), "{error}");
        let error = operator.on(&["erase", &ada, "--yes"]).input_error();
        assert!(error.contains("is a member"), "{error}");
        let error = operator.on(&["erase", "somebody", "--yes"]);
        assert_eq!(error.status, 2, "{error:?}");
    }
}

#[test]
fn an_older_copy_of_the_workspace_does_not_bring_an_erased_record_back() {
    let mut operator = Operator::with_workspace();
    let ada = operator.add("Ada", "admin");
    fill(&operator, &ada);
    let older = std::fs::read(operator.database()).unwrap();
    operator.on(&["erase", &subject().to_string(), "--yes"]).ok();

    std::fs::write(operator.database(), older).unwrap();
    operator.start();
    let certificate = operator.json(&["erasure", &subject().to_string()]);
    assert_eq!(certificate["erased"]["documents"], 2, "the older copy had it");
    operator.crash();
    // The ledger is on disk before the act: also a crash right after it forgets nothing.
    let ledger = operator.data().join("ledgers").join(format!("{WORKSPACE}.ledger"));
    assert!(sync_server::ledger::Ledger::open(&ledger).unwrap().is_erased(&subject()));
}

#[test]
fn a_workspace_that_was_opened_without_its_ledger_erases_nothing() {
    let operator = Operator::with_workspace();
    let ada = operator.add("Ada", "admin");
    fill(&operator, &ada);
    let _alone = alone();
    let opened = SqliteStore::open(&operator.database(), SqliteOptions::default()).unwrap();
    let limits = PeerLimits { batches_in_flight: 1, pages_in_flight: 1 };
    let mut workspace = Workspace::open(Arc::new(opened), limits).unwrap();
    assert!(workspace.erase(NOW, subject()).is_err());
    let holdings = workspace.holdings(subject()).unwrap().unwrap();
    let sections: BTreeMap<String, u64> =
        holdings.sections.iter().map(|(section, of)| (section.to_string(), of.changes)).collect();
    assert_eq!(sections, BTreeMap::from([("finance".to_owned(), 1), ("main".to_owned(), 1)]));
}
