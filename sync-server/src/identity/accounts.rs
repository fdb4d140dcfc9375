//! Local accounts: members who sign in with a password, and stay signed in on a device by refresh tokens.
//!
//! Whoever tries a password waits for a place among the few that are checked at once, and is counted by
//! address and by login. An unknown login costs the same time as a wrong password.

mod directory;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crdt_core::id::{DeviceId, MemberId};
use crdt_core::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::directory::{
    AccountError, remove_account, revoke_device_tokens, revoke_member_tokens, set_password,
};
pub use super::password::CannotHash;

use self::directory::login_name;
use super::numbers::IdentityNumbers;
use super::password::{self, random};
use super::refresh::{self, Exchange, RefreshToken};
use crate::config::AccountSettings;
use crate::rate::{Buckets, neighbourhood};
use crate::store::accounts::{FamilyRow, Whose};
use crate::store::{self, Store, StoreError, Write};
use crate::token::{TokenKey, device_named};

/// The storage of workspaces by their names.
pub trait Stores: Send + Sync {
    /// A workspace's storage; nothing when there is no such workspace. May block.
    ///
    /// # Errors
    /// When the storage cannot be opened.
    fn open(&self, workspace: &str) -> Result<Option<Arc<dyn Store>>, StoreError>;
}

/// Who wants to sign in.
#[derive(Deserialize)]
pub struct Login {
    /// The workspace.
    pub workspace: String,
    /// The login, in any case.
    pub login: String,
    /// The password.
    pub password: String,
    /// The device that the tokens will be good on.
    #[serde(deserialize_with = "device")]
    pub device: DeviceId,
}

/// Who wants to stay signed in, or to sign out.
#[derive(Deserialize)]
pub struct Refresh {
    /// The workspace.
    pub workspace: String,
    /// The token that was given last.
    pub refresh_token: String,
    /// The device that it was given to.
    #[serde(deserialize_with = "device")]
    pub device: DeviceId,
}

/// What a device gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignedIn {
    /// What it shows to connect.
    pub access_token: String,
    /// What it exchanges for the next pair.
    pub refresh_token: String,
    /// How long the access token is valid, seconds.
    pub expires_in: u64,
    /// Who it is.
    pub member: MemberId,
}

/// Why a device gets nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignInError {
    /// The operator has switched passwords off.
    #[error("this server takes no passwords")]
    Off,
    /// No such login, or not its password.
    #[error("the login or the password is wrong")]
    WrongCredentials,
    /// The refresh token is not good, or no longer.
    #[error("this device is signed out; sign in again")]
    SignedOut,
    /// The member may not use the workspace any more.
    #[error("this member is disabled; ask an administrator")]
    MemberDisabled,
    /// The device may not be used any more.
    #[error("this device was revoked; ask an administrator")]
    DeviceRevoked,
    /// Too many attempts.
    #[error("too many attempts; try again in {} seconds", .retry_after.as_secs())]
    TooMany {
        /// When the next one will be looked at.
        retry_after: Duration,
    },
    /// Too many are signing in at this moment.
    #[error("too many are signing in; try again soon")]
    Busy,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine failed.
    #[error(transparent)]
    Machine(#[from] CannotHash),
}

/// Signs members in, keeps them signed in, and signs them out.
pub struct Accounts {
    stores: Arc<dyn Stores>,
    key: TokenKey,
    settings: AccountSettings,
    numbers: IdentityNumbers,
    /// The hash of a password that nobody knows: what an unknown login is compared with.
    nobody: String,
    hashing: Arc<Semaphore>,
    exchanging: Arc<Semaphore>,
    attempts_by_address: Buckets,
    attempts_by_login: Buckets,
    exchanges_by_address: Buckets,
    started: Instant,
}

impl Accounts {
    /// The accounts of the workspaces in `stores`; their access tokens are minted by `key`. Takes as long as
    /// hashing one password.
    ///
    /// # Errors
    /// The machine cannot hash.
    pub fn new(
        stores: Arc<dyn Stores>,
        key: TokenKey,
        settings: AccountSettings,
        numbers: IdentityNumbers,
    ) -> Result<Self, CannotHash> {
        let attempts = settings.attempts_per_minute.max(1);
        let exchanges = attempts.saturating_mul(EXCHANGES_PER_ATTEMPT);
        Ok(Self {
            stores,
            key,
            settings,
            numbers,
            nobody: password::hash(&crate::token::base64url(&random::<32>()?))?,
            hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            exchanging: Arc::new(Semaphore::new(EXCHANGES_AT_ONCE)),
            attempts_by_address: Buckets::new(attempts, MINUTE / attempts),
            attempts_by_login: Buckets::new(LOGIN_ATTEMPTS, LOGIN_REFILL),
            exchanges_by_address: Buckets::new(exchanges, MINUTE / exchanges),
            started: Instant::now(),
        })
    }

