//! Counters that prove that every kind of fault has struck.

use std::collections::BTreeMap;

use super::network::Blocked;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No network at all.
    Partition,
    /// One way of a link was blocked.
    OneWayPartition,
    /// A connection was cut, also in the middle of a frame.
    Cut,
    /// A device's process was killed.
    DeviceCrash,
    /// A device lost its power.
    PowerCut,
    /// A device's file was put back to an older state.
    DeviceRestore,
    /// The server's database was put back to an older state.
    ServerRestore,
    /// A batch was refused.
    Refusal,
    /// The schema was changed.
    SchemaChange,
    /// The server was killed between taking batches in and answering them.
    ServerCrash,
    /// The server was restarted.
    ServerRestart,
    /// A clock jumped by less than is tolerated.
    SmallClockJump,
    /// A clock jumped by more than is tolerated.
    LargeClockJump,
    /// The server lost its power.
    ServerPowerCut,
    /// An operation of a disk failed.
    IoError,
    /// A disk was full.
    DiskFull,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Partition,
        Self::OneWayPartition,
        Self::Cut,
        Self::DeviceCrash,
        Self::PowerCut,
        Self::DeviceRestore,
        Self::Refusal,
        Self::SchemaChange,
        Self::ServerCrash,
        Self::ServerRestart,
        Self::SmallClockJump,
        Self::LargeClockJump,
    ];
}

/// How often each fault has struck.
#[derive(Debug, Clone, Default)]
pub struct Tally(BTreeMap<Fault, u64>);

impl Tally {
    pub(super) fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    pub(super) fn count_blocked(&mut self, blocked: Blocked) {
        match blocked {
            Blocked::Nothing => {}
            Blocked::Up | Blocked::Down => self.count(Fault::OneWayPartition),
            Blocked::Both => self.count(Fault::Partition),
        }
    }

    /// How often a fault has struck.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Adds what struck in another simulation.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }
}
