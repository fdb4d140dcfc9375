//! The statements about who may see what.

use rusqlite::{Row, params};

use super::super::access::{DocumentSize, Follower, MemberRow, ReadAccess, Rescope, WriteAccess};
use super::super::{ReplicaRow, StoreError};
use super::fault;
use super::rows::{self, signed, unsigned};
use super::tx::Tx;
use crdt_core::id::{DeviceId, DocumentId, MemberId, RecordId};
use crdt_core::policy::{Route, Standing};
use crdt_core::time::Timestamp;

impl ReadAccess for Tx<'_> {
    fn route(&self, record: &RecordId) -> Result<Option<Route>, StoreError> {
        let sql = "SELECT entity, owner, territory, team, parent, merged_into FROM route WHERE record = ?1";
        self.one(sql, [record.as_bytes()], |row| {
            Ok(Route {
                entity: row.get(0).map_err(fault)?,
                owner: rows::optional_id(row, 1)?,
                territory: row.get(2).map_err(fault)?,
                team: row.get(3).map_err(fault)?,
                parent: rows::optional_id(row, 4)?,
                merged_into: rows::optional_id(row, 5)?,
            })
        })
    }

    fn is_followed(&self, record: &RecordId) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM route WHERE parent = ?1)
                       OR EXISTS (SELECT 1 FROM route WHERE merged_into = ?1)";
        let found = self.one(sql, [record.as_bytes()], |row| row.get(0).map_err(fault))?;
        Ok(found.unwrap_or(false))
    }

    fn followers(
        &self,
        record: &RecordId,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<Follower>, StoreError> {
        let sql = "SELECT record, 0 FROM route WHERE parent = ?1 AND record > ?2
                   UNION ALL
                   SELECT record, 1 FROM route WHERE merged_into = ?1 AND record > ?2
                   ORDER BY 1, 2 LIMIT ?3";
        let params = params![record.as_bytes(), bytes(&after), signed(limit as u64)?];
        self.all(sql, params, |row| {
            let record = rows::id(row, 0)?;
            let merged: bool = row.get(1).map_err(fault)?;
            Ok(if merged { Follower::Merged(record) } else { Follower::Child(record) })
        })
    }

    fn records_after(
        &self,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<RecordId>, StoreError> {
        let sql = "SELECT record FROM route WHERE record > ?1 ORDER BY record LIMIT ?2";
        self.all(sql, params![bytes(&after), signed(limit as u64)?], |row| rows::id(row, 0))
    }

    fn documents_of(&self, record: &RecordId) -> Result<Vec<(u64, DocumentId)>, StoreError> {
        let sql = "SELECT number, record, section FROM document WHERE record = ?1 ORDER BY section";
        self.all(sql, [record.as_bytes()], |row| Ok((unsigned(row, 0)?, document_id(row, 1)?)))
    }

    fn document_sizes(&self, after: u64, limit: usize) -> Result<Vec<DocumentSize>, StoreError> {
        let sql = "SELECT number, record, section, coalesce(
                       (SELECT length(bytes) FROM snapshot WHERE document = number), 0) + coalesce(
                       (SELECT sum(length(bytes)) FROM change WHERE document = number), 0)
                   FROM document WHERE number > ?1 ORDER BY number LIMIT ?2";
        self.all(sql, [signed(after)?, signed(limit as u64)?], |row| {
            Ok(DocumentSize {
                number: unsigned(row, 0)?,
                id: document_id(row, 1)?,
                bytes: unsigned(row, 3)?,
            })
        })
    }

    fn next_rescope(&self) -> Result<Option<Rescope>, StoreError> {
        let sql = "SELECT record, after, hops FROM rescope ORDER BY id LIMIT 1";
        self.one(sql, [], |row| {
            Ok(Rescope {
                of: record_or_none(row, 0)?,
                after: record_or_none(row, 1)?,
                hops: row.get(2).map_err(fault)?,
            })
        })
    }

    fn members(&self) -> Result<Vec<MemberRow>, StoreError> {
        let sql = "SELECT id, name, role, territories, teams, region, active, has_record
                   FROM member ORDER BY id";
        self.all(sql, [], member)
    }

    fn replicas(&self) -> Result<Vec<ReplicaRow>, StoreError> {
        self.all(&format!("SELECT {} FROM replica ORDER BY id", rows::REPLICA), [], rows::replica)
    }

    fn was_granted(&self, member: &MemberId, subscription: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM granted WHERE member = ?1 AND subscription = ?2";
        Ok(self.one(sql, params![member.as_bytes(), subscription], |_| Ok(()))?.is_some())
    }

    fn revoked_at(&self, device: &DeviceId) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT at FROM revoked WHERE device = ?1";
        self.one(sql, [device.as_bytes()], |row| timestamp(row, 0))
    }

    fn revoked(&self) -> Result<Vec<(DeviceId, Timestamp)>, StoreError> {
        let sql = "SELECT device, at FROM revoked ORDER BY device";
        self.all(sql, [], |row| Ok((rows::id(row, 0)?, timestamp(row, 1)?)))
    }
}

