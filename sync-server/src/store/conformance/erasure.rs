//! Erasures: what is removed is removed, its number never comes again, and what others have stays.

use crdt_core::id::{DocumentId, RecordId, ReplicaId, Section};
use crdt_core::policy::Route;
use crdt_core::protocol::{AcceptedDocument, Outcome, Receipt, Refusal};
use crdt_core::time::Timestamp;

use super::Harness;
use super::material::{NOW, Paper, WRITER, batch, member};
use crate::store::erasure::{Confirmation, ErasureRow, Removed};
use crate::store::{StoreError, Write, read, write};

fn route() -> Route {
    Route {
        entity: "account".to_owned(),
        owner: None,
        territory: Some("west".to_owned()),
        team: None,
        parent: None,
        merged_into: None,
    }
}

fn refusal(id: &DocumentId) -> Refusal {
    Refusal {
        code: "invalid".to_owned(),
        text: "the field `stage` is none".to_owned(),
        document: Some(id.clone()),
        field: Some("stage".to_owned()),
        rule: None,
    }
}

/// Receipts that name both records, and one that names the second alone.
fn receipts(one: &Paper, other: &Paper) -> [Receipt; 3] {
    let named = |paper: &Paper| AcceptedDocument { id: paper.id.clone(), number: paper.number };
    let receipt = |number, outcome| {
        let batch = batch(number).id;
        Receipt { number, batch, outcome, policy_version: 1, erased: Vec::new() }
    };
    let both = vec![named(one), named(other)];
    [
        receipt(1, Outcome::Accepted { position: 1, documents: both }),
        receipt(2, Outcome::Refused { reasons: vec![refusal(&one.id), refusal(&other.id)] }),
        receipt(3, Outcome::Accepted { position: 2, documents: vec![named(other)] }),
    ]
}

fn fill(tx: &mut dyn Write) -> Result<[Paper; 3], StoreError> {
    let main = Section::main();
    let (one, finance) = (Paper::create(tx, 1, main.as_str())?, Paper::create(tx, 1, "finance")?);
    let other = Paper::create(tx, 2, main.as_str())?;
    for paper in [&one, &other] {
        tx.fold(paper.number, b"what was folded", 1)?;
    }
    for paper in [&one, &finance, &other] {
        tx.enter("territory:west", paper.number, 3)?;
        tx.enter("territory:east", paper.number, 3)?;
        tx.leave("territory:east", paper.number, 3)?;
    }
    for record in [one.id.record, other.id.record] {
        tx.put_route(&record, &route())?;
    }
    for receipt in receipts(&one, &other) {
        tx.put_receipt(&WRITER, &receipt, &[one.id.clone(), other.id.clone()])?;
    }
    Ok([one, finance, other])
}

pub(super) fn removed(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let [one, finance, other] = write(&*store, fill)?;
    let record = one.id.record;
    let found = write(&*store, |tx| tx.remove_record(&record))?;
    assert_eq!(found.entity.as_deref(), Some("account"));
    assert_eq!((found.documents, found.changes, found.receipts), (2, 2, 2));
    assert!(found.bytes > 0);
    read(&*store, |tx| {
        for paper in [&one, &finance] {
            assert_eq!(tx.find_document(&paper.id)?, None);
            assert_eq!(tx.document(paper.number)?, None);
            assert!(tx.changes_after(paper.number, 0)?.is_empty());
            assert_eq!(tx.snapshot(paper.number)?, None);
            assert!(tx.scopes_of(paper.number)?.is_empty() && tx.left_by(paper.number)?.is_empty());
            assert!(!tx.has_refused(&WRITER, &paper.id)?);
        }
        assert_eq!(tx.route(&record)?, None);
        assert_eq!(tx.erased_documents()?, [(one.number, record), (finance.number, record)]);
        // What it shares with others says of them what it said.
        assert_eq!(tx.changes_after(other.number, 0)?.len(), 1);
        assert!(tx.snapshot(other.number)?.is_some());
        assert_eq!(tx.scopes_of(other.number)?.len(), 1);
        assert_eq!(tx.left_by(other.number)?, ["territory:east"]);
        assert!(tx.route(&other.id.record)?.is_some() && tx.has_refused(&WRITER, &other.id)?);
        let kept = tx.receipts_after(&WRITER, 0)?;
        let whole = receipts(&one, &other);
        assert_eq!(kept[2], whole[2]);
        let Outcome::Accepted { documents, position: 1 } = &kept[0].outcome else {
            panic!("the answer stays: {kept:?}")
        };
        assert_eq!(documents.iter().map(|d| &d.id).collect::<Vec<_>>(), [&other.id]);
        let Outcome::Refused { reasons } = &kept[1].outcome else { panic!("{kept:?}") };
        assert_eq!(reasons[1], refusal(&other.id));
        let told = (reasons[0].code.as_str(), &reasons[0].document, &reasons[0].field);
        assert_eq!(told, ("invalid", &None, &None));
        assert!(!reasons[0].text.contains("stage"));
        Ok(())
    })?;
    let again = write(&*store, |tx| tx.remove_record(&record))?;
    assert_eq!(again, Removed::default(), "there is nothing left");
    drop(store);
    // Also for whoever opens it later, and when the last number was erased.
    let store = harness.open()?;
    write(&*store, |tx| tx.remove_record(&other.id.record).map(drop))?;
    let next = write(&*store, |tx| Paper::create(tx, 9, "main"))?;
    assert_eq!(next.number, other.number + 1, "a number never comes again");
    Ok(())
}

