//! How many sockets, and how many attempts at one, an address may have at a time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::rate::{Buckets, neighbourhood};

/// The sockets of each address. Only those that have any are kept.
pub(super) struct Sockets {
    max: usize,
    open: Mutex<BTreeMap<[u8; 8], usize>>,
}

/// One socket of an address, counted until it is dropped.
pub(super) struct Counted {
    sockets: Arc<Sockets>,
    address: [u8; 8],
}

impl Sockets {
    /// At most `max` of each address.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default() })
    }

    /// Counts a socket, unless there are as many from there as there may be.
    pub(super) fn count(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let address = neighbourhood(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&address).copied().unwrap_or_default();
        if count >= self.max {
            return None;
        }
        open.insert(address, count + 1);
        Some(Counted { sockets: Arc::clone(self), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.sockets.open.lock().unwrap_or_else(PoisonError::into_inner);
        let left = open.remove(&self.address).unwrap_or_default().saturating_sub(1);
        if left > 0 {
            open.insert(self.address, left);
        }
    }
}

/// Attempts at a sync connection.
pub(super) struct Attempts {
    begun: Instant,
    buckets: Buckets,
}

impl Attempts {
    /// So many a minute from each address, all of them at once if need be.
    pub(super) fn per_minute(attempts: u32) -> Self {
        let attempts = attempts.max(1);
        Self { begun: Instant::now(), buckets: Buckets::new(attempts, MINUTE / attempts) }
    }

    /// Takes one attempt, or says when to come back.
    pub(super) fn take(&self, address: IpAddr) -> Result<(), Duration> {
        self.buckets.take(&neighbourhood(address), self.begun.elapsed())
    }
}

/// The address that counts: the peer's, or what a trusted proxy says last. What stands before that in the
/// header is whatever the stranger wrote.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    if !trusted.contains(&peer.to_canonical()) {
        return peer;
    }
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let said = last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    said.unwrap_or(peer)
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_counted_by_neighbourhood_and_given_back() {
        let sockets = Sockets::new(1);
        let count = |address: &str| sockets.count(address.parse().unwrap());
        let first = count("2001:db8::1").unwrap();
        assert!(count("2001:db8::ffff").is_none(), "one IPv6 address is a whole network");
        let _other = count("2001:db8:0:1::1").unwrap();
        let _two = count("192.0.2.1").unwrap();
        assert!(count("::ffff:192.0.2.1").is_none(), "the same address in its other spelling");
        drop(first);
        assert!(count("2001:db8::1").is_some());
        assert_eq!(sockets.open.lock().unwrap().len(), 2, "who has none is not kept");
    }
}
