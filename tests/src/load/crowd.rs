//! Those who mean no good: sockets that say nothing, devices that do not read, members who push without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use crdt_core::limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::member::{Member, Route};

/// What the crowd has seen; shared by all of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Half-open sockets that are open now.
    pub half_open: AtomicU64,
    /// Half-open sockets that the server has cut.
    pub half_open_cut: AtomicU64,
    /// Devices that are welcomed and do not read, now.
    pub deaf: AtomicU64,
    /// Devices that did not read and were cut.
    pub deaf_cut: AtomicU64,
    /// Flooders that are connected now.
    pub flooders: AtomicU64,
    /// Batches of flooders that were answered.
    pub flooded: AtomicU64,
    /// Flooders that were sent away or cut.
    pub flooders_cut: AtomicU64,
    /// Attempts of anybody here to which the server did not even answer.
    pub refused: AtomicU64,
}

/// How a half-open socket is half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// It is accepted and says nothing.
    Silent,
    /// It sends half of its headers.
    Headers,
    /// It is upgraded and says no hello.
    NoHello,
}

/// Tells the crowd to go home.
pub type Stop = watch::Receiver<bool>;

/// How long whoever was cut waits before coming back.
const BACK_AFTER: Duration = Duration::from_secs(3);
/// How often a device that does not read shows that it is there: devices ping every 25 seconds.
const PING_EVERY: Duration = Duration::from_secs(10);
/// What a flooder writes in each edit, characters.
const FLOOD_CHARS: usize = 40;
/// What a flooder has under way: all that it is granted.
const FLOOD_BATCHES: usize = limits::BATCHES_IN_FLIGHT_MAX;

/// Holds a half-open socket; when the server cuts it, opens another.
pub async fn half_open(route: Route, half: Half, tally: Arc<Tally>, mut stop: Stop) {
    loop {
        let held = async {
            let Ok(mut stream) = begin(route, half).await else {
                tally.refused.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let _open = Counted::new(&tally.half_open);
            let mut bytes = [0; 512];
            // Whatever comes is no reason to go on.
            while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
            tally.half_open_cut.fetch_add(1, Ordering::Relaxed);
        };
        tokio::select! {
            () = held => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if rests(&mut stop, BACK_AFTER).await {
            return;
        }
    }
}

async fn begin(route: Route, half: Half) -> Result<TcpStream> {
    match half {
        Half::Silent => route.dial().await,
        Half::Headers => {
            let mut stream = route.dial().await?;
            stream.write_all(b"GET /v1/sync HTTP/1.1\r\nHost: localhost\r\nUpgrade: webs").await?;
            Ok(stream)
        }
        Half::NoHello => Ok(route.upgrade().await?.into_inner()),
    }
}

/// Is welcomed, and never reads again; pings, so that it does not count as gone.
pub async fn deaf(mut member: Member, route: Route, tally: Arc<Tally>, mut stop: Stop) {
    loop {
        let held = async {
            let Ok((mut line, _)) = member.connect(route).await else {
                tally.refused.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let _open = Counted::new(&tally.deaf);
            let mut ticks = tokio::time::interval(PING_EVERY);
            loop {
                ticks.tick().await;
                // A socket into which nothing can be written any more is cut as well.
                if !timeout(PING_EVERY, line.ping()).await.is_ok_and(|sent| sent.is_ok()) {
                    break;
                }
            }
            tally.deaf_cut.fetch_add(1, Ordering::Relaxed);
        };
        tokio::select! {
            () = held => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if rests(&mut stop, BACK_AFTER).await {
            return;
        }
    }
}

/// Pushes as much as the server grants, all the time.
pub async fn flooder(mut member: Member, route: Route, tally: Arc<Tally>, mut stop: Stop) {
    loop {
        let flooding = async {
            let Ok((mut line, _)) = member.connect(route).await else {
                tally.refused.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let _open = Counted::new(&tally.flooders);
            member.begin_anew();
            let mut free = FLOOD_BATCHES;
            while member.send(&mut line, free, FLOOD_CHARS).await.is_ok() {
                let Ok(receipts) = member.receipts(&mut line).await else { break };
                tally.flooded.fetch_add(receipts.len() as u64, Ordering::Relaxed);
                free = receipts.len();
            }
            tally.flooders_cut.fetch_add(1, Ordering::Relaxed);
        };
        tokio::select! {
            () = flooding => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if rests(&mut stop, BACK_AFTER).await {
            return;
        }
    }
}

/// Waits a while; true when it is time to go home.
async fn rests(stop: &mut Stop, duration: Duration) -> bool {
    timeout(duration, stop.wait_for(|stop| *stop)).await.is_ok()
}

/// One of something, until it is dropped.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