    /// Signs a member in on a device; whoever was signed in there before is signed out.
    ///
    /// # Errors
    /// The login or the password is wrong, the member or the device may not, or there were too many attempts.
    pub async fn sign_in(
        self: &Arc<Self>,
        from: IpAddr,
        login: Login,
        now: Timestamp,
    ) -> Result<SignedIn, SignInError> {
        if self.settings.attempts_per_minute == 0 {
            return Err(SignInError::Off);
        }
        self.take(&self.attempts_by_address, &neighbourhood(from))?;
        let name = login_name(&login.login).ok_or(SignInError::WrongCredentials)?;
        self.take(&self.attempts_by_login, &(&login.workspace, &name))?;
        let accounts = Arc::clone(self);
        let signed_in =
            beside(&self.hashing, move || accounts.try_sign_in(&login, &name, now)).await;
        if matches!(signed_in, Err(SignInError::WrongCredentials)) {
            self.numbers.logins_refused.increment(1);
            tracing::info!(%from, "refused a login");
        }
        signed_in
    }

    /// Exchanges a refresh token for the next pair of tokens.
    ///
    /// # Errors
    /// The token is not good, the member or the device may not, or there were too many attempts.
    pub async fn refresh(
        self: &Arc<Self>,
        from: IpAddr,
        refresh: Refresh,
        now: Timestamp,
    ) -> Result<SignedIn, SignInError> {
        self.take(&self.exchanges_by_address, &neighbourhood(from))?;
        let accounts = Arc::clone(self);
        beside(&self.exchanging, move || accounts.try_refresh(&refresh, now)).await
    }

    /// Ends a family of refresh tokens. Says nothing about whether there was one.
    ///
    /// # Errors
    /// The storage failed, or there were too many attempts.
    pub async fn sign_out(
        self: &Arc<Self>,
        from: IpAddr,
        refresh: Refresh,
    ) -> Result<(), SignInError> {
        self.take(&self.exchanges_by_address, &neighbourhood(from))?;
        let accounts = Arc::clone(self);
        beside(&self.exchanging, move || accounts.try_sign_out(&refresh)).await
    }

    fn take(&self, buckets: &Buckets, key: &impl std::hash::Hash) -> Result<(), SignInError> {
        let taken = buckets.take(key, self.started.elapsed());
        taken.map_err(|retry_after| SignInError::TooMany { retry_after })
    }

    fn try_sign_in(
        &self,
        login: &Login,
        name: &str,
        now: Timestamp,
    ) -> Result<SignedIn, SignInError> {
        let store = self.stores.open(&login.workspace)?;
        let account = match &store {
            Some(store) => store::read(&**store, |tx| tx.account(name))?,
            None => None,
        };
        let hash = account.as_ref().map_or(&self.nobody, |account| &account.password);
        let fits = password::fits(&login.password, hash)
            .ok_or_else(|| StoreError::Damaged("an account's password".to_owned()))?;
        let (Some(store), Some(account), true) = (store, account, fits) else {
            return Err(SignInError::WrongCredentials);
        };
        let random = (random()?, random()?);
        let (row, token) = refresh::begin(
            account.member,
            login.device,
            random,
            now,
            millis(self.settings.refresh_ttl),
        );
        within(&*store, |tx| {
            judge_standing(tx, &account.member, &login.device)?;
            // A password that was changed while this one was hashed has signed everybody out.
            if tx.account(name)?.as_ref() != Some(&account) {
                return Ok(Err(SignInError::WrongCredentials));
            }
            make_room(tx, &row, now)?;
            tx.put_family(&row)?;
            Ok(Ok(()))
        })?;
        tracing::info!(member = %account.member, device = %login.device, "signed in");
        Ok(self.signed_in(&login.workspace, &row, &token, now))
    }

    fn try_refresh(&self, shown: &Refresh, now: Timestamp) -> Result<SignedIn, SignInError> {
        let token = RefreshToken::parse(&shown.refresh_token).ok_or(SignInError::SignedOut)?;
        let store = self.store_of_family(&shown.workspace, &token)?;
        let salt = random()?;
        let ttl_ms = millis(self.settings.refresh_ttl);
        let (row, next) = within(&*store, |tx| {
            let Some(row) = tx.family(&token.family)? else {
                return Ok(Err(SignInError::SignedOut));
            };
            match refresh::exchange(&row, &token, shown.device, salt, now, ttl_ms) {
                Exchange::Rotated(turned, next) => {
                    judge_standing(tx, &row.member, &row.device)?;
                    tx.put_family(&turned)?;
                    Ok(Ok((turned, Some(next))))
                }
                Exchange::Repeated(next) => {
                    judge_standing(tx, &row.member, &row.device)?;
                    Ok(Ok((row, Some(next))))
                }
                Exchange::Stolen(revoked) => {
                    tx.put_family(&revoked)?;
                    Ok(Ok((revoked, None)))
                }
                Exchange::Over => Ok(Err(SignInError::SignedOut)),
            }
        })?;
        let Some(next) = next else {
            self.numbers.families_revoked.increment(1);
            let (member, device) = (row.member, row.device);
            tracing::warn!(%member, %device, "an old refresh token was shown: signed the device out");
            return Err(SignInError::SignedOut);
        };
        Ok(self.signed_in(&shown.workspace, &row, &next, now))
    }

