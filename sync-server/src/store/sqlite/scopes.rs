//! The statements about scopes.

use rusqlite::Row;

use super::super::StoreError;
use super::super::scopes::{Place, ReadScopes, ScopeRow, WriteScopes};
use super::fault;
use super::rows::{signed, unsigned};
use super::tx::Tx;

impl Tx<'_> {
    fn scope_id(&self, scope: &str) -> Result<i64, StoreError> {
        let known = self.known_scope(scope)?;
        match known {
            Some(id) => Ok(id),
            None => {
                self.run("INSERT INTO scope (name) VALUES (?1)", [scope])?;
                Ok(self.last_id())
            }
        }
    }

    fn known_scope(&self, scope: &str) -> Result<Option<i64>, StoreError> {
        self.one("SELECT id FROM scope WHERE name = ?1", [scope], |row| row.get(0).map_err(fault))
    }
}

fn scope_row(row: &Row<'_>) -> Result<ScopeRow, StoreError> {
    let document = unsigned(row, 0)?;
    Ok(ScopeRow { document, position: unsigned(row, 1)?, entered: unsigned(row, 2)? })
}

impl ReadScopes for Tx<'_> {
    fn scope_after(
        &self,
        scope: &str,
        position: u64,
        limit: usize,
    ) -> Result<Vec<ScopeRow>, StoreError> {
        let Some(scope) = self.known_scope(scope)? else { return Ok(Vec::new()) };
        let sql = "SELECT document, position, entered FROM scope_document
                   WHERE scope = ?1 AND position > ?2 AND position <= coalesce(
                       (SELECT position FROM scope_document WHERE scope = ?1 AND position > ?2
                        ORDER BY position LIMIT 1 OFFSET ?3), 9223372036854775807)
                   ORDER BY position, document";
        let last = signed(limit.saturating_sub(1) as u64)?;
        self.all(sql, [scope, signed(position)?, last], scope_row)
    }

    fn entered_before(
        &self,
        scope: &str,
        position: u64,
        limit: usize,
    ) -> Result<Vec<ScopeRow>, StoreError> {
        let Some(scope) = self.known_scope(scope)? else { return Ok(Vec::new()) };
        let sql = "SELECT document, position, entered FROM scope_document
                   WHERE scope = ?1 AND entered <= ?2 AND entered >= coalesce(
                       (SELECT entered FROM scope_document WHERE scope = ?1 AND entered <= ?2
                        ORDER BY entered DESC LIMIT 1 OFFSET ?3), 0)
                   ORDER BY entered DESC, document";
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let last = signed(limit.saturating_sub(1) as u64)?;
        self.all(sql, [scope, position, last], scope_row)
    }

    fn entered_after(
        &self,
        scope: &str,
        position: u64,
        limit: usize,
    ) -> Result<Vec<ScopeRow>, StoreError> {
        let Some(scope) = self.known_scope(scope)? else { return Ok(Vec::new()) };
        let sql = "SELECT document, position, entered FROM scope_document
                   WHERE scope = ?1 AND entered > ?2 AND entered <= coalesce(
                       (SELECT entered FROM scope_document WHERE scope = ?1 AND entered > ?2
                        ORDER BY entered LIMIT 1 OFFSET ?3), 9223372036854775807)
                   ORDER BY entered, document";
        let last = signed(limit.saturating_sub(1) as u64)?;
        self.all(sql, [scope, signed(position)?, last], scope_row)
    }

    fn entered_at(&self, position: u64) -> Result<Vec<u64>, StoreError> {
        let sql =
            "SELECT DISTINCT document FROM scope_document WHERE entered = ?1 ORDER BY document";
        self.all(sql, [signed(position)?], |row| unsigned(row, 0))
    }

    fn scopes_of(&self, document: u64) -> Result<Vec<Place>, StoreError> {
        let sql = "SELECT name, entered FROM scope_document JOIN scope ON scope.id = scope
                   WHERE document = ?1 ORDER BY name";
        // A number from a peer may exceed what SQLite can hold: there is no such document then.
        let Ok(document) = i64::try_from(document) else { return Ok(Vec::new()) };
        self.all(sql, [document], |row| {
            Ok(Place { scope: row.get(0).map_err(fault)?, entered: unsigned(row, 1)? })
        })
    }

    fn entity_of(&self, document: u64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT entity FROM document WHERE number = ?1";
        let Ok(document) = i64::try_from(document) else { return Ok(None) };
        self.one(sql, [document], |row| row.get(0).map_err(fault))
    }

    fn left_between(
        &self,
        scope: &str,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let Some(scope) = self.known_scope(scope)? else { return Ok(Vec::new()) };
        let sql = "SELECT document, position FROM scope_left
                   WHERE scope = ?1 AND position > ?2 AND position <= min(?3, coalesce(
                       (SELECT position FROM scope_left WHERE scope = ?1 AND position > ?2
                        ORDER BY position LIMIT 1 OFFSET ?4), ?3))
                   ORDER BY position, document";
        let last = signed(limit.saturating_sub(1) as u64)?;
        self.all(sql, [scope, signed(after)?, signed(up_to)?, last], |row| {
            Ok((unsigned(row, 0)?, unsigned(row, 1)?))
        })
    }

    fn left_at(&self, position: u64) -> Result<Vec<(u64, String)>, StoreError> {
        let sql = "SELECT document, name FROM scope_left JOIN scope ON scope.id = scope
                   WHERE position = ?1 ORDER BY document, name";
        self.all(sql, [signed(position)?], |row| {
            Ok((unsigned(row, 0)?, row.get(1).map_err(fault)?))
        })
    }

    fn left_by(&self, document: u64) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT name FROM scope_left JOIN scope ON scope.id = scope
                   WHERE document = ?1 ORDER BY name";
        self.all(sql, [signed(document)?], |row| row.get(0).map_err(fault))
    }
}

impl WriteScopes for Tx<'_> {
    fn enter(&mut self, scope: &str, document: u64, position: u64) -> Result<(), StoreError> {
        let scope = self.scope_id(scope)?;
        let sql = "INSERT INTO scope_document (scope, document, position, entered)
                   VALUES (?1, ?2, ?3, ?3)
                   ON CONFLICT (document, scope) DO UPDATE SET position = excluded.position";
        self.run(sql, [scope, signed(document)?, signed(position)?])?;
        let sql = "DELETE FROM scope_left WHERE scope = ?1 AND document = ?2";
        self.run(sql, [scope, signed(document)?]).map(drop)
    }

    fn touch(&mut self, document: u64, position: u64) -> Result<Vec<String>, StoreError> {
        let sql = "UPDATE scope_document SET position = max(position, ?2) WHERE document = ?1
                   RETURNING (SELECT name FROM scope WHERE id = scope_document.scope)";
        self.all(sql, [signed(document)?, signed(position)?], |row| row.get(0).map_err(fault))
    }

    fn leave(&mut self, scope: &str, document: u64, position: u64) -> Result<(), StoreError> {
        let scope = self.scope_id(scope)?;
        let sql = "DELETE FROM scope_document WHERE scope = ?1 AND document = ?2";
        if self.run(sql, [scope, signed(document)?])? == 1 {
            let sql = "INSERT INTO scope_left (scope, position, document) VALUES (?1, ?2, ?3)";
            self.run(sql, [scope, signed(position)?, signed(document)?])?;
        }
        Ok(())
    }
}
