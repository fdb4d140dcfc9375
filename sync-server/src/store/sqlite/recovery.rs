//! The statements about backups and restored logs.

use rusqlite::{Row, params};

use super::super::StoreError;
use super::super::recovery::{
    AheadRow, BackupRow, LostBatch, ReadRecovery, Restoration, WriteRecovery,
};
use super::fault;
use super::rows::{self, signed, unsigned};
use super::tx::Tx;
use crdt_core::id::{ChangeHash, Epoch};
use crdt_core::protocol::Ended;
use crdt_core::time::Timestamp;

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
                at: time(row, 3)?,
                ended: end.map(|_| unsigned(row, 4)).transpose()?,
            })
        })
    }

    fn last_document(&self, position: u64) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(document), 0) FROM change WHERE position <= ?1";
        Ok(self.one(sql, [signed(position)?], |row| unsigned(row, 0))?.unwrap_or(0))
    }

    fn lost(&self) -> Result<Vec<LostBatch>, StoreError> {
        let sql = "SELECT position, batch, replica, member, hashes FROM lost ORDER BY id";
        self.all(sql, [], |row| {
            let hashes: Vec<u8> = row.get(4).map_err(fault)?;
            let (hashes, rest) = hashes.as_chunks::<32>();
            if !rest.is_empty() {
                return Err(StoreError::Damaged("the hashes of a lost batch".to_owned()));
            }
            Ok(LostBatch {
                position: unsigned(row, 0)?,
                batch: rows::id(row, 1)?,
                replica: rows::id(row, 2)?,
                member: rows::id(row, 3)?,
                hashes: hashes.iter().map(|hash| ChangeHash(*hash)).collect(),
            })
        })
    }

    fn backup(&self) -> Result<Option<BackupRow>, StoreError> {
        self.one("SELECT position, at FROM backup WHERE id = 1", [], |row| {
            Ok(BackupRow { position: unsigned(row, 0)?, at: time(row, 1)? })
        })
    }

    fn ahead(&self) -> Result<Vec<AheadRow>, StoreError> {
        let sql = "SELECT replica, member, device, position, at FROM ahead ORDER BY replica";
        self.all(sql, [], |row| {
            Ok(AheadRow {
                replica: rows::id(row, 0)?,
                member: rows::id(row, 1)?,
                device: rows::id(row, 2)?,
                position: unsigned(row, 3)?,
                at: time(row, 4)?,
            })
        })
    }

    fn is_halted(&self) -> Result<bool, StoreError> {
        let sql = "SELECT is_halted FROM log WHERE id = 1";
        Ok(self.one(sql, [], |row| row.get(0).map_err(fault))?.unwrap_or(false))
    }
}

impl WriteRecovery for Tx<'_> {
    fn begin_epoch(
        &mut self,
        epoch: Epoch,
        lineage: &[Ended],
        restoration: &Restoration,
        lost: &[LostBatch],
    ) -> Result<(), StoreError> {
        for sql in ["DELETE FROM lineage", "DELETE FROM lost", "DELETE FROM ahead"] {
            self.run(sql, [])?;
        }
        let end = restoration.ended.map(signed).transpose()?;
        for ended in lineage {
            let sql = "INSERT INTO lineage (epoch, last, documents, at, ended)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let (last, documents) = (signed(ended.last)?, signed(ended.documents)?);
            let at = restoration.at.as_millis();
            self.run(sql, params![ended.epoch.as_bytes(), last, documents, at, end])?;
        }
        for lost in lost {
            let sql = "INSERT OR IGNORE INTO lost (position, batch, replica, member, hashes)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let hashes: Vec<u8> = lost.hashes.iter().flat_map(|hash| hash.0).collect();
            self.run(
                sql,
                params![
                    signed(lost.position)?,
                    lost.batch.as_bytes(),
                    lost.replica.as_bytes(),
                    lost.member.as_bytes(),
                    hashes
                ],
            )?;
        }
        let sql = "UPDATE log SET epoch = ?1, is_halted = 0 WHERE id = 1";
        self.run(sql, [epoch.as_bytes()])?;
        self.run("UPDATE replica SET is_met = 0", []).map(drop)
    }

    fn note_backup(&mut self, backup: &BackupRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO backup (id, position, at) VALUES (1, ?1, ?2)
                   ON CONFLICT (id) DO UPDATE SET position = excluded.position, at = excluded.at
                   WHERE excluded.position >= position";
        self.run(sql, [signed(backup.position)?, backup.at.as_millis()]).map(drop)
    }

    fn note_ahead(&mut self, row: &AheadRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO ahead (replica, member, device, position, at)
                   SELECT ?1, ?2, ?3, ?4, ?5 WHERE (SELECT count(*) FROM ahead) < 10000
                   ON CONFLICT (replica) DO UPDATE SET position = max(position, excluded.position)";
        self.run(
            sql,
            params![
                row.replica.as_bytes(),
                row.member.as_bytes(),
                row.device.as_bytes(),
                i64::try_from(row.position).unwrap_or(i64::MAX),
                row.at.as_millis()
            ],
        )
        .map(drop)
    }

    fn halt(&mut self) -> Result<(), StoreError> {
        self.run("UPDATE log SET is_halted = 1 WHERE id = 1", []).map(drop)
    }
}

fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_millis(row.get(column).map_err(fault)?))
}
