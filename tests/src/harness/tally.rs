//! Counters that prove that every kind of fault has struck.

use std::collections::BTreeMap;

use super::network::Blocked;

/// A kind of fault: whatever a device or a server does not choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No network at all.
    Partition,
    /// One way of a link was blocked.
    OneWayPartition,
    /// Everything on a link took seconds.
    Delay,
    /// A frame arrived twice.
    Duplicate,
    /// A connection was cut, also in the middle of a frame.
    Cut,
    /// A device took so long to read what it was sent that its session was ended.
    SlowReader,
    /// The server was killed between taking batches in and answering them.
    ServerCrash,
    /// The server was restarted.
    ServerRestart,
    /// A device's process was killed.
    DeviceCrash,
    /// A device lost its power.
    PowerCut,
    /// The server lost its power.
    ServerPowerCut,
    /// An operation of a disk failed.
    IoError,
    /// A disk was full.
    DiskFull,
    /// A device was copied with everything on it.
    Clone,
    /// A device's file was put back to an older state.
    DeviceRestore,
    /// The server's database was put back to an older state.
    ServerRestore,
    /// A token was about to expire, or had.
    TokenExpiry,
    /// A device was shut out.
    Revocation,
    /// Somebody got another role or other territories, or was switched off or on.
    RoleChange,
    /// Another policy was put in force.
    PolicyChange,
    /// A record went to another territory or another owner.
    TerritoryMove,
    /// The schema was changed.
    SchemaChange,
    /// A field got another merge rule.
    MergeRuleChange,
    /// A record was erased for good.
    Erasure,
    /// A device of an older build connected.
    OlderDevice,
    /// A device of a newer build connected.
    NewerDevice,
    /// The server was of a newer build.
    NewerServer,
    /// A clock jumped by less than is tolerated.
    SmallClockJump,
    /// A clock jumped by more than is tolerated.
    LargeClockJump,
    /// A batch was refused.
    Refusal,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 30] = [
        Self::Partition,
        Self::OneWayPartition,
        Self::Delay,
        Self::Duplicate,
        Self::Cut,
        Self::SlowReader,
        Self::ServerCrash,
        Self::ServerRestart,
        Self::DeviceCrash,
        Self::PowerCut,
        Self::ServerPowerCut,
        Self::IoError,
        Self::DiskFull,
        Self::Clone,
        Self::DeviceRestore,
        Self::ServerRestore,
        Self::TokenExpiry,
        Self::Revocation,
        Self::RoleChange,
        Self::PolicyChange,
        Self::TerritoryMove,
        Self::SchemaChange,
        Self::MergeRuleChange,
        Self::Erasure,
        Self::OlderDevice,
        Self::NewerDevice,
        Self::NewerServer,
        Self::SmallClockJump,
        Self::LargeClockJump,
        Self::Refusal,
    ];
}

/// How often each fault has struck.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Fault, u64>);

impl Tally {
    pub(crate) fn count(&mut self, fault: Fault) {
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

    /// Each fault that has struck, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> {
        self.0.iter().map(|(fault, count)| (*fault, *count))
    }

    /// Adds what struck in another simulation.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }
}
