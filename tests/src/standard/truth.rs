//! What a database may hold after a power cut: one of the states that its commits made, no older than what
//! was durable by then.

use std::path::Path;

use super::digest::{connect, digest};
use super::{Stand, Tape};
use crate::vfs::medium::{Image, Op};

/// The states of a tape's database in their order.
#[derive(Debug, Default)]
pub struct Truth {
    /// After how many operations each was whole in the files, and what it is.
    states: Vec<(usize, u64)>,
    /// After how many operations which state was durable.
    durable: Vec<(usize, usize)>,
}

impl Truth {
    /// Reads the states of a tape from its operation `from` on.
    ///
    /// # Panics
    /// When a state that a dying process leaves cannot be read.
    #[must_use]
    pub fn of<S>(tape: &Tape<S>, from: usize, is_durable: impl Fn(&S) -> bool) -> Self {
        let stand = Stand::new();
        let mut truth = Self::default();
        let mut replay = tape.recording.replay();
        for place in std::iter::once(from).chain(commits(tape).filter(|place| *place > from)) {
            replay.advance_to(place);
            let state = read(&stand, &tape.path, &replay.as_written());
            if truth.states.last().is_none_or(|(_, last)| *last != state) {
                truth.states.push((place, state));
            }
        }
        for taped in &tape.steps {
            if taped.ops.end >= from && is_durable(&taped.step) {
                truth.durable.push((taped.ops.end, truth.at(taped.ops.end)));
            }
        }
        truth
    }

    /// How many states there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Whether a commit made this state.
    #[must_use]
    pub fn is_known(&self, state: u64) -> bool {
        self.states.iter().any(|(_, known)| *known == state)
    }

    /// What is wrong with finding `state` after a cut behind so many operations, if anything.
    #[must_use]
    pub fn fault(&self, ops: usize, state: u64) -> Option<String> {
        let newest = self.at(ops);
        let oldest = self.durable.iter().rev().find(|(end, _)| *end <= ops);
        let oldest = oldest.map_or(0, |(_, state)| *state);
        // Two commits may make the same state.
        if self.states[oldest..=newest].iter().any(|(_, known)| *known == state) {
            return None;
        }
        Some(match self.states.iter().position(|(_, known)| *known == state) {
            Some(found) => {
                format!("state {found} came back; {oldest} was durable and {newest} the newest")
            }
            None => "no commit ever made this state".to_owned(),
        })
    }

    /// The newest state after so many operations.
    fn at(&self, ops: usize) -> usize {
        self.states.partition_point(|(place, _)| *place <= ops).saturating_sub(1)
    }
}

/// After which operations a commit may have become whole: the page behind a frame header that says so, and
/// whatever ends a rollback journal.
fn commits<S>(tape: &Tape<S>) -> impl Iterator<Item = usize> {
    let mut after_header = false;
    tape.recording.ops().iter().enumerate().filter_map(move |(place, op)| {
        let was = std::mem::take(&mut after_header);
        match op {
            Op::Wrote(name, _, bytes) if name.ends_with("-wal") && bytes.len() == FRAME_HEADER => {
                after_header = bytes[4..8] != [0; 4];
                None
            }
            Op::Wrote(name, ..) if name.ends_with("-wal") => was.then_some(place + 1),
            Op::Removed(..) | Op::Truncated(..) => Some(place + 1),
            _ => None,
        }
    })
}

/// The header of a log's frame, bytes; its second word is the size of the database after a commit.
const FRAME_HEADER: usize = 24;

fn read(stand: &Stand, path: &str, image: &Image) -> u64 {
    let path = stand.put(path, image);
    state(stand, &path).expect("what a dying process leaves can be read")
}

/// What a database on a stand holds.
///
/// # Errors
/// SQLite's.
pub fn state(stand: &Stand, path: &Path) -> rusqlite::Result<u64> {
    digest(&connect(stand.disk(), path)?)
}
