//! The statements about backups and restored logs.

use rusqlite::params;

use super::super::StoreError;
use super::super::recovery::{ReadRecovery, Restoration, WriteRecovery};
use super::fault;
use super::rows::{self, signed, unsigned};
use super::tx::Tx;
use crdt_core::id::Epoch;
use crdt_core::protocol::Ended;
use crdt_core::time::Timestamp;
use rusqlite::Row;

pub(super) const ENDED: &str = "epoch, last, documents";

pub(super) fn ended(row: &Row<'_>) -> Result<Ended, StoreError> {
    Ok(Ended { epoch: rows::id(row, 0)?, last: unsigned(row, 1)?, documents: unsigned(row, 2)? })
}

impl ReadRecovery for Tx<'_> {
    fn restoration(&self) -> Result<Option<Restoration>, StoreError> {
        let sql = format!("SELECT {ENDED}, at, ended FROM lineage ORDER BY n DESC LIMIT 1");
        self.one(&sql, [], |row| {
            let end: Option<i64> = row.get(4).map_err(fault)?;
            Ok(Restoration {
                from: ended(row)?,
                at: Timestamp::from_millis(row.get(3).map_err(fault)?),
                ended: end.map(|_| unsigned(row, 4)).transpose()?,
            })
        })
    }

    fn last_document(&self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(number), 0) FROM document";
        Ok(self.one(sql, [], |row| unsigned(row, 0))?.unwrap_or(0))
    }
}

impl WriteRecovery for Tx<'_> {
    fn begin_epoch(
        &mut self,
        epoch: Epoch,
        lineage: &[Ended],
        restoration: &Restoration,
    ) -> Result<(), StoreError> {
        self.run("DELETE FROM lineage", [])?;
        let end = restoration.ended.map(signed).transpose()?;
        for ended in lineage {
            let sql = "INSERT INTO lineage (epoch, last, documents, at, ended)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let (last, documents) = (signed(ended.last)?, signed(ended.documents)?);
            let at = restoration.at.as_millis();
            self.run(sql, params![ended.epoch.as_bytes(), last, documents, at, end])?;
        }
        self.run("UPDATE log SET epoch = ?1 WHERE id = 1", [epoch.as_bytes()])?;
        self.run("UPDATE replica SET is_met = 0", []).map(drop)
    }
}
