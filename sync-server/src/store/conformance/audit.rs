//! The audit: appended to and never changed.

use super::Harness;
use crate::audit::{Head, next_hash};
use crate::store::audit::AuditRow;
use crate::store::{StoreError, read, write};

/// So many rows, each chained to the one before.
fn rows(count: u64) -> Vec<AuditRow> {
    let mut head = Head::empty();
    let row = |number: u64| {
        let bytes = number.to_be_bytes().repeat(3);
        head = Head { number, hash: next_hash(&head.hash, &bytes) };
        AuditRow { number, bytes, hash: head.hash }
    };
    (1..=count).map(row).collect()
}

pub(super) fn entries(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let rows = rows(5);
    let store = harness.open()?;
    assert_eq!(read(&*store, |tx| tx.audit_head())?, Head::empty());
    assert!(read(&*store, |tx| tx.audit_after(0, 10))?.is_empty());
    write(&*store, |tx| rows[..3].iter().try_for_each(|row| tx.append_audit(row)))?;
    for row in [&rows[0], &rows[2], &rows[4]] {
        let refused = write(&*store, |tx| tx.append_audit(row));
        assert!(refused.is_err(), "entry {} does not follow entry 3", row.number);
    }
    write(&*store, |tx| {
        tx.append_audit(&rows[3])?;
        assert_eq!(tx.audit_head()?.number, 4, "seen within the transaction");
        Ok(())
    })?;
    let failed = write(&*store, |tx| {
        tx.append_audit(&rows[4])?;
        Err::<(), _>(StoreError::Full)
    });
    assert!(failed.is_err());
    drop(store);
    let store = harness.open()?;
    read(&*store, |tx| {
        assert_eq!(tx.audit_head()?, Head { number: 4, hash: rows[3].hash });
        assert_eq!(tx.audit_after(0, 10)?, rows[..4]);
        assert_eq!(tx.audit_after(1, 2)?, rows[1..3]);
        Ok(())
    })
}
