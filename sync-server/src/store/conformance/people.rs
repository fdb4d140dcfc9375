//! Replicas, members, receipts, and the marks that refusals leave.

use crdt_core::id::{BatchId, DeviceId, DocumentId, Lease, RecordId, ReplicaId};
use crdt_core::protocol::{Outcome, Receipt, Refusal};

use super::Harness;
use super::material::{NOW, WRITER, member};
use crate::store::{ReplicaRow, StoreError, read, write};

fn receipt(number: u64) -> Receipt {
    let reason = Refusal {
        code: "invalid".to_owned(),
        text: "a sentence".to_owned(),
        document: Some(DocumentId::main(RecordId::new(NOW, [1; 10]))),
        field: Some("stage".to_owned()),
        rule: None,
    };
    let batch = BatchId([u8::try_from(number).unwrap_or(0); 16]);
    Receipt {
        number,
        batch,
        policy_version: 0,
        erased: Vec::new(),
        outcome: Outcome::Refused { reasons: vec![reason] },
    }
}

pub(super) fn receipts(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let id = DocumentId::main(RecordId::new(NOW, [1; 10]));
    let finance = DocumentId { section: "finance".parse().expect("a good name"), ..id };
    let stranger = ReplicaId([2; 12]);
    write(&*store, |tx| {
        tx.put_receipt(&WRITER, &receipt(1), &[])?;
        tx.put_receipt(&WRITER, &receipt(2), std::slice::from_ref(&id))?;
        tx.put_receipt(&WRITER, &receipt(3), &[id.clone(), finance.clone()])?;
        tx.put_receipt(&stranger, &receipt(1), &[])?;
        assert!(tx.has_refused(&WRITER, &finance)?, "seen within the transaction");
        Ok(())
    })?;
    read(&*store, |tx| {
        assert_eq!(tx.receipts_after(&WRITER, 0)?, [receipt(1), receipt(2), receipt(3)]);
        assert_eq!(tx.receipts_after(&WRITER, 2)?, [receipt(3)]);
        assert!(tx.has_refused(&WRITER, &id)? && !tx.has_refused(&stranger, &id)?);
        Ok(())
    })?;
    write(&*store, |tx| tx.drop_receipts(&WRITER, 2))?;
    read(&*store, |tx| {
        assert_eq!(tx.receipts_after(&WRITER, 0)?, [receipt(3)]);
        assert!(tx.has_refused(&WRITER, &id)?, "the later refusal still stands");
        Ok(())
    })?;
    write(&*store, |tx| tx.drop_receipts(&WRITER, u64::MAX))?;
    read(&*store, |tx| {
        assert!(tx.receipts_after(&WRITER, 0)?.is_empty());
        assert!(!tx.has_refused(&WRITER, &id)? && !tx.has_refused(&WRITER, &finance)?);
        assert_eq!(tx.receipts_after(&stranger, 0)?, [receipt(1)], "another's are untouched");
        Ok(())
    })
}

pub(super) fn rows(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let first = ReplicaRow {
        id: WRITER,
        member: member(),
        lease: Lease([1; 16]),
        previous_lease: None,
        scopes: Vec::new(),
        previous_scopes: Vec::new(),
        last_receipt: 0,
        last_seen: NOW,
        device: DeviceId([7; 16]),
        device_name: String::new(),
        is_met: false,
    };
    let second = ReplicaRow {
        lease: Lease([2; 16]),
        previous_lease: Some(Lease([1; 16])),
        scopes: vec!["territory:west".to_owned(), "territory:west#finance".to_owned()],
        previous_scopes: vec!["owner:a b".to_owned()],
        last_receipt: 7,
        last_seen: NOW.plus_millis(1),
        device: DeviceId([8; 16]),
        device_name: "a phone".to_owned(),
        is_met: true,
        ..first
    };
    assert_eq!(read(&*store, |tx| tx.replica(&WRITER))?, None);
    for row in [first, second] {
        write(&*store, |tx| tx.put_replica(&row))?;
        assert_eq!(read(&*store, |tx| tx.replica(&WRITER))?, Some(row));
    }
    assert_eq!(read(&*store, |tx| tx.member(&member()))?, None);
    for name in ["Ada", "Ada Lovelace"] {
        write(&*store, |tx| tx.put_member(&member(), name))?;
        assert_eq!(read(&*store, |tx| tx.member(&member()))?.as_deref(), Some(name));
    }
    Ok(())
}
