//! The standard workload: what a device's store and a server's storage go through in a month, step by step and
//! without a network. It is rehearsed once on recording disks, so that any moment of it can be gone back to.

pub mod device;
pub mod digest;
mod rehearsal;
pub mod server;
pub mod truth;

use std::ops::Range;
use std::path::Path;

use crate::vfs::medium::Image;
use crate::vfs::{Disk, Recording};
pub use rehearsal::{Rehearsed, Syncs, rehearse};

/// Everything that was done to one disk, by steps.
#[derive(Debug)]
pub struct Tape<S> {
    /// The database.
    pub path: String,
    /// What was done.
    pub recording: Recording,
    /// By which steps.
    pub steps: Vec<Taped<S>>,
}

/// One step of a tape.
#[derive(Debug)]
pub struct Taped<S> {
    /// The step.
    pub step: S,
    /// The files before it.
    pub before: Image,
    /// The operations of the recording that are its.
    pub ops: Range<usize>,
}

/// A folder with a disk of its own, on which moments of a tape are looked at.
pub struct Stand {
    folder: tempfile::TempDir,
    disk: Disk,
}

impl Stand {
    /// An empty folder and a new disk.
    #[must_use]
    pub fn new() -> Self {
        Self { folder: crate::harness::files::folder(), disk: Disk::new() }
    }

    /// Its disk.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts files here that belong to the database at `from`; gives where that is now. Nobody has them open.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn put(&self, from: &str, image: &Image) -> std::path::PathBuf {
        let name = from.rsplit('/').next().unwrap_or(from);
        let here = self.folder.path().join(name);
        let moved = image.iter().map(|(file, bytes)| {
            let suffix = file.strip_prefix(from).unwrap_or_default();
            (format!("{}{suffix}", here.display()).into(), bytes.clone())
        });
        self.disk.put(&moved.collect());
        here
    }
}

impl Default for Stand {
    fn default() -> Self {
        Self::new()
    }
}
