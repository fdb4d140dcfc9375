//! Named points at which a test stops a real server. Release builds have none.

/// Between the commit of batches and the sending of their receipts.
pub const COMMIT_BEFORE_RECEIPTS: &str = "commit.before_receipts";
/// Before the commit of batches.
pub const COMMIT_BEFORE: &str = "commit.before";

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
