//! Connections that have not said who they are: only so many at once. A full house makes room for whoever
//! comes next, at the cost of the address that holds most of it.
//!
//! Refusing the newcomer instead would let anybody lock everybody out, with as many silent sockets as fit.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::Counter;
use tokio::task::AbortHandle;

use crate::rate::neighbourhood;

/// The handshakes of one listener.
pub(super) struct Handshakes {
    places: usize,
    cut: Counter,
    waiting: Mutex<Waiting>,
}

/// What is counted as one address.
type Neighbourhood = [u8; 8];

#[derive(Default)]
struct Waiting {
    arrivals: u64,
    /// Of each address, in the order of arrival. Only those that have any are kept.
    of: BTreeMap<Neighbourhood, BTreeMap<u64, Option<AbortHandle>>>,
    count: usize,
}

/// A connection's place among the handshakes, until it is dropped.
pub(super) struct Handshake {
    all: Arc<Handshakes>,
    address: Neighbourhood,
    arrival: u64,
}

impl Handshakes {
    /// At most `places` at once; `cut` counts those that had to make room.
    pub(super) fn new(places: usize, cut: Counter) -> Arc<Self> {
        Arc::new(Self { places: places.max(1), cut, waiting: Mutex::default() })
    }

    /// A place for a new connection. When there is none, the oldest handshake of the address that has most
    /// of them is cut.
    pub(super) fn begin(self: &Arc<Self>, address: IpAddr) -> Handshake {
        let mut waiting = self.waiting();
        if waiting.count >= self.places
            && let Some(task) = waiting.make_room()
        {
            task.abort();
            self.cut.increment(1);
        }
        let (address, arrival) = (neighbourhood(address), waiting.arrivals);
        waiting.arrivals += 1;
        waiting.count += 1;
        waiting.of.entry(address).or_default().insert(arrival, None);
        Handshake { all: Arc::clone(self), address, arrival }
    }

    /// Says which task is to be cut when this handshake has to make room. One that has ended is no more.
    pub(super) fn runs_in(&self, (address, arrival): (Neighbourhood, u64), task: AbortHandle) {
        let mut waiting = self.waiting();
        let place = waiting.of.get_mut(&address).and_then(|own| own.get_mut(&arrival));
        if let Some(place) = place {
            *place = Some(task);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handshake {
    /// How this handshake is called.
    pub(super) const fn name(&self) -> (Neighbourhood, u64) {
        (self.address, self.arrival)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.waiting().remove(self.address, self.arrival);
    }
}

impl Waiting {
    /// Takes the oldest handshake of the largest crowd out.
    fn make_room(&mut self) -> Option<AbortHandle> {
        let (address, own) = self.of.iter().max_by_key(|(_, own)| own.len())?;
        let (address, arrival) = (*address, *own.keys().next()?);
        self.remove(address, arrival)
    }

    fn remove(&mut self, address: Neighbourhood, arrival: u64) -> Option<AbortHandle> {
        let own = self.of.get_mut(&address)?;
        let task = own.remove(&arrival)?;
        self.count -= 1;
        if own.is_empty() {
            self.of.remove(&address);
        }
        task
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::telemetry::metrics::Metrics;

    struct House {
        handshakes: Arc<Handshakes>,
        metrics: Metrics,
    }

    impl House {
        fn with(places: usize) -> Self {
            let metrics = Metrics::new();
            Self { handshakes: Handshakes::new(places, metrics.handshakes_cut.clone()), metrics }
        }

        fn comes(&self, address: &str) -> tokio::task::JoinHandle<()> {
            let handshake = self.handshakes.begin(address.parse().unwrap());
            let name = handshake.name();
            let task = tokio::spawn(async move {
                let _handshake = handshake;
                pending::<()>().await;
            });
            self.handshakes.runs_in(name, task.abort_handle());
            task
        }

        fn count(&self) -> usize {
            self.handshakes.waiting().count
        }
    }

    #[tokio::test]
    async fn the_oldest_of_the_largest_crowd_makes_room() {
        let house = House::with(4);
        let honest = house.comes("192.0.2.1");
        let crowd: Vec<_> = (0..3).map(|_| house.comes("198.51.100.1")).collect();
        let other = house.comes("203.0.113.1");
        let mut crowd = crowd.into_iter();
        assert!(crowd.next().unwrap().await.unwrap_err().is_cancelled());
        let more = house.comes("198.51.100.1");
        assert!(crowd.next().unwrap().await.unwrap_err().is_cancelled());
        assert_eq!(house.count(), 4);
        let left = [honest, other, more, crowd.next().unwrap()];
        assert!(left.iter().all(|task| !task.is_finished()));
        assert!(house.metrics.render().contains("fieldbook_handshakes_cut_total 2"));
    }

    #[tokio::test]
    async fn a_place_is_given_back_and_nobody_is_cut_while_there_is_one() {
        let house = House::with(2);
        for _ in 0..5 {
            let first = house.comes("192.0.2.1");
            let second = house.comes("192.0.2.1");
            assert_eq!(house.count(), 2);
            assert!(!first.is_finished() && !second.is_finished());
            first.abort();
            second.abort();
            assert!(first.await.is_err() && second.await.is_err());
            assert_eq!(house.count(), 0);
        }
        assert!(house.handshakes.waiting().of.is_empty());
        assert!(house.metrics.render().contains("fieldbook_handshakes_cut_total 0"));
    }
}
