//! Accounts and the refresh tokens of devices.

use crdt_core::id::{DeviceId, MemberId};

use super::Harness;
use super::material::{NOW, member};
use crate::store::accounts::{AccountRow, FamilyRow, Whose};
use crate::store::{StoreError, read, write};

fn other() -> MemberId {
    MemberId::from_source_key("user", "other")
}

fn account(member: MemberId, login: &str) -> AccountRow {
    let password = "a hash".to_owned();
    AccountRow { member, login: login.to_owned(), password, changed_at: NOW }
}

fn family(id: u8, member: MemberId, device: u8) -> FamilyRow {
    FamilyRow {
        id: [id; 16],
        member,
        device: DeviceId([device; 16]),
        current: [id; 32],
        previous: None,
        salt: [0; 32],
        rotated_at: NOW.plus_millis(i64::from(id)),
        expires_at: NOW.plus_millis(1_000 * i64::from(id)),
        revoked: false,
    }
}

pub(super) fn accounts(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let (ada, renamed) = (account(member(), "ada"), account(member(), "ada.l"));
    let bob = account(other(), "ada");
    assert_eq!(read(&*store, |tx| tx.account("ada"))?, None);
    write(&*store, |tx| tx.put_account(&ada))?;
    assert_eq!(read(&*store, |tx| tx.account("ada"))?, Some(ada.clone()));
    let taken = write(&*store, |tx| tx.put_account(&bob));
    assert!(taken.is_err(), "two accounts with one login");
    assert_eq!(read(&*store, |tx| tx.account("ada"))?, Some(ada));
    write(&*store, |tx| tx.put_account(&renamed))?;
    assert_eq!(read(&*store, |tx| tx.account("ada"))?, None, "a login that was given up");
    assert_eq!(read(&*store, |tx| tx.account_of(&member()))?, Some(renamed));
    write(&*store, |tx| tx.put_account(&bob))?;
    write(&*store, |tx| tx.remove_account(&member()))?;
    assert_eq!(read(&*store, |tx| tx.account_of(&member()))?, None);
    assert_eq!(read(&*store, |tx| tx.account("ada"))?, Some(bob), "another's is untouched");
    Ok(())
}

pub(super) fn families(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let ada = Whose::Member(member());
    let rows = [family(3, member(), 1), family(1, member(), 2), family(2, other(), 2)];
    write(&*store, |tx| rows.iter().try_for_each(|row| tx.put_family(row)))?;
    read(&*store, |tx| {
        assert_eq!(tx.family(&[3; 16])?.as_ref(), Some(&rows[0]));
        assert_eq!(tx.family(&[9; 16])?, None);
        assert_eq!(tx.families(ada)?, [rows[1].clone(), rows[0].clone()], "oldest first");
        assert_eq!(tx.families(Whose::Device(DeviceId([2; 16])))?.len(), 2);
        Ok(())
    })?;
    let turned = FamilyRow { previous: Some([3; 32]), current: [4; 32], ..rows[0].clone() };
    write(&*store, |tx| tx.put_family(&turned))?;
    assert_eq!(read(&*store, |tx| tx.family(&[3; 16]))?, Some(turned.clone()));

    assert_eq!(write(&*store, |tx| tx.revoke_families(Whose::Device(DeviceId([2; 16]))))?, 2);
    assert_eq!(write(&*store, |tx| tx.revoke_families(ada))?, 1, "one was revoked before");
    read(&*store, |tx| {
        assert!(tx.families(ada)?.is_empty());
        let revoked = tx.family(&[3; 16])?;
        assert_eq!(revoked, Some(FamilyRow { revoked: true, ..turned.clone() }), "the row stays");
        Ok(())
    })?;
    write(&*store, |tx| tx.drop_families(NOW.plus_millis(2_000)))?;
    read(&*store, |tx| {
        assert_eq!((tx.family(&[1; 16])?, tx.family(&[2; 16])?), (None, None));
        assert!(tx.family(&[3; 16])?.is_some(), "its end has not come");
        Ok(())
    })
}