impl WriteAccess for Tx<'_> {
    fn put_policy(&mut self, policy: &str) -> Result<(), StoreError> {
        self.run("UPDATE log SET policy = ?1 WHERE id = 1", [policy]).map(drop)
    }

    fn put_route(&mut self, record: &RecordId, route: &Route) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO route
                   (record, entity, owner, territory, team, parent, merged_into)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let params = params![
            record.as_bytes(),
            route.entity,
            route.owner.as_ref().map(MemberId::as_bytes),
            route.territory,
            route.team,
            route.parent.as_ref().map(RecordId::as_bytes),
            route.merged_into.as_ref().map(RecordId::as_bytes)
        ];
        self.run(sql, params).map(drop)
    }

    fn queue_rescope(&mut self, rescope: &Rescope) -> Result<(), StoreError> {
        let sql = "INSERT INTO rescope (record, after, hops) VALUES (?1, ?2, ?3)
                   ON CONFLICT (record) DO UPDATE
                   SET after = excluded.after, hops = min(hops, excluded.hops)";
        let params = params![bytes(&rescope.of), bytes(&rescope.after), rescope.hops];
        self.run(sql, params).map(drop)
    }

    fn advance_rescope(
        &mut self,
        of: Option<RecordId>,
        after: Option<RecordId>,
    ) -> Result<(), StoreError> {
        let done = match after {
            Some(after) => self.run(
                "UPDATE rescope SET after = ?2 WHERE record = ?1",
                params![bytes(&of), after.as_bytes()],
            ),
            None => self.run("DELETE FROM rescope WHERE record = ?1", [bytes(&of)]),
        };
        done.map(drop)
    }

    fn put_member_row(&mut self, row: &MemberRow) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO member
                   (id, name, role, territories, teams, region, active, has_record)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let Standing { member, role, territories, teams, region, active } = &row.standing;
        let params = params![
            member.as_bytes(),
            row.name,
            role,
            serde_json::json!(territories).to_string(),
            serde_json::json!(teams).to_string(),
            region,
            active,
            row.has_record
        ];
        self.run(sql, params).map(drop)
    }

    fn note_granted(&mut self, member: &MemberId, subscription: &str) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO granted (member, subscription) VALUES (?1, ?2)";
        self.run(sql, params![member.as_bytes(), subscription]).map(drop)
    }

    fn revoke(&mut self, device: &DeviceId, at: Timestamp) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO revoked (device, at) VALUES (?1, ?2)";
        self.run(sql, params![device.as_bytes(), at.as_millis()]).map(drop)
    }
}

/// A record's bytes; none where there is no record, which come before every other.
fn bytes(record: &Option<RecordId>) -> &[u8] {
    record.as_ref().map_or(&[], |record| record.as_bytes())
}

fn record_or_none(row: &Row<'_>, column: usize) -> Result<Option<RecordId>, StoreError> {
    let bytes = row.get_ref(column).and_then(|value| Ok(value.as_blob()?)).map_err(fault)?;
    if bytes.is_empty() { Ok(None) } else { rows::id(row, column).map(Some) }
}

fn document_id(row: &Row<'_>, column: usize) -> Result<DocumentId, StoreError> {
    let section: String = row.get(column + 1).map_err(fault)?;
    let section = section.parse().map_err(|e| StoreError::Damaged(format!("{e}")))?;
    Ok(DocumentId { record: rows::id(row, column)?, section })
}

fn timestamp(row: &Row<'_>, column: usize) -> Result<Timestamp, StoreError> {
    row.get(column).map(Timestamp::from_millis).map_err(fault)
}

fn member(row: &Row<'_>) -> Result<MemberRow, StoreError> {
    let names = |column| {
        let text: String = row.get(column).map_err(fault)?;
        serde_json::from_str(&text)
            .map_err(|error| StoreError::Damaged(format!("a member's names: {error}")))
    };
    Ok(MemberRow {
        name: row.get(1).map_err(fault)?,
        standing: Standing {
            member: rows::id(row, 0)?,
            role: row.get(2).map_err(fault)?,
            territories: names(3)?,
            teams: names(4)?,
            region: row.get(5).map_err(fault)?,
            active: row.get(6).map_err(fault)?,
        },
        has_record: row.get(7).map_err(fault)?,
    })
}
