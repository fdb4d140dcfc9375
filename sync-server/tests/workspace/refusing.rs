//! What is refused: with which word, about which document and field, and that everything else stays.

use crdt_core::id::{ActorId, DocumentId, RecordId, ReplicaId};
use crdt_core::protocol::{Batch, DocumentRef, Outcome, Refusal};
use crdt_core::record::{Edit, Scalar};
use crdt_core::time::Timestamp;
use sync_server::store;

use crate::support::device::{Device, claim, put};
use crate::support::world::{World, refusal};

struct Scene {
    world: World,
    device: Device,
    record: RecordId,
}

fn scene() -> Scene {
    let mut world = World::new();
    let mut device = world.device(1);
    let (record, batch) = device.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut device, batch);
    Scene { world, device, record }
}

impl Scene {
    fn id(&self) -> DocumentId {
        DocumentId::main(self.record)
    }

    /// Refuses a batch, and shows that nothing but the receipt is there afterwards.
    #[track_caller]
    fn refuse(&mut self, batch: Batch) -> Refusal {
        let before = (self.world.head(), self.world.cells(&self.id()));
        let count = self.documents();
        let refusal = self.world.refuse(&mut self.device, batch);
        assert_eq!(before, (self.world.head(), self.world.cells(&self.id())));
        assert_eq!(count, self.documents());
        refusal
    }

    fn documents(&self) -> u64 {
        let last = store::read(&*self.world.store, |tx| {
            let mut last = 0;
            while let Some(next) = tx.document_after(last)? {
                last = next;
            }
            Ok(last)
        });
        last.unwrap()
    }

    /// Changes the first change of a batch, and claims the hash that fits.
    fn forge(&self, mut batch: Batch, how: impl FnOnce(&mut crdt_core::record::Change)) -> Batch {
        let sent = &mut batch.documents[0].changes[0];
        let mut change = sent.change.clone();
        how(&mut change);
        let mut whole = change.clone();
        whole.deps = self.world.cells(&self.id()).unwrap().heads().to_vec();
        sent.claim = claim(&whole);
        sent.change = change;
        batch
    }
}

#[test]
fn a_refusal_names_the_rule_the_document_and_the_field() {
    let mut scene = scene();
    let record = scene.record;
    let batch = scene.device.edit(record, &[put("stage", "no such stage")]);
    let refusal = scene.refuse(batch);
    assert_eq!(refusal.code, "invalid");
    assert_eq!(refusal.document, Some(scene.id()));
    assert_eq!(refusal.field.as_deref(), Some("stage"));
    assert!(!refusal.text.contains("no such stage"), "{}", refusal.text);
}

#[test]
fn each_rule_has_its_word() {
    type Make<'a> = &'a dyn Fn(&mut Scene) -> Batch;
    let cases: [(&str, Option<&str>, Make<'_>); 8] = [
        ("unknown_field", Some("shoe_size"), &|s| {
            s.device.edit(s.record, &[put("shoe_size", "9")])
        }),
        ("wrong_section", Some("credit_limit"), &|s| {
            let (_, batch) =
                s.device.create("account", &[put("name", "a"), put("credit_limit", "1.00 USD")]);
            batch
        }),
        ("unknown_entity", None, &|s| s.device.create("spaceship", &[]).1),
        ("not_a_record", None, &|s| {
            let id = DocumentId::main(RecordId::new(Timestamp::from_millis(1), [9; 10]));
            let part = s.device.write(&id, "contact", &[put("last_name", "x")]);
            s.device.batch(vec![part])
        }),
        ("actor_not_yours", None, &|s| {
            let batch = s.device.edit(s.record, &[put("title", "x")]);
            let stranger = ActorId::of(ReplicaId([3; 12]), 0);
            s.forge(batch, |change| change.actor = stranger)
        }),
        ("clock_ahead", None, &|s| {
            let batch = s.device.edit(s.record, &[put("title", "x")]);
            let late = World::now().plus_millis(600_000);
            s.forge(batch, |change| change.time = late)
        }),
        ("seq_gap", None, &|s| {
            let batch = s.device.edit(s.record, &[put("title", "x")]);
            s.forge(batch, |change| change.seq += 1)
        }),
        ("hash_mismatch", None, &|s| {
            let mut batch = s.device.edit(s.record, &[put("title", "x")]);
            batch.documents[0].changes[0].claim = vec![0; 4];
            batch
        }),
    ];
    for (code, field, make) in cases {
        let mut scene = scene();
        let batch = make(&mut scene);
        let refusal = scene.refuse(batch);
        assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), (code, field));
        // The device goes on after a refusal that was its last word on the record.
        let (_, next) = scene.device.create("contact", &[put("last_name", "next")]);
        scene.world.accept(&mut scene.device, next);
    }
}

#[test]
fn a_number_that_was_never_given_and_a_batch_that_says_nothing_are_refused() {
    let mut scene = scene();
    let good = scene.device.edit(scene.record, &[put("title", "x")]);
    for number in [2, 77, u64::MAX] {
        let mut batch = good.clone();
        batch.documents[0].document = DocumentRef::Number(number);
        batch.id.0[0] ^= number as u8;
        let refusal = scene.refuse(batch);
        assert_eq!((refusal.code.as_str(), refusal.document), ("out_of_scope", None));
    }
    let nothing = scene.device.batch(Vec::new());
    assert_eq!(scene.refuse(nothing).code, "not_canonical");
    let (_, mut batch) = scene.device.create("contact", &[put("last_name", "x")]);
    batch.documents[0].changes.clear();
    assert_eq!(scene.refuse(batch).code, "not_canonical");
    scene.world.accept(&mut scene.device, good);
}