    fn try_sign_out(&self, shown: &Refresh) -> Result<(), SignInError> {
        let Some(token) = RefreshToken::parse(&shown.refresh_token) else { return Ok(()) };
        let store = match self.store_of_family(&shown.workspace, &token) {
            Err(SignInError::SignedOut) => return Ok(()),
            other => other?,
        };
        within(&*store, |tx| {
            if let Some(row) = tx.family(&token.family)?
                && refresh::is_good(&row, &token)
                && row.device == shown.device
            {
                tx.put_family(&FamilyRow { revoked: true, ..row })?;
            }
            Ok(Ok(()))
        })
    }

    /// The storage that holds a token's family. Strangers with invented tokens get no further than a read.
    fn store_of_family(
        &self,
        workspace: &str,
        token: &RefreshToken,
    ) -> Result<Arc<dyn Store>, SignInError> {
        let store = self.stores.open(workspace)?.ok_or(SignInError::SignedOut)?;
        let known = store::read(&*store, |tx| tx.family(&token.family))?;
        if known.is_some() { Ok(store) } else { Err(SignInError::SignedOut) }
    }

    fn signed_in(
        &self,
        workspace: &str,
        row: &FamilyRow,
        token: &RefreshToken,
        now: Timestamp,
    ) -> SignedIn {
        let ttl = self.settings.access_ttl;
        SignedIn {
            access_token: self.key.mint_for_device(workspace, row.member, row.device, now, ttl),
            refresh_token: token.text(),
            expires_in: ttl.as_secs(),
            member: row.member,
        }
    }
}

/// One transaction, whose work may also find that the answer is no: then nothing of it stays.
fn within<T>(
    store: &dyn Store,
    mut work: impl FnMut(&mut dyn Write) -> Result<Result<T, SignInError>, No>,
) -> Result<T, SignInError> {
    let mut answer = None;
    let done = store::write(store, |tx| match work(tx) {
        Ok(result) => {
            answer = Some(result);
            Ok(())
        }
        Err(No::Store(error)) => Err(error),
        Err(No::SignIn(error)) => {
            answer = Some(Err(error));
            Ok(())
        }
    });
    done?;
    answer.expect("the work ran, or its error was returned")
}

/// What ends the work of a transaction.
enum No {
    Store(StoreError),
    SignIn(SignInError),
}

impl From<StoreError> for No {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whether the workspace's directory still knows the member, and has nothing against the device.
fn judge_standing(tx: &dyn Write, member: &MemberId, device: &DeviceId) -> Result<(), No> {
    if tx.revoked_at(device)?.is_some() {
        return Err(No::SignIn(SignInError::DeviceRevoked));
    }
    let known = tx.members()?.into_iter().find(|row| row.standing.member == *member);
    if known.is_some_and(|row| row.standing.active) {
        Ok(())
    } else {
        Err(No::SignIn(SignInError::MemberDisabled))
    }
}

/// Ends the member's other families on the device, the oldest beyond the bound, and all whose time is over.
fn make_room(tx: &mut dyn Write, row: &FamilyRow, now: Timestamp) -> Result<(), StoreError> {
    tx.drop_families(now)?;
    let families = tx.families(Whose::Member(row.member))?;
    let surplus = (families.len() + 1).saturating_sub(FAMILIES_MAX);
    for (at, old) in families.into_iter().enumerate() {
        if at < surplus || old.device == row.device {
            tx.put_family(&FamilyRow { revoked: true, ..old })?;
        }
    }
    Ok(())
}

/// Runs blocking work in one of a few places, once one is free.
async fn beside<T: Send + 'static>(
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, SignInError> + Send + 'static,
) -> Result<T, SignInError> {
    let waited = timeout(PLACE_WAIT, Arc::clone(places).acquire_owned()).await;
    let Ok(Ok(place)) = waited else { return Err(SignInError::Busy) };
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    });
    done.await.map_err(|_| CannotHash)?
}

fn device<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceId, D::Error> {
    let text = String::deserialize(deserializer)?;
    let expected = "a device is named by 32 hexadecimal digits in lower case";
    device_named(&text).ok_or_else(|| serde::de::Error::custom(expected))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Passwords that are hashed at once: 76 MiB, and as many cores.
const HASHES_AT_ONCE: usize = 4;
/// Refresh tokens that are exchanged at once: each is one small transaction.
const EXCHANGES_AT_ONCE: usize = 16;
/// How long a request waits for its place.
const PLACE_WAIT: Duration = Duration::from_secs(3);
/// Attempts at one login, whatever the address; then one for each refill.
const LOGIN_ATTEMPTS: u32 = 10;
const LOGIN_REFILL: Duration = Duration::from_secs(30);
/// Exchanges that one address may make for each attempt at a password: devices behind it come four times an hour.
const EXCHANGES_PER_ATTEMPT: u32 = 10;
/// Devices that one member is signed in on.
const FAMILIES_MAX: usize = 32;
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
