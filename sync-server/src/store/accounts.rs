//! Local accounts and the refresh tokens given to their devices: what is kept of each. Neither a password
//! nor a token is among it.

use crdt_core::id::{DeviceId, MemberId};
use crdt_core::time::Timestamp;

use super::StoreError;

/// A member who signs in with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// The member.
    pub member: MemberId,
    /// What the member types as a name, in lower case.
    pub login: String,
    /// The password's hash, in the spelling of its maker.
    pub password: String,
    /// When the password was set.
    pub changed_at: Timestamp,
}

/// The refresh tokens that follow from one signing in; the last but one stays good until its successor was
/// used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyRow {
    /// Its name, which each of its tokens carries.
    pub id: [u8; 16],
    /// Who signed in.
    pub member: MemberId,
    /// On which device.
    pub device: DeviceId,
    /// SHA-256 of the token given last.
    pub current: [u8; 32],
    /// SHA-256 of the token that was exchanged for it.
    pub previous: Option<[u8; 32]>,
    /// What, with the token before it, gives the token given last once more.
    pub salt: [u8; 32],
    /// When the token given last was made.
    pub rotated_at: Timestamp,
    /// When the family ends unless it is used before.
    pub expires_at: Timestamp,
    /// Whether its tokens are refused from now on. The row stays until it ends.
    pub revoked: bool,
}

/// Whose refresh tokens are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Every device's of a member.
    Member(MemberId),
    /// Every member's of a device.
    Device(DeviceId),
}

/// Reading accounts.
pub trait ReadAccounts {
    /// The account of a login, which is in lower case.
    fn account(&self, login: &str) -> Result<Option<AccountRow>, StoreError>;
    /// The account of a member.
    fn account_of(&self, member: &MemberId) -> Result<Option<AccountRow>, StoreError>;
    /// A family.
    fn family(&self, id: &[u8; 16]) -> Result<Option<FamilyRow>, StoreError>;
    /// Families that are not revoked, by the time of their last token.
    fn families(&self, whose: Whose) -> Result<Vec<FamilyRow>, StoreError>;
}

/// Writing accounts.
pub trait WriteAccounts: ReadAccounts {
    /// Makes or replaces a member's account. No other member's has its login.
    fn put_account(&mut self, account: &AccountRow) -> Result<(), StoreError>;
    /// Removes a member's account. Its families are untouched.
    fn remove_account(&mut self, member: &MemberId) -> Result<(), StoreError>;
    /// Makes or replaces a family.
    fn put_family(&mut self, family: &FamilyRow) -> Result<(), StoreError>;
    /// Revokes all families of a member or a device, and says how many were not revoked before.
    fn revoke_families(&mut self, whose: Whose) -> Result<usize, StoreError>;
    /// Removes families whose end has come.
    fn drop_families(&mut self, ended_by: Timestamp) -> Result<(), StoreError>;
}
