//! Documents, their changes, and the index over them.

use crdt_core::id::DocumentId;

use super::Harness;
use super::material::{Paper, batch};
use crate::store::{ChangeRow, StoreError, read, write};

pub(super) fn found(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let (one, two) =
        write(&*store, |tx| Ok((Paper::create(tx, 1, "main")?, Paper::create(tx, 1, "finance")?)))?;
    assert_eq!((one.number, two.number), (1, 2), "numbers count from 1");
    read(&*store, |tx| {
        let row = tx.find_document(&one.id)?.expect("it was made above");
        assert_eq!((row.number, &row.id, row.entity.as_str()), (1, &one.id, "account"));
        assert_eq!((row.cells, row.folded_to), (one.cells.to_stored(), 0));
        assert_eq!((tx.snapshot(1)?, tx.snapshot(99)?), (None, None));
        assert_eq!(tx.document(2)?.map(|row| row.id), Some(two.id.clone()));
        for unknown in [0, 3, u64::MAX] {
            assert_eq!(tx.document(unknown)?, None);
        }
        let section = "other".parse().expect("a good name");
        assert_eq!(tx.find_document(&DocumentId { section, ..one.id.clone() })?, None);
        assert_eq!((tx.document_after(0)?, tx.document_after(1)?), (Some(1), Some(2)));
        assert_eq!(tx.document_after(2)?, None);
        Ok(())
    })?;
    assert!(write(&*store, |tx| Paper::create(tx, 1, "main")).is_err(), "a name is taken once");
    Ok(())
}

pub(super) fn changes(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let (one, two) = write(&*store, |tx| {
        let mut one = Paper::create(tx, 1, "main")?;
        let mut two = Paper::create(tx, 2, "main")?;
        tx.append_batch(&batch(3))?;
        two.append(tx, 3, "two first")?;
        one.append(tx, 3, "one second")?;
        one.append(tx, 3, "one third")?;
        one.write(tx, "one fourth")?;
        Ok((one.number, two.number))
    })?;
    read(&*store, |tx| {
        let all = tx.changes_after(one, 0)?;
        let seqs = |rows: &[ChangeRow]| rows.iter().map(|row| row.seq).collect::<Vec<_>>();
        assert_eq!(seqs(&all), [1, 2, 3, 4]);
        assert_eq!(all.iter().map(|row| row.position).collect::<Vec<_>>(), [1, 3, 3, 4]);
        assert_eq!(seqs(&tx.changes_after(one, 1)?), [2, 3, 4]);
        assert_eq!(seqs(&tx.changes_after(one, 4)?), [0; 0]);
        let at: Vec<_> = tx.changes_at(3)?.iter().map(|row| (row.document, row.seq)).collect();
        assert_eq!(at, [(two, 2), (one, 2), (one, 3)], "in the order of appending");
        assert_eq!(tx.changed(2, 4)?, [(3, two), (3, one), (3, one), (4, one)]);
        assert_eq!((tx.changed(3, 3)?, tx.changed(1, 2)?), (vec![], vec![(2, two)]));
        assert_eq!((tx.first_position(one)?, tx.first_position(two)?), (Some(1), Some(2)));
        assert_eq!(tx.first_position(99)?, None);
        for row in &all {
            let h = row.hash.0;
            let like = tx.changes_like(one, u32::from_be_bytes([h[0], h[1], h[2], h[3]]))?;
            assert!(like.contains(row), "a prefix finds the whole row");
            let other = tx.changes_like(two, u32::from_be_bytes([h[0], h[1], h[2], h[3]]))?;
            assert!(!other.contains(row), "but of its own document only");
        }
        Ok(())
    })
}

pub(super) fn folded(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let number = write(&*store, |tx| {
        let mut paper = Paper::create(tx, 1, "main")?;
        (2..=5).try_for_each(|n| paper.write(tx, &format!("text {n}")).map(drop))?;
        Ok(paper.number)
    })?;
    let before = read(&*store, |tx| tx.changes_after(number, 0))?;
    let bytes = |rows: &[ChangeRow]| -> u64 {
        rows.iter().filter_map(|row| row.bytes.as_ref()).map(|bytes| bytes.len() as u64).sum()
    };
    read(&*store, |tx| {
        assert_eq!(tx.foldable(number, 3, 3)?, Some(bytes(&before[..3])));
        assert_eq!((tx.foldable(number, 3, 4)?, tx.foldable(99, 3, 1)?), (None, None));
        Ok(())
    })?;
    write(&*store, |tx| tx.fold(number, b"a snapshot", 3))?;
    read(&*store, |tx| {
        let row = tx.document(number)?.expect("it was made above");
        assert_eq!(row.folded_to, 3);
        assert_eq!(tx.snapshot(number)?.as_deref(), Some(&b"a snapshot"[..]));
        let after = tx.changes_after(number, 0)?;
        assert!(after[..3].iter().all(|row| row.bytes.is_none()), "folded bytes are gone");
        assert_eq!(after[3..], before[3..], "later changes are untouched");
        let bare = |row: &ChangeRow| ChangeRow { bytes: None, ..row.clone() };
        let index = |rows: &[ChangeRow]| rows.iter().map(bare).collect::<Vec<_>>();
        assert_eq!(index(&before), index(&after), "the index stays");
        assert_eq!(tx.foldable(number, 3, 1)?, None);
        assert_eq!(tx.foldable(number, u64::from(u32::MAX), 2)?, Some(bytes(&before[3..])));
        assert_eq!(tx.first_position(number)?, Some(1));
        Ok(())
    })
}
