//! How much one member may use of a server at a time, on all devices and sockets together.
//!
//! Whoever asks for a little more than there is waits a moment on the open connection; whoever asks
//! for much more is sent away and told when to come back. Nothing that was sent is lost either way: what has
//! no receipt is sent again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crdt_core::id::MemberId;

use crate::config::Limits;
use crate::rate::{Level, Rate};

/// What may be used. One of these serves one server.
pub struct Quotas {
    begun: Instant,
    sockets_per_member: usize,
    requests: Rate,
    bytes: Rate,
    members: Mutex<Members>,
}

type Key = (String, MemberId);

#[derive(Default)]
struct Members {
    usage: BTreeMap<Key, Usage>,
    /// From this many on, those who use nothing are forgotten.
    sweep_from: usize,
}

#[derive(Default)]
struct Usage {
    sockets: usize,
    requests: Level,
    bytes: Level,
}

/// More was asked for than there is; when to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// After so long.
    pub retry_after: Duration,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Batches, acknowledgements, fetches and tokens.
    Requests(usize),
    /// Bytes received.
    Bytes(usize),
}

/// A member's socket, counted until it is dropped.
pub struct MemberSocket {
    quotas: Arc<Quotas>,
    key: Key,
}

impl Quotas {
    /// Quotas as configured.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        let requests = limits.requests_per_minute.max(1);
        let per_byte = HOUR / limits.megabytes_per_hour.max(1).saturating_mul(1 << 20);
        Arc::new(Self {
            begun: Instant::now(),
            sockets_per_member: limits.sockets_per_member,
            requests: Rate::new(burst(limits), MINUTE / requests),
            bytes: Rate::new(limits.megabytes_per_hour.max(1).saturating_mul(1 << 20), per_byte),
            members: Mutex::default(),
        })
    }

    /// Counts a socket of a member's.
    ///
    /// # Errors
    /// When the member has as many as one may have.
    pub fn member_socket(
        self: &Arc<Self>,
        workspace: &str,
        member: MemberId,
    ) -> Result<MemberSocket, Exceeded> {
        let now = self.now();
        let key = (workspace.to_owned(), member);
        let mut members = self.members();
        members.sweep(now);
        let usage = members.usage.entry(key.clone()).or_default();
        if usage.sockets >= self.sockets_per_member {
            return Err(Exceeded { retry_after: SOCKET_RETRY });
        }
        usage.sockets += 1;
        Ok(MemberSocket { quotas: Arc::clone(self), key })
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    /// Forgets those of whom nothing has to be known.
    fn sweep(&mut self, now: Duration) {
        if self.usage.len() < self.sweep_from.max(SWEEP_MIN) {
            return;
        }
        self.usage.retain(|_, usage| {
            usage.sockets > 0 || !usage.requests.is_full(now) || !usage.bytes.is_full(now)
        });
        self.sweep_from = 2 * self.usage.len();
    }
}

impl MemberSocket {
    /// Takes what is asked for; gives how long to wait before more is read from this connection.
    ///
    /// # Errors
    /// When that would be too long.
    pub fn take(&self, asked: Asked) -> Result<Duration, Exceeded> {
        self.take_at(asked, self.quotas.now())
    }

    fn take_at(&self, asked: Asked, now: Duration) -> Result<Duration, Exceeded> {
        let mut members = self.quotas.members();
        let usage = members.usage.entry(self.key.clone()).or_default();
        let (rate, level, amount) = match asked {
            Asked::Requests(count) => (self.quotas.requests, &mut usage.requests, count),
            Asked::Bytes(count) => (self.quotas.bytes, &mut usage.bytes, count),
        };
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        let taken = rate.take(level, amount, now, PATIENCE);
        taken.map_err(|wait| Exceeded { retry_after: wait.max(RETRY_MIN) })
    }
}

impl Drop for MemberSocket {
    fn drop(&mut self) {
        if let Some(usage) = self.quotas.members().usage.get_mut(&self.key) {
            usage.sockets = usage.sockets.saturating_sub(1);
        }
    }
}