pub(super) fn listed(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let id = |n: u8| RecordId::new(NOW, [n; 10]);
    let row = |n: u8, of| ErasureRow {
        record: id(n),
        position: u64::from(n),
        at: NOW.plus_millis(i64::from(n)),
        by: (n == 2).then(member),
        of,
        removed: Removed { entity: Some("account".to_owned()), changes: 7, ..Removed::default() },
        scrubbed_at: None,
    };
    let rows = [row(1, None), row(2, None), row(3, Some(id(2)))];
    write(&*store, |tx| rows.iter().try_for_each(|row| tx.put_erasure(row)))?;
    read(&*store, |tx| {
        assert_eq!(tx.erasure(&id(2))?.as_ref(), Some(&rows[1]));
        assert_eq!(tx.erasure(&id(9))?, None);
        assert_eq!(tx.erased_with(&id(2))?, [rows[2].clone()]);
        assert_eq!(tx.erased_after(1, 1)?, [(2, id(2))]);
        assert_eq!(tx.erased_after(1, 9)?, [(2, id(2)), (3, id(3))]);
        assert!(tx.erased_after(u64::MAX, 9)?.is_empty());
        assert_eq!(tx.unscrubbed()?, Some(3));
        Ok(())
    })?;
    write(&*store, |tx| tx.note_scrubbed(2, NOW))?;
    assert_eq!(read(&*store, |tx| Ok((tx.unscrubbed()?, tx.erasure(&id(2))?)))?.0, Some(3));
    write(&*store, |tx| tx.note_scrubbed(3, NOW.plus_millis(9)))?;
    read(&*store, |tx| {
        assert_eq!(tx.unscrubbed()?, None);
        let scrubbed = tx.erasure(&id(2))?.and_then(|row| row.scrubbed_at);
        assert_eq!(scrubbed, Some(NOW), "the first time counts");
        Ok(())
    })
}

pub(super) fn confirmed(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let confirmation = |n: u8, up_to, at: i64| Confirmation {
        replica: ReplicaId([n; 12]),
        up_to,
        at: Timestamp::from_millis(at),
    };
    let said = [confirmation(1, 5, 10), confirmation(2, 7, 11), confirmation(1, 3, 12)];
    write(&*store, |tx| said.iter().try_for_each(|said| tx.confirm_erasures(said)))?;
    let known = read(&*store, |tx| tx.erasures_confirmed())?;
    assert_eq!(known, said[..2], "nobody knows of less than before");
    write(&*store, |tx| tx.confirm_erasures(&confirmation(1, 8, 13)))?;
    assert_eq!(read(&*store, |tx| tx.erasures_confirmed())?[0], confirmation(1, 8, 13));
    Ok(())
}

pub(super) fn scrubbed(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let [one, _, other] = write(&*store, fill)?;
    write(&*store, |tx| tx.remove_record(&one.id.record).map(drop))?;
    let before = read(&*store, |tx| tx.find_document(&other.id))?;
    store.write_anew()?;
    // A state that is being read stands in the way of emptying the log, and is not disturbed.
    let cells = before.as_ref().map(|row| row.cells.clone());
    read(&*store, |tx| {
        let seen = tx.find_document(&other.id)?.map(|row| row.cells);
        write(&*store, |tx| tx.set_cells(other.number, b"newer"))?;
        assert!(!store.empty_log()?, "somebody reads an older state");
        assert_eq!(seen, cells);
        assert_eq!(tx.find_document(&other.id)?.map(|row| row.cells), cells);
        Ok(())
    })?;
    assert!(store.empty_log()?);
    let after = read(&*store, |tx| tx.find_document(&other.id))?;
    assert_eq!(after.map(|row| row.cells).as_deref(), Some(&b"newer"[..]));
    Ok(())
}
