//! A refusal tells nothing of what its receiver may not see: there or not, alike.

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::protocol::{Batch, DocumentChanges, DocumentRef, Identity, Refusal};
use crdt_core::record::Change;
use crdt_core::time::Timestamp;

use crate::support::device::{Device, put};
use crate::support::sales::{ADMIN, REP_EAST, REP_WEST, account, device, office, refusals};
use crate::support::world::World;

/// A rep of the east who probes, and an account of the west.
fn scene() -> (World, Device, RecordId) {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let record = account(&mut world, &mut admin, "west");
    let rep = device(&mut world, REP_EAST);
    (world, rep, record)
}

/// A batch of the rep's with one edit, put on another document.
fn aimed(rep: &mut Device, document: DocumentRef, how: impl Fn(&mut Change)) -> Batch {
    let (record, _) = rep.create("account", &[put("name", "Mine")]);
    let mut batch = rep.edit(record, &[put("phone", "555")]);
    let DocumentChanges { document: named, changes } = &mut batch.documents[0];
    *named = document;
    changes.iter_mut().for_each(|sent| how(&mut sent.change));
    batch
}

/// A refusal without the name that its receiver gave itself.
fn told(refusals: Vec<Refusal>) -> Vec<Refusal> {
    refusals.into_iter().map(|refusal| Refusal { document: None, ..refusal }).collect()
}

#[test]
fn a_record_out_of_sight_is_answered_like_one_that_does_not_exist_whatever_is_wrong() {
    let (mut world, mut rep, hidden) = scene();
    let missing = RecordId::new(Timestamp::from_millis(7), [9; 10]);
    type How = fn(&mut Change);
    let wrongs: [How; 4] = [
        |_| {},
        |change| change.seq = 77,
        |change| change.start_op = 1,
        |change| change.time = Timestamp::from_millis(i64::MAX),
    ];
    for how in wrongs {
        for section in ["finance", "main"] {
            let mut answers = Vec::new();
            for record in [hidden, missing] {
                let id = DocumentId { record, section: section.parse().unwrap() };
                let identity = Identity { id, entity: "account".to_owned() };
                let batch = aimed(&mut rep, DocumentRef::Identity(identity), how);
                answers.push(told(refusals(&mut world, &mut rep, batch)));
                world.workspace.acknowledge(&rep.replica, u64::MAX >> 11).unwrap();
            }
            // A first change of a record that is not there is a creation, and judged as one.
            if section == "finance" {
                assert_eq!(answers[0], answers[1]);
            }
            assert_eq!(answers[0][0].code, "out_of_scope");
        }
    }
}

#[test]
fn a_number_of_a_hidden_document_is_answered_like_one_that_was_never_given() {
    let (mut world, mut rep, hidden) = scene();
    let number = |section: &str| {
        let id = DocumentId { record: hidden, section: section.parse().unwrap() };
        let row = sync_server::store::read(&*world.store, |tx| tx.find_document(&id));
        row.unwrap().unwrap().number
    };
    let numbers = [number("main"), number("finance"), 999, u64::MAX];
    let mut answers = Vec::new();
    // Asked twice: what was refused before must not show either.
    for number in numbers.into_iter().chain(numbers) {
        let batch = aimed(&mut rep, DocumentRef::Number(number), |_| {});
        answers.push(refusals(&mut world, &mut rep, batch));
    }
    assert_eq!((answers[0][0].code.as_str(), &answers[0][0].document), ("out_of_scope", &None));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[test]
fn a_finance_section_is_refused_alike_whether_it_holds_something() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let full = account(&mut world, &mut admin, "west");
    let (empty, batch) = admin.create("account", &[put("name", "B"), put("territory", "west")]);
    world.accept(&mut admin, batch);
    let mut rep = device(&mut world, REP_WEST);
    let wrongs: [fn(&mut Change); 3] =
        [|_| {}, |change| change.seq = 9, |change| change.ops[0].key = "nonsense".to_owned()];
    for how in wrongs {
        let mut answers = Vec::new();
        for record in [full, empty] {
            let id = DocumentId { record, section: "finance".parse().unwrap() };
            let identity = Identity { id, entity: "account".to_owned() };
            let batch = aimed(&mut rep, DocumentRef::Identity(identity), how);
            answers.push(told(refusals(&mut world, &mut rep, batch)));
        }
        assert_eq!(answers[0], answers[1]);
        let told = (answers[0][0].code.as_str(), answers[0][0].field.as_deref());
        assert_eq!(told, ("forbidden", Some("finance")));
    }
    // By its number the document is as unknown as any other.
    let id = DocumentId { record: full, section: "finance".parse().unwrap() };
    let row = sync_server::store::read(&*world.store, |tx| tx.find_document(&id)).unwrap();
    let batch = aimed(&mut rep, DocumentRef::Number(row.unwrap().number), |_| {});
    assert_eq!(refusals(&mut world, &mut rep, batch)[0].code, "out_of_scope");
}

#[test]
fn somebody_elses_batch_id_tells_nothing() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let (_, theirs) = admin.create("account", &[put("name", "Theirs"), put("territory", "west")]);
    world.accept(&mut admin, theirs.clone());
    let mut rep = device(&mut world, REP_EAST);
    let (_, mut batch) = rep.create("lead", &[put("last_name", "Mine")]);
    batch.id = theirs.id;
    let refused = refusals(&mut world, &mut rep, batch);
    assert_eq!((refused[0].code.as_str(), &refused[0].document), ("out_of_scope", &None));
}

#[test]
fn a_creator_is_whoever_sends_the_record() {
    let mut world = office();
    let mut rep = device(&mut world, REP_WEST);
    let mine = rep.member;
    rep.member = crate::support::world::member(ADMIN);
    let (_, batch) = rep.create("lead", &[put("last_name", "Bea"), put("territory", "west")]);
    rep.member = mine;
    assert_eq!(refusals(&mut world, &mut rep, batch)[0].code, "not_yourself");
}
