//! What an administrator does to accounts: sets a password, ends what devices hold. Each is one transaction.

use crdt_core::id::{DeviceId, MemberId};
use crdt_core::time::Timestamp;

use super::super::password::{self, CannotHash};
use crate::audit::{self, Act};
use crate::store::accounts::{AccountRow, Whose};
use crate::store::{self, Store, StoreError};

/// Why an account is not as was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Not a login.
    #[error("a login has 1 to {LOGIN_BYTES_MAX} bytes without control characters")]
    BadLogin,
    /// Another member's.
    #[error("another member has this login")]
    LoginTaken,
    /// Too short to be worth hashing, or too long to be typed.
    #[error(
        "a password has {PASSWORD_CHARS_MIN} characters at least and {PASSWORD_BYTES_MAX} bytes at most"
    )]
    BadPassword,
    /// Nobody of the directory.
    #[error("there is no such member")]
    NoSuchMember,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine failed.
    #[error(transparent)]
    Machine(#[from] CannotHash),
}

/// Gives a member a login and a password, and signs all devices of the member out.
///
/// # Errors
/// The login or the password is not one, or the login is another member's; nothing has changed then.
pub fn set_password(
    store: &dyn Store,
    member: &MemberId,
    login: &str,
    password: &str,
    now: Timestamp,
) -> Result<(), AccountError> {
    let login = login_name(login).ok_or(AccountError::BadLogin)?;
    let long_enough = password.chars().count() >= PASSWORD_CHARS_MIN;
    if !long_enough || password.len() > PASSWORD_BYTES_MAX {
        return Err(AccountError::BadPassword);
    }
    let password = password::hash(password)?;
    let account = AccountRow { member: *member, login, password, changed_at: now };
    store::write(store, |tx| {
        if tx.member(member)?.is_none() {
            return Ok(Err(AccountError::NoSuchMember));
        }
        if tx.account(&account.login)?.is_some_and(|other| other.member != *member) {
            return Ok(Err(AccountError::LoginTaken));
        }
        tx.put_account(&account)?;
        tx.revoke_families(Whose::Member(*member))?;
        audit::append_act(tx, now, Act::PasswordSet { member: *member })?;
        Ok(Ok(()))
    })?
}

/// Takes a member's login and password away, and signs all devices of the member out.
///
/// # Errors
/// The storage failed.
pub fn remove_account(store: &dyn Store, member: &MemberId) -> Result<(), StoreError> {
    store::write(store, |tx| {
        tx.remove_account(member)?;
        tx.revoke_families(Whose::Member(*member)).map(drop)
    })
}

/// Signs a device out, whoever is signed in on it, and says how many were. Access tokens that it holds stay
/// valid for minutes: the workspace has to refuse the device as well.
///
/// # Errors
/// The storage failed.
pub fn revoke_device_tokens(store: &dyn Store, device: &DeviceId) -> Result<usize, StoreError> {
    store::write(store, |tx| tx.revoke_families(Whose::Device(*device)))
}

/// Signs a member out on every device, and says on how many.
///
/// # Errors
/// The storage failed.
pub fn revoke_member_tokens(store: &dyn Store, member: &MemberId) -> Result<usize, StoreError> {
    store::write(store, |tx| tx.revoke_families(Whose::Member(*member)))
}

/// A login as it is kept: without spaces around it, in lower case.
pub(super) fn login_name(text: &str) -> Option<String> {
    let name = text.trim().to_lowercase();
    let fits = !name.is_empty() && name.len() <= LOGIN_BYTES_MAX;
    (fits && !name.chars().any(char::is_control)).then_some(name)
}

/// The longest login, bytes: the longest e-mail address.
const LOGIN_BYTES_MAX: usize = 254;
/// NIST's least.
const PASSWORD_CHARS_MIN: usize = 8;
/// Longer ones only cost time.
const PASSWORD_BYTES_MAX: usize = 1_024;
