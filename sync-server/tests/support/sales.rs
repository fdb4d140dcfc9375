//! A sales organisation: one member of each role, two territories, and devices for them.

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::protocol::{Batch, DocumentChanges, DocumentRef, Identity, Outcome, Refusal};
use crdt_core::record::{Cells, Edit, Scalar, Value, hydrate};
use crdt_core::schema::Schema;
use sync_server::workspace::MemberChanges;

use super::device::{Device, put};
use super::world::{World, member};

pub const ADMIN: u8 = 1;
pub const REP_WEST: u8 = 2;
pub const MANAGER_WEST: u8 = 3;
pub const SUPPORT: u8 = 4;
pub const AUDITOR: u8 = 5;
pub const REP_EAST: u8 = 6;
pub const MANAGER_EAST: u8 = 7;
pub const NOBODY: u8 = 8;

/// The workspace with everybody in it.
pub fn office() -> World {
    let mut world = World::sales();
    world.set(member(ADMIN), "admin", &[]);
    world.set(member(REP_WEST), "rep", &["west"]);
    world.set(member(SUPPORT), "support", &[]);
    world.set(member(AUDITOR), "auditor", &[]);
    world.set(member(REP_EAST), "rep", &["east"]);
    world.set(member(NOBODY), "", &[]);
    for (n, region) in [(MANAGER_WEST, "west"), (MANAGER_EAST, "east")] {
        let (role, region) = (Some("manager".to_owned()), Some(region.to_owned()));
        world.change(member(n), &MemberChanges { role, region, ..MemberChanges::default() });
    }
    world
}

/// A device of one of them, connected and fed.
pub fn device(world: &mut World, n: u8) -> Device {
    let mut device = world.device_of(n, member(n));
    world.sync(&mut device);
    device
}

/// An account of a territory, written by the administrator's `device`, with a credit limit.
pub fn account(world: &mut World, admin: &mut Device, territory: &str) -> RecordId {
    let edits = [put("name", "Engines"), put("territory", territory)];
    let (record, batch) = admin.create("account", &edits);
    world.accept(admin, batch);
    let batch = admin.edit_section(record, "finance", &[put("credit_limit", "9.00 USD")]);
    world.accept(admin, batch);
    record
}

pub fn reference(key: &str, record: RecordId) -> Edit {
    Edit::Put { key: key.to_owned(), value: Scalar::Bytes(record.as_bytes().to_vec()) }
}

/// Everything that a refusal says.
#[track_caller]
pub fn refusals(world: &mut World, device: &mut Device, batch: Batch) -> Vec<Refusal> {
    match world.push(device, batch).outcome {
        Outcome::Refused { reasons } => reasons,
        other => panic!("not refused: {other:?}"),
    }
}

/// The codes of a refusal, each once.
#[track_caller]
pub fn codes(world: &mut World, device: &mut Device, batch: Batch) -> Vec<String> {
    let mut codes: Vec<String> =
        refusals(world, device, batch).into_iter().map(|refusal| refusal.code).collect();
    codes.dedup();
    codes
}

/// A batch that names its documents in full, as a device without numbers sends it.
pub fn in_full(device: &Device, batch: Batch) -> Batch {
    let name = |document: DocumentChanges| match document.document {
        DocumentRef::Number(number) => {
            let mut held = device.documents.iter();
            let (id, held) = held.find(|(_, held)| held.number == Some(number)).unwrap();
            let identity = Identity { id: id.clone(), entity: held.entity.clone() };
            DocumentChanges { document: DocumentRef::Identity(identity), ..document }
        }
        DocumentRef::Identity(_) => document,
    };
    Batch { documents: batch.documents.into_iter().map(name).collect(), ..batch }
}

/// What a record's section says on the server.
pub fn values(
    world: &World,
    entity: &str,
    record: RecordId,
    section: &str,
) -> std::collections::BTreeMap<String, Value> {
    let id = DocumentId { record, section: section.parse().unwrap() };
    let cells: Cells = world.cells(&id).unwrap_or_default();
    hydrate(&cells, Schema::builtin().entity(entity).unwrap())
}
