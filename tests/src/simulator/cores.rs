//! Work on every core.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

/// Does `work` for each item, on every core; what came of them, in their order.
///
/// # Panics
/// When `work` does: as it did, once the other threads have finished what they were at.
pub fn on_every_core<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let next = Mutex::new(items.iter().enumerate());
    let take = || next.lock().ok()?.next();
    let run = || {
        let mut done = Vec::new();
        while let Some((place, item)) = take() {
            done.push((place, work(item)));
        }
        done
    };
    // A failure names the command that replays it by the name of its thread.
    let name = thread::current().name().unwrap_or_default().to_owned();
    let mut done = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                let worker = thread::Builder::new().name(name.clone());
                worker.spawn_scoped(scope, run).expect("a thread can be started")
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Vec<(usize, R)>>| {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}
