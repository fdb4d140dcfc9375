//! Logs that came before the present one: each was ended by restoring the server from a backup. From them both
//! sides derive, by the same rule, how much of what a device knows still counts.

use super::frame::FrameError;
use super::handshake::Cursor;
use super::message::id_field;
use super::wire;
use crate::id::Epoch;

/// A log that a restored server went on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its identity.
    pub epoch: Epoch,
    /// The last position that the present log has in common with it.
    pub last: u64,
    /// The greatest document number that both have in common.
    pub documents: u64,
}

/// How far a log that a device knows and the present one are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parting {
    /// The last position that they have in common.
    pub last: u64,
    /// The greatest document number that they have in common; beyond it a number may stand for another
    /// document.
    pub documents: u64,
}

impl Parting {
    /// Nothing in common, as far as is known.
    pub const NOTHING: Self = Self { last: 0, documents: 0 };

    /// Where the present log parted from an older one; nothing when that is none of its lineage. A server may
    /// have been restored several times: the furthest way back counts.
    #[must_use]
    pub fn from(lineage: &[Ended], known: &Epoch) -> Option<Self> {
        let place = lineage.iter().position(|ended| ended.epoch == *known)?;
        let later = lineage[place..].iter();
        later.map(Ended::parting).reduce(|one, other| Self {
            last: one.last.min(other.last),
            documents: one.documents.min(other.documents),
        })
    }

    /// A cursor of the older log, as it counts in the present one. What a device had begun to catch up begins
    /// anew, since the index that it followed has moved back as well. `left` is the last position at which
    /// something left the device: what left beyond the parting is here again, so everything is looked at anew.
    /// What left at the parting itself may have left after it, since grants change without taking a position.
    #[must_use]
    pub fn cut(&self, cursor: Cursor, left: u64) -> Cursor {
        if left >= self.last {
            return Cursor::default();
        }
        Cursor::at(cursor.from.unwrap_or(cursor.position).min(self.last))
    }
}

impl Ended {
    const fn parting(&self) -> Parting {
        Parting { last: self.last, documents: self.documents }
    }

    pub(super) fn to_wire(self) -> wire::Ended {
        wire::Ended { epoch: self.epoch.0.to_vec(), last: self.last, documents: self.documents }
    }

    pub(super) fn from_wire(wire: wire::Ended) -> Result<Self, FrameError> {
        let epoch = id_field(&wire.epoch, "epoch")?;
        Ok(Self { epoch, last: wire.last, documents: wire.documents })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ended(n: u8, last: u64, documents: u64) -> Ended {
        Ended { epoch: Epoch([n; 16]), last, documents }
    }

    #[test]
    fn a_device_that_missed_several_restores_goes_back_to_the_earliest_point() {
        let lineage = [ended(1, 50, 20), ended(2, 70, 15), ended(3, 60, 30)];
        let parting = |n: u8| Parting::from(&lineage, &Epoch([n; 16]));
        assert_eq!(parting(1), Some(Parting { last: 50, documents: 15 }));
        assert_eq!(parting(2), Some(Parting { last: 60, documents: 15 }));
        assert_eq!(parting(3), Some(Parting { last: 60, documents: 30 }));
        assert_eq!(parting(4), None);
    }

    #[test]
    fn a_cursor_is_cut_to_what_both_logs_have() {
        let parting = Parting { last: 50, documents: 20 };
        assert_eq!(parting.cut(Cursor::at(80), 0), Cursor::at(50));
        assert_eq!(parting.cut(Cursor::at(30), 20), Cursor::at(30));
        let catching_up = Cursor { position: 45, from: Some(10) };
        assert_eq!(parting.cut(catching_up, 0), Cursor::at(10), "its index has moved back");
        assert_eq!(parting.cut(Cursor::at(80), 49), Cursor::at(50), "it left before");
        assert_eq!(parting.cut(Cursor::at(80), 50), Cursor::default(), "it may have left after");
        assert_eq!(parting.cut(Cursor::at(80), 51), Cursor::default(), "what left is here again");
    }
}