/// Requests that one member may send at once.
#[must_use]
pub fn burst(limits: &Limits) -> u32 {
    limits.requests_per_minute.max(1).saturating_mul(BURST_MINUTES)
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// Requests that may come at once, as the minutes in which they are filled up again: a device that was away
/// for weeks sends thousands of batches.
const BURST_MINUTES: u32 = 5;
/// How long a connection is slowed down before it is sent away: less than a device waits for a sign of life.
const PATIENCE: Duration = Duration::from_secs(5);
/// The least that somebody who is sent away has to wait, so that coming back is worth a handshake.
const RETRY_MIN: Duration = Duration::from_secs(5);
/// When to come back after too many sockets: the dead ones among them are noticed within a minute.
const SOCKET_RETRY: Duration = Duration::from_secs(30);
/// Below so many members nobody is forgotten.
const SWEEP_MIN: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(change: impl FnOnce(&mut Limits)) -> Arc<Quotas> {
        let mut limits = Limits::default();
        change(&mut limits);
        Quotas::new(&limits)
    }

    fn member(n: u128) -> MemberId {
        MemberId(uuid::Uuid::from_u128(n))
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_members_sockets_are_counted_over_all_devices_and_given_back() {
        let quotas = quotas(|limits| limits.sockets_per_member = 2);
        let first = quotas.member_socket("acme", member(1)).ok().unwrap();
        let _second = quotas.member_socket("acme", member(1)).ok().unwrap();
        let refused = quotas.member_socket("acme", member(1)).err().unwrap();
        assert_eq!(refused.retry_after, SOCKET_RETRY);
        assert!(quotas.member_socket("acme", member(2)).is_ok(), "another member's are their own");
        assert!(quotas.member_socket("other", member(1)).is_ok(), "and another workspace's");
        drop(first);
        assert!(quotas.member_socket("acme", member(1)).is_ok());
    }

    #[test]
    fn a_little_too_much_is_waited_for_and_much_too_much_is_sent_away() {
        let quotas = quotas(|limits| limits.requests_per_minute = 60);
        let socket = quotas.member_socket("acme", member(1)).ok().unwrap();
        assert_eq!(socket.take_at(Asked::Requests(300), at(100)), Ok(at(0)), "five minutes' worth");
        assert_eq!(socket.take_at(Asked::Requests(3), at(100)), Ok(at(3)));
        let refused = Err(Exceeded { retry_after: at(6) });
        assert_eq!(socket.take_at(Asked::Requests(3), at(100)), refused);
        assert_eq!(socket.take_at(Asked::Requests(3), at(106)), Ok(at(0)));
        let other = quotas.member_socket("acme", member(1)).ok().unwrap();
        assert_eq!(other.take_at(Asked::Requests(1), at(106)), Ok(at(1)), "shared by all sockets");
    }

    #[test]
    fn bytes_have_a_bound_of_their_own() {
        let quotas = quotas(|limits| limits.megabytes_per_hour = 1);
        let socket = quotas.member_socket("acme", member(1)).ok().unwrap();
        assert_eq!(socket.take_at(Asked::Bytes(1 << 20), at(100)), Ok(at(0)));
        let refused = socket.take_at(Asked::Bytes(1 << 19), at(100)).unwrap_err();
        assert!((at(1_799)..at(1_801)).contains(&refused.retry_after), "{refused:?}");
        assert_eq!(socket.take_at(Asked::Requests(1), at(100)), Ok(at(0)));
    }

    #[test]
    fn what_was_used_is_remembered_without_sockets_and_forgotten_once_it_is_filled_up() {
        let quotas = quotas(|limits| limits.requests_per_minute = 60);
        for n in 0..SWEEP_MIN as u128 {
            let socket = quotas.member_socket("acme", member(n)).ok().unwrap();
            if n == 0 {
                assert!(socket.take_at(Asked::Requests(300), quotas.now()).is_ok());
            }
        }
        quotas.members().sweep(quotas.now());
        let kept: Vec<Key> = quotas.members().usage.keys().cloned().collect();
        assert_eq!(kept, [("acme".to_owned(), member(0))]);
    }
}
