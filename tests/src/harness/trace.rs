//! What happened, as one number to compare and a few last lines to read.

use std::collections::VecDeque;

/// Lines that are kept to be shown when a simulation fails.
const LINES_KEPT: usize = 60;

/// The trace of one simulation.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: VecDeque<String>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: FNV_OFFSET, lines: VecDeque::new() }
    }
}

impl Trace {
    /// Notes that something happened. Payloads go into the hash alone.
    pub(super) fn note(&mut self, now: u64, what: &str, payload: &[u8]) {
        self.note_idle(now, what);
        self.mix(payload);
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{now:>8} ms  {what} ({} bytes)", payload.len()));
    }

    /// Notes that time has passed for somebody: into the hash alone.
    pub(super) fn note_idle(&mut self, now: u64, what: &str) {
        self.mix(&now.to_be_bytes());
        self.mix(what.as_bytes());
    }

    /// The number that two runs of one seed have in common.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The last things that happened.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// FNV-1a: the same on every machine and in every build.
    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
