//! The seal: a note beside a file that was closed in peace, of what it said. A file that says something else
//! although nobody has written it since is damaged, also where SQLite cannot tell.

use std::fs::Metadata;
use std::path::Path;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::lock::beside;

/// Seals a file that has just been closed, when it is small and its log is empty. Without a seal a file is
/// only checked in its structure.
pub(crate) fn put(path: &Path, bytes_max: u64) {
    let empty = |metadata: Metadata| metadata.len() == 0;
    if !std::fs::metadata(beside(path, "-wal")).map_or(true, empty) {
        return;
    }
    if let Some(seal) = seal_of(path, bytes_max) {
        // As said: a seal that could not be written is one that is not there.
        let _ = std::fs::write(beside(path, SUFFIX), seal);
    }
}

/// Takes a file's seal off, which is about to be written; whether it was broken: the file has not been
/// written since, and says something else.
pub(crate) fn take(path: &Path, bytes_max: u64) -> bool {
    let place = beside(path, SUFFIX);
    let Ok(found) = std::fs::read_to_string(&place) else { return false };
    let broken = seal_of(path, bytes_max).is_some_and(|now| {
        let (when, what) = now.rsplit_once(' ').unwrap_or_default();
        found.rsplit_once(' ').is_some_and(|(then, said)| then == when && said != what)
    });
    // A seal that stays is one of another moment, and says so by its time.
    let _ = std::fs::remove_file(place);
    broken
}

/// When a file was written last, how long it is, and a hash of what it says.
fn seal_of(path: &Path, bytes_max: u64) -> Option<String> {
    let metadata = std::fs::metadata(path).ok().filter(|found| found.len() <= bytes_max)?;
    let written = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    let hash = Sha256::digest(std::fs::read(path).ok()?);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{written} {} {hash}", metadata.len()))
}

/// What follows the database's name.
pub(crate) const SUFFIX: &str = ".seal";
