//! Sync that runs: a thread or a task, ended by dropping its handle.

use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::run::{Wiring, run};
use crate::engine::SyncLoop;

/// Sync that runs. Dropping it stops it.
///
/// On a runtime of its own, dropping also waits until nothing of it is left, at most about half a second
/// beyond what the store is doing. On the app's runtime dropping only asks; [`SyncHandle::stopped`] waits.
#[must_use = "dropping the handle stops sync"]
#[derive(Debug)]
pub struct SyncHandle {
    stop: Option<oneshot::Sender<()>>,
    runner: Option<Runner>,
}

#[derive(Debug)]
enum Runner {
    Own(thread::JoinHandle<()>),
    Apps(tokio::task::JoinHandle<()>),
}

impl SyncHandle {
    /// Starts on a thread and a runtime of its own.
    pub(super) fn start(
        sync: SyncLoop,
        wiring: Wiring,
        stop: oneshot::Sender<()>,
    ) -> Result<Self, std::io::Error> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // One for the store, one for looking up names, which must not wait for each other.
            .max_blocking_threads(2)
            .build()?;
        let work = move || runtime.block_on(run(sync, wiring));
        let thread = thread::Builder::new().name("fieldbook-sync".into()).spawn(work)?;
        Ok(Self { stop: Some(stop), runner: Some(Runner::Own(thread)) })
    }

    /// Starts as a task of `runtime`.
    pub(super) fn start_on(
        runtime: &Handle,
        sync: SyncLoop,
        wiring: Wiring,
        stop: oneshot::Sender<()>,
    ) -> Self {
        let task = runtime.spawn(run(sync, wiring));
        Self { stop: Some(stop), runner: Some(Runner::Apps(task)) }
    }

    /// Stops sync, as dropping does.
    pub fn close(self) {
        drop(self);
    }

    /// Stops sync and waits until nothing of it is left.
    pub async fn stopped(mut self) {
        self.stop = None;
        match self.runner.take() {
            Some(Runner::Apps(task)) => ended(task.await.is_ok()),
            Some(Runner::Own(thread)) => {
                let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
                ended(joined.unwrap_or(false));
            }
            None => {}
        }
    }
}

impl Drop for SyncHandle {
    fn drop(&mut self) {
        // Dropping the sender is the signal.
        self.stop = None;
        if let Some(Runner::Own(thread)) = self.runner.take() {
            // The last to let go may be something that the sync itself owns, and cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                ended(thread.join().is_ok());
            }
        }
    }
}

fn ended(well: bool) {
    if !well {
        tracing::error!("sync has ended by a fault of its own");
    }
}
