//! What was done to a disk, to be cut short at any operation.

use rand::rngs::StdRng;

use super::medium::{Image, Medium, Op};

/// Everything that was done to a disk, in order.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    ops: Vec<Op>,
}

/// A disk as it was after some of the operations.
#[derive(Debug, Clone)]
pub struct Replay<'a> {
    recording: &'a Recording,
    done: usize,
    medium: Medium,
}

impl Recording {
    pub(super) fn new(ops: Vec<Op>) -> Self {
        Self { ops }
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing was done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// What was done.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Begins before the first operation.
    #[must_use]
    pub fn replay(&self) -> Replay<'_> {
        Replay { recording: self, done: 0, medium: Medium::default() }
    }
}

impl Replay<'_> {
    /// Goes on to where so many operations are done.
    pub fn advance_to(&mut self, done: usize) {
        let end = done.min(self.recording.ops.len());
        for op in &self.recording.ops[self.done.min(end)..end] {
            self.medium.apply(op);
        }
        self.done = self.done.max(end);
    }

    /// What a power cut leaves now.
    #[must_use]
    pub fn after_power_cut(&self, rng: &mut StdRng) -> Image {
        self.medium.after_power_cut(rng)
    }

    /// What is left when only the process dies now.
    #[must_use]
    pub fn as_written(&self) -> Image {
        self.medium.as_written()
    }

    /// Whether a power cut could take anything now.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.medium.is_synced()
    }
}
