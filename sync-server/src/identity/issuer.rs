//! One issuer: judges its tokens by its rules, and keeps its keys fresh in a task of its own, so that a slow
//! issuer holds up nobody whose key is known.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crdt_core::time::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::cache::{Cache, Found, Pace};
use super::fetch::{FetchError, Fetcher};
use super::jwks::{JwksError, KeySet, read_file};
use super::member_of;
use super::numbers::IdentityNumbers;
use crate::config::{IssuerConfig, KeySource, WorkspaceRule};
use crate::token::{Claims, Jwt, Members, Principal, PublicKey, Rules, TokenError};

/// An issuer whose tokens are taken. Dropping it ends its task.
pub(crate) struct Issuer {
    config: IssuerConfig,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the issuer's task and those who judge tokens share.
struct Shared {
    cache: Mutex<Cache>,
    /// Somebody wants a key that is not known.
    wanted: Notify,
    /// How many questions were answered, well or badly.
    answers: watch::Sender<u64>,
    started: Instant,
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, kid: &str) -> Found {
        self.cache().find(kid, self.now())
    }
}

impl Issuer {
    pub(crate) fn start(
        config: IssuerConfig,
        fetcher: &Fetcher,
        numbers: &IdentityNumbers,
    ) -> Self {
        let pace = match config.keys {
            KeySource::File(_) => FILE_PACE,
            KeySource::Url(_) => URL_PACE,
        };
        Self::start_at(pace, config, fetcher, numbers)
    }

    pub(crate) fn start_at(
        pace: Pace,
        config: IssuerConfig,
        fetcher: &Fetcher,
        numbers: &IdentityNumbers,
    ) -> Self {
        let shared = Arc::new(Shared {
            cache: Mutex::new(Cache::new(pace)),
            wanted: Notify::new(),
            answers: watch::Sender::new(0),
            started: Instant::now(),
        });
        let keeper = Keeper {
            config: config.clone(),
            shared: Arc::clone(&shared),
            fetcher: fetcher.clone(),
            numbers: numbers.clone(),
        };
        let task = tokio::spawn(keeper.run());
        Self { config, shared, task }
    }

    /// Who the bearer of a token in this issuer's name is.
    pub(crate) async fn judge(
        &self,
        jwt: &Jwt<'_>,
        now: Timestamp,
    ) -> Result<Principal, TokenError> {
        let kid = judge_header(&jwt.header)?;
        let key = self.key(kid).await?;
        if jwt.header.text("alg") != Some(key.algorithm.name()) {
            return Err(TokenError::WrongAlgorithm);
        }
        key.check(jwt)?;
        self.judge_claims(&Claims(&jwt.claims), now)
    }

    fn judge_claims(&self, claims: &Claims<'_>, now: Timestamp) -> Result<Principal, TokenError> {
        let config = &self.config;
        claims.issued_by(&config.iss)?;
        let expires = claims.judge(
            &Rules {
                audience: &config.audience,
                audience_rule: config.audience_rule,
                start: config.start,
                leeway_ms: millis(config.leeway),
                lifetime_ms_max: millis(config.lifetime_max),
            },
            now,
        )?;
        let sub = claims.text("sub")?;
        if sub.is_empty() || sub.len() > SUB_BYTES_MAX || sub.chars().any(char::is_control) {
            return Err(TokenError::IllTyped { claim: "sub" });
        }
        let workspace = match &config.workspace {
            WorkspaceRule::Fixed(workspace) => workspace.clone(),
            WorkspaceRule::Claim(claim) => claims.workspace(claim)?,
        };
        Ok(Principal { workspace, member: member_of(&config.iss, sub), device: None, expires })
    }

    /// The key of a name. The name is looked up among the keys that are known and is used for nothing else.
    async fn key(&self, kid: &str) -> Result<PublicKey, TokenError> {
        let mut answers = self.shared.answers.subscribe();
        if let Found::Key(key) = self.find(kid)? {
            return Ok(key);
        }
        self.shared.wanted.notify_one();
        // When no answer comes in time, or the task is gone, what is known now decides.
        drop(timeout(ANSWER_WAIT, answers.changed()).await);
        match self.find(kid)? {
            Found::Key(key) => Ok(key),
            Found::AskFor | Found::Unknown | Found::NoKeys => Err(TokenError::KeysUnavailable),
        }
    }

