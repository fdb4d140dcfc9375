//! The statements of accounts and refresh tokens.

use rusqlite::{Row, params};

use super::super::StoreError;
use super::super::accounts::{AccountRow, FamilyRow, ReadAccounts, Whose, WriteAccounts};
use super::fault;
use super::rows;
use super::tx::Tx;
use crdt_core::id::MemberId;
use crdt_core::time::Timestamp;

const ACCOUNT: &str = "member, login, password, changed_at";
const FAMILY: &str = "id, member, device, current, previous, salt, rotated_at, expires_at, revoked";

fn account(row: &Row<'_>) -> Result<AccountRow, StoreError> {
    Ok(AccountRow {
        member: rows::id(row, 0)?,
        login: row.get(1).map_err(fault)?,
        password: row.get(2).map_err(fault)?,
        changed_at: Timestamp::from_millis(row.get(3).map_err(fault)?),
    })
}

fn family(row: &Row<'_>) -> Result<FamilyRow, StoreError> {
    Ok(FamilyRow {
        id: row.get(0).map_err(fault)?,
        member: rows::id(row, 1)?,
        device: rows::id(row, 2)?,
        current: row.get(3).map_err(fault)?,
        previous: row.get(4).map_err(fault)?,
        salt: row.get(5).map_err(fault)?,
        rotated_at: Timestamp::from_millis(row.get(6).map_err(fault)?),
        expires_at: Timestamp::from_millis(row.get(7).map_err(fault)?),
        revoked: row.get(8).map_err(fault)?,
    })
}

/// The column that says whose a family is, and its value.
fn column(whose: Whose) -> (&'static str, [u8; 16]) {
    match whose {
        Whose::Member(member) => ("member", *member.as_bytes()),
        Whose::Device(device) => ("device", *device.as_bytes()),
    }
}

impl ReadAccounts for Tx<'_> {
    fn account(&self, login: &str) -> Result<Option<AccountRow>, StoreError> {
        self.one(&format!("SELECT {ACCOUNT} FROM account WHERE login = ?1"), [login], account)
    }

    fn account_of(&self, member: &MemberId) -> Result<Option<AccountRow>, StoreError> {
        let sql = format!("SELECT {ACCOUNT} FROM account WHERE member = ?1");
        self.one(&sql, [member.as_bytes()], account)
    }

    fn family(&self, id: &[u8; 16]) -> Result<Option<FamilyRow>, StoreError> {
        self.one(&format!("SELECT {FAMILY} FROM refresh_family WHERE id = ?1"), [id], family)
    }

    fn families(&self, whose: Whose) -> Result<Vec<FamilyRow>, StoreError> {
        let (column, id) = column(whose);
        let sql = format!(
            "SELECT {FAMILY} FROM refresh_family WHERE {column} = ?1 AND revoked = 0
             ORDER BY rotated_at, id"
        );
        self.all(&sql, [id], family)
    }
}

impl WriteAccounts for Tx<'_> {
    fn put_account(&mut self, account: &AccountRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO account (member, login, password, changed_at)
                   VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (member) DO UPDATE SET login = excluded.login,
                       password = excluded.password, changed_at = excluded.changed_at";
        let AccountRow { member, login, password, changed_at } = account;
        self.run(sql, params![member.as_bytes(), login, password, changed_at.as_millis()]).map(drop)
    }

    fn remove_account(&mut self, member: &MemberId) -> Result<(), StoreError> {
        self.run("DELETE FROM account WHERE member = ?1", [member.as_bytes()]).map(drop)
    }

    fn put_family(&mut self, family: &FamilyRow) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO refresh_family
                   (id, member, device, current, previous, salt, rotated_at, expires_at, revoked)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        self.run(
            sql,
            params![
                family.id,
                family.member.as_bytes(),
                family.device.as_bytes(),
                family.current,
                family.previous,
                family.salt,
                family.rotated_at.as_millis(),
                family.expires_at.as_millis(),
                family.revoked
            ],
        )
        .map(drop)
    }

    fn revoke_families(&mut self, whose: Whose) -> Result<usize, StoreError> {
        let (column, id) = column(whose);
        let sql =
            format!("UPDATE refresh_family SET revoked = 1 WHERE {column} = ?1 AND revoked = 0");
        self.run(&sql, [id])
    }

    fn drop_families(&mut self, ended_by: Timestamp) -> Result<(), StoreError> {
        let sql = "DELETE FROM refresh_family WHERE expires_at <= ?1";
        self.run(sql, [ended_by.as_millis()]).map(drop)
    }
}
