//! Rows to types: a row that does not parse is damage, and says which.

use rusqlite::Row;

use super::super::{BatchRow, ChangeRow, DocumentRow, ReplicaRow, StoreError};
use super::fault;
use crdt_core::id::{DocumentId, WrongLength};
use crdt_core::record::Clock;
use crdt_core::time::Timestamp;

/// An identity in a column.
pub(super) fn id<T>(row: &Row<'_>, column: usize) -> Result<T, StoreError>
where
    T: for<'a> TryFrom<&'a [u8], Error = WrongLength>,
{
    let bytes = row.get_ref(column).and_then(|value| Ok(value.as_blob()?)).map_err(fault)?;
    T::try_from(bytes).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// An identity in a column that may be empty.
pub(super) fn optional_id<T>(row: &Row<'_>, column: usize) -> Result<Option<T>, StoreError>
where
    T: for<'a> TryFrom<&'a [u8], Error = WrongLength>,
{
    let value = row.get_ref(column).map_err(fault)?;
    let some = value.as_blob_or_null().map_err(|error| fault(error.into()))?.is_some();
    some.then(|| id(row, column)).transpose()
}

/// A position, number or counter in a column.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.get(column).map_err(fault)?;
    u64::try_from(number).map_err(|_| StoreError::Damaged(format!("a negative number: {number}")))
}

/// A number as SQLite stores it.
pub(super) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Damaged(format!("a number too large: {number}")))
}

pub(super) const DOCUMENT: &str = "number, record, section, entity, cells, folded_to";

pub(super) fn document(row: &Row<'_>) -> Result<DocumentRow, StoreError> {
    let section: String = row.get(2).map_err(fault)?;
    let section = section.parse().map_err(|e| StoreError::Damaged(format!("{e}")))?;
    Ok(DocumentRow {
        number: unsigned(row, 0)?,
        id: DocumentId { record: id(row, 1)?, section },
        entity: row.get(3).map_err(fault)?,
        cells: row.get(4).map_err(fault)?,
        folded_to: unsigned(row, 5)?,
    })
}

pub(super) const CHANGE: &str = "document, position, hash, actor, seq, max_op, clock, bytes";

pub(super) fn change(row: &Row<'_>) -> Result<ChangeRow, StoreError> {
    let clock = row.get_ref(6).and_then(|value| Ok(value.as_blob()?)).map_err(fault)?;
    Ok(ChangeRow {
        document: unsigned(row, 0)?,
        position: unsigned(row, 1)?,
        hash: id(row, 2)?,
        actor: id(row, 3)?,
        seq: unsigned(row, 4)?,
        max_op: unsigned(row, 5)?,
        clock: Clock::from_bytes(clock)
            .ok_or_else(|| StoreError::Damaged("a change's clock".to_owned()))?,
        bytes: row.get(7).map_err(fault)?,
    })
}

pub(super) const BATCH: &str = "position, id, replica, member, received_at";

pub(super) fn batch(row: &Row<'_>) -> Result<BatchRow, StoreError> {
    Ok(BatchRow {
        position: unsigned(row, 0)?,
        id: id(row, 1)?,
        replica: id(row, 2)?,
        member: id(row, 3)?,
        received_at: Timestamp::from_millis(row.get(4).map_err(fault)?),
    })
}

pub(super) const REPLICA: &str =
    "id, member, lease, previous_lease, scopes, previous_scopes, last_receipt, last_seen, device,
     device_name, is_met";

pub(super) fn replica(row: &Row<'_>) -> Result<ReplicaRow, StoreError> {
    Ok(ReplicaRow {
        id: id(row, 0)?,
        member: id(row, 1)?,
        lease: id(row, 2)?,
        previous_lease: optional_id(row, 3)?,
        scopes: lines(row, 4)?,
        previous_scopes: lines(row, 5)?,
        last_receipt: unsigned(row, 6)?,
        last_seen: Timestamp::from_millis(row.get(7).map_err(fault)?),
        device: id(row, 8)?,
        device_name: row.get(9).map_err(fault)?,
        is_met: row.get(10).map_err(fault)?,
    })
}

fn lines(row: &Row<'_>, column: usize) -> Result<Vec<String>, StoreError> {
    let text: String = row.get(column).map_err(fault)?;
    Ok(text.lines().map(str::to_owned).collect())
}
