//! Keeps the bytes of a batch on which judging panicked, for whoever will mend it.

use std::fs;
use std::io;
use std::path::PathBuf;

use crdt_core::protocol::{Batch, Message, Push, encode_frame};

/// The folder of one workspace for such batches: made when there is one to keep.
#[derive(Debug, Clone)]
pub(super) struct Aside(PathBuf);

impl Aside {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Writes a batch as the push that would bring it, named by the batch; does nothing when as many are
    /// kept as may be.
    pub(super) fn keep(&self, batch: &Batch) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        if fs::read_dir(&self.0)?.count() >= KEPT_MAX {
            return Ok(());
        }
        let push = Push { batches: vec![batch.clone()], receipt: 0 };
        fs::write(self.0.join(format!("{}.push", batch.id)), encode_frame(&Message::Push(push)))
    }
}

/// Batches kept of one workspace: enough to find the fault with, at most 64 MiB.
const KEPT_MAX: usize = 64;
