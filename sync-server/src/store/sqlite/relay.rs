//! The statements about what devices give back after a restore.

use rusqlite::{Row, params};

use super::super::StoreError;
use super::super::relay::{ParkedRow, ParkedSize, ReadRelay, RelayedRow, WriteRelay};
use super::fault;
use super::rows::{self, signed, unsigned};
use super::tx::Tx;
use crdt_core::id::{ActorId, DocumentId, MemberId, ReplicaId};
use crdt_core::protocol::Relayed;
use crdt_core::time::Timestamp;

const PARKED: &str =
    "id, record, section, actor, seq, replica, member, parked_at, relay FROM parked";

impl ReadRelay for Tx<'_> {
    fn relay_closed_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.one("SELECT at FROM relay_closed WHERE id = 1", [], |row| {
            row.get(0).map(Timestamp::from_millis).map_err(fault)
        })
    }

    fn presumed_member(&self, replica: &ReplicaId) -> Result<Option<MemberId>, StoreError> {
        let sql = "SELECT member FROM presumed WHERE replica = ?1";
        self.one(sql, [replica.as_bytes()], |row| rows::id(row, 0))
    }

    fn parked_of(&self, document: &DocumentId) -> Result<Vec<ParkedRow>, StoreError> {
        let sql = format!("SELECT {PARKED} WHERE record = ?1 AND section = ?2 ORDER BY id");
        self.all(&sql, params![document.record.as_bytes(), document.section.as_str()], parked)
    }

    fn parked_after(&self, id: u64, limit: usize) -> Result<Vec<ParkedRow>, StoreError> {
        let sql = format!("SELECT {PARKED} WHERE id > ?1 ORDER BY id LIMIT ?2");
        self.all(&sql, [signed(id)?, signed(limit as u64)?], parked)
    }

    fn parked_size(&self) -> Result<ParkedSize, StoreError> {
        let sql = "SELECT count(*), coalesce(sum(length(relay)), 0) FROM parked";
        let size = self.one(sql, [], |row| {
            Ok(ParkedSize { changes: unsigned(row, 0)?, bytes: unsigned(row, 1)? })
        })?;
        Ok(size.unwrap_or_default())
    }

    fn is_withdrawn(
        &self,
        document: &DocumentId,
        actor: &ActorId,
        seq: u64,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM withdrawn
                   WHERE record = ?1 AND section = ?2 AND actor = ?3 AND seq <= ?4";
        let section = document.section.as_str();
        let params = params![document.record.as_bytes(), section, actor.as_bytes(), signed(seq)?];
        Ok(self.one(sql, params, |_| Ok(()))?.is_some())
    }

    fn relayed(&self) -> Result<Vec<RelayedRow>, StoreError> {
        let sql = "SELECT replica, member, taken, held, parked, refused, at FROM relayed
                   ORDER BY replica";
        self.all(sql, [], |row| {
            Ok(RelayedRow {
                replica: rows::id(row, 0)?,
                member: rows::id(row, 1)?,
                relayed: Relayed {
                    taken: unsigned(row, 2)?,
                    held: unsigned(row, 3)?,
                    parked: unsigned(row, 4)?,
                    refused: unsigned(row, 5)?,
                },
                at: Timestamp::from_millis(row.get(6).map_err(fault)?),
            })
        })
    }
}

impl WriteRelay for Tx<'_> {
    fn close_relay(&mut self, at: Timestamp) -> Result<ParkedSize, StoreError> {
        let size = self.parked_size()?;
        let sql = "INSERT OR REPLACE INTO relay_closed (id, at) VALUES (1, ?1)";
        self.run(sql, [at.as_millis()])?;
        self.run("DELETE FROM parked", [])?;
        Ok(size)
    }

    fn presume(
        &mut self,
        replica: &ReplicaId,
        member: &MemberId,
        said_by: &MemberId,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO presumed (replica, member, said_by) VALUES (?1, ?2, ?3)";
        let params = params![replica.as_bytes(), member.as_bytes(), said_by.as_bytes()];
        self.run(sql, params).map(drop)
    }

    fn park(&mut self, row: &ParkedRow) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO parked
                   (record, section, actor, seq, replica, member, parked_at, relay)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let params = params![
            row.document.record.as_bytes(),
            row.document.section.as_str(),
            row.actor.as_bytes(),
            signed(row.seq)?,
            row.replica.as_bytes(),
            row.member.as_bytes(),
            row.parked_at.as_millis(),
            row.relay
        ];
        self.run(sql, params).map(drop)
    }

    fn unpark(&mut self, id: u64) -> Result<(), StoreError> {
        self.run("DELETE FROM parked WHERE id = ?1", [signed(id)?]).map(drop)
    }

    fn withdraw(
        &mut self,
        document: &DocumentId,
        actor: &ActorId,
        seq: u64,
    ) -> Result<(), StoreError> {
        let (record, section) = (document.record.as_bytes(), document.section.as_str());
        let sql = "INSERT INTO withdrawn (record, section, actor, seq) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (record, section, actor) DO UPDATE SET seq = min(seq, excluded.seq)";
        self.run(sql, params![record, section, actor.as_bytes(), signed(seq)?])?;
        let sql = "DELETE FROM parked
                   WHERE record = ?1 AND section = ?2 AND actor = ?3 AND seq >= ?4";
        self.run(sql, params![record, section, actor.as_bytes(), signed(seq)?]).map(drop)
    }

    fn forget_relayed(&mut self) -> Result<(), StoreError> {
        self.run("DELETE FROM relayed", []).map(drop)
    }

    fn count_relayed(&mut self, row: &RelayedRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO relayed (replica, member, taken, held, parked, refused, at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                   ON CONFLICT (replica) DO UPDATE
                   SET taken = taken + excluded.taken, held = held + excluded.held,
                       parked = parked + excluded.parked, refused = refused + excluded.refused,
                       at = excluded.at";
        let params = params![
            row.replica.as_bytes(),
            row.member.as_bytes(),
            signed(row.relayed.taken)?,
            signed(row.relayed.held)?,
            signed(row.relayed.parked)?,
            signed(row.relayed.refused)?,
            row.at.as_millis()
        ];
        self.run(sql, params).map(drop)
    }
}

fn parked(row: &Row<'_>) -> Result<ParkedRow, StoreError> {
    let section: String = row.get(2).map_err(fault)?;
    let section = section.parse().map_err(|e| StoreError::Damaged(format!("{e}")))?;
    Ok(ParkedRow {
        id: unsigned(row, 0)?,
        document: DocumentId { record: rows::id(row, 1)?, section },
        actor: rows::id(row, 3)?,
        seq: unsigned(row, 4)?,
        replica: rows::id(row, 5)?,
        member: rows::id(row, 6)?,
        parked_at: Timestamp::from_millis(row.get(7).map_err(fault)?),
        relay: row.get(8).map_err(fault)?,
    })
}
