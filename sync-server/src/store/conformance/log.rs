//! The log: its positions, its transactions, and what a reader sees.

use super::Harness;
use super::material::{Paper, WRITER, batch};
use crate::store::{BatchRow, Store, StoreError, read, write};
use crdt_core::id::ReplicaId;

pub(super) fn positions(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    assert_eq!(read(&*store, |tx| tx.head())?, 0, "an empty log");
    write(&*store, |tx| {
        tx.append_batch(&batch(1))?;
        assert_eq!(tx.head()?, 1, "reads see what the transaction wrote");
        tx.append_batch(&batch(2))
    })?;
    for wrong in [0, 2, 4, u64::MAX] {
        let refused = write(&*store, |tx| tx.append_batch(&batch(wrong)));
        assert!(refused.is_err(), "position {wrong} after 2");
    }
    write(&*store, |tx| tx.append_batch(&batch(3)))?;
    assert_eq!(read(&*store, |tx| tx.log())?.head, 3);
    Ok(())
}

pub(super) fn atomic(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let mut paper = write(&*store, |tx| {
        let paper = Paper::create(tx, 1, "main")?;
        tx.enter("west", paper.number, 1)?;
        Ok(paper)
    })?;
    let before = read(&*store, |tx| tx.document(paper.number))?;
    let failed = write(&*store, |tx| {
        paper.write(tx, "second")?;
        Paper::create(tx, 2, "main")?;
        tx.leave("west", paper.number, 2)?;
        Err::<(), _>(StoreError::Full)
    });
    assert!(matches!(failed, Err(StoreError::Full)), "the work's own fault is given back");
    read(&*store, |tx| {
        assert_eq!(tx.head()?, 1);
        assert_eq!(tx.document(paper.number)?, before);
        assert_eq!(tx.document(paper.number + 1)?, None);
        assert_eq!(tx.changes_after(paper.number, 0)?.len(), 1);
        assert_eq!(tx.scopes_of(paper.number)?.len(), 1);
        assert_eq!(tx.batch(&batch(2).id)?, None);
        Ok(())
    })?;
    write(&*store, |tx| tx.append_batch(&batch(2)))
}

pub(super) fn snapshot(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let mut paper = write(&*store, |tx| Paper::create(tx, 1, "main"))?;
    read(&*store, |tx| {
        let before = (tx.head()?, tx.document(paper.number)?);
        write(&*store, |tx| paper.write(tx, "second"))?;
        let after = (tx.head()?, tx.document(paper.number)?);
        assert_eq!(before, after, "a reader's state moved under it");
        assert_eq!(tx.changes_after(paper.number, 0)?.len(), 1);
        Ok(())
    })?;
    assert_eq!(read(&*store, |tx| tx.head())?, 2, "the next reader sees it");
    Ok(())
}

pub(super) fn batches(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    write(&*store, |tx| (1..=5).try_for_each(|position| tx.append_batch(&batch(position))))?;
    read(&*store, |tx| {
        assert_eq!(tx.batch(&batch(3).id)?, Some(batch(3)));
        assert_eq!(tx.batch(&batch(6).id)?, None);
        assert_eq!(tx.batches_after(1, 2)?, [batch(2), batch(3)]);
        assert_eq!(tx.batches_after(4, 10)?, [batch(5)]);
        assert_eq!(tx.batches_after(5, 10)?, []);
        Ok(())
    })?;
    let mut twice = batch(6);
    twice.id = batch(2).id;
    assert!(write(&*store, |tx| tx.append_batch(&twice)).is_err(), "a batch's name is taken once");
    of_one_replica(&*store)
}

/// What one replica's batches changed is found without what others did.
fn of_one_replica(store: &dyn Store) -> Result<(), StoreError> {
    let (one, two) = write(store, |tx| {
        let mut one = Paper::create(tx, 1, "main")?;
        let two = Paper::create(tx, 2, "main")?;
        one.write(tx, "second")?;
        let foreign = BatchRow { replica: ReplicaId([7; 12]), ..batch(9) };
        tx.append_batch(&foreign)?;
        one.append(tx, 9, "third")?;
        Ok((one.number, two.number))
    })?;
    read(store, |tx| {
        assert_eq!(tx.changes_by(&WRITER, 5, 9)?, [(6, one), (7, two), (8, one)]);
        assert_eq!(tx.changes_by(&WRITER, 6, 7)?, [(7, two)]);
        assert_eq!(tx.changes_by(&ReplicaId([7; 12]), 0, 9)?, [(9, one)]);
        assert_eq!(tx.changes_by(&WRITER, 8, 9)?, []);
        Ok(())
    })
}

pub(super) fn reopened(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let paper = write(&*store, |tx| {
        let paper = Paper::create(tx, 1, "main")?;
        tx.enter("west", paper.number, 1)?;
        tx.put_schema("version = 2\n")?;
        Ok(paper)
    })?;
    let before = read(&*store, |tx| {
        Ok((
            tx.log()?,
            tx.document(paper.number)?,
            tx.changes_at(1)?,
            tx.scope_after("west", 0, 9)?,
        ))
    })?;
    drop(store);
    let store = harness.open()?;
    let after = read(&*store, |tx| {
        Ok((
            tx.log()?,
            tx.document(paper.number)?,
            tx.changes_at(1)?,
            tx.scope_after("west", 0, 9)?,
        ))
    })?;
    assert_eq!(before, after);
    assert_eq!((after.0.head, after.0.schema.as_str()), (1, "version = 2\n"));
    Ok(())
}
