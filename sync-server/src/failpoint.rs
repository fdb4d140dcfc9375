//! Named points at which a test stops a real server, or lets it panic. Release builds have none.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Between the commit of batches and the sending of their receipts.
pub const COMMIT_BEFORE_RECEIPTS: &str = "commit.before_receipts";
/// Before the commit of batches.
pub const COMMIT_BEFORE: &str = "commit.before";
/// Within the transaction that folds a document, before its commit.
pub const FOLD: &str = "fold";
/// Within a step of finding scopes again, before its commit.
pub const RESCOPE: &str = "rescope";

/// Stops this thread for good when the environment's `FIELDBOOK_FAILPOINT` names this point; the test sees
/// the line on standard error and kills the process.
pub fn hit(name: &str) {
    if cfg!(debug_assertions) && std::env::var("FIELDBOOK_FAILPOINT").is_ok_and(|set| set == name) {
        eprintln!("failpoint {name}");
        loop {
            std::thread::park();
        }
    }
}

/// After each thing that a restore does to files.
pub const RESTORE: &str = "restore";

static STEPS: AtomicUsize = AtomicUsize::new(0);

/// Stops this thread as [`hit`] does when the environment's `FIELDBOOK_FAILPOINT` names this point and counts so
/// many passes, as in `restore:3`.
pub fn step(name: &str) {
    if cfg!(debug_assertions) {
        let passes = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
        hit(&format!("{name}:{passes}"));
    }
}

/// Before a batch is judged, named by the batch.
pub const JUDGE: &str = "judge";
/// Before a hello is judged, named by its replica.
pub const HELLO: &str = "hello";

static PANICS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on the point panics in this process for what is so named.
pub fn arm_panic(point: &str, name: impl Display) {
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    panics.insert(format!("{point} {name}"));
}

/// Panics when a test has asked for it.
pub fn panic_at(point: &str, name: impl Display) {
    if !cfg!(debug_assertions) {
        return;
    }
    let armed = {
        let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        !panics.is_empty() && panics.contains(&format!("{point} {name}"))
    };
    assert!(!armed, "failpoint {point} {name}");
}