#[test]
fn a_section_needs_its_record_and_a_record_that_has_it() {
    let mut scene = scene();
    let batch = scene.device.edit_section(scene.record, "finance", &[put("title", "x")]);
    assert_eq!(scene.refuse(batch).code, "no_such_record", "contacts have no finance section");
    let unknown = RecordId::new(Timestamp::from_millis(5), [5; 10]);
    let id = DocumentId { record: unknown, section: "finance".parse().unwrap() };
    let part = scene.device.write(&id, "account", &[put("credit_limit", "1.00 USD")]);
    let batch = scene.device.batch(vec![part]);
    assert_eq!(scene.refuse(batch).code, "out_of_scope", "nor is it said that there is none");
}

#[test]
fn what_follows_a_refusal_says_so_also_within_one_commit() {
    for together in [true, false] {
        let mut scene = scene();
        let (device, record) = (&mut scene.device, scene.record);
        let bad = device.edit(record, &[put("stage", "nowhere")]);
        let follows = device.edit(record, &[put("title", "x")]);
        let (_, other) = device.create("contact", &[put("last_name", "Bea")]);
        let batches = [bad, follows, other];
        let mut outcomes = Vec::new();
        if together {
            let group: Vec<_> = batches.into_iter().map(|batch| (&*device, batch)).collect();
            let committed = scene.world.commit(&group).unwrap();
            outcomes.extend(committed.receipts.into_iter().map(|(_, receipt)| receipt.outcome));
        } else {
            for batch in batches {
                outcomes.push(scene.world.push(device, batch).outcome);
            }
        }
        assert!(matches!(outcomes[2], Outcome::Accepted { position: 2, .. }), "{outcomes:?}");
        let mut outcomes = outcomes.into_iter();
        assert_eq!(refusal(outcomes.next().unwrap()).code, "invalid");
        let second = refusal(outcomes.next().unwrap());
        assert_eq!(second.code, "depends_on_refused");
        assert_eq!(second.document, Some(DocumentId::main(record)));
    }
}

#[test]
fn a_section_of_a_record_whose_creation_was_refused_depends_on_that() {
    let mut scene = scene();
    let (record, bad) = scene.device.create("account", &[put("name", "a"), put("health", "odd")]);
    let section = scene.device.edit_section(record, "finance", &[put("credit_limit", "1.00 USD")]);
    assert_eq!(scene.refuse(bad).code, "invalid");
    assert_eq!(scene.refuse(section).code, "depends_on_refused");
}

#[test]
fn a_batch_over_two_documents_is_refused_as_a_whole() {
    let mut scene = scene();
    let (other, batch) = scene.device.create("contact", &[put("last_name", "Bea")]);
    scene.world.accept(&mut scene.device, batch);
    let (one, two) = (scene.id(), DocumentId::main(other));
    let parts = vec![
        scene.device.write(&one, "contact", &[put("title", "fine")]),
        scene.device.write(&two, "contact", &[put("stage", "nowhere")]),
    ];
    let batch = scene.device.batch(parts);
    assert_eq!(scene.refuse(batch).document, Some(two));
    let follows = scene.device.edit(scene.record, &[put("company", "x")]);
    assert_eq!(scene.refuse(follows).code, "depends_on_refused");
}

#[test]
fn other_contents_under_a_number_that_is_taken_mean_a_forked_actor() {
    let mut scene = scene();
    let mut copy = scene.device.clone();
    let original = scene.device.edit(scene.record, &[put("title", "original")]);
    scene.world.accept(&mut scene.device, original);
    let mut forked = copy.edit(scene.record, &[put("title", "copied")]);
    forked.id.0[0] ^= 1;
    assert_eq!(scene.refuse(forked).code, "actor_forked");
}

#[test]
fn an_edit_of_a_record_that_its_author_knew_to_be_deleted_is_refused() {
    let mut scene = scene();
    let clock = scene.device.documents[&scene.id()].cells.clock().to_bytes();
    let delete = Edit::Put { key: "$deleted".to_owned(), value: Scalar::Bytes(clock) };
    let batch = scene.device.edit(scene.record, &[delete]);
    scene.world.accept(&mut scene.device, batch);
    let batch = scene.device.edit(scene.record, &[put("title", "late")]);
    assert_eq!(scene.refuse(batch).code, "deleted");
}

#[test]
fn an_older_schema_version_is_checked_for_types_only() {
    let mut scene = scene();
    scene.device.schema_version = 0;
    let batch = scene.device.edit(scene.record, &[put("stage", "a stage of old")]);
    scene.world.accept(&mut scene.device, batch);
    let wrong = Edit::Put { key: "score".to_owned(), value: Scalar::Str("high".to_owned()) };
    let batch = scene.device.edit(scene.record, &[wrong]);
    assert_eq!(scene.refuse(batch).code, "invalid");
}
