//! The pages that a workspace's connections are sent: what many of them are sent alike is built once, by the
//! first that wants it, and the others wait for that one. Who is far behind waits for its turn.

use std::collections::VecDeque;
use std::error::Error;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use tokio::sync::{OnceCell, Semaphore};

use crate::session::BuiltPage;
use crate::store::{self, Store, StoreError};
use crate::workspace::{Feed, Recent, Slice, Spot};

/// Spots whose pages are kept: devices that are near the log's end stand at a few.
const SPOTS_KEPT: usize = 32;
/// So many batches are read at once by whoever waits for them: they were written a moment ago and are in
/// memory, and handing them to another thread would take longer. More are read by a thread that may block.
const READ_AT_ONCE_MAX: u64 = 32;

/// The feed that was asked, and what it is to send.
pub type Built = (Feed, Result<Option<BuiltPage>, StoreError>);

/// Pages of one workspace.
pub struct Pages {
    spots: Mutex<VecDeque<(Spot, Arc<OnceCell<Slice>>)>>,
    recent: Arc<Recent>,
    catching_up: CatchingUp,
}

/// How many pages of devices that are far behind are built at the same time, over all workspaces: a crowd that
/// wants everything must not take the processors away from the batches that are being judged.
#[derive(Clone)]
pub struct CatchingUp(Arc<Semaphore>);

impl CatchingUp {
    /// As many as half of the processors; one on a single one.
    #[must_use]
    pub fn on_half_the_processors() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Semaphore::new(processors.div_ceil(2))))
    }

    /// Reads on a thread that may block, when it is this one's turn.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = |error: Box<dyn Error + Send + Sync>| StoreError::Backend(error);
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let turn = turn.map_err(|error| failed(error.into()))?;
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.into()))
    }
}

impl Pages {
    /// Pages of a workspace, built within what all of them share.
    #[must_use]
    pub fn new(recent: Arc<Recent>, catching_up: CatchingUp) -> Self {
        Self { spots: Mutex::default(), recent, catching_up }
    }

    /// The next page of a feed while the log goes up to `head`, or nothing when its device has everything.
    pub async fn next(
        &self,
        store: Arc<dyn Store>,
        mut feed: Feed,
        head: u64,
        flush: bool,
    ) -> Built {
        if let Some(page) = feed.pass_over(&self.recent, head, flush) {
            return (feed, Ok(page));
        }
        let is_short = feed.is_near(head, READ_AT_ONCE_MAX);
        let Some(spot) = feed.spot(head) else {
            return self.alone(store, feed, flush, is_short).await;
        };
        let cell = self.cell(spot);
        match cell.get_or_try_init(|| self.slice(Arc::clone(&store), &feed, is_short)).await {
            Err(error) => (feed, Err(error)),
            Ok(slice) => match feed.take(slice, flush) {
                Some(page) => (feed, Ok(page)),
                None => self.alone(store, feed, flush, is_short).await,
            },
        }
    }

    /// Where the page of a spot stands, or will.
    fn cell(&self, spot: Spot) -> Arc<OnceCell<Slice>> {
        let mut spots = self.spots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = spots.iter().find(|(own, _)| *own == spot) {
            return Arc::clone(cell);
        }
        if spots.len() == SPOTS_KEPT {
            spots.pop_front();
        }
        let cell = Arc::new(OnceCell::new());
        spots.push_back((spot, Arc::clone(&cell)));
        cell
    }

    async fn slice(
        &self,
        store: Arc<dyn Store>,
        feed: &Feed,
        is_short: bool,
    ) -> Result<Slice, StoreError> {
        if is_short {
            return store::read(&*store, |tx| Slice::read(feed, tx));
        }
        let feed = feed.clone();
        let read = move || store::read(&*store, |tx| Slice::read(&feed, tx));
        self.catching_up.read(read).await?
    }

    /// A page for one device.
    async fn alone(&self, store: Arc<dyn Store>, feed: Feed, flush: bool, is_short: bool) -> Built {
        if is_short {
            return build(&*store, feed, flush);
        }
        let kept = feed.clone();
        match self.catching_up.read(move || build(&*store, feed, flush)).await {
            Ok(built) => built,
            Err(error) => (kept, Err(error)),
        }
    }
}

fn build(store: &dyn Store, feed: Feed, flush: bool) -> Built {
    let mut current = feed.clone();
    let page = store::read(store, |tx| {
        current = feed.clone();
        current.next_page(tx, flush)
    });
    let up_to = current.erased_up_to();
    (current, page.map(|page| page.map(|page| BuiltPage::new(&page, up_to))))
}