    /// A key, or that asking may help.
    fn find(&self, kid: &str) -> Result<Found, TokenError> {
        match self.shared.find(kid) {
            Found::Unknown => Err(TokenError::UnknownKey),
            Found::NoKeys => Err(TokenError::KeysUnavailable),
            found @ (Found::Key(_) | Found::AskFor) => Ok(found),
        }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The name of the key that a header names. Whatever else points to a key, or asks for more than a
/// signature, is refused without a look at it.
fn judge_header(header: &Members) -> Result<&str, TokenError> {
    let refused = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"];
    let typed = match header.get("typ") {
        None => true,
        Some(typ) => typ.as_str().is_some_and(|typ| {
            let typ = typ.to_ascii_lowercase();
            TYPES.contains(&typ.as_str())
        }),
    };
    if !typed || refused.iter().any(|member| header.has(member)) {
        return Err(TokenError::UnexpectedHeader);
    }
    header.text("kid").ok_or(TokenError::UnknownKey)
}

/// Keeps an issuer's keys fresh.
struct Keeper {
    config: IssuerConfig,
    shared: Arc<Shared>,
    fetcher: Fetcher,
    numbers: IdentityNumbers,
}

/// Why there are no fresh keys.
#[derive(Debug, thiserror::Error)]
enum NoKeys {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Jwks(#[from] JwksError),
    #[error("reading the file was cut off")]
    CutOff,
}

impl Keeper {
    async fn run(self) {
        loop {
            let due_at = Duration::from_millis(self.shared.cache().due_at());
            tokio::select! {
                () = sleep_until(self.shared.started + due_at) => {}
                () = self.shared.wanted.notified() => {}
            }
            let now = self.shared.now();
            if !self.shared.cache().begin(now) {
                continue;
            }
            let keys = self.ask().await;
            let now = self.shared.now();
            self.shared.cache().finish(now, keys);
            self.shared.answers.send_modify(|answers| *answers += 1);
        }
    }

    async fn ask(&self) -> Option<KeySet> {
        let issuer = &self.config.name;
        match self.try_ask().await {
            Ok((keys, unusable)) => {
                for (at, why) in unusable {
                    tracing::warn!(issuer, at, %why, "left a key out");
                }
                tracing::debug!(issuer, keys = keys.len(), "read an issuer's keys");
                self.numbers.refreshes_ok.increment(1);
                Some(keys)
            }
            Err(error) => {
                tracing::warn!(issuer, %error, "the keys of an issuer cannot be read; known ones stay");
                self.numbers.refreshes_failed.increment(1);
                None
            }
        }
    }

    async fn try_ask(&self) -> Result<(KeySet, Vec<(usize, super::jwks::Unusable)>), NoKeys> {
        let bytes = match &self.config.keys {
            KeySource::Url(url) => self.fetcher.get(url).await?,
            KeySource::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path));
                read.await.map_err(|_| NoKeys::CutOff)??
            }
        };
        Ok(KeySet::parse(&bytes, &self.config.algorithms)?)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What a header may say of its token's type, in lower case.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];
/// An issuer's name of a person, bytes: OpenID's own bound.
const SUB_BYTES_MAX: usize = 255;
/// How long a token waits for its issuer: as long as one question takes, and a little.
const ANSWER_WAIT: Duration = Duration::from_secs(6);
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// A network address: every ten minutes, and at most once a minute.
const URL_PACE: Pace = Pace { ttl_ms: 600_000, gap_ms: 60_000, stale_ms: DAY_MS };
/// A file costs less to look at.
const FILE_PACE: Pace = Pace { ttl_ms: 30_000, gap_ms: 5_000, stale_ms: DAY_MS };
