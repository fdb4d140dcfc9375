//! The pages that a workspace's connections are sent: what many of them are sent alike is built once, by the
//! first that wants it, and the others wait for that one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::session::BuiltPage;
use crate::store::{self, Store, StoreError};
use crate::workspace::{Feed, Slice, Spot};

/// Spots whose pages are kept: devices that are near the log's end stand at a few.
const SPOTS_KEPT: usize = 32;
/// So many batches are read at once by whoever waits for them: they were written a moment ago and are in
/// memory, and handing them to another thread would take longer. More are read by a thread that may block.
const READ_AT_ONCE_MAX: u64 = 32;

/// The feed that was asked, and what it is to send.
pub type Built = (Feed, Result<Option<BuiltPage>, StoreError>);

/// Pages of one workspace.
#[derive(Default)]
pub struct Pages {
    spots: Mutex<VecDeque<(Spot, Arc<OnceCell<Slice>>)>>,
}

impl Pages {
    /// The next page of a feed while the log goes up to `head`, or nothing when its device has everything.
    pub async fn next(
        &self,
        store: Arc<dyn Store>,
        mut feed: Feed,
        head: u64,
        flush: bool,
    ) -> Built {
        let is_short = feed.is_near(head, READ_AT_ONCE_MAX);
        let Some(spot) = feed.spot(head) else {
            return alone(store, feed, flush, is_short).await;
        };
        let cell = self.cell(spot);
        match cell.get_or_try_init(|| slice(Arc::clone(&store), &feed, is_short)).await {
            Err(error) => (feed, Err(error)),
            Ok(slice) => match feed.take(slice, flush) {
                Some(page) => (feed, Ok(page)),
                None => alone(store, feed, flush, is_short).await,
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
}

async fn slice(store: Arc<dyn Store>, feed: &Feed, is_short: bool) -> Result<Slice, StoreError> {
    if is_short {
        return store::read(&*store, |tx| Slice::read(feed, tx));
    }
    let feed = feed.clone();
    let read = move || store::read(&*store, |tx| Slice::read(&feed, tx));
    tokio::task::spawn_blocking(read).await.map_err(|error| StoreError::Backend(error.into()))?
}

/// A page for one device.
async fn alone(store: Arc<dyn Store>, feed: Feed, flush: bool, is_short: bool) -> Built {
    if is_short {
        return build(&*store, feed, flush);
    }
    let kept = feed.clone();
    match tokio::task::spawn_blocking(move || build(&*store, feed, flush)).await {
        Ok(built) => built,
        Err(error) => (kept, Err(StoreError::Backend(error.into()))),
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
